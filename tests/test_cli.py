"""The command line: predict, evaluate, summary, help, and what it says when something is wrong."""

import csv
import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lightnet as ln
from lightnet.cli import main
from lightnet.data import phantom, prepare
from lightnet.data.images import read_image


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A saved, untrained network for small images."""
    net = ln.models.light_cnn(seed=0)
    net.meta.update(input_size=49, mean=0.4, deviation=0.3)
    path = tmp_path_factory.mktemp("model") / "net.npz"
    ln.save(net, path)
    return str(path)


@pytest.fixture(scope="module")
def slices(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slices")
    phantom.write(folder, 20, seed=0)
    return folder


def huge_png():
    """A header that promises 100,000 x 100,000 pixels."""
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_predict_writes_what_the_network_says(model, slices, capsys):
    assert main(["predict", str(slices), "--model", model]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert list(rows[0]) == ["file", "label", "p_covid"] and len(rows) == 20
    assert [row["file"] for row in rows] == sorted(row["file"] for row in rows)
    net = ln.load(model)
    for row in rows[:3]:
        p = ln.softmax(net.forward(prepare(read_image(row["file"]), net.meta)))[0, 1]
        assert float(row["p_covid"]) == pytest.approx(p, rel=1e-4)
        assert row["label"] == ("COVID" if p >= 0.5 else "non-COVID")


def test_predict_goes_on_with_the_rest(model, slices, tmp_path, capsys):
    good = sorted(slices.glob("COVID/*.png"))[:2]
    Image.open(good[0]).save(tmp_path / "a_good.png")
    (tmp_path / "b_empty.png").write_bytes(b"")
    (tmp_path / "c_cut.png").write_bytes(good[0].read_bytes()[:5000])
    (tmp_path / "d_text.png").write_text("not an image\n")
    (tmp_path / "e_huge.png").write_bytes(huge_png())
    Image.open(good[1]).save(tmp_path / "f_good.png")
    table = tmp_path / "out" / "table.csv"
    assert main(["predict", str(tmp_path), "--model", model, "--csv", str(table)]) == 1
    rows = list(csv.DictReader(open(table)))
    assert [row["file"].rsplit("/")[-1] for row in rows] == ["a_good.png", "f_good.png"]
    errors = capsys.readouterr().err
    for name in ("b_empty.png", "c_cut.png", "d_text.png", "e_huge.png"):
        assert name in errors
    assert "4 of 6" in errors and "Traceback" not in errors


def test_predict_one_absent_file(model, capsys):
    assert main(["predict", "absent.png", "--model", model]) == 1
    assert "absent.png" in capsys.readouterr().err


@pytest.mark.parametrize("arguments, words", [
    (["predict", "{empty}", "--model", "{model}"], "no image file"),
    (["predict", "{slices}", "--model", "{empty}/none.npz"], "no such file"),
    (["predict", "{slices}", "--model", "{text}"], "text.npz"),
    (["predict", "{slices}", "--model", "{model}", "--csv", "{text}/x.csv"], "cannot be written"),
    (["evaluate", "--model", "{model}"], "either a FOLDER or --arrangement"),
    (["evaluate", "{empty}", "--model", "{model}"], "non-COVID"),
    (["evaluate", "--data", "{empty}", "--arrangement", "1", "--model", "{model}"], "COVID-CT"),
    (["train", "--data", "{empty}"], "--arrangement"),
    (["check", "{raises}:make"], "in the student's code"),
    (["check", "{raises}:nothing"], "returns"),
    (["predict", "{slices}", "--model", "{wide}"], "two classes"),
    (["check", "{raises}:leaves"], "SystemExit"),
    (["check", "{raises}:make_quitter"], "ends the process"),
    (["check", "{raises}"], "a file without a function"),
    (["summary", "{empty}/none"], "no such file"),
    (["evaluate", "{slices}", "--data", "{empty}", "--model", "{model}"], "beside FOLDER given were data"),
    (["evaluate", "{slices}", "--model", "{model}", "--out", "{text}"], "no folder can be made there"),
    (["predict", "{slices}", "--model", "{model}", "--cam", "{text}"], "no folder can be made there"),
    (["train", "--bypass", "simple"], "a SqueezeNet's"),
    (["train", "--quick", "--lr", "-1"], "lr -1.0: expected a number above 0"),
    (["train", "--quick", "--momentum", "1"], "momentum 1.0: expected"),
    (["train", "--quick", "--l2", "nan"], "l2 nan: expected"),
    (["train", "--quick", "--decay", "0"], "decay 0.0: expected"),
    (["search", "--quick", "--decay", "-1"], "decay -1.0: expected"),
    (["train", "--quick", "--size", "128"], "113-116 and 129-132"),
    (["train", "--quick", "--imagenet", "nothing"], "looked for nothing"),
    (["train", "--quick", "--imagenet", "{text}"], "text.npz"),
])
def test_errors_are_one_line(arguments, words, model, slices, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("LIGHTNET_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.npz").write_text("text")
    (tmp_path / "raises.py").write_text(
        "import sys\nfrom lightnet.layers import ReLU\n\n\nclass Quitter(ReLU):\n    def forward(self, x, training=False):\n"
        "        sys.exit(0)\n\n\ndef make():\n    raise ValueError(\"in the student's code\")\n\n\ndef nothing():\n"
        "    return 1, (2,)\n\n\ndef leaves():\n    raise SystemExit(0)\n\n\ndef make_quitter():\n    return Quitter(), (2, 3)\n")
    ln.save(ln.models.light_cnn(classes=3), tmp_path / "wide.npz")
    places = {"raises": tmp_path / "raises.py", "wide": tmp_path / "wide.npz",
              "model": model, "slices": slices, "empty": tmp_path / "empty", "text": tmp_path / "text.npz"}
    assert main([argument.format(**places) for argument in arguments]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("lightnet: ") and words in said
    assert not list(tmp_path.glob("runs/*"))                # nothing was begun


def test_an_unwritable_folder(tmp_path, capsys, monkeypatch):
    (tmp_path / "runs").write_text("a file where the folder should be")
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--quick"]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_evaluate_writes_and_logs(model, slices, tmp_path, capsys):
    for _ in range(2):
        assert main(["evaluate", str(slices), "--model", model, "--out", str(tmp_path / "out")]) == 0
    assert "accuracy" in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"metrics.json", "scores.csv", "roc.png", "calibration.png", "confusion_matrix.png", "slices.png"} == names
    log = Path(model).with_name("test_evaluations.csv")                 # beside the model, wherever the results go
    assert len(log.read_text().splitlines()) == 3                       # a head and two evaluations


def test_export(model, tmp_path, capsys):
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "net.onnx"
    assert main(["export", model, str(path), "--fold", "--softmax"]) == 0
    assert "probabilities" in capsys.readouterr().out
    assert "BatchNormalization" not in {node.op_type for node in onnx.load(path).graph.node}
    x = np.random.default_rng(0).random((1, 227, 227, 3), np.float32)
    wanted = ln.softmax(ln.load(model).forward(x))
    np.testing.assert_allclose(ln.import_onnx(path).forward(x), wanted, atol=1e-5)


def test_summary(model, capsys):
    for name, total in (("light_cnn", "1,272,450"), ("squeezenet", "1,235,496"), (model, "1,272,450")):
        assert main(["summary", name]) == 0
        assert capsys.readouterr().out.splitlines()[-1].split()[1] == total


def test_a_warning_is_a_line(model, slices, tmp_path, capsys):
    frames = [Image.open(path) for path in sorted(slices.glob("COVID/*.png"))[:2]]
    frames[0].save(tmp_path / "two.tiff", save_all=True, append_images=frames[1:])
    with pytest.warns(UserWarning, match="several frames") as seen:
        assert main(["predict", str(tmp_path / "two.tiff"), "--model", model]) == 0
    assert warnings.formatwarning(seen[0].message, UserWarning, "file.py", 1).startswith("lightnet: ")


@pytest.mark.parametrize("command", ["train", "evaluate", "predict", "summary", "check"])
def test_help_teaches(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert "examples:" in shown and f"lightnet {command}" in shown


def test_wrong_usage(capsys):
    for arguments in ([], ["predict"], ["predict", ""], ["train", "--epochs", "0"], ["train", "--decay-after", "-1"], ["none"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2


def test_prediction_is_in_batches_and_in_order(model, slices):
    """Many files, some unreadable, across batch borders: each gets its own answer."""
    from lightnet.evaluation.predict import BATCH, predict_files
    net = ln.load(model)
    good = sorted(slices.rglob("*.png"))
    files = [good[i % 20] if i % 7 else "absent.png" for i in range(2 * BATCH + 5)]
    found = list(predict_files(net, files))
    assert [one.file for one in found] == [str(file) for file in files]
    alone = {str(file): list(predict_files(net, [file]))[0].p_covid for file in good}
    for one in found:
        assert (one.error is not None) == (one.file == "absent.png")
        if not one.error:
            assert one.p_covid == pytest.approx(alone[one.file], rel=1e-5)


def test_chance_is_noticed():
    """A SqueezeNet whose last ReLU lets nothing through: the loss stays at ln 2, and a warning says so."""
    from test_training import stripes

    from lightnet.training.trainer import Trainer
    net = ln.models.squeezenet(classes=2, seed=0)
    net.params["conv10.bias"][:] = -1000
    training = Trainer(net, ln.SGD(net, lr=1e-3), stripes(4, 0), stripes(4, 1), 4, np.random.default_rng(0))
    with pytest.warns(UserWarning, match="head_relu=False"):
        training.fit(2, progress=False)


@pytest.mark.parametrize("command, option, name", [("train", ["--lr", "1"], "lr"), ("search", ["--no-head-relu"], "head_relu")])
def test_resuming_refuses_what_it_would_ignore(command, option, name, tmp_path, capsys):
    assert main([command, "--resume", str(tmp_path), *option]) == 2
    assert f"given were {name}, which would do nothing" in capsys.readouterr().err
