"""A table as a comparison sees it: rows to train on, held-out rows, what each column is worth to a model."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from blockyard.core.random import fold
from blockyard.core.spec import stem
from blockyard.data.rows import Arrays, Batches, Held, RowOrder, permutation
from blockyard.data.table import Table
from blockyard.task._chosen import Chosen
from blockyard.task._exhibit import Exhibit
from blockyard.task._known import Known, known
from blockyard.task._material import ROLES, Ends, Exam, Material, Predict, exam

MOST = {"tune": 4096, "final": 16384}  # rows that are scored
LOOKED, COLUMNS = 1000, 40  # rows and columns that exhibits are made of


class Tabular(Material):
    """Rows of a table with one column to be predicted.

    written   the task, as a user would write it
    """

    def __init__(self, data: Table, written: str, target: str, found: Chosen) -> None:
        self.name, self.target, self.found = f"{data.name}: {target}", target, found
        self.answer, self.metric, self.also = found.answer, found.answer.metric, found.answer.also
        self.width = self.length = len(found.columns)
        self.counts = {split: len(rows) for split, rows in found.rows.items()}
        self.ends = Ends(
            "columns", self.answer.says, self.answer.learns, stem("columns"), self.answer.head, self.answer.objective,
            settings={
                "levels": tuple(len(column.words) for column in found.columns),
                "names": tuple(column.name for column in found.columns),
                "words": tuple(column.words for column in found.columns), **self.answer.settings,
            },
        )  # fmt: skip
        self.hash = hashlib.sha256(json.dumps(["table 1", data.hash, written]).encode()).hexdigest()

    @property
    def notes(self) -> tuple[str, ...]:  # type: ignore[override]  # the plan asks; a worker never fits references
        """What must be said, with what the references took."""
        fits = ", ".join(f"{each.name} {each.seconds:.1f} s" for each in self.references_fitted[0])
        trained = len(self.found.rows["train"])
        return (*self.found.notes, f"references fitted on {trained:,} rows: {fits}", *self.references_fitted[1])

    @property
    def summary(self) -> str:
        words = sum(bool(column.words) for column in self.found.columns)
        return (
            f"{self.name} (sha256 {self.hash[:12]}): {self.answer.described}, from {self.width} columns "
            f"({self.width - words} of numbers, {words} of words); rows: "
            + ", ".join(f"{len(rows):,} {split}" for split, rows in self.found.rows.items() if len(rows))
        )

    @property
    def scored(self) -> dict[str, int]:
        return {role: min(MOST[role], len(self.found.rows[split])) * self.width for role, split in ROLES.items()}

    def order(self, length: int, batch: int, seed: int) -> Batches:
        main = RowOrder(self._held(self.found.rows["train"]), batch, fold("rows", seed))
        if not len(self.found.rows["beside"]):
            return main
        return _Beside(main, RowOrder(self._held(self.found.rows["beside"]), batch, fold("beside", seed)))

    def exam(self, role: str, length: int) -> Exam:
        rows = self.found.rows[ROLES[role]][: MOST[role]]  # in the order of their hashes: equal rows are neighbours
        return exam(self._held(rows), self.width, np.ones(len(rows)))

    def amounts(self, said: Mapping[str, Any], batch: Any) -> Any:
        scores = said[self.answer.says].detach().double()
        found = self.answer.amounts(scores.cpu().numpy(), batch.targets.cpu().numpy())
        return scores.new_tensor(found)

    def figures(self, sums: np.ndarray, asked: float) -> dict[str, float]:
        return self.answer.figures(sums, asked)

    def references(self, role: str) -> dict[str, np.ndarray]:
        """What is known of tables, fitted on the rows that arms train on."""
        asked = self.exam(role, self.width)
        arrays = asked.take(slice(None))
        return {
            each.name: asked.groups(self.answer.amounts(each.predict(arrays["tokens"]), arrays["targets"]))
            for each in self.references_fitted[0]
        }

    @cached_property
    def references_fitted(self) -> tuple[list[Known], list[str]]:
        """The references, and what is missing for others."""
        rows = self._held(self.found.rows["train"]).take(slice(None))
        levels = [len(column.words) for column in self.found.columns]
        return known(rows["tokens"], rows["targets"], levels, self.answer.settings.get("classes"))

    def exhibits(self, predict: Predict, exam: Exam) -> list[Exhibit]:
        arrays = exam.take(slice(0, min(LOOKED, len(exam))))
        said = predict(arrays)[self.answer.says]
        whole = self._cost(said, arrays)
        worth = []
        for j, column in enumerate(self.found.columns[:COLUMNS]):
            mixed = arrays["tokens"].copy()
            mixed[:, j] = mixed[permutation(len(mixed), fold("shuffle", j)), j]
            worth.append(
                (self._cost(predict({**arrays, "tokens": mixed})[self.answer.says], arrays) - whole, column.name)
            )
        worth.sort(key=lambda item: -item[0])
        lines = [f"{name}: {gain:+.4f}" for gain, name in worth]
        shown = Exhibit(f"What is lost in {self.metric.name} when the cells of a column are shuffled", texts=lines)
        return [shown, *self.answer.exhibits(said, arrays["targets"])]

    def _cost(self, said: np.ndarray, arrays: Arrays) -> float:
        return float(self.answer.amounts(said, arrays["targets"])[:, 0].mean())

    def _held(self, rows: np.ndarray) -> Held:
        return Held({"tokens": self.found.cells[rows], "targets": self.found.targets[rows]})


@dataclass(frozen=True)
class _Beside:
    """Rows to learn the answer of, and in the fields `beside` and `beside_targets` rows that only pretrain."""

    main: RowOrder
    other: RowOrder

    def next(self, step: int) -> Arrays:
        more = self.other.next(step)
        return {**self.main.next(step), "beside": more["tokens"], "beside_targets": more["targets"]}
