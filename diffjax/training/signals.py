"""What a run hears while its main thread is deep in a compiled program: signals to stop, and silence.

Python runs signal handlers in the main thread only, and not while that waits for a compiler or a device. So the number
of a signal is also written into a socket by the interpreter itself, and a thread of its own reads it there.
"""

import faulthandler
import os
import signal
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from diffjax.errors import UserError, warn
from diffjax.utils.files import reason

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Sentry:
    """A context in which SIGTERM and SIGINT ask for an orderly end (`stopping`), a second one ends at once.

    Until the first `beat` there is nothing to lose, and one signal ends the program at once, with exit code 0. A `beat`
    says that a step was finished; where none comes for `hang_limit_s` seconds (0: never mind), that is told, and where
    each thread stands is written to `stacks`.
    """

    def __init__(self, hang_limit_s: float, stacks: Path) -> None:
        if hang_limit_s < 0:
            raise UserError(f"train.hang_limit_s: expected 0 (no limit) or more seconds, got {hang_limit_s}")
        self.stopping = False
        self._limit_s, self._stacks = hang_limit_s, stacks
        self._step: int | None = None
        self._heard_s = time.monotonic()
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Sentry":
        self._fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._fd)
        self._writer.close()  # the thread reads the end of it, and ends
        self._thread.join()
        self._reader.close()

    def beat(self, step: int) -> None:
        """A step was finished."""
        self._step, self._heard_s = step, time.monotonic()

    def _listen(self) -> None:
        while True:
            self._reader.settimeout(self._patience_s())
            try:
                heard = self._reader.recv(1)
            except TimeoutError:
                self._tell_silence()
                continue
            if not heard:
                return
            if heard[0] in SIGNALS:
                self._obey(heard[0])

    def _obey(self, number: int) -> None:
        name = signal.Signals(number).name
        if self.stopping:
            _end(f"{name} again: ending at once; the last checkpoint stays", 128 + number)
        self.stopping = True
        if self._step is None:
            _end(f"{name}: ending; no step was taken, and there is nothing new to save", 0)
        _tell(f"{name}: saving the last finished step, then ending; a second signal ends at once")

    def _patience_s(self) -> float | None:
        """How long until silence is to be told."""
        return max(0.01, self._heard_s + self._limit_s - time.monotonic()) if self._limit_s else None

    def _tell_silence(self) -> None:
        if self._patience_s() != 0.01:  # there was a beat while we waited
            return
        self._heard_s = time.monotonic()  # tell again after as long
        last = (
            "the first step, which compiles, is not finished" if self._step is None else f"the last was {self._step:,}"
        )
        _tell(f"no step was finished for {self._limit_s:g} s ({last}); where each thread stands is in {self._stacks}")
        try:
            self._stacks.parent.mkdir(parents=True, exist_ok=True)
            with self._stacks.open("a") as file:
                faulthandler.dump_traceback(file, all_threads=True)
        except OSError as error:
            _tell(f"{self._stacks}: cannot be written ({reason(error)})")


def _tell(words: str) -> None:
    warn(words, new_line=True)


def _end(words: str, code: int) -> None:
    _tell(words)
    os._exit(code)  # the main thread may not come back for minutes
