"""Rows that go ahead of themselves get the very tokens that they get without, whatever guesses, stays or comes."""

import pytest
import torch
from decode_cases import ids, tiny, wide

import blockyard as by
from blockyard.decode.ahead import Speculation
from blockyard.decode.continuous import Continuous, Request
from blockyard.decode.propose import Proposal, Proposer
from blockyard.decoder.draft import Draft
from blockyard.decoder.prompt_lookup import PromptLookup
from blockyard.decoder.self_speculative import SelfSpeculative

GREEDY = by.SamplingParams(temperature=0)
RULES = [
    GREEDY,
    by.SamplingParams(temperature=0.7, top_k=20, seed=3),
    by.SamplingParams(temperature=0, repetition_penalty=1.2),
]
KINDS = ("llama", "gla", "mamba2_hybrid")  # attention, a recurrence, both


def asked(tokens=40, **more):
    """Prompts that repeat themselves, of several rules."""
    return [Request(ids(1, 5 + 3 * n, seed=n)[0].repeat(2), tokens - 7 * n, RULES[n], seed=n, **more) for n in range(3)]


def run(batch, requests):
    """Everybody's tokens with their log-probabilities, and how they ended."""
    told = {id(request): [] for request in requests}
    for request in requests:
        batch.add(request)
    while batch.busy:
        for token in batch.turn():
            told[id(token.request)].append(token)
    found = [told[id(request)] for request in requests]
    return [[t.token for t in each] for each in found], [each[-1].end for each in found], found


class Wrong(Proposer):
    """Some guesses that hold and then one that does not, so that something is taken back every time."""

    def __init__(self, known):
        self.known = known  # what each prompt goes on with

    def begin(self, rows): ...

    def select(self, lines): ...

    def propose(self, rows, wanted):
        line = next(each for each in self.known if each[: len(rows.ids[0])] == rows.ids[0])
        new = line[len(rows.ids[0]) :][: wanted[0]]
        right = (len(rows.ids[0]) % 3) % max(1, len(new))
        return Proposal([[*new[:right], *[(x + 1) % 256 for x in new[right:]]]])


def makers(model, known):
    return {
        "lookup": PromptLookup,
        "itself": lambda: Draft(model, likeliest=True),
        "wrong": lambda: Wrong(known),
    }


