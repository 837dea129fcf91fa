"""In a real browser a report is whole: nothing is refused or fetched, and its pictures are there to be seen."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_reports import SCORES, Page, source

from diffjax.evaluation.image_statistics import Flag
from diffjax.reports import html
from diffjax.reports.evaluation_report import Likelihoods, Report
from diffjax.reports.findings import Findings
from diffjax.reports.image_files import write_png
from diffjax.reports.tables import write_report

VARIABLE = "DIFFJAX_CHROMIUM"
NAMES = (
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"),
    *("chrome-headless-shell", "chromium-headless-shell"),
)
SWITCHES = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
    *("--window-size=1000,3000", "--force-device-scale-factor=1", "--force-color-profile=srgb"),
    *("--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--dump-dom"),  # no host is ever reached
)
SECONDS = 60
COLOURS = {"Samples": (255, 0, 128), 'The <way> "on" & off': (0, 128, 64)}
FOREIGN = '<img alt="" src="http://pictures.invalid/one.png">'


@dataclass(frozen=True)
class Seen:
    """What a browser made of a page."""

    dom: str
    console: list[str]
    asked: list[str]  # addresses that the page wanted from the net
    screen: np.ndarray


def render(browser: str, page: Path, folder: Path) -> Seen:
    """Shows the page in a browser that has a profile of its own, and closes it."""
    folder.mkdir()
    out, err, net, screen = (folder / name for name in ("dom", "log", "net.json", "screen.png"))
    places = (f"--user-data-dir={folder / 'profile'}", f"--log-net-log={net}", f"--screenshot={screen}")
    environment = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_CACHE_HOME": str(folder)}
    with out.open("wb") as stdout, err.open("wb") as stderr:
        command = [browser, *SWITCHES, *places, page.as_uri()]
        subprocess.run(command, stdout=stdout, stderr=stderr, env=environment, timeout=SECONDS, check=True)
    console = [line for line in err.read_text(errors="replace").splitlines() if re.search(r":CONSOLE[:(]", line)]
    return Seen(out.read_text(), console, asked_in(json.loads(net.read_text())), np.asarray(Image.open(screen)))


def asked_in(log: dict) -> list[str]:
    """The requests that a page made; the browser's own, as for updates, have no origin."""
    kind = log["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    told = [event.get("params", {}) for event in log["events"] if event["type"] == kind]
    return [params["url"] for params in told if "url" in params and params.get("initiator") != "not an origin"]


def found() -> str | None:
    """The browser that the variable names, else the first that is installed."""
    if named := os.environ.get(VARIABLE):
        assert shutil.which(named), f"{VARIABLE}: {named} is no program"
        return named
    return next((path for path in map(shutil.which, NAMES) if path), None)


@pytest.fixture(scope="module")
def show(tmp_path_factory) -> Callable[[Path], Seen]:
    """Renders pages with a browser that is known to show an empty one."""
    browser = found()
    if browser is None:
        pytest.skip(f"needs Chromium or Chrome: none is installed, and {VARIABLE} names none")
    folder = tmp_path_factory.mktemp("browser")
    html.write_page(folder / "empty.html", "Empty")
    try:
        shown = "<title>Empty</title>" in render(browser, folder / "empty.html", folder / "empty").dom
    except (OSError, ValueError, subprocess.SubprocessError):
        shown = False
    if not shown and not os.environ.get(VARIABLE):
        pytest.skip(f"{browser} does not show even an empty page here; name another in {VARIABLE}")
    assert shown, f"{browser} does not show even an empty page"
    return lambda page: render(browser, page, tmp_path_factory.mktemp("browser") / "shown")


def report(folder: Path) -> Path:
    """A report with all that one can have; its pictures are of one colour each."""
    paths = {caption: folder / f"{number}.png" for number, caption in enumerate(COLOURS)}
    for caption, path in paths.items():
        write_png(path, np.full((64, 64, 3), COLOURS[caption], np.uint8))
    flags = [Flag("mean", 0.5, 0.25, 9.0, 2.0, raised=True), Flag("contrast", 0.5, 0.5, 0.1, 0.0, raised=False)]
    findings = Findings(["<script>harm()</script>"], flags)
    bits = Likelihoods({"this model": (np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0]))}, "exact, 3 and 2 images")
    made = Report("Digits <8>", SCORES, source(), findings, bits, pictures=paths)
    written = write_report(folder / "run 1", made)
    for path in paths.values():
        path.unlink()  # the report needs only itself
    return written


def test_a_report_shows_all_that_it_has_and_fetches_nothing(show, tmp_path):
    seen = show(report(tmp_path))
    assert seen.console == []
    assert seen.asked == []
    assert "<title>Digits &lt;8&gt;</title>" in seen.dom
    assert seen.dom.count("<table>") == 3
    sources = Page(seen.dom).sources
    assert len(sources) == len(COLOURS)
    assert all(address.startswith("data:image/png;base64,") for address in sources)
    for colour in COLOURS.values():
        area = (seen.screen[..., :3] == colour).all(axis=-1).sum()
        assert 0.98 * 64**2 < area <= 64**2  # its corners are round


def test_a_foreign_picture_is_refused_and_that_is_seen(show, tmp_path):
    """So silence above means that nothing was refused."""
    html.write_page(tmp_path / "foreign.html", "Foreign", FOREIGN)
    seen = show(tmp_path / "foreign.html")
    (line,) = seen.console
    assert "http://pictures.invalid/one.png" in line
    assert "Content Security Policy" in line
    assert seen.asked == []


def test_a_request_is_seen_where_no_policy_forbids_it(show, tmp_path):
    """So silence above means that nothing was asked for."""
    html.write_page(tmp_path / "foreign.html", "Foreign", FOREIGN)
    text = (tmp_path / "foreign.html").read_text()
    (tmp_path / "open.html").write_text(text.replace(html.POLICY, ""))
    assert show(tmp_path / "open.html").asked == ["http://pictures.invalid/one.png"]
