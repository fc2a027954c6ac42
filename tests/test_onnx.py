"""ONNX both ways, batch norm folded, and files that are damaged or hostile."""

import subprocess
import sys
import unittest
import warnings
from pathlib import Path

import numpy as np
import pytest

import lightnet as ln
from lightnet.interop import read_weights
from lightnet.interop.onnx_export import to_model
from lightnet.interop.onnx_layers import LeakyReLU, Softmax
from lightnet.layers import (
    ELU,
    Add,
    AvgPool2D,
    BatchNorm2D,
    Concat,
    Conv2D,
    ConvTranspose2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    MaxPool2D,
    ReLU,
)
from lightnet.transform import fold_batch_norm

onnx = pytest.importorskip("onnx")

HERE = Path(__file__).parent
NOT_PASSING = {"test_averagepool_2d_dilations_cpu", "test_maxpool_2d_dilations_cpu"}           # docs/onnx.md says why
PREFIXES = ("basic_conv_", "conv_with_", "convtranspose_", "batchnorm_", "elu", "relu", "maxpool_2d_", "globalaveragepool",
            "averagepool_2d_", "concat_2d_", "concat_3d_", "gemm_", "matmul_2d", "softmax_", "add", "dropout_default", "flatten_")
ELSEWHERE = "expanded", "uint", "int8", "int16", "_1d", "convtranspose_3d"      # other types, other numbers of axes


def chain(*layers, input_shape=(9, 9, 3)):
    g, x = ln.Graph(input_shape), "image"
    for k, layer in enumerate(layers):
        x = g.add(f"n{k}", layer, x)
    return shaken(g)


def shaken(net):
    """No parameter and no statistic as it started: one that is dropped would not show."""
    rng = np.random.default_rng(0)
    for name, array in [*net.params.items(), *net.state.items()]:
        array[...] = rng.random(array.shape) + 0.5 if name.endswith(("var", "scale")) else rng.standard_normal(array.shape) * 0.3
    return net


def branches():
    g = ln.Graph((12, 12, 3))
    g.add("conv", Conv2D(3, 4, 3, padding=((1, 0), (2, 1)), seed=0), "image")
    g.add("elu", ELU(0.7), "conv")
    g.add("up", ConvTranspose2D(4, 4, 2, stride=1, padding=((0, 0), (0, 1)), seed=1), "elu")
    g.add("same", Conv2D(4, 4, (2, 1), padding=((1, 1), (0, 0)), seed=2), "elu")
    g.add("sum", Add(), "up", "same", "up")
    g.add("both", Concat(), "sum", "up")
    g.add("mean", GlobalAvgPool(), "both")
    g.add("leaky", LeakyReLU(0.2), "mean")
    g.add("fc", Dense(8, 3, seed=3), "leaky")
    return shaken(g)


NETS = {
    "light_cnn": lambda: shaken(ln.models.light_cnn(seed=0)),
    "squeezenet": lambda: shaken(ln.models.squeezenet("complex", "custom", 5, seed=0)),
    "branches": branches,
    "flatten": lambda: chain(Conv2D(3, 4, 3, stride=2, seed=0), ReLU(), MaxPool2D(2, 2, ceil_mode=True), Flatten(),
                             Dense(16, 7, seed=1), Dropout(0.3), Dense(7, 2, seed=2)),
    "mlp": lambda: chain(Flatten(), Dense(243, 6, seed=1), ReLU(), Dense(6, 2, seed=2)),
    "pools": lambda: chain(AvgPool2D(3, 2, padding=1, count_include_pad=True), AvgPool2D(2, 2, ceil_mode=True), BatchNorm2D(3),
                           GlobalAvgPool(), Softmax()),
    "transposed": lambda: chain(ConvTranspose2D(3, 5, (3, 2), (2, 3), ((1, 0), (0, 1)), (1, 2), seed=0), BatchNorm2D(5)),
}


def image(net, N=2):
    return np.random.default_rng(1).standard_normal((N, *net.input_shape), dtype=np.float32)


