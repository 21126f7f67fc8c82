"""The graph of chapters, declared once as data in `notebooks/chapters.toml`.

A step is a notebook, or a call of one function, with the files that it reads and the files that it makes. Who follows
whom is not written down: it follows from the files. An input with `{earlier}` (results of an earlier wave) or
`{earlier_wave}` (its name) stands for one input per earlier wave; who makes it there follows from the files as well.
One with `{earlier_reports}` is what an earlier wave has published, as it stands: a run makes nothing there for its sake.

A chapter with `parts` is one notebook that runs once for each part, side by side, on one machine or on several: a step each,
told apart by the parameter `part` and by `{part}` in its paths.
"""

from __future__ import annotations

import graphlib
import re
import string
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from fieldwork.errors import NotebookError, RunError, UsageError, listed, nearest
from fieldwork.run import notebook

if TYPE_CHECKING:
    from fieldwork.run.notebook import Notebook, Parameter

__all__ = ["PLACES_OFFERED", "RESERVED", "Input", "Output", "Pipeline", "Step", "fan_out", "read", "single"]

RESERVED = ("study", "wave", "out")
"""Parameters that every chapter has and that the runner alone sets."""

PLACES_OFFERED = ("raw",)
"""Parameters that name a folder of the machine, where a chapter has them: what lies there counts, its path does not."""

_KEYS = ("name", "kind", "call", "parts", "inputs", "outputs")
_PLACES = ("study", "raw", "instruments", "processed", "reports", "wave")
_KEY = "key"  # a file of the user that results depend on; where there is none, an input with {key} is left out
_EARLIER = {
    "earlier": "processed",
    "earlier_wave": "wave",
}  # of an earlier wave, and what they are in a wave's own words
_PART = "part"  # parameter and placeholder of a chapter in parts
_PUBLISHED = "{earlier_reports}"  # what an earlier wave has published, taken as it stands: nothing is made there for it
_STEP_NAME = re.compile(r"[a-z0-9][a-z0-9_]*")
_CALL = re.compile(r"[a-z_][\w.]*:[a-z_]\w*")


@dataclass(frozen=True, slots=True)
class Input:
    """A file, all files of a folder, or the files of one pattern (`*.ipynb`) that a step reads.

    Attributes
    ----------
    label : str       Path relative to the study; with its placeholder where it lies outside the study.
    path : Path       Where it is.
    optional : bool   Declared with a question mark at the end: the step can do without it.
    wave : str        Earlier wave that it belongs to; empty: the wave at work, or none.
    own : str         Label of the same file in the wave at work, where it belongs to an earlier one.
    """

    label: str
    path: Path
    optional: bool = False
    wave: str = ""
    own: str = ""

    @property
    def pattern(self) -> bool:
        """Whether the last part of the path is a pattern."""
        return "*" in self.label

    def covers(self, label: str) -> bool:
        """Return whether a file of this path is read."""
        return label.startswith(f"{self.label}/") or _matches(label, self.label)


@dataclass(frozen=True, slots=True)
class Output:
    """A file, every file of a folder, or the files of one pattern (`*.html`) that a step makes.

    Attributes
    ----------
    label : str       Path relative to the study, without a slash at the end.
    folder : bool     Declared with a slash at the end: every file beneath is an output.
    optional : bool   Declared with a question mark at the end: the step may leave it out.
    """

    label: str
    folder: bool
    optional: bool

    def covers(self, label: str) -> bool:
        """Return whether a file of this path is declared by this output."""
        return label.startswith(f"{self.label}/") if self.folder else _matches(label, self.label)

    def meets(self, label: str) -> bool:
        """Return whether a file, folder or pattern of this path may name a file of this output."""
        within = self.label.startswith(f"{label}/") or (self.folder and label.startswith(f"{self.label}/"))
        return self.label == label or within or (not self.folder and _may_match(self.label, label))


