"""``lightnet evaluate`` and ``lightnet predict``: what a trained network says of slices."""

import csv
import itertools
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

import lightnet as ln

from ..data.images import list_images, read_image
from ..data.prepare import resize
from ..files import make_folder, whole
from ..model_file import file_of
from .parsing import A_MODEL, command, home, natural, path, refuse_beside, refuse_slices_seen, two_classes


def add_evaluate(commands):
    """``lightnet evaluate``."""
    parser = command(commands, "evaluate", evaluate, "test a saved network: metrics with intervals, and pictures", """\
  lightnet evaluate FOLDER --model runs/synthetic/model.npz
      FOLDER has subfolders COVID and non-COVID
  lightnet evaluate --data DIR --arrangement 1 --split test1 \\
      --model runs/arrangement-1/model.npz""")
    parser.add_argument("folder", nargs="?", type=path, help="a folder with the subfolders COVID and non-COVID")
    parser.add_argument("--data", metavar="DIR", help="folder of the real slices (default: the environment's LIGHTNET_DATA)")
    parser.add_argument("--arrangement", choices=["1", "2", "official"], help="take the slices from this arrangement")
    parser.add_argument("--split", choices=["train", "validation", "test1", "test2"], default="test1",
                        help="default: %(default)s")
    parser.add_argument("--split-seed", type=natural, default=0, help="of the arrangement (default: %(default)s)")
    parser.add_argument("--model", required=True, help=A_MODEL)
    parser.add_argument("--out", metavar="DIR", type=path, help="of the results (default: evaluation/ beside the model; of "
                        "one that comes with lightnet in runs/)")


def evaluate(options):
    """Score a set of slices; the results and a line in the log of test evaluations go to a folder."""
    from ..data import covid_ct
    from ..data.folder import read_folder
    from ..data.slices import load
    from ..evaluation.scores import p_covid, predict_logits
    from ..training.run import Scored, free_folder, write_scores
    if bool(options.folder) == bool(options.arrangement):
        raise ln.ArgumentError("evaluate needs either a FOLDER or --arrangement")
    if options.folder:
        refuse_beside(options, "folder", "model", "out", given="FOLDER")
    net = two_classes(ln.load(options.model), options.model)
    if options.out:
        make_folder(options.out)                            # sooner known than after all slices
    if options.folder:
        name, slices = "test", read_folder(options.folder)
    else:
        splits = covid_ct.arrangement(options.data, covid_ct.named(options.arrangement), options.split_seed).splits
        if options.split not in splits:
            raise ln.DatasetError(f"arrangement {options.arrangement} has no split {options.split!r}; it has {', '.join(splits)}")
        name, slices = options.split.replace("test1", "test"), splits[options.split]
        if name.startswith("test"):
            refuse_slices_seen(net, options.model, slices, options.data)
    greys, labels = load(slices, net.meta["input_size"], net.meta["resize"], partial(tqdm, desc="reading", leave=False))
    scored = Scored(name, slices, greys, labels, p_covid(predict_logits(net, greys, progress=True)))
    out = Path(options.out) if options.out else free_folder(home(options.model), "evaluation")
    print(write_scores(out, file_of(options.model), [scored], home(options.model))[name])
    print(f"\nEverything is in {out}. Not for clinical use.")
    return 0


def add_predict(commands):
    """``lightnet predict``."""
    parser = command(commands, "predict", predict, "classify image files, as CSV: file, label, p_covid", """\
  lightnet predict slice.png
  lightnet predict FOLDER --csv predictions.csv \\
      --model runs/synthetic/model.npz
  lightnet predict FOLDER --csv predictions.csv --cam maps
      and where in each slice the network finds what""")
    parser.add_argument("paths", nargs="+", metavar="PATH", type=path, help="files, and folders, which are searched for image "
                        "suffixes")
    parser.add_argument("--model", default="cnn-2", help=f"{A_MODEL} (default: %(default)s)")
    parser.add_argument("--csv", metavar="FILE", type=path, help="write there (default: standard output)")
    parser.add_argument("--cam", metavar="DIR", type=path, help="write a picture of each slice's class activation maps there, "
                        "all on one scale")


def predict(options):
    """Classify files; a file that cannot be read is named on stderr, and the others are done."""
    from ..evaluation.predict import predict_files
    net, files = two_classes(ln.load(options.model), options.model), list(dict.fromkeys(list_images(options.paths)))
    if not files:
        raise ln.DatasetError(f"{', '.join(options.paths)}: no image file; expected files with an image's suffix")
    if options.cam:
        make_folder(options.cam)
    print(f"lightnet: p_covid by {options.model}; not for clinical use", file=sys.stderr)
    failed, mapped, text = 0, [], {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}
    with whole(options.csv, **text) if options.csv else nullcontext(sys.stdout) as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["file", "label", "p_covid"])
        for found in tqdm(predict_files(net, files, maps=bool(options.cam)), total=len(files), unit=" images", disable=None):
            if found.error:
                failed += 1
                tqdm.write(f"lightnet: {found.error}", file=sys.stderr)
            else:
                writer.writerow([found.file, found.label, f"{found.p_covid:.9g}"])
                if options.cam:
                    mapped.append(found)
    if options.cam:
        draw_maps(mapped, net.meta, options.cam)
    if failed:
        print(f"lightnet: {failed} of {len(files)} files could not be read; the others are done", file=sys.stderr)
    return 1 if failed else 0


def draw_maps(mapped, meta, folder):
    """Draw the maps of each prediction, all on one scale; two slices of the same name get different pictures."""
    from ..evaluation.heat_maps import heat_maps
    limit, drawn = max((np.abs(found.maps).max() for found in mapped), default=None), set()
    for found in tqdm(mapped, desc="maps", unit=" pictures", disable=None):
        stem = Path(found.file).stem
        names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
        name = next(name for name in names if name not in drawn)
        drawn.add(name)
        grey = resize(read_image(found.file), meta["input_size"], meta["resize"])
        title = "/".join(Path(found.file).parts[-2:])               # the folder may be all that tells two slices apart
        heat_maps(grey[None], [title], {"": (found.maps[None], [found.p_covid])}, Path(folder, f"{name}.png"),
                  f"Called {found.label}", "Not for clinical use", limit)
