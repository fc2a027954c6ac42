"""Synthetic chest CT slices: a data set that needs no download, no licence and no patient.

A slice is drawn in Hounsfield units (air -1000, water 0, bone several hundred) and seen through a lung window, as on a
radiologist's screen. Class 1, "COVID", has patchy ground glass and consolidation in both lungs, more under the pleura.
Class 0, "non-COVID", has round nodules, or one lung's consolidation, or clear lungs that are only denser at the back.

What a classifier must not be able to use, and what keeps it from it:

- *What is known without the pixels* (width, height, bytes of the file), *pose and anatomy, noise and window*: all are
  drawn alike for both classes.
- *The grey levels*: diseases differ in how much of the lungs they fill, and a histogram would see it. So the amount is
  drawn alike too, as a curve from a lung pixel's rank to its opacity (`_opacity_curve`). The class only scores the
  pixels for that rank (`_disease`): it decides where the dense ones lie, never how many there are nor how dense.

What is left is what a convolutional network is for, texture and shape; tests/test_phantom.py checks that classifiers
without them fail. The slices are for learning to run lightnet. They are no patients and have no medical meaning.
"""

from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin
from scipy import ndimage

from ..errors import DatasetError
from ..files import whole
from .anatomy import AIR, TISSUE, Body, chest, paint, random_field, vessels
from .images import list_images
from .prepare import CLASSES

NOTE = "synthetic slice drawn by lightnet.data.phantom; not a patient"


def draw(rng, label):
    """Draw one synthetic axial slice of a chest.

    Parameters
    ----------
    rng : numpy.random.Generator
        Advanced by the call; the same state gives the same slice.
    label : int
        0 = non-COVID, 1 = COVID.

    Returns
    -------
    image : (H, W) float32 array
        Grey levels in 0..1, black to white. W is drawn from 240 to 360 pixels, H from 0.8 to 1 times W. The body's
        front is up and its right side on the left, as radiologists view it.

    Raises
    ------
    DatasetError
        If `label` is neither 0 nor 1.

    Examples
    --------
    >>> import numpy as np
    >>> from lightnet.data import phantom
    >>> image = phantom.draw(np.random.default_rng(0), label=1)
    >>> image.dtype, image.shape
    (dtype('float32'), (292, 342))
    """
    if label not in (0, 1):
        raise DatasetError(f"phantom.draw: label is {label!r}, expected 0 (non-COVID) or 1 (COVID)")
    body = Body(rng)
    inside = body.lungs < body.pixel
    rank = np.empty(np.count_nonzero(inside))
    rank[np.argsort(_disease(rng, body, inside, label))] = np.linspace(0, 1, rank.size)
    healthy = rng.uniform(-890, -800)
    lungs = np.full(body.shape, float(AIR))
    lungs[inside] = healthy + np.interp(rank, *_opacity_curve(rng)) * (TISSUE - healthy)
    # Vessels are as dense as tissue, but thin: they show in ground glass and vanish in consolidation.
    np.maximum(lungs, AIR + 0.8 * (TISSUE - AIR) * vessels(rng, body), out=lungs)
    hounsfield = chest(rng, body)
    paint(hounsfield, lungs, body.coverage(body.lungs))
    return _window(rng, hounsfield)


