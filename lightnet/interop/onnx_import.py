"""An ONNX model as a Graph in NHWC, which can be trained, compiled and explained.

One method for each operator. What a value of the model is here is a `Value`: the Graph's node that computes it, and its layout,
for NHWC inside means that ONNX's view of a value must be remembered:

    NCHW    an image; the Graph has it as (N, H, W, C)
    NHWC    the same after a Transpose: as the Graph has it
    NC11    an image that a global average made: the Graph has (N, C)
    NC      rows of numbers, the same in both
    CHW     an image flattened: ONNX goes through channels first, the Graph through pixels. A Dense after it gets its rows
            permuted once, here, so that nothing is transposed later
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import layers
from ..errors import CheckpointError, LightnetError
from ..graph import IMAGE, Graph
from ..sizes import SizeRule
from . import onnx_operators
from .onnx_export import META
from .onnx_file import FLOATS, array_of, arrays_of, attributes_of, opset_of, package, read_model
from .onnx_layers import LeakyReLU, Softmax

ODD = LightnetError, LookupError, ValueError, TypeError, ArithmeticError, MemoryError       # what damaged files lead to
AXES = {"NCHW": "NCHW", "NHWC": "NHWC", "NC11": "NC11", "NC": "NC", "CHW": "NC"}           # by name; 1: of length 1


class Value(NamedTuple):
    """What a value of the model is in the Graph."""

    name: str
    layout: str


def import_onnx(path, input_shape=None):
    """Read an ONNX model of the operators that lightnet has.

    Parameters
    ----------
    path : str or Path
    input_shape : (H, W, C), optional
        For a model that leaves its image's size open.

    Returns
    -------
    Graph
        In float32, or float64 where the model is. Nodes have the model's names, with ``_`` for a dot.

    Raises
    ------
    CheckpointError
        Where the file is damaged or hostile, or a node is of a kind that lightnet does not have: the message names operator,
        node and attribute.
    BackendError
        Where onnx is not installed.

    Notes
    -----
    One image in, one result out. Not supported: groups, dilations, quantized models, control flow, and all that no CNN for
    images has. A model that ends in a softmax gives a Graph that does.
    """
    model = read_model(path)
    try:
        return Importer(model, Path(path).resolve().parent, input_shape).graph
    except ODD as error:
        raise CheckpointError(f"{path}: {said(error)}") from error


def said(error):
    """An error in words; one that Python raised with its kind."""
    return str(error) if isinstance(error, LightnetError) else f"{type(error).__name__}: {error}"


class Importer:
    """Goes through a model's nodes in order; ``graph`` is the result."""

    def __init__(self, model, folder, input_shape):
        self.folder, self.opset = folder, opset_of(model)
        self.constants = arrays_of(model, folder)
        self.values = {}
        nodes = needed(model.graph)
        self.begin(model, nodes, input_shape)
        self.readers = [name for node in nodes for name in node.input] + [entry.name for entry in model.graph.output]
        for node in nodes:
            self.translate(node)
        (output,) = model.graph.output
        if output.name not in self.values:
            raise CheckpointError(f"its output {output.name!r} is computed by no node")
        result = self.values[output.name]
        if result.name not in self.graph.nodes:
            raise CheckpointError(f"its output {output.name!r} is its input; expected a network")
        if result.layout == "CHW":
            raise CheckpointError(f"its output {output.name!r} is an image in a row, channels first; here pixels come first, "
                                  "and only a product may read such a row")

    def begin(self, model, nodes, input_shape):
        """The Graph, with what the model says of its input."""
        inputs = [entry for entry in model.graph.input if entry.name not in self.constants]
        if len(inputs) != 1 or len(model.graph.output) != 1:
            raise CheckpointError(f"it has {len(inputs)} inputs and {len(model.graph.output)} outputs; expected one of each")
        tensor = inputs[0].type.tensor_type
        dtype = package("onnx").helper.tensor_dtype_to_np_dtype(tensor.elem_type) if tensor.elem_type else np.dtype(np.float32)
        if dtype not in FLOATS:
            raise CheckpointError(f"its input {inputs[0].name!r} is of {dtype}; expected floating point")
        self.dtype = np.dtype(np.float64 if dtype == np.float64 else np.float32)
        readers = [node for node in nodes if inputs[0].name in node.input]
        perms = {tuple(attributes_of(node).get("perm", ())) for node in readers}              # a Transpose alone has one
        layout = "NHWC" if perms == {(0, 3, 1, 2)} else "NCHW"
        sides = [side.dim_value for side in tensor.shape.dim]
        self.batch, kept = sides[0] if sides else 0, self.metadata(model)
        if input_shape is None:
            if len(sides) != 4 or min(sides[1:]) < 1:
                raise CheckpointError(f"its input {inputs[0].name!r} has the shape {sides}, 0 where the model leaves it open; "
                                      "expected an image: give input_shape=(H, W, C)")
            input_shape = (*sides[2:], sides[1]) if layout == "NCHW" else sides[1:]
        sizes = kept.get("sizes")
        self.graph = Graph(input_shape, sizes and SizeRule(*sizes), kept.get("meta"))
        self.shapes = {IMAGE: (1, *self.graph.input_shape)}
        self.values[inputs[0].name] = Value(IMAGE, layout)

    def metadata(self, model):
        """What `export_onnx` kept for us; nothing in other models."""
        texts = {entry.key: entry.value for entry in model.metadata_props}
        try:
            kept = json.loads(texts.get(META, "{}"))
            return kept if isinstance(kept, dict) and isinstance(kept.get("meta", {}), dict) else {}
        except ValueError:
            return {}

    def translate(self, node):
        """One node of the model."""
        title = f"node {node.name or node.output[0]!r} ({node.op_type})"
        operator = OPERATORS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if operator is None:
            raise CheckpointError(f"{title}: no operator that lightnet has; it has {', '.join(sorted(OPERATORS))}")
        for name in node.input:
            if name and name not in self.values and name not in self.constants:
                raise CheckpointError(f"{title}: its input {name!r} is made by no earlier node: it is missing, or nodes read "
                                      "each other in a circle")
        try:
            operator(self, node, attributes_of(node), *node.input)
        except ODD as error:
            raise CheckpointError(f"{title}: {said(error)}") from error

    # What the operators use

    def add(self, node, layer, *values, layout=None):
        """Put a layer into the Graph, and note what its output is."""
        name = self.unused((node.name or node.op_type.lower()).replace(".", "_"))
        shape = layer.output_shape(*(self.shapes[value.name] for value in values))
        self.graph.add(name, layer, *(value.name for value in values))
        self.shapes[name] = shape
        self.values[node.output[0]] = Value(name, layout or values[0].layout)

    def unused(self, name):
        """The name, or one with a number."""
        taken, number = {IMAGE, *self.graph.nodes}, 2
        while name in taken:
            name, number = f"{name.rpartition('__')[0] or name}__{number}", number + 1
        return name

    def value(self, name, *layouts):
        """What the model calls so: computed, and in one of these layouts."""
        if name not in self.values:
            raise CheckpointError(f"its input {name!r} is a constant; expected a computed value")
        value = self.values[name]
        if layouts and value.layout not in layouts:
            raise CheckpointError(f"its input {name!r} is {value.layout}; expected {' or '.join(layouts)}")
        return value

    def constant(self, name):
        """An array of the model, floating point in the Graph's precision."""
        if name not in self.constants:
            raise CheckpointError(f"its input {name!r} is computed; expected a constant")
        array = self.constants[name]
        return array.astype(self.dtype) if array.dtype in FLOATS else array

    def optional(self, names, k):
        """The k-th input, an array, or None."""
        return self.constant(names[k]) if len(names) > k and names[k] else None

    def axis(self, value, axis):
        """Which axis is meant: one of the layout's letters."""
        return AXES[value.layout][axis]

    # One method for each operator

    def conv(self, node, attributes, x, *arrays):
        value = self.value(x, "NCHW")
        weight, bias = self.filters(attributes, self.constant(arrays[0])), self.optional(arrays, 1)
        self.add(node, onnx_operators.conv(attributes, weight, bias, self.shapes[value.name]), value)

    def conv_transpose(self, node, attributes, x, *arrays):
        value = self.value(x, "NCHW")
        weight, bias = self.filters(attributes, self.constant(arrays[0])), self.optional(arrays, 1)
        self.add(node, onnx_operators.conv_transpose(attributes, weight, bias, self.shapes[value.name]), value)

    def filters(self, attributes, weight):
        """The weight, if it is of images and as large as the node says."""
        kernel = attributes.get("kernel_shape", weight.shape[2:])
        if weight.ndim != 4 or tuple(kernel) != weight.shape[2:]:
            raise CheckpointError(f"a weight of shape {weight.shape} with kernel_shape {kernel}; expected (F, C, KH, KW)")
        return weight

    def batch_norm(self, node, attributes, x, *arrays):
        if attributes.get("training_mode") or attributes.get("spatial", 1) != 1 or any(node.output[1:]):
            raise CheckpointError("training_mode 1 and spatial 0 are not supported")
        self.add(node, onnx_operators.batch_norm(attributes, *map(self.constant, arrays)), self.value(x, "NCHW"))

    def max_pool(self, node, attributes, x):
        if any(node.output[1:]):
            raise CheckpointError("its second output, Indices, is not supported")
        value = self.value(x, "NCHW")
        self.add(node, onnx_operators.max_pool(attributes, self.shapes[value.name]), value)

    def average_pool(self, node, attributes, x):
        value = self.value(x, "NCHW")
        self.add(node, onnx_operators.average_pool(attributes, self.shapes[value.name]), value)

    def global_average(self, node, attributes, x):
        self.add(node, layers.GlobalAvgPool(), self.value(x, "NCHW"), layout="NC11")

    def reduce_mean(self, node, attributes, x, *axes):
        value = self.value(x, "NCHW")
        found = attributes.get("axes", self.optional(axes, 0))
        if found is None or {self.axis(value, axis) for axis in np.ravel(found)} != {"H", "W"}:
            raise CheckpointError(f"axes {found}: only the mean over H and W, a global average, is supported")
        self.add(node, layers.GlobalAvgPool(), value, layout="NC11" if attributes.get("keepdims", 1) else "NC")

    def elu(self, node, attributes, x):
        self.add(node, layers.ELU(attributes.get("alpha", 1.0)), self.value(x))

    def relu(self, node, attributes, x):
        self.add(node, layers.ReLU(), self.value(x))

    def leaky_relu(self, node, attributes, x):
        self.add(node, LeakyReLU(attributes.get("alpha", 0.01)), self.value(x))

    def softmax(self, node, attributes, x):
        value = self.value(x, "NCHW", "NHWC", "NC11", "NC")
        axis = self.axis(value, attributes.get("axis", 1 if self.opset < 13 else -1))
        if axis != "C" or (self.opset < 13 and value.layout == "NCHW"):
            raise CheckpointError("only over the channels")
        self.add(node, Softmax(), value)

    def dropout(self, node, attributes, x, *more):
        if any(node.output[1:]):
            raise CheckpointError("its second output, the mask, is not supported")
        rate = self.optional(more, 0) if self.opset >= 12 else attributes.get("ratio")
        self.add(node, layers.Dropout(0.5 if rate is None else round(float(rate), 6)), self.value(x))

    def concat(self, node, attributes, *names):
        if all(name in self.constants for name in names):
            self.constants[node.output[0]] = np.concatenate([self.constants[name] for name in names], attributes["axis"])
            return
        values = [self.value(name, "NCHW", "NHWC", "NC11", "NC") for name in names]
        if len({value.layout for value in values}) > 1 or self.axis(values[0], attributes["axis"]) != "C":
            found = ", ".join(value.layout for value in values)
            raise CheckpointError(f"axis {attributes['axis']} of {found}: only channels of values of one layout are joined")
        self.add(node, layers.Concat(), *values)

    def sum(self, node, attributes, *names):
        constant = [name for name in names if name in self.constants]
        if constant:
            if len(names) != 2:
                raise CheckpointError(f"{len(names)} inputs and {len(constant)} of them constant; expected two, or none constant")
            return self.add_bias(node, *[name for name in names if name not in self.constants], *constant)
        values = [self.value(name) for name in names]
        if len({value.layout for value in values}) > 1:
            raise CheckpointError(f"a sum of {' and '.join(value.layout for value in values)}; expected values of one layout")
        if len(values) == 1:
            self.values[node.output[0]] = values[0]
        else:
            self.add(node, layers.Add(), *values)

    def add_bias(self, node, x, name):
        """A constant added to what a layer without bias made is its bias."""
        value, array = self.value(x, "NCHW", "NC"), self.constant(name)
        maker = self.graph.nodes.get(value.name)
        channels = self.shapes[value.name][-1]
        along = (channels, 1, 1) if value.layout == "NCHW" else (channels,)
        names = [name for name, other in self.values.items() if other.name == value.name]       # x, and others for the same
        if not maker or "bias" not in maker.layer.params or sum(map(self.readers.count, names)) != len(names) or (
                array.size != channels or array.shape[-len(along):] != along):
            raise CheckpointError(f"the constant {name!r} of shape {array.shape} is added: only a bias for the channels of the "
                                  "convolution or product before it is supported")
        maker.layer.params["bias"] = maker.layer.params["bias"] + array.reshape(-1)
        self.values[node.output[0]] = value

    def gemm(self, node, attributes, x, *arrays):
        if attributes.get("transA"):
            raise CheckpointError("transA 1 is not supported")
        weight, bias = self.constant(arrays[0]), self.optional(arrays, 1)
        weight = attributes.get("alpha", 1.0) * (weight.T if attributes.get("transB") else weight)
        self.dense(node, x, weight, None if bias is None else attributes.get("beta", 1.0) * bias)

    def matmul(self, node, attributes, x, weight):
        self.dense(node, x, self.constant(weight))

    def dense(self, node, x, weight, bias=None):
        """A Dense; its rows in the order in which the Graph has what it reads."""
        value = self.value(x, "NC", "CHW")
        if weight.ndim != 2 or weight.shape[0] != self.shapes[value.name][-1]:
            raise CheckpointError(f"a weight of shape {weight.shape} for {self.shapes[value.name][-1]} numbers a row")
        if value.layout == "CHW":
            flattened = value.name
            while len(self.shapes[flattened]) != 4:                         # an activation may stand between
                flattened = self.graph.nodes[flattened].inputs[0]
            _, H, W, C = self.shapes[flattened]
            weight = weight.reshape(C, H, W, -1).transpose(1, 2, 0, 3).reshape(H * W * C, -1)
        layer = layers.Dense(*weight.shape)
        layer.params["weight"] = np.ascontiguousarray(weight, self.dtype)
        layer.params["bias"] = np.zeros(weight.shape[1], self.dtype)
        if bias is not None:
            layer.params["bias"] += bias.reshape(-1)                        # (F,), (1, F), or one number
        self.add(node, layer, value, layout="NC")

    def flatten(self, node, attributes, x):
        value = self.value(x, "NCHW", "NHWC", "NC11", "NC")
        if attributes.get("axis", 1) not in (1, 1 - len(AXES[value.layout])):
            raise CheckpointError(f"axis {attributes['axis']}: only 1, all of an image in one row, is supported")
        self.in_a_row(node, value)

    def in_a_row(self, node, value):
        """Each image as one row of numbers."""
        if value.layout in ("NC11", "NC"):
            self.values[node.output[0]] = value._replace(layout="NC")
        else:
            _, H, W, _ = self.shapes[value.name]
            self.add(node, layers.Flatten(), value, layout="CHW" if value.layout == "NCHW" and H * W > 1 else "NC")

    def reshape(self, node, attributes, x, *shape):
        value = self.value(x, "NCHW", "NHWC", "NC11", "NC")
        wanted = [int(side) for side in attributes.get("shape", self.constants.get(shape[0]) if shape else ())]
        numbers = int(np.prod(self.shapes[value.name][1:]))
        if len(wanted) == 2 and wanted[0] in (-1, 0, 1, self.batch) and wanted[1] in (-1, numbers) and wanted != [-1, -1]:
            self.in_a_row(node, value)
        elif value.layout in ("NC11", "NC") and len(wanted) == 4 and wanted[1] in (-1, 0, numbers) and wanted[2:] == [1, 1]:
            self.values[node.output[0]] = value._replace(layout="NC11")
        else:
            raise CheckpointError(f"to {wanted}: only to one row an image is supported")

    def squeeze(self, node, attributes, x, *axes):
        value, found = self.value(x, "NC11"), attributes.get("axes", self.optional(axes, 0))
        if found is not None and sorted(axis % 4 for axis in np.ravel(found)) != [2, 3]:
            raise CheckpointError(f"axes {found}: only 2 and 3 are supported")
        self.values[node.output[0]] = value._replace(layout="NC")

    def unsqueeze(self, node, attributes, x, *axes):
        found = attributes.get("axes", self.optional(axes, 0))
        if x in self.constants:
            self.constants[node.output[0]] = np.expand_dims(self.constants[x], tuple(int(axis) for axis in np.ravel(found)))
        elif sorted(axis % 4 for axis in np.ravel(found)) == [2, 3]:
            self.values[node.output[0]] = self.value(x, "NC")._replace(layout="NC11")
        else:
            raise CheckpointError(f"axes {found}: only 2 and 3 are supported")

    def transpose(self, node, attributes, x):
        value, order = self.value(x, "NCHW", "NHWC"), tuple(attributes.get("perm", ()))
        layout = "".join(AXES[value.layout][axis] for axis in order)
        if layout not in ("NCHW", "NHWC"):
            raise CheckpointError(f"perm {order}: only between NCHW and NHWC")
        self.values[node.output[0]] = value._replace(layout=layout)

    def identity(self, node, attributes, x):
        known = self.constants if x in self.constants else self.values
        known[node.output[0]] = known[x]

    # Arithmetic on shapes, as in PyTorch's x.view(x.size(0), -1); the number of images is 0, which for Reshape means: as it is

    def shape(self, node, attributes, x):
        value = self.value(x, "NCHW", "NHWC", "NC11", "NC")
        _, *sides, C = self.shapes[value.name]
        known = dict(zip("HW", sides), N=0, C=C) | {"1": 1}
        self.constants[node.output[0]] = np.array([known[letter] for letter in AXES[value.layout]])

    def gather(self, node, attributes, x, indices):
        self.constants[node.output[0]] = np.take(self.constants[x], self.constants[indices], attributes.get("axis", 0))

    def cast(self, node, attributes, x):
        known = self.constants[x]
        self.constants[node.output[0]] = known.astype(package("onnx").helper.tensor_dtype_to_np_dtype(attributes["to"]))

    def constant_node(self, node, attributes):
        (kind, value), = attributes.items()
        known = {"value": lambda: array_of(value, self.folder), "value_float": lambda: np.float32(value),
                 "value_int": lambda: np.int64(value), "value_ints": lambda: np.array(value, np.int64),
                 "value_floats": lambda: np.array(value, np.float32)}
        self.constants[node.output[0]] = np.asarray(known[kind]())


OPERATORS = {
    "Add": Importer.sum, "AveragePool": Importer.average_pool, "BatchNormalization": Importer.batch_norm, "Cast": Importer.cast,
    "Concat": Importer.concat, "Constant": Importer.constant_node, "Conv": Importer.conv,
    "ConvTranspose": Importer.conv_transpose, "Dropout": Importer.dropout, "Elu": Importer.elu, "Flatten": Importer.flatten,
    "Gather": Importer.gather, "Gemm": Importer.gemm, "GlobalAveragePool": Importer.global_average,
    "Identity": Importer.identity, "LeakyRelu": Importer.leaky_relu, "MatMul": Importer.matmul, "MaxPool": Importer.max_pool,
    "ReduceMean": Importer.reduce_mean, "Relu": Importer.relu, "Reshape": Importer.reshape, "Shape": Importer.shape,
    "Softmax": Importer.softmax, "Squeeze": Importer.squeeze, "Sum": Importer.sum, "Transpose": Importer.transpose,
    "Unsqueeze": Importer.unsqueeze,
}


def needed(graph):
    """The nodes on which the outputs depend, in the model's order."""
    wanted, kept = {entry.name for entry in graph.output}, []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]
