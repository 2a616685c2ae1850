"""What must hold of stacks of single sublayers that mix Mamba-2, a few attention layers and MLPs."""

from collections import Counter
from itertools import pairwise

import pytest
import torch
from system_cases import decode, gap, model, tokens

import blockyard as by
from blockyard.compare.plan.budget import solve
from blockyard.core.spec import block, channel, depth, head, mixer, residual, stem
from blockyard.core.spec import model as model_spec
from blockyard.model.count import count_params, state_bytes
from blockyard.recipe.mamba2_hybrid import spread

SMALL = dict(size="tiny", layers=7, heads=2, head_dim=8, state=4)


def stack(pattern, **rest):
    """A model of any pattern over the study's three kinds, without positions."""
    return model_spec(
        dim=16,
        stem=stem("tokens", vocab=32),
        blocks=(
            block("mamba", mixer("mamba2", head_dim=8, state=4)),
            block("attention", mixer("attention", heads=2, position=None)),
            block("mlp", channel("mlp", inner=16)),
        ),
        residual=residual("prenorm"),
        depth=depth("hybrid", pattern=pattern),
        head=head("lm"),
        **rest,
    )


@pytest.mark.parametrize("count", [4, 6, 14, 26, 42, 56, 112])
def test_the_pattern_has_the_counts_asked_for(count):
    """(1) so many sublayers: 1 in 14 attention, half MLPs, the rest Mamba, each within one; a Mamba first."""
    names = spread(count)
    kinds = Counter(names)
    assert len(names) == count and set(kinds) == {"mamba", "attention", "mlp"}
    assert abs(kinds["attention"] - count / 14) < 1 and kinds["mlp"] == count // 2
    assert next(name for name in names if name != "mlp") == "mamba" == names[0]


def test_the_pattern_is_spread_as_published():
    """(1) 56 sublayers are 24 M, 4 attention at round((i + 1/2) 56 / 4), 28 MLPs, evenly among the rest."""
    names = spread(56)
    assert Counter(names) == {"mamba": 24, "attention": 4, "mlp": 28}
    assert [i for i, name in enumerate(names) if name == "attention"] == [7, 21, 35, 49]
    others = [name for name in names if name != "attention"]
    for kind in ("mlp", "mamba"):
        at = [i for i, name in enumerate(others) if name == kind]
        gaps = [b - a for a, b in pairwise(at)]
        assert max(gaps) - min(gaps) <= 1
    built = by.build("mamba2_hybrid", **SMALL)
    assert [step.part.spec.name.replace("mamba2", "mamba") for step in built.steps] == spread(14)


def test_too_few_sublayers_for_three_kinds_are_refused():
    """(1) no pattern of two sublayers has a Mamba, an attention and an MLP: a refusal that says so, not a crash."""
    with pytest.raises(by.UsageError, match="layers"):
        by.spec("mamba2_hybrid", layers=1)


def test_cache_bytes_scale_with_the_attention_sublayers_only():
    """(2) 4 of 32 attention sublayers: an eighth of the bytes a token, and a constant for the Mambas, none for MLPs."""
    hybrid, full = stack("4*(7*mamba + attention)"), stack("32*attention")
    lengths = (64, 128, 1024)
    ours, theirs = ([state_bytes(spec, n) for n in lengths] for spec in (hybrid, full))
    assert all(8 * (b - a) == d - c for a, b, c, d in zip(ours, ours[1:], theirs, theirs[1:]))
    assert theirs[0] * lengths[2] == theirs[2] * lengths[0]
    fixed = ours[0] - theirs[0] // 8
    assert fixed > 0 and fixed == state_bytes(stack("28*mamba"), 64) == state_bytes(stack("28*mamba"), 1024)
    assert state_bytes(stack("4*(7*mamba + attention + mlp)"), 128) == ours[1]
    real = by.build(hybrid)
    assert real(tokens(1, 64, 32), real.init_state(1)).state.nbytes == ours[0]


@torch.no_grad()
@pytest.mark.parametrize("sizes", [[12] + [1] * 10, [1] * 22, [7, 15]])
def test_prefill_and_decode_are_the_full_forward(sizes):
    """(3) with mixed caches; and not when either kind of cache is lost."""
    m, x = model("mamba2_hybrid", **SMALL), tokens(2, 22)
    whole = m(x).logits
    assert gap(decode(m, x, sizes)[0], whole) < 1e-10
    single = by.build("mamba2_hybrid", **SMALL)
    assert gap(decode(single, x, sizes)[0], single(x).logits) < 1e-5
    state = m(x[:, :12], m.init_state(2)).state
    for kind in ("mamba2", "attention"):
        step = next(i for i, step in enumerate(m.steps) if step.part.spec.name == kind)
        leaves = {leaf: torch.zeros_like(value) for leaf, value in state.get((step, 0)).items() if leaf == "memory"}
        cache = state.get((step, 0)).get("cache")
        if cache is not None:
            leaves["cache"] = type(cache)(0 * cache.k, 0 * cache.v)
        assert gap(m(x[:, 12:], state.put((step, 0), leaves)).logits, whole[:, 12:]) > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("pattern, equivariant", [
    ("2*(attention + mlp)", True), ("mamba + attention + mlp", False), ("attention + mamba", False),
])  # fmt: skip
def test_only_a_recurrence_carries_order(pattern, equivariant):
    """(4) bidirectional attention without positions commutes with permutations; with one M it does not."""
    m, x = model("mamba2_hybrid", **SMALL, **{"depth.pattern": pattern}), tokens(2, 17)
    mix = torch.randperm(17, generator=torch.Generator().manual_seed(0))
    assert ("any_order" in m.claims) == equivariant
    m.claims["any_order"] = True  # what it would give if it were not refused
    y, mixed = (m(by.Batch(z, order=0)).logits for z in (x, x[:, mix]))
    assert (gap(mixed, y[:, mix]) < 1e-10) == equivariant
    causal = m(x[:, mix]).logits
    assert gap(causal, m(x).logits[:, mix]) > 1e-3


def test_the_arms_have_equal_parameters():
    """(5) hybrid, pure Mamba-2 and attention with MLPs, asked for one size, lie within 2% of each other."""
    sizes = [count_params(solve(name, 2e5, {})) for name in ("mamba2_hybrid", "mamba2", "llama")]
    assert max(sizes) / min(sizes) <= 1.02 and abs(sizes[0] / 2e5 - 1) <= 0.01
