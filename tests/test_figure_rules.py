"""The rules of print, held of every figure of the register in every house style: one table of estimates, drawn once a style."""

import dataclasses
import io
import itertools
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pypdf
import pytest
from fontTools import subset
from fontTools.ttLib import TTFont
from matplotlib import font_manager
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex, to_rgba
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse, Rectangle
from matplotlib.text import Text
from PIL import Image

from fieldwork import figures
from fieldwork.errors import DataError
from fieldwork.figures import Absence, Spec, describe, figure_list, numbered, publish_all, publisher_name, save
from fieldwork.figures.answers import by_scale
from fieldwork.figures.change import _apart
from fieldwork.figures.fonts import FALLBACK, embedded, family, looked_up_once
from fieldwork.figures.published import number, published
from fieldwork.figures.spec import encoded, raster
from fieldwork.figures.stack import tones
from fieldwork.figures.style import GREY, INK, STYLES, contrast, house, on, short_of
from fieldwork.instrument.bands import bands
from fieldwork.schema import ESTIMATES, MULTIVERSE, frame
from fieldwork.study import Study

ROOT = Path(__file__).resolve().parents[1]
STUDY = Study.open(ROOT)
INSTRUMENT = STUDY.instrument()
ROLES = [role.id for role in INSTRUMENT.roles]
STAGES = [stage.id for stage in INSTRUMENT.stages]
BLOCKERS = [option.id for option in INSTRUMENT.item("blk").options if option.id != "none"]
ANSWERED = {"prep", *(item.name for item in INSTRUMENT.items if item.scale in {"agreement", "confidence"})}
PRIORITIES = [item.name for item in INSTRUMENT.family("pri")]
NUMBERS = ("estimate", "std_error", "conf_low", "conf_high", "conf_level", "n", "n_organisations")
FLOW = {
    "delivered": 900,
    "accepted": 870,
    "by_rule": {"speeder": 18, "role_unknown": 12},
    "words": {"speeder": "too fast"},
}


def row(construct, measure, statistic, unit, estimate, *, se=0.1, ends=None, n=85, status="ok", reason="", **key):
    low, high = ends or (estimate - 1.96 * se, estimate + 1.96 * se)
    made = {"wave": "2026Q1", "chapter": "x", "construct": construct, "measure": measure, "statistic": statistic}
    made |= {"unit": unit, "estimate": round(estimate, 2), "std_error": se, "conf_low": round(low, 2), **key}
    made |= {
        "conf_high": round(high, 2),
        "conf_level": 0.95,
        "n": n,
        "n_organisations": 60,
        "status": status,
        "reason": reason,
    }
    if status in ("suppressed", "not_assessable"):
        made |= dict.fromkeys(NUMBERS)
    return made


def gradient_rows(measure, shift=0.0):
    rows = []
    for k, role in enumerate(ROLES):
        mean = 2.2 + 0.19 * ((7 * k) % 10) + shift * (k - 4)
        rows.append(row("adoption_gradient", measure, "role_mean", "scale_point", mean, role=role))
        rows.append(
            row("adoption_gradient", measure, "role_mean_shrunken", "scale_point", 3 + 0.9 * (mean - 3), role=role)
        )
        for j, stage in enumerate(STAGES):
            status = ("ok", "flagged", "suppressed")[(k + j) % 3]
            rows.append(row("adoption_gradient", measure, "role_mean", "scale_point", mean, role=role, stage=stage,
                            status=status, n=20, reason="small base" if status == "flagged" else "", se=0.3))  # fmt: skip
    for name, value in (("role_sd_corrected", 0.6), ("stage_sd_corrected", 0.2), ("range_raw", 1.9), ("range_shrunken", 1.8),
                        ("stage_range_raw", 0.5), ("stage_range_shrunken", 0.3)):  # fmt: skip
        bare = {"ends": (math.nan, math.nan), "status": "flagged", "reason": "biased upward"} if "raw" in name else {}
        rows.append(row("adoption_gradient", measure, name, "scale_point", value, n=860, **bare))
    return rows


def blocker_rows():
    rows = []
    for j, item in enumerate(BLOCKERS):
        rows.append(row("blockers", "blk", "prevalence", "proportion", 0.4 - 0.02 * j, se=0.02, n=850, item=item))
        for k, role in enumerate(ROLES):
            share = 0.05 + 0.08 * ((j + 3 * k) % 10)
            status = "suppressed" if (j, k) in {(0, 0), (3, 2)} else "flagged" if (j + k) % 9 == 0 else "ok"
            rows.append(row("blockers", "blk", "prevalence", "proportion", share, se=0.03, item=item, role=role, status=status,
                            reason="imprecise" if status == "flagged" else ""))  # fmt: skip
            rows.append(
                row("blockers", "blk", "location_quotient", "ratio", 0.4 + 2 * share, se=0.2, item=item, role=role)
            )
    return rows


