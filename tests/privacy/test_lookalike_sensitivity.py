"""One person moves what leaves a party of the lookalike question by no more than the bound, and nobody else's part of
it at all: hostile values, any state that a check accepts. And where that ends: labels by an owner's exact rows, and a
seed that a classifier trained on it has cleaned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import IntegrityError
from protocols.feature import Feature
from protocols.questions.lookalike import audit, background, scorer, space
from protocols.questions.lookalike.scorer import Scorer
from protocols.questions.lookalike.space import Space
from protocols.statistic import Integers, People, Rows, Sparse, Statistic, tally

LEAST, MOST = -(2**63), 2**63 - 1
MODEST = settings(deadline=None, derandomize=True, max_examples=60)
FEATURES = [
    Feature(name="days", transform="identity", low=0, high=365),
    Feature(name="member", transform="identity", low=0, high=1),
    Feature(name="spend", transform="log1p", low=0, high=10**8),
    Feature(name="wide", transform="identity", low=-(2**40), high=2**40),
    Feature(name="far", transform="log1p", low=10**6, high=2**40),
]
ATTRIBUTES = [
    audit.Attribute("age", ("young", "old", "unknown"), "old"),
    audit.Attribute("tier", ("gold", "unknown"), "gold"),
]
DIMENSIONS = (1, 2, 3, 5)


@dataclass(frozen=True)
class Leaving:
    """One statistic and what a batch of people contributes to it."""

    name: str
    statistic: Statistic
    rows: Callable[[People], Rows]


# -- whom, and from which states ---------------------------------------------------------------------------------------


def values(feature: Feature) -> st.SearchStrategy[int]:
    """On the borders of cells and beside them, at the bounds, at the ends of 64 bits: there 1e308 is held."""
    borders = st.sampled_from(space.starts(feature).tolist())
    beside = st.tuples(borders, st.sampled_from([-1, 0, 1])).map(sum)
    ends = st.sampled_from([LEAST, LEAST + 1, int(-0.0), feature.low, feature.high, 2**53 + 1, MOST - 1, MOST])
    return beside | ends | st.integers(feature.low, feature.high) | st.integers(LEAST, MOST)


@st.composite
def tables(draw: st.DrawFn, features: list[Feature], most: int = 7) -> People:
    """What could not be read was marked before: such people have no values that count."""
    n = draw(st.integers(1, most))
    columns = {f.name: draw(st.lists(values(f), min_size=n, max_size=n)) for f in features}
    columns["usable"] = draw(st.lists(st.sampled_from([1, 1, 1, 1, 0, 2, LEAST]), min_size=n, max_size=n))
    for one in ATTRIBUTES:
        columns[one.name] = draw(st.lists(st.integers(0, len(one.groups) - 1), min_size=n, max_size=n))
    return {name: np.array(column, dtype=np.int64) for name, column in columns.items()}


def any_of(least: int, most: int) -> st.SearchStrategy[int]:
    return st.sampled_from([least, most, max(least, min(0, most))]) | st.integers(least, most)


@st.composite
def spaces(draw: st.DrawFn, features: list[Feature]) -> Space:
    """Any that its check accepts. Scores of cells follow from a few numbers: hypothesis draws no thousand."""
    state: dict[str, Any] = {"scores": [], "bins": []}
    for feature in features:
        many = len(space.starts(feature))
        few = draw(st.lists(any_of(-space.FARTHEST, space.FARTHEST), min_size=1, max_size=5))
        state["scores"].append([few[i % len(few)] for i in range(many)])
        firsts = draw(st.sets(st.integers(0, many - 1), max_size=space.bins_of(feature) - 1))
        state["bins"].append(sorted({0, *firsts})[: space.bins_of(feature)])
    return Space.read(state, features)


@st.composite
def scorers(draw: st.DrawFn, made: Space) -> Scorer:
    few = draw(st.lists(any_of(-scorer.HEAVIEST, scorer.HEAVIEST), min_size=1, max_size=6))
    edges = draw(st.lists(any_of(-scorer.FARTHEST, scorer.FARTHEST), min_size=1, max_size=63))
    state: dict[str, Any] = {"weights": [few[i % len(few)] for i in range(made.places.length)]}
    state |= {"edges": sorted(edges[i % len(edges)] for i in range(63)), "preview": [0] * 5, "evidence": 0}
    return Scorer.read(state | {"people": 0, "drivers": [0] * made.d}, made)


def all_that_leaves(made: Space, judge: Scorer, within: int) -> list[Leaving]:
    features = made.features

    def audited(people: People) -> Rows:
        groups = [people[one.name] for one in ATTRIBUTES]
        return audit.rows(ATTRIBUTES, groups, (judge.cells(people) < within).astype(np.int64))

    return [
        Leaving("edges", space.edges_statistic(features), lambda people: space.edges_rows(features, people)),
        Leaving("background", background.statistic(features), lambda people: background.rows(made, people)),
        Leaving("seed", space.seed_statistic(features), made.rows),
        Leaving("scores", scorer.scores_statistic(), lambda people: scorer.scores_rows(judge, people)),
        Leaving("audit", audit.statistic(ATTRIBUTES), audited),
    ]


@st.composite
def situations(draw: st.DrawFn) -> tuple[People, list[Leaving], Scorer]:
    features = FEATURES[: draw(st.sampled_from(DIMENSIONS))]
    made = draw(spaces(features))
    judge = draw(scorers(made))
    return draw(tables(features)), all_that_leaves(made, judge, draw(st.integers(1, 63))), judge


# -- the bounds --------------------------------------------------------------------------------------------------------


def part(people: People, which: Any) -> People:
    return {name: column[which] for name, column in people.items()}


def moved_by(leaving: Leaving, people: People, person: int) -> int:
    """‖f(D) − f(D∖p)‖² in Python's integers, which never wrap."""
    rest = [i for i in range(len(people["usable"])) if i != person]
    with_person = tally(leaving.statistic, people, leaving.rows).total.tolist()
    without = tally(leaving.statistic, part(people, rest), leaving.rows).total.tolist()
    return sum((a - b) ** 2 for a, b in zip(with_person, without, strict=True))


