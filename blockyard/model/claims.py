"""What parts claim, and the checks that hold them to it: ours and everybody else's, by the same code.

A check takes a maker of fresh parts and raises `AssertionError` where the claim does not hold. A part that cannot
keep a promise yet says so in `known`, with the reason; its check is then reported, not run.

    causal            what comes later changes nothing before it
    streams           pieces, with the state carried, equal the whole; so do ragged rows and rewound ones
    packs             a packed segment gets the numbers it would have alone; padding on either side changes nothing
    row_independent   a row does not depend on its neighbours
    per_token         an output depends on its own token alone, wherever that stands
    bidirectional     built with causal=False, a token sees the one after it
    any_order         a token sees those whose order, as the batch gives it, is not above its own, and no others
    scale_invariant   a positive factor on the input changes nothing
    identity_at_init  a fresh part returns its input
    fixed             keys rotated and rotated back are the same
    time_exponent     counted kernel operations grow no faster than this power of the length
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from math import log2
from typing import Any

import torch
from torch import Tensor

from blockyard.core import registry
from blockyard.core.batch import Batch
from blockyard.core.call import Call
from blockyard.core.claims import SHARED, Verdict, keeps
from blockyard.core.errors import UsageError
from blockyard.core.flow import Flow
from blockyard.core.part import Part
from blockyard.core.spec import Spec, block, channel, depth, head, mixer, model, residual, stem, tower
from blockyard.core.state import State
from blockyard.kernels import count_flops
from blockyard.model.model import Model, build, make

Make = Callable[[], Any]


def feed(part: Part, x: Tensor, state: State | None = None, **fields: Any) -> tuple[Tensor, State | None]:
    """Run one part on x (B,T,D) as a model would: after `state`, which it is appended to."""
    call, state = Batch(x[..., 0], **fields).call(state, causal=part.causal)
    call = call._replace(dtype=x.dtype)
    part.prepare(call)
    y = part(x, call) if _stateless(part) else part(x, call, None if state is None else state.get("part"))
    if isinstance(y, tuple):
        y, leaves = y
        state = state if state is None or leaves is None else state.put("part", leaves)
    return y, state


def _stateless(part: Part) -> bool:
    return part.spec.kind in ("norm", "activation", "linear")


def _input(part: Part, rows: int = 2, length: int = 13, seed: int = 0) -> Tensor:
    """Random tokens of the width the part was made for, in double precision."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(rows, length, part.stream.size, generator=draw, dtype=torch.float64)


def _same(a: Tensor, b: Tensor, what: str, tolerance: float = 1e-9) -> None:
    gap = (a - b).abs().max().item() if a.numel() else 0.0
    assert a.shape == b.shape and gap <= tolerance, f"{what}: differs by {gap:.2g}"


@torch.no_grad()
def causal(make: Make) -> None:
    part = make()
    x = _input(part)
    y, _ = feed(part, x)
    for cut in (1, 6, 12):
        changed = torch.cat([x[:, :cut], _input(part, seed=1)[:, cut:]], 1)
        _same(feed(part, changed)[0][:, :cut], y[:, :cut], f"outputs before token {cut}", 1e-12)


@torch.no_grad()
def streams(make: Make) -> None:
    part = make()
    x = _input(part)
    whole, _ = feed(part, x)
    for sizes in ([5, 1, 7], [1] * 13, [12, 1]):
        state: State | None = State.empty(2)
        pieces = []
        for piece in x.split(sizes, 1):
            y, state = feed(part, piece, state)
            pieces.append(y)
        _same(torch.cat(pieces, 1), whole, f"pieces of {sizes}")
    _ragged(part, x, whole)
    _rewound(part, x, whole)


def _ragged(part: Part, x: Tensor, whole: Tensor) -> None:
    """Rows that are fed different numbers of tokens, padded on the right mid-stream, then go on."""
    valid = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    y, state = feed(part, x[:, :5], State.empty(2), valid=valid)
    _same(y[0], whole[0, :5], "a full row of a ragged piece")
    _same(y[1, :3], whole[1, :3], "a short row of a ragged piece")
    rest = torch.stack([x[0, 5:9], x[1, 3:7]])
    y, _ = feed(part, rest, state)
    _same(y[0], whole[0, 5:9], "a full row after a ragged piece")
    _same(y[1], whole[1, 3:7], "a short row after a ragged piece")


