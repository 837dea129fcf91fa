"""Reports of evaluations: tables, HTML pages, JSON, plots and image grids."""

from diffjax.reports.comparison import MetricComparison, compare, comparison_table, write_comparison
from diffjax.reports.evaluation_report import Likelihoods, Provenance, Report, provenance
from diffjax.reports.findings import Findings, find_problems
from diffjax.reports.image_grids import crossed_grid, grid, labelled_grid, side_by_side, strip
from diffjax.reports.json_report import ReportNumbers, read_numbers
from diffjax.reports.plots import Curves, animation, plot_curves, write_png
from diffjax.reports.sweep_report import Sweep, describe_settings, sweep_table, write_sweep
from diffjax.reports.sweep_rows import SweepRow, read_row, row_file, write_row
from diffjax.reports.tables import table, write_report

__all__ = [
    "Curves",
    "Findings",
    "Likelihoods",
    "MetricComparison",
    "Provenance",
    "Report",
    "ReportNumbers",
    "Sweep",
    "SweepRow",
    "animation",
    "compare",
    "comparison_table",
    "crossed_grid",
    "describe_settings",
    "find_problems",
    "grid",
    "labelled_grid",
    "plot_curves",
    "provenance",
    "read_numbers",
    "read_row",
    "row_file",
    "side_by_side",
    "strip",
    "sweep_table",
    "table",
    "write_comparison",
    "write_png",
    "write_report",
    "write_row",
    "write_sweep",
]
