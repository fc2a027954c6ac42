"""What a compiled network is when it runs: six arrays, and one compiled loop that reads them.

A step is a layer with its activation; a task is a band of rows, or some columns, of a step; a unit is a list of tasks that one
thread does in a row, while what one of them writes is near for the next one to read; a phase is a list of units that do not
depend on each other. Threads claim units; between phases they wait for each other, turning in a loop.

**Why it is fast.** The whole network is one call from Python: a call for each of its layers, with waking the other threads,
would cost more than small layers take themselves.
Everything that can be known before an image is there, addresses above all, was computed when the network was compiled.
"""

from typing import NamedTuple

import numpy as np

from ..kernels import elementwise, pooling, strassen, winograd
from ..kernels.atomic import claim, wait_for
from ..kernels.compiling import compiled, pasted
from ..kernels.images import Flat, Images
from ..kernels.product import Part, Tables, one_pass
from ..kernels.tile import ELU, RELU, ROWS
from ..kernels.vector import LANES

PRODUCT, WINOGRAD, POOL, ACTIVATION, ADD, COPY, SUMS, MEAN, SPLIT, STRASSEN = range(10)
LINE = 8                                                # counters that fill a cache line, so that two never share one

STEP = np.dtype([(field, np.int64) for field in (
    "kind", "finish",                                   # finish: the activation, as in kernels/tile.py
    "reads_image", "source_private", "second_private", "target_private",     # of the private memory that each thread has
    "W", "row", "pitch", "C", "OW", "out_row", "out_pitch", "F",         # of source and target: see kernels/images.py
    "KH", "KW", "SH", "SW", "left",                     # pooling; KH and KW also of Strassen's transposed convolution
    "weight", "bias", "scratch",                        # where they begin
    "rows", "rows_out", "per_line",                     # tables in `integers`; entries for a line of the image
    "segments_a", "segments_b", "segments", "length", "panels_b", "panels_out",
    "side", "block", "pixels", "second_row", "second_pitch",
    "down", "across", "apart",                          # from half to half of an image, from block to block: kernels/strassen.py
)] + [("alpha", np.float32)])

TASK = np.dtype([(field, np.int64) for field in (
    "step", "source", "second", "target",               # where its numbers begin
    "lines", "height", "top",                           # rows to compute; of the source, rows there are and rows missing above
    "panel", "panels",                                  # the first of its panels of 16 columns, and how many; or the pair of taps
)])


class Program(NamedTuple):
    """The arrays."""

    steps: np.ndarray                                   # of STEP
    tasks: np.ndarray                                   # of TASK
    units: np.ndarray                                   # where each unit's tasks begin, and the last one's end
    phases: np.ndarray                                  # where each phase's units begin, and the last one's end
    integers: np.ndarray                                # all tables of addresses
    weights: np.ndarray                                 # all weights and biases, packed


@pasted
def run(program, first, last, image, memory, private, counters):
    """Do phases first to last, together with other threads that run this with the same counters.

    private: where this thread's own part of the memory begins. counters: two cache lines of zeros for each phase.
    """
    for p in range(first, last):
        begin, count = program.phases[p], program.phases[p + 1] - program.phases[p]
        claimed, done = 2 * p * LINE, (2 * p + 1) * LINE
        while True:
            u = claim(counters, claimed)
            if u >= count:
                break
            for t in range(program.units[begin + u], program.units[begin + u + 1]):
                task = program.tasks[t]
                step = program.steps[task.step]
                source = image if step.reads_image else memory
                start = task.source + step.source_private * private
                target = task.target + step.target_private * private
                if step.kind == PRODUCT:
                    product(program, step, task, source, start, memory, target)
                elif step.kind == WINOGRAD:
                    convolution(program, step, task, source, start, memory, target, private)
                elif step.kind == STRASSEN:
                    transposed(program, step, task, memory, start, target, private)
                else:
                    other(step, task, source, start, memory, target, private)
            claim(counters, done)
        wait_for(counters, done, count)


