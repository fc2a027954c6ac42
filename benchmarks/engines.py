"""One network in lightnet and in the engines that people install for a CPU, all called in the same way.

`make` gives for each name a function of an image batch, and that batch in the engine's own layout: nothing but the engine is
timed. All compute in float32, but for OpenVINO's second row.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

import lightnet as ln

PLAIN, FAST, COMPILED = "lightnet plain layers", "lightnet fast layers", "lightnet compiled"
ONNX, OPENVINO = "ONNX Runtime", "OpenVINO"


class Job(NamedTuple):
    """What to run."""

    net: ln.Graph
    images: list                                        # of batches (N, H, W, 3): in turn, a remembered answer would be wrong
    threads: int
    folder: Path                                        # for the files that engines read

    def nchw(self):
        """The batches as everybody else wants them."""
        return [np.ascontiguousarray(x.transpose(0, 3, 1, 2)) for x in self.images]

    def onnx(self):
        """The network as an ONNX file."""
        path = self.folder / "net.onnx"
        if not path.exists():
            ln.export_onnx(self.net, path)
        return path


def with_layers(net, backend):
    """lightnet's Graph, in one version of its layers."""
    ln.backend(backend).__exit__()                      # an error now, where Numba is missing

    def run(x):
        with ln.backend(backend):
            return net.forward(x)
    return run


def layers(backend):
    """The same, for `make`."""
    return lambda job: (with_layers(job.net, backend), job.images)


def compiled(job):
    return ln.compile(job.net, threads=job.threads), job.images


def pytorch(layout):
    """Eager; ``layout`` by its name in torch."""
    def make(job):
        import torch
        from torch_twin import Twin
        torch.set_num_threads(job.threads)
        layout_there = getattr(torch, layout)
        twin = Twin(job.net).eval().to(memory_format=layout_there)

        def run(x):
            with torch.inference_mode():
                return twin(x).numpy()
        return run, [torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(memory_format=layout_there) for x in job.images]
    return make


def onnx_runtime(job):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job.threads
    session = onnxruntime.InferenceSession(job.onnx(), options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"image": x})[0], job.nchw()


def openvino(**hints):
    """Without the hint f32 it computes in bfloat16 where the processor can: another computation, right to two or three digits."""
    def make(job):
        import openvino
        core, images = openvino.Core(), job.nchw()
        model = core.read_model(job.onnx())
        model.reshape(images[0].shape)
        settings = {"INFERENCE_NUM_THREADS": job.threads, "PERFORMANCE_HINT": "LATENCY", **hints}
        request = core.compile_model(model, "CPU", settings).create_infer_request()
        return lambda x: request.infer({0: x})[0], images
    return make


def ncnn(job):
    import ncnn
    import pnnx  # its converter, from PyTorch
    import torch
    from torch_twin import Twin
    images, path = job.nchw(), job.folder / "net.pt"
    pnnx.export(Twin(job.net).eval(), str(path), (torch.from_numpy(images[0][:1]),), fp16=False)
    net = ncnn.Net()
    net.opt.num_threads = job.threads
    for half in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
        setattr(net.opt, f"use_{half}", False)
    net.load_param(str(path.with_suffix(".ncnn.param")))
    net.load_model(str(path.with_suffix(".ncnn.bin")))

    def run(x):                                         # it knows single images only
        logits = []
        for image in x:
            extractor = net.create_extractor()
            extractor.input("in0", ncnn.Mat(image))
            logits.append(np.array(extractor.extract("out0")[1]))
        return np.stack(logits)
    return run, images


def litert(job):
    import litert_torch  # its converter, from PyTorch
    import torch
    from ai_edge_litert.interpreter import Interpreter
    from torch_twin import Twin
    images, path = job.nchw(), job.folder / "net.tflite"
    litert_torch.convert(Twin(job.net).eval(), (torch.from_numpy(images[0]),)).export(str(path))
    interpreter = Interpreter(str(path), num_threads=job.threads)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def run(x):
        interpreter.set_tensor(source, x)
        interpreter.invoke()
        return interpreter.get_tensor(target)
    return run, images


ENGINES = {COMPILED: compiled, FAST: layers("numba"), PLAIN: layers("numpy"),
           OPENVINO: openvino(INFERENCE_PRECISION_HINT="f32"), "OpenVINO, its own choice": openvino(), ONNX: onnx_runtime,
           "PyTorch NCHW": pytorch("contiguous_format"), "PyTorch channels-last": pytorch("channels_last"),
           "ncnn": ncnn, "LiteRT": litert}
