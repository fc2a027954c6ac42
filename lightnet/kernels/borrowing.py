"""Arrays without an owner: what a kernel is given stays alive until it returns, so nobody need count who refers to it.

Numba counts references to an array's memory with each slice and each tuple that holds one, by an instruction that no other core
may interrupt, and that waits for all that is still to be written. A step of the paper's network counted 12,000 times an image up
and down again; without it takes 0.994 of the time, 0.13 ms less an image (Zen 4, node by node).
"""

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic


def without_owner(context, builder, kind, value):
    """An array, or a tuple with any in it, that belongs to nobody."""
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value)
        array.meminfo = ir.Constant(array.meminfo.type, None)
        return array._getvalue()
    for i, part in enumerate(kind.types if isinstance(kind, types.BaseTuple) else ()):
        part = without_owner(context, builder, part, builder.extract_value(value, i))
        value = builder.insert_value(value, part, i)
    return value


def uncounted(typing, value):
    """An array or a tuple, as it is, but without an owner: for a kernel's arguments.

    It must return or keep none of them, nor a view. Not for an array that it has made itself: that would be freed at once.
    """
    def generate(context, builder, signature, arguments):
        return without_owner(context, builder, *signature.args, *arguments)
    return value(value), generate


borrowed = intrinsic(uncounted) if not numba.config.DISABLE_JIT else lambda value: value
