"""A convolution's gradients from those of the max pool behind it: only the pixels that won have one.

Of the 9 pixels in a 3x3 window one wins, channel by channel. With stride 2 the pool has a quarter as many numbers as the
convolution before it; the other three quarters of the convolution's gradient are zeros, and need neither be stored nor
multiplied. For channel f of the pool's pixel (i, j), whose winner is the convolution's pixel w,

    dW[:, f] += column(w) * dy[i, j, f]                     column(w): the numbers of x that w was computed from
    dcolumn(w) += W[:, f] * dy[i, j, f]

**Why it is fast.** A column of the paper's first layer is 3 * 3 * 3 numbers: two vectors of 16, where what lies behind is not
used. The columns of the three rows of pixels that a row of windows needs (`cut`) are 43 kB. For dW some channels go along a row
of windows, their sums in registers. With dcolumn that would not do: it would be read and written for each channel, often the very
one that has just been written, for which the processor waits. So for each pixel of a window all channels that it won are added
up in registers: 64 winners are compared in one instruction, whose result has a bit for each channel. A pixel wins 7 of 64 in the
mean, and a loop over just these would end where the processor does not foresee it: so 8 are taken at once, missing ones with a
gradient of zero, and the rest, if there is any, in fours (in pairs 0.60 ms for 0.92, with AVX-512).

On the paper's network conv1's backward took 0.56 ms an image for 0.86 when it came, with the image's gradient 1.2 for 1.7; whole
columns in place of three runs apart made 0.99 of 1.09 on a slower processor, and 1.66 of 1.82 (``docs/speed.md``).
"""

import math

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from . import memory, vector
from .borrowing import borrowed
from .columns import add_up, cut
from .compiling import CHECK, compiled, inner
from .elementwise import elu_slope_sums
from .images import some_rows
from .vector import INT, LANES, integer

PARTS = 2                                               # sixteens of a column in one go
SUMS = 8 if vector.has_avx512() else 1                  # channels whose dW is in registers
WON = 64                                                # channels whose winners are compared;
MOSTLY, MORE = 8, 4                                     # of those a pixel won, so many without asking whether, and then at a time


def emitted(emit):
    """An intrinsic with the arguments of `plain_to_weight`, for which ``emit`` gives the instructions."""
    @intrinsic
    def along_a_row(typing, count, dy, y0, y_step, winner, w0, w_step, table, columns, k0, k_step, weight, f0, f_step):
        def generate(context, builder, signature, arguments):
            count, dy, y0, y_step, winner, w0, w_step, table, columns, k0, k_step, weight, f0, f_step = arguments
            kinds = dict(zip(arguments, signature.args))

            def place(array, *offsets):
                return vector.pointer(context, builder, kinds[array], array, offsets)

            def numbers(j, f):
                """Where winner and dy of the j-th window's channel f are."""
                return place(winner, w0, builder.mul(j, w_step), f), place(dy, y0, builder.mul(j, y_step), f)

            def column(j, number):
                """Where the parts of a pixel's column are, given its number."""
                return parts(columns, k0, builder.mul(j, k_step), builder.load(place(table, number)))

            def filter_of(f):
                """Where the same parts of a channel's weights are."""
                return parts(weight, f0, builder.mul(f, f_step))

            def parts(array, *offsets):
                return [place(array, *offsets, integer(part * LANES)) for part in range(PARTS)]
            emit(builder, count, context.make_array(kinds[table])(context, builder, table).nitems, numbers, column, filter_of)
            return context.get_dummy_value()
        return types.void(count, dy, y0, y_step, winner, w0, w_step, table, columns, k0, k_step, weight, f0, f_step), generate
    return along_a_row


def emit_to_weight(builder, count, pixels, numbers, column, filter_of):
    """`plain_to_weight` for `SUMS` channels."""
    def window(j, sums):
        columns = []
        for f in range(SUMS):
            winner, dy = numbers(j, integer(f))
            gradient = vector.splat(builder, builder.load(dy), LANES)
            columns += [(gradient, part) for part in column(j, builder.zext(builder.load(winner), INT))]
        return [vector.multiply_add(builder, gradient, vector.load(builder, part, LANES), total)
                for (gradient, part), total in zip(columns, sums)]
    sums = vector.loop(builder, count, [vector.constant(0, LANES)] * (SUMS * PARTS), window)
    for part, total in zip((part for f in range(SUMS) for part in filter_of(integer(f))), sums):
        vector.store(builder, builder.fadd(vector.load(builder, part, LANES), total), part)