@torch.no_grad()
@pytest.mark.parametrize("guesser", ["lookup", "itself", "wrong"])
@pytest.mark.parametrize("name", KINDS)
def test_the_tokens_are_those_of_a_run_without(name, guesser):
    model = tiny(name)
    plain, ends, _ = run(Continuous(model, 2), asked())
    known = [[*request.ids.tolist(), *new] for request, new in zip(asked(), plain)]
    batch = Continuous(model, 2, speculation=Speculation(makers(model, known)[guesser], 5))
    told, ended, tokens = run(batch, asked())
    assert (told, ended) == (plain, ends)
    counts = batch.counts
    assert counts.proposed > 0 and (guesser == "lookup" or 0 < counts.accepted < counts.proposed)
    assert guesser != "itself" or counts.forwards < sum(map(len, plain)) / 2  # several tokens come of one forward
    for request, each in zip(asked(), tokens):  # of each token the model's own log p, not that of a neighbour
        whole = torch.cat([request.ids, torch.tensor([t.token for t in each])])
        logp = model(whole[None]).logits[0].log_softmax(-1)
        own = [float(logp[len(request.ids) + i - 1, t.token]) for i, t in enumerate(each)]
        assert [t.logprob for t in each] == pytest.approx(own, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("guesser", ["lookup", "itself", "wrong"])
@pytest.mark.parametrize("name", KINDS)
def test_a_program_goes_ahead_to_the_last_bit(name, guesser, monkeypatch):
    """In float32, where nothing is far from noise: no choice is made twice."""
    monkeypatch.setattr("blockyard.decode.continuous.WORTH", (0, 0))
    model = wide(name)
    plain, _, without = run(Continuous(model, 2), asked())
    known = [[*request.ids.tolist(), *new] for request, new in zip(asked(), plain)]
    batch = Continuous(model, 2, speculation=Speculation(makers(model, known)[guesser], 5))
    told, _, tokens = run(batch, asked())
    assert told == plain and batch.counts.ties == 0
    assert [[t.logprob for t in each] for each in tokens] == [[t.logprob for t in each] for each in without]


def test_choices_within_the_noise_are_made_as_plain_decoding_makes_them(monkeypatch):
    """Every choice is called close: each is decided anew, and a forward of many tokens that lies is not believed."""
    model = tiny("mamba2_hybrid")
    plain, _, _ = run(Continuous(model, 1), asked())
    monkeypatch.setattr("blockyard.decode.ahead.noise_of", lambda _: 1e15)
    read = type(past_of_state(model)).read
    monkeypatch.setattr("blockyard.decode.past.OnState.read", lambda self, rows: [-x for x in read(self, rows)])
    sampled = by.SamplingParams(temperature=0, repetition_penalty=1.0)
    batch = Continuous(model, 1, speculation=Speculation(lambda: Draft(model, likeliest=True), 3))
    (told,), _, _ = run(batch, [Request(asked()[0].ids, 40, sampled)])
    assert told == plain[0] and batch.counts.ties > 5


def past_of_state(model):
    from blockyard.decode.past import OnState

    return OnState(model, model.init_state(1))


def test_many_rows_and_guided_ones_are_not_guessed_for():
    model = tiny("llama")
    calls = []

    class Counting(PromptLookup):
        def propose(self, rows, wanted):
            calls.append(wanted)
            return super().propose(rows, wanted)

    class Free:
        ended = False

        def allowed(self):
            return torch.ones(256, dtype=torch.bool)

        def take(self, token): ...

    same = [Request(ids(1, 8, seed=n)[0], 60, GREEDY) for n in range(3)]
    batch = Continuous(model, 3, speculation=Speculation(Counting, 4, rows=2))
    for request in same:
        batch.add(request)
    for _ in range(3):  # one prompt a turn
        batch.turn()
    assert len(batch.running) == 3
    calls.clear()
    batch.turn()
    assert not calls  # three run
    batch.cancel(same[0])
    batch.turn()
    assert len(calls) == 2  # two do
    alone = Continuous(model, 3, speculation=Speculation(Counting, 4))
    calls.clear()
    run(alone, [Request(ids(1, 8)[0], 6, GREEDY, guide=Free())])
    assert not calls


def test_stops_lengths_and_arrivals_in_the_middle_of_guesses():
    """A stop among the guesses ends the row there; who comes meanwhile finds what is owed read."""
    model = tiny("mamba2_hybrid")
    plain, _, _ = run(Continuous(model, 1), asked())
    stop = plain[0][9]
    first = plain[0].index(stop)
    batch = Continuous(model, 3, speculation=Speculation(lambda: Draft(model, likeliest=True), 4, rows=1))
    one, two = asked(stop=[stop])[0], asked()[1]
    told = {id(one): [], id(two): []}
    batch.add(one)
    for turn in range(60):
        if turn == 2:
            batch.add(two)
        for token in batch.turn():
            told[id(token.request)].append((token.token, token.end))
    assert told[id(one)] == [*[(t, None) for t in plain[0][:first]], (stop, "stop")]
    assert [t for t, _ in told[id(two)]] == plain[1] and not batch.busy


def test_weights_that_are_no_numbers_end_their_row_alone():
    """Also where they show behind a guess."""
    from blockyard.decode.continuous import Failed

    model = tiny("llama")
    batch = Continuous(model, 2, speculation=Speculation(PromptLookup, 4))
    request = asked()[0]
    batch.add(request)
    batch.turn()
    real = batch.past.read
    batch.past.read = lambda rows: [torch.full_like(x, torch.nan) for x in real(rows)]
    batch.past.step = lambda tokens: torch.full((1, 256), torch.nan, dtype=torch.float64)
    with pytest.raises(Failed):
        for _ in range(3):
            batch.turn()
    assert not batch.busy


def test_wrong_words():
    for wrong in (dict(num_speculative=0), dict(num_speculative=257), dict(rows=0)):
        with pytest.raises(by.UsageError):
            Speculation(PromptLookup, **wrong)
    with pytest.raises(by.UsageError, match="share"):
        Speculation(SelfSpeculative)
    with pytest.raises(by.UsageError, match="8 bits"):
        Continuous(tiny("llama"), int8_cache=True, speculation=Speculation(PromptLookup))
