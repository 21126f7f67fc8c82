"""The graph of chapters for an engine or a picture that the user already has: Snakemake, make, Graphviz, JSON.

Each rule calls `fieldwork run --only CHAPTER`, which judges for itself what is out of date: the other engine decides the
order and nothing else, so its time stamps and half checksums cannot make a result stale. A run holds the study, so rules
that are started side by side wait for one another (`--wait`); a run of one chapter gains nothing from a server of kernels
(`--isolated`).
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from fieldwork.errors import UsageError

if TYPE_CHECKING:
    from fieldwork.run.plan import Judge, Unit

__all__ = ["FORMATS", "SCHEMA_VERSION", "Rule", "export", "rules"]

SCHEMA_VERSION = 1
"""Raised when a key of the JSON form changes its meaning; `export.schema.json` beside this file describes it."""
_COLOURS = {
    "current": "#dcefdc",
    "restorable": "#dcefdc",
    "stale": "#f7d9c4",
    "waiting": "#faf0cf",
    "blocked": "#e6b8b8",
}
_DONE = ".fieldwork/exported"


@dataclass(frozen=True, slots=True)
class Rule:
    """One chapter as another engine sees it.

    Attributes
    ----------
    id : str                 The chapter's name; with the wave before it where that is an earlier one.
    wave, chapter : str      Wave and chapter.
    kind : str               `notebook` or `call`.
    runs : str               The notebook, or `module:function`.
    needs : tuple of str     Ids of the rules that come before.
    inputs, outputs : tuple  Of dicts: `path` relative to the study, `optional`, and for outputs `folder`.
    parameters : dict        What a plain papermill has to set, beside `out`; empty for a call.
    command : tuple of str   Words after `fieldwork`.
    state, why               What a run would do with it now, as `fieldwork explain` says it.
    """

    id: str
    wave: str
    chapter: str
    kind: str
    runs: str
    needs: tuple[str, ...]
    inputs: tuple[dict[str, Any], ...]
    outputs: tuple[dict[str, Any], ...]
    parameters: dict[str, Any]
    command: tuple[str, ...]
    state: str
    why: tuple[str, ...]


def rules(turns: Sequence[tuple[Judge, tuple[Unit, ...]]]) -> tuple[Rule, ...]:
    """Return a rule per chapter: of each earlier wave that is read, oldest first, and of the wave at work, the last.

    Parameters
    ----------
    turns : sequence of (Judge, tuple of Unit)
        As `plan` judged each wave's chapters.
    """
    own = turns[-1][0].pipeline.wave
    made: list[Rule] = []
    ids = {(judge.pipeline.wave, unit.step.name): "" for judge, units in turns for unit in units}
    taken: set[str] = set()
    for wave, name in reversed(ids):
        plain = name if wave == own else f"{re.sub(r'[^A-Za-z0-9]', '_', wave)}_{name}"
        ids[wave, name] = next(i for n in range(len(ids)) if (i := plain + "_" * n) not in taken)
        taken.add(ids[wave, name])
    for judge, units in turns:
        wave, study = judge.pipeline.wave, judge.pipeline.study
        # Where no such parameter was given, the study's own values hold, whoever runs the chapter.
        given = [word for name, text in sorted(judge.given.items()) for word in _flag(name, text)]
        for unit in units:
            step = unit.step
            before = [(wave, need) for need in step.needs]
            before += [(there, need) for there in step.reads for need in step.needs_earlier]
            values = judge.values[step.name]
            made.append(
                Rule(
                    id=ids[wave, step.name],
                    wave=wave,
                    chapter=step.name,
                    kind="notebook" if step.notebook else "call",
                    runs=step.made_by,
                    needs=tuple(ids[need] for need in before if need in ids),
                    inputs=tuple({"path": entry.label, "optional": entry.optional} for entry in step.inputs),
                    outputs=_outputs(step.outputs),
                    parameters={"study": str(study), "wave": wave, **values} if step.notebook else {},
                    command=(
                        "run",
                        "--study",
                        str(study),
                        "--wave",
                        wave,
                        *given,
                        "--only",
                        step.name,
                        "--isolated",
                        "--wait",
                    ),
                    state=unit.state,
                    why=unit.reasons,
                )
            )
    return tuple(made)


def _outputs(outputs: Iterable[Any]) -> tuple[dict[str, Any], ...]:
    return tuple({"path": each.label, "folder": each.folder, "optional": each.optional} for each in outputs)


def _flag(name: str, text: str) -> tuple[str, ...]:
    return (f"--{name}={text}",) if name in {"seed", "replicates"} else ("-p", f"{name}={text}")


def export(to: str, found: Sequence[Rule], *, program: Sequence[str], title: str) -> str:
    """Return the graph in one of `FORMATS`.

    Parameters
    ----------
    to : str                      `snakemake`, `make`, `dot` or `json`.
    found : sequence of Rule      From `rules`.
    program : sequence of str     Words that start `fieldwork` on this machine.
    title : str                   Title of the study.

    Raises UsageError where a word of a command holds the end of a line, which a rule cannot carry.
    """
    for rule in found:
        if to in {"make", "snakemake"} and any("\n" in word or "\r" in word for word in (*rule.command, *program)):
            raise UsageError(
                "a rule cannot carry a word of several lines",
                where=f"rule {rule.id}",
                expected="parameters of one line",
                got=repr(next(word for word in (*rule.command, *program) if "\n" in word or "\r" in word)),
                hint="--to json carries any text",
            )
    return FORMATS[to](found, program, " ".join(title.split()))


def _json(found: Sequence[Rule], program: Sequence[str], title: str) -> str:
    steps = [{**asdict(rule), "command": [*program, *rule.command]} for rule in found]
    graph = {
        "format": "fieldwork graph",
        "version": SCHEMA_VERSION,
        "title": title,
        "wave": found[-1].wave,
        "rules": steps,
    }
    return json.dumps(graph, ensure_ascii=False, indent=1) + "\n"


def _dot(found: Sequence[Rule], program: Sequence[str], title: str) -> str:  # noqa: ARG001 - a picture runs nothing
    lines = [
        "digraph fieldwork {",
        f"  label={_quoted(f'{title}, wave {found[-1].wave}')};",
        "  labelloc=t;",
        "  rankdir=LR;",
    ]
    lines.append('  node [shape=box, style="rounded,filled", fontname="sans-serif"];')
    for rule in found:
        label = (
            f"{rule.chapter}\n{rule.state}"
            if rule.wave == found[-1].wave
            else f"{rule.chapter}\n{rule.wave}, {rule.state}"
        )
        told = f"tooltip={_quoted('; '.join(rule.why) or rule.state)}"
        lines.append(
            f"  {_quoted(rule.id)} [label={_quoted(label)}, fillcolor={_quoted(_COLOURS[rule.state])}, {told}];"
        )
    lines += [f"  {_quoted(need)} -> {_quoted(rule.id)};" for rule in found for need in rule.needs]
    return "\n".join([*lines, "}"]) + "\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


_HEAD = (
    "# {title}, wave {wave}: made by `fieldwork export --to {to}`.",
    "# Every rule is tried every time: fieldwork knows by content what is out of date, and does no more than that.",
    "# A run holds the study, so rules started side by side wait for one another.",
)


def _make(found: Sequence[Rule], program: Sequence[str], title: str) -> str:
    names = [rule.id for rule in found]
    # In the value of a variable # starts a comment; in a recipe it is the shell's.
    start = _escaped(shlex.join(program)).replace("#", "\\#")
    lines = [line.format(title=title, wave=found[-1].wave, to="make") for line in _HEAD]
    lines += ["", f"FIELDWORK ?= {start}", "", f".PHONY: every-chapter {' '.join(names)}"]
    lines += [f"every-chapter: {' '.join(names)}"]
    for rule in found:
        lines += ["", f"{rule.id}:{''.join(f' {need}' for need in rule.needs)}"]
        lines += [f"\t$(FIELDWORK) {_escaped(shlex.join(rule.command))}"]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("$", "$$")


def _snakemake(found: Sequence[Rule], program: Sequence[str], title: str) -> str:
    # Not below the study's folder: a brace in its path would be read as a wildcard, however it is written.
    folder = f"{_DONE}/{found[-1].wave}"
    end = ["    import shutil", "", f"    shutil.rmtree({folder!r}, ignore_errors=True)"]
    lines = [line.format(title=title, wave=found[-1].wave, to="snakemake") for line in _HEAD]
    lines += [
        "# A mark says that a rule was tried, and lasts as long as Snakemake's own run. `--config fieldwork=PROGRAM` names",
        "# another program.",
        "",
        f'FIELDWORK = config.get("fieldwork", {shlex.join(program)!r})',
        *("", "", "onsuccess:", *end, "", "", "onerror:", *end),
        *("", "", "rule everything:", "    input:"),
        *(f"        {f'{folder}/{rule.id}'!r}," for rule in found),
        # Whatever marks a killed run has left, what follows is true of the study as it is now.
        *_shell(found[-1].command[: found[-1].command.index("--only")]),
    ]
    for rule in found:
        lines += ["", "", f"rule chapter_{rule.id}:"]
        if rule.needs:
            lines += ["    input:", *(f"        {f'{folder}/{need}'!r}," for need in rule.needs)]
        lines += ["    output:", f"        touch({f'{folder}/{rule.id}'!r}),", *_shell(rule.command)]
    return "\n".join(lines) + "\n"


def _shell(command: Sequence[str]) -> tuple[str, str]:
    words = shlex.join((*command, "--wait") if "--wait" not in command else command)
    return "    shell:", f"        {'{FIELDWORK} ' + words.replace('{', '{{').replace('}', '}}')!r}"


FORMATS: Mapping[str, Callable[[Sequence[Rule], Sequence[str], str], str]] = {
    "snakemake": _snakemake,
    "make": _make,
    "dot": _dot,
    "json": _json,
}
