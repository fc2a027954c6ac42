"""Bayesian search for learning rate, momentum and L2: ``lightnet search``.

Every attempt is a whole training; what is looked for are the values after which the validation accuracy f is highest. A
Gaussian process is fitted to the attempts so far, *the surrogate*: at every point of the space a mean and a deviation of what f
may be there. The next attempt is where the improvement that may be expected over the best f so far, E[max(f - f_best, 0)], is
largest: where the mean is high, or little is known. "Observed" is the best accuracy that was measured, "estimated" the
surrogate's mean at the same point: where it takes measurements for noisy it is lower, as the best of many is likely to have been
a lucky one; where it finds no noise it is the same.

Each attempt is a line in ``journal.jsonl``, written when it ends. What is proposed next is a function of the journal and the
search's settings alone, so that a search that was killed goes on as if it had not been, and loses only the attempts in flight;
on another machine, or with other libraries, from the ninth attempt on what is proposed differs in late digits at first.
joblib runs several attempts at once, in processes of this machine, or wherever ``joblib.parallel_config`` says.

scikit-optimize fits the surrogate. It is no longer developed, and used in this file alone.

References
----------
.. [1] Snoek, Larochelle & Adams 2012, "Practical Bayesian optimization of machine learning algorithms", arXiv:1206.2944
.. [2] Polsinelli, Cinque & Placidi 2020, arXiv:2004.12837, Tables 3 and 4: 30 attempts of 20 epochs. The ranges are ours: round
   numbers about the values that the paper found.
"""

import dataclasses
import time
import warnings
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import joblib
import numpy as np
from skopt import Optimizer, Space
from skopt.sampler import Lhs
from skopt.space import Real
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from ..cores import num_threads, set_num_threads
from ..errors import ArgumentError, CheckpointError, TrainingError
from ..evaluation import search_plots
from ..files import read_json, write_json
from .checkpoint import versions
from .job import Job, read_sets, say_what_is_transferred, slices_of
from .journal import Journal, name_of
from .run import free_folder

RANGES = {"lr": (1e-4, 1e-1, "log-uniform"), "momentum": (0.5, 0.99, "uniform"), "l2": (1e-12, 1e-2, "log-uniform")}
SPACE = Space([Real(low, high, prior=prior, name=name) for name, (low, high, prior) in RANGES.items()])
SPREAD = 8                                      # attempts before the first surrogate, or more: a Latin hypercube
CHANCE = 0.5                                    # what a diverged attempt counts for: a coin's accuracy


@dataclass
class Search:
    """The settings of a search.

    Parameters
    ----------
    job : Job
        What an attempt trains. Attempt k has the seed ``job.seed + k``: not one seed's luck decides for all, but the best attempt
        has luck with its own.
    attempts : int
        In all.
    at_once : int
        Attempts that run side by side, on an equal share of the threads each. They are proposed together, before any of them is
        known, so a search with another number goes another way.
    """

    job: Job
    attempts: int = 30
    at_once: int = 1

    @property
    def spread(self):
        """How many attempts come before the first surrogate: the whole first round at least."""
        return max(SPREAD, self.at_once)

    def propose(self, done):
        """The values that the next attempts are to try, given the attempts of all rounds before.

        Returns
        -------
        list of dict
            One for each attempt of the round: lr, momentum, l2.
        """
        first, last = len(done), min(len(done) + self.at_once, self.attempts)
        points = Lhs().generate(SPACE.dimensions, self.spread, random_state=self.job.seed)[first:last]
        if len(points) < last - first:
            with threadpool_limits(1):                      # the same points whatever the number of threads
                optimizer = fitted(done, self.job.seed + first)
                if points:                                  # under way as well: taken for good, so that others are proposed
                    optimizer.tell(points, [min(optimizer.yi)] * len(points))
                points += optimizer.ask(last - first - len(points))
        return [dict(zip(RANGES, map(float, point), strict=True)) for point in points]

    def best(self, done):
        """The best attempt with its ``estimated`` accuracy; of equally good ones, that of the higher estimate."""
        with threadpool_limits(1):
            surrogate = fitted(done, self.job.seed).models[-1]
            estimates = -surrogate.predict(SPACE.transform([point_of(one) for one in done]))
        return max(({**one, "estimated": float(estimate)} for one, estimate in zip(done, estimates, strict=True)),
                   key=lambda one: (one["accuracy"], one["estimated"]))

    def surrogate(self, done, best, steps=60):
        """The surrogate on lines through the best attempt, one along each axis, and on the plane of rate and momentum.

        Returns
        -------
        lines : dict of str to (values, mean, deviation), each an ndarray (steps,)
        plane : (rates, momenta, mean), ndarrays (steps,), (steps,) and (steps, steps)
            Of mean a row is a momentum.
        """
        model = fitted(done, self.job.seed).models[-1]
        grid = {name: np.geomspace(low, high, steps) if prior == "log-uniform" else np.linspace(low, high, steps)
                for name, (low, high, prior) in RANGES.items()}

        def at(points):
            points = SPACE.transform([point_of({**best, **point}) for point in points])
            with threadpool_limits(1):
                mean, deviation = model.predict(points, return_std=True)
            return -mean, deviation

        lines = {name: (values, *at([{name: value} for value in values])) for name, values in grid.items()}
        mean, _ = at([{"lr": lr, "momentum": momentum} for momentum in grid["momentum"] for lr in grid["lr"]])
        return lines, (grid["lr"], grid["momentum"], mean.reshape(steps, steps))


def fitted(done, seed):
    """An optimizer whose surrogate is fitted to the attempts; it minimizes, so it is told the accuracy's negative."""
    optimizer = Optimizer(SPACE, "GP", n_initial_points=0, acq_func="EI", acq_optimizer="lbfgs", random_state=seed)
    optimizer.tell([point_of(one) for one in done], [-one["accuracy"] for one in done])
    return optimizer


