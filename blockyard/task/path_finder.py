"""Say whether the two marked ends of two winding paths, which never touch, belong to the same one.

    image = 1 on both paths, 2 at the two marked ends, 0 elsewhere        targets: 1 the same path, 0 two paths

Either way there are two paths, of four ends, two of them marked; whoever sees a part of the image cannot tell.

Shapes   tokens (n, size, size, 1) float32   targets (n) int64
Source   arXiv 2011.04006    Family  images
Differs  whole lines in place of dashed ones, of one pixel's width, drawn by walks that never come near one another
"""

from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from blockyard.core.settings import Count
from blockyard.core.spec import head, objective, stem
from blockyard.task._base import Draw, Examples, Predictor, Task, fits
from blockyard.task._material import Ends

TRIES = 6  # pairs of walks that an example is chosen from


class PathFinder(Task):
    grows = ()
    variants = ({}, dict(size=8, steps=6))
    first = "d762b4fec803"

    def __init__(
        self, *, size: Annotated[int, Meta(ge=6, le=64), "pixels of a side"] = 12,
        steps: Annotated[Count, "pixels of a path"] = 14,
        patch: Annotated[Count, "pixels of a token, down and across"] = 1,
    ) -> None:  # fmt: skip
        fits(size % patch == 0, f"path_finder: patch={patch} does not divide size={size}")
        fits(4 * steps <= size * size // 2, f"path_finder: two paths of {steps} pixels do not fit into size={size}")
        self.size, self.steps, self.patch = size, steps, patch
        self.length, self.answers = (size // patch) ** 2, range(2)

    @property
    def ends(self) -> Ends:
        """Images that are classified."""
        image = dict(height=self.size, width=self.size, channels=1, patch=self.patch)
        ends = stem("patches"), head("classes"), objective("classes")
        return Ends("images", "classes", "classes", *ends, settings=image | dict(classes=2))

    def sample(self, seed: int, n: int) -> Examples:
        draw = Draw(seed, n)
        walks = _walks(draw, n * TRIES, self.size, self.steps)
        lengths = (walks >= 0).sum(2).min(1).reshape(n, TRIES)
        best = lengths.argmax(1) + np.arange(n) * TRIES  # the first whose shorter path is longest
        walks = walks[best]
        image = np.zeros((n, self.size * self.size + 1), np.float32)  # what was not walked lands behind the image
        rows = np.arange(n)
        np.put_along_axis(image, np.where(walks < 0, self.size**2, walks).reshape(n, -1), 1.0, 1)
        same, which, turn = draw.below(2), draw.below(2), draw.below(2, 2)
        last = (walks >= 0).sum(2) - 1
        ends = np.stack([walks[:, :, 0], np.take_along_axis(walks, last[..., None], 2)[..., 0]], 2)
        one = ends[rows, which, turn[:, 0]]
        other = np.where(same == 1, ends[rows, which, 1 - turn[:, 0]], ends[rows, 1 - which, turn[:, 1]])
        image[rows, one] = image[rows, other] = 2.0
        return Examples(image[:, :-1].reshape(n, self.size, self.size, 1), same)

    def solve(self, tokens: np.ndarray) -> np.ndarray:
        """(n,) 1 where the flood from one marked end reaches the other."""
        line, marked = tokens[..., 0] > 0, tokens[..., 0] == 2
        first = marked.reshape(len(marked), -1).argmax(1)
        reached = np.zeros(line.shape, bool)
        reached.reshape(len(line), -1)[np.arange(len(line)), first] = True
        for _ in range(2 * self.steps):
            grown = reached.copy()
            grown[:, 1:] |= reached[:, :-1]
            grown[:, :-1] |= reached[:, 1:]
            grown[:, :, 1:] |= reached[:, :, :-1]
            grown[:, :, :-1] |= reached[:, :, 1:]
            reached = grown & line
        return ((reached & marked).sum((1, 2)) == 2).astype(np.int64)

    def questions(self, targets: np.ndarray) -> np.ndarray:
        return np.ones(len(targets), np.int64)

    def amounts(self, said: Any, targets: Any) -> Any:
        return (said["ids"] if "ids" in said else said["classes"].argmax(-1)) != targets

    def described(self) -> str:
        return f"images of {self.size} x {self.size} pixels with two paths, 50.0% wrong by chance"

    def predictors(self) -> dict[str, Predictor]:
        return {"oracle": self.solve, "chance": lambda images: np.arange(len(images)) % 2}


def _walks(draw: Draw, count: int, size: int, steps: int) -> np.ndarray:
    """(count, 2, steps) the pixels of two walks, -1 once one is stuck; no pixel touches one of another walk or time."""
    wide = size + 2  # a border that nobody walks on
    taken = np.ones((count, wide, wide), bool)
    taken[:, 1:-1, 1:-1] = False
    taken = taken.reshape(count, -1)
    near = np.array([1, -1, wide, -wide])
    rows, walks = np.arange(count), np.full((count, 2, steps), -1)
    filled = np.zeros_like(taken)
    chances = draw.raw(TRIES, 2, steps, 4).reshape(count, 2, steps, 4) >> np.uint64(40)
    places = draw.below(size * size, TRIES, 2).reshape(count, 2)
    for path in range(2):
        at = (places[:, path] // size + 1) * wide + places[:, path] % size + 1
        going = ~(filled[rows, at] | filled[rows[:, None], at[:, None] + near].any(1))
        for step in range(steps):
            filled[rows[going], at[going]] = True
            inside = (at // wide - 1) * size + at % wide - 1
            walks[going, path, step] = inside[going]
            onto = at[:, None] + near
            beside = onto[..., None] + near
            touch = (filled[rows[:, None, None], np.clip(beside, 0, wide * wide - 1)]).sum(-1)
            free = ~taken[rows[:, None], onto] & ~filled[rows[:, None], onto] & (touch == 1)
            wish = np.where(free, chances[:, path, step].astype(np.int64) + 1, 0)
            best = wish.argmax(1)
            going &= wish[rows, best] > 0
            at = np.where(going, onto[rows, best], at)
    return walks
