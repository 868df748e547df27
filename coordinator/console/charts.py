"""The drawings of the report, as inline SVG: no script, no address, the same bytes for the same numbers.

Each picture is drawn twice, for a wide page and for a telephone, so that its letters keep their size in both. A number
is never drawn without its interval: `Reading` is the only thing that can be drawn, and it has all three.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Any, ClassVar

from markupsafe import Markup, escape

from protocols.errors import IntegrityError
from protocols.figures import TOO_NOISY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Draw = Callable[["Figure"], None]
Size = tuple[int, int]

INK, QUIET, RULE = "#1b2733", "#55626f", "#d5dce3"
BAR, WHISKER = "#7fa9cf", "#12395f"
# One hue, light to dark: its order survives colour blindness and grey printers. Never so dark that INK fades on it.
RAMP = ("#f3f7fb", "#d3e3f2", "#a5c7e6", "#6ba3d6")
VEIL, HATCH = "#f3f3f2", "#cfcfcb"
WIDE, NARROW = 1040, 360
GAP = "\u2003"

_DECIMAL = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,9})?")
_MINUS = "\u2212"


@dataclass(frozen=True)
class Reading:
    """A released figure as it is shown: an estimate, the ends of its 95 % interval, and its consistent value."""

    value: Decimal
    low: Decimal
    high: Decimal
    consistent: Decimal | None = None

    @classmethod
    def of(cls, figure: Mapping[str, str]) -> Reading | None:
        """A figure as numbers, or None for one that is too noisy. Raises IntegrityError where it is no decimal."""
        if figure["value"] == TOO_NOISY:
            return None
        parts = {name: figure[name] for name in ("value", "low", "high", "consistent") if name in figure}
        if not all(_DECIMAL.fullmatch(text) for text in parts.values()):
            raise IntegrityError("a released figure is not a plain decimal")
        return cls(**{name: Decimal(text) for name, text in parts.items()})

    def times(self, factor: Decimal) -> Reading:
        """The same in another unit, without its consistent value. factor: above zero."""
        return Reading(*(factor * part for part in (self.value, self.low, self.high)))

    def percent(self) -> Reading:
        """The same share in hundredths."""
        return self.times(Decimal(100))

    def estimate(self, places: int | None = 0) -> str:
        """The estimate with so many decimals; None: as it was published."""
        return _text(self.value, places, ROUND_HALF_UP)

    def interval(self, places: int | None = 0, unit: str = "") -> str:
        """Both ends, rounded outward: an interval only grows. Why "to": a dash would look like a minus."""
        low, high = _text(self.low, places, ROUND_FLOOR), _text(self.high, places, ROUND_CEILING)
        return f"{low}{unit} to {high}{unit}"

    def margin(self) -> str:
        """Half the interval's width, rounded up. For figures whose interval is symmetric."""
        return f"± {_text((self.high - self.low) / 2, 0, ROUND_CEILING)}"

    def settled(self, places: int | None = 0) -> str:
        """The consistent value, or nothing where the question gives none."""
        return "" if self.consistent is None else _text(self.consistent, places, ROUND_HALF_UP)


@dataclass(frozen=True)
class Picture:
    """One drawing in its two widths, with the lines below it. Each says in itself what it shows, for readers aloud."""

    kind: ClassVar[str] = "picture"
    wide: Markup
    narrow: Markup
    caption: str
    title: str = ""


@dataclass(frozen=True)
class Axis:
    """One side of the heat map: its title, and for each of its places a score and what the score means."""

    title: str
    scores: Sequence[str]
    meanings: Sequence[str]


def bars(rows: Sequence[tuple[str, Reading | None, str]], *, label: str, caption: str, title: str = "") -> Picture:
    """Horizontal bars with 95 % whiskers, from top to bottom: (name, reading, further words for the end of the line).

    A row without a reading says that it is too noisy.
    """
    return picture(
        (title, label, caption),
        lambda narrow: _draw_bars(rows, narrow),
        lambda narrow: (NARROW, 50 * len(rows) + 34) if narrow else (WIDE, 36 * len(rows) + 40),
    )


def heat(rows: Axis, columns: Axis, tiles: Sequence[Sequence[Reading | None]], *, label: str, caption: str) -> Picture:
    """A heat map, its first row on top, with values and margins written in; tiles without a reading are hatched."""
    return picture(
        ("", label, caption),
        lambda narrow: _draw_heat(rows, columns, tiles, narrow),
        lambda narrow: (NARROW, 58 * len(tiles) + 58) if narrow else (WIDE, 60 * len(tiles) + 64),
    )


