"""What a run tells: every writer gets every value, a damaged file is survived, and no writer can stop the training."""

import json
import math
import struct
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from diffjax.errors import UserError
from diffjax.experiment import build
from diffjax.training import metric_writers, metrics_file, running_means
from diffjax.training.metrics_file import MetricsRow
from diffjax.training.progress import Log, RunLength
from diffjax.utils import waiting


class Rows:
    """A writer that keeps what it is given, and fails at the calls that it is told."""

    def __init__(self, failing: tuple[int, ...] = ()) -> None:
        self.rows, self.calls, self.failing, self.closed = [], 0, failing, False

    def write(self, step, values) -> None:
        self.calls += 1
        if self.calls in self.failing:
            raise OSError(28, "No space left on device")
        self.rows.append((step, dict(values)))

    def close(self) -> None:
        self.closed = True


def made(text: str, folder: Path, start: int = 0, **about):
    return build.build_writers((text,), folder=folder, start=start, about=about)[0]


def logged(*given, steps: int = 6, every: int = 2, dispatch: int = 1, told=lambda log, step: None) -> None:
    """A run, watched at each dispatch: the loss of step n is n."""
    log = Log(given, RunLength(0, steps, every, 4), quiet=True)
    for step in range(dispatch, steps + 1, dispatch):
        log.log_steps(step, {"loss": np.arange(step - dispatch + 1, step + 1, dtype=np.float32)})
        told(log, step)
    log.close()


@pytest.mark.parametrize("dispatch", [1, 2, 3, 6])
def test_each_interval_is_its_mean_for_every_writer(dispatch) -> None:
    """However long a dispatch is."""
    one, other = Rows(), Rows()
    logged(one, other, dispatch=dispatch)
    assert [(step, values["loss"]) for step, values in one.rows] == [(2, 1.5), (4, 3.5), (6, 5.5)]
    assert one.rows == other.rows
    assert one.closed
    assert other.closed


def loss_log(writer, first: int, last: int, dispatch: int = 1, sums=None) -> Log:
    """The log of a run of 12 steps from step `first` to step `last`, each loss a number of its own."""
    log = Log([writer], RunLength(first, 12, 5, 4), quiet=True, sums=sums)
    losses = np.random.default_rng(0).normal(size=12).astype(np.float32)
    for step in range(first, last, dispatch):
        log.log_steps(min(step + dispatch, last), {"loss": losses[step : min(step + dispatch, last)]})
    return log


@pytest.mark.parametrize("dispatch", [1, 3])
@pytest.mark.parametrize("stop", range(1, 12))
def test_a_run_that_stops_at_any_step_logs_the_means_of_one_that_does_not(stop, dispatch) -> None:
    straight, stopped = Rows(), Rows()
    loss_log(straight, 0, 12)
    saved = json.loads(json.dumps(loss_log(stopped, 0, stop, dispatch).sums))
    loss_log(stopped, stop, 12, dispatch, running_means.parse_sums(saved, stop))
    means = [[(step, values["loss"]) for step, values in rows.rows] for rows in (straight, stopped)]
    assert [step for step, _ in means[0]] == [5, 10, 12]
    assert means[0] == means[1]


@pytest.mark.parametrize("pair", [3.0, [3.0], [3, 2], [3.0, 0], [3.0, 8], [3.0, True], ["3", 2], [3.0, 1, 1]], ids=str)
def test_running_sums_that_cannot_be_are_not_taken(pair) -> None:
    """A manifest that somebody rewrote begins the means anew; 8 are more steps than were taken."""
    assert running_means.parse_sums({"loss": [3.0, 2]}, 7) == {"loss": (3.0, 2)}
    assert running_means.parse_sums({"loss": [3.0, 2], "other": pair}, 7) == {}
    assert running_means.parse_sums([pair], 7) == {}


def test_the_speed_leaves_out_the_interval_that_compiled() -> None:
    rows = Rows()
    logged(rows)
    assert ["images_per_second" in values for _, values in rows.rows] == [False, True, True]
    assert all(values.get("images_per_second", 1) > 0 for _, values in rows.rows)


