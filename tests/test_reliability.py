"""The measures of benchmarks/reliability.py in their shortest forms; long: the short ones.

Only what they must find is asserted; how much there was to find stands on the page.
"""

import importlib
import re
import sys
from pathlib import Path

import pytest
import quickly

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

promises = importlib.import_module("reliable.promises")
runs = importlib.import_module("reliable.runs")
reliability = importlib.import_module("reliability")

LONG = [name for name in reliability.MEASURES if name not in ("stops", "kills", "guard")]  # time is measured alone


@pytest.mark.parametrize("count", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_run_that_is_killed_goes_on(count, tmp_path, monkeypatch) -> None:
    """A short run killed once, at a moment that is drawn; of two kills one comes as it starts, one amid its saves.

    On a busy machine a save may take as long as the interval, which makes two at most.
    """
    kills = importlib.import_module("reliable.kills")
    monkeypatch.setattr(kills, "STEPS", 200)
    usual = runs.environment
    monkeypatch.setattr(
        runs, "environment", lambda n: {**usual(n), "XLA_FLAGS": f"{usual(n)['XLA_FLAGS']} {quickly.FLAGS}"}
    )
    result = kills.kills(tmp_path, count=count, seed=2)
    assert result["kills"] == count
    assert result["checkpoints_lost"] == result["repairs"] == result["stale"] == 0
    assert result["runs_equal"] == result["runs"]
    assert result["most_steps_lost"] <= 2 * result["save_every_steps"]


@pytest.mark.long
@pytest.mark.parametrize("name", LONG)
def test_what_is_promised_is_kept(name, tmp_path) -> None:
    measure, short = reliability.MEASURES[name]
    result = promises.measured(measure(tmp_path, **short))
    assert promises.HOLDS[name](result), result


def test_every_promise_of_the_page_is_measured_or_has_its_tests() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text()
    assert promises.HOLDS.keys() == reliability.MEASURES.keys()
    assert all(f"| {name} | " in page for name in promises.HOLDS)
    assert all((ROOT / path).is_file() for path in re.findall(r"tests/\S+\.py", page))


def test_a_promise_that_is_not_kept_is_shown_as_broken() -> None:
    kept = {"cuts": 5, "steps": 200, "states_equal": 5, "traces_equal": 5, "seconds": 60.0, "with": "JAX"}
    rows = [promises.promises({"cuts": result}).rows[0] for result in (kept, {**kept, "traces_equal": 4})]
    assert [row[1] for row in rows] == ["yes", "**no**"]
