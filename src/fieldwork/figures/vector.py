"""A drawing written as SVG and as PDF in one pass.

Own code, for matplotlib draws for one format at a time: much of a file's time goes into walking through the drawing and into
measuring its text, which is the same for both. What each format makes of it stays matplotlib's.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from matplotlib.backend_bases import GraphicsContextBase, RendererBase
from matplotlib.backends.backend_pdf import PdfFile, RendererPdf
from matplotlib.backends.backend_svg import RendererSVG

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas
    from matplotlib.font_manager import FontProperties
    from matplotlib.path import Path
    from matplotlib.text import Text
    from matplotlib.transforms import Transform
    from matplotlib.typing import ColorType

__all__ = ["vectors"]

_POINTS = 72  # in an inch


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
            page = RendererPdf(file, before, height, width)
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
