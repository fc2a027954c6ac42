"""Steps that multiply nothing, and which class of steps is for which layer.

A class is made for a node where it `serves` its layer (Blocks, Strassen and Mean: where ``plan.py`` says so). What none of them
serves runs as the layer itself (`Foreign`).
"""

from ..kernels.tile import ELU, RELU
from ..layers import ELU as ELULayer
from ..layers import Add, Concat, Flatten, GlobalAvgPool, MaxPool2D, ReLU
from ..transform import parts
from . import program
from .products import Convolution, Spread, Winograd
from .step import Step


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
