"""What each part does to one token, said in instructions: the part's own forward without time.

`LOWER` holds a function for each part that is known, by kind and name; a model with any other part decodes as it
trains. They take (writer, part, vector), a mixer and a channel also their place in the state and what is to be added.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import pad

from blockyard.core.batch import Batch
from blockyard.core.call import Call
from blockyard.decode.writer import LANES, NotOnTape, Vector, Writer
from blockyard.model.model import Model
from blockyard.parts.mixer._floor import floor


def whole(*sizes: int) -> None:
    if any(size % LANES for size in sizes):
        raise NotOnTape(f"widths {sizes} are no whole vectors of {LANES}")


Lower = Callable[..., Vector]
LOWER: dict[tuple[str, str], Lower] = {}


def lowers(*names: str) -> Callable[[Lower], Lower]:
    def enter(lower: Lower) -> Lower:
        for name in names:
            kind, _, part = name.partition(":")
            LOWER[kind, part] = lower
        return lower

    return enter


def lower(w: Writer, part: Any, *given: Any, **more: Any) -> Vector:
    """The instructions of a part, whatever it is."""
    found = LOWER.get((part.spec.kind, part.spec.name))
    if found is None:
        raise NotOnTape(f"{part.spec.kind}:{part.spec.name}")
    return found(w, part, *given, **more)


def project(w: Writer, part: Any, x: Vector, add: Vector | None = None) -> Vector:
    return lower(w, part, x, add=add)


@lowers("linear:dense")
def _dense(w: Writer, part: Any, x: Vector, add: Vector | None = None) -> Vector:
    return w.matrix(part.weight, x, part.bias, add)


@lowers("linear:packed")
def _packed(w: Writer, part: Any, x: Vector, add: Vector | None = None) -> Vector:
    return w.packed(part.packed, part.bits, part.group, part.writes, x, part.bias, add)


@lowers("linear:low_rank")
def _low_rank(w: Writer, part: Any, x: Vector, add: Vector | None = None) -> Vector:
    return w.matrix(part.up, w.matrix(part.down, x), part.bias, add)


def _norm(
    w: Writer, x: Vector, heads: int, gain: Vector, each: int, eps: float, bias: int = 0, centred: int = 0
) -> Vector:
    whole(x.size // heads)
    y = w.fresh(x.size)
    numbers = (heads, x.size // heads, each, gain.place[0], bias, w.number(eps), centred)
    w.write(w.op.NORM, *x.place, *y.place, *numbers)
    return y


@lowers("norm:rms")
def _rms(w: Writer, part: Any, x: Vector, heads: int = 1) -> Vector:
    return _norm(w, x, heads, w.constant(part.gain), 0, part.eps)


@lowers("norm:group_rms")
def _group_rms(w: Writer, part: Any, x: Vector, heads: int = 1) -> Vector:
    groups = 1 if part.group is None else part.group.size
    return _norm(w, x, groups, w.constant(part.gain), x.size // groups, part.eps)


@lowers("norm:layer")
def _layer(w: Writer, part: Any, x: Vector, heads: int = 1) -> Vector:
    return _norm(w, x, heads, w.constant(part.gain), 0, part.eps, w.constant(part.bias).place[0], 1)


@lowers("norm:l2")
def _l2(w: Writer, part: Any, x: Vector, heads: int = 1, scale: float = 1.0) -> Vector:
    width = x.size // heads
    return _norm(w, x, heads, w.constant(torch.full((width,), scale * width**-0.5)), 0, part.eps / width)


@lowers("norm:none")
def _none(w: Writer, part: Any, x: Vector, heads: int = 1) -> Vector:
    return x


ACTIVATIONS = {"silu": "SILU", "gelu": "GELU", "relu": "RELU", "squared_relu": "SQUARED"}


def bend(w: Writer, part: Any, x: Vector) -> Vector:
    if part is None:
        return x
    if part.spec.name not in ACTIVATIONS:
        raise NotOnTape(f"activation:{part.spec.name}")
    return w.map(getattr(w.op, ACTIVATIONS[part.spec.name]), x)


@lowers("channel:mlp")
def _mlp(w: Writer, part: Any, x: Vector, place: Any, add: Vector | None = None) -> Vector:
    return project(w, part.down, bend(w, part.activation, project(w, part.up, x)), add)


@lowers("channel:gated")
def _gated(w: Writer, part: Any, x: Vector, place: Any, add: Vector | None = None) -> Vector:
    gate, value = project(w, part.up, x).cut(*(piece.size for piece in part.rows.parts))
    return project(w, part.down, w.times(bend(w, part.activation, gate), value), add)


def turns(w: Writer, position: Any) -> tuple[int, int]:
    """The addresses of the cosines and sines of every position."""
    if position is None or position.spec.name in ("alibi", "t5"):
        return 0, 0
    if position.spec.name != "rope":
        raise NotOnTape(f"position:{position.spec.name}")
    key = ("rope", position.width.size, position.base)
    if key not in w.shared:
        w.shared[key] = [w.constant(table) for table in position.tables(places(w.room))]
    cos, sin = w.shared[key]
    return cos.place[0], sin.place[0]


def places(count: int) -> Call:
    call, _ = Batch(torch.zeros(1, count, dtype=torch.long)).place(None, causal=True)
    return call._replace(dtype=torch.float32)


@lowers("mixer:attention")
def _attention(w: Writer, part: Any, x: Vector, place: Any, add: Vector | None = None) -> Vector:
    kv, group, channel = (axis.size for axis in part.rows.parts[0].parts)
    whole(channel)
    q, k, v = project(w, part.qkv, x).cut(*(piece.size for piece in part.rows.parts))
    if part.q_all is not None:
        q, k = lower(w, part.q_all, q), lower(w, part.k_all, k)
    if part.q_norm is not None:
        q, k = lower(w, part.q_norm, q, heads=kv * group), lower(w, part.k_norm, k, heads=kv)
    y, S, bias = w.fresh(q.size), w.room, 0
    table = None if part.position is None else part.position.by_distance(S)
    if table is not None:  # of the distances 1 - S to S - 1; none is below 0
        bias = w.constant(table[:, S - 1 :]).place[0]
    coded = w.int8_cache and part.window is None
    kind, scales = (torch.int8, w.state(place, "scales", kv, 2, S)) if coded else (w.dtype, 0)
    keys = w.state(place, "keys", kv, S // w.op.BLOCK, channel, w.op.BLOCK, dtype=kind)
    values = w.state(place, "values", kv, S, channel, dtype=kind)
    sizes = (S, kv, group, channel, channel, *turns(w, part.position), bias)
    seen = (part.window or 0, part.sinks, w.number(part.scale))
    w.write(
        w.op.ATTEND,
        *q.place,
        *k.place,
        *v.place,
        *y.place,
        keys,
        values,
        *sizes,
        *seen,
        scales,
        8 * kind.itemsize,
        tasks=kv,
    )
    if part.gate is not None:
        y = w.times(y, bend(w, part.gate, project(w, part.gate_in, x)))
    return project(w, part.out, y, add)


def scan(w: Writer, place: Any, q: Vector, k: Vector, v: Vector, g: Vector, heads: int, key: int) -> Vector:
    """One token of a fading matrix memory."""
    values = v.size // heads
    whole(key, values)
    y, memory = w.fresh(v.size), w.state(place, "memory", heads, key, values)
    sizes = (heads, q.size // key, key, values, g.size // heads)
    w.write(w.op.DECAYED, *q.place, *k.place, *v.place, *g.place, y.place[0], memory, *sizes, tasks=heads)
    return y


def finish(w: Writer, part: Any, o: Vector, g: Vector | None, heads: int, add: Vector | None) -> Vector:
    """Norm, gate and the way out."""
    o = lower(w, part.norm, o, heads=heads)
    return project(w, part.out, o if g is None else w.times(o, w.map(w.op.SILU, g)), add)


def sizes_of(cat: Any) -> list[int]:
    return [piece.size for piece in cat.parts]


@lowers("mixer:gla")
def _gla(w: Writer, part: Any, x: Vector, place: Any, add: Vector | None = None) -> Vector:
    heads, key = (axis.size for axis in part.key.parts)
    q, k, v, r = project(w, part.proj, x).cut(*sizes_of(part.rows))
    fade = project(w, part.decay, x)  # log sigmoid(z) = -softplus(-z)
    fade = w.map(w.op.SOFTPLUS, w.map(w.op.SAME, fade, -1.0), -1 / part.tau)
    o = scan(w, place, w.map(w.op.SAME, q, part.scale), k, v, fade, heads, key)
    return finish(w, part, o, r, heads, add)


@lowers("mixer:retnet")
def _retnet(w: Writer, part: Any, x: Vector, place: Any, add: Vector | None = None) -> Vector:
    heads, key = (axis.size for axis in part.rows.parts[0].parts)
    q, k, v, r = project(w, part.proj, x).cut(*sizes_of(part.rows))
    if part.position is not None:
        q, k = (turn(w, part.position, each, heads) for each in (q, k))
    fade = torch.log1p(-(2.0 ** (-5.0 - torch.arange(heads, dtype=torch.float64))))
    o = scan(w, place, w.map(w.op.SAME, q, part.scale), k, v, w.constant(fade), heads, key)
    return finish(w, part, o, r, heads, add)


def turn(w: Writer, position: Any, x: Vector, heads: int) -> Vector:
    whole(x.size // heads)
    y, (cos, sin) = w.fresh(x.size), turns(w, position)
    w.write(w.op.TURN, *x.place, *y.place, heads, x.size // heads, cos, sin)
    return y


def keep(w: Writer, part: Any, f: Vector) -> Vector:
    """low + (1 - low) sigmoid(f), with the floor of the layer."""
    low = floor(part.bounds, part.ordinal)
    return w.plus(w.times(w.map(w.op.SIGMOID, f), w.constant(1 - low)), w.constant(low))


@lowers("mixer:hgrn")
def _hgrn(w: Writer, part: Any, x: Vector, place: Any, add: Vector | None = None) -> Vector:
    v, f, g = project(w, part.proj, x).cut(*sizes_of(part.rows))
    whole(v.size)
    kept = keep(w, part, f)
    write = w.times(w.map(w.op.SAME, kept, -1.0, 1.0), w.map(w.op.SILU, v))
    h, memory, tasks = w.fresh(v.size), w.state(place, "memory", v.size), -(-v.size // 64)
    w.write(w.op.DIAGONAL, *write.place, *w.map(w.op.LOG, kept).place, h.place[0], memory, v.size, tasks=tasks)
    return finish(w, part, h, g, 1, add)


@lowers("mixer:hgrn2")
def _hgrn2(w: Writer, part: Any, x: Vector, place: Any, add: Vector | None = None) -> Vector:
    heads, key = (axis.size for axis in part.key.parts)
    q, f, v = project(w, part.proj, x).cut(*sizes_of(part.rows))
    kept = keep(w, part, f)
    k, q = w.map(w.op.SAME, kept, -1.0, 1.0), w.map(w.op.SILU, q)
    return finish(w, part, scan(w, place, q, k, v, w.map(w.op.LOG, kept), heads, key), None, heads, add)


def filtered(w: Writer, part: Any, x: Vector, place: Any) -> Vector:
    """One token of the short filter."""
    if part is None:
        return x
    if part.spec.name != "short_conv":
        raise NotOnTape(f"mixer:{part.spec.name}")
    whole(x.size)
    y, W = w.fresh(x.size), part.weight.shape[1]
    tail = w.state(place, "tail", W - 1, x.size)
    taps = w.constant(part.weight.t().flip(0))
    bias = w.constant(torch.zeros(x.size) if part.bias is None else part.bias)
    sizes = (x.size, W, int(part.silu))
    w.write(w.op.FILTER, *x.place, *y.place, tail, taps.place[0], bias.place[0], *sizes, tasks=x.size // LANES)
    return y if part.silu else bend(w, part.activation, y)


def delta(w: Writer, part: Any, place: Any, qkv: Vector, b: Vector, g: Vector | None) -> tuple[Vector, int]:
    """One token of the delta rule, from what the filter reads; and how many heads there are."""
    heads, key = (axis.size for axis in part.rows.parts[0].parts)
    values = part.rows.parts[2].parts[1].size
    whole(key, values)
    q, k, v = filtered(w, part.conv, qkv, place).cut(*sizes_of(part.rows))
    q, k = (lower(w, part.unit, each, heads=heads) for each in (q, k))
    q, beta = w.map(w.op.SAME, q, part.scale), w.map(w.op.SIGMOID, b, part.reach)
    y, memory = w.fresh(v.size), w.state(place, "memory", heads, key, values)
    fade, sizes = (0, 0) if g is None else g.place, (heads, key, values)
    given = (*q.place, *k.place, *v.place, *beta.place, *fade)
    w.write(w.op.DELTA, *given, y.place[0], memory, *sizes, tasks=heads)
    return y, heads


@lowers("mixer:deltanet")
def _deltanet(w: Writer, part: Any, x: Vector, place: Any, add: Vector | None = None) -> Vector:
    qkv, b = project(w, part.proj, x).cut(*sizes_of(part.parts))
    o, heads = delta(w, part, place, qkv, b, None)
    return finish(w, part, o, None, heads, add)


@lowers("mixer:gated_deltanet")
def _gated_deltanet(w: Writer, part: Any, x: Vector, place: Any, add: Vector | None = None) -> Vector:
    qkv, g, a, b = project(w, part.proj, x).cut(*sizes_of(part.parts))
    pace = w.map(w.op.SOFTPLUS, w.plus(a, w.constant(part.step)))
    o, heads = delta(w, part, place, qkv, b, w.times(pace, w.constant(-part.log_rate.float().exp())))
    return finish(w, part, o, g, heads, add)


@lowers("mixer:mamba")
def _mamba(w: Writer, part: Any, x: Vector, place: Any, add: Vector | None = None) -> Vector:
    u, z = project(w, part.proj, x).cut(*sizes_of(part.halves))
    E, N = part.log_rate.shape
    whole(E)
    u = filtered(w, part.conv, u, place)
    thin, b, c = project(w, part.select, u).cut(*sizes_of(part.rows))
    dt = w.map(w.op.SOFTPLUS, w.matrix(part.widen, thin, part.step))
    y, h, rate = w.fresh(E), w.state(place, "memory", N, E), w.constant(-part.log_rate.float().exp().t())
    given = (*u.place, *dt.place, rate.place[0], y.place[0], *b.place, *c.place, h, E, N)
    w.write(w.op.SELECTIVE, *given, tasks=-(-E // 64))
    o = w.plus(y, w.times(u, w.constant(part.skip)))
    return project(w, part.out, w.times(o, w.map(w.op.SILU, z)), add)


@lowers("mixer:mamba2")
def _mamba2(w: Writer, part: Any, x: Vector, place: Any, add: Vector | None = None) -> Vector:
    z, ubc, dt = project(w, part.proj, x).cut(*sizes_of(part.parts))
    groups, per, width = (axis.size for axis in part.value.leaves())
    heads, state = groups * per, part.rows.parts[1].parts[1].size
    u, k, q = filtered(w, part.conv, ubc, place).cut(*sizes_of(part.rows))
    dt = w.map(w.op.SOFTPLUS, w.plus(dt, w.constant(part.step)))
    fade = w.times(dt, w.constant(-part.log_rate.float().exp()))
    o = scan(w, place, q, k, w.times(u, dt, repeat=width), fade, heads, state)
    o = w.plus(o, w.times(u, w.constant(part.skip.repeat_interleave(width))))
    o = lower(w, part.norm, w.times(o, w.map(w.op.SILU, z)))
    return project(w, part.out, o, add)


RULES: dict[str, Callable[[Writer, Any, Vector, Callable[..., Vector]], Vector]] = {
    "prenorm": lambda w, rule, x, run: run(lower(w, rule.norm, x), x),
    "postnorm": lambda w, rule, x, run: lower(w, rule.norm, run(x, x)),
    "outnorm": lambda w, rule, x, run: w.plus(x, lower(w, rule.norm, run(x))),
    "peri": lambda w, rule, x, run: w.plus(x, lower(w, rule.norm_out, run(lower(w, rule.norm_in, x)))),
    "scaled": lambda w, rule, x, run: w.plus(x, w.times(run(lower(w, rule.norm, x)), w.constant(rule.gain))),
}


def stem(w: Writer, part: Any, width: int) -> Vector:
    if part.spec.name not in ("tokens", "packed_tokens"):
        raise NotOnTape(f"stem:{part.spec.name}")
    whole(width)
    y, added = w.fresh(width), 0
    if part.position is not None:
        if part.position.spec.name not in ("learned", "sinusoidal"):
            raise NotOnTape(f"position:{part.position.spec.name}")
        most = part.position.length.size if part.position.spec.name == "learned" else w.room
        rows = part.position.at_input(torch.zeros(1, min(most, w.room), width), places(min(most, w.room)))
        added = w.constant(pad(rows, (0, 0, 0, w.room - rows.shape[1]))).place[0]  # what fills up lines may lie behind
    if part.spec.name == "packed_tokens":
        w.write(w.op.EMBED, w.reads(part.packed), part.bits, width, *y.place, added, part.group)
        return y
    if part.table.dtype not in (torch.float32, torch.bfloat16):
        raise NotOnTape(f"weights of {part.table.dtype}")
    w.write(w.op.EMBED, w.reads(part.table), 8 * part.table.element_size(), width, *y.place, added)
    return y


@dataclass(frozen=True)
class OnPaper:
    """What stands for the flow while a depth program is written down; it holds no numbers."""

    stream: Vector

    def __getattr__(self, name: str) -> Any:
        raise NotOnTape(f"a depth program that reads {name} of its flow")


def write_down(w: Writer, model: Model) -> Vector:
    """The whole model; gives where the logits will be."""
    stem_part, head, depth = (getattr(model, name) for name in ("stem", "head", "depth"))

    def run(flow: OnPaper, step: int, loop: int = 0, **more: Any) -> OnPaper:
        unit: Any = model.steps[step]
        if more or unit.rule.spec.name not in RULES:
            raise NotOnTape(f"residual:{unit.rule.spec.name} {more}")
        if (step, loop) in met:
            raise NotOnTape(f"step {step} twice in loop {loop}, on one state")
        met.add((step, loop))

        def part(x: Vector, add: Vector | None = None) -> Vector:
            return lower(w, unit.part, x, (step, loop), add=add)

        return OnPaper(RULES[unit.rule.spec.name](w, unit.rule, flow.stream, part))

    met: set[tuple[int, int]] = set()
    begun = OnPaper(stem(w, stem_part, model.stream.size))
    try:
        stream = depth(begun, run).stream
    except Exception as error:  # whatever a program of somebody's own does with a flow that holds no numbers
        raise NotOnTape(f"depth:{depth.spec.name}: {error}") from error
    if head.spec.name not in ("lm", "packed_lm"):
        raise NotOnTape(f"head:{head.spec.name}")
    x = stream if head.norm is None else lower(w, head.norm, stream)
    if head.spec.name == "packed_lm":
        return w.packed(head.packed, head.bits, head.group, head.vocab.size, x)
    return w.matrix(head.table, x)
