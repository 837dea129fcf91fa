"""Checkpoints: what is on disk is whole and unchanged, or it is not taken (docs/checkpoints.md has the format).

    checkpoints/00005000/state/…         written by Orbax, in the background
    checkpoints/00005000/manifest.json   written last: what this is, and the size and SHA-256 of every file above

A folder without a manifest was never finished; a folder whose files differ from its manifest has been damaged. Either
is named on stderr and passed over for the last good one.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from diffjax.errors import UserError, warn
from diffjax.training import checkpoint_validation, data_parallel, manifest, retention
from diffjax.training.aliases import plain_path
from diffjax.training.identity import Identity, check_all_checkpoints, check_checkpoint, report_if_unknown
from diffjax.training.retention import (
    DELETE_ATTEMPTS,
    RetentionPolicy,
    checkpoint_at_step,
    describe_steps,
    newest_valid,
)
from diffjax.training.running_means import FIELD, Sums
from diffjax.training.state import State, all_finite
from diffjax.utils.files import cause, describe_error

_finite = jax.jit(all_finite)
_BASE_FIELDS = ("step", "params", "opt_state", "emas", "key")
FIELDS: dict[int, tuple[str, ...]] = {
    1: _BASE_FIELDS,
    2: (*_BASE_FIELDS, "position", "faults"),
}  # of the state, by the format


class Saver:
    """Writes checkpoints in the background, one at a time, and keeps those that the policy keeps.

    A save that fails (the disk is full) is told, and the next one tries again; only where the last one fails does
    `close` raise. `about` is said in every manifest, such as whose run it is and the hash of the config.
    """

    def __init__(self, folder: Path, keep: RetentionPolicy, about: Mapping[str, Any] | None = None) -> None:
        self.folder, self.keep, self.about = folder, keep, dict(about or {})
        self._saved: int | None = None  # the last step that is on the disk, or on its way there
        self._orbax = ocp.StandardCheckpointer()
        self._alias = ExitStack()  # what Orbax knows the folder by, while it writes
        self._thread = ThreadPoolExecutor(1)
        self._pending: Future[None] | None = None
        self._attempts = 0  # saves so far: each writes into a folder of its own
        self._problem = ""

    def save(self, step: int, state: State, metrics: Mapping[str, Any], sums: Sums | None = None) -> None:
        """Copy the state off the devices and begin to write it, once the save before has ended.

        A metric may be one number or several, of which the last counts; `sums` are those of the running means. Raises
        UserError, and saves nothing, where a number of the state is not finite.
        """
        if not bool(_finite(state)):
            raise UserError(f"train: the state at step {step} is not finite and was not saved; lower the learning rate")
        self.wait()
        self._saved = step
        self._attempts += 1
        self._guard(self._begin, step, state)
        if not self._problem:
            values = {name: float(np.ravel(value)[-1]) for name, value in metrics.items()}
            about = {**self.about, "step": step, "position": int(state.position), "metrics": values}
            about |= {FIELD: dict(sums)} if sums else {}
            self._pending = self._thread.submit(self._guard, self._finish, step, about)

    def contains(self, step: int) -> bool:
        """Whether the state after this step is what was saved last; waits until that is on disk."""
        self.wait()
        return bool(data_parallel.broadcast_from_first_host(self._saved == step))

    def wait(self) -> None:
        """Wait until what was saved is on disk."""
        if self._pending is not None:
            self._pending.result()
            self._pending = None

    def close(self) -> None:
        """Wait, and end the thread. Raises UserError where the last save failed."""
        self.wait()
        self._thread.shutdown()
        with suppress(Exception):  # told already
            self._orbax.close()
        with suppress(OSError):
            self._alias.close()
        if jax.process_index() == 0:
            (retention.clear_after_failure if self._problem else retention.clear)(self.folder)
        if self._problem:
            raise UserError(
                f"{self.folder}: {self._problem}; make room and run the same command, which goes on from the "
                "last whole checkpoint"
            )

    def _partial(self, step: int) -> Path:
        """Where this save writes. Threads of one that failed may write on for a while: none shares its folder."""
        return self.folder / f".{step:08d}.{self._attempts}.partial"

    def _begin(self, step: int, state: State) -> None:
        problem: Exception | None = None
        if jax.process_index() == 0:
            try:
                retention.prepare(self._partial(step), sum(leaf.nbytes for leaf in jax.tree.leaves(to_orbax(state))))
            except OSError as error:
                problem = error
        if data_parallel.broadcast_from_first_host(
            problem is not None
        ):  # on every host or on none: they write together
            raise problem or OSError("the first host says why")
        host_copy = data_parallel.replicate(
            to_orbax(state), data_parallel.first_device_per_host()
        )  # the trainer donates its own to the next step
        self._alias.close()
        self._orbax.save(self._alias.enter_context(plain_path(self._partial(step))) / "state", host_copy)

    def _finish(self, step: int, about: dict[str, Any]) -> None:
        """The manifest, the final name, and only then the deletion of what is no longer kept."""
        self._orbax.wait_until_finished()
        if jax.process_index() != 0:
            return
        manifest.write_manifest(self._partial(step), about)
        retention.commit(self._partial(step), self.folder / f"{step:08d}")
        manifest.sync(self.folder)
        retention.prune(self.folder, self.keep, step)

    def _guard(self, call: Callable[..., None], step: int, *args: Any) -> None:
        """The call; whatever a disk or a network may raise in it is told, and remembered until a save succeeds."""
        try:
            call(step, *args)
            self._problem = ""
        except Exception as error:
            self._problem = f"step {step} could not be saved ({describe_error(cause(error))[:300]})"
            if self._saved == step:
                self._saved = None
            warn(f"{self.folder}: {self._problem}; training goes on")
            with suppress(Exception):  # waits for Orbax's thread and takes its error, which the next save would raise
                self._orbax.wait_until_finished()
            if jax.process_index() == 0:
                shutil.rmtree(self._partial(step), ignore_errors=True)


def restore(folder: Path, like: State, identity: Identity | None = None) -> State | None:
    """The newest good state, in the shape, types and placement of `like`; None where nothing was ever saved.

    With an `identity`, all finished checkpoints of the folder must be of that run: UserError names one that is not.
    """
    if identity is not None:
        check_all_checkpoints(folder, identity)
    checkpoint_path = newest_valid(folder)
    if checkpoint_path is None:
        return None
    fields = FIELDS[manifest.read_manifest(checkpoint_path)["format"]]
    target = {name: leaf for name, leaf in to_orbax(like).items() if name in fields}
    with _user_error_on_failure(checkpoint_path, "move it away to use another"):
        tree = checkpoint_validation.array_specs(checkpoint_path / "state")
        if by_keys(jax.tree.map(_shape, tree)) != by_keys(jax.tree.map(_shape, target)):
            raise UserError(f"{checkpoint_path}: holds another model than the config describes; use a new --workdir")
        arrays = by_keys(checkpoint_validation.read_arrays(checkpoint_path / "state", tree))
    if identity is not None:
        report_if_unknown(checkpoint_path, identity)
    state = jax.tree_util.tree_map_with_path(
        lambda path, leaf: jax.device_put(arrays[_keys(path)], leaf.sharding), target
    )
    state = {"position": jnp.copy(state["step"]), "faults": jnp.zeros_like(state["step"]), **state}
    return replace(like, **{**state, "key": jax.random.wrap_key_data(state["key"])})


def read(
    folder: Path,
    step: int | None,
    select: Callable[[dict[str, PyTree]], Sequence[str]],
    identity: Identity | None = None,
) -> tuple[int, dict[str, PyTree]]:
    """The step and the chosen averages of the newest good checkpoint, or of that step's, on this host.

    Whatever the devices were that wrote it. `select` is given all averages as shapes and says which are read; it raises
    UserError where they are not what they should be. With an `identity` the checkpoint must be of that run.

    Where a trainer deletes the newest one meanwhile, it is the one that is then the newest.
    """
    for _ in range(DELETE_ATTEMPTS):
        checkpoint_path = newest_valid(folder) if step is None else checkpoint_at_step(folder, step)
        if checkpoint_path is None:
            raise UserError(f"{folder}: no checkpoint here yet; train first, or check --workdir")
        try:
            return _read(checkpoint_path, select, identity)
        except (UserError, OSError):
            if checkpoint_path.exists():
                raise
        if step is not None:
            raise UserError(f"{checkpoint_path}: was deleted while it was read; {describe_steps(folder)}")
    raise UserError(f"{folder}: each of {DELETE_ATTEMPTS} checkpoints was deleted while it was read; keep more of them")


def _read(
    checkpoint_path: Path, select: Callable[[dict[str, PyTree]], Sequence[str]], identity: Identity | None
) -> tuple[int, dict[str, PyTree]]:
    if identity is not None:
        check_checkpoint(checkpoint_path, identity)
    with _user_error_on_failure(checkpoint_path, "use another --step"):
        averages = checkpoint_validation.array_specs(checkpoint_path / "state")["emas"]
        names = select(jax.tree.map(_shape, averages))
        arrays = checkpoint_validation.read_arrays(checkpoint_path / "state", {name: averages[name] for name in names})
        if identity is not None:
            report_if_unknown(checkpoint_path, identity)
        return int(checkpoint_path.name), arrays


@contextmanager
def _user_error_on_failure(checkpoint_path: Path, remedy: str) -> Iterator[None]:
    """Turns whatever TensorStore raises, which has no common kind, into a UserError with this remedy."""
    try:
        yield
    except UserError:
        raise
    except Exception as mistake:
        raise UserError(f"{checkpoint_path}: cannot be read ({describe_error(mistake)[:200]}); {remedy}") from mistake


def by_keys(tree: PyTree) -> dict[tuple[str, ...], Any]:
    """The leaves by what leads to them, field, key or place: Orbax keeps dicts and lists alone."""
    return {_keys(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _keys(path: Any) -> tuple[str, ...]:
    return tuple(jax.tree_util.keystr((part,), simple=True) for part in path)


def _shape(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)


def to_orbax(state: State) -> dict[str, Any]:
    """The state as Orbax is given it: keys as their bits."""
    return {**{name: vars(state)[name] for name in FIELDS[manifest.FORMAT]}, "key": jax.random.key_data(state.key)}
