"""A model of one table on another with other columns: what stays, what is told anew, phases on their own table."""

import numpy as np
import pytest
import torch

import blockyard as by
from blockyard.compare.plan import dataset
from blockyard.core.spec import transform
from blockyard.task import make_task
from blockyard.train.loop import Settings, train
from blockyard.transform._base import make_transform

COUNT = 60


def written(folder, name, columns, target, seed=0):
    """A CSV of numbers, a column of colours and a class."""
    draw = np.random.default_rng(seed)
    label = draw.integers(0, 2, COUNT)
    cells = [[f"{x:.3f}" for x in draw.normal(label, 1)] for _ in columns]
    colours = draw.choice(["red", "blue"], COUNT)
    lines = [[*columns, "colour", target], *map(list, zip(*cells, colours, np.where(label, "yes", "no")))]
    (folder / name).write_text("\n".join(",".join(line) for line in lines) + "\n")
    return str(folder / name)


@pytest.fixture
def tables(tmp_path):
    return written(tmp_path, "first.csv", ["heart rate", "age"], "sick"), written(
        tmp_path, "second.csv", ["age", "body weight", "height"], "ill", seed=1
    )


def material(file, target):
    return dataset.named(dataset.chosen(f"table:target={target}", [file], "bytes"))


def told(made, **more):
    return transform("other_columns", **{n: made.ends.settings[n] for n in ("names", "levels", "words")}, **more)


def scores(model, made):
    cells = torch.from_numpy(made.found.cells[:9])
    with torch.no_grad():
        return model(by.Batch(cells)).prediction["classes"]


def test_all_that_was_learned_stays_and_the_columns_are_the_others(tables):
    first, second = material(tables[0], "sick"), material(tables[1], "ill")
    model = by.build(first.fit(by.spec("transtab", "tiny")), seed=5).eval()
    done = make_transform(told(second)).apply(model)
    assert all(torch.equal(p, dict(done.model.named_parameters())[name]) for name, p in model.named_parameters())
    other = by.build(second.fit(by.spec("transtab", "tiny")), seed=6).eval()  # as if it had been built for that table
    other.load_state_dict(
        {n: p for n, p in model.state_dict().items() if n in dict(model.named_parameters())}, strict=False
    )
    assert torch.equal(scores(done.model.eval(), second), scores(other, second)) and done.report["new"] == 0


def test_names_of_the_same_shape_are_told_too(tables):
    """A double that keeps every tensor of an equal shape keeps the old names, and says what the old model said."""
    first = material(tables[0], "sick")
    settings = {n: first.ends.settings[n] for n in ("names", "levels", "words")}
    model = by.build(first.fit(by.spec("transtab", "tiny")), seed=5).eval()
    renamed = transform("other_columns", **settings | {"names": ("body rate", "year", "colour")})
    assert (scores(make_transform(renamed).apply(model).model.eval(), first) - scores(model, first)).abs().max() > 1e-4
    same = make_transform(transform("other_columns", **settings)).apply(model).model.eval()
    assert torch.equal(scores(same, first), scores(model, first))


def test_of_other_classes_the_head_alone_is_new(tables):
    first = material(tables[0], "sick")
    model = by.build(first.fit(by.spec("transtab", "tiny")), seed=5)
    done = make_transform(told(first, classes=5)).apply(model)
    fresh = {name for name in done.lineage if name in dict(done.model.named_parameters())}
    assert fresh == {"head.proj.weight", "head.proj.bias"} and scores(done.model.eval(), first).shape == (9, 5)


def test_a_stem_that_knows_columns_by_their_places_is_refused(tables):
    first = material(tables[0], "sick")
    with pytest.raises(by.UsageError, match="stem:columns does not read columns by their names"):
        make_transform(told(first)).apply(by.build(first.fit(by.spec("llama", "tiny"))))


def system(tables, made, **more):
    first = dict(first_data=(tables[0],), first_task="table:target=sick")
    return made.fit(by.spec("transtab", "tiny", **first | more))


def test_a_phase_pretrains_on_a_table_of_its_own_and_the_model_ends_on_that_of_the_run(tables):
    first, second = material(tables[0], "sick"), material(tables[1], "ill")
    planned = dataset.with_own_rows(system(tables, second), second, second.length, "bytes")
    assert planned["model"]["stem"]["names"] == ("heart rate", "age", "colour")
    assert planned["program"][0]["digest"] == first.hash and planned["program"][0]["length"] == 3
    assert planned["program"][1]["apply"][0]["names"] == ("age", "body weight", "height", "colour")
    widths = []

    class Seen:
        def __init__(self, order):
            self.order = order

        def next(self, step):
            widths.append(self.order.next(step)["tokens"].shape[1])
            return self.order.next(step)

    own = {0: Seen(first.order(3, 8, 0))}
    done = train(planned, by.build(planned), Seen(second.order(4, 8, 0)), Settings(steps=6, lr=1e-2), own=own).model
    assert widths == [3, 3, 3, 4, 4, 4]
    assert done.spec["stem"]["names"] == ("age", "body weight", "height", "colour")
    assert scores(done.eval(), second).isfinite().all()
    assert by.count(planned, length=4).params == by.count(second.fit(by.spec("transtab", "tiny")), length=4).params


def test_what_is_learned_of_the_other_table_is_kept(tables):
    """The same run with a pretraining of no rate but the second phase's: it ends elsewhere than one from scratch."""
    first, second = material(tables[0], "sick"), material(tables[1], "ill")
    planned = dataset.with_own_rows(system(tables, second), second, second.length, "bytes")
    found = [
        train(planned, by.build(planned), second.order(4, 8, 0), Settings(steps=4, lr=1e-2), own={0: rows}).model
        for rows in (first.order(3, 8, 0), first.order(3, 8, 1))
    ]
    assert (found[0].stem.table - found[1].stem.table).abs().max() > 1e-5


@pytest.mark.parametrize("target, task, says", [
    ("height", "table:target=sick", "phase 0 learns values, and its own rows .* teach classes"),
    ("ill", "table:target=age", "phase 0 learns classes, and its own rows .* teach values"),
])  # fmt: skip
def test_rows_that_teach_another_thing_are_refused(tables, target, task, says):
    made = material(tables[1], target)
    with pytest.raises(by.UsageError, match=says):
        dataset.with_own_rows(system(tables, made, first_task=task), made, made.length, "bytes")


def test_a_stem_that_is_not_told_anew_must_read_the_same(tables):
    second = material(tables[1], "ill")
    plain = system(tables, second)
    bare = plain.but(program=(plain["program"][0], plain["program"][1].but(apply=())))
    with pytest.raises(by.UsageError, match=r"phase 0 trains on columns .* the model of this run reads"):
        dataset.with_own_rows(bare, second, second.length, "bytes")


def test_without_a_table_of_its_own_nothing_changes():
    assert by.spec("transtab", "tiny")["program"][1].get("apply", ()) == () and make_task("table:target=a")
