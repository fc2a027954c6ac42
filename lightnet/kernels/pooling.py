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


def window_of(lanes):
    """An intrinsic for so many channels of one window.

    The window's pixels inside the image are ``rows`` x ``columns`` from ``x[start]`` on, the first has the number ``first``; the
    maximum goes to ``y[y0]``, its number to ``winner[w0]``. Of equal values the first wins, and NaN wins over all.
    """

    @intrinsic
    def window(typing, x, start, rows, columns, x_row, x_pitch, first, KW, y, y0, winner, w0):
        signature = types.void(x, start, rows, columns, x_row, x_pitch, first, KW, y, y0, winner, w0)

        def generate(context, builder, signature, arguments):
            x, start, rows, columns, x_row, x_pitch, first, KW, y, y0, winner, w0 = arguments
            kinds = dict(zip(arguments, signature.args))
            byte = ir.IntType(kinds[winner].dtype.bitwidth)

            def place(array, *offsets):
                return vector.pointer(context, builder, kinds[array], array, offsets)

            def in_row(i, found):
                def in_column(j, found):
                    best, place_of_best = found
                    value = vector.load(builder, place(x, start, builder.mul(i, x_row), builder.mul(j, x_pitch)), lanes)
                    better = builder.or_(builder.fcmp_ordered(">", value, best), builder.fcmp_unordered("uno", value, value))
                    number = builder.add(first, builder.add(builder.mul(i, KW), j))
                    number = vector.splat(builder, builder.trunc(number, ir.IntType(32)), lanes)
                    return [builder.select(better, value, best), builder.select(better, number, place_of_best)]
                return vector.loop(builder, columns, found, in_column)

            begin = vector.load(builder, place(x, start), lanes)
            number = vector.splat(builder, builder.trunc(first, ir.IntType(32)), lanes)
            best, number = vector.loop(builder, rows, [begin, number], in_row)
            vector.store(builder, best, place(y, y0))
            number = builder.trunc(number, ir.VectorType(byte, lanes)) if byte.width < 32 else number
            builder.store(number, builder.bitcast(place(winner, w0), number.type.as_pointer())).align = 1
            return context.get_dummy_value()
        return signature, generate
    return window


@compiled
def plain_window(x, start, rows, columns, x_row, x_pitch, first, KW, y, y0, winner, w0):
    """The same for one channel, in plain loops."""
    best, number = x[start], first
    for i in range(rows):
        for j in range(columns):
            value = x[start + i * x_row + j * x_pitch]
            if value > best or value != value:
                best, number = value, first + i * KW + j
    y[y0], winner[w0] = best, number


def maximum_of(lanes, side=None):
    """An intrinsic for so many channels of one window, of which only the maximum is wanted, as it is or as its ELU or ReLU.

    With ``side`` for windows of just that many rows and columns, written out pixel by pixel. The processor's maximum forgets a
    NaN; one comparison for two pixels finds out whether there was one.
    """

    @intrinsic
    def maximum(typing, x, start, rows, columns, x_row, x_pitch, y, y0, finish):
        signature = types.void(x, start, rows, columns, x_row, x_pitch, y, y0, finish)

        def generate(context, builder, signature, arguments):
            x, start, rows, columns, x_row, x_pitch, y, y0, finish = arguments

            def pixel(*offsets):
                return vector.load(builder, vector.pointer(context, builder, signature.args[0], x, [start, *offsets]), lanes)

            def in_row(i, best):
                def in_column(j, best):
                    value = pixel(builder.mul(i, x_row), builder.mul(j, x_pitch))
                    better = builder.or_(builder.fcmp_ordered(">", value, best[0]), builder.fcmp_unordered("uno", value, value))
                    return [builder.select(better, value, best[0])]
                return vector.loop(builder, columns, best, in_column)

            if side:
                values = [pixel(builder.mul(vector.integer(i), x_row), builder.mul(vector.integer(j), x_pitch))
                          for i in range(side) for j in range(side)]
                best = functools.reduce(lambda a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b), values)
                pairs = zip(values[::2], values[1::2] + values[:1])         # of an odd number the last one goes with the first
                lost = functools.reduce(builder.or_, [builder.fcmp_unordered("uno", a, b) for a, b in pairs])
                best = builder.select(lost, vector.constant(float("nan"), lanes), best)
            else:
                (best,) = vector.loop(builder, rows, [pixel()], in_row)
            place = vector.pointer(context, builder, signature.args[6], y, [y0])
            vector.switch(builder, finish, {
                STORE: lambda: vector.store(builder, best, place),
                ELU: lambda: vector.store(builder, emit_elu(builder, best), place),
                RELU: lambda: vector.store(builder, emit_relu(builder, best), place),
            })
            return context.get_dummy_value()
        return signature, generate
    return maximum


