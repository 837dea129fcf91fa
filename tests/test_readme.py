"""The README's notebook examples run as written: the first learns its two classes, the second saves and loads it."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np


def test_the_notebook_examples(tmp_path, monkeypatch) -> None:
    page = (Path(__file__).parent.parent / "README.md").read_text()
    said: dict = {}
    example, saving = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)[:2]
    monkeypatch.chdir(tmp_path)
    with jax.debug_nans(False), jax.numpy_rank_promotion("allow"):  # a reader's own code may broadcast
        exec(example, said)
        trained = said["denoise"]
        exec(saving, said)
    x = np.asarray(said["x"]).reshape(8, 2, 2)
    np.testing.assert_allclose(x.mean(axis=(0, 2)), [-1, 1], atol=0.25)
    assert [path.name for path in tmp_path.iterdir()] == ["clusters.safetensors"]
    told = [denoise(said["x"], jnp.full((16, 1), 0.5), said["labels"]) for denoise in (trained, said["denoise"])]
    np.testing.assert_array_equal(*told)
