"""Is a slice a *crop* of another one, in any size and display window?

Normalized cross-correlation over positions and scales (`find_crops`), coarse over all images, then fine over the best.
`validate_crops` measures what that finds and mistakes.

References
----------
Lewis 1995, "Fast normalized cross-correlation", Vision Interface 95:120 (sums over windows from running sums).
Marr & Hildreth 1980, "Theory of edge detection", Proc. Royal Society London B 207:187 (difference of Gaussians).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import fft, ndimage

from ..errors import ArgumentError

INNER = 0.8  # of a template's height and width are searched for: its edge may lie outside the image
# Band-pass filters, the deviations of two Gaussians in pixels. Vessels pass; the grey level, which the display window
# decides, and the chest's outline, alike in all patients, hardly do.
COARSE, COARSE_BAND, CANDIDATES = 64, (0.7, 3.0), 10
FINE, FINE_BAND = 160, (1.0, 3.0)
SCALES = 0.38 * 1.06 ** np.arange(21)  # a template's longer side over an image's, 0.38 to 1.22; steps the coarse band bears
NUDGES = np.arange(0.94, 1.061, 0.01)  # of the coarse pass's scale, then of the ratio of height to width


class Match(NamedTuple):
    """Where a template fits best among the images, and how well."""

    image: int  # its index
    score: float  # normalized cross-correlation in the fine band, at most 1
    scale: float  # the whole template's longer side over the image's
    runner_up: float  # the best score in another image


@dataclass(frozen=True, eq=False)
class Validation:
    """What `find_crops` made of crops that were planted."""

    found: int  # crops whose best match was the image they are from
    count: int
    matches: np.ndarray  # (found,) the scores of those, sorted
    others: np.ndarray  # (count,) the best score in an image that the crop is not from, sorted

    @property
    def threshold(self) -> float:
        """Where to start looking: half-way from what nine tenths of `others` stay below to the lowest of `matches`.

        ``nan`` where no crop was found. The two may overlap, so a score above it is a candidate, not a finding.
        """
        return float((self.matches[0] + np.quantile(self.others, 0.9)) / 2) if len(self.matches) else float("nan")


def find_crops(templates: Sequence[np.ndarray], images: Sequence[np.ndarray],
               progress: Callable[..., Iterable] | None = None) -> list[Match]:
    """Search every template in every image, at any position and many scales.

    Parameters
    ----------
    templates, images : sequences of (H, W) arrays
        Grey values in 0..1, as `Slice.read` returns them. An image should not be among its own templates.
    progress : callable, optional
        Wraps the loop over templates as ``progress(iterable, total=N)``: tqdm, for one.

    Returns
    -------
    matches : list of Match, one a template
        The best there is, be it ever so bad: `validate_crops` says which scores mean something.

    Raises
    ------
    ArgumentError
        There are fewer than two images.

    Notes
    -----
    Coarse: all images, with a longer side of 64 pixels, at 21 scales of 0.38 to 1.22 times the image's longer side. Fine:
    the 10 best of them at 160 pixels, where the scale is nudged in steps of 1 %, then the ratio of height to width. About a
    third of a second a template and 350 images on one core. Only a template's middle (0.8 of its height and width) is
    searched for, and it must lie inside the image. Not found: mirrored or rotated copies, and ratios of height to width
    changed by more than some 6 %.
    """
    if len(images) < 2:
        raise ArgumentError(f"{len(images)} images to search; expected two or more")
    coarse, fine = _Images(images, COARSE, COARSE_BAND), _Images(images, FINE, FINE_BAND)
    return [_best(_middle(one), coarse, fine) for one in (progress(templates, total=len(templates)) if progress else templates)]


def validate_crops(images: Sequence[np.ndarray], count: int = 30, seed: int = 0) -> Validation:
    """Plant crops of some images and search for them in all images.

    The crops are `plant`'s. The best score in another image is what a slice that is *not* there may reach; where the images
    hold copies of each other, the highest of them are those copies.

    Parameters
    ----------
    images : sequence of (H, W) arrays
        Two or more, grey values in 0..1.
    count : int
        Crops, each of an image drawn at random.
    seed : int or numpy.random.Generator

    Raises
    ------
    ArgumentError
        There are fewer than two images, or `count` is below 1.
    """
    if count < 1:
        raise ArgumentError(f"count is {count}; expected 1 or more crops to plant")
    rng = np.random.default_rng(seed)
    sources = rng.integers(len(images), size=count)
    matches = find_crops([plant(images[k], rng) for k in sources], images)
    hits = [match.score for match, k in zip(matches, sources) if match.image == k]
    others = [match.runner_up if match.image == k else match.score for match, k in zip(matches, sources)]
    return Validation(len(hits), count, np.sort(hits), np.sort(others))


def plant(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a crop of a slice as another publication might print it.

    A box of 0.45 to 0.95 of the height and width anywhere, in another display window and gamma, 200 to 450 pixels wide,
    through a JPEG of quality 50 to 95.
    """
    height, width = (round(n * rng.uniform(0.45, 0.95)) for n in grey.shape)
    top, left = rng.integers(grey.shape[0] - height + 1), rng.integers(grey.shape[1] - width + 1)
    low, high, gamma = rng.uniform(0, 0.15), rng.uniform(0.8, 1.2), rng.uniform(0.7, 1.4)
    crop = np.clip((grey[top:top + height, left:left + width] - low) / (high - low), 0, 1) ** gamma
    zoom = rng.uniform(200, 450) / width
    levels = np.rint(255 * _scaled(crop, round(zoom * height), round(zoom * width))).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(levels).save(file, format="JPEG", quality=int(rng.integers(50, 96)))
    return np.asarray(Image.open(file), np.float32) / 255


