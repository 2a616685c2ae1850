"""Parts fit each other: random compositions stream, stay causal, train, save and load.

Which compositions are drawn depends on the commit, so that every commit tries others; a failure prints its spec.
"""

import random
import subprocess
from pathlib import Path

import pytest
import torch

import blockyard as by
from blockyard.core import registry
from blockyard.core.spec import Spec, block, depth, head, model, stem, system
from blockyard.model.save import load_model, save_model

CHOICES = {  # what is drawn for a setting, in whichever part it is; others keep their defaults
    "kv_heads": [1, 2], "window": [None, None, 1, 3, 8], "sinks": [0, 2], "beta_max": [1.0, 2.0], "head_dim": [8],
    "state": [4, 8], "groups": [1, 2], "width": [1, 2, 4], "bias": [False, True], "inner": [None, 8, 24],
}  # fmt: skip
IN_STEM = [n for n, entry in registry.entries("position").items() if "at_input" in vars(entry.load_named())]
ELSEWHERE = {"position": [n for n in registry.entries("position") if n not in IN_STEM]}


def commit():
    here = Path(__file__).parent
    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True)
    return found.stdout.strip() or "no commit"


def drawn(draw, kind, names=None):
    """Any part of a kind, its slots filled with any part that fits and its settings drawn from `CHOICES`."""
    name = draw.choice([*(names or registry.entries(kind))])
    settings, heads = {}, draw.choice([2, 4])
    for key, setting in registry.find(kind, name).settings.items():
        if setting.slot in ("activation", "norm", "position"):
            empty = setting.optional and draw.random() < 0.5
            settings[key] = None if empty else drawn(draw, setting.slot, ELSEWHERE.get(setting.slot))
        elif key in CHOICES:
            settings[key] = draw.choice(CHOICES[key])
        elif key == "heads":
            settings[key] = heads
    if settings.get("sinks"):
        settings["window"] = settings["window"] or 3
    return Spec.of(kind, name, settings)


def draw_system(draw):
    names = ["a", "b", "c"][: draw.choice([1, 1, 2, 3])]
    blocks = []
    for name in names:
        steps = [drawn(draw, "mixer")] + [drawn(draw, "channel")] * draw.choice([0, 1, 1])
        own = drawn(draw, "residual") if draw.random() < 0.3 else None
        blocks.append(block(name, *draw.sample(steps, len(steps)), residual=own))
    if len(names) == 1:
        plan = draw.choice([depth("stack", layers=draw.choice([1, 2, 3])), depth("shared", loops=draw.choice([2, 3]))])
    else:
        plan = depth("hybrid", pattern=f"{draw.choice([1, 2])}*{names[0]} + " + " + ".join(names[1:]), layers=4)
    where = drawn(draw, "position", IN_STEM) if draw.random() < 0.7 else None
    return system(
        model(
            dim=16,
            stem=stem("tokens", vocab=64, position=where),
            blocks=tuple(blocks),
            depth=plan,
            residual=drawn(draw, "residual"),
            head=head("lm", tied=draw.random() < 0.5, norm=drawn(draw, "norm") if draw.random() < 0.7 else None),
        )
    )


def fitting(draw, seed, tries=5):
    """A system and its model; what was drawn and does not fit together is refused in words, and drawn again."""
    spec = draw_system(draw)
    try:
        return spec, by.build(spec, seed=seed)
    except by.UsageError:
        if not tries:
            raise
        return fitting(draw, seed, tries - 1)


def check(seed, folder):
    draw = random.Random(f"{commit()} {seed}")
    spec, built = fitting(draw, seed)
    assert type(spec).from_json(spec.to_json()) == spec
    built = built.double()
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
