"""A store of prefixes: what is known is never processed again, and changes nothing."""

import pytest
import torch
from decode_cases import NAMES, ids, model_of, ragged, tiny, written

from blockyard.core.errors import UsageError
from blockyard.decode.generate import generate
from blockyard.decode.prefix import PrefixStore
from blockyard.decode.rules import SamplingParams

RULES = SamplingParams(temperature=0.8, seed=4)


def turns(model, store, rules=RULES, own=7):
    """Three turns of a conversation; the tokens, and how many each turn had to process."""
    vocab = model.axes["stem.vocab"].size
    past, seen, real = ids(1, 21)[0] % vocab, [], model.start
    fed = [0]

    def counting(batch, *rest, **more):
        fed[0] += (batch if isinstance(batch, torch.Tensor) else batch.tokens).shape[1]
        return real(batch, *rest, **more)

    model.start = counting
    try:
        for turn in range(3):
            fed[0] = 0
            new = written(generate(model, past[None], 13, rules, seeds=[own], store=store))[0]
            past = torch.cat([past, new, ids(1, 6, 50 + turn)[0] % vocab])
            seen.append(fed[0])
    finally:
        del model.start
    return past, seen


@pytest.mark.parametrize("name", NAMES)
def test_two_turns_equal_one(name):
    model = model_of(name)
    plain, _ = turns(model, None)
    store = PrefixStore(model, block_size=8)
    through, fed = turns(model, store)
    assert torch.equal(through, plain)
    # a later turn feeds the last token of the turn before, six new ones and its own twelve
    assert fed == [21 + 12, 7 + 12, 7 + 12]
    again, fed = turns(model, store)
    assert torch.equal(again, plain) and fed[0] <= 8 + 12
    state, known = store.open(plain)
    whole = model(plain[None]).logits[:, known:]
    assert (model(plain[None, known:], state).logits - whole).abs().max() < 1e-9


@pytest.mark.parametrize("name", ["llama", "olmo_hybrid", "windowed"])
def test_conversations_share_what_they_share(name):
    model, common = model_of(name), ids(1, 40)[0]
    rows = [torch.cat([common, row]) for row in ragged(3, 17, 9)]
    plain = written(generate(model, rows, 9, RULES))
    store = PrefixStore(model, block_size=8)
    assert torch.equal(written(generate(model, rows[:1], 9, RULES)), plain[:1])
    assert torch.equal(written(generate(model, rows, 9, RULES, store=store)), plain)
    assert store.open(rows[2])[1] == 48 and store.open(torch.cat([common, ids(1, 9, 99)[0]]))[1] == 40
    assert torch.equal(written(generate(model, rows, 9, RULES, store=store)), plain)
    before = store.nbytes
    store.feed(rows[0])
    assert store.nbytes == before, "what is known is not held twice"


@pytest.mark.parametrize("name", ["llama", "olmo_hybrid"])
def test_bytes_are_a_limit_and_the_longest_unused_go_first(name):
    model = model_of(name)
    store = PrefixStore(model, block_size=8)
    store.feed(ids(1, 32)[0])
    one = store.nbytes
    small = PrefixStore(model, block_size=8, bytes=2 * one + one // 2)
    for seed in range(6):
        small.feed(ids(1, 32, seed)[0])
        small.feed(ids(1, 32, 0)[0])
        assert small.nbytes <= small.bytes
        assert small.nbytes == sum(piece.nbytes for piece in small._pieces.values())
    assert small.open(ids(1, 32, 0)[0])[1] == 24 and small.open(ids(1, 32, 5)[0])[1] == 24
    assert small.open(ids(1, 32, 1)[0])[1] == 0 and len(small._tails) <= 4
    small.clear()
    assert small.nbytes == len(small) == 0 and small.open(ids(1, 32, 0)[0])[1] == 0


def test_what_a_consumer_leaves_early_is_kept_right():
    model = tiny("olmo_hybrid")
    store, rows = PrefixStore(model, block_size=8), ragged(5, 11)
    free = written(generate(model, rows, 30, RULES))
    stop = int(free[0, 4])
    steps = generate(model, rows, 30, RULES, stop=stop, store=store)
    for _ in range(12):
        next(steps)
    steps.close()
    met = free[0].tolist().index(stop)
    whole = [torch.cat([row, line]) for row, line in zip(rows, free)]
    assert store.open(whole[0])[1] == 5 + met and store.open(whole[1])[1] == 11 + 11
    for row in whole:
        state, known = store.open(row)
        assert (model(row[None, known:], state).logits - model(row[None]).logits[:, known:]).abs().max() < 1e-9


def test_wrong_requests():
    model, x = tiny("llama"), ids(2, 9)
    store = PrefixStore(model)
    for call in (
        lambda: PrefixStore(model, block_size=0),
        lambda: PrefixStore(model, bytes=0),
        lambda: store.keep(x[0], model(x, model.init_state(2)).state),
        lambda: store.keep(x[0, :4], model(x[:1], model.init_state(1)).state),
        lambda: generate(tiny("gla"), x, 3, store=store),
    ):
        with pytest.raises(UsageError):
            call()
