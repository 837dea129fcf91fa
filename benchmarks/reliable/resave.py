"""Restores a run's last checkpoint on all devices and saves it again: python resave.py CHECKPOINTS CHECKPOINTS"""

import sys
from contextlib import closing
from pathlib import Path

import jax

from diffjax.training import checkpoint, parallel
from diffjax.training.state import State


def main(before: str, after: str) -> None:
    """The way of a run that goes on: `restore`, onto the devices, `Saver`."""
    step, tree = checkpoint.read(Path(before))
    like = State(**{**tree, "key": jax.random.wrap_key_data(tree["key"])})
    state = checkpoint.restore(Path(before), like)
    with closing(checkpoint.Saver(Path(after), 1)) as saver:
        saver.save(step, parallel.replicated(state, jax.devices()), {})


if __name__ == "__main__":
    main(*sys.argv[1:])
