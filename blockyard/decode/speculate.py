"""Several tokens a forward, losing nothing: a proposer guesses, the model verifies all guesses at once.

    x_i guessed without drawing:   take the token t that the model chooses at i; go on while t = x_i
    x_i drawn from q_i:            take x_i with probability min(1, p_i(x_i) / q_i(x_i)), else t from (p_i - q_i)+

Every forward that accepts n guesses gives n + 1 tokens, of the very distribution of plain decoding (arXiv 2211.17192,
2302.01318); without drawing, also the very tokens of the same seed. What was refused is taken back: caches are cut.
Recurrent leaves go back to the mark before the guesses, and the accepted tokens stand in front of the next guesses,
in one forward with them, until they are too many: then they enter in a forward of their own.

As a decode program, which `generate` uses too, many tokens are read as one is, and its tokens come out by themselves.
Elsewhere a forward of many tokens rounds otherwise than one of a single token. Where the two likeliest tokens lie
closer than the noise of that (`tolerance`, relative to the largest logit), a greedy choice is not safe: there the row
is decoded again from its last exact state, one token at a time and where plain decoding does it, and that choice
counts. So the likeliest tokens are those of plain greedy decoding of the row, to the last one, as long as the noise is
below `tolerance`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from blockyard.core.errors import UsageError
from blockyard.core.renamed import keywords
from blockyard.core.state import State
from blockyard.decode.ends import Step, Stop, StopTracker
from blockyard.decode.generate import logprob, program_for, quiet, seeds_of, seen_in
from blockyard.decode.noise import close, noise_of, seen_along
from blockyard.decode.past import OnProgram, OnState, Past
from blockyard.decode.propose import Proposal, Proposer, Rows
from blockyard.decode.ragged import Prompt, alone, compact, fits, padded, prefill, rows_of
from blockyard.decode.rules import GREEDY, Draws, SamplingParams, choose, integer, pick, probabilities, sound
from blockyard.decode.text import Decode
from blockyard.model.model import Model

MOST = 256  # guesses


@dataclass
class Counts:
    """What speculation did. `forwards` are the model's own after the prompt, without `replayed` ones."""

    tokens: int = 0
    proposed: int = 0
    accepted: int = 0
    forwards: int = 0
    ties: int = 0
    replayed: int = 0


@keywords(ahead="num_speculative", tie="tolerance")
def speculate(
    model: Model, prompt: Prompt, tokens: int, proposer: Proposer, rules: SamplingParams = GREEDY, *,
    num_speculative: int = 6, lengths: Tensor | Sequence[int] | None = None, seeds: Sequence[int] | None = None,
    stop: Stop = (), decode: Decode | None = None, chunk: int = 512, tolerance: float | None = None,
    counts: Counts | None = None,
) -> Iterator[Step]:  # fmt: skip
    """Yield the steps that `generate` yields, with its arguments (prompt, tokens, rules, lengths, seeds, stop, decode,
    chunk); where guesses hold, several tokens come of one forward.

    proposer          who guesses: a Proposer, such as those of decoder/
    num_speculative   guesses a forward, 1 to 256; fewer are asked for where few hold
    tolerance         how close two logits are too close, relative to the largest; by default `noise_of` units in the
                      last place of their dtype, 0 trusts every choice (half precision ties so often that nothing else
                      pays). It matters where the model is no program
    counts            is filled in
    """
    alone(prompt, "speculation")
    rows = rows_of(model, prompt, lengths)
    own = seeds_of(rows, seeds, tokens, chunk)
    fits(model, rows, tokens)
    integer("num_speculative", num_speculative, 1)
    if num_speculative > MOST or not (tolerance is None or 0 <= tolerance < float("inf")):
        raise UsageError(f"num_speculative {num_speculative} must be at most {MOST}, tolerance {tolerance} at least 0")
    ends = StopTracker(len(rows), stop, decode)
    draws = Draws("generate", rules, own, rows[0].device)
    run = _Run(model, rows, tokens, proposer, draws, num_speculative, tolerance, counts or Counts(), ends)
    return run.steps(chunk)


