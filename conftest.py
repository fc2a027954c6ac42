"""Doctests of what Numba compiles need it: ``lightnet/fast``, ``lightnet/kernels``, the engine's plan and loop; see
tests/conftest.py."""

import os

WITHOUT = ["lightnet/fast/*", "lightnet/kernels/*", "lightnet/engine/[!_n]*"]           # of the engine not __init__ and network
collect_ignore_glob = WITHOUT if os.environ.get("LIGHTNET_WITHOUT_NUMBA") == "1" else []
