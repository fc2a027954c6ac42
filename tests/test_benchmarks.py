"""The benchmarks run, with others' engines and without, and report what they promise; no time is ever tested."""

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIGHTNET, TORCH = {"lightnet fast", "lightnet plain"}, {"PyTorch NCHW", "PyTorch channels-last"}
OWN_CHOICE = "OpenVINO, its own choice"                 # of precision
ENGINES = {**dict.fromkeys(TORCH, {"torch"}), "ONNX Runtime": {"onnxruntime", "onnx"},
           **dict.fromkeys(("OpenVINO", OWN_CHOICE), {"openvino", "onnx"})}


def is_installed(name):
    """Also where the tests block it in their own process."""
    try:
        return bool(importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return False


needs_numba = pytest.mark.skipif(not is_installed("numba"), reason="compiled code is what they measure")


def run(name, folder, *arguments, blocked=()):
    """The report of a toy run in an empty folder, where some packages cannot be imported, and what it printed."""
    shadow, results = folder / "shadow", folder / "results"
    shadow.mkdir()
    results.mkdir()
    for package in blocked:
        (shadow / f"{package}.py").write_text("raise ImportError('blocked')")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (shadow, ROOT)))}
    done = subprocess.run([sys.executable, ROOT / "benchmarks" / name, "--quick", "--json", "report.json", *arguments],
                          capture_output=True, text=True, cwd=results, env=environment)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    report = json.loads((results / "report.json").read_text())
    assert set(report["machine"]) == {"cpu", "cores", "load_before"}
    assert {file.name for file in results.iterdir()} == {"report.json", *arguments[1::2]}
    return report, done.stdout


@pytest.mark.slow
@needs_numba
@pytest.mark.parametrize("blocked", [False, True], ids=["as_installed", "without_torch"])
def test_training(tmp_path, blocked):
    report, printed = run("training.py", tmp_path, blocked=["torch"] * blocked)

    assert set(report) == {"machine", "date", "versions", "settings", "runs", "first_step"}
    assert set(report["versions"]) == {"python", "lightnet", "numpy", "numba", "torch"}
    assert report["settings"] == {"batch": 2, "size": 49, "threads": [1], "rounds": 1, "quick": True}
    toy = report["runs"]["1"]
    assert set(toy) == {"contenders", "left_out", "peak_gflops", "peaks", "nodes", "memory_mb"}
    expected = LIGHTNET if blocked or not is_installed("torch") else LIGHTNET | TORCH
    assert set(toy["contenders"]) == set(toy["memory_mb"]) == expected
    assert set(toy["left_out"]) == (LIGHTNET | TORCH | {"PyTorch compiled, channels-last"}) - expected
    for name, row in toy["contenders"].items():
        assert set(row) == {"ms_per_image", "seconds", "burn_in_seconds", "losses", "losses_apart"}
        assert row["losses_apart"] < 1e-4, name                 # they train the same network
    *nodes, rest = toy["nodes"]
    assert nodes[0]["name"] == "conv1" and nodes[-1]["name"] == "fc" and set(rest) == {"name", "ms"}
    measured = {f"{way}_{what}" for way in ("forward", "backward") for what in ("ms", "gflops", "share")}
    assert all(set(node) == {"name", "operation", "macs"} | measured for node in nodes)
    assert all(f"\n{name} " in printed or f"left out: {name} (" in printed for name in LIGHTNET | TORCH)


@pytest.mark.slow
@needs_numba
@pytest.mark.parametrize("blocked", [(), ("torch", "onnxruntime", "openvino")], ids=["as_installed", "alone"])
def test_inference(tmp_path, blocked):
    report, printed = run("inference.py", tmp_path, blocked=blocked)

    assert set(report) == {"machine", "date", "versions", "settings", "runs", "processes"}
    assert report["settings"] == {"threads": [1], "batch": [1], "rounds": 1, "quick": True}
    toy, mine = report["runs"]["1"]["1"], {"lightnet compiled", "lightnet fast layers", "lightnet plain layers"}
    assert set(toy) == {"engines", "left_out", "peak_gflops", "peaks", "nominal_gflop", "executed_gflop"}
    expected = mine | {name for name, packages in ENGINES.items()
                       if packages.isdisjoint(blocked) and all(map(is_installed, packages))}
    assert expected <= set(toy["engines"]) <= expected | {"ncnn", "LiteRT"}
    assert set(toy["engines"]) | set(toy["left_out"]) == mine | set(ENGINES) | {"ncnn", "LiteRT"}
    for name, row in toy["engines"].items():
        assert set(row) == {"ms_per_image", "seconds", "apart"} and len(row["seconds"]) == 10
        assert row["apart"] < (0.05 if name == OWN_CHOICE else 1e-4), name                 # they compute the same
    assert toy["nominal_gflop"] == pytest.approx(2 * 0.467226560)                      # net.summary()'s last line
    assert 0.5 * toy["nominal_gflop"] < toy["executed_gflop"] < toy["nominal_gflop"]   # Winograd saves more than bands cost
    steps = report["runs"]["1"]["steps"]
    assert set(steps) == {"phases", "ms", "peak_gflops"}
    assert all(set(phase) == {"steps", "ms", "gflop", "left_ms"} for phase in steps["phases"])
    assert sum(phase["gflop"] for phase in steps["phases"]) == pytest.approx(toy["executed_gflop"])
    assert steps["phases"][0]["steps"][0] == "conv1" and steps["phases"][-1]["steps"][-1] == "fc"
    *_, ours = (report["processes"].pop(name) for name in list(report["processes"]) if name.startswith("lightnet predict"))
    assert set(ours) == {"seconds", "megabytes", "p_covid"}
    assert all(row["p_covid"] == pytest.approx(ours["p_covid"], abs=1e-5) for row in report["processes"].values())
    for text in *toy["engines"], "the paper, on a laptop's CPU", "the paper, on a workstation with GPU", "lightnet predict":
        assert f"\n{text}" in printed
    assert ("of OpenVINO's" in printed) == ("OpenVINO" in expected)


@pytest.mark.slow
@needs_numba
def test_ladder(tmp_path):
    report, printed = run("ladder.py", tmp_path, "--figure", "ladder.png")

    rungs = ["Python loops", "NumPy, im2col", "Numba, fast layers", "compiled, 1 thread", "compiled, 2 threads"]
    assert list(report["rungs"]) == rungs and all(f"\n{name} " in printed for name in rungs)
    assert all(set(rung) == {"layer", "network"} and set(rung["network"]) == {"ms"} for rung in report["rungs"].values())
    assert all(set(limit) == {"nominal", "executed"} for limit in report["limit_ms"].values())


@pytest.mark.slow
@needs_numba
@pytest.mark.parametrize("blocked", [(), ("openvino",)], ids=["as_installed", "alone"])
def test_throughput(tmp_path, blocked):
    report, printed = run("throughput.py", tmp_path, blocked=blocked)

    has_openvino = not blocked and is_installed("openvino") and is_installed("onnx")
    assert report["files"] == 8 and report["apart"] < 1e-5
    assert set(report["runs"]) == {"lightnet predict", *["OpenVINO, throughput mode"] * has_openvino}
    assert bool(report["left_out"]) != has_openvino
    assert "\nthe paper, on a laptop" in printed
