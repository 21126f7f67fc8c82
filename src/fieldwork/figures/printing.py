"""Figures drawn and written by several processes at a time: the longest work of a run, beside which nothing else can be done.

What a file holds is a function of its order alone, so neither the number of presses nor who took which order can reach a byte.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fieldwork.beside import Hands, processes
from fieldwork.figures.saving import FORMATS, SCREEN, save

if TYPE_CHECKING:
    from fieldwork.figures.spec import Spec

__all__ = ["Order", "presses_for", "print_all"]

_WORTH = 8  # orders that repay the second in which a press loads its libraries
# seaborn imports scipy where it finds it, for estimates that figures have no use for: half of all that a press would load.
_BEFORE = f"import sys; sys.modules['scipy'] = None; import {__name__}; del sys.modules['scipy']; "
_settled: list[bool] = []


@dataclass(frozen=True, slots=True)
class Order:
    """One figure to be drawn in one style and written.

    Attributes
    ----------
    figure : Spec              What to draw.
    folder : Path              Where its files go.
    style : str                House style.
    name : str                 File name without ending; empty: the figure's.
    formats : tuple of str     Of `FORMATS`.
    dpi : int                  Of the PNG; 0: what the style asks for.
    """

    figure: Spec
    folder: Path
    style: str = "book"
    name: str = ""
    formats: tuple[str, ...] = FORMATS
    dpi: int = SCREEN

    def fill(self) -> tuple[Path, ...]:
        """Draw the figure, write its files and return their paths."""
        return save(self.figure.draw(self.style), self.folder, name=self.name, formats=self.formats, dpi=self.dpi)


def presses_for(orders: int) -> int:
    """Return how many processes share some orders: one for every eight, as many as there are processors, four at most.

    In a chapter no more than the run's `--workers`, which its process is told by the variable `FIELDWORK_WORKERS`.

    >>> presses_for(7), presses_for(1000) <= 4
    (1, True)
    """
    return max(1, min(processes(), orders // _WORTH))


def print_all(orders: Sequence[Order], *, presses: int = 0) -> list[Path]:
    """Fill orders and return the paths of their files, in the order given.

    This process is one of the presses. What another one could not do, because it raised or has gone, is done here, and
    raises here what it raises.

    Parameters
    ----------
    presses : int    Processes; 0: as many as are worth it, `presses_for`.
    """
    others = (presses or presses_for(len(orders))) - 1
    fill = _filled if others else Order.fill
    with Hands(others=others, before=_BEFORE, environment={"MPLBACKEND": "agg"}) as hands:
        hands.start()
        return [path for paths in hands.in_order(fill, orders) for path in paths]


def _filled(order: Order) -> tuple[Path, ...]:
    """Fill an order; have the collections of garbage after it leave out what the first one has loaded: a fifth of the time."""
    paths = order.fill()
    if not _settled:
        gc.collect()
        gc.freeze()
        _settled.append(True)
    return paths
