"""The synthetic slices: their files, and that only a lung's texture and shapes tell the classes apart."""
import io

import numpy as np
import pytest
from PIL import Image

from lightnet.data import phantom
from lightnet.errors import DatasetError

TRAIN, UNSEEN = 240, 280
# The bar is 0.65. By chance alone 280 slices give 0.5 +- 0.03, so 0.6 is 3.3 deviations off and still below the bar.
AT_MOST = 0.6


def _slices(count, seed):
    """8-bit slices (H, W) and their labels, drawn as `phantom.write` draws them."""
    rngs = np.random.default_rng(seed).spawn(count)
    labels = np.arange(count) % 2
    return [np.rint(255 * phantom.draw(rng, label)).astype(np.uint8) for rng, label in zip(rngs, labels)], labels


@pytest.fixture(scope="module")
def train():
    return _slices(TRAIN, seed=11)


@pytest.fixture(scope="module")
def unseen():
    return _slices(UNSEEN, seed=12)


def _file_facts(image):
    """What is known of a slice without its pixels."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return [*image.shape, file.tell(), file.tell() / image.size]


def _histogram(image):
    return np.histogram(image, bins=64, range=(0, 256))[0] / image.size


def _border(image):
    """The outer six pixels of a 48x48 picture: pose and surroundings, no lung."""
    small = np.asarray(Image.fromarray(image).resize((48, 48))) / 255
    return np.concatenate([small[:6].ravel(), small[-6:].ravel(), small[6:-6, :6].ravel(), small[6:-6, -6:].ravel()])


def _accuracies(features, train, unseen):
    """Test accuracy of a random forest and of a logistic regression on `features` of the slices."""
    ensemble = pytest.importorskip("sklearn.ensemble")
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    (x, y), (x_test, y_test) = [(np.array([features(image) for image in images]), y) for images, y in (train, unseen)]
    forest = ensemble.RandomForestClassifier(200, random_state=0)
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    return [model.fit(x, y).score(x_test, y_test) for model in (forest, linear)]


@pytest.mark.parametrize("features", [_file_facts, _histogram, _border])
def test_without_texture_a_classifier_guesses(features, train, unseen):
    assert max(_accuracies(features, train, unseen)) <= AT_MOST


def test_the_histogram_classifiers_can_learn(train, unseen):
    """Planted: were one class a little brighter, the classifiers of the test above would see it."""
    def brighten(images, labels):
        return [np.minimum(image.astype(int) + 20 * label, 255) for image, label in zip(images, labels)], labels
    assert min(_accuracies(_histogram, brighten(*train), brighten(*unseen))) > 0.75


def test_the_histogram_classifiers_can_see_more_disease(monkeypatch):
    """Planted: were the opaque part of the lungs larger in one class, they would see that too."""
    curve = phantom._opacity_curve

    def slices(seed, count=120):
        images, labels = [], np.arange(count) % 2
        for rng, label in zip(np.random.default_rng(seed).spawn(count), labels):
            monkeypatch.setattr(phantom, "_opacity_curve", curve if label else lambda rng: ([0, 0.9, 1], [0, 0.08, 1]))
            images.append(np.rint(255 * phantom.draw(rng, label)).astype(np.uint8))
        return images, labels
    assert max(_accuracies(_histogram, slices(1), slices(2))) > 0.75


def test_slices_are_grey_images_in_range():
    for seed in range(20):
        image = phantom.draw(np.random.default_rng(seed), seed % 2)
        height, width = image.shape
        assert image.dtype == np.float32 and np.isfinite(image).all()
        assert 240 <= width <= 360 and 0.79 * width <= height <= width
        assert 0 <= image.min() < 0.35 and 0.8 < image.max() <= 1


def test_the_same_generator_state_draws_the_same_slice():
    first, again, other = (phantom.draw(np.random.default_rng(seed), 1) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other)


def test_bodies_are_alike():
    """The class is not drawn before the body, so one state gives both classes the very same body and pose."""
    for seed in range(5):
        no, yes = (phantom.draw(np.random.default_rng(seed), label) for label in (0, 1))
        assert no.shape == yes.shape


def test_body_sizes_agree(train):
    """Standard errors apart, both classes' bodies fill the same part of the frame."""
    images, labels = train
    filled = np.array([np.mean(image > 128) for image in images])
    no, yes = filled[labels == 0], filled[labels == 1]
    error = np.sqrt(no.var() / len(no) + yes.var() / len(yes))
    assert abs(no.mean() - yes.mean()) < 3.5 * error
    assert filled.std() > 0.02                                  # and they do vary


def test_write_gives_balanced_labelled_files(tmp_path):
    paths = phantom.write(tmp_path / "new" / "set", 6, seed=0)
    assert sorted(paths) == sorted((tmp_path / "new" / "set").rglob("*.*"))          # nothing partial is left
    assert [path.parent.name for path in paths] == ["non-COVID", "COVID"] * 3
    names = [{path.name for path in paths[label::2]} for label in (0, 1)]
    assert names[0] == names[1]                                 # the number says nothing of the class
    for i, path in enumerate(paths):
        with Image.open(path) as image:
            assert image.format == "PNG" and image.mode == "L"
            assert image.text == {"Comment": "synthetic slice drawn by lightnet.data.phantom; not a patient"}
            drawn = phantom.draw(np.random.default_rng(0).spawn(6)[i], i % 2)
            assert np.array_equal(np.asarray(image), np.rint(255 * drawn).astype(np.uint8))


def test_write_repeats_itself(tmp_path):
    once, again, more, other = (phantom.write(tmp_path / name, count, seed)
                                for name, count, seed in (("a", 4, 5), ("b", 4, 5), ("c", 5, 5), ("d", 4, 6)))
    contents = [[path.read_bytes() for path in paths] for paths in (once, again, more, other)]
    assert contents[0] == contents[1] == contents[2][:4]
    assert not set(contents[0]) & set(contents[3])
    phantom.write(tmp_path / "a", 4, seed=6)                    # the same names: replaced
    assert [path.read_bytes() for path in once] == contents[3]


@pytest.mark.parametrize("count", [1, 0, -3, 2.5])
def test_too_few_slices(tmp_path, count):
    with pytest.raises(DatasetError, match="count"):
        phantom.write(tmp_path, count, seed=0)


def test_unknown_label():
    with pytest.raises(DatasetError, match="label is 2"):
        phantom.draw(np.random.default_rng(0), 2)


def test_two_sets_do_not_mix(tmp_path):
    phantom.write(tmp_path, 4, seed=0)
    with pytest.raises(DatasetError, match=r"slice-0001\.png.*empty the folder"):
        phantom.write(tmp_path, 2, seed=1)
    (tmp_path / "COVID" / "below").mkdir()
    (tmp_path / "COVID" / "below" / "a.jpg").touch()
    with pytest.raises(DatasetError, match=r"a\.jpg.*empty the folder"):       # all that `read_folder` would take for a slice
        phantom.write(tmp_path, 4, seed=0)


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DatasetError, match="file.*choose a folder"):
        phantom.write(tmp_path / "file", 2, seed=0)
