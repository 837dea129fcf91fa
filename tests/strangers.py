"""What every file of a stranger is met with."""

import gc
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from diffjax.errors import UserError
from diffjax.utils.files import is_single_line

SECONDS = 1.0  # of this process's own: on a machine that does other things besides, the clock goes on meanwhile


@contextmanager
def alone() -> Iterator[None]:
    """Without what other tests have left in memory being looked through whenever some is freed."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def refused(message: str, *folders: Path) -> Iterator[None]:
    """A UserError of one line within a second; no code of the data's was run, no file below the folders is new."""
    before = {path for folder in folders for path in folder.rglob("*")}
    with alone():
        start = time.process_time()
        with pytest.raises(UserError, match=message) as error:
            yield
        assert time.process_time() - start < SECONDS
    assert is_single_line(str(error.value))
    assert len(str(error.value)) < 1500
    assert {path for folder in folders for path in folder.rglob("*")} == before
    assert "harm" not in sys.modules
