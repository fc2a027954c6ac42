"""A convolution's gradients from those of the max pool behind it: only the pixels that won have one.

Of the 9 pixels in a 3x3 window one wins, channel by channel. With stride 2 the pool has a quarter as many numbers as the
convolution before it; the other three quarters of the convolution's gradient are zeros, and need neither be stored nor
multiplied. For channel f of the pool's pixel (i, j), whose winner is the convolution's pixel w,

    dW[:, f] += column(w) * dy[i, j, f]                     column(w): the numbers of x that w was computed from
    dcolumn(w) += W[:, f] * dy[i, j, f]

**Why it is fast.** A column of the paper's first layer is three runs of 3 * 3 numbers, each a vector of 16 if what lies behind is
multiplied by zero. The rows of x that a row of windows needs are cut into such runs (`strips.py`), 50 kB of them. For dW eight
channels go along a row of windows, their sums in registers. With dcolumn that would not do: it would be read and written for each
channel, often the very one that has just been written, for which the processor waits. So for each pixel of a window all channels
that it won are added up in registers: 64 winners are compared in one instruction, whose result has a bit for each channel.

On the paper's network conv1's backward takes 0.56 ms an image so, where it was 0.86; with the image's gradient 1.2 for 1.7.
"""

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from . import memory, vector
from .compiling import CHECK, compiled
from .elementwise import elu_slope_sums
from .images import Images
from .strips import add_up, cut
from .vector import INT, LANES, integer

RUNS = 3                                                # of a column in one go
SUMS = 8 if vector.has_avx512() else 1                  # channels whose dW is in registers
WON, PAIR = 64, 2                                       # channels whose winners are compared; of the winners so many at a time


class Window(NamedTuple):
    """Of a convolution or a pool."""

    KH: int
    KW: int
    SH: int
    SW: int
    top: int
    left: int


def emitted(emit):
    """An intrinsic with the arguments of `plain_to_weight`, for which ``emit`` gives the instructions."""
    @intrinsic
    def along_a_row(typing, count, dy, y0, y_step, winner, w0, w_step, table, strips, k0, k_step, row, weight, f0, f_step, f_row):
        def generate(context, builder, signature, arguments):
            count, dy, y0, y_step, winner, w0, w_step, table, strips, k0, k_step, row, weight, f0, f_step, f_row = arguments
            kinds = dict(zip(arguments, signature.args))

            def place(array, *offsets):
                return vector.pointer(context, builder, kinds[array], array, offsets)

            def numbers(j, f):
                """Where winner and dy of the j-th window's channel f are."""
                return place(winner, w0, builder.mul(j, w_step), f), place(dy, y0, builder.mul(j, y_step), f)

            def column(j, number):
                """Where the runs of a pixel's column are, given its number."""
                begin = builder.add(builder.add(k0, builder.mul(j, k_step)), builder.load(place(table, number)))
                return [place(strips, begin, builder.mul(row, integer(run))) for run in range(RUNS)]

            def filter_of(f):
                """Where the same runs of a channel's weights are."""
                return [place(weight, f0, builder.mul(f, f_step), builder.mul(f_row, integer(run))) for run in range(RUNS)]
            emit(builder, count, context.make_array(kinds[table])(context, builder, table).nitems, numbers, column, filter_of)
            return context.get_dummy_value()
        return types.void(count, dy, y0, y_step, winner, w0, w_step, table, strips, k0, k_step, row,
                          weight, f0, f_step, f_row), generate
    return along_a_row


def emit_to_weight(builder, count, pixels, numbers, column, filter_of):
    """`plain_to_weight` for `SUMS` channels."""
    def window(j, sums):
        columns = []
        for f in range(SUMS):
            winner, dy = numbers(j, integer(f))
            gradient = vector.splat(builder, builder.load(dy), LANES)
            columns += [(gradient, run) for run in column(j, builder.zext(builder.load(winner), INT))]
        return [vector.multiply_add(builder, gradient, vector.load(builder, run, LANES), total)
                for (gradient, run), total in zip(columns, sums)]
    sums = vector.loop(builder, count, [vector.constant(0, LANES)] * (SUMS * RUNS), window)
    for run, total in zip((run for f in range(SUMS) for run in filter_of(integer(f))), sums):
        vector.store(builder, builder.fadd(vector.load(builder, run, LANES), total), run)


