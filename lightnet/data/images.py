"""Read any image file as one grey picture, by what is in the file and never by its suffix.

Medical slices come as 8-bit, 16-bit, colour, palette and floating-point files, and a suffix proves nothing: 34 of the
``.png`` files of COVID-CT are JPEGs inside. Everything that can go wrong becomes one `ImageError` that names the file.
"""

from __future__ import annotations

import os
import re
import stat
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from ..errors import ImageError

# Plain rasters only. Pillow also opens formats that run other programs (EPS) or are parsed by rarely used code.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM", "JPEG2000")
SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".pbm", ".pgm", ".ppm", ".pnm", ".jp2"}
MAX_PIXELS = 100_000_000


def read_image(source: str | os.PathLike | BinaryIO, name: str | None = None) -> np.ndarray:
    """Read an image file as grey values.

    Parameters
    ----------
    source : path or binary file
        An open file must be seekable; it is read from its start and left open.
    name : str, optional
        What error messages call the file; by default its path.

    Returns
    -------
    grey : ndarray, shape (H, W), float32
        Values in 0..1, as the file is meant to be seen: EXIF orientation applied, transparency composited on black.

    Raises
    ------
    ImageError
        The file is missing, empty, damaged, no image, over 100 million pixels, or holds NaN or infinity.

    Warns
    -----
    UserWarning
        The file holds several frames; the first is read.

    Notes
    -----
    - 8-bit values are divided by 255, 16-bit values by 65535.
    - 32-bit integers (Pillow's mode "I") that all lie in 0..65535 hold 16-bit data and are divided by 65535. Others,
      such as signed Hounsfield units, are scaled by their own minimum and maximum.
    - Floating-point values in 0..1 stay; a wider range is scaled by its own minimum and maximum.
    - Colour becomes luma, ``0.299 R + 0.587 G + 0.114 B``, in steps of 1/255, whatever the colour's depth.
    - Not supported: DICOM, NIfTI, Lab colour; of unsigned 32-bit data only values below 2**31.

    Examples
    --------
    >>> import io
    >>> file = io.BytesIO(b"P5 2 1 255 " + bytes([0, 51]))
    >>> read_image(file, name="two pixels").tolist()
    [[0.0, 0.20000000298023224]]
    """
    if hasattr(source, "read"):
        name = name or str(getattr(source, "name", "image"))
        grey, several = _decode(source, name)
    else:
        name = name or os.fspath(source)
        with _open(source, name) as file:
            grey, several = _decode(file, name)
    if several:
        warnings.warn(f"{name} holds several frames; the first one is read", stacklevel=2)
    return grey


def list_images(paths: Iterable[str | os.PathLike]) -> list[Path]:
    """List the image files that paths name: files as they are, folders recursively.

    Parameters
    ----------
    paths : iterable of paths
        A path that is no folder is kept whatever its suffix, and even if nothing is there: `read_image` then says so. So
        is a folder that cannot be read.

    Returns
    -------
    files : list of Path
        In the order of `paths`, sorted inside a folder. Of a folder only files with a suffix of `SUFFIXES` are taken,
        and nothing whose name starts with a dot (such as the ``._x.png`` that macOS leaves in archives).
    """
    files: list[Path] = []
    for path in map(Path, paths):
        files += sorted(_images_below(path)) if os.path.isdir(path) and can_be_listed(path) else [path]
    return files


def can_be_listed(folder: str | os.PathLike) -> bool:
    """Return whether it is there, and its files may be read."""
    return os.access(folder, os.R_OK | os.X_OK)


def _images_below(folder: Path) -> Iterable[Path]:
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in SUFFIXES and not hidden and path.is_file():
            yield path


def _open(path: str | os.PathLike, name: str) -> BinaryIO:
    try:
        kind = os.stat(path).st_mode
        if stat.S_ISREG(kind):  # opening a pipe would wait for ever, and no device is an image
            return open(path, "rb")
        locked = "" if can_be_listed(path) else " that cannot be read"
        found = f"a folder{locked}" if stat.S_ISDIR(kind) else "no regular file"
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        found = getattr(error, "strerror", None) or str(error)
    raise ImageError(f"{name}: {found}; expected the path of an image file")


