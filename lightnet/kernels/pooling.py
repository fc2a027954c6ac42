"""Max pooling without the matrix of windows: the running maximum of a window stays in registers and cache.

The layer's own version copies every pixel into KH * KW / (SH * SW) windows, then looks for each one's largest. Here a window
is read where it lies, all its channels at a time, and of the winner one byte is kept: its number p * KW + q. Backward asks from
the other side: each pixel looks at the few windows that it was in, and takes dy where it won. Scattering dy to the winners
instead would jump from channel to channel, one number at a time; this way all channels of a pixel are vector instructions.
"""

import functools
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from . import vector
from .asking import ask_for
from .columns import Window
from .compiling import compiled
from .exponential import emit_elu, emit_elu_slope, emit_relu, plain_elu, plain_elu_slope
from .images import Images
from .tile import ELU, RELU, STORE
from .vector import INT, integer


@intrinsic
def emitted_window(typing, C, x, start, rows, columns, x_row, x_pitch, first, KW, y, y0, winner, w0):
    """The C channels of one window.

    Its pixels inside the image are ``rows`` x ``columns`` from ``x[start]`` on, the first has the number ``first``; the maximum
    goes to ``y[y0]``, its number to ``winner[w0]``. Of equal values the first wins, and the first NaN over all.
    """
    signature = types.void(C, x, start, rows, columns, x_row, x_pitch, first, KW, y, y0, winner, w0)

    def generate(context, builder, signature, arguments):
        C, x, start, rows, columns, x_row, x_pitch, first, KW, y, y0, winner, w0 = arguments
        kinds = dict(zip(arguments, signature.args))
        kind, number_type = ir.IntType(kinds[winner].dtype.bitwidth), ir.IntType(32)

        def place(array, *offsets):
            return vector.pointer(context, builder, kinds[array], array, offsets)

        def several(lanes, c):
            """So many channels from c on."""
            def search(better):
                """The largest value, its number, and the sum of all values."""
                def in_row(_, here):
                    def in_column(_, here):
                        pixel, number, best, place_of_best, total = here
                        number = vector.in_loop(builder, number)        # the loops are short: unrolled, they take longer
                        value = vector.load(builder, pixel, lanes)
                        wins = better(value, best)
                        here = vector.splat(builder, builder.trunc(number, number_type), lanes)
                        return [builder.gep(pixel, [x_pitch]), builder.add(number, integer(1)), builder.select(wins, value, best),
                                builder.select(wins, here, place_of_best), builder.fadd(total, value)]
                    _, _, *found = vector.loop(builder, columns, here, in_column)
                    return [builder.gep(here[0], [x_row]), builder.add(here[1], KW), *found]
                begin = [place(x, start, c), first, vector.constant(-np.inf, lanes),
                         vector.splat(builder, builder.trunc(first, number_type), lanes), vector.constant(0, lanes)]
                return vector.loop(builder, rows, begin, in_row)[2:]

            def larger(value, best):
                return builder.fcmp_ordered(">", value, best)

            def larger_or_nan(value, best):
                first_nan = builder.and_(builder.fcmp_unordered("uno", value, value), builder.fcmp_ordered("ord", best, best))
                return builder.or_(larger(value, best), first_nan)

            best, number, total = search(larger)
            # A NaN anywhere makes the sum one; so does infinity less infinity. Only then it is asked for value by value.
            lost = builder.bitcast(builder.fcmp_unordered("uno", total, total), ir.IntType(lanes))
            lost = builder.zext(builder.icmp_unsigned("!=", lost, lost.type(0)), INT)
            best, number = vector.where(builder, lost, [best, number], lambda: search(larger_or_nan)[:2])
            vector.store(builder, best, place(y, y0, c))
            number = builder.trunc(number, ir.VectorType(kind, lanes)) if kind.width < 32 else number
            builder.store(number, builder.bitcast(place(winner, w0, c), number.type.as_pointer())).align = 1
        vector.in_parts(builder, C, OF_WINDOW, several)
        return context.get_dummy_value()
    return signature, generate


