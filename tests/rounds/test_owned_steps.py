"""A step whose every slot is one party's alone: in it are that party's people and noise, and everybody is needed."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from party_node import card, contribution
from protocols import forecast, messages
from protocols.errors import RoundEnded
from protocols.plan import Plan
from protocols.questions import REGISTRY, rfm
from protocols.statistic import Integers, People, Statistic, Step
from tests.rounds import lab as rooms

RHO = 5_000_000  # σ = 10: nobody else's noise is counted on


def rows(people: People, _: Mapping[str, Any]) -> Integers:
    """Who bought lately, and who did not; of beta one slot more."""
    late = (people["recency_days"] <= 100).astype(np.int64)
    if people["owner"][0] == 1:
        return np.stack([late, 1 - late, np.zeros_like(late)], axis=1)
    return np.stack([late, 1 - late], axis=1)


def owned_step(**changes: Any) -> Step:
    parts = {"alpha": ("late", "early"), "beta": ("late", "early", "never")}
    given: dict[str, Any] = {"contribute": rows, "answer": lambda *_: {}, **changes}
    return Step("rfm-cuts", Statistic.owned(parts, scale=1, bound_sq=1), **given)


@pytest.fixture(params=["three", "five"])
def room(
    request: pytest.FixtureRequest, lab: ModuleType, template: Path, template_of_five: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[rooms.Room]:  # fmt: skip
    """A room whose one question has an owned step: of three parties, and of five that can do without one elsewhere."""
    monkeypatch.setitem(REGISTRY, "rfm", (rfm.Plan, lambda _, __: [(owned_step(), RHO)]))
    whole = request.param == "five"
    changes = lab.FOUR_OF_FIVE if whole else {}
    base = lab.copy(template_of_five if whole else template, tmp_path / "room")
    with lab.Room(base, lab.plan(**changes)) as made:
        yield made


def truth(party: str) -> list[int]:
    """How many people of a party bought in the last 100 days, and how many did not."""
    last: dict[str, dt.date] = {}
    for who, _, day, _, _ in rooms.rows_of(party):
        last[who] = max(day, last.get(who, day))
    late = sum((dt.date(2018, 1, 2) - day).days <= 100 for day in last.values())
    return [late, len(last) - late]


def test_the_sum_has_each_owners_people_in_its_own_slots_and_nobody_elses(
    room: rooms.Room, lab: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("party_node.share.add_noise", lab.NoNoise())
    (release,) = room.run()
    assert release.body_.noised == [*truth("alpha"), 0, *truth("beta"), 0, 0]
    assert release.body_.survivors == room.plan.parties


def test_in_a_slot_there_is_the_noise_of_its_owner_and_of_no_other(
    room: rooms.Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each party's noise is replaced by a number of its own: the sum has the owner's, once."""
    drawn: list[Any] = []

    def noise(total: Integers, *, bound_sq: int, variance_micro: int) -> Integers:
        drawn.append((len(total), bound_sq, variance_micro))
        return total + 1000 * len(drawn)

    monkeypatch.setattr("party_node.share.add_noise", noise)
    (release,) = room.run()
    (first, second) = (truth(party) for party in ("alpha", "beta"))
    assert release.body_.noised == [*(x + 1000 for x in [*first, 0]), *(x + 2000 for x in [*second, 0, 0])]
    assert drawn == [(3, 1, 100_000_000), (4, 1, 100_000_000)]


def test_nodes_that_start_again_before_every_word_draw_their_own_noise_once(
    room: rooms.Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []

    def noise(total: Integers, **_: int) -> Integers:
        drawn.append(len(total))
        return total + 1000 * len(drawn)

    def meddle(party: str, request: messages.Request) -> messages.Request:
        room.restart(party)
        return request

    monkeypatch.setattr("party_node.share.add_noise", noise)
    room.meddle = meddle
    (release,) = room.run()
    first, second = ([x + more for x in [*truth(party), 0]] for party, more in (("alpha", 1000), ("beta", 2000)))
    assert release.body_.noised == [*first, *second, 2000]
    assert drawn == [3, 4]


def test_whatever_a_fault_leaves_in_anothers_slots_leaves_as_zero(
    room: rooms.Room, lab: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("party_node.share.add_noise", lab.NoNoise())
    everywhere = contribution.Contribution(np.full(7, 5, dtype=np.int64), None)
    monkeypatch.setattr("party_node.participation.contribute", lambda *_: everywhere)
    (release,) = room.run()
    assert release.body_.noised == [5] * 7


def test_the_charge_counts_on_no_noise_but_the_owners_and_every_party_pays_it(room: rooms.Room) -> None:
    _, mechanism = room.plan.step("rfm-cuts")
    n = len(room.parties)
    assert (mechanism.quorum, mechanism.collusion, mechanism.variance) == (n, n - 1, "100")
    room.run()
    assert {room.spent(party) for party in room.parties} == {RHO}


@pytest.mark.parametrize("kind", [messages.Prepare, messages.Agree, messages.Contribute])
@pytest.mark.parametrize("lost", ["alpha", "gamma"])
def test_a_missing_party_ends_the_round_whether_it_owns_slots_or_none(room: rooms.Room, kind: type, lost: str) -> None:
    def meddle(party: str, request: messages.Request) -> messages.Request:
        if isinstance(request, kind) and party == lost:
            room.away.add(party)
        return request

    room.meddle = meddle
    with pytest.raises(RoundEnded, match="forfeited"):
        room.run()


def test_forecast_and_card_say_whose_the_numbers_are_and_that_all_pay_and_are_needed(room: rooms.Room) -> None:
    (said,) = forecast.steps(room.plan)
    assert (said.owners, said.sigma) == (("alpha", "beta"), 10.0)
    told = io.StringIO()
    card.show(room.plan, room.ledger.room, [], "waits", Console(file=told, width=500))
    assert "In rfm-cuts each number is of one party alone (alpha, beta)" in told.getvalue()
    assert "charged to every party all the same" in told.getvalue()
    if room.plan.quorum < len(room.parties):
        assert any(one.endswith("; for rfm-cuts all are needed") for one in card.warnings(room.plan))


def test_a_step_of_sums_is_said_to_be_nobodys_alone(lab: ModuleType) -> None:
    plan: Plan = lab.plan()
    assert [step.owners for step in forecast.steps(plan)] == [(), ()]
    assert not any("alone" in one and "rfm" in one for one in card.warnings(plan))
