"""A training that is killed and resumed ends with the same bits as one in one go."""

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from test_model_file import objects, rewrite
from test_training import stripes

import lightnet as ln
from lightnet.training.checkpoint import resume, save_checkpoint
from lightnet.training.trainer import Trainer

ROOT = Path(__file__).parents[1]
MAIN = "import sys; from lightnet.cli import main; sys.exit(main())"


def trainer(seed=0, net=None):
    """A SqueezeNet, since it has a dropout whose generator must go on as well."""
    net = net or ln.models.squeezenet("simple", "custom", classes=2, head_relu=False, seed=seed)
    return Trainer(net, ln.SGD(net, lr=0.01, l2=1e-4), stripes(12, 0), stripes(6, 1), 4, np.random.default_rng(seed))


def everything(training):
    """All that training changes: digests, for pytest would explain a difference of megabytes line by line, for hours."""
    arrays = {**training.net.params, **training.net.state, **{f"v/{name}": v for name, v in training.optimizer.velocity.items()}}
    history = [{key: value for key, value in row.items() if key != "seconds"} for row in training.history]
    return {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in arrays.items()}, history


def test_resumed_equals_uninterrupted(tmp_path):
    whole = trainer()
    whole.fit(4, progress=False)
    first = trainer()
    first.fit(2, progress=False)
    save_checkpoint(tmp_path / "c.npz", first, {"settings": 1})
    second = trainer(seed=9)                                # everything else, and then the checkpoint
    resume(tmp_path / "c.npz", second, {"settings": 1})
    second.fit(4, progress=False)
    assert everything(second) == everything(whole)


def no_history(arrays):
    kept = json.loads(str(arrays["training"]))
    del kept["history"]
    arrays["training"] = np.array(json.dumps(kept))


def no_velocity(arrays):
    del arrays["velocity/conv1.weight"]


def other_generators(arrays):
    kept = json.loads(str(arrays["training"]))
    kept["generators"]["order of samples"] = {}
    arrays["training"] = np.array(json.dumps(kept))


@pytest.mark.parametrize("change, words", [
    (other_generators, "generator"), (no_history, "no checkpoint"), (no_velocity, "another network"),
    (objects, "cannot be read"),
])
def test_wrong_checkpoints(tmp_path, change, words):
    path = tmp_path / "c.npz"
    save_checkpoint(path, trainer(), {"data": "a"})
    rewrite(path, change)
    with pytest.raises(ln.CheckpointError, match=words) as error:
        resume(path, trainer(), {"data": "a"})
    assert "c.npz" in str(error.value)


def test_a_checkpoint_of_something_else(tmp_path):
    path = tmp_path / "c.npz"
    save_checkpoint(path, trainer(), {"data": "a"})
    with pytest.raises(ln.CheckpointError, match="another network"):
        resume(path, trainer(net=ln.models.light_cnn()), {"data": "a"})
    with pytest.raises(ln.CheckpointError, match="whose data is 'a'; expected 'b'"):
        resume(path, trainer(), {"data": "b"})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ln.CheckpointError, match=r"c\.npz"):
        resume(path, trainer(), {"data": "a"})


def lightnet(folder, *arguments, **options):
    environment = {key: value for key, value in os.environ.items() if key != "LIGHTNET_DATA"}
    return subprocess.Popen([sys.executable, "-c", MAIN, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, env={**environment, "PYTHONPATH": str(ROOT)}, **options)


def wait_for_epoch(run, epoch):
    """Until that epoch's checkpoint is there, and the next epoch has begun."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            with np.load(run / "checkpoint.npz") as file:
                if len(json.loads(str(file["training"]))["history"]) >= epoch:
                    time.sleep(0.3)
                    return
        except (OSError, ValueError):
            pass
        time.sleep(0.05)
    raise AssertionError("no checkpoint in two minutes")


@pytest.mark.slow
@pytest.mark.parametrize("model", [["--model", "light_cnn"], ["--model", "squeezenet", "--fire", "custom", "--no-head-relu"]])
def test_sigkill_in_the_middle(tmp_path, model):
    """Synthetic slices at 131x131, three epochs: killed in the second, resumed, and the same bits as in one go."""
    arguments = ["train", "--quick", "--epochs", "3", "--augment", *model]
    whole = lightnet(tmp_path, *arguments, "--name", "whole")
    assert whole.wait(timeout=240) == 0, whole.stderr.read()
    killed = lightnet(tmp_path, *arguments, "--name", "killed")
    run = tmp_path / "runs" / "killed"
    wait_for_epoch(run, 1)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (run / "metrics.json").exists()
    resumed = lightnet(tmp_path, "train", "--resume", "runs/killed")
    out, err = resumed.communicate(timeout=240)
    assert resumed.returncode == 0, err
    assert "Going on after epoch" in out
    a, b = ln.load(run / "model.npz"), ln.load(tmp_path / "runs" / "whole" / "model.npz")
    for kind in ("params", "state"):
        for name, array in getattr(a, kind).items():
            assert np.array_equal(array, getattr(b, kind)[name]), name
    histories = [[{**row, "seconds": ""} for row in csv.DictReader(open(tmp_path / "runs" / name / "history.csv"))]
                 for name in ("whole", "killed")]
    assert histories[0] == histories[1] and len(histories[0]) == 3
    assert (run / "metrics.json").read_text() == (tmp_path / "runs" / "whole" / "metrics.json").read_text()
    kept = {file: file.read_bytes() for file in run.iterdir() if file.is_file()}
    fewer = lightnet(tmp_path, "train", "--resume", "runs/killed", "--epochs", "2")
    assert fewer.wait(timeout=240) == 2 and "has 3 epochs already" in fewer.stderr.read()
    assert kept == {file: file.read_bytes() for file in run.iterdir() if file.is_file()}


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on(tmp_path):
    # A test run in the background may ignore Ctrl-C, and what it starts inherits that.
    job = lightnet(tmp_path, "train", "--quick", "--epochs", "50", "--name", "stopped",
                   preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    wait_for_epoch(tmp_path / "runs" / "stopped", 1)
    job.send_signal(signal.SIGINT)
    out, err = job.communicate(timeout=60)
    assert job.returncode == 130 and "Traceback" not in err
    assert "lightnet train --resume runs/stopped" in out


def test_resume_of_no_run(tmp_path):
    job = lightnet(tmp_path, "train", "--resume", "nothing")
    _, err = job.communicate(timeout=60)
    assert job.returncode == 2 and "job.json" in err and "Traceback" not in err
