"""Classify image files: some threads read and prepare them ahead, while the compiled network works on those that are there."""

import itertools
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from ..cores import num_threads
from ..data.images import read_image
from ..data.prepare import CLASSES, prepare
from ..engine import compile
from ..errors import CheckpointError, LightnetError
from ..losses import softmax
from .cam import class_activation_maps
from .metrics import THRESHOLD

BATCH = 16
AHEAD = 2 * BATCH                               # files that are read before they are needed


class Prediction(NamedTuple):
    """What was found for one file: p_covid, or the error that kept it from being read; and its maps, where they were asked for.

    ``maps`` (h, w, classes) are as in `lightnet.evaluation.cam`.
    """

    file: str
    p_covid: float | None
    error: LightnetError | None = None
    maps: np.ndarray | None = None

    @property
    def label(self):
        """The likelier class; None where the file could not be read."""
        return None if self.p_covid is None else CLASSES[self.p_covid >= THRESHOLD]


def predict_files(net, files, maps=False):
    """Classify image files, in their order.

    Memory stays bounded however many there are: `BATCH` + `AHEAD` images are held at a time.

    Parameters
    ----------
    net : Graph
        Its ``meta`` says how images are prepared.
    files : iterable of str or Path
    maps : bool
        Class activation maps as well; takes several times as long.

    Yields
    ------
    Prediction
        One for each file; with ``error`` where it is no readable image.
    """
    predict = compile(net)
    read = read_ahead(files, net.meta)
    while batch := list(itertools.islice(read, BATCH)):
        images = [x for _, x, _ in batch if x is not None]
        scores = softmax(predict(np.concatenate(images)))[:, 1] if images else np.empty(0)
        if not np.isfinite(scores).all():
            raise CheckpointError("the network's output is no number: it holds NaN or infinite parameters; train it anew")
        scores = iter(scores)
        for file, x, error in batch:
            if error:
                yield Prediction(str(file), None, error)
                continue
            found = Prediction(str(file), float(next(scores)))
            if maps:
                x = np.broadcast_to(x, (*x.shape[:3], net.input_shape[-1]))         # the compiled network took one channel
                found = found._replace(maps=class_activation_maps(net, x)[0])
            yield found


def read_ahead(files, meta):
    """(file, prepared image, None) or (file, None, error) of each file, in order; `AHEAD` of them are being read meanwhile."""
    files, reading = iter(files), deque()
    with ThreadPoolExecutor(num_threads(), thread_name_prefix="lightnet-reader") as readers:    # Pillow releases Python's lock
        for file in itertools.islice(files, AHEAD):
            reading.append((file, readers.submit(attempt, file, meta)))
        while reading:
            file, found = reading.popleft()
            result = found.result()
            for following in itertools.islice(files, 1):
                reading.append((following, readers.submit(attempt, following, meta)))
            yield file, *result


def attempt(file, meta):
    """(prepared image, None), or (None, the error)."""
    try:
        x = prepare(read_image(file), meta)
    except LightnetError as error:
        return None, error
    same = np.ptp(meta["mean"]) == np.ptp(meta["deviation"]) == 0
    return (np.ascontiguousarray(x[..., :1]) if same else x), None          # one of equal channels is enough when compiled
