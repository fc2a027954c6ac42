"""A run's folder: what a training leaves behind, in files that a person or a program reads."""

import csv
import hashlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from ..errors import FileError
from ..evaluation import metrics, plots
from ..files import whole, write_json
from ..model_file import save


@dataclass
class Scored:
    """A set of slices with what the network said of them.

    Parameters
    ----------
    name : str
        "test", "test2", "validation": the key in ``metrics.json``.
    slices : list of lightnet.data.slices.Slice
    greys : ndarray (M, S, S)
    labels, scores : ndarray (M,)
        Right classes, and p_covid.
    footer : str
        Written under the sheet of slices: what they are.
    """

    name: str
    slices: list
    greys: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    footer: str = "Not for clinical use"

    def metrics(self):
        """Its metrics, with intervals over patients where those are known."""
        patients = [one.patient for one in self.slices]
        return metrics.evaluate(self.labels, self.scores, groups=patients if any(patients) else None)


def free_folder(parent, name):
    """``parent/name``, or ``parent/name-2`` and so on where something is in that: an earlier run is never written over.

    >>> import tempfile
    >>> parent = Path(tempfile.mkdtemp())
    >>> free_folder(parent, "run").mkdir()
    >>> free_folder(parent, "run").name
    'run'
    >>> (parent / "run" / "job.json").touch()
    >>> free_folder(parent, "run").name
    'run-2'
    """
    candidates = [name, *(f"{name}-{number}" for number in range(2, 10_000))]
    return next(Path(parent) / candidate for candidate in candidates if not any((Path(parent) / candidate).glob("[!.]*")))


def write_run(folder, net, history, sets):
    """Write model, history, metrics and pictures to a run's folder.

    Parameters
    ----------
    folder : Path
    net : Graph
        Saved as ``model.npz``.
    history : list of dict
        ``Trainer.history``: ``history.csv`` and ``training_curves.png``.
    sets : list of Scored
        See `write_scores`.

    Returns
    -------
    dict of str to lightnet.evaluation.metrics.Metrics

    Raises
    ------
    FileError
        Where a file cannot be written.
    """
    folder = Path(folder)
    save(net, folder / "model.npz")
    write_history(folder / "history.csv", history)
    plots.training_curves(history, folder / "training_curves.png")
    return write_scores(folder, folder / "model.npz", sets, folder)


def write_scores(folder, model, sets, log_folder):
    """Write what a network said of some sets of slices to a folder.

    ``metrics.json`` has each under its name, ``scores.csv`` every slice. Those called test... also get ``confusion_matrix.png``,
    ``roc.png``, ``calibration.png`` and ``slices.png`` (the second one ``..._test2.png``), and a line in the log of test
    evaluations: who looks at a test set more than once should be seen to.

    Parameters
    ----------
    folder : Path
    model : Path
        The network's file, of which the log keeps the SHA-256.
    sets : list of Scored
    log_folder : Path
        Where the log is: one for all evaluations of a network.
    """
    found = {one.name: one.metrics() for one in sets}
    for one in sets:
        if one.name.startswith("test"):                 # seen is seen: logged before anything of it is shown
            log_test(log_folder, one.name, found[one.name].n, found[one.name].accuracy.value, found[one.name].auc.value, model)
    write_slice_scores(folder / "scores.csv", sets)
    for one in sets:
        if one.name.startswith("test"):
            draw(folder, one, found[one.name])
    write_json(folder / "metrics.json", {name: result.to_dict() for name, result in found.items()})     # last: then all is there
    return found


def write_slice_scores(path, sets):
    """Every slice's score: what any other metric, interval or comparison is computed from."""
    with whole(path, newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["set", "name", "source", "patient", "label", "p_covid"])
        for one in sets:
            for piece, label, score in zip(one.slices, one.labels, one.scores, strict=True):
                writer.writerow([one.name, piece.name, piece.source, piece.patient or "", label, f"{score:.9g}"])


def log_test(folder, name, n, accuracy, auc, model):
    """Append a line about the evaluation of a test set to ``test_evaluations.csv``."""
    path = Path(folder, "test_evaluations.csv")
    is_new = not path.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if is_new:
                writer.writerow(["time", "set", "n", "accuracy", "auc", "model_sha256"])
            writer.writerow([datetime.now().isoformat(timespec="seconds"), name, n, f"{accuracy:.4f}", f"{auc:.4f}",
                             hashlib.sha256(model.read_bytes()).hexdigest()])
    except OSError as error:
        raise FileError(f"{path}: cannot be written ({error.strerror}); the log of test evaluations must be") from error


def draw(folder, scored, result):
    """The pictures of one test set."""
    ending = scored.name.removeprefix("test") and f"_{scored.name}"
    plots.confusion_matrix(result, folder / f"confusion_matrix{ending}.png")
    plots.roc(scored.labels, scored.scores, result, folder / f"roc{ending}.png")
    plots.calibration(scored.labels, scored.scores, folder / f"calibration{ending}.png")
    plots.slice_sheet(scored.greys, scored.labels, scored.scores, [one.name for one in scored.slices],
                      folder / f"slices{ending}.png", f"Right and wrong: {scored.name}", scored.footer)


def write_history(path, history):
    """One row for each epoch."""
    with whole(path, newline="") as file:
        writer = csv.DictWriter(file, list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
