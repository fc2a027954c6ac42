"""The register tile: the one inner loop that all convolutions, their gradients and the products of Winograd's method run in.

    out[m, j]  =  sum over s, k of  a[rows[m] + segments_a[s] + k * step_a]  *  b[segments_b[s] + k * step_b + j]

for a few rows m and 16 columns j. A row of ``a`` is not one run of memory but begins at an address from a table, and goes on in
segments. That is all it takes for one loop to serve

- a 1x1 convolution: the rows are pixels, one segment of C channels;
- a KxK convolution without im2col: a window is KH segments of KW * C neighbouring numbers;
- a weight gradient, x^T dy: the rows are channels, k goes through the pixels of a row of the image, segments are these rows.

**Why it is fast.** A core can start two multiply-adds of 8 floats (AVX2) in a cycle: 105 GFLOP/s here. Memory cannot feed that:
``sum += a * b`` with both read from the cache needs two loads for each. So the sums of 6 rows x 16 columns stay in 12 of the 16
registers; two more hold 16 numbers of ``b``, one a number of ``a``, repeated. For each k that is 8 loads and 12 multiply-adds,
and the 12 are independent, so that none waits for the one before (a multiply-add takes 4 cycles, and two run at a time: at
least 8 sums must be in flight). It reaches 90 GFLOP/s from Python; 7 rows would need 17 registers and drop to a third. With
AVX-512 there are 32 registers of 16 floats: 9 rows of two panels are 18 sums from 11 loads, 115 GFLOP/s where 117 is what
multiply-adds alone reach. 8, 10 and 12 rows are as fast; 9 are what Winograd's method makes of 14x14 pixels.

While it multiplies it asks, with AVX-512, for the part of ``b`` that it will need 192 steps later: where weights come from far
and each serves few pixels, a fifth of such a layer's time (Winograd at 14x14 pixels, Zen 4, 0.31 to 0.25 ms). And always for
what ``a`` needs next, a line in each step, with AVX2 in every second: a batch's images come from memory, and the processor,
which sees nine rows read side by side, does not guess that they follow each other. 128 channels to 16 at 56x56 pixels take 0.14
ms an image so, in a step of training, for 0.39. Of a weight gradient's rows, which are neighbouring channels, it asks beside
the last, for that is where a new line begins (the mix's backward 2.94 ms for 3.04). Before a long sum it asks for the places of
the result: stores wait for each other, and one to memory that is not near waits long (5 % of the largest layers' time).

What Numba makes of the loops in ``plain_tile`` is several times slower, for LLVM does not find this arrangement by itself. So
``ir_tiles`` writes it down, in LLVM's IR, and the loop over a run of tiles as well. Between two tiles are addresses and stores,
and while these are worked out the multipliers run dry: for 40 cycles so, for 110 with that loop left to Numba. (16 steps, as in
fire2, are 288.) It is what is fetched from the stack that costs: so the sums begin with the bias, which stays in two registers.

A step with AVX2 is 12 multiply-adds and 8 loads; what goes on and asks comes on top. By itself that is no loss: six instructions
start in a cycle, and the multiply-adds take six cycles. But a core that another thread works on as well, as on most rented
machines, starts half as many for each. So four steps make one turn, with two requests and one jump; and where the tile knows the
steps in a and b when it is compiled, they stand in the loads' addresses, and nothing is added up between them: 22 instructions a
step, 24 with two in a turn and steps from variables, 26 with one. LLVM does not do it itself, for it would want twice the
addresses. Both versions are tested to agree.
"""

import numpy as np
from numba import types
from numba.extending import intrinsic

from . import vector
from .compiling import compiled
from .exponential import emit_elu, emit_relu, plain_elu
from .vector import LANES, integer

STORE, ADD, ELU, RELU = np.arange(4)                    # the sums are written, added to what is there, or written as ELU or ReLU
                                                        # (of a Python integer Numba would compile a version of its own)
ASK_FOR_B = vector.has_avx512()                         # with AVX2 a step is six cycles, and each instruction counts
AHEAD = 192 * LANES                                     # how far ahead: 192 steps of k, if b is packed
LINES_ON, STEPS_ON = 288, 32                            # and a: lines, if rows follow each other; else steps
LONG = 96                                               # steps from which on there is time to ask for out's places
TOGETHER = 1 if vector.has_avx512() else 4              # steps in one turn of the inner loop
EACH = min(TOGETHER, 2)                                 # steps for one request for a; and in one turn, where they are unknown
PIXELS, PACKED = (1, LANES), (LANES, LANES)             # steps of a and b that the tile knows: pixels and weights; both packed
FEW = 9 if vector.has_avx512() else 3                   # rows of tiles that know none: they are rare, and so it compiles faster
ROWS, PANELS = (9, 2) if vector.HAS_IR and vector.has_avx512() else (6, 1)         # of the largest tile


