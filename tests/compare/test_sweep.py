"""A setting that is swept over: arms for every value, the picture of the score against it, and wrong words."""

import re

import pytest

import blockyard
from blockyard.cli import main
from blockyard.cli._training import parse_sweep
from blockyard.compare.plan.plan import Request, make_plan
from blockyard.compare.report.page import render
from blockyard.compare.report.sweep import sweeps

FEW = dict(params="60k", tokens="1k", length=16, batch=8)


def test_every_arm_is_made_with_every_value(text):
    sweep = (("mixer.heads", (1, 2)), ("residual", ("prenorm", "peri")))
    plan = make_plan(Request(("llama", "g=gla:layers=2"), (text,), sweep=sweep, **FEW), told=lambda _: None)
    ends = [f"/{heads}/{rule}" for heads in (1, 2) for rule in ("prenorm", "peri")]
    assert [arm.label for arm in plan.arms] == [f"{base}{end}" for base in ("llama", "g") for end in ends]
    assert plan.swept == ["mixer.heads", "residual"]
    last = plan.arms[-1]
    assert last.overrides == {"layers": "2", "mixer.heads": "2", "residual": "peri"}
    assert len({arm.hash for arm in plan.arms}) == 8
    assert make_plan(Request(("llama",), (text,), **FEW), told=lambda _: None).swept == []


def test_the_score_is_drawn_against_the_setting(text, tmp_path):
    sweep = {"mixer.heads": (1, 2, 4), "norm": ("rms", "layer")}
    report = blockyard.compare(
        ["llama"], data=text, out=tmp_path, quiet=True, seeds=2, tuning="none", sweep=sweep, **FEW
    )
    heads, norms = sweeps(report)
    assert "Score against mixer.heads" in heads and "log scale" in heads and "log scale" not in norms
    assert len(re.findall(r'class="whisker"', heads)) == 6 and ">layer<" in norms and ">llama/rms<" in heads
    for arm in report.arms:
        assert f"{arm.name}: {arm.score.mean:.4f}" in heads and f"{arm.name}: {arm.score.mean:.4f}" in norms
    page = render(report)
    assert 'id="sweep"' in page and page.count('<title id="sweep-') == 2


@pytest.mark.parametrize("words", ["mixer.heads", "mixer.heads=", "mixer.heads=1", "=1,2", "mixer.heads=1,,2", "a=1,1"])
def test_wrong_words_are_a_line(words, capsys):
    assert main(["compare", "llama", "--sweep", words]) == 2
    said = capsys.readouterr().err
    assert "--sweep mixer.heads=1,2,4" in said and len(said.splitlines()) == 1


def test_values_are_those_that_an_override_takes():
    assert parse_sweep(["a.b=1,none,x", "c=(1, 2),(3, 4)"]) == {"a.b": (1, None, "x"), "c": ((1, 2), (3, 4))}


def test_a_value_that_is_none_for_the_setting_is_named(text, capsys):
    assert main(["compare", "llama", "--data", text, "--sweep", "mixer.heads=1,few", "--dry-run"]) == 2
    assert "few" in capsys.readouterr().err
