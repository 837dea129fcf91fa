"""The laboratory: step rules, guidances and posterior samplers, of any origin, against exact answers.

`report(step)` measures a step rule, `guidance_report(make)` a guidance, `posteriors(methods, task)` methods of
`edit.solve`; the other functions measure one thing each.
"""

from diffjax.lab.convergence import distance, error_by_nfe, slope
from diffjax.lab.distribution_checks import (
    HARD,
    SMOOTH,
    DistributionCheck,
    Mixture1D,
    compare_distribution,
    critical_distance,
    exact_denoiser,
)
from diffjax.lab.guidance_checks import GuidanceReport, GuidanceRow, GuidanceTask, guidance_report
from diffjax.lab.guidance_data import TWO_CLASSES, Classes, TiltedDensity, class_denoiser, tilted_density
from diffjax.lab.posterior_checks import Fit, Posteriors, PosteriorTask, correlated_gaussian, posteriors, three_modes
from diffjax.lab.reports import Report, ReportPlan, report
from diffjax.lab.robustness import SCHEDULES, nonfinite_cases, overhead

__all__ = [
    "HARD",
    "SCHEDULES",
    "SMOOTH",
    "TWO_CLASSES",
    "Classes",
    "DistributionCheck",
    "Fit",
    "GuidanceReport",
    "GuidanceRow",
    "GuidanceTask",
    "Mixture1D",
    "PosteriorTask",
    "Posteriors",
    "Report",
    "ReportPlan",
    "TiltedDensity",
    "class_denoiser",
    "compare_distribution",
    "correlated_gaussian",
    "critical_distance",
    "distance",
    "error_by_nfe",
    "exact_denoiser",
    "guidance_report",
    "nonfinite_cases",
    "overhead",
    "posteriors",
    "report",
    "slope",
    "three_modes",
    "tilted_density",
]
