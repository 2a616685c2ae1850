"""Requests that come and go get what each would get alone, whoever else is there and however they are read."""

import pytest
import torch
from decode_cases import NAMES, ids, model_of, tiny, wide

import blockyard as by
from blockyard.decode.continuous import Continuous, Failed, Request
from blockyard.decode.prefix import PrefixStore
from tests.cover import each

GREEDY = by.SamplingParams(temperature=0)
RULES = [
    GREEDY,
    by.SamplingParams(temperature=0.9, top_k=30, seed=4),
    by.SamplingParams(repetition_penalty=1.3, seed=2),
]


def requests(vocab, many=7):
    """Of several lengths, rules and ends."""
    return [
        Request(
            ids(1, 3 + 11 * n % 40, seed=n, vocab=vocab)[0],
            4 + 5 * n % 13,
            RULES[n % 3],
            seed=n,
            stop=[7] if n % 2 else (),
        )
        for n in range(many)
    ]


def alone(model, request, **how):
    """What `generate` gives it."""
    steps = by.generate(
        model, request.ids[None], request.tokens, request.rules, seeds=[request.seed], stop=request.stop, **how
    )
    return [int(step.tokens[0]) for step in steps]


def served(batch, asked, arrivals=2):
    """Everybody's tokens, where so many more arrive before each turn."""
    coming, told = list(asked), {id(request): [] for request in asked}
    ends = {}
    while coming or batch.busy:
        for request in coming[:arrivals]:
            batch.add(request)
        coming = coming[arrivals:]
        for token in batch.turn():
            assert id(token.request) not in ends
            told[id(token.request)].append(token.token)
            if token.end:
                ends[id(token.request)] = token.end
    assert len(ends) == len(asked)
    return [told[id(request)] for request in asked], [ends[id(request)] for request in asked]


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("name", each(NAMES, 6))
def test_each_gets_what_it_would_get_alone(name, rows):
    model = model_of(name)
    asked = requests(model.axes["stem.vocab"].size)
    told, ends = served(Continuous(model, rows, chunk=16), asked)
    for request, tokens, end in zip(asked, told, ends):
        assert tokens == alone(model, request, chunk=16)
        assert end == ("stop" if request.stop and tokens[-1] == 7 else "length")


@pytest.mark.parametrize("name", ["llama", "mamba2_hybrid"])
def test_a_program_serves_rows_to_the_last_bit(name, monkeypatch):
    """Also past the room for tokens and rows that there was at first."""
    for room in ("generate", "continuous"):
        monkeypatch.setattr(f"blockyard.decode.{room}.WORTH", (0, 0))
    model = wide(name)
    asked = requests(256, 5)
    asked.append(Request(ids(1, 50, seed=9)[0], 60, GREEDY))
    batch = Continuous(model, 4)
    told, _ = served(batch, asked, 1)
    assert told == [alone(model, request) for request in asked]
    assert batch.past is None and not batch.running


@pytest.mark.parametrize("worth", [0, 1 << 60])
@pytest.mark.parametrize("name", ["llama", "windowed", "gla", "mamba2_hybrid"])
def test_a_second_turn_reads_nothing_of_the_first(name, worth, monkeypatch):
    """Not the question and not the answer, in a cache, a window or a memory; and gives what reading it all gives."""
    monkeypatch.setattr("blockyard.decode.continuous.WORTH", (worth, 0))
    if worth:
        model = model_of(name)
    else:
        model = wide("llama", mixer__window=6, mixer__sinks=2) if name == "windowed" else wide(name)
    store = PrefixStore(model, block_size=8)
    batch = Continuous(model, 2, store=store)
    first = Request(ids(1, 21)[0], 11, GREEDY)
    other = Request(ids(1, 13, seed=5)[0], 17, GREEDY)
    (answer, _), _ = served(batch, [first, other])
    whole = torch.cat([first.ids, torch.tensor(answer), ids(1, 5, seed=8)[0]])
    again = Request(whole, 6, GREEDY)
    _, known = store.open(whole)
    assert known == 21 + 11 - 1  # the last token of an answer is nobody's past yet
    ((found,), _) = served(batch, [again])
    assert found == alone(model, again) and (first.known, again.known) == (0, known)


def test_branches_of_a_conversation_and_an_edit_in_the_middle():
    model = tiny("mamba2_hybrid")
    batch = Continuous(model, 2, store=PrefixStore(model, block_size=4))
    base = ids(1, 30, seed=3)[0]
    edited = base.clone()
    edited[11] = (edited[11] + 1) % 256
    asked = [Request(torch.cat([base, ids(1, n, seed=n)[0]]), 5, GREEDY) for n in (3, 4, 5)] + [
        Request(edited, 5, GREEDY)
    ]
    told, _ = served(batch, asked, 1)
    assert told == [alone(model, request) for request in asked]