@intrinsic
def ir_tiles(typing, count, height, width, a, a0, a_next, rows, r, r_next, segments_a, step_a,
             b, b0, b1, b_next, segments_b, step_b, s0, s1, length,
             out, out0, out1, out_next, rows_out, bias, bias0, bias1, finish):
    """Paste ``count`` tiles of so many rows, and of one panel or two, into the function that calls it.

    The first one begins at ``a[a0]``, takes ``height`` rows of the tables from the r-th, and segments s0 to s1; of b, out and
    bias one panel begins at ``b[b0]``, the other at ``b[b1]``. The next one's numbers begin ``a_next`` on in a, and so on, and
    its rows ``r_next`` on; the bias is that of all.
    """
    signature = types.void(count, height, width, a, a0, a_next, rows, r, r_next, segments_a, step_a,
                           b, b0, b1, b_next, segments_b, step_b, s0, s1, length,
                           out, out0, out1, out_next, rows_out, bias, bias0, bias1, finish)

    def generate(context, builder, signature, arguments):
        (count, height, width, a, a0, a_next, rows, r, r_next, segments_a, step_a,
         b, b0, b1, b_next, segments_b, step_b, s0, s1, length,
         out, out0, out1, out_next, rows_out, bias, bias0, bias1, finish) = arguments
        kinds, unknown = dict(zip(arguments, signature.args)), (step_a, step_b)
        builder.function.attributes.add("noinline")     # one copy of this much code is enough

        def place(array, *offsets):
            return vector.pointer(context, builder, kinds[array], array, offsets)

        def entry(table, *index):
            return builder.load(place(table, *index))

        def what_follows(t, r, at_a, step_a):
            """Which row's next numbers to ask for, how far ahead, and how far it is from one request to the next.

            A line, if rows follow each other. Else it is what the last row reads some steps later, for neighbouring rows enter a
            new line there; where a request is for two steps, the next tile asks for the other one.
            """
            if len(at_a) == 1:
                return at_a[0], integer(0), integer(0)
            side_by_side = builder.icmp_signed("==", builder.sub(entry(rows, r, integer(1)), entry(rows, r)), length)
            far = builder.mul(step_a, builder.add(integer(STEPS_ON), builder.and_(t, integer(EACH - 1))))
            lines, steps = (integer(LINES_ON * LANES), integer(LANES)), (far, builder.mul(step_a, integer(EACH)))
            return [builder.select(side_by_side, *pair) for pair in zip((at_a[0], *lines), (at_a[-1], *steps))]

        def sums_of(steps, height, t, r, a0, panels, biases):
            """The tile itself, beginning with the bias: a row's sums of all panels, then the next row's."""
            (step_a, step_b), r = steps, vector.in_loop(builder, r)
            together = TOGETHER if steps != unknown else EACH
            at_a = [vector.kept(builder, place(a, a0, entry(rows, r, integer(m)))) for m in range(height)]
            at_b = [vector.kept(builder, place(b, panel)) for panel in panels]
            asked, far, further = what_follows(t, r, at_a, step_a)

            def step(i, j, sums):
                sixteens = [vector.load(builder, builder.gep(panel, [j]), LANES) for panel in at_b]
                for panel in at_b if ASK_FOR_B else ():
                    vector.ask_for(builder, builder.gep(panel, [builder.add(j, integer(AHEAD))]))
                numbers = [vector.splat(builder, builder.load(builder.gep(row, [i])), LANES) for row in at_a]
                pairs = [(number, sixteen) for number in numbers for sixteen in sixteens]
                return [vector.multiply_add(builder, *pair, total) for pair, total in zip(pairs, sums)]

            def turn_of(count):
                def turn(k, moving):
                    i, j, ask, *sums = moving                   # how far a and b are read, and a is asked for
                    i, j = vector.in_loop(builder, i), vector.in_loop(builder, j)
                    for _ in range(max(1, count // EACH)):
                        vector.ask_for(builder, builder.gep(asked, [ask]))
                        ask = builder.add(ask, further)
                    for u in range(count):
                        sums = step(i, j, sums)
                        i, j = builder.add(i, step_a), builder.add(j, step_b)
                        if steps == unknown and u + 1 < count:
                            i, j = vector.in_loop(builder, i), vector.in_loop(builder, j)
                    return [i, j, ask, *sums]
                return turn

            def segment(s, sums):
                s = builder.add(s0, s)
                i, j = entry(segments_a, s), entry(segments_b, s)
                begin = [i, j, builder.add(i, far), *sums]
                turns, rest = builder.udiv(length, integer(together)), builder.urem(length, integer(together))
                if together == 1:
                    return vector.loop(builder, length, begin, turn_of(1))[3:]
                most = vector.where(builder, turns, begin, lambda: vector.loop(builder, turns, begin, turn_of(together)))
                return vector.where(builder, rest, most, lambda: vector.loop(builder, rest, most, turn_of(1)))[3:]
            return vector.loop(builder, builder.sub(s1, s0), biases * height, segment)

        def stored(sums, r, outs, cases):
            """Finished, and into memory."""
            places = [place(out, start, entry(rows_out, r, integer(m))) for m in range(len(sums) // len(outs)) for start in outs]

            def each(change):
                for total, where in zip(sums, places):
                    vector.store(builder, change(total, where), where)
            finishes = {
                STORE: lambda: each(lambda total, where: total),
                ADD: lambda: each(lambda total, where: builder.fadd(vector.load(builder, where, LANES), total)),
                ELU: lambda: each(lambda total, where: emit_elu(builder, total)),
                RELU: lambda: each(lambda total, where: emit_relu(builder, total)),
            }
            vector.switch(builder, finish, {case: finishes[case] for case in cases})

        def run(steps, cases, height, panels, outs, bias_starts):
            """All tiles, with these steps, that end in one of these cases."""
            biases = [vector.load(builder, place(bias, start), LANES) for start in bias_starts]

            def one(t, moving):
                r, a0, at_b, at_out = moving
                here = [builder.add(start, at_out) for start in outs]
                with builder.if_then(builder.icmp_signed(">=", length, integer(LONG))):
                    for m, start in np.ndindex(height, len(here)):
                        vector.ask_for(builder, place(out, here[start], entry(rows_out, r, integer(m))), to_write=True)
                sums = sums_of(steps, height, t, r, a0, [builder.add(panel, at_b) for panel in panels], biases)
                stored(sums, r, here, cases)
                return [builder.add(*pair) for pair in zip(moving, (r_next, a_next, b_next, out_next))]
            vector.loop(builder, count, [r, a0, integer(0), integer(0)], one)

        def of_steps(height, *columns):
            """With steps that are known, where they are so; of packed operands without an activation, which no weight has."""
            def known(steps, cases, otherwise):
                those = [builder.icmp_signed("==", step, integer(number)) for step, number in zip((step_a, step_b), steps)]
                done = builder.icmp_signed("<=", finish, integer(max(cases)))
                with builder.if_else(builder.and_(done, builder.and_(*those))) as (yes, no):
                    with yes:
                        run(tuple(map(integer, steps)), cases, height, *columns)
                    with no:
                        otherwise()

            def any_steps():
                run(unknown, (STORE, ADD, ELU, RELU), height, *columns)
            if height <= FEW:
                any_steps()
            else:
                known(PIXELS, (STORE, ADD, ELU, RELU), lambda: known(PACKED, (STORE, ADD), any_steps))

        def of_width(*columns):
            vector.switch(builder, height, {m: lambda m=m: of_steps(m, *columns) for m in range(1, ROWS + 1)})

        vector.switch(builder, width, {
            1: lambda: of_width([b0], [out0], [bias0]),
            **({2: lambda: of_width([b0, b1], [out0, out1], [bias0, bias1])} if PANELS == 2 else {}),
        })
        return context.get_dummy_value()
    return signature, generate


@compiled
def plain_tile(height, a, a0, rows, r, segments_a, step_a, b, b0, segments_b, step_b, s0, s1, length,
               out, out0, rows_out, bias, bias0, finish):
    """A tile in plain loops, of one panel: for processors without vector multiply-add, and to read."""
    sums = np.empty(LANES, np.float32)
    for m in range(r, r + height):
        sums[:] = bias[bias0:bias0 + LANES]
        for s in range(s0, s1):
            i, j = a0 + rows[m] + segments_a[s], b0 + segments_b[s]
            for _ in range(length):
                for lane in range(LANES):
                    sums[lane] += a[i] * b[j + lane]
                i += step_a
                j += step_b
        o = out0 + rows_out[m]
        for lane in range(LANES):
            out[o + lane] = sums[lane] + (out[o + lane] if finish == ADD else np.float32(0))
        if finish == ELU:
            plain_elu(out, o, o + LANES, np.float32(1))
        elif finish == RELU:
            for lane in range(LANES):
                out[o + lane] = np.float32(0) if out[o + lane] < 0 else out[o + lane]


@compiled
def plain_tiles(count, height, width, a, a0, a_next, rows, r, r_next, segments_a, step_a,
                b, b0, b1, b_next, segments_b, step_b, s0, s1, length,
                out, out0, out1, out_next, rows_out, bias, bias0, bias1, finish):
    """As ``ir_tiles``; one panel."""
    for t in range(count):
        plain_tile(height, a, a0 + t * a_next, rows, r + t * r_next, segments_a, step_a,
                   b, b0 + t * b_next, segments_b, step_b, s0, s1, length, out, out0 + t * out_next, rows_out,
                   bias, bias0, finish)


tiles = ir_tiles if vector.HAS_IR else plain_tiles
