"""The referee as a whole: answers, the chain, what survives a stop, what is refused, what the held-out text says."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from blockyard.cli import main
from blockyard.compare.kept import runs
from blockyard.core.errors import UsageError
from blockyard.referee import attempt, init, show
from blockyard.referee.change import arm_of
from blockyard.referee.ledger import LEFT, read_ledger
from blockyard.systems import parse_arm, spec

PART = '''"""Scale by the root mean square, once more.

Shapes   x, y (..., D)
Source   none    Family  norm
Differs  nothing known
"""

from torch import Tensor

from blockyard.core import Call, Part, Site, constant


class Mine(Part):
    claims = dict(per_token=True, row_independent=True)

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.gain = site.param("gain", (site.stream,), constant(1.0))

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        return x * (x.pow(2).mean(-1, keepdim=True) + 1e-6).rsqrt() * self.gain
'''


def test_a_gain_is_kept_and_is_the_next_baseline(lab, begin, tmp_path):
    lab.worth = {"gated": 0.0, "relu": 0.2, "gelu": 0.0, "heads": -0.1}
    ledger = begin()
    assert ledger.asked.effect == 0.05 and 4 <= len(ledger.floor) <= 10 and 4 <= ledger.most <= 24
    first = attempt("activation=relu", out=tmp_path / "tries", quiet=True)
    assert first.answer == "keep" and first.mean == pytest.approx(0.2, abs=0.03) and first.chance <= first.level
    second = attempt("mixer.heads=2", out=tmp_path / "tries", quiet=True)
    assert second.answer == "discard" and second.target == "llama:layers=1,activation=relu,mixer.heads=2"
    assert second.against == first.arm and second.level > 0
    assert min(second.seeds) >= 2000 > max(first.seeds) >= 1000  # a kept change runs anew, on seeds of its own
    ledger = show(tmp_path / "tries")
    assert [each.number for each in ledger.kept] == [1] and ledger.now == first.target
    assert "keep" in str(ledger) and "activation=relu" in str(ledger)


def test_a_change_that_is_equal_is_discarded_or_undecided_and_spends_few_seeds(lab, begin, tmp_path):
    begin()
    made = [attempt(f"norm.eps=1e-{n}", out=tmp_path / "tries", quiet=True) for n in range(6, 12)]
    assert {each.answer for each in made} <= {"discard", "undecided"} and not show(tmp_path / "tries").kept
    assert all(a.level > b.level for a, b in pairwise(made))
    assert {each.answer for each in made if len(each.differences) < show(tmp_path / "tries").most} == {"discard"}


def test_the_runs_of_a_baseline_are_shared_by_its_tries(lab, begin, tmp_path):
    ledger = begin()
    before = len(lab.made)
    made = [attempt(f"norm.eps=1e-{n}", out=tmp_path / "tries", quiet=True) for n in range(6, 9)]
    seeds = [len(each.seeds) for each in made]
    assert len(lab.made) - before == sum(seeds) + max(seeds)
    again = attempt("norm.eps=1e-6", out=tmp_path / "tries", quiet=True)
    assert again == made[0] and len(read_ledger(tmp_path / "tries").tries) == 3  # answered before: nothing is spent
    assert begin() == read_ledger(tmp_path / "tries") and ledger.tries == []


@pytest.mark.parametrize("stop", [0, 5, 8, 11, 14, 20])
def test_what_was_stopped_at_any_run_goes_on_to_the_same_answer(lab, begin, tmp_path, monkeypatch, stop):
    lab.worth = {"relu": 0.08}
    whole = begin()
    straight = attempt("activation=relu", out=tmp_path / "tries", quiet=True)
    made, lab.made, lab.stop = lab.made, {}, min(stop, len(lab.made) - 1)
    monkeypatch.setattr("blockyard.referee.act.Path", lambda out: Path(str(out).replace("tries", "again")))
    with pytest.raises(KeyboardInterrupt):
        begin()
        attempt("activation=relu", out=tmp_path / "tries", quiet=True)
    lab.stop = None
    assert begin() in (whole, replace(whole, tries=read_again(tmp_path)))
    assert attempt("activation=relu", out=tmp_path / "tries", quiet=True) == straight
    assert read_again(tmp_path) == [straight] and lab.made.keys() == made.keys()


def read_again(folder):
    return read_ledger(folder / "again").tries


def test_another_change_takes_the_place_of_one_that_was_stopped_whose_level_stays_spent(lab, begin, tmp_path):
    begin()
    lab.stop = len(lab.made) + 3
    with pytest.raises(KeyboardInterrupt):
        attempt("norm.eps=1e-6", out=tmp_path / "tries", quiet=True)
    lab.stop = None
    made = attempt("norm.eps=1e-7", out=tmp_path / "tries", quiet=True)
    ledger = read_ledger(tmp_path / "tries")
    assert made.number == 2 and [each.answer for each in ledger.tries] == [LEFT, made.answer]
    third = attempt("norm.eps=1e-6", out=tmp_path / "tries", quiet=True)
    assert third.number == 3 and third.level < ledger.tries[0].level


def test_a_change_whose_run_fails_is_discarded_and_a_baseline_that_fails_is_refused(lab, begin, tmp_path):
    lab.fails = ("relu",)
    begin()
    made = attempt("activation=relu", out=tmp_path / "tries", quiet=True)
    assert made.answer == "discard" and "no number" in made.reason and "fails at seed 1000" in str(made)
    lab.fails = ("llama",)
    with pytest.raises(UsageError, match="the baseline fails"):
        init("llama:layers=2", out=tmp_path / "other", data="README.md", params="20k", tokens="8k", quiet=True)


def test_an_effect_that_the_seeds_cannot_see_is_refused_with_one_that_they_can(lab, begin, tmp_path):
    lab.noise = 0.05
    with pytest.raises(UsageError, match=r"24 seeds a try cannot see an effect of 1%: .* --effect 0\.\d+") as refused:
        begin(effect="1%")
    assert len(str(refused.value).splitlines()) == 1
    named = str(refused.value).split("--effect ")[1].split(",")[0].split(" ")[0]
    assert begin(effect=named).asked.effect == float(named)  # and with that one it begins, on the same runs


def test_more_noise_takes_more_seeds(lab, begin, tmp_path, rhyme):
    most = []
    for noise in (0.005, 0.02):
        lab.noise, lab.made = noise, {}
        asked = {"effect": "5%", "params": "20k", "tokens": "8k", "length": 32, "batch": 8, "quiet": True}
        most.append(init("llama:layers=1", out=tmp_path / str(noise), data=rhyme, **asked).most)
    assert most[0] < most[1]


def test_the_held_out_text_is_looked_at_when_asked_once_a_chain(lab, begin, tmp_path):
    lab.worth = {"relu": 0.2}
    begin()
    assert show(tmp_path / "tries", held_out=True).looks == []  # nothing was kept
    attempt("activation=relu", out=tmp_path / "tries", quiet=True)
    before = len(lab.made)
    ledger = show(tmp_path / "tries", held_out=True, quiet=True)
    (look,) = ledger.looks
    assert look.low < 0.2 < look.high and look.difference == pytest.approx(0.2, abs=0.02) and look.upto == 1
    assert look.level == pytest.approx(0.025) and len(lab.made) == before + 2 * ledger.most
    assert show(tmp_path / "tries", held_out=True) == ledger and len(lab.made) == before + 2 * ledger.most
    assert "held-out text: the chain up to try 1 is better by" in str(ledger)


@pytest.mark.parametrize("change, target", [
    ("mixer.heads=2", "llama:layers=1,mixer.heads=2"),
    ("layers=2,mixer.heads=2", "llama:layers=2,mixer.heads=2"),
    ("mixer=gla", "llama:layers=1,mixer=gla"),
    ("@sgd", "llama:layers=1@sgd"),
    ("mixer.heads=2@sgd:momentum=0.5", "llama:layers=1,mixer.heads=2@sgd:momentum=0.5"),
    ("gla:mixer.heads=2", "gla:mixer.heads=2"),
    ("mine=llama", "llama"),
])  # fmt: skip
def test_a_change_is_an_override_or_an_arm(change, target, tmp_path):
    assert arm_of(change, "llama:layers=1", tmp_path) == target


def test_an_optimiser_stays_with_the_baseline(tmp_path):
    assert arm_of("layers=2", "llama:layers=1@sgd:momentum=0.5", tmp_path) == "llama:layers=2@sgd:momentum=0.5"


def test_an_emptied_slot_takes_its_settings_with_it(tmp_path):
    held = "llama:mixer.pattern=band,mixer.pattern.window=3,layers=1"
    found = arm_of("mixer.pattern=none", held, tmp_path)
    assert spec("llama", **parse_arm(found).overrides) == spec("llama", layers=1, **{"mixer.pattern": None})
    found = arm_of("mixer.pattern.window=5", held, tmp_path)
    assert parse_arm(found).overrides["mixer.pattern.window"] == 5


def test_a_part_from_a_file_is_tried_and_an_edited_one_is_another(lab, begin, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    begin()
    path = tmp_path / "mine.py"
    path.write_text(PART)
    first = attempt(f"norm={path}", out=tmp_path / "tries", quiet=True)
    path.write_text(PART.replace("1e-6", "1e-4"))
    second = attempt(f"norm={path}", out=tmp_path / "tries", quiet=True)
    assert first.arm != second.arm and second.number == 2
    assert "norm=mine_" in first.target and first.target != second.target
    names = {row["arm"] for row in runs(tmp_path / "tries")} if (tmp_path / "tries/events.jsonl").exists() else set()
    assert all(isinstance(name, str) for name in names)


@pytest.mark.parametrize("words, says", [
    (["try", "nonsense=3"], "nonsense"),
    (["try", "mixer.nonsense=3"], "nonsense"),
    (["try", "llama|gptq:bits=4"], "no change to train again"),
    (["try", "layers=1"], "changes nothing"),
    (["try", "norm=absent.py"], "cannot read absent.py"),
    (["try"], "try what?"),
    (["show", "x"], "show takes no change"),
    (["try", "layers=2", "--effect", "2%"], "--effect is said once, to init"),
    (["try", "layers=2", "--held-out"], "--held-out is of show"),
    (["judge"], "unknown act of a referee 'judge'"),
])  # fmt: skip
def test_what_is_wrong_is_one_line_and_spends_nothing(words, says, lab, begin, tmp_path, capsys):
    begin()
    assert main(["referee", *words, "--out", str(tmp_path / "tries")]) == 2
    said = capsys.readouterr().err
    assert says in said and len(said.splitlines()) == 1
    assert read_ledger(tmp_path / "tries").tries == []


def test_a_folder_without_a_referee_says_how_to_begin(tmp_path, capsys):
    assert main(["referee", "show", "--out", str(tmp_path)]) == 2
    assert "begin with: blockyard referee init" in capsys.readouterr().err


def test_answers_have_exit_codes_of_their_own(lab, begin, tmp_path, capsys):
    lab.worth = {"relu": 0.3, "gelu": -0.3}
    begin()
    out = ["--out", str(tmp_path / "tries")]
    assert main(["referee", "try", "activation=gelu", *out]) == 3
    assert main(["referee", "try", "activation=relu", *out, "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["answer"] == "keep" and said["number"] == 2 and len(said["differences"]) == len(said["seeds"])
    assert main(["referee", "show", *out, "--json"]) == 0
    assert [each["answer"] for each in json.loads(capsys.readouterr().out)["tries"]] == ["discard", "keep"]


def test_a_damaged_ledger_is_refused(lab, begin, tmp_path):
    begin()
    path = Path(tmp_path / "tries" / "ledger.json")
    path.write_text(path.read_text().replace('"effect": 0.05', '"effect": 0.01'))
    with pytest.raises(UsageError, match="damaged or was edited"):
        show(tmp_path / "tries")


@pytest.mark.slow
def test_kill_9_repeats_nothing_and_changes_nothing(rhyme, tmp_path):
    """The real runs, by real workers: a folder that was killed again and again holds what one that was not holds."""
    asked = ["--params", "20k", "--tokens", "16k", "--length", "32", "--batch", "8", "--effect", "60%"]
    acts = [
        ["init", "llama:layers=1", "--data", rhyme, "--tuning", "none", *asked],
        ["try", "mixer.heads=2"],
        ["try", "norm.eps=1e-6"],
    ]
    for name, patience in (("whole", ()), ("killed", (4.0, 7.0, 9.0))):
        for act in acts:
            command = [sys.executable, "-m", "blockyard", "referee", *act, "--out", str(tmp_path / name)]
            for seconds in patience:
                child = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(seconds)
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
            assert subprocess.run(command, stdout=subprocess.DEVNULL).returncode in (0, 3, 4)
    assert read_ledger(tmp_path / "whole") == read_ledger(tmp_path / "killed")
    ended = [(tmp_path / name / "events.jsonl").read_text().splitlines() for name in ("whole", "killed")]
    keys = [sorted(json.loads(line)["finished"] for line in lines) for lines in ended]
    assert keys[0] == keys[1] and len(set(keys[0])) == len(keys[0])
