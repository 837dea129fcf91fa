"""What a user waits for, said on stderr after two seconds."""

import sys
import threading
import time

from tqdm import tqdm

FIRST_WAIT_S = 2.0  # after which a user is told what is waited for


def write_line(line: str) -> None:
    """Print a line on stderr, above the bar if there is one."""
    tqdm.write(line, file=sys.stderr)


class Waiting:
    """Says what is waited for, after two seconds and again after each doubling, and at the end how long it took."""

    def __init__(self, name: str, quiet: bool = False) -> None:
        self._name = name
        self._start = time.perf_counter()
        self._ended = threading.Event()
        if quiet:
            self._ended.set()
        else:
            threading.Thread(target=self._tell, daemon=True).start()

    def end(self) -> None:
        """What was waited for is there."""
        if not self._ended.is_set():
            self._ended.set()
            seconds = time.perf_counter() - self._start
            if seconds > FIRST_WAIT_S:
                write_line(f"{self._name}: {seconds:.0f} s")

    def _tell(self) -> None:
        seconds = FIRST_WAIT_S
        while not self._ended.wait(self._start + seconds - time.perf_counter()):
            write_line(f"{self._name} …" if seconds == FIRST_WAIT_S else f"{self._name} …, {seconds:.0f} s so far")
            seconds *= 2
