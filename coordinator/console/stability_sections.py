"""The section that says how surely customers keep their segment."""

from __future__ import annotations

from protocols.plan import Plan

from .charts import Reading
from .sections import NOISY, Column, Make, Released, Section, Table

LEAD = (
    "Had the noise been drawn again, and other customers asked who are like these, some would be in another segment: "
    "those near a border between two. The figure is how probable it is, for the average customer of a segment, to stay "
    "in it. Each company's own file of its customers has it for every one of them."
)


def _stability(plan: Plan, released: Released) -> list[Section]:
    answer = released["seg-stability"].answer
    parts = {f"Segment {i}": one for i, one in enumerate(answer["segments"].values(), start=1)}
    rows = []
    for name, part in [*parts.items(), ("All", answer["all"])]:
        keeps = Reading.of(part["keeps"])
        shown = (
            [NOISY, ""] if keeps is None else [f"{keeps.percent().estimate(1)} %", keeps.percent().interval(1, " %")]
        )
        rows.append([name, *shown])
    columns = [Column("", "text"), Column("stays", "number"), Column("95 % interval", "number")]
    return [Section("How surely customers keep their segment", LEAD, [Table("Probability of staying", columns, rows)])]


STEPS: dict[str, tuple[str, Make]] = {
    "seg-stability": ("Segments: how surely customers keep theirs", _stability),
}
