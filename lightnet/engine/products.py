"""Steps that are matrix products: convolutions, dense layers, transposed convolutions; their tables and packed weights."""

import numpy as np

from ..kernels import strassen, tables, winograd
from ..kernels.packing import bias_panels, panel_count, panels, taps
from ..kernels.tile import ROWS
from ..kernels.vector import LANES
from ..layers import Conv2D, ConvTranspose2D, Dense
from . import program
from .buffers import Buffer, Place
from .step import Step


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

    @classmethod
    def serves(cls, layer):
        return type(layer) is Conv2D and winograd.suits(layer.kernel, layer.stride, layer.in_channels, layer.out_channels)

    @staticmethod
    def padding(layer, out):
        """Zeros up to whole patches."""
        return winograd.to_whole_patches(winograd.side_for(*out[:2]), layer.padding, out[:2])

    def prepare(self, source, target):
        weight, self.left = self.layer.params["weight"], self.layer.padding[1][0]
        self.granule = side = winograd.side_for(*target.size[:2])
        self.arrays = {"weight": winograd.packed_weights(weight, side),
                       "bias": bias_panels(self.layer.params["bias"])}
        self.panels, self.weight_count = panel_count(target.size[2]), self.arrays["weight"].size
        self.fields.update(side=side)

    def use_scratch(self, begin, lines):
        side = self.granule
        block = winograd.block_of(winograd.patches(side, lines, self.target.size[1]), winograd.most(side))
        self.fields.update(block=block, scratch=begin)
        return winograd.entries(side) * winograd.apart(block, self.fields["C"]) + winograd.some_panels(ROWS, side)

    def extent(self, task):
        lines, columns = (-(-count // self.granule) * self.granule + 2 for count in (task["lines"], self.fields["OW"]))
        last = (lines - 1) * self.fields["row"] + (columns - 1) * self.fields["pitch"] + self.fields["C"] - 1
        return (0, last), super().extent(task)[1]

    def lines_read(self, first, last):
        top = self.layer.padding[0][0]
        return first - top, last + 2 - top

    def macs(self, task):
        patches = winograd.patches(self.granule, task["lines"], self.target.size[1])
        return patches * winograd.entries(self.granule) * self.fields["C"] * task["panels"] * LANES


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
        self.taps, self.small_size = [(p, q) for p in range(KH) for q in range(KW)], source.size[:2]

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
        weight, (lines, W, _) = self.layer.params["weight"], source.size
        KH, KW, F, _ = weight.shape
        H = lines // strassen.PRODUCTS
        self.granule, self.small_size = KH, (2 * H, 2 * W)
        self.taps = [(p, q) for p in range(KH) for q in range(KW)]
        self.arrays = {"weight": strassen.packed(taps(weight), F), "bias": bias_panels(self.layer.params["bias"])}
        self.weight_count = self.arrays["weight"].size
        self.fields.update(KH=KH, KW=KW, apart=strassen.apart(H * source.buffer.row),
                           down=H * KH * target.buffer.row, across=W * KW * target.buffer.pitch)

    def use_scratch(self, begin, lines):
        H, W = self.small_size
        self.fields.update(scratch=begin)
        return strassen.PRODUCTS * strassen.apart(H * W // 4 * self.fields["F"] // 2)

    def interleave(self, KH, KW):
        """Its results are written where they belong."""

    def tap_task(self, tap, band):
        """That of two taps, the first of them this one, for all lines."""
        return {"lines": self.small_size[0] // 2, "panel": self.taps.index(tap) // self.together,
                "source": self.sources[0].at(0), "target": self.target.at(*tap)}

    def extent(self, task):
        field, (H, W) = self.fields, self.small_size
        last = (H - 1) * field["KH"] * field["out_row"] + ((W - 1) * field["KW"] + self.together - 1) * field["out_pitch"]
        return ((0, (strassen.PRODUCTS - 1) * field["apart"] + H // 2 * field["row"] - 1), (0, last + field["F"] - 1))

    def macs(self, task):
        H, W = self.small_size
        return strassen.PRODUCTS * (H * W // 4) * self.fields["C"] * self.fields["F"] // 2
