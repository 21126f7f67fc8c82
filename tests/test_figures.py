"""Figures: drawn from published estimates, fit for a book page, honest about what is withheld, the same bytes each time."""

import itertools
import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pypdf
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from fieldwork.errors import DataError
from fieldwork.figures import FORMATS, Figure, draw_all, gradient, save, spread
from fieldwork.figures.published import published
from fieldwork.figures.style import INK, WIDTH, house
from fieldwork.schema import ESTIMATES, frame
from tests.toys import ALLOWED

report = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "browser" / "report.py")))

WORLDS = {
    "quaie": report.QUAIE,
    "ospo": report.OSPO,
    "hostile": report.HOSTILE,
    "some withheld": report.World(per_cell=10),
    "stages all withheld": report.World(per_cell=4),
    "full titles": report.World(
        roles=(
            *("Chief Executive Officer", "Chief Financial Officer", "Chief Operating Officer"),
            *("Chief Information Officer", "Chief Technology Officer", "Chief Data, Analytics or AI Officer"),
            *("Chief Information Security Officer", "Chief Marketing Officer", "Chief Human Resources Officer"),
            "General Counsel",
        ),
        per_cell=12,
    ),
    "no stages": report.World(stages=()),
}


@pytest.fixture(scope="module")
def instruments(tmp_path_factory):
    return {name: report.study_in(tmp_path_factory.mktemp("study"), world) for name, world in WORLDS.items()}


def drawn(name, instruments, measure="conf"):
    world, study = WORLDS[name], instruments[name]
    return gradient.draw(
        report.estimates(world), study.instrument(), measure=measure, provenance=world.provenance, study=study.title
    )


@pytest.fixture(scope="module", params=sorted(WORLDS))
def figure(request, instruments):
    return drawn(request.param, instruments)


def texts(figure):
    return [text for text in figure.drawing.findobj(Text) if text.get_text().strip() and text.get_visible()]


def lightness(colour):
    channels = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot(channels, (0.2126, 0.7152, 0.0722)))