def pair_rows():
    """Shares of two answers together: one in five is held back, a few are flagged."""
    rows = []
    for k, (one, two) in enumerate(itertools.combinations(BLOCKERS, 2)):
        status = "suppressed" if k % 5 == 4 else "flagged" if k % 7 == 3 else "ok"
        rows.append(row("blockers", "blk", "cited_together", "proportion", 0.03 + 0.01 * (k % 13), se=0.01, n=850,
                        item=f"{one}+{two}", status=status, reason="imprecise" if status == "flagged" else ""))  # fmt: skip
    return rows


def alignment_rows():
    rows = []
    for (k, one), (m, two) in itertools.combinations(enumerate(ROLES), 2):
        value = math.sin(3 * k + 5 * m)
        refused = {"status": "not_assessable", "reason": "no ranking is shared"} if 3 in (k, m) else {}
        rows.append(row("alignment_map", "pri", "alignment", "index", value, ends=(max(-1, value - 0.4), min(1, value + 0.4)),
                        role=one, role_2=two, **refused))  # fmt: skip
    for k, role in enumerate(["", *ROLES]):
        rows.append(row("alignment_map", "pri", "consensus_priorities", "index", 0.05 + 0.03 * k, se=0.03, role=role))
        rows.append(row("alignment_map", "pri", "consensus_chance", "index", 0.1, ends=(math.nan, math.nan), role=role))
    for axis, turn in (("x", math.cos), ("y", math.sin)):
        for k, role in enumerate(ROLES):
            rows.append(row("alignment_map", "pri", f"map_{axis}", "index", 0.2 * turn(2 * k), se=0.08, role=role))
        for k, item in enumerate(PRIORITIES):
            rows.append(row("alignment_map", "pri", f"map_{axis}", "index", 0.7 * turn(k), se=0.1, item=item))
        name = {"x": "map_variance_first", "y": "map_variance_second"}[axis]
        rows.append(row("alignment_map", "pri", name, "index", 0.18))
    return rows + [row("alignment_map", "pri", "map_xy_correlation", "index", 0.3, role=role) for role in ROLES]


def answer_rows():
    """Every answer over all, and bands by role and stage; two answers of one question, and a role's, are held back."""
    rows = []
    for j, item in enumerate(item for item in INSTRUMENT.items if item.name in ANSWERED):
        for k, option in enumerate(item.options):
            share = (0.08, 0.22, 0.4, 0.2, 0.1)[(k + j) % 5]
            status = "suppressed" if (item.name == "meta_conf_CEO" and k < 2) else "ok"
            rows.append(
                row("sample", item.name, "answer_share", "proportion", share, n=800, item=option.id, status=status)
            )
    for measure in ("conf", "prep"):
        names = [band.name for band in bands(INSTRUMENT.item(measure))]
        places = [{}, *({"role": role} for role in ROLES), *({"stage": stage} for stage in STAGES)]
        for k, place in enumerate(places):
            top = 0.03 + 0.06 * (k % 15)
            for name, share in zip(names, (0.7 - 0.7 * top, 0.3 - 0.3 * top, top), strict=True):
                if not place and name == "3":
                    continue
                status = "suppressed" if k == 4 else "flagged" if k == 7 else "ok"
                at = place | {"item": name, "status": status, "reason": "small base" if status == "flagged" else ""}
                if measure == "prep" and name == names[-1] and "role" in place:
                    rows.append(row("readiness", measure, "ready_share", "proportion", share, **(at | {"item": ""})))
                else:
                    rows.append(row("sample", measure, "answer_share", "proportion", share, **at))
    return rows


