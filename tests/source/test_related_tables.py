"""Two made tables that share columns: the same on every machine, and one helps to read the other."""

import numpy as np

from blockyard.source import read
from blockyard.task import make_task


def test_it_is_the_same_everywhere_and_two_tables_share_four_columns():
    data = read(["related_tables"], ("table",))
    first = np.array([word is not None for word in data.columns["pool"]])
    there = np.stack([np.isfinite(values) for values in data.numbers().values()])
    assert first.sum() == 3000 and len(data) == 5000 and there.shape == (16, 5000)
    assert (there[:, first].all(1).sum(), there[:, ~first].all(1).sum()) == (10, 10)
    assert (there[:, first].all(1) & there[:, ~first].all(1)).sum() == 4
    assert round(float(data.columns["east mass"][0]), 6) == round(
        float(read(["related_tables"]).columns["east mass"][0]), 6
    )
    assert 0.4 < (data.columns["label"] == "yes").mean() < 0.6


def test_few_rows_of_the_second_are_known_and_all_of_the_first_stand_beside():
    data = read(["related_tables"], ("table",))
    made = make_task("table:target=label,beside=pool,rows=300").material(data)
    assert {split: len(rows) for split, rows in made.found.rows.items()} == {
        "test": 400, "tune": 200, "train": 300, "beside": 3000,
    }  # fmt: skip
    exam = made.exam("final", made.length)
    scores = {name: float(exam.weights @ groups) for name, groups in made.references("final").items()}
    assert scores["logistic"] < 0.3 < scores["majority"]
