"""From plain loops to the compiled network, rung by rung: one layer, and the whole light_cnn, one image of 227x227.

    python benchmarks/ladder.py [--rounds 5] [--json FILE] [--figure FILE] [--quick]

The loops (``lightnet/loops.py``) would take minutes: the layer is measured on a small crop, and both are scaled from there by
their MACs (multiply-accumulates). Medians; each number of threads has a process of its own. Needs Numba. A minute.
"""

import time
from pathlib import Path
from statistics import median

import common
import numpy as np
from common import PAPER_MS, blank_table, net_macs, peak, worker
from engines import with_layers
from inference import BURN_IN, PAUSE, executed

import lightnet as ln
from lightnet import loops

LAYER = "fire5/expand3x3"                               # 28x28 pixels, 32 channels to 128, in the middle of the network
CROP = 4                                                # pixels a side for the loops
LOOPS, IM2COL, NUMBA = "Python loops", "NumPy, im2col", "Numba, fast layers"
NOTES = f"""Loops: measured on a crop of {LAYER}, {CROP}x{CROP} pixels, and scaled by MACs. Limit: what the compiled network
multiplies, at {{peak:.0f}} GFLOP/s, the highest peak of the rounds ({{threads}}, first-level cache); by the layers' definitions,
without Winograd's method, it would be {{layer:.2f}} and {{network:.2f}} ms. {LAYER} alone, compiled, copies its
image first, to have zeros around it; in the network it need not. The paper's laptop: {PAPER_MS:,} ms."""


def compiled_on(threads):
    """That rung's name."""
    return f"compiled, {threads} thread{'s' * (threads > 1)}"


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="of the compiled network; the others run on 1")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--figure", metavar="FILE", help="draw it there")
    common.run(parser.parse_args(), "From loops to the compiled network: light_cnn, one image, 227x227, {rounds} rounds",
               ["numpy", "numba"], {"rounds": 1}, WORKERS, measure)


def measure(options):
    rungs = {LOOPS: worker("loops", options)}
    for threads in options.threads:
        found = worker("rungs", options, threads=threads, layers=threads == options.threads[0])
        rungs.update(found["rungs"])
    limit = {what: {key: 1e3 * gflop / found["peak_gflops"] for key, gflop in found[what].items()}
             for what in ("layer", "network")}
    report = {"layer": LAYER, "rungs": rungs, "peak_gflops": found["peak_gflops"], "limit_ms": limit, "paper_ms": PAPER_MS}
    print_rungs(report, options.threads[-1])
    if options.figure:
        draw(report, options.threads[-1], options.figure)
    return report


# Measurements, each in a process of its own

def networks():
    """The layer with its activation, as a Graph of its own; and the whole network."""
    net = common.trained_like(ln.models.light_cnn(seed=0))
    node, shapes = net.nodes[LAYER], net.shapes()
    alone = ln.Graph(input_shape=shapes[node.inputs[0]][1:])
    alone.add("elu", ln.layers.ELU(), alone.add(LAYER, node.layer, "image"))
    return {"layer": alone, "network": net}


def by_loops(options):
    """Milliseconds of the loops, scaled from a crop of the layer's image. No zeros around it: there loops have less to do."""
    nets = networks()
    layer, size = nets["layer"].nodes[LAYER].layer, 1 if options.quick else CROP
    x, nowhere = np.random.default_rng(0).random((1, size + 2, size + 2, layer.in_channels), np.float32), ((0, 0), (0, 0))
    start = time.perf_counter()
    y = loops.conv2d(x, layer.params["weight"], layer.params["bias"], layer.stride, nowhere)
    seconds = time.perf_counter() - start
    if not np.allclose(y, layer.forward(x)[:, 1:-1, 1:-1], atol=1e-4):
        raise RuntimeError("the loops and the layer differ")
    macs = size ** 2 * layer.params["weight"].size
    return {what: {"ms": 1e3 * seconds / macs * net_macs(net)} for what, net in nets.items()}


