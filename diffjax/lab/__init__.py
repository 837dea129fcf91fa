"""The sampler laboratory: any step rule, ours or one written a minute ago, held against exact answers.

`report(step)` says all that is measured; the other functions measure one thing each.
"""

from diffjax.lab.laws import HARD, SMOOTH, Chances, Law, by_chance, chances, exact_denoiser
from diffjax.lab.orders import at_budgets, distance, slope
from diffjax.lab.reports import Report, report
from diffjax.lab.soundness import SCHEDULES, not_finite, overhead

__all__ = [
    "HARD",
    "SCHEDULES",
    "SMOOTH",
    "Chances",
    "Law",
    "Report",
    "at_budgets",
    "by_chance",
    "chances",
    "distance",
    "exact_denoiser",
    "not_finite",
    "overhead",
    "report",
    "slope",
]
