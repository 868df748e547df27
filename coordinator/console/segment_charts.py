"""The drawings of segments: a map of where they lie, how they differ from everybody, and how their number was found."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from textwrap import fill
from typing import TYPE_CHECKING, Any, TypeVar

from protocols.questions.segments.choice import Score

from .charts import BAR, INK, NARROW, QUIET, RULE, WHISKER, WIDE, Draw, Picture, Reading, picture, shade, veil
from .places import Place, Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GROUND = "#f8fafb"
# Blue to orange: told apart by every kind of colour blindness. Never so dark that INK fades on it.
DIVERGING = ("#86b2da", "#c9ddef", "#f7f7f5", "#f6d7b5", "#eaa765")
FACTORS = 2.0  # the strongest colours are four times, or a quarter, of everybody
BESIDE = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
FAR = 16.0
EVERYBODY = "everybody"
CROWD = 6  # more segments than that have only their numbers written on the small map

Box = tuple[float, float, float, float]  # left, bottom, right, top
_T = TypeVar("_T")
# axes, corner, width, height, what the tile says, whether the picture is the narrow one
DrawTile = Callable[["Axes", Point, float, float, _T, bool], None]


@dataclass(frozen=True)
class Mark:
    """One segment on the map; without a size it is everybody, and a cross."""

    name: str
    size: Reading | None
    place: Place


def segment_map(marks: Sequence[Mark], sides: Sequence[str], *, title: str, label: str, caption: str) -> Picture:
    """Discs by size with the 95 % ellipses of their places. sides: what each of one or two axes is, in words."""
    high = (480, 400) if len(sides) > 1 else (190, 200)
    return picture(
        (title, label, caption),
        lambda narrow: _draw_map(marks, sides, narrow),
        lambda narrow: (NARROW, high[1]) if narrow else (WIDE, high[0]),
    )


def index_heat(names: Sequence[str], columns: Sequence[str], tiles: Sequence[Sequence[Reading | None]],
               *, title: str, label: str, caption: str) -> Picture:  # fmt: skip
    """Rows of tiles, one for each name, around 100; in panels below one another where there are many columns."""
    return tiled((title, label, caption), names, columns, tiles, _draw_index)


def tiled(words: tuple[str, str, str], names: Sequence[str], columns: Sequence[str], tiles: Sequence[Sequence[_T]],
          draw_tile: DrawTile[_T]) -> Picture:  # fmt: skip
    """Such a heat map with tiles of any kind. words: title, label and caption."""
    return picture(
        words,
        lambda narrow: _draw_heat(names, columns, tiles, draw_tile, narrow),
        lambda narrow: (_measure(narrow)[0], len(_panels(len(columns), narrow)) * _panel_height(len(names), narrow)),
    )


def score_curve(scores: Sequence[Score], chosen: int, *, title: str, label: str, caption: str) -> Picture:
    """The silhouette of each number of segments with its band; the chosen one filled."""
    return picture(
        (title, label, caption),
        lambda narrow: _draw_scores(scores, chosen, narrow),
        lambda narrow: (NARROW, 210) if narrow else (WIDE, 240),
    )


# --- the number of segments -------------------------------------------------------------------------------------------


def _draw_scores(scores: Sequence[Score], chosen: int, narrow: bool) -> Draw:
    def draw(figure: Figure) -> None:
        width, height = (figure.get_size_inches() * 72).tolist()
        left, bottom, high = 34.0, 34.0, height - 64
        ax = figure.add_axes((0, 0, 1, 1))
        ax.set_xlim(0, width)
        ax.set_ylim(0, height)
        ax.set_axis_off()
        step = min((width - left - 14) / len(scores), 150.0)
        crowded = step < 44
        places = [(left + (i + 0.5) * step, bottom + high * max(s.silhouette, 0.0)) for i, s in enumerate(scores)]
        for part in (0.0, 0.5, 1.0):
            y = bottom + high * part
            ax.plot([left, left + step * len(scores)], [y, y], color=RULE, linewidth=1)
            ax.text(left - 6, y, f"{part:.1f}", ha="right", va="center", color=QUIET, fontsize=11)
        ax.plot(*zip(*places, strict=True), color=BAR, linewidth=1.2)
        for i, (score, (x, y)) in enumerate(zip(scores, places, strict=True)):
            low, top = (bottom + high * max(end, 0.0) for end in (score.low, score.high))
            ax.plot([x, x], [low, top], color=WHISKER, linewidth=2.2)
            face, bold = (WHISKER, "bold") if score.clusters == chosen else ("#ffffff", "normal")
            ax.plot([x], [y], marker="o", markersize=9, markerfacecolor=face, markeredgecolor=WHISKER)
            if not crowded or score.clusters == chosen or i % 3 == 0:
                ax.text(x, max(y, top) + 15, f"{score.silhouette:.2f}", ha="center", va="center", color=INK,
                        fontsize=12, weight=bold)  # fmt: skip
            ax.text(x, bottom - 16, str(score.clusters), ha="center", va="center", color=INK, fontsize=12, weight=bold)

    return draw


# --- the map ----------------------------------------------------------------------------------------------------------


def _draw_map(marks: Sequence[Mark], sides: Sequence[str], narrow: bool) -> Draw:
    def draw(figure: Figure) -> None:
        width, height = (figure.get_size_inches() * 72).tolist()
        ax = figure.add_axes((0, 0, 1, 1))
        ax.set_xlim(0, width)
        ax.set_ylim(0, height)
        ax.set_axis_off()
        words = [fill(f"{arrow} {side}", 52 if narrow else 150) for arrow, side in zip("→↑", sides, strict=False)]
        lines = [15 * (text.count("\n") + 1) + 8 for text in (*words, "")]
        frame = (1.0, lines[0], width - 1, height - (lines[1] if len(words) > 1 else 1))
        _draw_frame(ax, frame, words)
        largest = 24.0 if narrow else 42.0
        drawn = [_scaled(mark.place, scale) for scale in [_scale(marks, frame, largest)] for mark in marks]
        most = max([float(mark.size.value) for mark in marks if mark.size is not None], default=1.0)
        discs = [largest * math.sqrt(float(m.size.value) / most) if m.size is not None else 0.0 for m in marks]
        for at in sorted(range(len(marks)), key=lambda i: -discs[i]):
            _draw_place(ax, drawn[at], discs[at])
        _write_names(ax, marks, drawn, discs, frame, narrow)

    return draw


def _draw_frame(ax: Axes, frame: Box, words: Sequence[str]) -> None:
    from matplotlib.patches import Rectangle

    left, bottom, right, top = frame
    ax.add_patch(Rectangle((left, bottom), right - left, top - bottom, facecolor=GROUND, edgecolor=RULE, linewidth=1))
    small: dict[str, Any] = {"color": QUIET, "fontsize": 11.5, "linespacing": 1.25}
    ax.text(right, bottom - 6, words[0], ha="right", va="top", **small)
    if len(words) > 1:
        ax.text(left, top + 6, words[1], ha="left", va="bottom", **small)


def _scale(marks: Sequence[Mark], frame: Box, margin: float) -> tuple[float, Point, Point]:
    """(pixels a unit, middle of the map, middle of the frame): the same along both axes, so that distances compare."""
    ends = [_extent(mark.place) for mark in marks]
    left, bottom = (min(end[i] for end in ends) for i in (0, 1))
    right, top = (max(end[i] for end in ends) for i in (2, 3))
    wide, high = frame[2] - frame[0] - 2 * margin - 12, frame[3] - frame[1] - 2 * margin - 12
    scale = min(wide / max(right - left, 1e-6), high / max(top - bottom, 1e-6))
    return scale, ((left + right) / 2, (bottom + top) / 2), ((frame[0] + frame[2]) / 2, (frame[1] + frame[3]) / 2)


def _extent(place: Place) -> Box:
    """The box around an ellipse and its estimate."""
    angle = math.radians(place.angle)
    (x, y), (a, b) = place.middle, place.radii
    half_x = math.hypot(a * math.cos(angle), b * math.sin(angle))
    half_y = math.hypot(a * math.sin(angle), b * math.cos(angle))
    at_x, at_y = place.at
    return min(x - half_x, at_x), min(y - half_y, at_y), max(x + half_x, at_x), max(y + half_y, at_y)


def _scaled(place: Place, scale: tuple[float, Point, Point]) -> Place:
    factor, here, there = scale

    def moved(point: Point) -> Point:
        return there[0] + factor * (point[0] - here[0]), there[1] + factor * (point[1] - here[1])

    radii = (factor * place.radii[0], factor * place.radii[1])
    return Place(moved(place.at), moved(place.middle), radii, place.angle)


def _draw_place(ax: Axes, place: Place, disc: float) -> None:
    from matplotlib.patches import Circle, Ellipse

    if disc:
        ax.add_patch(Circle(place.at, disc, facecolor=BAR, alpha=0.6, linewidth=0))
    (x, y), (a, b) = place.middle, place.radii
    line: dict[str, Any] = {"color": WHISKER if disc else QUIET, "linewidth": 1.5}
    if b:
        ax.add_patch(Ellipse((x, y), 2 * a, 2 * b, angle=place.angle, fill=False, **line))
    else:
        for left, low, right, high in ((-a, 0, a, 0), (-a, -6, -a, 6), (a, -6, a, 6)):
            ax.plot([x + left, x + right], [y + low, y + high], **line)
    if disc:
        ax.add_patch(Circle(place.at, 2.2, facecolor=WHISKER, linewidth=0))
    else:
        for dx, dy in ((4, 0), (0, 4)):
            ax.plot([place.at[0] - dx, place.at[0] + dx], [place.at[1] - dy, place.at[1] + dy], **line)


def _write_names(ax: Axes, marks: Sequence[Mark], drawn: Sequence[Place], discs: Sequence[float], frame: Box,
                 narrow: bool) -> None:  # fmt: skip
    """Each name where it meets the fewest others: beside its disc, or further out with a line to it."""
    taken = [_around(place, disc) for place, disc in zip(drawn, discs, strict=True)]
    for at, mark in enumerate(marks):
        lines = _lines(mark, short=narrow and len(marks) > CROWD + 1)
        size = max(len(line) for line in lines) * 6.9 + 4, 17.0 * len(lines)
        others = [*taken[:at], *taken[at + 1 :]]
        box, side = min(_candidates(taken[at], size), key=lambda found: _cost(found[0], others, frame))
        taken.append(box)
        x = {1: box[0], -1: box[2], 0: (box[0] + box[2]) / 2}[side]
        ha = {1: "left", -1: "right", 0: "center"}[side]
        _draw_leader(ax, drawn[at].at, box, discs[at])
        for i, line in enumerate(lines):
            bold = i == 0 and mark.size is not None
            ax.text(x, box[3] - 17 * (i + 0.5), line, ha=ha, va="center", fontsize=12.5,
                    color=INK if mark.size else QUIET, weight="bold" if bold else "normal")  # fmt: skip


def _draw_leader(ax: Axes, at: Point, box: Box, disc: float) -> None:
    """A thin line from a place to its name, where the name stands well off the disc."""
    end = min(max(at[0], box[0]), box[2]), min(max(at[1], box[1]), box[3])
    if math.dist(at, end) > disc + FAR:
        ax.plot([at[0], end[0]], [at[1], end[1]], color=QUIET, linewidth=0.8)


def _lines(mark: Mark, short: bool) -> list[str]:
    if mark.size is None:
        return [mark.name]
    return [mark.name.split()[-1]] if short else [mark.name, f"{mark.size.estimate()} {mark.size.margin()}"]


def _around(place: Place, disc: float) -> Box:
    left, bottom, right, top = _extent(place)
    x, y = place.at
    return min(left, x - disc) - 3, min(bottom, y - disc) - 3, max(right, x + disc) + 3, max(top, y + disc) + 3


def _candidates(own: Box, size: Point) -> Iterator[tuple[Box, int]]:
    """(box of the name, the side on which it stands), the nearest first."""
    middle, half = ((own[0] + own[2]) / 2, (own[1] + own[3]) / 2), ((own[2] - own[0]) / 2, (own[3] - own[1]) / 2)
    for away in (2.0, 18.0, 40.0, 70.0):
        for dx, dy in BESIDE:
            short = 0.75 if dx and dy else 1.0
            x = middle[0] + dx * (short * half[0] + away + size[0] / 2)
            y = middle[1] + dy * (short * half[1] + away + size[1] / 2)
            yield (x - size[0] / 2, y - size[1] / 2, x + size[0] / 2, y + size[1] / 2), dx


def _cost(box: Box, others: Sequence[Box], frame: Box) -> float:
    """Square pixels that are shared with others or lie outside the frame."""
    area = (box[2] - box[0]) * (box[3] - box[1])
    return sum(_shared(box, other) for other in others) + 10 * (area - _shared(box, frame))


def _shared(one: Box, other: Box) -> float:
    wide, high = min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, wide) * max(0.0, high)


# --- the heat map -----------------------------------------------------------------------------------------------------


def _measure(narrow: bool) -> tuple[int, int, int, int]:
    """Width of the picture, of its names, height of a row, and of the columns' names."""
    return (NARROW, 0, 66, 26) if narrow else (WIDE, 230, 50, 28)


