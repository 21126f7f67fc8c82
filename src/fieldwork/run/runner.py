"""The graph of chapters, run: what is out of date, in order, side by side where the graph allows.

A failure stops the chapters that follow from it and no others. The coordinator alone judges, publishes and writes the
journal; workers run one chapter each.
"""

from __future__ import annotations

import bisect
import contextlib
import graphlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fieldwork.errors import FieldworkError, RunError, listed
from fieldwork.provenance import RESTRICTED, flush, make_folders, manifest_text, sha256_file, write_manifest
from fieldwork.run import memory
from fieldwork.run.fingerprint import reasons
from fieldwork.run.plan import CURRENT, RESTORABLE, Judge, Unit
from fieldwork.run.progress import USUAL
from fieldwork.run.spec import PLACES_OFFERED
from fieldwork.run.store import Record
from fieldwork.run.worker import Failure, Made, Task, renew, view

if TYPE_CHECKING:
    from concurrent.futures import Future

    from fieldwork.run.crew import Crew
    from fieldwork.run.fingerprint import Fingerprint
    from fieldwork.run.notebook import Value
    from fieldwork.run.spec import Pipeline, Step
    from fieldwork.run.store import Store

__all__ = ["Event", "Result", "manifest", "manifest_path", "run", "shared_modules"]

_PATIENCE = 0.2
_MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a run.

    Attributes
    ----------
    kind : str        `current`, `restored`, `waiting` (for memory), `started`, `cell`, `done`, `failed`, `skipped`.
    step : str        Step.
    text : str        Why, in plain words.
    part : float      Share of the step's cells that have started, 0 to 1.
    seconds : float   How long the step took, when done.
    """

    kind: str
    step: str
    text: str = ""
    part: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended.

    Attributes
    ----------
    ran, restored, current : tuple of str   Steps by what was done with them.
    failures : tuple of Failure             Steps that failed.
    skipped : dict                          Steps that were not tried, with the failed step that is the cause.
    """

    ran: tuple[str, ...]
    restored: tuple[str, ...]
    current: tuple[str, ...]
    failures: tuple[Failure, ...]
    skipped: dict[str, str]


