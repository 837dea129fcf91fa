"""The page docs/extending.md does what it says: its pieces are run, one after the other."""

import re
from pathlib import Path

import jax
import numpy as np

import diffjax as dj


def test_the_page_runs(one_device) -> None:
    page = (Path(__file__).parent.parent / "docs" / "extending.md").read_text()
    said: dict = {}
    with jax.numpy_rank_promotion("allow"):  # a reader's own code may broadcast
        for piece in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
            exec(piece, said)
    x = np.asarray(said["x"])
    np.testing.assert_allclose(x.mean(axis=0), [0.5, -1.0], atol=4.5 / 1000**0.5)
    np.testing.assert_allclose(np.cov(x.T), said["cov"], atol=4.5 * (2 / 1000) ** 0.5)
    for name in ("denoise", "denoise_nnx", "denoise_equinox"):
        drawn = dj.sample(dj.keys(0, 500), said["noise"], dj.order.together, said[name], (2,), steps=10)
        assert np.all(np.isfinite(drawn)), name
    assert said["report"].passed, said["report"]
    assert said["guided"].passed, said["guided"]
