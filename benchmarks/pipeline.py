"""The engine beside those that exist, on the same notebooks, in one run: what runs again, and what that costs.

    python -m benchmarks.pipeline                   engines and reports, most of an hour; writes docs/pipeline.md
    python -m benchmarks.pipeline --only engines    engines alone | reports; prints, writes nothing
    python -m benchmarks.pipeline --repeats 1       once each, for a look; prints, writes nothing

Eight light notebooks: clean > validate > describe, clean > weights > roles and blockers > constructs > findings. Each imports
pandas, reads what stands before it and writes one file. Every engine gets a copy of the study and the same events in the same
order, and calls papermill as its users do. doit, pytask with pytask-parallel and Snakemake are measured where the interpreter
that FIELDWORK_PEERS_PYTHON names can import them. Seconds of CPU are those of the command and of every process that it waited
for. A notebook that runs says so in a log of the benchmark, so that no engine is taken at its word.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fieldwork.simulate import write_study

ROOT = Path(__file__).resolve().parents[1]
PEERS = os.environ.get("FIELDWORK_PEERS_PYTHON", "")
LOG = "FIELDWORK_BENCHMARK_LOG"
WAVE = "w1"
_TRIES = 3  # studies in which another engine may fail: a stock kernel now and then does not answer
PAGE = """# The engine beside others

Made by `python -m benchmarks.pipeline`. Medians of the runs named; seconds of wall time and, in brackets, of CPU.
{machine}

{engines}

{reports}
"""

# Notebook: what it reads, what it writes, how it makes `made` out of `tables`, a frame for each file that it reads.
CHAPTERS: dict[str, tuple[tuple[str, ...], str, str]] = {
    "clean": (("{raw}/answers.csv",), "clean.parquet", "made = tables[0].dropna().astype({'score': 'int64'})"),
    "validate": (
        ("{processed}/clean.parquet",),
        "validate.csv",
        "made = tables[0].describe().reset_index().round(6)",
    ),
    "describe": (
        ("{processed}/clean.parquet", "{processed}/validate.csv"),
        "describe.csv",
        "made = tables[0].groupby('role')['score'].agg(['count', 'mean']).round(6).reset_index()",
    ),
    "weights": (
        ("{processed}/clean.parquet",),
        "weights.parquet",
        "made = tables[0].assign(weight=1 / tables[0].groupby('role')['role'].transform('size'))[['weight']]",
    ),
    "roles": (
        ("{processed}/clean.parquet", "{processed}/weights.parquet"),
        "roles.csv",
        "made = (tables[0]['score'] * tables[1]['weight']).groupby(tables[0]['role']).sum().round(6).reset_index()",
    ),
    "blockers": (
        ("{processed}/clean.parquet", "{processed}/weights.parquet"),
        "blockers.csv",
        "made = tables[0].groupby('stage')['score'].mean().round(6).reset_index()",
    ),
    "constructs": (
        ("{processed}/roles.csv", "{processed}/blockers.csv"),
        "constructs.csv",
        "made = pd.DataFrame({'spread': [tables[0].iloc[:, 1].std(), tables[1].iloc[:, 1].std()]}).round(6)",
    ),
    "findings": (
        ("{processed}/constructs.csv", "{processed}/describe.csv"),
        "findings.csv",
        "made = tables[1].assign(spread=tables[0]['spread'].iloc[0])",
    ),
}
_PARAMETERS = """study: str = ".."  # study folder
wave: str = ""  # wave to analyse
out: str = ""  # folder that takes what is saved; empty: the study's own
"""
_READING = """import os
from pathlib import Path
import pandas as pd
home, target = Path(study), Path(out or study) / "data/processed" / "w1"
if os.environ.get("{log}"):
    with open(os.environ["{log}"], "a") as file: file.write("{name}\\n")
