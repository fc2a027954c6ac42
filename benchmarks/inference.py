"""How long does an image take? The compiled light_cnn, 227x227, against the engines that people install for a CPU.

    python benchmarks/inference.py [--threads 1 2] [--batch 1 16] [--rounds 7] [--json FILE] [--quick]

Rounds in turn, so that a bad moment of the machine meets everybody; medians. Besides: what the processor can do at most, where
the compiled network's time goes, and whole processes: the first result, and memory. Others' rows need their packages
(``pip install -e '.[bench]'``; ncnn with pnnx, and LiteRT with litert-torch, have a row where they are installed). Needs Numba.
Linux and macOS; all of it takes some five minutes.
"""

import csv
import io
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

import common
import numpy as np
from common import LIGHTNET, NONE, PAPER_MS, blank_table, in_a_line, net_macs, peak, process, worker
from engines import COMPILED, ENGINES, ONNX, OPENVINO, PLAIN, Job

import lightnet as ln
from lightnet.data import phantom

PAPER = {"the paper, on a laptop's CPU": float(PAPER_MS), "the paper, on a workstation with GPU": 1250.0}
PACKAGES = "numpy", "numba", "torch", "onnxruntime", "openvino", "ncnn", "ai-edge-litert"
PAUSE = 0.06                                            # seconds before each turn: threads of the one before stop spinning
BURN_IN = 3                                             # calls that do not count: clocks ramp up again after a pause
PLAIN_ROUNDS = 2                                        # the plain layers are slow
FIRST, AGAIN, SCRIPT = "lightnet predict, the first ever", "lightnet predict, kernels kept", "a script of ONNX Runtime"
NOTES = f"""Nominal GFLOP/s count 2 for each MAC (multiply-accumulate) of net.summary(), however computed; % is their share of
the peak: Winograd's method (3x3) multiplies less than is counted. {PLAIN}: {PLAIN_ROUNDS} rounds at most. Apart: the
largest difference from their logits, as a part of the largest one. The paper's figures are for one image."""
STEP_NOTES = """MFLOP are those executed: of all matrix products, with Winograd's, and with what two bands both compute; not of
Winograd's transforms, pools and activations. Left: the time beyond that at the peak. On several threads each row begins with
waking the others, which the whole call does once."""


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--rounds", type=int, default=7)
    common.run(parser.parse_args(), "Inference of light_cnn: batches of {batch}, 227x227, {rounds} rounds", PACKAGES,
               {"threads": [1], "batch": [1], "rounds": 1}, WORKERS, measure)


def measure(options):
    runs = {}
    for threads in options.threads:
        runs[str(threads)] = run = {}
        for batch in options.batch:
            print(f"\n{threads} thread{'s' * (threads > 1)}, batch {batch}\n", flush=True)
            run[str(batch)] = worker("timing", options, threads=threads, batch=batch)
            print_timing(run[str(batch)])
        run["steps"] = worker("steps", options, threads=threads)
        print(f"\nStep by step, one image, {threads} thread{'s' * (threads > 1)}\n")
        print_steps(run["steps"])
    found = processes(options)
    print_processes(found)
    return {"runs": runs, "processes": found}


# Measurements, each in a process of its own: what WORKERS names prints its result as JSON

def timing(options):
    """Milliseconds for an image, of each engine."""
    ln.set_num_threads(options.threads)
    net, xs = common.trained_like(ln.models.light_cnn(seed=0)), [common.images(options.batch, seed=i) for i in range(3)]
    calls, times, apart, peaks = 10 if options.batch < 8 else 3, defaultdict(list), defaultdict(float), []
    with tempfile.TemporaryDirectory() as folder:
        engines, left_out = make_engines(Job(net, xs, options.threads, Path(folder)))
    expected = [engines[PLAIN][0](x) for x in xs]
    for r in range(options.rounds):
        peaks.append(peak(options.quick))
        if r == PLAIN_ROUNDS:
            del engines[PLAIN]
        names = list(engines)
        for name in names[r % len(names):] + names[:r % len(names)]:
            run, inputs = engines[name]
            time.sleep(PAUSE)
            for i in range(BURN_IN + calls):
                start = time.perf_counter()
                logits = run(inputs[i % len(xs)])
                seconds, right = time.perf_counter() - start, expected[i % len(xs)]
                apart[name] = max(apart[name], float(np.abs(logits - right).max() / np.abs(right).max()))
                if i >= BURN_IN:
                    times[name].append(seconds)
    return {"engines": {name: {"ms_per_image": 1e3 * median(times[name]) / options.batch, "seconds": times[name],
                               "apart": apart[name]} for name in ENGINES if name in times},
            "left_out": left_out, "peak_gflops": median(peaks), "peaks": peaks, "nominal_gflop": 2 * net_macs(net) / 1e9,
            "executed_gflop": 2 * sum(macs for _, macs in executed(engines[COMPILED][0].plan)) / 1e9}


def make_engines(job):
    """Those that can run here, and why the others cannot."""
    made, left_out = {}, {}
    for name, make in ENGINES.items():
        try:
            made[name] = make(job)
        except (ImportError, ln.BackendError) as error:
            left_out[name] = in_a_line(error)
    return made, left_out