class _Run:
    def __init__(
        self, model: Model, prompt: list[Tensor], tokens: int, proposer: Proposer, draws: Draws, num_speculative: int,
        tolerance: float | None, counts: Counts, ends: StopTracker,
    ) -> None:  # fmt: skip
        self.model, self.prompt, self.tokens, self.proposer = model, prompt, tokens, proposer
        self.rules, self.draws, self.counts, self.ends = draws.rules, draws, counts, ends
        self.num_speculative, self.tolerance = num_speculative, tolerance
        self.accepts = Draws("accept", draws.rules, draws.seeds, draws.device)
        self.guesses = Draws("guess", draws.rules, draws.seeds, draws.device)
        self.noise = noise_of(model)
        self.made: list[list[tuple[int, float]]] = [[] for _ in prompt]
        self.reach = [num_speculative] * len(prompt)  # guesses asked for: more after all held, fewer after one did not
        self.exact: dict[int, Past] = {}  # by row: what plain decoding has read, where a tie was last decided

    @torch.no_grad()
    def steps(self, chunk: int) -> Iterator[Step]:
        if not self.tokens:
            return
        logits, state = prefill(self.model, padded(self.prompt), chunk=chunk)
        self.start, numbers, on_state = state, list(range(len(self.prompt))), self.proposer.needs_state
        at_once = self.num_speculative + 1 + OnProgram.refeed
        past = OnState(self.model, state) if on_state else self._past(state, self.prompt, at_once)
        seen = seen_in(self.prompt, logits, self.rules)
        first = choose(logits, self.draws(numbers, [len(ids) for ids in self.prompt]), self.rules, seen)
        self._write(numbers, first[:, None].tolist(), sound(logprob(logits, first))[:, None].tolist())
        ids = [[*row.tolist(), token] for row, token in zip(self.prompt, first.tolist())]
        rows = Rows(self.model, self.rules, self.guesses, numbers, ids, past)
        self.proposer.begin(len(numbers))
        for given in range(self.tokens):
            while any(len(self.made[row]) <= given for row in self.ends.live):
                self._leave(rows)
                self._round(rows)
            now = [self.made[row][given] for row in self.ends.live]
            chosen = torch.tensor([token for token, _ in now], device=logits.device)
            p = torch.tensor([value for _, value in now], device=logits.device, dtype=torch.float64)
            yield self.ends.take(chosen, p.to(logprob(logits[:1], first[:1]).dtype), final=given + 1 == self.tokens)
            if not self.ends.live:
                return

    def _past(self, state: State, prompt: list[Tensor], at_once: int) -> Past:
        """A program where `generate` makes one."""
        program = program_for(self.model, prompt, self.tokens, at_once=at_once)
        if program is None:
            return OnState(self.model, state)
        program.load(state)
        return OnProgram(program)

    def _write(self, numbers: list[int], tokens: list[list[int]], logprobs: list[list[float]]) -> None:
        for row, new, values in zip(numbers, tokens, logprobs):
            self.made[row] += list(zip(new, values))
            self.counts.tokens += len(new)

    def _leave(self, rows: Rows) -> None:
        """Rows that are complete leave the batch."""

        def runs(row: int) -> bool:
            made = self.made[row]
            return row in self.ends.live and len(made) < self.tokens and made[-1][0] not in self.ends.ids

        lines = [line for line, row in enumerate(rows.numbers) if runs(row)]
        if len(lines) < len(rows.numbers):
            rows.past.select(lines)
            rows.numbers, rows.ids = [rows.numbers[i] for i in lines], [rows.ids[i] for i in lines]
            self.proposer.select(lines)

    def _round(self, rows: Rows) -> None:
        """One proposal, one forward, and what of it holds."""
        wanted = [min(self.reach[row], self.tokens - len(self.made[row]) - 1) for row in rows.numbers]
        guess, past = self.proposer.propose(rows, wanted), rows.past
        with quiet(past.exact):
            found = past.read([torch.cat([old, old.new_tensor(new)]) for old, new in zip(rows.pending, guess.tokens)])
            self.counts.forwards += 1
            for line, (row, new) in enumerate(zip(rows.numbers, guess.tokens)):
                logits = found[line][-len(new) - 1 :]
                taken = self._verify(row, rows.ids[line], logits, guess, line, past.exact)
                if new:
                    self.reach[row] = min(self.num_speculative, len(new) + 2 if len(taken) > len(new) else len(taken))
                self.counts.proposed += len(new)
                self.counts.accepted += len(taken) - 1
                values = sound(logprob(logits[: len(taken)], torch.tensor(taken, device=logits.device)))
                self._write([row], [taken], [values.tolist()])
                rows.ids[line] += taken
            past.back([len(ids) - 1 for ids in rows.ids])
            if max(map(len, rows.pending)) > past.refeed:
                past.absorb([ids[:-1] for ids in rows.pending])
                self.counts.forwards += 1

    def _verify(
        self, row: int, ids: list[int], logits: Tensor, guess: Proposal, line: int, exact: bool
    ) -> list[int]:  # fmt: skip
        """The guesses of one row that hold, and the token behind them; logits (k+1,V) in front of each."""
        new, many = guess.tokens[line], len(logits)
        before = seen_in([ids], logits[:1], self.rules)
        seen = seen_along(None if before is None else before[0], new)
        places = [len(ids) + i for i in range(many)]
        draw = self.draws([row] * many, places)
        if guess.p is None or draw is None or not new:
            chosen = choose(logits, draw, self.rules, seen).tolist()
            close = self._close(logits, seen) if self.rules.greedy and not exact else []
            for i in close:
                if chosen[:i] != new[:i]:
                    break
                chosen[i] = self._plain(row, ids + chosen[:i])
            held = next((i for i, token in enumerate(new) if chosen[i] != token), len(new))
            return chosen[: held + 1]
        p, q = probabilities(logits, self.rules, seen), guess.p[line]
        accept = self.accepts([row] * many, places)
        assert accept is not None
        at = torch.tensor(new, device=logits.device)[:, None]
        holds = (accept[:-1].to(p.dtype) * q.gather(1, at)[:, 0] < p[:-1].gather(1, at)[:, 0]).tolist()
        held = holds.index(False) if False in holds else len(new)
        left = p[held] if held == len(new) else (p[held] - q[held]).clamp(min=0)
        return [*new[:held], int(pick(left if bool(left.sum() > 0) else p[held], draw[held]))]

    def _close(self, logits: Tensor, seen: Tensor | None) -> list[int]:
        """The places where the two likeliest tokens lie within the noise."""
        tolerance = self.noise * torch.finfo(logits.dtype).eps if self.tolerance is None else self.tolerance
        return close(logits, self.rules, seen, tolerance)

    def _plain(self, row: int, ids: list[int]) -> int:
        """What plain decoding of this row chooses behind `ids`, from the place where it was last asked."""
        self.counts.ties += 1
        if row not in self.exact:
            line = torch.tensor([row], device=self.start.length.device)
            self.exact[row] = self._past(compact(self.start.select(line)), [self.prompt[row]], 1)
        past, logits = self.exact[row], None
        for token in ids[int(past.length[0]) :]:
            (logits,) = past.read([torch.tensor([token], device=past.length.device)])
            self.counts.replayed += 1
        assert logits is not None
        seen = seen_in([ids], logits, self.rules)
        return int(choose(logits, None, self.rules, seen))
