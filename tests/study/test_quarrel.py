"""The study of linear models and Transformers: what a dropped batch turns, what its page shows, where its data are."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import blockyard as by
from blockyard.core import UsageError
from blockyard.source import read
from blockyard.study import _write_page, quarrel
from blockyard.task import make_task

TASK = "forecast:horizon=4,length=12"
ARMS = ("nlinear", "dlinear", "patchtst=dlinear:average=3", "itransformer=dlinear:average=5", "points=ltsf_linear")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of benchmark data with little series in it."""
    (tmp_path / "series").mkdir()
    draw = np.random.default_rng(0)
    for name in ("ETTh1", "ETTh2"):
        values = np.sin(np.arange(400)[:, None] / (3, 5)) + 0.1 * draw.standard_normal((400, 2))
        lines = [f"2016-{1 + h // 672:02}-{1 + h // 24 % 28:02} {h % 24:02}:00,{a:.4f},{b:.4f}"
                 for h, (a, b) in enumerate(values)]  # fmt: skip
        (tmp_path / "series" / f"{name}.csv").write_text("\n".join(["date,HUFL,OT", *lines]))
    monkeypatch.setenv("BLOCKYARD_DATA", str(tmp_path))
    return tmp_path


def test_the_files_are_found_by_their_names_and_missed_in_a_line(folder, monkeypatch):
    assert list(read(["etth1"]).columns) == ["date", "HUFL", "OT"]
    assert read(["etth1"]).hash != read(["etth2"]).hash
    monkeypatch.setenv("BLOCKYARD_DATA", str(folder / "series"))
    with pytest.raises(UsageError, match=r"there is no .*ETTh2\.csv; get it from .* and set BLOCKYARD_DATA"):
        read(["etth2"])


def test_dropping_a_batch_turns_a_pair_where_its_windows_decided():
    """Windows behind the last full batch that alone decide a pair; and the largest of all moves is told."""
    a, b = np.ones(640), np.full(640, 1.1)
    assert quarrel.turned({"a": a, "b": b}) == (0, pytest.approx(0.0, abs=1e-12))
    b = np.full(640 + 7, 0.99)
    b[-7:] = 3.0  # the last windows, which every batch drops, are what b loses by
    turns, move = quarrel.turned({"a": np.ones(647), "b": b, "c": np.full(647, 5.0)})
    assert b.mean() > 1 and turns == len(quarrel.BATCHES)
    assert move == pytest.approx(1 - 0.99 / b.mean())


@torch.no_grad()
def test_the_trial_scores_every_window_of_the_test(folder, monkeypatch):
    monkeypatch.setattr(quarrel, "LENGTHS", (12,))
    monkeypatch.setattr(quarrel, "task", lambda length: f"forecast:horizon=4,length={length}")
    monkeypatch.setattr(quarrel, "BATCHES", (16, 32))
    asked, seen = [], {}

    def trained(race, arm):
        asked.append((race, arm))
        return by.build("nlinear", length=12, horizon=4, channels=2, outputs=2, seed=len(arm))

    monkeypatch.setattr(quarrel, "turned", lambda errors: seen.update(errors) or (3, 0.25))
    said = quarrel.dropped(SimpleNamespace(trained=trained))
    assert said == {"pairs that turn": 6.0, "largest move": 0.25}
    assert set(asked) == {(f"{file}_12", arm) for file in quarrel.FILES for arm in quarrel.LABELS}
    rows = make_task(TASK).material(read(["etth2"])).series.windows(2).take(slice(None))
    x, y = torch.from_numpy(rows["tokens"]), torch.from_numpy(rows["targets"])
    for arm in quarrel.LABELS:
        wanted = (trained("", arm)(by.Batch(x)).prediction["forecast"] - y).square().sum((1, 2))
        assert seen[arm].shape == (len(x),) and np.allclose(seen[arm], wanted.numpy(), rtol=1e-4)


def test_the_page_draws_errors_by_step_and_says_what_needs_no_training(folder, tmp_path):
    report = by.compare(ARMS, data="etth1", task=TASK, tokens="2k", batch=8, seeds=2, tuning="none", quiet=True,
                        out=tmp_path / "out")  # fmt: skip
    races = [race.name for race in quarrel.study().races]
    sheet = quarrel.page(dict.fromkeys(races, report))
    assert len(sheet.pictures) == 4
    _write_page(sheet, tmp_path)
    page, table = (tmp_path / "page.html").read_text(), (tmp_path / "table.md").read_text().splitlines()
    assert not re.search(r'href="http', page) and "etth2, 336 steps back: error by step ahead" in page
    svg = (tmp_path / "etth1_96.svg").read_text()
    assert (
        all(f"{arm} at {step}: " in svg for arm in (*quarrel.LABELS, "last value") for step in (1, 4))
        and "at 5: " not in svg
    )
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in table]
    assert [row[0] for row in cells[2:7]] == list(quarrel.LABELS)
    assert cells[7][0] == "last value, untrained" and float(cells[7][1]) == pytest.approx(
        report.references["last value"], abs=1e-3
    )
    scores = report.arm("points").score.per_seed
    assert cells[6][1] == f"{sum(scores) / 2:.3f} ({min(scores):.3f} to {max(scores):.3f})"
