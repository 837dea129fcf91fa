"""Restores a run's last checkpoint on all devices and saves it again: python resave.py CHECKPOINTS CHECKPOINTS"""

import sys
from contextlib import closing
from pathlib import Path

import jax
import jax.numpy as jnp

from diffjax.training import checkpoint, data_parallel, retention
from diffjax.training.retention import RetentionPolicy
from diffjax.training.state import State
from reliable import runs


def main(before: str, after: str) -> None:
    """The way of a run that goes on: `restore`, onto the devices, `Saver`."""
    step = int(retention.checkpoint_folders(Path(before))[0].name)
    tree = runs.tree(Path(before), step)
    like = State(**{**tree, "key": jax.random.wrap_key_data(tree["key"]), "halted": jnp.zeros((), bool)})
    state = checkpoint.restore(Path(before), like)
    assert state is not None
    with closing(checkpoint.Saver(Path(after), RetentionPolicy())) as saver:
        saver.save(step, data_parallel.replicate(state, jax.devices()), {})


if __name__ == "__main__":
    main(*sys.argv[1:])
