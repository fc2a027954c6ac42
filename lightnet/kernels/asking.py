"""Asking memory for what comes next, before it is needed: a cache line takes a few hundred cycles to come.

The processor does this by itself where it sees lines read one after the other. Where a loop goes through several rows of an image
side by side, it does not guess what follows.

What is asked for comes into the second-level cache, and be it to write there. The processor has an instruction for that, which
brings a line into the first; but many lines that are asked for early displace there what is needed meanwhile. Winograd's outputs
take 0.28 ms for 0.33 at 56x56 pixels since they are asked for in this way (3x3, forward, Zen 4).
"""

from numba import types
from numba.extending import intrinsic

from . import vector
from .compiling import compiled
from .vector import LANES


@intrinsic
def emitted_ask(typing, x, place):
    """Ask for the cache line of ``x[place]``; a place that does not exist does no harm."""
    def generate(context, builder, signature, arguments):
        x, place = arguments
        vector.ask_for(builder, vector.pointer(context, builder, signature.args[0], x, [place]))
        return context.get_dummy_value()
    return types.void(x, place), generate


@compiled
def plain_ask(x, place):
    """Nothing."""


ask = emitted_ask if vector.HAS_IR else plain_ask


@compiled
def ask_for(x, place, count):
    """For so many numbers."""
    for k in range(0, count, LANES):
        ask(x, place + k)