@dataclass(frozen=True, slots=True)
class Step:
    """One chapter, or one call.

    Attributes
    ----------
    name : str                     One word, the same in notebook, data file and page.
    notebook : Notebook or None    None where the step is a call.
    call : str                     `module:function`, called with study, wave and out; empty where it is a notebook.
    inputs : tuple of Input        As declared.
    outputs : tuple of Output      As declared, and the executed notebook.
    page : str                     Label of the executed notebook; empty for a call.
    view : str                     `module:function` that makes `index.html` beside the page, of the page alone, called with its
                                   path, study, wave and the parameters that were set; empty: none. It is part of no key: where
                                   it changes, the file is made anew and no notebook runs.
    needs : tuple of str           Steps that make an input of this one.
    needs_earlier : tuple of str   Steps that make one in an earlier wave.
    over_waves : bool              Whether it reads earlier waves, where there are any.
    fixed : tuple of (str, str)    Parameters that the graph sets, for steps that share a notebook; no user may.
    chapter : str                  Chapter of which it is a part; empty: itself.
    """

    name: str
    notebook: Notebook | None
    call: str
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    page: str
    view: str = ""
    needs: tuple[str, ...] = ()
    needs_earlier: tuple[str, ...] = ()
    over_waves: bool = False
    fixed: tuple[tuple[str, str], ...] = ()
    chapter: str = ""

    @property
    def reads(self) -> tuple[str, ...]:
        """Earlier waves that it reads, oldest first."""
        return tuple(dict.fromkeys(entry.wave for entry in self.inputs if entry.wave))

    @property
    def offered(self) -> tuple[Parameter, ...]:
        """Parameters that a user may set."""
        return tuple(each for each in self.declared if each.name not in {*RESERVED, *dict(self.fixed)})

    @property
    def counted(self) -> tuple[Parameter, ...]:
        """Parameters whose value is part of the key."""
        return tuple(each for each in self.declared if each.name not in {*RESERVED, *PLACES_OFFERED})

    @property
    def declared(self) -> tuple[Parameter, ...]:
        """All parameters of the notebook; none for a call."""
        return self.notebook.parameters if self.notebook else ()

    @property
    def view_page(self) -> str:
        """Label of what the view makes; empty where there is none."""
        return f"{self.page.rpartition('/')[0]}/index.html" if self.view else ""

    @property
    def made_by(self) -> str:
        """What makes the outputs, for the manifest: the notebook or the function."""
        return f"notebooks/{self.notebook.path.name}" if self.notebook else self.call