def test_what_is_told_is_written_at_once() -> None:
    """So that no checkpoint is ahead of its metrics."""
    rows, seen = Rows(), []
    logged(rows, told=lambda log, step: seen.append(len(rows.rows)))
    assert seen == [0, 1, 1, 2, 2, 3]


def test_values_that_come_now_and_then_join_their_step(tmp_path) -> None:
    def validate(log, step) -> None:
        if step in (3, 4):
            log.log_values(step, {"validation_loss": step / 8})

    logged(made("jsonl", tmp_path), told=validate)
    read = metrics_file.read(tmp_path / metrics_file.NAME)
    assert [step for step, _ in read] == [2, 3, 4, 6]
    assert read[1][1] == {"validation_loss": 0.375}
    assert read[2][1].keys() == {"loss", "images_per_second", "validation_loss"}


def test_a_run_that_goes_back_tells_its_steps_again(tmp_path) -> None:
    writer = made("jsonl", tmp_path)
    for step, loss in ((10, 1.0), (20, 2.0), (30, 3.0), (20, 4.0)):
        writer.write(step, {"loss": loss})
    assert metrics_file.read(tmp_path / metrics_file.NAME) == [
        MetricsRow(10, {"loss": 1.0}),
        MetricsRow(20, {"loss": 4.0}),
    ]


def test_what_is_not_finite_is_told_as_it_is() -> None:
    rows = Rows()
    log = Log([rows], RunLength(0, 2, 2, 1), quiet=True)
    log.log_steps(2, {"loss": np.array([np.inf, -np.inf]), "one": np.array([np.inf, 1.0])})
    log.close()
    assert math.isnan(rows.rows[0][1]["loss"])
    assert rows.rows[0][1]["one"] == math.inf


def test_a_writer_that_fails_for_a_while_misses_nothing(capsys) -> None:
    """Calls 2 and 3 fail: it is told once, tried again after a pause, and all rows come, in order."""
    failing, fine = Rows((2, 3)), Rows()
    logged(failing, fine, steps=24)
    assert failing.rows == fine.rows
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    assert "Rows (No space left on device)" in told[0]
    assert "Rows" in told[1]


def test_a_writer_that_always_fails_is_asked_rarely_and_its_loss_is_told(capsys) -> None:
    failing = Rows(tuple(range(1000)))
    logged(failing, steps=400)
    assert failing.rows == []
    assert failing.calls < 12
    first, last = capsys.readouterr().err.splitlines()
    assert "Rows" in first
    assert "200 rows" in last


def test_every_line_is_json_and_reads_back(tmp_path) -> None:
    """Whatever the float: JSON itself has no word for what is not finite."""
    values = {"a": 0.1, "b": -1e-300, "nan": math.nan, "up": math.inf, "down": -math.inf}
    writer = made("jsonl", tmp_path)
    writer.write(3, values)
    json.loads((tmp_path / metrics_file.NAME).read_text(), parse_constant=pytest.fail)
    ((step, back),) = metrics_file.read(tmp_path / metrics_file.NAME)
    assert step == 3
    np.testing.assert_array_equal([*back.values()], [*values.values()])


