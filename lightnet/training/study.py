"""The paper's study, step by step: eight searches, then CNN-1 and CNN-2. ``python examples/reproduce_paper.py`` runs it.

An experiment is a network with its start; an arrangement says which slices train, validate and test it. For each of the two
arrangements each of the four experiments is searched for its best learning rate, momentum and L2 (`search`). The proposed network
is then trained for longer with the values found for it: CNN-1 on arrangement 1, CNN-2 on arrangement 2, from several seeds each,
of which the validation set chooses one.

Every step has a folder of its own, and is done when its last file is there: a study that was stopped goes on where it was.

References
----------
.. [1] Polsinelli, Cinque & Placidi 2020, arXiv:2004.12837, sections 3 and 4
"""

import csv
import shutil
from dataclasses import dataclass
from pathlib import Path

from ..data import covid_ct
from ..errors import ArgumentError, CheckpointError
from ..files import read_json, write_json
from . import job, search
from .job import Job
from .search import RANGES, Search

# Without SqueezeNet's last ReLU: with it, most trainings from scratch stay at ln 2 for good. See docs/results.md.
SQUEEZENET = {"model": "squeezenet", "head_relu": False}
EXPERIMENTS = {
    1: SQUEEZENET,
    2: {**SQUEEZENET, "bypass": "simple"},
    3: {**SQUEEZENET, "bypass": "simple", "imagenet": "weights/squeezenet1_1_imagenet.npz"},
    4: {"model": "light_cnn"},
}
PROPOSED = 4
NETWORKS = {"cnn-1": "1", "cnn-2": "2"}                     # and the arrangement that trains it
FINAL = {"epochs": 40, "decay": 0.8, "decay_every": 5, "decay_after": 20}


