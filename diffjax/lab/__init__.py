"""The laboratory: any step rule, guidance or method of editing, ours or new, held against exact answers.

`report(step)` says all that is measured of a step rule, `guided(make)` what a guidance samples, `posteriors(…)` what
methods draw given what was seen; the other functions measure one thing each.
"""

from diffjax.lab.convergence import at_budgets, distance, slope
from diffjax.lab.distribution_checks import HARD, SMOOTH, Chances, Law, by_chance, chances, exact_denoiser
from diffjax.lab.guidance_checks import Drawn, Guided, guided
from diffjax.lab.guidance_data import TWO, Classes, Tilted, classed_denoiser, tilted
from diffjax.lab.posterior_checks import Fit, Posteriors, correlated, modal, posteriors
from diffjax.lab.reports import Report, report
from diffjax.lab.robustness import SCHEDULES, not_finite, overhead

__all__ = [
    "HARD",
    "SCHEDULES",
    "SMOOTH",
    "TWO",
    "Chances",
    "Classes",
    "Drawn",
    "Fit",
    "Guided",
    "Law",
    "Posteriors",
    "Report",
    "Tilted",
    "at_budgets",
    "by_chance",
    "chances",
    "classed_denoiser",
    "correlated",
    "distance",
    "exact_denoiser",
    "guided",
    "modal",
    "not_finite",
    "overhead",
    "posteriors",
    "report",
    "slope",
    "tilted",
]