def _panels(columns: int, narrow: bool) -> list[range]:
    """The columns of each panel, of about equal number."""
    count = math.ceil(columns / (4 if narrow else 8)) if columns > (5 if narrow else 9) else 1
    ends = [round(columns * i / count) for i in range(count + 1)]
    return [range(a, b) for a, b in pairwise(ends)]


def _panel_height(rows: int, narrow: bool) -> int:
    return _measure(narrow)[2] * rows + _measure(narrow)[3] + 8


def _draw_heat(names: Sequence[str], columns: Sequence[str], tiles: Sequence[Sequence[_T]], draw_tile: DrawTile[_T],
               narrow: bool) -> Draw:  # fmt: skip
    panels = _panels(len(columns), narrow)

    def draw(figure: Figure) -> None:
        width, height = (figure.get_size_inches() * 72).tolist()
        ax = figure.add_axes((0, 0, 1, 1))
        ax.set_xlim(0, width)
        ax.set_ylim(height, 0)
        ax.set_axis_off()
        for number, panel in enumerate(panels):
            top = number * float(_panel_height(len(names), narrow))
            _draw_panel(ax, top, max(map(len, panels)), [columns[i] for i in panel], names,
                        [[line[i] for i in panel] for line in tiles], draw_tile, narrow)  # fmt: skip

    return draw