class _Look:
    """One look at the inputs of several steps: what a fan-out reads for all of its steps is looked at once."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._seen: dict[int, dict[str, str]] = {}

    def at(self, step: Step) -> dict[str, str]:
        """Return the SHA-256 of every input file of a step, as `Judge.contents` does."""
        # By identity: the pipeline keeps each list of inputs, and a fan-out gives one list to all its steps.
        if id(step.inputs) not in self._seen:
            self._seen[id(step.inputs)] = self._judge.contents(step)
        return self._seen[id(step.inputs)]


class _Run:
    def __init__(
        self,
        judge: Judge,
        forced: set[str],
        on_event: Callable[[Event], None],
        *,
        isolated: bool = False,
        room: int | None = None,
    ) -> None:
        self.judge = judge
        self.isolated = isolated
        self.room = room
        self.most = 0
        self.told_to_wait: set[str] = set()
        self.store = judge.store
        self.study = judge.pipeline.study
        self.wave = judge.pipeline.wave
        self.forced = forced
        self.tell = on_event
        self.steps: tuple[Step, ...] = ()
        self.open = False
        self.done: dict[str, list[str]] = {"ran": [], "restored": [], "current": []}
        self.failures: list[Failure] = []
        self.ahead: dict[str, float] = {}
        self.waiting: list[tuple[float, int, Unit]] = []
        self.queued = 0
        self.shared: tuple[str, ...] | None = None
        self.under_way: dict[Future[Made | Failure], tuple[Unit, Task]] = {}

    def admit(self, names: Iterable[str]) -> list[str]:
        """Judge steps whose needs are met; return those that are done without running, and queue those that run."""
        done: list[str] = []
        look = _Look(self.judge)
        for name in names:
            try:
                unit = self.settle(self.judge.pipeline.step(name), look)
            except FieldworkError as error:
                self.failures.append(Failure(name, error))
                self.tell(Event("failed", name, error.title))
                continue
            if unit is None:
                done.append(name)
            else:
                # The longest way first: what the end of the run waits for longest starts as soon as it can.
                bisect.insort(self.waiting, (-self.way(name), self.queued, unit))
                self.queued += 1
        return done

    def way(self, name: str) -> float:
        """Return the seconds of the longest way from a step's start to the end of the run."""
        if not self.ahead:
            seconds = {step.name: self.store.seconds(self.wave, step.name) for step in self.steps}
            self.ahead = longest_ways(self.steps, seconds)
        return self.ahead[name]

    def submit(self, crew: Crew) -> None:
        """Start queued steps while a worker is free, and memory for them."""
        if self.shared is None and self.waiting:
            self.shared = shared_modules(self.steps, {unit.step.name for _, _, unit in self.waiting})
        while self.waiting and len(self.under_way) < crew.size and (place := self.fitting()) is not None:
            _, _, unit = self.waiting.pop(place)
            task = self.task(unit)
            self.tell(Event("started", unit.step.name, "; ".join(unit.reasons)))
            self.under_way[self.send(crew, unit, task)] = (unit, task)

    def fitting(self) -> int | None:
        """Return the place of the first queued step that memory has room for beside those under way; None where there is none.

        A step is taken to need what it held last time, or as much as any step of this run where it never ran. One alone always
        starts: nothing is gained by waiting.
        """
        if self.room is None or not self.under_way:
            return 0
        left = self.room - sum(self.holds(unit.step.name) for unit, _ in self.under_way.values())
        for place, (_, _, unit) in enumerate(self.waiting):
            if self.holds(unit.step.name) <= left:
                return place
        name = self.waiting[0][2].step.name
        if name not in self.told_to_wait:
            self.told_to_wait.add(name)
            known = "it held" if self.store.memory(self.wave, name) else "it may need as much as another chapter,"
            words = f"{known} {memory.amount(self.holds(name))}, and {memory.amount(max(left, 0))} are left"
            self.tell(Event("waiting", name, words))
        return None

    def holds(self, name: str) -> int:
        """Return the bytes that a step is expected to hold."""
        return self.store.memory(self.wave, name) or self.most

    def collect(self) -> list[str]:
        """Wait a moment for steps to end, publish them, and return those that succeeded."""
        from concurrent.futures import FIRST_COMPLETED, wait  # noqa: PLC0415 - loaded already, by the pool

        # A short patience keeps the main thread open to Ctrl-C.
        finished, _ = wait(self.under_way, timeout=_PATIENCE, return_when=FIRST_COMPLETED)
        ended = [(future, *self.under_way.pop(future)) for future in finished]
        return [unit.step.name for future, unit, task in ended if self.close(unit, task, future.result())]

    def settle(self, step: Step, look: _Look) -> Unit | None:
        """Judge a step whose needs are met; put a known result in place; return the unit when it must run."""
        unit = self.judge.judge(step, contents=look.at(step))
        if step.name in self.forced and unit.fingerprint is not None:
            return replace(unit, state="stale", reasons=("it was asked for with --force",), record=None)
        if unit.state == CURRENT and unit.record is not None:
            latest = self.store.latest(self.wave, step.name)
            begun = self.store.begun(self.wave, step.name)
            if latest is None or latest.key != unit.record.key or begun:
                self.retire(step, unit.record.outputs)
                self.store.keep(unit.record, "current")
            self.done["current"].append(step.name)
            self.tell(Event("current", step.name))
            return None
        self.refuse_shut_folders()
        if unit.state == RESTORABLE and unit.record is not None and unit.fingerprint is not None:
            self.restore(unit, unit.record)
            self.done["restored"].append(step.name)
            self.tell(Event("restored", step.name, "; ".join(unit.reasons)))
            return None
        return unit

    def refuse_shut_folders(self) -> None:
        """Raise RunError when a folder of results cannot be written, before anything is made that would be lost."""
        if self.open:
            return
        for folder in dict.fromkeys(
            (self.study / output.label).parent for step in self.steps for output in step.outputs
        ):
            standing = next(place for place in (folder, *folder.parents) if place.exists())
            if not standing.is_dir() or not os.access(standing, os.W_OK | os.X_OK):
                raise RunError(
                    "the results cannot be written",
                    where=folder.relative_to(self.study).as_posix(),
                    expected="a folder that takes what the run makes",
                    got="a folder that is not open to you" if standing.is_dir() else "a file of this name",
                    hint=f"make {standing} writable, or copy the study to a folder that is",
                )
        self.open = True

    def begin(self, step: Step, outputs: Iterable[str]) -> None:
        """Say what is about to be published, and take the manifest away: it is written again when the wave is whole."""
        labels = tuple(outputs)
        self.store.begin(self.wave, step.name, labels)
        if any(RESTRICTED not in label.split("/") for label in labels):
            manifest_path(self.judge.pipeline).unlink(missing_ok=True)

    def restore(self, unit: Unit, record: Record) -> None:
        step, mark = unit.step, unit.fingerprint
        of_view = {step.view_page} - {""}
        labels = {*record.outputs, *of_view}
        self.begin(step, labels)
        off = [label for label, digest in record.outputs.items() if not self.judge.as_made(label, digest)]
        for label in off:
            if label not in of_view:
                self.store.fetch(record.outputs[label], self.study / label)
        self.retire(step, labels)
        renewed = mark is not None and record.fingerprint.page != mark.page
        if mark is not None and (renewed or of_view & {*off}):
            record = replace(
                record, fingerprint=mark, outputs=record.outputs | self.renewed(unit, record, page=renewed)
            )
        self.store.keep(record, "restored")

    def renewed(self, unit: Unit, record: Record, *, page: bool) -> dict[str, str]:
        """Put anew what is made of a known result without running: its page with the text as it is, and the page's view."""
        step, values = unit.step, self.set_by_user(unit)
        final, stage = self.study / step.page, self.store.stage(record.key)
        made: dict[str, str] = {}
        if page:
            text = renew(step, final.read_text(encoding="utf-8"), values, self.wave)
            made[step.page] = self.place_text(stage / final.name, text, step.page)
        if step.view:
            text = view(step, final, self.study, self.wave, values)
            made[step.view_page] = self.place_text(stage / "index.html", text, step.view_page, kept=False)
        shutil.rmtree(stage)
        return made

    def place_text(self, staged: Path, text: str, label: str, *, kept: bool = True) -> str:
        staged.write_text(text, encoding="utf-8")
        digest = sha256_file(staged)
        self.place(staged, label, digest, kept=kept)
        return digest

    def place(self, staged: Path, label: str, digest: str, *, kept: bool = True) -> None:
        """Put a staged file in its place, and a copy of it into the store; one in a restricted folder is closed."""
        final = self.study / label
        if make_folders(final, self.study):
            staged.chmod(0o600)
        if kept:
            self.store.put(staged, digest)
        if final.is_file() and self.store.memo.sha256(final) == digest:
            # Leaving the same bytes alone keeps a reader's open file and the memo's stamp.
            staged.unlink()
        else:
            flush(staged)
            staged.replace(final)

    def set_by_user(self, unit: Unit) -> dict[str, Value]:
        """Return the parameters whose value is not the notebook's own."""
        mark = unit.fingerprint
        values = mark.parameters if mark is not None else {}
        defaults = {parameter.name: parameter.default for parameter in unit.step.counted}
        return {name: value for name, value in values.items() if json.dumps(value) != json.dumps(defaults[name])}

    def task(self, unit: Unit) -> Task:
        key = unit.fingerprint.key if unit.fingerprint is not None else ""
        given = self.judge.values[unit.step.name]
        return Task(
            step=unit.step,
            study=self.study,
            wave=self.wave,
            values=self.set_by_user(unit),
            places={name: str(given[name]) for name in PLACES_OFFERED if name in given},
            stage=self.store.stage(key),
            failed=self.store.failed(self.wave, unit.step.name),
            isolated=self.isolated,
            shared=self.shared or (),
        )

    def send(self, crew: Crew, unit: Unit, task: Task) -> Future[Made | Failure]:
        def on_cell(number: int, total: int) -> None:
            self.tell(Event("cell", task.step.name, part=number / max(total, 1)))

        inputs = unit.fingerprint.inputs if unit.fingerprint is not None else {}
        # A label with a placeholder names a file outside the study.
        return crew.submit(task, {label: sha for label, sha in inputs.items() if not label.startswith("{")}, on_cell)

    def close(self, unit: Unit, task: Task, outcome: Made | Failure) -> bool:
        """Publish what a step made, or report its failure; return whether it succeeded."""
        name, mark = unit.step.name, unit.fingerprint
        if isinstance(outcome, Made) and mark is not None and (moved := self.moved(unit.step, mark)):
            outcome = Failure(name, moved)
        if isinstance(outcome, Failure):
            shutil.rmtree(task.stage, ignore_errors=True)
            self.store.note_failure(self.wave, name, mark.key if mark else "", outcome.error.title)
            self.failures.append(outcome)
            self.tell(Event("failed", name, outcome.error.title))
            return False
        if mark is None:
            raise RunError("a step ran that was not judged", where=name)
        self.publish(task, outcome)
        self.retire(unit.step, outcome.outputs)
        self.most = max(self.most, outcome.memory)
        seconds = round(outcome.seconds, 3)
        self.store.keep(Record(name, self.wave, mark.key, mark, outcome.outputs, seconds, outcome.memory), "ran")
        shutil.rmtree(task.stage, ignore_errors=True)
        task.failed.unlink(missing_ok=True)
        self.done["ran"].append(name)
        self.tell(Event("done", name, "; ".join(unit.reasons), part=1.0, seconds=outcome.seconds))
        return True

    def moved(self, step: Step, mark: Fingerprint) -> FieldworkError | None:
        """Return the error of a step whose inputs or code are not what they were when it started; None where they are."""
        try:
            now = self.judge.mark(step, self.judge.contents(step), afresh=True)
        except FieldworkError as error:
            return error
        if now.key == mark.key:
            return None
        what = "an input" if now.inputs != mark.inputs else "the code"
        return RunError(
            f"{what} changed while the chapter was running",
            where=f"chapter {step.name}",
            expected="inputs and code that stand still",
            got="; ".join(reasons(mark, now)),
            hint="run again when nothing else writes into the study",
        )

    def hold_to_account(self) -> None:
        """Fail each step that an input changed under after it was read: what follows from it may have read the other one."""
        look = _Look(self.judge)
        for name in sorted({name for names in self.done.values() for name in names}):
            step, record = self.judge.pipeline.step(name), self.store.latest(self.wave, name)
            try:
                now = look.at(step)
            except FieldworkError as error:
                self.undo(name, error)
                continue
            before = record.fingerprint.inputs if record is not None else now
            if changed := sorted(label for label in {*before, *now} if before.get(label) != now.get(label)):
                later = RunError(
                    "an input changed after the chapter had read it",
                    where=f"chapter {name}",
                    expected="inputs that stand still until the run has ended",
                    got=listed(changed),
                    hint="run again when nothing else writes into the study",
                )
                self.undo(name, later)

    def undo(self, name: str, error: FieldworkError) -> None:
        for names in self.done.values():
            if name in names:
                names.remove(name)
        self.failures.append(Failure(name, error))
        self.tell(Event("failed", name, error.title))

    def publish(self, task: Task, made: Made) -> None:
        self.begin(task.step, made.outputs)
        for label, digest in made.outputs.items():
            self.place((made.stage or task.stage) / label, label, digest, kept=label != task.step.view_page)

    def retire(self, step: Step, outputs: Iterable[str]) -> None:
        """Remove what the step published, or had begun to publish, and does not make any more."""
        before = self.store.latest(self.wave, step.name)
        told = {*(before.outputs if before else ()), *self.store.begun(self.wave, step.name)}
        for label in sorted(told - set(outputs)):
            if any(output.covers(label) for output in step.outputs):
                (self.study / label).unlink(missing_ok=True)


