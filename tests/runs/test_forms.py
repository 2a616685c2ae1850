"""Every form that runs are kept in gives the scores that were put into it; what is damaged is refused in a line."""

import json
import math

import pytest
from made_logs import (
    WANDB_CHART,
    WANDB_JSON,
    WANDB_TABLE,
    event,
    events,
    lm_eval,
    mlruns,
    record,
    simple,
    tensor,
)

import blockyard as by
from blockyard.runs import find_columns, measure, read_rows
from blockyard.runs._read import forms


def scores(source, **asked):
    """Every run's score, by arm and run."""
    rows, roles = find_columns(read_rows(source), asked)
    return measure(rows, roles, roles.scores[0]).scores


def test_a_table_of_text_whatever_separates_it(tmp_path):
    lines = ["arm,seed,val_loss", "a,0,1.5", "a,1,1.25", "b,0,2", "b,1,2.5"]
    want = {("a", "0"): 1.5, ("a", "1"): 1.25, ("b", "0"): 2.0, ("b", "1"): 2.5}
    for end, mark in ((".csv", ","), (".tsv", "\t"), (".csv", ";"), (".txt", "|")):
        path = tmp_path / f"runs{end}"
        path.write_text("\ufeff" + "\r\n".join(lines).replace(",", mark) + "\r\n\r\n", encoding="utf-8")
        assert scores(path) == want
    path.write_text('arm,note,loss\n"a, wide","two\nlines",1\n"a, wide",,2\nb,"say ""x""",3\n')
    assert scores(path) == {("a, wide", "1"): 1, ("a, wide", "2"): 2, ("b", "1"): 3}
    rows = [dict(zip(lines[0].split(","), line.split(","))) for line in lines[1:]]
    rows = [{**row, "val_loss": float(row["val_loss"])} for row in rows]
    (tmp_path / "runs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "list.json").write_text(json.dumps(rows))
    (tmp_path / "columns.json").write_text(json.dumps({key: [row[key] for row in rows] for key in rows[0]}))
    for source in (tmp_path / "runs.jsonl", tmp_path / "list.json", tmp_path / "columns.json", rows):
        assert scores(source) == want


def test_frames_of_pandas_and_of_polars():
    columns = {"arm": ["a", "a", "b", "b"], "seed": [0, 1, 0, 1], "loss": [1.5, 1.25, 2.0, math.nan]}
    want = {("a", "0"): 1.5, ("a", "1"): 1.25, ("b", "0"): 2.0}
    assert scores(columns) == want
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(columns)
    assert scores(frame) == scores(frame.set_index(["arm", "seed"])) == want
    frame["loss"] = frame["loss"].astype("Float64")  # with a missing value of its own, which is a hole
    rows, roles = find_columns(read_rows(frame), {})
    assert measure(rows, roles, "loss").scores == want


def test_a_frame_of_polars():
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"arm": ["a", "b"], "seed": [0, 0], "loss": [1.5, None]})
    assert scores(frame) == {("a", "0"): 1.5}


def test_what_wandb_exports(tmp_path):
    path = tmp_path / "wandb.csv"
    path.write_text(WANDB_TABLE)
    rows, roles = find_columns(read_rows(path), {})
    assert (roles.arm, roles.seed, roles.scores) == ("optimizer", "seed", ["val/loss"])
    found = measure(rows, roles, "val/loss")
    assert found.scores == {("adamw", "0"): 2.0, ("adamw", "1"): 2.02, ("adamw", "2"): 2.01,
                            ("muon", "0"): 1.9, ("muon", "1"): 1.92}  # fmt: skip
    assert found.failed == {("muon", "2"): "its State is crashed"}  # what it had by then is no result
    assert found.notes == ["1 row of runs that are running: left out"]
    path.write_text(WANDB_CHART)
    assert scores(path) == {("adamw", "0"): 2.0, ("adamw", "1"): 2.1, ("muon", "0"): 1.9, ("muon", "1"): 1.8}
    (tmp_path / "wandb.json").write_text(json.dumps(WANDB_JSON))
    assert scores(tmp_path / "wandb.json")["muon", "1"] == 1.92


def test_the_folder_of_mlflow(tmp_path):
    runs = [
        {"name": f"{word}-{i}", "params": {"optimizer": arm, "seed": seed},
         "metrics": {"val/loss": [(0, 9.0), (10, loss)], "time": [(10, 3.0)]}, **more}
        for i, (word, arm, seed, loss, more) in enumerate([
            ("calm", "adamw", 0, 2.0, {}), ("fair", "adamw", 1, 2.1, {}), ("wild", "muon", 0, 1.9, {}),
            ("deep", "muon", 1, "nan", {}), ("lost", "muon", 2, 5.0, {"status": 4}),
            ("gone", "muon", 3, 0.0, {"stage": "deleted"}),
        ])
    ]  # fmt: skip
    folder = mlruns(tmp_path / "mlruns", runs)
    for source in (folder, folder / "123456789", tmp_path):
        rows, roles = find_columns(read_rows(source), {})
        assert (roles.arm, roles.seed, roles.step) == ("params.optimizer", "params.seed", "step")
        found = measure(rows, roles, roles.scores[0])
        assert found.scores == {("adamw", "0"): 2.0, ("adamw", "1"): 2.1, ("muon", "0"): 1.9}
        assert found.failed == {("muon", "1"): "its val/loss is nan", ("muon", "2"): "its status is failed"}


