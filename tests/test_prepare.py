"""From a grey image to a network input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lightnet.data.prepare import default_meta, normalize, prepare, resize
from lightnet.errors import CheckpointError, DtypeError, LightnetError, ShapeError

UNIT = st.floats(0, 1, width=32)


def test_fresh_meta_only_resizes_and_repeats():
    image = np.random.default_rng(0).random((300, 200), np.float32)
    x = prepare(image, default_meta())
    assert x.shape == (1, 227, 227, 3) and x.dtype == np.float32 and x.flags.c_contiguous
    for channel in range(3):
        assert np.array_equal(x[0, :, :, channel], resize(image, 227))


def test_fresh_metas_are_independent():
    default_meta()["classes"].append("other")
    assert default_meta()["classes"] == ["non-COVID", "COVID"] and default_meta()["provenance"] == {}


def test_mean_and_deviation_by_channel():
    meta = {**default_meta(), "input_size": 1, "mean": (0.485, 0.456, 0.406), "deviation": [0.229, 0.224, 0.225]}
    x = prepare(np.full((4, 4), 0.5), meta)
    np.testing.assert_allclose(x.ravel(), [0.015 / 0.229, 0.044 / 0.224, 0.094 / 0.225], rtol=1e-5)


def test_shrinking_is_antialiased():
    stripes = np.tile(np.array([0.0, 1.0]), (300, 150))  # one pixel wide: sampling points would give only 0s and 1s
    inside = resize(stripes, 30)[:, 1:-1]
    assert np.abs(inside - 0.5).max() < 0.03


def test_resize_by_hand():
    np.testing.assert_allclose(resize(np.array([[0.0, 1.0], [0.0, 1.0]]), 4)[0], [0, 0.25, 0.75, 1])
    assert resize(np.array([[0.2]]), 3).tolist() == np.full((3, 3), np.float32(0.2)).tolist()


@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40), elements=UNIT), st.integers(1, 50))
def test_bilinear_stays_in_range_and_does_not_write(image, size):
    image.flags.writeable = False
    square = resize(image, size)
    assert square.shape == (size, size) and square.dtype == np.float32 and square.flags.writeable
    assert image.min() - 1e-6 <= square.min() and square.max() <= image.max() + 1e-6


@given(hnp.arrays(np.float32, (4, 5, 5), elements=UNIT), st.floats(-1, 1), st.floats(0.01, 2))
def test_an_image_gives_the_same_bits_alone_and_in_a_batch(greys, mean, deviation):
    meta = {**default_meta(), "input_size": 5, "mean": mean, "deviation": deviation}
    batch = normalize(greys, meta)
    for i in range(4):
        assert np.array_equal(batch[i:i + 1], prepare(greys[i], meta))
    np.testing.assert_allclose(batch[..., 1], (greys.astype(np.float64) - mean) / deviation, rtol=1e-5, atol=1e-5)


def test_views_and_other_precisions():
    image = np.random.default_rng(1).random((40, 60))
    assert np.array_equal(resize(image.T, 16), resize(np.ascontiguousarray(image.T), 16))
    assert prepare(image, default_meta()).dtype == np.float32


@pytest.mark.parametrize("image, error", [
    (np.zeros((4, 4, 3)), ShapeError), (np.zeros(4), ShapeError), (np.zeros((0, 4)), ShapeError),
    (np.zeros((4, 4), np.uint8), DtypeError), (np.array([["a"]]), DtypeError)])
def test_bad_images(image, error):
    with pytest.raises(error, match="expected"):
        prepare(image, default_meta())


def test_bad_batches():
    with pytest.raises(ShapeError, match=r"\(4, 4\); expected \(N, H, W\)"):
        normalize(np.zeros((4, 4)), default_meta())
    with pytest.raises(DtypeError, match="uint8"):
        normalize(np.zeros((1, 4, 4), np.uint8), default_meta())


@pytest.mark.parametrize("key, value", [
    *(("input_size", value) for value in (0, -3, 227.0, "227", True, 10**9, None)),
    *(("resize", value) for value in ("linear", None, ["bilinear"])),
    *(("mean", value) for value in ("a", [1, 2], np.nan, None, {})),
    *(("deviation", value) for value in (0, [1, 1, -1], np.inf, [[1, 2, 3]]))])
def test_bad_meta_names_the_key(key, value):
    with pytest.raises(CheckpointError, match=rf"meta\['{key}'\] is .*; expected"):
        prepare(np.zeros((4, 4)), {**default_meta(), key: value})


@pytest.mark.parametrize("key", ["input_size", "resize", "mean", "deviation"])
def test_missing_key_is_named(key):
    meta = default_meta()
    del meta[key]
    with pytest.raises(LightnetError, match=f"meta has no '{key}'"):
        prepare(np.zeros((4, 4)), meta)
