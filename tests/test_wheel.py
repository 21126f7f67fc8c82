"""The wheel, installed alone, carries another survey from its first folder to its report: `pytest -m slow tests/test_wheel.py`."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks.sameness import deliver
from fieldwork.bundle.archive import read_archive

ROOT = Path(__file__).resolve().parents[1]
UV = shutil.which("uv") or next((str(path) for path in [ROOT / ".tools/bin/uv"] if path.is_file()), "")


@pytest.mark.slow
@pytest.mark.study
@pytest.mark.skipif(not UV, reason="uv, which builds and installs the wheel, is not here: `make setup` fetches it")
def test_the_wheel_alone_runs_a_new_study(tmp_path):
    bare = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}

    def run(*words, cwd=tmp_path, code=0):
        done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False, cwd=cwd, env=bare)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    run(UV, "build", "--wheel", "-q", "-o", tmp_path / "dist", cwd=ROOT)
    run(UV, "export", "--frozen", "--no-dev", "--no-emit-project", "-q", "-o", tmp_path / "locked.txt", cwd=ROOT)
    run(UV, "venv", "-q", tmp_path / "env")
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    python = tmp_path / "env/bin/python"
    run(UV, "pip", "install", "-q", "--python", python, "-r", tmp_path / "locked.txt")
    run(UV, "pip", "install", "-q", "--python", python, "--no-deps", wheel)
    own = tmp_path / "env/bin/fieldwork"
    assert "site-packages" in run(python, "-c", "import fieldwork; print(fieldwork.__file__)")

    run(own, "new", "survey")
    assert "there is no delivery" in run(own, "run", "--study", "survey", code=1)
    deliver(tmp_path / "survey")
    settings = tmp_path / "survey/study.toml"
    text = settings.read_text().replace("# pseudonyms", "pseudonyms").replace("shareable = false", "shareable = true")
    settings.write_text(text)
    assert run(own, "run", "--study", "survey", "--replicates", 99).strip().endswith("reports/2026Q1/index.html")
    told = run(own, "bundle", "--study", "survey", "--out", "review.zip")
    assert "The sources of the installed package" in told
    assert "the same as when it was made" in run(own, "verify", "review.zip")
    files = read_archive(tmp_path / "review.zip")
    assert json.loads(files["bundle.json"])["code"]["kind"] == "installed"
    assert files["code/uv.lock"] == (ROOT / "uv.lock").read_bytes()
    assert files["code/src/fieldwork/cli.py"] == (ROOT / "src/fieldwork/cli.py").read_bytes()
    assert "made again, and the same" in run(own, "reproduce", "review.zip", "--environment", "lock")
