"""Parts swapped by a word: all of a kind, what is kept of them, and what cannot be."""

import pytest

import blockyard as by
from blockyard.compare.plan.plan import Request, make_plan
from blockyard.core.errors import UsageError
from blockyard.core.spec import residual


def kinds(spec, kind):
    return [each.name for each in spec.walk() if each.kind == kind]


def test_every_part_of_the_kind_becomes_the_other_and_no_other_does():
    before, after = by.spec("olmo_hybrid", "tiny"), by.spec("olmo_hybrid", "tiny", mixer="retnet")
    assert set(kinds(before, "mixer")) == {"gated_deltanet", "attention"} and set(kinds(after, "mixer")) == {"retnet"}
    assert kinds(before, "channel") == kinds(after, "channel") and kinds(before, "residual") == kinds(after, "residual")
    model = by.build(by.spec("llama", "tiny", mixer="gla"))
    assert {step.part.spec.name for step in list(model.steps)[::2]} == {"gla"}


def test_settings_that_both_have_are_kept_and_named_ones_win():
    two = by.spec("llama", "tiny", heads=2)
    assert two.swap("mixer", "gla") == by.spec("llama", "tiny", heads=2, mixer="gla")
    [mixer] = [each for each in by.spec("llama", "tiny", heads=2, mixer="gla").walk() if each.kind == "mixer"]
    assert mixer["heads"] == 2 and mixer.get("kv_heads") is None and mixer.get("position") is None
    four = by.spec("llama", "tiny", heads=2, mixer="gla", **{"mixer.heads": 4})
    assert next(each for each in four.walk() if each.kind == "mixer")["heads"] == 4
    rule = by.spec("llama", "tiny").swap("residual", residual("scaled", alpha=0.5))
    assert rule["model"]["residual"]["alpha"] == 0.5 and rule["model"]["residual"]["norm"].name == "rms"


def test_a_part_is_swapped_by_itself_without_a_change():
    spec = by.spec("llama", "tiny")
    assert spec.swap("mixer", "attention") == spec and spec.swap("residual", "prenorm") == spec


def test_parts_that_stand_there_where_none_is_named_are_swapped_too():
    """The activation of gated channels is silu unless another is named, and the norm of a rule rms."""
    assert "activation" not in str(by.spec("llama", "tiny"))
    after = by.build(by.spec("llama", "tiny", activation="relu"))
    assert {part.spec.name for part in after.parts() if part.spec.kind == "activation"} == {"relu"}
    layered = by.build(by.spec("gla", "tiny", norm="layer"))
    assert {part.spec.name for part in layered.parts() if part.spec.kind == "norm"} == {"layer"}


def test_none_leaves_a_place_empty():
    bare = by.build(by.spec("llama", "tiny", position=None))
    assert not any(part.spec.kind == "position" for part in bare.parts())
    only = by.build(by.spec("llama", "tiny", channel=None))
    assert [step.part.spec.kind for step in only.steps] == ["mixer", "mixer"]


@pytest.mark.parametrize("asked,said", [
    (dict(mixer="glaa"), "unknown mixer 'glaa'; did you mean gla"),
    (dict(router="top"), "unknown kind of part in this recipe 'router'"),
    (dict(linear="low_rank"), "room at model.linear"),
    (dict(mixer=3), "must be the name of a mixer, or none"),
    (dict(position="learned"), "position:learned adds to what the stem gives"),
    (dict(nothing="x"), "unknown argument of llama 'nothing'"),
])  # fmt: skip
def test_what_cannot_be_is_a_line(asked, said):
    with pytest.raises(UsageError, match=said):
        by.build(by.spec("llama", "tiny", **asked))


def test_an_argument_of_the_recipe_comes_first():
    """polycom calls an argument of its own `activation`: it says what that recipe makes of it."""
    assert by.spec("polycom", "tiny", activation="relu") == by.spec("polycom", "tiny", **{"channel.activation": "relu"})


def test_swaps_are_arms_and_settings_of_all_arms(tmp_path):
    text = tmp_path / "a.txt"
    text.write_text("".join(f"{i} and {i * i}\n" for i in range(2000)))
    text = str(text)
    few = dict(params="60k", tokens="8k", length=64, batch=8)
    plan = make_plan(Request(("llama", "x=llama:mixer=gla"), (text,), **few), told=lambda _: None)
    assert plan.arms[1].overrides == {"mixer": "gla"} and plan.arms[1].state_bytes != plan.arms[0].state_bytes
    every = Request(("llama", "gla"), (text,), overrides=(("residual", "peri"),), **few)
    plan = make_plan(every, told=lambda _: None)
    assert {arm.system["settings"]["model"]["settings"]["residual"]["name"] for arm in plan.arms} == {"peri"}
