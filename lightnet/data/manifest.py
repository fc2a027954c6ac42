"""The list of which slice stands in which split, with checksums: what makes a run's data checkable."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterable, Mapping

from ..files import whole
from .prepare import CLASSES
from .slices import Slice

COLUMNS = ("split", "label", "name", "source", "patient", "sha256")


def manifest(splits: Mapping[str, Iterable[Slice]]) -> list[dict[str, str]]:
    """List every slice of every split, with the SHA-256 of its file.

    Parameters
    ----------
    splits : mapping of str to iterable of Slice

    Returns
    -------
    rows : list of dict
        With the keys of `COLUMNS`, all strings; `label` is the class name, `patient` empty where it is unknown.

    Raises
    ------
    DatasetError
        A slice cannot be read.
    """
    return [
        dict(split=split, label=CLASSES[one.label], name=one.name, source=one.source, patient=one.patient or "",
             sha256=one.sha256())
        for split, slices in splits.items() for one in slices
    ]


def digest(rows: Iterable[Mapping[str, str]]) -> str:
    """Return the SHA-256 of a manifest: equal for the same slices in the same splits and order.

    >>> digest([])[:12]
    '4f53cda18c2b'
    """
    return hashlib.sha256(json.dumps(list(rows)).encode()).hexdigest()


def write_manifest(path: str | os.PathLike, rows: Iterable[Mapping[str, str]]) -> None:
    """Write a manifest as CSV (UTF-8), whole or not at all; FileError where it cannot be written."""
    with whole(path, newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