def by_rungs(options):
    """Milliseconds of the other rungs, and what is to be computed."""
    ln.set_num_threads(options.threads)
    nets, rng, peaks, rungs = networks(), np.random.default_rng(0), [], {}
    for what, net in nets.items():
        x = rng.standard_normal((1, *net.input_shape)).astype(np.float32)
        ways = {compiled_on(options.threads): ln.compile(net, options.threads)}
        if options.layers:
            ways = {IM2COL: with_layers(net, "numpy"), NUMBA: with_layers(net, "numba"), **ways}
        times = {name: [] for name in ways}
        for _ in range(options.rounds):
            peaks.append(peak(options.quick))
            for name, run in ways.items():
                time.sleep(PAUSE)
                for i in range(BURN_IN + 10):
                    start = time.perf_counter()
                    run(x)
                    times[name] += [time.perf_counter() - start] * (i >= BURN_IN)
        for name in ways:
            rungs.setdefault(name, {})[what] = {"ms": 1e3 * median(times[name])}
        nets[what] = {"nominal": 2 * net_macs(net) / 1e9,
                      "executed": 2 * sum(macs for _, macs in executed(ways[compiled_on(options.threads)].plan)) / 1e9}
    return {"rungs": rungs, "peak_gflops": max(peaks), **nets}           # a limit: what the least disturbed one reached


WORKERS = {"loops": by_loops, "rungs": by_rungs}


# Table and figure

def print_rungs(report, threads):
    first, limit = report["rungs"][LOOPS], report["limit_ms"]
    reached = {**report["rungs"], "limit of the machine": {what: {"ms": limit[what]["executed"]} for what in limit}}
    rows = [(name, *(cell for what in limit for cell in (rung[what]["ms"], first[what]["ms"] / rung[what]["ms"])))
            for name, rung in reached.items()]
    print()
    print(blank_table(rows, ["", f"{LAYER}, ms", "times faster", "light_cnn, ms", "times faster"]))
    print(NOTES.format(threads=f"{threads} thread{'s' * (threads > 1)}", peak=report["peak_gflops"],
                       layer=limit["layer"]["nominal"], network=limit["network"]["nominal"]))


def draw(report, threads, path):
    """Two ladders on logarithmic axes."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator
    figure, names = Figure((10.5, 4.2), layout="constrained"), list(report["rungs"])
    axes = figure.subplots(1, 2, sharey=True)
    colors = ["#B8B8B8", "#E69F00", "#56B4E9"] + ["#0072B2"] * (len(names) - 3)
    for axis, what, title in zip(axes, ("layer", "network"), (f"One layer, {LAYER}", "The whole network")):
        ms, limit = [report["rungs"][name][what]["ms"] for name in names], report["limit_ms"][what]["executed"]
        begin = limit / 4
        axis.barh(names, np.array(ms) - begin, color=colors, left=begin, height=0.7)
        for y, value in enumerate(ms):
            axis.text(value * 1.2, y, in_ms(value), va="center", weight="bold", bbox={"fc": "white", "ec": "none", "pad": 1.5})
        axis.set(xscale="log", xlim=(begin, max(ms) * 15), xlabel="time for an image, logarithmic")
        axis.xaxis.set_major_formatter(lambda ms, _: f"{ms:g} ms" if ms < 1000 else f"{ms / 1000:,g} s")
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_title(title, pad=36, loc="left", weight="bold")
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.tick_params(axis="y", length=0)
        line(axis, limit, f"limit of {threads} core{'s' * (threads > 1)}\n{in_ms(limit)}", "#008060")
    line(axes[1], PAPER_MS, f"the paper's laptop\n{in_ms(PAPER_MS)}", "#D55E00")
    axes[0].invert_yaxis()                              # both: they share it
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    print(f"figure: {path}")


def line(axis, ms, text, color):
    """A line across the rungs, with its name above."""
    axis.axvline(ms, color=color, linestyle="--", linewidth=1.5)
    axis.text(ms, 1.02, text, color=color, ha="center", va="bottom", fontsize=9, transform=axis.get_xaxis_transform())


def in_ms(ms):
    """Two digits at least."""
    return f"{ms:,.0f} ms" if ms >= 100 else f"{ms:.1f} ms" if ms >= 1 else f"{ms:.2f} ms"


if __name__ == "__main__":
    main()
