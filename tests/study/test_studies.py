"""Studies: what predictions make of outcomes, that every study can run, and what a run leaves."""

import json
from types import SimpleNamespace

import pytest

from blockyard.cli import main
from blockyard.compare.documents import PairReport, Score
from blockyard.compare.plan.plan import Request, make_plan
from blockyard.core import UsageError, registry
from blockyard.core.files import sealed
from blockyard.source import read
from blockyard.study import changes, run_study, status, studies
from blockyard.study._base import (
    FAILS,
    HOLDS,
    OPEN,
    Race,
    Study,
    Trial,
    above,
    below,
    beneath,
    better,
    better_at,
    figure,
    figure_below,
    level,
    lower,
    lower_in,
    nearer,
    ratio,
)
from blockyard.study._record import Record, Told
from blockyard.systems import parse_arm


def outcome(difference, resolved, verdict="", scores=(0.1, 0.2), lengths=()):
    """A report of which predictions read this much."""
    arm = SimpleNamespace(score=Score(None, None, 0.1, list(scores)), lengths=list(lengths))
    pair = PairReport("a", "b", None, None, difference, None, resolved, verdict)
    return SimpleNamespace(arm=lambda name: arm, pair=lambda names: pair, margin=0.05)


@pytest.mark.parametrize("prediction,result,verdict", [
    (better("r", "a", "b"), outcome(-0.3, True), HOLDS),
    (better("r", "b", "a"), outcome(-0.3, True), FAILS),
    (better("r", "a", "b"), outcome(-0.3, False), OPEN),
    (level("r", "b", "a"), outcome(-0.01, False, "equivalent"), HOLDS),
    (level("r", "a", "b"), outcome(-0.01, True, "better, below margin"), HOLDS),
    (level("r", "a", "b"), outcome(-0.3, True, "better"), FAILS),
    (level("r", "a", "b"), outcome(-0.01, False, "not resolved"), OPEN),
    (below("r", "a", 0.3), outcome(0, False), HOLDS),
    (below("r", "a", 0.15), outcome(0, False), OPEN),
    (below("r", "a", 0.05), outcome(0, False), FAILS),
    (above("r", "a", 0.05), outcome(0, False), HOLDS),
    (above("r", "a", 0.3), outcome(0, False), FAILS),
    (below("r", "a", 0.3), outcome(0, False, scores=(0.1, None)), OPEN),
    (below("r", "a", 0.3, length=64), outcome(0, False, lengths=({"64": 0.1}, {"64": 0.2})), HOLDS),
    (above("r", "a", 0.3, length=64), outcome(0, False, lengths=({"64": 0.5}, {"64": 0.2})), OPEN),
    (above("r", "a", 0.3, length=64), outcome(0, False, lengths=({"32": 0.5}, None)), OPEN),
])  # fmt: skip
def test_a_prediction_says_what_the_outcome_allows(prediction, result, verdict):
    assert prediction.judge(result).verdict == verdict


@pytest.mark.parametrize("mine,others,verdict", [
    ((0.1, 0.2), (0.3, 0.3), HOLDS), ((0.1, 0.4), (0.3, 0.3), OPEN), ((0.4, 0.3), (0.3, 0.3), FAILS),
    ((0.1, None), (0.3, 0.3), OPEN), ((None, None), (0.3, 0.3), OPEN),
])  # fmt: skip
def test_further_figures_are_compared_seed_by_seed(mine, others, verdict):
    one = SimpleNamespace(also=[{"x": a, "y": b} for a, b in zip(mine, others)])
    two = SimpleNamespace(also=[{"x": b} for b in others])
    found = nearer("r", "a", "x", "y").judge(SimpleNamespace(arm=lambda _: one))
    assert found == lower("r", "x", "a", "b").judge(SimpleNamespace(arm=lambda name: one if name == "a" else two))
    gaps = [b - a for a, b in zip(mine, others) if a is not None]
    assert found.verdict == verdict and found.value == (pytest.approx(sum(gaps) / len(gaps)) if gaps else None)


@pytest.mark.parametrize("mine,others,verdict", [
    ((0.1, 0.2), (0.3, 0.3), HOLDS), ((0.1, 0.4), (0.3, 0.3), OPEN), ((0.4, 0.3), (0.3, 0.3), FAILS),
    ((0.1, None), (0.3, 0.3), OPEN), ((None, None), (0.3, 0.3), OPEN),
])  # fmt: skip
def test_errors_at_another_length_are_compared_seed_by_seed(mine, others, verdict):
    """A run without that length, or without any, leaves the question open."""
    lengths = {
        name: [None if error is None else {"32": error, "16": 1 - error} for error in errors]
        for name, errors in (("a", mine), ("b", others))
    }
    arms = {name: SimpleNamespace(lengths=each) for name, each in lengths.items()}
    found = better_at("r", 32, "a", "b").judge(SimpleNamespace(arm=arms.get))
    gaps = [b - a for a, b in zip(mine, others) if a is not None]
    assert found.verdict == verdict and found.value == (pytest.approx(sum(gaps) / len(gaps)) if gaps else None)
    assert better_at("r", 64, "a", "b").judge(SimpleNamespace(arm=arms.get)).verdict == OPEN


