"""Ctrl-C that ends a program in time, also where compiled code runs that Python cannot break into.

Python raises KeyboardInterrupt between two of its own instructions: not within a decomposition of a matrix, and not
while it waits for a device, at its end for all that has been handed to one. So a thread waits for the signal too.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

END_S = 4.0  # after a signal, at the latest
PATIENCE_S = 1.0  # that the main thread has to begin with its last work
EXIT_CODE = 130  # 128 + SIGINT
_DONE = b"\0"


class LastWork:
    """What is done once when a program is stopped, by whichever thread comes to it first."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self._begun = threading.Lock()
        self._over = threading.Event()

    def run(self) -> None:
        """Call it, or wait until it has returned."""
        if self._begun.acquire(blocking=False):
            try:
                self._call()
            finally:
                self._over.set()
        else:
            self._over.wait(END_S)

    @property
    def begun(self) -> bool:
        """Whether a thread has called it."""
        return self._begun.locked()


@contextmanager
def ended_in_time(call: Callable[[], object]) -> Iterator[None]:
    """On SIGINT or SIGTERM within it, `call` is called once, and the process ends within `END_S` seconds.

    As a rule the main thread calls it and goes on with KeyboardInterrupt; where it does not come to that within
    `PATIENCE_S`, a thread calls it, and ends the process with exit code 130. Elsewhere than in the main thread of a
    program nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    last = LastWork(call)
    read, write = os.pipe()
    os.set_blocking(write, False)
    before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    handlers = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    threading.Thread(target=_watch, args=(read, last), daemon=True).start()
    try:
        yield
        os.write(write, _DONE)
    except KeyboardInterrupt:
        last.run()
        raise
    except BaseException:
        os.write(write, _DONE)
        raise
    finally:
        signal.set_wakeup_fd(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(write)


def _watch(read: int, last: LastWork) -> None:
    number = os.read(read, 1)
    os.close(read)
    if number in (_DONE, b""):
        return
    end = threading.Timer(END_S, _end)
    end.daemon = True
    end.start()
    threading.Event().wait(PATIENCE_S)
    if not last.begun:
        last.run()
        _end()


def _end() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(EXIT_CODE)