@compiled
def plain_window(C, x, start, rows, columns, x_row, x_pitch, first, KW, y, y0, winner, w0):
    """The same in plain loops."""
    for c in range(C):
        best, number = x[start + c], first
        for i in range(rows):
            for j in range(columns):
                value = x[start + i * x_row + j * x_pitch + c]
                if value > best or value != value and best == best:
                    best, number = value, first + i * KW + j
        y[y0 + c], winner[w0 + c] = best, number


def maximum_of(side=None):
    """An intrinsic for the C channels of one window of which only the maximum is wanted, as it is or as its ELU or ReLU.

    With ``side`` for windows of just that many rows and columns, written out pixel by pixel. The processor's maximum forgets a
    NaN; one comparison for two pixels finds out whether there was one.
    """

    @intrinsic
    def maximum(typing, C, x, start, rows, columns, x_row, x_pitch, y, y0, finish):
        signature = types.void(C, x, start, rows, columns, x_row, x_pitch, y, y0, finish)

        def generate(context, builder, signature, arguments):
            C, x, start, rows, columns, x_row, x_pitch, y, y0, finish = arguments
            kinds = dict(zip(arguments, signature.args))

            def several(lanes, c):
                """So many channels from c on."""
                def pixel(*offsets):
                    return vector.load(builder, vector.pointer(context, builder, kinds[x], x, [start, c, *offsets]), lanes)

                def in_row(i, best):
                    def in_column(j, best):
                        value = pixel(builder.mul(i, x_row), builder.mul(j, x_pitch))
                        larger, is_nan = (builder.fcmp_ordered(">", value, *best), builder.fcmp_unordered("uno", value, value))
                        return [builder.select(builder.or_(larger, is_nan), value, *best)]
                    return vector.loop(builder, columns, best, in_column)

                if side:
                    values = [pixel(builder.mul(integer(i), x_row), builder.mul(integer(j), x_pitch))
                              for i in range(side) for j in range(side)]
                    best = functools.reduce(lambda a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b), values)
                    pairs = zip(values[::2], values[1::2] + values[:1])     # of an odd number the last one goes with the first
                    lost = functools.reduce(builder.or_, [builder.fcmp_unordered("uno", a, b) for a, b in pairs])
                    best = builder.select(lost, vector.constant(float("nan"), lanes), best)
                else:
                    (best,) = vector.loop(builder, rows, [pixel()], in_row)
                place = vector.pointer(context, builder, kinds[y], y, [y0, c])
                vector.switch(builder, finish, {
                    STORE: lambda: vector.store(builder, best, place),
                    ELU: lambda: vector.store(builder, emit_elu(builder, best), place),
                    RELU: lambda: vector.store(builder, emit_relu(builder, best), place),
                })
            vector.in_parts(builder, C, OF_MAXIMUM, several)
            return context.get_dummy_value()
        return signature, generate
    return maximum


@compiled
def plain_maximum(C, x, start, rows, columns, x_row, x_pitch, y, y0, finish):
    """The same in plain loops."""
    for c in range(C):
        best = x[start + c]
        for i in range(rows):
            for j in range(columns):
                value = x[start + i * x_row + j * x_pitch + c]
                if value > best or value != value:
                    best = value
        y[y0 + c] = np.float32(0) if finish == RELU and best < 0 else best
    if finish == ELU:
        plain_elu(y, y0, y0 + C, np.float32(1))


