"""What all tests share.

``LIGHTNET_WITHOUT_NUMBA=1 python -m pytest`` runs them as if Numba were not installed.
"""

import os
import sys

collect_ignore = ["torch_fixture.py", "torch_models.py"]            # scripts that need PyTorch
WITHOUT_NUMBA = os.environ.get("LIGHTNET_WITHOUT_NUMBA") == "1"
if WITHOUT_NUMBA:
    sys.modules["numba"] = None                 # importing it now raises ImportError
    collect_ignore += ["test_ahead.py", "test_fast.py", "test_kernels.py"]

import lightnet as ln  # noqa: E402 - after Numba is blocked

ln.set_num_threads(1)                           # the tests' arrays are small, and the machine may have other work


def pytest_collection_modifyitems(items):
    """The suite without Numba, a test of minutes, goes first: then everything else goes on beside it."""
    items.sort(key=lambda item: item.path.name != "test_without_numba.py")
