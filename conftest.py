"""Doctests of ``lightnet/fast`` and ``lightnet/kernels`` need Numba; see tests/conftest.py."""

import os

collect_ignore_glob = ["lightnet/fast/*", "lightnet/kernels/*"] if os.environ.get("LIGHTNET_WITHOUT_NUMBA") == "1" else []
