"""The drawings of a lookalike: what each cut finds, counted and expected, and whether it reaches groups alike.

What was counted in the overlap and what the model itself expects are told apart by form, filled dot and hollow
diamond, and by word; what is only expected has no interval, and is never drawn without what was counted, or
`too noisy`, beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from protocols.figures import TOO_NOISY

from .charts import BAR, INK, NARROW, QUIET, RULE, WHISKER, WIDE, Draw, Picture, Reading, picture, veil

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COUNTED, EXPECTED, CHANCE = "counted in the overlap, 95 % interval", "the model’s preview, not counted", "by chance"
EXPECTED_INK = "#a85d00"  # told apart from WHISKER by form as well
FOUR_FIFTHS = 0.8


@dataclass(frozen=True)
class Cut:
    """One reach. counted: None where it is too noisy; chance: what drawing lots would give."""

    name: str
    counted: Reading | None
    preview: float
    chance: float
    suggested: bool


@dataclass(frozen=True)
class Panel:
    """What is drawn upwards. percent: whether numbers are shares, shown in per cent."""

    title: str
    cuts: Sequence[Cut]
    percent: bool


def fidelity(panels: Sequence[Panel], *, title: str, label: str, caption: str) -> Picture:
    """Reach against fidelity, a panel for each measure; beside one another where there is room."""
    return picture(
        (title, label, caption),
        lambda narrow: _draw_panels(panels, narrow),
        lambda narrow: (NARROW, 272 * len(panels) + 76) if narrow else (WIDE, 328),
    )


def ratios(rows: Sequence[tuple[str, Reading | None, str]], *, title: str, label: str, caption: str) -> Picture:
    """(group, ratio to the reference's rate, verdict) from top to bottom, and a line at four fifths."""
    return picture(
        (title, label, caption),
        lambda narrow: _draw_ratios(rows, narrow),
        lambda narrow: (NARROW, 48 * len(rows) + 36) if narrow else (WIDE, 34 * len(rows) + 36),
    )


# --- reach against fidelity -------------------------------------------------------------------------------------------


def _draw_panels(panels: Sequence[Panel], narrow: bool) -> Draw:
    def draw(figure: Any) -> None:
        width, height = (figure.get_size_inches() * 72).tolist()
        ax = _canvas(figure, width, height)
        key = 76.0 if narrow else 30.0
        _draw_key(ax, height - 14, narrow)
        across = width if narrow else width / len(panels)
        high = (height - key) / (len(panels) if narrow else 1)
        for i, panel in enumerate(panels):
            left = 0.0 if narrow else i * across
            bottom = height - key - high * (i + 1) if narrow else 0.0
            _draw_panel(ax, panel, (left + 42, bottom + 42, left + across - 10, bottom + high - 40))

    return draw


def _canvas(figure: Any, width: float, height: float) -> Axes:
    ax: Axes = figure.add_axes((0, 0, 1, 1))
    ax.set_xlim(0, width)
    ax.set_ylim(0, height)
    ax.set_axis_off()
    return ax


def _draw_key(ax: Axes, y: float, narrow: bool) -> None:
    x = 10.0
    for words, room in ((COUNTED, 310.0), (EXPECTED, 260.0), (CHANCE, 0.0)):
        if words == COUNTED:
            _draw_counted(ax, x, y, y - 8, y + 8)
        elif words == EXPECTED:
            _draw_expected(ax, x, y)
        else:
            ax.plot([x - 9, x + 9], [y, y], color=QUIET, linewidth=1.4, linestyle=(0, (3, 2)))
        ax.text(x + 14, y, words, ha="left", va="center", color=INK, fontsize=12)
        x, y = (x, y - 22) if narrow else (x + room, y)


def _draw_panel(ax: Axes, panel: Panel, box: tuple[float, float, float, float]) -> None:
    left, bottom, right, top = box
    most = max([1.0, *(max(c.preview, c.chance, float(c.counted.high) if c.counted else 0.0) for c in panel.cuts)])
    least = min([0.0, *(float(c.counted.low) for c in panel.cuts if c.counted)])
    step = (right - left) / len(panel.cuts)

    def at(value: float) -> float:
        return bottom + (top - bottom) * (value - least) / (most - least)

    ax.text(left - 34, top + 26, panel.title, ha="left", va="center", color=INK, weight="bold")
    for tick in _ticks(most, panel.percent):
        ax.plot([left, right], [at(tick), at(tick)], color=RULE, linewidth=0.8)
        ax.text(left - 6, at(tick), _plain(tick, panel.percent), ha="right", va="center", color=QUIET, fontsize=11)
    for i, cut in enumerate(panel.cuts):
        middle = left + (i + 0.5) * step
        bounds = [middle - 0.42 * step, middle + 0.42 * step]
        ax.plot(bounds, [at(cut.chance)] * 2, color=QUIET, linewidth=1.4, linestyle=(0, (3, 2)))
        _draw_expected(ax, middle + 0.2 * step, at(cut.preview))
        if cut.counted is None:
            veil(ax, (middle - 0.46 * step, bottom + 2), 0.54 * step, top - bottom - 4, narrow=True)
        else:
            reading = cut.counted
            low, value, high = (at(float(end)) for end in (reading.low, reading.value, reading.high))
            _draw_counted(ax, middle - 0.16 * step, value, low, high)
            shown = f"{reading.percent().estimate()} %" if panel.percent else reading.estimate(1)
            ax.text(middle - 0.16 * step, high + 10, shown, ha="center", va="center", color=INK, fontsize=12,
                    weight="bold" if cut.suggested else "normal")  # fmt: skip
        bold = "bold" if cut.suggested else "normal"
        ax.text(middle, bottom - 14, cut.name, ha="center", va="center", color=INK, fontsize=12, weight=bold)
        if cut.suggested:
            ax.text(middle, bottom - 30, "suggested", ha="center", va="center", color=WHISKER, fontsize=11)


def _draw_counted(ax: Axes, x: float, value: float, low: float, high: float) -> None:
    ax.plot([x, x], [low, high], color=WHISKER, linewidth=2.2, solid_capstyle="butt")
    for end in (low, high):
        ax.plot([x - 5, x + 5], [end, end], color=WHISKER, linewidth=1.6)
    ax.plot([x], [value], marker="o", markersize=8, markerfacecolor=WHISKER, markeredgecolor=WHISKER)


def _draw_expected(ax: Axes, x: float, value: float) -> None:
    ax.plot([x], [value], marker="D", markersize=6.5, markerfacecolor="#ffffff", markeredgecolor=EXPECTED_INK)


def _ticks(most: float, percent: bool) -> list[float]:
    if percent:
        return [0.0, 0.25, 0.5, 0.75, 1.0]
    step = next(step for step in (1, 2, 5, 10, 20, 50) if most / step <= 6 or step == 50)
    return [float(step * i) for i in range(int(most / step) + 1)]


def _plain(tick: float, percent: bool) -> str:
    return f"{100 * tick:.0f} %" if percent else f"{tick:.0f}"


# --- the audit --------------------------------------------------------------------------------------------------------


def _draw_ratios(rows: Sequence[tuple[str, Reading | None, str]], narrow: bool) -> Draw:
    def draw(figure: Any) -> None:
        width, height = (figure.get_size_inches() * 72).tolist()
        ax = _canvas(figure, width, height)
        left, right, foot = (8.0, width - 12, 28.0) if narrow else (182.0, width - 210, 28.0)
        most = max([1.25, *(float(r.high) for _, r, _ in rows if r is not None)])
        least = min([0.0, *(float(r.low) for _, r, _ in rows if r is not None)])

        def at(value: float) -> float:
            place: float = left + (right - left) * (value - least) / (most - least)
            return place

        for tick, words in ((0.0, "0"), (FOUR_FIFTHS, "0.8"), (1.0, "1")):
            line: Any = "-" if tick == FOUR_FIFTHS else (0, (3, 2))
            colour = INK if tick == FOUR_FIFTHS else RULE
            ax.plot([at(tick)] * 2, [foot, height - 4], color=colour, linewidth=1.2, linestyle=line)
            ax.text(at(tick), foot - 12, words, ha="center", va="center", color=QUIET, fontsize=11.5)
        step = (height - foot - 4) / len(rows)
        for i, (name, reading, verdict) in enumerate(rows):
            y = height - 4 - (i + 0.5) * step
            if narrow:
                ax.text(left, y + 14, f"{name}: {verdict}", ha="left", va="center", color=INK, fontsize=12)
                y -= 8
            else:
                ax.text(left - 14, y, name, ha="right", va="center", color=INK)
                ax.text(right + 14, y, verdict, ha="left", va="center", color=INK)
            _draw_ratio(ax, y, reading, at)

    return draw


def _draw_ratio(ax: Axes, y: float, reading: Reading | None, at: Any) -> None:
    if reading is None:
        ax.text(at(0.0) + 6, y, TOO_NOISY, ha="left", va="center", color=QUIET, style="italic", fontsize=12,
                bbox={"facecolor": "#ffffff", "edgecolor": "none", "pad": 1.5})  # fmt: skip
        return
    low, value, high = (at(float(end)) for end in (reading.low, reading.value, reading.high))
    ax.plot([low, high], [y, y], color=BAR, linewidth=7, solid_capstyle="butt")
    ax.plot([value], [y], marker="o", markersize=8, markerfacecolor=WHISKER, markeredgecolor=WHISKER)
