"""The pictures: written, readable, not blank, without warnings, whatever is missing from the data."""

import math
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from PIL import Image

from lightnet.errors import DatasetError, ShapeError
from lightnet.evaluation import plots
from lightnet.evaluation.metrics import evaluate

pytestmark = pytest.mark.filterwarnings("error")

ONE_CLASS = (np.zeros(8, int), np.linspace(0.1, 0.4, 8))
NONE_WRONG = (np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.8, 0.9]))
ALL_FOUR_CELLS = (np.tile([0, 1], 20), np.round(np.linspace(0.02, 0.98, 40), 2))


def history(epochs):
    return [
        {
            "epoch": epoch,
            "loss": 0.8 / epoch,
            "accuracy": 1 - 0.5 / epoch,
            "validation_loss": 0.7,
            "validation_accuracy": 0.6,
            "lr": 0.007,
            "seconds": 12.5,
        }
        for epoch in range(1, epochs + 1)
    ]


def greys(count, side=32):
    return np.random.default_rng(0).random((count, side, side), dtype=np.float32)


def check_picture(path):
    """A readable PNG of printable size with something on it, and no temporary file left beside it."""
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert "Software" not in picture.info  # a version would change the bytes
        assert min(picture.size) > 400
        assert np.asarray(picture.convert("L")).std() > 5
    return path.stat().st_size


@pytest.mark.parametrize("epochs", [1, 2, 40])
def test_training_curves(tmp_path, epochs):
    plots.training_curves(history(epochs), tmp_path / "curves.png")
    check_picture(tmp_path / "curves.png")


def test_training_curves_without_validation_and_with_gaps(tmp_path):
    records = [{"epoch": 1, "loss": math.nan, "accuracy": None}, {"epoch": 2, "loss": 0.5, "accuracy": None}]
    plots.training_curves(records, tmp_path / "curves.png")
    check_picture(tmp_path / "curves.png")


def test_training_curves_of_nothing(tmp_path):
    with pytest.raises(DatasetError, match="empty"):
        plots.training_curves([], tmp_path / "curves.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("samples", [ALL_FOUR_CELLS, NONE_WRONG, ONE_CLASS], ids=["all", "none wrong", "one class"])
def test_confusion_matrix_and_roc(tmp_path, samples):
    metrics = evaluate(*samples, resamples=0 if samples is NONE_WRONG else 50)
    plots.confusion_matrix(metrics, tmp_path / "confusion" / "matrix.png")  # makes its folder
    check_picture(tmp_path / "confusion" / "matrix.png")
    plots.roc(*samples, metrics, tmp_path / "roc" / "curve.png")
    check_picture(tmp_path / "roc" / "curve.png")


@pytest.mark.parametrize("samples", [ALL_FOUR_CELLS, NONE_WRONG, ONE_CLASS], ids=["all", "none wrong", "one class"])
def test_slice_sheet(tmp_path, samples):
    names = [f"slice {i}.png" for i in range(len(samples[0]))]
    plots.slice_sheet(greys(len(names)), *samples, names, tmp_path / "sheet.png", "Test set", "synthetic slices")
    assert check_picture(tmp_path / "sheet.png") > 30_000


def test_slice_sheet_with_names_that_a_font_or_a_formula_parser_would_choke_on(tmp_path):
    names = ["$a_^$.png", "肺.png", "a\nb%20{}.png", "2020.03.01.20029769-p21-73_1%2.png"]
    plots.slice_sheet(greys(4), *NONE_WRONG, names, tmp_path / "sheet.png", "100 $ of $", columns=3)
    check_picture(tmp_path / "sheet.png")


def test_slice_sheet_shows_the_most_confident_first_and_each_slice_in_its_row(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(plots, "shortened", lambda name: shown.append(name) or name)
    labels, scores = np.array([1, 1, 1, 1, 0, 0, 0]), np.array([0.6, 0.9, 0.4, 0.1, 0.3, 0.5, 0.99])
    plots.slice_sheet(greys(7), labels, scores, list("abcdefg"), tmp_path / "sheet.png", "", columns=2)
    assert shown == ["b", "a", "e", "d", "c", "g", "f"]


@pytest.mark.parametrize(
    ("count", "side", "names"), [(3, (8, 8), 4), (4, (8, 8), 3), (4, (8, 8, 1), 4)], ids=["greys", "names", "channel"]
)
def test_slice_sheet_of_uneven_arguments(tmp_path, count, side, names):
    with pytest.raises(ShapeError, match=r"expected greys \(N, S, S\)"):
        plots.slice_sheet(np.zeros((count, *side)), *NONE_WRONG, ["a"] * names, tmp_path / "sheet.png", "title")


def test_the_same_picture_has_the_same_bytes(tmp_path):
    for name in ("first.png", "second.png"):
        plots.training_curves(history(3), tmp_path / name)
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()


def test_a_failed_write_keeps_the_old_picture_and_leaves_nothing_behind(tmp_path, monkeypatch):
    path = tmp_path / "curves.png"
    path.write_bytes(b"old")

    def disk_full(figure, file, **_):
        file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(plots.Figure, "savefig", disk_full)
    with pytest.raises(OSError, match="curves.png.*no space"):
        plots.training_curves(history(2), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_users_own_matplotlib_settings_are_left_alone(tmp_path):
    before = dict(matplotlib.rcParams)
    plots.training_curves(history(2), tmp_path / "curves.png")
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("statement", "absent"),
    [("import lightnet.evaluation.metrics", "matplotlib"), ("import lightnet.evaluation.plots", "matplotlib.pyplot")],
)
def test_what_importing_does_not_load(statement, absent):
    code = f"{statement}, sys; sys.exit({absent!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_shortened_names_keep_both_ends():
    assert plots.shortened("short.png") == "short.png"
    shortened = plots.shortened("2020.03.01.20029769-p21-73_1%2.png")
    assert shortened.startswith("2020.03.0")
    assert shortened.endswith("73_1%2.png")
    assert len(shortened) == 20