paths = [home / path for path in {paths!r}]
tables = [pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path) for path in paths]"""


# ----------------------------------------------------------------------------------------------------------------- the study


def _placed(pattern: str) -> str:
    return pattern.replace("{raw}", f"data/raw/{WAVE}").replace("{processed}", f"data/processed/{WAVE}")


def inputs_of(name: str) -> list[str]:
    """Return the files that a chapter reads, relative to the study."""
    return [_placed(path) for path in CHAPTERS[name][0]]


def output_of(name: str) -> str:
    """Return the file that a chapter writes, relative to the study."""
    return f"data/processed/{WAVE}/{CHAPTERS[name][1]}"


def write_chapters(study: Path) -> Path:
    """Write the study of eight light notebooks: deliveries, notebooks, the graph, and folders for what they make."""
    for folder in (f"data/raw/{WAVE}", f"data/processed/{WAVE}", "instruments", "notebooks", "executed"):
        (study / folder).mkdir(parents=True)
    (study / "study.toml").write_text(
        f'[study]\nname = "light"\ntitle = "Light"\nprovenance = "simulated"\n[waves]\norder = ["{WAVE}"]\n'
    )
    rows = [f"r{n % 10},{n % 5 + 1},{(n * 7 + n // 11) % 7 + 1}" for n in range(5000)]
    (study / f"data/raw/{WAVE}/answers.csv").write_text("\n".join(["role,stage,score", *rows, ""]))
    graph = []
    for name, (reads, writes, make) in CHAPTERS.items():
        reading = _READING.format(log=LOG, name=name, paths=inputs_of(name))
        how = (
            "to_parquet(target / {!r}, index=False)"
            if writes.endswith("parquet")
            else "to_csv(target / {!r}, index=False)"
        )
        _notebook(study / f"notebooks/{name}.ipynb", name, [reading, make, f"made.{how.format(writes)}"])
        outputs = json.dumps([f"{{processed}}/{writes}"])
        graph.append(f'[[chapter]]\nname = "{name}"\ninputs = {json.dumps(list(reads))}\noutputs = {outputs}\n')
    (study / "notebooks/chapters.toml").write_text("\n".join(graph))
    return study


def _notebook(path: Path, name: str, sources: Sequence[str]) -> None:
    code = {"cell_type": "code", "outputs": [], "execution_count": None}
    cells = [
        {"cell_type": "markdown", "id": f"{name}-0", "metadata": {}, "source": f"# {name}"},
        code | {"id": f"{name}-1", "metadata": {"tags": ["parameters"]}, "source": _PARAMETERS},
        *(code | {"id": f"{name}-{k}", "metadata": {}, "source": text} for k, text in enumerate(sources, 2)),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    book = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(book, indent=1))


# ----------------------------------------------------------------------------------------------------------------- the peers

_ONE_PROCESS = """
import papermill
for name in {names}:
    papermill.execute_notebook(f"notebooks/{{name}}.ipynb", f"executed/{{name}}.ipynb", {{"study": "."}}, progress_bar=False)
"""
_DOIT = """
import papermill
DOIT_CONFIG = {{"verbosity": 0}}
def go(name):
    papermill.execute_notebook(f"notebooks/{{name}}.ipynb", f"executed/{{name}}.ipynb", {{"study": "."}}, progress_bar=False)
def task_chapter():
    for name, (reads, writes) in {graph}.items():
        files = [f"notebooks/{{name}}.ipynb", *reads]
        yield {{"name": name, "actions": [(go, [name])], "file_dep": files, "targets": [writes]}}
"""
_PYTASK = """
from pathlib import Path
import papermill
from pytask import task
HERE = Path(__file__).parent
for name, (reads, writes) in {graph}.items():
    files = {{f"in{{k}}": HERE / path for k, path in enumerate([f"notebooks/{{name}}.ipynb", *reads])}}
    @task(id=name, kwargs={{"name": name, "depends_on": files, "produces": HERE / writes}})
    def task_chapter(name, depends_on, produces):
        papermill.execute_notebook(
            HERE / f"notebooks/{{name}}.ipynb", HERE / f"executed/{{name}}.ipynb", {{"study": str(HERE)}}, progress_bar=False
        )
"""
_RULE = """
rule {name}:
    input: {inputs}
    output: "{output}"
    shell: "{papermill} notebooks/{name}.ipynb executed/{name}.ipynb -p study . --no-progress-bar --log-level ERROR"