@pytest.mark.parametrize("name", NETS)
def test_there_and_back(name, tmp_path):
    """The checker finds it right; ONNX's own evaluator and the import compute the same; names, meta and gradients stay."""
    from onnx.reference import ReferenceEvaluator
    net, path = NETS[name](), tmp_path / "net.onnx"
    if name in ("light_cnn", "squeezenet"):
        net.input_shape = (65, 65, 3) if name == "squeezenet" else (33, 33, 3)          # the evaluator is slow
    net.meta["class_names"] = ["a", "b"]
    ln.export_onnx(net, path)
    onnx.checker.check_model(str(path), full_check=True)
    x = image(net)
    y = net.forward(x)
    (theirs,) = ReferenceEvaluator(str(path)).run(None, {"image": x.transpose(0, 3, 1, 2).copy()})
    theirs = np.moveaxis(theirs, 1, -1)
    back = ln.import_onnx(path)
    assert list(back.nodes) == list(net.nodes) and back.meta == net.meta and back.sizes == net.sizes
    scale = np.abs(y).max()
    np.testing.assert_allclose(theirs, y, atol=1e-4 * scale)
    np.testing.assert_allclose(back.forward(x), y, atol=1e-5 * scale)
    for one in (net, back):
        for node in one.nodes.values():
            if isinstance(node.layer, Dropout):
                node.layer.rate = 0.0
    dy = np.random.default_rng(2).standard_normal(net.forward(x, training=True).shape, dtype=np.float32)
    dx = net.backward(dy)
    back.forward(x, training=True)
    np.testing.assert_allclose(back.backward(dy), dx, atol=1e-3 * np.abs(dx).max())
    for key, gradient in net.grads.items():
        assert back.grads[key].shape == gradient.shape


def test_float64_and_softmax(tmp_path):
    net, path = branches().astype("float64"), tmp_path / "net.onnx"
    ln.export_onnx(net, path, softmax=True)
    back, x = ln.import_onnx(path), image(net)
    assert back.dtype == np.float64
    np.testing.assert_allclose(back.forward(x), ln.softmax(net.forward(x)), rtol=1e-7)       # ONNX has alpha in float32


@pytest.mark.parametrize("name", ["light_cnn", "pools", "transposed"])
def test_batch_norm_is_folded_where_it_is_legal(name):
    net = NETS[name]()
    net.input_shape = (33, 33, 3) if name == "light_cnn" else net.input_shape
    before = {key: array.copy() for key, array in net.params.items()}
    folded, x = fold_batch_norm(net), image(net)
    kinds = [type(node.layer) for node in folded.nodes.values()]
    assert (BatchNorm2D in kinds) == (name == "pools")
    y = net.forward(x)
    np.testing.assert_allclose(folded.forward(x), y, atol=1e-5 * np.abs(y).max())
    assert all(np.array_equal(net.params[key], array) for key, array in before.items())
    assert "BatchNormalization" not in {node.op_type for node in to_model(net, fold=True).graph.node} or name == "pools"


def test_a_batch_norm_whose_convolution_has_another_reader_stays():
    g = ln.Graph((5, 5, 3))
    g.add("conv", Conv2D(3, 3, 1, seed=0), "image")
    g.add("norm", BatchNorm2D(3), "conv")
    g.add("sum", Add(), "conv", "norm")
    assert list(fold_batch_norm(g).nodes) == ["conv", "norm", "sum"]


@pytest.mark.parametrize("layer", [Softmax(), LeakyReLU(0.3)], ids=str)
def test_the_two_further_layers_keep_the_contract(layer):
    report = ln.check_layer(layer, (3, 5))
    assert report, report


