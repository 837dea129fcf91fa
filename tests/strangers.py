"""What every file of a stranger is met with."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from diffjax.data.vetting import is_plain
from diffjax.errors import UserError

SECONDS = 1.0


@contextmanager
def refused(message: str, *folders: Path) -> Iterator[None]:
    """A UserError of one line within a second; no code of the data's was run, no file below the folders is new."""
    before = {path for folder in folders for path in folder.rglob("*")}
    start = time.perf_counter()
    with pytest.raises(UserError, match=message) as error:
        yield
    assert time.perf_counter() - start < SECONDS
    assert is_plain(str(error.value))
    assert len(str(error.value)) < 1500
    assert {path for folder in folders for path in folder.rglob("*")} == before
    assert "harm" not in sys.modules
