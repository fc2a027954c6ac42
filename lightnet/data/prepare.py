"""From a read image to a network input: one function, in training, prediction, export and explanation alike.

A network carries the numbers that this takes in ``net.meta``, so that a saved model cannot be fed differently from how
it was trained. The two halves are public: training keeps the resized slices and normalizes a batch at a time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from ..errors import CheckpointError, DtypeError, ShapeError
from .images import MAX_PIXELS

CLASSES = ("non-COVID", "COVID")  # a label is an index into these, everywhere
FILTERS = ("bilinear", "bicubic", "lanczos", "box", "hamming", "nearest")
MAX_SIZE = math.isqrt(MAX_PIXELS)


def default_meta() -> dict[str, Any]:
    """Return a fresh network's meta: what `prepare` needs, the class names, and an empty provenance.

    Examples
    --------
    >>> meta = default_meta()
    >>> meta["input_size"], meta["resize"], meta["classes"]
    (227, 'bilinear', ['non-COVID', 'COVID'])
    """
    return {
        "input_size": 227,
        "resize": "bilinear",
        "mean": 0.0,
        "deviation": 1.0,
        "classes": list(CLASSES),
        "provenance": {},
    }


def prepare(image: np.ndarray, meta: Mapping[str, Any]) -> np.ndarray:
    """Turn a grey image into a network input: resize, three equal channels, ``(x - mean) / deviation``.

    Parameters
    ----------
    image : array_like, shape (H, W)
        Grey values in 0..1, as `lightnet.data.images.read_image` returns them; any H and W from 1.
    meta : mapping
        `input_size` S; `resize`, a filter's name; `mean` and `deviation`, each one number or three (one a channel).

    Returns
    -------
    x : ndarray, shape (1, S, S, 3), float32

    Raises
    ------
    ShapeError, DtypeError
        The image has no two dimensions, or no pixels, or is not of a floating-point type.
    CheckpointError
        A key of `meta` is missing or holds something else; the message names the key.

    Notes
    -----
    The aspect ratio is not kept: the whole slice is stretched to a square. Not supported: colour.

    Examples
    --------
    >>> x = prepare(np.full((300, 400), 0.5), {**default_meta(), "input_size": 131, "mean": 0.25, "deviation": 0.5})
    >>> x.shape, x.dtype, float(x[0, 0, 0, 2])
    ((1, 131, 131, 3), dtype('float32'), 0.5)
    """
    return normalize(resize(image, _value(meta, "input_size"), _value(meta, "resize"))[None], meta)


def resize(image: np.ndarray, size: int, filter: str = "bilinear") -> np.ndarray:
    """Resize a grey image to a square.

    Pillow's filters are antialiased: shrinking averages over every source pixel, it does not pick a few.

    Parameters
    ----------
    image : array_like, shape (H, W)
        Any range; bicubic and Lanczos overshoot it at edges.
    size : int
        S, from 1 to 10,000.
    filter : str
        "bilinear", "bicubic", "lanczos", "box", "hamming" or "nearest" (that one is not antialiased).

    Returns
    -------
    square : ndarray, shape (S, S), float32

    Raises
    ------
    ShapeError, DtypeError
        The image has no two dimensions, or no pixels, or is not of a floating-point type.
    CheckpointError
        `size` or `filter` is none of the above. Both come from a network's meta.

    Examples
    --------
    >>> resize([[0.0, 1.0], [0.0, 1.0]], 1).tolist()
    [[0.5]]
    """
    pixels = _float32(image)
    if pixels.ndim != 2 or pixels.size == 0:
        raise ShapeError(f"image of shape {pixels.shape}; expected (H, W), grey, with at least one pixel")
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or not 1 <= size <= MAX_SIZE:
        raise CheckpointError(f"meta['input_size'] is {size!r}; expected an integer from 1 to {MAX_SIZE:,}")
    if filter not in FILTERS:
        raise CheckpointError(f"meta['resize'] is {filter!r}; expected one of {', '.join(FILTERS)}")
    square = Image.fromarray(pixels).resize((int(size), int(size)), Image.Resampling[filter.upper()])
    return np.array(square)  # a copy: what Pillow shares is read-only


def normalize(grey: np.ndarray, meta: Mapping[str, Any]) -> np.ndarray:
    """Turn resized grey images into a batch: three equal channels, ``(x - mean) / deviation``.

    Parameters
    ----------
    grey : array_like, shape (N, H, W)
    meta : mapping
        `mean` and `deviation`, each one number or three (one a channel).

    Returns
    -------
    x : ndarray, shape (N, H, W, 3), float32
        A fresh array. An image gives the same bits alone and in a batch.

    Raises
    ------
    ShapeError, DtypeError
        `grey` has no three dimensions, or is not of a floating-point type.
    CheckpointError
        `mean` or `deviation` is missing or no such number, or a deviation is not positive.

    Examples
    --------
    >>> normalize([[[0.5]]], {"mean": (0.5, 0.25, 0), "deviation": 0.25}).tolist()
    [[[[0.0, 1.0, 2.0]]]]
    """
    pixels = _float32(grey)
    if pixels.ndim != 3:
        raise ShapeError(f"grey images of shape {pixels.shape}; expected (N, H, W)")
    mean, deviation = _three(meta, "mean"), _three(meta, "deviation")
    if not (deviation > 0).all():
        raise CheckpointError(f"meta['deviation'] is {meta['deviation']!r}; expected positive numbers")
    x = np.empty((*pixels.shape, 3), np.float32)
    for c in range(3):  # a channel at a time: NumPy is slow where the last axis is three long
        x[..., c] = (pixels - mean[c]) / deviation[c]
    return x


def _float32(grey: np.ndarray) -> np.ndarray:
    grey = np.asarray(grey)
    if grey.dtype.kind != "f":  # integers are most likely 0..255, which the network would take without a word
        raise DtypeError(f"grey values of type {grey.dtype}; expected floating point, 0..1. Divide 8-bit values by 255")
    return grey.astype(np.float32, copy=False)


def _three(meta: Mapping[str, Any], key: str) -> np.ndarray:
    """Return the finite number, or three of them, that stand under `key`: shape (3,), float32."""
    value = _value(meta, key)
    try:
        numbers = np.broadcast_to(np.asarray(value, np.float32), 3)
    except (TypeError, ValueError):
        numbers = np.array([np.nan])
    if not np.isfinite(numbers).all():
        raise CheckpointError(f"meta[{key!r}] is {value!r}; expected a number, or three (one a channel)")
    return numbers


def _value(meta: Mapping[str, Any], key: str) -> Any:
    try:
        return meta[key]
    except (KeyError, TypeError):
        raise CheckpointError(f"meta has no {key!r}; expected a network's net.meta, or default_meta()") from None
