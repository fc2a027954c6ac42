"""Sixteen numbers from one place to another, in one vector instruction or two, and so many times, steps apart.

LLVM makes such an instruction of a loop over 16 numbers as well, but first checks each time whether the two places overlap, and
Numba whether they are counted from the end: 29 cycles for what takes 11, from the second-level cache to there.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from . import vector
from .compiling import compiled
from .vector import LANES


def sixteens(adding):
    """An intrinsic that copies the first ``count`` of 16 numbers from ``x[x0]`` to ``y[y0]``, or adds them to what is there.

    Then it goes on, x_step and y_step further each time, ``times`` in all. All sixteen are written, the others as they are.
    """

    @intrinsic
    def move(typing, times, x, x0, x_step, y, y0, y_step, count):
        def generate(context, builder, signature, arguments):
            times, x, x0, x_step, y, y0, y_step, count = arguments
            kinds = dict(zip(arguments, signature.args))
            numbers = ir.Constant(ir.VectorType(ir.IntType(32), LANES), list(range(LANES)))
            wanted = builder.icmp_signed("<", numbers, vector.splat(builder, builder.trunc(count, ir.IntType(32)), LANES))

            def sixteen(_, places):
                source, target = vector.in_loop(builder, places[0]), places[1]      # the loop is short: unrolled, it takes longer
                value, there = vector.load(builder, source, LANES), vector.load(builder, target, LANES)
                if adding:
                    value = builder.fadd(there, builder.select(wanted, value, vector.constant(0, LANES)))
                else:
                    value = builder.select(wanted, value, there)
                vector.store(builder, value, target)
                return [builder.gep(source, [x_step]), builder.gep(target, [y_step])]
            begin = [vector.pointer(context, builder, kinds[array], array, [start]) for array, start in ((x, x0), (y, y0))]
            vector.loop(builder, times, begin, sixteen)
            return context.get_dummy_value()
        return types.void(times, x, x0, x_step, y, y0, y_step, count), generate
    return move


@compiled
def plain_copy(times, x, x0, x_step, y, y0, y_step, count):
    """The same in loops."""
    for i in range(times):
        for k in range(min(count, LANES)):
            y[y0 + i * y_step + k] = x[x0 + i * x_step + k]


@compiled
def plain_add(times, x, x0, x_step, y, y0, y_step, count):
    """Likewise."""
    for i in range(times):
        for k in range(min(count, LANES)):
            y[y0 + i * y_step + k] += x[x0 + i * x_step + k]


copy_sixteens, add_sixteens = map(sixteens, (False, True)) if vector.HAS_IR else (plain_copy, plain_add)
