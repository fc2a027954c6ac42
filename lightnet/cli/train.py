"""``lightnet train`` and ``lightnet search``."""

import argparse
import dataclasses
from contextlib import contextmanager, nullcontext

import lightnet as ln

from .parsing import command, natural, positive, refuse_beside


def add_train(commands):
    """``lightnet train``."""
    parser = command(commands, "train", train, "train a network, test it, and leave a folder of results under runs/", """\
  lightnet train
      synthetic slices, light_cnn, a few minutes
  lightnet train --quick
      a smoke run, in seconds
  lightnet train --data DIR --arrangement 1
      real slices; DIR holds COVID-CT as its repository does
  lightnet train --arrangement 2 --model squeezenet --bypass simple \\
      --no-head-relu --imagenet squeezenet1_1_imagenet.npz
      the paper's baseline, from ImageNet's weights
  lightnet train --resume runs/synthetic
      go on after Ctrl-C, or a crash, from the last whole epoch""")
    add = parser.add_argument
    add("--resume", metavar="FOLDER", help="go on with this run, by its own settings; --epochs says how many in all")
    add_job_options(parser)
    add("--lr", type=float, help="learning rate (default: 0.005; on real slices the paper's 0.007132)")
    add("--momentum", type=float, help="default: 0.9; on real slices the paper's 0.87589")
    add("--l2", type=float, help="default: 1e-6; on real slices the paper's 0.9532e-6")
    add("--name", help="of the folder under runs/")


def train(options):
    """Run a training job, or go on with one."""
    from ..training import job
    if options.resume:
        refuse_beside(options, "resume", "epochs", "data")
        folder = job.go_on(options.resume, options.epochs, options.data)
    else:
        folder = job.start(job_of(options), options.name)
    print(f"""
Everything is in {folder}/: model.npz, history.csv, metrics.json, and to look at: training_curves.png, confusion_matrix.png,
roc.png, calibration.png, slices.png (what it got right and wrong).
Next: lightnet predict YOUR_IMAGES --model {folder}/model.npz; README.md says in which order to read the code.
Not for clinical use.""")
    return 0


def add_search(commands):
    """``lightnet search``."""
    parser = command(commands, "search", search, "look for the best learning rate, momentum and L2, by Bayesian search", """\
  lightnet search --data DIR --arrangement 1
      the paper's: 30 attempts of 20 epochs; hours
  lightnet search --data DIR --arrangement 1 --size 131
      a third of the time
  lightnet search --quick --attempts 10
      to see how it goes, in a minute
  lightnet search --resume runs/search-arrangement-1
      go on; at most the attempt that was under way is lost
  lightnet search --resume runs/search-arrangement-1 --again 3
      make attempt 3 once more, and compare""")
    add = parser.add_argument
    add("--resume", metavar="FOLDER", help="go on with this search, by its own settings; --attempts says how many in all")
    add("--attempts", type=positive, help="trainings in all (default: 30)")
    add("--again", type=natural, metavar="NUMBER", help="make this attempt of --resume's once more, and compare it with its line")
    add("--at-once", type=positive, default=1, help="attempts side by side, on an equal share of the cores each (default: 1)")
    add("--cluster", metavar="ADDRESS", help="run them on a Dask cluster: tcp://HOST:PORT of its scheduler")
    add_job_options(parser)
    add("--name", help="of the folder under runs/")


def search(options):
    """Run a search, or go on with one."""
    from ..training import search
    if options.again is not None:
        if not options.resume:
            raise ln.ArgumentError("--again needs --resume FOLDER: the search whose attempt it is")
        refuse_beside(options, "again", "resume", "data")
        return compare(*search.again(options.resume, options.again, options.data))
    if options.cluster and options.at_once == 1 and not options.resume:
        raise ln.ArgumentError("--cluster without --at-once would keep one of its workers busy; say how many attempts at once")
    with on_cluster(options.cluster) if options.cluster else nullcontext():
        if options.resume:
            refuse_beside(options, "resume", "attempts", "data", "cluster")
            folder, best = search.go_on(options.resume, options.attempts, options.data)
        else:
            folder, best = search.start(search.Search(job_of(options), options.attempts or 30, options.at_once), options.name)
    print(f"""
Best on the validation set: attempt {best['number']}, accuracy {best['accuracy']:.3f} observed, {best['estimated']:.3f} estimated.
Every attempt is in {folder}/journal.jsonl; to look at: convergence.png, surrogate.png. To train with these values:
lightnet train --lr {best['lr']:.6g} --momentum {best['momentum']:.6g} --l2 {best['l2']:.6g} (and the options of this search)""")
    return 0