@compiled
def other(step, task, source, start, memory, target, private):
    """A task without weights."""
    x = Images(source[start:], 0, step.row, step.pitch, 1, task.height, step.W, step.C)
    y = Images(memory[target:], 0, step.out_row, step.out_pitch, 1, task.lines, step.OW, step.F)
    if step.kind == POOL:
        pooling.maxima(x, y, step.KH, step.KW, step.SH, step.SW, task.top, step.left, step.finish)
    elif step.kind == ADD:
        second = task.second + step.second_private * private
        z = Images(memory[second:], 0, step.second_row, step.second_pitch, 1, task.lines, step.W, step.C)
        elementwise.add(x, z, y)
    elif step.kind == SUMS:
        sums = elementwise.column_sums(x)
        for c in range(step.C):
            memory[target + c] = sums[c]
    elif step.kind == MEAN:
        mean(x, memory, target, step.pixels)
    elif step.kind == SPLIT:
        strassen.split(x, step.down, step.across, memory, target, step.apart)
    else:
        elementwise.copy(x, y)
        if step.finish == ELU:
            elementwise.elu(y, step.alpha)
        elif step.finish == RELU:
            elementwise.relu(y)


@pasted
def product(program, step, task, a, a0, out, out0):
    """A convolution, a transposed one or a dense layer, through tables (``kernels/product.py``)."""
    p0, p1 = task.panel, task.panel + task.panels
    tables = Tables(part(program, step.rows, 0, task.lines * step.per_line), part(program, step.segments_a, 0, step.segments), 1,
                    part(program, step.panels_b, p0, p1), part(program, step.segments_b, 0, step.segments), LANES, step.length,
                    part(program, step.rows_out, 0, task.lines * step.per_line), part(program, step.panels_out, p0, p1),
                    step.segments, 0)
    bias = program.weights[step.bias + p0 * LANES:step.bias + p1 * LANES]
    one_pass(tables, Part(0, step.segments, 1, True, step.finish), Flat(a, 0, a0), Flat(program.weights, 0, step.weight),
             Flat(out, 0, out0), bias)


@compiled
def part(program, begin, first, last):
    """Entries of a table."""
    return program.integers[begin + first:begin + last]


@pasted
def convolution(program, step, task, a, a0, out, out0, private):
    """A 3x3 convolution by Winograd's method."""
    columns, first, entries = task.panels * LANES, task.panel * LANES, winograd.entries(step.side)
    x = Images(a[a0:], 0, step.row, step.pitch, 1, task.height, step.W, step.C)
    y = Images(out[out0 + first:], 0, step.out_row, step.out_pitch, 1, task.lines, step.OW, columns)
    V = private + step.scratch
    M = V + entries * winograd.apart(step.block, step.C)
    bias = program.weights[step.bias + first:step.bias + step.F + LANES]             # the last 16 are zeros
    winograd.forward(x, program.weights[step.weight + first * entries * step.C:], bias, y, step.finish, step.side, step.block,
                     out[V:M], out[M:M + winograd.some_panels(ROWS, step.side)])


@pasted
def transposed(program, step, task, memory, start, target, private):
    """Two taps of a transposed convolution by Strassen's method, from sums of the image's blocks."""
    H, W, k, n, P = task.lines, step.W, step.C, step.F // 2, private + step.scratch
    weight, bias = step.weight + task.panel * strassen.PRODUCTS * k * n, program.weights[step.bias:step.bias + step.F + LANES]
    strassen.products(memory, start, step.apart, H * W, k, program.weights, weight, n, memory, P, bias)
    row, pitch = step.KH * step.out_row, step.KW * step.out_pitch
    strassen.join(memory, P, H, W, n, bias, memory, target, row, pitch, step.down, step.across, step.out_pitch)


@compiled
def mean(partial, memory, target, pixels):
    """The sums of all units, in their order, divided by the number of pixels."""
    for c in range(partial.C):
        total = np.float32(0)
        for i in range(partial.H):
            total += partial.memory[i * partial.row + c]
        memory[target + c] = total / np.float32(pixels)
