"""Reports of evaluations: tables, HTML pages, JSON, plots and image grids."""

from typing import TYPE_CHECKING

from diffjax.utils.lazy import lazy_names

if TYPE_CHECKING:
    from diffjax.reports.comparison import MetricComparison, compare, comparison_table, write_comparison
    from diffjax.reports.evaluation_report import CodecFloor, Likelihoods, Provenance, Report, provenance
    from diffjax.reports.findings import Findings, find_problems
    from diffjax.reports.image_files import animation, write_png
    from diffjax.reports.image_grids import crossed_grid, grid, labelled_grid, side_by_side, strip
    from diffjax.reports.json_report import ReportNumbers, read_numbers
    from diffjax.reports.plots import Curves, plot_curves
    from diffjax.reports.settings import describe_settings
    from diffjax.reports.signal_plots import plot_forecasts, plot_signals
    from diffjax.reports.sweep_report import Sweep, sweep_table, write_sweep
    from diffjax.reports.sweep_rows import SweepRow, read_row, row_file, write_row
    from diffjax.reports.tables import table, write_report

__all__ = [
    "CodecFloor",
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
    "plot_forecasts",
    "plot_signals",
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

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "comparison": ("MetricComparison", "compare", "comparison_table", "write_comparison"),
        "evaluation_report": ("CodecFloor", "Likelihoods", "Provenance", "Report", "provenance"),
        "findings": ("Findings", "find_problems"),
        "image_grids": ("crossed_grid", "grid", "labelled_grid", "side_by_side", "strip"),
        "json_report": ("ReportNumbers", "read_numbers"),
        "plots": ("Curves", "plot_curves"),
        "image_files": ("animation", "write_png"),
        "settings": ("describe_settings",),
        "signal_plots": ("plot_forecasts", "plot_signals"),
        "sweep_report": ("Sweep", "sweep_table", "write_sweep"),
        "sweep_rows": ("SweepRow", "read_row", "row_file", "write_row"),
        "tables": ("table", "write_report"),
    },
)
