"""Seconds of each operation of a program in a trace of `jax.profiler`, device by device."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jax.profiler import ProfileData

from diffjax.profiling.hlo_operations import Program

OTHER_PROGRAMS = "other programs"
WAITING = "waiting for host or data"
_END = "end: "  # the name of the event with which an operation that runs beside its thread ends on a CPU


def newest_trace(folder: Path) -> Path:
    """The newest trace that `jax.profiler` wrote into a folder."""
    return max(folder.rglob("*.xplane.pb"), key=lambda path: path.stat().st_mtime)


class Span(NamedTuple):
    """An operation from `start` to `end`, in nanoseconds; `encloses`: it runs others."""

    start: float
    end: float
    name: str
    encloses: bool = False


def operation_times(trace: Path, program: Program, traced_s: float) -> dict[str, float]:
    """The seconds of each operation of a program in a trace of `traced_s` seconds, the mean over this host's devices.

    Other programs count together as `OTHER_PROGRAMS`, and what is left of the time as `WAITING`. Of operations that run
    at the same time each has an equal share of it. Where the trace names no operations all is `WAITING`.
    """
    spans = _spans_by_device(ProfileData.from_file(str(trace)), program)
    seconds: dict[str, float] = defaultdict(float)
    for of_device in spans.values():
        for name, duration in divide_time(of_device).items():
            seconds[name] += duration / len(spans)
    return {**seconds, WAITING: max(0.0, traced_s - sum(seconds.values()))}


def divide_time(spans: Iterable[Span]) -> dict[str, float]:
    """Seconds of each operation: every moment is divided among the operations that run then.

    One that runs others, such as a loop, has the moments in which none of the others run.
    """
    ordered = list(spans)
    changes = sorted((time, i) for i, span in enumerate(ordered) for time in (span.start, span.end))
    seconds: dict[str, float] = defaultdict(float)
    running: dict[bool, dict[int, str]] = {False: {}, True: {}}  # by `encloses`
    before = 0.0
    for time, i in changes:
        names = running[False] or dict(list(running[True].items())[-1:])
        for name in names.values():
            seconds[name] += (time - before) / len(names) / 1e9
        before = time
        same_kind = running[ordered[i].encloses]
        if same_kind.pop(i, None) is None:
            same_kind[i] = ordered[i].name
    return dict(seconds)


def _spans_by_device(data: Any, program: Program) -> dict[tuple[str, int], list[Span]]:
    """What ran on each device; on accelerators the host's own events, which launch the work, are left out."""
    spans: dict[tuple[str, int], list[Span]] = defaultdict(list)
    for plane in data.planes:
        events = [(event, dict(event.stats)) for line in plane.lines for event in line.events]
        ends = {stats["_c"]: event.end_ns for event, stats in events if event.name.startswith(_END) and "_c" in stats}
        for event, stats in events:
            if "hlo_op" in stats:
                device = str(plane.name), int(stats.get("device_ordinal", 0))
                spans[device].append(_span(event, stats, ends, program))
    on_accelerators = {device: of_device for device, of_device in spans.items() if device[0].startswith("/device:")}
    return on_accelerators or spans


def _span(event: Any, stats: Mapping[str, object], ends: Mapping[object, float], program: Program) -> Span:
    end = max(event.end_ns, ends.get(stats.get("_p"), 0.0))
    operation = program.operations.get(str(stats["hlo_op"]))
    if operation is None or stats.get("hlo_module") != program.name:
        return Span(event.start_ns, end, OTHER_PROGRAMS)
    return Span(event.start_ns, end, str(stats["hlo_op"]), operation.encloses)
