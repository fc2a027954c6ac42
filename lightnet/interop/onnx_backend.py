"""Runs an ONNX model operator by operator on lightnet's layers, so that ONNX's own tests are tests of the layers.

Import makes a Graph, which takes constants for weights and one image for input. ONNX's backend tests compute anything from
anything: here every operator is a function of arrays, in ONNX's own order of axes. Operators that are layers of a CNN run on the
layer; what is no such layer (MatMul, Softmax, Transpose, Reshape, ...) is a line of NumPy. Dilated and grouped convolutions,
which lightnet does not have, are run as what they are: convolutions with zeros in their weights.

Examples
--------
All of ONNX's tests of one operator (needs onnx):

    import onnx.backend.test, unittest
    from lightnet.interop.onnx_backend import Backend
    tests = onnx.backend.test.BackendTest(Backend, __name__).include("test_maxpool_2d.*cpu").test_cases
    unittest.TextTestRunner().run(unittest.TestSuite(map(unittest.defaultTestLoader.loadTestsFromTestCase, tests.values())))
"""

import numpy as np

from .. import losses
from ..layers import ELU, Add, Concat, Dense, GlobalAvgPool, ReLU
from . import onnx_operators
from .onnx_file import array_of, arrays_of, attributes_of, opset_of, package
from .onnx_layers import LeakyReLU

base = package("onnx.backend.base")


class Backend(base.Backend):
    """What ``onnx.backend.test`` asks for: prepare a model, run it."""

    @classmethod
    def prepare(cls, model, device="CPU", **options):
        """A `Prepared` model; BackendIsNotSupposedToImplementIt where an operator is not one of `OPERATORS`."""
        super().prepare(model, device, **options)                               # the checker
        return Prepared(model)

    @classmethod
    def run_node(cls, node, inputs, device="CPU", outputs_info=None, **options):
        """The outputs of one node."""
        super().run_node(node, inputs, device, outputs_info, **options)
        return tuple(run(node, options.get("opset_version", package("onnx").defs.onnx_opset_version()), inputs))

    @classmethod
    def supports_device(cls, device):
        """The processor alone."""
        return device == "CPU"


class Prepared(base.BackendRep):
    """A model whose arrays were read."""

    def __init__(self, model):
        unknown = {node.op_type for node in model.graph.node if node.domain or node.op_type not in OPERATORS}
        if unknown:
            from onnx.backend.test.runner import BackendIsNotSupposedToImplementIt
            raise BackendIsNotSupposedToImplementIt(f"operators that lightnet does not have: {', '.join(sorted(unknown))}")
        self.model, self.constants = model, arrays_of(model, ".")

    def run(self, inputs, **options):
        """The model's outputs for these inputs, in order."""
        graph = self.model.graph
        names = [entry.name for entry in graph.input if entry.name not in self.constants]
        values = {**self.constants, **dict(zip(names, inputs)), "": None}
        for node in graph.node:
            results = run(node, opset_of(self.model), [values[name] for name in node.input])
            values.update(zip(node.output, results))
        return tuple(values[entry.name] for entry in graph.output)


def run(node, opset, inputs):
    """A node's outputs, a tuple."""
    results = OPERATORS[node.op_type](attributes_of(node) | {"opset": opset, "outputs": len(node.output)}, *inputs)
    return results if isinstance(results, tuple) else (results,)


def nhwc(x):
    """ONNX's order of axes in lightnet's."""
    return np.moveaxis(x, 1, -1)


def nchw(x):
    """The other way."""
    return np.moveaxis(x, -1, 1)


def on_images(layer_for):
    """An operator from ``layer_for(attributes, image shape, *more inputs)``."""
    def operator(attributes, x, *more):
        x = nhwc(x)
        return nchw(layer_for(attributes, x.shape, *more).forward(x))
    return operator


# Convolutions

def conv(attributes, image, weight, bias=None):
    attributes, weight = plain(attributes, weight)
    return onnx_operators.conv(attributes, between_groups(weight, attributes.pop("group", 1)), bias, image)


def conv_transpose(attributes, image, weight, bias=None):
    attributes, weight = plain(attributes, weight)
    groups = attributes.pop("group", 1)
    weight = between_groups(weight.swapaxes(0, 1), groups, of_outputs=False).swapaxes(0, 1)
    return onnx_operators.conv_transpose(attributes, weight, bias, image)


def plain(attributes, weight):
    """Attributes without dilations, and the weight with zeros between its rows and columns instead."""
    attributes = dict(attributes)
    down, across = attributes.pop("dilations", (1, 1))
    KH, KW = weight.shape[2:]
    spread = np.zeros((*weight.shape[:2], (KH - 1) * down + 1, (KW - 1) * across + 1), weight.dtype)
    spread[:, :, ::down, ::across] = weight
    return attributes, spread


