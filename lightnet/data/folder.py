"""A data set of one's own: a folder with the subfolders ``COVID`` and ``non-COVID``."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import DatasetError
from .images import list_images
from .prepare import CLASSES
from .slices import Slice


def read_folder(folder: str | os.PathLike) -> list[Slice]:
    """List the slices of a folder, one subfolder a class.

    Parameters
    ----------
    folder : path
        With the subfolders ``non-COVID`` and ``COVID``, searched recursively; other subfolders are left alone.

    Returns
    -------
    slices : list of Slice
        All non-COVID ones first, sorted by path. `name` is the path below the class's subfolder, `source` the folder's
        name. No image is opened: the list is of files with an image suffix.

    Raises
    ------
    DatasetError
        The folder or one of the two subfolders is missing, or holds no image.
    """
    folder = Path(folder)
    return [one for label in range(len(CLASSES)) for one in _read_class(folder, label)]


def _read_class(folder: Path, label: int) -> list[Slice]:
    below = folder / CLASSES[label]
    expected = f"expected image files in {' and '.join(str(folder / name) for name in CLASSES)}"
    if not os.path.isdir(below):
        try:
            there = f"its subfolders are {', '.join(sorted(e.name for e in os.scandir(folder) if e.is_dir())) or 'none'}"
        except FileNotFoundError:
            there = "there is no such folder"
        except OSError as error:
            there = error.strerror
        raise DatasetError(f"{folder}: {there}; {expected}")
    files = list_images([below])
    if not files:
        raise DatasetError(f"{below}: no image file; {expected}")
    source = folder.resolve().name
    return [Slice(path.relative_to(below).as_posix(), label, path, source=source) for path in files]
