"""Tagged sentences as a comparison sees them."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from blockyard.core.errors import UsageError
from blockyard.core.random import fold
from blockyard.core.spec import head, objective, position, stem
from blockyard.data.annotated import Tagged, held_out
from blockyard.data.items import numbered
from blockyard.data.rows import Held, RowOrder
from blockyard.task._classical import classical
from blockyard.task._exhibit import Exhibit
from blockyard.task._labelled import F1, LEARNED, LOG_LOSS
from blockyard.task._material import ROLES, Ends, Exam, Material, Predict, exam
from blockyard.task._metric import ERROR, Metric
from blockyard.task._rows_of_text import learned, of_words, padded, width

ACCURACY = Metric("token accuracy", "share of words", "higher", 0.0, 1.0)
HASHED = 256  # places of words, of their neighbours and of their endings, each
ROWS, SHOWN = 64, 6


class Tags(Material):
    """Sentences to tag word by word.

    text   how the user named the task        length   most ids of a sentence; none: as many as most have
    rows   how many sentences train at most; none: all
    """

    metric, also = ERROR, (ACCURACY, F1, LOG_LOSS)

    def __init__(self, text: str, data: Tagged, length: int | None, rows: int | None) -> None:
        self.data, self.name = data, data.name
        self.parts = held_out(data.name, data.words)
        self.parts["train"] = self.parts["train"][:rows]
        self.counts = {name: len(places) for name, places in self.parts.items()}
        labels, self.tags = numbered([tag for tags in data.tags for tag in tags])
        if len(self.tags) < 2:
            raise UsageError(f"{data.name} has one tag only ({self.tags[0]}), so there is nothing to tell apart")
        ends = np.cumsum([len(tags) for tags in data.tags])
        self.labels = np.split(labels, ends[:-1])
        codec = learned(data.codec, (" ".join(data.words[i]).encode() for i in self.parts["train"]))
        coded = of_words(codec, data.words)
        self.length = width([len(ids) for ids, _ in coded], length)
        targets = np.full((len(data), self.length), -1, np.int64)
        for into, (_, last), asked in zip(targets, coded, self.labels):
            into[last[last < self.length]] = asked[last < self.length]
        self._rows = Held({**padded([ids for ids, _ in coded], self.length), "targets": targets})
        self._read = [int((last < self.length).sum()) for _, last in coded]  # words of each that are asked
        told = {"vocab": codec.vocab, "classes": len(self.tags)}
        entry = stem("tokens", position=position("sinusoidal"))
        self.ends = Ends(
            "ids", "token_classes", "token classes", entry, head("token_classes"), objective("token_classes"),
            settings=told,
        )  # fmt: skip
        self.tokenizer = codec.to_json()
        self.hash = hashlib.sha256(json.dumps([data.hash, text, data.codec]).encode()).hexdigest()
        self.notes = (*data.notes, *self._said())

    def _said(self) -> list[str]:
        """What is said of sentences that are cut, and of tags that are asked and never shown."""
        notes = []
        cut = sum(read < len(words) for read, words in zip(self._read, self.data.words))
        if cut:
            notes.append(f"{cut} of {len(self.data)} sentences are longer than {self.length} ids and are read to there")
        shown = {tag for i in self.parts["train"] for tag in self.data.tags[i]}
        new = sorted({tag for i in self.parts["test"] for tag in self.data.tags[i]} - shown)
        if new:
            notes.append(f"no training sentence has {', '.join(new[:6])}: nobody can name these tags")
        return notes

    @property
    def summary(self) -> str:
        sizes = ", ".join(f"{count:,} {name}" for name, count in (self.counts or {}).items())
        words = sum(map(len, self.data.words))
        return (
            f"{self.name} (sha256 {self.hash[:12]}): {len(self.data):,} sentences of {words:,} words, "
            f"{len(self.tags)} tags, {self.length} ids each; {sizes} (by the hash of their words)"
        )

    @property
    def scored(self) -> dict[str, int]:
        return {role: len(self.parts[part]) * (self.length or 0) for role, part in ROLES.items()}

    def order(self, length: int, batch: int, seed: int) -> RowOrder:
        return RowOrder(self._some("train"), batch, fold("order", seed))

    def exam(self, role: str, length: int) -> Exam:
        rows = self._some(ROLES[role])
        return exam(rows, self.length or 0, (rows.arrays["targets"] >= 0).sum(1))

    def amounts(self, said: Mapping[str, Any], batch: Any) -> Any:
        """(n,2+3K) wrong, nats; then by tag: right, named, true."""
        import torch
        from torch.nn.functional import one_hot

        chances, asked = said["token_classes"].double().log_softmax(-1), batch.targets >= 0
        named, true = chances.argmax(-1), batch.targets.clamp(min=0)
        wrong = (named != true) & asked
        nats = -chances.gather(-1, true[..., None]).squeeze(-1).masked_fill(~asked, 0)
        kinds = [one_hot(each, chances.shape[-1]).double() * asked[..., None] for each in (named, true)]
        by_tag = [(kinds[0] * kinds[1]).sum(1), kinds[0].sum(1), kinds[1].sum(1)]
        return torch.cat([torch.stack([wrong.double().sum(1), nats.sum(1)], 1), *by_tag], 1)

    def figures(self, sums: np.ndarray, asked: float) -> dict[str, float]:
        both, named, true = np.split(sums[2:], 3)
        met = true > 0
        return {
            ACCURACY.name: 1 - float(sums[0] / asked),
            F1.name: float((2 * both[met] / (named + true)[met]).mean()),
            LOG_LOSS.name: float(sums[1] / asked),
        }

    def references(self, role: str) -> dict[str, np.ndarray]:
        """The commonest tag; each word's commonest; a linear rule on a word, its ending and its neighbours."""
        train, asked = self._words("train"), self._words(ROLES[role])
        labels = np.array([label for _, label in train])
        common = int(np.bincount(labels).argmax())
        counts: dict[str, Counter[int]] = defaultdict(Counter)
        for (_, word, _), label in train:
            counts[word][label] += 1
        own = [counts[word].most_common(1)[0][0] if word in counts else common for (_, word, _), _ in asked]
        near, far = (np.stack([_features(*words) for words, _ in each]) for each in (train[:LEARNED], asked))
        said = classical(near, labels[:LEARNED], far, len(self.tags))
        said = {"majority": np.full(len(asked), common), "each word's usual tag": np.array(own),
                "linear": said["linear"]}  # fmt: skip
        truth, read = np.array([label for _, label in asked]), [self._read[i] for i in self.parts[ROLES[role]]]
        row = np.repeat(np.arange(len(read)), read)
        wrong = {name: np.bincount(row, found != truth, len(read)) for name, found in said.items()}
        return {name: self.exam(role, 0).groups(each) for name, each in wrong.items()}

    def exhibits(self, predict: Predict, exam: Exam) -> list[Exhibit]:
        """What was said of what, and sentences with the tags that are wrong."""
        places = self.parts["test"]
        counts, texts = np.zeros((len(self.tags), len(self.tags)), np.int64), []
        for first in range(0, len(exam), ROWS):
            rows = exam.take(slice(first, min(first + ROWS, len(exam))))
            named = predict(rows)["token_classes"].argmax(-1)
            asked = rows["targets"] >= 0
            np.add.at(counts, (rows["targets"][asked], named[asked]), 1)
            for at, (guess, truth) in enumerate(zip(named, rows["targets"])):
                if len(texts) < SHOWN and (guess != truth)[truth >= 0].any():
                    words = self.data.words[places[first + at]]
                    texts.append(self._shown(words, guess[truth >= 0], truth[truth >= 0]))
        return [
            Exhibit("what was said of what", "said", "true", labels=list(self.tags), counts=counts.tolist()),
            Exhibit("Sentences with a mistake: what was said, and behind a stroke what is true", texts=texts),
        ]

    def _shown(self, words: Sequence[str], guess: np.ndarray, truth: np.ndarray) -> str:
        marks = ["" if a == b else f" [{self.tags[a]}/{self.tags[b]}]" for a, b in zip(guess.tolist(), truth.tolist())]
        return " ".join(word + mark for word, mark in zip(words, marks))

    def _some(self, part: str) -> Held:
        return Held(self._rows.take(self.parts[part]))

    def _words(self, part: str) -> list[tuple[tuple[str, str, str], int]]:
        """Every word that is asked with those before and behind it, and its label."""
        found = []
        for i in self.parts[part]:
            words = ["", *self.data.words[i], ""]
            labels = self.labels[i][: self._read[i]].tolist()
            found += [((words[j], words[j + 1], words[j + 2]), label) for j, label in enumerate(labels)]
        return found


def _features(before: str, word: str, behind: str) -> np.ndarray:
    """(4 HASHED,) a word, its ending, and its neighbours, each at the place of its hash."""
    found = np.zeros((4, HASHED))
    for row, text in zip(found, (word, word[-3:], before, behind)):
        row[fold("word", text) % HASHED] = 1.0
    return found.ravel()
