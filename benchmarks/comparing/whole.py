"""The comparison from its plan to its tables."""

from pathlib import Path

from report import publish

from comparing import figures, places, results, runs, tables
from configs.compare import Compare
from diffjax.utils.files import lock_folder


def compared(
    compare: Compare,
    folder: Path,
    docs: Path | None = None,
    only_tables: bool = False,
    start: runs.Launch = runs.launch,
) -> None:
    """Do in a folder what is left to be done; publish the tables and pictures there, or where those of docs/ are."""
    if not only_tables:
        with lock_folder(folder):
            places.begin(folder, compare)
            runs.everything(compare, folder, start)
    found = results.gathered(compare, folder)
    figures.draw((docs or folder) / "pictures", found)
    places_of = {} if docs else {"data": folder, "pages": folder}
    publish("compare", tables.tables(found), found, **places_of)
