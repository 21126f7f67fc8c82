"""One setting for every property: no test may time performance, so none has a deadline."""

from hypothesis import settings

settings.register_profile("fieldwork", deadline=None)
settings.load_profile("fieldwork")
