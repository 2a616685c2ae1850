"""Where does what decides an answer stand: at which layer, and at which token?

    m = s[right] - s[wrong]              s: what the model says behind the last token of a row
    by=other      base: the other rows   put in: what the rows left at this place and token    m by place and token
    by=zero       base: the rows         put in: 0
    by=mean       base: the rows         put in: the mean over all rows and tokens there
    restored = (mean m - mean m_base) / (mean m_clean - mean m_base)        1: all that tells the rows apart is there

A place is the stream in front of the first step (`stem`) and behind every step, or a hook point; a token keeps what
it was given until the next step writes. Without other rows the base of a row is its neighbour. Without answers the
right one is what the model says of the row, and the wrong one what it says of the base, or its second choice.

Source   arXiv 2202.05262, 2309.16042    Slug  post-training-mechanisms
Family   probes
Differs  what is put in are the values themselves; no noise is added to embeddings
"""

from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor

from blockyard.core import Batch, UsageError
from blockyard.core.settings import Count, Word
from blockyard.core.state import tree_map
from blockyard.probe._inside import STREAM, Tree, in_pieces, kept, put, tokens_of, visited
from blockyard.probe._read import Arrays, batch_of

Means = dict[str, Tree]


@torch.no_grad()
def patch_probe(
    model: Any, data: Any, other: Annotated[Any, "rows of the base; none: each row's neighbour"] = None, *,
    answers: Annotated[Any, "(n,2) right and wrong ids; none: what is said of both"] = None,
    donor: Annotated[Any, "the model whose values are put in; none: the same"] = None,
    at: Annotated[Word, "`stream`, or a pattern of hook points"] = "stream",
    by: Annotated[Literal["other", "zero", "mean"], "what is put in place of what"] = "other",
    tokens: Annotated[Literal["each", "all"], "one token at a time, or all at once"] = "each",
    batch: Annotated[Count, "rows at once"] = 64,
) -> Arrays:  # fmt: skip
    """Gaps m on rows (n,L) of ids, or a batch of anything: `steps.0.part` (n,T) of each token, (n,1) of all at once.

    clean, base (n,) without anything put in        map (places,T) `restored`, where all places have as many tokens
    """
    given, donor = batch_of(model, data), model if donor is None else donor
    base = _base(model, given, other) if by == "other" else given
    means = _means(donor, given, at, batch) if by == "mean" else {}
    wanted = None if answers is None else torch.as_tensor(answers)
    if wanted is not None and wanted.shape != (len(given.tokens), 2):
        raise UsageError(
            f"answers are a right and a wrong id a row, ({len(given.tokens)}, 2): not {tuple(wanted.shape)}"
        )
    found: dict[str, list[Tensor]] = {}
    for index, (clean, under) in enumerate(zip(in_pieces(given, batch), in_pieces(base, batch))):
        said = None if wanted is None else wanted[index * batch : (index + 1) * batch]
        for name, gap in _gaps(model, donor, clean, under, (at, by, tokens), means, said).items():
            found.setdefault(name, []).append(gap)
    arrays = {name: torch.cat(pieces).cpu().numpy() for name, pieces in found.items()}
    if len({each.shape for name, each in arrays.items() if name not in ("clean", "base")}) == 1:
        arrays["map"] = restored(arrays, ablated=by != "other")
    return arrays


def restored(found: Arrays, *, ablated: bool = False) -> np.ndarray:
    """(places,T): which share of the gap between clean and base each place and token brings back, of means over rows.

    ablated   zero and mean ablation, where the base is clean itself: the share of the clean gap that is lost
    """
    places = [each.mean(0) for name, each in found.items() if name not in ("clean", "base", "map")]
    clean, base = found["clean"].mean(), found["base"].mean()
    whole = clean if ablated else clean - base
    if not whole:
        raise UsageError("clean rows and base have the same gap on average: there is nothing to restore")
    return np.stack([(clean - each if ablated else each - base) / whole for each in places])