def test_event_files_of_tensorboard(tmp_path):
    for arm, base in (("adamw", 2.0), ("muon", 1.5)):
        for seed in range(2):
            curve = [(0, 9.0), (100, base + 0.25 * seed)]
            events(tmp_path / "logs" / arm / f"seed{seed}", {"val/loss": curve, "lr": [(0, 0.1)]})
    want = {("adamw", "0"): 2.0, ("adamw", "1"): 2.25, ("muon", "0"): 1.5, ("muon", "1"): 1.75}
    assert scores(tmp_path / "logs") == want
    assert scores([tmp_path / "logs" / "adamw", tmp_path / "logs" / "muon"]) == want


def test_every_way_in_which_a_scalar_is_written(tmp_path):
    path = tmp_path / "events.out.tfevents.1.host"
    values = [simple("a", 0.5), tensor("b", 0.25), tensor("c", 1 / 3, "d"), tensor("d", -8.0, "bytes")]
    whole = record(event(7, *values)) + record(event(1 << 40, simple("a", 2.0)))
    path.write_bytes(whole + record(event(9, simple("a", 3.0)))[:-9])  # cut off, as of a run that was killed
    (form,) = [form for form in forms() if form.known(path)]
    assert [row for _, row in form.rows(path)] == [
        {"step": 7, "a": 0.5, "b": 0.25, "c": 1 / 3, "d": -8.0}, {"step": 1 << 40, "a": 2.0},
    ]  # fmt: skip


def test_the_library_reads_the_event_files_that_are_made_here(tmp_path):
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    path = events(tmp_path, {"loss": [(0, 3.0), (5, 0.5)]})
    found = list(loader.EventFileLoader(str(path)).Load())
    assert [(each.step, each.summary.value[0].tensor.float_val[0]) for each in found[1:]] == [(0, 3.0), (5, 0.5)]


def test_samples_of_lm_eval(tmp_path):
    for model, right in (("small", [0, 1, 0, 1]), ("large", [1, 1, 0, 1])):
        lm_eval(tmp_path, model, "gsm8k", right, ("strict-match", "flexible-extract"))
        lm_eval(tmp_path, model, "arc", right[:2])
    rows, roles = find_columns(read_rows(tmp_path), {"score": "exact_match,strict-match"})
    assert (roles.arm, roles.pair) == ("model", "sample") and len(rows.rows) == 12
    found = measure(rows, roles, roles.scores[0])
    assert found.samples["small", "1"] == {f"gsm8k {i}": float(x) for i, x in enumerate([0, 1, 0, 1])}
    assert set(measure(rows, roles, "exact_match").samples["large", "1"]) == {"arc 0", "arc 1"}


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.csv", b"", "a.csv is empty"),
        ("a.csv", b"\n \n", "a.csv is empty"),
        ("a.csv", b"ab\n", "a.csv has one column, 'ab'"),
        ("a.csv", b"arm,loss\n", "no rows"),
        ("a.csv", b"arm,loss\na,1,2\n", "line 2 has 3 values, the first line 2 names"),
        ("a.csv", b"arm,loss,loss\na,1,2\n", "two columns called 'loss'"),
        ("a.csv", b"\xff\xfe\x00", "not UTF-8"),
        ("a.jsonl", b'{"arm": 1}\n[2]\n', "line 2 is no object"),
        ("a.jsonl", b'{"arm": 1}\n{"arm\n', "line 2 is no JSON"),
        ("a.json", b"[1, 2]", "holds no objects"),
        ("a.json", b'{"arm": [1, 2], "loss": [1]}', "different lengths"),
        ("a.bin", b"123", "no table of runs"),
        ("x.tfevents.1", b"abc", "damaged, or no event file"),
        ("x.tfevents.1", record(b"\xff\xff\xff"), "damaged, or no event file"),
        ("x.tfevents.1", record(event(1)), "holds no scalar"),
        ("samples_x.jsonl", b'{"a": 1}\n', "no sample of lm-eval"),
    ],
)
def test_what_is_no_table_is_refused_in_a_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(by.UsageError, match=message) as caught:
        read_rows(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("source", [3, [], [3, 4], None, {"arm": [1], "loss": [1, 2]}, "no/such.csv"])
def test_what_holds_no_rows_is_refused(source):
    with pytest.raises(by.UsageError):
        read_rows(source)


def test_a_folder_without_tables_says_what_they_would_be(tmp_path):
    (tmp_path / "notes.md").write_text("x")
    with pytest.raises(by.UsageError, match=r"holds no table of runs; known are .*\.csv.*TensorBoard"):
        read_rows(tmp_path)
