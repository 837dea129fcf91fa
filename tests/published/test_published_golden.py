"""Each family against its original, by outputs that the original gave for weights of a seed (make_golden.py)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.published.models import find_family
from tests.published.golden_files import GOLDEN, MAX_ERROR, read_case, relative_error

CASES = sorted(path.stem for path in GOLDEN.glob("*.npz") if "level" in read_case(path).about)


@pytest.mark.parametrize("name", CASES)
def test_a_net_is_its_original(name) -> None:
    case = read_case(GOLDEN / f"{name}.npz")
    model = find_family(case.file).read(case.file)
    x = jnp.asarray(case.arrays["x"].transpose(0, 2, 3, 1))
    level = jnp.asarray(case.about["level"], jnp.float32).reshape(-1, 1, 1, 1)
    cond = jnp.asarray(case.arrays["cond"], jnp.int32) if "cond" in case.arrays else None
    out = jax.jit(model.net.apply)({"params": model.params}, x, level, cond)
    assert model.shape == x.shape[1:]
    assert relative_error(np.asarray(out), case.arrays["out"]) <= MAX_ERROR