"""


@dataclass(frozen=True, slots=True)
class Engine:
    """Something that runs the notebooks of a study.

    Attributes
    ----------
    name : str           What the table calls it.
    prepare : callable   Writes what it needs into a study.
    words : callable     The command for a study; run there.
    """

    name: str
    prepare: Callable[[Path], None]
    words: Callable[[Path], list[str]]


def engines(peers: str = PEERS) -> list[Engine]:
    """Return what is measured: ours, plain papermill, and the engines that the interpreter `peers` has."""

    def nothing(_: Path) -> None:
        return None

    def written(name: str, text: str) -> Callable[[Path], None]:
        return lambda study: (study / name).write_text(text) and None

    def ours(*more: str) -> Callable[[Path], list[str]]:
        return lambda study: [sys.executable, "-m", "fieldwork", "run", "--study", str(study), *more]

    graph = {name: (inputs_of(name), output_of(name)) for name in CHAPTERS}
    papermill = str(Path(sys.executable).with_name("papermill"))
    calls = " && ".join(
        f"{papermill} notebooks/{name}.ipynb executed/{name}.ipynb -p study . --no-progress-bar --log-level ERROR"
        for name in CHAPTERS
    )
    one = _ONE_PROCESS.format(names=list(CHAPTERS))
    made = [
        Engine("fieldwork, 2 workers", nothing, ours("--workers", "2")),
        Engine("fieldwork, 1 worker", nothing, ours("--workers", "1")),
        Engine("fieldwork --isolated, 2 workers", nothing, ours("--workers", "2", "--isolated")),
        Engine("papermill, a call a notebook", nothing, lambda _: ["bash", "-c", calls]),
        Engine("papermill, one process", nothing, lambda _: [sys.executable, "-c", one]),
    ]
    if not peers:
        return made
    rules = [f"rule all:\n    input: {json.dumps([output_of(name) for name in CHAPTERS])[1:-1]}\n"]
    beside = str(Path(peers).with_name("papermill"))
    for name in CHAPTERS:
        files = json.dumps([f"notebooks/{name}.ipynb", *inputs_of(name)])[1:-1]
        rules.append(_RULE.format(name=name, inputs=files, output=output_of(name), papermill=beside))
    return [
        *made,
        Engine("doit, 2 processes", written("dodo.py", _DOIT.format(graph=graph)),
               lambda _: [peers, "-m", "doit", "-n", "2"]),
        Engine("pytask, 2 processes", written("task_light.py", _PYTASK.format(graph=graph)),
               lambda _: [str(Path(peers).with_name("pytask")), "-n", "2"]),
        Engine("Snakemake, 2 cores", written("Snakefile", "\n".join(rules)),
               lambda _: [peers, "-m", "snakemake", "--cores", "2", "--quiet", "all"]),
    ]  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------- the events


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    if old not in text:
        raise SystemExit(f"{path}: {old!r} is not there any more")
    path.write_text(text.replace(old, new, 1))


def _touch(study: Path) -> None:
    for path in (*study.glob("data/raw/*/*"), *study.glob("notebooks/*")):
        path.touch()


def _saved_with_outputs(study: Path) -> None:
    path = study / "notebooks/describe.ipynb"
    book = json.loads(path.read_text())
    book["cells"][2] |= {
        "execution_count": 7,
        "outputs": [{"output_type": "stream", "name": "stdout", "text": "as a hand left it\n"}],
    }
    path.write_text(json.dumps(book, indent=1))


EVENTS: dict[str, Callable[[Path], object]] = {
    "nothing changed": lambda _: None,
    "time stamps touched": _touch,
    "a notebook saved with its outputs": _saved_with_outputs,
    "the last notebook changed": lambda study: _edit(
        study / "notebooks/findings.ipynb", "made = ", "made = 1 * tables[0]; made = "
    ),
    "an early notebook changed without effect": lambda study: _edit(
        study / "notebooks/weights.ipynb", "made = ", "unused = 1; made = "
    ),
    "an output deleted": lambda study: (study / output_of("roles")).unlink(),
    "one raw cell changed": lambda study: _edit(study / f"data/raw/{WAVE}/answers.csv", "r3,4,", "r2,4,"),
}
"""What happens to a study between two runs, in this order."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run of an engine cost: seconds of wall time and CPU, and the notebooks that ran."""

    wall: float
    cpu: float
    ran: int


class EngineError(Exception):
    """A command ended with a failure; the text is the command and the end of what it said."""


