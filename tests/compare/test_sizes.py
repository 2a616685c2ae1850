"""Several sizes in one comparison: predictions that no kill rewrites, gates, growth, every wrong request named."""

import json
import re
import subprocess
import sys

import pytest
from test_compare import kill_until_done, moments
from test_sizes_judge import report

import blockyard as by
from blockyard.cli import main
from blockyard.compare import kept
from blockyard.compare.sizes import run as running
from blockyard.compare.sizes.documents import SizesReport, Sketch
from blockyard.compare.sizes.folder import Folder, read_plan
from blockyard.compare.sizes.page import render
from blockyard.core.errors import UsageError
from blockyard.core.files import sealed, write_whole

FEW = dict(tokens="1k", length=16, batch=8, seeds=2, tuning="none")
WORDS = ["--tokens", "1k", "--length", "16", "--batch", "8", "--seeds", "2", "--tuning", "none"]
GATE = "gap>-90% at 1 size"


def compare(folder, text, params="30k,45k", **other):
    return by.compare(["a=llama", "b=llama:layers=2"], data=text, params=params, out=folder, quiet=True, **FEW | other)


@pytest.fixture(scope="module")
def done(tmp_path_factory, text):
    """Two sizes, with a gate."""
    from tests.in_process import InProcess

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("blockyard.compare.compare.Pool", InProcess)
        out = tmp_path_factory.mktemp("sizes") / "out"
        return compare(out, text, gate=GATE), out


def said(folder):
    if not (folder / "predictions.json").exists():
        return {}
    return {each["place"]["folder"]: each for each in json.loads((folder / "predictions.json").read_text())["foreseen"]}


def test_every_size_is_a_comparison_and_the_whole_stands_above(done):
    report, out = done
    assert isinstance(report, SizesReport) and [size.place.params for size in report.sizes] == [30e3, 45e3]
    for size in report.sizes:
        own = kept.outcome(out / size.place.folder)
        assert {arm.name: arm.score.mean for arm in own.arms} == {arm.name: arm.score.mean for arm in size.arms}
        assert own.plan.matched == {"params": size.place.params, "tokens": 1e3}
        assert (out / size.place.folder / "report.html").exists()
    assert report.plan.baseline == "a" and report.plan.gate.text == GATE
    assert [answer.arm for answer in report.gate] == ["b"]
    assert len(kept.runs(out)) == 2 * 4 and {row["folder"].split("/")[0] for row in kept.runs(out)} == {
        size.place.folder for size in report.sizes
    }


def test_a_gap_is_better_than_the_baseline_at_the_level_of_all_sizes(done):
    report, _ = done
    assert report.level == pytest.approx(0.05 / 2)
    for size in report.sizes:
        (b, a) = (size.arm(name) for name in "ba")
        assert a.gap is None and a.speedup is None
        assert (
            b.gap.value == pytest.approx(a.score.mean - b.score.mean, abs=1e-6) and b.gap.low < b.gap.value < b.gap.high
        )


def test_the_page_and_the_words_say_the_same_figures(done):
    report, out = done
    page, words = render(report), str(report)
    assert (out / "report.txt").read_text().startswith(words) and (out / "report.html").read_text() == page
    for size in report.sizes:
        for arm in size.arms:
            assert f"{arm.score.mean:.4f}" in page and f"{arm.score.mean:.3f}" in words
    assert "Score by size" in page and GATE.replace(">", "&gt;") in page and f"Gate '{GATE}' against a: b" in words
    assert "L(N) needs 4 sizes and 3 seeds; here are 2 and 2." in words and "Predicted at 135k" in words
    assert len(re.findall(r'class="mark hollow"', page)) >= 4
    assert max(map(len, words.splitlines())) <= max(80, len(report.report) + 8)


