"""How long does a training step take? lightnet and PyTorch on the same images, weights and threads, in turn.

    python benchmarks/training.py [--batch 32] [--size 227] [--threads 1 2] [--rounds 7] [--json FILE] [--quick]

A step is forward, loss, backward and update of light_cnn; every time is a median. Besides: what the processor can do at most,
where the time of lightnet's fast version goes, memory, and the first step, for which Numba compiles the kernels. PyTorch's rows
need PyTorch (``pip install -e '.[bench]'``). Linux and macOS; all of it takes five to ten minutes.

Each thread count, and each measurement of memory, has a process of its own: nothing that another one left lingers.
"""

import functools
import importlib.util
import resource
import subprocess
import tempfile
import time
from collections import defaultdict
from unittest.mock import patch

import common
import numpy as np
from common import NONE, blank_table, in_a_line, peak, worker

import lightnet as ln
from lightnet.backend import run_backward, run_forward
from lightnet.layers import Layer
from lightnet.profiling import costs, table

FAST, PLAIN = "lightnet fast", "lightnet plain"
EAGER, LAST, COMPILED = "PyTorch NCHW", "PyTorch channels-last", "PyTorch compiled, channels-last"
CONTENDERS = FAST, PLAIN, EAGER, LAST, COMPILED
SGD = {"lr": 0.007, "momentum": 0.87, "l2": 1e-6}
PAUSE = 0.1                                             # seconds before each step: threads of the one before stop spinning
PLAIN_ROUNDS = 2                                        # the plain layers are slow
NOTES = f"""{PLAIN} runs after the others, {PLAIN_ROUNDS} rounds at most. Losses apart: the largest relative difference from the
first row's in the first two steps. Memory: by how much the process's peak grew in 3 steps, once built; with what the first step
loads (kernels, or the compiler of torch.compile)."""
NODE_NOTES = """GFLOP/s count 2 for each MAC (multiply-accumulate) of the layer's definition, twice as many MACs in backward; % is
the share of the peak. Winograd's method (3x3) computes fewer than are counted: it may pass 100 %. An ELU that is fused into
its convolution shows 0 in forward: its time is in the convolution's. A fire module's backward and that of the squeeze or pool
behind it are done together: time and MACs of all are in expand1x1's row; forward, with a pool behind, in the pool's. Rest: sums
of gradients, loss, update. Each node is finished before the next one here; in the steps above, on several threads, some go
through the images together."""


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=227, help="side of the images, 16k + 1 to 16k + 4")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7, help="besides one that is not counted")
    common.run(parser.parse_args(), "A training step of light_cnn: batches of {batch}, {size}x{size}, {rounds} rounds",
               ["numpy", "numba", "torch"], {"batch": 2, "size": 49, "threads": [1], "rounds": 1}, WORKERS, measure)


def measure(options):
    runs = {str(threads): run_of(options, threads) for threads in options.threads}
    first_step = first_steps(options, options.threads[-1])
    print_first(first_step)
    return {"runs": runs, "first_step": first_step}


# The contenders

def data(options):
    """Images (N, H, W, 3) and labels (N,): the same in every process."""
    return common.images(options.batch, options.size), np.random.default_rng(1).integers(0, 2, options.batch)


def make(name, options):
    """A function that takes one training step of this contender and returns its loss."""
    net, (x, labels) = ln.models.light_cnn(seed=0), data(options)
    if name in (FAST, PLAIN):
        return lightnet_step(net, x, labels, "numba" if name == FAST else "numpy")
    return torch_step(net, x, labels, name, options.threads[0])


def lightnet_step(net, x, labels, backend):
    optimizer = ln.SGD(net, **SGD)
    ln.backend(backend)                                 # an error now, where Numba is missing

    def step():
        with ln.backend(backend):
            loss, dlogits = ln.softmax_cross_entropy(net.forward(x, training=True), labels)
            net.backward(dlogits, to_image=False)       # as training does, here and in PyTorch
            optimizer.step()
        return float(loss)
    return step


def torch_step(net, x, labels, name, threads):
    import torch  # here: without it lightnet's rows are measured all the same
    from torch_twin import Twin
    torch.set_num_threads(threads)
    twin, x, labels = Twin(net).train(), torch.from_numpy(x).permute(0, 3, 1, 2), torch.from_numpy(labels)
    if name == EAGER:
        x = x.contiguous()
    else:
        twin = twin.to(memory_format=torch.channels_last)                              # x has that order already
    optimizer = twin.sgd(**SGD)
    model = torch.compile(twin, fullgraph=True) if name == COMPILED else twin

    def step():
        loss = torch.nn.functional.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()
    return step


