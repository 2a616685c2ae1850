"""Text that a checker lets pass: plain text where everything is let, never anything else where it is not."""

from itertools import pairwise

import pytest
import torch

import blockyard as by
from blockyard.decode.checked import checked

DRAWN = by.SamplingParams(temperature=1.5, seed=4)


def text(steps):
    return torch.stack([step.tokens for step in steps], 1)


def prompts():
    draw = torch.Generator().manual_seed(0)
    return [torch.randint(0, 256, (n,), generator=draw) for n in (7, 12, 4)]


@pytest.mark.parametrize("name", ["llama", "gla"])
@pytest.mark.parametrize("rules", [DRAWN, by.SamplingParams(temperature=0)])
def test_where_everything_may_follow_it_is_plain_text(name, rules):
    model = by.build(name, "tiny")
    stop = [int(text(by.generate(model, prompts(), 3, rules))[1, 2])]
    plain = text(by.generate(model, prompts(), 6, rules, stop=stop))
    assert torch.equal(text(checked(model, prompts(), 6, lambda ids: range(256), rules, stop=stop)), plain)
    assert (plain[1, 3:] == -1).all()


def test_only_what_is_let_is_written_and_each_row_is_asked_for_itself():
    model, seen = by.build("gla", "tiny"), []

    def rising(ids):
        seen.append(list(ids))
        return range(ids[-1], min(ids[-1] + 3, 256))

    rows = prompts()
    said = text(checked(model, rows, 6, rising, DRAWN))
    for row, new in zip(rows, said.tolist()):
        line = [*row.tolist()[-1:], *new]
        assert all(0 <= b - a < 3 for a, b in pairwise(line))
        assert all(row.tolist() + new[:n] in seen for n in range(6))
        alone = text(checked(model, [row], 6, rising, DRAWN, seeds=[said.tolist().index(new)]))
        assert alone[0].tolist() == new


@pytest.mark.parametrize("found", [[], [256], [-1, 3]])
def test_a_checker_that_lets_nothing_that_there_is_is_refused(found):
    with pytest.raises(by.UsageError, match="at least one id below 256"):
        list(checked(by.build("llama", "tiny"), prompts(), 2, lambda ids: found))
