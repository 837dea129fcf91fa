"""What is kept of benchmarks: a page of docs/results/ is the tables of its JSON, and a page of docs/ links to it."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import report

ROOT = Path(__file__).parents[1]

NAMES = sorted(path.stem for path in report.DATA.glob("*.json"))


@pytest.mark.parametrize("name", NAMES)
def test_a_page_of_results_is_its_json(name) -> None:
    tables = json.loads((report.DATA / f"{name}.json").read_text())["tables"]
    assert (report.PAGES / f"{name}.md").read_text() == report.format_page(name, tables)
    assert all(len(row) == len(columns) for _, columns, rows in tables for row in rows)
    pages = (ROOT / "docs").glob("*.md")  # the accelerator's are those of docs/performance.md
    assert any(f"(results/{name}.md" in page.read_text() for page in pages)


@pytest.mark.parametrize("name", ["compare", "loading", "performance", "photographs", "posteriors", "reliability"])
def test_tables_are_a_function_of_their_figures(name) -> None:
    kept = json.loads((report.DATA / f"{name}.json").read_text())
    tables = json.loads(json.dumps(tables_of(name, kept["figures"])))
    assert tables == kept["tables"]


def tables_of(name: str, figures: dict) -> list[report.Table]:
    import loading
    import performance
    import photographs
    import posteriors
    from comparing.tables import tables
    from reliable.promises import promises

    of = {
        "compare": tables,
        "loading": loading.tables,
        "performance": performance.tables,
        "photographs": photographs.tables,
        "posteriors": posteriors.tables,
        "reliability": lambda figures: [promises(figures)],
    }
    return of[name](figures)


def test_every_page_of_results_has_its_json_and_its_program() -> None:
    assert [path.stem for path in sorted(report.PAGES.glob("*.md"))] == NAMES
    assert all((ROOT / "benchmarks" / f"{name}.py").is_file() for name in NAMES)