@compiled
def plain_maximum(x, start, rows, columns, x_row, x_pitch, y, y0, finish):
    """The same for one channel, in plain loops."""
    best = x[start]
    for i in range(rows):
        for j in range(columns):
            value = x[start + i * x_row + j * x_pitch]
            if value > best or value != value:
                best = value
    y[y0] = np.float32(0) if finish == RELU and best < 0 else best
    if finish == ELU:
        plain_elu(y, y0, y0 + 1, np.float32(1))


def gather_of(lanes):
    """An intrinsic for so many channels of one pixel x, which was in ``rows`` x ``columns`` windows.

    In the first of them, whose gradient is ``dy[y0]`` and whose winner ``winner[w0]``, it had the number ``first``, in the next
    one below ``row_less`` less, in the next one to the right ``column_less`` less. The sum of what it won and of ``onto[o0]`` is
    multiplied by ELU's slope, read off ``elu[e0]``.
    """

    @intrinsic
    def gather(typing, dy, y0, y_row, y_pitch, winner, w0, w_row, w_pitch, rows, columns, first, row_less, column_less,
               onto, o0, elu, e0, alpha, dx, x0):
        signature = types.void(dy, y0, y_row, y_pitch, winner, w0, w_row, w_pitch, rows, columns, first, row_less, column_less,
                               onto, o0, elu, e0, alpha, dx, x0)

        def generate(context, builder, signature, arguments):
            (dy, y0, y_row, y_pitch, winner, w0, w_row, w_pitch, rows, columns, first, row_less, column_less,
             onto, o0, elu, e0, alpha, dx, x0) = arguments
            kinds = dict(zip(arguments, signature.args))
            number_type = kinds[winner].dtype.bitwidth

            def place(array, *offsets):
                return vector.pointer(context, builder, kinds[array], array, offsets)

            def in_row(i, totals):
                def in_column(j, totals):
                    number = builder.sub(first, builder.add(builder.mul(i, row_less), builder.mul(j, column_less)))
                    number = vector.splat(builder, builder.trunc(number, ir.IntType(number_type)), lanes)
                    winners = place(winner, w0, builder.mul(i, w_row), builder.mul(j, w_pitch))
                    winners = builder.load(builder.bitcast(winners, number.type.as_pointer()))
                    winners.align = 1
                    gradient = vector.load(builder, place(dy, y0, builder.mul(i, y_row), builder.mul(j, y_pitch)), lanes)
                    won = builder.icmp_unsigned("==", winners, number)
                    return [builder.fadd(totals[0], builder.select(won, gradient, vector.constant(0, lanes)))]
                return vector.loop(builder, columns, totals, in_column)

            begin = vector.load(builder, place(onto, o0), lanes)
            (total,) = vector.loop(builder, rows, [begin], in_row)
            slope = emit_elu_slope(builder, vector.load(builder, place(elu, e0), lanes), vector.splat(builder, alpha, lanes))
            vector.store(builder, builder.fmul(total, slope), place(dx, x0))
            return context.get_dummy_value()
        return signature, generate
    return gather


@compiled
def plain_gather(dy, y0, y_row, y_pitch, winner, w0, w_row, w_pitch, rows, columns, first, row_less, column_less,
                 onto, o0, elu, e0, alpha, dx, x0):
    """The same for one channel, in plain loops."""
    total = onto[o0]
    for i in range(rows):
        for j in range(columns):
            if winner[w0 + i * w_row + j * w_pitch] == first - i * row_less - j * column_less:
                total += dy[y0 + i * y_row + j * y_pitch]
    dx[x0] = total * plain_elu_slope(elu[e0], alpha)


# So many channels in one go. Within a window each comparison waits for the one before it; 32 channels are several registers,
# whose comparisons are independent.
WIDE, NARROW = (32, 8) if vector.HAS_IR else (1, 1)
wide_window, narrow_window, single_window = map(window_of, (WIDE, NARROW, 1)) if vector.HAS_IR else [plain_window] * 3
wide_maximum, single_maximum = map(maximum_of, (WIDE, 1)) if vector.HAS_IR else [plain_maximum] * 2
SIDE = 3                                                # the paper's pools
wide_maximum_3x3 = maximum_of(WIDE, SIDE) if vector.HAS_IR else plain_maximum
wide_gather, narrow_gather, single_gather = map(gather_of, (WIDE, NARROW, 1)) if vector.HAS_IR else [plain_gather] * 3


@compiled
def span(i, K, S, before, size):
    """Of the i-th window's K places the first one in an image of that size, and how many are; ``before`` zeros precede it."""
    first = max(0, before - i * S)
    return first, min(K, size + before - i * S) - first


