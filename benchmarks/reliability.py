"""What training survives: python benchmarks/reliability.py [--short] [--only NAME …] (an hour on two cores)

For docs/reliability.md: a row for each promise as it is measured; exit code 1 where one was not kept. Rows that are not
measured again keep what was measured before. `--short` takes a few minutes, and writes nothing.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")
sys.path.insert(0, str(Path(__file__).parent.parent))

from reliable.damage import damage
from reliable.devices import carried, spread
from reliable.endurance import endurance
from reliable.kills import kills
from reliable.promises import HOLDS, measured, promises
from reliable.stops import cuts, stops
from reliable.wrong import guard, wrong
from report import figures_of, publish

# Each measure, and the options of its short form
MEASURES: dict[str, tuple[Callable[..., dict[str, Any]], dict[str, Any]]] = {
    "kills": (kills, {"count": 20}),
    "stops": (stops, {"count": 4}),
    "cuts": (cuts, {"count": 2}),
    "spread": (spread, {"counts": (1, 8)}),
    "carried": (carried, {"way": (8, 1, 8)}),
    "damage": (damage, {"flips": 1}),
    "wrong": (wrong, {}),
    "guard": (guard, {"pairs": 10}),
    "endurance": (endurance, {"steps": 6_000, "save_every": 200}),
}


def main() -> int:
    """Measure what is asked for; how many promises were not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="small counts; nothing is written")
    parser.add_argument("--only", nargs="+", choices=list(MEASURES), default=list(MEASURES), metavar="NAME")
    parser.add_argument("--at-once", type=int, default=1, help="runs to be killed at the same time")
    asked, broken = parser.parse_args(), 0
    for name in asked.only:
        measure, short = MEASURES[name]
        options = {**(short if asked.short else {}), **({"at_once": asked.at_once} if name == "kills" else {})}
        with tempfile.TemporaryDirectory() as folder:
            result = measured(measure(Path(folder), **options))
        broken += not HOLDS[name](result)
        if asked.short:
            promises({name: result})
        else:
            results = {**(figures_of("reliability") or {}), **json.loads(json.dumps({name: result}))}
            publish("reliability", [promises(results)], results)
    return min(broken, 1)


if __name__ == "__main__":
    sys.exit(main())
