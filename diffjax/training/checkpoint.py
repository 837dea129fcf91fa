"""Checkpoints, which are read only if they are complete and unchanged (docs/checkpoints.md has the format).

    checkpoints/00005000/state/…         written by Orbax, in the background
    checkpoints/00005000/manifest.json   written last: the step, and size and SHA-256 of every file above

A folder without a manifest is incomplete; one whose files differ from its manifest is damaged. Both are reported on
stderr, and the newest valid checkpoint is read.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import ArrayLike, PyTree

from diffjax.errors import UserError, warn
from diffjax.training import checkpoint_validation, data_parallel, manifest, retention
from diffjax.training.checkpoint_validation import plain_path
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
from diffjax.utils.tree_paths import leaf_name, leaves_by_name

FIELDS = ("step", "position", "faults", "params", "opt_state", "emas", "key")  # of the state that is saved
Select = Callable[[dict[str, PyTree]], Sequence[str]]
_finite = jax.jit(all_finite)


class Saver:
    """Writes checkpoints in the background, one at a time, and deletes those that the policy does not keep.

    A save that fails (the disk is full) is warned of, and the next one tries again; `close` raises only where the last
    one failed. `about` goes into every manifest, such as the run's identity and the hash of the config.
    """

    def __init__(self, folder: Path, keep: RetentionPolicy, about: Mapping[str, object] | None = None) -> None:
        self.folder = folder
        self.keep = keep
        self.about = dict(about or {})
        self._saved: int | None = None  # the last step that is on disk, or being written
        self._orbax = ocp.StandardCheckpointer()
        self._alias = ExitStack()  # the path that Orbax writes to
        self._thread = ThreadPoolExecutor(1)
        self._pending: Future[None] | None = None
        self._attempts = 0  # each save writes into a folder of its own
        self._problem = ""

    def save(self, step: int, state: State, metrics: Mapping[str, ArrayLike], sums: Sums | None = None) -> None:
        """Copy the state off the devices and begin to write it, once the previous save has ended.

        Of a metric with several values the last counts; `sums` are those of the running means. Raises UserError, and
        saves nothing, where a number of the state is not finite.
        """
        if not bool(_finite(state)):
            raise UserError(f"train: the state at step {step} is not finite and was not saved; lower the learning rate")
        self.wait()
        self._saved = step
        self._attempts += 1
        self._guard(step, lambda: self._begin(step, state))
        if not self._problem:
            values = {name: float(np.ravel(value)[-1]) for name, value in metrics.items()}
            about = {**self.about, "step": step, "position": int(state.position), "metrics": values}
            about |= {FIELD: dict(sums)} if sums else {}
            self._pending = self._thread.submit(self._guard, step, lambda: self._finish(step, about))

    def contains(self, step: int) -> bool:
        """Whether this step was saved last; waits until it is on disk."""
        self.wait()
        return bool(data_parallel.broadcast_from_first_host(self._saved == step))

    def wait(self) -> None:
        """Wait until the last save is on disk."""
        if self._pending is not None:
            self._pending.result()
            self._pending = None

    def close(self) -> None:
        """Wait, and end the thread. Raises UserError where the last save failed."""
        self.wait()
        self._thread.shutdown()
        with suppress(Exception):  # warned of already
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
        """The folder of this save alone: threads of one that failed may write on for a while."""
        return self.folder / f".{step:08d}.{self._attempts}.partial"

    def _begin(self, step: int, state: State) -> None:
        tree = to_orbax(state)
        problem: Exception | None = None
        if jax.process_index() == 0:
            try:
                retention.prepare(self._partial(step), sum(leaf.nbytes for leaf in jax.tree.leaves(tree)))
            except OSError as error:
                problem = error
        if data_parallel.broadcast_from_first_host(problem is not None):  # the hosts write together, or none does
            raise problem or OSError("the first host says why")
        # A copy: the trainer donates its own to the next step.
        host_copy = data_parallel.replicate(tree, data_parallel.first_device_per_host())
        self._alias.close()
        self._orbax.save(self._alias.enter_context(plain_path(self._partial(step))) / "state", host_copy)

    def _finish(self, step: int, about: Mapping[str, object]) -> None:
        """The manifest, the final name, and only then the deletion of older checkpoints."""
        self._orbax.wait_until_finished()
        if jax.process_index() != 0:
            return
        manifest.write_manifest(self._partial(step), about)
        retention.commit(self._partial(step), self.folder / f"{step:08d}")
        manifest.sync(self.folder)
        retention.prune(self.folder, self.keep, step)

    def _guard(self, step: int, call: Callable[[], None]) -> None:
        """The call; any error of a disk or a network is warned of, and remembered until a save succeeds."""
        try:
            call()
            self._problem = ""
        except Exception as error:
            self._problem = f"step {step} could not be saved ({describe_error(cause(error))[:300]})"
            if self._saved == step:
                self._saved = None
            warn(f"{self.folder}: {self._problem}; training goes on")
            with suppress(Exception):  # takes the error of Orbax's thread, which the next save would raise
                self._orbax.wait_until_finished()
            if jax.process_index() == 0:
                shutil.rmtree(self._partial(step), ignore_errors=True)


def restore(folder: Path, like: State, identity: Identity | None = None) -> State | None:
    """The newest valid state, with the shapes, types and placement of `like`; None where nothing was ever saved.

    With an `identity`, all finished checkpoints of the folder must be of that run; UserError names one that is not.
    """
    if identity is not None:
        check_all_checkpoints(folder, identity)
    checkpoint_path = newest_valid(folder)
    if checkpoint_path is None:
        return None
    target = to_orbax(like)
    with _user_error_on_failure(checkpoint_path, "move it away to use another"):
        tree = checkpoint_validation.array_specs(checkpoint_path / "state")
        if leaves_by_name(_shapes(tree)) != leaves_by_name(_shapes(target)):
            raise UserError(f"{checkpoint_path}: holds another model than the config describes; use a new --workdir")
        arrays = leaves_by_name(checkpoint_validation.read_arrays(checkpoint_path / "state", tree))
    if identity is not None:
        report_if_unknown(checkpoint_path, identity)
    fields = jax.tree_util.tree_map_with_path(
        lambda path, leaf: jax.device_put(arrays[leaf_name(path)], leaf.sharding), target
    )
    return replace(like, **{**fields, "key": jax.random.wrap_key_data(fields["key"])})


def read(
    folder: Path, step: int | None, select: Select, identity: Identity | None = None
) -> tuple[int, dict[str, PyTree]]:
    """The step and the chosen averages of the newest valid checkpoint, or of that step's, as arrays on this host.

    `select` receives all averages as shapes and returns the names of those to read, or raises UserError. With an
    `identity` the checkpoint must be of that run. Where a trainer deletes a checkpoint meanwhile, the then newest one
    is read. Raises UserError where there is none, or not that step.
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


def _read(checkpoint_path: Path, select: Select, identity: Identity | None) -> tuple[int, dict[str, PyTree]]:
    if identity is not None:
        check_checkpoint(checkpoint_path, identity)
    with _user_error_on_failure(checkpoint_path, "use another --step"):
        averages = checkpoint_validation.array_specs(checkpoint_path / "state")["emas"]
        names = select(_shapes(averages))
        arrays = checkpoint_validation.read_arrays(checkpoint_path / "state", {name: averages[name] for name in names})
        if identity is not None:
            report_if_unknown(checkpoint_path, identity)
        return int(checkpoint_path.name), arrays


@contextmanager
def _user_error_on_failure(checkpoint_path: Path, remedy: str) -> Iterator[None]:
    """Turns the errors of TensorStore, which have no common class, into a UserError with this remedy."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{checkpoint_path}: cannot be read ({describe_error(error)[:200]}); {remedy}") from error


def _shapes(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


def to_orbax(state: State) -> dict[str, PyTree]:
    """The fields of the state that are saved, the key as its bits."""
    return {**{name: vars(state)[name] for name in FIELDS}, "key": jax.random.key_data(state.key)}