def _rewound(part: Part, x: Tensor, whole: Tensor) -> None:
    """A state taken back, row by row, and fed again what it lost."""
    _, state = feed(part, x[:, :4], State.empty(2))
    assert state is not None
    _, state = feed(part, x[:, 4:9], state.mark())
    assert state is not None
    state = state.rewind(torch.tensor([6, 9]))
    assert bool((state.length <= torch.tensor([6, 9])).all()), "rewind went too far"
    for row in range(2):
        one = state.select(torch.tensor([row]))
        y, _ = feed(part, x[row : row + 1, int(one.length) :], one)
        _same(y[0], whole[row, int(one.length) :], f"row {row} after a rewind")
    lost = [x[row, int(state.length[row]) : 9] for row in range(2)]
    width = max(len(piece) for piece in lost)
    again = torch.stack([torch.cat([p, p.new_zeros(width - len(p), p.shape[1])]) for p in lost])
    valid = torch.tensor([[i < len(p) for i in range(width)] for p in lost])
    _, state = feed(part, again, state, valid=valid) if width else (None, state)
    y, _ = feed(part, x[:, 9:], state)
    _same(y, whole[:, 9:], "both rows after a rewind")


@torch.no_grad()
def packs(make: Make) -> None:
    part = make()
    x = _input(part, rows=1, length=15)
    segment = torch.tensor([[0] * 6 + [1] * 1 + [2] * 8])
    packed, _ = feed(part, x, segment=segment)
    for first, last in ((0, 6), (6, 7), (7, 15)):
        _same(packed[:, first:last], feed(part, x[:, first:last])[0], f"the segment {first}..{last}")
    for name, places in (("left", range(4, 15)), ("right", range(0, 11)), ("inner", [0, 1, 5, 6, 7, 11])):
        valid = torch.zeros(1, 15, dtype=torch.bool)
        valid[0, list(places)] = True
        padded, _ = feed(part, x, valid=valid)
        assert bool(padded.isfinite().all()), f"{name} padding gives infinities"
        _same(padded[valid], feed(part, x[valid][None])[0][0], f"{name} padding")


@torch.no_grad()
def row_independent(make: Make) -> None:
    part = make()
    x = _input(part, rows=3)
    together, _ = feed(part, x)
    for row in range(3):
        _same(feed(part, x[row : row + 1])[0], together[row : row + 1], f"row {row} alone", 1e-12)


@torch.no_grad()
def per_token(make: Make) -> None:
    part = make()
    x = _input(part)
    mix = torch.randperm(13, generator=torch.Generator().manual_seed(3))
    y, _ = feed(part, x)
    _same(feed(part, x[:, mix])[0], y[:, mix], "permuted tokens", 1e-12)
    changed = torch.cat([x[:, :6], _input(part, seed=1)[:, 6:7], x[:, 7:]], 1)
    others = [i for i in range(13) if i != 6]
    _same(feed(part, changed)[0][:, others], y[:, others], "tokens beside a changed one", 1e-12)


@torch.no_grad()
def bidirectional(make: Make) -> None:
    part = make()
    assert not part.causal, "the part was built to read from left to right"
    x = _input(part)
    changed = torch.cat([x[:, :1], _input(part, seed=1)[:, 1:2], x[:, 2:]], 1)  # the neighbour: a window may end there
    gap = (feed(part, changed)[0][:, 0] - feed(part, x)[0][:, 0]).abs().max()
    assert gap > 1e-9, "the first token does not see the second one"


@torch.no_grad()
def any_order(make: Make) -> None:
    part = make()
    x, other = _input(part), _input(part, seed=1)
    backwards = torch.arange(12, -1, -1).expand(2, 13)
    prefix = torch.arange(13).clamp(min=4).expand(2, 13)  # the first five see each other, then one after the other
    for order, hidden, seers in ((backwards, slice(0, 6), slice(6, 13)), (prefix, slice(5, 13), slice(0, 5))):
        y, _ = feed(part, x, order=order)
        changed = x.clone()
        changed[:, hidden] = other[:, hidden]
        _same(feed(part, changed, order=order)[0][:, seers], y[:, seers], "tokens that see only lower orders", 1e-12)
    pair = torch.arange(13).clamp(min=1).expand(2, 13)  # the first two see each other
    first, second = (torch.cat([x[:, :i], other[:, i : i + 1], x[:, i + 1 :]], 1) for i in (0, 1))
    mixes = (feed(part, first)[0][:, 1] - feed(part, x)[0][:, 1]).abs().max() > 1e-9
    seen = (feed(part, second, order=pair)[0][:, 0] - feed(part, x, order=pair)[0][:, 0]).abs().max() > 1e-9
    assert seen or not mixes, "the first token of a pair does not see the other one"


@torch.no_grad()
def scale_invariant(make: Make) -> None:
    part = make()
    part.eps = 0.0
    x = _input(part)
    _same(feed(part, 7.5 * x)[0], feed(part, x)[0], "a scaled input")