class _Images:
    """Images in one resolution and band, ready to be correlated with many templates."""

    def __init__(self, images: Sequence[np.ndarray], side: int, band: tuple[float, float]):
        self.side, self.band = side, band
        self.shapes = np.array([[max(1, round(n * side / max(one.shape))) for n in one.shape] for one in images])
        x = np.zeros((len(images), side, side), np.float32)
        for k, (one, (h, w)) in enumerate(zip(images, self.shapes)):
            x[k, :h, :w] = self.view(one, h, w)
        self.spectra = fft.rfft2(x)  # (N, side, side // 2 + 1)
        corner = ((0, 0), (1, 0), (1, 0))
        x = x.astype(np.float64)  # a sum over a window is a difference of these large ones
        self.sums, self.squares = (np.pad(y, corner).cumsum(1).cumsum(2) for y in (x, x * x))

    def view(self, grey: np.ndarray, height: int, width: int) -> np.ndarray:
        """Resize a picture and let the band pass."""
        small = _scaled(grey, height, width)
        return ndimage.gaussian_filter(small, self.band[0]) - ndimage.gaussian_filter(small, self.band[1])

    def correlate(self, middle: np.ndarray, scale: float, ratio: float = 1.0, which: slice = slice(None)) -> np.ndarray:
        """Return the best normalized cross-correlation over all positions in each image, -1 where it does not fit in."""
        zoom = scale * INNER * self.side / max(middle.shape)
        h, w = round(zoom * middle.shape[0] * ratio**0.5), round(zoom * middle.shape[1] / ratio**0.5)
        shapes = self.shapes[which]
        if min(h, w) < 8 or max(h, w) > self.side:
            return np.full(len(shapes), -1.0)
        template = self.view(middle, h, w)
        template -= template.mean()
        # The transform is cyclic, but windows that lie inside the image never wrap around.
        spectrum = fft.rfft2(template, (self.side, self.side)).conj()
        product = fft.irfft2(self.spectra[which] * spectrum, (self.side, self.side))[:, : self.side - h + 1, : self.side - w + 1]
        total, square = (s[:, h:, w:] - s[:, :-h, w:] - s[:, h:, :-w] + s[:, :-h, :-w]
                         for s in (self.sums[which], self.squares[which]))
        energy = square - total**2 / (h * w)
        score = product / np.sqrt(np.maximum(energy, 1e-6 * h * w) * max((template**2).sum(), 1e-12))
        rows, columns = np.arange(score.shape[1])[:, None], np.arange(score.shape[2])
        outside = (rows > (shapes[:, 0] - h)[:, None, None]) | (columns > (shapes[:, 1] - w)[:, None, None])
        score[outside] = -1
        return score.max(axis=(1, 2))


def _best(middle: np.ndarray, coarse: _Images, fine: _Images) -> Match:
    """Search one template, coarse and then fine."""
    score, scale = np.full(len(coarse.shapes), -1.0), np.zeros(len(coarse.shapes))
    for tried in SCALES:
        now = coarse.correlate(middle, tried)
        better = now > score
        score[better], scale[better] = now[better], tried
    nearest = np.argsort(-score, kind="stable")[:CANDIDATES]
    (top, at, image), (second, _, _) = sorted((_refined(middle, int(k), scale[k], fine) for k in nearest), reverse=True)[:2]
    return Match(image, top, at, second)


def _refined(middle: np.ndarray, k: int, scale: float, fine: _Images) -> tuple[float, float, int]:
    """Return the fine score in image `k`, the scale it is at, and `k`."""
    def at(scale, ratio=1.0):
        return float(fine.correlate(middle, scale, ratio, slice(k, k + 1))[0])

    score, scale = max((at(scale * nudge), float(scale * nudge)) for nudge in NUDGES)
    return max(score, *(at(scale, ratio) for ratio in NUDGES)), scale, k


def _middle(grey: np.ndarray) -> np.ndarray:
    top, left = (round(n * (1 - INNER) / 2) for n in grey.shape)
    return grey[top : grey.shape[0] - top, left : grey.shape[1] - left]


def _scaled(grey: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.array(Image.fromarray(np.asarray(grey, np.float32)).resize((width, height), Image.Resampling.BILINEAR))
