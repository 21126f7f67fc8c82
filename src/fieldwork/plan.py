"""What a planned sample can show: precision and power of each claim, by drawing whole studies and judging them.

Own code: power of these verdicts has no formula. Each drawn study goes through the chapters' own cells, so the plan knows
raking, clustering, the gate and the family of tests as the study of record will.

Each study is a task of its own (`run.crew`), on this machine or on a cluster. What is counted of it - how many were accepted,
and the verdicts - is kept in the study's `.fieldwork/` by all that it follows from, and drawn again where some of it changes.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from fieldwork.claims import Register
from fieldwork.errors import FieldworkError, RunError, UsageError, listed, nearest
from fieldwork.provenance import Memo, canonical, sha256_text
from fieldwork.run import spec
from fieldwork.run.crew import Local
from fieldwork.run.fingerprint import CARRIED, Closure
from fieldwork.run.inline import run_inline
from fieldwork.run.plan import software_of
from fieldwork.run.store import Store
from fieldwork.schema import MULTIVERSE, frame
from fieldwork.simulate import Population, World, layout_of, worlds, write_study
from fieldwork.study import Study

if TYPE_CHECKING:
    from fieldwork.run.crew import Crew
    from fieldwork.run.spec import Pipeline, Step

__all__ = ["VERDICTS", "Plan", "organisations_for", "plan", "sentence"]

VERDICTS = ("supported", "contradicted", "inconclusive", "not_assessable")
FEWEST_STUDIES = 10
_LAST = "09_claims"
# A plan asks what the main analysis would find: the others of each drawn study would take most of its time, as would a truth
# that nobody reads. The checks of validation change no number, and take seconds.
_LEFT_OUT = {"02_validate", "08c_designs", "08c_multiverse"}
_OURS = {"fieldwork": Path(__file__).resolve().parent}
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """Verdicts of claims over drawn studies of planned sizes.

    Attributes
    ----------
    table : pd.DataFrame    One row per size and claim: respondents (planned), organisations (drawn), accepted (median over
                            studies), claim, text, studies, one share per verdict, supported_low and supported_high (exact
                            95% interval of that share), half_width (median of the interval's half, in `unit`; missing where
                            one end is open), unit, margin.
    world : str             World that was drawn from. studies, replicates, seed : int    Per size; per study; first seed.
    roles : tuple of str    Roles that take part; empty: all.
    """

    table: pd.DataFrame
    world: str
    studies: int
    replicates: int
    seed: int
    roles: tuple[str, ...]


def plan(
    study: str | Path,
    chapters: Path,
    *,
    respondents: Sequence[int] = (200, 400, 800),
    roles: Sequence[str] = (),
    world: str = "role_divergence",
    settings: Mapping[str, str | float] | None = None,
    studies: int = 40,
    waves: int = 1,
    replicates: int = 500,
    seed: int = 1,
    workers: int = 1,
    crew: Crew | None = None,
    progress: Progress | None = None,
) -> Plan:
    """Draw studies of each size from a world, run their chapters up to the claims, and count the verdicts.

    Power is the share of studies in which a claim that is true of the world is supported; where it is not true, the same
    share is the rate of false verdicts. Sizes are accepted respondents expected of the world's response; the organisations
    that they take follow from it.

    Parameters
    ----------
    study : folder of the study whose instrument and register are planned for. chapters : its chapters.toml.
    respondents : planned sizes. roles : ids of the roles that take part; () for all.
    world, settings : what is supposed to be true, as in `fieldwork simulate`.
    studies : per size, at least 10: with 40, a share of 0.5 is known to within 0.16.
    waves : waves of each study.
    replicates : per study; as many as the adjustment for the primary family needs, or no claim of it can be supported.
    seed : of the first study; the others follow. workers : processes. crew : who draws the studies, in place of `workers`
    processes of this machine. progress : called with (what, done, total).

    The same arguments give the same table, whoever draws the studies and however many were kept from before. Raises UsageError
    for an unknown world, role or size, or too few studies; what a study raises; RunError where its process or the scheduler is
    lost, and where what the studies are drawn from changes meanwhile.
    """
    opened = Study.open(study)
    instrument = opened.instrument()
    known = worlds()
    if world not in known:
        near = nearest(world, known)
        raise UsageError(
            f"there is no world {world!r}", where="--world", expected=listed(known), got=repr(world),
            hint=f"did you mean {near}?" if near else "fieldwork simulate --list describes the worlds",
        )  # fmt: skip
    unknown = [role for role in roles if role not in instrument.role_ids]
    if unknown:
        near = nearest(unknown[0], instrument.role_ids)
        raise UsageError(
            f"the instrument has no role {unknown[0]!r}", where="--roles", expected=listed(instrument.role_ids),
            got=unknown[0], hint=f"did you mean {near}?" if near else "name roles by their ids",
        )  # fmt: skip
    if studies < FEWEST_STUDIES:
        raise UsageError(
            "too few studies to tell a power", where="--studies", expected=f"{FEWEST_STUDIES} or more",
            got=str(studies), hint="40 tell a share of one half to within 0.16, 160 to within 0.08",
        )  # fmt: skip
    needed = _replicates_needed(opened)
    if replicates < needed:
        raise UsageError(
            "with so few replicates no claim of the primary family can be supported", where="--replicates",
            expected=f"{needed} or more", got=str(replicates), hint=f"--replicates {needed}",
        )  # fmt: skip
    given = dict(settings or {})
    population = Population(known[world].with_settings(given), layout_of(instrument))
    sizes = {n: organisations_for(population, n, roles) for n in dict.fromkeys(respondents)}
    store, graph = Store(opened.folder), chapters.resolve()
    ground, software = _ground(opened, graph, store.memo), software_of(_OURS, store.memo).key
    store.save_memo()
    tasks = [
        _Task(str(opened.folder), str(graph), ground, software, world, tuple(sorted(given.items())), tuple(roles),
              organisations, waves, replicates, seed + number, n)
        for n, organisations in sizes.items()
        for number in range(studies)
    ]  # fmt: skip
    found: dict[_Task, _Drawn] = {}
    for done, (task, made) in enumerate(_found(tasks, store, crew or workers), start=1):
        found[task] = made
        if progress is not None:
            progress(f"{task.respondents} respondents", done, len(tasks))
    rows = []
    for n, organisations in sizes.items():
        rows += _rows(n, organisations, [found[task] for task in tasks if task.respondents == n])
    return Plan(pd.DataFrame(rows), world, studies, replicates, seed, tuple(roles))


def organisations_for(population: Population, respondents: int, roles: Sequence[str] = ()) -> int:
    """Return the organisations to invite for so many accepted respondents of some roles; () for all.

    Expected respondents per organisation are the sum over roles and sizes of existing times answering, less those whom the
    quality rules set aside. Raises UsageError for fewer respondents than one organisation gives.

    >>> from fieldwork.simulate import EXECUTIVES, Population, worlds
    >>> organisations_for(Population(worlds()["null"], EXECUTIVES), 400)
    86
    """
    world = population.world
    kept = 1.0 - world.speeders - world.straight_liners - world.inattentive
    each = (
        float((population.exists * population.responds @ population.size_share)[_places(population, roles)].sum())
        * kept
    )
    if respondents < max(each, 1.0):
        raise UsageError(
            "so few respondents are no study", where="--respondents", expected=f"{math.ceil(max(each, 1.0))} or more",
            got=str(respondents), hint="400 to 500 give about 40 a role",
        )  # fmt: skip
    return max(round(respondents / each), 2)


def sentence(plan_: Plan, claim: str, respondents: int) -> str:
    """Return what a proposal can say of one claim at one size.

    It names the world, the studies and the share with its exact interval; it never says that a claim is true.
    """
    rows = plan_.table[(plan_.table["claim"] == claim) & (plan_.table["respondents"] == respondents)]
    if rows.empty:
        raise UsageError(
            "the plan has no such claim and size", expected=listed(sorted(set(plan_.table["claim"]))),
            got=f"{claim}, {respondents}",
        )  # fmt: skip
    row = rows.iloc[0]
    supported = round(row["supported"] * row["studies"])
    width = (
        ""
        if pd.isna(row["half_width"])
        else f" Its interval reaches {row['half_width']:.2f} to either side on average."
    )
    lacking = round(row["not_assessable"] * row["studies"])
    also = f" In {lacking} it could not be assessed." if lacking else ""
    return (
        f"With about {row['accepted']:.0f} executives in {row['organisations']} organisations, and the world "
        f"'{plan_.world}' as it is supposed, {claim} was supported in {supported} of {row['studies']} drawn studies "
        f"({100 * row['supported']:.0f}%, 95% interval {100 * row['supported_low']:.0f} to "
        f"{100 * row['supported_high']:.0f}%).{also}{width}"
    )


def _replicates_needed(study: Study) -> int:
    """Replicates below which the smallest p-value, adjusted for the primary family, exceeds half of alpha."""
    register = Register.load(study.claims_path())
    return math.ceil(max(len(register.family), 1) / (register.alpha / 2)) - 1


@dataclass(frozen=True, slots=True)
class _Task:
    study: str
    chapters: str
    ground: str
    software: str
    world: str
    settings: tuple[tuple[str, str | float], ...]
    roles: tuple[str, ...]
    organisations: int
    waves: int
    replicates: int
    seed: int
    respondents: int

    @property
    def name(self) -> str:
        """The task to the user."""
        return f"the study of seed {self.seed} with {self.respondents} respondents"

    @property
    def key(self) -> str:
        """One hash for all that the drawn study follows from; where its files lie is no part of it."""
        return sha256_text(canonical({**asdict(self), "study": "", "chapters": ""}))


@dataclass(frozen=True, slots=True)
class _Drawn:
    accepted: int
    claims: tuple[Mapping[str, Any], ...]


def _ground(study: Study, chapters: Path, memo: Memo) -> str:
    """Return one hash for what all drawn studies follow from beside the software: instrument, register, chapters, code."""
    books = {step.name: step.notebook.code for step in _steps(_pipeline(chapters, study), _LAST) if step.notebook}
    sources = [cell.source for code in books.values() for cell in code]
    reached = Closure(_OURS, memo).of([*sources, f"import {__name__}"])
    carried = tuple(f"{name}/{folder}/" for name in _OURS for folder in CARRIED)
    code = {name: digest for name, digest in reached.items() if not name.startswith(carried)}
    cells = [[name, [cell.key for cell in code]] for name, code in books.items()]
    declared = {"study.toml": memo.sha256(study.folder / "study.toml"), **memo.folder(study.instruments)}
    return sha256_text(canonical([code, cells, declared]))


def _found(tasks: Sequence[_Task], store: Store, given: Crew | int) -> Iterator[tuple[_Task, _Drawn]]:
    """Yield what each drawn study came to: those that are kept, then the others as they are drawn."""
    missing = []
    for task in tasks:
        kept = store.value(task.key)
        if kept is None:
            missing.append(task)
        else:
            yield task, _Drawn(**kept)
    if not missing:
        return
    crew = Local(store, given) if isinstance(given, int) else given
    try:
        waiting = {crew.call(task.name, f"{__name__}:draw", asdict(task)): task for task in missing}
        for future in as_completed(waiting):
            made = future.result()
            if isinstance(made, FieldworkError):
                raise made
            store.keep_value(waiting[future].key, made)
            yield waiting[future], _Drawn(**made)
    finally:
        if isinstance(given, int):
            crew.end()


def draw(**given: Any) -> dict[str, Any]:  # noqa: ANN401 - the fields of a task, as JSON has them
    """Draw one study, run its chapters up to the claims in this process, and return what was judged.

    Raises RunError where what it was drawn from is not, or no longer, what the plan began with.
    """
    task = _Task(**given)
    made = _one(task)
    opened = Study.open(task.study)
    if _ground(opened, Path(task.chapters), Store(opened.folder).memo) != task.ground:
        raise RunError(
            "what the studies are drawn from has changed meanwhile",
            where=task.name,
            expected="the same instrument, register, chapters and package as when the plan began",
            got="others",
            hint="run again; if it stays, the shared file system serves old content",
        )
    return asdict(made)


def _one(task: _Task) -> _Drawn:
    with tempfile.TemporaryDirectory(prefix="fieldwork-plan-") as folder:
        place = write_study(
            task.world, organisations=task.organisations, waves=task.waves, seed=task.seed, out=Path(folder) / "study",
            base=task.study, settings=dict(task.settings), told=False,
        )  # fmt: skip
        names = Study.open(place).waves
        if task.roles:
            for wave in names:
                _restrict(Study.open(place, wave), worlds()[task.world].with_settings(dict(task.settings)), task.roles)
        for number, wave in enumerate(names, start=1):
            _run(Path(task.chapters), place, wave, task.replicates, last=_LAST if number == len(names) else "03_weight")
        opened = Study.open(place, names[-1])
        flow = json.loads((opened.processed / "01_clean.flow.json").read_text(encoding="utf-8"))
        claims = json.loads((opened.reports / "claims.json").read_text(encoding="utf-8"))
    kept = ("id", "text", "verdict", "conf_low", "conf_high", "unit", "margin")
    return _Drawn(int(flow["accepted"]), tuple({name: claim[name] for name in kept} for claim in claims))


def _places(population: Population, roles: Sequence[str]) -> list[int]:
    return [place for place, role in enumerate(population.layout.roles) if not roles or role in roles]


def _restrict(study: Study, world: World, roles: Sequence[str]) -> None:
    """Keep the rows of some roles in a drawn delivery, and their shares of the population in its margins."""
    instrument = study.instrument()
    item = instrument.item(instrument.keys.role)
    codes = {str(option.code) for option in item.options if option.id in roles}
    for path in study.raw_files():
        delivered = pd.read_csv(path, dtype=str, keep_default_na=False)
        delivered[delivered[item.column or item.name].isin(codes)].to_csv(path, index=False, lineterminator="\n")
    population = Population(world, layout_of(instrument))
    share = population.executives[_places(population, roles)]
    share = share / share.sum()
    kept = [role for role in population.layout.roles if role in roles]
    tables = [(instrument.keys.role, kept, share.sum(axis=1))] if len(kept) > 1 else []
    tables += [("size_band", list(population.layout.sizes), share.sum(axis=0))] if "size_band" in instrument else []
    text = "".join(
        f'[margins.{name}]\nsource = "the simulated world, roles that take part"\ndate = "{study.wave}"\n\n'
        f"[margins.{name}.target]\n"
        + "".join(f"{level} = {value:.12f}\n" for level, value in zip(levels, _adding_to_one(values), strict=True))
        + "\n"
        for name, levels, values in tables
    )
    (study.instruments / f"{study.wave}.margins.toml").write_text(text, encoding="utf-8", newline="\n")


def _adding_to_one(values: np.ndarray) -> list[float]:
    rounded = [round(float(value), 12) for value in values]
    return [*rounded[:-1], 1.0 - sum(rounded[:-1])]


def _pipeline(chapters: Path, study: Study) -> Pipeline:
    places: dict[str, str | Path] = {
        "study": study.folder, "raw": study.raw / study.wave, "instruments": study.instruments,
        "processed": study.processed, "reports": study.reports, "wave": study.wave,
    }  # fmt: skip
    return spec.read(chapters, places)


def _steps(pipeline: Pipeline, last: str) -> list[Step]:
    return [step for step in pipeline.wanted([last]) if (step.chapter or step.name) not in _LEFT_OUT]


def _run(chapters: Path, study: Path, wave: str, replicates: int, *, last: str) -> None:
    opened = Study.open(study, wave)
    opened.reports.mkdir(parents=True, exist_ok=True)
    frame([], MULTIVERSE).to_parquet(opened.reports / "multiverse.parquet")
    for step in _steps(_pipeline(chapters, opened), last):
        if step.notebook is None:
            continue
        offered = {parameter.name for parameter in step.offered}
        run_inline(
            step.notebook.path,
            {"study": str(study), "wave": wave} | ({"replicates": replicates} if "replicates" in offered else {}),
        )


def _rows(respondents: int, organisations: int, drawn: Sequence[_Drawn]) -> list[dict[str, Any]]:
    rows = []
    for place, claim in enumerate(drawn[0].claims):
        seen = [study.claims[place] for study in drawn]
        share = {verdict: sum(each["verdict"] == verdict for each in seen) / len(seen) for verdict in VERDICTS}
        k, n = round(share["supported"] * len(seen)), len(seen)
        halves = [
            (each["conf_high"] - each["conf_low"]) / 2
            for each in seen
            if each["conf_low"] is not None and each["conf_high"] is not None
        ]
        rows.append(
            {
                "respondents": respondents,
                "organisations": organisations,
                "accepted": float(np.median([study.accepted for study in drawn])),
                "claim": claim["id"],
                "text": claim["text"],
                "studies": n,
                **share,
                "supported_low": float(stats.beta.ppf(0.025, k, n - k + 1)) if k else 0.0,
                "supported_high": float(stats.beta.ppf(0.975, k + 1, n - k)) if k < n else 1.0,
                "half_width": float(np.median(halves)) if halves else math.nan,
                "unit": claim["unit"],
                "margin": claim["margin"],
            }
        )
    return rows
