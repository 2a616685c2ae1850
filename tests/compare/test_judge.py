"""Anybody's runs get the comparison's verdict: paired, unpaired or by samples, in the same words, page and JSON."""

import csv
import json
import re
import shlex
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest

import blockyard as by
from blockyard.cli import main
from blockyard.compare.judge.statistics import Table, analyse
from blockyard.compare.outcome import Judgement, Outcome
from blockyard.compare.report.format import told_apart
from blockyard.compare.report.page import render
from blockyard.compare.report.terminal import describe


def runs(means, seeds, spread=0.01, seed=0, common=0.0):
    """Rows of arms with these means; `common` is the spread of what the arms of a seed share."""
    rng = np.random.default_rng(seed)
    shared = common * rng.standard_normal(max(seeds))
    return [
        {"arm": arm, "seed": i, "loss": mean + shared[i] + spread * rng.standard_normal()}
        for (arm, mean), n in zip(means.items(), seeds)
        for i in range(n)
    ]


def apart(rows):
    """The same runs, whose seeds no two arms share."""
    return [{**row, "seed": f"{row['arm']}{row['seed']}"} for row in rows]


def table(rows, **more):
    """The rows as the statistics know them."""
    names = list(dict.fromkeys(row["seed"] for row in rows))
    losses = {(row["arm"], names.index(row["seed"])): np.array([row["loss"]]) for row in rows}
    return Table(list(dict.fromkeys(row["arm"] for row in rows)), range(len(names)), losses, np.ones(1), **more)


def same(judged, verdicts):
    said = [(p.a, p.b, p.difference, p.low, p.high, p.p, p.verdict) for p in judged.pairs]
    assert said == [(p.a, p.b, p.difference, p.low, p.high, p.p, p.verdict) for p in verdicts.pairs]


def test_arms_that_share_no_seed_are_judged_unpaired():
    rows = apart(runs({"a": 1.0, "b": 1.1, "c": 1.002}, (4, 8, 5)))
    judged = by.judge(rows, margin=0.02)
    assert judged.source.design == "unpaired" and judged.seeds == [] and judged.best == ["a", "c"]
    mean = np.mean([np.mean([r["loss"] for r in rows if r["arm"] == arm]) for arm in "abc"])
    same(judged, analyse(table(rows, unpaired=True), margin=0.02 * mean))
    assert "No two arms share a run" in str(judged) and "a or c" in str(judged)


def test_arms_that_share_seeds_are_judged_as_a_comparison_is():
    rows = runs({"a": 1.0, "b": 1.05, "c": 1.002}, (5, 5, 5), seed=3)
    judged = by.judge(rows)
    assert judged.source.design == "seeds" and judged.seeds == list("01234")
    same(judged, analyse(table(rows), margin=judged.margin))


def test_seeds_that_tell_pair_the_arms():
    rows = runs({"a": 1.0, "b": 1.06}, (6, 6), common=0.2)
    judged = by.judge(rows)
    assert judged.source.design == "paired" and judged.best == ["a"] and "on the same seeds" in str(judged)
    assert by.judge(apart(rows)).best == ["a", "b"]  # unpaired the spread of the seeds hides it
    same(judged, analyse(table(rows, bases=dict.fromkeys("ab", "all")), margin=judged.margin))


def test_a_hole_is_filled_by_least_squares_and_a_failure_forbids_to_be_better():
    rows = runs({"a": 1.0, "b": 1.3}, (5, 5), common=0.001)
    hole = [row for row in rows if (row["arm"], row["seed"]) != ("b", 2)]
    same(by.judge(hole), analyse(table(hole), margin=by.judge(hole).margin))
    failed = [{**row, "loss": float("nan")} if (row["arm"], row["seed"]) == ("a", 0) else row for row in rows]
    judged = by.judge(failed)
    assert (
        judged.arm("a").failed == 1
        and judged.arm("a").status == "partly failed"
        and judged.arm("a").score.per_seed[0] is None
    )
    assert not judged.pair("ab").resolved and "flatters" in judged.pair("ab").note
    assert "a failed in 1 of 5 runs" in str(judged)
    worse = [{**row, "loss": float("nan")} if (row["arm"], row["seed"]) == ("b", 0) else row for row in rows]
    assert by.judge(worse).pair("ab").verdict == "better"


