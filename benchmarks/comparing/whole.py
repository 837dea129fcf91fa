"""The comparison from its plan to its page."""

from pathlib import Path

from comparing import figures, page, places, results, runs
from configs.compare import Compare
from diffjax.utils.files import lock_folder


def compared(
    compare: Compare, folder: Path, to: Path, only_page: bool = False, start: runs.Launch = runs.launch
) -> None:
    """Do in a folder what is left to be done, and write the page into another."""
    if not only_page:
        with lock_folder(folder):
            places.begin(folder, compare)
            print(runs.plan(compare, folder), flush=True)
            runs.everything(compare, folder, start)
    found = results.gathered(compare, folder)
    figures.draw(to / "pictures", found)
    page.write(to, found)
    print(f"the page is {to / page.PAGE}", flush=True)