def run(
    judge: Judge,
    *,
    workers: int = 2,
    memory_limit: int | None = None,
    only: tuple[str, ...] = (),
    force: bool = False,
    isolated: bool = False,
    barred: Mapping[str, str] | None = None,
    crew: Crew | None = None,
    on_event: Callable[[Event], None] = lambda _: None,
) -> Result:
    """Run what is out of date and put back what is missing.

    Parameters
    ----------
    judge : Judge
        The pipeline with its store and the parameters given.
    workers : int
        Chapters that run at one time.
    memory_limit : int or None
        Bytes that chapters may hold together, as far as known from earlier runs; by default what the machine has free. It
        bounds which run side by side, on this machine alone.
    only : tuple of str
        Steps to bring up to date, with what they need; all when empty.
    force : bool
        Run the steps of `only` (all when empty) although they are current.
    isolated : bool
        Start every chapter's process from nothing, instead of forking it from one that has the libraries loaded.
    barred : mapping
        Steps that are not to be tried, with the cause: what they need of an earlier wave could not be made.
    crew : Crew
        Who runs the chapters, in place of `workers` processes of this machine; it is the caller's to end, except after an
        error.
    on_event : callable
        Told what happens; called from workers' threads as well.

    Raises RunError when another run holds the study. A failure of a chapter is in the result. On KeyboardInterrupt the
    chapters' processes are ended before it goes on.
    """
    wanted = judge.pipeline.wanted(only)
    forced = (set(judge.pipeline.named(only)) or {step.name for step in wanted}) if force else set()
    names = {step.name for step in wanted}
    sorter = graphlib.TopologicalSorter({step.name: set(step.needs) & names for step in wanted})
    sorter.prepare()
    room = (memory_limit or memory.available()) if crew is None else None
    state = _Run(judge, forced, on_event, isolated=isolated, room=room)
    state.steps = wanted
    with state.store.lock():
        state.store.clear_stage({(state.study / output.label).parent for step in wanted for output in step.outputs})
        try:
            _loop(state, sorter, [step.name for step in wanted], crew or workers, set(barred or {}))
            state.hold_to_account()
        finally:
            # The memo saves time and no more: that it cannot be written must not hide why a run ended.
            with contextlib.suppress(OSError):
                state.store.memo.save()
    settled = {*state.done["ran"], *state.done["restored"], *state.done["current"]}
    failed = {failure.step for failure in state.failures}
    skipped = _skipped(wanted, settled, failed, barred or {})
    for name, cause in skipped.items():
        on_event(Event("skipped", name, f"{cause} failed"))
    return Result(
        ran=tuple(state.done["ran"]),
        restored=tuple(state.done["restored"]),
        current=tuple(state.done["current"]),
        failures=tuple(state.failures),
        skipped=skipped,
    )


