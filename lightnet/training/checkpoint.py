"""A training's checkpoint: all that decides how it goes on, so that a resumed training gives the same bits as one in one go.

That is the network's parameters and running statistics, the optimizer's velocities, the state of every random generator (of
the order of samples, and of each Dropout), and the history. It is written whole after every epoch, in the ``.npz`` format of
``model_file.py``, next to a fingerprint of what it belongs to: the network, the settings, the data.
"""

import functools
import json
import os
import platform
import subprocess
from pathlib import Path

import numpy as np

from ..errors import CheckpointError
from ..files import read_arrays, whole
from ..model_file import as_text, describe, named_arrays


def save_checkpoint(path, trainer, fingerprint):
    """Write a trainer's state to ``path``, whole or not at all.

    Parameters
    ----------
    path : str or Path
    trainer : Trainer
    fingerprint : dict
        Settings and data, as JSON: `resume` refuses a checkpoint of others.

    Raises
    ------
    FileError
        Where the file cannot be written.
    """
    text = as_text({"network": describe(trainer.net)["nodes"], "fingerprint": fingerprint, "history": trainer.history,
                    "versions": versions(),
                    "generators": {name: rng.bit_generator.state for name, rng in generators(trainer).items()}})
    with whole(path, "wb") as file:
        np.savez(file, training=np.array(text), **arrays_of(trainer))


def resume(path, trainer, fingerprint):
    """Put a trainer of the same network, settings and data into the state of a checkpoint.

    Raises
    ------
    CheckpointError
        Where the file is missing, damaged, of another network, or of a training with other settings or data.
    """
    found = read_arrays(path)
    try:
        kept = json.loads(str(found.pop("training")))
        network, history, states, belongs_to = (kept[key] for key in ("network", "history", "generators", "fingerprint"))
    except (KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: no checkpoint ({type(error).__name__}: {error}); expected one that lightnet "
                              "wrote") from error
    wanted = arrays_of(trainer)
    if network != as_json(describe(trainer.net)["nodes"]) or kinds(found) != kinds(wanted):
        raise CheckpointError(f"{path}: of another network; expected one like this, of {len(trainer.net.nodes)} nodes")
    for key, value in as_json(fingerprint).items():
        if belongs_to.get(key) != value:
            raise CheckpointError(f"{path}: of another training, whose {key} is {belongs_to.get(key)!r}; expected {value!r}. Go "
                                  "on with the same, or start anew")
    try:
        for name, rng in generators(trainer).items():
            rng.bit_generator.state = states[name]
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: the state of a random generator is damaged ({error}); start anew") from error
    for name, array in wanted.items():
        array[...] = found[name]
    trainer.history[:] = history


def versions():
    """What the last places of the numbers may depend on; kept in checkpoints and models."""
    from .. import __version__
    return {"lightnet": __version__, "commit": commit(), "numpy": np.__version__, "python": platform.python_version(),
            "cpus": os.cpu_count(), "processor": processor()}


@functools.cache
def commit():
    """The commit that lightnet's own checkout is at, with a + where files differ from it; None where this is no checkout."""
    package = Path(__file__).parents[1]

    def git(*words):
        return subprocess.run(["git", "-C", package, *words], capture_output=True, text=True, check=True).stdout.strip()
    try:
        mine = Path(git("rev-parse", "--show-toplevel")) == package.parent
        return git("describe", "--always", "--dirty=+", "--exclude=*") if mine else None
    except (OSError, subprocess.CalledProcessError):
        return None


def processor():
    """What the processor calls itself."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


def as_json(value):
    """The value as it comes back from a JSON file: tuples as lists."""
    return json.loads(as_text(value))


def kinds(arrays):
    """Shape and type of each array."""
    return {name: (array.shape, array.dtype) for name, array in arrays.items()}


def arrays_of(trainer):
    """Every array that training changes: the live ones, by name."""
    return {**named_arrays(trainer.net), **{f"velocity/{name}": v for name, v in trainer.optimizer.velocity.items()}}


def generators(trainer):
    """Every random generator that training draws from, by name."""
    layers = {node.name: node.layer.rng for node in trainer.net.nodes.values() if hasattr(node.layer, "rng")}
    return {"order of samples": trainer.rng, **layers}
