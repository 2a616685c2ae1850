"""Rows of different lengths through one forward, without padding in any state: prompts, prefill, joining, closing up.

A padded token has `valid` false: it is no key of any query, it leaves recurrent leaves as they were, and its slot in a
cache is empty (position -1), which `compact` takes out again as soon as no row needs the column.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from blockyard.core.batch import Batch
from blockyard.core.errors import UsageError
from blockyard.core.state import Cache, Constant, State, tree_cat
from blockyard.model.model import Model

Prompt = Tensor | Batch | Sequence[Tensor]


def rows_of(model: Model, prompt: Prompt, lengths: Tensor | Sequence[int] | None = None) -> list[Tensor]:
    """The ids of each row: of a tensor (B,T), right-padded where `lengths` says, of a batch with `valid`, or a list."""
    if isinstance(prompt, Batch):
        if lengths is not None or prompt.segment is not None or prompt.order is not None:
            raise UsageError("a batch to continue has tokens and valid only; use batch.unpacked() for packed rows")
        valid = torch.ones_like(prompt.tokens, dtype=torch.bool) if prompt.valid is None else prompt.valid
        rows = [row[kept] for row, kept in zip(prompt.tokens, valid)]
    elif isinstance(prompt, Tensor):
        if prompt.dim() != 2:
            raise UsageError(f"a prompt is a tensor (rows, tokens) or a list of rows; got the shape {[*prompt.shape]}")
        counts = [prompt.shape[1]] * len(prompt) if lengths is None else [int(n) for n in lengths]
        if len(counts) != len(prompt) or max(counts, default=0) > prompt.shape[1]:
            raise UsageError(f"lengths {counts} do not fit a prompt of {len(prompt)} rows of {prompt.shape[1]} tokens")
        rows = [row[:n] for row, n in zip(prompt, counts)]
    else:
        rows = list(prompt)
    if not rows or any(row.dim() != 1 or not len(row) for row in rows):
        raise UsageError("the prompt is empty; give at least one token a row")
    vocab, flat = model.axes.get("stem.vocab"), torch.cat(rows)
    if flat.is_floating_point() or (vocab is not None and not 0 <= int(flat.min()) <= int(flat.max()) < vocab.size):
        raise UsageError("a prompt holds token ids" + (f" from 0 to {vocab.size - 1}" if vocab is not None else ""))
    if not model.causal:
        raise UsageError("this model sees the future; only a causal one writes token by token")
    return [row.long() for row in rows]


def begun(rows: Sequence[Tensor], prompt: Prompt) -> Batch:
    """The first piece: the rows of a prompt, padded on the left, with what stands beside them in a batch."""
    return replace(padded(rows), more=prompt.more if isinstance(prompt, Batch) else {})


def alone(prompt: Prompt, asker: str) -> None:
    """Refuse, in `asker`'s name, a prompt that is more than ids."""
    if isinstance(prompt, Batch) and prompt.more:
        raise UsageError(f"{asker} knows prompts by their ids alone, and this one comes with {', '.join(prompt.more)}")


def fits(model: Model, rows: Sequence[Tensor], tokens: int) -> None:
    """Refuse what would run out of learned positions on the way."""
    known, longest = model.axes.get("stem.position.length"), max(map(len, rows))
    longest += model.lead
    if known is not None and longest + tokens - 1 > known.size:  # the last token is not fed
        raise UsageError(f"{longest} tokens and {tokens} new ones: positions are learned for {known.size} only")


def padded(rows: Sequence[Tensor], side: str = "left") -> Batch:
    """One batch of rows of ids, padded with zeros on one side; no `valid` where nothing is padded."""
    if len({len(row) for row in rows}) == 1:
        return Batch(torch.stack(list(rows)))
    tokens = pad_sequence(list(rows), batch_first=True, padding_side=side)
    valid = pad_sequence([torch.ones_like(row, dtype=torch.bool) for row in rows], batch_first=True, padding_side=side)
    return Batch(tokens, valid=valid)


@torch.no_grad()
def prefill(
    model: Model, batch: Batch | Tensor, state: State | None = None, *, chunk: int = 512,
    steps: Iterable[int] | None = None,
) -> tuple[Tensor, State]:  # fmt: skip
    """The logits (B,V) behind each row's last token, and the state after all; `chunk` tokens a forward.

    Any mask `valid` will do. A head that needs no other token scores the last one of each row only.
    """
    batch, steps = Batch.of(batch), None if steps is None else tuple(steps)
    (rows, length), valid, device = batch.tokens.shape, batch.valid, batch.tokens.device
    state = model.init_state(rows) if state is None else state
    if length == 1 and valid is None:
        out = model.finish(model.run(model.start(batch, state), steps))
        assert out.state is not None
        return out.logits[:, -1], out.state
    places, lines = torch.arange(length, device=device), torch.arange(rows, device=device)
    last = torch.full((rows,), length - 1, device=device) if valid is None else (places * valid).amax(1)
    logits: Any = None
    for start in range(0, length, chunk):
        end = min(start + chunk, length)
        piece = Batch(
            batch.tokens[:, start:end], valid=None if valid is None else valid[:, start:end],
            more={} if start else batch.more,
        )  # fmt: skip
        flow = model.run(model.start(piece, state), steps)
        alone = type(model.head).claims.get("per_token")
        if alone and valid is None and end < length:
            state = flow.state
            continue
        here = (last >= start) & (last < end)
        if alone and end - start > 1:
            state, index = flow.state, torch.where(here, lines * (end - start) + last - start, -1)[:, None]
            found = model.finish(flow.only(index)).logits[:, 0]
        else:
            out = model.finish(flow)
            state, found = out.state, out.logits[lines, (last - start).clamp(0, end - start - 1)]
        logits = found if logits is None else torch.where(here[:, None], found, logits)
    assert state is not None
    return logits, state


