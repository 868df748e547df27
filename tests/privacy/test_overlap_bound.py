"""One person of one party moves the overlap by no more than its bound, in integers, whoever knows the person."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.questions import overlap, steps_of
from protocols.statistic import Noise, tally
from tests.protocols.overlap.crowd import exact_cells, exact_sizes, facts_of, question_of

PARTIES = ("alpha", "beta", "gamma", "delta")
VALUE = {"party": "beta", "feature": "spend_cents", "low": 0, "high": 100, "bins": 3}
MODEST = settings(deadline=None, derandomize=True, max_examples=200)
QUESTIONS = [question_of("segments"), question_of("column"), question_of("all"), question_of("all", value=VALUE)]


@st.composite
def rooms(draw: st.DrawFn) -> tuple[overlap.Plan, Any, dict[str, dict[int, int]]]:
    parties = PARTIES[: draw(st.integers(2, 4))]
    question, facts = draw(st.sampled_from(QUESTIONS)), facts_of(*sorted(parties))
    listed = {
        party: draw(
            st.dictionaries(
                st.integers(0, 9), st.integers(0, len(overlap.list_names(question, facts, party)) - 1), max_size=10
            )
        )
        for party in parties
    }
    return question, facts, listed


@MODEST
@given(room=rooms())
def test_one_person_at_one_party_moves_one_size_and_one_cell_of_each_of_its_pairs(
    room: tuple[overlap.Plan, Any, dict[str, dict[int, int]]],
) -> None:
    question, facts, listed = room
    (sizes, _), (cells, _) = steps_of(question, facts)
    assert (sizes.statistic.bound_sq, cells.statistic.bound_sq) == (1, len(facts.parties) - 1)
    whole = exact_sizes(question, facts, listed), exact_cells(question, facts, listed)
    assert [len(total) for total in whole] == [len(step.statistic.slots) for step in (sizes, cells)]
    for party in facts.parties:
        for person in listed[party]:
            less = {**listed, party: {p: at for p, at in listed[party].items() if p != person}}
            moved = [
                int(((a - b) ** 2).sum())
                for a, b in zip(
                    whole, (exact_sizes(question, facts, less), exact_cells(question, facts, less)), strict=True
                )
            ]
            assert moved[0] == 1
            assert moved[1] <= cells.statistic.bound_sq


def test_a_person_known_to_all_moves_as_much_as_the_bound() -> None:
    question, facts = question_of("all"), facts_of("alpha", "beta", "gamma")
    with_, without = (exact_cells(question, facts, dict.fromkeys(facts.parties, own)) for own in ({1: 0}, {}))
    assert with_.tolist() == [1, 1, 1]
    assert without.tolist() == [0, 0, 0]
    alone = exact_cells(question, facts, {"alpha": {}, "beta": {1: 0}, "gamma": {1: 0}})
    assert int(((with_ - alone) ** 2).sum()) == 2 == steps_of(question, facts)[1][0].statistic.bound_sq


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_tally_of_sizes_is_the_count_of_each_list_and_who_has_none_is_unusable(question: overlap.Plan) -> None:
    facts = facts_of("alpha", "beta")
    step, _ = steps_of(question, facts)[0]
    for number, party in enumerate(facts.parties):
        names = overlap.list_names(question, facts, party)
        at = np.array([-1, *range(len(names)), len(names), 0, 2**62], dtype=np.int64)
        people = {"list": at, "party": np.full(len(at), number), "usable": np.array([1] * (len(at) - 2) + [0, 1])}
        found = tally(step.statistic, people, lambda batch: step.contribute(batch, {}))
        by_name = dict(zip(step.statistic.slots, found.total.tolist(), strict=True))
        assert {slot for slot, count in by_name.items() if count} == {*(f"{party}/{n}" for n in names), "unusable"}
        assert all(by_name[f"{party}/{name}"] == 1 for name in names)
        assert by_name["unusable"] == 4
        assert found.over_bound == 0


def test_noise_is_that_of_two_parties_in_a_cell_however_many_there_are() -> None:
    question, facts = question_of("all"), facts_of(*sorted(PARTIES))
    sizes, cells = (step for step, _ in steps_of(question, facts))
    assert cells.noise(4, 9_000_000) == Noise(2, 9_000_000)
    assert sizes.noise(3, 9_000_000) == Noise(3, 9_000_000)
