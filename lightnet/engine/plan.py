"""From a Graph to a Program: steps, the groups of steps that a thread takes a band of rows through, memory, tasks.

A group is a run of steps that one band of rows, or some columns, can go through without waiting for the rest of the image. It
ends where the next step needs lines that another band computes: before each 3x3 convolution. What is computed and read within a
group lies in the thread's own memory, one band large, and is read again before the cache has lost it.

Small images with many channels, whose weights are larger than themselves, are cut by columns instead: each weight is then read
by one thread only.
"""

from collections import Counter
from itertools import product
from math import lcm

import numpy as np

from ..graph import IMAGE
from ..kernels import memory
from ..kernels.tile import PANELS
from ..kernels.vector import LANES
from ..layers import Concat
from ..transform import parts
from .buffers import Buffer, Layout, Place, assign, most
from .program import STEP, TASK, Program
from .steps import Copy, Foreign, Mean, Pool, Sums, Winograd, kind_for

NEAR = 96 * 1024                                        # numbers that a band computes: what fits the second-level cache
NO_PADDING = ((0, 0), (0, 0))


class Group:
    """Steps that bands of rows, or ranges of columns, go through one after the other."""

    def __init__(self, step):
        self.steps, self.by_columns, self.taps = [step], prefers_columns(step), step.taps

    def admits(self, step, only_reader):
        """Whether the step can follow; ``only_reader(value)`` the step that alone reads a value, if one does."""
        if isinstance(step, Foreign) or isinstance(self.steps[-1], (Foreign, Sums)):
            return False
        inside = [mine for mine in self.steps if mine.target.buffer in {place.buffer for place in step.sources}]
        beside = not inside and step.lines == self.lines and step.panels == self.steps[0].panels > 1
        if beside and prefers_columns(step) and all(mine.panels == step.panels for mine in self.steps):
            self.by_columns = True                      # the others' weights are small: they do not mind
        if self.by_columns:
            return beside
        if self.taps:
            return bool(inside) and step.by_pixel
        if not inside:
            return not prefers_columns(step) and step.lines == self.lines
        if prefers_columns(step) or any(mine.target.buffer.is_padded for mine in inside):
            return False                                # what a 3x3 convolution reads as well is left to the group of that one
        if step.lines_read(0, 1) == (0, 1) and step.overlap() == 0 and step.lines == self.lines:
            return not step.taps
        return isinstance(step, Pool) and len(self.steps) == 1 and self.steps[0].granule == 1 and only_reader(self.steps[0])

    @property
    def lines(self):
        """Of the group's output."""
        return self.steps[-1].lines

    def bands(self):
        """(first, last) line of each band: an even number of bands, the larger ones first, so that threads end together."""
        if self.taps:                                   # of the small image
            return halves(self.steps[0].sources[0].size[0])
        granule = lcm(*(step.granule for step in self.steps if step.lines == self.lines))
        blocks = -(-self.lines // granule)
        line = sum(step.lines * step.target.size[1] * step.target.size[2] for step in self.steps) / self.lines
        count = -(-blocks // max(1, int(NEAR / line / granule)))
        count = min(blocks, count + count % 2)
        sizes = [blocks // count + (i < blocks % count) for i in range(count)]
        edges = np.minimum(np.cumsum([0, *sizes]) * granule, self.lines)
        return list(zip(edges[:-1].tolist(), edges[1:].tolist()))

    def ranges(self, band):
        """The lines that each step computes for a band of the output: what the steps after it read, or the band."""
        found = {}
        for step in reversed(self.steps):
            reading = [other.lines_read(*found[other]) for other in self.steps if other in found
                       and step.target.buffer in {place.buffer for place in other.sources}]
            first, last = (min(r[0] for r in reading), max(r[1] for r in reading)) if reading else band
            found[step] = max(first, 0), min(last, step.lines)
        return found


def halves(lines):
    """Two bands, or one line."""
    return [(0, (lines + 1) // 2), ((lines + 1) // 2, lines)] if lines > 1 else [(0, 1)]


def prefers_columns(step):
    """Whether its weights are larger than what it reads and computes."""
    numbers = sum(np.prod(place.size) for place in (*step.sources, step.target))
    return step.panels > 1 and step.lines > 1 and step.weight_count > numbers and not step.taps


class Plan:
    """A compiled network for one image shape.

    Attributes
    ----------
    groups : list of Group
    sections : list of (first, last) phase, or Foreign
        What to run, in order.
    program : Program
    size, private : int
        Numbers of memory that all threads share, and of each one's own.
    """

    def __init__(self, net, shape, threads):
        self.net, self.shape, self.threads = net, tuple(shape), threads
        self.layout = Layout(net, self.shape, self.wanted_padding())
        self.steps = list(self.make_steps())
        self.groups = self.make_groups()
        self.output = self.layout.places[net.output_name]
        self.place_buffers()
        self.encode()

    def wanted_padding(self):
        """For each value the zeros around it that its readers want."""
        wanted = Counter()
        shapes = self.net.shapes((1, *self.shape))
        wanted = {name: NO_PADDING for name in shapes}
        for node in self.net.nodes.values():
            layer, _ = parts(node.layer)
            around = kind_for(node.layer).padding(layer, shapes[node.name][1:])
            for name in node.inputs:
                wanted[name] = most(wanted[name], around)
        return wanted

    def make_steps(self):
        """The nodes as steps, in order; a Concat that is filled in place is none."""
        layout = self.layout
        if layout.copied:
            yield Copy("image", (IMAGE,), Concat(), None, [layout.places[IMAGE]], layout.copied)
        for node in self.net.nodes.values():
            kind, (layer, activation), target = kind_for(node.layer), parts(node.layer), layout.places[node.name]
            sources = [layout.reading(name) for name in node.inputs]
            if kind is Foreign:
                yield Foreign(node.name, node.inputs, node.layer, None, sources, target)
            elif type(layer) is Concat:
                channel = 0
                for name, source in zip(node.inputs, sources):
                    if not layout.is_filled(node, name):
                        part = Place(target.buffer, target.channel + channel, (*source.shape[:-1], source.shape[-1]))
                        yield Copy(f"{node.name} < {name}", (name,), layer, None, [source], part)
                    channel += source.shape[-1]
            elif kind is Sums:
                sums = Place(Buffer(f"{node.name} sums", 1, 1, target.size[2]), 0, target.size)
                yield Sums(node.name, node.inputs, layer, None, sources, sums)
                mean = Mean(node.name, node.inputs, layer, None, [sums], target)
                mean.fields["pixels"] = sources[0].size[0] * sources[0].size[1]
                yield mean
            elif len(sources) > 2:
                for first, second in zip([sources[0]] + [target] * (len(sources) - 2), sources[1:]):
                    yield kind(node.name, node.inputs, layer, None, [first, second], target)
            else:
                yield kind(node.name, node.inputs, layer, activation, sources, target)

    def make_groups(self):
        """Each step joins the group before it where it can."""
        groups = []
        for step in self.steps:
            if groups and groups[-1].admits(step, self.is_read_once):
                groups[-1].steps.append(step)
            else:
                groups.append(Group(step))
        return groups

    def is_read_once(self, step):
        """Whether one step reads what this one computes."""
        return sum(step.target.buffer in {place.buffer for place in other.sources} for other in self.steps) == 1

    def place_buffers(self):
        """Offsets for all buffers: shared memory first, then each thread's own."""
        uses = {}                                       # buffer: groups that write or read it
        for g, group in enumerate(self.groups):
            for step in group.steps:
                for place in (*step.sources, step.target):
                    if not place.buffer.is_image:
                        uses.setdefault(place.buffer, []).append(g)
        self.bands = [None if group.by_columns or isinstance(group.steps[0], Foreign) else group.bands() for group in self.groups]
        for g, group in enumerate(self.groups):
            if isinstance(group.steps[-1], Sums):
                group.steps[-1].target.buffer.H = len(self.bands[g]) * len(group.steps[0].taps or [0])      # a line for each unit
        own = []
        for buffer, groups in uses.items():
            g = groups[0]
            if (set(groups) == {g} and self.bands[g] and not buffer.is_padded and buffer is not self.output.buffer
                    and buffer.H > 1 and len(self.bands[g]) > 1):
                self.make_private(buffer, self.groups[g], self.bands[g])
                own.append(buffer)
        for group in self.groups:
            if group.taps:
                for step in group.steps[1:]:
                    step.interleave(*group.taps[-1] + np.array(1))
        shared = [buffer for buffer in uses if buffer not in own]
        last = len(self.groups)
        times = {buffer: (0, last) if buffer.is_padded else (min(uses[buffer]), max(uses[buffer])) for buffer in shared}
        times[self.output.buffer] = min(uses[self.output.buffer]), last
        self.size = assign(shared, times)
        self.private = assign(own, {buffer: (uses[buffer][0],) * 2 for buffer in own})
        self.scratch = self.private
        for g, group in enumerate(self.groups):
            for step in group.steps:
                if isinstance(step, Winograd):
                    lines = step.lines if group.by_columns else max(last - first for first, last in self.bands[g])
                    step.fields["block"], numbers = step.needs(lines)
                    step.fields["scratch"] = self.scratch
                    self.private = max(self.private, self.scratch + numbers)
        self.private = -(-self.private // LANES) * LANES

    def make_private(self, buffer, group, bands):
        """Let a buffer hold as much as a unit computes."""
        if group.taps:
            KH, KW = group.taps[-1] + np.array(1)
            buffer.lines, buffer.W = max(last - first for first, last in bands), buffer.W // int(KW)
        else:
            buffer.lines = max(last - first for band in bands for step, (first, last) in group.ranges(band).items()
                               if step.target.buffer is buffer)

    def encode(self):
        """The program's arrays."""
        integers, weights, steps = Pile(np.int64, 1), Pile(np.float32, LANES), np.zeros(len(self.steps), STEP)
        for record, step in zip(steps, self.steps):
            step.number = step.fields["number"] = len(integers.arrays) and self.steps.index(step) or self.steps.index(step)
            for field, array in step.arrays.items():
                record[field] = (weights if field in ("weight", "bias") else integers).add(array)
            for field, value in step.fields.items():
                if field != "number":
                    record[field] = value
            record["source_private"] = step.sources[0].buffer.lines > 0
            record["second_private"] = step.sources[-1].buffer.lines > 0
            record["target_private"] = step.target.buffer.lines > 0
        tasks, units, phases = [], [0], [0]
        self.sections = []
        for g, group in enumerate(self.groups):
            if isinstance(group.steps[0], Foreign):
                self.sections.append(group.steps[0])
                continue
            for unit in self.units(g, group):
                tasks += unit
                units.append(len(tasks))
            phases.append(len(units) - 1)
            if self.sections and isinstance(self.sections[-1], tuple):
                self.sections[-1] = (self.sections[-1][0], len(phases) - 1)
            else:
                self.sections.append((len(phases) - 2, len(phases) - 1))
        records = np.zeros(len(tasks), TASK)
        for record, task in zip(records, tasks):
            for field, value in task.items():
                record[field] = value
        self.program = Program(steps, records, np.array(units), np.array(phases), integers.whole(), weights.whole())

    def units(self, g, group):
        """Lists of tasks, one for each unit of a group."""
        if group.by_columns:
            panels = group.steps[0].panels
            pairs = -(-panels // PANELS)
            edges = [min(panels, pairs * i // self.threads * PANELS) for i in range(self.threads + 1)]
            return [[self.task(step, (0, step.lines), {}, p0, p1 - p0) for step in group.steps]
                    for p0, p1 in zip(edges, edges[1:]) if p1 > p0]
        if group.taps:
            return [self.tap_unit(group, tap, band, u) for u, (tap, band) in enumerate(product(enumerate(group.taps), self.bands[g]))]
        return [self.unit(group, band, u) for u, band in enumerate(self.bands[g])]

    def tap_unit(self, group, tap, band, u):
        """The tasks for one tap of a transposed convolution, in a band of its source's lines."""
        (number, (p, q)), (first, last) = tap, band
        spread = group.steps[0]
        (KH, KW), panels = spread.layer.kernel, spread.panels // len(group.taps)
        tasks = [self.task(spread, (first * KH, last * KH), {}, number * panels, panels)]
        for step in group.steps[1:]:
            source, target = step.sources[0], step.target
            task = {"step": step.number, "panels": step.panels, "lines": last - first, "height": last - first}
            task["source"] = source.at(0 if source.buffer.lines else first * KH + p, 0 if source.buffer.lines else q)
            task["target"] = target.at(0 if target.buffer.lines else first * KH + p, 0 if target.buffer.lines else q)
            if isinstance(step, Sums):
                task.update(target=target.at(u), lines=1)
            tasks.append(task)
        return tasks

    def unit(self, group, band, u):
        """The tasks for a band."""
        ranges = group.ranges(band)
        begin = {}                                      # of private buffers: the line of the image that is their first
        for step in group.steps:
            begin[step.target.buffer] = min(begin.get(step.target.buffer, 1 << 30), ranges[step][0])
        tasks = []
        for step in group.steps:
            task = self.task(step, ranges[step], begin, 0, step.panels)
            if isinstance(step, Sums):
                task["target"] = step.target.at(u)
            tasks.append(task)
        return tasks

    def task(self, step, lines, begin, panel, panels):
        """One task's record."""
        def line_of(place, line):
            return line - begin[place.buffer] if place.buffer.lines else line
        first, last = lines
        line, column = step.start(first)
        source = step.sources[0]
        task = {"step": step.number, "panel": panel, "panels": panels, "height": last - first, **step.task(first, last)}
        task["source"] = source.at(line_of(source, line), column)
        task["target"] = step.target.at(line_of(step.target, first))
        if len(step.sources) > 1:
            task["second"] = step.sources[1].at(line_of(step.sources[1], first))
        return task


class Pile:
    """Arrays put end to end, each beginning at a multiple of ``align``."""

    def __init__(self, dtype, align):
        self.dtype, self.align, self.arrays, self.size = np.dtype(dtype), align, [], 0

    def add(self, array):
        """Put one more on; returns where it begins."""
        begin = self.size
        self.arrays.append((begin, np.ravel(array)))
        self.size += -(-array.size // self.align) * self.align
        return begin

    def whole(self):
        """The one array."""
        result = memory.empty((max(self.size, memory.SMALL // self.dtype.itemsize),), self.dtype)
        result[:] = 0
        for begin, array in self.arrays:
            result[begin:begin + array.size] = array
        return result
