"""Signal handling and hang detection on a background thread.

Python runs signal handlers in the main thread alone, and not while that waits for a compiler or a device. But the
interpreter also writes a signal's number into a socket, which the thread reads.
"""

import faulthandler
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType

from diffjax.errors import UserError, warn
from diffjax.utils.files import describe_error

SIGNALS = (signal.SIGTERM, signal.SIGINT)
ONE_REQUEST_S = 0.2  # signals within it count as one: `timeout` and terminals send to a process and to its group


_Handler = Callable[[int, FrameType | None], object] | int | None


class SignalMonitor:
    """A context in which SIGTERM and SIGINT request an orderly end (`stopping`); a second signal exits at once.

    Before the first `beat`, which reports a finished step, nothing can be lost: one signal exits at once, with code 0.
    Where no beat comes for `hang_limit_s` seconds (0: no limit), a warning is printed and the stack of every thread is
    appended to `stacks`. Raises UserError for a negative limit.
    """

    def __init__(self, hang_limit_s: float, stacks: Path) -> None:
        if hang_limit_s < 0:
            raise UserError(f"train.hang_limit_s: expected 0 (no limit) or more seconds, got {hang_limit_s}")
        self.stopping = False
        self._limit_s = hang_limit_s
        self._stacks = stacks
        self._step: int | None = None
        self._heard_s = time.monotonic()
        self._requested_s = 0.0
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._before: dict[signal.Signals, _Handler] = {}

    def __enter__(self) -> "SignalMonitor":
        self._fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._fd)
        self._writer.close()  # which ends the thread
        self._thread.join()
        self._reader.close()

    def beat(self, step: int) -> None:
        """Report that a step was finished."""
        self._step = step
        self._heard_s = time.monotonic()

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
        self.stopping = True
        self._requested_s = time.monotonic()
        if self._step is None:
            _exit_process(f"{name}: ending; no step was taken, and there is nothing new to save", 0)
        _print_line(f"{name}: saving the last finished step, then ending; a second signal ends at once")

    def _silence_limit_s(self) -> float | None:
        """Seconds until the hang limit."""
        return max(0.01, self._heard_s + self._limit_s - time.monotonic()) if self._limit_s else None

    def _report_silence(self) -> None:
        if self._silence_limit_s() != 0.01:  # there was a beat meanwhile
            return
        self._heard_s = time.monotonic()  # warn again after as long
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


def _print_line(text: str) -> None:
    warn(text, new_line=True)


def _exit_process(text: str, code: int) -> None:
    _print_line(text)
    os._exit(code)  # the main thread may not come back for minutes
