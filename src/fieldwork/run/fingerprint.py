"""What a chapter's result depends on, as one key and as named parts.

The key of a step is the SHA-256 of: its code cells (source and tags; no outputs, ids, execution counts or prose), its
parameters, the content of its inputs, the part of our package that it imports, and the software environment. Package
code counts as a syntax tree without docstrings and comments, so rewording a comment runs nothing. Prose has a second
hash, for the page alone. A key never holds an upstream key, only upstream content: a chapter that makes the same
bytes again ends the chain of re-runs.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldwork.provenance import Environment, Memo, canonical, code_hash, code_tree, sha256_text

if TYPE_CHECKING:
    from fieldwork.run.notebook import Notebook, Value
    from fieldwork.run.spec import Step

__all__ = ["CARRIED", "FORMAT", "Closure", "Fingerprint", "reasons", "take"]

FORMAT = 1
"""Raised when the meaning of a key, or the way in which chapters are executed, changes."""

CARRIED = ("notebooks", "project")
"""Folders of the package in a wheel; a repository has what they hold elsewhere, and neither of the two is other code."""

_SEVERAL = 3


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a step's result depends on.

    Attributes
    ----------
    cells : list of [int, str]   Number and hash of each code cell; empty for a call.
    call : str                   The function, for a call.
    page : str                   Hash of all cells, prose included, and of the code of the step's view; not part of the key.
    wave : str                   Wave.
    parameters : dict            Value of each parameter that a user may set.
    inputs : dict                SHA-256 of each input file, by label.
    modules : dict               Hash of each module and data file of our package that the step imports.
    outputs : list of str        Declared outputs.
    environment : str            Hash of the software.
    """

    cells: list[list[Any]]
    call: str
    page: str
    wave: str
    parameters: dict[str, Value]
    inputs: dict[str, str]
    modules: dict[str, str]
    outputs: list[str]
    environment: str

    @property
    def key(self) -> str:
        """One hash for everything but the prose."""
        # Not `asdict`: it copies every entry, which is most of the time of a look at a thousand steps.
        parts = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "page"}
        # A cell's number moves when prose is added above it; only the order of code cells matters.
        parts["cells"] = [key for _, key in self.cells]
        return sha256_text(canonical([FORMAT, parts]))

    @property
    def code_key(self) -> str:
        """One hash for the step's own code and the package code beneath it, for the manifest."""
        return sha256_text(canonical([[key for _, key in self.cells], self.call, self.modules]))


@dataclass(frozen=True, slots=True)
class Code:
    """What a step has of its notebook and of our package, in the terms of `Fingerprint`."""

    notebook: Notebook | None
    cells: list[list[Any]]
    page: str
    modules: dict[str, str]


