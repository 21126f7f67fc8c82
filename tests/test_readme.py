"""What README and CHANGELOG show is what the shipped study says."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FIELDWORK = Path(sys.executable).with_name("fieldwork")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """Run the shipped study in a copy of its folder, as `make run` does."""
    import shutil

    folder = tmp_path_factory.mktemp("shipped")
    for name in ("study.toml",):
        shutil.copy(ROOT / name, folder / name)
    for name in ("instruments", "data/raw", "essays"):
        shutil.copytree(ROOT / name, folder / name)
    done = subprocess.run([FIELDWORK, "run", "--study", folder], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "reports" / "2026Q1"


@pytest.mark.study
def test_the_finding_in_the_readme_is_the_shipped_studys(shipped):
    quoted = re.search(r"^> (H\d+) in the shipped, simulated study: (.+)$", README, re.MULTILINE)
    assert quoted
    findings = {record["id"]: record["sentence"] for record in json.loads((shipped / "findings.json").read_text())}
    assert quoted.group(2) == findings[quoted.group(1)]


@pytest.mark.study
def test_the_figure_in_the_readme_is_the_shipped_studys(shipped):
    assert (ROOT / "docs" / "gradient.svg").read_bytes() == (shipped / "figures" / "gradient.svg").read_bytes()


@pytest.mark.study
def test_the_shipped_essays_are_built_from_the_shipped_study(shipped):
    """Prose that was written for other verdicts, or quotes what is held back by now, does not build."""
    from fieldwork.essays import build

    made = {path.name for path in build(shipped.parents[1])}
    assert {
        f"{path.stem}.{form}" for path in (ROOT / "essays").glob("*.md") for form in ("md", "html", "docx", "pdf")
    } <= made


def test_every_command_in_the_readme_is_one():
    commands = re.findall(r"`fieldwork ([a-z]+)", README)
    assert set(commands) == {
        "run",
        "explain",
        "lab",
        "debug",
        "export",
        "check",
        "simulate",
        "new",
        "bundle",
        "verify",
        "reproduce",
        "claims",
        "plan",
        "release",
        "prune",
        "publish",
        "organisations",
    }
    for command in dict.fromkeys(commands):
        done = subprocess.run([FIELDWORK, command, "--help"], capture_output=True, text=True, check=False)
        assert done.returncode == 0
        assert "example" in done.stdout


def test_every_example_of_the_command_line_is_understood():
    """The example that ends a command's help is parsed by that command, without its effect."""
    for command in (
        "run",
        "explain",
        "check",
        "simulate",
        "claims",
        "plan",
        "release",
        "publish",
        "new",
        "bundle",
        "verify",
        "reproduce",
    ):
        shown = subprocess.run([FIELDWORK, command, "--help"], capture_output=True, text=True, check=False).stdout
        examples = re.findall(r"^  fieldwork (.+)$", shown.partition("example")[2], re.MULTILINE)
        assert examples, command
        for example in examples:
            words = shlex.split(example)
            assert words[0] == command
            done = subprocess.run([FIELDWORK, *words, "--help"], capture_output=True, text=True, check=False)
            assert done.returncode == 0, example


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)\)", README))
def test_links_of_the_readme_lead_somewhere(target):
    assert (ROOT / target).exists()


def test_tests_that_import_benchmarks_are_collected_by_the_bare_command():
    """`pytest` puts no folder of ours on the path, as `python -m pytest` does; the documents name both."""
    command = [Path(sys.executable).parent / "pytest", "--collect-only", "-q", "tests/test_blank.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout
