"""Other libraries' files: ONNX both ways, and weights in the formats that people have. The only room that knows NCHW."""

from .onnx_export import export_onnx
from .onnx_import import import_onnx
from .weights import read_weights

__all__ = ["export_onnx", "import_onnx", "read_weights"]
