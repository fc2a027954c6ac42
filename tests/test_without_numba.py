"""Where Numba cannot be imported, everything but the speed still works."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BLOCKED = """
import sys
sys.modules["numba"] = None
import numpy as np
import lightnet as ln
net = ln.models.light_cnn(seed=0)
x = np.random.default_rng(0).standard_normal((2, 33, 33, 3)).astype(np.float32)
_, dlogits = ln.softmax_cross_entropy(net.forward(x, training=True), [0, 1])
net.backward(dlogits)
ln.SGD(net, lr=0.01).step()
np.testing.assert_allclose(ln.compile(net)(x), net.forward(x), rtol=1e-4, atol=1e-5)
ln.backend("numpy")
try:
    ln.backend("numba")
except ln.BackendError as error:
    print("refused:", error)
"""


def python(code, **environment):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment})


def test_training_step_and_inference_without_numba():
    done = python(BLOCKED)
    assert done.returncode == 0, done.stderr
    assert "refused" in done.stdout and "pip install numba" in done.stdout


def test_importing_lightnet_loads_neither_numba_nor_matplotlib():
    done = python("import sys, lightnet; print([name for name in ('numba', 'matplotlib', 'skopt') if name in sys.modules])")
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.skipif(os.environ.get("LIGHTNET_WITHOUT_NUMBA") == "1", reason="this is that run")
def test_the_suite_passes_without_numba():
    """All of it but the slow tests, those of rooms that know no layer, and the search: its minutes are the surrogate's."""
    root = Path(__file__).parents[1]
    elsewhere = [f"--ignore=tests/test_{room}.py" for room in ("phantom", "images", "prepare", "covid_ct", "augment",
                                                             "metrics", "plots", "examples", "resume")]
    done = subprocess.run([sys.executable, "-m", "pytest", "-m", "not slow", "-k", "not search", "-n", "0", *elsewhere],
                          capture_output=True, text=True, cwd=root, env={**os.environ, "LIGHTNET_WITHOUT_NUMBA": "1"})
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
