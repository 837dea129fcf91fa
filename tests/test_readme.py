"""The README's notebook examples run as written, and links between pages lead somewhere."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]


def anchors(page: Path) -> set[str]:
    """What a link may name after #: the headings, as GitHub and Sphinx spell them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert "://" in link or target.exists(), link
        assert not anchor or "://" in link or anchor in anchors(target), link


def test_the_notebook_examples(tmp_path, monkeypatch, one_device) -> None:
    """The first learns its two classes, the second saves and loads it."""
    page = (ROOT / "README.md").read_text()
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
