"""lightnet: a from-scratch CNN library to be read, and the network of one paper.

Everything that most programs need is here: ``import lightnet as ln``. Importing it loads neither Numba nor Matplotlib.
"""

from . import data, layers, losses, models
from .backend import backend
from .checks import check_layer, gradcheck
from .cores import num_threads, set_num_threads
from .engine import compile
from .errors import (
    ArgumentError,
    BackendError,
    BackwardError,
    CheckpointError,
    DatasetError,
    DtypeError,
    FileError,
    GraphError,
    ImageError,
    LightnetError,
    ShapeError,
    TrainingError,
)
from .graph import Graph, Node
from .interop import export_onnx, import_onnx
from .losses import softmax, softmax_cross_entropy
from .model_file import load, save
from .optim import SGD
from .sizes import SizeRule

__version__ = "0.2.0"
__all__ = [
    "SGD", "ArgumentError", "BackendError", "BackwardError", "CheckpointError", "DatasetError", "DtypeError", "FileError",
    "Graph", "GraphError", "ImageError", "LightnetError", "Node", "ShapeError", "SizeRule", "TrainingError", "backend",
    "check_layer", "compile", "data", "export_onnx", "gradcheck", "import_onnx", "layers", "load", "losses", "models",
    "num_threads", "save", "set_num_threads", "softmax", "softmax_cross_entropy",
]
