"""Cases in which servers with a cache of beginnings went wrong, replayed in meaning: each against a run from scratch.

What was read is never processed again, and what is taken up again changes nothing: for attention, whose cache can be
cut anywhere, for a recurrence, whose memory can be taken up only where it was kept, and for a model that has both.
"""

from contextlib import contextmanager

import pytest
import torch
from decode_cases import ids, tiny, wide

import blockyard as by
from blockyard.decode.ahead import Speculation
from blockyard.decode.continuous import Continuous, Request
from blockyard.decode.prefix import PrefixStore
from blockyard.decoder.draft import Draft
from blockyard.transform._base import make_transform

GREEDY = by.SamplingParams(temperature=0)
KINDS = pytest.mark.parametrize("name", ["llama", "gla", "mamba2_hybrid"])
BLOCK, MADE = 8, 5
BASE = ids(1, 21, seed=3)[0]


class Talk:
    """A batch with a store, and what it processes."""

    def __init__(self, name, **how):
        self.model = tiny(name) if isinstance(name, str) else name
        self.store = PrefixStore(self.model, block_size=BLOCK, bytes=how.pop("bytes", 1 << 30))
        self.batch = Continuous(self.model, 3, store=self.store, **how)
        self.fed = 0

    @contextmanager
    def counting(self):
        real = type(self.model).start

        def start(batch, *rest, **more):
            self.fed += (batch if isinstance(batch, torch.Tensor) else batch.tokens).numel()
            return real(self.model, batch, *rest, **more)

        self.fed, self.model.start = 0, start
        try:
            yield
        finally:
            del self.model.start

    def say(self, prompt, tokens=MADE):
        """The conversation with its answer, which is that of a run from scratch; and tokens known, and processed."""
        request, told = Request(prompt, tokens, GREEDY), list[int]()
        with self.counting():
            self.batch.add(request)
            while self.batch.busy:
                told += [token.token for token in self.batch.turn()]
        assert told == alone(self.model, prompt, tokens)
        return torch.cat([prompt, torch.tensor(told)]), request.known, self.fed


def alone(model, prompt, tokens=MADE):
    return [int(step.tokens[0]) for step in by.generate(model, prompt[None], tokens, GREEDY)]


def more(whole, n, seed):
    return torch.cat([whole, ids(1, n, seed=seed)[0]])


@KINDS
def test_case_01_no_turn_processes_the_turns_before_it(name):
    talk = Talk(name)
    past, known, fed = talk.say(BASE)
    assert (known, fed) == (0, 21 + MADE - 1)
    for turn in range(3):
        before = len(past) - 1  # the last token of an answer is nobody's past yet
        past, known, fed = talk.say(more(past, 3, turn))
        assert known == before and fed == 1 + 3 + MADE - 1


@KINDS
def test_case_02_the_same_prompt_again_reads_less_than_a_piece(name):
    talk = Talk(name)
    talk.say(BASE)
    _, known, fed = talk.say(BASE)
    assert known >= 16 and fed == 21 - known + MADE - 1


@KINDS
def test_case_03_branches_read_their_own_tokens(name):
    talk = Talk(name)
    first, _, _ = talk.say(BASE)
    for seed in (5, 6, 7):  # of an answer
        _, known, fed = talk.say(more(first, 4, seed))
        assert known == len(first) - 1 and fed == 1 + 4 + MADE - 1
    for seed in (8, 9):  # of the prompt
        _, known, fed = talk.say(more(BASE, 4, seed))
        assert known in (16, 21) and fed == 25 - known + MADE - 1


@KINDS
@pytest.mark.parametrize("place", [7, 8, 20])
def test_case_04_an_edit_is_read_from_its_piece_on(name, place):
    talk = Talk(name)
    talk.say(BASE)
    edited = BASE.clone()
    edited[place] = (edited[place] + 1) % 256
    _, known, fed = talk.say(edited)
    assert known == place // BLOCK * BLOCK and fed == 21 - known + MADE - 1


@KINDS
def test_case_05_what_a_cancelled_request_read_is_known(name):
    talk = Talk(name)
    request, told = Request(BASE, 30, GREEDY), list[int]()
    talk.batch.add(request)
    while len(told) < 7:
        told += [token.token for token in talk.batch.turn()]
    talk.batch.cancel(request)
    assert not talk.batch.busy
    whole = torch.cat([BASE, torch.tensor(told)])
    _, known, fed = talk.say(more(whole, 2, 1))
    assert known == len(whole) and fed == 2 + MADE - 1  # its last token had been read