def influence_rows():
    rows = []
    for k, role in enumerate(ROLES):
        rows.append(
            row("influence", "inf", "influence_share", "proportion", 0.14 - 0.008 * k, se=0.004, role=role, n=500)
        )
        rows.append(row("influence", "inf", "influence", "scale_point", 0.9 - 0.2 * k, role=role))
        for measure, statistic in (("veto", "gatekeeper_share"), ("signoff", "validator_share")):
            rows.append(row("influence", measure, statistic, "proportion", 0.6 - 0.05 * k, se=0.02, role=role))
            rows.append(row("influence", measure, "self_other_gap", "proportion", 0.1 - 0.02 * k, se=0.06, role=role))
        for construct, measure in (("influence", "inf"), ("lead_lag", "stage_fn")):
            rows.append(row(construct, measure, "rank_low", "rank", max(1, k - 1), role=role))
            rows.append(row(construct, measure, "rank_high", "rank", min(10, k + 3), role=role))
            rows.append(row(construct, measure, "tier", "rank", 1 + k // 4, role=role))
        rows.append(row("role_shift", "stage_fn", "ridit", "index", 0.7 - 0.04 * k, se=0.03, role=role))
    refused = {"status": "not_assessable", "reason": "nobody rates the own role"}
    return [*rows, row("influence", "inf", "self_other_gap", "scale_point", 0.0, **refused)]


def change_rows(*, waves):
    given = {"status": "ok", "reason": "since 2025Q1; sector held"} if waves else {
        "status": "not_assessable", "reason": "2 waves are needed; 1 was delivered up to this one"}  # fmt: skip
    keys = [{"role": role} for role in ROLES] if waves else [{}]
    rows = []
    for k, key in enumerate(keys):
        rows.append(row("role_shift", "stage_fn", "shift", "index", 0.02 * (k - 4), se=0.02, **given, **key))
        rows += [row("role_shift", measure, "mean_change", "scale_point", 0.1 * (k - 4), **given, **key)
                 for measure in ("conf", "prep")]  # fmt: skip
    return rows


def multiverse():
    base = {"wave": "2026Q1", "claim": "H2", "weights": "raked", "lens": "cell_table", "exclusions": "set_aside"}
    base |= {
        "stage": "own_function",
        "missing": "available",
        "registered_margin": True,
        "part": "a share",
        "unit": "proportion",
    }
    base |= {"part_margin": 0.5, "conf_level": 0.95, "verdict": "supported"}
    changes = ({"main": True}, {"weights": "none"}, {"exclusions": "kept", "verdict": "inconclusive"}, {"missing": "complete"},
               {"missing": "imputed", "verdict": "not_assessable"})  # fmt: skip
    rows = []
    for k, change in enumerate(changes):
        numbers = {} if k == 4 else {"estimate": 0.6 + 0.02 * k, "conf_low": 0.45 + 0.02 * k, "conf_high": 0.8}
        rows.append(base | {"specification": k + 1, "main": False} | change | numbers)
    return frame(rows, MULTIVERSE)


def source_of(*, waves=True, **more):
    rows = [*gradient_rows("conf"), *gradient_rows("prep", 0.02), *blocker_rows(), *alignment_rows(), *influence_rows()]
    rows += [*answer_rows(), *pair_rows()]
    table = frame([*rows, *change_rows(waves=waves)], ESTIMATES)
    before = frame([r | {"wave": "2025Q1"} for r in gradient_rows("conf", 0.05)], ESTIMATES)
    given = {"multiverse": multiverse(), "flow": FLOW, "history": (("2025Q1", before),) if waves else ()} | more
    return published(table, INSTRUMENT, wave="2026Q1", study=STUDY.title, provenance="simulated", **given)


SOURCE = source_of()
MADE = {made.name: made for made in describe(SOURCE)}
ALIKE = {
    "gradient_prep",
    "forest_prep",
    "waves_prep",
    "likert_prep",
    "answers_preparedness",
}  # drawn as the first measure's
NAMES = [name for name in MADE if name not in ALIKE]
TALLEST = {"gradient", "blockers_prevalence", "alignment", "cohort"}
DRAWN = [
    (name, style)
    for style in ("book", "web", "slide", "page", "grey")
    for name in NAMES
    if style in ("book", "web", "slide")
    or (style == "page" and name in TALLEST)
    or (style == "grey" and name == "ranks")
]


@pytest.fixture(autouse=True)
def as_it_is_saved():
    """Texts are measured as they are saved: without hinting."""
    with house():
        yield


@pytest.fixture(scope="module", params=DRAWN, ids="-".join)
def figure(request):
    name, style = request.param
    return MADE[name].draw(style)


def texts(figure):
    return [text for text in figure.drawing.findobj(Text) if text.get_text().strip() and text.get_visible()]


def grounds(figure):
    """Filled patches with their extent, the uppermost last."""
    found = []
    for axes in figure.drawing.axes:
        found.extend(
            (patch.get_zorder(), patch.get_window_extent(), to_hex(patch.get_facecolor()))
            for patch in axes.findobj(Rectangle)
            if patch is not axes.patch and patch.get_fill() and to_rgba(patch.get_facecolor())[3] > 0
        )
    return sorted(found, key=lambda entry: entry[0])


def ground_of(text, box, found):
    if text.get_bbox_patch() is not None:
        return to_hex(text.get_bbox_patch().get_facecolor())
    x, y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    under = [colour for _, extent, colour in found if extent.x0 <= x <= extent.x1 and extent.y0 <= y <= extent.y1]
    return under[-1] if under else "#ffffff"


def test_the_register_makes_every_kind_and_numbers_them_by_chapter():
    assert {kind.name for kind in figures.KINDS} == {"waves" if name.startswith("waves") else name for name in (
        re.sub(r"(forest|multiverse|gradient|likert|answers)_.*", r"\1", name) for name in MADE)}  # fmt: skip
    assert all(isinstance(MADE[name], Spec) for name in NAMES), [m for m in MADE.values() if isinstance(m, Absence)]
    places = [(made.chapter, made.number) for made in MADE.values()]
    assert len(set(places)) == len(places)
    assert places == sorted(places)
    assert numbered(MADE["alignment"]) == "Figure 6.1"


def test_text_is_legible_at_its_final_size_and_on_its_ground(figure):
    shown = texts(figure)
    # A slide is drawn at half its size, or less: what counts is the type on 13.33 inches.
    grown = 40 / 3 / figure.drawing.get_figwidth() if figure.style == "slide" else 1.0
    assert min(text.get_size() for text in shown) * grown >= (11 if figure.style == "slide" else 7)
    found = grounds(figure)
    for text in shown:
        ground = ground_of(text, text.get_window_extent(), found)
        assert contrast(to_hex(text.get_color()), ground) >= 4.5, (text.get_text(), ground)


def test_nothing_stands_outside_the_sheet_and_no_two_texts_overlap(figure):
    sheet = figure.drawing.bbox
    boxes = {text: text.get_window_extent() for text in texts(figure)}
    for text, box in boxes.items():
        assert box.x0 >= sheet.x0 - 1, text
        assert box.x1 <= sheet.x1 + 1, text
        assert box.y0 >= sheet.y0 - 1, text
        assert box.y1 <= sheet.y1 + 1, text
    for axes in figure.drawing.axes:
        place = axes.get_window_extent()
        assert place.x0 >= sheet.x0 - 1
        assert place.x1 <= sheet.x1 + 1
        assert place.y0 >= sheet.y0 - 1
        assert place.y1 <= sheet.y1 + 1
    for (one, a), (other, b) in itertools.combinations(boxes.items(), 2):
        # A box has room for accents and descenders that a line may not use: a point of overlap is no collision.
        across = min(a.x1, b.x1) - max(a.x0, b.x0)
        down = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert across <= 1 or down <= 3.5 * max(1.0, one.get_size() / 7), (one.get_text(), other.get_text())


def test_lines_hold_in_print(figure):
    for line in figure.drawing.findobj(Line2D):
        if line.get_visible() and line.get_linestyle() not in ("None", "none", "") and len(line.get_xdata()) > 1:
            assert line.get_linewidth() >= 0.5
    for lines in figure.drawing.findobj(LineCollection):
        assert min(lines.get_linewidths()) >= 0.5


def test_fills_are_apart_in_grey(figure):
    ink = STYLES[figure.style].ink
    for axes in figure.drawing.axes:
        fills = set()
        for patch in axes.findobj(Rectangle):
            if patch is axes.patch or not patch.get_fill():
                continue
            edge, fill = to_hex(patch.get_edgecolor()), to_hex(patch.get_facecolor())
            if fill == ink.band:  # a ground with a word on it: the word says what it is
                continue
            if (
                edge == "#ffffff" and to_rgba(patch.get_edgecolor())[3] and patch.get_linewidth()
            ):  # cells of a grid: a white rule between them, their value printed
                assert patch.get_linewidth() >= 1.0
                continue
            assert patch.get_linewidth() == 0 or patch.get_linewidth() >= 0.5
            fills.add(fill)
        for points in axes.findobj(PathCollection):
            # Dots of the matrix of choices are no fills beside each other: one is there, the other is not.
            fills |= {to_hex(c) for c in points.get_facecolor()} if min(points.get_sizes()) > 8 else set()
        for one, other in itertools.combinations(sorted(fills), 2):
            assert contrast(one, other) >= 1.4, (one, other)


def test_it_stands_on_its_page(figure):
    width, height = figure.drawing.get_size_inches()
    style = STYLES[figure.style]
    if style.filled:
        assert width / height == pytest.approx(16 / 9, rel=1e-6)
    else:
        assert width == style.width
        assert height <= (style.height or 8.0 if figure.style == "web" else 7.5)


def test_nobody_is_drawn_alone_and_nothing_but_what_is_published(figure):
    assert not {"resp_id", "org_id"} & set(figure.data.columns)
    if figure.name.startswith("multiverse") or figure.name == "cohort":
        return
    known = {
        round(float(v), 6) for name in ("estimate", "conf_low", "conf_high") for v in SOURCE.estimates[name].dropna()
    }
    known |= {round(float(v), 6) for v in SOURCE.history[0][1]["estimate"].dropna()}
    known |= {round(float(v), 6) for name in ("conf_low", "conf_high") for v in SOURCE.history[0][1][name].dropna()}
    if figure.name.startswith("ranks"):  # the place of a published index among the others
        known |= {k / 2 for k in range(2, 2 * len(ROLES) + 1)}
    for name in ("estimate", "conf_low", "conf_high"):
        assert {round(float(v), 6) for v in figure.data[name].dropna()} <= known
    points = sum(len(c.get_offsets()) for axes in figure.drawing.axes for c in axes.findobj(PathCollection))
    assert points <= figure.data["estimate"].notna().sum()


def test_what_is_withheld_is_said_and_has_no_number(figure):
    if "mark" not in figure.data:
        return
    hidden = figure.data[figure.data["mark"].isin(["withheld", "not assessable"])]
    assert hidden[["estimate", "conf_low", "conf_high"]].isna().all(axis=None)
    if len(hidden):
        assert "ithheld" in figure.caption or "ot assessable" in figure.caption


def test_words_say_that_data_are_simulated_and_quote_no_number_that_is_not_drawn(figure):
    words = " ".join(text.get_text() for text in texts(figure))
    assert all("Simulated data" in part for part in (words, figure.source, figure.alt))
    assert figure.alt.split(". ")[1]
    shown = set()
    for name in ("estimate", "conf_low", "conf_high", "conf_level"):
        for value in figure.data[name].dropna() if name in figure.data else ():
            shown |= {number(float(value), "index"), number(float(value), "proportion")}
    assert set(re.findall("[\N{MINUS SIGN}-]?" r"\d+(?:\.\d+|%)", figure.alt)) <= shown


def test_files_are_the_same_bytes_again_and_embed_their_fonts(tmp_path):
    for name in ("influence", "alignment", "consensus_map", "waves_conf"):
        once = {p.suffix: p.read_bytes() for p in save(MADE[name].draw(), tmp_path / "one")}
        again = {p.suffix: p.read_bytes() for p in save(describe_again(name).draw(), tmp_path / "two")}
        assert once == again
        page = pypdf.PdfReader(tmp_path / "one" / f"{name}.pdf").pages[0]
        fonts = [font.get_object() for font in page["/Resources"]["/Font"].values()]
        described = [
            d.get_object()["/FontDescriptor"].get_object() for f in fonts for d in f.get("/DescendantFonts", [f])
        ]
        assert described
        assert all({"/FontFile2", "/FontFile3"} & set(each) for each in described)
        assert "<text" not in (tmp_path / "one" / f"{name}.svg").read_text()


def describe_again(name):
    return next(made for made in describe(source_of()) if made.name == name)


def test_a_figure_that_the_wave_does_not_allow_says_what_is_missing_and_keeps_its_number():
    alone = {made.name: made for made in describe(source_of(waves=False, multiverse=None, flow=None))}
    for name, words in (("change", "2 waves are needed"), ("waves_conf", "two waves"), ("cohort", "not given"),
                        ("multiverse", "No multiverse")):  # fmt: skip
        assert isinstance(alone[name], Absence)
        assert words in alone[name].reason
        assert words in alone[name]._repr_html_()
    assert numbered(alone["ranks"]) == numbered(MADE["ranks"])
    empty = published(frame([], ESTIMATES), INSTRUMENT, wave="2026Q1", study="s")
    assert {type(made) for made in describe(empty)} == {Absence}


def lines_between(figure):
    """How many roles are joined from wave to wave, and how many are drawn."""
    drawn = [line for line in figure.drawing.axes[0].get_lines() if len(line.get_xdata()) == 2]
    return sum(line.get_linestyle() != "None" for line in drawn), len(drawn)


def waves_where(changed):
    """The figure of confidence over waves, rows of its `mean_change` changed."""
    table = SOURCE.estimates
    here = (table["statistic"] == "mean_change") & (table["measure"] == "conf")
    rows = changed(table[here])
    made = dataclasses.replace(SOURCE, estimates=pd.concat([table[~here], rows], ignore_index=True))
    return next(each for each in describe(made) if each.name == "waves_conf")


def test_waves_of_a_question_that_changed_are_not_joined():
    whole = waves_where(lambda rows: rows.head(1).assign(role="", status="not_assessable", reason="wording changed"))
    assert lines_between(whole.draw()) == (0, len(ROLES))
    assert whole.notes.endswith("Not joined: wording changed.")
    assert lines_between(MADE["waves_conf"].draw()) == (len(ROLES), len(ROLES))
    assert "Not joined" not in MADE["waves_conf"].notes


def test_a_role_that_cannot_be_followed_is_not_joined_and_named():
    def lost(rows):
        refused = rows["role"] == ROLES[2]
        status = rows["status"].mask(refused, "not_assessable")
        return rows.assign(status=status, reason=rows["reason"].mask(refused, "the role is new"))

    made = waves_where(lost)
    assert lines_between(made.draw()) == (len(ROLES) - 1, len(ROLES))
    assert made.notes.endswith(f"Not joined ({short_of(INSTRUMENT, ROLES[2])}), for their change is not assessable.")


def test_a_broken_flow_is_refused_and_never_drawn():
    with pytest.raises(DataError, match="do not add up"):
        list(describe(source_of(flow=FLOW | {"accepted": 871})))


def test_one_call_draws_any_figure_in_any_style():
    drawn = figures.figure("dumbbell", study=ROOT, style="slide", source=SOURCE)
    assert (drawn.name, drawn.style) == ("dumbbell", "slide")
    with pytest.raises(DataError, match="no figure 'alignement'") as wrong:
        figures.figure("alignement", study=ROOT, source=SOURCE)
    assert "alignment" in str(wrong.value.hint)
    with pytest.raises(DataError, match="no house style 'print'"):
        figures.figure("alignment", study=ROOT, source=SOURCE, style="print")
    with pytest.raises(DataError, match="does not allow"):
        figures.figure("change", study=ROOT, source=source_of(waves=False))


def test_a_publisher_gets_files_by_chapter_and_number_and_a_list_of_them(tmp_path):
    paths = publish_all(SOURCE, tmp_path, "quaie", styles=("book", "web"), names=("spread",))
    assert publisher_name(MADE["spread"].draw(), "quaie") == "Quaie_Figure_04_06"
    made = {path.relative_to(tmp_path).as_posix() for path in paths}
    assert made == {
        *(f"book/Quaie_Figure_04_06.{ending}" for ending in ("svg", "pdf", "png", "csv", "txt", "json")),
        *(f"web/Quaie_Figure_04_06.{ending}" for ending in ("svg", "png")),
        "figures.csv",
    }
    listed = pd.read_csv(tmp_path / "figures.csv", dtype="string", keep_default_na=False)
    row = listed[listed["name"] == "spread"].iloc[0]
    assert (row["figure"], row["file"], row["chapter"]) == ("Figure 4.6", "Quaie_Figure_04_06.pdf", "4")
    assert (row["width_inches"], row["not_drawn"]) == ("4.5", "")
    page = pypdf.PdfReader(tmp_path / "book" / row["file"]).pages[0]
    assert float(page.mediabox.width) == pytest.approx(72 * float(row["width_inches"]))
    header = (tmp_path / "book" / "Quaie_Figure_04_06.png").read_bytes()[16:20]
    assert int.from_bytes(header, "big") == 4.5 * 600


def test_the_list_of_figures_says_what_was_not_drawn_and_why():
    made = describe(source_of(waves=False))
    listed = figure_list(made, "quaie")
    assert listed["figure"].tolist() == [numbered(each) for each in made]
    lost = {each.name: each.reason for each in made if isinstance(each, Absence)}
    absent = listed[listed["not_drawn"] != ""]
    assert dict(zip(absent["name"], absent["not_drawn"], strict=True)) == lost
    assert "change" in lost
    assert set(absent["file"]) | set(absent["width_inches"]) == {""}
    assert (
        not listed[listed["not_drawn"] == ""][["file", "caption", "alternative_text", "source"]].eq("").any(axis=None)
    )


@pytest.mark.parametrize(("style", "mode"), [("book", "RGB"), ("grey", "L"), ("slide", "RGB")])
def test_a_raster_copy_is_the_picture_of_the_drawing(style, mode):
    drawn = MADE["spread"].draw(style)
    made = Image.open(io.BytesIO(raster(encoded(drawn, "pdf")["pdf"], 144, grey=style == "grey")))
    whole = io.BytesIO()
    with house():
        drawn.drawing.savefig(whole, format="png", dpi=144)
    other = Image.open(whole).convert("RGB")
    assert made.mode == mode
    assert made.size[0] == other.size[0] == round(drawn.drawing.get_figwidth() * 144)
    assert made.size[1] - other.size[1] in {0, 1}, "a part of a dot at the lower edge"
    one, two = (np.asarray(each.convert("L"), dtype=float)[: other.size[1]] for each in (made, other))
    # Two rasterisers share no dot at an edge; over eight dots the ink is the same.
    rough = [blocks(255 - each) for each in (one, two)]
    assert rough[0].mean() == pytest.approx(rough[1].mean(), rel=0.04)
    assert np.corrcoef(rough[0].ravel(), rough[1].ravel())[0, 1] > 0.97


def blocks(ink, size=8):
    rows, columns = (length // size * size for length in ink.shape)
    return ink[:rows, :columns].reshape(rows // size, size, columns // size, size).mean(axis=(1, 3))


def test_a_raster_copy_has_the_dots_that_were_asked_for_and_says_how_many_an_inch():
    drawn = MADE["spread"].draw("slide")
    made = Image.open(io.BytesIO(raster(encoded(drawn, "pdf")["pdf"], 288)))
    assert made.size == (1920, 1080)
    assert made.info["dpi"] == pytest.approx((288, 288), rel=1e-3)
    assert raster(encoded(drawn, "pdf")["pdf"], 288) == raster(encoded(drawn, "pdf")["pdf"], 288)


@pytest.mark.parametrize("style", ["book", "grey"])
def test_the_raster_copy_that_is_saved_is_the_picture_of_the_pdf_beside_it_to_the_dot(style, tmp_path):
    for formats in (("png", "pdf"), ("png",)):
        save(MADE["gradient"].draw(style), tmp_path, name=f"{len(formats)}", formats=formats, dpi=100)
    made = (tmp_path / "2.png").read_bytes()
    assert (
        made
        == (tmp_path / "1.png").read_bytes()
        == raster((tmp_path / "2.pdf").read_bytes(), 100, grey=style == "grey")
    )
    assert made != raster(encoded(MADE["spread"].draw(style), "pdf")["pdf"], 100, grey=style == "grey")


@pytest.mark.parametrize("name", ["gradient", "consensus_map", "blockers_quotient", "alignment"])
def test_both_vector_copies_of_one_pass_are_those_that_matplotlib_saves_apart(name):
    drawn = MADE[name].draw()
    both = encoded(drawn, "svg", "pdf")
    assert both == encoded(drawn, "svg") | encoded(drawn, "pdf")
    apart = {}
    with house(), embedded():
        for ending, unsaid in (("svg", ("Date", "Creator")), ("pdf", ("CreationDate", "Creator", "Producer"))):
            target = io.BytesIO()
            metadata = {"Title": drawn.title} | dict.fromkeys(unsaid)
            drawn.drawing.savefig(target, format=ending, metadata=metadata)
            apart[ending] = target.getvalue()
    assert both["pdf"] == apart["pdf"]
    # An SVG of its own measures words at another size, and so sets them some thousandths of a point aside.
    words, numbers = zip(*(without_numbers(each["svg"].decode()) for each in (both, apart)), strict=True)
    assert words[0] == words[1]
    assert len(numbers[0]) > 1000
    assert numbers[0] == pytest.approx(numbers[1], abs=0.05)
    assert drawn.drawing.dpi == MADE[name].draw().drawing.dpi


def without_numbers(svg):
    """Apart: the text of an SVG, and its numbers in order; names made from content are none."""
    named = re.sub(r"[0-9a-z]*(?<=[#\"])[mp]?[0-9a-f]{10}", "name", svg)
    return re.sub(NUMBER, "0", named), [float(each) for each in re.findall(NUMBER, named)]


NUMBER = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"


def test_fonts_are_looked_up_as_ever_once_a_file_is_written():
    prop = font_manager.FontProperties(family=list(family()), weight="bold")
    found = font_manager.fontManager._find_fonts_by_props(prop)
    with looked_up_once():
        once, again = (font_manager.fontManager._find_fonts_by_props(prop.copy()) for _ in range(2))
        other = font_manager.fontManager._find_fonts_by_props(font_manager.FontProperties(family=[FALLBACK]))
        assert once is again
    assert once == found != other
    assert "_find_fonts_by_props" not in vars(font_manager.fontManager)


def test_what_is_embedded_has_outlines_and_no_tables_that_set_lines():
    """To reduce those for every figure took three quarters of the time of a PDF."""
    before = list(subset.Options().drop_tables)
    written = pypdf.PdfReader(io.BytesIO(encoded(MADE["spread"].draw(), "pdf")["pdf"]))
    assert subset.Options().drop_tables == before
    fonts = [font.get_object() for font in written.pages[0]["/Resources"]["/Font"].values()]
    files = [font["/DescendantFonts"][0].get_object()["/FontDescriptor"]["/FontFile2"].get_data() for font in fonts]
    assert len(files) == 2, "Source Sans, regular and bold"
    for each in files:
        tables = set(TTFont(io.BytesIO(each)).keys())
        assert {"glyf", "hmtx", "loca"} <= tables
        assert tables.isdisjoint({"GPOS", "GSUB", "GDEF", "kern"})


def test_the_ellipse_of_a_role_holds_its_place_with_95_per_cent():
    """Of points drawn from the published errors and their correlation, 95% lie in the ellipse."""
    drawing = MADE["consensus_map"].draw().drawing
    ellipse = next(iter(drawing.findobj(Ellipse)))
    at = MADE["consensus_map"].data.query("series == 'role'")
    row = min(at.to_dict("records"), key=lambda r: math.dist((r["estimate"], r["estimate_2"]), ellipse.center))
    one, two, tie = row["std_error"], row["std_error_2"], row["correlation"]
    covariance = [[one**2, tie * one * two], [tie * one * two, two**2]]
    points = np.random.default_rng(1).multivariate_normal((row["estimate"], row["estimate_2"]), covariance, 20_000)
    turned = (points - ellipse.center) @ [
        [math.cos(math.radians(ellipse.angle)), -math.sin(math.radians(ellipse.angle))],
        [math.sin(math.radians(ellipse.angle)), math.cos(math.radians(ellipse.angle))],
    ]
    inside = ((turned / [ellipse.width / 2, ellipse.height / 2]) ** 2).sum(axis=1) <= 1
    assert inside.mean() == pytest.approx(0.95, abs=0.006)


def test_labels_that_would_meet_are_pushed_apart_in_their_order():
    placed = _apart([0.5, 0.52, 0.53, 2.0, 2.9], 0.2, 0.1, 3.0)
    assert placed == sorted(placed)
    assert min(b - a for a, b in itertools.pairwise(placed)) >= 0.2 - 1e-9
    assert placed[3] == 2.0


def test_the_answers_of_a_bar_fill_it_and_lie_to_both_sides_of_the_middle():
    """A role's top two points come from the chapter on readiness where they stand there; half of the middle is on each side."""
    figure = MADE["likert_prep"].draw()
    axes = next(axes for axes in figure.drawing.axes if len(axes.findobj(Rectangle)) > 10)
    bars = {}
    for patch in axes.findobj(Rectangle):
        if patch is not axes.patch and to_hex(patch.get_facecolor()) != INK.band:
            bars.setdefault(round(patch.get_y(), 6), []).append((patch.get_x(), patch.get_width()))
    assert len(bars) == 1 + len(ROLES) + len(STAGES) - 1, "one role is withheld"
    for parts in bars.values():
        assert sum(width for _, width in parts) == pytest.approx(1.0)
        (x, wide) = sorted(parts)[1]
        assert x == pytest.approx(-wide / 2)
    first = figure.data[(figure.data["row"] == f"role={ROLES[0]}")].set_index("series")
    assert float(first.loc["4+5", "estimate"]) == pytest.approx(0.09)
    assert set(figure.data.loc[figure.data["mark"] == "withheld", "row"]) == {f"role={ROLES[3]}"}


def test_the_most_frequent_pairs_are_drawn_and_those_withheld_counted():
    figure = MADE["blockers_together"].draw()
    pairs = len(BLOCKERS) * (len(BLOCKERS) - 1) // 2
    held = len([k for k in range(pairs) if k % 5 == 4])
    assert f"The 10 most frequent of {pairs} pairs; {held} are withheld." in figure.caption
    values = figure.data["estimate"].astype(float).tolist()
    assert values == sorted(values, reverse=True)
    assert len(values) == 10
    first, second = str(figure.data["row"].iloc[0]).split("+")
    label = figure.data["row_label"].iloc[0]
    assert label == f"{SOURCE.option('blk', first)} + {SOURCE.option('blk', second)}"


def test_a_bar_of_which_an_answer_is_withheld_is_not_drawn_and_says_so():
    figure = MADE["answers_confidence"].draw()
    said = [text.get_text() for text in texts(figure)]
    assert said.count("withheld") == 1
    assert "A bar of which one answer is withheld is not drawn." in figure.caption
    assert set(figure.data.loc[figure.data["mark"] == "withheld", "row"]) == {"meta_conf_CEO"}


@pytest.mark.parametrize("count", range(2, 8))
def test_up_to_seven_answers_lie_apart_in_grey(count):
    for ink in (INK, GREY.ink, STYLES["web"].ink):
        fills = tones(ink, count)
        assert min(contrast(one, two) for one, two in itertools.pairwise(fills)) >= 1.4


def test_a_scale_of_more_points_than_can_be_told_apart_is_not_drawn():
    wide = [INSTRUMENT.item("conf").model_copy(update={"options": INSTRUMENT.item("conf").options * 2})]
    many = INSTRUMENT.model_copy(update={"items": tuple(wide * 3)})
    made = list(by_scale(published(SOURCE.estimates, many, wave="2026Q1", study="", provenance="simulated")))
    assert [type(each) for each in made] == [Absence]
    assert "at most 7 points" in made[0].reason


def test_grey_is_the_book_without_colour_at_the_same_lightness():
    for name in INK.__dataclass_fields__:
        grey = getattr(GREY.ink, name)
        assert len({grey[1:3], grey[3:5], grey[5:7]}) == 1
        assert contrast(grey, getattr(INK, name)) < 1.02
    for ground in ("#000000", "#777777", "#8fb0cc", "#ffffff"):
        assert contrast(on(ground), ground) >= 4.5
