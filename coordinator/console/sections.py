"""What a section of the report is made of: a heading, a sentence, tables and drawings. Cells are text or markup."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from markupsafe import Markup

from protocols.plan import Plan
from protocols.release import Body

from .charts import Picture, Reading

NOISY = Markup('<a class="noisy" href="#too-noisy">too noisy</a>')
TWO_LINES = Markup("{}<br><small>{}</small>")
MOST_ROWS = 48


@dataclass(frozen=True)
class Column:
    title: str
    kind: str = "text"


@dataclass(frozen=True)
class Table:
    """Rows of text, the first cell of each its name. folded: behind a line that opens it."""

    kind: ClassVar[str] = "table"
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    note: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Card:
    """title, a line below it, a paragraph, and (what, value) lines."""

    title: str
    below: str
    paragraph: str
    facts: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Cards:
    """Cards next to one another where there is room."""

    kind: ClassVar[str] = "cards"
    cards: Sequence[Card]
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A heading with what stands below it. beside: the blocks stand next to one another where there is room."""

    title: str
    lead: str
    blocks: Sequence[Table | Picture | Cards]
    beside: bool = False


Released = Mapping[str, Body]
Make = Callable[[Plan, Released], list[Section]]


def cells(figure: Mapping[str, str], places: int | None = 0) -> list[str]:
    """Estimate, interval and consistent value: three cells of a row."""
    reading = Reading.of(figure)
    if reading is None:
        return [NOISY, "", ""]
    return [reading.estimate(places), reading.interval(places), reading.settled(places)]