@pytest.mark.parametrize("least,verdict", [(0.1, HOLDS), (0.25, OPEN), (0.5, FAILS)])
def test_races_are_compared_by_a_figure_or_by_the_score(least, verdict):
    """Seed by seed, by the least that one must be below the other."""
    reports = [
        SimpleNamespace(arm=lambda _, at=at: SimpleNamespace(
            score=SimpleNamespace(per_seed=at), also=[{"x": value} for value in at]))
        for at in ([0.1, 0.3], [0.5, 0.5])
    ]  # fmt: skip
    for which in (None, "x"):
        found = lower_in("first", "second", "a", least, which).judge(*reports)
        assert found == (verdict, pytest.approx(0.3), least)
    assert lower_in("first", "second", "a", 0.1, "y").judge(*reports).verdict == OPEN
    assert (
        figure_below("r", "a", "x", 0.4 - least).judge(reports[0]).verdict
        == {0.1: HOLDS, 0.25: OPEN, 0.5: FAILS}[least]
    )


def test_of_a_race_without_an_error_there_is_no_ratio():
    """It leaves the question open, unless another seed decides it."""

    def report(*scores):
        return SimpleNamespace(arm=lambda _: SimpleNamespace(score=SimpleNamespace(per_seed=list(scores))))

    judge = ratio("first", "second", "a", 0.5).judge
    assert judge(report(0.1, 0.2), report(0.4, 0.4)) == (HOLDS, pytest.approx(0.375), 0.5)
    assert judge(report(0.1, 0.0), report(0.4, 0.0)).verdict == OPEN == judge(report(0.1), report(0.0)).verdict
    assert judge(report(0.3, 0.0), report(0.4, 0.0)).verdict == FAILS


def test_a_gap_counts_in_the_predicted_direction():
    assert better("r", "a", "b").judge(outcome(-0.3, True)).value == pytest.approx(0.3)
    assert better("r", "b", "a").judge(outcome(-0.3, True)).value == pytest.approx(-0.3)
    more = outcome(0.3, True)  # where more is better the better arm of a pair has the higher score
    assert better("r", "a", "b").judge(more).verdict == HOLDS and better("r", "b", "a").judge(more).verdict == FAILS


FEW = 16  # one of so many studies is planned in `make test`, all are in `make test-all`


def known(race: Race) -> set[str]:
    """The labels of a race's arms, each of which is understood."""
    arms = [parse_arm(arm) for arm in race.arms]
    for arm in arms:
        registry.find("recipe", arm.name)
    return {arm.label for arm in arms}


@pytest.mark.parametrize("name", studies())
def test_every_study_asks_what_its_races_answer(name):
    """A prediction names races or trials of the study, and of a race an arm that it has."""
    study: Study = registry.find("study", name).load().study()
    labels, trials = {race.name: known(race) for race in study.races}, {trial.name for trial in study.trials}
    assert all(len(race.arms) > 1 for race in study.races), "one arm is no race: a comparison refuses it"
    for prediction in study.predictions:
        said = prediction.text.split(": ", 1)[1].split()
        for race in prediction.races:
            assert race in trials or any(label in said for label in labels[race])


@pytest.mark.parametrize("name", [
    name if i % FEW == 0 else pytest.param(name, marks=pytest.mark.slow) for i, name in enumerate(sorted(studies()))
])  # fmt: skip
def test_every_study_can_be_planned(name):
    """At both tiers, and at the full one with arms of one size."""
    study: Study = registry.find("study", name).load().study()
    for race in study.races:
        _skip_without(race.options.get("data", ()))
        make_plan(Request(race.arms, task=race.task, **race.options_at("smoke")))
        full = make_plan(Request(race.arms, task=race.task, **race.options))
        arms = [full.base(arm) for arm in full.arms]
        counts = [arm.params for arm in arms if registry.find("recipe", arm.name).constant("knobs")]
        assert not counts or max(counts) / min(counts) <= 1.02


def _skip_without(data):
    """Files of the folder of benchmark data are not everywhere."""
    try:
        read(data) if data else None
    except UsageError as error:
        if "BLOCKYARD_DATA" not in str(error):
            raise
        pytest.skip(str(error))


