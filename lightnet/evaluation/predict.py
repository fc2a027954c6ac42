"""Classify image files: read and prepare them a batch at a time, and go on past those that cannot be read."""

from typing import NamedTuple

import numpy as np

from ..data.images import read_image
from ..data.prepare import prepare
from ..errors import CheckpointError, LightnetError
from ..losses import softmax

BATCH = 16


class Prediction(NamedTuple):
    """What was found for one file: p_covid, or the error that kept it from being read."""

    file: str
    p_covid: float | None
    error: LightnetError | None = None

    @property
    def label(self):
        """The likelier class."""
        return "COVID" if self.p_covid >= 0.5 else "non-COVID"


def predict_files(net, files):
    """Classify image files, in their order.

    Memory stays bounded however many there are: `BATCH` images are held at a time.

    Parameters
    ----------
    net : Graph
        Its ``meta`` says how images are prepared.
    files : sequence of str or Path

    Yields
    ------
    Prediction
        One for each file; with ``error`` where it is no readable image.
    """
    for start in range(0, len(files), BATCH):
        batch = files[start : start + BATCH]
        read = [attempt(file, net.meta) for file in batch]
        images = [x for x, _ in read if x is not None]
        scores = softmax(net.forward(np.concatenate(images)))[:, 1] if images else np.empty(0)
        if not np.isfinite(scores).all():
            raise CheckpointError("the network's output is no number: it holds NaN or infinite parameters; train it anew")
        scores = iter(scores)
        for file, (x, error) in zip(batch, read):
            yield Prediction(str(file), None if x is None else float(next(scores)), error)


def attempt(file, meta):
    """(prepared image, None), or (None, the error)."""
    try:
        return prepare(read_image(file), meta), None
    except LightnetError as error:
        return None, error
