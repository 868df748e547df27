"""How surely customers keep their segment, as a reader of the report sees it."""

from __future__ import annotations

from types import SimpleNamespace

from coordinator.console.sections import NOISY, Table
from coordinator.console.stability_sections import STEPS


def test_each_segment_has_its_probability_with_its_interval_or_says_that_it_is_too_noisy() -> None:
    surely = {"value": "0.912", "low": "0.881", "high": "0.944"}
    answer = {
        "all": {"keeps": {"value": "0.900", "low": "0.8765", "high": "0.9201"}},
        "segments": {"s1": {"keeps": surely}, "s2": {"keeps": {"value": "too noisy"}}},
    }
    title, make = STEPS["seg-stability"]
    assert title == "Segments: how surely customers keep theirs"
    (section,) = make(None, {"seg-stability": SimpleNamespace(answer=answer)})  # type: ignore[arg-type, dict-item]
    (table,) = section.blocks
    assert isinstance(table, Table)
    assert table.rows == [
        ["Segment 1", "91.2 %", "88.1 % to 94.4 %"],
        ["Segment 2", NOISY, ""],
        ["All", "90.0 %", "87.6 % to 92.1 %"],
    ]
