"""The measures of benchmarks/reliability.py in their shortest forms, and the page that they fill; long: the short ones.

Only what they must find is asserted; how much there was to find stands on the page.
"""

import importlib
import json
import sys
from pathlib import Path

import pytest
import quickly

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

page = importlib.import_module("reliable.page")
runs = importlib.import_module("reliable.runs")
reliability = importlib.import_module("reliability")

LONG = [name for name in reliability.SHORT if name not in ("stops", "kills", "guard")]  # time is measured alone


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
    result = page.measured(reliability.MEASURES[name](tmp_path, **reliability.SHORT[name]))
    assert page.ROWS[name].holds(result), page.line(name, result)


def test_the_page_says_what_was_measured() -> None:
    assert page.PAGE.read_text() == page.page(page.earlier())


def test_every_measure_has_its_row_and_every_tested_promise_its_tests() -> None:
    assert page.ROWS.keys() == reliability.MEASURES.keys() == reliability.SHORT.keys()
    assert all((ROOT / path).is_file() for path in page.TESTED.values())


def test_a_promise_that_is_not_kept_is_said_first() -> None:
    kept = {"cuts": 5, "steps": 200, "states_equal": 5, "traces_equal": 5, "seconds": 60.0, "with": "JAX"}
    broken = {**kept, "traces_equal": 4}
    assert "not kept" not in page.line("cuts", kept)
    assert "**not kept**" in page.line("cuts", broken)
    assert "Not kept today: cuts." in page.page({"cuts": json.loads(json.dumps(broken))})
    assert "| not measured yet |" in page.line("kills", None)