def test_report_and_runs_know_the_folder(done, capsys, tmp_path):
    report, out = done
    before = (out / "result.json").read_bytes()
    assert main(["report", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sizes"][0]["place"]["params"] == 30e3
    assert (out / "result.json").read_bytes() == before
    assert main(["runs", str(out), "--csv", str(tmp_path / "runs.csv")]) == 0
    assert len((tmp_path / "runs.csv").read_text().splitlines()) == 9
    assert main(["generate", f"{out}:a", "--tokens", "2"]) == 2
    assert "holds several sizes" in capsys.readouterr().err
    assert main(["generate", f"{out / report.sizes[0].place.folder}:a", "--tokens", "2"]) == 0


class Quick:
    """Comparisons that train nothing: the losses of a law, written down when a size begins as the real ones are."""

    def __init__(self, monkeypatch, cut=None, noise=0.001):
        self.began, self.cut, self.noise = [], cut, noise
        monkeypatch.setattr(running, "make_plan", lambda request, say: report(int(request.params), self.losses(9)).plan)
        monkeypatch.setattr(running, "run_arms", self.run)
        monkeypatch.setattr(running, "outcome", self.outcome)
        monkeypatch.setattr(running, "write", self.write)

    def outcome(self, plan, done, held, ahead):
        metric = done[0].report.metric
        return SizesReport(plan, metric, "nothing", 0.05, [], [], [], held, ahead, [])

    def write(self, found, folder):
        write_whole(folder / "result.json", sealed(found.to_json()))
        return found

    def losses(self, N):
        return {
            name: [1 + factor * N**-0.3 + self.noise * s for s in (-1, 0, 1)] for name, factor in (("a", 9), ("b", 8))
        }

    def run(self, request, planned, *, out, **_):
        self.began.append((out.name, out.name in said(out.parent)))
        out.mkdir(exist_ok=True)
        (out / "plan.json").touch()
        if out.name == self.cut:
            raise KeyboardInterrupt
        return report(int(request.params), self.losses(request.params), better="b")


def test_what_was_said_stands_before_a_size_begins_and_stays(tmp_path, monkeypatch):
    """Cut off in the middle of the third size; then the smaller ones change, and so would the prediction."""
    out, names = tmp_path / "out", [f"{n}-params-1k-tokens" for n in ("100k", "300k", "900k")]
    quick = Quick(monkeypatch, cut=names[2])
    with pytest.raises(KeyboardInterrupt):
        compare(out, "-", "100k,300k,900k")
    assert quick.began == list(zip(names, (False, True, True)))
    frozen, file = said(out)[names[2]], (out / "predictions.json").read_bytes()
    assert [source["folder"] for source in frozen["made_from"]] == names[:2]
    again = Quick(monkeypatch, cut=names[2], noise=0.1)
    with pytest.raises(KeyboardInterrupt):
        compare(out, "-", "100k,300k,900k")
    assert again.began[-1][0] == names[2] and (out / "predictions.json").read_bytes() == file
    Quick(monkeypatch, noise=0.1)
    found = compare(out, "-", "100k,300k,900k")
    assert said(out)[names[2]] == frozen and [each.foreseen.place.folder for each in found.held] == names[1:]
    assert found.ahead.place.params == 2.7e6 and found.ahead.made_from[0].scores["a"][0] < 1.3
    assert said(out)["2.7M-params-1k-tokens"]["made_from"][2]["folder"] == names[2]
    Quick(monkeypatch, noise=0.2)
    grown = compare(out, "-", "100k,300k,900k,2.7M")  # begun by none before: made anew of what there is now
    assert grown.held[-1].foreseen.made_from[0].scores != found.ahead.made_from[0].scores


def test_a_prediction_that_was_not_written_is_never_made(tmp_path, monkeypatch):
    Quick(monkeypatch)
    out = tmp_path / "out"
    first = compare(out, "-", "100k,300k").held[0]
    (out / "predictions.json").unlink()
    again = compare(out, "-", "100k,300k")
    assert again.held == [] and set(said(out)) == {"900k-params-1k-tokens"}
    folder = Folder(out, read_plan(out))
    with pytest.raises(UsageError, match="has begun"):
        folder.foresee([first.foreseen])
    with pytest.raises(UsageError, match="in use by another"):
        Folder(out, folder.plan)
    folder.close()
    path = out / "predictions.json"
    path.write_text(path.read_text().replace('"bracket"', '"law"'))
    with pytest.raises(UsageError, match="checksum"):
        compare(out, "-", "100k,300k")


def test_another_gate_is_a_look_more(tmp_path, monkeypatch):
    Quick(monkeypatch)
    out = tmp_path / "out"
    first = compare(out, "-", "100k,300k", gate=GATE).plan
    before = {name: (out / name).read_bytes() for name in ("result.json", "sizes.json")}
    assert first.earlier == [] and compare(out, "-", "100k,300k", gate=GATE).plan == first
    assert {name: (out / name).read_bytes() for name in before} == before
    other = compare(out, "-", "100k,300k", gate="gap>-90% at every size").plan
    assert len(other.earlier) == 1 and other.error == pytest.approx(0.1) and first.error == pytest.approx(0.05)
    assert {name: (out / "earlier" / "1" / name).read_bytes() for name in before} == before
    grown = compare(out, "-", "100k,300k,900k", gate=GATE).plan
    assert len(grown.earlier) == 2 and len(compare(out, "-", "100k,300k", gate=GATE).plan.earlier) == 2
    (out / "result.json").unlink()  # nothing was read of this one
    assert len(compare(out, "-", "100k,300k").plan.earlier) == 2


@pytest.mark.slow
def test_a_finished_comparison_repeats_to_the_byte(done, text):
    _, out = done
    before = {name: (out / name).read_bytes() for name in ("result.json", "sizes.json", "predictions.json")}
    assert compare(out, text, gate=GATE).plan.earlier == []
    assert {name: (out / name).read_bytes() for name in before} == before


@pytest.mark.slow
def test_tokens_beside_sizes_make_speedups_by_scores(text, tmp_path):
    report = compare(tmp_path / "o", text, tokens=["1k", "4k"])
    assert [(size.place.params, size.place.budget) for size in report.sizes] == [
        (30e3, 1e3), (30e3, 4e3), (45e3, 1e3), (45e3, 4e3)
    ]  # fmt: skip
    assert {size.slope_by for size in report.sizes} == {"tokens"} and report.level == pytest.approx(0.05 / 4)
    for few, many in (report.sizes[:2], report.sizes[2:]):
        assert few.slope == many.slope and few.slope.value > 0
        a, b = many.arm("a"), many.arm("b")
        told = (a.score.mean / b.score.mean) ** (1 / many.slope.value)
        assert b.speedup.value == pytest.approx(told, rel=1e-4)
    assert [each.foreseen.place.budget for each in report.held] == [1e3, 4e3]
    assert "30k, 1k" in str(report) and 'class="thin"' in render(report)


@pytest.mark.slow
def test_a_dry_run_sums_the_hours_and_leaves_nothing(text, tmp_path, capsys):
    words = ["compare", "llama", "gla", "--data", text, "--params", "30k,45k", "--out", str(tmp_path / "o"), *WORDS]
    assert main([*words, "--gate", "speedup>1 at 2 sizes", "--dry-run", "--json"]) == 0
    found = capsys.readouterr()
    sketch = Sketch.from_json(json.loads(found.out), "the answer")
    assert len(sketch.plans) == len(sketch.seconds) == 2 and not (tmp_path / "o").exists()
    assert "gate: speedup>1 at 2 sizes, against llama" in found.err and "estimated time" in found.err


@pytest.mark.parametrize("words, says", [
    (["--params", "30k,45k", "--minutes", "1"], "--minutes does not go with several sizes"),
    (["--params", "30k,45k", "--memory", "10M"], "--memory does not go with several sizes"),
    (["--params", "30k,45k", "--sweep", "mixer.heads=1,2"], "--sweep does not go with several sizes"),
    (["--params", "30k,45k", "--tokens", "1k", "--flops", "1e9"], "give one"),
    (["--params", "45k,30k"], "rising order"),
    (["--params", "30k,30k"], "rising order"),
    (["--params", "1k,30k"], "at least 2000"),
    (["--params", "30k", "--tokens", "1k,2k"], "several --tokens stand beside several sizes"),
    (["--params", "30k", "--gate", "gap>0 at 1 size"], "--gate is judged over several sizes"),
    (["--params", "30k,45k", "--gate", "gap>0 at 3 sizes"], "there are 2 sizes"),
    (["--params", "30k,45k", "--gate", "gain>0 at 1 size"], "unknown quantity of a gate"),
    (["--params", "30k,45k", "--gate", "gap>0"], "at N sizes"),
    (["--params", "30k,45k", "--gate", "speedup>0 at 1 size"], "a factor above 0"),
    (["--params", "30k,45k", "--against", "c"], "unknown arm"),
    (["--params", "30k,31k", "--set", "mixer.heads=nine"], "nine"),
])  # fmt: skip
def test_a_wrong_request_is_a_line_and_leaves_nothing(words, says, text, tmp_path, capsys):
    out = tmp_path / "o"
    assert main(["compare", "llama", "gla", "--data", text, "--out", str(out), *words]) == 2
    told = capsys.readouterr().err
    assert says in told and len(told.splitlines()) == 1 and not out.exists()


@pytest.mark.slow
def test_folders_of_others_are_left_alone(done, text, tmp_path):
    _, out = done
    by.compare(["a=llama", "b=llama:layers=2"], data=text, params="30k", out=tmp_path / "one", quiet=True, **FEW)
    with pytest.raises(UsageError, match="the comparison of one size"):
        compare(tmp_path / "one", text)
    with pytest.raises(UsageError, match="use another --out"):
        by.compare(["llama", "gla"], data=text, params="30k", out=out, quiet=True, **FEW)
    with pytest.raises(UsageError, match="they differ in length"):
        compare(out, text, length=32)


@pytest.mark.slow
def test_kills_lose_nothing_and_change_nothing_of_several_sizes(text, tmp_path):
    command = [sys.executable, "-m", "blockyard", "compare", "a=llama", "b=gla", "--data", text,
               "--params", "30k,45k,60k", *WORDS, "--out"]  # fmt: skip
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)
    (tmp_path / "k" / "30k-params-1k-tokens").mkdir(parents=True)
    (tmp_path / "k" / "sizes.json").write_bytes((tmp_path / "whole" / "sizes.json").read_bytes())
    first = tmp_path / "k" / "30k-params-1k-tokens"
    kill_until_done([*command, str(tmp_path / "k")], first, 6, moments(4.0, 12.0))
    whole, killed = (json.loads((tmp_path / each / "result.json").read_text()) for each in ("whole", "k"))
    for each in (whole, killed):
        del each["report"], each["checksum"]
    assert said(tmp_path / "k") == said(tmp_path / "whole") and whole == killed
