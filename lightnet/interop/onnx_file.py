"""Read ONNX models that may be damaged or hostile: every array is checked against the bytes that are there.

A model file is a Protocol Buffers message. It may say anything: arrays larger than any memory, weights in other files anywhere on
the disk, nodes that read each other in a circle. Nothing of it is believed before it was looked at.
"""

import importlib
from pathlib import Path

import numpy as np

from ..errors import BackendError, CheckpointError

OLDEST = 7                                          # operator set: before it attributes and broadcasting were others
FLOATS = {np.dtype(name) for name in ("float16", "float32", "float64")}


def package(name):
    """The module of that name of an optional dependency.

    Raises
    ------
    BackendError
        Where it is not installed; the message says how to.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise BackendError(f"{name.split('.')[0]} cannot be imported ({error}): in lightnet's checkout, "
                           "pip install -e '.[onnx]'") from error


def read_model(path):
    """The model in a file: one whose operators lightnet may know.

    Raises
    ------
    CheckpointError
        Where the file is missing, no ONNX model, or written for operators from before opset 7.
    """
    onnx = package("onnx")
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:                      # what Protocol Buffers raise depends on their version
        found = "there is no such file" if isinstance(error, FileNotFoundError) else f"{type(error).__name__}: {error}"
        raise CheckpointError(f"{path}: cannot be read ({found}); expected a whole .onnx file; copy or make it again") from error
    if not model.graph.node:
        raise CheckpointError(f"{path}: no ONNX model, for it has no node; expected a whole .onnx file; copy or make it again")
    if opset_of(model) < OLDEST:
        raise CheckpointError(f"{path}: written for opset {opset_of(model)}; expected {OLDEST} or later: "
                              "onnx.version_converter can convert it")
    return model


def opset_of(model):
    """The version of ONNX's own operators that a model is written for."""
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)


def arrays_of(model, folder):
    """All initializers of a model by name; those kept in other files are read only from the model's own folder.

    Raises
    ------
    CheckpointError
        Where an array's bytes are not those that its shape needs, or lie elsewhere.
    """
    if model.graph.sparse_initializer:
        raise CheckpointError(f"array {model.graph.sparse_initializer[0].values.name!r} is sparse, which is not supported")
    return {tensor.name: array_of(tensor, folder) for tensor in model.graph.initializer}


def array_of(tensor, folder):
    """A tensor's numbers."""
    onnx = package("onnx")
    try:
        if any(side < 0 for side in tensor.dims):
            raise ValueError("a side is negative")
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            external = onnx.external_data_helper.ExternalDataInfo(tensor)
            inside(folder, external.location)
            tensor = onnx.TensorProto.FromString(tensor.SerializeToString())            # a copy: the model stays as it is
            onnx.external_data_helper.load_external_data_for_tensor(tensor, str(folder))
        return onnx.numpy_helper.to_array(tensor)
    except CheckpointError as error:
        raise CheckpointError(f"array {tensor.name!r}: {error}") from error
    except Exception as error:                      # NumPy's, Protocol Buffers' and the checker's, for damaged numbers
        raise CheckpointError(f"array {tensor.name!r} of shape {tuple(tensor.dims)[:8]} cannot be read ({type(error).__name__}: "
                              f"{error}); copy or make the file again") from error


def inside(folder, location):
    """Refuse a file that is not in this folder, links followed."""
    place = (Path(folder) / location).resolve()
    if not location or not place.is_relative_to(Path(folder).resolve()):
        raise CheckpointError(f"its numbers are said to be in {location!r}, outside the model's folder, which is not read")
    if not place.is_file():
        raise CheckpointError(f"its numbers are said to be in {location!r}, and there is no such file; put it beside the model")


def attributes_of(node):
    """A node's attributes by name: numbers, tuples of numbers, text, or a tensor."""
    onnx = package("onnx")
    found = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else tuple(value) if isinstance(value, list) else value
            for name, value in found.items()}