def longest_ways(steps: Sequence[Step], seconds: Mapping[str, float | None]) -> dict[str, float]:
    """Return, for each step, the seconds of the longest chain of steps that starts with it, each needing the one before.

    Parameters
    ----------
    steps : in running order. seconds : how long each took last time; None where it has not run.
    """
    after: dict[str, float] = {}
    found: dict[str, float] = {}
    for step in reversed(steps):
        took = seconds.get(step.name)
        found[step.name] = (USUAL if took is None else took) + after.get(step.name, 0.0)
        for need in step.needs:
            after[need] = max(after.get(need, 0.0), found[step.name])
    return found


def shared_modules(steps: Sequence[Step], begun: Collection[str]) -> tuple[str, ...]:
    """Return the modules of ours that two or more notebooks of a run import, most used first.

    A run is taken to be the steps that are begun and all that follow from them.

    Parameters
    ----------
    steps : in running order. begun : names of those that run for certain.
    """
    runs: set[str] = set()
    users: Counter[str] = Counter()
    for step in steps:
        if step.name in begun or runs.intersection(step.needs):
            runs.add(step.name)
            users.update(step.notebook.imports if step.notebook else ())
    ours = [name for name, count in users.items() if count > 1 and name.partition(".")[0] == "fieldwork"]
    return tuple(sorted(ours, key=lambda name: (-users[name], name)))


