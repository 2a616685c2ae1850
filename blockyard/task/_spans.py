"""Questions about texts as a comparison sees them: rows with a question and its text, answers scored by their words."""

import hashlib
import json
import re
import string
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from blockyard.core.errors import UsageError
from blockyard.core.random import fold
from blockyard.core.spec import head, objective, position, stem
from blockyard.data.annotated import Questions, held_out
from blockyard.data.rows import Held, RowOrder
from blockyard.task._exhibit import Exhibit
from blockyard.task._material import ROLES, Ends, Exam, Material, Predict, exam
from blockyard.task._metric import Metric
from blockyard.task._rows_of_text import joined, learned, padded, places, width

ERROR = Metric("error", "answers not said word for word", "lower", 0.0, 1.0)
EXACT = Metric("exact match", "share of questions", "higher", 0.0, 1.0)
TOKEN_F1 = Metric("token F1", "mean over questions", "higher", 0.0, 1.0)
NEAR = 8  # words on each side of a guess among which those of the question are counted
SHOWN, ROWS = 12, 64


class Spans(Material):
    """Questions whose answer stands in a text.

    text   how the user named the task        length, longest   most ids of a row, and of an answer that is said
    """

    metric, also = ERROR, (EXACT, TOKEN_F1)

    def __init__(self, text: str, data: Questions, length: int | None, longest: int | None) -> None:
        self.name = data.name
        parts = held_out(data.name, data.contexts)
        train = (text for i in map(int, parts["train"]) for text in (data.questions[i], data.contexts[i]))
        self.codec = learned(data.codec, (text.encode() for text in train))
        self.mark = self.codec.vocab
        asked = [self.codec.encode(question).astype(np.int64) for question in data.questions]
        read = [places(self.codec, context, at) for context, at in zip(data.contexts, data.places)]
        self.length = width([len(a) + 1 + len(b) for a, (b, _) in zip(asked, read)], length)
        rows = [joined(a, b, self.mark, self.length) for a, (b, _) in zip(asked, read)]
        targets = np.array([(first + begin, last + begin) for (_, begin), (_, (first, last)) in zip(rows, read)])
        whole = np.array([last < len(row) for (row, _), (_, last) in zip(rows, targets)])
        self.parts = {name: chosen[whole[chosen]] for name, chosen in parts.items()}
        self.counts = {name: len(chosen) for name, chosen in self.parts.items()}
        if not all(self.counts.values()):
            raise UsageError(f"{data.name}: no answer stands within the first {self.length} ids; raise length")
        arrays = padded([row for row, _ in rows], self.length, [begin for _, begin in rows])
        self._rows = Held({**arrays, "targets": targets.astype(np.int64)})
        sizes = (targets[:, 1] - targets[:, 0] + 1)[self.parts["train"]]
        self.longest, self.data = longest or int(sizes.max()), data
        answers = [text[at[0] : at[1]] for text, at in zip(data.contexts, data.places)]
        words = [len(plain(answers[int(i)])) for i in self.parts["train"]]
        self.size = max(1, round(float(np.mean(words))))  # words of an answer
        self.ends = Ends(
            "ids", "span", "span", stem("tokens", position=position("sinusoidal")), head("start_end"),
            objective("start_end"), settings={"vocab": self.codec.vocab + 1},
        )  # fmt: skip
        self.tokenizer = self.codec.to_json()
        self.hash = hashlib.sha256(json.dumps([data.hash, text, data.codec]).encode()).hexdigest()
        lost = int((~whole).sum())
        told = f"{lost} of {len(data)} answers stand behind the first {self.length} ids of a row, and are left out"
        self.notes = (*data.notes, told) if lost else data.notes

    @property
    def summary(self) -> str:
        sizes = ", ".join(f"{count:,} {name}" for name, count in (self.counts or {}).items())
        texts = len(set(self.data.contexts))
        return (
            f"{self.name} (sha256 {self.hash[:12]}): {len(self.data):,} questions about {texts:,} texts, {self.length} "
            f"ids each; {sizes} (by the hash of the texts)"
        )

    @property
    def scored(self) -> dict[str, int]:
        return {role: len(self.parts[part]) * (self.length or 0) for role, part in ROLES.items()}

    def order(self, length: int, batch: int, seed: int) -> RowOrder:
        return RowOrder(self._some("train"), batch, fold("order", seed))

    def exam(self, role: str, length: int) -> Exam:
        rows = self._some(ROLES[role])
        return exam(rows, self.length or 0, np.ones(len(rows), np.int64))

    def amounts(self, said: Mapping[str, Any], batch: Any) -> Any:
        """(n,2) not word for word, token F1."""
        tokens, kinds, true = (each.cpu().numpy() for each in (batch.tokens, batch.more["kinds"], batch.targets))
        found = best(said["span"].double().cpu().numpy(), kinds == 1, self.longest)
        return said["span"].double().new_tensor(self._priced(tokens, found, true))

    def figures(self, sums: np.ndarray, asked: float) -> dict[str, float]:
        return {EXACT.name: 1 - float(sums[0] / asked), TOKEN_F1.name: float(sums[1] / asked)}

    def references(self, role: str) -> dict[str, np.ndarray]:
        """The whole text; the last few words of the sentence that has most words of the question."""
        exam = self.exam(role, 0)
        rows = exam.take(slice(None))
        inside, tokens = rows["kinds"] == 1, rows["tokens"]
        whole = np.stack([inside.argmax(1), inside.shape[1] - 1 - inside[:, ::-1].argmax(1)], 1)
        near = np.array([self._near(row, kinds) for row, kinds in zip(tokens, inside)])
        found = {"the whole text": whole, "end of the likest sentence": near}
        return {name: exam.groups(self._priced(tokens, each, rows["targets"])) for name, each in found.items()}

    def exhibits(self, predict: Predict, exam: Exam) -> list[Exhibit]:
        """Questions with what was said, the wrong ones first."""
        texts: list[tuple[float, str]] = []
        for first in range(0, len(exam), ROWS):
            rows = exam.take(slice(first, min(first + ROWS, len(exam))))
            found = best(predict(rows)["span"].astype(np.float64), rows["kinds"] == 1, self.longest)
            priced = self._priced(rows["tokens"], found, rows["targets"])
            for tokens, said, true, (wrong, _) in zip(rows["tokens"], found, rows["targets"], priced):
                question = self.codec.decode(tokens[: int((tokens == self.mark).argmax())].tolist())
                words = f"{question} [{self._words(tokens, said)}]"
                texts.append((-wrong, words if not wrong else f"{words}, true: {self._words(tokens, true)}"))
        shown = [text for _, text in sorted(texts, key=lambda each: each[0])[:SHOWN]]
        return [Exhibit("Questions, and in brackets what it pointed at; wrong ones first", texts=shown)]

    def _priced(self, tokens: np.ndarray, found: np.ndarray, true: np.ndarray) -> np.ndarray:
        """(n,2) whether the words are others than those of the answer, and the F1 of both."""
        pairs = [(plain(self._words(row, a)), plain(self._words(row, b))) for row, a, b in zip(tokens, found, true)]
        return np.array([(float(a != b), overlap(a, b)) for a, b in pairs])

    def _words(self, tokens: np.ndarray, at: np.ndarray) -> str:
        """What stands in a row from one id to another one."""
        return self.codec.decode([int(i) for i in tokens[at[0] : at[1] + 1] if i != self.mark])

    def _near(self, tokens: np.ndarray, inside: np.ndarray) -> tuple[int, int]:
        """The first and the last id of as many words as answers have, at the end of the sentence like the question."""
        begin = int(inside.argmax())
        end = begin + int(inside.sum())
        text = self.codec.decode(tokens[begin:end].tolist())
        asked = set(plain(self.codec.decode(tokens[: begin - 1].tolist())))
        sentences = list(re.finditer(r"[^.!?]+|^", text))
        chosen = max(sentences, key=lambda each: len(asked & set(plain(each[0]))))
        words = list(re.finditer(r"\S+", chosen[0]))[-self.size :]
        at = (chosen.start() + words[0].start(), chosen.start() + words[-1].end()) if words else chosen.span()
        _, (first, last) = places(self.codec, text, at)
        return begin + first, min(end - 1, begin + max(last, first))

    def _some(self, part: str) -> Held:
        return Held(self._rows.take(self.parts[part]))


def best(scores: np.ndarray, inside: np.ndarray, longest: int) -> np.ndarray:
    """(n,2) the first and the last token of the likeliest answer of at most so many tokens, from scores (n,T,2).

    inside   (n,T) where an answer may stand
    """
    first, last = (np.where(inside, scores[..., i], -np.inf) for i in range(2))
    n, count = first.shape
    top, found = np.full(n, -np.inf), np.zeros((n, 2), np.int64)
    for size in range(min(longest, count)):
        both = first[:, : count - size] + last[:, size:]
        at = both.argmax(1)
        value = both[np.arange(n), at]
        better = value > top
        top[better], found[better] = value[better], np.stack([at, at + size], 1)[better]
    return found


def plain(text: str) -> list[str]:
    """The words of a text without case, punctuation and articles."""
    bare = "".join(" " if mark in string.punctuation else mark for mark in text.lower())
    return [word for word in bare.split() if word not in ("a", "an", "the")]


def overlap(said: list[str], true: list[str]) -> float:
    """The F1 of these words, each counted as often as it is there."""
    if not said or not true:
        return float(said == true)
    both = sum((Counter(said) & Counter(true)).values())
    return 2 * both / (len(said) + len(true))
