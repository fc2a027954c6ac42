"""The paper's augmentation of the training set: each slice, and it rotated, scaled and with noise, four in all.

``python -m lightnet.data.augment [FILE_OR_FOLDER ...]`` draws some slices beside their copies: ``runs/augmented.png``.

References
----------
.. [1] Polsinelli, Cinque & Placidi 2020, "A light CNN for detecting COVID-19 from CT scans of the chest",
   arXiv:2004.12837, on data augmentation. It gives the two ranges; the noise's deviation, the black border and that
   the copies are drawn once, not anew every epoch, are our reading.
"""

import argparse
import copy
import math
import sys

import numpy as np
from PIL import Image

from ..errors import ArgumentError, DtypeError, LightnetError, ShapeError
from . import phantom
from .images import list_images, read_image
from .prepare import resize

DEGREES, FACTORS, DEVIATION = (0, 90), (1.1, 1.3), 0.05  # two ranges to draw from uniformly, and the noise


def augment(greys, labels, seed):
    """Return the slices, then all of them rotated, then all scaled, then all with noise.

    Parameters
    ----------
    greys : array_like, shape (M, S, S), floating point
        Grey values in 0..1, before normalization, as `lightnet.data.slices.load` returns them. Not written.
    labels : array_like, shape (M,)
    seed : int or numpy.random.Generator
        Every slice has a generator of its own, spawned from it: the first slices of a set get the copies that they get
        without the others. One Generator gives other copies at its next call.

    Returns
    -------
    greys : ndarray, shape (4M, S, S), float32
        The first M are the originals, bit for bit; the copies of slice i are M + i, 2M + i and 3M + i. Memory: 315 MB
        for the paper's 382 slices at 227.
    labels : ndarray, shape (4M,)

    Raises
    ------
    ShapeError, DtypeError, ArgumentError
        `greys` has no three dimensions, or is not of a floating-point type, or not in 0..1; or not M `labels`.

    Examples
    --------
    >>> greys, labels = augment(np.full((2, 8, 8), 0.5), [0, 1], seed=0)
    >>> greys.shape, greys.dtype, labels.tolist()
    ((8, 8, 8), dtype('float32'), [0, 1, 0, 1, 0, 1, 0, 1])
    """
    greys, labels = checked(greys, "(M, S, S)"), np.asarray(labels)
    if labels.shape != greys.shape[:1]:
        raise ShapeError(f"labels of shape {labels.shape} for greys {greys.shape}; expected one label a slice")
    augmented = np.empty((4, *greys.shape), np.float32)
    augmented[0] = greys
    for i, (degrees, factor, rng) in enumerate(draws(len(greys), seed)):
        augmented[1:, i] = rotate(greys[i], degrees), scale(greys[i], factor), add_noise(greys[i], DEVIATION, rng)
    return augmented.reshape(-1, *greys.shape[1:]), np.tile(labels, 4)  # (4, M, S, S) -> (4M, S, S)


def draws(count, seed):
    """Yield an angle in degrees and a factor for each of `count` slices, and the generator that draws its noise.

    Examples
    --------
    >>> [f"{degrees:.1f} degrees, {factor:.2f} times" for degrees, factor, rng in draws(2, seed=0)]
    ['84.9 degrees, 1.16 times', '60.9 degrees, 1.15 times']
    """
    for rng in np.random.default_rng(seed).spawn(count):
        yield rng.uniform(*DEGREES), rng.uniform(*FACTORS), rng


def rotate(grey, degrees):
    """Turn a grey image (H, W) about its centre, counterclockwise as it is seen: 90 degrees is `numpy.rot90`.

    The size stays, so corners are cut off. What was outside is black, as air is; a mirrored border would show anatomy
    twice. Bilinear, so no value leaves the range of the image.

    Raises ShapeError, DtypeError or ArgumentError: `grey` is no grey image in 0..1, or `degrees` is not finite.

    Examples
    --------
    >>> rotate([[0.0, 1.0], [0.0, 0.5]], 90).tolist()
    [[1.0, 0.5], [0.0, 0.0]]
    """
    image = Image.fromarray(checked(grey, "(H, W)"))
    if not math.isfinite(degrees):
        raise ArgumentError(f"rotate: degrees is {degrees}; expected a finite number")
    return np.array(image.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=0))


def scale(grey, factor):
    """Enlarge a grey image (H, W) about its centre and keep its size, so the border is cropped. Bilinear.

    Raises ShapeError, DtypeError or ArgumentError: `grey` is no grey image in 0..1, or `factor` is below 1 (not
    supported: shrinking, which would have to make up a border) or leaves less than a pixel.

    Examples
    --------
    >>> scale([[0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]], 2)[1].tolist()
    [0.75, 1.0, 1.0, 0.75]
    """
    grey = checked(grey, "(H, W)")
    H, W = grey.shape
    if not 1 <= factor <= min(H, W):
        raise ArgumentError(f"scale: factor is {factor}; expected 1 to {min(H, W)}, the image's shorter side")
    left, top = (W - W / factor) / 2, (H - H / factor) / 2
    return np.array(Image.fromarray(grey).resize((W, H), Image.Resampling.BILINEAR, (left, top, W - left, H - top)))


