"""The COVID-CT data set straight from a clone of its repository, and the Italian slices of COVID-SemiSeg.

The clone is read as it is: ``Images-processed/CT_*.zip`` (or the same unpacked), the official split in ``Data-split/``,
patients in ``Info/*.csv``. Both sets are for research and non-commercial use.

References
----------
.. [1] Yang et al. 2020, "COVID-CT-Dataset: a CT scan dataset about COVID-19", arXiv:2003.13865,
   https://github.com/UCSD-AI4H/COVID-CT
.. [2] Fan et al. 2020, "Inf-Net: automatic COVID-19 lung infection segmentation from CT images", arXiv:2004.14133,
   https://github.com/DengPingFan/Inf-Net
"""

from __future__ import annotations

import csv
import os
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path

from ..errors import DatasetError
from .arrangements import ITALIAN
from .images import SUFFIXES, can_be_listed, list_images
from .slices import Slice

Parts = dict[str, list[Slice]]  # by part of the split
PARTS = {"train": "train", "validation": "val", "test": "test"}  # and what the clone's file names call it
# The 100 SIRM slices. The public archive has other folders too: masks, and slices of another collection.
ITALIAN_FOLDERS = ("TrainingSet/LungInfection-Train/Doctor-label/Imgs", "TestingSet/LungInfection-Test/Imgs")


def find(folder: str | os.PathLike | None = None) -> Path:
    """Find the COVID-CT clone.

    Parameters
    ----------
    folder : path, optional
        The clone, or the folder that holds it as ``COVID-CT``. By default the environment variable LIGHTNET_DATA.

    Returns
    -------
    clone : Path

    Raises
    ------
    DatasetError
        There is no clone.
    """
    repair = ("Clone https://github.com/UCSD-AI4H/COVID-CT, and give the clone, or the folder that holds it as "
              "COVID-CT, as the folder or in LIGHTNET_DATA")
    folder = folder or os.environ.get("LIGHTNET_DATA")
    if not folder:
        raise DatasetError(f"COVID-CT: no folder given, and LIGHTNET_DATA is not set. {repair}")
    for clone in (Path(folder), Path(folder, "COVID-CT")):
        if os.path.isdir(clone / "Data-split"):         # unlike Path's, False in a folder that cannot be read
            return clone
    found = "no COVID-CT in it" if can_be_listed(folder) else "cannot be read" if os.path.isdir(folder) else "no such folder"
    raise DatasetError(f"{folder}: {found}; expected Data-split/ and Images-processed/ there or in COVID-CT/. {repair}")


def beside(folder: str | os.PathLike | None, path: str | os.PathLike) -> Path:
    """Return a file's path as it is given if it is there, else that below the data folder (None: LIGHTNET_DATA).

    DatasetError where it is in neither place.
    """
    folder = folder or os.environ.get("LIGHTNET_DATA")
    places = [Path(path), *([Path(folder, path)] if folder else [])]
    for place in places:
        if os.path.exists(place):
            return place
    raise DatasetError(f"{path}: there is no such file; looked for {' and '.join(map(str, places))}")


def official_split(clone: Path) -> tuple[Parts, Parts]:
    """Read the split that comes with the data set.

    Returns
    -------
    non_covid, covid : dict
        By the keys "train", "validation" and "test" a list of Slice each, in the order of the split's files.

    Raises
    ------
    DatasetError
        A file of the clone is missing or damaged, or the split names a slice that is not there, or names it twice.
    """
    return _official_split(clone, "NonCOVID", 0), _official_split(clone, "COVID", 1)


def italian_slices(clone: Path) -> list[Slice]:
    """List the slices of the Italian Society of Medical Radiology (SIRM), all COVID, sorted by number.

    They lie in ``COVID-SemiSeg`` beside the clone, with rows and columns swapped; `Slice.read` turns them back.
    Their patients are not known. DatasetError where they are missing.
    """
    root = Path(os.path.abspath(clone)).parent / "COVID-SemiSeg"
    files = list_images(path for path in (root / below for below in ITALIAN_FOLDERS) if path.is_dir())
    if not files:
        raise DatasetError(f"{root}: no Italian slices; looked in {' and '.join(ITALIAN_FOLDERS)}. Unpack the public "
                           f"COVID-SemiSeg archive there, or use the official split, which needs none")
    files.sort(key=lambda path: (len(path.stem), path.stem, path))  # 2.jpg before 10.jpg
    return [Slice(path.name, 1, path, source=ITALIAN, transposed=True) for path in files]