def emit_to_strips(builder, count, pixels, numbers, column, filter_of):
    """`plain_to_strips` for `WON` channels, pixel by pixel of a window."""
    def window(j, _):
        winners, gradients = numbers(j, integer(0))
        kind = ir.VectorType(winners.type.pointee, WON)
        winners = builder.load(builder.bitcast(winners, kind.as_pointer()), align=1)

        def pixel(number, _):
            same = vector.splat(builder, builder.trunc(number, kind.element), WON)
            won = builder.bitcast(builder.icmp_unsigned("==", winners, same), INT)          # a bit for each channel
            with builder.if_then(builder.icmp_unsigned("!=", won, integer(0))):
                runs = column(j, number)

                def pair(_, moving):
                    won, *sums = moving
                    for _ in range(PAIR):               # half as many turns: the processor does not foresee when a loop ends
                        f = builder.and_(builder.cttz(won, ir.IntType(1)(0)), integer(WON - 1))         # the lowest bit's place
                        gradient = builder.load(builder.gep(gradients, [f]))
                        gradient = builder.select(builder.icmp_unsigned("!=", won, integer(0)), gradient, vector.FLOAT(0))
                        gradient = vector.splat(builder, gradient, LANES)
                        sums = [vector.multiply_add(builder, gradient, vector.load(builder, run, LANES), total)
                                for run, total in zip(filter_of(f), sums)]
                        won = builder.and_(won, builder.sub(won, integer(1)))
                    return [won, *sums]
                begin = [vector.load(builder, run, LANES) for run in runs]
                turns = builder.udiv(builder.add(builder.ctpop(won), integer(PAIR - 1)), integer(PAIR))
                _, *sums = vector.loop(builder, turns, [won, *begin], pair)
                for total, run in zip(sums, runs):
                    vector.store(builder, total, run)
            return []
        return vector.loop(builder, pixels, [], pixel)
    vector.loop(builder, count, [], window)


@compiled
def plain_to_weight(count, dy, y0, y_step, winner, w0, w_step, table, strips, k0, k_step, row, weight, f0, f_step, f_row):
    """A channel's dW from ``count`` windows, in plain loops.

    The first window's gradient is ``dy[y0]``, its winner ``winner[w0]``, the next one's y_step and w_step on. ``table`` says for
    each winner's number where its column begins, counted from ``strips[k0]``; for the next window k_step on. The column's next
    run is ``row`` on, dW's, from ``weight[f0]``, f_row. (The next channel begins f_step on.)
    """
    for j in range(count):
        begin, gradient = k0 + j * k_step + table[winner[w0 + j * w_step]], dy[y0 + j * y_step]
        for run in range(RUNS):
            for k in range(LANES):
                weight[f0 + run * f_row + k] += gradient * strips[begin + run * row + k]


@compiled
def plain_to_strips(count, dy, y0, y_step, winner, w0, w_step, table, strips, k0, k_step, row, weight, f0, f_step, f_row):
    """Likewise a channel's part of dx, in strips, from W."""
    for j in range(count):
        begin, gradient = k0 + j * k_step + table[winner[w0 + j * w_step]], dy[y0 + j * y_step]
        for run in range(RUNS):
            for k in range(LANES):
                strips[begin + run * row + k] += gradient * weight[f0 + run * f_row + k]


def over_channels(several, count, single):
    """A compiled function for a row of windows: all runs of a column, and all channels, ``count`` at a time."""
    @compiled
    def row_of_windows(dy, winner, table, strips, k_step, weight):
        (_, lines, line), filters, flat = weight.shape, weight.reshape(-1), strips.reshape(-1)
        for run in range(0, lines, RUNS):
            for k in range(0, line, LANES):
                k0, f, f0, f_step = run * strips.shape[1] + k, 0, run * line + k, lines * line
                while f + count <= dy.C:
                    several(dy.W, dy.memory, f, dy.pitch, winner, f, dy.C, table, flat, k0, k_step, strips.shape[1],
                            filters, f * f_step + f0, f_step, line)
                    f += count
                while f < dy.C:
                    single(dy.W, dy.memory, f, dy.pitch, winner, f, dy.C, table, flat, k0, k_step, strips.shape[1],
                           filters, f * f_step + f0, f_step, line)
                    f += 1
    return row_of_windows