def contenders(options):
    """Those that can run here, as {name: step}, and why the others cannot."""
    steps, left_out = {}, {}
    for name in CONTENDERS:
        try:
            if name == COMPILED and options.quick:
                raise RuntimeError("not with --quick: compiling takes a minute")
            steps[name] = make(name, options)
        except (ImportError, ln.BackendError, RuntimeError) as error:
            left_out[name] = in_a_line(error)
    return steps, left_out


# Measurements, each in a process of its own: what WORKERS names prints its result as JSON

def timing(options):
    """Rounds in turn, then the plain layers', and the nodes of the fast version."""
    ln.set_num_threads(options.threads[0])
    steps, left_out = contenders(options)
    times, losses, peaks, has_tile = defaultdict(list), defaultdict(list), [], FAST in steps

    def measure(name):
        seconds, loss = timed(steps[name])
        times[name].append(seconds)
        losses[name].append(loss)
    plain = [name for name in steps if name == PLAIN]   # by itself at the end: its gigabytes would disturb the others
    for r in range(options.rounds + 1):
        if has_tile:
            peaks.append(peak(options.quick))
        names = [name for name in steps if name not in plain]
        turn = r % max(len(names), 1)
        for name in names[turn:] + names[:turn]:
            try:
                measure(name)
            except Exception as error:                  # whatever a compiler may lack
                if name != COMPILED:
                    raise
                left_out[name] = in_a_line(error)
                del steps[name]
    for name in plain * (1 + min(PLAIN_ROUNDS, options.rounds)):
        measure(name)
    steps.clear()                                       # the nodes' network needs the room
    nodes = node_times(options, peaks) if has_tile else []
    first = losses[next(iter(times))]
    return {"contenders": {name: {"ms_per_image": per_image(times[name][1:], options), "seconds": times[name][1:],
                                  "burn_in_seconds": times[name][0], "losses": losses[name][:2],
                                  "losses_apart": apart(losses[name], first)}
                           for name in CONTENDERS if name in times and name not in left_out},
            "left_out": left_out, "peak_gflops": float(np.median(peaks)) if peaks else None, "peaks": peaks, "nodes": nodes}


def timed(step):
    """Seconds of one step, after a pause, and its loss."""
    time.sleep(PAUSE)
    start = time.perf_counter()
    loss = step()
    return time.perf_counter() - start, loss


def per_image(seconds, options):
    """Milliseconds, the median."""
    return 1e3 * float(np.median(seconds)) / options.batch


def apart(losses, others):
    """The largest relative difference in the first two steps: with the start weights, and after an update."""
    return max(abs(a - b) / abs(b) for a, b in zip(losses[:2], others[:2]))


