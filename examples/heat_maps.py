"""Heat maps of slices, network by network, beside an untrained one's: the paper's Figures 4 and 5, made anew.

    python examples/heat_maps.py --data DIR                              the models that come with lightnet; DIR holds COVID-CT
    python examples/heat_maps.py --model runs/synthetic/model.npz        another, on synthetic slices, drawn on the spot

Three COVID and three other slices of arrangement 1's Test-1, drawn by --seed (the paper's are of its training set). All maps are
on one scale. The last two columns are an untrained network's: what they show as well was not learnt. Real slices' pictures are
for your own eyes: their licence admits research and non-commercial use only. Not for clinical use.
"""

import argparse
import sys

import numpy as np

import lightnet as ln
from lightnet.cli.parsing import named, natural, two_classes
from lightnet.data import covid_ct, phantom
from lightnet.data.prepare import normalize, resize
from lightnet.evaluation.cam import class_activation_maps
from lightnet.evaluation.heat_maps import heat_maps
from lightnet.evaluation.probes import as_untrained
from lightnet.model_file import trained


def slices(data, seed):
    """Three COVID slices, three others: (images, names)."""
    rng = np.random.default_rng(seed)
    if data is None:
        return [phantom.draw(rng, label) for label in (1, 1, 1, 0, 0, 0)], ["COVID (drawn)"] * 3 + ["non-COVID (drawn)"] * 3
    test = covid_ct.arrangement(data, 1).test1
    chosen = [one for label in (1, 0) for one in rng.choice([s for s in test if s.label == label], 3, replace=False)]
    return [one.read() for one in chosen], [f"{'COVID' if one.label else 'non-COVID'}: {one.name}" for one in chosen]


def maps_and_scores(net, images):
    """A network's maps of some images, and p_covid."""
    greys = np.stack([resize(image, net.meta["input_size"], net.meta["resize"]) for image in images])
    x = normalize(greys, net.meta)
    return class_activation_maps(net, x), ln.softmax(net.forward(x))[:, 1]


def main(arguments=None):
    """Draw the picture; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help="may be given several times (default: " + ", ".join(trained()) + ")")
    parser.add_argument("--data", metavar="DIR", help="folder of the real slices (default: synthetic ones)")
    parser.add_argument("--seed", type=natural, default=0, help="of the draw of slices")
    parser.add_argument("--out", metavar="FILE", default="runs/heat_maps.png", help="default: %(default)s")
    options = parser.parse_args(arguments)
    try:
        images, names = slices(options.data, options.seed)
        networks = {name: two_classes(ln.load(path), path) for path, name in named(options.model or trained()).items()}
        untrained = as_untrained(next(iter(networks.values())), seed=0)
        drawn = {name: maps_and_scores(net, images) for name, net in {**networks, "untrained": untrained}.items()}
        shown = np.stack([resize(image, 227) for image in images])
        heat_maps(shown, names, drawn, options.out, "Where the networks find what")
    except ln.LightnetError as error:
        print(f"heat_maps: {error}", file=sys.stderr)
        return 2
    print(f"{options.out}: {len(images)} slices, {len(networks)} networks and an untrained one. Not for clinical use.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
