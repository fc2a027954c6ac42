"""Which slices are for training, validation and test in one experiment, beside what the paper's tables count."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from .manifest import manifest, write_manifest
from .prepare import CLASSES
from .slices import Slice

# Tables 1 and 2, before augmentation
PAPER = {
    1: {
        "train": {"COVID": 191, "non-COVID": 191},
        "validation": {"COVID": 60, "non-COVID": 58},
        "test1": {"COVID": 98, "non-COVID": 95},
        "test2": {"COVID": 100, "non-COVID": 95},
    },
    2: {
        "train": {"COVID": 251, "non-COVID": 191},
        "validation": {"COVID": 80, "non-COVID": 58},
        "test1": {"COVID": 108, "non-COVID": 95},
    },
}
PAPER_ITALIAN = 100  # of which arrangement 2 has 60, 20 and 20
ITALIAN = "SIRM"


@dataclass
class Arrangement:
    """The splits of one experiment, each a list of Slice in an order that the seed alone determines.

    `str` shows its counts beside the paper's, and says what is short.

    Parameters
    ----------
    which : 1, 2 or "official"
    seed : int
        What it was drawn with.
    train, validation, test1, test2 : list of Slice
        `test2` is empty except in arrangement 1, where it is the Italian set with Test-1's non-COVID slices again.
    """

    which: int | str
    seed: int
    train: list[Slice]
    validation: list[Slice]
    test1: list[Slice]
    test2: list[Slice] = field(default_factory=list)

    @property
    def splits(self) -> dict[str, list[Slice]]:
        """The splits that have slices, by name."""
        named = {"train": self.train, "validation": self.validation, "test1": self.test1, "test2": self.test2}
        return {name: slices for name, slices in named.items() if slices}

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of slices by split and class name."""
        return {
            split: {name: sum(one.label == label for one in slices) for label, name in enumerate(CLASSES)}
            for split, slices in self.splits.items()
        }

    def manifest(self) -> list[dict[str, str]]:
        """Return one row a slice: split, label, name, source, patient, sha256. Reads every file."""
        return manifest(self.splits)

    def write_manifest(self, path: str | os.PathLike) -> None:
        """Write the manifest as CSV, whole or not at all."""
        write_manifest(path, self.manifest())

    def __str__(self) -> str:
        """Return the counts as a table beside the paper's, then notes on where they differ."""
        paper, beside = PAPER.get(self.which, {}), ""
        if paper:
            beside = f", drawn with seed {self.seed} (in brackets: the paper's Table {self.which})"
        lines = [f"arrangement {self.which}{beside}", _row("split", "COVID", "non-COVID", "patients")]
        for split, counts in self.counts().items():
            shown = {name: f"{n} ({paper[split][name]})" if paper else str(n) for name, n in counts.items()}
            lines.append(_row(split, shown["COVID"], shown["non-COVID"], _patients(self.splits[split])))
        return "\n".join(lines + self._notes())

    def _notes(self) -> list[str]:
        if self.which == "official":
            return ["The paper's tables use the COVID slices, 349, and 344 of the 397 others."]
        notes = []
        italian, in_test1 = (sum(one.source == ITALIAN for one in slices) for slices in (self._all(), self.test1))
        if italian != PAPER_ITALIAN:
            then = f": {in_test1} instead of 20 for Test-1" if self.which == 2 else ""
            notes.append(f"Short: {italian} Italian slices instead of {PAPER_ITALIAN}{then}.")
        if self.which == 2:
            ours = self.counts()["test1"]["COVID"]
            notes.append(f"Test-1 has 98 + {in_test1} = {ours} COVID slices; Table 2 prints 108, where 98 + 20 is 118.")
        return notes

    def _all(self) -> list[Slice]:
        return [one for slices in self.splits.values() for one in slices]


def _row(split: str, covid: str, non_covid: str, patients: str) -> str:
    return f"{split:<12}{covid:<12}{non_covid:<12}{patients}"


def _patients(slices: list[Slice]) -> str:
    known = len({one.patient for one in slices if one.patient})
    unknown = sum(one.patient is None for one in slices)
    return f"{known}, and {unknown} slices without a patient" if unknown else str(known)
