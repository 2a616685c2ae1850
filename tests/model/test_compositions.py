"""Parts fit each other: random compositions stream, stay causal, train, save and load.

Which compositions are drawn depends on the commit, so that every commit tries others; a failure prints its spec.
"""

import random
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import blockyard as by
from blockyard.core import registry
from blockyard.core.spec import Spec, block, depth, head, model, stem, system, tower
from blockyard.model.save import load_model, save_model

CHOICES = {  # what is drawn for a setting, in whichever part it is; others keep their defaults
    "kv_heads": [1, 2], "window": [None, None, 1, 3, 8], "sinks": [0, 2], "beta_max": [1.0, 2.0], "head_dim": [8],
    "state": [4, 8], "groups": [1, 2], "width": [1, 2, 4], "bias": [False, True], "inner": [None, 8, 24],
    "size": [2, 3], "cap": [2, 5], "kernel": [1, 3], "length": [24], "experts": [1, 3], "loops": [2, 3],
}  # fmt: skip
IN_STEM = [n for n, entry in registry.entries("position").items() if "at_input" in vars(entry.load_named())]
UNIT = [n for n, entry in registry.entries("norm").items() if entry.load_named().claims.get("scale_invariant")]
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
        if key == "conv":
            settings[key] = draw.choice([None, Spec("mixer", "short_conv")])
        elif setting.slot in ("activation", "norm", "position", "pattern", "weigh"):
            empty = setting.optional and draw.random() < 0.5
            names = UNIT if key == "unit" else ELSEWHERE.get(setting.slot)
            settings[key] = None if empty else drawn(draw, setting.slot, names)
        elif key in CHOICES:
            settings[key] = draw.choice(CHOICES[key])
        elif key == "heads":
            settings[key] = heads
    if settings.get("sinks"):
        settings["window"] = settings["window"] or 3
    return Spec.of(kind, name, settings)


def draw_system(draw):
    image = draw.random() < 0.2
    names = ["a", "b", "c"][: draw.choice([1, 1, 2, 3])]
    blocks = []
    for name in names:
        steps = [drawn(draw, "mixer")] + [drawn(draw, "channel")] * draw.choice([0, 1, 1])
        own = drawn(draw, "residual") if draw.random() < 0.3 else None
        if draw.random() < 0.15 and len(names) > 1:
            steps.append(drawn(draw, "junction"))
        blocks.append(block(name, *draw.sample(steps, len(steps)), residual=own))
    if len(names) == 1:
        loops = draw.choice([2, 3])
        plan = draw.choice(
            [depth("stack", layers=loops - 1), depth("shared", loops=loops), depth("halting", loops=loops)]
        )
    else:
        plan = depth("hybrid", pattern=f"{draw.choice([1, 2])}*{names[0]} + " + " + ".join(names[1:]), layers=4)
    where = drawn(draw, "position", IN_STEM) if draw.random() < 0.7 else None
    norm = drawn(draw, "norm") if draw.random() < 0.7 else None
    ends = dict(
        stem=stem("tokens", vocab=64, position=where), head=head("lm", tied=draw.random() < 0.5, norm=norm),
        causal=draw.random() < 0.8,
    )  # fmt: skip
    if image:
        ends = dict(
            stem=stem("conv_patches", height=4, width=6, channels=2, kernel=1, stride=1),
            head=head(draw.choice(["classes", "values"]), norm=norm), causal=False,
        )  # fmt: skip
    elif draw.random() < 0.25:
        ends["towers"] = (tower("source", draw_tower(draw)),)
        first, *others = blocks
        blocks = [first.but(steps=(*first["steps"], drawn(draw, "mixer", ["cross"]))), *others]
        if draw.random() < 0.5:
            ends |= dict(stem=stem("shared"))
    return system(model(dim=16, blocks=tuple(blocks), depth=plan, residual=drawn(draw, "residual"), **ends))


def draw_tower(draw):
    """A model that another one reads."""
    layer = block("layer", drawn(draw, "mixer"), drawn(draw, "channel"))
    ends = dict(stem=stem("tokens", vocab=64), head=head("stream", norm=drawn(draw, "norm", UNIT)))
    return model(
        dim=16, blocks=(layer,), depth=depth("stack", layers=1), residual=drawn(draw, "residual"),
        causal=draw.random() < 0.5, **ends,
    )  # fmt: skip


def fitting(draw, seed, tries=30):
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
    for p in built.parameters():
        p.data *= 0.5  # a stream that nothing norms and a square activation drives outgrows every dtype else
    x = built.example(2, 14, torch.Generator().manual_seed(seed))
    x = replace(x, tokens=x.tokens.double()) if x.tokens.is_floating_point() else x
    said = first(built, x)
    assert said.isfinite().all(), spec
    said.square().mean().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in built.parameters()), spec
    with torch.no_grad():
        assert (first(built, x.rows(slice(1, 2))) - said[1:]).abs().max() < 1e-8 * max(1, said.abs().max()), spec
        cut = draw.randint(1, 13)
        for claim, holds in (("streams", in_pieces), ("causal", unseen), ("packs", packed)):
            if built.claims.get(claim):
                assert holds(draw, built, x, said, cut) < 1e-8 * max(1, said.abs().max()), (claim, spec)
        if not built.claims.get("streams"):
            with pytest.raises(by.UsageError, match="state"):
                built(x, built.init_state(2))
    save_model(built.float(), folder)
    assert torch.equal(first(load_model(folder).double(), x), first(built.double(), x)), spec


def first(built, batch, state=None):
    return next(iter(built(batch, state).prediction.values()))


def in_pieces(draw, built, x, said, cut):
    sizes, left = [], 14
    while left:
        sizes.append(draw.randint(1, left))
        left -= sizes[-1]
    state, parts = built.init_state(2), []
    for piece in x.tokens.split(sizes, 1):
        out = built(by.Batch(piece, more={} if parts else x.more), state)
        state = out.state
        parts.append(out.logits)
    return (torch.cat(parts, 1) - said).abs().max()


def unseen(draw, built, x, said, cut):
    other = torch.cat([x.tokens[:, :cut], (x.tokens[:, cut:] + 1) % 64], 1)
    return (first(built, replace(x, tokens=other))[:, :cut] - said[:, :cut]).abs().max()


def packed(draw, built, x, said, cut):
    segment = torch.cat([torch.zeros(2, cut), torch.ones(2, 14 - cut)], 1).long()
    alone = replace(x, tokens=x.tokens[:, cut:])
    return (first(built, replace(x, segment=segment))[:, cut:] - first(built, alone)).abs().max()


@pytest.mark.parametrize("seed", range(100))
def test_a_random_composition(seed, tmp_path):
    check(seed, tmp_path / "m")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 500))
def test_another_random_composition(seed, tmp_path):
    check(seed, tmp_path / "m")