@MODEST
@given(situation=situations())
def test_one_person_moves_each_sum_by_no_more_than_its_bound(situation: tuple[People, list[Leaving], Scorer]) -> None:
    people, leaving, _ = situation
    for one in leaving:
        assert tally(one.statistic, people, one.rows).over_bound == 0, one.name
        for person in range(len(people["usable"])):
            assert 0 < moved_by(one, people, person) <= one.statistic.bound_sq, one.name


def in_bytes(rows: Rows, width: int) -> list[bytes]:
    dense = rows.dense(width) if isinstance(rows, Sparse) else rows
    return [row.tobytes() for row in dense]


@MODEST
@given(situation=situations(), data=st.data())
def test_a_persons_part_of_everything_that_leaves_is_the_same_bits_in_any_company(
    situation: tuple[People, list[Leaving], Scorer], data: st.DataObject
) -> None:
    """So that removing one moves nothing but that person's own contribution."""
    people, leaving, judge = situation
    n = len(people["usable"])
    order = data.draw(st.permutations(range(n)))
    for one in leaving:
        width = len(one.statistic.slots) - 1
        whole = in_bytes(one.rows(people), width)
        for size in range(1, n + 1):
            batches = [order[start : start + size] for start in range(0, n, size)]
            found = [row for batch in batches for row in in_bytes(one.rows(part(people, batch)), width)]
            assert found == [whole[i] for i in order], one.name
    scores = judge.scores(people)
    assert [judge.scores(part(people, [i])).tolist() for i in range(n)] == [[x] for x in scores.tolist()]


@MODEST
@given(situation=situations())
def test_a_score_is_the_product_of_phi_and_the_weights_in_integers(
    situation: tuple[People, list[Leaving], Scorer],
) -> None:
    people, _, judge = situation
    rows, weights = judge.space.rows(people).tolist(), judge.weights.tolist()
    exact = [sum(a * b for a, b in zip(row, weights, strict=True)) for row in rows]
    assert max(map(abs, exact)) < 2**62
    assert judge.scores(people).tolist() == exact


