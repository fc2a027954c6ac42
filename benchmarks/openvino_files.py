"""Classify a folder with OpenVINO in throughput mode: what benchmarks/throughput.py runs against ``lightnet predict``.

    python benchmarks/openvino_files.py FOLDER --model NET.onnx --csv FILE

Files are found, read and prepared by lightnet's own functions, in this thread, while OpenVINO's threads infer those before.
"""

import argparse
import csv

import numpy as np
import openvino

from lightnet.data.images import list_images, read_image
from lightnet.data.prepare import default_meta, prepare
from lightnet.losses import softmax

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder")
parser.add_argument("--model", required=True)
parser.add_argument("--csv", required=True)
options = parser.parse_args()

core = openvino.Core()
model = core.read_model(options.model)
model.reshape([1, 3, 227, 227])
# f32: without it, it computes in bfloat16 where the processor can, which is another computation.
compiled = core.compile_model(model, "CPU", {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "f32"})
queue, files, meta = openvino.AsyncInferQueue(compiled), list(list_images([options.folder])), default_meta()
scores = np.empty(len(files))


def keep(request, number):
    scores[number] = softmax(request.get_output_tensor(0).data)[0, 1]


queue.set_callback(keep)
for number, file in enumerate(files):
    x = prepare(read_image(file), meta)
    queue.start_async({0: np.ascontiguousarray(x.transpose(0, 3, 1, 2))}, number)      # waits while all requests are at work
queue.wait_all()
with open(options.csv, "w", newline="") as out:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["file", "label", "p_covid"])
    writer.writerows([file, "COVID" if p >= 0.5 else "non-COVID", f"{p:.9g}"] for file, p in zip(files, scores))
