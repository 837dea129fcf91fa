"""Whether each promise of docs/reliability.md was kept, by what was measured of it."""

import os
import platform
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
from report import Table, table

Result = Mapping[str, Any]
HOLDS: dict[str, Callable[[Result], bool]] = {
    "kills": lambda r: (
        r["checkpoints_lost"] == r["repairs"] == r["stale"] == 0
        and r["most_steps_lost"] <= r["save_every_steps"]
        and r["runs_equal"] == r["runs_kept"] == r["runs"]
    ),
    "stops": lambda r: set(r["codes"]) == {"0"} and r["slowest_seconds"] <= 10 and r["saved"] == r["stops"],
    "cuts": lambda r: r["states_equal"] == r["traces_equal"] == r["cuts"],
    "spread": lambda r: r["largest_difference"] <= 1e-5 and r["steps_of_other_examples"] == 0,
    "carried": lambda r: r["equal"] == len(r["way"]) - 1,
    "damage": lambda r: r["named"] == r["previous"] == r["kept"] == sum(r["kinds"].values()),
    "wrong": lambda r: r["ways"] == r["caught"] == r["obeyed"] and not r["bad_checkpoints"],
    "guard": lambda r: r["cost"] <= 0.01,
    "endurance": lambda r: (
        abs(r["drift"]) < 0.05 and r["open_files"][0][0] == r["open_files"][1][0] and r["kept_exactly"]
    ),
}


def measured(result: Result) -> dict[str, Any]:
    """A result, and what it was measured with."""
    return {**result, "with": f"JAX {jax.__version__}, Python {platform.python_version()}, {os.cpu_count()} cores, CPU"}


def promises(results: Mapping[str, Result]) -> Table:
    """A row for each promise that was measured."""
    return table("Promises", ("name", "kept", "measured", "minutes", "with"), _rows(results))


def _rows(results: Mapping[str, Result]) -> Iterator[list[str]]:
    for name in (name for name in HOLDS if name in results):
        result = results[name]
        numbers = ", ".join(f"{key} {_short(value)}" for key, value in result.items() if key not in ("seconds", "with"))
        kept = "yes" if HOLDS[name](result) else "**no**"
        yield [name, kept, numbers, f"{result['seconds'] / 60:.1f}", result["with"]]


def _short(value: object) -> str:
    """A number in four digits, lists and dicts of them likewise."""
    if isinstance(value, dict):
        return "; ".join(f"{count} {kind}" for kind, count in sorted(value.items()))
    if isinstance(value, list):
        return " / ".join(map(_short, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
