"""What a run would do now, and why: each step current, restorable, stale, waiting or blocked.

Judging reads files and hashes; it loads no notebook engine and starts no process.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fieldwork.errors import RunError, nearest
from fieldwork.provenance import Environment, Memo, environment
from fieldwork.run.fingerprint import Closure, Fingerprint, reasons, take
from fieldwork.run.notebook import Value, chosen, read

if TYPE_CHECKING:
    from fieldwork.run.spec import Input, Pipeline, Step
    from fieldwork.run.store import Record, Store

__all__ = ["BLOCKED", "CURRENT", "RESTORABLE", "STALE", "WAITING", "Judge", "Unit", "plan", "software_of"]

CURRENT = "current"
RESTORABLE = "restorable"
STALE = "stale"
WAITING = "waiting"
BLOCKED = "blocked"

_PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Unit:
    """A step as it stands now.

    Attributes
    ----------
    step : Step                          The step.
    state : str                          `current`: nothing to do. `restorable`: its result is known and is put in place
                                         without running. `stale`: it runs. `waiting`: decided when the steps before it
                                         have run. `blocked`: an input is missing that no step makes.
    reasons : tuple of str               Why, in plain words.
    fingerprint : Fingerprint or None    None while waiting or blocked.
    record : Record or None              The known result, where there is one.
    """

    step: Step
    state: str
    reasons: tuple[str, ...]
    fingerprint: Fingerprint | None = None
    record: Record | None = None


@dataclass(slots=True)
class Judge:
    """Says what state a step is in, given the files as they are.

    Attributes
    ----------
    pipeline : Pipeline       The steps.
    store : Store             Past results.
    given : mapping           Text of each parameter that the user gave, by name.
    packages : mapping        Folder of each package whose code counts; our own by default.
    """

    pipeline: Pipeline
    store: Store
    given: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, Path] = field(default_factory=lambda: {_PACKAGE.name: _PACKAGE})
    software: Environment = field(init=False)
    values: dict[str, dict[str, Value]] = field(init=False)
    _closure: Closure = field(init=False)

    def __post_init__(self) -> None:
        steps = self.pipeline.steps
        given = chosen(self.given, {step.name: step.offered for step in steps})
        self.values = {step.name: {**dict(step.fixed), **given[step.name]} for step in steps}
        self.software = software_of(self.packages, self.store.memo)
        self._closure = Closure(self.packages, self.store.memo)

    def contents(self, step: Step, known: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the SHA-256 of every input file of a step; RunError when an input is missing.

        `known` holds outputs that are not in place but will be before the step runs.
        """
        found: dict[str, str] = {}
        for entry in step.inputs:
            ahead = {label: digest for label, digest in (known or {}).items() if entry.covers(label)}
            matched = self._matched(entry)
            if matched:
                found |= matched
            else:
                found |= self._hashed(step, entry, needed=not ahead and not entry.optional)
            found |= ahead
        return found

    def _hashed(self, step: Step, entry: Input, *, needed: bool) -> dict[str, str]:
        try:
            if entry.path.is_file():
                return {entry.label: self.store.memo.sha256(entry.path)}
            if entry.path.is_dir():
                files = self.store.memo.folder(entry.path)
                return {f"{entry.label}/{name}": digest for name, digest in files.items()}
        except FileNotFoundError as error:
            raise RunError(
                "a file vanished while it was read",
                where=f"chapter {step.name}",
                expected=f"{Path(error.filename).name if error.filename else entry.label} to stand still in {entry.label}",
                got=error.strerror or str(error),
                hint="run again when nothing else writes into the study",
            ) from error
        if needed:
            raise _missing(step, entry)
        return {}

    def _matched(self, entry: Input) -> dict[str, str]:
        parent, folder = entry.label.rpartition("/")[0], entry.path.parent
        if not entry.pattern or not folder.is_dir():
            return {}
        files = {f"{parent}/{path.name}": path for path in sorted(folder.iterdir()) if path.is_file()}
        return {label: self.store.memo.sha256(path) for label, path in files.items() if entry.covers(label)}

    def mark(self, step: Step, inputs: Mapping[str, str], *, afresh: bool = False) -> Fingerprint:
        """Return the fingerprint of a step on given inputs; `afresh` reads its notebook and our package again."""
        if afresh and step.notebook is not None:
            step = replace(step, notebook=read(step.notebook.path))
        return take(
            step,
            wave=self.pipeline.wave,
            values=self.values[step.name],
            inputs=inputs,
            closure=Closure(self.packages, self.store.memo) if afresh else self._closure,
            software=self.software,
        )

    def judge(
        self, step: Step, known: Mapping[str, str] | None = None, contents: Mapping[str, str] | None = None
    ) -> Unit:
        """Return the state of a step whose own inputs are settled; `contents` of them, where they were just looked at."""
        mark = self.mark(step, self.contents(step, known) if contents is None else contents)
        record = self.store.record(mark.key)
        before = self.store.latest(self.pipeline.wave, step.name)
        if record is None:
            why = ("it has not run before",) if before is None else reasons(before.fingerprint, mark)
            return Unit(step, STALE, why or ("its record is gone",), mark)
        off = [label for label, digest in record.outputs.items() if not self.as_made(label, digest)]
        # What is seen of a page is no more than the page: of that, no copy is kept.
        lost = [label for label in off if label != step.view_page and not self.store.has(record.outputs[label])]
        if lost:
            return Unit(step, STALE, (f"{self._fault(lost[0])} and no copy is kept",), mark)
        if record.fingerprint.page != mark.page:
            what = "its text or the form of its page" if step.view else "its text"
            return Unit(step, RESTORABLE, (f"{what} changed, its code did not: the page is renewed",), mark, record)
        if off:
            switched = before is not None and before.key != mark.key
            why = reasons(before.fingerprint, mark) if before is not None and switched else ()
            told = tuple(f"{reason}, and that result is kept" for reason in why)
            return Unit(step, RESTORABLE, told or tuple(self._fault(label) for label in off), mark, record)
        return Unit(step, CURRENT, (), mark, record)

    def in_place(self, record: Record) -> bool:
        """Return whether every output of a record stands in its place as it was made."""
        return all(self.as_made(label, digest) for label, digest in record.outputs.items())

    def as_made(self, label: str, digest: str) -> bool:
        """Return whether a file stands in its place and is what its hash says."""
        path = f"{self.pipeline.study}/{label}"
        # A string, for a fan-out asks for thousands of paths, and to take them apart is most of the work.
        return os.path.isfile(path) and self.store.memo.sha256(path) == digest  # noqa: PTH113

    def _fault(self, label: str) -> str:
        return f"{label} {'differs from what was made' if (self.pipeline.study / label).is_file() else 'is missing'}"


