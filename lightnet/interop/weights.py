"""Arrays by name, from the files in which people keep weights."""

from pathlib import Path

import numpy as np

from ..errors import CheckpointError
from ..files import read_arrays
from .onnx_file import package


def read_weights(path):
    """All arrays of a file or folder by name; nothing in them runs.

    Parameters
    ----------
    path : str or Path
        ``.npz``; ``.safetensors`` (such as a PyTorch state_dict); or a folder of ``.npy`` files, whose names, without suffix, are
        the arrays'.

    Raises
    ------
    CheckpointError
        Where it is missing, damaged, or none of these.
    BackendError
        For ``.safetensors``, where safetensors is not installed.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> np.save(folder / "conv1.weight.npy", np.arange(3))
    >>> read_weights(folder)
    {'conv1.weight': array([0, 1, 2])}
    """
    path = Path(path)
    if path.is_dir():
        return read_folder(path)
    return read_safetensors(path) if path.suffix == ".safetensors" else read_arrays(path)


def read_folder(folder):
    """A folder of ``.npy`` files."""
    files = sorted(folder.glob("*.npy"))
    if not files:
        raise CheckpointError(f"{folder}: no .npy file in it; expected one for each array")
    arrays = {}
    for file in files:
        try:
            arrays[file.stem] = np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError, MemoryError) as error:
            raise CheckpointError(f"{file}: cannot be read ({type(error).__name__}: {error}); expected a whole .npy file; copy "
                                  "or make it again") from error
    return arrays


def read_safetensors(path):
    """A ``.safetensors`` file."""
    numpy = package("safetensors.numpy")
    try:
        return numpy.load_file(path)
    except Exception as error:                          # the package's own error, and the system's
        found = "there is no such file" if isinstance(error, FileNotFoundError) else f"{type(error).__name__}: {error}"
        raise CheckpointError(f"{path}: cannot be read ({found}); expected a whole .safetensors file; copy or make it "
                              "again") from error
