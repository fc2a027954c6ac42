"""The numbered examples run as they stand, show what they say they show, and are listed in examples/README.md."""

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("[0-9][0-9]_*.py"))
NUMBER = r"(-?\d[\d,]*\.?\d*(?:e[-+]\d+)?)"


def run(number, folder):
    """Run example `number` in an empty folder; return what it printed, once its picture is known to be one."""
    (path,) = (ROOT / "examples").glob(f"{number:02}_*.py")
    environment = {name: value for name, value in os.environ.items() if name != "LIGHTNET_DATA"}
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, encoding="utf-8", cwd=folder,
                          env={**environment, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"})
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert [file.relative_to(folder).as_posix() for file in folder.rglob("*.*")] == [f"runs/examples/{path.stem}.png"]
    with Image.open(folder / "runs" / "examples" / f"{path.stem}.png") as picture:
        assert min(picture.size) >= 400 and np.asarray(picture.convert("L")).std() > 10          # something is drawn
    assert f"Drawn: runs/examples/{path.stem}.png" in done.stdout
    return done.stdout


def numbers(pattern, text):
    """The numbers where `pattern`, which has # for each of them, fits the text; exactly one place must."""
    (found,) = re.findall(re.escape(pattern).replace(r"\#", r"\s*" + NUMBER).replace(r"\ ", r"\s+"), text)
    return [float(number.replace(",", "")) for number in ([found] if isinstance(found, str) else found)]


def matrix(text, after):
    """The array that NumPy printed in the lines that follow the one with `after`."""
    rows = text.split(after, 1)[1].split("\n", 1)[1].split("]]", 1)[0]
    return np.array([[float(value) for value in row.strip(" []").split()] for row in rows.splitlines()])


def test_heat_maps(tmp_path):
    import lightnet as ln
    for seed in (0, 1):
        net = ln.models.light_cnn(seed=seed)
        net.meta["input_size"] = 131
        ln.save(net, tmp_path / f"cnn-{seed}.npz")
    done = subprocess.run([sys.executable, ROOT / "examples" / "heat_maps.py", "--model", "cnn-0.npz", "--model", "cnn-1.npz"],
                          capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0 and "6 slices, 2 networks" in done.stdout, done.stderr
    with Image.open(tmp_path / "runs" / "heat_maps.png") as picture:
        assert picture.size[0] > 1500


def test_convolution(tmp_path):
    text = run(1, tmp_path)
    image, kernel, y = matrix(text, "image ("), matrix(text, "kernel ("), matrix(text, "feature map (")
    windows = np.lib.stride_tricks.sliding_window_view(image, (3, 3))                             # (2, 3, 3, 3)
    np.testing.assert_array_equal(y, (windows * kernel).sum(axis=(2, 3)))
    np.testing.assert_array_equal(matrix(text, "im2col(x) (6, 9)"), windows.reshape(6, 9))
    np.testing.assert_array_equal(matrix(text, "dW is the window"), image[1:4, 1:4])
    np.testing.assert_array_equal(matrix(text, "dx is the kernel"), np.pad(kernel, ((1, 0), (1, 1))))
    assert "(1, 113, 113, 1)" in text and "(1, 111, 111, 2)" in text


def test_transposed_convolution(tmp_path):
    text = run(2, tmp_path)
    A = matrix(text, "convolution, 5 pixels to 2, as a matrix")
    np.testing.assert_array_equal(A, [[1, 2, 3, 0, 0], [0, 0, 1, 2, 3]])
    np.testing.assert_array_equal(matrix(text, "transposed convolution, 2 pixels to 5"), A.T)
    left, right = numbers("<conv(u), x> = #, <u, conv_transpose(x)> = #", text)
    assert left == right != 0
    row = re.search(r"two stamps meet in the middle: \[(.*)\]", text)[1].split()
    assert [float(value) for value in row] == [2, 4, 8, 10, 8, 4, 0, 0]


def test_batch_norm(tmp_path):
    text = run(3, tmp_path)
    mean, deviation = re.search(r"after: +mean \[(.*?)\], deviation \[(.*?)\]", text).groups()
    np.testing.assert_allclose(np.array(mean.split(), float), 0, atol=1e-6)
    np.testing.assert_allclose(np.array(deviation.split(), float), 1, atol=1e-3)
    largest, sum_dx, sum_along = numbers("random dy: largest |dx| = #; sum(dx) = # and sum(dx * xhat) = #", text)
    assert numbers("dy = 1: largest |dx| = #", text)[0] < 1e-9 * largest
    assert max(sum_dx, sum_along) < 1e-6 * largest
    assert numbers("dy = 1: numerically # backward # broken backward #", text) == [0, 0, 0]
    numeric, right, broken = numbers("random dy: numerically # backward # broken backward #", text)
    assert math.isclose(right, numeric, rel_tol=1e-5) and abs(broken - numeric) > 0.1 * abs(numeric)


def test_fire_module(tmp_path):
    text = run(4, tmp_path)
    fire, plain = numbers("needs # MACs, one 3x3 convolution from 64 to 32 channels #:", text)
    assert fire == 65 * 65 * (64 * 8 + 8 * 16 + 9 * 8 * 16) and plain == 65 * 65 * 9 * 64 * 32
    one, two, both = numbers("from expand1x1 #, from expand3x3 #, squeeze_elu gets #", text)
    assert abs(one + two - both) < 2e-4 and min(abs(one), abs(two)) > 0.01
    assert re.search(r"concat +Concat +expand1x1_elu, expand3x3_elu +65x65x32", text)


def test_gradient_check(tmp_path):
    text = run(5, tmp_path)
    right, numeric = numbers("\nSwish: <dbeta, v> = #, (L(beta + hv) - L(beta - hv)) / 2h = #", "\n" + text)
    assert math.isclose(right, numeric, rel_tol=1e-5)
    broken, numeric = numbers("BrokenSwish: <dbeta, v> = #, (L(beta + hv) - L(beta - hv)) / 2h = #", text)
    assert abs(broken - numeric) > 0.1 * abs(numeric)
    assert "\nSwish(channels=4): right" in text and "\nBrokenSwish(channels=4): 1 wrong\n  beta: " in text
    assert "1 wrong\n  swish.beta: " in text and "right: input, conv.weight, conv.bias\n" in text


def test_overfitting(tmp_path):
    text = run(6, tmp_path)
    losses = [float(loss) for loss in re.findall(r"step +\d+ +loss ([\d.]+)", text)]
    assert abs(losses[0] - math.log(2)) < 0.1 and losses[-1] < 0.02 and losses == sorted(losses, reverse=True)
    assert re.search(r"step 29 .* 8 of 8 right", text)
    p, labels = re.search(r"p_covid = \[(.*?)\] for the labels \[(.*?)\]", text).groups()
    np.testing.assert_allclose(np.array(p.split(), float), np.array(labels.split(), float), atol=0.1)


def test_whole_network(tmp_path):
    text = run(7, tmp_path)
    assert numbers("total # #", text) == [1272450, 467226560]
    assert re.search(r"concat +56x56x192 +deviation", text)
    p, loss = numbers("p_covid #: a guess, the network is untrained. Loss -log(p_covid) = #", text)
    assert abs(loss + math.log(p)) < 0.002
    first, second = map(float, re.search(r"dL/dlogits = p - t = \[\[ *(\S+) +(\S+)\]\]", text).groups())
    assert abs(second - (p - 1)) < 0.002 and abs(first + second) < 0.002
    fell, foretold = numbers("the loss falls by #, foretold # =", text)
    assert fell > 0 and math.isclose(fell, foretold, rel_tol=0.05)
    assert len(re.findall(r"forward +[\d.]+ ms +backward +[\d.]+ ms", text)) == 5


def test_every_lesson_has_its_test_here():
    assert [int(path.name[:2]) for path in EXAMPLES] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_lesson_is_listed_and_short(path):
    assert f"[{path.name}]({path.name})" in (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 90 and max(map(len, lines)) <= 120
