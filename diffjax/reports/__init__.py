"""Tables, pages, JSON and pictures of what was measured."""

from diffjax.reports.comparison import Compared, compare, compared_table, write_comparison
from diffjax.reports.comparison_rows import Swept, read_row, row_file, write_row
from diffjax.reports.evaluation_report import Curves, Likelihoods, Provenance, Report, provenance
from diffjax.reports.findings import Findings, findings_of
from diffjax.reports.image_grids import crossed, grid, labelled_grid, side_by_side, strip
from diffjax.reports.json_report import Numbers, read_numbers
from diffjax.reports.plots import animation, curve, write_png
from diffjax.reports.sweep_report import Sweep, settings_told, sweep_table, write_sweep
from diffjax.reports.tables import table, write_report

__all__ = [
    "Compared",
    "Curves",
    "Findings",
    "Likelihoods",
    "Numbers",
    "Provenance",
    "Report",
    "Sweep",
    "Swept",
    "animation",
    "compare",
    "compared_table",
    "crossed",
    "curve",
    "findings_of",
    "grid",
    "labelled_grid",
    "provenance",
    "read_numbers",
    "read_row",
    "row_file",
    "settings_told",
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
