"""Parts fit each other: random compositions stream, stay causal, train, save and load.

Which compositions are drawn depends on the commit, so that every commit tries others; a failure prints its spec.
"""

import random
import subprocess
from pathlib import Path

import pytest
import torch

import blockyard as by
from blockyard.core.spec import (
    activation,
    block,
    channel,
    depth,
    head,
    mixer,
    model,
    norm,
    position,
    residual,
    stem,
    system,
)  # fmt: skip
from blockyard.model.save import load_model, save_model

NORMS = ("rms", "layer", "l2", "none")
ACTIVATIONS = ("relu", "gelu", "silu", "squared_relu")


def commit():
    here = Path(__file__).parent
    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True)
    return found.stdout.strip() or "no commit"


def draw_mixer(draw):
    name = draw.choice(
        [
            "attention",
            "attention",
            "gla",
            "retnet",
            "hgrn2",
            "deltanet",
            "gated_deltanet",
            "mamba",
            "mamba2",
            "short_conv",
        ]
    )
    heads = draw.choice([1, 2, 4])
    if name == "attention":
        where = draw.choice([None, "rope", "alibi", "t5"])
        settings = dict(
            heads=heads,
            kv_heads=draw.choice([n for n in (1, 2, 4) if heads % n == 0]),
            position=None if where is None else position(where),
            norm=draw.choice([None, norm("rms"), norm("l2")]),
            gate=draw.choice([None, activation("silu")]),
            window=draw.choice([None, None, 1, 3, 8]),
        )
        if settings["window"]:
            settings["sinks"] = draw.choice([0, 2])
        return mixer("attention", **settings)
    if name == "mamba":
        return mixer("mamba", state=draw.choice([1, 4]), inner=draw.choice([None, 12]))
    if name == "mamba2":
        return mixer("mamba2", head_dim=8, state=draw.choice([4, 8]), groups=draw.choice([1, 2]))
    if name == "short_conv":
        return mixer("short_conv", width=draw.choice([1, 2, 4]), bias=draw.random() < 0.5)
    extra = dict(beta_max=draw.choice([1.0, 2.0])) if "delta" in name else {}
    return mixer(name, heads=heads, **extra)


def draw_channel(draw):
    return channel(
        draw.choice(["mlp", "gated"]),
        inner=draw.choice([None, 8, 17]),
        activation=activation(draw.choice(ACTIVATIONS)),
    )


def draw_residual(draw):
    return residual(
        draw.choice(["prenorm", "postnorm", "peri", "outnorm", "scaled"]), norm=norm(draw.choice(NORMS[:2]))
    )


def draw_system(draw):
    names = ["a", "b", "c"][: draw.choice([1, 1, 2, 3])]
    blocks = []
    for name in names:
        steps = [draw_mixer(draw)] + [draw_channel(draw)] * draw.choice([0, 1, 1])
        own = draw_residual(draw) if draw.random() < 0.3 else None
        blocks.append(block(name, *draw.sample(steps, len(steps)), residual=own))
    if len(names) == 1:
        plan = draw.choice([depth("stack", layers=draw.choice([1, 2, 3])), depth("shared", loops=draw.choice([2, 3]))])
    else:
        plan = depth("hybrid", pattern=f"{draw.choice([1, 2])}*{names[0]} + " + " + ".join(names[1:]), layers=4)
    where = draw.choice([None, position("sinusoidal"), position("learned", length=40)])
    return system(
        model(
            dim=16,
            stem=stem("tokens", vocab=64, position=where),
            blocks=tuple(blocks),
            depth=plan,
            residual=draw_residual(draw),
            head=head("lm", tied=draw.random() < 0.5, norm=draw.choice([None, norm("rms"), norm("layer")])),
        )
    )


def check(seed, folder):
    draw = random.Random(f"{commit()} {seed}")
    spec = draw_system(draw)
    assert type(spec).from_json(spec.to_json()) == spec
    built = by.build(spec, seed=seed).double()
    x = torch.randint(0, 64, (2, 14), generator=torch.Generator().manual_seed(seed))
    logits = built(x).logits
    assert logits.isfinite().all(), spec
    logits.square().mean().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in built.parameters()), spec
    with torch.no_grad():
        sizes, left = [], 14
        while left:
            sizes.append(draw.randint(1, left))
            left -= sizes[-1]
        state, parts = built.init_state(2), []
        for piece in x.split(sizes, 1):
            out = built(piece, state)
            state = out.state
            parts.append(out.logits)
        assert (torch.cat(parts, 1) - logits).abs().max() < 1e-8 * max(1, logits.abs().max()), (sizes, spec)
        cut = draw.randint(1, 13)
        other = torch.cat([x[:, :cut], (x[:, cut:] + 1) % 64], 1)
        assert (built(other).logits[:, :cut] - logits[:, :cut]).abs().max() < 1e-9, spec
        segment = torch.cat([torch.zeros(2, cut), torch.ones(2, 14 - cut)], 1).long()
        packed = built(by.Batch(x, segment=segment)).logits
        assert (packed[:, cut:] - built(x[:, cut:]).logits).abs().max() < 1e-8 * max(1, logits.abs().max()), spec
    save_model(built.float(), folder)
    assert torch.equal(load_model(folder)(x).logits, built(x).logits), spec


@pytest.mark.parametrize("seed", range(100))
def test_a_random_composition(seed, tmp_path):
    check(seed, tmp_path / "m")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 400))
def test_another_random_composition(seed, tmp_path):
    check(seed, tmp_path / "m")
