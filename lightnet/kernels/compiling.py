"""Numba's compiler for all kernels: where the result is kept, and what is said while it takes.

Numba keeps machine code on disk, but looks only at the file of the function itself: after a change in a kernel that it calls,
it would go on with the old one. So the folder's name is a digest of all kernels' sources, of Numba's version and of the
settings below: another source is another folder. It lies in the user's cache, never beside the package, which may be
read-only; where no folder can be written, every process compiles anew.
"""

import contextlib
import functools
import hashlib
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numba

PACKAGE = Path(__file__).parents[1]
PLAIN = os.environ.get("LIGHTNET_KERNELS") == "plain"               # no LLVM IR: what runs where that does not work
CHECK = os.environ.get("LIGHTNET_CHECK_ADDRESSES") == "1"           # every table of addresses against its buffer
DIGITS = 16                                                         # of a cache folder's name
KEPT_DAYS = 30                                                      # after a cache folder was last used
OPTIONS = {"nogil": True, "error_model": "numpy"}                   # without Python's lock; a division by zero gives inf


def compiled(function, **options):
    """Compile when first called, in any thread; keep the machine code on disk."""
    folder = cache_folder()
    if folder is None:
        return numba.njit(**OPTIONS, **options)(function)
    before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(folder)
    try:
        return numba.njit(cache=True, **OPTIONS, **options)(function)
    finally:
        numba.config.CACHE_DIR = before


def pasted(function):
    """As `compiled`, and as if its lines stood where it is called.

    With each function Numba compiles again what that function calls. The tile alone takes two seconds: so what only leads to it
    is no function of its own.
    """
    return compiled(function, inline="always")


@functools.cache
def cache_folder():
    """The folder for these sources and settings, or None where it cannot be written.

    ``LIGHTNET_CACHE`` names another place than ``~/.cache/lightnet``.
    """
    root = os.environ.get("LIGHTNET_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "lightnet")
    try:
        folder = Path(root).expanduser() / digest()
        if not folder.exists():
            folder.mkdir(parents=True, exist_ok=True)
            forget_old(folder)
        os.utime(folder)                                            # it is in use
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError):                                 # RuntimeError: no home
        return None
    return folder


def forget_old(folder):
    """Remove what other sources left beside a new folder and nobody used for `KEPT_DAYS`: it would pile up for ever."""
    for other in folder.parent.glob("[0-9a-f]" * DIGITS):
        with contextlib.suppress(OSError):                          # somebody else may be removing it
            if other != folder and time.time() - other.stat().st_mtime > KEPT_DAYS * 86400:
                shutil.rmtree(other)


@functools.cache
def announce(kernel="*"):
    """Say that the first use takes a while, where no such kernel is kept from an earlier one: it must not look like a hang."""
    folder = cache_folder()
    if folder is None or not any(folder.rglob(f"{kernel}.nbi")):
        kept = f"kept in {folder}" if folder else "not kept, for no folder can be written: set LIGHTNET_CACHE to one that can"
        print(f"lightnet: compiling its kernels for this processor, as they are needed: about half a minute, {kept}. "
              "`lightnet warmup` does it ahead.", file=sys.stderr)


def digest():
    """Names what the machine code depends on, but for the processor, which Numba itself takes into account."""
    seen = hashlib.sha256(f"{numba.__version__} {PLAIN} {CHECK}".encode())
    for room in ("kernels", "fast", "engine"):
        for path in sorted((PACKAGE / room).glob("*.py")):
            seen.update(path.read_bytes())
    return seen.hexdigest()[:DIGITS]