@compiled
def largest(x, y, winner, KH, KW, SH, SW, top, left):
    """Maximum and winner of every window: winner (N * OH * OW * C), flat."""
    for n in range(x.N):
        for i in range(y.H):
            p, rows = span(i, KH, SH, top, x.H)
            for j in range(y.W):
                q, columns = span(j, KW, SW, left, x.W)
                x0 = n * x.stride + (i * SH + p - top) * x.row + (j * SW + q - left) * x.pitch
                y0, w0 = n * y.stride + i * y.row + j * y.pitch, ((n * y.H + i) * y.W + j) * y.C
                first, c = p * KW + q, 0
                for below in range(SH):                 # what the window below needs besides: half the time of a batch's pool
                    for right in range(SW):
                        ask_for(x.memory, x0 + (KH + below) * x.row + right * x.pitch, x.C)
                while c + WIDE <= x.C:
                    wide_window(x.memory, x0 + c, rows, columns, x.row, x.pitch, first, KW, y.memory, y0 + c, winner, w0 + c)
                    c += WIDE
                while c + NARROW <= x.C:
                    narrow_window(x.memory, x0 + c, rows, columns, x.row, x.pitch, first, KW, y.memory, y0 + c, winner, w0 + c)
                    c += NARROW
                while c < x.C:
                    single_window(x.memory, x0 + c, rows, columns, x.row, x.pitch, first, KW, y.memory, y0 + c, winner, w0 + c)
                    c += 1


@compiled
def maxima(x, y, KH, KW, SH, SW, top, left, finish):
    """Maximum of every window, finished: for inference, where nobody asks who won."""
    for n in range(x.N):
        for i in range(y.H):
            p, rows = span(i, KH, SH, top, x.H)
            for j in range(y.W):
                q, columns = span(j, KW, SW, left, x.W)
                x0 = n * x.stride + (i * SH + p - top) * x.row + (j * SW + q - left) * x.pitch
                y0, c = n * y.stride + i * y.row + j * y.pitch, 0
                while c + WIDE <= x.C and rows == SIDE and columns == SIDE:
                    wide_maximum_3x3(x.memory, x0 + c, rows, columns, x.row, x.pitch, y.memory, y0 + c, finish)
                    c += WIDE
                while c + WIDE <= x.C:
                    wide_maximum(x.memory, x0 + c, rows, columns, x.row, x.pitch, y.memory, y0 + c, finish)
                    c += WIDE
                while c < x.C:
                    single_maximum(x.memory, x0 + c, rows, columns, x.row, x.pitch, y.memory, y0 + c, finish)
                    c += 1


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
    w_row, C = dy.W * dy.C, dy.C
    for n in range(start, stop):
        for h in range(dx.H):
            i, last_i = max(0, (h + top - KH) // SH + 1), min(dy.H - 1, (h + top) // SH)            # windows with this row
            for w in range(dx.W):
                j, last_j = max(0, (w + left - KW) // SW + 1), min(dy.W - 1, (w + left) // SW)
                rows, columns = last_i + 1 - i, last_j + 1 - j
                first = (h + top - i * SH) * KW + w + left - j * SW
                y0, w0 = n * dy.stride + i * dy.row + j * dy.pitch, ((n * dy.H + i) * dy.W + j) * C
                x0, o0 = (n - begin) * dx.stride + h * dx.row + w * dx.pitch, n * onto.stride + h * onto.row + w * onto.pitch
                e0 = n * y.stride + h * y.row + w * y.pitch
                if rows <= 0 or columns <= 0:
                    for c in range(C):
                        dx.memory[x0 + c] = onto.memory[o0 + c] * plain_elu_slope(y.memory[e0 + c], alpha)
                    continue
                c = 0
                while c + WIDE <= C:
                    wide_gather(dy.memory, y0 + c, dy.row, dy.pitch, winner, w0 + c, w_row, C, rows, columns,
                                first, SH * KW, SW, onto.memory, o0 + c, y.memory, e0 + c, alpha, dx.memory, x0 + c)
                    c += WIDE
                while c + NARROW <= C:
                    narrow_gather(dy.memory, y0 + c, dy.row, dy.pitch, winner, w0 + c, w_row, C, rows, columns,
                                  first, SH * KW, SW, onto.memory, o0 + c, y.memory, e0 + c, alpha, dx.memory, x0 + c)
                    c += NARROW
                while c < C:
                    single_gather(dy.memory, y0 + c, dy.row, dy.pitch, winner, w0 + c, w_row, C, rows, columns,
                                  first, SH * KW, SW, onto.memory, o0 + c, y.memory, e0 + c, alpha, dx.memory, x0 + c)
                    c += 1