@torch.no_grad()
def identity_at_init(make: Make) -> None:
    part = make()
    x = _input(part)
    _same(feed(part, x)[0], x, "the output", 0.0)


@torch.no_grad()
def fixed(make: Make) -> None:
    part = make()
    q = _input(part, length=9)[:, :, None]
    call = Call.plain(q)
    _, rotated = part.at_qk(q, q, call)
    assert (rotated - q).abs().max() > 1e-3, "nothing was rotated"
    _same(part.unrotate(rotated, call), q, "keys rotated back")


def time_exponent(make: Make, claimed: float = 1.0) -> None:
    counts: list[dict[str, int]] = []
    with torch.device("meta"):
        part = make()
        for length in (1024, 2048):
            with count_flops() as tally, torch.no_grad():
                feed(part, torch.empty(1, length, part.stream.size, dtype=torch.float64))
            counts.append(dict(tally))
    for op, first in counts[0].items():
        grown = log2(counts[1][op] / first) if first else 0.0
        assert grown <= claimed + 0.01, f"{op} grows with the power {grown:.2f} of the length"


CHECKS: dict[str, Callable[..., None]] = {
    check.__name__: check
    for check in (
        causal, streams, packs, row_independent, per_token, bidirectional, any_order, scale_invariant, identity_at_init,
        fixed, time_exponent,
    )
}  # fmt: skip


def verify(make: Make, leave_out: Collection[str] = ()) -> Iterator[Verdict]:
    """Every claim of a part but those left out, checked on fresh copies of it."""
    part = make()
    for claim, value in part.claims.items():
        if claim in leave_out:
            continue
        if claim in part.known:
            yield Verdict(claim, True, f"known failure: {part.known[claim]}")
        elif claim not in CHECKS:
            yield Verdict(claim, False, f"no check proves {claim!r}; known: {', '.join(sorted(CHECKS))}")
        elif value is not False:
            try:
                CHECKS[claim](make, value) if claim == "time_exponent" else CHECKS[claim](make)
            except AssertionError as error:
                yield Verdict(claim, False, str(error))
            else:
                yield Verdict(claim, True)


class Hosted(Part):
    """A whole model as a part: what is checked on x (B,T,D) is checked on the tokens that x stands for."""

    def __init__(self, model: Model, claims: Mapping[str, Any], known: Mapping[str, str]) -> None:
        super().__init__()
        self.model, self.claims, self.known = model, dict(claims), known
        self.spec, self.stream, self.causal = Spec("mixer", "hosted"), model.stream, model.causal

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        model = self.model
        batch = replace(_stand_in(model, x), valid=call.valid)
        kept = None if state is None else replace(State.empty(len(x)), leaves=state)
        call = call._replace(memory=model.read_towers(_towers_read(model, batch)))
        y, call, kept = model._ends(model.stem, batch, call, kept, "stem")
        call = call._replace(dtype=y.dtype)
        for part in model._preparing:
            part.prepare(call)
        out = model.finish(model.run(Flow(y, None, call, kept, {})))
        said = next(iter(out.prediction.values()))
        return said, None if out.state is None else out.state.leaves


def _towers_read(model: Model, batch: Batch) -> Batch:
    """The batch with the same few tokens for every row's towers, the last of which does not count."""
    rows, read = len(batch.tokens), {}
    for name, tokens in model.example(1, 7, torch.Generator().manual_seed(0)).more.items():
        if name in model.towers:
            read[name] = tokens.expand(rows, *tokens.shape[1:])
            read[f"{name}.valid"] = torch.arange(tokens.shape[1], device=tokens.device).expand(rows, -1) < 6
    return replace(batch, more={**batch.more, **read})


