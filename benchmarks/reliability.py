"""What training survives: python benchmarks/reliability.py [--short] [--only NAME …] (an hour on two cores)

Prints one row for each promise as it is measured, and writes docs/reliability.md with all of them; exit code 1 where
one was not kept. `--short` takes a few minutes, and writes nothing.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")
sys.path.insert(0, str(Path(__file__).parent.parent))

from reliable import page
from reliable.damage import damage
from reliable.devices import carried, spread
from reliable.endurance import endurance
from reliable.kills import kills
from reliable.stops import cuts, stops
from reliable.wrong import guard, wrong

MEASURES: dict[str, Any] = {
    "kills": kills,
    "stops": stops,
    "cuts": cuts,
    "spread": spread,
    "carried": carried,
    "damage": damage,
    "wrong": wrong,
    "guard": guard,
    "endurance": endurance,
}
SHORT: dict[str, dict[str, Any]] = {
    "kills": {"count": 20},
    "stops": {"count": 4},
    "cuts": {"count": 2},
    "spread": {"counts": (1, 8)},
    "carried": {"way": (8, 1, 8)},
    "damage": {"flips": 1},
    "wrong": {},
    "guard": {"pairs": 10},
    "endurance": {"steps": 6_000, "save_every": 200},
}


def main() -> int:
    """Measure what is asked for; how many promises were not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="small counts; nothing is written")
    parser.add_argument("--only", nargs="+", choices=list(MEASURES), default=list(MEASURES), metavar="NAME")
    parser.add_argument("--at-once", type=int, default=1, help="runs to be killed at the same time")
    asked, broken = parser.parse_args(), 0
    for name in asked.only:
        options = {**(SHORT[name] if asked.short else {}), **({"at_once": asked.at_once} if name == "kills" else {})}
        with tempfile.TemporaryDirectory() as folder:
            result = page.measured(MEASURES[name](Path(folder), **options))
        print(page.line(name, result), flush=True)
        broken += not page.ROWS[name].holds(result)
        if not asked.short:
            page.write({**page.earlier(), name: result})
    return min(broken, 1)


if __name__ == "__main__":
    sys.exit(main())
