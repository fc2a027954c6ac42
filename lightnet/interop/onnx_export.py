"""A Graph as an ONNX model, node by node, under the same names.

Images become NCHW, weights (F, C, KH, KW). Nothing else changes: batch norm stays unless `fold` is asked for, and there are more
nodes than the Graph has only where ONNX needs them for the same numbers: its global average keeps the axes H and W, which a
Flatten removes, and its Flatten goes through the channels first, so that lightnet's needs a Transpose before it.
"""

from typing import NamedTuple

import numpy as np

from .. import layers
from ..errors import GraphError
from ..files import whole
from ..graph import IMAGE
from ..model_file import as_text
from ..transform import fold_batch_norm
from .onnx_file import package
from .onnx_layers import LeakyReLU, Softmax

OPSET, IR_VERSION = 21, 10                          # of 2024, which today's engines read
OUTPUT, PROBABILITIES = "logits", "probabilities"
META = "lightnet"                                   # the key under which a model holds what lightnet itself wants back


def export_onnx(net, path, fold=False, softmax=False):
    """Write a network as an ONNX model.

    Input "image" (N, 3, H, W) and output "logits" (N, classes), for any N and the image size of ``net.input_shape``. Names of
    nodes and the shapes of all values are kept; ``net.meta`` (how images are scaled, class names, where it comes from) is in the
    model's metadata.

    Parameters
    ----------
    net : Graph
    path : str or Path
    fold : bool
        Put each batch norm into the convolution before it (`lightnet.transform.fold_batch_norm`): faster, and no longer trainable
        in the same way.
    softmax : bool
        End in a softmax: the output is then called "probabilities".

    Raises
    ------
    GraphError
        For a layer that has no operator in ONNX: one of your own.
    BackendError
        Where onnx is not installed.
    FileError
        Where the file cannot be written.

    Examples
    --------
    >>> import lightnet as ln, tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "net.onnx")
    >>> ln.export_onnx(ln.models.light_cnn(seed=0), path)           # doctest: +SKIP
    """
    data = to_model(net, fold, softmax).SerializeToString()
    with whole(path, "wb") as file:
        file.write(data)


def to_model(net, fold=False, softmax=False):
    """The network as an ``onnx.ModelProto``."""
    onnx = package("onnx")
    net = fold_batch_norm(net) if fold else net
    shapes, kind = net.shapes(), onnx.helper.np_dtype_to_tensor_dtype(net.dtype)
    names = {IMAGE: IMAGE, **{name: name for name in net.nodes}, net.output_name: PROBABILITIES if softmax else OUTPUT}
    for name in (OUTPUT, PROBABILITIES) if softmax else (OUTPUT,):
        if name in net.nodes and name != net.output_name:
            raise GraphError(f"node {name!r}: the output is called so in ONNX; give the node another name")
    nodes, arrays = [], {}
    for node in net.nodes.values():
        if softmax and node.name == net.output_name:
            names[node.name] = OUTPUT                               # the value before the softmax
        operation = operator_of(node, [shapes[name] for name in node.inputs])
        nodes += in_onnx(onnx, node, operation, names)
        arrays.update({f"{node.name}.{key}": array for key, array in operation.arrays.items()})
    if softmax:
        nodes.append(onnx.helper.make_node("Softmax", [OUTPUT], [PROBABILITIES], PROBABILITIES, axis=-1))
    last = nodes[-1].output[0]
    values = {names[name]: nchw(shape) for name, shape in shapes.items()}
    declared = {name: onnx.helper.make_tensor_value_info(name, kind, ["N", *shape[1:]]) for name, shape in values.items()}
    output = declared.pop(last, None) or onnx.helper.make_tensor_value_info(last, kind, ["N", *values[OUTPUT][1:]])
    graph = onnx.helper.make_graph(
        nodes, "lightnet", [declared.pop(IMAGE)], [output], value_info=list(declared.values()),
        initializer=[onnx.numpy_helper.from_array(np.array(array, order="C"), name) for name, array in arrays.items()])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
                                   producer_name="lightnet", doc_string="Not for clinical use.")
    kept = {"meta": net.meta, "sizes": net.sizes}
    onnx.helper.set_model_props(model, {META: as_text(kept), **{key: as_text(value) for key, value in net.meta.items()}})
    return model


class Operation(NamedTuple):
    """What a layer is in ONNX: operator, attributes, and arrays, which are its inputs after the layer's own."""

    operator: str
    attributes: dict = {}
    arrays: dict = {}
    before: tuple = ()                              # (operator, attributes) of a node that its input goes through first
    after: tuple = ()                               # and of one that its output goes through


