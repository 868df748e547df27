"""The report adds up where it says so, and does not keep silent about rounds that ended early."""

from __future__ import annotations

import dataclasses

import pytest

from tests.coordinator.test_report import made, make_findings, make_page, plain_page, rows

LARGE = [2001, 4003, 1080, 3002, 5000, 1060, 6004, 1234]


@pytest.mark.parametrize(
    ("forfeits", "still_open", "said"),
    [
        (1, 0, "1 round of the room ended early and is forfeited: what was set aside is spent."),
        (2, 0, "2 rounds of the room ended early and are forfeited: what was set aside is spent."),
        (0, 1, "1 round is still open."),
        (0, 3, "3 rounds are still open."),
    ],
)
def test_rounds_that_did_not_come_to_their_end_are_in_the_banner(forfeits: int, still_open: int, said: str) -> None:
    findings = dataclasses.replace(make_findings(), forfeits=forfeits, open_rounds=still_open)
    assert said in make_page(findings=findings)


def test_a_room_whose_rounds_all_ended_well_has_no_word_of_forfeits() -> None:
    assert "forfeited" not in plain_page()
    assert "still open" not in plain_page()


def test_the_total_of_the_cohorts_is_the_sum_of_what_adds_up_and_of_the_heat_map() -> None:
    _, _, page = made(cohorts=LARGE)
    found = rows(page)
    (total,) = [cells for cells in found if cells[0] == "Total"]
    start = found.index(total)
    cohorts = [int(cells[4].replace(",", "")) for cells in found[start - 9 : start - 1]]
    cells = [int(cells[3].replace(",", "")) for cells in found if cells[0].startswith("R ") and len(cells) == 4]
    shown = int(total[4].replace(",", ""))
    assert len(cells) == 25
    # Each is rounded by itself: by half a customer at most.
    assert abs(sum(cohorts) - shown) <= 4 + 0.5
    assert abs(sum(cells) - shown) <= 12.5 + 0.5


def test_no_total_is_shown_where_a_cohort_is_too_noisy_to_be_shown() -> None:
    (total,) = [cells for cells in rows(plain_page()) if cells[0] == "Total"]
    assert total[1:] == ["Not given: a cohort is too noisy.", "", "", ""]
