"""What a classifier's scores are worth: six metrics, each with the interval within which it is known.

Label 1 is COVID, the positive class, 0 is non-COVID; a slice is predicted COVID where its score ``p_covid >= 0.5``. (A training's
history takes the larger logit, and of equal ones, which a dead network has, the first: non-COVID.)
With TP, FP, TN, FN the counts of the confusion matrix (Fawcett 2006, figure 1):

    accuracy    = (TP + TN) / N             precision = TP / (TP + FP)
    sensitivity = TP / (TP + FN)            F1        = 2 TP / (2 TP + FP + FN)
    specificity = TN / (TN + FP)            AUC       = P(score of a COVID slice > score of a non-COVID slice)

A metric that would be 0 / 0 is *undefined*: ``nan`` in Python, ``null`` in JSON, never a silent 0 or 1.

References
----------
Fawcett 2006, "An introduction to ROC analysis", Pattern Recognition Letters 27:861.
Hanley & McNeil 1982, "The meaning and use of the area under a ROC curve", Radiology 143:29.
Efron & Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13 (percentile intervals).
Rutter 2000, "Bootstrap estimation of diagnostic accuracy with patient-clustered data", Academic Radiology 7:413.
"""

import copy
import math
from dataclasses import dataclass

import numpy as np

from ..data.prepare import CLASSES as CLASS_NAMES
from ..errors import DatasetError, ShapeError

THRESHOLD = 0.5

# The metrics in the order of `_statistics`, each with the reason why it can be undefined.
UNDEFINED_BECAUSE = {
    "accuracy": "no slice",
    "sensitivity": "no COVID slice",
    "specificity": "no non-COVID slice",
    "precision": "no slice predicted COVID",
    "f1": "no slice is COVID, none predicted so",
    "auc": "one class only",
}

# The bootstrap holds a few (resamples, N) arrays; it goes over the resamples in blocks of about this many numbers.
_BLOCK = 2**21


@dataclass(frozen=True)
class Estimate:
    """A metric's value and its 95 % interval, all fractions in 0..1, ``nan`` where undefined."""

    value: float
    low: float
    high: float

    def to_dict(self):
        """``value``, ``low`` and ``high``, as JSON wants them."""
        return {key: None if math.isnan(number) else number for key, number in vars(self).items()}

    def __str__(self):
        if math.isnan(self.value):
            return "undefined"
        return f"{self.value:.3f}" if math.isnan(self.low) else f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, eq=False)
class Metrics:
    """What `evaluate` returns: ``print`` it for a table, ``to_dict`` it for JSON."""

    n: int  # images
    over: str  # what the bootstrap resampled, "patients" or "images"
    units: int  # how many of those; a sample of unknown patient is a unit of its own
    unknown: int  # samples of unknown patient: where several are of one, the intervals are too narrow
    resamples: int
    confusion: np.ndarray  # (2, 2) int64, read-only: [[TN, FP], [FN, TP]], rows the truth, columns the prediction
    accuracy: Estimate
    sensitivity: Estimate
    specificity: Estimate
    precision: Estimate
    f1: Estimate
    auc: Estimate

    def to_dict(self):
        """Plain numbers, strings, lists and dicts, as JSON wants them; undefined values are ``None`` (``null``)."""
        result = {"n": self.n, "over": self.over, "units": self.units, "unknown": self.unknown, "resamples": self.resamples}
        result |= {"threshold": THRESHOLD, "confusion": self.confusion.tolist()}
        return result | {name: getattr(self, name).to_dict() for name in UNDEFINED_BECAUSE}

    def __str__(self):
        lines = [f"{self.n} images, predicted COVID where p_covid >= {THRESHOLD}", ""]
        lines += [f"{'':16}{'predicted':>11}", f"{'':16}{CLASS_NAMES[0]:>11}{CLASS_NAMES[1]:>8}"]
        for name, (negative, positive) in zip(CLASS_NAMES, self.confusion, strict=True):
            lines.append(f"{'true ' + name:16}{negative:11}{positive:8}")
        lines.append("")
        for name, reason in UNDEFINED_BECAUSE.items():
            estimate = getattr(self, name)
            lines.append(f"{name:16}{estimate}" + (f": {reason}" if math.isnan(estimate.value) else ""))
        title = "no intervals" if math.isnan(self.accuracy.low) else "[95 % intervals]"
        return "\n".join(lines + ["", f"{title}: {self.resamples} resamples over {units(self.to_dict())}"])


def units(found):
    """What the intervals of a ``Metrics.to_dict()`` are over, in words.

    >>> units({"over": "patients", "units": 5, "unknown": 2})
    '3 patients and 2 images of unknown patients'
    """
    if found["over"] == "images" or not found["unknown"]:
        return f"{found['units']} {found['over']}"
    return f"{found['units'] - found['unknown']} patients and {found['unknown']} images of unknown patients"


