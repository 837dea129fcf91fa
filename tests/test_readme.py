"""The README's notebook example runs as written, and learns its two classes."""

import re
from pathlib import Path

import jax
import numpy as np


def test_the_notebook_example() -> None:
    page = (Path(__file__).parent.parent / "README.md").read_text()
    said: dict = {}
    example = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)[0]
    with jax.debug_nans(False), jax.numpy_rank_promotion("allow"):  # a reader's own code may broadcast
        exec(example, said)
    x = np.asarray(said["x"]).reshape(8, 2, 2)
    np.testing.assert_allclose(x.mean(axis=(0, 2)), [-1, 1], atol=0.25)
