"""Settings by value: what is no value of a setting is refused in a line, and what is taken means what was written."""

import ast
import random

import pytest
import torch

import blockyard as by
from blockyard.core import registry
from blockyard.core.registry import CHECKED, KINDS, ROOMS, WHOLES
from blockyard.core.settings import checked
from blockyard.core.spec import Spec, mixer, norm, position
from blockyard.systems import parse_target, spec

ODD = [
    "", "0", "-1", "1", "3", "1.5", "4.0", "'4'", "nan", "inf", "-inf", "1e400", "1" + "0" * 30, "999999999", "1e-310",
    "none", "true", "no", "yes", "[]", "(1 2)", "{}", "1_000", "0x10", "abc", "norm:rms", "position:alibi",
    "mixer:nothing", "alibi", "silu", "rms", "a" * 300, "7" * 5000, "(" * 300, "\x00", "٣",
]  # fmt: skip
YES, NO = ("true", "yes", "on"), ("false", "no", "off")


def settings_of(name):
    """Everything that can be set in a recipe: its arguments, and the settings of every part in it."""
    keys = list(registry.find("recipe", name).arguments)
    for one in spec(name, "tiny").walk():
        if one.kind in CHECKED:
            keys += [f"{one.kind}.{key}" for key in registry.find(one.kind, one.name).arguments]
    return list(dict.fromkeys(keys))


CASES = [(name, key, value) for name in by.recipes() for key in settings_of(name) for value in ODD]


def literal(text):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def means(stored, text):
    """Whether a stored value is what somebody wrote who typed this text."""
    if isinstance(stored, Spec):
        return text in (stored.name, f"{stored.kind}:{stored.name}")
    if stored is None:
        return text == "none"
    if isinstance(stored, bool):
        return text in (YES if stored else NO)
    if isinstance(stored, (int, float)):
        value = literal(text)
        return type(value) in (int, type(stored)) and type(stored)(value) == stored
    if isinstance(stored, tuple) and len(stored) == 1 and means(stored[0], text):
        return True  # one of several is said without brackets
    value = literal(text)  # quotes around a text are not part of it
    said = tuple(value) if isinstance(value, (list, tuple)) else value if isinstance(value, str) else text
    row = tuple(word.strip() for word in text[1:-1].split(",") if word.strip()) if text[:1] + text[-1:] == "()" else ()
    return stored in (said, (said,), row)  # several words stand in brackets


def try_one(name, key, text):
    """Build what the command line would build of a setting; whether it was taken."""
    try:
        _, recipe, overrides = parse_target(f"{name}:{key}={text}")
        system = spec(recipe, "tiny", **overrides)
        with torch.device("meta"):
            model = by.build(system)
            if len(model.steps) <= 64:  # more of the same take long and say nothing new
                model(model.example(1, 5))
    except by.UsageError as error:
        assert len(str(error)) < 400 and "\n" not in str(error)
        return False
    if "." in key:
        kind, _, setting = key.rpartition(".")
        stored = [s.get(setting) for s in system.walk() if s.kind == kind and setting in dict(s.settings)]
        if kind == "model" and not stored:  # what is written as the default is
            stored = [literal(registry.find("model", "model").settings[setting].default)]
        assert stored and all(means(value, text) for value in stored), (stored, text)
    else:
        module = registry.find("recipe", name).load()
        value = registry.find("recipe", name).settings[key].check(overrides[key])
        assert means(value, text)
        assert system == checked(module.recipe(**(module.sizes["tiny"] | {key: value})))
    return True


def test_odd_values_are_refused_or_mean_what_they_say():
    drawn = random.Random(7).sample(CASES, 700)
    taken = sum(try_one(*case) for case in drawn)
    assert 20 < taken < 300  # the sweep meets both


@pytest.mark.slow
@pytest.mark.parametrize("name", by.recipes())
def test_all_odd_values_of_a_recipe(name):
    assert sum(try_one(*case) for case in CASES if case[0] == name) > 50


