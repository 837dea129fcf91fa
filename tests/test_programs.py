"""Compiled programs are kept between processes: bounded, of whole files, and where JAX's settings leave it to us."""

import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from diffjax.utils import programs

COMPILE = """
import jax, sys
from diffjax.utils.programs import keep_programs
print(keep_programs())
jax.jit(lambda x: x * 2 + 1)(3.0)
"""


def start(home: Path, **environment: str) -> tuple[str, list[Path]]:
    """What a process says, and the programs of its user after it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XDG_", "DIFFJAX_"))}
    ended = subprocess.run(
        [sys.executable, "-c", COMPILE],
        env={**kept, "HOME": str(home), "JAX_PLATFORMS": "cpu", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not ended.stderr
    return ended.stdout.strip(), sorted((home / ".cache").glob("diffjax/programs/*/*-cache"))


def test_a_second_process_finds_the_programs_of_the_first(tmp_path: Path) -> None:
    said, first = start(tmp_path)
    assert said == "True"
    assert first
    times = [path.stat().st_mtime_ns for path in first]
    _, second = start(tmp_path)
    assert second == first
    assert [path.stat().st_mtime_ns for path in second] == times


@pytest.mark.parametrize(
    "setting", [{"JAX_ENABLE_COMPILATION_CACHE": "0"}, {"JAX_COMPILATION_CACHE_DIR": "{home}/own"}]
)
def test_settings_of_jax_decide(setting: dict[str, str], tmp_path: Path) -> None:
    said, found = start(tmp_path, **{name: value.format(home=tmp_path) for name, value in setting.items()})
    assert said == "False"
    assert not found


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / ".cache").write_text("a file")
    assert start(tmp_path) == ("False", [])


def write(path: Path, size: int, age_s: float, now: float = 1e9) -> Path:
    path.write_bytes(b"-" * size)
    os.utime(path, (now - age_s, now - age_s))
    return path


def test_the_oldest_programs_go_first(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{age}-cache", 10, age) for age in range(6)]
    programs.tidy(tmp_path, max_bytes=35)
    assert [path.exists() for path in files] == [True, True, True, False, False, False]


def test_programs_that_are_cut_off_are_deleted(tmp_path: Path) -> None:
    whole = zlib.compress(os.urandom(1000))
    (tmp_path / "whole-cache").write_bytes(whole)
    (tmp_path / "cut-cache").write_bytes(whole[:-7])
    (tmp_path / "empty-cache").write_bytes(b"")
    (tmp_path / "other-cache").write_bytes(b"\x28\xb5\x2f\xfdof another compression")
    programs.tidy(tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*-cache")) == ["other-cache", "whole-cache"]
