"""Control classifiers: what a network's score must be compared with before it says anything about disease.

Each control sees something that has no, or little, to do with lungs: the file's header, the slice's border, everything
but the lungs. It is trained on a split's training slices and evaluated once on its test slices. Where such a control
does better than the majority class, the data set tells its classes apart without any sign of disease, and a network may
use that too; the control does not show *that* it does (DeGrave et al. 2021). All classifiers but the majority class are
one random forest with scikit-learn's default settings, not tuned: a control that fails does not prove that there is
nothing to be found.

References
----------
Maguolo & Nanni 2021, "A critic evaluation of methods for COVID-19 automatic detection from X-ray images", Information
    Fusion 76:1 (the lungs blacked out).
DeGrave, Janizek & Lee 2021, "AI for radiographic COVID-19 detection selects shortcuts over signal", Nature Machine
    Intelligence 3:610.
Breiman 2001, "Random forests", Machine Learning 45:5.
Ojala & Garriga 2010, "Permutation tests for studying classifier performance", J. Machine Learning Research 11:1833.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from ..data.images import FORMATS, read_image
from ..data.prepare import resize
from ..data.slices import Slice
from ..errors import DatasetError
from .cam import border
from .lungs import lungs
from .metrics import Metrics, evaluate

SIZE = 48  # a slice's width and height as the forest sees it: coarse, but a few hundred slices train no finer one
BORDER_PIXELS = 4  # of it
ALIKE = 227  # width and height of every slice once re-encoded: what a network gets
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F")

# Each control's name, and what its classifier sees of a slice; `views` computes it.
SEES = {
    "no pixel": "width, height, byte count, mode, file format by content",
    "no pixel, no format": "width, height, byte count, mode",
    "border": f"the outer {BORDER_PIXELS} pixels of {SIZE} x {SIZE}, grey",
    "whole": f"{SIZE} x {SIZE}, grey",
    "no lungs": f"{SIZE} x {SIZE}, grey, the lungs and a margin of one pixel black",
    "no lungs' box": f"{SIZE} x {SIZE}, grey, the upright box around these black",
    "only lungs": f"{SIZE} x {SIZE}, grey, all but the lungs black",
    "no pixel, re-encoded": f"byte count as a grey {ALIKE} x {ALIKE} JPEG of quality 90",
    "border, re-encoded": f"the outer {BORDER_PIXELS} pixels of {SIZE} x {SIZE}, re-encoded likewise",
}
NEEDS_LUNGS = ("no lungs", "no lungs' box", "only lungs")


@dataclass(frozen=True)
class Control:
    """One control on one test split.

    Parameters
    ----------
    name, sees : str
        What it is called, and what its classifier was given.
    split : str
        Where it was evaluated.
    n : int
        Slices there.
    runs : tuple of Metrics
        One; for shuffled labels one a permutation.
    note : str
        What a reader of the number must know.
    scores : tuple of ndarray (n,)
        p_covid of its slices, for each run.
    """

    name: str
    sees: str
    split: str
    n: int
    runs: tuple[Metrics, ...]
    note: str = ""
    scores: tuple[np.ndarray, ...] = ()

    @property
    def metrics(self) -> Metrics:
        """The metrics; of several runs the first one's."""
        return self.runs[0]

    def to_dict(self) -> dict:
        """Plain numbers, strings, lists and dicts, as JSON wants them."""
        runs = [run.to_dict() for run in self.runs]
        return {"name": self.name, "sees": self.sees, "split": self.split, "n": self.n, "note": self.note, "runs": runs}


def run(splits: Mapping[str, Sequence[Slice]], seed: int = 0, names: Iterable[str] = tuple(SEES), shuffles: int = 20,
        trees: int = 500, progress: Callable[..., Iterable] | None = None) -> list[Control]:
    """Train every control on the training slices, and evaluate each once on every test split.

    Parameters
    ----------
    splits : mapping of str to sequence of Slice
        "train", and one or more whose names start with "test"; others are not looked at. `Arrangement.splits` is one.
    seed : int
        Of the forests, the permutations and the bootstrap.
    names : iterable of str
        Controls of `SEES`; by default all.
    shuffles : int
        Permutations of the training labels, patient by patient; each trains a forest on whole slices.
    trees : int
        In each forest.
    progress : callable, optional
        Wraps the reading of the slices as ``progress(iterable, total=N)``: tqdm, for one.

    Returns
    -------
    controls : list of Control
        For each test split the majority class, then those of `names`, then "shuffled labels".

    Raises
    ------
    DatasetError
        There is no training or no test split, or the training split has one class only; a name is unknown; a slice cannot
        be read.
    ImageError
        A slice is no image.

    Notes
    -----
    "Byte count" and the header are the file's as it stands; a transposed slice's width is its file's. A slice of the
    Italian set is cropped to the lungs, so its border is lung more often than another's.

    The range of the shuffled labels is wide, for slices come in clusters of a patient, whose labels stay together here: a
    control whose AUC lies in it shows nothing. Their mean need not be one half where the training classes are not equally many.
    """
    tests, names = _tests(splits), list(names)
    if unknown := set(names).difference(SEES):
        raise DatasetError(f"control {min(unknown)!r}; expected some of {', '.join(SEES)}")
    seen = _see([one for name in ("train", *tests) for one in splits[name]], progress)
    labels = np.array([one.label for one in splits["train"]])
    rng = np.random.default_rng(seed)

    def scores(view, labels, seed=seed):  # of each test split
        return _scores(seen, view, splits, tests, labels, seed, trees)

    runs = {"majority class": [{name: np.full(len(splits[name]), labels.mean()) for name in tests}]}
    runs |= {view: [scores(view, labels)] for view in names}
    if shuffles:  # what comes of labels that mean nothing: a score may be this far from one half by chance
        runs["shuffled labels"] = [scores("whole", shuffled(splits["train"], rng), int(rng.integers(2**31)))
                                   for _ in range(shuffles)]
    return [_control(seen, name, splits, test, [one[test] for one in several], seed)
            for test in tests for name, several in runs.items()]