def _decode(file: BinaryIO, name: str) -> tuple[np.ndarray, bool]:
    """Return the grey values (H, W) and whether there are further frames."""
    try:
        _verify(file)
        image = Image.open(file, formats=FORMATS)
        pixels = image.width * image.height
        if pixels <= MAX_PIXELS:
            several = getattr(image, "is_animated", False)
            return _grey(ImageOps.exif_transpose(image)), several
        found = f"{image.width} x {image.height} = {pixels:,} pixels"
    except Image.UnidentifiedImageError:
        raise ImageError(f"{name}: {_describe(file)}; expected one of {', '.join(FORMATS)}") from None
    except Image.DecompressionBombError as error:  # Pillow's own limit, met before ours; its first number is the size
        found = f"{int(re.search('[0-9]+', str(error))[0]):,} pixels"
    except _NonFiniteError as error:
        raise ImageError(f"{name}: {error}; expected finite values. Replace them, and save the file again") from None
    except Exception as error:  # a decoder fed damaged bytes raises almost anything: SyntaxError, struct.error, ...
        raise ImageError(f"{name}: damaged, or of a kind that cannot be decoded ({type(error).__name__}: {error}); "
                         f"expected a whole image file. Copy or export it again") from error
    raise ImageError(f"{name}: {found}; expected at most {MAX_PIXELS:,} pixels. Crop or shrink the image first")


def _verify(file: BinaryIO) -> None:
    # Pillow decodes a PNG without looking at the checksums of its pixels; this looks, and costs next to nothing.
    file.seek(0)
    if file.read(8) == b"\x89PNG\r\n\x1a\n":
        Image.open(file, formats=("PNG",)).verify()
    file.seek(0)


class _NonFiniteError(ValueError):
    pass


def _grey(image: Image.Image) -> np.ndarray:
    """Turn a Pillow image of any mode into grey values (H, W) in 0..1, float32."""
    if image.mode.startswith("I;16"):
        values = np.asarray(image)
        visible = values != image.info.get("transparency", -1)  # a PNG may name one grey value as transparent
        return np.where(visible, values, 0).astype(np.float32) / 65535
    if image.mode == "I":
        return _scaled(np.asarray(image), 65535)
    if image.mode == "F":
        return _scaled(np.asarray(image), 1)
    if image.has_transparency_data:
        luma, alpha = np.moveaxis(np.asarray(image.convert("RGBA").convert("LA"), np.float32) / 255, 2, 0)
        return luma * alpha  # over black
    return np.asarray(image.convert("L"), np.float32) / 255


def _scaled(values: np.ndarray, whole_range: int) -> np.ndarray:
    """Divide values (H, W) by the range they lie in, 0..whole_range, or else scale them by their own; float32."""
    values = values.astype(np.float64)  # the width of a float32 range may overflow float32
    low, high = values.min(), values.max()
    if not np.isfinite([low, high]).all():
        raise _NonFiniteError(f"{np.count_nonzero(~np.isfinite(values))} values are NaN or infinite")
    if low < 0 or high > whole_range:
        values, whole_range = values - low, (high - low) or 1
    return (values / whole_range).astype(np.float32)


def _describe(file: BinaryIO) -> str:
    """Say in words what a file that is no image looks like."""
    file.seek(0)
    head = file.read(256)
    if not head:
        return "an empty file"
    if head[128:132] == b"DICM":
        return "a DICOM file (export it as PNG or TIFF first)"
    if head.isascii() and head.decode("ascii").replace("\n", "").replace("\r", "").replace("\t", "").isprintable():
        return f"a text file that starts with {head[:24].decode('ascii')!r}"
    return f"no known image; it starts with {head[:8]!r}"
