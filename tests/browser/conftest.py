"""A browser for the page tests: the system's Chromium, else one that Playwright has installed for itself.

`pytest tests/browser --site DIR` (or FIELDWORK_SITE=DIR) tests the pages of a real report in place of the built-in ones.
With FIELDWORK_REQUIRE_BROWSER=1 a missing browser is a failure, not a skip.
"""

import importlib.util
import os
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)


def pytest_addoption(parser):
    parser.addoption("--site", default="", help="folder of a built report to test, e.g. reports/2026Q1")


def executables():
    found = [path for name in NAMES if (path := shutil.which(name))]
    return [*found, *(place for place in PLACES if Path(place).is_file()), None]


def without_browser(told):
    if os.environ.get("FIELDWORK_REQUIRE_BROWSER") == "1":
        pytest.fail(told)
    pytest.skip(told)


@pytest.fixture(scope="session")
def browser():
    if importlib.util.find_spec("playwright") is None:
        without_browser("the Python package playwright is not installed, so no page was opened in a browser")
    from playwright import sync_api

    root = hasattr(os, "geteuid") and os.geteuid() == 0
    with sync_api.sync_playwright() as play:
        faults = []
        for executable in executables():
            try:
                opened = play.chromium.launch(executable_path=executable, args=["--no-sandbox"] if root else [])
            except sync_api.Error as error:
                faults.append(f"{executable or 'the Chromium of Playwright'}: {str(error).splitlines()[0]}")
                continue
            yield opened
            opened.close()
            return
    told = f"no Chromium could be started, so no page was opened in a browser ({'; '.join(faults)})"
    without_browser(told)


@pytest.fixture(scope="session")
def sites(request, tmp_path_factory):
    """Folders of built reports: the one that was named, else one per survey of the fixture."""
    named = request.config.getoption("--site", default="") or os.environ.get("FIELDWORK_SITE", "")
    if named:
        folder = Path(named).resolve()
        assert (folder / "index.html").is_file(), f"{folder} holds no built report (no index.html)"
        return {"named": folder}
    from fieldwork.site import build

    report = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "report.py")))
    worlds = {"quaie": report.QUAIE, "ospo": report.OSPO, "nothing": report.NOTHING, "hostile": report.HOSTILE}
    return {
        name: build(str(report.make(tmp_path_factory.mktemp(name) / "study", world)), "", "").parent
        for name, world in worlds.items()
    }
