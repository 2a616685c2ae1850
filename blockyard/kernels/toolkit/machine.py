"""What the machine can do, arrays at addresses, and a place where threads wait for one another."""

import sys
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types  # pyright: ignore
from numba.core.registry import cpu_target

from .arrays import Strided
from .compile import compiled
from .lanes import _pointer, instruction


def has(feature: str) -> bool:
    """Whether loops are compiled for a machine with such instructions."""
    context: Any = cpu_target.target_context
    _, _, known = context.codegen().magic_tuple()
    return f"+{feature}" in known.split(",")


SPINS = 1 << 12  # looks at the counter before the others get this core
FAR = 1 << 40  # nothing checks an index

if sys.platform == "win32":

    @compiled
    def yield_core():
        return 0

else:
    yield_core: Any = types.ExternalFunction("sched_yield", types.int32())


@instruction
def pointer(_, address):
    def generate(context, builder, signature, args):
        return builder.inttoptr(args[0], ir.IntType(8).as_pointer())

    return types.voidptr(address), generate


@compiled
def float32_at(address):
    return carray(pointer(address), (FAR,), np.float32)


@compiled
def operand(code, i, many, width):
    """The operand of an instruction from place i on, an address and a stride, as rows of `many` tokens each."""
    return Strided(float32_at(code[i]), (many * code[i + 1], code[i + 1], width))


@compiled
def bfloat16_at(address):
    """bfloat16 numbers."""
    return carray(pointer(address), (FAR,), np.uint16)


@compiled
def uint8_at(address):
    return carray(pointer(address), (FAR,), np.uint8)


@compiled
def int8_at(address):
    return carray(pointer(address), (FAR,), np.int8)


def _borrowed(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    if isinstance(kind, types.Array):
        return builder.insert_value(value, ir.Constant(ir.IntType(8).as_pointer(), None), 0)
    for i, inner in enumerate(kind if isinstance(kind, types.BaseTuple) else ()):  # pyright: ignore
        value = builder.insert_value(value, _borrowed(context, builder, inner, builder.extract_value(value, i)), i)
    return value


@instruction
def borrowed(_, arrays):
    """The same arrays without a count of who uses them: whoever calls the loop keeps them. In any tuples of tuples."""

    def generate(context, builder, signature, args):
        return _borrowed(context, builder, signature.args[0], args[0])

    return arrays(arrays), generate


@instruction
def held(_, arrays):
    """Nothing; but what was borrowed of these arrays is there up to here."""

    def generate(context, builder, signature, args):
        return context.get_dummy_value()

    return types.void(arrays), generate


@instruction
def arrive(_, array, at):
    """Add one, for all to see."""

    def generate(context, builder, signature, args):
        pointer = _pointer(context, builder, signature.args[0], *args)
        builder.atomic_rmw("add", pointer, ir.Constant(ir.IntType(64), 1), "acq_rel")
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


@instruction
def arrivals(_, array, at):
    """What all have added."""

    def generate(context, builder, signature, args):
        return builder.load_atomic(_pointer(context, builder, signature.args[0], *args), "acquire", 8)

    return types.int64(array, types.intp), generate


@compiled
def barrier(arrived, threads, times):
    """Wait until every thread has been here so many times."""
    if threads == 1:
        return
    arrive(arrived, 0)
    spins = 0
    while arrivals(arrived, 0) < threads * times:
        spins += 1
        if spins > SPINS:
            yield_core()
