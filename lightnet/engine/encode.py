"""A plan's arrays: a record for each step and each task, all tables and all weights end to end (see ``program.py``)."""

from itertools import groupby

import numpy as np

from ..kernels import memory
from ..kernels.compiling import CHECK
from ..kernels.tile import PANELS
from ..kernels.vector import LANES
from .program import STEP, TASK, Program
from .steps import Sums


def encode(plan):
    """The plan's Program, and its sections."""
    integers, weights, steps = Pile(np.int64, 1), Pile(np.float32, LANES), np.zeros(len(plan.steps), STEP)
    for number, (record, step) in enumerate(zip(steps, plan.steps)):
        step.number = number
        fill(record, step.fields)
        fill(record, {field: (weights if field in ("weight", "bias") else integers).add(array)
                      for field, array in step.arrays.items()})
        fill(record, {"source_private": step.sources[0].buffer.lines > 0, "second_private": step.sources[-1].buffer.lines > 0,
                      "target_private": step.target.buffer.lines > 0})
    tasks, units, phases = [], [0], [0]
    for group, bands in zip(plan.groups, plan.bands):
        if not group.is_foreign:
            for unit in column_units(group, plan.threads) if group.by_columns else band_units(group, bands):
                tasks += unit
                units.append(len(tasks))
            phases.append(len(units) - 1)
    records = np.zeros(len(tasks), TASK)
    for record, task in zip(records, tasks):
        fill(record, task)
        if CHECK:
            plan.steps[record["step"]].check(record)
    return Program(steps, records, np.array(units), np.array(phases), integers.whole(), weights.whole()), sections(plan.groups)


def sections(groups):
    """What to run, in order: (first, last) of phases in a row, and between these layers that run by themselves."""
    found, phase = [], 0
    for alone, several in groupby(groups, lambda group: group.is_foreign):
        several = list(several)
        if alone:
            found += [group.steps[0] for group in several]
        else:
            found.append((phase, phase + len(several)))
            phase += len(several)
    return found


def fill(record, values):
    """Write some fields."""
    for field, value in values.items():
        record[field] = value


def column_units(group, threads):
    """Of a group that is cut by columns a list of tasks for each thread: all lines of some panels, as many as the tile takes."""
    panels = group.steps[0].panels
    pairs = -(-panels // PANELS)
    edges = [min(panels, pairs * i // threads * PANELS) for i in range(threads + 1)]
    return [[task(step, (0, step.lines), {}, p0, p1 - p0) for step in group.steps] for p0, p1 in zip(edges, edges[1:]) if p1 > p0]


def band_units(group, bands):
    """Of another group a list of tasks for each band, or for some taps."""
    units = tap_units(group, bands) if group.taps else [band_tasks(group, band) for band in bands]
    last = group.steps[-1]
    if isinstance(last, Sums):                          # each has a line of its own for them
        for line, task in enumerate(task for unit in units for task in unit if task["step"] == last.number):
            task["target"] = last.target.at(line)
    return units


def band_tasks(group, band):
    """Each step's lines for a band."""
    ranges, begin = group.ranges(band), {}              # of each private buffer the line of the image that is its first
    for step in group.steps:
        begin[step.target.buffer] = min(begin.get(step.target.buffer, ranges[step][0]), ranges[step][0])
    return [task(step, ranges[step], begin, 0, step.panels) for step in group.steps]


def task(step, lines, begin, panel, panels):
    """Some lines and panels of a step."""
    def at(place, line, column=0):
        return place.at(line - begin[place.buffer] if place.buffer.lines else line, column)
    first, last = lines
    return {"step": step.number, "panel": panel, "panels": panels, "height": last - first, **step.task(first, last),
            "source": at(step.sources[0], *step.start(first)), "second": at(step.sources[-1], first),
            "target": at(step.target, first)}


def tap_units(group, bands):
    """The small images that the taps of a transposed convolution make, and what is computed from these, band by band.

    A tap and a band are a unit; or several taps and all bands, where the transposed convolution computes these together.
    """
    spread, *others = group.steps
    together, units = spread.together, []
    for t in range(0, len(group.taps), together):
        taps = group.taps[t:t + together]
        for some in [bands] if together > 1 else [[band] for band in bands]:
            units.append([{"step": spread.number, **spread.tap_task(taps[0], some[0])}])
            units[-1] += [following(step, tap, band, spread.granule) for tap in taps for band in some for step in others]
    return units


def following(step, tap, band, KH):
    """A step's task for some lines of a tap's small image, whose pixels lie KH lines apart in the large one."""
    (p, q), (first, last) = tap, band

    def at(place):
        return place.at(0) if place.buffer.lines else place.at(first * KH + p, q)
    return {"step": step.number, "panels": step.panels, "height": last - first, **step.task(first, last),
            "source": at(step.sources[0]), "target": at(step.target)}


class Pile:
    """Arrays end to end, each beginning at a multiple of ``align``."""

    def __init__(self, dtype, align):
        self.dtype, self.align, self.arrays, self.size = np.dtype(dtype), align, [], 0

    def add(self, array):
        """Put one more on; returns where it begins."""
        begin = self.size
        self.arrays.append((begin, np.ravel(array)))
        self.size += -(-array.size // self.align) * self.align
        return begin

    def whole(self):
        """All of them, in memory that begins at a cache line."""
        result = memory.empty((max(self.size, memory.SMALL // self.dtype.itemsize),), self.dtype)
        result[:] = 0
        for begin, array in self.arrays:
            result[begin:begin + array.size] = array
        return result