def evaluate(labels, scores, groups=None, resamples=2000, seed=0):
    """Confusion matrix and six metrics with 95 % percentile bootstrap intervals.

    Slices of one patient are no independent observations: intervals over images would be too narrow, so whole patients
    are resampled where they are known (Rutter 2000). A resample draws as many groups as there are, with replacement and
    whatever their class, and takes all samples of each. The interval goes from the 2.5th to the 97.5th percentile of
    the metric over the resamples (Efron & Tibshirani 1993), without those in which it is undefined.

    Parameters
    ----------
    labels : array_like (N,)
        0 non-COVID, 1 COVID.
    scores : array_like (N,)
        Probability of COVID (``p_covid``), in 0..1.
    groups : sequence of N hashable ids, optional
        The patient of each sample. Where unknown, ``None`` or ``nan``, the sample is its own group; where no patient is
        known at all, images are resampled.
    resamples : int
        0 for no intervals.
    seed : int or numpy.random.Generator

    Returns
    -------
    Metrics

    Raises
    ------
    ShapeError
        `labels`, `scores` and `groups` are not one-dimensional and of one length, or are empty.
    DatasetError
        A label is neither 0 nor 1, a score is ``nan`` or outside 0..1, `resamples` is negative.

    Notes
    -----
    Not supported: more than two classes, other thresholds, sample weights. Fewer than two groups leave nothing to
    resample: the bounds are ``nan``. A metric of exactly 0 or 1 has an interval of no width, for a bootstrap cannot
    draw an error that it has not seen: on a small set read "too few to tell", not certainty.

    Examples
    --------
    >>> metrics = evaluate([0, 0, 1, 1, 1], [0.1, 0.6, 0.6, 0.9, 0.2])
    >>> metrics.confusion.tolist()
    [[1, 1], [1, 2]]
    >>> round(metrics.sensitivity.value, 3), metrics.specificity.value, metrics.auc.value
    (0.667, 0.5, 0.75)
    >>> evaluate([1, 1], [0.9, 0.2]).to_dict()["auc"]
    {'value': None, 'low': None, 'high': None}
    """
    labels, scores = checked(labels, scores)
    group_of, over, unknown = _group_numbers(groups, len(labels))
    if resamples < 0:
        raise DatasetError(f"resamples is {resamples}, expected 0 (no intervals) or more")

    confusion = np.bincount(2 * labels + (scores >= THRESHOLD), minlength=4).reshape(2, 2)
    confusion.flags.writeable = False
    values, drawn = _sampled(labels, scores, group_of, resamples, seed)
    return Metrics(len(labels), over, int(group_of.max()) + 1, unknown, resamples, confusion, *map(_estimate, values, drawn.T))


def difference(labels, scores, others, groups=None, resamples=2000, seed=0):
    """Each metric of one classifier's scores minus that of another's, on the same samples, with its 95 % interval.

    Both are computed of the same resamples: what makes a resample easy makes it easy for both. So the difference
    may have an interval without 0 where the two own intervals overlap.

    Parameters
    ----------
    labels, scores, groups, resamples, seed
        As in `evaluate`, which also says what is raised.
    others : array_like (N,)
        The other classifier's scores.

    Returns
    -------
    dict of str to Estimate
        By metric.

    Examples
    --------
    >>> print(difference([0, 0, 1, 1], [0.1, 0.2, 0.7, 0.8], [0.1, 0.9, 0.7, 0.8], resamples=0)["accuracy"])
    0.250
    """
    group_of, _, _ = _group_numbers(groups, len(labels))
    (values, drawn), (other_values, other_drawn) = (
        _sampled(*checked(labels, each), group_of, resamples, copy.deepcopy(seed)) for each in (scores, others))
    return dict(zip(UNDEFINED_BECAUSE, map(_estimate, values - other_values, (drawn - other_drawn).T), strict=True))


def roc_curve(labels, scores):
    """Both rates of the receiver operating characteristic at every distinct threshold (Fawcett 2006, algorithm 1).

    Parameters
    ----------
    labels, scores : array_like (N,)
        As in `evaluate`, which also says what is raised.

    Returns
    -------
    false_positive_rate, true_positive_rate : ndarray (T + 1,) of float64
        From (0, 0) to (1, 1), with T the number of distinct scores: samples of equal score are one step. The rate of a
        class that does not occur is ``nan`` throughout.

    Examples
    --------
    >>> roc_curve([0, 1, 1], [0.2, 0.2, 0.7])
    (array([0., 0., 1.]), array([0. , 0.5, 1. ]))
    """
    labels, scores = checked(labels, scores)
    order = np.argsort(-scores)
    last_of_its_score = np.append(np.diff(scores[order]) != 0, True)
    true_positives = np.append(0, np.cumsum(labels[order])[last_of_its_score])
    false_positives = np.append(0, np.cumsum(1 - labels[order])[last_of_its_score])
    with np.errstate(invalid="ignore"):  # 0 / 0 is nan on purpose
        return false_positives / false_positives[-1], true_positives / true_positives[-1]


