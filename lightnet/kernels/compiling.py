"""Numba's compiler for all kernels: where the result is kept, and what is said while it takes.

Numba keeps machine code on disk, but looks only at the file of the function itself: after a change in a kernel that it calls,
it would go on with the old one. So the folder's name is a digest of all kernels' sources, of Numba's version and of the
settings below: another source is another folder. It lies in the user's cache, never beside the package, which may be
read-only; where no folder can be written, every process compiles anew.
"""

import collections
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
from llvmlite import binding
from numba import types
from numba.core import cgutils
from numba.core.caching import FunctionCache
from numba.core.runtime import rtsys
from numba.extending import intrinsic

PACKAGE = Path(__file__).parents[1]
PLAIN = os.environ.get("LIGHTNET_KERNELS") == "plain"               # no LLVM IR: what runs where that does not work
CHECK = os.environ.get("LIGHTNET_CHECK_ADDRESSES") == "1"           # every table of addresses against its buffer
DIGITS = 16                                                         # of a cache folder's name
KEPT_DAYS = 30                                                      # after a cache folder was last used
OPTIONS = {"nogil": True, "error_model": "numpy",                   # without Python's lock; a division by zero gives inf
           "no_cfunc_wrapper": True}                                # nor does C call it


def compiled(function, **options):
    """Compile when first called, in any thread; keep the machine code on disk."""
    name_apart(function)
    folder = cache_folder()
    if folder is None:
        return numba.njit(**OPTIONS, **options)(function)
    before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(folder)
    try:
        function = numba.njit(**OPTIONS, **options)(function)
        if not numba.config.DISABLE_JIT:
            function._cache = Cache(function.py_func)
    finally:
        numba.config.CACHE_DIR = before
    return function


_made = collections.Counter()


def name_apart(function):
    """Give a function that a function makes a name of its own: the module for which it is made, and a number there.

    The linker finds machine code by the function's name, its arguments' types and a number that counts anew in each process. So
    two functions of one name, compiled by two processes and loaded by a third, could be taken for each other.
    """
    if "<locals>" in function.__qualname__:
        frame = sys._getframe()
        while frame.f_back and frame.f_code.co_name != "<module>":
            frame = frame.f_back
        name = f"{function.__qualname__}.{frame.f_globals['__name__'].replace('.', '_')}"
        _made[name] += 1
        function.__qualname__ = f"{name}_{_made[name]}"


class Cache(FunctionCache):
    """Numba's own, without what that does before it loads a function: import all that compiling might need.

    That took half of the two seconds after which a first step could begin. Who compiles does it anyway; to be run, a function
    needs Numba's memory management alone.
    """

    def load_overload(self, types, target):
        """The machine code for arguments of these types, or None."""
        rtsys.initialize(target)
        with self._guard_against_spurious_io_errors():
            return self._load_overload(types, target)


def inner(function):
    """As `compiled`, to be called from compiled functions alone.

    What lets Python call a function takes as long to compile as a short function itself; without it all kernels take a tenth
    less. Python is told so: Numba would jump to where nothing is.
    """
    def refuse(*_, **__):
        raise TypeError(f"{function.__module__}.{function.__name__} can be called from compiled functions alone")
    function = compiled(function, no_cpython_wrapper=True)
    if not numba.config.DISABLE_JIT:
        function._insert, function._compile_for_args = lambda *_: None, refuse         # Python never finds what is compiled
    return function


def pasted(function):
    """As `compiled`, and as if its lines stood where it is called.

    With each function Numba compiles again what that function calls, and what that calls. So a long one that is called in one
    place is no function of its own.
    """
    return compiled(function, inline="always")


def compiled_once(function, *examples):
    """What others call in the place of a compiled function with arguments like these, so that it is not compiled with each again.

    To them it is a name and an address, as if it came from a library in another language.
    """
    if PLAIN or numba.config.DISABLE_JIT:
        return function
    announce(f"*.{function.__name__}-*")
    kinds, name = tuple(map(numba.typeof, examples)), f"lightnet.{function.__name__}"
    function.compile(kinds)
    code = function.overloads[kinds]
    binding.add_symbol(name, code.library.get_pointer_to_function(code.fndesc.llvm_func_name))

    @intrinsic
    def call(typing, *arguments):
        def generate(context, builder, signature, arguments):
            kind = context.call_conv.get_function_type(types.void, kinds)
            there = cgutils.get_or_insert_function(builder.module, kind, name)
            values = cgutils.unpack_tuple(builder, *arguments)
            status, _ = context.call_conv.call_function(builder, there, types.void, kinds, values)
            with cgutils.if_unlikely(builder, status.is_error):
                context.call_conv.return_status_propagate(builder, status)
            return context.get_dummy_value()
        return types.void(types.StarArgTuple(kinds)), generate
    return call


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


def announce(kernel="*"):
    """Say that the first use takes a while, where no such kernel is kept from an earlier one: it must not look like a hang."""
    folder = cache_folder()
    if folder is None or not any(folder.rglob(f"{kernel}.nbi")):
        say_once(folder)


@functools.cache
def say_once(folder):
    """The message."""
    kept = f"kept in {folder}" if folder else "not kept, for no folder can be written: set LIGHTNET_CACHE to one that can"
    print(f"lightnet: compiling its kernels for this processor: up to a minute, {kept}. "
          "`lightnet warmup` does it ahead.", file=sys.stderr)


def digest():
    """Names what the machine code depends on, but for the processor, which Numba itself takes into account."""
    seen = hashlib.sha256(f"{numba.__version__} {PLAIN} {CHECK}".encode())
    for room in ("kernels", "fast", "engine"):
        for path in sorted((PACKAGE / room).glob("*.py")):
            seen.update(path.read_bytes())
    return seen.hexdigest()[:DIGITS]
