"""The drawing of one pair's overlap: how many people each two lists share, each with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from .charts import HATCH, INK, QUIET, RAMP, VEIL, Picture, Reading, shade
from .places import Point
from .segment_charts import tiled

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Shared:
    """One tile. faint: below five standard deviations of its noise, so that it can well be nobody."""

    reading: Reading
    faint: bool


def shared_heat(names: Sequence[str], columns: Sequence[str], tiles: Sequence[Sequence[Shared]],
                *, title: str, label: str, caption: str) -> Picture:  # fmt: skip
    """Rows of tiles, one for each list of one side; darker is more people, faint ones are hatched."""
    most = max([1.0, *(float(tile.reading.value) for line in tiles for tile in line if not tile.faint)])
    return tiled((title, label, caption), names, columns, tiles, partial(_draw_shared, most))


def _draw_shared(most: float, ax: Axes, corner: Point, width: float, height: float, tile: Shared, narrow: bool) -> None:
    from matplotlib.patches import Rectangle

    if tile.faint:
        ax.add_patch(Rectangle(corner, width, height, facecolor=VEIL, edgecolor=HATCH, hatch="////", linewidth=0))
    else:
        ax.add_patch(
            Rectangle(corner, width, height, facecolor=shade(RAMP, float(tile.reading.value) / most), linewidth=0)
        )
    x, ink = corner[0] + width / 2, QUIET if tile.faint else INK
    pad = {"facecolor": VEIL, "edgecolor": "none", "pad": 1.5} if tile.faint else None
    lines = ((0.31, tile.reading.estimate(), 14, "bold"), (0.72, tile.reading.margin(), 10.5, "normal"))
    for part, text, size, weight in lines:
        ax.text(x, corner[1] + height * part, text, ha="center", va="center", color=ink, bbox=pad,
                fontsize=size if not narrow or weight == "normal" else 13, weight=weight)  # fmt: skip