def contrast(one, other):
    high, low = sorted((lightness(one), lightness(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_every_text_is_at_least_seven_points(figure):
    assert min(text.get_size() for text in texts(figure)) >= 7


def test_every_text_holds_the_contrast_that_small_type_needs(figure):
    for text in texts(figure):
        ground = INK.band if text.get_text() in {"withheld", "all withheld"} else "white"
        assert contrast(text.get_color(), ground) >= 4.5


def test_no_line_is_thinner_than_half_a_point(figure):
    for axes in figure.drawing.axes:
        for line in (*axes.get_xgridlines(), *axes.lines):
            assert line.get_linewidth() >= 0.5
        for lines in axes.findobj(LineCollection):
            assert min(lines.get_linewidths()) >= 0.5


def test_nothing_stands_outside_the_sheet_and_no_two_texts_overlap(figure):
    sheet = figure.drawing.bbox
    with house():  # as it is saved, without hinting
        boxes = {text: text.get_window_extent() for text in texts(figure)}
    for text, box in boxes.items():
        assert box.x0 >= sheet.x0 - 1, text
        assert box.x1 <= sheet.x1 + 1, text
        assert box.y0 >= sheet.y0 - 1, text
        assert box.y1 <= sheet.y1 + 1, text
    for (one, a), (other, b) in itertools.combinations(boxes.items(), 2):
        # A box has room for accents and descenders that a line may not use: a point of overlap is no collision.
        across = min(a.x1, b.x1) - max(a.x0, b.x0)
        down = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert across <= 1 or down <= 3.5, (one.get_text(), other.get_text())


def test_it_is_as_wide_as_the_book_and_fits_a_page(figure):
    assert figure.drawing.get_figwidth() == WIDTH
    assert figure.drawing.get_figheight() <= 7.0


def test_the_file_of_data_holds_exactly_the_points_drawn(figure):
    points = [
        round(float(x), 6)
        for axes in figure.drawing.axes
        for collection in axes.findobj(PathCollection)
        for x, _ in collection.get_offsets()
    ]
    shown = figure.data["estimate"].dropna()
    assert sorted(points) == sorted(round(float(value), 6) for value in shown)
    ends = figure.data.dropna(subset=["conf_low"])[["conf_low", "conf_high"]].astype(float).to_numpy().tolist()
    bars = [
        [segment[0][0], segment[1][0]]
        for axes in figure.drawing.axes
        for lines in axes.findobj(LineCollection)
        for segment in lines.get_segments()
        if segment[0][1] == segment[1][1]
    ]
    assert sorted(bars) == sorted(ends)


def test_a_withheld_cell_is_marked_as_withheld_and_has_no_number(instruments):
    figure = drawn("some withheld", instruments)
    hidden = figure.data[figure.data["mark"] == "withheld"]
    assert len(hidden) > 0
    assert hidden[["estimate", "conf_low", "conf_high", "n"]].isna().all(axis=None)
    words = [text.get_text() for text in texts(figure)]
    shown = hidden.groupby("stage").size()
    full = figure.data.groupby("stage").size()
    assert words.count("withheld") == sum(shown[stage] for stage in shown.index if shown[stage] < full[stage])
    assert "Withheld" in figure.caption


def test_when_every_cohort_is_withheld_only_the_whole_is_drawn_and_the_note_says_so(instruments):
    figure = drawn("stages all withheld", instruments)
    assert len(figure.drawing.axes) == 1
    assert "Every cell by stage is withheld" in figure.caption
    assert set(figure.data["stage"]) > {""}


def test_a_role_that_has_no_publishable_base_at_all_stays_in_its_row(instruments):
    world = WORLDS["quaie"]
    table = report.estimates(world)
    hidden = (table["role"] == "r0") & (table["statistic"] == "role_mean")
    table.loc[hidden, ["estimate", "conf_low", "conf_high", "n", "n_organisations"]] = pd.NA
    table.loc[hidden, "status"] = "suppressed"
    figure = gradient.draw(table, instruments["quaie"].instrument())
    assert figure.data["role"].iloc[9] == "r0"
    assert 0.0 not in figure.data["estimate"].dropna().tolist()


def test_the_interval_of_an_estimate_without_one_is_not_invented(instruments):
    table = report.estimates(WORLDS["quaie"])
    table.loc[:, ["conf_low", "conf_high", "conf_level"]] = pd.NA
    figure = gradient.draw(table, instruments["quaie"].instrument())
    assert [c for axes in figure.drawing.axes[:1] for c in axes.findobj(LineCollection) if len(c.get_segments())] == []


def test_simulated_data_say_so_on_the_figure_in_its_source_and_its_description(instruments):
    for name, simulated in (("quaie", True), ("ospo", False)):
        figure = drawn(name, instruments)
        words = " ".join(text.get_text() for text in texts(figure))
        for part in (words, figure.source, figure.alt):
            assert ("Simulated data" in part) is simulated


def test_the_alternative_text_holds_no_number_that_is_not_drawn(figure):
    numbers = {float(n) for n in re.findall(r"\d+\.\d+", figure.alt)}
    drawn_numbers = {
        round(float(value), 2) for name in ("estimate", "conf_low", "conf_high") for value in figure.data[name].dropna()
    }
    assert numbers <= drawn_numbers


def test_labels_are_text_never_mathematics_or_markup(instruments, tmp_path):
    study = instruments["hostile"]
    figure = drawn("hostile", instruments)
    files = {path.suffix: path for path in save(figure, tmp_path)}
    assert "<script" not in files[".svg"].read_text()
    assert "{{ 7*7 }}" in " ".join(figure.data["role_label"])
    assert study.instrument().roles[1].label.startswith("CTO <script>")
    dollars = study.instrument().model_copy(update={"title": "cost $_{x^$"})
    assert "$_{x^$" in gradient.draw(report.estimates(WORLDS["hostile"]), dollars).source


def test_saved_files_are_the_same_bytes_again_and_the_fonts_are_in_the_pdf(instruments, tmp_path):
    for folder in ("one", "two"):
        save(drawn("quaie", instruments), tmp_path / folder)
    for ending in FORMATS:
        first, second = ((tmp_path / folder / f"gradient_conf.{ending}").read_bytes() for folder in ("one", "two"))
        assert first == second, ending
        assert first, ending
    page = pypdf.PdfReader(tmp_path / "one" / "gradient_conf.pdf").pages[0]
    fonts = [font.get_object() for font in page["/Resources"]["/Font"].values()]
    described = [
        descendant.get_object()["/FontDescriptor"].get_object()
        for font in fonts
        for descendant in font.get("/DescendantFonts", [font])
    ]
    assert described
    assert all({"/FontFile2", "/FontFile3"} & set(descriptor) for descriptor in described)
    svg = (tmp_path / "one" / "gradient_conf.svg").read_text()
    assert "<text" not in svg
    assert "http" not in re.sub(r'(xmlns[^=]*|rdf:resource|xlink:href)="[^"]*"|<!DOCTYPE[^>]*>', "", svg)


def test_the_csv_is_safe_to_open_in_a_spreadsheet(instruments, tmp_path):
    figure = drawn("quaie", instruments)
    risky = figure.data.assign(role_label="=HYPERLINK(1)")
    save(Figure(**{**_fields(figure), "data": risky}), tmp_path)
    assert "'=HYPERLINK(1)" in (tmp_path / "gradient_conf.csv").read_text()


def _fields(figure):
    return {name: getattr(figure, name) for name in figure.__slots__}


def test_drawing_leaves_the_settings_of_others_alone(instruments):
    before = dict(mpl.rcParams)
    drawn("quaie", instruments)
    assert dict(mpl.rcParams) == before


def test_a_measure_without_role_means_is_refused_by_name(instruments):
    with pytest.raises(DataError, match="no role mean of 'confidence'") as refused:
        gradient.draw(report.estimates(WORLDS["quaie"]), instruments["quaie"].instrument(), measure="confidence")
    assert "conf, prep" in refused.value.expected


def test_draw_all_gives_what_the_estimates_allow_in_the_order_of_the_book(instruments):
    study = instruments["quaie"]
    table = report.estimates(WORLDS["quaie"], measures=("prep", "conf"))
    assert [figure.name for figure in draw_all(table, study.instrument(), study)] == ALLOWED
    assert draw_all(frame([], ESTIMATES), study.instrument(), study) == []


def test_the_spread_tells_roles_from_stages_without_colour(instruments):
    figure = spread.draw(report.estimates(WORLDS["quaie"]), instruments["quaie"].instrument())
    faces = [collection.get_facecolor()[0] for collection in figure.drawing.axes[0].findobj(PathCollection)]
    assert contrast(faces[0][:3], faces[-1][:3]) >= 1.4
    assert {text.get_text() for text in texts(figure)} >= {"between roles", "between stages"}
    assert figure.data["estimate"].tolist() == [0.62, 0.35, 0.62, 0.35]
    with pytest.raises(DataError, match="no spread"):
        spread.draw(frame([], ESTIMATES), instruments["quaie"].instrument())


def test_a_table_read_back_without_its_types_draws_whole_counts(instruments, tmp_path):
    report.estimates(WORLDS["quaie"]).to_parquet(tmp_path / "e.parquet")
    plain = pd.DataFrame({name: values.to_numpy() for name, values in pd.read_parquet(tmp_path / "e.parquet").items()})
    plain["n"] = plain["n"].astype(float)
    assert "Base: 500 respondents" in gradient.draw(plain, instruments["quaie"].instrument()).source


def test_it_shows_in_a_notebook_with_its_alternative_text(instruments):
    figure = drawn("quaie", instruments)
    data, metadata = figure._repr_mimebundle_()
    assert set(data) == {"image/png", "text/plain"}
    assert metadata["image/png"]["alt"] == figure.alt


def test_rows_are_those_of_the_whole_table_in_its_order(instruments):
    study = instruments["quaie"]
    table = report.estimates(WORLDS["quaie"], measures=("prep", "conf"))
    table = pd.concat([table[::2], table[1::2], table.assign(segment="sector=public"), table.assign(wave="1999Q1")])
    source = published(
        frame(table.to_dict("records"), ESTIMATES), study.instrument(), wave=study.wave, study="A survey"
    )
    whole = source.estimates[(source.estimates["wave"] == study.wave) & (source.estimates["segment"].fillna("") == "")]
    texts = dict.fromkeys(("role", "role_2", "stage", "item", "reason"), "")
    asked = [("adoption_gradient", "no_such_statistic", "")]
    for construct, statistic, measure in {
        tuple(key) for key in whole[["construct", "statistic", "measure"]].to_numpy()
    }:
        asked += [(construct, statistic, measure), (construct, statistic, "")]
    for construct, statistic, measure in asked:
        mine = (whole["construct"] == construct) & (whole["statistic"] == statistic)
        mine &= (whole["measure"] == measure) if measure else True
        found = source.rows(construct, statistic, measure=measure)
        assert repr(found) == repr(whole[mine].fillna(texts).to_dict("records"))
    assert len(asked) > 4
