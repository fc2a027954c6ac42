"""One CT slice of a data set: what is known of it, and how to read it, be it a file or a member of a zip archive."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import DatasetError
from .images import read_image
from .prepare import resize


@dataclass(frozen=True)
class Slice:
    """One CT slice on disk.

    Parameters
    ----------
    name : str
        Its file name. Unique inside a `source` only: the Italian set and COVID-CT both have a ``0.jpg``.
    label : int
        An index into `lightnet.data.prepare.CLASSES`: 0 non-COVID, 1 COVID.
    path : Path
        The image file, or the zip archive that holds it.
    member : str, optional
        Its name inside the archive.
    source : str
        The data set it is from, such as "COVID-CT" or "SIRM".
    patient : str, optional
        Where it is known. Slices of one patient are not independent: none may train what another one tests.
    paper : str, optional
        The publication it was cut from, where it is known.
    transposed : bool
        Whether the file stores rows as columns; `read` turns them back.
    """

    name: str
    label: int
    path: Path
    member: str | None = None
    source: str = ""
    patient: str | None = None
    paper: str | None = None
    transposed: bool = False

    def bytes(self) -> bytes:
        """Return the image file's bytes; DatasetError where they cannot be had."""
        try:
            if self.member is None:
                return self.path.read_bytes()
            with zipfile.ZipFile(self.path) as archive:
                return archive.read(self.member)
        except Exception as error:  # a damaged archive raises zlib.error, EOFError, NotImplementedError, ...
            raise DatasetError(f"{self._place}: cannot be read ({type(error).__name__}: {error}); expected an image "
                               f"file{' in a whole archive' if self.member else ''}. Copy it again") from error

    def sha256(self) -> str:
        """Return the SHA-256 of the file's bytes, in hexadecimal digits."""
        return hashlib.sha256(self.bytes()).hexdigest()

    def read(self) -> np.ndarray:
        """Return the slice as `read_image` does: (H, W) float32, grey, 0..1; ImageError where it is no image."""
        grey = read_image(io.BytesIO(self.bytes()), name=self._place)
        return np.ascontiguousarray(grey.T) if self.transposed else grey

    @property
    def _place(self) -> str:
        return str(self.path / self.member if self.member else self.path)


def load(slices: Sequence[Slice], size: int, filter: str = "bilinear",
         progress: Callable[..., Iterable] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Read slices and resize them to squares.

    Parameters
    ----------
    slices : sequence of Slice, N of them
    size : int
        S. Memory: 4 S**2 bytes a slice, 154 MB for the 746 slices of COVID-CT at 227; twice that for a moment.
    filter : str
        As in `lightnet.data.prepare.resize`.
    progress : callable, optional
        Wraps the loop as ``progress(iterable, total=N)``: tqdm, for one.

    Returns
    -------
    greys : ndarray, shape (N, S, S), float32
        Grey values in 0..1, for `lightnet.data.prepare.normalize`.
    labels : ndarray, shape (N,), int64

    Raises
    ------
    DatasetError, ImageError
        The first slice that cannot be read.
    CheckpointError
        `size` or `filter` is not as expected.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding and resizing release Python's lock
        squares: Iterable[np.ndarray] = pool.map(lambda one: resize(one.read(), size, filter), slices)
        greys = list(progress(squares, total=len(slices)) if progress else squares)
    labels = [one.label for one in slices]
    return np.array(greys, np.float32).reshape(-1, size, size), np.array(labels, np.int64)
