"""The training loop, a run's folder, and the example from the command line to the pictures."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lightnet as ln
from lightnet.data import default_meta
from lightnet.data.batches import batches
from lightnet.layers import Conv2D, Dense, GlobalAvgPool
from lightnet.optim import step_decay
from lightnet.training.checkpoint import versions
from lightnet.training.trainer import Trainer, evaluate_loss, predict_logits

ROOT = Path(__file__).parents[1]
DATA = os.environ.get("LIGHTNET_DATA")
PICTURES = ["training_curves.png", "confusion_matrix.png", "roc.png", "calibration.png", "slices.png"]
FILES = ["model.npz", "history.csv", "metrics.json", "scores.csv", "job.json", "manifest.csv", "checkpoint.npz",
         "test_evaluations.csv"]


def stripes(count, seed):
    """Small slices with vertical (1) or horizontal (0) stripes."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    wave = np.sin(np.arange(33) * 1.5 + rng.uniform(0, 6, (count, 1)))
    greys = np.where(labels[:, None, None], wave[:, None, :], wave[:, :, None]) + 0.3 * rng.standard_normal((count, 33, 33))
    return greys.astype(np.float32), labels


def trainer(**options):
    net = ln.models.light_cnn(seed=0)
    return Trainer(net, ln.SGD(net, lr=0.005), stripes(32, 0), stripes(16, 1), **{"batch_size": 8, **options})


def test_it_learns_what_is_to_be_learned():
    training = trainer()
    training.fit(8, progress=False)
    assert training.history[-1]["loss"] < training.history[0]["loss"] / 2
    assert training.history[-1]["validation_accuracy"] >= 0.9


def test_the_same_seed_gives_the_same_bits():
    one, two, other = (trainer(rng=np.random.default_rng(seed)) for seed in (1, 1, 2))
    for training in (one, two, other):
        training.fit(1, progress=False)
    name = "conv1.weight"
    assert np.array_equal(one.net.params[name], two.net.params[name])
    assert not np.array_equal(one.net.params[name], other.net.params[name])
    assert [{**row, "seconds": 0} for row in one.history] == [{**row, "seconds": 0} for row in two.history]


def test_schedule_sets_the_rate_of_each_epoch():
    training = trainer(schedule=step_decay(0.5, every=2))
    training.fit(5, progress=False)
    assert [row["lr"] for row in training.history] == [0.005, 0.005, 0.0025, 0.0025, 0.00125]


def test_a_diverging_loss_stops_with_advice():
    training = trainer()
    training.initial_lr = 1e6
    with np.errstate(all="ignore"), pytest.raises(ln.TrainingError, match="a tenth of that rate"):
        training.fit(3, progress=False)


def test_history_is_what_an_evaluation_gives():
    training = trainer()
    training.fit(1, progress=False)
    loss, accuracy = evaluate_loss(training.net, *training.validation)
    assert training.history[-1]["validation_loss"] == pytest.approx(loss, rel=1e-5)
    assert training.history[-1]["validation_accuracy"] == accuracy
    assert predict_logits(training.net, training.validation[0], batch_size=5).shape == (16, 2)


def test_batches_hold_every_sample_once_in_a_new_order():
    greys, labels = np.arange(10, dtype=np.float32)[:, None, None] * np.ones((1, 4, 4), np.float32), np.arange(10)
    rng = np.random.default_rng(0)
    epochs = [list(batches(greys, labels, 4, default_meta(), rng)) for _ in range(2)]
    orders = [np.concatenate([y for _, y in epoch]).tolist() for epoch in epochs]
    assert orders[0] != orders[1] and sorted(orders[0]) == sorted(orders[1]) == list(range(10))
    for x, y in epochs[0]:
        assert x.shape[1:] == (4, 4, 3) and (x[:, 0, 0, 0] == y).all()
    together = [{frozenset(y.tolist()) for _, y in epoch} for epoch in epochs]
    assert together[0] != together[1]                       # samples are shuffled, not batches


