"""A small part of `python -m tests.acceptance.referee`: the bound on false keeps, the gains found, what breaks them."""

import numpy as np
import pytest
from scipy import stats

from blockyard.referee import act
from blockyard.referee.evidence import DISCARD, KEEP, looks
from blockyard.referee.ledger import Asked, Ledger, Try
from blockyard.referee.levels import level
from blockyard.referee.sight import most_seeds
from blockyard.task._metric import Metric
from tests.acceptance.referee import CHOSEN, RULES, Game, Spending, planted, play, trial

WORLDS = 200


@pytest.mark.parametrize("kind", ["normal", "heavy", "skewed down", "sly"])
def test_two_hundred_tries_of_no_effect_rarely_keep_any(kind):
    out = play(np.random.default_rng(1), np.zeros((WORLDS, 200)), Game(kind=kind, sly=kind == "sly"))
    assert out.kept.any(1).sum() <= stats.binom.isf(0.005, WORLDS, 0.05)


def test_a_level_that_is_not_shared_keeps_some_in_most_worlds(monkeypatch):
    class Unshared(Spending):
        def level(self):
            return np.full(len(self.kept), 0.05)

    monkeypatch.setitem(RULES, "broken", ("t", lambda worlds: Unshared(worlds, False)))
    out = play(np.random.default_rng(1), np.zeros((100, 60)), Game("broken", "fresh"))
    assert out.kept.any(1).mean() > 0.2


def test_four_gains_of_the_stated_size_among_forty_are_found():
    rng = np.random.default_rng(2)
    effects = planted(rng, WORLDS, 40, 4, worse=0.5)
    out = play(rng, effects, Game())
    true = effects > 0
    assert out.kept[true].mean() >= 0.7 and out.discarded[true].mean() <= 0.1
    assert (out.kept & ~true).any(1).mean() <= 0.05
    assert out.seeds[~true].mean() < 7 < out.seeds[true].mean()


def test_the_simulated_rule_is_that_of_the_product():
    game, rng = Game(delta=1.5), np.random.default_rng(4)
    most, rule = most_seeds(1.5, 0.05), RULES[CHOSEN][1](1)
    effect, spread = 0.03, 0.02
    ledger = Ledger(
        Asked("llama", effect, 0.05, 99, "none"), "a", 0.01, Metric("loss", "bits/byte"), 1.0, [], spread, most
    )
    x = rng.normal(0, 1, (60, most)) + rng.choice([0.0, 1.5 * 2**0.5, 4.0], (60, 1))
    for number, row in enumerate(x, start=1):
        assert ledger.next_level() == pytest.approx(float(rule.level()[0])) == level(0.05, number, len(ledger.kept))
        kept, gone, seeds, _ = trial(row[None] * 2**0.5, np.array([ledger.next_level()]), game)
        made = Try(number, "", "", "b", "a", ledger.next_level(), 0.01)
        for i in range(most):
            if made.decided:
                break
            differences = [*made.differences, float(row[i]) * 2**0.5 * spread / 2**0.5]
            made = act.weighed(ledger, Try(**{**vars(made), "differences": differences}))
        assert (made.answer == KEEP, made.answer == DISCARD, len(made.differences)) == (kept[0], gone[0], seeds[0])
        ledger = ledger.with_try(made)
        rule.told(kept, np.ones(1))
    assert {KEEP, DISCARD} <= {each.answer for each in ledger.tries} and max(looks(most)) == most
