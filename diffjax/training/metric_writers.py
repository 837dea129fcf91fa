"""Metric writers: JSON lines, TensorBoard, Weights & Biases. A config names the makers in `__all__`.

Arguments of a maker: the run's folder, the step that the run goes on from, the fields of its config, and options of its
own. Files and connections are opened by the first value.
"""

import importlib
import os
import re
import secrets
import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Protocol, runtime_checkable

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]

from diffjax.errors import UserError, warn
from diffjax.training import metrics_file
from diffjax.utils.files import describe_error, write_atomically

__all__ = ["jsonl", "tensorboard", "wandb"]

FLUSH_SECONDS = 5.0  # tensorboardX syncs with the disk at each flush
MAX_BUFFERED = 10_000  # rows that are kept for a writer that fails


@runtime_checkable
class Writer(Protocol):
    """Writes values of a step. Steps fall where a run rewinds. Any exception is handled by `RetryingWriter`."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write the values, also those that are not finite."""
        ...

    def close(self) -> None:
        """Write everything that is left."""
        ...


@runtime_checkable
class WandbRun(Protocol):
    """The methods of `wandb.Run` that are used."""

    def define_metric(self, name: str, *, step_metric: str) -> object: ...

    def log(self, data: dict[str, float]) -> None: ...

    def finish(self) -> None: ...


def jsonl(folder: Path, start: int, about: Mapping[str, object]) -> Writer:
    """metrics.jsonl in the run's folder; lines that a killed run wrote beyond `start`, or damaged, are dropped."""
    return _JsonLines(folder / metrics_file.NAME, start)


def tensorboard(folder: Path, start: int, about: Mapping[str, object]) -> Writer:
    """Event files in tensorboard/; TensorBoard hides what a killed run wrote beyond `start`."""
    return _TensorBoard(folder / "tensorboard", start)


def wandb(folder: Path, start: int, about: Mapping[str, object], project: str = "diffjax", entity: str = "") -> Writer:
    """Weights & Biases: `wandb(project='digits')`. Raises UserError where the package is missing.

    A resumed run keeps its W&B run, by the id in the file wandb_id of its folder; steps beyond `start` are logged
    again, since W&B deletes nothing. WANDB_MODE=offline keeps everything in the folder, for `wandb sync`.
    """
    init = partial(_import_wandb().init, project=project, entity=entity or None, config=dict(about))
    return _WeightsAndBiases(init, folder)


class RetryingWriter:
    """A writer that never raises: rows that another one fails to write are kept and tried again, ever more rarely."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._name = type(writer).__name__.strip("_")
        self._owed: deque[tuple[int, Mapping[str, float]]] = deque()
        self._failures = 0
        self._pause = 0  # calls that only keep their row
        self._lost = 0

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write pending rows, then this one; after the n-th failure in a row, 2ⁿ calls only keep theirs."""
        if len(self._owed) == MAX_BUFFERED:
            self._owed.popleft()
            self._lost += 1
        self._owed.append((step, values))
        if self._pause:
            self._pause -= 1
        else:
            self._write_pending()

    def close(self) -> None:
        """Try a last time, and warn of rows that are missing."""
        self._write_pending()
        try:
            self._writer.close()
        except Exception as error:
            warn(f"{self._name} could not be closed ({describe_error(error)}); its last metrics may be missing")
        if missing := len(self._owed) + self._lost:
            warn(f"{missing} rows of metrics are missing in {self._name}")

    def _write_pending(self) -> None:
        try:
            while self._owed:
                self._writer.write(*self._owed[0])
                self._owed.popleft()
        except Exception as error:
            self._failures += 1
            self._pause = 2**self._failures
            if self._failures == 1:
                message = "training goes on, they are kept, and it is tried again"
                warn(f"metrics cannot be written by {self._name} ({describe_error(error)}); {message}")
        else:
            if self._failures:
                warn(f"metrics are written by {self._name} again")
            self._failures = 0


class _JsonLines:
    """Opens the file for each row, which is written whole or not at all."""

    def __init__(self, path: Path, start: int) -> None:
        self._path = path
        self._start = start
        self._open = False

    def write(self, step: int, values: Mapping[str, float]) -> None:
        if not self._open:
            kept_lines = b"".join(
                metrics_file.format_line(*row) for row in metrics_file.read(self._path) if row.step <= self._start
            )
            write_atomically(self._path, lambda file: file.write(kept_lines))
            self._open = True
        row = metrics_file.format_line(step, values)
        with self._path.open("ab", buffering=0) as file:
            before = file.tell()
            if file.write(row) < len(row):  # the disk is full
                file.truncate(before)
                raise OSError("no room for a whole line")

    def close(self) -> None:
        pass


class _TensorBoard:
    """Writes events itself: the thread of tensorboardX's writer dies of a full disk and then blocks its caller."""

    def __init__(self, folder: Path, start: int) -> None:
        self._folder = folder
        self._purge = start + 1
        self._flushed = time.monotonic()
        self._events: EventsWriter | None = None

    def write(self, step: int, values: Mapping[str, float]) -> None:
        try:
            events = self._events = self._events or self._open()
            summary = Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()])
            events.write_event(Event(wall_time=time.time(), step=step, summary=summary))
            if time.monotonic() - self._flushed > FLUSH_SECONDS:
                events.flush()
                self._flushed = time.monotonic()
        except Exception:
            with suppress(Exception):
                self.close()
            self._events = None  # the next goes to a new file, not after half an event
            self._purge = step
            raise

    def close(self) -> None:
        if self._events is not None:
            self._events.close()

    def _open(self) -> EventsWriter:
        """A new file, which makes TensorBoard hide steps from `_purge` on in the others."""
        self._folder.mkdir(parents=True, exist_ok=True)
        events = EventsWriter(str(self._folder / "events"), f".{os.getpid()}.{self._purge}")
        start = SessionLog(status=SessionLog.START)
        events.write_event(Event(wall_time=time.time(), step=self._purge, session_log=start))
        return events


class _WeightsAndBiases:
    """`step` is a metric and the axis of all others: W&B's own step may never fall, as it does after a kill."""

    def __init__(self, init: Callable[..., WandbRun], folder: Path) -> None:
        self._init = init
        self._folder = folder
        self._run: WandbRun | None = None

    def write(self, step: int, values: Mapping[str, float]) -> None:
        if self._run is None:
            self._run = self._open()
        self._run.log({"step": step, **values})

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()

    def _open(self) -> WandbRun:
        run = self._init(
            name=self._folder.name,
            id=_run_id(self._folder / "wandb_id"),
            resume="allow",
            dir=str(self._folder),
            allow_val_change=True,  # fields that may differ when a run is resumed
        )
        run.define_metric("*", step_metric="step")
        return run


def _run_id(path: Path) -> str:
    """The id in that file, or a new one, which is written there."""
    text = path.read_text(errors="replace").strip() if path.exists() else ""
    if re.fullmatch("[0-9a-f]{16}", text):
        return text
    if path.exists():
        warn(f"{path} holds no id of a W&B run; a new run is begun there")
    new_id = secrets.token_hex(8)
    write_atomically(path, lambda file: file.write(new_id.encode()))
    return new_id


def _import_wandb() -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of deprecations inside the package
            return importlib.import_module("wandb")
    except ImportError:
        raise UserError("wandb is not installed; run: pip install 'diffjax[wandb]'") from None
