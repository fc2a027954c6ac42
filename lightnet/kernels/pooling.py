"""Max pooling without the matrix of windows: the running maximum of a window stays in registers and cache.

The layer's own version copies every pixel into KH * KW / (SH * SW) windows, then looks for each one's largest. Here a window
is read where it lies, all its channels at a time, and of the winner one byte is kept: its number p * KW + q. Backward asks from
the other side: each pixel looks at the few windows that it was in, and takes dy where it won. Scattering dy to the winners
instead would jump from channel to channel, one number at a time; this way all channels of a pixel are vector instructions.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from . import vector
from .compiling import compiled
from .elementwise import channels


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


WIDE = 1                                                # channels in one go
if not vector.HAS_IR:
    many = single = plain_window
else:
    WIDE, many, single = 8, window_of(8), window_of(1)


@compiled
def largest(x, y, winner, KH, KW, SH, SW, top, left):
    """Maximum and winner of every window: winner (N * OH * OW * C), flat."""
    for n in range(x.N):
        for i in range(y.H):
            p = max(0, top - i * SH)                                    # the window's first row inside the image
            rows = min(KH, x.H + top - i * SH) - p
            for j in range(y.W):
                q = max(0, left - j * SW)
                columns = min(KW, x.W + left - j * SW) - q
                row = x.W * x.pitch
                start = n * x.stride + ((i * SH + p - top) * x.W + j * SW + q - left) * x.pitch
                pixel = i * y.W + j
                y0, w0 = n * y.stride + pixel * y.pitch, (n * y.H * y.W + pixel) * y.C
                c = 0
                while c + WIDE <= x.C:
                    many(x.memory, start + c, rows, columns, row, x.pitch, p * KW + q, KW, y.memory, y0 + c, winner, w0 + c)
                    c += WIDE
                while c < x.C:
                    single(x.memory, start + c, rows, columns, row, x.pitch, p * KW + q, KW, y.memory, y0 + c, winner, w0 + c)
                    c += 1


@compiled
def to_winners(dy, dx, winner, KH, KW, SH, SW, top, left):
    """To each pixel the dy of the windows that it won."""
    for n in range(dx.N):
        for h in range(dx.H):
            first_i, last_i = max(0, (h + top - KH) // SH + 1), min(dy.H - 1, (h + top) // SH)
            for w in range(dx.W):
                pixel = channels(dx, n, h * dx.W + w)
                first_j, last_j = max(0, (w + left - KW) // SW + 1), min(dy.W - 1, (w + left) // SW)
                for c in range(dx.C):
                    pixel[c] = 0
                for i in range(first_i, last_i + 1):
                    for j in range(first_j, last_j + 1):
                        number = (h + top - i * SH) * KW + w + left - j * SW
                        window, won = channels(dy, n, i * dy.W + j), winner[n, i, j]
                        for c in range(dx.C):
                            pixel[c] += window[c] if won[c] == number else np.float32(0)


@compiled
def spread_out(dy, dx):
    """Global average pooling's backward: every pixel of an image gets ``dy / (H * W)`` of it."""
    for n in range(dx.N):
        for p in range(dx.H * dx.W):
            pixel = channels(dx, n, p)
            for c in range(dx.C):
                pixel[c] = dy[n, c] / np.float32(dx.H * dx.W)
