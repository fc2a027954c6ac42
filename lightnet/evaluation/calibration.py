"""Does a probability mean what it says? Of the slices that get p = 0.8, 80 % should be COVID.

References
----------
.. [1] Brier 1950, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 78:1
.. [2] DeGroot & Fienberg 1983, "The comparison and evaluation of forecasters", The Statistician 32:12 (reliability diagram)
.. [3] Guo, Pleiss, Sun & Weinberger 2017, "On calibration of modern neural networks", arXiv:1706.04599, equations 2 to 5
"""

import numpy as np

from .metrics import checked


def brier_score(labels, scores):
    """Return the mean of ``(p_covid - label)**2``: 0 is perfect, 0.25 is what p = 0.5 for everything gives.

    Raises DatasetError and ShapeError as `metrics.evaluate`.

    >>> brier_score([0, 1], [0.5, 1.0])
    0.125
    """
    labels, scores = checked(labels, scores)
    return float(np.mean((scores - labels) ** 2))


def reliability(labels, scores, bins=10):
    """Cut 0..1 into equal steps of p, and compare in each what was said with what was seen.

    Parameters
    ----------
    labels, scores : array_like (N,)
        As in `metrics.evaluate`.
    bins : int

    Returns
    -------
    said, seen, counts : ndarray (B,), float64, float64, int64
        Mean p_covid, share that is COVID, and number of slices of each step that has any.

    >>> [values.tolist() for values in reliability([0, 1, 1], [0.125, 0.875, 0.875])]
    [[0.125, 0.875], [0.0, 1.0], [1, 2]]
    """
    labels, scores = checked(labels, scores)
    step = np.minimum((scores * bins).astype(int), bins - 1)
    used, counts = np.unique(step, return_counts=True)
    said, seen = (np.array([values[step == k].mean() for k in used]) for values in (scores, labels))
    return said, seen, counts


def calibration_error(labels, scores, bins=10):
    """Return the expected calibration error: the mean of ``|said - seen|`` over the slices [3]_.

    >>> calibration_error([0, 1, 1], [0.125, 0.875, 0.875])
    0.125
    """
    said, seen, counts = reliability(labels, scores, bins)
    return float(np.average(np.abs(said - seen), weights=counts))