def steps(options):
    """Time and speed of each phase of the compiled network (steps that threads go through without waiting for each other)."""
    ln.set_num_threads(options.threads)
    predict, x = ln.compile(common.trained_like(ln.models.light_cnn(seed=0)), options.threads), common.images(1)
    predict(x)
    runner = predict.runner(predict.net, x.shape[1:])
    phases, memory = list(executed(runner.plan)), runner.room(0).memory
    times, whole, peaks = [[] for _ in phases], [], []
    for _ in range(options.rounds):
        peaks.append(peak(options.quick))
        time.sleep(PAUSE)
        for i in range(BURN_IN + 10):
            clock = [time.perf_counter()]
            for p in range(len(phases)):                # one after the other, as in the network: caches hold what they do there
                runner.run_phases((p, p + 1), x[0], memory, options.threads)
                clock.append(time.perf_counter())
            predict(x)
            if i >= BURN_IN:
                whole.append(time.perf_counter() - clock[-1])
                for p, seconds in enumerate(np.diff(clock)):
                    times[p].append(float(seconds))
    limit = median(peaks)
    return {"phases": [{"steps": names, "ms": 1e3 * median(found), "gflop": 2 * macs / 1e9,
                        "left_ms": 1e3 * median(found) - 2 * macs / limit / 1e6} for (names, macs), found in zip(phases, times)],
            "ms": 1e3 * median(whole), "peak_gflops": limit}


def executed(plan):
    """For each phase of a plan: the names of its steps, and the MACs of its matrix products."""
    program = plan.program
    for first, last in zip(program.phases, program.phases[1:]):
        tasks = program.tasks[program.units[first]:program.units[last]]
        yield (list(dict.fromkeys(plan.steps[task["step"]].name for task in tasks)),
               sum(int(plan.steps[task["step"]].macs(task)) for task in tasks))


def files(options):
    """A network's files, and a slice."""
    folder, net = Path(options.folder), ln.models.light_cnn(seed=0)
    ln.save(net, folder / "net.npz")
    path = str(phantom.write(folder, 2, seed=0)[1])
    try:
        ln.export_onnx(net, folder / "net.onnx")
        import onnxruntime  # noqa: F401
    except (ImportError, ln.BackendError) as error:
        return path, in_a_line(error)
    return path, None


WORKERS = {"timing": timing, "steps": steps, "files": files}


def processes(options):
    """Whole processes that classify one file: seconds, megabytes at most, and the result."""
    print("\nWhole processes, one PNG file\n")
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path, missing = worker("files", options, folder=folder)
        if missing:
            print(f"left out: {SCRIPT} ({missing})")
        predict = *LIGHTNET, "predict", path, "--model", f"{folder}/net.npz"
        script = sys.executable, Path(__file__).with_name("onnxruntime_script.py"), f"{folder}/net.onnx", path
        cache = {} if options.quick else {"LIGHTNET_CACHE": f"{folder}/cache"}         # empty: compiling takes a while
        todo = [] if options.quick else [(FIRST, predict)]
        todo += [(AGAIN, predict), *[(SCRIPT, script)] * (missing is None)] * min(options.rounds, 5)
        for name, command in todo:
            done = process(*command, **cache)
            row = found.setdefault(name, {"seconds": [], "megabytes": []})
            row["seconds"].append(done.seconds)
            row["megabytes"].append(done.megabytes)
            row["p_covid"] = float(next(csv.DictReader(io.StringIO(done.output)))["p_covid"])
    return found


# Tables

def print_timing(run):
    best = run["engines"][COMPILED]["ms_per_image"]
    rows = [(name, row["ms_per_image"], row["ms_per_image"] / best, 1e3 * run["nominal_gflop"] / row["ms_per_image"],
             1e5 * run["nominal_gflop"] / row["ms_per_image"] / run["peak_gflops"], f"{row['apart']:.0e}")
            for name, row in run["engines"].items()]
    rows += [(name, ms, ms / best, NONE, NONE, "") for name, ms in PAPER.items()]
    print(blank_table(rows, ["", "ms per image", "times compiled", "nominal GFLOP/s", "% of peak", "apart"]))
    for name, why in run["left_out"].items():
        print(f"left out: {name} ({why})")
    ratios = [f"{best / run['engines'][name]['ms_per_image']:.2f} of {name}'s" for name in (OPENVINO, ONNX)
              if name in run["engines"]]
    if ratios:
        print(f"{COMPILED} takes {' and '.join(ratios)} time.")
    done, peaks = run["executed_gflop"], run["peaks"]
    print(f"It executes {done:.2f} of {run['nominal_gflop']:.2f} GFLOP an image: {1e3 * done / best:.1f} GFLOP/s, "
          f"{1e5 * done / best / run['peak_gflops']:.0f} % of the peak.")
    print(f"Peak {run['peak_gflops']:.0f} GFLOP/s (from {min(peaks):.0f} to {max(peaks):.0f}).", NOTES, sep="\n", flush=True)


def print_steps(found):
    limit, phases = found["peak_gflops"], found["phases"]
    ms, gflop, left = (sum(phase[key] for phase in phases) for key in ("ms", "gflop", "left_ms"))
    rows = [(", ".join(phase["steps"]), phase["ms"], *speed(phase["gflop"], phase["ms"], limit), phase["left_ms"])
            for phase in phases]
    rows += [("sum", ms, *speed(gflop, ms, limit), left),
             ("the whole in one call", found["ms"], *speed(gflop, found["ms"], limit), found["ms"] - 1e3 * gflop / limit)]
    print(blank_table(rows, ["steps", "ms", "MFLOP", "GFLOP/s", "% of peak", "left, ms"]))
    print(f"Peak {limit:.0f} GFLOP/s.", STEP_NOTES, sep="\n", flush=True)


def speed(gflop, ms, limit):
    """MFLOP, GFLOP/s and their share of the peak; blank where nothing is multiplied."""
    return (round(1e3 * gflop), 1e3 * gflop / ms, 1e5 * gflop / ms / limit) if gflop else (NONE, NONE, NONE)


def print_processes(found):
    rows = [(name, median(row["seconds"]), len(row["seconds"]), max(row["megabytes"])) for name, row in found.items()]
    print(blank_table(rows, ["", "seconds", "runs", "MB at most"]))


if __name__ == "__main__":
    main()
