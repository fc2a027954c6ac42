"""Doctests of ``lightnet/fast`` need Numba; see tests/conftest.py."""

import os

collect_ignore_glob = ["lightnet/fast/*"] if os.environ.get("LIGHTNET_WITHOUT_NUMBA") == "1" else []
