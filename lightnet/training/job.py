"""A whole training job: data, network, training, test, and a folder that holds all of it. ``lightnet train`` runs one.

The job's settings and a checkpoint are in its folder from the first epoch on, so that a job that was stopped, or killed, goes
on from there and ends with the same bits.
"""

import dataclasses
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .. import models
from ..data import augment, covid_ct, phantom
from ..data.covid_ct_files import beside
from ..data.folder import read_folder
from ..data.manifest import digest, manifest, write_manifest
from ..data.slices import load
from ..errors import ArgumentError
from ..evaluation.scores import p_covid, predict_logits
from ..files import read_json, write_json
from ..optim import SGD, step_decay
from .checkpoint import resume, save_checkpoint, versions
from .run import Scored, free_folder, write_run
from .trainer import Trainer

SYNTHETIC = {"epochs": 10, "batch": 8, "lr": 0.005, "momentum": 0.9, "l2": 1e-6, "decay": 0.7, "decay_every": 1, "augment": False}
# Experiment 4 of the paper's Table 3, batch and augmentation as docs/ reads the paper
REAL = {"epochs": 20, "batch": 32, "lr": 0.007132, "momentum": 0.87589, "l2": 0.9532e-6, "decay": 1.0, "decay_every": 1,
        "augment": True}
COUNTS = {"train": 240, "validation": 60, "test": 160}
QUICK = {"train": 16, "validation": 8, "test": 16}


