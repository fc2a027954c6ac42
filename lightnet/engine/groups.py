"""Groups of steps that one band of rows, or a range of columns, can go through without waiting for the rest of the image.

What a band computes is still in the cache when the group's next step reads it. A group ends where the next step needs lines that
another band computes: before each 3x3 convolution. There are three ways to cut a group into units of work:

- by rows: bands of lines, as many as fit the second-level cache;
- by columns, where weights are larger than the image (at 14x14 pixels each of Winograd's weights would serve a line of four
  patches only): each thread takes some of the columns for the whole image, and reads each weight once;
- by taps, after a transposed convolution whose windows do not overlap. Each of its KH x KW taps makes a small image, and these
  lie between each other in the large one; what follows pixel by pixel goes through the small images. So a tap's weights (or those
  of two, which Strassen's method takes together) stay near for a whole image, and the mixed map never exists as a whole.

What each was worth stands in docs/speed.md.
"""

from math import lcm

import numpy as np

from .steps import Foreign, Pool, Sums

NEAR = 96 * 1024                                        # numbers that a band computes: what fits the second-level cache


class Group:
    """Steps, and how their work is cut.

    Attributes
    ----------
    steps : list of Step
    by_columns : bool
    taps : list of (p, q)
        Of the transposed convolution that it begins with, if it does.
    """

    def __init__(self, step):
        self.steps, self.by_columns, self.taps = [step], prefers_columns(step), step.taps

    @property
    def lines(self):
        """Of the group's output."""
        return self.steps[-1].lines

    @property
    def is_foreign(self):
        """Whether it is a layer that the compiled loop does not know, by itself."""
        return isinstance(self.steps[0], Foreign)

    @property
    def is_complete(self):
        """Whether nothing can follow: a layer that runs by itself, or sums that wait for all bands."""
        return self.is_foreign or isinstance(self.steps[-1], Sums)

    def admits(self, step, is_read_once):
        """Whether the step can follow the others; ``is_read_once(step)`` says whether one step alone reads its output."""
        if self.is_complete or isinstance(step, Foreign):
            return False
        inside = [mine for mine in self.steps if mine.target.buffer in buffers_read(step)]
        if self.by_columns:
            return self.has_columns_of(step)
        if self.taps:
            return bool(inside) and step.by_pixel
        if prefers_columns(step):
            return False
        if not inside:
            return step.lines == self.lines             # beside the others: it reads what earlier groups computed
        if any(mine.target.buffer.is_padded for mine in inside):
            return False                                # the group of the 3x3 convolution that will read it can do this as well
        if step.reads_line_by_line and step.lines == self.lines:
            return not step.taps
        return isinstance(step, Pool) and len(self.steps) == 1 and self.can_overlap(is_read_once)

    def has_columns_of(self, step):
        """Whether the step has the same columns as these, and reads none of these: it would need all of that one's columns."""
        return (step.lines == self.lines and step.panels == self.steps[0].panels > 1
                and not any(mine.target.buffer in buffers_read(step) for mine in self.steps))

    def turns_to_columns(self, step):
        """Whether to cut by columns from now on, for the sake of a step with many weights; these have few, and do not mind."""
        return (not self.is_complete and not self.taps and prefers_columns(step) and self.has_columns_of(step)
                and self.can_be_columns())

    def can_be_columns(self):
        """Whether the steps have the same columns, and none reads another: it would need all of that one's columns."""
        written = {step.target.buffer for step in self.steps}
        return all(step.panels == self.steps[0].panels and not written & buffers_read(step) for step in self.steps)

    def can_overlap(self, is_read_once):
        """Whether two bands may both compute a line of the first step: in each thread's own memory, so in no part of a Concat."""
        (first,) = self.steps
        return first.granule == 1 and is_read_once(first) and first.target.size[2] == first.target.buffer.channels

    def bands(self, threads):
        """(first, last) line of each band: an even number, the larger ones first, so that two threads end together.

        More threads have more bands, but not where each band's sums are added up: there the bits would depend on it.
        """
        if self.taps:                                   # of the small image
            (lines, columns), granule = self.steps[0].small_size, 1
            line = columns * sum(step.target.size[2] for step in self.steps)
        else:
            lines, granule = self.lines, lcm(*(step.granule for step in self.steps if step.lines == self.lines))
            line = sum(np.prod(step.target.size) for step in self.steps) / lines
        blocks = -(-lines // granule)
        count = -(-blocks // max(1, int(NEAR / line / granule)))
        count = min(blocks, max(count + count % 2, 0 if isinstance(self.steps[-1], Sums) else threads))
        sizes = [blocks // count + (i < blocks % count) for i in range(count)]
        edges = np.minimum(np.cumsum([0, *sizes]) * granule, lines).tolist()
        return list(zip(edges, edges[1:]))

    def ranges(self, band):
        """The lines that each step computes for a band of the output: what the steps after it read, or the band."""
        found = {}
        for step in reversed(self.steps):
            read = [other.lines_read(*found[other]) for other in found if step.target.buffer in buffers_read(other)]
            first, last = (min(first for first, _ in read), max(last for _, last in read)) if read else band
            found[step] = max(first, 0), min(last, step.lines)
        return found


def groups_of(steps):
    """Each step joins the group before it where it can."""
    readers = [buffers_read(step) for step in steps]
    groups = []
    for step in steps:
        if groups and groups[-1].turns_to_columns(step):
            groups[-1].by_columns = True
        if groups and groups[-1].admits(step, lambda step: sum(step.target.buffer in read for read in readers) == 1):
            groups[-1].steps.append(step)
        else:
            groups.append(Group(step))
    return groups


def buffers_read(step):
    """The buffers that its sources lie in."""
    return {place.buffer for place in step.sources}


def prefers_columns(step):
    """Whether its weights are larger than what it reads and computes."""
    numbers = sum(np.prod(place.size) for place in (*step.sources, step.target))
    return step.panels > 1 and step.weight_count > numbers and not step.taps
