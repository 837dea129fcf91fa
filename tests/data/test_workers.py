"""Decoding by processes: equal bits for any number, no JAX in them, and an end in one line whatever happens."""

import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from streams import stream
from test_folder import WHOLE, picture, save
from test_framing import with_sketches

from diffjax.data import Dataset, Split, open_dataset
from diffjax.data.aspect_buckets import buckets
from diffjax.data.condition_batches import build_parts
from diffjax.data.condition_parts import feature, low_res
from diffjax.data.decoding_process import Task
from diffjax.data.decoding_processes import decode_in_processes
from diffjax.data.fits import random_crop
from diffjax.data.pictures import PictureRules
from diffjax.data.raw_batches import ReadAhead
from diffjax.data.reading import Reader
from diffjax.data.unreadable import skip
from diffjax.errors import UserError

END_S = 10.0  # in which all processes are gone


def workers_of(parent: int) -> list[int]:
    """The processes that decode for another one."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, IndexError):
            text = path.read_text()
            fields = text.rpartition(")")[2].split()
            command = (path.parent / "cmdline").read_bytes()
            if int(fields[1]) == parent and fields[0] != "Z" and b"decoding_process" in command:
                found.append(int(path.parent.name))
    return found


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + END_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def none_left() -> Iterator[None]:
    yield
    wait_until(lambda: not workers_of(os.getpid()))


def folder(root: Path, count: int = 10) -> None:
    for i in range(count):
        save(root / "ab"[i % 2] / f"{i:02}.png", picture(i, size=(20, 24 + i % 3)))


def take(dataset: Dataset, count: int, workers: int, **options: Any) -> list[Any]:
    ahead = ReadAhead(workers=workers, megabytes=1)
    batches = stream(dataset, "train", **{"batch_size": 4, "seed": 3, "resident": False, "ahead": ahead, **options})
    found = [jax.tree.map(np.asarray, batch) for batch in itertools.islice(batches, count)]
    batches.close()
    return found


def same(ours: list[Any], theirs: list[Any]) -> None:
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize("kind", ["sketches", "random", "buckets"])
def test_any_number_of_processes_gives_the_bits_of_threads(kind: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {}
    if kind == "sketches":
        dataset = open_dataset(with_sketches(tmp_path, (12, 20)), image_size=8, fit=random_crop(9.0), rule=WHOLE)
        options["parts"] = build_parts([feature("sketch"), low_res(factor=2)], dataset)
    else:
        folder(tmp_path)
        several = buckets(64, 2, min_pictures=1) if kind == "buckets" else 8
        fit = random_crop() if kind == "random" else None
        dataset = open_dataset(f"folder:{tmp_path}", image_size=several, fit=fit, rule=WHOLE)
    threads = take(dataset, 7, 0, **options)
    same(take(dataset, 7, 2, **options), threads)
    if kind == "random":
        same(take(dataset, 2, 3, start_step=5, **options), threads[5:])
        parts = [take(dataset, 3, 1, host=host, hosts=2, **options) for host in range(2)]
        joined = [jax.tree.map(lambda *rows: np.concatenate(rows), *each) for each in zip(*parts, strict=True)]
        same(joined, threads[:3])


def test_a_process_that_decodes_loads_neither_jax_nor_grain_nor_tfds() -> None:
    """Of what a folder, shards, arrays and Hugging Face need."""
    modules = "decoding_process, folder, shards, hf_source, array_source, decoded_pictures"
    code = f"import sys; from diffjax.data import {modules}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"jax", "jaxlib", "grain", "tensorflow_datasets", "flax", "absl"} & {*loaded}


def test_a_file_that_is_gone_is_named_as_threads_name_it(tmp_path: Path) -> None:
    folder(tmp_path)
    dataset = open_dataset(f"folder:{tmp_path}", image_size=8, rule=WHOLE)
    (tmp_path / "a" / "04.png").unlink()
    messages = []
    for workers in (0, 2):
        with pytest.raises(UserError, match=r"04\.png: was deleted since the set was opened; start again") as refused:
            take(dataset, 9, workers)
        messages.append(str(refused.value))
    assert messages[0] == messages[1]


def test_the_next_of_its_class_is_read_in_its_place_and_said_once(tmp_path: Path, capfd) -> None:
    folder(tmp_path)
    rules = PictureRules(unreadable=skip(share=0.2))
    found, again = (open_dataset(f"folder:{tmp_path}", image_size=8, rule=WHOLE, pictures=rules) for _ in range(2))
    (tmp_path / "a" / "04.png").unlink()
    same(take(found, 12, 2), take(again, 12, 0))
    assert capfd.readouterr().err.count("04.png: was deleted since the set was opened; the next picture") == 2
    (tmp_path / "b" / "05.png").unlink()
    (tmp_path / "b" / "07.png").unlink()
    with pytest.raises(UserError, match=r"0[57]\.png: was deleted"):
        take(found, 12, 2)


def test_a_process_that_is_killed_is_said_in_one_line(tmp_path: Path) -> None:
    folder(tmp_path)
    dataset = open_dataset(f"folder:{tmp_path}", image_size=8, rule=WHOLE)
    batches = stream(dataset, "train", 4, 0, resident=False, ahead=ReadAhead(workers=2))
    next(batches)
    os.kill(workers_of(os.getpid())[0], signal.SIGKILL)
    with pytest.raises(UserError, match=r"^data\.workers: .*SIGKILL") as refused:
        list(itertools.islice(batches, 200))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_a_group_leaves_the_end_to_the_first_process(number: signal.Signals, tmp_path: Path) -> None:
    folder(tmp_path)
    dataset = open_dataset(f"folder:{tmp_path}", image_size=8, rule=WHOLE)
    batches = stream(dataset, "train", 4, 3, resident=False, ahead=ReadAhead(workers=2, megabytes=1))
    next(batches)
    next(batches)  # of the other process: both have begun
    for child in workers_of(os.getpid()):
        os.kill(child, number)
    found = [np.asarray(next(batches)["x"]) for _ in range(80)]  # more than were ahead
    batches.close()
    same(found, [batch["x"] for batch in take(dataset, 82, 0)][2:])


def test_no_more_batches_are_asked_for_than_there_is_memory_for(tmp_path: Path) -> None:
    """One ahead and one at work for each of two processes, and what takes the place of the one that was taken."""
    folder(tmp_path)
    source = open_dataset(f"folder:{tmp_path}", image_size=8, rule=WHOLE).split("train")
    asked = itertools.count()
    last = 0

    def task_of(step: int) -> Task:
        nonlocal last
        last = next(asked)
        return Task(4 * step, np.arange(4))

    batches = decode_in_processes(Reader(source, (), 0), task_of, 0, 2, 1)
    next(batches)
    time.sleep(1.0)
    assert 2 <= last + 1 <= 5
    batches.close()


def test_fewer_processes_than_were_asked_for_are_said(tmp_path: Path, capfd) -> None:
    folder(tmp_path)
    dataset = open_dataset(f"folder:{tmp_path}", image_size=400, rule=WHOLE)
    take(dataset, 1, 3)
    assert re.search(r"data\.workers: 1 of 3 .*data\.ahead_mb", capfd.readouterr().err)


def test_a_set_that_cannot_be_sent_is_refused_by_the_field() -> None:
    lock = threading.Lock()

    def fetch(i: int) -> tuple[Any, int]:
        with lock:
            return lambda: np.zeros((2, 2, 1), np.uint8), 0

    dataset = Dataset("ours", (2, 2, 1), 0, (), 256, {"train": Split(np.arange(4), fetch)})
    with pytest.raises(UserError, match=r"^data\.workers: .*set 0"):
        take(dataset, 1, 1)
    assert take(dataset, 1, 0)[0]["x"].shape == (4, 2, 2, 1)


def test_a_fault_of_the_program_is_reported_with_its_trace() -> None:
    def fetch(i: int) -> tuple[Any, int]:
        return lambda: np.full((2, 2, 1), 9 // abs(i - 2), np.uint8), 0

    dataset = Dataset("ours", (2, 2, 1), 0, (), 256, {"train": Split(np.arange(4), fetch)})
    with pytest.raises(RuntimeError, match=r"(?s)decodes pictures failed.*ZeroDivisionError"):
        take(dataset, 2, 1)


SCRIPT = """
import itertools, sys
from diffjax.data import BatchConfig, batches, open_dataset
from diffjax.data.raw_batches import ReadAhead
if __name__ == "__main__":
    dataset = open_dataset(sys.argv[1], image_size=8)
    for batch in batches(dataset, "train", BatchConfig(4, 0, resident=False, ahead=ReadAhead(workers=2))):
        print("batch", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_ctrl_c_and_a_kill_of_the_first_process_end_all(number: signal.Signals, tmp_path: Path) -> None:
    """To the group, as a terminal sends it; no process prints a trace but the one that was interrupted."""
    folder(tmp_path / "set")
    (tmp_path / "script.py").write_text(SCRIPT)
    options: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    first = subprocess.Popen([sys.executable, tmp_path / "script.py", f"folder:{tmp_path / 'set'}"], **options)
    assert first.stdout is not None
    assert first.stdout.readline() == "batch\n"
    children = workers_of(first.pid)
    assert len(children) == 2
    if number == signal.SIGINT:
        os.killpg(first.pid, number)
    else:
        first.kill()
    _, errors = first.communicate(timeout=60)
    wait_until(lambda: not any(Path(f"/proc/{child}").exists() for child in children))
    assert len(re.findall("Traceback", errors)) == (number == signal.SIGINT)


def test_tasks_and_batches_larger_than_the_buffers_of_a_socket_pass_each_other() -> None:
    def fetch(i: int) -> tuple[Any, int]:
        return lambda: np.full((1, 4, 1), i % 256, np.uint8), 0

    dataset = Dataset("ours", (1, 4, 1), 0, (), 256, {"train": Split(np.arange(500), fetch)})
    large = take(dataset, 3, 1, batch_size=100_000)
    assert [len(batch["x"]) for batch in large] == [100_000] * 3


def test_memory_for_batches_ahead_is_bounded() -> None:
    ahead = ReadAhead(workers=4, megabytes=100)
    assert ahead.batches(10**7) == 10
    assert ahead.batches(10**9) == 1
    assert ahead.batches(1) == 32
    for options in ({"workers": -1}, {"megabytes": 0}):
        with pytest.raises(UserError, match=r"^data\.(workers|ahead_mb): "):
            ReadAhead(**options)