def in_onnx(onnx, node, operation, names):
    """An operation as one to three nodes."""
    inputs, output, made = [names[name] for name in node.inputs], names[node.name], []
    if operation.before:
        kind, attributes = operation.before
        made.append(onnx.helper.make_node(kind, inputs, [f"{node.name}/input"], f"{node.name}/input", **attributes))
        inputs = made[-1].output
    result = f"{node.name}/result" if operation.after else output
    arrays = [f"{node.name}.{key}" for key in operation.arrays]
    made.append(onnx.helper.make_node(operation.operator, [*inputs, *arrays], [result], node.name, **operation.attributes))
    if operation.after:
        kind, attributes = operation.after
        made.append(onnx.helper.make_node(kind, [result], [output], f"{node.name}/output", **attributes))
    return made


def operator_of(node, shapes):
    """The Operation of a node."""
    make = OPERATORS.get(type(node.layer))
    if make is None:
        raise GraphError(f"node {node.name!r} is a {type(node.layer).__name__}, which has no operator in ONNX; expected one of "
                         f"{', '.join(sorted(kind.__name__ for kind in OPERATORS))}")
    if any(len(shape) not in (2, 4) for shape in shapes):
        raise GraphError(f"node {node.name!r} reads values of {shapes}; expected images (N, H, W, C), or (N, C)")
    return make(node.layer, shapes)


def nchw(shape):
    """A shape of NHWC in NCHW."""
    return (shape[0], shape[3], *shape[1:3]) if len(shape) == 4 else tuple(shape)


def pads(layer):
    """Padding as [top, left, bottom, right]."""
    (top, bottom), (left, right) = layer.padding
    return [top, left, bottom, right]


# One function for each layer: (layer, shapes of its inputs) -> Operation

def conv(layer, shapes):
    attributes = {"kernel_shape": layer.kernel, "strides": layer.stride, "pads": pads(layer)}
    return Operation("Conv", attributes, {"weight": layer.params["weight"].transpose(3, 2, 0, 1), "bias": layer.params["bias"]})


def conv_transpose(layer, shapes):
    operation = conv(layer, shapes)                 # the weight (C, F, KH, KW): that of the convolution whose adjoint it is
    return operation._replace(operator="ConvTranspose",
                              attributes={**operation.attributes, "output_padding": layer.output_padding})


def batch_norm(layer, shapes):
    attributes = {"epsilon": layer.eps, "momentum": 1 - layer.momentum}         # ONNX's is the old value's share
    return Operation("BatchNormalization", attributes, {**layer.params, **layer.state})


def max_pool(layer, shapes):
    return Operation("MaxPool", pool_attributes(layer))


def average_pool(layer, shapes):
    return Operation("AveragePool", {**pool_attributes(layer), "count_include_pad": int(layer.count_include_pad)})


def pool_attributes(layer):
    """What both pools have."""
    return {"kernel_shape": layer.kernel, "strides": layer.stride, "pads": pads(layer), "ceil_mode": int(layer.ceil_mode)}


def dense(layer, shapes):
    return Operation("Gemm", arrays={"weight": layer.params["weight"], "bias": layer.params["bias"]})


def flatten(layer, shapes):
    transpose = ("Transpose", {"perm": (0, 2, 3, 1)}) if len(shapes[0]) == 4 else ()
    return Operation("Flatten", before=transpose)


def dropout(layer, shapes):
    return Operation("Dropout", arrays={"rate": np.array(layer.rate, np.float32)})


OPERATORS = {
    layers.Conv2D: conv,
    layers.ConvTranspose2D: conv_transpose,
    layers.BatchNorm2D: batch_norm,
    layers.ELU: lambda layer, shapes: Operation("Elu", {"alpha": float(layer.alpha)}),
    layers.ReLU: lambda layer, shapes: Operation("Relu"),
    layers.MaxPool2D: max_pool,
    layers.AvgPool2D: average_pool,
    layers.GlobalAvgPool: lambda layer, shapes: Operation("GlobalAveragePool", after=("Flatten", {})),
    layers.Concat: lambda layer, shapes: Operation("Concat", {"axis": 1}),
    layers.Add: lambda layer, shapes: Operation("Add" if len(shapes) == 2 else "Sum"),
    layers.Dense: dense,
    layers.Flatten: flatten,
    layers.Dropout: dropout,
    Softmax: lambda layer, shapes: Operation("Softmax", {"axis": 1}),
    LeakyReLU: lambda layer, shapes: Operation("LeakyRelu", {"alpha": float(layer.alpha)}),
}