@pytest.mark.parametrize("d", DIMENSIONS)
def test_no_batchs_size_or_place_changes_a_bit_before_truncation(d: int) -> None:
    features, draw = FEATURES[:d], np.random.default_rng(5)
    crowd = {f.name: draw.integers(f.low, f.high + 1, 600) for f in features}
    scores = tuple(draw.integers(-space.FARTHEST, space.FARTHEST, len(space.starts(f))) for f in features)
    made = Space(tuple(features), scores, tuple(np.array([0]) for _ in features))

    def columns(people: People) -> tuple[list[Any], list[Any]]:
        z = made.z(list(space.cells(features, people)))
        return made.moments(z), list(made.phases(z))

    moments, phases = columns(crowd)
    for size in (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 255, 511):
        for start in (0, 1, 5):
            some = slice(start, start + size)
            found, turned = columns(part(crowd, some))
            assert all(a.tobytes() == b[some].tobytes() for a, b in zip(found, moments, strict=True))
            assert all(a.tobytes() == b[some].tobytes() for a, b in zip(turned, phases, strict=True))


# -- where the bound ends ----------------------------------------------------------------------------------------------


def a_crowd(n: int, seed: int) -> tuple[Space, People]:
    draw, features = np.random.default_rng(seed), FEATURES[:3]
    people = {f.name: draw.integers(f.low, min(f.high, 10**4) + 1, n) for f in features}
    scores = tuple(np.linspace(-2, 2, len(space.starts(f))) * space.ONE for f in features)
    made = Space(tuple(features), tuple(s.astype(np.int64) for s in scores), tuple(np.array([0]) for _ in features))
    return made, people | {"usable": np.ones(n, dtype=np.int64)}


def cleaned(rows: Integers, keep: int) -> Integers:
    """The seed's people nearest to its own mean: a classifier trained on the seed, that decides who stays in it."""
    away = ((rows - rows.mean(axis=0)) ** 2).sum(axis=1)
    return np.sort(np.argsort(away, kind="stable")[:keep])


def test_a_seed_cleaned_by_what_was_trained_on_it_breaks_the_bound() -> None:
    """Removing one person changes who of the others stays: Δ² is far above 1, whatever φ is."""
    made, people = a_crowd(60, seed=2)
    rows = made.rows(people)
    worst = 0.0
    for person in range(60):
        rest = np.delete(rows, person, axis=0)
        kept = rows[cleaned(rows, 40)].sum(axis=0) - rest[cleaned(rest, 40)].sum(axis=0)
        worst = max(worst, float((kept.astype(object) ** 2).sum()) / space.SCALE**2)
    assert worst > 2


def test_a_seed_cleaned_by_a_released_scorer_keeps_it() -> None:
    """The legal way: who stays is a function of that person's own row and of numbers released before."""
    made, people = a_crowd(60, seed=2)
    weights = np.random.default_rng(1).integers(-scorer.WEIGHT, scorer.WEIGHT, made.places.length)
    judge = Scorer(made, weights, np.zeros(63, dtype=np.int64), (0,) * 5, 0, 0, (0,) * 3)

    def total(which: list[int]) -> Integers:
        some = part(people, which)
        return made.rows(some)[judge.scores(some) > 0].sum(axis=0)

    everybody = list(range(60))
    for person in everybody:
        moved = total(everybody) - total([i for i in everybody if i != person])
        assert (moved**2).sum() <= space.SCALE**2


def test_labels_by_an_owners_exact_rows_would_move_others_between_cells() -> None:
    """Why all that leaves is labelled by the public score: cut at the owner's own quantiles, one absence moves many."""
    made, people = a_crowd(400, seed=4)
    weights = np.random.default_rng(1).integers(-scorer.WEIGHT, scorer.WEIGHT, made.places.length)
    judge = Scorer(made, weights, np.zeros(63, dtype=np.int64), (0,) * 5, 0, 0, (0,) * 3)

    def histogram(which: Integers) -> Integers:
        scores = judge.scores(part(people, which))
        edges = np.quantile(scores, np.arange(1, 64) / 64)
        return np.bincount(np.searchsorted(edges, scores, side="right"), minlength=64)

    whole = histogram(np.arange(400))
    moved = [int(((whole - histogram(np.delete(np.arange(400), p))) ** 2).sum()) for p in range(0, 400, 10)]
    assert max(moved) > scorer.scores_statistic().bound_sq