def node_times(options, peaks):
    """Time and speed of each node of the fast version, a list of dicts; the last one is the step's rest.

    The functions that run a node are wrapped: an observer would turn the fast schedule off.
    """
    net, (x, labels) = ln.models.light_cnn(seed=0), data(options)
    step, forward, backward, whole = lightnet_step(net, x, labels, "numba"), defaultdict(list), defaultdict(list), []
    step()
    fires = {}, {}
    wrapped = {"run_forward": clocked(run_forward, forward, fires[0]), "run_backward": clocked(run_backward, backward, fires[1])}
    with patch.multiple("lightnet.graph", **wrapped):
        for _ in range(options.rounds):
            whole.append(timed(step)[0])
            peaks.append(peak(options.quick))
    rows = []
    macs = {node.layer: macs // options.batch for node, _, _, macs in costs(net, net.shapes(x.shape))}
    in_forward, in_backward = (
        macs | {layer: 0 for others in way.values() for layer in others}
        | {layer: macs[layer] + sum(map(macs.get, others)) for layer, others in way.items()} for way in fires)
    for node in net.nodes.values():
        row = {"name": node.name, "operation": type(node.layer).__name__, "macs": macs[node.layer]}
        for way, times, operations in (("forward", forward, 2 * in_forward[node.layer]),
                                       ("backward", backward, 4 * in_backward[node.layer])):
            ms = row[f"{way}_ms"] = per_image(times[node.layer], options)
            speed = row[f"{way}_gflops"] = operations / ms / 1e6 if operations else None
            row[f"{way}_share"] = speed / float(np.median(peaks)) if operations else None
        rows.append(row)
    in_nodes = sum(row["forward_ms"] + row["backward_ms"] for row in rows)
    return [*rows, {"name": "rest", "ms": per_image(whole, options) - in_nodes}]


def clocked(run, times, fires):
    """``run(layer, ...)``, which notes its seconds in ``times[layer]``, and in ``fires[layer]`` whose work it does besides."""
    from lightnet.kernels.threads import flush

    @functools.wraps(run)
    def wrapper(layer, *arrays, **more):
        start = time.perf_counter()
        result = run(layer, *arrays, **more)
        flush()                                         # what it put off, which the next node would pay for
        times[layer].append(time.perf_counter() - start)
        if fire := more.get("fire"):
            fires[layer] = [part for part in fire if isinstance(part, Layer)]
        return result
    return wrapper


def memory(options):
    """Megabytes by which the process's peak grows in 3 steps."""
    ln.set_num_threads(options.threads[0])
    step = make(options.contender, options)
    before = common.megabytes(resource.getrusage(resource.RUSAGE_SELF))
    for _ in range(3):
        step()
    return common.megabytes(resource.getrusage(resource.RUSAGE_SELF)) - before


def first(options):
    """Seconds of this process's first step."""
    ln.set_num_threads(options.threads[0])
    step = make(FAST, options)
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


WORKERS = {"timing": timing, "memory": memory, "first": first}


# What starts them

def run_of(options, threads):
    """All that is measured with so many threads."""
    print(f"\n{threads} thread{'s' * (threads > 1)}\n", flush=True)
    run = worker("timing", options, threads=[threads])
    run["memory_mb"] = {}
    for name in run["contenders"]:
        try:
            run["memory_mb"][name] = worker("memory", options, threads=[threads], contender=name)
        except subprocess.CalledProcessError:           # the system may have ended it, for too much memory
            run["memory_mb"][name] = None
    print_run(run)
    return run


def first_steps(options, threads):
    """With an empty cache of kernels and with the filled one: seconds of the first step and of its process."""
    if options.quick or importlib.util.find_spec("numba") is None:
        return None
    results = {"threads": threads}
    with tempfile.TemporaryDirectory() as folder:
        for cache in ("empty", "filled"):
            start = time.perf_counter()
            step = worker("first", options, {"LIGHTNET_CACHE": folder}, threads=[threads])
            results[cache] = {"step_seconds": step, "process_seconds": time.perf_counter() - start}
    return results


# Tables

def print_run(run):
    best = next(iter(run["contenders"].values()))["ms_per_image"]
    rows = [(name, row["ms_per_image"], row["ms_per_image"] / best, len(row["seconds"]), (run["memory_mb"][name] or NONE) / 1e3,
             f"{row['losses_apart']:.0e}") for name, row in run["contenders"].items()]
    print(table(rows, ["contender", "ms per image", "times the first", "rounds", "memory GB", "losses apart"]))
    for name, why in run["left_out"].items():
        print(f"left out: {name} ({why})")
    print(NOTES)
    if run["nodes"]:
        print(f"\nPeak {run['peak_gflops']:.0f} GFLOP/s (from {min(run['peaks']):.0f} to {max(run['peaks']):.0f}). "
              f"{FAST}, ms per image:\n")
        print(nodes_table(run["nodes"]), NODE_NOTES, sep="\n", flush=True)


def nodes_table(nodes):
    *nodes, rest = nodes
    rows = [(node["name"], node["operation"], *(cell for way in ("forward", "backward") for cell in (
        node[f"{way}_ms"], node[f"{way}_gflops"] or NONE, 100 * (node[f"{way}_share"] or NONE)))) for node in nodes]
    sums = [sum(node[f"{way}_ms"] for node in nodes) for way in ("forward", "backward")]
    rows += [("sum", "", sums[0], NONE, NONE, sums[1], NONE, NONE), ("rest", "", rest["ms"], *[NONE] * 5)]
    heads = ["node", "operation", "forward", "GFLOP/s", "%", "backward", "GFLOP/s", "%"]
    return blank_table(rows, heads)


def print_first(steps):
    if steps is None:
        print("\nThe first step is not measured with --quick, nor without Numba.")
        return
    print(f"\nThe first step of {FAST}, with so many threads: {steps['threads']}")
    for cache in ("empty", "filled"):
        print("  {} cache of kernels: {step_seconds:.1f} s, the process {process_seconds:.1f} s".format(cache, **steps[cache]))


if __name__ == "__main__":
    main()