@dataclass
class Job:
    """The settings of a training job; None takes the default of its kind, `SYNTHETIC` or `REAL`.

    Parameters
    ----------
    arrangement : "1", "2", "official" or None
        Real slices, see `lightnet.data.covid_ct.arrangement`; None draws synthetic ones.
    data : str or None
        Folder of the real slices.
    model : "light_cnn" or "squeezenet"
    bypass, fire, head_relu
        Of a SqueezeNet.
    imagenet : str or None
        File of ImageNet weights to start from; looked for below the folder of the real slices as well.
    imagenet_layers : sequence of str or None
        Take only these layers from it, such as ``["conv1", "fire2"]``; None takes all that fit.
    new_lr_factor : float
        On the learning rate of the parameters that do not start from ImageNet.
    epochs, batch : int
    lr, momentum, l2 : float
    decay, decay_every, decay_after : float, int, int
        The learning rate is multiplied by ``decay`` after every so many epochs, counted from epoch ``decay_after`` on.
    augment : bool
        Four times as many training slices: `lightnet.data.augment`.
    size : int
        Pixels a side.
    seed, split_seed : int
        Of weights, order and augmentation; of the synthetic slices or the arrangement's draw.
    quick : bool
        A smoke run: few slices, few pixels, one epoch.
    """

    arrangement: str | None = None
    data: str | None = None
    model: str = "light_cnn"
    bypass: str = "none"
    fire: str = "classic"
    head_relu: bool = True
    imagenet: str | None = None
    imagenet_layers: tuple | None = None
    new_lr_factor: float = 1.0
    epochs: int | None = None
    batch: int | None = None
    lr: float | None = None
    momentum: float | None = None
    l2: float | None = None
    decay: float | None = None
    decay_every: int | None = None
    decay_after: int = 0
    augment: bool | None = None
    size: int = 227
    seed: int = 0
    split_seed: int = 0
    quick: bool = False

    def __post_init__(self):
        if not self.imagenet and (self.imagenet_layers or self.new_lr_factor != 1):
            raise ArgumentError("imagenet_layers and new_lr_factor do nothing without imagenet; name the file of the weights")
        if self.model != "squeezenet" and (self.bypass, self.fire, self.head_relu) != ("none", "classic", True):
            raise ArgumentError(f"bypass, fire and head_relu are a SqueezeNet's, and do nothing for {self.model}; leave them "
                                "out, or take model squeezenet")
        if self.quick and self.arrangement:
            raise ArgumentError("quick is a smoke run on synthetic slices; leave arrangement out, or set epochs and size instead")
        defaults = dict(REAL if self.arrangement else SYNTHETIC)
        if self.quick:
            self.size, defaults["epochs"] = min(self.size, 131), 1
        for name, value in defaults.items():
            if getattr(self, name) is None:
                setattr(self, name, value)

    def settings(self):
        """What decides the result, epoch by epoch: not where files lie, nor when to stop."""
        kept = {name: value for name, value in dataclasses.asdict(self).items() if name not in ("data", "imagenet", "epochs")}
        return {**kept, "from_imagenet": bool(self.imagenet)}

    @property
    def kind(self):
        """What its folder is called."""
        return f"arrangement-{self.arrangement}" if self.arrangement else "quick" if self.quick else "synthetic"

    def network(self):
        """The untrained network; its provenance says which parameters start from ImageNet."""
        if self.model == "light_cnn":
            net = models.light_cnn(seed=self.seed)
        else:
            net = models.squeezenet(self.bypass, self.fire, classes=2, head_relu=self.head_relu, seed=self.seed)
        net.meta["input_size"] = self.size
        if self.imagenet:
            file = beside(self.data, self.imagenet)
            net.meta["provenance"]["from_imagenet"] = models.load_imagenet(net, file, self.imagenet_layers)
        return net

    def optimizer(self, net):
        """That of the network."""
        transferred = net.meta["provenance"].get("from_imagenet", [])
        factors = {name: self.new_lr_factor for name in net.params if transferred and name not in transferred}
        return SGD(net, self.lr, self.momentum, self.l2, factors)

    def schedule(self):
        """The learning rate's."""
        return step_decay(self.decay, self.decay_every, self.decay_after)

    def check(self):
        """Stop where nothing can come of it, before anything is made or read: slices, weights, sizes, rates."""
        if self.arrangement:
            self.arranged()
        net = self.network()
        if net.sizes:
            net.sizes.check(self.size, self.size)
        net.shapes((1, self.size, self.size, 3))
        self.optimizer(net)
        self.schedule()

    def arranged(self):
        """The real slices in one of the paper's arrangements."""
        return covid_ct.arrangement(self.data, covid_ct.named(self.arrangement), self.split_seed)

    def trainer(self, sets):
        """A trainer of a fresh network on the sets of `read_sets`; the training set is augmented here, if at all."""
        net, (greys, labels) = self.network(), sets["train"]
        if not net.meta["provenance"].get("from_imagenet"):         # ImageNet's weights come with their own scaling
            net.meta.update(mean=float(greys.mean()), deviation=float(greys.std()))
        if self.augment:
            greys, labels = augment.augment(greys, labels, self.seed)
        return Trainer(net, self.optimizer(net), (greys, labels), sets["validation"], self.batch,
                       np.random.default_rng(self.seed), self.schedule())


def start(job, name=None, parent="runs"):
    """Run a job in a folder of its own; returns the folder.

    Raises
    ------
    LightnetError
        For whatever cannot be read, written or trained.
    KeyboardInterrupt
        After Ctrl-C; what is done is kept, and a line says how to go on.
    """
    job.check()                                             # before a folder is made for nothing
    folder = free_folder(parent, name or job.kind)
    write_settings(job, folder)
    return run(job, folder)


def write_settings(job, folder):
    """Keep the job's settings in its folder."""
    write_json(folder / "job.json", dataclasses.asdict(job))


def go_on(folder, epochs=None, data=None):
    """Go on with the job of a folder, from its last checkpoint; to so many epochs in all, with the slices there, if given."""
    folder, job = Path(folder), kept_in(folder)
    return run(dataclasses.replace(job, epochs=epochs or job.epochs, data=data or job.data), folder)


def kept_in(folder):
    """The job that was begun in a folder."""
    return read_json(Path(folder, "job.json"), lambda kept: Job(**kept), "the folder of a job that `lightnet train` began")


