"""Tests of step rules, guidance and posterior samplers against exact solutions; yours as well as the library's.

`report(step)` measures a step rule, `guidance_report(make)` a guidance, `posteriors(methods, task)` methods of
`edit.solve`. The other functions measure one property each.
"""

from diffjax.lab.convergence import error_by_nfe, slope
from diffjax.lab.distribution_checks import (
    HARD,
    SMOOTH,
    Mixture1D,
    compare_distribution,
    critical_distance,
    exact_denoiser,
)
from diffjax.lab.guidance_checks import GuidanceRow, GuidanceTask, guidance_report
from diffjax.lab.guidance_data import TWO_CLASSES, Classes, class_denoiser, tilted_density
from diffjax.lab.posterior_checks import Fit, Posteriors, PosteriorTask, correlated_gaussian, posteriors, three_modes
from diffjax.lab.reports import ReportPlan, report
from diffjax.lab.robustness import SCHEDULES, nonfinite_cases, overhead
from diffjax.lab.tiling_checks import TileBias, tile_bias

__all__ = [
    "HARD",
    "SCHEDULES",
    "SMOOTH",
    "TWO_CLASSES",
    "Classes",
    "Fit",
    "GuidanceRow",
    "GuidanceTask",
    "Mixture1D",
    "PosteriorTask",
    "Posteriors",
    "ReportPlan",
    "TileBias",
    "class_denoiser",
    "compare_distribution",
    "correlated_gaussian",
    "critical_distance",
    "error_by_nfe",
    "exact_denoiser",
    "guidance_report",
    "nonfinite_cases",
    "overhead",
    "posteriors",
    "report",
    "slope",
    "three_modes",
    "tile_bias",
    "tilted_density",
]
