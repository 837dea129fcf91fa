"""Checkpoints: what is on disk is whole and unchanged, or it is not taken.

    checkpoints/00005000/state/…         written by Orbax, in the background
    checkpoints/00005000/manifest.json   written last: the size and SHA-256 of every file above

A folder without a manifest was never finished; a folder whose files differ from its manifest has been damaged. Either
is named on stderr and passed over for the last good one.
"""

import hashlib
import json
import shutil
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from diffjax.errors import UserError
from diffjax.files import write_whole
from diffjax.training.state import State
from diffjax.training.step import Metrics

FORMAT = 1
MANIFEST = "manifest.json"


class Saver:
    """Writes checkpoints in the background, one at a time, and keeps the newest `keep`."""

    def __init__(self, folder: Path, keep: int) -> None:
        if keep < 1:
            raise UserError(f"train.keep_checkpoints: expected at least 1, got {keep}")
        self.folder, self.keep = folder, keep
        self._orbax = ocp.StandardCheckpointer()
        self._thread = ThreadPoolExecutor(1)
        self._pending: Future[None] | None = None

    def save(self, step: int, state: State, metrics: Metrics) -> None:
        """Copy the state off the devices and begin to write it; waits for the save before, and raises its error.

        Raises UserError, and saves nothing, where a metric of the step is not finite.
        """
        for name, value in metrics.items():
            if not bool(jnp.all(jnp.isfinite(value))):
                raise UserError(
                    f"train: {name} at step {step} is not finite and was not saved; lower train.learning_rate"
                )
        self.wait()
        partial = self.folder / f".{step:08d}.partial"
        if jax.process_index() == 0:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        copied = jax.tree.map(jnp.copy, state)  # the trainer donates its own to the next step
        self._orbax.save((partial / "state").absolute(), plain(copied))
        self._pending = self._thread.submit(self._finish, step, partial)

    def wait(self) -> None:
        """Wait until what was saved is on disk."""
        if self._pending is not None:
            self._pending.result()
            self._pending = None

    def close(self) -> None:
        """Wait, and end the thread."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()
            self._orbax.close()

    def _finish(self, step: int, partial: Path) -> None:
        """The manifest, the final name, and only then the deletion of what is no longer kept."""
        self._orbax.wait_until_finished()
        if jax.process_index() != 0:
            return
        manifest = json.dumps({"format": FORMAT, "step": step, "files": hashes(partial)}, indent=1)
        write_whole(partial / MANIFEST, lambda file: file.write(manifest.encode()))
        final = self.folder / f"{step:08d}"
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        finished = [path for path in candidates(self.folder) if (path / MANIFEST).exists() and int(path.name) <= step]
        for old in finished[self.keep :]:
            shutil.rmtree(old)


def restore(folder: Path, like: State) -> State | None:
    """The newest good state, in the shape, types and placement of `like`; None where nothing was ever saved."""
    found = newest_good(folder)
    if found is None:
        return None
    target = jax.tree.map(ocp.utils.to_shape_dtype_struct, plain(like))
    try:
        with ocp.StandardCheckpointer() as orbax:
            saved = orbax.restore((found / "state").absolute(), target)
    except (ValueError, KeyError) as mistake:
        raise UserError(f"{found}: holds another model than the config describes; use a new --workdir") from mistake
    return State(**{**saved, "key": jax.random.wrap_key_data(saved["key"])})


def read(folder: Path, step: int | None = None) -> tuple[int, PyTree]:
    """The step and the bare tree of the newest good checkpoint, or of that step's, on this host's first device.

    Whatever the devices were that wrote it.
    """
    found = newest_good(folder) if step is None else folder / f"{step:08d}"
    if found is None:
        raise UserError(f"{folder}: no checkpoint here yet; train first, or check --workdir")
    if step is not None and (problem := damage(found)):
        have = ", ".join(str(int(path.name)) for path in candidates(folder)) or "none"
        raise UserError(f"{found}: {problem}; the steps here are: {have}")
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    with ocp.StandardCheckpointer() as orbax:
        saved = orbax.metadata((found / "state").absolute()).item_metadata
        target = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), saved)
        return int(found.name), orbax.restore((found / "state").absolute(), target)


def newest_good(folder: Path) -> Path | None:
    """The newest checkpoint that is whole; None where there is none at all. Raises UserError where all are damaged."""
    have = candidates(folder)
    for path in have:
        problem = damage(path)
        if not problem:
            return path
        print(f"diffjax: checkpoint {path} is not taken: {problem}", file=sys.stderr, flush=True)
    if have:
        raise UserError(f"{folder}: none of the {len(have)} checkpoints is whole; restore one, or use a new --workdir")
    return None


def candidates(folder: Path) -> list[Path]:
    """Folders that are named like checkpoints, the newest first."""
    named = (path for path in folder.glob("*") if path.is_dir() and path.name.isdecimal())
    return sorted(named, key=lambda path: int(path.name), reverse=True)


def damage(path: Path) -> str:
    """What is wrong with a checkpoint, in words; empty where nothing is."""
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        expected, made_by = manifest["files"], manifest["format"]
    except FileNotFoundError:
        return "it has no manifest.json, so its writing was never finished"
    except (ValueError, KeyError, TypeError):
        return "its manifest.json cannot be read"
    if made_by != FORMAT:
        return f"its format is {made_by}, and this version reads {FORMAT}"
    present = hashes(path)
    for name in expected.keys() | present.keys():
        if expected.get(name) != present.get(name):
            return f"{name} is missing, unexpected or changed since it was written"
    return ""


def hashes(path: Path) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of every file of a checkpoint but the manifest."""
    files = sorted(file for file in path.rglob("*") if file.is_file() and file != path / MANIFEST)
    return {
        str(file.relative_to(path)): {
            "bytes": file.stat().st_size,
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        }
        for file in files
    }


def plain(state: State) -> dict[str, Any]:
    """The state as Orbax is given it: keys as their bits."""
    fields = {name: getattr(state, name) for name in ("step", "params", "opt_state", "emas")}
    return {**fields, "key": jax.random.key_data(state.key)}


def default_ema(emas: dict[str, PyTree], asked: str | None) -> tuple[str, PyTree]:
    """The average asked for, or that of the longest decay."""
    if asked is not None and asked not in emas:
        raise UserError(f"ema: {asked!r} is not in this run; it has {', '.join(sorted(emas, key=float))}")
    name = asked or max(emas, key=float)
    return name, emas[name]