def run(job, folder):
    """The job, top to bottom."""
    splits = slices_of(job, folder)
    rows = manifest(splits)
    sets = read_sets(job, splits)
    trainer = job.trainer(sets)
    net = trainer.net
    say_what_is_transferred(net)
    settings, data = job.settings(), digest(rows)
    fingerprint = {**settings, "data": data}
    if (folder / "checkpoint.npz").exists():
        resume(folder / "checkpoint.npz", trainer, fingerprint)
        if len(trainer.history) > job.epochs:
            raise ArgumentError(f"{folder}: has {len(trainer.history)} epochs already, expected at least as many, not "
                                f"{job.epochs}")
        print(f"Going on after epoch {len(trainer.history)}.")
    write_settings(job, folder)                             # only now: a refused checkpoint leaves the old ones
    write_manifest(folder / "manifest.csv", rows)
    train(trainer, job, folder, fingerprint)
    net.meta["provenance"] |= {"settings": settings, "data": data, "epochs": len(trainer.history), **versions()}

    print("Now the test set, once" + " more." * (folder / "metrics.json").exists() + ".")
    footer = "Not for clinical use" if job.arrangement else "Synthetic slices, no patient's"
    scored = [Scored(split, splits[split], *sets[split], p_covid(predict_logits(net, sets[split][0], progress=True)), footer)
              for split in sorted(sets) if split != "train"]            # test, test2, validation
    for split, result in write_run(folder, net, trainer.history, scored).items():
        print(f"\n{split}\n{result}")
    return folder


def train(trainer, job, folder, fingerprint):
    """Train with a checkpoint after every epoch; Ctrl-C says how to go on."""
    print(f"Training {job.model} on {len(trainer.train[0])} slices of {job.size}x{job.size} pixels, {job.epochs} epochs. The "
          "first batch ever waits for Numba to compile, up to a minute.")
    began = time.perf_counter()
    try:
        trainer.fit(job.epochs, after_epoch=lambda it: save_checkpoint(folder / "checkpoint.npz", it, fingerprint))
    except KeyboardInterrupt:
        print(f"\nStopped; {len(trainer.history)} of {job.epochs} epochs are kept. Go on with: lightnet train --resume {folder}")
        raise
    print(f"Trained in {time.perf_counter() - began:.0f} s.")


def slices_of(job, folder):
    """The slices of a job by split; synthetic ones are drawn into its folder."""
    return real_splits(job) if job.arrangement else synthetic_splits(job, folder)


def read_sets(job, splits):
    """Slices as (greys, labels), resized, by split."""
    return {split: load(slices, job.size, progress=partial(tqdm, desc=f"reading {split}", leave=False))
            for split, slices in splits.items()}


def say_what_is_transferred(net):
    """Which layers start from ImageNet, and which are new."""
    transferred = net.meta["provenance"].get("from_imagenet")
    if transferred:
        new = dict.fromkeys(name.rpartition(".")[0] for name in net.params if name not in transferred)
        print(f"{sum(net.params[name].size for name in transferred):,} of {sum(w.size for w in net.params.values()):,} "
              f"parameters start from ImageNet; new are {', '.join(new)}.")


def synthetic_splits(job, folder):
    """Draw the synthetic set into the job's folder, every split from a seed of its own."""
    print("Drawing synthetic slices (no patient's: see lightnet/data/phantom.py)")
    splits = {}
    for number, (split, count) in enumerate((QUICK if job.quick else COUNTS).items()):
        phantom.write(folder / "slices" / split, count, seed=3 * job.split_seed + number)
        splits[split] = read_folder(folder / "slices" / split)
    return splits


def real_splits(job):
    """The real slices by split."""
    arranged = job.arranged()
    print(arranged)
    return {split.replace("test1", "test"): slices for split, slices in arranged.splits.items()}