def add_noise(grey, deviation, rng):
    """Add Gaussian noise of mean 0 to every pixel of a grey image (H, W), and clip to 0..1.

    Clipped because no image file holds a value outside: a network could tell the copy by it. So what is nearly black or
    white gets less noise than `deviation`, and black becomes a little brighter on average.

    Raises ShapeError, DtypeError or ArgumentError: `grey` is no grey image in 0..1, or `deviation` is negative or not
    finite.

    Examples
    --------
    >>> noisy = add_noise(np.full((200, 200), 0.5), 0.05, np.random.default_rng(0))
    >>> f"{noisy.mean():.3f} +- {noisy.std():.3f}"
    '0.500 +- 0.050'
    """
    grey = checked(grey, "(H, W)")
    if not 0 <= deviation < math.inf:
        raise ArgumentError(f"add_noise: deviation is {deviation}; expected a finite number from 0, in grey values")
    noise = np.float32(deviation) * rng.standard_normal(grey.shape, np.float32)
    return np.clip(grey + noise, 0, 1)


def checked(greys, expected):
    """Return grey values as float32 if they have the rank of `expected`, such as "(H, W)", and pixels, in 0..1."""
    greys = np.asarray(greys)
    if greys.ndim != expected.count(",") + 1 or 0 in greys.shape[-2:]:
        raise ShapeError(f"grey values of shape {greys.shape}; expected {expected}, with pixels")
    if greys.dtype.kind != "f":
        raise DtypeError(f"grey values of type {greys.dtype}; expected floating point. Divide 8-bit values by 255")
    # With slack: bicubic and Lanczos resizing overshoot at edges. Values of 0..255, or normalized, are further off.
    if greys.size and not (greys.min() > -0.5 and greys.max() < 1.5):  # nor is NaN
        found = f"grey values from {greys.min():g} to {greys.max():g}"
        raise ArgumentError(f"{found}; expected 0..1. Divide 8-bit values by 255; augment first, then normalize")
    return greys.astype(np.float32, copy=False)


def picture(greys, seed, path, footer="not for clinical use"):
    """Write a PNG file: each of the slices `greys` (M, S, S) in a row with its copies, as `augment` gives them.

    Examples
    --------
    >>> import os, tempfile
    >>> slices = [resize(phantom.draw(np.random.default_rng(i), label=i % 2), 131) for i in range(3)]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     picture(slices, seed=0, path=os.path.join(folder, "augmented.png"))
    ...     os.listdir(folder)
    ['augmented.png']
    """
    from ..evaluation.plots import FAINT, drawing  # here, because importing lightnet must not load Matplotlib

    drawn = list(draws(len(greys), copy.deepcopy(seed)))  # a copy: a Generator would spawn others the second time
    augmented, _ = augment(greys, np.zeros(len(greys)), seed)
    if not drawn:
        raise ShapeError(f"greys of shape {np.shape(greys)}: no slice to draw; expected one or more")
    with drawing(path, 1 + 2.1 * 4, 1 + 2.3 * len(greys)) as figure:
        grid = figure.subplots(len(greys), 4, squeeze=False)
        for i, (degrees, factor, _) in enumerate(drawn):
            captions = "original", f"rotated by {degrees:.0f}°", f"scaled by {factor:.2f}", f"noise of {DEVIATION}"
            for axes, grey, caption in zip(grid[i], augmented[i :: len(greys)], captions):
                axes.imshow(grey, cmap="gray", vmin=0, vmax=1)
                axes.set_title(caption, fontweight="normal", loc="center", pad=5)
                axes.axis("off")
        figure.suptitle("Each training slice becomes four", fontsize=16, fontweight="bold")
        figure.supxlabel(footer, color=FAINT)


def main(arguments=None):
    """Draw up to four of the slices named, or synthetic ones, beside their copies; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m lightnet.data.augment", description="Look at augmented slices.")
    parser.add_argument("paths", nargs="*", metavar="FILE_OR_FOLDER", help="by default synthetic slices are drawn")
    paths, path, kind = parser.parse_args(arguments).paths, "runs/augmented.png", "slices"
    try:
        if paths:
            files = list_images(paths)
            apart = max(1, math.ceil(len(files) / 4))  # from all over the list: a folder's first ones are of one class
            images = [read_image(file) for file in files[::apart]]
        else:
            kind, images = "synthetic slices", [phantom.draw(np.random.default_rng(i), label=i % 2) for i in range(4)]
        if not images:
            raise ArgumentError(f"{', '.join(paths)}: no image file; expected some below it")
        picture([resize(image, 227) for image in images], 0, path, f"{kind}, seed 0   ·   not for clinical use")
    except LightnetError as error:
        print(f"lightnet: {error}", file=sys.stderr)
        return 2
    print(f"{path}: {len(images)} {kind} and their copies")
    return 0


if __name__ == "__main__":
    sys.exit(main())
