"""Where each value of the network lies: buffers with zeros around the image already, Concats that are filled in place.

Each value has a place: some channels of a buffer. The inputs of a Concat are computed in its own buffer. A buffer is as much
larger than its image as the convolutions that read it want zeros around it, so that nobody ever copies an image to pad it.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..graph import IMAGE
from ..kernels.packing import panel_count
from ..kernels.vector import LANES
from ..layers import Concat
from ..transform import is_convolution


@dataclass(eq=False)
class Buffer:
    """Memory for one image, H x W pixels of so many channels; or of as many rows as a band has, one for each thread."""

    name: str
    H: int
    W: int
    channels: int
    around: tuple = ((0, 0), (0, 0))                    # zeros above and below, left and right
    offset: int = 0                                     # where it begins in the memory: of the network, or of the thread
    lines: int = 0                                      # if it is private, how many rows it has
    is_image: bool = False                              # the caller's own array

    @property
    def pitch(self):
        """Numbers from one pixel to the next: whole panels, for the tile writes no less."""
        return self.channels if self.is_image else panel_count(self.channels) * LANES

    @property
    def row(self):
        """Numbers from one row to the next."""
        return (self.around[1][0] + self.W + self.around[1][1]) * self.pitch

    @property
    def size(self):
        """In numbers."""
        return (self.lines or self.around[0][0] + self.H + self.around[0][1]) * self.row

    @property
    def is_padded(self):
        """Whether it has zeros around, which nobody may write over."""
        return self.around != ((0, 0), (0, 0))


class Place(NamedTuple):
    """Channels of a buffer."""

    buffer: Buffer
    channel: int
    shape: tuple                                        # of the value, without N

    @property
    def size(self):
        """(H, W, C); what is no image is a line of pixels, or a single one."""
        return self.shape if len(self.shape) == 3 else (1, int(np.prod(self.shape[:-1])), *(self.shape[-1:] or (1,)))

    def at(self, i, j=0):
        """Where pixel (i, j) begins; the rows of a private buffer are counted from the band's first one."""
        (top, _), (left, _) = self.buffer.around
        return self.buffer.offset + (top + i) * self.buffer.row + (left + j) * self.buffer.pitch + self.channel


class Layout:
    """The places of all values of a network, for an image shape.

    Attributes
    ----------
    places : dict of str to Place
    copied : Place or None
        Where the image is copied to, if a reader wants zeros around it, or whole panels.
    filled : set of (str, str)
        Concats, and inputs of theirs that are computed in the Concat's own buffer.
    """

    def __init__(self, net, shape, wanted):
        """``wanted``: for each value the padding that its readers want."""
        self.net, self.places, self.filled = net, {}, set()
        self.shapes = {name: found[1:] for name, found in net.shapes((1, *shape)).items()}
        in_place = all(wanted[IMAGE] == ((0, 0), (0, 0)) and is_convolution(node.layer)     # others may want whole panels
                       for node in net.nodes.values() if IMAGE in node.inputs)
        H, W, C = shape
        self.places[IMAGE] = Place(Buffer(IMAGE, H, W, C, is_image=True), 0, shape)
        self.copied = None if in_place else self.new("image.copy", shape, wanted[IMAGE])
        for node in reversed(net.nodes.values()):       # outer Concats come before those that they read
            if node.name not in self.places:
                self.new(node.name, self.shapes[node.name], wanted[node.name])
            if type(node.layer) is Concat:
                self.fill(node, wanted)

    def new(self, name, shape, around):
        """A buffer of its own for a value."""
        H, W, C = Place(None, 0, shape).size
        place = self.places[name] = Place(Buffer(name, H, W, C, around), 0, shape)
        return place

    def fill(self, concat, wanted):
        """Give each input that can have it its channels of the Concat's buffer."""
        buffer, channel, _ = self.places[concat.name]
        for name in concat.inputs:
            shape = self.shapes[name]
            if (name in self.net.nodes and name not in self.places and concat.inputs.count(name) == 1 and len(shape) == 3
                    and shape[2] % LANES == 0):
                self.places[name] = Place(buffer, channel, shape)
                self.filled.add((concat.name, name))
                buffer.around = most(buffer.around, wanted[name])
            channel += shape[-1]

    def is_filled(self, concat, name):
        """Whether an input is computed in the Concat's own buffer."""
        return (concat.name, name) in self.filled

    def reading(self, name):
        """Where a node finds a value."""
        return self.copied if name == IMAGE and self.copied else self.places[name]


def most(a, b):
    """Of two paddings the larger one, on each side."""
    return tuple(tuple(max(pair) for pair in zip(*sides)) for sides in zip(a, b))


def assign(buffers, times):
    """Give buffers their offsets, so that those in use at the same time do not overlap; returns the memory that it takes.

    The largest comes first, and takes the first gap that is free while it is in use. ``times``: (first, last) phase of each.
    """
    taken = []
    for buffer in sorted(buffers, key=lambda buffer: -buffer.size):
        first, last = times[buffer]
        others = sorted((other.offset, other.offset + room(other)) for other in taken
                        if times[other][0] <= last and first <= times[other][1])
        for begin, end in others:
            if buffer.offset + room(buffer) > begin and buffer.offset < end:
                buffer.offset = end
        taken.append(buffer)
    return max((buffer.offset + room(buffer) for buffer in taken), default=0)


def room(buffer):
    """What a buffer takes: up to a multiple of a cache line, and five more, since two buffers at the same place of a page would
    displace each other from the cache."""
    return -(-buffer.size // LANES) * LANES + 5 * LANES