def test_a_study_runs_and_its_record_says_how(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("blockyard.compare.run.job.by_length", lambda *_: {})  # most of the time
    assert main(["study", "mamba", "--tier", "smoke", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["verdict"] in (HOLDS, FAILS, OPEN) and record["seeds"] == 2 and record["seconds"] > 0
    assert len(record["predictions"]) == 3
    assert {"text", "verdict", "value", "threshold"} == set(record["predictions"][0])
    assert not (tmp_path / "results").exists()  # a smoke run is no result
    folder = tmp_path / "results" / "mamba"
    folder.mkdir(parents=True)
    (folder / "2026-01-02.json").write_text(json.dumps(record))
    assert status()[0].slug == "mamba" and not status()[0].races
    assert main(["study", "status"]) == 0 and "mamba" in capsys.readouterr().out


RECORD = {"slug": "mamba", "study": "mamba", "tier": "small", "seeds": 2, "date": "2026-01-02", "verdict": HOLDS,
          "predictions": []}  # fmt: skip


@pytest.mark.parametrize("content", [
    b"{", b"[]", b"\xff", b'{"slug": 1}', sealed({"format": 2, **RECORD}).replace(b"mamba", b"mambo", 1),
    json.dumps(RECORD | {"predictions": 3}).encode(), json.dumps(RECORD | {"format": 99}).encode(),
])  # fmt: skip
def test_a_damaged_record_is_a_line(content, tmp_path, capsys):
    (tmp_path / "mamba").mkdir()
    path = tmp_path / "mamba" / "2026-01-02.json"
    for good in (sealed({"format": 2, **RECORD}), json.dumps(RECORD).encode()):  # as it is, and as it was stored once
        path.write_bytes(good)
        assert status(tmp_path)[0].to_json().items() >= RECORD.items()
    path.write_bytes(content)
    assert main(["study", "status", "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert str(path) in said and len(said.splitlines()) == 1


@pytest.mark.parametrize("words,says", [(["mambo"], "mamba"), (["mamba", "--tier", "large"], "small")])
def test_a_wrong_request_is_named(words, says, capsys):
    assert main(["study", *words]) == 2
    assert says in capsys.readouterr().err


def test_a_study_that_is_repeated_says_what_came_out_otherwise():
    """The verdict first, then the predictions of both; what is new or gone is no change."""

    def record(date, verdict, **found):
        told = [Told(text, said, 0.0, 0.0) for text, said in found.items()]
        return Record("mamba", "mamba", "small", told, verdict, 2, date)

    before = record("2026-01-02", HOLDS, a=HOLDS, b=HOLDS, gone=FAILS)
    now = record("2026-03-04", OPEN, a=HOLDS, b=OPEN, new=HOLDS)
    assert changes(before, now) == [
        "the verdict on mamba was: holds (2026-01-02); it is: inconclusive",
        "b: holds on 2026-01-02, inconclusive now",
    ]
    assert changes(before, before) == changes(None, now) == []


def test_a_trial_is_measured_once_a_seed_on_what_the_races_trained(tmp_path, monkeypatch):
    """Its figures are kept, and predictions look at every seed; it gets the very model of its seed."""
    monkeypatch.chdir(tmp_path)
    seen = []

    def look(given):
        model = given.trained("few", "llama")
        seen.append((given.seed, given.tier, model.stem.table.sum().item()))
        return {"one": 1.0 + given.seed, "two": 4.0}

    made = Study(
        races=(Race("few", ("llama", "gla"), task="copy:count=4"),),
        predictions=(
            figure("looked", "one", most=2),
            figure("looked", "one", least=2),
            beneath("looked", "one", "two", 0.3),
        ),
        trials=(Trial("looked", look),),
    )
    monkeypatch.setattr(registry.find("study", "mamba").load(), "study", lambda: made)
    record = run_study("mamba", "smoke", quiet=True)
    assert [told.verdict for told in record.predictions] == [HOLDS, OPEN, OPEN]
    assert record.trials == {"looked": [{"one": 1.0, "two": 4.0}, {"one": 2.0, "two": 4.0}]}
    assert [each[:2] for each in seen] == [(0, "smoke"), (1, "smoke")] and seen[0][2] != seen[1][2]
    assert Record.from_json(record.to_json(), "x").trials == record.trials


def test_a_study_of_trials_alone_has_their_seeds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = Study(races=(), predictions=(beneath("t", "a", "b"),),
                 trials=(Trial("t", lambda given: {"a": given.seed, "b": 3}, seeds=3),))  # fmt: skip
    monkeypatch.setattr(registry.find("study", "mamba").load(), "study", lambda: made)
    record = run_study("mamba", "smoke", quiet=True)
    assert record.seeds == 3 and record.verdict == HOLDS
    below_zero = beneath("t", "a", "b")
    assert below_zero.judge([{"a": 0.5, "b": -0.1}] * 2) == (FAILS, None, 1.0)  # a ratio would say that it holds
    assert below_zero.judge([{"a": -0.5, "b": -0.1}, {"a": 1.0, "b": 2.0}]) == (HOLDS, 0.5, 1.0)
    assert below_zero.judge([{"a": 0.5, "b": 0.0}] * 2).verdict == FAILS
    assert figure("t", "a", most=3).judge([{"a": 1.0}, {"a": None}]) == (OPEN, 1.0, 3)
    assert figure("t", "a", least=3).judge([{"a": 1.0}, {"a": None}]).verdict == FAILS
    with pytest.raises(UsageError, match="unknown figure of the trial 'b'"):
        figure("t", "b", most=3).judge([{"a": 1.0}])
    with pytest.raises(ValueError, match="either least or most"):
        figure("t", "a")
