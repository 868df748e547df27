"""The page about the overlap question is enough to compute every vector of it."""

from __future__ import annotations

from typing import Any

import pytest

from protocols.encoding import parse
from tests.specs import second, second_overlap
from tests.specs.readers import golden


def vector(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the vector, its plan)."""
    return parse(golden(f"overlap-question/good-{name}.json")), parse(golden(f"plan/good-overlap-of-{name}.json"))


@pytest.mark.parametrize("name", ["two", "three"])
def test_a_second_implementation_from_the_page_finds_lists_slots_rows_and_sums(name: str) -> None:
    document, plan = vector(name)
    sizes, cells = document["steps"]
    assert [sizes["slots"], cells["slots"]] == list(second_overlap.slots(plan))
    for party, persons in document["people"].items():
        rows = [second_overlap.size_row(plan, person) for person in persons]
        assert [[[slot, x] for slot, x in enumerate(row) if x] for row in rows] == sizes["rows"][party]
        times = [person["times"] for person in persons]
        exact = [sum(t * x for t, x in zip(times, column, strict=True)) for column in zip(*rows, strict=True)]
        assert exact == sizes["exact"][party]
    for step, parts in ((sizes, sizes["exact"].values()), (cells, [cells["matched"]])):
        assert step["noised"] == [sum(x) for x in zip(*parts, *step["noise"].values(), strict=True)]


@pytest.mark.parametrize("name", ["two", "three"])
def test_a_second_implementation_from_the_page_finds_the_figures_of_an_overlap(name: str) -> None:
    document, plan = vector(name)
    sizes, cells = document["steps"]
    of_sizes, of_cells = second_overlap.variances(plan)
    assert second_overlap.sizes(plan, sizes["noised"], of_sizes) == sizes["answer"]
    assert second_overlap.overlap(plan, cells["noised"], of_cells, sizes["answer"]) == cells["answer"]


def test_in_one_cell_of_the_vector_there_is_the_noise_of_its_two_parties_and_of_no_other() -> None:
    document, plan = vector("three")
    cells = document["steps"][1]
    for party in plan["parties"]:
        for slot, drawn in zip(cells["slots"], cells["noise"][party], strict=True):
            assert drawn == 0 or party in slot.split("/")[0].split("--")


def test_the_vector_of_three_meets_caps_that_bind_and_both_kinds_of_figure() -> None:
    answer = vector("three")[0]["steps"][1]["answer"]
    pairs = answer["pairs"].values()
    shares = [one["share"] for pair in pairs for of in pair["lists"].values() for one in of.values()]
    assert second.NOISY in shares
    assert any(share != second.NOISY for share in shares)
    moved = [leaf for pair in pairs for row in pair["cells"].values() for leaf in row.values()
             if float(leaf["consistent"]) != max(0, int(leaf["value"]))]  # fmt: skip
    assert moved
    indices = [leaf for pair in pairs for row in pair["index"].values() for leaf in row.values()]
    assert second.NOISY in indices
