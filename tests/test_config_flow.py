"""One training config passes through few functions, under few names."""

import runpy
from pathlib import Path

SCRIPT = Path(__file__).parent / "config_flow.py"
MAX_FUNCTIONS, MAX_NAMES = 25, 25


def test_a_training_config_goes_a_short_way() -> None:
    script = runpy.run_path(str(SCRIPT))
    found = script["flow"](script["Source"]())
    assert len({(module, function) for module, function, _ in found}) <= MAX_FUNCTIONS
    assert len(found) <= MAX_NAMES  # a function and the config's name in it
    assert ("experiment.build", "build_model", "model") in found
