"""Augmentation: what each copy is, against NumPy, SciPy and hand-made patterns, and what it is drawn from."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage, stats

from lightnet.data import phantom
from lightnet.data.augment import DEVIATION, add_noise, augment, draws, main, picture, rotate, scale
from lightnet.errors import ArgumentError, DtypeError, LightnetError, ShapeError


def greys(count, side=16):
    """Slices that differ from one another, with values well inside 0..1."""
    return np.random.default_rng(5).uniform(0.3, 0.7, (count, side, side)).astype(np.float32)


def smooth(side=41):
    return ndimage.gaussian_filter(np.random.default_rng(1).random((side, side)), 3).astype(np.float32)


def test_order_and_counts():
    """Every copy is that of its own slice, with its own draws: the originals, rotations, scalings, noise."""
    originals = greys(5)
    augmented, labels = augment(originals, [0, 1, 1, 0, 1], seed=3)
    assert augmented.shape == (20, 16, 16) and augmented.dtype == np.float32
    assert labels.tolist() == 4 * [0, 1, 1, 0, 1]
    np.testing.assert_array_equal(augmented[:5], originals)
    for i, (degrees, factor, rng) in enumerate(draws(5, seed=3)):
        assert np.array_equal(augmented[5 + i], rotate(originals[i], degrees))
        assert np.array_equal(augmented[10 + i], scale(originals[i], factor))
        assert np.array_equal(augmented[15 + i], add_noise(originals[i], DEVIATION, rng))


def test_labels_follow_their_slices():
    """Slices of one grey level each: the level tells which slice a copy is of."""
    levels = np.linspace(0.3, 0.7, 8)
    augmented, labels = augment(np.broadcast_to(levels[:, None, None], (8, 60, 60)), np.arange(8), seed=0)
    assert np.allclose(augmented[:, 20:40, 20:40].mean(axis=(1, 2)), levels[labels], atol=0.02)  # they are 0.057 apart


def test_a_seed_repeats_and_another_differs():
    one, again, other = (augment(greys(3), np.zeros(3), seed)[0] for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert all(not np.array_equal(a, b) for a, b in zip(one[3:], other[3:]))
    rng = np.random.default_rng(1)
    first, second = (augment(greys(3), np.zeros(3), rng)[0] for _ in range(2))
    assert np.array_equal(first, one) and not np.array_equal(second[3:], one[3:])


def test_draws_do_not_depend_on_the_other_slices():
    whole = augment(greys(6), np.zeros(6), seed=4)[0].reshape(4, 6, 16, 16)
    part = augment(greys(6)[:2], np.zeros(2), seed=4)[0].reshape(4, 2, 16, 16)
    assert np.array_equal(whole[:, :2], part)
    changed = greys(6)
    changed[0] = 0.5
    assert np.array_equal(augment(changed, np.zeros(6), seed=4)[0].reshape(4, 6, 16, 16)[:, 1:], whole[:, 1:])
    last, _, _ = list(draws(6, seed=4))[-1]  # nor on whether the others' noise has been drawn
    assert np.array_equal(whole[1, 5], rotate(greys(6)[5], last))


def test_angles_and_factors_are_uniform_and_independent():
    degrees, factors = np.array([drawn[:2] for drawn in draws(4000, seed=0)]).T
    assert 0 <= degrees.min() < 0.1 and 89.9 < degrees.max() < 90
    assert 1.1 <= factors.min() < 1.101 and 1.299 < factors.max() < 1.3
    assert stats.kstest(degrees / 90, "uniform").pvalue > 0.05
    assert stats.kstest((factors - 1.1) / 0.2, "uniform").pvalue > 0.05
    drawn = np.stack([degrees[1:], degrees[:-1], factors[1:], factors[:-1]])
    assert np.abs(np.corrcoef(drawn) - np.eye(4)).max() < 0.05  # 3 deviations of chance


def test_rotation_by_right_angles_is_exact():
    grey = greys(1)[0]
    assert np.array_equal(rotate(grey, 0), grey)
    assert np.array_equal(rotate(grey, 90), np.rot90(grey))  # counterclockwise
    assert np.array_equal(rotate(grey[:, :15], 180), np.rot90(grey[:, :15], 2))


@pytest.mark.parametrize("degrees", [5, 30, 77.7])
def test_rotation_against_scipy(degrees):
    grey = smooth()
    expected = ndimage.rotate(grey, degrees, reshape=False, order=1)
    inside = ndimage.rotate(np.ones_like(grey), degrees, reshape=False, order=1) == 1
    assert np.allclose(rotate(grey, degrees)[inside], expected[inside], atol=1e-5)


def test_rotation_leaves_black_outside():
    turned = rotate(np.ones((40, 40), np.float32), 45)
    assert turned[0, 0] == turned[0, -1] == turned[-1, 0] == turned[-1, -1] == 0
    assert set(np.unique(turned)) == {0, 1}  # no blend at the edge, nothing above the image's range
    assert abs(turned.mean() - 2 * (np.sqrt(2) - 1)) < 0.02  # a regular octagon's part of its square


def test_scaling_enlarges_a_centred_square_by_the_factor():
    grey = np.zeros((120, 120), np.float32)
    grey[40:80, 40:80] = 1
    for factor in (1.1, 1.25, 1.3, 2):
        larger = scale(grey, factor)
        assert larger.shape == grey.shape
        assert np.allclose(larger[60].sum(), 40 * factor, atol=0.01)  # its width, and below its height
        assert np.allclose(larger[:, 60].sum(), 40 * factor, atol=0.01)
        assert np.allclose(ndimage.center_of_mass(larger), 59.5, atol=1e-3)


def test_scaling_against_scipy():
    grey, factor = smooth(), 1.2
    expected = ndimage.affine_transform(grey, np.eye(2) / factor, 20 - 20 / factor, order=1)
    assert np.allclose(scale(grey, factor), expected, atol=1e-5)


def test_scaling_by_one_is_the_identity_and_crops_the_border():
    grey = greys(1)[0]
    assert np.array_equal(scale(grey, 1), grey)
    frame = np.ones((40, 40), np.float32)
    frame[2:-2, 2:-2] = 0
    assert scale(frame, 1.3).max() == 0  # 4.6 pixels are cropped on each side


def test_noise_has_the_mean_and_deviation_asked_for():
    noise = add_noise(np.full((300, 300), 0.5, np.float32), 0.05, np.random.default_rng(0)) - 0.5
    assert abs(noise.mean()) < 0.0005 and abs(noise.std() - 0.05) < 0.0004  # 3 deviations of chance
    assert stats.kstest(noise.ravel() / 0.05, "norm").pvalue > 0.05
    assert np.abs([np.corrcoef(noise[1:].ravel(), noise[:-1].ravel())[0, 1],
                   np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]]).max() < 0.01
    assert np.array_equal(add_noise(greys(1)[0], 0, np.random.default_rng(0)), greys(1)[0])


def test_noise_of_an_augmented_set():
    originals = greys(8, side=100)
    noise = augment(originals, np.zeros(8), seed=2)[0][24:] - originals
    assert np.allclose(noise.std(axis=(1, 2)), 0.05, atol=0.002)
    assert np.abs(np.corrcoef(noise.reshape(8, -1)) - np.eye(8)).max() < 0.05  # each slice has its own


def test_values_stay_in_range():
    slices = np.random.default_rng(0).integers(0, 2, (6, 30, 30)).astype(np.float32)  # all black or white
    augmented = augment(slices, np.zeros(6), seed=0)[0]
    assert augmented.min() == 0 and augmented.max() == 1


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4"])
def test_float32_is_kept_and_others_become_it(dtype):
    one = greys(1).astype(dtype)
    assert augment(one, [0], seed=0)[0].dtype == np.float32
    rng = np.random.default_rng(0)
    copies = rotate(one[0], np.float64(30)), scale(one[0], np.float64(1.2)), add_noise(one[0], np.float64(0.1), rng)
    assert [copy.dtype for copy in copies] == 3 * [np.float32]


def test_inputs_are_not_written_and_results_are_fresh():
    originals, labels = greys(3), np.arange(3)
    originals.flags.writeable = labels.flags.writeable = False
    augmented, copied = augment(originals, labels, seed=0)
    augmented[:] = copied[:] = 0
    for copy in (rotate(originals[0], 0), scale(originals[0], 1), add_noise(originals[0], 0, np.random.default_rng(0))):
        copy[:] = 0
    assert np.array_equal(originals, greys(3)) and labels.tolist() == [0, 1, 2]


def test_strided_inputs_give_the_same():
    strided = np.asfortranarray(np.repeat(greys(2), 2, axis=2))[:, :, ::2]
    assert np.array_equal(augment(strided, [0, 1], seed=0)[0], augment(greys(2), [0, 1], seed=0)[0])


def test_an_empty_set_stays_one():
    augmented, labels = augment(np.empty((0, 8, 8), np.float32), [], seed=0)
    assert augmented.shape == (0, 8, 8) and labels.shape == (0,)


@pytest.mark.parametrize("call, error, words", [
    (lambda: augment(greys(1)[0], [0], 0), ShapeError, "(M, S, S)"),
    (lambda: augment(greys(2)[..., None], [0, 1], 0), ShapeError, "(2, 16, 16, 1)"),
    (lambda: augment(greys(2), [0], 0), ShapeError, "one label a slice"),
    (lambda: augment(greys(2), [[0], [1]], 0), ShapeError, "labels of shape (2, 1)"),
    (lambda: augment(np.zeros((2, 8, 8), np.uint8), [0, 1], 0), DtypeError, "by 255"),
    (lambda: augment(np.zeros((2, 8, 8), complex), [0, 1], 0), DtypeError, "complex"),
    (lambda: augment(255 * greys(2), [0, 1], 0), ArgumentError, "by 255"),
    (lambda: augment((greys(2) - 0.5) / 0.1, [0, 1], 0), ArgumentError, "then normalize"),
    (lambda: augment(np.full((1, 8, 8), np.nan), [0], 0), ArgumentError, "nan"),
    (lambda: rotate(greys(1), 30), ShapeError, "(H, W)"),
    (lambda: rotate(np.zeros((0, 8)), 30), ShapeError, "with pixels"),
    (lambda: rotate(greys(1)[0], np.nan), ArgumentError, "degrees is nan"),
    (lambda: scale(greys(1)[0], 0.9), ArgumentError, "factor is 0.9"),
    (lambda: scale(greys(1)[0], 17), ArgumentError, "expected 1 to 16"),
    (lambda: scale(greys(1)[0], np.nan), ArgumentError, "factor is nan"),
    (lambda: add_noise(greys(1)[0], -0.1, np.random.default_rng(0)), ArgumentError, "deviation is -0.1"),
    (lambda: add_noise(greys(1)[0], np.inf, np.random.default_rng(0)), ArgumentError, "deviation is inf"),
    (lambda: picture(greys(0), 0, "unused.png"), ShapeError, "no slice"),
])
def test_wrong_input_is_named(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert isinstance(caught.value, LightnetError) and words in str(caught.value)


def test_the_largest_factor_leaves_one_pixel():
    grey = np.zeros((5, 7), np.float32)
    grey[2, 3] = 1
    assert np.isclose(scale(grey, 5)[2, 3], 1, atol=1e-6)


def test_resizing_that_overshoots_is_no_error():
    grey = greys(1)
    grey[0, 0, :2] = -0.2, 1.2  # as Lanczos leaves it at a sharp edge
    augmented = augment(grey, [0], seed=0)[0]
    assert np.array_equal(augmented[0], grey[0]) and augmented[3].min() == 0


@pytest.mark.filterwarnings("error")
def test_the_picture_shows_the_slices_and_repeats_itself(tmp_path):
    for name, seed in (("a.png", 0), ("b.png", 0), ("c.png", np.random.default_rng(0))):
        picture(greys(3), seed, tmp_path / "new" / name)
    a, b, c = ((tmp_path / "new" / name).read_bytes() for name in ("a.png", "b.png", "c.png"))
    assert a == b == c  # a Generator's captions too are those of the copies shown
    with Image.open(tmp_path / "new" / "a.png") as image:
        pixels = np.asarray(image.convert("L"))
    assert pixels.shape[0] > 900 and pixels.shape[1] > 1100 and pixels.std() > 30


def test_the_command(tmp_path, monkeypatch, capsys):
    phantom.write(tmp_path / "set", 10, seed=0)
    monkeypatch.chdir(tmp_path)
    assert main(["set"]) == 0
    assert (tmp_path / "runs" / "augmented.png").read_bytes()[1:4] == b"PNG"
    assert capsys.readouterr().out == "runs/augmented.png: 4 slices and their copies\n"
    (tmp_path / "empty").mkdir()
    for wrong in ("empty", "nowhere.png"):
        assert main([wrong]) == 2
        assert capsys.readouterr().err.startswith(f"lightnet: {wrong}: ")


def test_run_as_a_module_without_arguments(tmp_path):
    done = subprocess.run([sys.executable, "-W", "error", "-m", "lightnet.data.augment"], cwd=tmp_path,
                          capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])})
    assert (done.returncode, done.stderr) == (0, "")
    assert "4 synthetic slices" in done.stdout and (tmp_path / "runs" / "augmented.png").is_file()


def test_importing_it_loads_no_matplotlib():
    code = "import sys, lightnet.data.augment; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