def meter(now: int, before: int, cap: int) -> Markup:
    """How full a budget is: what this plan's round took (dark), after what was spent before it (light)."""
    spent = now + before
    dark, light = (min(100.0, 100 * part / cap) for part in (now, before))
    over = ' class="over"' if spent > cap else ""
    return Markup(
        f'<svg class="meter" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" '
        f'aria-label="{100 * spent / cap:.1f} % of the cap is spent"><g{over}>'
        f'<rect class="rest" width="100" height="10"/><rect class="before" width="{light:.2f}" height="10"/>'
        f'<rect class="now" x="{light:.2f}" width="{min(dark, 100 - light):.2f}" height="10"/></g></svg>'
    )


def _draw_bars(rows: Sequence[tuple[str, Reading | None, str]], narrow: bool) -> Draw:
    def draw(figure: Figure) -> None:
        width, height = (figure.get_size_inches() * 72).tolist()
        left = 6 if narrow else 172
        ax = figure.add_axes((left / width, 26 / height, (width - left - 8) / width, (height - 32) / height))
        readings = [reading for _, reading, _ in rows if reading is not None]
        most = max([1.0, *(float(r.high) for r in readings)])
        least = min([0.0, *(float(r.low) for r in readings)])
        text = 16 + 7.2 * max([len(_beside(r, "" if narrow else words)) for _, r, words in rows if r], default=0)
        ax.set_xlim(least, most + (most - least) * text / (width - left - 8 - text))
        ax.set_ylim(len(rows) - 0.5, -0.5)
        for y, (name, reading, words) in enumerate(rows):
            _draw_bar(ax, y, name, reading, words, narrow)
        _plain_axis(ax, bool(readings))

    return draw


def _draw_bar(ax: Axes, y: int, name: str, reading: Reading | None, words: str, narrow: bool) -> None:
    at = y + 0.16 if narrow else float(y)
    if narrow:
        name, words = f"{name}{GAP}{words}".strip(), ""
        ax.annotate(name, (0, y - 0.29), xytext=(1, 0), textcoords="offset points", va="center", color=INK)
    else:
        ax.annotate(
            name, (0, y), xycoords=("axes fraction", "data"), xytext=(-10, 0), textcoords="offset points",
            ha="right", va="center", color=INK, annotation_clip=False,
        )  # fmt: skip
    if reading is None:
        ax.annotate(TOO_NOISY, (0, at), xytext=(6, 0), textcoords="offset points", va="center", color=QUIET,
                    style="italic")  # fmt: skip
        return
    value, low, high = float(reading.value), float(reading.low), float(reading.high)
    thick = 0.4 if narrow else 0.56
    ax.barh(at, value, height=thick, color=BAR, linewidth=0)
    ax.plot([low, high], [at, at], color=WHISKER, linewidth=1.8, solid_capstyle="butt")
    for end in (low, high):
        ax.plot([end, end], [at - thick * 0.36, at + thick * 0.36], color=WHISKER, linewidth=1.8)
    ax.annotate(
        _beside(reading, words), (max(high, 0), at), xytext=(8, 0), textcoords="offset points", va="center", color=INK
    )


def _beside(reading: Reading, words: str) -> str:
    """What is written at the end of a bar."""
    return f"{reading.estimate()} {reading.margin()}{GAP}{words}".strip()


def _plain_axis(ax: Axes, ticks: bool) -> None:
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    ax.set_yticks([])
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    ax.tick_params(axis="x", length=0, colors=QUIET, labelsize=11.5, pad=5)
    if ticks:
        ax.grid(axis="x", color=RULE, linewidth=0.8)
    else:
        ax.set_xticks([])
    ax.set_axisbelow(True)
    for side in ("top", "right", "bottom"):
        ax.spines[side].set_visible(False)
    ax.spines["left"].set_position(("data", 0))
    ax.spines["left"].set_color(QUIET)


def _draw_heat(rows: Axis, columns: Axis, tiles: Sequence[Sequence[Reading | None]], narrow: bool) -> Draw:
    def draw(figure: Figure) -> None:
        width, height = (figure.get_size_inches() * 72).tolist()
        left, top = (76, 50) if narrow else (172, 56)
        ax = figure.add_axes((left / width, 4 / height, (width - left - 2) / width, (height - top - 4) / height))
        ax.set_xlim(0, len(columns.scores))
        ax.set_ylim(len(rows.scores), 0)
        ax.set_axis_off()
        shown = [float(tile.value) for line in tiles for tile in line if tile is not None]
        for y, line in enumerate(tiles):
            for x, tile in enumerate(line):
                _draw_tile(ax, x, y, tile, max([*shown, 1.0]), narrow)
        _draw_sides(ax, rows, columns, narrow)

    return draw


def _draw_tile(ax: Axes, x: int, y: int, tile: Reading | None, most: float, narrow: bool) -> None:
    from matplotlib.patches import Rectangle

    gap_x, gap_y = (0.03, 0.03) if narrow else (0.012, 0.035)
    box = (x + gap_x, y + gap_y), 1 - 2 * gap_x, 1 - 2 * gap_y
    if tile is None:
        veil(ax, *box, narrow)
        return
    colour = shade(RAMP, float(tile.value) / most)
    ax.add_patch(Rectangle(*box, facecolor=colour, linewidth=0))
    ax.text(x + 0.5, y + 0.39, tile.estimate(), ha="center", va="center", color=INK, fontsize=14, weight="bold")
    ax.text(x + 0.5, y + 0.70, tile.margin(), ha="center", va="center", color=INK, fontsize=11.5)


