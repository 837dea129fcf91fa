"""The laboratory: any step rule, and any guidance, ours or one written a minute ago, held against exact answers.

`report(step)` says all that is measured of a step rule, `guided(make)` what a guidance samples; the other functions
measure one thing each.
"""

from diffjax.lab.guidances import Drawn, Guided, guided
from diffjax.lab.laws import HARD, SMOOTH, Chances, Law, by_chance, chances, exact_denoiser
from diffjax.lab.orders import at_budgets, distance, slope
from diffjax.lab.reports import Report, report
from diffjax.lab.soundness import SCHEDULES, not_finite, overhead
from diffjax.lab.tilts import TWO, Classes, Tilted, classed_denoiser, tilted

__all__ = [
    "HARD",
    "SCHEDULES",
    "SMOOTH",
    "TWO",
    "Chances",
    "Classes",
    "Drawn",
    "Guided",
    "Law",
    "Report",
    "Tilted",
    "at_budgets",
    "by_chance",
    "chances",
    "classed_denoiser",
    "distance",
    "exact_denoiser",
    "guided",
    "not_finite",
    "overhead",
    "report",
    "slope",
    "tilted",
]
