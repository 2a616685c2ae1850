"""Values of the first layer in later ones: the equation by hand, its limits, and what cannot be mixed."""

from types import MappingProxyType

import pytest
import torch

import blockyard as by
from blockyard.core.spec import block, channel, depth, head, mixer, model, residual, stem
from blockyard.decode.program import Program
from blockyard.decode.ragged import padded, prefill
from blockyard.transform._base import make_transform
from blockyard.transform.take import take

X = torch.randint(0, 32, (2, 9), generator=torch.Generator().manual_seed(0))


def built(rule=None, *parts, layers=3, dim=16, seed=1):
    """A model in double precision, every number moved."""
    made = by.build(model(
        dim=dim, stem=stem("tokens", vocab=32), blocks=(block("layer", *(parts or attention())),),
        residual=rule or residual("value"), depth=depth("stack", layers=layers), head=head("lm"),
    )).double()  # fmt: skip
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in made.parameters():
            p += 0.3 * torch.randn(p.shape, generator=draw, dtype=torch.float64)
    return made


def attention(**settings):
    return mixer("attention", heads=2, **settings), channel("gated", inner=24)


def by_hand(made, share, learned=MappingProxyType({})):
    """The plain model of the same numbers, and what it says when its values are replaced on the way."""
    plain = built(residual("prenorm"), *(step.part.spec for step in made.steps[:2]), layers=len(made.steps) // 2)
    plain.load_state_dict({name: value for name, value in made.state_dict().items() if name in plain.state_dict()})
    first = []

    def meets(step):
        own, other = learned.get(step) or (1 - share, share)

        def met(v):
            first.append(v)
            return v if step == 0 else own * v + other * first[0]

        return met

    points = {f"steps.{step}.part:v": meets(step) for step in range(0, len(made.steps), 2)}
    return plain, plain(X, points=points).logits


def gap(a, b):
    assert a.shape == b.shape and a.isfinite().all()
    return float((a - b).abs().max())


@pytest.mark.parametrize("name", ["attention", "gla", "retnet", "deltanet", "mamba2"])
def test_first_values_are_mixed_into_later_ones_gradients_included(name):
    part = mixer(name, head_dim=16) if name == "mamba2" else mixer(name, heads=2)
    made = built(residual("value", share=0.3), part, channel("gated", inner=24))
    plain, expected = by_hand(made, 0.3)
    found = made(X).logits
    assert gap(found, expected) < 1e-12 and gap(found, plain(X).logits) > 1e-3
    for logits in (found, expected):
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), X.flatten()).backward()
    theirs = dict(plain.named_parameters())
    assert all(gap(p.grad, theirs[name].grad) < 1e-10 for name, p in made.named_parameters())


@torch.no_grad()
def test_no_share_is_pre_norm_and_a_whole_share_leaves_the_first_values_alone():
    made = built(residual("value", share=0.0), *attention(kv_heads=1))
    plain = built(residual("prenorm"), *attention(kv_heads=1))
    assert torch.equal(made(X).logits, plain(X).logits)
    made = built(residual("value", share=1.0))
    before = made(X).logits
    for step in (2, 4):
        made.steps[step].part.qkv.weight[32:].zero_()  # behind queries and keys
    assert torch.equal(made(X).logits, before), "values of later layers are read"
    made.steps[0].part.qkv.weight[32:].zero_()
    assert gap(made(X).logits, before) > 1e-3


@torch.no_grad()
def test_shares_are_learned_where_there_is_something_to_mix():
    made = built(residual("value", share=0.3, learned=True))
    own = {name for name, _ in made.named_parameters() if ".rule." in name and ".norm." not in name}
    assert own == {f"steps.{step}.rule.{name}" for step in (2, 4) for name in ("own", "first")}
    fresh = by.build(made.spec).double()
    assert gap(fresh(X).logits, by_hand(fresh, 0.3)[1]) < 1e-6
    learned = {step: (float(made.steps[step].rule.own), float(made.steps[step].rule.first)) for step in (2, 4)}
    assert gap(made(X).logits, by_hand(made, 0.3, learned)[1]) < 1e-12
    less = make_transform("drop:steps=1,of=block").apply(made, [by.Batch(X)]).model
    assert less(X).logits.isfinite().all() and len(less.steps) == 4


