"""Every number of every verb: what is out of its range is one line and exit code 2, before any work begins."""

import math
import subprocess
import sys

import pytest

from blockyard import cli
from blockyard.compare.plan.plan import Request
from blockyard.core import numbers
from blockyard.core.errors import UsageError
from blockyard.task import make_task
from blockyard.train.device import known_device

ODD = ["nan", "inf", "-inf", "-1", "1e400", "1e30", "1e22", "²", "٣", "", " ", "0x10", "1_0", "many", "9" * 5000, "1,2"]
WORDS = {"compare": ["llama"], "train": ["llama"], "eval": ["m"], "generate": ["m"], "serve": ["m"],
         "adapt": ["m", "--with", "lora", "--out", "o"],
         "forecast": ["m", "t"],
         "quantise": ["m", "--out", "o"], "shrink": ["m", "--out", "o"],
         "bench": ["train"], "judge": ["runs.csv"],
         "referee": ["init", "llama", "--out", "o"]}  # fmt: skip


def typed():
    """(verb, option) of everything that is a number."""
    verbs = cli.parser()._subparsers._group_actions[0].choices
    return [(verb, a.option_strings[0]) for verb, sub in verbs.items() for a in sub._actions if a.type is not None]


def test_every_option_that_is_a_number_has_a_range():
    names = {name for _, name in typed()}
    assert {"--length", "--tokens", "--params", "--minutes", "--margin", "--beams", "--batch", "--bits"} <= names
    assert len(typed()) == 63


@pytest.mark.parametrize("verb, option", typed(), ids=lambda w: w)
def test_a_number_out_of_range_is_one_line(verb, option, capsys, monkeypatch):
    grammar = cli.parser()
    monkeypatch.setattr(cli, "parser", lambda: grammar)
    for value in ODD:
        if (option, value) == ("--flops", "1e22"):
            continue
        assert cli.main([verb, *WORDS[verb], f"{option}={value}"]) == 2
        said = capsys.readouterr().err
        assert option in said and len(said.splitlines()) == 1 and len(said) < 250


@pytest.mark.parametrize("words, says", [
    (["eval", "m", "--length", "0"], "--length: '0' must be a whole number, at least 1"),
    (["compare", "llama", "--batch", "0"], "at least 1"),
    (["compare", "llama", "--margin", "2"], "at most 1"),
    (["train", "llama", "--minutes", "0"], "above 0"),
    (["generate", "m", "--top-p", "1.5"], "at most 1"),
    (["bench", "train", "--rounds", "0"], "at least 1"),
])  # fmt: skip
def test_a_range_is_named(words, says, capsys):
    assert cli.main(words) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("words, says", [
    (["compare", "llama", "--seeds", "²"], "--seeds"),
    (["compare", "llama", "--seeds", "3,nan"], "'nan' must be a whole number"),
    (["compare", "llama", "--seeds", "100"], "at most 99"),
    (["compare", "llama", "--device", "foo"], "unknown device 'foo'"),
    (["compare", "llama", "--device", "cuda:99"], "there is no device 'cuda:99' here"),
    (["bench", "train", "--device", "gpu"], "unknown device 'gpu'"),
    (["bench", "train", "--length", "512,²"], "length '²'"),
    (["comapre", "llama"], "unknown verb 'comapre'; did you mean compare"),
    (["compare", "llama", "--data", "x" * 5000], "no such file"),
    (["compare", "llama", "gla", "--out", "x" * 5000], "File name too long"),
    (["eval", "x" * 5000], "File name too long"),
    (["compare", "llama", "--task", "parity:length=99999999999"], "from 1 to"),
])  # fmt: skip
def test_another_wrong_word_is_a_line_too(words, says, capsys):
    assert cli.main(words) == 2
    said = capsys.readouterr().err
    assert says in said.replace("x" * 5000, "") and len(said.splitlines()) <= 6 and "Traceback" not in said


def test_a_prompt_that_is_no_text_is_a_line():
    words = [sys.executable, "-m", "blockyard", "generate", "m", "--prompt", "-"]
    done = subprocess.run(words, input=b"\xff", capture_output=True)
    assert (
        done.returncode == 2
        and done.stderr == b"blockyard: standard input is not UTF-8: the byte at offset 0 is none\n"
    )


@pytest.mark.parametrize("name, value", [("margin", math.nan), ("minutes", math.inf), ("params", 0), ("tokens", -1.0),
                                         ("length", 2.5), ("batch", True), ("length", 10**40)])  # fmt: skip
def test_python_is_held_to_the_same(name, value):
    with pytest.raises(UsageError, match=f"--{name}"):
        Request(("llama",), **{name: value})


def test_what_is_in_range_is_taken():
    assert Request(("a",), params=2e5, tokens="1.5M", length="64", margin=0).length == 64
    assert numbers.TOKENS("1.5MB", "") == 1.5e6 and numbers.MARGIN(0, "") == 0.0 and numbers.BATCH(7, "") == 7
    assert known_device("cpu") == "cpu" and make_task("parity:length=3").length == 3
