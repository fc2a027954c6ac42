"""The training benchmark runs, with PyTorch and without, and reports what it promises; no time is ever tested."""

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIGHTNET, TORCH = {"lightnet fast", "lightnet plain"}, {"PyTorch NCHW", "PyTorch channels-last"}


def is_installed(name):
    """Also where the tests block it in their own process."""
    try:
        return bool(importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return False


def run(folder, *paths):
    """The report of a toy run in an empty folder, and what it printed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*paths, ROOT)))}
    done = subprocess.run([sys.executable, ROOT / "benchmarks" / "training.py", "--quick", "--json", "report.json"],
                          capture_output=True, text=True, cwd=folder, env=environment)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert [file.name for file in folder.iterdir()] == ["report.json"]
    return json.loads((folder / "report.json").read_text()), done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not is_installed("numba"), reason="the fast version is what it measures")
@pytest.mark.parametrize("blocked", [False, True], ids=["as_installed", "without_torch"])
def test_training(tmp_path_factory, blocked):
    shadow = tmp_path_factory.mktemp("shadow")
    if blocked:
        (shadow / "torch.py").write_text("raise ImportError('blocked')")
    report, printed = run(tmp_path_factory.mktemp("run"), shadow)

    assert set(report) == {"machine", "date", "versions", "settings", "runs", "first_step"}
    assert set(report["machine"]) == {"cpu", "cores", "load_before"}
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