def _gaps(
    model: Any, donor: Any, clean: Batch, base: Batch, how: tuple[str, str, str], means: Means, answers: Tensor | None
) -> dict[str, Tensor]:
    """Gaps of some rows: clean and base, and (B,T) of every place."""
    at, by, tokens = how
    whole, under = scores(model(clean), clean.valid), scores(model(base), base.valid)
    right, wrong = answers.to(whole.device).T if answers is not None else _said(whole, under)

    def gap(said: Tensor) -> Tensor:
        return (said.gather(1, right[:, None]) - said.gather(1, wrong[:, None]))[:, 0].double()

    found = {"clean": gap(whole), "base": gap(under)}
    given = kept(donor, clean, at)
    for name, value in given.items():
        value = value if by == "other" else _instead(by, name, value, means)
        length = None
        if tokens == "each":
            asked = None if at == STREAM else model.start(base).call.positions.shape[1]
            length = tokens_of(name, value, len(clean.tokens), asked)
        spots = [None] if length is None else torch.eye(length, dtype=torch.bool, device=whole.device).split(1)
        gaps = [gap(scores(patched(model, base, at, {name: (value, spot)}), base.valid)) for spot in spots]
        found[name] = torch.stack(gaps, 1)
    return found


def patched(model: Any, batch: Batch, at: str, values: dict[str, tuple[Tree, Tensor | None]]) -> Any:
    """What a model says where some places get other values, each at the tokens (B or 1,T) that it names; None: all."""
    met = set[str]()

    def do(name: str, value: Tree) -> Tree:
        if name not in values:
            return value
        met.add(name)
        new, where = values[name]
        return put(new, value, where)

    out = visited(model, batch, at, do)
    if missing := values.keys() - met:
        raise UsageError(f"this forward never passes {sorted(missing)[0]}")
    return out


def scores(out: Any, valid: Tensor | None = None) -> Tensor:
    """(B,V) what is said behind the last token of each row that counts, or of the row as a whole."""
    said = next(iter(out.prediction.values()))
    if said.dim() not in (2, 3):
        raise UsageError(f"what is patched says scores of tokens or of rows, not {tuple(said.shape)}")
    if said.dim() == 2 or valid is None:
        return said if said.dim() == 2 else said[:, -1]
    last = torch.where(valid, torch.arange(valid.shape[1], device=valid.device), 0).amax(1)
    return said[torch.arange(len(said), device=said.device), last]


def _said(clean: Tensor, base: Tensor) -> tuple[Tensor, Tensor]:
    """The first choice on the clean row, and on the base the first one that is another."""
    right = clean.argmax(-1)
    return right, base.scatter(1, right[:, None], float("-inf")).argmax(-1)


def _base(model: Any, given: Batch, other: Any) -> Batch:
    """The rows that something is put into, as many and as long as the clean ones."""
    rows = len(given.tokens)
    if other is None and rows < 2:
        raise UsageError("one row has no neighbour: name the other rows, or ablate with by=zero or by=mean")
    base = given.rows(torch.arange(rows).roll(1)) if other is None else batch_of(model, other)
    if base.tokens.shape != given.tokens.shape:
        shapes = f"{tuple(base.tokens.shape)} and {tuple(given.tokens.shape)}"
        raise UsageError(f"rows are patched into rows of the same length, token by token: not {shapes}")
    return base


def _means(model: Any, given: Batch, at: str, batch: int) -> Means:
    """The mean over rows and tokens that count of what stands at every place."""
    totals, counts = dict[str, Tree](), dict[str, int]()
    for piece in in_pieces(given, batch):
        for name, value in kept(model, piece, at).items():
            length = tokens_of(name, value, len(piece.tokens), None)
            counted = piece.valid if piece.valid is not None and piece.valid.shape[1] == length else None
            total = tree_map(partial(_sum, counted), value)
            count = len(piece.tokens) * length if counted is None else int(counted.sum())
            totals[name] = tree_map(torch.add, totals[name], total) if name in totals else total
            counts[name] = counts.get(name, 0) + count
    return {name: tree_map(partial(torch.mul, 1 / max(1, counts[name])), total) for name, total in totals.items()}


def _sum(counted: Tensor | None, value: Tensor) -> Tensor:
    return value.sum((0, 1)) if counted is None else value[counted].sum(0)


def _instead(by: str, name: str, value: Tree, means: Means) -> Tree:
    if by == "zero":
        return tree_map(torch.zeros_like, value)

    return tree_map(lambda leaf, mean: mean.expand_as(leaf), value, means[name])