def paper_of(name: str) -> str:
    """Return the publication that a COVID slice of COVID-CT was cut from: its file's stem before page and figure.

    Examples
    --------
    >>> paper_of("2020.02.10.20021584-p6-52%11.png")
    '2020.02.10.20021584'

    Three papers of The Lancet have no page in their names, only figure and panel:

    >>> paper_of("PIIS0140673620301549_0%1.png")
    'PIIS0140673620301549'
    """
    return re.sub(r"(-p\d+-\d.*|(_\d+)?(%\d+)?)$", "", name.rsplit(".", 1)[0])


def _official_split(clone: Path, spelling: str, label: int) -> Parts:
    """Read one class; `spelling` is how the clone's file names call it."""
    slices = _slices(clone, spelling, label)
    split: Parts = {}
    listed: set[str] = set()
    for part, short in PARTS.items():
        file = clone / "Data-split" / spelling / f"{short}CT_{spelling}.txt"
        names = _lines(file)
        _check(names, file, slices, listed)
        split[part] = [slices[name] for name in names]
    return split


def _slices(clone: Path, spelling: str, label: int) -> dict[str, Slice]:
    """Return every slice of one class by its file name."""
    patients = _patients(clone / "Info" / f"{spelling}-CT-MetaInfo.csv")
    return {
        name: Slice(name, label, path, member, "COVID-CT", patients.get(name), paper_of(name) if label else None)
        for name, (path, member) in _images(clone, f"CT_{spelling}").items()
    }


def _check(names: list[str], file: Path, slices: dict[str, Slice], listed: set[str]) -> None:
    """Refuse a name that has no image, or that this or an earlier file of the split has listed already."""
    for name in names:
        if name not in slices:
            raise DatasetError(f"{file}: names {name!r}, which is not among the {len(slices)} images of its class; "
                               f"expected a whole clone. Clone COVID-CT again")
        if name in listed:
            raise DatasetError(f"{file}: names {name!r}, which the split has already; expected each slice once")
        listed.add(name)


def _lines(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError as error:
        raise DatasetError(f"{file}: {error.strerror}; expected a list of file names, one a line. "
                           f"Clone COVID-CT again") from None
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise DatasetError(f"{file}: empty; expected a list of file names, one a line. Clone COVID-CT again")
    return names


def _images(clone: Path, stem: str) -> dict[str, tuple[Path, str | None]]:
    """Map each file name of one class to the path of its file, or to its archive and its name in there."""
    archive, folder = clone / "Images-processed" / f"{stem}.zip", clone / "Images-processed" / stem
    if archive.is_file():
        try:
            with zipfile.ZipFile(archive) as file:
                members = [member for member in file.namelist() if Path(member).suffix.lower() in SUFFIXES]
        except Exception as error:  # like a damaged image, a damaged archive raises almost anything
            raise DatasetError(f"{archive}: damaged ({error}); expected a zip archive. Clone COVID-CT again, or unpack "
                               f"a whole archive into {folder} and remove this one") from error
        images: dict[str, tuple[Path, str | None]] = {Path(member).name: (archive, member) for member in members}
        return {name: place for name, place in images.items() if not name.startswith(".")}  # ._x.png: macOS' attributes
    if folder.is_dir():
        return {path.name: (path, None) for path in list_images([folder])}
    raise DatasetError(f"{archive}: missing, and so is {folder}; expected one of them. Clone COVID-CT again")


def _patients(file: Path) -> dict[str, str]:
    """Map file names to patients; empty where the clone has no such metadata."""
    if not file.is_file():
        return {}
    with open(file, encoding="utf-8-sig", errors="replace", newline="") as text:
        return dict(_name_and_patient(csv.DictReader(text)))


def _name_and_patient(rows: Iterable[dict[str, str]]) -> Iterable[tuple[str, str]]:
    for row in rows:
        fields = {(key or "").strip().lower(): value for key, value in row.items()}  # two spellings of the headings
        name, patient = fields.get("file name") or fields.get("image name"), fields.get("patient id")
        if name and patient:
            yield name.strip(), patient.strip()