@torch.no_grad()
def test_what_is_cached_was_mixed():
    made = built()
    whole, state, found = made(X).logits, made.init_state(2), []
    for piece in X.split([4, 1, 4], 1):
        out = made(piece, state)
        state = out.state
        found.append(out.logits)
    assert gap(torch.cat(found, 1), whole) < 1e-12
    plain = built(residual("prenorm"))
    assert state.nbytes == plain(X, plain.init_state(2)).state.nbytes


@torch.no_grad()
def test_the_program_mixes_them_too():
    made = built(dim=64, rule=residual("value", share=0.3)).float()
    rows = [X[0, :5], X[1]]
    logits, state = prefill(made, padded(rows))
    program = Program.of(made, 2, 32)
    assert program is not None
    program.load(state)
    for _ in range(8):
        tokens = logits.argmax(-1)
        logits, state = prefill(made, tokens[:, None], state)
        assert gap(program.step(tokens), logits) < 1e-4 * max(1, float(logits.abs().max()))


@torch.no_grad()
def test_points_that_are_asked_for_see_the_mixed_values():
    made = built(residual("value", share=0.3))
    plain, _ = by_hand(made, 0.3)
    found = made(X, points={"steps.*.part:v": "read"}).captures
    first, second = found[0, 0, "steps.0.part", "v"], found[2, 0, "steps.2.part", "v"]
    raw = plain(X, points={"steps.*.part:v": "read"}).captures
    assert torch.equal(first, raw[0, 0, "steps.0.part", "v"])
    assert gap(second, 0.7 * raw[2, 0, "steps.2.part", "v"] + 0.3 * first) < 1e-12
    none = made(X, points={"steps.2.part:v": torch.zeros_like}).captures
    assert none == {}
    silent = made(X, points={"steps.*.part:v": torch.zeros_like}).logits
    assert gap(silent, made(X, points={"steps.*.part:context": torch.zeros_like}).logits) < 1e-12


def test_axes_of_values_are_not_narrowed_one_layer_alone():
    made = built()
    for axis in ("kv", "head_dim"):
        with pytest.raises(by.UsageError, match="cannot be narrowed: its values meet those of other layers"):
            take(made, f"steps.2.part.{axis}", [0])
    inner, _ = take(made, "steps.1.part.inner", range(8))
    assert inner(X).logits.isfinite().all()


def test_layers_without_values_or_with_others_are_passed_by():
    """The first layer must have some; values of another shape stay as they are, and those behind them are mixed."""
    assert built(None, mixer("attention", heads=2), mixer("mamba"))(X).logits.isfinite().all()
    with pytest.raises(by.UsageError, match="residual:value mixes values, and mamba has no point v"):
        built(None, mixer("mamba"), mixer("attention", heads=2))
    parts = mixer("attention", heads=4), mixer("attention", heads=2), mixer("attention", heads=4)
    found = built(residual("value", share=0.3), *parts)(X, points={"steps.*.part:v": "read"}).captures
    values = {path: v for (*_, path, _), v in found.items()}
    apart = built(residual("value", share=0.0), *parts)
    own = {path: v for (*_, path, _), v in apart(X, points={"steps.*.part:v": "read"}).captures.items()}
    first, second, third, *_ = sorted(values)
    assert torch.equal(values[first], own[first]) and torch.equal(values[second], own[second])
    assert values[second].shape != values[first].shape == values[third].shape
    assert not torch.allclose(values[third], own[third])


def test_what_another_stream_says_is_not_mixed():
    made = by.build("encoder_decoder", "tiny", **{"model.residual": "value"})
    held = [step.rule.holder for step in made.steps]
    assert held == ["steps.0.part", "", "", "steps.3.part", "", ""]
    swin = by.build("swin", "tiny", **{"model.residual": "value"})  # values of windows are not those of its stream
    plain = by.build("swin", "tiny", **{"model.residual": "prenorm"})
    x = swin.example(2, 16)
    assert all(torch.equal(a, b) for a, b in zip(swin(x).prediction.values(), plain(x).prediction.values()))
