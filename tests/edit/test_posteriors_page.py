"""The figures of docs/posteriors.md: those methods that are exact are so, and a row is what is measured."""

import sys

import numpy as np
import pytest
from shell import ROOT

from diffjax import edit, lab

sys.path.insert(0, str(ROOT / "benchmarks"))

import posteriors
import report

NARROW = {(posteriors.TWISTED, "three modes, block means, 4"): 0.005}  # 0.884 of intervals that should hold 0.9


def test_exact_methods_are_exact_in_the_figures() -> None:
    figures = report.figures_of("posteriors")
    for prior, seen, numbers in posteriors.problems():
        name = f"{prior}, {seen}, {numbers}"
        for method in ("clamp", posteriors.TWISTED) if numbers <= 4 else ():
            fit = posteriors.fit_of(figures[name], method)
            slack = NARROW.get((method, name), 0)
            allowed = lab.Fit(*figures[name]["allowed"])
            assert fit is None or not fit.beyond(allowed._replace(coverage=allowed.coverage + slack)), (method, name)


def test_a_row_of_the_table_is_what_is_measured() -> None:
    """The cheapest, drawn again."""
    task = lab.PosteriorTask(
        lab.correlated_gaussian(2), posteriors.SEEN["mask"], posteriors.SHAPES[2], draws=posteriors.DRAWS
    )
    found = lab.posteriors({"ddrm": edit.ddrm()}, task, noise=posteriors.NOISE, steps=posteriors.STEPS)
    page = report.figures_of("posteriors")["normal, mask, 2"]
    np.testing.assert_allclose(found.rows["ddrm"], page["rows"]["ddrm"], atol=2e-3)
    np.testing.assert_allclose(found.allowed, page["allowed"], atol=2e-3)


@pytest.mark.long
@pytest.mark.parametrize("numbers", [2, 4])
@pytest.mark.parametrize("prior", ["normal", "three modes"])
def test_a_draw_from_1024_particles_is_exact(prior, numbers) -> None:
    problem = posteriors.PRIORS[prior](numbers), posteriors.SEEN["mask"], posteriors.SHAPES[numbers]
    task = lab.PosteriorTask(*problem, observations=2, draws=200)
    found = lab.posteriors({"twisted": edit.twisted(1024)}, task, steps=200)
    assert found.exact == ("twisted",), found