@dataclass
class Study:
    """The settings of a study; the defaults are the paper's.

    Parameters
    ----------
    out : str or Path
        The folder of all its steps.
    data : str or None
        Folder of the real slices, None takes LIGHTNET_DATA.
    attempts, at_once, size : int or None
        Of each search: how many, how many side by side, pixels a side (CNN-1 and CNN-2 have 227 in any case). None takes what
        the search was begun with, and 30, 1 and 227 for a new one.
    seeds : int
        Trainings of CNN-1 and of CNN-2.
    only : sequence of str
        The steps to make, by the beginning of their names; all, where it is empty.
    quick : bool
        A smoke run on few synthetic slices: that the steps run, nothing else.
    """

    out: str | Path = "runs/paper"
    data: str | None = None
    attempts: int | None = None
    at_once: int | None = None
    size: int | None = None
    seeds: int = 5
    only: tuple = ()
    quick: bool = False

    def steps(self):
        """Every step's name, and the function that makes it, in order."""
        searches = {f"arrangement-{arrangement}/experiment-{experiment}": (self.search, arrangement, experiment)
                    for arrangement in NETWORKS.values() for experiment in EXPERIMENTS}
        return {"data": (self.count,)} | searches | {name: (self.final, name) for name in NETWORKS}

    def run(self):
        """Make the steps; returns the names of those that were asked for."""
        steps = self.steps()
        for beginning in self.only:
            if not any(name.startswith(beginning) for name in steps):
                raise ArgumentError(f"no step begins with {beginning}; there are {', '.join(steps)}")
        chosen = [name for name in steps if not self.only or name.startswith(tuple(self.only))]
        for name in chosen:                                 # a file of weights that is missing shows now, not after days
            make, *arguments = steps[name]
            if make == self.search and not (Path(self.out) / name / "best.json").exists():
                arrangement, experiment = arguments
                first = self.job(arrangement, **EXPERIMENTS[experiment])
                if first.imagenet:
                    first.network()
        for name in chosen:
            make, *arguments = steps[name]
            print(f"\n{name}")
            make(*arguments)
        return chosen

    def job(self, arrangement, **settings):
        """A job on one of the arrangements, or, for a smoke run, on synthetic slices."""
        if self.quick:
            return Job(**{**settings, "imagenet": None, "epochs": 1}, quick=True)
        return Job(arrangement, self.data, **settings)

    def count(self):
        """Keep how many slices each arrangement has: Tables 1 and 2."""
        if not self.quick:
            arranged = {which: covid_ct.arrangement(self.data, int(which)) for which in NETWORKS.values()}
            write_json(Path(self.out) / "arrangements.json", {which: one.counts() for which, one in arranged.items()})

    def search(self, arrangement, experiment):
        """Search one experiment's values on one arrangement."""
        folder = Path(self.out) / f"arrangement-{arrangement}" / f"experiment-{experiment}"
        kept = search.kept_in(folder) if (folder / "search.json").exists() else None
        size, at_once = self.size or (kept.job.size if kept else 227), self.at_once or (kept.at_once if kept else 1)
        wanted = Search(self.job(arrangement, size=size, **EXPERIMENTS[experiment]), self.attempts or 30, at_once)
        if kept:
            same(folder, {**kept.job.settings(), "at_once": kept.at_once}, {**wanted.job.settings(), "at_once": at_once})
            folder, best = search.go_on(folder, self.attempts, self.data)
        else:
            folder, best = search.start(wanted, folder.name, folder.parent)
        print(f"best: attempt {best['number']}, validation accuracy {best['accuracy']:.3f}, learning rate {best['lr']:.3g}, "
              f"momentum {best['momentum']:.3g}, L2 {best['l2']:.2g}")

    def final(self, name):
        """Train the proposed network from several seeds with the values that its search found, and choose one of them."""
        folder, values = Path(self.out) / name, self.found(NETWORKS[name])
        for seed in range(self.seeds):
            one, wanted = folder / f"seed-{seed}", self.job(NETWORKS[name], seed=seed, **values, **FINAL)
            if not (one / "job.json").exists():
                job.start(wanted, one.name, one.parent)
                continue
            same(one, job.kept_in(one).settings(), wanted.settings())
            if not (one / "metrics.json").exists():
                job.go_on(one, data=self.data)
        print("chosen: seed {seed}".format(**choose(folder)))

    def found(self, arrangement):
        """The values that the search for the proposed network found."""
        file = Path(self.out) / f"arrangement-{arrangement}" / f"experiment-{PROPOSED}" / "best.json"
        return read_json(file, lambda best: {name: best[name] for name in RANGES},
                         f"what the search finds; make the step {file.parent.parent.name}/{file.parent.name} first")


def same(folder, kept, wanted):
    """Refuse a step that was begun otherwise: its result would pass for this study's."""
    for name, value in wanted.items():
        if kept[name] != value:
            raise CheckpointError(f"{folder}: was begun with {name} {kept[name]!r}, expected {value!r}. Take another --out, ask "
                                  "for what is there, or remove the folder to make the step anew")


def choose(folder):
    """Choose one of a network's trainings on the validation set, and put its model into ``folder``.

    The highest validation accuracy after the last epoch; of equal ones the lowest validation loss.

    Parameters
    ----------
    folder : Path
        With the folders of the trainings, ``seed-0`` and so on.

    Returns
    -------
    dict
        ``seed``, and ``validation``: accuracy and loss by seed. Kept in ``chosen.json``.
    """
    validation = {}
    for file in sorted(folder.glob("seed-*/history.csv")):
        with open(file, newline="") as text:
            last = list(csv.DictReader(text))[-1]
        validation[int(file.parent.name.removeprefix("seed-"))] = {name: float(last[f"validation_{name}"])
                                                                    for name in ("accuracy", "loss")}
    seed = max(validation, key=lambda seed: (validation[seed]["accuracy"], -validation[seed]["loss"]))
    model, chosen = folder / f"seed-{seed}" / "model.npz", {"seed": seed, "validation": validation}
    if not model.exists():                              # a clone has what was measured, not the models
        raise CheckpointError(f"{model}: there is no such file, expected the chosen training's model. Take another --out, or "
                              "remove its folder to train it anew")
    write_json(folder / "chosen.json", chosen)
    shutil.copyfile(model, folder / "model.npz")
    return chosen
