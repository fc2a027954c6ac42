"""Write a file whole or not at all; read an ``.npz`` whole or not at all."""

import json
import os
import tokenize
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from .errors import CheckpointError, FileError

DAMAGED = (OSError, EOFError, KeyError, ValueError, RuntimeError, MemoryError, OverflowError, NotImplementedError,
           zipfile.BadZipFile, zlib.error, tokenize.TokenError)      # what zipfile and NumPy raise on damaged bytes


@contextmanager
def whole(path, mode="w", **options):
    """Open ``path`` for writing under another name, and rename it when the block ends well.

    A run that is stopped in the middle so leaves the old file, or none, never half of one. Folders on the way are made. A link
    stays one: what it points to is replaced. To a pipe or a device, such as ``/dev/stdout``, it is written as it comes.

    Raises
    ------
    FileError
        Where it cannot be written; the message names it.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a" / "b.txt"
    >>> with whole(path) as file:
    ...     _ = file.write("text")
    >>> path.read_text()
    'text'
    """
    path = Path(path)
    try:
        if is_stream(path):
            with open(path, mode.replace("w", "a"), **options) as file:        # appended: /dev/stdout may lead to a file
                yield file
            return
        target = Path(os.path.realpath(path))
        aside = target.with_name(f".{target.name}.{os.getpid()}")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(aside, mode, **options) as file:
                yield file
            os.replace(aside, target)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise FileError(f"{path}: cannot be written ({error.strerror or error}); choose a folder that can be") from error


def make_folder(path):
    """Make a folder, and those on the way.

    Raises
    ------
    FileError
        Where it cannot be made, or what is there is none.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a" / "b"
    >>> make_folder(path)
    >>> path.is_dir()
    True
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{path}: no folder can be made there ({error.strerror}); choose another one") from error


def is_stream(path):
    """Whether what is written there cannot be replaced by a file."""
    path = Path(path)
    return path.is_relative_to("/dev") or path.is_relative_to("/proc") or (
        path.exists() and not path.is_file() and not path.is_dir())


def write_json(path, value):
    """Write plain values as JSON, whole or not at all."""
    with whole(path) as file:
        json.dump(value, file, indent=2)


def read_json(path, make, expected):
    """``make(value)`` of what a JSON file holds.

    Raises
    ------
    CheckpointError
        Where the file cannot be read, or `make` not be made of it; ``expected`` says what should be there.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.json"
    >>> write_json(path, {"a": 1})
    >>> read_json(path, lambda value: value["a"], "a number")
    1
    """
    try:
        return make(json.loads(Path(path).read_text()))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:      # AttributeError: no dict
        raise CheckpointError(f"{path}: cannot be read ({error}); expected {expected}") from error


def read_arrays(path):
    """All arrays of an ``.npz`` file, by name. Nothing in it runs: pickled objects are refused.

    Raises
    ------
    CheckpointError
        Where the file is missing, is no ``.npz``, holds objects, or any byte of it is damaged.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.npz"
    >>> np.savez(path, a=np.arange(3))
    >>> read_arrays(path)
    {'a': array([0, 1, 2])}
    """
    try:
        with open(path, "rb") as file:
            with zipfile.ZipFile(file) as archive:
                damaged = archive.testzip()     # NumPy alone would stop reading, unchecked, where a damaged header says so
            if damaged:
                raise ValueError(f"the checksum of {damaged} is wrong")
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
    except DAMAGED as error:
        found = "there is no such file" if isinstance(error, FileNotFoundError) else f"{type(error).__name__}: {error}"
        raise CheckpointError(f"{path}: cannot be read ({found}); expected a whole .npz file; copy or make it again") from error