JUNK = {
    "half": b'{"step": 20, "lo',
    "binary": b"\x00\xff\xfe{}\x80",
    "flipped": b'{"step": 20, "loss": 0.5]',
    "bare NaN": b'{"step": 20, "loss": NaN}',
    "too large": b'{"step": 20, "loss": 1e999}',
    "huge": b'{"step": ' + b"9" * 5000 + b"}",
    "no step": b'{"loss": 0.5}',
    "no integer": b'{"step": 20.0, "loss": 0.5}',
    "truth": b'{"step": true, "loss": 0.5}',
    "text": b'{"step": 20, "loss": "low"}',
    "list": b"[20, 0.5]",
    "number": b"20",
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_damaged_lines_are_left_out_and_counted(junk, place, tmp_path, capsys) -> None:
    whole = [metrics_file.format_line(10, {"loss": 0.5}), metrics_file.format_line(30, {"loss": 0.25})]
    whole.insert(place, junk + b"\n" * (place < 2))
    (tmp_path / metrics_file.NAME).write_bytes(b"".join(whole))
    assert metrics_file.read(tmp_path / metrics_file.NAME) == [
        MetricsRow(10, {"loss": 0.5}),
        MetricsRow(30, {"loss": 0.25}),
    ]
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1
    assert "1 of 3 lines" in told


def test_no_flipped_bit_and_no_cut_stops_a_reader(tmp_path) -> None:
    whole = metrics_file.format_line(10, {"loss": 0.5, "bad": math.nan}) + metrics_file.format_line(20, {"loss": 0.25})
    flipped = (
        whole[:byte] + bytes([whole[byte] ^ (1 << bit)]) + whole[byte + 1 :]
        for byte in range(len(whole))
        for bit in range(8)
    )
    for damaged in (*flipped, *(whole[:cut] for cut in range(len(whole)))):
        (tmp_path / metrics_file.NAME).write_bytes(damaged)
        assert len(metrics_file.read(tmp_path / metrics_file.NAME)) <= 3


def test_no_file_holds_nothing_and_one_that_cannot_be_read_is_named(tmp_path) -> None:
    assert metrics_file.read(tmp_path / metrics_file.NAME) == []
    (tmp_path / metrics_file.NAME).mkdir()
    with pytest.raises(UserError, match=metrics_file.NAME):
        metrics_file.read(tmp_path / metrics_file.NAME)


def test_lines_beyond_the_checkpoint_are_dropped_when_a_run_goes_on(tmp_path, capsys) -> None:
    path = tmp_path / metrics_file.NAME
    path.write_bytes(
        b"".join(metrics_file.format_line(step, {"loss": step / 10}) for step in (10, 20, 30)) + b'{"step": 40, "lo'
    )
    writer = made("jsonl", tmp_path, start=20)
    assert path.read_bytes().count(b"\n") == 3, "nothing is written before there is something to say"
    writer.write(25, {"loss": 1.0})
    assert [row.step for row in metrics_file.read(path)] == [10, 20, 25]
    assert "1 of 4 lines" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_stops_no_training(tmp_path, capsys) -> None:
    writer = made("jsonl", tmp_path)
    writer.write(1, {"loss": 1.0})
    (tmp_path / metrics_file.NAME).unlink()
    (tmp_path / metrics_file.NAME).symlink_to("/dev/full")
    logged(writer)
    told = capsys.readouterr().err
    assert "No space left on device" in told
    assert "3 rows" in told


def events(folder: Path) -> list[Event]:
    """What TensorBoard reads: records of a length, its check, the event and its check, in all files."""
    found = []
    for path in sorted(folder.glob("*tfevents*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (size,) = struct.unpack("Q", data[at : at + 8])
            found.append(Event.FromString(data[at + 12 : at + 12 + size]))
            at += size + 16
    return found


def test_tensorboard_gets_every_value_and_hides_what_a_killed_run_wrote(tmp_path) -> None:
    for start in (0, 20):
        writer = made("tensorboard", tmp_path, start=start)
        assert len([*tmp_path.rglob("*tfevents*")]) == start // 20
        for step in (10, 30):
            writer.write(start + step, {"loss": 0.5, "bad": math.nan})
        writer.close()
    first, second = sorted((tmp_path / "tensorboard").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert first != second
    told = events(tmp_path / "tensorboard")
    assert [(event.step, event.summary.value[0].tag) for event in told if event.summary.value] == [
        (step, "loss") for step in (10, 30, 30, 50)
    ]
    assert all(math.isnan(event.summary.value[1].simple_value) for event in told if event.summary.value)
    starts = [event.step for event in told if event.HasField("session_log")]
    assert starts == [1, 21], "TensorBoard purges what is at or beyond the step of a start"


def test_a_broken_tensorboard_file_is_left_and_another_begun(tmp_path, monkeypatch, capsys) -> None:
    writer = metric_writers.RetryingWriter(made("tensorboard", tmp_path))
    writer.write(1, {"loss": 1.0})
    with monkeypatch.context() as broken:
        broken.setattr(metric_writers.EventsWriter, "write_event", lambda self, event: Path("/").write_text("no file"))
        writer.write(2, {"loss": 2.0})
    for step in range(3, 6):
        writer.write(step, {"loss": float(step)})
    writer.close()
    told = [event.step for event in events(tmp_path / "tensorboard") if event.summary.value]
    assert sorted(set(told)) == [1, 2, 3, 4, 5]
    assert capsys.readouterr().err.count("TensorBoard") == 2


class FakeRun:
    def __init__(self, settings: dict) -> None:
        self.settings, self.logged, self.axes, self.finished = settings, [], [], False

    def define_metric(self, name: str, step_metric: str) -> None:
        self.axes.append((name, step_metric))

    def log(self, values: dict) -> None:
        self.logged.append(values)

    def finish(self) -> None:
        self.finished = True


@pytest.fixture
def runs(monkeypatch) -> list[FakeRun]:
    """W&B's runs, by a package that stands in for it."""
    begun: list[FakeRun] = []
    package = types.ModuleType("wandb")
    package.__dict__["init"] = lambda **settings: begun.append(FakeRun(settings)) or begun[-1]
    monkeypatch.setitem(sys.modules, "wandb", package)
    return begun


def test_a_run_that_goes_on_keeps_its_wandb_run(runs, tmp_path) -> None:
    for start in (0, 2):
        writer = made("wandb(project='digits')", tmp_path / "run", start=start, seed=3)
        assert len(runs) == start // 2, "no connection before there is something to say"
        logged(writer)
    first, second = runs
    assert first.settings == second.settings
    assert first.settings["project"] == "digits"
    assert (first.settings["config"], first.settings["resume"]) == ({"seed": 3}, "allow")
    assert [values["step"] for values in first.logged] == [2, 4, 6]
    assert first.axes == [("*", "step")]
    assert first.finished


def test_an_id_that_is_damaged_begins_another_run_and_is_told(runs, tmp_path, capsys) -> None:
    (tmp_path / "wandb_id").write_bytes(b"\xff\x00../")
    made("wandb", tmp_path).write(1, {"loss": 1.0})
    assert runs[0].settings["id"] == (tmp_path / "wandb_id").read_text()
    assert "wandb_id" in capsys.readouterr().err


def test_wandb_is_asked_for_by_name_when_it_is_missing(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r"^train\.writers: .*pip install 'diffjax\[wandb\]'$"):
        made("wandb", tmp_path)
    assert not [*tmp_path.iterdir()]


def test_each_writer_once(tmp_path) -> None:
    with pytest.raises(UserError, match=r"^train\.writers: "):
        build.build_writers(("jsonl", "jsonl()"), folder=tmp_path, start=0, about={})


def test_a_long_wait_is_told_and_how_long_it_took(capsys, monkeypatch) -> None:
    monkeypatch.setattr(waiting, "FIRST_WAIT_S", 0.05)
    wait = waiting.Waiting("compiling")
    time.sleep(0.25)
    wait.end()
    wait.end()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "compiling …"
    assert [line.startswith("compiling: ") for line in lines].count(True) == 1


def test_a_short_wait_is_not_told(capsys) -> None:
    waiting.Waiting("compiling").end()
    assert capsys.readouterr().err == ""


def test_lines_say_the_time_that_is_left(capsys) -> None:
    log = Log([], RunLength(0, 7300, 100, 64), quiet=False)
    log.log_values(100, {"loss": 1.0, "images_per_second": 128.0})
    log.close()
    assert capsys.readouterr().err.splitlines()[-1].endswith(", 1 h 0 min left")
