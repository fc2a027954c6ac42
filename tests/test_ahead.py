"""Compiling ahead: what the rehearsal notes, and how the kernels' numbers are dealt out to helpers."""

import os
import sys
import time

import pytest
from test_kernels import INTERPRETED, python

from lightnet import ahead

STEP = """
import numpy as np
import lightnet as ln
from numba.core.dispatcher import Dispatcher
asked, compile_for = [], Dispatcher._compile_for_args

def watch(kernel, *arguments):
    asked.append((kernel, tuple(map(kernel.typeof_pyval, arguments))))
    return compile_for(kernel, *arguments)

def step():
    net, x = ln.models.light_cnn(seed=0), np.random.default_rng(0).standard_normal((5, 83, 131, 3)).astype(np.float32)
    _, dlogits = ln.softmax_cross_entropy(net.forward(x, training=True), [0, 1, 0, 0, 1])
    net.backward(dlogits, to_image=False)
    ln.SGD(net, lr=0.01, momentum=0.9, l2=1e-6).step()

Dispatcher._compile_for_args = watch
"""
REHEARSED = STEP + """
from lightnet.ahead import rehearsal
notes = rehearsal()
assert not asked                                    # neither compiled nor loaded by the rehearsal
step()
print(len(notes), set(notes) == set(asked))
"""
COMPILED = STEP + """
ln.set_num_threads(2)
step()
print(*(kernel.py_func.__name__ for kernel, _ in asked if kernel.stats.cache_misses))
"""


@pytest.mark.skipif(INTERPRETED, reason="nothing is compiled")
def test_the_rehearsal_notes_what_a_step_calls():
    """A step of another size, of another number of images, calls the same kernels with the same types."""
    count, same = python(REHEARSED).split()
    assert int(count) > 10 and same == "True"


@pytest.mark.slow
@pytest.mark.skipif(INTERPRETED, reason="nothing is compiled")
def test_the_first_step_ever_finds_all_compiled(tmp_path):
    """By helpers, before it calls the first kernel."""
    assert python(COMPILED, LIGHTNET_CACHE=str(tmp_path)).split() == []


GOOD = """
import sys
print(20, flush=True)
for line in sys.stdin:
    open(r"LOG", "a").write(line)
    print(1, flush=True)
"""
ONE_NUMBER = GOOD.replace("print(1, flush=True)", "break")
FAILS = "raise SystemExit(1)"


@pytest.mark.parametrize("helper, dealt", [(GOOD, 20), (ONE_NUMBER, 3), (FAILS, 0)])
def test_each_number_is_dealt_once_whatever_becomes_of_the_helpers(tmp_path, monkeypatch, helper, dealt):
    log = tmp_path / "log"
    log.touch()
    monkeypatch.setattr(ahead, "HELPER", helper.replace("LOG", str(log)))
    ahead.compile_by(3)
    assert sorted(map(int, log.read_text().split())) == list(range(dealt))


def test_where_no_other_process_can_be_started_the_step_compiles(monkeypatch):
    monkeypatch.setattr(sys, "executable", "no such program")
    ahead.compile_by(2)


INTERRUPTED = """
import signal
from pathlib import Path
from lightnet import ahead
begun = Path(r"LOG")
ahead.HELPER = f"import os, time; open({str(begun)!r}, 'a').write(str(os.getpid()) + ' '); time.sleep(100)"
def press(*_):
    if len(begun.read_text().split()) == 2:
        signal.setitimer(signal.ITIMER_REAL, 0)
        raise KeyboardInterrupt
signal.signal(signal.SIGALRM, press)                # a timer presses Ctrl-C, once both helpers are there
signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
try:
    ahead.compile_by(2)
except KeyboardInterrupt:
    print("heard")
"""


def test_ctrl_c_ends_the_helpers(tmp_path):
    """As in a notebook, where they do not hear it themselves."""
    begin = time.perf_counter()
    (tmp_path / "log").touch()
    assert python(INTERRUPTED.replace("LOG", str(tmp_path / "log"))) == "heard\n"
    assert time.perf_counter() - begin < 60
    for process in (tmp_path / "log").read_text().split():
        with pytest.raises(ProcessLookupError):
            os.kill(int(process), 0)
