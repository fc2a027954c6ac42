"""Train the paper's network, test it, and leave a folder of results: the main job.

    python examples/train_covid.py                                     synthetic slices, drawn on the spot
    python examples/train_covid.py --data DIR --arrangement 1          the real ones: DIR holds COVID-CT, as its repository does
    python examples/train_covid.py --quick                             a smoke run, in seconds
    python examples/train_covid.py --help                              everything else

It is the command ``lightnet train``; what it does stands, top to bottom, in lightnet/training/job.py. Synthetic slices are
drawings: they show that the library learns, and nothing about any disease. Not for clinical use.
"""

import sys

from lightnet.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
