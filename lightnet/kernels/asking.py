"""Asking memory for what comes next, before it is needed: a cache line takes a few hundred cycles to come.

The processor does this by itself where it sees lines read one after the other. Where a loop goes through several rows of an image
side by side, it does not guess what follows.
"""

from numba import types
from numba.extending import intrinsic

from . import vector
from .compiling import compiled
from .vector import LANES


def asking(to_write):
    """An intrinsic that asks for the cache line of ``x[place]``, to read it or to write to it."""

    @intrinsic
    def ask(typing, x, place):
        def generate(context, builder, signature, arguments):
            x, place = arguments
            vector.ask_for(builder, vector.pointer(context, builder, signature.args[0], x, [place]), to_write)
            return context.get_dummy_value()
        return types.void(x, place), generate
    return ask


@compiled
def plain_ask(x, place):
    """Nothing."""


# A place that does not exist does no harm.
ask, ask_to_write = map(asking, (False, True)) if vector.HAS_IR else (plain_ask, plain_ask)


@compiled
def ask_for(x, place, count):
    """For so many numbers."""
    for k in range(0, count, LANES):
        ask(x, place + k)
