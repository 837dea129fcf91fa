"""Files are written whole or not at all, and what a killed writer left goes before the next write."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from diffjax.errors import UserError
from diffjax.utils import files
from diffjax.utils.files import clear_parts, write_atomically

KILLED = """
import os, signal, sys
from diffjax.utils.files import write_atomically
def die(file):
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
write_atomically(sys.argv[1], die)
"""
WRITING = """
import sys
from diffjax.utils.files import write_atomically
def wait(file):
    print("writing", flush=True)
    sys.stdin.readline()
    file.write(b"whole")
write_atomically(sys.argv[1], wait)
"""
GONE = 2**22 + 1  # more than Linux gives to any process


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def text(path: Path, content: str) -> None:
    write_atomically(path, lambda file: file.write(content.encode()))


def part(folder: Path, process: int, age_s: float = 0.0) -> Path:
    path = folder / f".name.{process}.part"
    path.write_text("half")
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def test_what_a_killed_writer_left_goes_before_the_next_write(tmp_path) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "a"], check=False)
    assert ended.returncode < 0
    (left,) = names(tmp_path)
    assert left.endswith(".part")
    text(tmp_path / "b", "whole")
    assert names(tmp_path) == ["b"]


def test_what_is_being_written_stays_however_old_it_is(tmp_path) -> None:
    command = [sys.executable, "-c", WRITING, str(tmp_path / "a")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
        (path,) = tmp_path.iterdir()
        os.utime(path, (0, 0))
        clear_parts(tmp_path)
        assert path.exists()
        writer.stdin.write("\n")
    assert (tmp_path / "a").read_text() == "whole"
    assert names(tmp_path) == ["a"]


def test_what_another_machine_writes_stays(tmp_path, monkeypatch) -> None:
    """Its process is none of this machine, but it holds the lock."""
    monkeypatch.setattr(files.os, "getpid", lambda: GONE)

    def write(file) -> None:
        clear_parts(tmp_path)
        file.write(b"whole")

    write_atomically(tmp_path / "a", write)
    assert (tmp_path / "a").read_text() == "whole"


@pytest.mark.parametrize(
    ("alive", "age_s", "goes"), [(False, 0.0, True), (True, 0.0, False), (True, 3500.0, False), (True, 3700.0, True)]
)
def test_parts_go_by_their_process_and_age(tmp_path, alive: bool, age_s: float, goes: bool) -> None:
    path = part(tmp_path, os.getpid() if alive else GONE, age_s)
    clear_parts(tmp_path)
    assert path.exists() != goes


def test_what_is_no_part_of_ours_stays(tmp_path, monkeypatch) -> None:
    kept = ["a.1.part", ".a.part", ".a.x.part", f".a.{GONE}.partial"]
    for name in kept:
        (tmp_path / name).write_text("")
    (tmp_path / f".folder.{GONE}.part").mkdir()
    (tmp_path / f".link.{GONE}.part").symlink_to("a.1.part")
    before = names(tmp_path)
    clear_parts(tmp_path)
    assert names(tmp_path) == before
    another = part(tmp_path, GONE)
    monkeypatch.setattr(files.os, "geteuid", lambda: os.getuid() + 1)
    clear_parts(tmp_path)
    assert another.exists()


def test_a_folder_that_is_not_there_has_none(tmp_path) -> None:
    clear_parts(tmp_path / "none")
    assert not names(tmp_path)


@pytest.mark.parametrize("name", ["n" * 255, "é" * 127, os.fsdecode(b"\xff" * 255), "[a]*?\n"], ids=ascii)
def test_a_file_may_have_any_name_that_the_system_takes(tmp_path, name: str) -> None:
    text(tmp_path / name, "whole")
    assert names(tmp_path) == [name]


def test_threads_that_write_one_file_leave_one_of_their_texts(tmp_path) -> None:
    texts = [str(number) * 100_000 for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda content: text(tmp_path / "a", content), texts * 4))
    assert (tmp_path / "a").read_text() in texts
    assert names(tmp_path) == ["a"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path) -> None:
    text(tmp_path / "a", "old")

    def fail(file) -> None:
        file.write(b"half")
        raise OSError("no room")

    with pytest.raises(UserError, match="no room"):
        write_atomically(tmp_path / "a", fail)
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "old"