@pytest.mark.parametrize(
    "name,key,value,words",
    [
        ("llama", "mixer.heads", 0, "mixer:attention: heads=0 must be a whole number from 1"),
        ("llama", "heads", 0, "recipe:llama: heads=0 must be a whole number from 1"),
        ("llama", "depth.layers", 0, "layers=0 must be a whole number from 1 to 10,000"),
        ("llama", "mixer.window", -1, "window=-1 must be a whole number from 1 .* or none"),
        ("llama", "mixer.heads", True, "heads=True must be"),
        ("llama", "norm.eps", -1, "eps=-1 must be a number"),
        ("llama", "norm.eps", float("nan"), "eps=nan must be a number"),
        (
            "llama",
            "channel.activation",
            "norm:rms",
            r"activation='norm:rms' must be an activation \(elu, gelu, gelu_exact, poly_norm",
        ),
        ("llama", "channel.activation", norm("rms"), "activation=norm:rms must be an activation"),
        ("llama", "channel.activation", "gellu", "unknown activation 'gellu'; did you mean gelu"),
        ("llama", "head.tied", "perhaps", "tied=perhaps must be true or false"),
        ("llama", "model.causal", 0, "causal=0 must be true or false"),
        ("llama", "model.depths", 3, "unknown setting of model 'depths'; did you mean depth"),
        ("llama", "model.dim", 10**30, "dim=1000000.* must be a whole number"),
        ("llama", "phase.share", 2, "share=2 must be a number above 0 and of at most 1"),
        ("deltanet", "mixer.beta_max", 2.5, "beta_max=2.5 must be a number above 0 and of at most 2"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_right(name, key, value, words):
    with pytest.raises(by.UsageError, match=words):
        by.spec(name, "tiny", **{key: value})


@pytest.mark.parametrize(
    "key,value,stored",
    [
        ("mixer.position", "alibi", position("alibi")),
        ("mixer.position", "position:alibi", position("alibi")),
        ("mixer.position", position("alibi"), position("alibi")),
        ("mixer.gate", "silu", Spec("activation", "silu")),
        ("channel.activation", "gelu", Spec("activation", "gelu")),
        ("residual.norm", None, norm("none")),
        ("head.tied", "no", False),
        ("model.causal", "off", False),
        ("position.base", 500, 500.0),
    ],
)
def test_natural_spellings(key, value, stored):
    system = by.spec("llama", "tiny", **{key: value})
    kind, _, setting = key.partition(".")
    found = [s.get(setting) for s in system.walk() if s.kind == kind and setting in dict(s.settings)]
    assert found and set(found) == {stored} and type(found[0]) is type(stored)


def test_untied_is_untied():
    assert by.build("llama", size="tiny", **{"head.tied": "no"}).head.table is not None
    tied, free = (by.build("llama", size="tiny", **{"head.tied": value}) for value in ("yes", "no"))
    assert by.count(free.spec, 8, 1).params > by.count(tied.spec, 8, 1).params


def test_what_is_built_in_python_is_checked_too():
    with pytest.raises(by.UsageError, match=r"mixer:gla: heads=0"):
        by.make("mixer:gla", dim=16, heads=0)
    assert by.make("mixer:attention", dim=16, heads=2, position="alibi").position.spec == position("alibi")
    with pytest.raises(by.UsageError, match=r"steps.0.part: pattern:band: window=0"):
        by.build(by.spec("llama", "tiny").at("steps.0.part", window=0))
    bad = by.spec("llama", "tiny").map(lambda s: mixer("attention", heads=-2) if s.kind == "mixer" else s)
    with torch.device("meta"), pytest.raises(by.UsageError, match="heads=-2"):
        by.build(bad)


def test_what_does_not_fit_is_refused_before_it_is_made():
    with pytest.raises(by.UsageError, match=r"stem.table: 16777216 x 8192 numbers are 550 GB, more than fits"):
        by.build("llama", size="tiny", vocab=2**24, dim=2**13)


ENTRIES = [e for kind in (*KINDS, *ROOMS) for e in registry.entries(kind).values()]
ENTRIES += [registry.find(kind, kind) for kind in WHOLES]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: f"{e.kind}:{e.name}")
def test_every_setting_says_what_it_means_and_takes_its_own_default(entry):
    for setting in entry.settings.values():
        assert setting.meaning and setting.accepts, setting.name
        assert setting.json_schema()["description"].startswith(setting.meaning)
        if setting.default is not None:
            default = eval(setting.default, {"Spec": Spec})
            assert setting.check(default) == default


def test_an_annotation_that_says_nothing_is_an_error(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text('"""Mine."""\nclass Mine:\n    def __init__(self, site, *, size: Sizes = 3):\n        pass\n')
    entry = registry.Entry("mixer", "mine", "mine", file)
    with pytest.raises(by.UsageError, match=r"annotation of size, 'Sizes', is not made of what"):
        _ = entry.settings
