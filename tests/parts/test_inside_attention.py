"""Attention from inside: scores and weights as hook points, by the dense formula, and only where somebody asks."""

import pytest
import torch

import blockyard as by
from blockyard.core.spec import Spec, block, channel, depth, head, model, residual, stem
from blockyard.parts.mixer.softmax import attention as module

SHORT = Spec.of("pattern", "band", dict(window=3, sinks=1))
KINDS = [
    {}, dict(kv_heads=1, position=None), dict(pattern=SHORT),
    dict(position="alibi", pattern=Spec.of("pattern", "band", dict(window=4))), dict(position="t5"),
    dict(norm="rms", gate="silu", weigh=Spec.of("weigh", "softmax", dict(scale=0.3))),
]  # fmt: skip
READ = {"*:scores": "read", "*:weights": "read"}


def built(causal=True, **settings):
    layer = block("a", Spec.of("mixer", "attention", {"heads": 4, **settings}), channel("gated"))
    made = by.build(model(
        dim=16, stem=stem("tokens", vocab=40), blocks=(layer,), depth=depth("stack", layers=1), causal=causal,
        residual=residual("prenorm"), head=head("lm"),
    )).double()  # fmt: skip
    draw = torch.Generator().manual_seed(2)
    for p in made.parameters():
        p.data += 0.3 * torch.randn(p.shape, generator=draw, dtype=torch.float64)
    return made


def ids(rows=2, length=9):
    return torch.randint(0, 40, (rows, length), generator=torch.Generator().manual_seed(1))


def inside(out):
    found = {key[3]: value for key, value in out.captures.items()}
    return found["scores"], found["weights"]


BATCHES = {
    "whole": by.Batch(ids()),
    "padded": by.Batch(ids(), valid=torch.arange(9) < torch.tensor([[9], [5]])),
    "packed": by.Batch(ids(1), segment=torch.tensor([[0] * 4 + [1] * 5])),
}


@pytest.mark.parametrize("settings", KINDS, ids=str)
@pytest.mark.parametrize("how", BATCHES)
@pytest.mark.parametrize("causal", [True, False])
def test_who_looks_inside_sees_what_is_done(settings, how, causal):
    made, batch = built(causal, **settings), BATCHES[how]
    plain, shown = made(batch), made(batch, points=READ)
    counts = torch.ones_like(batch.tokens, dtype=torch.bool) if batch.valid is None else batch.valid
    assert (plain.logits - shown.logits)[counts].abs().max() < 1e-10
    scores, weights = inside(shown)
    assert weights.shape == scores.shape == (len(batch.tokens), 4, 9, 9)
    assert torch.allclose(weights, scores.softmax(-1))
    if causal:
        assert weights.triu(1).abs().max() == 0
    if how == "packed":
        assert weights[..., 4:, :4].abs().max() == 0
    if how == "padded":
        assert weights[1, :, :5, 5:].abs().max() == 0
    if settings.get("pattern") == SHORT and causal and how == "whole":
        assert weights[0, 0, 8].nonzero().flatten().tolist() == [0, 6, 7, 8]  # a sink, and the last three


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_a_piece_looks_at_the_keys_of_all_pieces(settings):
    made, x = built(**settings), ids()
    weights = inside(made(x, points=READ))[1]
    state = made(x[:, :6], made.init_state(2)).state
    later = made(x[:, 6:], state, points=READ)
    assert torch.allclose(later.logits, made(x).logits[:, 6:], atol=1e-10)
    keys = inside(later)[1].shape[-1]  # a windowed cache has dropped what nobody sees
    kept = weights[:, :, 6:]
    assert torch.allclose(inside(later)[1].sum(-1), kept.sum(-1)) and keys <= 9
    if "pattern" not in settings:
        assert torch.allclose(inside(later)[1], kept, atol=1e-10)


def test_what_replaces_them_is_what_counts():
    made, x = built(position=None), ids()
    whole = {"*:context": "read"}

    def context(points):
        return next(v for k, v in made(x, points=points | whole).captures.items() if k[3] == "context")

    assert context({"*:weights": torch.zeros_like}).abs().max() == 0
    even = context({"*:scores": lambda s: s.masked_fill(s.isfinite(), 0.0)})
    v = next(v for k, v in made(x, points={"*:v": "read"}).captures.items() if k[3] == "v")
    mean = v.cumsum(1) / torch.arange(1, 10, dtype=torch.float64)[:, None, None]
    assert torch.allclose(even, mean.flatten(2), atol=1e-10)


def test_a_reduction_is_taken_in_passing():
    made, x, seen = built(), ids(), []
    made(x, points={"*:weights": lambda w: (seen.append((w * w.clamp(min=1e-30).log()).sum(-1).mean()), w)[1]})
    assert len(seen) == 1 and seen[0].shape == ()


def test_nobody_pays_who_does_not_ask(monkeypatch):
    def refused(*_, **__):
        raise AssertionError("the dense formula")

    made, x = built(), ids()
    monkeypatch.setattr(module, "attend_shown", refused)
    made(x, points={"*:q": "read", "*:context": "read"})
    with pytest.raises(AssertionError, match="dense"):
        made(x, points={"*:scores": "read"})
    assert module.INSIDE == ("scores", "weights")


def test_a_tower_is_looked_at_in_the_same_way():
    made = by.build("encoder_decoder", "tiny").double()
    batch = by.Batch(ids(), more={"source": ids(2, 5), "source.valid": torch.arange(5) < torch.tensor([[5], [2]])})
    out = made(batch, points={"steps.1.part:weights": "read"})
    (weights,) = out.captures.values()
    assert weights.shape == (2, 1, 9, 5) and torch.allclose(weights.sum(-1), torch.ones(2, 1, 9, dtype=torch.float64))
    assert weights[1, ..., 2:].abs().max() == 0
    assert torch.allclose(out.logits, made(batch).logits, atol=1e-10)
