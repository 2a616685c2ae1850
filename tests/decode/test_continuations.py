"""Likelihoods of many continuations: held to one forward of each alone, whatever shares a context with what."""

import pytest
import torch

import blockyard as by
from blockyard.core.errors import UsageError
from blockyard.decode import likelihood
from blockyard.decode.likelihood import likelihoods


def pairs():
    """Contexts of several lengths with one to three continuations each, and one of a single token."""
    draw = torch.Generator().manual_seed(0)

    def ids(n):
        return torch.randint(0, 256, (n,), generator=draw).tolist()

    found = []
    for i in range(6):
        context = ids(3 + 4 * i)
        found += [(context, ids(1 + 2 * k)) for k in range(1 + i % 3)]
    return [*found[::2], ([5], [7, 8]), ([5], [9]), *found[1::2]]


def alone(model, context, said, length=None):
    """One forward of one row, in double precision behind the logits."""
    ids = [*context, *said]
    ids = ids if length is None else ids[-length - 1 :]
    with torch.no_grad():
        scores = model(torch.tensor([ids[:-1]])).logits[0].double().log_softmax(-1)[-len(said) :]
    return sum(row[t].item() for row, t in zip(scores, said)), scores.argmax(-1).tolist() == list(said)


@pytest.mark.parametrize("name", ["llama", "gla"])
@pytest.mark.parametrize("length", [None, 11])
def test_each_is_as_alone(name, length, monkeypatch):
    model = by.build(name, size="tiny").eval()
    likeliest = [(context, [int(model(torch.tensor([context])).logits[0, -1].argmax())]) for context, _ in pairs()[:2]]
    asked = [*pairs(), *likeliest]
    wanted = [alone(model, *pair, length) for pair in asked]
    assert {greedy for _, greedy in wanted} == {True, False}
    ready = []
    for rows, at_once in ((None, 1 << 22), (1, 1 << 22), (3, 300)):  # in pieces of a place or two at last
        monkeypatch.setattr(likelihood, "LOGITS", at_once)
        found = likelihoods(model, asked, length=length, rows=rows, done=ready.append)
        assert [each.logprob for each in found] == pytest.approx([x for x, _ in wanted], abs=2e-5)
        assert [each.greedy for each in found] == [greedy for _, greedy in wanted]
    assert sum(ready) == 3 * len(asked)


def test_a_shared_context_is_read_once(monkeypatch):
    model, read = by.build("llama", size="tiny").eval(), []
    start = model.start

    def counted(batch, *more):
        read.append(by.Batch.of(batch).tokens.numel())
        return start(batch, *more)

    monkeypatch.setattr(model, "start", counted)
    context = list(range(50))
    likelihoods(model, [(context, [i, i + 1]) for i in range(4)])
    assert sum(read) == 49 + 4 * 2


def test_where_a_state_is_refused_all_is_read(monkeypatch):
    model = by.build("llama", size="tiny").eval()
    wanted = likelihoods(model, pairs())
    monkeypatch.setattr(likelihood, "prefill", lambda *_: (_ for _ in ()).throw(UsageError("no state")))
    found = likelihoods(model, pairs())
    assert [each.logprob for each in found] == pytest.approx([each.logprob for each in wanted], abs=2e-5)


def test_what_has_no_likelihood_is_refused():
    model = by.build("llama", size="tiny").eval()
    for pair in (([], [1]), ([1], [])):
        with pytest.raises(UsageError, match="one token each"):
            likelihoods(model, [pair])
    with pytest.raises(UsageError, match="longer than the 2"):
        likelihoods(model, [([1], [1, 2, 3])], length=2)
    assert likelihoods(model, []) == []
