"""How long do 4,300 slices take? PNG files on disk to a CSV: the paper took 9.32 hours.

    python benchmarks/throughput.py [FOLDER] [--count 4300] [--rounds 3] [--json FILE] [--quick]

``lightnet predict FOLDER --model M --csv FILE`` against OpenVINO in throughput mode (``openvino_files.py``) over the same files,
which one thread reads for it while its own infer; whole processes from start to end, on all cores, in turn. The slices are drawn
once by ``lightnet.data.phantom`` into FOLDER, or into a temporary folder; that takes some minutes and does not count. OpenVINO's
row needs openvino and onnx.
"""

import csv
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import common
from common import LIGHTNET, NONE, PAPER_MS, blank_table, in_a_line, process, worker

import lightnet as ln
from lightnet.data import phantom

MINE, OPENVINO = "lightnet predict", "OpenVINO, throughput mode"
PAUSE = 2                                               # seconds before each process: the processor cools alike for both


def main():
    parser = common.parser(__doc__)
    parser.add_argument("folder", nargs="?", help="where the slices are, or are to be drawn")
    parser.add_argument("--count", type=int, default=4300, help="of slices")
    parser.add_argument("--rounds", type=int, default=3)
    common.run(parser.parse_args(), "{count:,} PNG files to a CSV: light_cnn, 227x227, {rounds} rounds",
               ["numpy", "numba", "pillow", "openvino"], {"count": 8, "rounds": 1}, {"files": files}, measure)


def measure(options):
    found, scores = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        slices = options.folder or f"{folder}/slices"
        drawn = worker("files", options, folder=folder, slices=slices)
        print(f"slices ready after {drawn['seconds']:.0f} s, {drawn['megabytes']:.0f} MB of files\n", flush=True)
        commands = {MINE: [*LIGHTNET, "predict", slices, "--model", f"{folder}/net.npz"],
                    OPENVINO: [sys.executable, Path(__file__).with_name("openvino_files.py"), slices, "--model",
                               f"{folder}/net.onnx"]}
        process(*LIGHTNET, "predict", drawn["first"], "--model", f"{folder}/net.npz")  # compiles its kernels, if it never did
        left_out = {OPENVINO: drawn["missing"]} if drawn["missing"] else {}
        for r in range(options.rounds):
            for name in list(commands)[::-1 if r % 2 else 1]:
                if name not in left_out:
                    time.sleep(PAUSE)
                    done = process(*commands[name], "--csv", f"{folder}/out.csv")
                    row = found.setdefault(name, {"seconds": [], "megabytes": []})
                    row["seconds"].append(done.seconds)
                    row["megabytes"].append(done.megabytes)
                    scores[name] = read(f"{folder}/out.csv")
    apart = max(abs(p - scores[MINE][file]) for answers in scores.values() for file, p in answers.items())
    report = {"files": len(scores[MINE]), "runs": found, "left_out": left_out, "apart": apart, "paper_s": PAPER_MS / 1e3}
    print_report(report)
    return report


def files(options):
    """Draw the slices, unless they are there; read them once, so that everybody finds them in the system's memory."""
    start, folder, net = time.perf_counter(), Path(options.folder), common.trained_like(ln.models.light_cnn(seed=0))
    paths = sorted(Path(options.slices).rglob("*.png"))
    if len(paths) != options.count:
        paths = phantom.write(options.slices, options.count, seed=0)
    size = sum(len(path.read_bytes()) for path in paths)
    ln.save(net, folder / "net.npz")
    missing = None
    try:
        import openvino  # noqa: F401
        ln.export_onnx(net, folder / "net.onnx")
    except (ImportError, ln.BackendError) as error:
        missing = in_a_line(error)
    return {"seconds": time.perf_counter() - start, "megabytes": size / 1e6, "first": str(paths[0]), "missing": missing}


def read(path):
    """{file: p_covid} of a CSV."""
    with open(path, newline="") as file:
        return {row["file"]: float(row["p_covid"]) for row in csv.DictReader(file)}


def print_report(report):
    count, mine = report["files"], median(report["runs"][MINE]["seconds"])
    rows = [(name, median(row["seconds"]), count / median(row["seconds"]), 1e3 * median(row["seconds"]) / count,
             median(row["seconds"]) / mine, max(row["megabytes"])) for name, row in report["runs"].items()]
    paper = count * report["paper_s"]
    rows.append(("the paper, on a laptop", paper, 1 / report["paper_s"], 1e3 * report["paper_s"], paper / mine, NONE))
    print(blank_table(rows, ["", "seconds", "images per second", "ms per image", "times lightnet's", "MB at most"]))
    for name, why in report["left_out"].items():
        print(f"left out: {name} ({why})")
    print(f"Whole processes, from the files to the CSV; p_covid of both agree to {report['apart']:.0e}. "
          f"The paper's row: {count:,} times {report['paper_s']} s,\n{paper / 3600:.2f} hours.")


if __name__ == "__main__":
    main()
