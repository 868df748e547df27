"""One person moves what leaves a party by no more than the bound: any question, any rows, in integers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from protocols.plan import Plan
from protocols.questions import REGISTRY, Question, classes, overlap, rfm, segments, steps_of
from protocols.questions.segments.states import FIXED
from protocols.schema import Column, Schema
from protocols.statistic import Contribute, Facts, Integers, Noise, Rows, Sparse, Statistic, Step, one_hot, tally
from tests.privacy import lookalike_cases as audiences

DEMO = Path(__file__).resolve().parents[1] / "plans" / "rfm.toml"
PLAN = Plan.from_toml(DEMO.read_bytes())
MODEST = settings(deadline=None, derandomize=True, max_examples=50)

LEAST, MOST = -(2**63), 2**63 - 1
EXTREMES = (LEAST, LEAST + 1, -1, 0, 1, 2, 99, 100, 2**31, 2**53 + 1, MOST - 1, MOST)
FEATURES = ("recency_days", "baskets", "spend_cents", "discounted_baskets", "usable")
People = dict[str, Integers]
FACTS = Facts(
    parties=("alpha", "beta", "gamma"),
    people_cap=10**6,
    table=Schema(name="sales", columns={"tier": Column(type="category", values=["gold", "plain", "other"])}),
    features=FEATURES,
    keyed=True,
    segments=4,
)


def tallied(question: Question) -> list[Step]:
    """The steps that are sums over people, by owner. The others are in `test_overlap_bound.py`."""
    return [part for step, _ in steps_of(question, FACTS) if step.statistic.tallied for part in audiences.parts(step)]


# -- what is asked of whom ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A question, whom it is asked about (hostile people included), what earlier steps may have released."""

    question: Question
    person: st.SearchStrategy[dict[str, int]]
    earlier: st.SearchStrategy[dict[str, Any]]


def hostile() -> st.SearchStrategy[int]:
    return st.sampled_from(EXTREMES) | st.integers(LEAST, MOST)


def any_person() -> st.SearchStrategy[dict[str, int]]:
    ordinary = st.fixed_dictionaries(
        {
            "recency_days": st.integers(0, 400),
            "baskets": st.integers(1, 300),
            "spend_cents": st.integers(-(10**5), 10**7),
            "discounted_baskets": st.integers(0, 300),
            "usable": st.just(1),
        }
    )
    any_at_all = st.fixed_dictionaries({name: hostile() for name in FEATURES})
    unusable = st.fixed_dictionaries({name: st.just(0) for name in FEATURES})
    return ordinary | any_at_all.map(lambda person: {**person, "usable": 1}) | any_at_all | unusable


