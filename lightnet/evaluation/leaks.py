"""Leaks across splits: slices, patients and papers that a network was trained on and is tested on again.

Three questions, each with its own measure:

- Is a slice there twice? The correlation of 64 x 64 grey images (`near_duplicates`).
- Is a patient, or the publication that slices were cut from, in two splits? As the metadata and file names say (`shared`).
- Is a slice a *crop* of another, at any scale? (`crops_across`, with the search of `crops`)

References
----------
Roberts et al. 2021, "Common pitfalls and recommendations for using machine learning to detect and prognosticate for COVID-19
    using chest radiographs and CT scans", Nature Machine Intelligence 3:199 (duplicates across splits and data sets).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..data.slices import Slice, load
from .crops import find_crops


@dataclass(frozen=True)
class Pair:
    """Two slices that look the same: each with its split, and their correlation."""

    first: Slice
    second: Slice
    splits: tuple[str, str]
    correlation: float

    @property
    def across_splits(self) -> bool:
        """Whether one is in a split that the other is not in."""
        return self.splits[0] != self.splits[1]

    @property
    def across_classes(self) -> bool:
        """Whether their labels contradict each other."""
        return self.first.label != self.second.label


class Shared(NamedTuple):
    """A patient or paper that is in several splits, and how many of its slices each has."""

    kind: str
    id: str
    counts: dict[str, int]


def near_duplicates(splits: Mapping[str, Sequence[Slice]], threshold: float = 0.95, size: int = 64) -> list[Pair]:
    """List the pairs of slices that look the same.

    Parameters
    ----------
    splits : mapping of str to sequence of Slice
        A slice that stands in several splits counts in the first of them.
    threshold : float
        The least correlation.
    size : int
        Slices are compared as squares of so many pixels, stretched, each less its mean.

    Returns
    -------
    pairs : list of Pair
        The highest correlation first, those within one split and class too: neighbours in one scan, mostly.

    Raises
    ------
    DatasetError, ImageError
        A slice cannot be read.

    Notes
    -----
    It finds copies in another size, format or compression, not crops, and not mirrored or rotated ones. A pair is a
    candidate: look at it.
    """
    split_of: dict[Slice, str] = {}
    for name in splits:
        split_of |= {one: name for one in splits[name] if one not in split_of}
    slices = list(split_of)
    greys, _ = load(slices, size)
    flat = greys.reshape(len(slices), -1)  # (N, size * size)
    flat -= flat.mean(axis=1, keepdims=True)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    correlation = np.triu(flat @ flat.T, 1)  # (N, N)
    pairs = [Pair(slices[i], slices[j], (split_of[slices[i]], split_of[slices[j]]), float(correlation[i, j]))
             for i, j in np.argwhere(correlation >= threshold)]
    return sorted(pairs, key=lambda pair: -pair.correlation)


def shared(splits: Mapping[str, Iterable[Slice]]) -> list[Shared]:
    """List the patients and papers that several splits have slices of.

    Test splits may share slices by design, so those whose names start with "test" are counted as one, "test". What is
    not known (None) is not compared: an empty list proves nothing about slices without a patient.

    Examples
    --------
    >>> from pathlib import Path
    >>> a, b = (Slice(name, 1, Path(name), patient="7") for name in ("a.png", "b.png"))
    >>> shared({"train": [a], "test1": [b]})
    [Shared(kind='patient', id='7', counts={'train': 1, 'test': 1})]
    """
    parts: dict[str, dict[Slice, None]] = {}  # ordered sets
    for name, slices in splits.items():
        parts.setdefault("test" if name.startswith("test") else name, {}).update(dict.fromkeys(slices))
    found = []
    for kind in ("patient", "paper"):
        counts = {name: Counter(getattr(one, kind) for one in slices) for name, slices in parts.items()}
        for id in sorted({id for count in counts.values() for id in count if id}):
            where = {name: count[id] for name, count in counts.items() if count[id]}
            if len(where) > 1:
                found.append(Shared(kind, id, where))
    return found


def crops_across(splits: Mapping[str, Sequence[Slice]], threshold: float = 0.8,
                 progress: Callable[..., Iterable] | None = None) -> list[Pair]:
    """Search the test splits' slices in all others, and those in the tests: the same slice, cropped alike or not.

    Parameters
    ----------
    splits : mapping of str to sequence of Slice
        Those whose names start with "test" against the others; two slices or more of either. A slice of several test splits
        counts in the first of them. Not compared: training and validation.
    threshold : float
        The least score. Of every slice only the best match is listed. A pair is a candidate: look at it.
    progress : callable, optional
        As in `find_crops`, which also says what is raised and what is not found.

    Returns
    -------
    list of Pair
        The test slice first in each; the best pair first.
    """
    tests, others = {}, {}
    for name, slices in splits.items():
        for one in slices:
            (tests if name.startswith("test") else others).setdefault(one, name)
    greys, found = {one: one.read() for one in (*tests, *others)}, {}
    for templates, images in ((tests, others), (others, tests)):
        places = list(images)
        matches = find_crops([greys[one] for one in templates], [greys[one] for one in images], progress)
        for one, match in zip(templates, matches):
            test, other = (one, places[match.image]) if templates is tests else (places[match.image], one)
            found[test, other] = max(match.score, found.get((test, other), -1))
    pairs = [Pair(test, other, (tests[test], others[other]), score)
             for (test, other), score in found.items() if score >= threshold]
    return sorted(pairs, key=lambda pair: -pair.correlation)
