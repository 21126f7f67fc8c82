"""One setting for every property: no test may time performance, so none has a deadline. Whole studies come first."""

from hypothesis import settings

settings.register_profile("fieldwork", deadline=None)
settings.load_profile("fieldwork")


def pytest_collection_modifyitems(items):
    """Put the dearest modules first, so that side by side the last ones to end are short."""
    items.sort(key=lambda item: not any(item.get_closest_marker(name) for name in ("study", "browser")))
