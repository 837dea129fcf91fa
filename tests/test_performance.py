"""benchmarks/performance.py in its shortest form: ours alone and tiny, and what is made of its figures."""

import importlib
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

performance = importlib.import_module("performance")
WORKERS = {
    "ours.py": ("a small step", performance.BESIDE),
    "pairs.py": ("a small finite check", performance.PAIRS),
    "overhead.py": ("tiny: euler", {"normal: euler": ""}),
}


@pytest.fixture(scope="module")
def results() -> dict:
    """Of the small cases; each worker knows all that are asked of it."""
    found = {}
    for file, (case, cases) in WORKERS.items():
        with performance.processes(performance.CPU, (sys.executable, file)) as workers:
            assert {*cases} <= {*performance.ask(workers[0], "?")}
            found[case] = performance.measure(case, workers, 2, performance.CPU)
    return found


def test_times_ratios_and_operations_are_measured(results) -> None:
    step, check, euler = results.values()
    assert (len(step.ms), len(check.ms), len(euler.ms)) == (1, 2, 3)
    assert step.flops[0] > 0
    assert all(ms > 0 for result in results.values() for ms in result.ms)
    assert check.ratios[0] == pytest.approx(check.ms[0] / check.ms[1], rel=1)


def test_tables_and_picture_are_made_of_the_figures(results) -> None:
    step, check, euler = results.values()
    twin = performance.Result([2.0, 3.0], [2 / 3], [1e6, 0.0])
    figures = {
        **{"processor": "AVX2", "versions": "JAX", "beside": {"GEMM": twin, "DiT step": step}, "wall": {}},
        **{"pairs": {"finite check over none, DiT": check}, "wall_pairs": {}},
        "rules": {"normal: euler": euler, "tiny: euler": euler},
    }
    beside, _, pairs, _, rules = performance.tables(json.loads(json.dumps(figures)))
    assert beside.rows[0] == ("GEMM", "2.0", "3.0", "1.500", "0.00", "")
    assert beside.rows[1][2:4] == ("not measured", "")
    assert pairs.rows[0][-1] == "≤ 1.01"
    assert rules.rows[0][0] == "`euler`"
    for table in (beside, pairs, rules):
        assert all(len(row) == len(table.columns) for row in table.rows)
    bars = performance.draw({"GEMM": twin, "DiT step": twin}).axes[0].patches
    assert [bar.get_width() for bar in bars] == pytest.approx([100, 100, 200 / 3, 200 / 3])


def test_every_case_beside_torch_has_a_twin() -> None:
    twins = (performance.WORKERS / "torch_twins.py").read_text()
    assert all(f'"{case}": lambda' in twins for case in performance.BESIDE if case != "GEMM" and "50" not in case)