def test_overfitting_eight_images_on_a_small_network():
    """The loss of a network that is large enough goes to 0: forward, backward and update fit together."""
    rng = np.random.default_rng(0)
    g = ln.Graph(input_shape=(9, 9, 3), meta=default_meta())
    x = g.add("relu", ln.layers.ReLU(), g.add("conv", Conv2D(3, 32, 3, seed=rng), "image"))
    g.add("fc", Dense(32, 2, seed=rng), g.add("gap", GlobalAvgPool(), x))
    images, labels = rng.standard_normal((8, 9, 9, 3)), np.arange(8) % 2
    opt = ln.SGD(g, lr=0.2, momentum=0.9)
    for _ in range(150):
        loss, dlogits = ln.softmax_cross_entropy(g.forward(images, training=True), labels)
        g.backward(dlogits)
        opt.step()
    assert loss < 0.01


def run_example(folder, *arguments):
    environment = {key: value for key, value in os.environ.items() if key != "LIGHTNET_DATA"}
    return subprocess.run([sys.executable, str(ROOT / "examples" / "train_covid.py"), *arguments], cwd=folder,
                          capture_output=True, text=True, env={**environment, "PYTHONPATH": str(ROOT)})


def test_example_leaves_a_run(tmp_path):
    done = run_example(tmp_path, "--quick")
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "quick"
    assert {path.name for path in run.iterdir()} == {*PICTURES, *FILES, "slices"}
    for picture in PICTURES:
        with Image.open(run / picture) as image:
            assert min(image.size) > 300
    found = json.loads((run / "metrics.json").read_text())
    assert found["test"]["n"] == 16 and found["validation"]["n"] == 8
    assert set(found["test"]["accuracy"]) == {"value", "low", "high"}
    rows = list(csv.DictReader(open(run / "history.csv")))
    assert len(rows) == 1 and float(rows[0]["loss"]) > 0
    net = ln.load(run / "model.npz")
    assert net.meta["input_size"] == 131 and net.meta["provenance"]["settings"]["seed"] == 0 and 0 < net.meta["deviation"] < 1
    assert "Not for clinical use" in done.stdout and "accuracy" in done.stdout
    again = run_example(tmp_path, "--quick")                # an earlier run is never written over
    assert again.returncode == 0 and (tmp_path / "runs" / "quick-2" / "metrics.json").exists()


def test_example_refuses_with_one_line(tmp_path):
    for arguments, words in ((["--arrangement", "1"], "LIGHTNET_DATA"),
                             (["--arrangement", "1", "--data", str(tmp_path)], str(tmp_path)),
                             (["--epochs", "0"], "at least 1"), (["--quick", "--size", "128"], "129")):
        done = run_example(tmp_path, *arguments)
        assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr, done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not DATA, reason="LIGHTNET_DATA does not name a folder with the real slices")
def test_example_on_real_slices(tmp_path):
    done = run_example(tmp_path, "--data", os.path.abspath(DATA), "--arrangement", "1", "--epochs", "1", "--size", "65",
                       "--no-augment")
    assert done.returncode == 0, done.stderr[-2000:]
    run = tmp_path / "runs" / "arrangement-1"
    assert {*PICTURES, "roc_test2.png", "manifest.csv"} <= {path.name for path in run.iterdir()}
    found = json.loads((run / "metrics.json").read_text())
    assert [found[name]["n"] for name in ("test", "test2", "validation")] == [193, 193, 118]
    assert found["test"]["over"] == "patients"
    assert "98 Italian slices instead of 100" in done.stdout


def test_what_numbers_depend_on_names_the_commit():
    """Of lightnet's own checkout, not of another one that it may lie in."""
    made, commit = shutil.which("git"), versions()["commit"]
    found = made and subprocess.run([made, "-C", ROOT, "rev-parse", "--show-toplevel", "HEAD"], capture_output=True, text=True)
    top, head = found.stdout.split() if found and found.returncode == 0 else (None, None)
    if top == str(ROOT):
        assert head.startswith(commit.rstrip("+")) and len(commit) >= 7
    else:                                               # no checkout, or one that git may not read
        assert commit is None