def emit_to_columns(builder, count, pixels, numbers, column, filter_of):
    """`plain_to_columns` for `WON` channels, pixel by pixel of a window."""
    room = cgutils.alloca_once_value(builder, ir.Constant(ir.ArrayType(vector.FLOAT, 2 * WON), None))
    gradients = builder.bitcast(room, vector.FLOAT.as_pointer())        # those of a window, and zeros behind them

    def window(j, _):
        winners, here = numbers(j, integer(0))
        for f in range(0, WON, LANES):
            sixteen = vector.load(builder, builder.gep(here, [integer(f)]), LANES)
            vector.store(builder, sixteen, builder.gep(gradients, [integer(f)]))
        kind = ir.VectorType(winners.type.pointee, WON)
        winners = builder.load(builder.bitcast(winners, kind.as_pointer()), align=1)

        def pixel(number, _):
            same = vector.splat(builder, builder.trunc(number, kind.element), WON)
            won = builder.bitcast(builder.icmp_unsigned("==", winners, same), INT)          # a bit for each channel

            def several(count, moving):
                won, *sums = moving
                for _ in range(count):
                    f = builder.cttz(won, ir.IntType(1)(0))             # the lowest bit's place; 64, a zero's, if none is left
                    gradient = vector.splat(builder, builder.load(builder.gep(gradients, [f])), LANES)
                    filters = filter_of(builder.and_(f, integer(WON - 1)))
                    sums = [vector.multiply_add(builder, gradient, vector.load(builder, part, LANES), total)
                            for part, total in zip(filters, sums)]
                    won = builder.and_(won, builder.sub(won, integer(1)))
                return [won, *sums]
            def to_its_column():
                parts = column(j, number)
                left, *sums = several(MOSTLY, [won] + [vector.load(builder, part, LANES) for part in parts])
                turns = builder.udiv(builder.add(builder.ctpop(left), integer(MORE - 1)), integer(MORE))
                _, *sums = vector.where(builder, turns, [left, *sums], lambda: vector.loop(
                    builder, turns, [left, *sums], lambda _, moving: several(MORE, moving)))
                for total, part in zip(sums, parts):
                    vector.store(builder, total, part)
                return []
            return vector.where(builder, won, [], to_its_column)        # one that won nothing may lie outside: it has no column
        return vector.loop(builder, pixels, [], pixel)
    vector.loop(builder, count, [], window)


@inner
def plain_to_weight(count, dy, y0, y_step, winner, w0, w_step, table, columns, k0, k_step, weight, f0, f_step):
    """A channel's dW from ``count`` windows, in plain loops.

    The first window's gradient is ``dy[y0]``, its winner ``winner[w0]``, the next one's y_step and w_step on. ``table`` says for
    each winner's number where its column begins, counted from ``columns[k0]``; for the next window k_step on. dW's numbers begin
    at ``weight[f0]``, the next channel's f_step on.
    """
    for j in range(count):
        begin, gradient = k0 + j * k_step + table[winner[w0 + j * w_step]], dy[y0 + j * y_step]
        for k in range(PARTS * LANES):
            weight[f0 + k] += gradient * columns[begin + k]


@inner
def plain_to_columns(count, dy, y0, y_step, winner, w0, w_step, table, columns, k0, k_step, weight, f0, f_step):
    """Likewise a channel's part of dx, in columns, from W."""
    for j in range(count):
        begin, gradient = k0 + j * k_step + table[winner[w0 + j * w_step]], dy[y0 + j * y_step]
        for k in range(PARTS * LANES):
            columns[begin + k] += gradient * weight[f0 + k]


def over_channels(several, count, single):
    """A compiled function for a row of windows: all parts of a column, and all channels, ``count`` at a time."""
    @inner
    def row_of_windows(dy, winner, table, columns, k_step, weight):
        line, filters, flat = weight.shape[1], weight.reshape(-1), columns.reshape(-1)
        for k in range(0, line, PARTS * LANES):
            f = 0
            while f + count <= dy.C:
                several(dy.W, dy.memory, f, dy.pitch, winner, f, dy.C, table, flat, k, k_step, filters, f * line + k, line)
                f += count
            while f < dy.C:
                single(dy.W, dy.memory, f, dy.pitch, winner, f, dy.C, table, flat, k, k_step, filters, f * line + k, line)
                f += 1
    return row_of_windows