if vector.HAS_IR:
    to_weight = over_channels(emitted(emit_to_weight), SUMS, plain_to_weight)
    to_strips = over_channels(emitted(emit_to_strips), WON, plain_to_strips)
else:
    to_weight, to_strips = over_channels(plain_to_weight, 1, plain_to_weight), over_channels(plain_to_strips, 1, plain_to_strips)


def filters(weight):
    """(KH, KW, C, F) as (F, KH, KW * C), with zeros up to whole runs, and whole vectors in each."""
    KH, KW, C, F = weight.shape
    result = memory.zeros((F, -(-KH // RUNS) * RUNS, -(-KW * C // LANES) * LANES))
    result[:, :KH, :KW * C] = weight.reshape(KH, KW * C, F).transpose(2, 0, 1)
    return result


def from_filters(dW, shape):
    """The other way."""
    KH, KW, C, F = shape
    return np.ascontiguousarray(dW[:, :KH, :KW * C].transpose(1, 2, 0)).reshape(shape)


def room(filters, OW, convolution, pool):
    """Zeros for as many strips as a row of the pool's windows needs: (rows of x, the convolution's columns and their numbers)."""
    _, lines, line = filters.shape
    return memory.zeros(((pool.KH - 1) * convolution.SH + lines, OW * line))


@compiled
def gradients(x, OW, y, dy, winner, alpha, convolution, pool, strips, dstrips, weight, dW, db, dx, to_image):
    """dy becomes the gradient before the ELU, whose output is y; to dW and db theirs are added, and with to_image dx is computed.

    x, dx: (N, H, W, C), contiguous; OW: the convolution's columns; y, dy: `Images`, of the pool; winner: (N * ...,), flat;
    convolution, pool: `Window`; strips, dstrips: as `room` makes them, dstrips of zeros; weight, dW: as `filters` makes them;
    db: (F,).
    """
    (_, lines, line), PH, PW = weight.shape, pool.KH, pool.KW
    rows, further = len(strips), pool.SH * convolution.SH           # of x: for a row of windows; from one to the next
    table = np.empty(PH * PW, np.int64)
    for p in range(PH):
        for q in range(PW):
            table[p * PW + q] = p * convolution.SH * OW * line + (q - pool.left) * line
    for n in range(len(x)):
        if to_image:
            dx[n] = 0
        for i in range(dy.H):
            h = i * further - pool.top * convolution.SH - convolution.top
            for r in range(rows):
                if i > 0 and r + further < rows:
                    strips[r] = strips[r + further]
                else:
                    cut(x[n], h + r, convolution, strips[r], line)
            some = row_of(dy, n, i)
            db += elu_slope_sums(row_of(y, n, i), some, alpha, some)
            won = winner[(n * dy.H + i) * dy.W * dy.C:][:dy.W * dy.C]
            if CHECK:
                check(won, table, dy.C, pool.SW * line, (rows - lines + 1) * OW * line - line)
            to_weight(some, won, table, strips, pool.SW * line, dW)
            if to_image:
                to_strips(some, won, table, dstrips, pool.SW * line, weight)
                for r in range(rows if i + 1 == dy.H else min(further, rows)):          # no later windows stand on these
                    add_up(dstrips[r], line, dx[n], h + r, convolution)
                for r in range(rows):
                    if i + 1 < dy.H and r + further < rows:
                        dstrips[r] = dstrips[r + further]
                    else:
                        dstrips[r] = 0


@compiled
def row_of(x, n, i):
    """A row of an image as an image."""
    return Images(x.memory[n * x.stride + i * x.row:], 0, 0, x.pitch, 1, 1, x.W, x.C)


@compiled
def check(winner, table, F, k_step, last):
    """Every column begins within the strips, or an IndexError."""
    for w in range(len(winner)):
        if not 0 <= winner[w] < table.size or not 0 <= w // F * k_step + table[winner[w]] <= last:
            raise IndexError("a winner's number leads out of the strips")