@st.composite
def rfm_answers(draw: st.DrawFn, question: rfm.Plan) -> dict[str, Any]:
    """An answer to each step, as some noised sum would give it: clear, empty and absurd ones."""
    earlier: dict[str, Any] = {}
    for step in tallied(question):
        top = draw(st.sampled_from([0, 10, 5000, 2**40]))
        slots = len(step.statistic.slots)
        noised = draw(st.lists(st.integers(-top // 20, top), min_size=slots, max_size=slots))
        earlier[step.name] = step.answer(np.array(noised, dtype=np.int64), Noise(1, 9_000_000), earlier)
    return earlier


def within(most: float, least: float | None = None) -> st.SearchStrategy[int]:
    """A real number of a state, in integers of 2⁻²⁴, its ends more often than the rest."""
    high, low = int(most * FIXED), int((-most if least is None else least) * FIXED)
    return st.sampled_from([low, high, max(low, 0), max(low, 1)]) | st.integers(low, high)


@st.composite
def segment_states(draw: st.DrawFn, plan: segments.Plan) -> dict[str, Any]:
    """A state after each step that a node accepts, foolish ones included: no bound may depend on it."""
    d, reach = plan.dimensions, 4.0 * plan.dimensions**0.5

    def reals(count: int, most: float, least: float | None = None) -> list[int]:
        return draw(st.lists(within(most, least), min_size=count, max_size=count))

    def clusters(most: int) -> dict[str, Any]:
        c = draw(st.integers(1, most))
        radius = draw(within(reach / 2, 1 / FIXED))
        centres = [reals(d, 1.0) for _ in range(c)]
        return {"centres": centres, "radius": radius, "count": reals(c, 2.0**27), "deviation": reals(c, 2.0**27)}

    p = draw(st.integers(1, d))
    cells = draw(st.lists(st.integers(1, 2), min_size=p, max_size=p))
    grid = {"mean": reals(d, 1.0), "axes": [reals(d, 1.0) for _ in range(p)], "low": reals(p, reach)}
    grid |= {"width": reals(p, reach, 1 / FIXED), "cells": cells, "deviation": reals(p, reach), "people": 9}
    grid |= {"residual": draw(within(float(d)))}
    radius = draw(within(reach / 2, 1 / FIXED))
    spread = {"mean": reals(d, 1.0), "radius": radius, "people": 9, "variance": reals(d, 1.0)}
    boxes = draw(st.sets(st.integers(0, int(np.prod(cells)) - 1), min_size=1, max_size=3))
    split = [[box, 9, *draw(st.lists(st.integers(1, 2), min_size=p, max_size=p))] for box in sorted(boxes)]
    states: dict[str, Any] = {"seg-moments": grid if plan.rho.covariance is None else spread, "seg-covariance": grid}
    states |= {"seg-coarse": {"split": split}, "seg-fine": clusters(plan.over_clusters)}
    states |= {name: clusters(plan.clusters) for name in ("seg-over", *plan.lloyd_names())}
    earlier = {name: {"state": state} for name, state in states.items()}
    for step in tallied(plan):
        if step.check_state is not None:
            step.check_state(states[step.name], earlier)
    return earlier


def segments_plan(features: list[tuple[str, str, int, int]]) -> segments.Plan:
    names = ("name", "transform", "low", "high")
    rho = dict.fromkeys(("moments", "coarse", "fine", "over", "lloyd", "profile"), 10**6)
    return segments.Plan.model_validate(
        {
            "rho": rho | ({"covariance": 10**6} if len(features) > 2 else {}),
            "features": [dict(zip(names, feature, strict=True)) for feature in features],
            "clusters": 2,
            "lloyd_rounds": 2,
            "coarse_cells": 64,
            "fine_cells": 64,
        }
    )


TWO = [("recency_days", "identity", 0, 365), ("spend_cents", "log1p", 0, 10**6)]
FOUR = [*TWO, ("baskets", "log1p", 1, 300), ("discounted_baskets", "identity", -(2**40), 2**40)]


def the_cases() -> dict[str, list[Case]]:
    (cohorts,) = (q for q in PLAN.questions if isinstance(q, rfm.Plan))
    found = {"rfm": [Case(cohorts, any_person(), rfm_answers(cohorts))]}
    plans = [segments_plan(features) for features in (TWO, FOUR)]
    found["segments"] = [Case(plan, any_person(), segment_states(plan)) for plan in plans]
    found["classes"] = [Case(classes_plan(), any_person(), st.just({}))]
    found["overlap"] = [Case(plan, any_listed(), st.just({})) for plan in overlap_plans()]
    audience = audiences.plan()
    found["lookalike"] = [Case(audience, audiences.persons(hostile()), audiences.released(audience))]
    return found


def classes_plan() -> classes.Plan:
    """Cuts at both ends of what a feature can be, so that hostile people are in every level."""
    cuts = {"recency_days": [0, 30], "baskets": [-(2**40), 4, 2**40], "spend_cents": [-1, 0, 5000]}
    items = [{"feature": name, "cuts": own} for name, own in cuts.items()]
    return classes.Plan.model_validate({"rho": {"patterns": 10**6}, "items": items, "classes": 3})


def overlap_plans() -> list[overlap.Plan]:
    rho = {"sizes": 10**6, "pairs": 10**7}
    by = [{"by": "segments"}, {"by": "column", "column": "tier"}, {"by": "all"}]
    value = {"party": "beta", "feature": "spend_cents", "low": 0, "high": 100, "bins": 3}
    more: list[dict[str, Any]] = [{}, {}, {"value": value}]
    return [
        overlap.Plan.model_validate({"rho": rho, "lists": lists, **with_value})
        for lists, with_value in zip(by, more, strict=True)
    ]


def any_listed() -> st.SearchStrategy[dict[str, int]]:
    number = st.integers(-1, 5) | hostile()
    return st.fixed_dictionaries({"list": number, "party": number, "usable": st.sampled_from([0, 1, 1, 1])})


CASES = the_cases()


def cases_of(kind: str) -> list[Case]:
    if kind not in CASES:
        pytest.fail(f"question {kind!r} is registered, but nothing here checks how far one person moves it")
    return CASES[kind]


def bound_to(step: Step, earlier: dict[str, Any]) -> Contribute:
    return lambda batch: step.contribute(batch, earlier)


def table_of(persons: list[dict[str, int]]) -> People:
    names = persons[0].keys()
    return {name: np.array([person[name] for person in persons], dtype=np.int64) for name in names}


def without(people: Mapping[str, Integers], person: int) -> People:
    return {name: np.delete(values, person) for name, values in people.items()}


# -- the checkers ------------------------------------------------------------------------------------------------------


def squared(difference: list[int]) -> int:
    return sum(entry * entry for entry in difference)


def difference(statistic: Statistic, contribute: Contribute, people: People, person: int) -> list[int]:
    """f(D) − f(D∖p) in Python's integers, which never wrap."""
    whole = tally(statistic, people, contribute).total
    rest = tally(statistic, without(people, person), contribute).total
    return [int(a) - int(b) for a, b in zip(whole, rest, strict=True)]


def check_bounded(statistic: Statistic, contribute: Contribute, tables: list[tuple[People, int]]) -> None:
    """`tables`: per party its people, and which of them is the one person who is known to all these parties."""
    moved = [difference(statistic, contribute, people, person) for people, person in tables]
    for alone in moved:
        assert squared(alone) <= statistic.bound_sq, "one party's sum moved by more than the bound"
    together = squared([sum(entries) for entries in zip(*moved, strict=True)])
    assert together <= len(tables) ** 2 * statistic.bound_sq, "the sum over parties moved by more than m times it"


def check_every_person(statistic: Statistic, contribute: Contribute, people: People) -> None:
    for person in range(len(people["usable"])):
        check_bounded(statistic, contribute, [(people, person)])


def dense(rows: Rows, width: int) -> Integers:
    return rows.dense(width) if isinstance(rows, Sparse) else rows


def check_row_by_row(statistic: Statistic, contribute: Contribute, people: People, order: list[int]) -> None:
    """A row depends on its own person: alone, or among others in any order, it is the same row."""
    width = len(statistic.slots) - 1
    rows = dense(contribute(people), width)
    for i in range(len(order)):
        alone = dense(contribute({name: values[i : i + 1] for name, values in people.items()}), width)
        assert np.array_equal(alone[0], rows[i]), "a row depends on other people"
    shuffled = dense(contribute({name: values[order] for name, values in people.items()}), width)
    assert np.array_equal(shuffled, rows[order]), "a row depends on its place"


# -- every registered question -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(REGISTRY))
def test_one_person_at_one_or_more_parties_moves_no_step_by_more_than_its_bound(kind: str) -> None:
    for case in cases_of(kind):
        table = st.lists(case.person, min_size=1, max_size=8).flatmap(
            lambda persons: st.tuples(st.just(table_of(persons)), st.integers(0, len(persons) - 1))
        )
        _check_bounds(case, st.lists(table, min_size=1, max_size=3))


def _check_bounds(case: Case, tables_of_parties: st.SearchStrategy[list[tuple[People, int]]]) -> None:
    @MODEST
    @given(tables=tables_of_parties, earlier=case.earlier)
    def check(tables: list[tuple[People, int]], earlier: dict[str, Any]) -> None:
        for step in tallied(case.question):
            check_bounded(step.statistic, bound_to(step, earlier), tables)

    check()


@pytest.mark.parametrize("kind", sorted(REGISTRY))
def test_no_row_of_a_question_breaks_its_own_bound_and_each_depends_on_one_person(kind: str) -> None:
    for case in cases_of(kind):
        persons = st.lists(case.person, min_size=1, max_size=8)
        _check_rows(case, persons.flatmap(lambda p: st.tuples(st.just(table_of(p)), st.permutations(range(len(p))))))


def _check_rows(case: Case, table_and_order: st.SearchStrategy[tuple[People, list[int]]]) -> None:
    @MODEST
    @given(drawn=table_and_order, earlier=case.earlier)
    def check(drawn: tuple[People, list[int]], earlier: dict[str, Any]) -> None:
        people, order = drawn
        for step in tallied(case.question):
            assert tally(step.statistic, people, bound_to(step, earlier)).over_bound == 0, step.name
            check_row_by_row(step.statistic, bound_to(step, earlier), people, list(order))

    check()


@pytest.mark.parametrize("kind", sorted(REGISTRY))
def test_a_question_counts_every_person_once_in_its_own_slots_or_as_unusable(kind: str) -> None:
    for case in cases_of(kind):
        _check_counted(case)


def _check_counted(case: Case) -> None:
    @MODEST
    @given(person=case.person, earlier=case.earlier)
    def check(person: dict[str, int], earlier: dict[str, Any]) -> None:
        for step in tallied(case.question):
            total = tally(step.statistic, table_of([person]), bound_to(step, earlier)).total
            assert np.any(total != 0)
            assert total[-1] in (0, step.statistic.unusable_entry)
            assert total[-1] == 0 or not np.any(total[:-1])

    check()


# -- the checkers can fail ---------------------------------------------------------------------------------------------

CELLS = Statistic((*(f"fifth{i}/{flag}" for i in range(5) for flag in ("no", "yes")), "unusable"), 1, 1)


def by_rank(people: Mapping[str, Integers]) -> Integers:
    """A question that must never be written: fifths by rank among the people who happen to be there."""
    rank = np.argsort(np.argsort(people["spend_cents"], kind="stable"), kind="stable")
    return one_hot(rank * 5 // len(rank) * 2 + (people["baskets"] > 1), 10, 1)


def by_mean(people: Mapping[str, Integers]) -> Integers:
    """Another: who spends more than the mean of those who happen to be there."""
    return one_hot((people["spend_cents"] > people["spend_cents"].mean()).astype(np.int64), 10, 1)


def ten_spenders() -> People:
    """Two with one basket, two with two, and so on; one of them spends more than all others together."""
    spend = [1, 2, 3, 4, 5, 6, 7, 8, 9, 1000]
    return table_of(
        [dict.fromkeys(FEATURES, 1) | {"spend_cents": s, "baskets": 1 + i // 2 % 2} for i, s in enumerate(spend)]
    )


@pytest.mark.parametrize("bad", [by_rank, by_mean])
def test_the_same_checkers_catch_a_question_whose_cells_depend_on_other_people(bad: Contribute) -> None:
    people = ten_spenders()
    assert tally(CELLS, people, bad).over_bound == 0  # each row is within the bound: only the checkers can tell
    with pytest.raises(AssertionError, match="more than the bound"):
        check_every_person(CELLS, bad, people)
    with pytest.raises(AssertionError, match="other people"):
        check_row_by_row(CELLS, bad, people, list(range(10)))


def test_a_question_without_an_entry_here_fails() -> None:
    with pytest.raises(pytest.fail.Exception, match="is registered, but nothing here checks"):
        cases_of("a-question-of-tomorrow")


# -- a question's mistake costs usefulness, not privacy ----------------------------------------------------------------


@st.composite
def any_rows(draw: st.DrawFn) -> tuple[Statistic, Integers, int]:
    width = draw(st.integers(1, 4))
    statistic = Statistic((*(f"slot{i}" for i in range(width)), "unusable"), draw(st.integers(1, 3)), draw(bounds()))
    entry = st.integers(-3, 3) | st.sampled_from([LEAST, MOST, 2**32, -(2**32), 2**31, 3037000500]) | hostile()
    rows = draw(st.lists(st.lists(entry, min_size=width, max_size=width), min_size=1, max_size=6))
    return statistic, np.array(rows, dtype=np.int64), draw(st.integers(0, len(rows) - 1))


def bounds() -> st.SearchStrategy[int]:
    return st.sampled_from([1, 2, 3, 5, 16, 2**32])


def looked_up(rows: Integers) -> tuple[People, Contribute]:
    """People whose row in a question is whatever the table says."""
    people = {"usable": np.ones(len(rows), dtype=np.int64), "who": np.arange(len(rows), dtype=np.int64)}
    return people, lambda batch: rows[batch["who"]]


@MODEST
@given(drawn=any_rows())
@example(drawn=(Statistic(("a", "unusable"), 1, 3), np.array([[2**32]]), 0))  # its square wraps around to zero
@example(drawn=(Statistic(("a", "unusable"), 1, 3), np.array([[LEAST]]), 0))
def test_whatever_rows_a_question_returns_the_sum_keeps_its_bound(drawn: tuple[Statistic, Integers, int]) -> None:
    statistic, rows, person = drawn
    people, look_up = looked_up(rows)
    check_bounded(statistic, look_up, [(people, person)] * 2)
    broken = sum(squared([int(x) for x in row]) > statistic.bound_sq for row in rows)
    assert tally(statistic, people, look_up).over_bound == broken


def test_a_row_over_the_bound_is_counted_as_unusable_and_the_others_stay() -> None:
    statistic = Statistic(("a", "b", "unusable"), scale=1, bound_sq=3)
    people, look_up = looked_up(np.array([[1, 1], [2, 0], [1, -1], [0, 0]], dtype=np.int64))
    result = tally(statistic, people, look_up)
    assert result.total.tolist() == [2, 0, 2]
    assert result.over_bound == 1  # the row of zeros is unusable too, but broke nothing


def test_the_hostile_people_reach_every_cohort_rule_and_the_unusable_slot() -> None:
    """So that the table above is no table of one kind of person."""
    cohorts, _ = PLAN.step("rfm-cohorts")
    cuts = {f: {f"p{t}": {"edge": {"value": "too noisy"}} for t in rfm.TARGETS} for f in rfm.FEATURES}
    seen: set[int] = set()

    @settings(deadline=None, derandomize=True, max_examples=400)
    @given(person=any_person())
    def collect(person: dict[str, int]) -> None:
        total = tally(cohorts.statistic, table_of([person]), bound_to(cohorts, {"rfm-cuts": cuts})).total
        seen.update(int(i) for i in np.flatnonzero(total) if i >= 25)

    collect()
    assert len(seen) >= 7