def _stand_in(model: Model, x: Tensor) -> Batch:
    """What x (B,T,D) stands for in the stem's own terms: ids, or its numbers in the shape that the stem reads."""
    if model.stem.reads == "ids":
        return Batch((x[..., 0] * 97).nan_to_num().long() % model.axes["stem.vocab"].size)
    example = model.example(*x.shape[:2])
    tokens = example.tokens
    if tokens.dim() == 3 and tokens.shape[:2] == x.shape[:2]:  # a vector a token
        return replace(example, tokens=x.repeat(1, 1, -(-tokens.shape[2] // x.shape[2]))[..., : tokens.shape[2]])
    if tokens.dim() == 2 and tokens.shape[1] <= x.shape[1]:  # a number a token
        return replace(example, tokens=x[:, : tokens.shape[1], 0])
    count, of = tokens[0].numel(), x[0].numel()
    picked = torch.arange(count, device=x.device) * max(1, of // count) % of  # from all of its tokens
    return replace(example, tokens=x.flatten(1)[:, picked].reshape(tokens.shape))


_ALONE = ("mixer", "channel", "norm", "activation")
_INSIDE = ("pattern", "weigh")  # of attention


def host(part: Spec, claims: Mapping[str, Any], dim: int, *, causal: bool = True) -> Spec:
    """A small model around a part of a kind that does nothing alone; with attention where the part may mix tokens."""
    inside = {part.kind: part} if part.kind in _INSIDE else {}
    first = (
        part
        if part.kind == "position" and "at_input" in vars(registry.find("position", part.name).load_named())
        else None
    )
    where = part if part.kind == "position" and first is None else None
    reader = channel("gated") if claims.get("per_token") else mixer("attention", position=where, **inside)
    reader = part if part.kind in _ALONE[:2] else reader
    around = dict(
        stem=stem("tokens", position=first), residual=residual("prenorm"), depth=depth("stack"),
        head=head("lm", tied=False),
    )  # fmt: skip
    own = dict(find_around(part))
    if "tower" in own:
        name, settings = own.pop("tower")
        around["towers"] = (tower(name, _reader(**settings)),)
    around |= {kind: Spec.of(kind, name, dict(settings)) for kind, (name, settings) in own.items()}
    if part.kind == "junction":
        return model(dim=dim, blocks=(block("layer", reader, part, channel("mlp")),), causal=causal, **around)
    if part.kind == "store":
        around["linear"] = Spec.of("linear", "dense", {"store": part})
    elif part.kind not in ("position", "router", *_INSIDE, *_ALONE[:2]):
        around[part.kind] = part
    last = channel("experts", router=part) if part.kind == "router" else channel("mlp")
    return model(dim=dim, blocks=(block("layer", reader, last),), causal=causal, **around)


def _reader(dim: int) -> Spec:
    """A small model that others read."""
    return model(
        dim=dim, stem=stem("tokens"), blocks=(block("layer", mixer("attention"), channel("mlp")),), causal=False,
        residual=residual("prenorm"), depth=depth("stack"), head=head("stream"),
    )  # fmt: skip


def find_around(part: Spec) -> Mapping[str, tuple[str, Mapping[str, Any]]]:
    """What a part says that a small model around it needs, by kind: a name and its settings."""
    return registry.find(part.kind, part.name).load_named().around


def makers(name: str, dim: int, settings: Mapping[str, Any]) -> Iterator[tuple[str, Make]]:
    """Makers of what `kind:name` promises, by how it is built: from left to right, and in both directions."""
    kind, _, part = name.partition(":")
    entry = registry.find(kind, part)
    claims, known = entry.load_named().claims, entry.load_named().known
    for causal in (True, False):
        if not keeps(claims, known, "causal" if causal else "bidirectional") or (not causal and "per_token" in claims):
            continue
        if not causal and not all(_reads_both_ways(spec) for spec in settings.values() if isinstance(spec, Spec)):
            continue

        def fresh(causal: bool = causal) -> Any:
            if kind in _ALONE and not find_around(Spec(kind, entry.name)):
                return make(name, dim=dim, causal=causal, **settings).double()
            built = build(host(Spec.of(kind, entry.name, dict(settings)), claims, dim, causal=causal))
            own = next(p for p in built.parts() if (p.spec.kind, p.spec.name) == (kind, entry.name))
            return Hosted(built, {k: v for k, v in own.claims.items() if k in SHARED}, own.known).double()

        yield ("" if causal else " (causal=False)"), fresh


def _reads_both_ways(spec: Spec) -> bool:
    """Whether what fills a slot, and all that fills its own, is built in both directions."""
    made = [registry.find(each.kind, each.name).load_named() for each in spec.walk()]
    return all(keeps(each.claims, each.known, "bidirectional") for each in made)


def verify_part(name: str, dim: int = 32, **settings: Any) -> Iterator[Verdict]:
    """The claims of a registered part, by `kind:name`, at a small width, in each direction that it is built for."""
    if name.partition(":")[0] == "objective":
        raise UsageError(f"{name} claims nothing: an objective is checked by training; check a part of another kind")
    for how, fresh in makers(name, dim, settings):
        for verdict in verify(fresh):
            yield verdict._replace(claim=verdict.claim + how)
    if name.startswith("position:"):
        yield from verify(lambda: make(name, dim=dim, **settings).double(), SHARED)  # those were seen in attention


def verify_model(spec: Spec) -> Iterator[Verdict]:
    """The claims of a whole model, from its tokens to its logits."""

    def fresh() -> Any:
        built = build(spec).double()
        return Hosted(built, {k: v for k, v in built.claims.items() if k in SHARED}, {})

    yield from verify(fresh)
