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
from diffjax.utils.files import describe_error

SIGNALS = (signal.SIGTERM, signal.SIGINT)
ONE_REQUEST_S = 0.2  # signals within it are one: `timeout` and terminals send to a process and to its group


class SignalMonitor:
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
        self._requested_s = 0.0
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "SignalMonitor":
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
            self._reader.settimeout(self._silence_limit_s())
            try:
                data = self._reader.recv(1)
            except TimeoutError:
                self._report_silence()
                continue
            if not data:
                return
            if data[0] in SIGNALS:
                self._handle(data[0])

    def _handle(self, number: int) -> None:
        name = signal.Signals(number).name
        if self.stopping and time.monotonic() - self._requested_s < ONE_REQUEST_S:
            return
        if self.stopping:
            _exit_process(f"{name} again: ending at once; the last checkpoint stays", 128 + number)
        self.stopping, self._requested_s = True, time.monotonic()
        if self._step is None:
            _exit_process(f"{name}: ending; no step was taken, and there is nothing new to save", 0)
        _print_line(f"{name}: saving the last finished step, then ending; a second signal ends at once")

    def _silence_limit_s(self) -> float | None:
        """How long until silence is to be told."""
        return max(0.01, self._heard_s + self._limit_s - time.monotonic()) if self._limit_s else None

    def _report_silence(self) -> None:
        if self._silence_limit_s() != 0.01:  # there was a beat while we waited
            return
        self._heard_s = time.monotonic()  # tell again after as long
        last = (
            "the first step, which compiles, is not finished" if self._step is None else f"the last was {self._step:,}"
        )
        _print_line(
            f"no step was finished for {self._limit_s:g} s ({last}); where each thread stands is in {self._stacks}"
        )
        try:
            self._stacks.parent.mkdir(parents=True, exist_ok=True)
            with self._stacks.open("a") as file:
                faulthandler.dump_traceback(file, all_threads=True)
        except OSError as error:
            _print_line(f"{self._stacks}: cannot be written ({describe_error(error)})")


def _print_line(words: str) -> None:
    warn(words, new_line=True)


def _exit_process(words: str, code: int) -> None:
    _print_line(words)
    os._exit(code)  # the main thread may not come back for minutes
