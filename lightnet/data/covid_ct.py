"""The paper's arrangements of COVID-CT and the Italian slices into training, validation and test.

The paper does not say which images it took. These readings draw *within* the data set's official split, so that by its
metadata no patient changes sides, and take what the paper counts as far as there is as much.

References
----------
.. [1] Polsinelli, Cinque & Placidi 2020, "A light CNN for detecting COVID-19 from CT scans of the chest",
   arXiv:2004.12837, Tables 1 and 2
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np

from ..errors import DatasetError
from .arrangements import Arrangement
from .covid_ct_files import find, italian_slices, official_split
from .slices import Slice

NON_COVID_DRAWN = {"train": 191, "test": 95}  # of 234 and 105; validation has all 58
ITALIAN_DRAWN = {"train": 60, "validation": 20}  # arrangement 2; Test-1 has the rest


def arrangement(folder: str | os.PathLike | None, which: int | str, seed: int = 0, italian: bool = True) -> Arrangement:
    """Arrange the slices for an experiment.

    Parameters
    ----------
    folder : path or None
        The COVID-CT clone, or the folder that holds it as ``COVID-CT``; the Italian set is ``COVID-SemiSeg`` beside
        the clone. None takes the environment variable LIGHTNET_DATA.
    which : 1, 2 or "official"
        1: COVID-CT alone for training, validation and Test-1; Test-2 is the whole Italian set and Test-1's non-COVID
        slices. 2: the Italian set is spread over training, validation and Test-1. "official": the official split
        whole, its test part as Test-1.
    seed : int
        Draws the non-COVID slices of 1 and 2 (the same ones for both) and the Italian ones of 2. It is not the seed
        of the training.
    italian : bool
        False leaves the Italian slices out, which then need not be there; all others are the same.

    Returns
    -------
    arrangement : Arrangement

    Raises
    ------
    DatasetError
        No such arrangement; a file is missing or damaged; there are fewer slices than are to be drawn.

    Notes
    -----
    The training set is not augmented here: see `lightnet.data.augment`.
    """
    if which not in (1, 2, "official"):
        raise DatasetError(f"there is no arrangement {which!r}; expected 1, 2 or 'official'")
    clone = find(folder)
    non_covid, covid = official_split(clone)
    test2: list[Slice] = []
    rng = np.random.default_rng(seed)
    if which != "official":
        for part, count in NON_COVID_DRAWN.items():
            non_covid[part] = _draw(non_covid[part], count, rng, f"{clone}, non-COVID {part} slices")
    if which == 1:
        test2 = (italian_slices(clone) if italian else []) + non_covid["test"]
    if which == 2 and italian:
        for part, share in _share(italian_slices(clone), rng, f"{clone}, Italian slices beside it").items():
            covid[part] = covid[part] + share
    train, validation, test1 = (covid[part] + non_covid[part] for part in ("train", "validation", "test"))
    return Arrangement(which, seed, train, validation, test1, test2)


def named(name: str) -> int | str:
    """Return an arrangement's name on a command line or in a settings file as `arrangement` takes it.

    >>> named("1"), named("official")
    (1, 'official')
    """
    return name if name == "official" else int(name)


def _draw(slices: list[Slice], count: int, rng: np.random.Generator, what: str) -> list[Slice]:
    """Draw without replacement."""
    if len(slices) < count:
        raise DatasetError(f"{what}: found {len(slices)}; expected {count} or more. Get the whole set, or take the "
                           f"'official' arrangement")
    return _pick(slices, rng.choice(len(slices), count, replace=False))


def _share(italian: list[Slice], rng: np.random.Generator, what: str) -> dict[str, list[Slice]]:
    """Deal every Italian slice to one part."""
    first = ITALIAN_DRAWN["train"]
    second = first + ITALIAN_DRAWN["validation"]
    if len(italian) <= second:
        raise DatasetError(f"{what}: found {len(italian)}; expected more than {second}. Get the whole set, or take "
                           f"arrangement 1")
    shares = np.split(rng.permutation(len(italian)), [first, second])
    return {part: _pick(italian, share) for part, share in zip(("train", "validation", "test"), shares, strict=True)}


def _pick(slices: list[Slice], indices: Iterable[int]) -> list[Slice]:
    return [slices[i] for i in sorted(indices)]  # a draw keeps the order
