"""A model claims what all its parts claim, as they were built; what it does not claim is refused in a line."""

import pytest
import torch

import blockyard as by
from blockyard.core.part import Depth, Part, Position, Residual
from blockyard.core.spec import Spec
from blockyard.train.loop import build_objective

TOKENS = torch.arange(12).reshape(2, 6)


def test_attention_that_sees_ahead_neither_is_causal_nor_streams():
    model = by.build("llama", size="tiny", **{"model.causal": False})
    assert not model.claims.get("causal") and not model.claims.get("streams") and model.claims["bidirectional"]
    with pytest.raises(by.UsageError, match=r"a state needs a model that goes on .*mixer:attention"):
        model(TOKENS, model.init_state(2))
    changed = TOKENS.clone()
    changed[:, -1] += 1
    assert (model(changed).logits[:, 0] - model(TOKENS).logits[:, 0]).abs().max() > 1e-6


def test_a_recurrence_is_not_built_to_see_ahead():
    for name in ("gla", "mamba", "retnet", "hgrn2", "deltanet"):
        with torch.device("meta"), pytest.raises(by.UsageError, match="does not claim bidirectional"):
            by.build(name, size="tiny", **{"model.causal": False})
    with pytest.raises(by.UsageError, match="mixer:gla does not claim bidirectional"):
        by.make("mixer:gla", dim=16, causal=False)


def test_next_token_training_of_a_model_that_sees_ahead_is_refused():
    model = by.build("llama", size="tiny", **{"model.causal": False})
    with pytest.raises(by.UsageError, match="next_token needs a model that lets no token see what comes after"):
        build_objective(Spec("objective", "next_token"), model)


def test_a_comparison_refuses_it_before_anything_runs(capsys, tmp_path):
    from blockyard.cli import main

    asked = ["compare", "llama", "gpt2", "--params", "50k", "--tokens", "10k", "--set", "model.causal=no"]
    assert main([*asked, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "objective:next_token needs a model that lets no token see what comes after it" in error
    assert not (tmp_path / "out").exists()


def test_an_order_is_refused_where_a_part_goes_by_place():
    prefix = torch.tensor([[2, 2, 2, 3, 4, 5]] * 2)
    by.build("llama", size="tiny")(by.Batch(TOKENS, order=prefix))
    for order in (prefix, 0):
        with pytest.raises(by.UsageError, match=r"a batch with an order needs .*mixer:gla"):
            by.build("gla", size="tiny")(by.Batch(TOKENS, order=order))


class _Mixing(Part):
    def forward(self, x, call=None):
        return x - x.mean(1, keepdim=True)


class _Rule(Residual):
    pass


class _Program(Depth):
    pass


class _Where(Position):
    pass


@pytest.mark.parametrize("stranger", [_Mixing, _Rule, _Program, _Where])
def test_one_silent_part_takes_the_claims_of_the_whole(stranger):
    """A norm over all tokens, in any place: what it does not claim, the model does not claim."""
    model = by.build("llama", size="tiny")
    part = stranger()
    part.spec = Spec("norm", "of_all_tokens")
    model.steps[0].rule.norm = part
    from blockyard.core.claims import together

    assert not {"packs", "streams", "causal", "row_independent"} & set(together(model.parts()))


def test_a_known_failure_is_no_promise():
    model = by.build("llama", size="tiny")
    model.steps[0].part.known = {"packs": "a reason"}
    from blockyard.core.claims import together

    assert "packs" not in together(model.parts()) and "streams" in together(model.parts())


def test_a_window_lies_on_both_sides_of_a_token_that_sees_ahead():
    near = Spec.of("pattern", "band", dict(window=2))
    attention = by.make("mixer:attention", dim=16, heads=2, pattern=near, causal=False).double()
    x = torch.randn(1, 9, 16, dtype=torch.float64)
    from blockyard.model.claims import feed

    y, _ = feed(attention, x)
    for token in range(9):
        changed = x.clone()
        changed[:, token] += 1
        moved = (feed(attention, changed)[0] - y).abs().amax(-1)[0] > 1e-12
        assert moved.nonzero().flatten().tolist() == [i for i in range(9) if abs(i - token) < 2]
