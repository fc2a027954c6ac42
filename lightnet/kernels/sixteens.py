"""Sixteen numbers from one place to another, in one vector instruction or two.

LLVM makes such an instruction of a loop over 16 numbers as well, but first checks each time whether the two places overlap, and
Numba whether they are counted from the end: 29 cycles for what takes 11, from the second-level cache to there.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from . import vector
from .compiling import compiled
from .vector import LANES


def sixteen(adding):
    """An intrinsic that copies 16 numbers from ``x[x0]`` to ``y[y0]``, or adds the first ``count`` of them to what is there."""

    @intrinsic
    def move(typing, x, x0, y, y0, count):
        def generate(context, builder, signature, arguments):
            x, x0, y, y0, count = arguments
            value = vector.load(builder, vector.pointer(context, builder, signature.args[0], x, [x0]), LANES)
            place = vector.pointer(context, builder, signature.args[2], y, [y0])
            if adding:
                numbers = ir.Constant(ir.VectorType(ir.IntType(32), LANES), list(range(LANES)))
                count = vector.splat(builder, builder.trunc(count, ir.IntType(32)), LANES)
                wanted = builder.icmp_signed("<", numbers, count)
                value = builder.select(wanted, value, vector.constant(0, LANES))
                value = builder.fadd(vector.load(builder, place, LANES), value)
            vector.store(builder, value, place)
            return context.get_dummy_value()
        return types.void(x, x0, y, y0, count), generate
    return move


@compiled
def plain_copy(x, x0, y, y0, count):
    """The same in a loop, and no more than count."""
    for k in range(min(count, LANES)):
        y[y0 + k] = x[x0 + k]


@compiled
def plain_add(x, x0, y, y0, count):
    """Likewise."""
    for k in range(min(count, LANES)):
        y[y0 + k] += x[x0 + k]


copy_sixteen, add_sixteen = map(sixteen, (False, True)) if vector.HAS_IR else (plain_copy, plain_add)