def veil(ax: Axes, corner: tuple[float, float], width: float, height: float, narrow: bool) -> None:
    """A hatched box that says it is too noisy."""
    from matplotlib.patches import Rectangle

    ax.add_patch(Rectangle(corner, width, height, facecolor=VEIL, edgecolor=HATCH, hatch="////", linewidth=0))
    words = TOO_NOISY.replace(" ", "\n") if narrow else TOO_NOISY
    pad = {"facecolor": VEIL, "edgecolor": "none", "pad": 2.5}
    middle = corner[0] + width / 2, corner[1] + height / 2
    ax.text(*middle, words, ha="center", va="center", color=QUIET, bbox=pad, fontsize=11.5)


def _draw_sides(ax: Axes, rows: Axis, columns: Axis, narrow: bool) -> None:
    small = 10.0 if narrow else 12.0
    side: dict[str, Any] = {"textcoords": "offset points", "annotation_clip": False}
    for x, (score, meaning) in enumerate(zip(columns.scores, columns.meanings, strict=True)):
        ax.annotate(score, (x + 0.5, 0), xytext=(0, 20), ha="center", color=INK, weight="bold", **side)
        ax.annotate(meaning, (x + 0.5, 0), xytext=(0, 6), ha="center", color=QUIET, fontsize=small, **side)
    for y, (score, meaning) in enumerate(zip(rows.scores, rows.meanings, strict=True)):
        ax.annotate(score, (0, y + 0.4), xytext=(-8, 0), ha="right", va="center", color=INK, weight="bold", **side)
        ax.annotate(meaning, (0, y + 0.68), xytext=(-8, 0), ha="right", va="center", color=QUIET, fontsize=small,
                    **side)  # fmt: skip
    ax.annotate(rows.title, (0, 0), xytext=(-8, 6), ha="right", color=QUIET, fontsize=small, **side)
    ax.annotate(columns.title, (0, 0), xytext=(2, 38), ha="left", color=QUIET, fontsize=small, **side)


def shade(ramp: Sequence[str], part: float) -> tuple[float, float, float]:
    """The colour of a ramp at a place between 0 and 1."""
    from matplotlib.colors import to_rgb

    stops = [to_rgb(stop) for stop in ramp]
    place = min(1.0, max(0.0, part)) * (len(stops) - 1)
    k = min(int(place), len(stops) - 2)
    mixed = [a + (b - a) * (place - k) for a, b in zip(stops[k], stops[k + 1], strict=True)]
    return mixed[0], mixed[1], mixed[2]


def picture(words: tuple[str, str, str], drawing: Callable[[bool], Draw], size: Callable[[bool], Size]) -> Picture:
    """A drawing in both widths. words: title, label and caption; drawing, size: given whether it is the narrow one."""
    title, label, caption = words
    wide, narrow = (_svg(drawing(small), *size(small), label=label) for small in (False, True))
    return Picture(wide, narrow, caption, title)


def _svg(draw: Draw, width: int, height: int, *, label: str) -> Markup:
    """Draw into a figure of its own, in points that are pixels of the view box."""
    import matplotlib
    from matplotlib.figure import Figure

    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": f"sumroom {label} {width}",
        "font.size": 13,
        "hatch.linewidth": 1.2,
        "text.parse_math": False,
    }
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(width / 72, height / 72))
        figure.patch.set_visible(False)
        draw(figure)
        for ax in figure.axes:
            ax.patch.set_visible(False)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _bare(buffer.getvalue(), width, height, label)


def _bare(svg: str, width: int, height: int, label: str) -> Markup:
    """Only what a page needs: no prolog, namespaces, comments or style sheet; letters in the page's font.

    Ids of groups go too: nothing refers to them, and two pictures on one page would share them.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg).replace("xlink:href", "href")
    svg = re.sub(r"font: ((?:italic |bold |700 )*[0-9.]+px) [^;\"]*", r"font: \1 var(--sans)", svg)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: var(--sans)", svg)  # as matplotlib 3.11 spells it
    head = f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
    svg = re.sub(r"<svg[^>]*>", lambda _: head, svg, count=1)
    return Markup(re.sub(r"\s*\n\s*", "\n", svg))


def _text(number: Decimal, places: int | None, rounding: str) -> str:
    if places is not None:
        number = number.quantize(Decimal(1).scaleb(-places), rounding=rounding)
    if number == 0:
        number = abs(number)
    return f"{number:,f}".replace("-", _MINUS)
