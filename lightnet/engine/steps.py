"""Layer by layer, how the compiled loop computes it: its kind of step, tables of addresses, packed weights.

Each class below is made for a node where it `serves` its layer. What none of them serves runs as the layer itself (`Foreign`).
"""

import numpy as np

from ..kernels import strassen, tables, winograd
from ..kernels.packing import bias_panels, panel_count, panels, taps
from ..kernels.tile import ELU, RELU, STORE
from ..kernels.vector import LANES
from ..layers import ELU as ELULayer
from ..layers import Add, Concat, Conv2D, ConvTranspose2D, Dense, Flatten, GlobalAvgPool, MaxPool2D, ReLU
from ..transform import parts
from . import program
from .buffers import Buffer, Place


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
    small = ()                                          # and the size of the image that each makes
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


class Convolution(Step):
    """A convolution or a dense layer through the register tile."""

    kind = program.PRODUCT
    layers = Conv2D, Dense

    @staticmethod
    def padding(layer, out):
        """The zeros that it wants around its source."""
        return layer.padding if type(layer) is Conv2D else ((0, 0), (0, 0))

    def prepare(self, source, target):
        weight, (_, _, C), (OH, OW, F) = self.layer.params["weight"], source.size, target.size
        self.geometry = ((1, 1), (1, 1), ((0, 0), (0, 0))) if type(self.layer) is Dense else (
            self.layer.kernel, self.layer.stride, self.layer.padding)
        kernel, stride, (_, (self.left, _)) = self.geometry
        table = tables.convolution(source.buffer.row // source.buffer.pitch, source.buffer.pitch, C, kernel, stride, (OH, OW),
                                   target.buffer.pitch, F, target.buffer.row)
        self.take(table, panels(weight.reshape(-1, F)), bias_panels(self.layer.params["bias"]), OW)
        self.panels, self.weight_count = panel_count(F), weight.size
        self.by_pixel = type(self.layer) is Dense or self.layer.is_pointwise

    def interleave(self, KH, KW):
        """Compute one of the KH x KW images that a transposed convolution's taps make, which lie between each other."""
        source, target, (OH, OW, _) = self.sources[0].buffer, self.target.buffer, self.target.size
        for rows, buffer in ("rows", source), ("rows_out", target):
            step = (1, 1) if buffer.lines else (KH, KW)
            self.arrays[rows] = tables.grid(OH // KH, OW // KW, step[0] * buffer.row, step[1] * buffer.pitch)
        self.fields["per_line"] = OW // KW

    def take(self, table, weight, bias, per_line):
        """The tables and weights of a product."""
        self.arrays = {"rows": table.rows, "rows_out": table.rows_out, "segments_a": table.segments_a,
                       "segments_b": table.segments_b, "panels_b": table.panels_b, "panels_out": table.panels_out,
                       "weight": weight, "bias": bias}
        self.fields.update(segments=len(table.segments_a), length=table.length, per_line=per_line)

    def extent(self, task):
        count, panels = task["lines"] * self.fields["per_line"], slice(task["panel"], task["panel"] + task["panels"])
        rows, segments = self.arrays["rows"][:count], self.arrays["segments_a"]
        out = self.arrays["rows_out"][:count].max() + self.arrays["panels_out"][panels].max() + LANES - 1
        return (0, rows.max() + segments.max() + self.fields["length"] - 1), (0, out)

    def lines_read(self, first, last):
        (KH, _), (SH, _), ((top, _), _) = self.geometry
        return first * SH - top, (last - 1) * SH + KH - top

    def macs(self, task):
        per_line, segments, length = (self.fields[name] for name in ("per_line", "segments", "length"))
        return task["lines"] * per_line * task["panels"] * LANES * segments * length


class Winograd(Step):
    """A 3x3 convolution with stride 1 and enough channels by Winograd's method."""

    kind, kind_name = program.WINOGRAD, "Winograd's Conv2D"
    granule = winograd.OUT

    @classmethod
    def serves(cls, layer):
        return type(layer) is Conv2D and winograd.suits(layer.kernel, layer.stride, layer.in_channels, layer.out_channels)

    @staticmethod
    def padding(layer, out):
        """Zeros up to whole patches."""
        return winograd.to_whole_patches(layer.padding, out[:2])

    def prepare(self, source, target):
        weight, self.left = self.layer.params["weight"], self.layer.padding[1][0]
        self.arrays = {"weight": winograd.packed(winograd.transformed_weights(np.ascontiguousarray(weight))),
                       "bias": bias_panels(self.layer.params["bias"])}
        self.panels, self.weight_count = panel_count(target.size[2]), self.arrays["weight"].size

    def use_scratch(self, begin, lines):
        """Take scratch for so many lines, from there on in each thread's memory; returns how many numbers."""
        block = winograd.block_of(winograd.patches(lines, self.target.size[1]))
        self.fields.update(block=block, scratch=begin)
        return winograd.ENTRIES * winograd.apart(block, self.fields["C"]) + winograd.OUTPUTS

    def extent(self, task):
        lines, columns = (-(-count // winograd.OUT) * winograd.OUT + 2 for count in (task["lines"], self.fields["OW"]))
        last = (lines - 1) * self.fields["row"] + (columns - 1) * self.fields["pitch"] + self.fields["C"] - 1
        return (0, last), super().extent(task)[1]

    def lines_read(self, first, last):
        top = self.layer.padding[0][0]
        return first - top, last + 2 - top

    def macs(self, task):
        return winograd.patches(task["lines"], self.target.size[1]) * winograd.ENTRIES * self.fields["C"] * task["panels"] * LANES


class Spread(Convolution):
    """A transposed convolution whose windows do not overlap."""

    @classmethod
    def serves(cls, layer):
        return (type(layer) is ConvTranspose2D and layer.kernel == layer.stride and layer.padding == ((0, 0), (0, 0))
                and layer.output_padding == (0, 0) and layer.out_channels % LANES == 0)

    def prepare(self, source, target):
        weight = self.layer.params["weight"]
        KH, KW, F, C = weight.shape
        table = tables.spread(source.size[:2], source.buffer.pitch, C, (KH, KW), target.buffer.pitch, F, source.buffer.row,
                              target.buffer.row)
        self.take(table, panels(taps(weight)), bias_panels(self.layer.params["bias"], KH * KW), source.size[1])
        self.granule, self.panels, self.weight_count = KH, KH * KW * panel_count(F), weight.size
        self.taps, self.small = [(p, q) for p in range(KH) for q in range(KW)], source.size[:2]

    def interleave(self, KH, KW):
        """Where nobody else reads the large image, each tap's small one stands by itself."""
        buffer, (H, W, _) = self.target.buffer, self.sources[0].size
        if buffer.lines:
            self.arrays["rows_out"] = tables.grid(H, W, buffer.row, buffer.pitch)
            self.arrays["panels_out"] = np.tile(np.arange(self.panels // (KH * KW)) * LANES, KH * KW)

    def lines_read(self, first, last):
        return first // self.granule, last // self.granule

    def task(self, first, last):
        return {"lines": (last - first) // self.granule}

    def tap_task(self, tap, band):
        """That of one tap, for some lines of the small image."""
        (first, last), panels = band, self.panels // len(self.taps)
        line = 0 if self.target.buffer.lines else first * self.granule
        return {"lines": last - first, "panel": self.taps.index(tap) * panels, "panels": panels,
                "source": self.sources[0].at(first), "target": self.target.at(line)}


class Blocks(Step):
    """What Strassen's method wants of an image: sums of its blocks, 49 images of a quarter of the pixels and of the channels."""

    kind, kind_name = program.SPLIT, "sums of blocks"

    @staticmethod
    def place(name, size):
        """A buffer for them, one below the other."""
        H, W, C = size[0] // 2, size[1] // 2, size[2] // 4
        between = -(-strassen.PRODUCTS * LANES // (W * C))              # lines for what is left free
        return Place(Buffer(f"{name} blocks", strassen.PRODUCTS * H + between, W, C), 0, (strassen.PRODUCTS * H, W, C))

    def prepare(self, source, target):
        H, W, _ = source.size
        self.fields.update(down=H // 2 * source.buffer.row, across=W // 2 * source.buffer.pitch,
                           apart=strassen.apart(self.lines * target.buffer.row))

    @property
    def lines(self):
        return self.sources[0].size[0] // 2

    def lines_read(self, first, last):
        return first, self.lines + last

    def extent(self, task):
        field, last = self.fields, task["lines"] - 1
        return ((0, last * field["row"] + field["down"] + (field["W"] - 1) * field["pitch"] + field["C"] - 1),
                (0, (strassen.PRODUCTS - 1) * field["apart"] + (last + 1) * field["out_row"] - 1))


class Strassen(Step):
    """A transposed convolution whose windows do not overlap, two taps at a time, from an image's sums of blocks."""

    kind, kind_name = program.STRASSEN, "Strassen's ConvTranspose2D"
    together = strassen.TAPS

    def prepare(self, source, target):
        weight, (lines, W, C) = self.layer.params["weight"], source.size
        KH, KW, F, _ = weight.shape
        H = lines // strassen.PRODUCTS
        self.granule, self.small = KH, (2 * H, 2 * W)
        self.taps = [(p, q) for p in range(KH) for q in range(KW)]
        self.arrays = {"weight": strassen.packed(taps(weight), F), "bias": bias_panels(self.layer.params["bias"])}
        self.weight_count = self.arrays["weight"].size
        self.fields.update(KH=KH, KW=KW, W=W, C=C, apart=strassen.apart(H * source.buffer.row),
                           down=H * KH * target.buffer.row, across=W * KW * target.buffer.pitch)

    def use_scratch(self, begin, lines):
        """Take scratch for the products; see `Winograd.use_scratch`."""
        H, W = self.small
        self.fields.update(scratch=begin)
        return strassen.PRODUCTS * strassen.apart(H * W // 4 * self.fields["F"] // 2)

    def interleave(self, KH, KW):
        """Its results are written where they belong."""

    def tap_task(self, tap, band):
        """That of two taps, the first of them this one, for all lines."""
        return {"lines": self.small[0] // 2, "panel": self.taps.index(tap) // self.together,
                "source": self.sources[0].at(0), "target": self.target.at(*tap)}

    def extent(self, task):
        field, (H, W) = self.fields, self.small
        last = (H - 1) * field["KH"] * field["out_row"] + ((W - 1) * field["KW"] + self.together - 1) * field["out_pitch"]
        return ((0, (strassen.PRODUCTS - 1) * field["apart"] + H // 2 * field["row"] - 1), (0, last + field["F"] - 1))

    def macs(self, task):
        H, W = self.small
        return strassen.PRODUCTS * (H * W // 4) * self.fields["C"] * self.fields["F"] // 2


class Pool(Step):
    """A max pool."""

    kind = program.POOL
    layers = (MaxPool2D,)

    def prepare(self, source, target):
        layer = self.layer
        self.fields.update(KH=layer.kernel[0], KW=layer.kernel[1], SH=layer.stride[0], SW=layer.stride[1],
                           left=layer.padding[1][0])

    def lines_read(self, first, last):
        (KH, _), (SH, _), ((top, _), _) = self.layer.kernel, self.layer.stride, self.layer.padding
        return max(0, first * SH - top), min(self.sources[0].size[0], (last - 1) * SH + KH - top)

    def task(self, first, last):
        begin, end = self.lines_read(first, last)
        return {"lines": last - first, "height": end - begin,
                "top": begin - (first * self.layer.stride[0] - self.layer.padding[0][0])}


class Activation(Step):
    """An ELU or ReLU that no other step could do."""

    kind = program.ACTIVATION
    layers = ELULayer, ReLU

    def prepare(self, source, target):
        self.fields.update(finish=ELU if type(self.layer) is ELULayer else RELU, alpha=getattr(self.layer, "alpha", 1))


class Copy(Step):
    """What a Concat reads and could not be computed in its place; an image that needs zeros around; Flatten."""

    kind, kind_name = program.COPY, "copy"
    layers = Concat, Flatten

    def prepare(self, source, target):
        self.fields.update(OW=source.size[1], F=source.size[2])
        if type(self.layer) is Flatten:                 # the image's own form, without what lies between pixels
            self.fields.update(out_row=source.size[1] * source.size[2], out_pitch=source.size[2])
            self.granule = source.size[0]

    @property
    def lines(self):
        return self.sources[0].size[0]


class Addition(Step):
    """Two values; of more, one after the other."""

    kind = program.ADD
    layers = (Add,)

    def prepare(self, source, target):
        second = self.sources[-1].buffer
        self.fields.update(second_row=second.row, second_pitch=second.pitch)
        if len(self.sources) == 1:                      # a sum of one value
            self.fields["kind"] = program.COPY


class Sums(Step):
    """A global average's sums, of each band apart."""

    kind, kind_name = program.SUMS, "sums for the average"
    layers = (GlobalAvgPool,)
    by_pixel = True

    def interleave(self, KH, KW):
        """See `Convolution.interleave`."""
        buffer = self.sources[0].buffer
        step = (1, 1) if buffer.lines else (KH, KW)
        self.fields.update(W=self.sources[0].size[1] // KW, row=step[0] * buffer.row, pitch=step[1] * buffer.pitch)

    def task(self, first, last):
        return {"lines": 1, "height": last - first}

    @property
    def lines(self):
        return self.sources[0].size[0]


class Mean(Step):
    """A global average: the sums of all bands, divided."""

    kind, kind_name = program.MEAN, "average"

    def task(self, first, last):
        return {"lines": 1, "height": self.sources[0].buffer.H}


class Foreign(Step):
    """A layer that the engine does not know: its own ``forward`` runs, with Python's speed."""

    kind = -1                                           # the compiled loop never sees it

    @classmethod
    def serves(cls, layer):
        return True


KINDS = Winograd, Convolution, Spread, Pool, Activation, Copy, Addition, Sums, Foreign


def kind_for(layer):
    """The class of steps that serves a node's layer."""
    return next(kind for kind in KINDS if kind.serves(parts(layer)[0]))


def finish_of(activation):
    """The tile's number for an activation that `transform.fuse_activations` fuses."""
    if activation is None:
        return STORE
    return RELU if type(activation) is ReLU else ELU
