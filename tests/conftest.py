"""One setting for every property: no test may time performance, so none has a deadline. Whole studies come first."""

import gc
import os
import tempfile

import pytest
from hypothesis import settings

settings.register_profile("fieldwork", deadline=None)
settings.load_profile("fieldwork")


@pytest.fixture(scope="session", autouse=True)
def own_settings():
    """Give the tests a folder of settings of their own: a study with pseudonyms makes a key there, also in commands."""
    before = os.environ.get("XDG_CONFIG_HOME")
    with tempfile.TemporaryDirectory(prefix="fieldwork-settings-") as folder:
        os.environ["XDG_CONFIG_HOME"] = folder
        yield folder
        if before is None:
            del os.environ["XDG_CONFIG_HOME"]
        else:
            os.environ["XDG_CONFIG_HOME"] = before


def pytest_collection_modifyitems(items):
    """Put the dearest modules first, so that side by side the last ones to end are short."""
    items.sort(key=lambda item: not any(item.get_closest_marker(name) for name in ("study", "browser")))


def pytest_collection_finish():
    """Take what was collected, and what was imported for it, out of every later collection of garbage.

    Thousands of tests and libraries that live as long as the process make each one take a tenth of a second.
    """
    gc.collect()
    gc.freeze()
