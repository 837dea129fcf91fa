"""docs/reliability.md: one template, filled with what was measured, here or earlier (docs/reliability.json)."""

import json
import os
import platform
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from diffjax.utils.files import write_atomically
from reliable.runs import KEEP, ROOT

PAGE, FIGURES = ROOT / "docs" / "reliability.md", ROOT / "docs" / "reliability.json"
Result = Mapping[str, Any]


class Row(NamedTuple):
    """What is asked for, what a result says in words, and whether that is what was asked for."""

    asked: str
    says: Callable[[Result], str]
    holds: Callable[[Result], bool]


def _kills(r: Result) -> str:
    kinds = ", ".join(f"{many} {kind}" for kind, many in sorted(r["kinds"].items()))
    work = f"most work lost {r['most_steps_lost'] / r['save_every_steps']:.2f} save intervals"
    ends = f"{r['runs_equal']} of {r['runs']} runs equal to the uninterrupted one in every bit of state and trace"
    safe = f"{r['checkpoints_lost']} committed checkpoints lost, {r['repairs']} repairs by hand"
    kept = f"{r['runs_kept']} hold exactly the last {KEEP} checkpoints"
    return f"{r['kills']} kills ({kinds}): {safe}, {r['stale']} resumed from an older one; {work}; {ends}; {kept}"


def _stops(r: Result) -> str:
    codes = ", ".join(f"{code} ({many} times)" for code, many in r["codes"].items())
    saved = f"last step saved {r['saved']} times"
    made = f"{r['stops']} stops, {r['while_stepping']} of them between steps"
    return f"{made}: exit code {codes}, slowest {r['slowest_seconds']:.1f} s, {saved}"


def _endurance(r: Result) -> str:
    (warm, late), (before, after) = r["megabytes"], r["open_files"]
    memory = f"{warm:.0f} MB after the first tenth, {late:.0f} MB in the last ({100 * r['drift']:+.1f} %)"
    files = f"open files {before[0]} and {after[0]} between saves"
    kept = f"exactly the last {KEEP} checkpoints" if r["kept_exactly"] else "other checkpoints than the last"
    return f"{r['steps']:,} steps, {r['saves']} saves: {memory}; {files}; {kept} left"


def _damage(r: Result) -> str:
    kinds = ", ".join(f"{many} {kind}" for kind, many in sorted(r["kinds"].items()))
    told = (
        f"named {r['named']} times, the last good step taken {r['previous']} times, nothing deleted {r['kept']} times"
    )
    return f"{sum(r['kinds'].values())} damages of a checkpoint of {r['files']} files ({kinds}): {told}"


def _wrong(r: Result) -> str:
    ways = f"{r['ways']} ways: {r['caught']} caught at their step, {r['obeyed']} ended as the policy says"
    return f"{ways}; {r['bad_checkpoints']} of {r['checkpoints']} checkpoints bad"


def _guard(r: Result) -> str:
    times = (
        f"{100 * r['cost']:+.1f} % of the time of a step of 64 images, {100 * r['cost_of_256']:+.1f} % of one of 256"
    )
    return f"{times}, {100 * r['memory']:+.2f} % of its memory ({r['net']}, median of {r['pairs']} interleaved pairs)"


ROWS: dict[str, Row] = {
    "kills": Row(
        "`kill -9` at any moment costs at most the work of one save interval: no committed checkpoint, no repair, no "
        "bit of the result",
        _kills,
        lambda r: (
            not (r["checkpoints_lost"] or r["repairs"] or r["stale"])
            and r["most_steps_lost"] <= r["save_every_steps"]
            and r["runs_equal"] == r["runs_kept"] == r["runs"]
        ),
    ),
    "stops": Row(
        "SIGTERM: the last step is saved, exit code 0, within 10 s",
        _stops,
        lambda r: set(r["codes"]) == {"0"} and r["slowest_seconds"] <= 10 and r["saved"] == r["stops"],
    ),
    "cuts": Row(
        "Resumed at a random step, a run is the uninterrupted one in every bit",
        lambda r: (
            f"{r['cuts']} cuts of {r['steps']} steps: state equal {r['states_equal']} times, trace of losses "
            f"{r['traces_equal']} times"
        ),
        lambda r: r["states_equal"] == r["traces_equal"] == r["cuts"],
    ),
    "spread": Row(
        "The number of devices changes no example and no loss beyond 1e-5",
        lambda r: (
            f"{', '.join(map(str, r['devices']))} devices, {r['steps']} steps: losses differ by "
            f"{r['largest_difference']:.1e} at most (relative), {r['steps_of_other_examples']} steps of other examples"
        ),
        lambda r: r["largest_difference"] <= 1e-5 and r["steps_of_other_examples"] == 0,
    ),
    "carried": Row(
        "A checkpoint does not know the number of devices",
        lambda r: (
            f"{' → '.join(map(str, r['way']))} devices: equal in every bit after {r['equal']} of {len(r['way']) - 1} "
            "moves"
        ),
        lambda r: r["equal"] == len(r["way"]) - 1,
    ),
    "damage": Row(
        "A flipped bit, a cut or deleted file, an empty or half-renamed folder: named, and the last good step is taken",
        _damage,
        lambda r: r["named"] == r["previous"] == r["kept"] == sum(r["kinds"].values()),
    ),
    "wrong": Row(
        "A NaN in batch, gradient, parameters or average: caught at its step, the policy obeyed, no bad checkpoint",
        _wrong,
        lambda r: r["ways"] == r["caught"] == r["obeyed"] and not r["bad_checkpoints"],
    ),
    "guard": Row("To look for it takes at most 1 % of a step", _guard, lambda r: r["cost"] <= 0.01),
    "endurance": Row(
        "A long run leaks nothing: memory within 5 %, open files constant",
        _endurance,
        lambda r: abs(r["drift"]) < 0.05 and r["open_files"][0][0] == r["open_files"][1][0] and r["kept_exactly"],
    ),
}