if vector.HAS_IR:
    to_weight = over_channels(emitted(emit_to_weight), SUMS, plain_to_weight)
    to_columns = over_channels(emitted(emit_to_columns), WON, plain_to_columns)
else:
    to_weight, to_columns = (over_channels(plain, 1, plain) for plain in (plain_to_weight, plain_to_columns))


def filters(weight):
    """(KH, KW, C, F) as rows (F, KH * KW * C), with zeros up to a line of whole parts."""
    matrix = weight.reshape(-1, weight.shape[3]).T
    result = memory.zeros((len(matrix), -(-matrix.shape[1] // (PARTS * LANES)) * PARTS * LANES))
    result[:, :matrix.shape[1]] = matrix
    return result


def from_filters(dW, shape):
    """The other way."""
    return np.ascontiguousarray(dW[:, :math.prod(shape[:3])].T).reshape(shape)


def room(filters, OW, pool):
    """Zeros for the columns of as many rows of OW pixels as a row of the pool's windows needs, each with 16 to spare."""
    return memory.zeros((pool.KH, OW * filters.shape[1] + LANES))


@compiled
def gradients(x, y, dy, winner, alpha, convolution, pool, columns, dcolumns, weight, dW, db, dx, to_image):
    """dy becomes the gradient before the ELU, whose output is y; to dW and db theirs are added, and with to_image dx is computed.

    x, dx: (N, H, W, C), contiguous; y, dy: `Images`, of the pool; winner: (N * ...,), flat; convolution, pool: `Window`;
    columns, dcolumns: as `room` makes them, dcolumns of zeros; weight, dW: as `filters` makes them; db: (F,).
    """
    x, y, dy, winner, columns, dcolumns, weight, dW, db, dx = borrowed((x, y, dy, winner, columns, dcolumns, weight, dW, db, dx))
    line, rows = weight.shape[1], pool.KH
    table = np.empty(pool.KH * pool.KW, np.int64)
    for p in range(pool.KH):
        for q in range(pool.KW):
            table[p * pool.KW + q] = p * columns.shape[1] + (q - pool.left) * line
    for n in range(len(x)):
        cleared = 0                                                 # rows of dx so far
        for i in range(dy.H):
            first = i * pool.SH - pool.top                          # row of the convolution's pixels
            for r in range(rows):
                if i > 0 and r + pool.SH < rows:
                    move(columns, r + pool.SH, r)
                else:
                    cut(x[n], first + r, convolution, columns[r], line)
            some = some_rows(dy, n, i, 1)
            db += elu_slope_sums(some_rows(y, n, i, 1), some, alpha, some)
            won = winner[(n * dy.H + i) * dy.W * dy.C:][:dy.W * dy.C]
            if CHECK:
                check(won, table, dy.C, pool.SW * line, columns.size - LANES - line)
            to_weight(some, won, table, columns, pool.SW * line, dW)
            if to_image:
                to_columns(some, won, table, dcolumns, pool.SW * line, weight)
                for r in range(rows if i + 1 == dy.H else min(pool.SH, rows)):          # no later windows stand on these
                    cleared = clear(dx[n], cleared, (first + r) * convolution.SH - convolution.top + convolution.KH)
                    add_up(dcolumns[r], line, dx[n], first + r, convolution)
                for r in range(rows):
                    if i + 1 < dy.H and r + pool.SH < rows:
                        move(dcolumns, r + pool.SH, r)
                    else:
                        dcolumns[r] = 0
        if to_image:
            clear(dx[n], cleared, len(dx[n]))


@inner
def move(columns, here, there):
    """A row of columns to the place of another."""
    for k in range(columns.shape[1]):
        columns[there, k] = columns[here, k]


@inner
def clear(x, first, last):
    """Zeros in these rows of an image, as far as it has them; the row behind. All at once they would be far away when needed."""
    last = max(first, min(last, len(x)))
    x[first:last] = 0
    return last


@inner
def check(winner, table, F, k_step, last):
    """Every column begins within the room for them, or an IndexError."""
    for w in range(len(winner)):
        if not 0 <= winner[w] < table.size or not 0 <= w // F * k_step + table[winner[w]] <= last:
            raise IndexError("a winner's number leads to no column")