def point_of(attempt):
    """An attempt's values in the order of the space."""
    return [attempt[name] for name in RANGES]


def start(search, name=None, parent="runs"):
    """Run a search in a folder of its own; returns the folder, and the best attempt."""
    search.job.check()                                      # before a folder is made for nothing
    folder = free_folder(parent, name or f"search-{search.job.kind}")
    write_settings(search, folder)
    return folder, run(search, folder)


def go_on(folder, attempts=None, data=None):
    """Go on with the search of a folder; to so many attempts in all, with the slices there, if given."""
    folder, search = Path(folder), kept_in(folder)
    if data:
        search.job = dataclasses.replace(search.job, data=data)
    made = len(journal_of(folder).attempts)
    if attempts and attempts < made:
        raise ArgumentError(f"{folder}: has {made} attempts already, expected at least as many, not {attempts}")
    if attempts:
        search = dataclasses.replace(search, attempts=attempts)
    if attempts or data:
        write_settings(search, folder)
    return folder, run(search, folder)


def kept_in(folder):
    """The search that was begun in a folder."""
    return read_json(Path(folder, "search.json"), lambda kept: Search(Job(**kept.pop("job")), **kept),
                     "the folder of a search that `lightnet search` began")


def write_settings(search, folder):
    """Keep the search's settings in its folder."""
    write_json(folder / "search.json", dataclasses.asdict(search))


def journal_of(folder):
    """The attempts that were made in a folder."""
    return Journal(folder / "journal.jsonl", (*RANGES, "accuracy"))


def run(search, folder):
    """Make every attempt that the journal does not have yet; returns the best one."""
    journal = journal_of(folder)
    if len(journal.attempts) < search.attempts:
        slices = training_slices(search.job, folder)
        journal.take(slices)
        sets = read_sets(search.job, slices)
        say_what_is_transferred(search.job.network())
        if journal.attempts:
            print(f"Going on after {len(journal.attempts)} attempts.")
        threads = num_threads()
        try:
            with tqdm(total=search.attempts, initial=len(journal.attempts), unit=" attempts", smoothing=0) as bar:
                for first in range(0, search.attempts, search.at_once):
                    make_round(search, sets, journal, first, max(1, threads // search.at_once), bar)
        except KeyboardInterrupt:
            print(f"\nStopped; {len(journal.attempts)} of {search.attempts} attempts are kept. Go on with: lightnet search "
                  f"--resume {folder}")
            raise
        finally:
            set_num_threads(threads)                        # a single attempt ran in this process, on its share
    done = journal.upto(search.attempts)
    best = search.best(done)
    write_json(folder / "best.json", best)
    search_plots.convergence(done, folder / "convergence.png")
    search_plots.surrogate(*search.surrogate(done, best), done, best, folder / "surrogate.png")
    return best


def training_slices(job, folder):
    """The slices that train and choose; no test slice is looked at."""
    slices = slices_of(job, folder)
    return {split: slices[split] for split in ("train", "validation")}


def again(folder, number, data=None):
    """Make one attempt of a journal again: the journal's line, and what comes out now.

    Raises
    ------
    CheckpointError
        The journal has no such attempt.
    """
    folder, search = Path(folder), kept_in(folder)
    attempts = journal_of(folder).attempts
    if number not in attempts:
        raise CheckpointError(f"{folder / 'journal.jsonl'} has no attempt {number}; it has {sorted(attempts)}")
    kept = attempts[number]
    values = {name: kept[name] for name in ("seed", *RANGES)}
    job = dataclasses.replace(search.job, data=data or search.job.data, **values)
    slices = training_slices(job, folder)
    return kept, {**attempt(job, read_sets(job, slices), number, num_threads()), "slices": name_of(slices)}


def make_round(search, sets, journal, first, threads, bar):
    """Make the attempts from number `first` on that are proposed together, but for those that are in the journal."""
    numbers = range(first, min(first + search.at_once, search.attempts))
    missing = [number for number in numbers if number not in journal.attempts]
    if not missing:
        return
    values = dict(zip(numbers, search.propose(journal.upto(first)), strict=True))
    jobs = [dataclasses.replace(search.job, seed=search.job.seed + number, **values[number]) for number in missing]
    workers = joblib.Parallel(n_jobs=len(jobs), return_as="generator_unordered")
    tasks = (joblib.delayed(attempt)(job, sets, number, threads) for job, number in zip(jobs, missing, strict=True))
    for result in workers(tasks):
        journal.append(result)
        bar.update()
        bar.write("attempt {number:2}   lr {lr:.3g}   momentum {momentum:.3f}   l2 {l2:.1e}   "
                  "validation accuracy {accuracy:.3f}".format(**result))


def attempt(job, sets, number, threads):
    """Train a job's network; the journal's line, a dict."""
    set_num_threads(threads)                                # another process, perhaps on another machine
    began, trainer, last = time.perf_counter(), job.trainer(sets), {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")                 # that a rate leads nowhere is what a search is to find out
            trainer.fit(job.epochs, progress=False)
        last = trainer.history[-1]
    except TrainingError:
        pass
    return {"number": number, "seed": job.seed, **{name: getattr(job, name) for name in RANGES},
            "accuracy": last.get("validation_accuracy", CHANCE), "loss": last.get("loss"),
            "validation_loss": last.get("validation_loss"), "diverged": not last, "epochs": len(trainer.history),
            "size": job.size, "seconds": round(time.perf_counter() - began, 1), "threads": threads,
            "ended": datetime.now().isoformat("T", "seconds"), **versions()}