def test_onnx_node_tests():
    """All but those in NOT_PASSING pass, and those do not: a list that has grown or shrunk must be written down."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                             # ONNX's own cases overflow on purpose
        import onnx.backend.test

        from lightnet.interop.onnx_backend import Backend
        tests = unittest.TestSuite()
        for case in onnx.backend.test.BackendTest(Backend, __name__).test_cases.values():
            for test in unittest.defaultTestLoader.loadTestsFromTestCase(case):
                name = test.id().split(".")[-1]
                if name.endswith("_cpu") and name.startswith(tuple(f"test_{prefix}" for prefix in PREFIXES)) and not any(
                        word in name for word in ELSEWHERE):
                    tests.addTest(test)
        result = unittest.TestResult()
        tests.run(result)
    assert result.testsRun >= 85
    found = result.failures + result.errors + result.skipped
    assert {test.id().split(".")[-1] for test, _ in found} == NOT_PASSING, found


# Models that PyTorch wrote

def runs_and_trains(path, images, wanted):
    net = ln.import_onnx(path)
    np.testing.assert_allclose(net.forward(images), wanted, atol=1e-5 * np.abs(wanted).max())
    for node in net.nodes.values():
        if isinstance(node.layer, Dropout):
            node.layer.rate = 0.0
    loss, dlogits = ln.softmax_cross_entropy(net.forward(images, training=True), [0, 1])
    net.backward(dlogits)
    ln.SGD(net, lr=1e-3).step()
    assert ln.softmax_cross_entropy(net.forward(images, training=True), [0, 1])[0] < loss


@pytest.mark.parametrize("opset", [9, 13, 17])
@pytest.mark.parametrize("name", ["SqueezeNet 1.1", "ResNet-18", "flat"])
def test_what_pytorch_exports_is_imported_and_trains(name, opset, tmp_path):
    torch, models = pytest.importorskip("torch"), pytest.importorskip("torch_models")
    torch.manual_seed(0)
    model, x = models.MODELS[name]().eval(), torch.randn(2, 3, 48, 48)
    models.write(model, x, tmp_path / "model.onnx", opset)
    runs_and_trains(tmp_path / "model.onnx", x.permute(0, 2, 3, 1).numpy(), model(x).detach().numpy())


def test_what_pytorch_exported_once():
    """The same without PyTorch: torch_models.py wrote the file."""
    recorded = np.load(HERE / "torch_model.npz")
    runs_and_trains(HERE / "torch_model.onnx", recorded["x"], recorded["y"])


def test_a_state_dict_loads_into_squeezenet_by_name(tmp_path):
    torch, models = pytest.importorskip("torch"), pytest.importorskip("torch_models")
    safetensors, path = pytest.importorskip("safetensors.torch"), tmp_path / "squeezenet.safetensors"
    torch.manual_seed(0)
    model, x = models.SqueezeNet().eval(), torch.randn(2, 3, 65, 65)
    safetensors.save_file(model.state_dict(), path)
    net = ln.models.squeezenet(seed=1)
    assert len(ln.models.load_imagenet(net, path)) == 52
    wanted = model(x).detach().numpy()
    np.testing.assert_allclose(net.forward(x.permute(0, 2, 3, 1).numpy()), wanted, atol=1e-5 * np.abs(wanted).max())


def channels_first(net):
    """The model with its Flatten as other libraries write it: right behind NCHW."""
    model = to_model(net)
    transpose, flatten = (next(node for node in model.graph.node if node.op_type == kind) for kind in ("Transpose", "Flatten"))
    flatten.input[0] = transpose.input[0]
    model.graph.node.remove(transpose)
    return model


def test_an_activation_between_a_flattened_image_and_a_product(tmp_path):
    from onnx.reference import ReferenceEvaluator
    net, path = chain(Conv2D(3, 4, 3, seed=0), Flatten(), ReLU(), Dense(196, 2, seed=1)), tmp_path / "net.onnx"
    path.write_bytes(channels_first(net).SerializeToString())
    x = image(net)
    (wanted,) = ReferenceEvaluator(str(path)).run(None, {"image": x.transpose(0, 3, 1, 2).copy()})
    np.testing.assert_allclose(ln.import_onnx(path).forward(x), wanted, rtol=1e-4, atol=1e-5)


def test_an_image_in_a_row_is_no_output(tmp_path):
    (tmp_path / "net.onnx").write_bytes(channels_first(chain(Conv2D(3, 4, 3, seed=0), Flatten())).SerializeToString())
    with pytest.raises(ln.CheckpointError, match="channels first; here pixels come first"):
        ln.import_onnx(tmp_path / "net.onnx")


def test_a_node_that_is_called_as_the_output_will_be(tmp_path):
    net = ln.Graph((9, 9, 3))
    net.add("probabilities", ReLU(), net.add("logits", GlobalAvgPool(), "image"))
    with pytest.raises(ln.GraphError, match="'logits': the output is called so"):
        ln.export_onnx(net, tmp_path / "net.onnx")


# Damaged and hostile files

def small(tmp_path, change=lambda model: None):
    model, path = to_model(chain(Conv2D(3, 4, 3, seed=0), Flatten(), Dense(196, 2, seed=1))), tmp_path / "small.onnx"
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def external(location):
    def change(model):
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
    return change


def inserted(*nodes):
    """More nodes behind the first one, n0; what read n0 reads the last of them. c1 and c2 are constants."""
    def change(model):
        ones = np.ones((4, 1, 1), np.float32)
        model.graph.initializer.extend(onnx.numpy_helper.from_array(ones, name) for name in ("c1", "c2"))
        model.graph.node[1].input[0] = nodes[-1][2]
        for place, (kind, inputs, output) in enumerate(nodes, start=1):
            model.graph.node.insert(place, onnx.helper.make_node(kind, inputs, [output], output))
    return change


HOSTILE = {
    "an output that no node makes": (lambda m: setattr(m.graph.output[0], "name", "nothing"), "'nothing' is computed by no node"),
    "sizes that are none": (lambda m: setattr(m.metadata_props[0], "value", '{"sizes": [1]}'), "TypeError"),
    "two constants in a sum": (inserted(("Sum", ["n0", "c1", "c2"], "s")), "3 inputs and 2 of them constant"),
    "a bias for one of two": (inserted(("Identity", ["n0"], "d"), ("Add", ["d", "c1"], "s"), ("Add", ["s", "n0"], "t")),
                              "only a bias"),
    "an unknown operator": (lambda m: setattr(m.graph.node[0], "op_type", "Einsum"), r"node 'n0' \(Einsum\).*no operator"),
    "another domain": (lambda m: setattr(m.graph.node[0], "domain", "com.example"), "no operator"),
    "groups": (lambda m: m.graph.node[0].attribute.add(name="group", i=3, type=2), "group 3 is not supported"),
    "a missing weight": (lambda m: m.graph.initializer.pop(0), "made by no earlier node"),
    "a circle": (lambda m: m.graph.node[0].input.__setitem__(0, "logits"), "circle|node"),
    "huge sides": (lambda m: m.graph.initializer[0].dims.__setitem__(0, 2**40), "cannot be read"),
    "a negative side": (lambda m: m.graph.initializer[0].dims.__setitem__(0, -4), "negative"),
    "fewer bytes than sides": (lambda m: setattr(m.graph.initializer[0], "raw_data", b"1234"), "cannot be read"),
    "data outside the folder": (external("../../etc/passwd"), "outside the model's folder"),
    "data at an absolute place": (external("/etc/passwd"), "outside the model's folder"),
    "data that is not there": (external("weights.bin"), "no such file"),
    "an old opset": (lambda m: setattr(m.opset_import[0], "version", 3), "opset 3"),
    "no nodes": (lambda m: m.graph.ClearField("node"), "no node"),
    "two outputs": (lambda m: m.graph.output.add(name="n0"), "2 outputs"),
    "an open size": (lambda m: m.graph.input[0].type.tensor_type.shape.dim[2].Clear(), "input_shape"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused(name, tmp_path):
    change, message = HOSTILE[name]
    path = small(tmp_path, change)
    with pytest.raises(ln.CheckpointError, match=message) as caught:
        ln.import_onnx(path)
    assert str(path) in str(caught.value)


def test_a_truncated_or_damaged_file_never_ends_in_another_error(tmp_path):
    whole, rng = small(tmp_path).read_bytes(), np.random.default_rng(0)
    for k in range(60):
        data = bytearray(whole)
        if k % 2:
            data = data[:rng.integers(0, len(data))]
        else:
            data[rng.integers(0, min(len(data), 600))] = rng.integers(0, 256)
        path = tmp_path / "damaged.onnx"
        path.write_bytes(data)
        try:
            ln.import_onnx(path)
        except ln.CheckpointError:
            pass
    with pytest.raises(ln.CheckpointError, match="no such file"):
        ln.import_onnx(tmp_path / "missing.onnx")


def test_a_layer_of_ones_own_is_not_exported(tmp_path):
    class Mine(ReLU):
        pass
    with pytest.raises(ln.GraphError, match="'n0' is a Mine"):
        ln.export_onnx(chain(Mine()), tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


# Weights in other formats

def test_weights_of_three_formats_are_the_same(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    arrays = {"conv1.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(2, np.float32)}
    np.savez(tmp_path / "a.npz", **arrays)
    safetensors.save_file(arrays, tmp_path / "a.safetensors")
    (tmp_path / "folder").mkdir()
    for name, array in arrays.items():
        np.save(tmp_path / "folder" / f"{name}.npy", array)
    for path in ("a.npz", "a.safetensors", "folder"):
        found = read_weights(tmp_path / path)
        assert found.keys() == arrays.keys() and all(np.array_equal(found[name], array) for name, array in arrays.items())
    (tmp_path / "a.safetensors").write_bytes(b"no safetensors")
    (tmp_path / "folder" / "b.npy").write_bytes(b"no array")
    for path in ("a.safetensors", "folder", "missing.npz"):
        with pytest.raises(ln.CheckpointError):
            read_weights(tmp_path / path)


@pytest.mark.parametrize("name, call", [("onnx", "ln.export_onnx(ln.models.light_cnn(), 'n.onnx')"),
                                        ("onnx", "ln.import_onnx('n.onnx')"),
                                        ("safetensors", "ln.interop.read_weights('n.safetensors')")])
def test_without_the_optional_packages_it_says_what_to_install(name, call):
    code = f"import sys; sys.modules[{name!r}] = None\nimport lightnet as ln\ntry: {call}\nexcept ln.BackendError as e: print(e)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install -e '.[onnx]'" in done.stdout, done.stderr