# -- states ------------------------------------------------------------------------------------------------------------


def a_state() -> dict[str, Any]:
    features = FEATURES[:2]
    return {"scores": [[0] * len(space.starts(f)) for f in features], "bins": [[0, 5], [0]]}


SPOILT_SPACES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a field too many": lambda s: s | {"more": 1},
    "a field missing": lambda s: {"bins": s["bins"]},
    "no map": lambda s: [s],
    "a feature too few": lambda s: s | {"scores": s["scores"][:1]},
    "no list of features": lambda s: s | {"bins": "0"},
    "a cell too few": lambda s: s | {"scores": [s["scores"][0][1:], s["scores"][1]]},
    "a score beyond 3": lambda s: s | {"scores": [[space.FARTHEST + 1, *s["scores"][0][1:]], s["scores"][1]]},
    "a score that is a float": lambda s: s | {"scores": [[0.0, *s["scores"][0][1:]], s["scores"][1]]},
    "a score that is a truth": lambda s: s | {"scores": [[True, *s["scores"][0][1:]], s["scores"][1]]},
    "a bin that starts late": lambda s: s | {"bins": [[1, 5], [0]]},
    "bins that do not ascend": lambda s: s | {"bins": [[0, 5, 5], [0]]},
    "a bin beyond the cells": lambda s: s | {"bins": [[0, 256], [0]]},
    "too many bins": lambda s: s | {"bins": [list(range(11)), [0]]},
    "no bin": lambda s: s | {"bins": [[], [0]]},
}


@pytest.mark.parametrize("what", SPOILT_SPACES)
def test_a_space_that_is_not_of_the_plans_form_is_refused(what: str) -> None:
    Space.read(a_state(), FEATURES[:2])
    with pytest.raises(IntegrityError):
        Space.read(SPOILT_SPACES[what](a_state()), FEATURES[:2])


def a_scorer() -> dict[str, Any]:
    made = Space.read(a_state(), FEATURES[:2])
    return {
        "weights": [0] * made.places.length, "edges": list(range(63)), "preview": [0] * 5,
        "evidence": 0, "people": 500, "drivers": [0, 0],
    }  # fmt: skip


SPOILT_SCORERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a field too many": lambda s: s | {"more": 1},
    "no map": lambda s: 5,
    "a weight too few": lambda s: s | {"weights": s["weights"][1:]},
    "a weight that overflows": lambda s: s | {"weights": [scorer.HEAVIEST + 1, *s["weights"][1:]]},
    "a weight that is a float": lambda s: s | {"weights": [0.5, *s["weights"][1:]]},
    "an edge too few": lambda s: s | {"edges": s["edges"][1:]},
    "an edge that is no score": lambda s: s | {"edges": [*s["edges"][:-1], scorer.FARTHEST + 1]},
    "edges that fall": lambda s: s | {"edges": s["edges"][::-1]},
    "a preview above 1": lambda s: s | {"preview": [10**6 + 1] * 5},
    "a preview too few": lambda s: s | {"preview": [0] * 4},
    "evidence below 0": lambda s: s | {"evidence": -1},
    "no number of people": lambda s: s | {"people": "500"},
    "a driver above 1": lambda s: s | {"drivers": [0, 10**6 + 1]},
    "a driver too few": lambda s: s | {"drivers": [0]},
}


@pytest.mark.parametrize("what", SPOILT_SCORERS)
def test_a_scorer_that_is_not_of_the_plans_form_is_refused(what: str) -> None:
    made = Space.read(a_state(), FEATURES[:2])
    assert Scorer.read(a_scorer(), made).write() == a_scorer()
    with pytest.raises(IntegrityError):
        Scorer.read(SPOILT_SCORERS[what](a_scorer()), made)