def test_who_leaves_costs_nobody_anything():
    model = tiny("gla")
    batch, asked = Continuous(model, 3), requests(256, 5)
    for request in asked:
        batch.add(request)
    told = {id(request): [] for request in asked}
    for turn in range(200):
        if turn == 1:
            batch.cancel(asked[0])
            batch.cancel(asked[4])  # that one still waits
        for token in batch.turn():
            told[id(token.request)].append(token.token)
    assert not batch.busy and not told[id(asked[4])] and len(told[id(asked[0])]) == 1
    for request in asked[1:4]:
        assert told[id(request)] == alone(model, request)
    batch.cancel(asked[1])  # has ended


@pytest.mark.parametrize("wrong", ["guide", "weights"])
def test_what_is_wrong_with_one_row_ends_that_row(wrong):
    """Before anybody's token is taken, so that the others lose none; and nothing of it is kept."""
    model = tiny("llama")

    class Nothing:
        ended = False

        def allowed(self):
            raise by.UsageError("nothing may come")

    store = PrefixStore(model, block_size=4)
    batch, good = Continuous(model, 3, store=store), requests(256, 2)
    bad = Request(ids(1, 9, seed=5)[0], 9, GREEDY, guide=Nothing() if wrong == "guide" else None)
    told = {id(request): [] for request in good}
    for request in (good[0], bad, good[1]):
        batch.add(request)
    with pytest.raises(by.UsageError, match="under way"):
        batch.add(bad)
    failed = []
    while batch.busy:
        if wrong == "weights" and batch.running and batch.running[-1].request is bad:
            batch.logits[-1] = torch.nan
        try:
            for token in batch.turn():
                told.setdefault(id(token.request), []).append(token.token)
        except Failed as error:
            failed.append(error.request)
    assert failed == [bad]
    assert all(told[id(request)] == alone(model, request) for request in good)


def test_a_prompt_is_left_between_two_pieces():
    """Also where nobody else runs."""
    batch = Continuous(tiny("llama"), 2, chunk=8)
    batch.add(asked := Request(ids(1, 80, seed=1)[0], 2, GREEDY))
    assert batch.turn() == [] and batch.busy
    batch.cancel(asked)
    assert not batch.busy


def test_a_long_prompt_does_not_hold_up_the_others():
    """While it is read, a piece a turn, those that run get a token every turn."""
    model = tiny("llama")
    batch = Continuous(model, 2, chunk=8)
    batch.add(Request(ids(1, 4)[0], 20, GREEDY))
    batch.turn()
    batch.add(Request(ids(1, 80, seed=1)[0], 2, GREEDY))
    counts = [len(batch.turn()) for _ in range(11)]
    assert counts == [1] * 9 + [2, 2]


def test_likeliest_tokens_and_guides():
    model = tiny("llama")

    class Even:
        def __init__(self):
            self.taken = []

        def allowed(self):
            return torch.arange(256) % 2 == 0

        def take(self, token):
            self.taken.append(token)

        @property
        def ended(self):
            return len(self.taken) == 6

    guide = Even()
    free, held = Request(ids()[0], 6, GREEDY, top=3), Request(ids()[0], 6, GREEDY, guide=guide)
    held.tokens = 60
    batch = Continuous(model)
    batch.add(free)
    batch.add(held)
    tokens = [token for _ in range(7) for token in batch.turn()]  # the second joins with the second turn
    assert not batch.busy and [token.end for token in tokens if token.end] == ["length", "stop"]
    for token in tokens:
        if token.request is free:
            assert len(token.top) == 3 and token.top[0] == (token.token, pytest.approx(token.logprob, abs=1e-5))
    even = [token.token for token in tokens if token.request is held]
    assert guide.taken == even and all(token % 2 == 0 for token in even) and len(even) == 6
    assert any(token.token % 2 for token in tokens if token.request is free)


def test_text_and_wrong_requests():
    model = tiny("llama")
    batch = Continuous(model)
    batch.add(Request(ids()[0], 5, GREEDY, decode=lambda found: "".join(chr(97 + i % 26) for i in found), stop="\x00"))
    text = "".join(token.text or "" for _ in range(5) for token in batch.turn())
    assert len(text) == 5 and text.isalpha()
    for wrong, says in [
        (Request(torch.tensor([], dtype=torch.long), 5), "empty"), (Request(torch.tensor([256]), 5), "token ids"),
        (Request(ids()[0], 0), "tokens 0"), (Request(ids()[0], 5, top=21), "at most 20"),
    ]:  # fmt: skip
        with pytest.raises(by.UsageError, match=says):
            batch.add(wrong)
    with pytest.raises(by.UsageError, match="another model"):
        Continuous(model, store=PrefixStore(tiny("gla")))
    assert not batch.busy
