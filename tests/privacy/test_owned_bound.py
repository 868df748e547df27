"""Where slots have owners: one person moves the slots of its own party by no more than the bound, and no others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.statistic import Integers, People, Sparse, Statistic, Step

MODEST = settings(deadline=None, derandomize=True, max_examples=200)
OWNERS = ("alpha", "beta", "gamma")
LEAST, MOST = -(2**63), 2**63 - 1
hostile = st.sampled_from([LEAST, LEAST + 1, -1, 0, 1, 2**31, 2**53 + 1, MOST]) | st.integers(-9, 9)


@st.composite
def steps(draw: st.DrawFn) -> Step:
    """An owned step whose rows are whatever its people's columns say, within the bound or far beyond it."""
    owners = draw(st.lists(st.sampled_from(OWNERS), min_size=1, max_size=3, unique=True))
    widths = [draw(st.integers(1, 3)) for _ in owners]
    parts = {o: tuple(f"s{i}" for i in range(width)) for o, width in zip(owners, widths, strict=True)}
    bound = draw(st.integers(1, 20))

    def rows(people: People, _: Mapping[str, Any]) -> Integers | Sparse:
        width = widths[int(people["owner"][0])]
        return np.stack([people[f"v{i}"] for i in range(width)], axis=1)

    part = draw(st.sampled_from([None, "seed"]))
    return Step("look", Statistic.owned(parts, 2, bound), rows, lambda *_: {}, takes_part=part)


@st.composite
def tables(draw: st.DrawFn) -> dict[str, Integers]:
    n = draw(st.integers(1, 6))
    columns = {name: draw(st.lists(hostile, min_size=n, max_size=n)) for name in ("v0", "v1", "v2")}
    columns |= {name: draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)) for name in ("usable", "seed")}
    return {name: np.array(values, dtype=np.int64) for name, values in columns.items()}


@MODEST
@given(step=steps(), people=tables(), party=st.sampled_from((*OWNERS, "delta")), data=st.data())
def test_one_person_moves_its_own_partys_part_by_the_bound_at_most_and_nothing_else(
    step: Step, people: dict[str, Integers], party: str, data: st.DataObject
) -> None:
    person = data.draw(st.integers(0, len(people["usable"]) - 1))
    rest = {name: np.delete(values, person) for name, values in people.items()}
    whole, less = (step.tally(party, one, {}).total.tolist() for one in (people, rest))
    moved = [a - b for a, b in zip(whole, less, strict=True)]
    own = step.statistic.own(party)
    others = [*moved[: own.start], *moved[own.stop :]]
    assert not any(others)
    assert not any([*whole[: own.start], *whole[own.stop :]])
    assert sum(x * x for x in moved[own]) <= step.statistic.bound_sq
    if step.takes_part == "seed" and people["seed"][person] != 1:
        assert not any(moved)
    elif own.stop > own.start:
        assert any(moved), "absent and zero must differ"


@MODEST
@given(step=steps(), people=tables())
def test_the_parts_of_all_parties_stand_side_by_side(step: Step, people: dict[str, Integers]) -> None:
    """What the masks leave of all parties' sums is each one's own, as if it had been asked alone."""
    total = sum(step.tally(party, people, {}).total for party in OWNERS)
    for party in dict.fromkeys(step.statistic.owners):
        own = step.statistic.own(party)
        assert step.statistic.slots[own][-1] == f"{party}/unusable"
        assert total[own].tolist() == step.tally(party, people, {}).total[own].tolist()
