"""benchmarks/compare_exact.py in miniature: its limits for every family, its enumeration, its tables.

The tests of counts are χ² on fixed keys; with others each would fail once in a thousand times.
"""

import importlib
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

compare = importlib.import_module("compare_exact")
families = importlib.import_module("enumerated.families")
guided = importlib.import_module("enumerated.guided")
laws = importlib.import_module("enumerated.laws")
picture = importlib.import_module("enumerated.picture")
rows = importlib.import_module("enumerated.rows")
tables = importlib.import_module("enumerated.tables")

N, COUNTS, DRAWS = 6, (1, 2, 3, 6, 12), 4_096
FAMILIES = {family.name: family for family in families.families(N)}
LISTED = [name for name, family in FAMILIES.items() if family.listed]
BIASED = {"confidence", "surest first"}


@pytest.fixture(scope="module")
def found():
    return compare.find(N, compare.STAY, COUNTS, DRAWS)


@pytest.fixture(scope="module")
def with_guidance():
    return guided.guided(3, 2_048)


@pytest.fixture(scope="module")
def with_errors():
    return rows.rows(laws.chain(3, compare.STAY), 2_048)


def likely(law: np.ndarray, expected: np.ndarray) -> bool:
    """Whether shares of so many draws are those expected, by χ²; states of which few are expected count as one."""
    rare = DRAWS * expected < 5
    both = [DRAWS * np.append(each[~rare], each[rare].sum() if rare.any() else []) for each in (law, expected)]
    return stats.chisquare(*both).pvalue > 1e-3


def test_the_chain_is_a_law_and_stationary() -> None:
    table = laws.chain(4, (0.8, 0.9))
    np.testing.assert_allclose(laws.marginals(table), np.tile([1 / 3, 2 / 3], (4, 1)), rtol=1e-12)
    np.testing.assert_allclose(table[1, 1].sum() / table[1].sum(), 0.9, rtol=1e-12)
    np.testing.assert_allclose(laws.product(table).sum(), 1, rtol=1e-12)


def test_all_at_once_is_the_product_of_the_marginals(found) -> None:
    """For every family of tokens that can do so: by enumeration, and as the sampler draws."""
    product = laws.product(found.table)
    tokens = [name for name, family in FAMILIES.items() if family.tokens and 1 in found.curves[name]]
    assert {"raster", "any order", "masked diffusion", "rolling masks", *BIASED} <= set(tokens)
    for name in tokens:
        if name in LISTED:
            np.testing.assert_allclose(found.curves[name][1].law, product, rtol=1e-6)
        assert likely(found.limits[name, 1].law, product), name


def test_one_at_a_time_is_exact(found) -> None:
    for name in ("raster", "any order", "spread out"):
        np.testing.assert_allclose(found.curves[name][N].law, found.table.ravel(), rtol=1e-9)
    for name in ("raster", "any order"):
        assert likely(found.limits[name, N].law, found.table.ravel())


@pytest.mark.parametrize("name", LISTED)
def test_the_enumeration_is_the_law_of_the_samplers_draws(found, name) -> None:
    count = 3 if 3 in found.curves[name] else 4 if 4 in found.curves[name] else 2
    assert likely(families.drawn(FAMILIES[name], found.table, count, DRAWS).law, found.curves[name][count].law)


def test_one_step_of_diffusion_is_the_mean(found) -> None:
    """In every draw; rounded, it is the likelier token everywhere, and nothing else."""
    once = found.curves["diffusion, ddim"][1]
    np.testing.assert_allclose(once.x, 1 / 3, atol=1e-5)
    np.testing.assert_allclose(once.apart, 1 - found.table.ravel()[-1], rtol=1e-9)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in BIASED])
def test_curves_fall_within_their_errors(found, name) -> None:
    """Three standard errors; what is listed has none."""

    def less(a, b) -> bool:
        return b.apart - a.apart > max(3 * np.hypot(a.error, b.error), 1e-9)

    curve = found.curves[name]
    assert not any(less(a, b) for a, b in itertools.pairwise(curve.values()))
    assert less(curve[max(curve)], curve[min(curve)])


def test_confidence_is_biased_also_one_at_a_time(found) -> None:
    likeliest = found.table.max()
    for name in BIASED:
        assert found.curves[name][N].law.max() > 1.2 * likeliest
        assert not likely(found.curves[name][N].law, found.table.ravel())


def test_total_variation_by_chance_is_what_draws_have(found) -> None:
    drawn = found.limits["any order", N]
    assert abs(drawn.apart - laws.by_chance(found.table, DRAWS)) < 5 * drawn.error


def test_guidance_of_one_is_the_class_and_of_one_token_the_tilted_law(with_guidance) -> None:
    """And of several tokens it is not: that of a chain's first token leaves out what the others will say."""
    for name in ("raster", "any order"):
        np.testing.assert_allclose(with_guidance.laws[name][1.0], with_guidance.asked.ravel(), rtol=1e-5)
        assert with_guidance.off(name, 3.0) > 0.01
    alone = guided.guided(1, 64, names=("raster", "any order"))
    for name, w in itertools.product(alone.laws, guided.WEIGHTS):
        np.testing.assert_allclose(alone.laws[name][w], alone.tilted[w], rtol=1e-5)


def test_guidance_in_raster_order_is_the_chain_of_tilted_conditionals(with_guidance) -> None:
    """By hand: each next token is tilted by what came before it, and by nothing else."""
    w, (asked, every) = 3.0, (with_guidance.asked, with_guidance.every)
    law = np.ones_like(asked)
    for i in range(asked.ndim):
        later = tuple(range(i + 1, asked.ndim))
        ones, alls = (t.sum(axis=later, keepdims=True) for t in (asked, every))
        tilted = (ones / ones.sum(axis=i, keepdims=True)) ** w * (alls / alls.sum(axis=i, keepdims=True)) ** (1 - w)
        law = law * tilted / tilted.sum(axis=i, keepdims=True)
    np.testing.assert_allclose(with_guidance.laws["raster"][w], law.ravel(), rtol=1e-4)


def test_an_error_of_the_image_stays_and_one_of_the_noise_goes(with_errors) -> None:
    """At the end x is what is predicted for it: wrong by the error itself, about 1 of three tokens, or by little."""
    last = {name: curve[max(curve)].rough for name, curve in with_errors.items()}
    assert 0.7 < last["the image (x0)"] / rows.ERROR < 1.3
    assert last["the noise (eps)"] < rows.ERROR / 4 > last["v"]


def test_tables_and_pictures_have_every_family(found, with_guidance, with_errors, tmp_path) -> None:
    curves, tilted, erring, limits = tables.tables(found, with_guidance, with_errors)
    assert [row[0] for row in curves.rows] == [*FAMILIES]
    assert all(len(row) == len(table.columns) for table in (curves, tilted, erring, limits) for row in table.rows)
    assert {row[0]: row[4] for row in tilted.rows}["raster"] == f"{with_guidance.off('raster', 3.0):.3f}"
    picture.draw(found, tmp_path / "picture.png")
    picture.draw_explained(with_guidance, with_errors, tmp_path / "explained.png")
    assert min(path.stat().st_size for path in tmp_path.iterdir()) > 10_000
