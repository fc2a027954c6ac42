"""Saving and loading: what comes back is what was there, or an error that names the file."""

import json
import zipfile

import numpy as np
import pytest
from test_graph import Times, small_net

import lightnet as ln


@pytest.fixture
def saved(tmp_path):
    return save_in(tmp_path)


def save_in(folder):
    """(network, file)"""
    net = small_net()
    net.meta["note"] = "kept"
    net.forward(np.random.default_rng(0).standard_normal((2, 6, 6, 2)), training=True)     # moves the running statistics
    ln.save(net, folder / "net.npz")
    return net, folder / "net.npz"


def test_numbers_of_numpy_are_kept_and_what_json_has_not_is_named(tmp_path):
    net = ln.Graph((4, 4, 3), meta={"mean": np.float32(0.5), "sides": np.arange(2)})
    net.add("fc", ln.layers.Dense(np.int64(48), 2), net.add("flat", ln.layers.Flatten(), "image"))
    ln.save(net, tmp_path / "a.npz")
    again = ln.load(tmp_path / "a.npz")
    assert again.meta == {"mean": 0.5, "sides": [0, 1]} and again.nodes["fc"].layer.config == net.nodes["fc"].layer.config
    net.meta["file"] = tmp_path
    with pytest.raises(ln.ArgumentError, match="cannot be kept"):
        ln.save(net, tmp_path / "a.npz")
    assert ln.load(tmp_path / "a.npz").meta == again.meta


def test_everything_comes_back(saved):
    net, path = saved
    back = ln.load(path)
    x = np.random.default_rng(1).standard_normal((2, 6, 6, 2)).astype(np.float32)
    assert np.array_equal(back.forward(x), net.forward(x))
    assert list(back.nodes) == list(net.nodes) and back.meta == net.meta and back.summary() == net.summary()
    for kind in ("params", "state"):
        for name, array in getattr(net, kind).items():
            assert np.array_equal(array, getattr(back, kind)[name])
    assert [path.name for path in path.parent.iterdir()] == ["net.npz"]


def test_size_rule_and_precision_come_back(tmp_path):
    ln.save(ln.models.light_cnn(seed=0).astype("float64"), tmp_path / "net.npz")
    back = ln.load(tmp_path / "net.npz")
    assert back.dtype == np.float64
    with pytest.raises(ln.ShapeError, match="129"):
        back.forward(np.zeros((1, 128, 128, 3)))


def test_own_layers_are_admitted_by_name_only(tmp_path):
    g = ln.Graph(input_shape=(1, 1, 1))
    g.add("a", Times(5), "image")
    ln.save(g, tmp_path / "net.npz")
    with pytest.raises(ln.CheckpointError, match=r"layers=\[Times\]"):
        ln.load(tmp_path / "net.npz")
    back = ln.load(tmp_path / "net.npz", layers=[Times])
    assert back.params["a.factor"] == 5 and back.nodes["a"].layer.factor == 5


def rewrite(path, change):
    """Write the file again with its arrays changed."""
    with np.load(path) as arrays:
        arrays = {name: arrays[name] for name in arrays.files}
    change(arrays)
    np.savez(path, **arrays)


def drop(arrays):
    del arrays["params/fc.bias"]


def extra(arrays):
    arrays["params/other"] = np.zeros(3)


def reshape(arrays):
    arrays["params/fc.bias"] = np.zeros(4, np.float32)


def text(arrays):
    arrays["params/fc.bias"] = np.array(["a", "b", "c"])


def newer(arrays):
    arrays["graph"] = np.array(str(arrays["graph"]).replace('"format": 1', '"format": 2'))


def no_json(arrays):
    arrays["graph"] = np.array("{")


def no_graph(arrays):
    del arrays["graph"]


def rewired(arrays):
    description = json.loads(str(arrays["graph"]))
    description["nodes"][0][3] = ["nothing"]
    arrays["graph"] = np.array(json.dumps(description))


def objects(arrays):
    arrays["params/fc.bias"] = np.array([print, print, print], dtype=object)


@pytest.mark.parametrize("change", [drop, extra, reshape, text, newer, no_json, no_graph, rewired, objects])
def test_wrong_content(saved, change):
    _, path = saved
    rewrite(path, change)
    with pytest.raises(ln.CheckpointError, match=r"net\.npz"):
        ln.load(path)


def test_damaged_bytes_never_load_as_other_values(saved):
    net, path = saved
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(150):
        data = bytearray(good)
        for _ in range(rng.integers(1, 4)):
            where = int(rng.integers(len(data)))
            data[where:where + int(rng.integers(0, 3))] = rng.bytes(int(rng.integers(0, 3)))
        if rng.random() < 0.2:
            del data[int(rng.integers(len(data))):]
        path.write_bytes(data)
        try:
            back = ln.load(path)
        except ln.CheckpointError as error:
            assert "net.npz" in str(error)
        else:
            assert all(np.array_equal(array, back.params[name]) for name, array in net.params.items())


def test_a_header_that_promises_less_is_noticed(saved):
    """NumPy alone would read half of the array and never come to its checksum."""
    _, path = saved
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    name = "params/fc.weight.npy"
    data = path.read_bytes().replace(members[name], members[name].replace(b"(4, 3)", b"(2, 3)"))
    assert data != path.read_bytes()
    path.write_bytes(data)
    with pytest.raises(ln.CheckpointError, match="checksum"):
        ln.load(path)


@pytest.mark.parametrize("content", [b"", b"PK", b"text\n", b"\x93NUMPY"])
def test_no_model_file(tmp_path, content):
    (tmp_path / "net.npz").write_bytes(content)
    with pytest.raises(ln.CheckpointError, match=r"net\.npz"):
        ln.load(tmp_path / "net.npz")


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(ln.CheckpointError, match="no such file"):
        ln.load(tmp_path / "none.npz")
    with pytest.raises(ln.CheckpointError, match=r"a folder; expected a file in it, such as .*model\.npz"):
        ln.load(tmp_path)
    with pytest.raises(ln.CheckpointError, match="no such file or model; expected .*, or cnn-1, cnn-2"):
        ln.load("cnn-3")
    (tmp_path / "file").write_text("")
    with pytest.raises(ln.FileError, match="cannot be written"):
        ln.save(small_net(), tmp_path / "file" / "net.npz")