def _missing(step: Step, entry: Input) -> RunError:
    near = nearest(entry.path.name, sorted(path.name for path in entry.path.parent.glob("*")))
    return RunError(
        "an input is missing",
        where=f"chapter {step.name}",
        expected=entry.label,
        got="no such file or folder",
        hint=f"did you mean {near}?" if near else "put the file there, or correct `inputs` in notebooks/chapters.toml",
    )


def software_of(packages: Mapping[str, Path], memo: Memo) -> Environment:
    """Return the software that packages run on: with the lock file that lies beside them, where there is one."""
    locks = [parent / "uv.lock" for package in packages.values() for parent in package.parents[:2]]
    return environment(memo, next((path for path in locks if path.is_file()), None))


def plan(
    judge: Judge,
    *,
    only: tuple[str, ...] = (),
    force: bool = False,
    coming: Mapping[str, str] | None = None,
    earlier: Mapping[str, tuple[Unit, ...]] | None = None,
) -> tuple[Unit, ...]:
    """Return, without running anything, what a run would do with each wanted step.

    `coming` holds the hash of files, by label, that are not there now but that the run puts in place first; `earlier` the
    units of each earlier wave that the run brings up to date before.
    """
    units: dict[str, Unit] = {}
    known: dict[str, str] = dict(coming or {})
    forced = (set(judge.pipeline.named(only)) or {step.name for step in judge.pipeline.steps}) if force else set()
    for before in (earlier or {}).values():
        known |= {label: digest for unit in before if unit.record for label, digest in unit.record.outputs.items()}
    for step in judge.pipeline.wanted(only):
        met = {need: units[need] for need in step.needs}
        for wave in step.reads:
            made = {unit.step.name: unit for unit in (earlier or {}).get(wave, ())}
            met |= {f"{wave} {need}": made[need] for need in step.needs_earlier if need in made}
        pending = [need for need, unit in met.items() if unit.state in {STALE, WAITING}]
        blocked = [need for need, unit in met.items() if unit.state == BLOCKED]
        if step.name in forced:
            units[step.name] = Unit(step, STALE, ("it was asked for with --force",))
        elif blocked:
            units[step.name] = Unit(step, BLOCKED, (f"{blocked[0]} is blocked",))
        elif pending:
            why = f"runs if {', '.join(pending)} {'makes' if len(pending) == 1 else 'make'} something else than before"
            units[step.name] = Unit(step, WAITING, (why,))
        else:
            try:
                units[step.name] = judge.judge(step, known)
            except RunError as error:
                units[step.name] = Unit(step, BLOCKED, (f"{error.expected} is missing",))
        record = units[step.name].record
        if record is not None:
            known |= record.outputs
    return tuple(units.values())
