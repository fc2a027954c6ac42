"""Every error that lightnet raises on purpose.

Each message says four things: the file or node, what was found, what was expected, and the repair where there is one.
All of them are ``LightnetError``, so that a program can catch them in one place and a command line can print them
without a traceback.
"""


class LightnetError(Exception):
    """Base of every error that lightnet raises on purpose."""


class ShapeError(LightnetError, ValueError):
    """An array's shape, or a kernel, stride or padding, does not fit the layer or network."""


class ArgumentError(LightnetError, ValueError):
    """An argument is outside its range."""


class DtypeError(LightnetError, TypeError):
    """An array is not of a floating-point type."""


class FileError(LightnetError, OSError):
    """A file or folder cannot be written."""


class GraphError(LightnetError, ValueError):
    """A graph is wired wrongly: an unknown name, a name or a layer used twice, a node that leads nowhere."""


class BackwardError(LightnetError, RuntimeError):
    """``backward`` was called without a ``forward(..., training=True)`` before it, or ``step`` without ``backward``."""


class BackendError(LightnetError, RuntimeError):
    """The backend asked for does not exist or cannot be used here."""


class ImageError(LightnetError, ValueError):
    """An image file cannot be read as one."""


class DatasetError(LightnetError, ValueError):
    """A data set's folder, split or file list is not as expected."""


class CheckpointError(LightnetError, ValueError):
    """A model file is damaged, of another network, or holds what lightnet does not load."""


class TrainingError(LightnetError, RuntimeError):
    """Training cannot go on: the loss is no longer a number."""