TESTED = {  # what tests say on every run of theirs, and where
    "A disk that is full at any moment of a save: one line, training goes on, nothing good is deleted": (
        "tests/training/test_full_disk.py"
    ),
    "A checkpoint, a config, a file of weights made to do harm: refused in a second, no code run, nothing written": (
        "tests/test_hostile_runs.py"
    ),
    "A damaged metrics.jsonl is read as far as it goes; a full disk or a lost network stops no training": (
        "tests/training/test_log.py"
    ),
    "A picture, a folder, a data set made to do harm: the same": "tests/test_hostile_data.py",
    "More than a hundred mistakes in a flag, a field or a file: each one line that names it, exit code 2, before "
    "anything is compiled or written": "tests/scripts/test_mistakes.py",
    "Two processes train and save as one": "tests/training/test_hosts.py",
    "A signal to one of two hosts stops both, and one process goes on": "tests/scripts/test_two_hosts.py",
    "A host that does not come, or is lost: named in one line on the others, which end": (
        "tests/training/test_hosts_meet.py"
    ),
}

TEMPLATE = """# Reliability, measured

Each row is a promise and what came of it: `train.py` in processes of its own, an MLP on the digits, one row a step in
metrics.jsonl. This page is written by the command below from docs/reliability.json; rows that are not measured again
keep what was measured before. {failing}

    python benchmarks/reliability.py [--only NAME …] [--at-once 2]

| name | promise | measured | minutes | with |
|---|---|---|---|---|
{measured}

* Kills are drawn (fixed seed) in three kinds: while Python imports and the state is restored; from 0.01 to 8 s after
  the run said where it goes on from, evenly in the logarithm, which is compilation and the first steps; and within
  milliseconds of a change in the folder of checkpoints: a save that begins, its final name, a deletion.
* The work lost is counted from the last step in metrics.jsonl, which is a step behind the device or a few. Saves are
  written in the background while training goes on, at most until the next one is due: where writing takes as long as
  an interval, a kill during a save could cost up to two.
* What looking costs is another pass over the state, which is kept beside the new one until that is known to be good. A
  loop that undoes, a condition, and computing the update twice were measured in its place; on these two cores, where
  such a ratio differs by 1 to 2 % from one time to the next, none was surely cheaper.
* `open files` is the smallest number seen, since a save has some open while it is written.

What the tests say each time they run (`python -m pytest FILE`):

| promise | tests |
|---|---|
{tested}
"""


def measured(result: Result) -> dict[str, Any]:
    """A result, and what it was measured with."""
    return {**result, "with": f"JAX {jax.__version__}, Python {platform.python_version()}, {os.cpu_count()} cores, CPU"}


def line(name: str, result: Result | None) -> str:
    """One row of the table."""
    row = ROWS[name]
    if result is None:
        return f"| {name} | {row.asked} | not measured yet | | |"
    told = row.says(result) if row.holds(result) else f"**not kept**: {row.says(result)}"
    return f"| {name} | {row.asked} | {told} | {result['seconds'] / 60:.1f} | {result['with']} |"


def page(results: Mapping[str, Result]) -> str:
    """The whole page."""
    failing = [name for name, result in results.items() if not ROWS[name].holds(result)]
    return TEMPLATE.format(
        failing=f"Not kept today: {', '.join(failing)}." if failing else "",
        measured="\n".join(line(name, results.get(name)) for name in ROWS),
        tested="\n".join(f"| {promise} | {path} |" for promise, path in TESTED.items()),
    ).replace(" \n", "\n")


def earlier() -> dict[str, Any]:
    """What was measured before."""
    return json.loads(FIGURES.read_text()) if FIGURES.exists() else {}


def write(results: Mapping[str, Result]) -> None:
    """The figures and the page."""
    for path, text in ((FIGURES, json.dumps(results, indent=1) + "\n"), (PAGE, page(results))):
        write_atomically(path, lambda file, text=text: file.write(text.encode()))