def compare(kept, now):
    """Print an attempt as the journal has it and as it came out now; 1 where they differ."""
    for when, one in (("journal", kept), ("now", now)):
        print("{when:8} validation accuracy {accuracy}, loss {validation_loss}, training loss {loss}".format(when=when, **one))
    same = all(kept[name] == now[name] for name in ("accuracy", "validation_loss", "loss"))
    others = [f"{name} {kept.get(name, 'not known')} then, {now[name]} now"
              for name in ("slices", "lightnet", "commit", "numpy", "python", "processor") if kept.get(name) != now[name]]
    print("the same" if same else "not the same" + (f"; what may be why: {'; '.join(others)}" if others else ""))
    return 0 if same else 1


@contextmanager
def on_cluster(address):
    """What joblib runs inside is done by the workers of a Dask cluster."""
    import joblib
    try:
        from dask.distributed import Client
    except ImportError as error:
        raise ln.BackendError("--cluster needs Dask: pip install -e '.[cluster]' in lightnet's checkout") from error
    try:
        client = Client(address, timeout=10)
    except (OSError, ValueError) as error:
        raise ln.BackendError(f"--cluster {address}: no Dask scheduler answers there ({error}); expected tcp://HOST:PORT as "
                              "`dask scheduler` prints it") from error
    with client, joblib.parallel_config(backend="dask"):
        yield


def add_job_options(parser):
    """What a training and a search have in common: the fields of a `training.job.Job`."""
    add = parser.add_argument
    add("--data", metavar="DIR", help="folder of the real slices (default: the environment's LIGHTNET_DATA)")
    add("--arrangement", choices=["1", "2", "official"], help="real slices, split like the paper's Table 1 or 2, or as published")
    add("--model", choices=["light_cnn", "squeezenet"], default="light_cnn", help="default: %(default)s")
    add("--bypass", choices=["none", "simple", "complex"], default="none", help="of a SqueezeNet")
    add("--fire", choices=["classic", "custom"], default="classic", help="of a SqueezeNet")
    add("--no-head-relu", dest="head_relu", action="store_false", help="leave out a SqueezeNet's last ReLU, behind which "
        "all of two classes' logits may stay at 0")
    add("--imagenet", metavar="FILE", help="start from SqueezeNet's ImageNet weights, wherever they fit")
    add("--imagenet-layers", nargs="+", metavar="LAYER", help="take only these layers from it: conv1 fire2 fire3")
    add("--new-lr-factor", type=float, default=1.0, help="on the learning rate of the layers that do not start from ImageNet")
    add("--epochs", type=positive, help="default: 10; on real slices 20, as in the paper")
    add("--batch", type=positive, help="images in a batch (default: 8; on real slices 32)")
    add("--decay", type=float, help="factor on the learning rate (default: 0.7; on real slices 1)")
    add("--decay-every", type=positive, help="after so many epochs (default: 1)")
    add("--decay-after", type=natural, default=0, help="epochs at the full rate first, uncounted (default: 0)")
    add("--augment", action=argparse.BooleanOptionalAction, help="four times the training slices (default: on real slices)")
    add("--size", type=positive, default=227, help="pixels a side (default: %(default)s, with --quick 131 at most; 131 is "
        "three times as fast)")
    add("--seed", type=natural, default=0, help="of the weights, the order of the slices, the augmentation")
    add("--split-seed", type=natural, default=0, help="of the synthetic slices, or of the arrangement")
    add("--quick", action="store_true", help="few synthetic slices, few pixels, one epoch")


def job_of(options):
    """The job that the command line describes."""
    from ..training.job import Job
    if options.data and not options.arrangement:
        raise ln.ArgumentError("--data needs --arrangement 1, 2 or official; without them synthetic slices are drawn")
    fields = {field.name for field in dataclasses.fields(Job)}
    return Job(**{name: value for name, value in vars(options).items() if name in fields})