def checked(labels, scores):
    """Return `labels` as int64 (N,) and `scores` as float64 (N,), or raise what `evaluate` documents."""
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if labels.ndim != 1 or labels.shape != scores.shape or not labels.size:
        repair = "; the scores of COVID are column 1" if scores.ndim == 2 else ""
        raise ShapeError(f"labels {labels.shape}, scores {scores.shape}: expected one shape (N,) with N > 0{repair}")
    wrong = ~np.isin(labels, (0, 1))
    if wrong.any():
        raise DatasetError(f"label {labels[wrong][0]} of sample {wrong.argmax()}: expected 0 (non-COVID) or 1 (COVID)")
    wrong = ~((scores >= 0) & (scores <= 1))  # this way round, nan is wrong too
    if wrong.any():
        found = f"score {scores[wrong][0]} of sample {wrong.argmax()}"
        raise DatasetError(f"{found}: expected a probability in 0..1; logits need a softmax first")
    return labels.astype(np.int64), scores


def _group_numbers(groups, n):
    """Number the distinct groups from 0 in order of appearance; return each sample's (n,), their kind, how many are unknown."""
    groups = [None] * n if groups is None else list(groups)
    if len(groups) != n:
        raise ShapeError(f"groups has {len(groups)} ids, expected one for each of the {n} samples, None where unknown")
    unknown = [group is None or group != group for group in groups]  # nan, a table's empty cell, is not itself
    numbers = {}
    keys = [("image", i) if unknown[i] else ("patient", group) for i, group in enumerate(groups)]
    over = "images" if all(unknown) else "patients"
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys]), over, sum(unknown)


def _sampled(labels, scores, group_of, resamples, seed):
    """Every metric (6,), and of each resample (resamples, 6): the same resamples whatever the scores."""
    order, count = np.argsort(scores), int(group_of.max()) + 1
    labels, scores, group_of = labels[order], scores[order], group_of[order]
    values = _statistics(np.ones((1, len(labels))), labels, scores)[0]
    return values, _bootstrap(labels, scores, group_of, count, resamples if count > 1 else 0, seed)


def _bootstrap(labels, scores, group_of, units, resamples, seed):
    """Draw groups and return the metrics of each resample, (resamples, 6); samples must be sorted by score."""
    rng = np.random.default_rng(seed)
    drawn = np.empty((resamples, len(UNDEFINED_BECAUSE)))
    block = max(1, _BLOCK // len(labels))
    for first in range(0, resamples, block):
        rows = drawn[first : first + block]
        # To draw `units` groups with replacement is to draw how often each of them comes: a row of weights.
        times = rng.multinomial(units, np.full(units, 1 / units), size=len(rows)).astype(np.float64)  # (rows, units)
        rows[:] = _statistics(times[:, group_of], labels, scores)
    return drawn


def _statistics(weights, labels, scores):
    """Return every metric under each row of weights, (R, N) -> (R, 6), ``nan`` where 0 / 0.

    A weight says how often a sample counts. Samples must be sorted by score. All sums are of integers, exact in
    float64, so the result does not depend on their order.

    AUC is the Mann-Whitney statistic (Hanley & McNeil 1982), over all pairs of a positive i and a negative j:

        AUC = sum_ij S(s_i, s_j) / ((TP + FN) (TN + FP)),   S = 1 if s_i > s_j, 1/2 if s_i = s_j, 0 if s_i < s_j.

    In sorted order a running sum replaces the pairs: with B(k) the negatives among the first k samples, and samples
    start..end-1 those of score s_i, sum_j S = B(start) + (B(end) - B(start)) / 2 = (B(start) + B(end)) / 2.
    """
    cell = 2 * labels + (scores >= THRESHOLD)  # 0 TN, 1 FP, 2 FN, 3 TP
    tn, fp, fn, tp = (weights @ np.eye(4)[cell]).T  # (R, N) @ (N, 4) -> 4 times (R,)

    positives = weights * labels  # (R, N)
    below = np.zeros((len(weights), len(scores) + 1))  # B, (R, N + 1)
    np.cumsum(weights - positives, axis=1, out=below[:, 1:])
    start, end = (np.searchsorted(scores, scores, side) for side in ("left", "right"))
    beaten = np.sum(positives * (below[:, start] + below[:, end]), axis=1) / 2  # (R,)

    covid, other = tp + fn, tn + fp
    numerators = np.stack([tp + tn, tp, tn, tp, 2 * tp, beaten], axis=1)
    denominators = np.stack([covid + other, covid, other, tp + fp, 2 * tp + fp + fn, covid * other], axis=1)
    with np.errstate(invalid="ignore"):  # 0 / 0 is nan on purpose
        return numerators / denominators


def _estimate(value, drawn):
    """Join a metric's value to the percentiles of its resamples, the undefined ones left out."""
    drawn = drawn[~np.isnan(drawn)]
    low, high = np.quantile(drawn, (0.025, 0.975)) if drawn.size and not np.isnan(value) else (math.nan, math.nan)
    return Estimate(float(value), float(low), float(high))