@intrinsic
def emitted_gather(typing, C, dy, y0, y_row, y_pitch, winner, w0, w_row, w_pitch, rows, columns, first, row_less, column_less,
                   onto, o0, elu, e0, alpha, dx, x0):
    """The C channels of one pixel x, which was in ``rows`` x ``columns`` windows.

    In the first of them, whose gradient is ``dy[y0]`` and whose winner ``winner[w0]``, it had the number ``first``, in the next
    one below ``row_less`` less, in the next one to the right ``column_less`` less. The sum of what it won and of ``onto[o0]`` is
    multiplied by ELU's slope, read off ``elu[e0]``.
    """
    signature = types.void(C, dy, y0, y_row, y_pitch, winner, w0, w_row, w_pitch, rows, columns, first, row_less, column_less,
                           onto, o0, elu, e0, alpha, dx, x0)

    def generate(context, builder, signature, arguments):
        (C, dy, y0, y_row, y_pitch, winner, w0, w_row, w_pitch, rows, columns, first, row_less, column_less,
         onto, o0, elu, e0, alpha, dx, x0) = arguments
        kinds = dict(zip(arguments, signature.args))

        def place(array, *offsets):
            return vector.pointer(context, builder, kinds[array], array, offsets)

        def several(lanes, c):
            """So many channels from c on."""
            numbers = ir.VectorType(ir.IntType(kinds[winner].dtype.bitwidth), lanes)

            def in_row(_, here):
                def in_column(_, here):
                    number, winners, gradients, total = here
                    number = vector.in_loop(builder, number)            # the loops are short: unrolled, they take longer
                    same = vector.splat(builder, builder.trunc(number, numbers.element), lanes)
                    won = builder.load(builder.bitcast(winners, numbers.as_pointer()), align=1)
                    gradient = vector.load(builder, gradients, lanes)
                    gradient = builder.select(builder.icmp_unsigned("==", won, same), gradient, vector.constant(0, lanes))
                    return further(here, column_less, w_pitch, y_pitch, builder.fadd(total, gradient))
                *_, total = vector.loop(builder, columns, here, in_column)
                return further(here, row_less, w_row, y_row, total)

            def further(here, less, winners, gradients, total):
                return [builder.sub(here[0], less), builder.gep(here[1], [winners]), builder.gep(here[2], [gradients]), total]

            begin = [first, place(winner, w0, c), place(dy, y0, c), vector.load(builder, place(onto, o0, c), lanes)]
            *_, total = vector.loop(builder, rows, begin, in_row)
            slope = emit_elu_slope(builder, vector.load(builder, place(elu, e0, c), lanes), vector.splat(builder, alpha, lanes))
            vector.store(builder, builder.fmul(total, slope), place(dx, x0, c))

        vector.in_parts(builder, C, OF_PIXEL, several)
        return context.get_dummy_value()
    return signature, generate


@compiled
def plain_gather(C, dy, y0, y_row, y_pitch, winner, w0, w_row, w_pitch, rows, columns, first, row_less, column_less,
                 onto, o0, elu, e0, alpha, dx, x0):
    """The same in plain loops."""
    for c in range(C):
        total = onto[o0 + c]
        for i in range(rows):
            for j in range(columns):
                if winner[w0 + i * w_row + j * w_pitch + c] == first - i * row_less - j * column_less:
                    total += dy[y0 + i * y_row + j * y_pitch + c]
        dx[x0 + c] = total * plain_elu_slope(elu[e0 + c], alpha)


# So many channels in one go: several registers, since each comparison waits for the one before it. A window takes three times as
# many as it has channels in, a pixel one; with AVX2 there are 16 in all, and with twice as many channels a window took 1.4 times
# as long.
REGISTER = 16 if vector.has_avx512() else 8
OF_WINDOW, OF_MAXIMUM, OF_PIXEL = (2 * REGISTER, 8, 1), (32, 1), (4 * REGISTER, 8, 1)
SIDE = 3                                                # the paper's pools
if vector.HAS_IR:
    window, gather, maximum, maximum_3x3 = emitted_window, emitted_gather, maximum_of(), maximum_of(SIDE)
else:
    window, gather, maximum, maximum_3x3 = plain_window, plain_gather, plain_maximum, plain_maximum


@compiled
def span(i, K, S, before, size):
    """Of the i-th window's K places the first one in an image of that size, and how many are; ``before`` zeros precede it."""
    first = max(0, before - i * S)
    return first, min(K, size + before - i * S) - first