Found = list[tuple[tuple[Any, ...], Any]]


def flatten(leaves: Any) -> tuple[Found, Found]:
    """Every cache and every other leaf, tensors and constants, each with its path."""
    caches: Found = []
    others: Found = []

    def walk(tree: Any, path: tuple[Any, ...]) -> None:
        if isinstance(tree, Cache):
            caches.append((path, tree))
        elif isinstance(tree, Tensor | Constant):
            others.append((path, tree))
        else:
            for key, value in tree.items():
                walk(value, (*path, key))

    walk(leaves, ())
    return caches, others


def unflatten(found: Iterable[tuple[tuple[Any, ...], Any]]) -> dict[Any, Any]:
    """Nested leaves from values with their paths; the other way round than `flatten`."""
    leaves: dict[Any, Any] = {}
    for path, value in found:
        tree = leaves
        for key in path[:-1]:
            tree = tree.setdefault(key, {})
        tree[path[-1]] = value
    return leaves


def compact(state: State) -> State:
    """The same rows in as few slots as they need, in the order of their positions; even again where they can be."""
    if state.aligned:
        return state
    width = int((state.positions >= 0).sum(1).max()) if state.positions.numel() else 0
    full = state.order is None and bool((state.length + state.lead == width).all())
    if width == state.positions.shape[1] and not full:
        return state
    index = state.positions.argsort(dim=1, stable=True)[:, state.positions.shape[1] - width :]
    rows = torch.arange(len(index), device=index.device)[:, None]
    caches, others = flatten(state.leaves)
    closed = [(path, cache.each(lambda x: x[rows, index])) for path, cache in caches]
    order = None if state.order is None else state.order[rows, index]
    positions = state.positions[rows, index]
    return replace(state, positions=positions, order=order, aligned=full, leaves=unflatten([*closed, *others]))


def concat(states: Sequence[State]) -> State:
    """Several states as the rows of one, in this order; a state without leaves yet is an empty one."""
    if len(states) == 1:
        return states[0]
    if any(state.order is not None for state in states):
        raise UsageError("states of batches with an order of their own cannot be put together")
    if len({state.int8_cache for state in states}) > 1:
        raise UsageError("states that keep keys in 8 bits and states that do not cannot be put together")
    if len({state.lead for state in states}) > 1:
        raise UsageError("states in front of which different numbers of virtual tokens stand cannot be put together")
    width = max(state.positions.shape[1] for state in states)
    room = [width - state.positions.shape[1] for state in states]
    positions = torch.cat([pad(state.positions, (n, 0), value=-1) for state, n in zip(states, room)])
    both = [flatten(state.leaves) for state in states]
    held, kept = [dict(caches) for caches, _ in both], [dict(others) for _, others in both]
    caches = {path: cache for one in held for path, cache in one.items()}
    others = {path: leaf for one in kept for path, leaf in one.items()}
    for path, like in caches.items():
        found = [_cache_of(one.get(path), like, n, state) for one, n, state in zip(held, room, states)]
        caches[path] = tree_cat(found, 0)
    for path, like in others.items():
        if isinstance(like, Constant):
            others[path] = _constants([one.get(path) for one in kept], like, states)
            continue
        blank = [like.new_zeros(len(state.length), *like.shape[1:]) for state in states]
        others[path] = torch.cat([one.get(path, zeros) for one, zeros in zip(kept, blank)])
    even = all(state.aligned for state in states) and len({int(state.length[0]) for state in states}) == 1
    length = torch.cat([state.length for state in states])
    leaves = unflatten([*caches.items(), *others.items()])
    return State(positions, length, even, None, states[0].int8_cache, leaves, lead=states[0].lead)


def _constants(found: Sequence[Constant | None], like: Constant, states: Sequence[State]) -> Constant:
    """The constants of several states as one of as many places as the longest; a state without any has none."""
    held = [like.empty(len(state.length)) if mine is None else mine for mine, state in zip(found, states)]
    places = max(each.valid.shape[1] for each in held)
    return tree_cat([each.padded(places) for each in held], 0)


def _cache_of(cache: Cache | None, like: Cache, room: int, state: State) -> Cache:
    """A state's own cache, or an empty one like another's, with room in front."""
    if cache is None:
        cache = like.each(lambda x: x.new_zeros(len(state.length), 0, *x.shape[2:]))
    return cache.each(lambda x: pad(x, (0, 0) * (x.dim() - 2) + (room, 0)))