def test_an_arm_of_one_run_is_shown_and_never_ranked():
    rows = [*runs({"a": 1.0, "b": 1.1}, (4, 4)), {"arm": "single", "seed": 0, "loss": 0.1}]
    judged = by.judge(rows)
    single = judged.arm("single")
    assert (single.rank, single.letters, single.candidate) == (None, "", False) and single.score.low is None
    assert judged.best == ["a"] and judged.pair(["single", "a"]).p is None
    assert "single has one run, so it cannot be told apart" in " ".join(str(judged).split())
    alone = by.judge([{"arm": arm, "loss": i} for i, arm in enumerate("abc")])
    assert alone.best == [] and "No verdict: one run has no spread" in str(alone)


def samples(right, seed=0, n=400):
    """Rows of models that answer the same samples, with these shares right, most of them alike."""
    rng = np.random.default_rng(seed)
    hard = rng.random(n)
    return [
        {"model": model, "sample": i, "correct": int(hard[i] + 0.1 * rng.standard_normal() < share)}
        for model, share in right.items()
        for i in range(n)
    ]


def test_models_are_paired_by_their_samples():
    rows = samples({"a": 0.6, "b": 0.55, "c": 0.3})
    judged = by.judge(rows)
    assert judged.source.design == "paired" and judged.source.samples == 400 and judged.metric.share
    assert judged.best == ["a"] and judged.pair("bc").resolved
    by_model = {m: np.array([r["correct"] for r in rows if r["model"] == m]) for m in "abc"}
    gap = by_model["a"] - by_model["b"]
    assert judged.pair("ab").difference == pytest.approx(gap.mean(), rel=1e-5)
    half = (judged.pair("ab").high - judged.pair("ab").low) / 2
    assert 2 < half / (gap.std(ddof=1) / 20) < 3  # of the differences, corrected for three pairs
    assert half < 0.7 * 2.3 * (sum(x.var() for x in by_model.values()) / 1.5 / 400) ** 0.5  # unpaired it is wider
    assert "what training again would change is not counted" in " ".join(str(judged).split())
    fewer = [row for row in rows if (row["model"], row["sample"]) != ("b", 7)]
    assert by.judge(fewer).source.samples == 399 and "1 of 400 samples are not those of every run" in str(
        by.judge(fewer)
    )
    with pytest.raises(by.UsageError, match="share 0 samples of 800"):
        by.judge([{**row, "sample": f"{row['model']}{row['sample']}"} for row in rows if row["model"] != "c"])


def test_several_runs_with_samples_count_both():
    rng = np.random.default_rng(1)
    rows = [
        {
            "arm": arm,
            "seed": f"{arm}{s}",
            "sample": i,
            "loss": base + 0.3 * hard + 0.02 * run + 0.1 * rng.standard_normal(),
        }
        for arm, base in (("a", 1.0), ("b", 1.2))
        for s, run in enumerate(rng.standard_normal(4))
        for i, hard in enumerate(np.random.default_rng(2).standard_normal(64))
    ]
    judged = by.judge(rows)
    assert judged.source.design == "both" and judged.source.samples == 64 and judged.best == ["a"]
    few = by.judge([row for row in rows if row["sample"] < 5])
    assert few.source.design == "unpaired" and "5 samples are too few" in str(few)