@compiled
def largest(x, y, winner, pool):
    """Maximum and winner of every window of this form: winner (N * OH * OW * C), flat."""
    KH, KW, SH, SW, top, left = pool
    for n in range(x.N):
        for i in range(y.H):
            p, rows = span(i, KH, SH, top, x.H)
            for j in range(y.W):
                q, columns = span(j, KW, SW, left, x.W)
                x0 = n * x.stride + (i * SH + p - top) * x.row + (j * SW + q - left) * x.pitch
                y0, w0 = n * y.stride + i * y.row + j * y.pitch, ((n * y.H + i) * y.W + j) * y.C
                for below in range(SH):                 # what the window below needs besides: half the time of a batch's pool
                    for right in range(SW):
                        ask_for(x.memory, x0 + (KH + below) * x.row + right * x.pitch, x.C)
                window(x.C, x.memory, x0, rows, columns, x.row, x.pitch, p * KW + q, KW, y.memory, y0, winner, w0)


@compiled
def maxima(x, y, KH, KW, SH, SW, top, left, finish):
    """Maximum of every window, finished: for inference, where nobody asks who won."""
    for n in range(x.N):
        for i in range(y.H):
            p, rows = span(i, KH, SH, top, x.H)
            for j in range(y.W):
                q, columns = span(j, KW, SW, left, x.W)
                x0 = n * x.stride + (i * SH + p - top) * x.row + (j * SW + q - left) * x.pitch
                y0 = n * y.stride + i * y.row + j * y.pitch
                if rows == SIDE and columns == SIDE:
                    maximum_3x3(x.C, x.memory, x0, rows, columns, x.row, x.pitch, y.memory, y0, finish)
                else:
                    maximum(x.C, x.memory, x0, rows, columns, x.row, x.pitch, y.memory, y0, finish)


class Backward(NamedTuple):
    """What it takes besides dy and dx, of a whole batch."""

    winner: np.ndarray                                  # (N * OH * OW * C), flat
    onto: Images                                        # to be added to dx; `everywhere` 0 where there is nothing
    y: Images                                           # the ELU's outputs, which are the pool's inputs; else `everywhere` 1
    alpha: float
    window: Window


@compiled
def to_winners(pool, dy, dx, start, stop, begin):
    """To each pixel of images start to stop the dy of the windows that it won, and what ``onto`` has for it, times the slope of
    the ELU that made it. dx: `Images`, of which the first is the batch's image ``begin``."""
    winner, onto, y, alpha, (KH, KW, SH, SW, top, left) = pool
    C = dy.C
    for n in range(start, stop):
        for h in range(dx.H):
            i, last_i = max(0, (h + top - KH) // SH + 1), min(dy.H - 1, (h + top) // SH)            # windows with this row
            j, last_j = 0, -1                           # and with this column: counted, for a division takes as long as a window
            for w in range(dx.W):
                while j * SW + KW <= w + left:
                    j += 1
                while last_j + 1 < dy.W and (last_j + 1) * SW <= w + left:
                    last_j += 1
                rows, columns = last_i + 1 - i, last_j + 1 - j
                first = (h + top - i * SH) * KW + w + left - j * SW
                y0, w0 = n * dy.stride + i * dy.row + j * dy.pitch, ((n * dy.H + i) * dy.W + j) * C
                x0, o0 = (n - begin) * dx.stride + h * dx.row + w * dx.pitch, n * onto.stride + h * onto.row + w * onto.pitch
                e0 = n * y.stride + h * y.row + w * y.pitch
                if rows <= 0 or columns <= 0:
                    for c in range(C):
                        dx.memory[x0 + c] = onto.memory[o0 + c] * plain_elu_slope(y.memory[e0 + c], alpha)
                else:
                    gather(C, dy.memory, y0, dy.row, dy.pitch, winner, w0, dy.W * C, C, rows, columns, first, SH * KW, SW,
                           onto.memory, o0, y.memory, e0, alpha, dx.memory, x0)
