"""Checkpoints that rot: a bit, a file, a folder, a disk, and what is taken in their place."""

import contextlib
import dataclasses
import io
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from diffjax.nets import MLP
from diffjax.training.checkpoint import Saver, restore, to_orbax
from diffjax.training.retention import RetentionPolicy
from diffjax.training.state import State, create

NET = MLP(width=8, depth=1)
STEPS = (10, 20, 30)
FLIPS = 5  # in each file, at places that are drawn


def damage(folder: Path, flips: int = FLIPS, seed: int = 0) -> dict[str, Any]:
    """Each file of the newest of three checkpoints damaged, alone, in every way; and folders that are none."""
    begun, rng, whole = time.perf_counter(), np.random.default_rng(seed), folder / "whole"
    saver = Saver(whole, RetentionPolicy())
    for step in STEPS:
        saver.save(step, state(step), {})
    saver.close()
    found: Counter[str] = Counter()
    ways = [*file_damages(whole / f"{STEPS[-1]:08d}", flips, rng), *folder_damages()]
    for kind, harm in ways:
        copy = Path(shutil.copytree(whole, folder / "copy"))
        harm(copy)
        before = {path.name for path in copy.iterdir()}
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            back = restore(copy, state(0))
        newest = copy / f"{STEPS[-1]:08d}"
        good = STEPS[-2] if kind != "another folder" else STEPS[-1]
        found[kind] += 1
        found["named"] += kind == "another folder" or str(newest) in said.getvalue() or not newest.exists()
        found["previous"] += back is not None and equal(back, state(good))
        found["kept"] += {path.name for path in copy.iterdir()} == before
        shutil.rmtree(copy)
    kinds = [kind for kind in found if kind not in ("named", "previous", "kept")]
    return {
        "files": len(list(files(whole / f"{STEPS[-1]:08d}"))),
        "kinds": {kind: found[kind] for kind in kinds},
        **{name: found[name] for name in ("named", "previous", "kept")},
        "seconds": time.perf_counter() - begun,
    }


def file_damages(
    checkpoint: Path, flips: int, rng: np.random.Generator
) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Bits flipped, and cuts and deletions, of every file of a checkpoint; each harms a copy of the folder above it."""
    for path in files(checkpoint):
        inside, size = path.relative_to(checkpoint.parent), path.stat().st_size
        for _ in range(flips if size else 0):
            yield "bit", partial(flip, inside, int(rng.integers(size)), int(rng.integers(8)))
        if size:
            yield "cut", partial(cut, inside, int(rng.integers(size)))
        yield "deleted", partial(delete, inside)


def flip(inside: Path, place: int, bit: int, copy: Path) -> None:
    """One bit of a file."""
    data = bytearray((copy / inside).read_bytes())
    data[place] ^= 1 << bit
    (copy / inside).write_bytes(data)


def cut(inside: Path, length: int, copy: Path) -> None:
    """A file after so many bytes."""
    (copy / inside).write_bytes((copy / inside).read_bytes()[:length])


def delete(inside: Path, copy: Path) -> None:
    """A file."""
    (copy / inside).unlink()


def folder_damages() -> Iterator[tuple[str, Callable[[Path], None]]]:
    """An empty checkpoint, one renamed by half, one that is another's, and empty folders that nobody finished."""
    newest, older = f"{STEPS[-1]:08d}", f"{STEPS[0]:08d}"

    def empty(copy: Path) -> None:
        shutil.rmtree(copy / newest)
        (copy / newest).mkdir()

    def another(copy: Path) -> None:
        shutil.rmtree(copy / newest)
        shutil.copytree(copy / older, copy / newest)

    yield "folder", empty
    yield "folder", another
    yield "folder", lambda copy: (copy / newest).rename(copy / f".{newest}.partial") and None
    yield "folder", lambda copy: (copy / newest).rename(copy / f".{newest}.deleted") and None
    yield "folder", lambda copy: (copy / newest / "state").rename(copy / newest / "state.orbax-checkpoint-tmp") and None
    yield "another folder", lambda copy: (copy / f".{STEPS[-1] + 10:08d}.partial").mkdir()


def files(checkpoint: Path) -> list[Path]:
    """All files of a checkpoint."""
    return sorted(path for path in checkpoint.rglob("*") if path.is_file())


def state(step: int) -> State:
    """A small state that differs from those of other steps."""
    fresh = create(jax.random.key(0), NET, optax.adamw(1e-3), (0.9, 0.999), jnp.zeros((1, 3)), None)
    params = jax.tree.map(lambda leaf: leaf + step, fresh.params)
    return dataclasses.replace(fresh, params=params, step=jnp.asarray(step, jnp.int32))


def equal(one: State, other: State) -> bool:
    """Whether two states are, bit for bit."""
    pairs = zip(jax.tree.leaves(to_orbax(one)), jax.tree.leaves(to_orbax(other)), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)