@KINDS
def test_case_06_a_prompt_cancelled_halfway_is_known_that_far(name):
    talk = Talk(name)
    long = ids(1, 45, seed=4)[0]
    talk.batch.add(request := Request(long, 30, GREEDY))
    for _ in range(3):  # what is known, then two pieces
        talk.batch.turn()
    talk.batch.cancel(request)
    _, known, fed = talk.say(long)
    assert known >= BLOCK and known % BLOCK == 0 and fed == 45 - known + MADE - 1


@KINDS
def test_case_07_a_beginning_of_what_is_known_is_not_cut_out_of_a_later_memory(name):
    """An answer is thrown away and asked for again: a memory that has read it must not be taken up."""
    talk = Talk(name)
    whole, _, _ = talk.say(BASE, 14)
    for length in (21, 24, 30):
        _, known, fed = talk.say(whole[:length])
        assert (length - 1) // BLOCK * BLOCK <= known < length and fed == length - known + MADE - 1


@KINDS
def test_case_08_two_who_begin_alike_at_once_do_not_meet(name):
    talk = Talk(name)
    asked = [Request(more(BASE, n, n), MADE, GREEDY) for n in (2, 3, 2)]
    told = {id(request): [] for request in asked}
    for request in asked:
        talk.batch.add(request)
    while talk.batch.busy:
        for token in talk.batch.turn():
            told[id(token.request)].append(token.token)
    assert all(told[id(request)] == alone(talk.model, request.ids) for request in asked)


@KINDS
def test_case_09_what_was_thrown_out_is_read_again_and_right(name):
    one = Talk(name)
    one.say(BASE)
    small = Talk(name, bytes=one.store.nbytes * 3 // 2)
    past = small.say(BASE)[0]
    for seed in (11, 12):
        small.say(ids(1, 21, seed=seed)[0])
        assert small.store.nbytes <= small.store.bytes
    small.say(more(past, 3, 1))


@KINDS
def test_case_10_prompts_that_end_with_a_piece(name):
    talk = Talk(name)
    for length in (7, 8, 9):
        past, _, _ = talk.say(BASE[:length])
        _, known, _ = talk.say(more(past, 1, 2))
        assert known == length + MADE - 1


@KINDS
@pytest.mark.parametrize("seed", [1, pytest.param(0, marks=pytest.mark.slow)], ids=["another", "itself"])
def test_case_11_guesses_that_were_refused_leave_nothing_in_what_is_kept(name, seed):
    """Second turns and branches inside of an answer know as much as without guesses, and say the same."""
    draft = tiny(name, seed=seed)  # whose guesses sometimes hold, or always
    talk = Talk(name, speculation=Speculation(lambda: Draft(draft, likeliest=True), 4))
    past, _, _ = talk.say(BASE, 14)
    counts = talk.batch.counts
    assert counts.proposed > 0 and (seed == 0) == (counts.accepted == counts.proposed)
    _, known, _ = talk.say(more(past, 3, 1))
    assert known >= len(past) - 1
    _, known, _ = talk.say(more(past[:32], 2, 5))  # a piece of the answer ended there
    assert known == 32


@KINDS
def test_case_12_models_that_share_weights_share_no_past(name):
    """An adapter on a model in the same memory, asked the same in turns."""
    model = tiny(name)
    made = make_transform("lora:rank=2").apply(model).model
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for path, p in made.named_parameters():
            if path.endswith((".down", ".up")):
                p.add_(0.5 * torch.randn(p.shape, generator=draw, dtype=torch.float64))
    plain, adapted = Talk(model), Talk(made)
    first, again = plain.say(BASE)[0], adapted.say(BASE)
    assert not torch.equal(first, again[0]) and again[1] == 0  # it found nothing of the other
    assert adapted.say(more(first, 3, 1))[1] <= 21 and plain.say(more(again[0], 3, 1))[1] <= 21
    with pytest.raises(by.UsageError, match="another model"):
        Continuous(made, store=plain.store)
    with pytest.raises(by.UsageError, match="another model"):
        by.generate(made, BASE[None], 3, store=plain.store)


@pytest.mark.slow
@KINDS
def test_case_13_a_program_writes_into_nothing_that_is_kept(name, monkeypatch):
    """Its memory is written in place; what the store has of it is a copy, also of rows that guess."""
    monkeypatch.setattr("blockyard.decode.continuous.WORTH", (0, 0))
    model = wide(name)
    for how in ({}, {"speculation": Speculation(lambda: Draft(model, likeliest=True), 4)}):
        talk = Talk(model, **how)
        past, _, _ = talk.say(BASE, 20)
        for seed in (1, 2, 1):
            _, known, _ = talk.say(more(past, 3, seed))
            assert known >= len(past) - 1
        past, known, _ = talk.say(past[:30])
        assert known >= 24