def _loop(
    state: _Run, sorter: graphlib.TopologicalSorter[str], order: list[str], given: Crew | int, barred: set[str]
) -> None:
    crew = None if isinstance(given, int) else given
    position = {name: number for number, name in enumerate(order)}
    whole = False
    try:
        while sorter.is_active():
            fresh = sorted(sorter.get_ready(), key=position.__getitem__)
            sorter.done(*state.admit(name for name in fresh if name not in barred))
            if state.waiting and crew is None and isinstance(given, int):
                crew = _local(state.store, given)
            if crew is not None:
                state.submit(crew)
            if state.under_way:
                sorter.done(*state.collect())
            elif not fresh:
                # What is left follows from a failure.
                break
        whole = True
    finally:
        if crew is not None and (isinstance(given, int) or not whole):
            crew.end()


def _local(store: Store, workers: int) -> Crew:
    from fieldwork.run.crew import Local  # noqa: PLC0415 - threads and processes are not needed when all is current

    return Local(store, workers)


def _skipped(
    wanted: tuple[Step, ...], settled: set[str], failed: set[str], barred: Mapping[str, str]
) -> dict[str, str]:
    causes: dict[str, str] = {}
    for step in wanted:
        if step.name not in settled and step.name not in failed:
            blocking = next((need for need in step.needs if need in failed or need in causes), "")
            causes[step.name] = barred.get(step.name) or causes.get(blocking, blocking)
    return causes


def manifest_path(pipeline: Pipeline) -> Path:
    """Return where the manifest of a pipeline's wave lies."""
    return pipeline.study / pipeline.reports / _MANIFEST


def manifest(judge: Judge) -> Path:
    """Write the wave's manifest from what each step last published, as far as it stands there whole; return its path.

    A run takes the manifest away before it publishes anything, so a wave whose run did not end well has none.
    """
    pipeline = judge.pipeline
    chapters = []
    for step in pipeline.steps:
        record = judge.store.latest(pipeline.wave, step.name)
        if record is not None and judge.in_place(record):
            mark = record.fingerprint
            chapters.append(
                {
                    "name": step.name,
                    "made_by": step.made_by,
                    "code_sha256": mark.code_key,
                    "parameters": {"wave": mark.wave, **mark.parameters},
                    "inputs": mark.inputs,
                    "modules": mark.modules,
                    "outputs": record.outputs,
                }
            )
    path = manifest_path(pipeline)
    write_manifest(path, manifest_text(pipeline.wave, judge.software, chapters))
    return path
