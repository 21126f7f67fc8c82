"""Figures for the page and the book, drawn from published estimates and from nothing else.

One module per figure, each with one `draw` that returns a `Figure`: the drawing, the words that go with it and the
frame of what is drawn. `save` writes it in every form that readers use.
"""

from __future__ import annotations

from fieldwork.figures import gradient, spread
from fieldwork.figures.style import Figure, save

__all__ = ["Figure", "gradient", "save", "spread"]
