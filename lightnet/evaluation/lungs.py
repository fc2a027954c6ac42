"""Find the lungs in a slice, well enough for controls and pictures.

References
----------
Otsu 1979, "A threshold selection method from gray-level histograms", IEEE Trans. Systems, Man, and Cybernetics 9:62.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

from ..data.prepare import resize

MASK_SIZE, CORNER = 128, 6  # lungs are looked for at this size; the side of the blocks at its corners


def lungs(grey: np.ndarray) -> np.ndarray:
    """Find the lungs: dark regions inside the body.

    Parameters
    ----------
    grey : ndarray, shape (H, W), floating point
        Values in 0..1, as `Slice.read` returns them.

    Returns
    -------
    mask : ndarray, shape (H, W), bool
        All False where none are found.

    Notes
    -----
    At 128 x 128 pixels: dark is below Otsu's threshold of the middle two thirds; thin bridges are opened; a region is
    the air around the body, and dropped, if it reaches into a corner or has a long side on the frame; it is dropped too
    if it is smaller than 1 % of the slice; what is left is closed, which takes in vessels, and filled. A slice may be
    cropped to the lungs, so a region that only touches the frame stays.

    The method is simple, and wrong in places: a dense lesion at the pleura is as bright as the body and stays outside;
    larger airways, bowel gas and air inside a white frame may count as lung; of lungs cut off by the frame one may be
    missing. It is for controls and pictures, not for measuring lungs.

    Examples
    --------
    >>> chest = np.full((100, 120), 0.9)
    >>> chest[30:70, 20:50] = chest[30:70, 70:100] = 0.2
    >>> mask = lungs(chest)
    >>> mask.shape, bool(mask[50, 35]), bool(mask[50, 60]), round(float(mask.mean()), 1)
    ((100, 120), True, False, 0.2)
    """
    small = resize(grey, MASK_SIZE)
    middle = slice(MASK_SIZE // 6, -(MASK_SIZE // 6))
    dark = ndimage.binary_opening(small < _otsu(small[middle, middle]))
    regions, _ = ndimage.label(dark)
    mask = np.pad(_inside(regions)[regions], 8)  # so that closing does not stop at the frame
    mask = ndimage.binary_fill_holes(ndimage.binary_closing(mask, iterations=5))[8:-8, 8:-8]
    return np.array(Image.fromarray(mask).resize(np.shape(grey)[::-1], Image.Resampling.NEAREST))


def _inside(regions: np.ndarray) -> np.ndarray:
    """Say of each numbered region (and of 0, the bright rest) whether it is inside the body."""
    count = regions.max() + 1
    area = np.bincount(regions.ravel(), minlength=count)
    frame = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    on_frame = np.bincount(frame, minlength=count)
    inside = (area > 0.01 * regions.size) & (on_frame < 0.8 * np.sqrt(area))
    inside[0] = False
    for rows in (slice(CORNER), slice(-CORNER, None)):
        for columns in (slice(CORNER), slice(-CORNER, None)):
            inside[np.unique(regions[rows, columns])] = False
    return inside


def _otsu(values: np.ndarray) -> float:
    """Return the threshold with the highest variance between the two sides (Otsu 1979, equation 18)."""
    counts, edges = np.histogram(values, 64, (0, 1))
    omega = np.cumsum(counts) / counts.sum()  # the share below
    mu = np.cumsum(counts * (edges[1:] + edges[:-1]) / 2) / counts.sum()
    between = (mu[-1] * omega - mu) ** 2 / np.maximum(omega * (1 - omega), 1e-9)
    return float(edges[1:][between.argmax()])