class Closure:
    """The modules of a package that a piece of code imports, directly or not, each with a hash.

    Parameters
    ----------
    packages : mapping
        Folder of each package to follow, by its name; other imports belong to the environment.
    memo : Memo
        Keeps what a module imports, by the hash of its content.
    """

    def __init__(self, packages: Mapping[str, Path], memo: Memo) -> None:
        self._packages = dict(packages)
        self._memo = memo
        self._direct: dict[str, tuple[str, list[str]]] = {}
        self._places: dict[str, Path | None] = {}
        self._beside: dict[str, dict[str, str]] = {}
        self._reached: dict[tuple[str, ...], dict[str, str]] = {}
        self._views: dict[str, str] = {}
        self._codes: dict[tuple[int, str, str], Code] = {}
        named = "|".join(re.escape(name) for name in packages)
        self._dotted = re.compile(rf"({named})(\.\w+)+(:\w+)?")

    def of(self, sources: Iterable[str]) -> dict[str, str]:
        """Return the hash of every module and data file that the sources reach, by dotted name or package path."""
        together = tuple(sources)
        if together not in self._reached:
            self._reached[together] = self._reach(together)
        return self._reached[together]

    def code(self, step: Step) -> Code:
        """Return what a step has of its notebook and of our package; steps that share a notebook share the answer."""
        # By identity, which the answer keeps from being given to another one.
        key = (id(step.notebook), step.call, step.view)
        if key not in self._codes:
            cells = step.notebook.code if step.notebook else ()
            sources = [cell.source for cell in cells] if step.notebook else [f"import {step.call.partition(':')[0]}"]
            page = step.notebook.page_key if step.notebook else ""
            if step.view:
                page = sha256_text(f"{page} {self.view(step.view)}")
            keys = [[cell.number, cell.key] for cell in cells]
            self._codes[key] = Code(step.notebook, keys, page, self.of(sources))
        return self._codes[key]

    def view(self, view: str) -> str:
        """Return one hash for all that a `module:function` reaches; empty for none."""
        if view not in self._views:
            reached = self.of([f"import {view.partition(':')[0]}"]) if view else {}
            self._views[view] = sha256_text(canonical([view, reached])) if view else ""
        return self._views[view]

    def _reach(self, sources: Iterable[str]) -> dict[str, str]:
        waiting = [name for source in sources for name in self._of_cell(source)]
        found: dict[str, str] = {}
        while waiting:
            name = waiting.pop()
            if name in found or (path := self._path(name)) is None:
                continue
            found[name], imports = self._module(name, path)
            if path.name == "__init__.py":
                found |= self._data(name, path.parent)
            waiting += imports
            if "." in name:
                waiting.append(name.rpartition(".")[0])
        return dict(sorted(found.items()))

    def _of_cell(self, source: str) -> list[str]:
        """Return what a cell imports; kept by the hash of its text, for reading it as a tree is most of the work."""
        fact = f"cell {FORMAT} {sha256_text(source)}"
        kept = self._memo.fact(fact)
        if kept is None:
            kept = self._imports(source, "", is_package=False)
            self._memo.remember(fact, kept)
        names: list[str] = kept
        return names

    def _path(self, name: str) -> Path | None:
        if name not in self._places:
            self._places[name] = self._look_for(name)
        return self._places[name]

    def _look_for(self, name: str) -> Path | None:
        top, _, rest = name.partition(".")
        if top not in self._packages:
            return None
        base = self._packages[top].joinpath(*rest.split(".")) if rest else self._packages[top]
        for candidate in (base / "__init__.py", base.with_suffix(".py")):
            if candidate.is_file():
                return candidate
        return None

    def _module(self, name: str, path: Path) -> tuple[str, list[str]]:
        if name not in self._direct:
            content = self._memo.sha256(path)
            fact = f"imports {FORMAT} {name} {content}"
            kept = self._memo.fact(fact)
            if kept is None:
                source = path.read_text(encoding="utf-8")
                imports = self._imports(source, name, is_package=path.name == "__init__.py")
                kept = [code_hash(source), imports]
                self._memo.remember(fact, kept)
            self._direct[name] = (kept[0], kept[1])
        return self._direct[name]

    def _data(self, name: str, folder: Path) -> dict[str, str]:
        """Hash the files of a package that are not code: templates, style sheets, fonts."""
        if name in self._beside:
            return self._beside[name]
        found: dict[str, str] = {}
        waiting = [folder]
        while waiting:
            here = waiting.pop()
            for path in sorted(here.iterdir()):
                if path.name.startswith((".", "__pycache__")) or path.suffix in {".py", ".pyc"}:
                    continue
                if path.is_dir():
                    if not (path / "__init__.py").is_file():
                        waiting.append(path)
                elif path.suffix != ".ipynb":
                    found[f"{name}/{path.relative_to(folder).as_posix()}"] = self._memo.sha256(path)
        self._beside[name] = found
        return found

    def _imports(self, source: str, module: str, *, is_package: bool) -> list[str]:
        try:
            tree = code_tree(source)
        except SyntaxError:
            # A cell that is not Python fails when it runs, and is then reported with its line.
            return []
        found: set[str] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    up = module.split(".")
                    up = up[: len(up) - node.level + (1 if is_package else 0)]
                    base = ".".join([*up, *([base] if base else [])])
                found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and self._dotted.fullmatch(node.value):
                found.add(node.value.partition(":")[0])
        # Names of functions are among them: whether a name is a module is seen when it is looked for, then and not before.
        return sorted(name for name in found if name.partition(".")[0] in self._packages)


def take(
    step: Step,
    *,
    wave: str,
    values: Mapping[str, Value],
    inputs: Mapping[str, str],
    closure: Closure,
    software: Environment,
) -> Fingerprint:
    """Return the fingerprint of a step for given parameter values and input contents."""
    defaults = {parameter.name: parameter.default for parameter in step.counted}
    code = closure.code(step)
    return Fingerprint(
        cells=code.cells,
        call=step.call,
        page=code.page,
        wave=wave,
        parameters={name: values.get(name, default) for name, default in sorted(defaults.items())},
        inputs=dict(sorted(inputs.items())),
        modules=code.modules,
        outputs=sorted(f"{output.label}{'/' * output.folder}{'?' * output.optional}" for output in step.outputs),
        environment=software.key,
    )


def reasons(old: Fingerprint, new: Fingerprint) -> tuple[str, ...]:
    """Return, in plain words, what differs between two fingerprints of a step."""
    found: list[str] = []
    before, after = [key for _, key in old.cells], [key for _, key in new.cells]
    if before != after:
        if len(before) == len(after):
            cells = [number for (number, key), other in zip(new.cells, before, strict=True) if key != other]
            found.append(f"{'cells' if len(cells) > 1 else 'cell'} {_some(str(cell) for cell in cells)} changed")
        else:
            found.append(f"the notebook has {len(after)} code cells, had {len(before)}")
    if old.call != new.call:
        found.append(f"it calls {new.call}, called {old.call}")
    for name in sorted(old.parameters.keys() | new.parameters.keys()):
        one, two = old.parameters.get(name), new.parameters.get(name)
        if canonical(one) != canonical(two):
            found.append(f"parameter {name} {canonical(one)} -> {canonical(two)}")
    found += _differences("input", old.inputs, new.inputs)
    found += _differences("package", old.modules, new.modules)
    if sorted(old.outputs) != sorted(new.outputs):
        found.append("its declared outputs changed")
    if old.environment != new.environment:
        found.append("the software environment changed")
    return tuple(found)


def _differences(word: str, old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    changed = sorted(label for label in old.keys() & new.keys() if old[label] != new[label])
    added, gone = sorted(new.keys() - old.keys()), sorted(old.keys() - new.keys())
    verbs = ((changed, "changed"), (added, "is new"), (gone, "is gone"))
    return [f"{word} {_some(labels)} {verb}" for labels, verb in verbs if labels]


def _some(names: Iterable[str]) -> str:
    names = list(names)
    head = ", ".join(names[:_SEVERAL])
    return head if len(names) <= _SEVERAL else f"{head} and {len(names) - _SEVERAL} more"
