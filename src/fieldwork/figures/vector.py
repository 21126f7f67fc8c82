"""A drawing written as SVG and as PDF in one pass.

Own code, for matplotlib draws for one format at a time: much of a file's time goes into walking through the drawing and into
setting its lines of text, each of them four times. The walk is the same for both formats, and most lines - roles, stages,
ticks, notes - stand in many figures. What each format makes of it stays matplotlib's.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from matplotlib import _text_helpers
from matplotlib.backend_bases import GraphicsContextBase, RendererBase
from matplotlib.backends.backend_pdf import PdfFile, RendererPdf
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.ft2font import FT2Font, GlyphIndexType, LayoutItem
from matplotlib.textpath import TextToPath

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas
    from matplotlib.font_manager import FontProperties
    from matplotlib.path import Path
    from matplotlib.text import Text
    from matplotlib.transforms import Transform
    from matplotlib.typing import ColorType

__all__ = ["vectors"]

_POINTS = 72  # in an inch
_LINES = 8192  # that are remembered: all figures of a study have some hundreds


def vectors(drawing: Canvas, metadata: Mapping[str, Mapping[str, str | None]]) -> dict[str, bytes]:
    """Return a drawing as SVG and as PDF, as asked, its lines of text as wide in one as in the other.

    Either is the same bytes whether the other is asked for or not; the PDF is to the byte what matplotlib saves.

    Parameters
    ----------
    drawing : Canvas      The drawing; its resolution is that of both formats meanwhile.
    metadata : mapping    By format that is asked for, `svg` or `pdf`, what matplotlib's `savefig` takes.
    """
    before = drawing.dpi
    width, height = drawing.get_size_inches()
    outlined, embedding = io.StringIO(), io.BytesIO()
    drawing.dpi = _POINTS
    try:
        svg = RendererSVG(width * _POINTS, height * _POINTS, outlined, image_dpi=before, metadata=metadata.get("svg"))
        file = PdfFile(embedding, metadata=metadata.get("pdf"))
        try:
            file.newPage(width, height)
            page_of: Any = _Page  # untyped, as all of a backend
            page = page_of(file, before, height, width)
            svg._text2path = _Outlines()  # noqa: SLF001 - where a renderer has it
            with page.lines_set_once():
                drawing.draw(_Both(svg, page) if "svg" in metadata else page)
            if "pdf" in metadata:
                page.finalize()
                file.finalize()
            if "svg" in metadata:
                svg.finalize()
        finally:
            file.close()
    finally:
        drawing.dpi = before
    made = {"svg": outlined.getvalue().encode(), "pdf": embedding.getvalue()}
    return {ending: made[ending] for ending in metadata}


_MEASURED: dict[tuple[str, FT2Font, float, bool | str], tuple[float, float, float]] = {}
_OUTLINES: dict[tuple[str | bytes, GlyphIndexType], Any] = {}
_NAMES: Any = TextToPath()
_layout = _text_helpers.layout


@lru_cache(maxsize=_LINES)
def _places(string: str, font: FT2Font, points: float, **more: Any) -> tuple[LayoutItem, ...]:  # noqa: ANN401, ARG001
    """Places of the letters of a line in a font that has been set to so many points."""
    return tuple(_layout(string, font, **more))


@lru_cache(maxsize=_LINES)
def _outlined(string: str, font: FT2Font, **more: Any) -> tuple[list[tuple[str, float, float, float]], dict[str, Any]]:  # noqa: ANN401
    """Names and places of the letters of a line, and their outlines by name, in a font at the size of outlines."""
    name_of = _NAMES._get_glyph_repr  # noqa: SLF001 - by which an SVG names them
    places, outlines = [], {}
    for item in _layout(string, font, **more):
        letter = (item.ft_object.fname, item.glyph_index)
        if letter not in _OUTLINES:
            _OUTLINES[letter] = item.ft_object.get_path()
        name = name_of(item.ft_object, item.glyph_index)
        places.append((name, item.x, item.y, 1.0))
        outlines[name] = _OUTLINES[letter]
    return places, outlines


class _Page(RendererPdf):
    """A page of a PDF that sets and measures no line of text a second time: in the same font it has the same places."""

    _points = 0.0

    def _get_font_ttf(self, prop: FontProperties) -> FT2Font:
        self._points = prop.get_size_in_points()
        renderer: Any = super()  # untyped, as all of a backend
        font: FT2Font = renderer._get_font_ttf(prop)  # noqa: SLF001 - its own
        return font

    @contextlib.contextmanager
    def lines_set_once(self) -> Iterator[None]:
        """Have matplotlib, which looks for the setting of lines by its name, find this one while it draws on the page."""

        def again(string: str, font: FT2Font, **more: Any) -> tuple[LayoutItem, ...]:  # noqa: ANN401 - as below
            return _places(string, font, self._points, **more)

        helpers: Any = _text_helpers
        helpers.layout = again
        try:
            yield
        finally:
            helpers.layout = _layout

    def get_text_width_height_descent(
        self, s: str, prop: FontProperties, ismath: bool | Literal["TeX"]
    ) -> tuple[float, float, float]:
        renderer: Any = super()
        key = (s, self._get_font_ttf(prop), self._points, ismath)
        if key not in _MEASURED:
            _MEASURED[key] = renderer.get_text_width_height_descent(s, prop, ismath)
        return _MEASURED[key]


class _Outlines(TextToPath):
    """Letters as outlines, of lines that are set once."""

    def get_glyphs_with_font(
        self,
        font: FT2Font,
        s: str,
        glyph_map: dict[str, Any] | None = None,
        return_new_glyphs_only: bool = False,
        **more: Any,  # noqa: ANN401 - handed on
    ) -> tuple[list[tuple[str, float, float, float]], dict[str, Any], list[Any]]:
        known = {} if glyph_map is None else glyph_map
        places, outlines = _outlined(s, font, **more)
        new = {name: outlines[name] for name, *_ in places if name not in known}
        if not return_new_glyphs_only:
            known.update(new)
        return list(places), new if return_new_glyphs_only else known, []


class _Both(RendererBase):
    """What is drawn goes to an SVG and to a page of a PDF, measured as the page measures.

    An SVG understands the page's graphics context, which keeps more; its lines of text alone count from above.
    """

    def __init__(self, svg: RendererBase, page: RendererBase) -> None:
        super().__init__()
        self._svg, self._page = svg, page
        _, self._height = svg.get_canvas_width_height()

    def open_group(self, s: str, gid: str | None = None) -> None:
        self._svg.open_group(s, gid)

    def close_group(self, s: str) -> None:
        self._svg.close_group(s)

    def draw_path(
        self, gc: GraphicsContextBase, path: Path, transform: Transform, rgbFace: ColorType | None = None
    ) -> None:  # fmt: skip
        for each in (self._svg, self._page):
            each.draw_path(gc, path, transform, rgbFace)

    def draw_markers(self, gc: GraphicsContextBase, *marker: Any, **more: Any) -> None:  # noqa: ANN401 - handed on
        for each in (self._svg, self._page):
            each.draw_markers(gc, *marker, **more)

    def draw_path_collection(self, gc: GraphicsContextBase, *paths: Any, **more: Any) -> None:  # noqa: ANN401 - handed on
        for each in (self._svg, self._page):
            each.draw_path_collection(gc, *paths, **more)

    def draw_image(self, gc: GraphicsContextBase, *image: Any, **more: Any) -> None:  # noqa: ANN401 - handed on
        for each in (self._svg, self._page):
            each.draw_image(gc, *image, **more)

    def draw_text(
        self, gc: GraphicsContextBase, x: float, y: float, s: str, prop: FontProperties, angle: float,
        ismath: bool | Literal["TeX"] = False, mtext: Text | None = None,
    ) -> None:  # fmt: skip
        self._page.draw_text(gc, x, y, s, prop, angle, ismath=ismath, mtext=mtext)
        self._svg.draw_text(gc, x, self._height - y, s, prop, angle, ismath=ismath, mtext=mtext)

    def get_canvas_width_height(self) -> tuple[float, float]:
        return self._svg.get_canvas_width_height()

    def get_text_width_height_descent(
        self, s: str, prop: FontProperties, ismath: bool | Literal["TeX"]
    ) -> tuple[float, float, float]:
        return self._page.get_text_width_height_descent(s, prop, ismath)

    def flipy(self) -> bool:
        return self._page.flipy()

    def new_gc(self) -> GraphicsContextBase:
        return self._page.new_gc()

    def option_image_nocomposite(self) -> bool:
        return self._page.option_image_nocomposite()