def _draw_panel(ax: Axes, top: float, room: int, columns: Sequence[str], names: Sequence[str],
                tiles: Sequence[Sequence[_T]], draw_tile: DrawTile[_T], narrow: bool) -> None:  # fmt: skip
    """room: how many columns the widest panel has, so that tiles have one width in all."""
    width, left, step, head = _measure(narrow)
    across = (width - left) / room
    for x, column in enumerate(columns):
        ax.text(left + (x + 0.5) * across, top + head / 2, column, ha="center", va="center", color=INK,
                weight="bold", fontsize=11.5 if narrow else 13)  # fmt: skip
    for y, (name, line) in enumerate(zip(names, tiles, strict=True)):
        at, above = top + head + y * step, 20 if narrow else 0
        if narrow:
            ax.text(1, at + 11, name, ha="left", va="center", color=INK, fontsize=12)
        else:
            ax.text(left - 12, at + step / 2, fill(name, 32), ha="right", va="center", color=INK, linespacing=1.2)
        for x, tile in enumerate(line):
            draw_tile(ax, (left + x * across + 1.5, at + above + 1.5), across - 3, step - above - 3, tile, narrow)


def _draw_index(ax: Axes, corner: Point, width: float, height: float, tile: Reading | None, narrow: bool) -> None:
    from matplotlib.patches import Rectangle

    if tile is None:
        return veil(ax, corner, width, height, narrow)
    value = float(tile.value)
    place = 0.5 + math.log2(value / 100) / (2 * FACTORS) if value > 0 else 0.0
    ax.add_patch(Rectangle(corner, width, height, facecolor=shade(DIVERGING, place), linewidth=0))
    x, unlike = corner[0] + width / 2, tile.low > 100 or tile.high < 100
    ax.text(x, corner[1] + height * 0.33, tile.estimate(), ha="center", va="center", color=INK,
            fontsize=14, weight="bold" if unlike else "normal")  # fmt: skip
    ax.text(x, corner[1] + height * 0.74, tile.interval(), ha="center", va="center", color=INK,
            fontsize=10 if narrow else 11.5)  # fmt: skip
    return None
