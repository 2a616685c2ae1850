"""What the machine can do, arrays at addresses, and a place where threads wait for one another."""

import sys
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types  # pyright: ignore
from numba.core.registry import cpu_target

from .compile import compiled
from .lanes import _place, instruction


def has(feature: str) -> bool:
    """Whether loops are compiled for a machine with such instructions."""
    context: Any = cpu_target.target_context
    _, _, known = context.codegen().magic_tuple()
    return f"+{feature}" in known.split(",")


SPINS = 1 << 12  # looks at the counter before the others get this core
FAR = 1 << 40  # nothing checks an index

if sys.platform == "win32":

    @compiled
    def give_way():
        return 0

else:
    give_way: Any = types.ExternalFunction("sched_yield", types.int32())


@instruction
def pointer(_, address):
    def generate(context, builder, signature, args):
        return builder.inttoptr(args[0], ir.IntType(8).as_pointer())

    return types.voidptr(address), generate


@compiled
def floats(address):
    return carray(pointer(address), (FAR,), np.float32)


@compiled
def halves(address):
    """bfloat16 numbers."""
    return carray(pointer(address), (FAR,), np.uint16)


@compiled
def octets(address):
    return carray(pointer(address), (FAR,), np.uint8)


@compiled
def signed(address):
    return carray(pointer(address), (FAR,), np.int8)


@instruction
def count(_, array, at):
    """Add one, for all to see."""

    def generate(context, builder, signature, args):
        place = _place(context, builder, signature.args[0], *args)
        builder.atomic_rmw("add", place, ir.Constant(ir.IntType(64), 1), "acq_rel")
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


@instruction
def seen(_, array, at):
    """What all have added."""

    def generate(context, builder, signature, args):
        return builder.load_atomic(_place(context, builder, signature.args[0], *args), "acquire", 8)

    return types.int64(array, types.intp), generate


@compiled
def meet(arrived, threads, turn):
    """Wait until every thread has been here `turn` times."""
    if threads == 1:
        return
    count(arrived, 0)
    spins = 0
    while seen(arrived, 0) < threads * turn:
        spins += 1
        if spins > SPINS:
            give_way()
