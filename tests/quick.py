"""Settings that keep whole studies short where a test asks how they run, not how sure they are."""

from pathlib import Path

# Main analysis and one departure; the shipped study, which test_readme runs, and test_multiverse go through all choices.
_TWO_SPECIFICATIONS = """
replicates = 399

[choices]
weights = ["raked", "none"]
lens = ["cell_table"]
exclusions = ["set_aside"]
stage = ["own_function"]
missing = ["available"]
margin = "registered"
"""


def shorten(folder: Path, *, replicates: int) -> None:
    """Give a study fewer replicates and two specifications of the multiverse."""
    settings = folder / "study.toml"
    text = settings.read_text(encoding="utf-8")
    assert "replicates = 1000" in text
    settings.write_text(text.replace("replicates = 1000", f"replicates = {replicates}"), encoding="utf-8")
    (folder / "instruments" / "multiverse.toml").write_text(_TWO_SPECIFICATIONS, encoding="utf-8")
