"""What the benchmarks share: their command line, processes of their own, the machine and its peak, tables."""

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

import numpy as np

import lightnet as ln
from lightnet.profiling import costs, table
from lightnet.training.checkpoint import processor

# What the console script `lightnet` does, but of this Python and this checkout.
LIGHTNET = sys.executable, "-c", "import sys; from lightnet.cli import main; sys.exit(main())"
PAPER_MS = 7810                                         # an image on the authors' laptop; 4,300 of them are their 9.32 hours
NONE = float("nan")                                     # in a table: the column stays one of numbers; blank in the end
# They would force an old kernel on NumPy's BLAS, or a number of threads.
DISTURBING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


# The command line

def parser(text):
    """With the options that every benchmark has."""
    result = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--json", metavar="FILE", help="write everything there")
    result.add_argument("--quick", action="store_true", help="a toy that only shows that it runs; its times mean nothing")
    result.add_argument("--worker", help=argparse.SUPPRESS)                            # how it starts its own processes
    return result


def run(options, title, packages, toy, workers, measure):
    """A whole benchmark; or, in a process that it started, one of its workers.

    ``toy``: what ``--quick`` changes in the options. ``measure(options)`` prints and returns what belongs in the report;
    ``packages``: whose versions do.
    """
    if options.worker:
        options = argparse.Namespace(**json.loads(options.worker))
        print(json.dumps(workers[options.kind](options)))
        return
    if options.quick:
        vars(options).update(toy)
    settings = {key: value for key, value in vars(options).items() if key not in ("json", "worker", "figure", "folder")}
    report = {"machine": machine(), "date": datetime.now(timezone.utc).isoformat(timespec="minutes"),
              "versions": versions(packages), "settings": settings}
    print(title.format(**settings))
    print("{cpu}, {cores} cores, load before {load_before:.2f};".format(**report["machine"]), report["date"])
    print(", ".join(f"{name} {version or 'not installed'}" for name, version in report["versions"].items()), flush=True)
    report.update(measure(options))
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1))


def machine():
    """Processor, cores, and how busy they were before."""
    return {"cpu": processor(), "cores": os.cpu_count(), "load_before": os.getloadavg()[0]}


def versions(packages):
    """Of what is compared; None: not installed."""
    def version(name):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return None
    return {"python": platform.python_version(), "lightnet": ln.__version__, **{name: version(name) for name in packages}}


# Processes of their own: nothing that another one left lingers

class Finished(NamedTuple):
    """A process that ended well."""

    output: str
    seconds: float
    megabytes: float                                    # the most memory that it had


def process(*command, **environment):
    """Run a command, and wait for its end; an error of it raises CalledProcessError."""
    clean = {key: value for key, value in os.environ.items() if key not in DISTURBING}
    command, start = list(map(str, command)), time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**clean, **environment}) as child:
        output = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)       # of this child alone; what it counts begins with this process's own
        seconds = time.perf_counter() - start           # peak, so that one should stay small
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)
    return Finished(output, seconds, megabytes(usage))


def megabytes(usage):
    """The most memory that a process had."""
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6           # Linux counts in kB, macOS in bytes


def worker(kind, options, environment=(), **changes):
    """What a worker of the running benchmark measures, in a process of its own, with these changes of the options."""
    settings = json.dumps({**vars(options), **changes, "kind": kind})
    return json.loads(process(sys.executable, sys.argv[0], "--worker", settings, **dict(environment)).output.splitlines()[-1])


def in_a_line(error):
    """An error's type and first line: some compilers end theirs with advice on debugging them."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


# Measuring

def images(count, size=227, seed=0):
    """(N, H, W, 3) random numbers: the same in every process."""
    return np.random.default_rng(seed).standard_normal((count, size, size, 3)).astype(np.float32)


def trained_like(net):
    """A fresh network with statistics and biases as training leaves them: else folding a batch norm would change nothing."""
    rng = np.random.default_rng(0)
    for name, array in net.state.items():
        array[...] = 1 + 0.2 * rng.random(array.shape) if name.endswith("var") else 0.2 * rng.standard_normal(array.shape)
    for name, array in net.params.items():
        if not name.endswith("weight"):
            array += 0.1 * rng.standard_normal(array.shape).astype(array.dtype)
    return net


def net_macs(net):
    """Multiply-accumulates of one image, by the layers' definitions."""
    return sum(macs for *_, macs in costs(net, net.shapes()))


def peak(quick):
    """What all threads together multiply and add at most, in GFLOP/s: the register tile on data in the first-level cache.

    24 pixels, 128 channels to as many columns as the tile has, on 31 kB at most. Taken again and again: a processor's clock, and
    what else it does, change.
    """
    from lightnet.kernels import packing, tables, threads, tile  # here: they need Numba
    from lightnet.kernels.images import Flat
    from lightnet.kernels.multiply import multiply
    from lightnet.kernels.vector import LANES
    rng, repeats, P, C, F = np.random.default_rng(0), 200 if quick else 2000, 24, 128, tile.PANELS * LANES
    x, weight = Flat(rng.random(P * C, np.float32)), Flat(packing.panels(rng.random((C, F), np.float32)))
    convolution, bias = tables.convolution(P, C, C, (1, 1), (1, 1), (1, P), F, F), packing.no_bias(F)

    def job(start, stop):
        out, scratch = Flat(np.zeros(P * F, np.float32)), np.empty(1, np.float32)
        multiply(convolution, (stop - start) * repeats, x, weight, out, bias, tile.STORE, scratch)
    threads.run(job, threads.MANY, threads.MANY)                # compiles, and wakes the threads
    start = time.perf_counter()
    threads.run(job, threads.MANY, threads.MANY)                # so many equal jobs: each thread takes one until none is left
    return threads.MANY * repeats * 2 * P * C * F / (time.perf_counter() - start) / 1e9


# Tables

def blank_table(rows, heads):
    """Like `lightnet.profiling.table`, with blanks for NONE."""
    return "\n".join(line.rstrip() for line in table(rows, heads).replace("nan", "   ").splitlines())
