"""What all kinds of steps have in common: how the compiled loop computes a layer, any range of its lines at a time."""

from ..kernels.tile import ELU, RELU, STORE
from ..layers import ReLU


class Step:
    """One node as the compiled loop does it, any range of its output's lines at a time.

    Attributes
    ----------
    name, layer, activation : the node's
    sources : list of Place
    target : Place
    granule : int
        Ranges of lines begin at multiples of this.
    panels : int
        How many panels of 16 columns can be computed apart from each other; 1 where they cannot.
    weight_count : int
        Numbers in its weights.
    fields : dict
        Of its record in the program, but for what depends on where things lie in memory.
    """

    kind = kind_name = None
    layers = ()                                         # the classes that it serves
    granule, panels, weight_count = 1, 1, 0
    taps = ()                                           # (p, q) of a kernel whose windows do not overlap,
    together = 1                                        # how many of them are computed at once,
    small_size = ()                                      # and (H, W) of the image that each makes
    left = 0                                            # zeros that it reads left of the image
    by_pixel = False                                    # whether each pixel is computed from the same one of the source alone

    def __init__(self, name, layer, activation, sources, target, **fields):
        self.name, self.layer, self.activation, self.sources, self.target = name, layer, activation, sources, target
        source = sources[0]
        self.fields = {"kind": self.kind, "finish": finish_of(activation), "reads_image": source.buffer.is_image,
                       "W": source.size[1], "row": source.buffer.row, "pitch": source.buffer.pitch, "C": source.size[2],
                       "OW": target.size[1], "out_row": target.buffer.row, "out_pitch": target.buffer.pitch, "F": target.size[2],
                       **fields}
        self.arrays = {}                                # tables and weights that go with it, by field
        self.prepare(source, target)

    def prepare(self, source, target):
        """Fill in what the kind needs besides."""

    def use_scratch(self, begin, lines):
        """Take scratch for so many lines, from there on in each thread's memory; returns how many numbers."""
        return 0

    def lines_read(self, first, last):
        """Which lines of the source lines first to last of the output need."""
        return first, last

    def start(self, first):
        """Line and column of the source at which output lines from ``first`` on begin to read."""
        return self.lines_read(first, first + 1)[0], -self.left

    @property
    def lines(self):
        """How many there are."""
        return self.target.size[0]

    @property
    def reads_line_by_line(self):
        """Whether a line of the output needs the same line of the source, and no other."""
        return self.lines_read(0, 1) == (0, 1) and self.lines_read(1, 2) == (1, 2)

    @property
    def described(self):
        """What it does, in words."""
        names = [self.kind_name or type(self.layer).__name__] + [type(self.activation).__name__] * (self.activation is not None)
        return " + ".join(names)

    def task(self, first, last):
        """What is special in the record of a task: lines of the product, or of source and target."""
        return {"lines": last - first}

    def check(self, task):
        """An IndexError where a task reads or writes outside of its buffers: it would corrupt memory in silence."""
        (read, last_read), (written, last_written) = self.extent(task)
        ranges = [(self.sources[0].buffer, task["source"] + read, task["source"] + last_read),
                  (self.target.buffer, task["target"] + written, task["target"] + last_written)]
        if len(self.sources) > 1:
            second = self.sources[1].buffer
            last = (task["lines"] - 1) * second.row + (self.fields["W"] - 1) * second.pitch + self.fields["C"] - 1
            ranges.append((second, task["second"], task["second"] + last))
        for buffer, first, last in ranges:
            if first < buffer.offset or last >= buffer.offset + buffer.size:
                raise IndexError(f"{self.name}: addresses {first} to {last}, but the buffer {buffer.name!r} goes from "
                                 f"{buffer.offset} to {buffer.offset + buffer.size}")

    def extent(self, task):
        """The lowest and the highest place that a task reads, and writes, from its source and target on."""
        field = self.fields
        return ((0, (task["height"] - 1) * field["row"] + (field["W"] - 1) * field["pitch"] + field["C"] - 1),
                (0, (task["lines"] - 1) * field["out_row"] + (field["OW"] - 1) * field["out_pitch"] + field["F"] - 1))

    def macs(self, task):
        """Multiply-accumulates of a task's matrix products: what is executed, be it less or more than the layer's definition."""
        return 0

    @classmethod
    def serves(cls, layer):
        """Whether the kind is for this layer."""
        return type(layer) in cls.layers

    @staticmethod
    def padding(layer, out):
        """The zeros that it wants around its source, for an output of this shape."""
        return (0, 0), (0, 0)


def finish_of(activation):
    """The tile's number for an activation that `transform.fuse_activations` fuses."""
    if activation is None:
        return STORE
    return RELU if type(activation) is ReLU else ELU
