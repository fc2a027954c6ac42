"""Reproduce the paper's study: four experiments searched on two arrangements, then CNN-1 and CNN-2 trained and tested.

    python examples/reproduce_paper.py --data DIR                          the whole protocol; about two days on two cores
    python examples/reproduce_paper.py --data DIR --size 131 --attempts 10          searches a tenth of the work
    python examples/reproduce_paper.py --data DIR --only arrangement-1/experiment-4 cnn-1
    python examples/reproduce_paper.py --quick                             a smoke run of every step on synthetic slices

DIR holds COVID-CT as its repository does, COVID-SemiSeg beside it, and for experiment 3 SqueezeNet's ImageNet weights, which
torchvision has; as arrays:

    w = torchvision.models.squeezenet1_1(weights="IMAGENET1K_V1").state_dict()
    numpy.savez("DIR/weights/squeezenet1_1_imagenet.npz", **{name: array.numpy() for name, array in w.items()})

A study that was stopped goes on where it was. What the steps are stands in lightnet/training/study.py, what they found in
docs/results.md. Not for clinical use.
"""

import argparse
import sys

from lightnet.cli.parsing import positive
from lightnet.errors import LightnetError
from lightnet.training.study import Study


def main(arguments=None):
    """Run the study; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", metavar="DIR", help="folder of the real slices (default: the environment's LIGHTNET_DATA)")
    add("--out", metavar="DIR", help="folder of all steps (default: runs/paper, or runs/paper-quick)")
    add("--attempts", type=positive, help="of each search (default: 30, or what it was begun with)")
    add("--at-once", type=positive, help="attempts side by side, on an equal share of the cores each (default: 1, or as begun)")
    add("--size", type=positive, help="pixels a side while searching (default: 227, or what it was begun with)")
    add("--seeds", type=positive, default=5, help="trainings of CNN-1 and of CNN-2 (default: %(default)s)")
    add("--only", nargs="+", default=(), metavar="STEP", help="arrangement-1/experiment-4, cnn-1, ...; a beginning will do")
    add("--quick", action="store_true", help="few synthetic slices, one epoch, two attempts, two seeds")
    options = parser.parse_args(arguments)
    options.out = options.out or ("runs/paper-quick" if options.quick else "runs/paper")
    if options.quick:
        options.attempts, options.seeds = options.attempts or 2, min(options.seeds, 2)
    try:
        Study(**vars(options)).run()
    except LightnetError as error:
        print(f"reproduce_paper: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped; the same command goes on.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