def timed(words: Sequence[str], study: Path) -> Cost:
    """Run a command in a study's folder; EngineError with what it said where it fails."""
    log = study.parent / "log"
    log.write_text("")
    clean = {name: value for name, value in os.environ.items() if name not in {"PYTHONDONTWRITEBYTECODE", "PYTHONPATH"}}
    env = clean | {LOG: str(log), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    said = study.parent / "said"
    began = time.perf_counter()
    with said.open("w") as file:
        process = subprocess.Popen(
            words, cwd=study, env=env, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise EngineError(f"{' '.join(map(str, words))}\nended with {process.returncode}\n{said.read_text()[-2000:]}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, len(log.read_text().split()))


def measured(engine: Engine, repeats: int, event_repeats: int = 1, tries: int = 1) -> tuple[dict[str, Cost], list[str]]:
    """Run an engine on studies of its own, cold and after each event: medians over `repeats` studies, by event.

    A study in which the engine fails is left out and another one taken, until it has failed `tries` times: EngineError. Second
    returned is what was said in those left out.
    """
    found: dict[str, list[Cost]] = {}
    ended: list[str] = []
    done = 0
    while done < repeats:
        try:
            costs = _one(engine, event_repeats)
        except EngineError as error:
            ended.append(_last_words(str(error)))
            if len(ended) >= tries:
                raise
            continue
        done += 1
        for event, each in costs.items():
            found.setdefault(event, []).extend(each)
    return {event: _median(each) for event, each in found.items()}, ended


def _one(engine: Engine, event_repeats: int) -> dict[str, list[Cost]]:
    with _somewhere() as place:
        study = write_chapters(place / "study")
        engine.prepare(study)
        found = {"cold": [timed(engine.words(study), study)]}
        for event, happens in EVENTS.items():
            happens(study)
            times = event_repeats if event == "nothing changed" else 1
            found[event] = [timed(engine.words(study), study) for _ in range(times)]
    return found


def _last_words(said: str) -> str:
    """Return the last line that names an error; the last one with words, where none does."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if "Error: " in line), lines[-1])


def _median(costs: Sequence[Cost]) -> Cost:
    ran = {cost.ran for cost in costs}
    if len(ran) > 1:
        raise SystemExit(f"not the same notebooks ran each time: {sorted(ran)}")
    return Cost(statistics.median(c.wall for c in costs), statistics.median(c.cpu for c in costs), ran.pop())


@contextlib.contextmanager
def _somewhere() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pipeline-") as folder:
        yield Path(folder)


def engine_table(repeats: int, peers: str = PEERS) -> str:
    """Measure every engine and return two tables: seconds, and how many of the eight notebooks ran."""
    listed = engines(peers)
    costs: dict[str, dict[str, Cost]] = {}
    ended: dict[str, str] = {}
    for engine in listed:
        compared = engine.name.startswith(("fieldwork", "papermill"))  # what the others are held against
        try:
            costs[engine.name], failed = measured(engine, repeats, 5, 1 if compared else _TRIES)
        except EngineError as error:
            if compared:
                raise SystemExit(str(error)) from error
            ended[engine.name] = f"failed in {_TRIES} studies and is not in the tables: `{_last_words(str(error))}`"
            print(f"{engine.name} failed:\n{error}", flush=True)
            continue
        if failed:
            told = f"{len(failed)} of {repeats + len(failed)} studies, which are left out"
            ended[engine.name] = f"failed in {told}: `{failed[-1]}`"
        print(f"{engine.name}: {costs[engine.name]['cold'].wall:.1f} s cold", flush=True)
    events = ["cold", *EVENTS]
    head = f"| engine | {' | '.join(events)} |\n|{'---|' * (len(events) + 1)}"
    seconds = [
        f"| {name} | {' | '.join(f'{of[event].wall:.2f} ({of[event].cpu:.2f})' for event in events)} |"
        for name, of in costs.items()
    ]
    ran = [f"| {name} | {' | '.join(str(of[event].ran) for event in events)} |" for name, of in costs.items()]
    own = costs[listed[0].name]["cold"]
    rivals = {name: of["cold"] for name, of in costs.items() if not name.startswith("fieldwork")}
    best = min(rivals, key=lambda name: rivals[name].wall)
    calls = rivals["papermill, a call a notebook"]
    told = (
        f"Cold, with 2 workers, ours takes {own.wall:.1f} s; the best of the others, {best}, "
        f"{rivals[best].wall:.1f} s: {rivals[best].wall / own.wall:.2f} times as long. A call of papermill for each "
        f"notebook takes {calls.cpu / own.cpu:.1f} times the CPU and {calls.wall / own.wall:.1f} times the wall time."
    )
    failures = "".join(f"\n\n{name} {said}" for name, said in ended.items())
    missing = "" if peers else "\n\nNo other engines were measured: FIELDWORK_PEERS_PYTHON names no interpreter."
    return "\n".join(
        [f"## Eight light notebooks, {repeats} studies an engine\n", head, *seconds,
         "\nNotebooks that ran, of eight:\n", head, *ran, f"\n{told}{failures}{missing}"]
    )  # fmt: skip


# --------------------------------------------------------------------------------------------------------------- the reports


def consenting_study(folder: Path, organisations: int) -> Path:
    """Write a simulated study whose informants all said yes to a report of their organisation, run to its estimates."""
    write_study("role_divergence", organisations=organisations, waves=1, seed=8, out=folder, base=ROOT)
    for path in (folder / "data/raw").rglob("*.csv"):
        _consent(path)
    settings = folder / "study.toml"
    settings.write_text(settings.read_text().replace("replicates = 1000", "replicates = 99"))
    timed([sys.executable, "-m", "fieldwork", "run", "--study", str(folder), "--only", "09_claims"], folder)
    return folder


def _consent(path: Path) -> None:
    """Have every respondent of a delivery say yes to a report of the organisation."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row | {"consent_org": "1"} for row in csv.DictReader(file)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def report_table(organisations: int, sample: int) -> str:
    """Measure reports for organisations: ours, unchanged, and papermill with its own kernels on a sample of the same."""
    with _somewhere() as place:
        study = consenting_study(place / "study", organisations)
        words = [sys.executable, "-m", "fieldwork", "organisations", "--study", str(study), "--workers", "2"]
        cold = timed(words, study)
        made = sorted(path.name for path in (study / "reports").glob("*/restricted/*") if path.is_dir())
        again = [timed(words, study) for _ in range(5)]
        chosen = made[:: max(1, len(made) // sample)][:sample]
        plain = _plain_reports(study, chosen)
    n, each = len(made), plain.wall / len(chosen)
    papermill = (
        f"| papermill, its own kernels, 2 at a time | {len(chosen)} | {plain.wall:.1f} | {each:.2f} "
        f"| {plain.cpu / len(chosen):.2f} |"
    )
    return "\n".join(
        [
            f"## Reports for {n} organisations\n",
            "| how | reports | wall s | wall s a report | CPU s a report |",
            "|---|---|---|---|---|",
            f"| fieldwork organisations, 2 workers | {n} | {cold.wall:.1f} | {cold.wall / n:.2f} | {cold.cpu / n:.2f} |",
            f"| the same, nothing changed | {n} | {statistics.median(c.wall for c in again):.2f} | | |",
            papermill,
            f"\nThroughput against papermill: {each / (cold.wall / n):.1f} times.",
        ]
    )


_TWO_AT_A_TIME = """
import sys
from concurrent.futures import ThreadPoolExecutor
import nbconvert, nbformat, papermill
book, study, target, *names = sys.argv[1:]
exporter = nbconvert.HTMLExporter(exclude_input=True)
def go(name):
    out = f"{target}/{name}.ipynb"
    papermill.execute_notebook(book, out, {"study": study, "organisation": name, "out": f"{target}/{name}"}, progress_bar=False)
    open(f"{target}/{name}.html", "w").write(exporter.from_filename(out)[0])
with ThreadPoolExecutor(2) as pool:
    list(pool.map(go, names))
"""


def _plain_reports(study: Path, names: Sequence[str]) -> Cost:
    target = study.parent / "plain"
    for name in names:
        (target / name).mkdir(parents=True)
    book = str(ROOT / "notebooks/organisation.ipynb")
    return timed([sys.executable, "-c", _TWO_AT_A_TIME, book, str(study), str(target), *names], study)


# --------------------------------------------------------------------------------------------------------------- the command


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the page of the docs where everything was measured as the docs say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("engines", "reports"))
    parser.add_argument("--repeats", type=int, default=3, help="studies an engine (3)")
    parser.add_argument("--organisations", type=int, default=1000, help="of the reports (1000)")
    parser.add_argument("--sample", type=int, default=30, help="reports that plain papermill makes (30)")
    options = parser.parse_args(arguments)
    tables = {"engines": "", "reports": ""}
    if options.only != "reports":
        tables["engines"] = engine_table(options.repeats)
        print(tables["engines"], flush=True)
    if options.only != "engines":
        try:
            tables["reports"] = report_table(options.organisations, options.sample)
        except EngineError as error:
            raise SystemExit(str(error)) from error
        print(tables["reports"], flush=True)
    if options.only is None and options.repeats >= 3 and PEERS:
        machine = f"Python {sys.version.split()[0]}, {os.cpu_count()} cores."
        (ROOT / "docs/pipeline.md").write_text(PAGE.format(machine=machine, **tables), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