@dataclass(frozen=True, slots=True)
class Pipeline:
    """All steps for one wave of one study, in an order in which they can run.

    Attributes
    ----------
    study : Path               The study's folder.
    wave : str                 Wave.
    reports : str              Label of the wave's folder of reports.
    steps : tuple of Step      In running order.
    """

    study: Path
    wave: str
    reports: str
    steps: tuple[Step, ...]
    _named: dict[str, Step] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_named", {step.name: step for step in self.steps})

    def step(self, name: str) -> Step:
        """Return a step by its name; UsageError with the nearest name when there is none."""
        if name not in self._named:
            raise self._unknown(name)
        return self._named[name]

    def named(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the steps that some names stand for: that of a chapter in parts for all of its parts."""
        found: dict[str, None] = {}
        for name in names:
            mine = [step.name for step in self.steps if name in {step.name, step.chapter}]
            if not mine:
                raise self._unknown(name)
            found |= dict.fromkeys(mine)
        return tuple(found)

    def _unknown(self, name: str) -> UsageError:
        known = dict.fromkeys(word for step in self.steps for word in (step.chapter, step.name) if word)
        near = nearest(name, known)
        hint = f"did you mean {near}?" if near else ""
        return UsageError(f"there is no chapter '{name}'", expected=listed(known), got=repr(name), hint=hint)

    def wanted(self, only: Iterable[str]) -> tuple[Step, ...]:
        """Return the named steps and every step that they need, in running order; all steps when none is named."""
        open_names = list(self.named(only)) or [step.name for step in self.steps]
        found: set[str] = set()
        while open_names:
            name = open_names.pop()
            if name not in found:
                found.add(name)
                open_names.extend(self.step(name).needs)
        return tuple(step for step in self.steps if step.name in found)


def _matches(label: str, pattern: str) -> bool:
    # Only * is special: a file may well be called `a[1].csv`.
    return label == pattern or (
        "*" in pattern and bool(re.fullmatch(re.escape(pattern).replace(r"\*", "[^/]*"), label))
    )


def _may_match(one: str, two: str) -> bool:
    """Return whether two patterns of one folder may name the same file: their fixed ends agree.

    >>> _may_match("pages/*.html", "pages/*.ipynb"), _may_match("pages/a*.html", "pages/*b.html")
    (False, True)
    """
    if "*" not in one and "*" not in two:
        return one == two
    first, second = one.rpartition("/"), two.rpartition("/")
    if "*" not in one or "*" not in two:
        return _matches(one, two) or _matches(two, one)
    starts = first[2].partition("*")[0], second[2].partition("*")[0]
    ends = first[2].rpartition("*")[2], second[2].rpartition("*")[2]
    agree = starts[0].startswith(starts[1]) or starts[1].startswith(starts[0])
    return first[0] == second[0] and agree and (ends[0].endswith(ends[1]) or ends[1].endswith(ends[0]))


def read(chapters: Path, places: Mapping[str, str | Path], earlier: Mapping[str, str | Path] | None = None) -> Pipeline:
    """Read `chapters.toml` for one wave of one study.

    Parameters
    ----------
    chapters : Path
        The file; notebooks lie beside it.
    places : mapping
        Value of each placeholder: study, raw, instruments, processed, reports (folders, of the wave), wave; and key (a file),
        where results depend on one.
    earlier : mapping
        Processed folder of each earlier wave that was delivered, by its name, oldest first.

    Raises RunError for an unknown key or placeholder, a name used twice, a missing notebook, an output made twice or
    lying outside the study, and for chapters that wait for each other; NotebookError for a notebook without its
    parameters.
    """
    if missing := [name for name in _PLACES if name not in places]:
        raise RunError("a placeholder has no value", where=str(chapters), expected=listed(_PLACES), got=listed(missing))
    try:
        content = tomllib.loads(chapters.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(
            "the graph of chapters is missing",
            where=f"{chapters.parent.name}/{chapters.name}",
            expected="a file of [[chapter]] entries beside the notebooks",
            got="no such file",
            hint="take it back from git",
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise RunError("the graph of chapters is not TOML", where=_where(chapters), got=str(error)) from error
    entries = content.get("chapter", [])
    _known_keys(content, ("chapter",), _where(chapters))
    if not isinstance(entries, list) or not entries:
        raise RunError("the graph of chapters is empty", where=_where(chapters), expected="[[chapter]] entries")
    loose = [step for entry in entries for step in _steps(entry, chapters, places, earlier or {})]
    names = [step.name for step in loose]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise RunError("two chapters have one name", where=_where(chapters), got=listed(doubled))
    _made_once(loose, chapters)
    return _beside(places, _ordered(loose, chapters))


def single(
    name: str, call: str, inputs: Iterable[str], outputs: Iterable[str], places: Mapping[str, str | Path]
) -> Pipeline:
    """Return one call that no file declares; inputs, outputs and places as in `read`."""
    made = tuple(_output(text, places, name) for text in outputs)
    step = Step(
        name, None, call, tuple(entry for text in inputs for entry in _inputs(text, places, {}, name)), made, ""
    )
    return _beside(places, (step,))


def fan_out(
    notebook_path: Path,
    names: Iterable[str],
    folder: str,
    inputs: Iterable[str],
    places: Mapping[str, str | Path],
    view: str = "",
    parameter: str = "",
) -> Pipeline:
    """Return one step per name, all of one notebook: what each makes lies below its own folder, its page among it.

    Parameters
    ----------
    notebook_path : the notebook. names : one per step; a step is called `<notebook>-<name>`.
    folder : where the steps' folders go, with placeholders. inputs : as in `chapters.toml`, the same for all steps.
    places : as in `read`. view : of each step, see `Step`. parameter : of the notebook, which is told the step's name; or none.

    Raises RunError and NotebookError as `read` does.
    """
    where = f"{notebook_path.parent.name}/{notebook_path.name}"
    book = _notebook(notebook_path, where)
    read_by_all = tuple(entry for text in inputs for entry in _inputs(text, places, {}, where))
    steps = []
    all_ = _output(f"{folder}/", places, where)
    for name in names:
        if PurePosixPath(name).name != name or name == "..":
            got = f"{folder}/{name}"
            raise RunError("a step's folder is none of its own", where=where, expected="a name without a path", got=got)
        own = replace(all_, label=f"{all_.label}/{name}")
        page = f"{own.label}/{notebook_path.name}"
        fixed = ((parameter, name),) if parameter else ()
        steps.append(Step(f"{notebook_path.stem}-{name}", book, "", read_by_all, (own,), page, view, fixed=fixed))
    return _beside(places, tuple(steps))


def _beside(places: Mapping[str, str | Path], steps: tuple[Step, ...]) -> Pipeline:
    study = Path(places["study"]).resolve()
    reports = Path(places["reports"]).resolve().relative_to(study).as_posix()
    return Pipeline(study, str(places["wave"]), reports, steps)


def _where(chapters: Path) -> str:
    return f"{chapters.parent.name}/{chapters.name}"


def _known_keys(entry: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in entry:
        if key not in known:
            near = nearest(key, known)
            raise RunError(
                f"unknown key '{key}'",
                where=where,
                expected=listed(known),
                got=repr(key),
                hint=f"did you mean {near}?" if near else "",
            )


def _steps(
    entry: Mapping[str, Any], chapters: Path, places: Mapping[str, str | Path], earlier: Mapping[str, str | Path]
) -> Iterator[Step]:
    """Yield the step of an entry, or one for each of its parts."""
    name = str(entry.get("name", ""))
    where = f"{_where(chapters)}, chapter '{name}'"
    _known_keys(entry, _KEYS, where)
    if "parts" not in entry:
        yield _step(name, entry, chapters, places, earlier, where)
        return
    parts = entry["parts"]
    sound = isinstance(parts, list) and all(isinstance(part, str) and _STEP_NAME.fullmatch(part) for part in parts)
    if not sound or not parts or len(set(parts)) < len(parts) or "call" in entry:
        raise RunError(
            "the parts of a chapter are off",
            where=where,
            expected="a notebook, and a list of different names in lower-case letters, digits, _",
            got=f"parts {parts!r}{', call' if 'call' in entry else ''}",
        )
    for part in parts:
        step = _step(f"{name}_{part}", entry, chapters, {**places, _PART: part}, earlier, where)
        yield replace(step, fixed=((_PART, part),), chapter=name)


def _step(
    name: str,
    entry: Mapping[str, Any],
    chapters: Path,
    places: Mapping[str, str | Path],
    earlier: Mapping[str, str | Path],
    where: str,
) -> Step:
    call = str(entry.get("call", ""))
    kind = str(entry.get("kind", "call" if call else "notebook"))
    if not _STEP_NAME.fullmatch(name):
        raise RunError("a chapter needs a name", where=where, expected="lower-case letters, digits, _", got=repr(name))
    if kind not in {"notebook", "call"} or (kind == "call") != bool(call):
        raise RunError(
            "the kind of a chapter is off",
            where=where,
            expected='kind "notebook", or kind "call" with call = "module:function"',
            got=f"kind {kind!r}, call {call!r}",
        )
    if call and not _CALL.fullmatch(call):
        raise RunError("a call names a function", where=where, expected='"module:function"', got=repr(call))
    for key in ("inputs", "outputs"):
        value = entry.get(key)
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            raise RunError(f"a chapter lists its {key}", where=where, expected="a list of paths", got=repr(value))
    inputs = tuple(made for text in entry["inputs"] for made in _inputs(text, places, earlier, where))
    outputs = [_output(text, places, where) for text in entry["outputs"]]
    page, content = "", None
    if kind == "notebook":
        own = (_PART,) if _PART in places else ()
        content = _notebook(chapters.with_name(f"{entry['name']}.ipynb"), where, own)
        page = _output(f"{{reports}}/chapters/{name}.ipynb", places, where).label
        outputs.append(Output(page, folder=False, optional=False))
    over_waves = any(f"{{{word}}}" in text for text in entry["inputs"] for word in _EARLIER)
    return Step(name, content, call, inputs, tuple(outputs), page, over_waves=over_waves)


def _notebook(path: Path, where: str, own: tuple[str, ...] = ()) -> Notebook:
    if not path.is_file():
        near = nearest(path.stem, sorted(other.stem for other in path.parent.glob("*.ipynb")))
        raise RunError(
            "a chapter's notebook is missing",
            where=where,
            expected=f"{path.parent.name}/{path.name}",
            got="no such file",
            hint=f"did you mean {near}?" if near else "write the notebook, or take the entry out",
        )
    content = notebook.read(path)
    declared = [parameter.name for parameter in content.parameters]
    if missing := [name for name in (*RESERVED, *own) if name not in declared]:
        raise NotebookError(
            f"a chapter lacks a parameter that every chapter {'in parts has' if missing[0] in own else 'has'}",
            where=f"{path.parent.name}/{path.name}, cell tagged `parameters`",
            expected=listed((*RESERVED, *own)),
            got=f"no {listed(missing)}",
            hint=f'add the line `{missing[0]}: str = ""  # set by the runner`',
        )
    return content


def _place(text: str, places: Mapping[str, str | Path], where: str) -> tuple[str, Path]:
    names = [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]
    if unknown := [name for name in names if name not in places]:
        hint = "only inputs may lie in an earlier wave" if unknown[0] in _EARLIER else ""
        hint = "only a chapter with `parts` has one" if unknown[0] == _PART else hint
        expected = listed(f"{{{name}}}" for name in _PLACES)
        raise RunError("unknown placeholder", where=where, expected=expected, got=repr(unknown[0]), hint=hint)
    study = Path(places["study"]).resolve()
    # Resolving the folder but not the file keeps the label of a file that is itself a link.
    path = Path(text.format_map({name: str(value) for name, value in places.items()}))
    path = study / path if not path.is_absolute() else path
    path = path.parent.resolve() / path.name
    try:
        return path.relative_to(study).as_posix(), path
    except ValueError:
        return text.replace("{wave}", str(places["wave"])).rstrip("/"), path


def _inputs(
    text: str, places: Mapping[str, str | Path], earlier: Mapping[str, str | Path], where: str
) -> Iterator[Input]:
    """Yield what an entry of `inputs` stands for: itself, or one input per earlier wave, or none."""
    bare, optional = text.removesuffix("?").rstrip("/"), text.endswith("?")
    if f"{{{_KEY}}}" in bare and _KEY not in places:
        return
    if _PUBLISHED in bare:
        for wave in earlier:
            its_own = {**places, "reports": Path(places["reports"]).parent / wave, "wave": wave}
            yield Input(*_place(bare.replace(_PUBLISHED, "{reports}"), its_own, where), optional)
        return
    own = bare
    for name, same in _EARLIER.items():
        own = own.replace(f"{{{name}}}", f"{{{same}}}")
    label, path = _place(own, places, where)
    if own == bare:
        yield Input(label, path, optional)
        return
    for wave, folder in earlier.items():
        there = _place(own, {**places, "processed": folder, "wave": wave}, where)
        yield Input(*there, optional, wave, label)


def _output(text: str, places: Mapping[str, str | Path], where: str) -> Output:
    bare = text.removesuffix("?")
    label, path = _place(bare.rstrip("/"), places, where)
    inside = path.is_relative_to(Path(places["study"]).resolve()) and label not in {"", "."}
    if not inside or ".." in PurePosixPath(label).parts:
        raise RunError("an output lies outside the study", where=where, expected="a path inside the study", got=text)
    return Output(label, folder=bare.endswith("/"), optional=text.endswith("?"))


def _made_once(steps: list[Step], chapters: Path) -> None:
    for position, step in enumerate(steps):
        for other in steps[position + 1 :]:
            for mine in step.outputs:
                for theirs in other.outputs:
                    if mine.meets(theirs.label) or theirs.meets(mine.label):
                        raise RunError(
                            "two chapters make one file",
                            where=_where(chapters),
                            expected="each output in one chapter",
                            got=f"{theirs.label} in {step.name} and {other.name}",
                        )


def _ordered(steps: list[Step], chapters: Path) -> tuple[Step, ...]:
    needs: dict[str, list[str]] = {}
    needs_earlier: dict[str, tuple[str, ...]] = {}
    for step in steps:
        makers = (
            other.name
            for other in steps
            if any(output.meets(entry.label) for output in other.outputs for entry in step.inputs)
        )
        needs[step.name] = list(dict.fromkeys(makers))
        there = (
            other.name
            for other in steps
            if any(output.meets(entry.own) for output in other.outputs for entry in step.inputs if entry.wave)
        )
        needs_earlier[step.name] = tuple(dict.fromkeys(there))
    try:
        sequence = tuple(graphlib.TopologicalSorter(needs).static_order())
    except graphlib.CycleError as error:
        raise RunError(
            "chapters wait for each other",
            where=_where(chapters),
            expected="no chapter reads what a later one makes from it",
            got=" -> ".join(reversed(error.args[1])),
            hint="take the input out of one of them",
        ) from error
    # Among steps that are free to run, the order of the file holds; it is the order of the book.
    position = {step.name: number for number, step in enumerate(steps)}
    depth: dict[str, int] = {}
    for name in sequence:
        depth[name] = 1 + max((depth[need] for need in needs[name]), default=0)
    chosen = sorted(steps, key=lambda step: (depth[step.name], position[step.name]))
    return tuple(
        replace(s, needs=tuple(sorted(needs[s.name], key=position.__getitem__)), needs_earlier=needs_earlier[s.name])
        for s in chosen
    )