def write(folder, count, seed):
    """Draw `count` slices as 8-bit grey PNG files under ``folder/COVID`` and ``folder/non-COVID``.

    The classes alternate, so they are equally many (an odd `count` has one more non-COVID). Files are numbered within
    their class, and each says in its ``Comment`` that it is synthetic.

    Parameters
    ----------
    folder : path
        Made if it does not exist. Files of the same names are replaced.
    count : int
        Number of slices, at least 2.
    seed : int or numpy.random.Generator
        The same int gives the same files, and the first slices are the same whatever the `count`.

    Returns
    -------
    paths : list of pathlib.Path
        In the order drawn: non-COVID, COVID, non-COVID, ...

    Raises
    ------
    DatasetError
        If `count` is below 2, if the folder cannot be written, or if it holds other slices, since two sets would mix.

    Examples
    --------
    >>> import tempfile
    >>> from lightnet.data import phantom
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     paths = phantom.write(folder, count=3, seed=0)
    >>> [f"{path.parent.name}/{path.name}" for path in paths]
    ['non-COVID/slice-0000.png', 'COVID/slice-0000.png', 'non-COVID/slice-0001.png']
    """
    if not isinstance(count, (int, np.integer)) or count < 2:
        raise DatasetError(f"phantom.write: count is {count!r}, expected an int of at least 2 (a slice of each class)")
    folder = Path(folder)
    paths = [folder / CLASSES[i % 2] / f"slice-{i // 2:04d}.png" for i in range(count)]
    note = PngImagePlugin.PngInfo()
    note.add_text("Comment", NOTE)
    try:
        for name in CLASSES:
            (folder / name).mkdir(parents=True, exist_ok=True)
            others = set(list_images([folder / name])).difference(paths)
            if others:
                raise DatasetError(f"{min(others)}: not one of the {count} slices to write, and two sets would mix; "
                                   "empty the folder or choose another")
        for i, (path, rng) in enumerate(zip(paths, np.random.default_rng(seed).spawn(count))):
            levels = np.rint(255 * draw(rng, label=i % 2)).astype(np.uint8)
            with whole(path, "wb") as file:
                Image.fromarray(levels).save(file, format="PNG", pnginfo=note)
    except OSError as error:
        raise DatasetError(f"{folder}: cannot write the slices ({error}); choose a folder that you may write to, "
                           "on a disk with room") from error
    return paths


def _opacity_curve(rng):
    """How much of the lungs is how dense: points (ranks, opacities) of a rising curve, for either class.

    Opacity is the part of the air that fluid or tissue has replaced: near 0 in a healthy lung, about 0.4 in ground
    glass, 1 in consolidation.
    """
    glass, solid = rng.uniform(0.2, 0.3), rng.uniform(0.03, 0.1)           # as parts of the lungs' area
    haze = rng.uniform(0.3, 0.4)
    ranks = [0, 1 - solid - glass, 1 - solid - 0.6 * glass, 1 - solid, 1 - 0.7 * solid, 1]
    return ranks, [0, 0.08, haze, haze + 0.2, 0.85, 1]


def _disease(rng, body, inside, label):
    """Score each lung pixel, those `inside`; the highest become the densest. All that the class decides is here."""
    u, v, depth = body.u[inside], body.v[inside], np.minimum(-body.lungs[inside], 0.25)      # depth under the pleura
    if label == 1:
        patches, mesh = random_field(rng, body.shape, 9)[inside], random_field(rng, body.shape, 45)[inside]
        return patches + 0.5 * mesh - 5 * depth
    smooth = random_field(rng, body.shape, 5)[inside]
    clear = v - depth + 0.02 * smooth
    kind = rng.choice(["clear", "one lung", "nodules"])
    if kind == "clear":
        return clear
    centres = rng.integers(u.size, size=1 if kind == "one lung" else rng.integers(4, 9))
    distance = np.hypot(u - u[centres, None], v - v[centres, None])                          # (centres, pixels)
    if kind == "one lung":
        return 0.08 * smooth - distance[0] - 9 * (u * u[centres] < 0)                        # the other lung last
    nearest = (distance / rng.uniform(0.06, 0.13, (len(centres), 1))).min(axis=0)            # in radii of a nodule
    return np.where(nearest < 1, 9 - nearest, clear)


def _window(rng, hounsfield):
    """Add a scanner's noise to Hounsfield units (H, W) and show them in a display window: float32 in 0..1."""
    noise = ndimage.gaussian_filter(rng.standard_normal(hounsfield.shape), rng.uniform(0.4, 0.8))
    noise *= np.exp(rng.uniform(np.log(10), np.log(50))) / noise.std()
    level, width = rng.uniform(-580, -480), rng.uniform(1250, 1550)
    return np.clip((hounsfield + noise - level) / width + 0.5, 0, 1).astype(np.float32)