def test_samples_of_one_document_count_as_one():
    rows = [{**row, "text": row["sample"] // 40} for row in samples({"a": 0.6, "b": 0.5})]
    grouped, single = by.judge(rows, group="text"), by.judge(rows)
    assert grouped.source.samples == 10 and single.source.samples == 400
    wide, narrow = ((p.high - p.low) for p in (grouped.pair("ab"), single.pair("ab")))
    assert wide > narrow


def test_the_direction_turns_the_verdict_and_several_metrics_share_the_error():
    rows = [{**row, "acc": 1 - row["loss"] / 4} for row in runs({"a": 1.0, "b": 1.1}, (4, 4))]
    low, high = by.judge(rows, score="loss"), by.judge(rows, score="acc")
    assert low.best == high.best == ["a"] and high.metric.better == "higher"
    assert high.pair("ab").difference > 0 > low.pair("ab").difference
    assert high.pair("ab").p == low.pair("ab").p and high.pair("ab").low == pytest.approx(
        -low.pair("ab").high / 4, rel=1e-5
    )
    assert by.judge(rows, score="acc", better="lower").best == ["b"]
    both = by.judge(rows, score="loss,acc", better="lower,higher")
    assert [each.metric.name for each in (both, *both.further)] == ["loss", "acc"] and both.source.metrics == 2
    same(both, analyse(table(rows), margin=both.margin, looks=2))
    assert both.pair("ab").high - both.pair("ab").low > low.pair("ab").high - low.pair("ab").low
    with pytest.raises(by.UsageError, match="names 3 directions for 2 scores"):
        by.judge(rows, score="loss,acc", better="lower,higher,lower")
    with pytest.raises(by.UsageError, match="is a lower or a higher what better"):
        by.judge([{"arm": row["arm"], "what": row["loss"]} for row in rows])


def test_all_are_held_against_a_baseline():
    rows = apart(runs({"a": 1.0, "base": 1.1, "c": 1.2, "d": 1.101}, (5, 5, 5, 5)))
    judged = by.judge(rows, against="base")
    assert {frozenset((p.a, p.b)) for p in judged.pairs} == {frozenset((x, "base")) for x in "acd"}
    assert "Against base: a is better; c is worse; 1 cannot be told apart." in str(judged)
    with pytest.raises(by.UsageError, match="unknown arm 'bass'; did you mean base"):
        by.judge(rows, against="bass")


class Words(HTMLParser):
    def __init__(self):
        super().__init__()
        self.words, self.cells, self.open = "", 0, []

    def handle_starttag(self, tag, attrs):
        self.cells += tag == "td"
        if tag not in ("meta", "path", "br", "img", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert tag == "path" or self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


def page(judged):
    read = Words()
    read.feed(render(judged))
    assert read.open == []
    return read


@pytest.mark.parametrize("arms", [2, 4, 41])
def test_the_page_of_few_arms_and_of_many(arms):
    means = {f"<arm> {i}": 1 + 0.005 * i for i in range(arms)}
    judged = by.judge(apart(runs(means, [1 + i % 6 if arms > 4 else 3 for i in range(arms)])))
    read = page(judged)
    assert all(name in read.words for name in means) and "<arm>" not in render(judged)
    assert ("empty: no verdict" in read.words) == (arms > 10)
    assert "architecture" not in read.words and "blockyard judge" in read.words
    text = describe(judged)
    assert max(map(len, text.splitlines())) <= 80 and text.count("\n") < 60
    assert ("more (--out keeps all of them)" in text) == (arms > 30)
    assert describe(judged, whole=True).count("<arm> 3") >= (arms > 3)
    assert page(by.judge(apart(runs(means, [3] * arms)), against="<arm> 1")).words.count("the baseline")


def test_the_folder_holds_the_document_the_text_and_the_pages(tmp_path):
    rows = [{**row, "acc": 1 - row["loss"] / 4} for row in runs({"a": 1.0, "b": 1.1}, (4, 4))]
    judged = by.judge(rows, score="loss,acc", out=tmp_path / "out")
    held = json.loads((tmp_path / "out" / "result.json").read_text())
    held.pop("checksum")
    assert Judgement.from_json(held, "a verdict") == judged and isinstance(judged, Outcome)
    assert (tmp_path / "out" / "2-acc" / "report.html").exists() and "2-acc/report.html" in render(judged)
    assert (tmp_path / "out" / "report.txt").read_text().startswith("2 arms in a table, 8 runs: loss, lower is better")


def test_the_page_says_how_it_is_repeated(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [{**row, "lr": 0.1, "run": "cut off"} for row in runs({"a": 1.0, "it's": 1.1}, (4, 4))]
    written(tmp_path / "runs.csv", rows)
    asked = ["runs.csv", "--arm", "arm,lr", "--seed", "none", "--against", "it's 0.1", "--margin", "0.02"]
    assert main(["judge", *asked, "--out", "one"]) == 0
    first = json.loads((tmp_path / "one" / "result.json").read_text())
    html = (tmp_path / "one" / "report.html").read_text()
    command = unescape(re.sub(r"<[^>]+>", "", re.search(r'<pre class="command">(.*?)</pre>', html)[1]))
    assert main([*shlex.split(command)[1:], "--out", "two"]) == 0
    second = json.loads((tmp_path / "two" / "result.json").read_text())
    assert second["pairs"] == first["pairs"] and second["against"] == "it's 0.1" and capsys.readouterr().err == ""


def test_what_it_has_in_common_with_a_comparison_has_the_same_names(tmp_path):
    from blockyard.compare.documents import Report

    ours, theirs = (set(each.__annotations__) for each in (Judgement, Report))
    assert set(Outcome.__annotations__) <= ours & theirs


def written(path, rows):
    with open(path, "w", newline="") as file:
        out = csv.DictWriter(file, list(rows[0]))
        out.writeheader()
        out.writerows(rows)
    return str(path)


def test_the_command_prints_words_and_a_document(tmp_path, capsys):
    path = written(tmp_path / "runs.csv", runs({"a": 1.0, "b": 1.1}, (4, 4)))
    assert main(["judge", path]) == 0
    assert "Best: a." in capsys.readouterr().out
    assert main(["judge", path, "--json", "--alpha", "0.01", "--margin", "0.2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["alpha"], found["pairs"][0]["verdict"]) == (0.01, "better, below margin")
    assert found["source"]["columns"] == {"arm": "arm", "seed": "seed", "score": "loss"}


@pytest.mark.parametrize(
    "words, message",
    [
        (["nothing.csv"], "there is no nothing.csv"),
        (["runs.csv", "--arm", "lable"], "unknown column 'lable'"),
        (["runs.csv", "--arm", "seed", "--seed", "none", "--score", "seed"], "column 'seed'"),
        (["one.csv"], "there is one arm only, a (column 'arm')"),
        (["runs.csv", "--alpha", "0"], "--alpha: '0' must be a number"),
        (["runs.csv", "--better", "up"], "unknown direction 'up'"),
        (["runs.csv", "--out", "runs.csv/x"], "cannot write to runs.csv/x"),
    ],
)
def test_a_users_mistake_is_told_in_a_line(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "runs.csv", runs({"a": 1.0, "b": 1.1}, (4, 4)))
    written(tmp_path / "one.csv", runs({"a": 1.0}, (4,)))
    assert main(["judge", *words]) == 2
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1 and said.out == ""


def test_a_verdict_loads_no_framework(tmp_path):
    """Which is most of the time that it would take."""
    path = written(tmp_path / "runs.csv", runs({"a": 1.0, "b": 1.1}, (4, 4)))
    code = f"import sys; from blockyard.cli import main; main(['judge', {path!r}, '--out', {str(tmp_path / 'o')!r}]); "
    code += "assert not {'torch', 'scipy.optimize', 'pandas'} & set(sys.modules), 'loaded'"
    subprocess.run([sys.executable, "-P", "-c", code], check=True, capture_output=True)


def test_long_names_are_told_apart_in_a_table():
    runs = [f"a/long/way/down/{where}/model" for where in ("1-drop", "3-gptq")]
    for most in range(12, 32):
        short = told_apart(runs, most)
        assert len(set(short)) == 2 and max(map(len, short)) <= most
    assert told_apart(["llama-with-a-long-name", "gla"], 8) == ["llama-w…", "gla"]
    same = ["one name twice"] * 2  # rows of one arm
    assert told_apart(same, 8) == ["one nam…"] * 2
