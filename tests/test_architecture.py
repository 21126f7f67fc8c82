"""The house as ARCHITECTURE.md and .importlinter tell it, held against the code."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "fieldwork"
MODULES = sorted(SOURCE.rglob("*.py"))

HEAVY = (
    *("pandas", "numpy", "scipy", "matplotlib", "seaborn", "papermill", "great_expectations", "statsmodels"),
    *("great_tables", "pypandoc", "docx", "typst", "jinja2", "PIL"),
)
UNPICKLING = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "multiprocessing", "shelve"}
PICKLING_WORDS = {"read_pickle", "to_pickle", "allow_pickle"}
EXECUTING = {"eval", "exec", "__import__"}
NETWORK = {
    "aiohttp",
    "ftplib",
    "http",
    "httpx",
    "imaplib",
    "poplib",
    "requests",
    "smtplib",
    "socket",
    "socketserver",
    "ssl",
    "telnetlib",
    "urllib.request",
    "urllib3",
    "xmlrpc",
}
NOT_OURS = {
    ".benchmarks",
    ".fieldwork",
    ".git",
    ".hypothesis",
    ".ipynb_checkpoints",
    ".tools",
    ".venv",
    "__pycache__",
    "dist",
}
MADE_BY_A_RUN = re.compile(r"^(?:data/processed|reports|examples/[^/]+/(?:data|reports))/(?!README\.md$)")
MACHINE_PATH = re.compile(r"(?<![\w.~/:%-])/(?:home|root|work|Users)(?=[/\s\"'`,;)\]]|$)|[A-Z]:\\Users\\", re.MULTILINE)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def lint(cwd: Path, source: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [
        Path(sys.executable).with_name("lint-imports"),
        "--no-cache",
        "--no-logo",
        "--config",
        ROOT / ".importlinter",
    ]
    environment = os.environ | {"PYTHONPATH": str(source or SOURCE.parent), "NO_COLOR": "1", "COLUMNS": "200"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


# ------------------------------------------------------------------------------------------------------------- layers


def test_imports_keep_to_the_layers(tmp_path):
    done = lint(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "line", "told"),
    [
        ("errors.py", "import fieldwork.schema", "fieldwork.errors is not allowed to import fieldwork.schema"),
        ("provenance.py", "import fieldwork.schema", "fieldwork.provenance is not allowed to import fieldwork.schema"),
        ("statistics/spread.py", "import seaborn", "fieldwork.statistics is not allowed to import seaborn"),
        ("schema.py", "import papermill", "fieldwork.schema is not allowed to import papermill"),
        ("schema.py", "import great_expectations", "fieldwork.schema is not allowed to import great_expectations"),
        ("run/plan.py", "import fieldwork.schema", "fieldwork.run is not allowed to import fieldwork.schema"),
        ("helpers.py", "", "fieldwork.helpers"),
    ],
)
def test_a_breach_of_the_layers_is_told(tmp_path, file, line, told):
    copy = tmp_path / "src" / "fieldwork"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    target = copy / file
    text = target.read_text(encoding="utf-8") if target.exists() else ""
    target.write_text(f"{text}\n{line}\n", encoding="utf-8")
    done = lint(tmp_path, copy.parent)
    assert done.returncode == 1, done.stdout + done.stderr
    assert told in done.stdout


@pytest.mark.parametrize("module", ["fieldwork", "fieldwork.cli"])
def test_import_loads_nothing_heavy(module):
    code = f"import sys, {module}; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


# --------------------------------------------------------------------------------------------------- ARCHITECTURE.md


def first_sentence(path: Path) -> str:
    """First sentence of a module's docstring, on one line."""
    documented = path / "__init__.py" if path.is_dir() else path
    text = ast.get_docstring(ast.parse(documented.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(text.split("\n\n")[0].split())
    ended = re.match(r".*?[.!?](?=\s|$)", paragraph)
    return ended.group() if ended else paragraph


def rooms() -> dict[str, str]:
    """Modules and packages that the table must name, with the sentence that says what each is."""
    top = [path for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    inner = [path for package in ("statistics", "constructs") for path in (SOURCE / package).glob("*.py")]
    found = {}
    for path in sorted([*top, *inner]):
        if path.name != "__init__.py":
            name = path.relative_to(SOURCE).as_posix()
            found[f"{name}/" if path.is_dir() else name] = first_sentence(path)
    return found


def table_rows(text: str) -> list[tuple[str, str]]:
    between = re.search(r"<!-- modules -->(.*?)<!-- /modules -->", text, re.DOTALL)
    assert between, "ARCHITECTURE.md has no table between <!-- modules --> and <!-- /modules -->"
    rows = [re.split(r"(?<!\\)\|", line.strip())[1:-1] for line in between.group(1).strip().splitlines()]
    assert [cell.strip() for cell in rows[0]] == ["module", "is"], rows[0]
    assert all(len(row) == 2 for row in rows), "a row of the module table has not two cells"
    return [(row[0].strip().strip("`"), " ".join(row[1].replace(r"\|", "|").split())) for row in rows[2:]]


def test_architecture_names_every_module_once_and_in_its_own_words():
    expected = rooms()
    undocumented = [name for name, sentence in expected.items() if not sentence]
    assert not undocumented, f"no docstring: {undocumented}"
    as_it_should_be = "\n".join(
        f"| `{name}` | {sentence.replace('|', chr(92) + '|')} |" for name, sentence in expected.items()
    )
    found = table_rows((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"))
    names = [name for name, _ in found]
    hint = f"\nthe rows as the code has them:\n{as_it_should_be}"
    assert sorted(names) == sorted(set(names)), (
        f"named twice: {sorted({name for name in names if names.count(name) > 1})}"
    )
    assert set(names) == set(expected), f"differ: {sorted(set(names) ^ set(expected))}{hint}"
    assert dict(found) == expected, hint


# --------------------------------------------------------------------------------------------------- what is not used


def imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names that a module imports, a name imported from a package included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, banned: set[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in banned)


def words(tree: ast.AST) -> Iterator[str]:
    """Attributes, names and keyword arguments that a module uses."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.arg


def called(tree: ast.AST) -> Iterator[str]:
    """Names of functions and methods that a module calls."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                yield node.func.id
            elif isinstance(node.func, ast.Attribute):
                yield node.func.attr


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_no_code_from_data_and_no_network(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    # Dask's messages to its own workers are pickles, and what goes through a pipe to a child that does part of a work; no
    # file of ours is one, and none is read.
    own = {"src/fieldwork/run/cluster.py": {"cloudpickle"}, "src/fieldwork/beside.py": {"multiprocessing"}}
    allowed = own.get(relative(path), set())
    assert not [name for name in imports(tree) if within(name, UNPICKLING - allowed)], (
        "interchange is Parquet, CSV, JSON"
    )
    assert not PICKLING_WORDS & set(words(tree)), "interchange is Parquet, CSV, JSON"
    assert not EXECUTING & set(called(tree)), "no text is ever run as code"
    # A pair of sockets between a process and its child, made by `socketpair`, reaches nobody else.
    allowed = {"socket"} if relative(path) == "src/fieldwork/run/forking.py" else set()
    assert not {"connect", "bind", "create_connection", "create_server", "AF_INET", "AF_INET6"} & set(words(tree))
    assert not [name for name in imports(tree) if within(name, NETWORK) and name not in allowed], (
        "nothing at run time needs the network; a host's name is platform.node()"
    )


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("from urllib import request", {"urllib", "urllib.request"}),
        ("import http.server as s", {"http.server"}),
        ("from urllib.parse import quote", {"urllib.parse", "urllib.parse.quote"}),
    ],
)
def test_imports_are_seen_in_every_form(code, names):
    assert set(imports(ast.parse(code))) == names


# ------------------------------------------------------------------------------------------------ texts of the project


def project_files() -> list[Path]:
    """Files that belong to the project: not the environment, not what a run makes, not caches."""
    found = []
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in NOT_OURS and not name.endswith(("_cache", ".egg-info"))]
        found += [Path(folder, name) for name in files]
    return sorted(path for path in found if not MADE_BY_A_RUN.match(relative(path)))


def test_no_file_names_a_place_on_one_machine():
    told = []
    for path in project_files():
        text = path.read_bytes().decode("utf-8", errors="ignore")
        told += [
            f"{relative(path)}:{text[: hit.start()].count(chr(10)) + 1}: {hit.group()}"
            for hit in MACHINE_PATH.finditer(text)
        ]
    assert not told


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("open('" + "/ro" + "ot/x')", 1),
        ('"' + "/ho" + 'me/a/b"', 1),
        ("see " + "/wo" + "rk", 1),
        ("https://example.org/home/page", 0),
        ("src/work/plan.py", 0),
        ("tests/root", 0),
    ],
)
def test_places_are_told_from_paths_of_the_project(text, places):
    assert len(MACHINE_PATH.findall(text)) == places


def test_readme_starts_with_the_two_commands():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    start = "\n".join(lines[:20])
    assert "make run" in start
    assert "make test" in start
    table = next((number for number, line in enumerate(lines) if line.lstrip().startswith("|")), None)
    assert table is not None, "the README has no table"
    assert len(" ".join(lines[:table]).split()) <= 300


def test_one_version_everywhere():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    package = re.search(r'^__version__ = "(.+)"$', (SOURCE / "__init__.py").read_text(encoding="utf-8"), re.MULTILINE)
    citation = re.search(r'^version: "(.+)"$', (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    assert package is not None
    assert citation is not None
    assert package.group(1) == citation.group(1) == version
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_ci_runs_the_same_tests_as_a_user():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text(encoding="utf-8").rstrip().endswith("make test")
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
