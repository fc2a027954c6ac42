"""Classify image files without lightnet, as a user of ONNX Runtime would: what benchmarks/inference.py takes the memory of.

    python benchmarks/onnxruntime_script.py MODEL.onnx FILE...
"""

import sys

import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
print("file,label,p_covid")
for file in sys.argv[2:]:
    grey = np.asarray(Image.open(file).convert("F").resize((227, 227), Image.Resampling.BILINEAR)) / 255
    x = np.ascontiguousarray(np.broadcast_to(grey, (1, 3, 227, 227)), np.float32)
    other, covid = session.run(None, {"image": x})[0][0]
    p = 1 / (1 + np.exp(other - covid))
    print(f"{file},{'COVID' if p >= 0.5 else 'non-COVID'},{p:.9g}")
