"""Operations are counted by who sees whom, however that is said."""

import pytest

import blockyard as by

LENGTH = 1024


def flops(**settings):
    return by.count(by.spec("llama", size="tiny", **settings), length=LENGTH).flops_per_token


def pairs(window=LENGTH, sinks=0):
    return sum(min(p + 1, window) + min(sinks, max(0, p + 1 - window)) for p in range(LENGTH)) / LENGTH


@pytest.mark.parametrize("window,sinks", [(16, 0), (256, 4), (1000, 30), (LENGTH, 4), (4000, 0)])
def test_a_window_costs_what_its_queries_see(window, sinks):
    full, without = flops(), flops(**{"mixer.window": 1})
    each = (full - without) / (pairs() - 1)
    found = flops(**{"mixer.window": window, "mixer.sinks": sinks})
    assert found == pytest.approx(without + each * (pairs(window, sinks) - 1))
    assert found <= full


@pytest.mark.parametrize("name", ["alibi", "t5"])
def test_a_bias_by_distance_counts_no_pair_that_is_not_seen(name):
    assert flops(**{"mixer.position": by.Spec("position", name)}) == flops()