def between_groups(weight, groups, of_outputs=True):
    """A weight (F, C / groups, ...) as (F, C, ...) with zeros between channels of different groups.

    Not of_outputs: (F / groups, C, ...), a transposed convolution's, likewise.
    """
    rows, columns = weight.shape[:2]
    rows, columns = (rows // groups, columns) if of_outputs else (rows, columns // groups)
    full = np.zeros((rows * groups, columns * groups, *weight.shape[2:]), weight.dtype)
    for g in range(groups):
        r, c = slice(g * rows, (g + 1) * rows), slice(g * columns, (g + 1) * columns)
        full[r, c] = weight[r] if of_outputs else weight[:, c]
    return full


def batch_norm(attributes, x, *arrays):
    layer, training = onnx_operators.batch_norm(attributes, *arrays), bool(attributes.get("training_mode", 0))
    y = nchw(layer.forward(nhwc(x), training=training))
    return (y, *layer.state.values()) if training else y


# Sums and products

def add(attributes, *xs):
    shape = np.broadcast_shapes(*(x.shape for x in xs))             # ONNX repeats axes of length 1; the layer does not
    return Add().forward(*(np.broadcast_to(x, shape) for x in xs))


def gemm(attributes, a, b, c=None):
    a, b = (m.T if attributes.get(name) else m for m, name in ((a, "transA"), (b, "transB")))
    layer = Dense(*b.shape)
    bias = 0 if c is None else attributes.get("beta", 1.0) * c      # a Dense has one a column, Gemm perhaps one a row
    layer.params["weight"] = (attributes.get("alpha", 1.0) * b).astype(b.dtype)
    return (layer.forward(a) + bias).astype(a.dtype)


def concat(attributes, *xs):
    axis = attributes["axis"]
    return np.moveaxis(Concat().forward(*(np.moveaxis(x, axis, -1) for x in xs)), -1, axis)


# What is no layer of a CNN

def softmax(attributes, x):
    axis, shape = attributes.get("axis", -1 if attributes["opset"] >= 13 else 1), x.shape
    if attributes["opset"] < 13:                                    # all axes from this one on as one
        x, axis = x.reshape(int(np.prod(shape[:axis])), -1), 1
    return np.moveaxis(losses.softmax(np.moveaxis(x, axis, -1)), -1, axis).reshape(shape)


def flatten(attributes, x):
    axis = attributes.get("axis", 1)
    return x.reshape(int(np.prod(x.shape[:axis])), -1)


def reshape(attributes, x, shape):
    kept = [x.shape[k] if side == 0 and not attributes.get("allowzero") else side for k, side in enumerate(shape)]
    return x.reshape(kept)


def dropout(attributes, x, ratio=None, training=None):
    if training is not None and training and (ratio is None or ratio > 0):
        raise ValueError("Dropout in training: its random numbers are nowhere defined")
    return (x, np.ones(x.shape, bool))[:attributes["outputs"]]


def squeeze(attributes, x, axes=None):
    axes = attributes.get("axes", axes)
    return np.squeeze(x, None if axes is None else tuple(int(axis) for axis in axes))


def mean(attributes, x, axes=None):
    axes = attributes.get("axes", axes)
    return x.mean(axis=None if axes is None else tuple(int(axis) for axis in axes), keepdims=bool(attributes.get("keepdims", 1)))


def global_average(attributes, x):
    return GlobalAvgPool().forward(nhwc(x))[:, :, None, None]


OPERATORS = {
    "Add": add, "BatchNormalization": batch_norm, "Concat": concat, "Conv": on_images(conv), "Dropout": dropout,
    "ConvTranspose": on_images(conv_transpose), "Flatten": flatten, "Gemm": gemm, "GlobalAveragePool": global_average,
    "ReduceMean": mean, "Reshape": reshape, "Softmax": softmax, "Squeeze": squeeze, "Sum": add,
    "AveragePool": on_images(onnx_operators.average_pool), "MaxPool": on_images(onnx_operators.max_pool),
    "Constant": lambda attributes: array_of(attributes["value"], "."),
    "Elu": lambda attributes, x: ELU(attributes.get("alpha", 1.0)).forward(x),
    "Identity": lambda attributes, x: x,
    "LeakyRelu": lambda attributes, x: LeakyReLU(attributes.get("alpha", 0.01)).forward(x),
    "MatMul": lambda attributes, a, b: a @ b,
    "Relu": lambda attributes, x: ReLU().forward(x),
    "Transpose": lambda attributes, x: x.transpose(attributes.get("perm")),
}
