"""What a page shows of a trained classifier: whom it takes for whom, whether it knows when it is right, its worst."""

from collections import Counter

import numpy as np

from blockyard.data.items import Items
from blockyard.task._exhibit import Exhibit, Line, Picture
from blockyard.task._material import Exam, Predict

ROWS = 64  # predicted at once
MOST = 30  # classes whose confusions fit a table
BINS = 10
WORST = 12
WORDS = 300  # characters of a text that are shown


def shown(items: Items, places: np.ndarray, predict: Predict, exam: Exam) -> list[Exhibit]:
    """The exhibits of a model on the things that an exam asks, which stand at these places."""
    scores = np.concatenate([
        predict(exam.take(slice(first, min(first + ROWS, len(exam)))))["classes"] for first in range(0, len(exam), ROWS)
    ]).astype(np.float64)  # fmt: skip
    chances = np.exp(scores - scores.max(1, keepdims=True))
    chances /= chances.sum(1, keepdims=True)
    labels, named, sure = items.labels[places], chances.argmax(1), chances.max(1)
    theirs = np.take_along_axis(chances, labels[:, None], 1)[:, 0]
    found = [_confusions(items, labels, named), _calibration(labels == named, sure)]
    wrong = np.flatnonzero(named != labels)
    worst = wrong[np.argsort(theirs[wrong], kind="stable")[:WORST]]
    if len(worst):
        says = [
            f"{items.classes[int(labels[i])]}, said {items.classes[int(named[i])]} ({sure[i]:.0%})"
            for i in worst.tolist()
        ]
        found.append(_worst(items, places[worst], says))
    return found


def _confusions(items: Items, labels: np.ndarray, named: np.ndarray) -> Exhibit:
    """A table of what was said by what is true, or of many classes the commonest mistakes."""
    classes = list(items.classes)
    if len(classes) <= MOST:
        table = np.zeros((len(classes), len(classes)), np.int64)
        np.add.at(table, (labels, named), 1)
        return Exhibit("what was said of what", "said", "true", labels=classes, counts=table.tolist())
    pairs = Counter((int(a), int(b)) for a, b in zip(labels, named) if a != b).most_common(20)
    return Exhibit("the commonest mistakes", texts=[f"{classes[a]}, said {classes[b]}: {n}" for (a, b), n in pairs])


def _calibration(right: np.ndarray, sure: np.ndarray) -> Exhibit:
    """How often answers of some confidence are right."""
    place = np.minimum((sure * BINS).astype(int), BINS - 1)
    met = [i for i in range(BINS) if (place == i).any()]
    x = [float(sure[place == i].mean()) for i in met]
    y: list[float | None] = [float(right[place == i].mean()) for i in met]
    return Exhibit(
        "is it right as often as it is sure?", "confidence, share", "right answers, share",
        lines=[Line("answers", x, y), Line("as sure as right", [0.0, 1.0], [0.0, 1.0])],
    )  # fmt: skip


def _worst(items: Items, places: np.ndarray, says: list[str]) -> Exhibit:
    """The things whose class was thought least likely."""
    title = f"the {items.kind} it is most wrong about"
    names = [str(items.names[place]) for place in places]
    if items.kind == "images":
        images = items.rows.take(places)["tokens"]
        pictures = [_picture(image, f"{name}: {say}") for image, name, say in zip(images, names, says)]
        return Exhibit(title, pictures=pictures)
    if items.kind == "texts":
        documents = items.rows.take(places)["tokens"]
        names = [document[: 4 * WORDS].decode("utf-8", "replace")[:WORDS] for document in documents]
    if items.kind == "pairs":
        pairs = items.rows.take(places)["tokens"]
        names = [" / ".join(text.decode("utf-8", "replace")[: WORDS // 2] for text in pair) for pair in pairs]
    return Exhibit(title, texts=[f"{say}: {name}" for say, name in zip(says, names)])


def _picture(image: np.ndarray, caption: str) -> Picture:
    height, width = image.shape[:2]
    return Picture(height, width, np.round(image * 255).astype(int).ravel().tolist(), caption)
