"""Train the paper's network, test it, and leave a folder of results.

    python examples/train_covid.py                                     synthetic slices, drawn on the spot
    python examples/train_covid.py --data DIR --arrangement 1          the real ones: DIR holds COVID-CT, as its repository does
    python examples/train_covid.py --quick                             a smoke run, in seconds

Synthetic slices are drawings: they show that the library learns, and nothing about any disease. Not for clinical use.
"""

import argparse
import os
import sys
import time
from functools import partial

import numpy as np
from tqdm import tqdm

import lightnet as ln
from lightnet.data import covid_ct, phantom
from lightnet.data.folder import read_folder
from lightnet.data.slices import load
from lightnet.optim import step_decay
from lightnet.training.run import Scored, free_folder, write_run
from lightnet.training.trainer import Trainer, p_covid, predict_logits

SYNTHETIC = {"train": 240, "validation": 60, "test": 160}
QUICK = {"train": 16, "validation": 8, "test": 16}


def parse(arguments):
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", metavar="DIR", default=os.environ.get("LIGHTNET_DATA"),
                        help="folder of the real slices (default: the environment's LIGHTNET_DATA)")
    parser.add_argument("--arrangement", choices=["1", "2", "official"],
                        help="train on the real slices, split like the paper's Table 1 or 2, or as published")
    parser.add_argument("--epochs", type=int, help="default: 10; 20 on the real slices, as in the paper")
    parser.add_argument("--batch", type=int, default=8, help="images in a batch (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=0.005, help="learning rate (default: %(default)s)")
    parser.add_argument("--decay", type=float, help="of the learning rate after every epoch (default: 0.7; 1 on real slices)")
    parser.add_argument("--momentum", type=float, default=0.9, help="(default: %(default)s)")
    parser.add_argument("--l2", type=float, default=1e-6, help="(default: %(default)s)")
    parser.add_argument("--size", type=int, default=227, help="pixels a side (default: %(default)s; 131 is three times as fast)")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the order of the slices")
    parser.add_argument("--split-seed", type=int, default=0, help="of the synthetic slices, or of the arrangement")
    parser.add_argument("--name", help="of the folder of results under runs/")
    parser.add_argument("--quick", action="store_true", help="a smoke run: few slices, few pixels, one epoch")
    options = parser.parse_args(arguments)
    if options.arrangement and not options.data:
        parser.error("--arrangement needs the real slices: --data DIR")
    if options.quick:
        options.size, options.epochs = 131, 1
    options.epochs = options.epochs or (20 if options.arrangement else 10)
    options.decay = options.decay or (1.0 if options.arrangement else 0.7)
    return options


def synthetic_splits(folder, counts, seed):
    """Draw the synthetic set; every split from a seed of its own."""
    splits = {}
    for number, (split, count) in enumerate(counts.items()):
        phantom.write(folder / split, count, seed=3 * seed + number)
        splits[split] = read_folder(folder / split)
    return splits


def real_splits(folder, data, which, seed):
    """The real slices in one of the paper's arrangements; which file is where is kept in the run's folder."""
    arranged = covid_ct.arrangement(data, which if which == "official" else int(which), seed)
    print(arranged)
    arranged.write_manifest(folder / "manifest.csv")
    splits = {"train": arranged.train, "validation": arranged.validation, "test": arranged.test1, "test2": arranged.test2}
    return {split: slices for split, slices in splits.items() if slices}


def main(arguments=None):
    """The whole job, top to bottom."""
    options = parse(arguments)
    kind = f"arrangement-{options.arrangement}" if options.arrangement else "quick" if options.quick else "synthetic"
    folder = free_folder("runs", options.name or kind)
    folder.mkdir(parents=True)

    if options.arrangement:
        splits, footer = real_splits(folder, options.data, options.arrangement, options.split_seed), "Not for clinical use"
    else:
        print("Drawing synthetic slices (no patient's: see lightnet/data/phantom.py)")
        counts, footer = QUICK if options.quick else SYNTHETIC, "Synthetic slices, no patient's"
        splits = synthetic_splits(folder / "slices", counts, options.split_seed)
    sets = {split: load(slices, options.size, progress=partial(tqdm, desc=f"reading {split}", leave=False))
            for split, slices in splits.items()}

    net = ln.models.light_cnn(seed=options.seed)
    greys, _ = sets["train"]
    net.meta.update(input_size=options.size, mean=float(greys.mean()), deviation=float(greys.std()))
    net.meta["provenance"] = {**vars(options), "lightnet": ln.__version__, "numpy": np.__version__}
    optimizer = ln.SGD(net, options.lr, options.momentum, options.l2)
    trainer = Trainer(net, optimizer, sets["train"], sets["validation"], options.batch, np.random.default_rng(options.seed),
                      step_decay(options.decay))

    print(f"Training light_cnn on {len(greys)} slices of {options.size}x{options.size} pixels, {options.epochs} epochs, on "
          f"{ln.num_threads()} threads. The first batch waits for Numba to compile, some 10 seconds, once.")
    start = time.perf_counter()
    trainer.fit(options.epochs)
    print(f"Trained in {time.perf_counter() - start:.0f} s. Now the test set, once.")

    scored = [Scored(split, splits[split], *sets[split], p_covid(predict_logits(net, sets[split][0], progress=True)))
              for split in sets if split != "train"]
    scored.sort(key=lambda one: one.name)                       # test, test2, validation
    for split, result in write_run(folder, net, trainer.history, scored, footer).items():
        print(f"\n{split}\n{result}")
    print(f"""
Everything is in {folder}{os.sep}: model.npz, history.csv, metrics.json, and to look at: training_curves.png,
confusion_matrix.png, roc.png, slices.png (what it got right and wrong).
Next: change --lr or --epochs and compare; --data DIR --arrangement 1 trains on real slices; README.md says in which order to
read the code. A synthetic score says that the library learns. Not for clinical use.""")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ln.LightnetError as error:
        sys.exit(f"train_covid: {error}")
