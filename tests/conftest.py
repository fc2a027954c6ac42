"""What all tests share.

``LIGHTNET_WITHOUT_NUMBA=1 python -m pytest`` runs them as if Numba were not installed.
"""

import os
import sys

collect_ignore = ["torch_fixture.py", "torch_models.py"]            # scripts that need PyTorch
WITHOUT_NUMBA = os.environ.get("LIGHTNET_WITHOUT_NUMBA") == "1"
if WITHOUT_NUMBA:
    sys.modules["numba"] = None                 # importing it now raises ImportError
    collect_ignore += ["test_ahead.py", "test_fast.py", "test_guard_pages.py", "test_kernels.py"]

import numpy as np  # noqa: E402 - after Numba is blocked
import pytest  # noqa: E402

import lightnet as ln  # noqa: E402
from lightnet.kernels import memory  # noqa: E402

ln.set_num_threads(1)                           # the tests' arrays are small, and the machine may have other work


def pytest_collection_modifyitems(items):
    """The suite without Numba, a test of minutes, goes first: then everything else goes on beside it."""
    items.sort(key=lambda item: item.path.name != "test_without_numba.py")


@pytest.fixture(autouse=True)
def memory_is_filled(monkeypatch):
    """With NaN, or the largest integer: what is read before it is written is then never right by chance. (It may well be what the
    same computation left there a moment ago.)
    """
    def filled(shape, dtype=np.float32):
        array = empty(shape, dtype)
        array.fill(np.nan if array.dtype.kind == "f" else np.iinfo(array.dtype).max)
        return array

    empty = memory.empty
    monkeypatch.setattr(memory, "empty", filled)