def views(one: Slice) -> dict[str, np.ndarray]:
    """Return what each control of `SEES` is given of a slice, as a flat float32 array; "found" says if it has lungs."""
    data, grey = one.bytes(), one.read()
    mask = lungs(grey)
    margin = 2 * round(max(grey.shape) / SIZE) + 1
    wide = ndimage.maximum_filter(mask.astype(np.uint8), margin).astype(bool)  # resizing mixes in pixels of the lungs' edge
    alike = reencoded(grey)
    header, whole = _header(data), resize(grey, SIZE)
    return {
        "no pixel": header,
        "no pixel, no format": header[: -len(FORMATS)],
        "border": _border(whole),
        "whole": whole.ravel(),
        "no lungs": resize(np.where(wide, 0, grey), SIZE).ravel(),
        "no lungs' box": resize(np.where(box(wide), 0, grey), SIZE).ravel(),
        "only lungs": resize(np.where(mask, grey, 0), SIZE).ravel(),
        "no pixel, re-encoded": _header(alike),
        "border, re-encoded": _border(resize(read_image(io.BytesIO(alike)), SIZE)),
        "found": mask.any(),
    }


def shuffled(slices: Sequence[Slice], rng: np.random.Generator) -> np.ndarray:
    """Return the slices' labels (N,), shuffled among patients: those that had one label in common keep one."""
    groups = [(one.patient or n, one.label) for n, one in enumerate(slices)]
    distinct = list(dict.fromkeys(groups))
    label = dict(zip(distinct, rng.permutation([label for _, label in distinct])))
    return np.array([label[group] for group in groups])


def box(mask: np.ndarray) -> np.ndarray:
    """Fill the smallest upright rectangle around a mask."""
    box = np.zeros_like(mask)
    for place in ndimage.find_objects(mask.astype(np.uint8)):  # none, or one
        box[place] = True
    return box


def _header(data: bytes) -> np.ndarray:
    """Width, height, byte count, then one number a mode and one a format: 1 for the file's own."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        kinds = [image.mode == mode for mode in MODES] + [image.format == name for name in FORMATS]
        return np.array([image.width, image.height, len(data), *kinds], np.float32)


def _border(square: np.ndarray) -> np.ndarray:
    return square[border(SIZE, BORDER_PIXELS / SIZE)]


def reencoded(grey: np.ndarray) -> bytes:
    """Write any slice as the same kind of file."""
    levels = np.rint(255 * np.clip(resize(grey, ALIKE), 0, 1)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(levels).save(file, format="JPEG", quality=90)
    return file.getvalue()


def _tests(splits: Mapping[str, Sequence[Slice]]) -> tuple[str, ...]:
    """Return the names of the test splits, or raise what `run` documents."""
    tests = tuple(name for name in splits if name.startswith("test") and splits[name])
    if not splits.get("train") or not tests:
        raise DatasetError(f"splits {', '.join(splits) or 'none'}: expected slices in 'train' and in one or more whose "
                           f"names start with 'test'")
    if len({one.label for one in splits["train"]}) < 2:
        raise DatasetError("the training split has one class only; expected slices of both classes")
    return tests


def _see(slices: Sequence[Slice], progress: Callable[..., Iterable] | None) -> dict[Slice, dict[str, np.ndarray]]:
    """Read every slice once, whatever the number of splits it is in."""
    distinct = list(dict.fromkeys(slices))
    return {one: views(one) for one in (progress(distinct, total=len(distinct)) if progress else distinct)}


def _scores(seen, view, splits, tests, labels, seed, trees) -> dict[str, np.ndarray]:
    """Train a forest on one view of the training slices; return its p_covid for each test split."""
    from sklearn.ensemble import RandomForestClassifier  # slow to import, and nothing else here needs it

    x = {name: np.stack([seen[one][view] for one in splits[name]]) for name in ("train", *tests)}
    forest = RandomForestClassifier(trees, random_state=seed).fit(x["train"], labels)
    return {name: forest.predict_proba(x[name])[:, 1] for name in tests}


def _control(seen, name, splits, test, scores, seed) -> Control:
    """Evaluate the scores of one or more classifiers on a test split."""
    slices, note = splits[test], ""
    labels, patients = [one.label for one in slices], [one.patient for one in slices]
    if name in NEEDS_LUNGS:
        train, here = (f"{sum(not seen[one]['found'] for one in of)} of {len(of)}" for of in (splits["train"], slices))
        note = f"no lungs found in {train} training and {here} test slices"
    if len(scores) > 1:
        note = f"mean and range of {len(scores)} permutations"
    sees = SEES["whole"] if name == "shuffled labels" else SEES.get(name, "nothing")
    runs = tuple(evaluate(labels, p, patients, seed=seed) for p in scores)
    return Control(name, sees, test, len(slices), runs, note, tuple(scores))
