"""The fits between the steps of the lookalike question, on rows whose likeness is known."""

from __future__ import annotations

import time
from functools import cache

import numpy as np

from coordinator import lookalike
from coordinator.lookalike import Released
from protocols.budget import variance_for
from protocols.encoding import canonical, parse
from protocols.feature import Feature
from protocols.noise import add_noise
from protocols.questions.lookalike import background, scorer, space
from protocols.questions.lookalike.scorer import Scorer
from protocols.questions.lookalike.space import Space
from protocols.statistic import Integers, Noise, Statistic, tally

FEATURES = [Feature(name=f"x{j}", transform="identity", low=-4_000, high=4_000) for j in range(5)]
RHO = 24_360_000  # ε = 1 at δ = 1e-6
N, SEEDS = 30_000, 1_000


@cache
def people() -> tuple[dict[str, Integers], Integers]:
    """(features, 1 for whom is looked for)."""
    draw = np.random.default_rng(11)
    x = draw.normal(size=(N, 5))
    x[:, 1] = 0.6 * x[:, 0] + 0.8 * x[:, 1]
    kind = x[:, 0] - 0.8 * x[:, 2] ** 2 + 0.7 * draw.logistic(size=N) > 0.7
    columns = {f.name: np.rint(1_000 * x[:, j]).astype(np.int64) for j, f in enumerate(FEATURES)}
    return columns | {"usable": np.ones(N, dtype=np.int64)}, kind.astype(np.int64)


def released(statistic: Statistic, total: Integers, rho: int, parties: int) -> Released:
    micro = variance_for(rho, statistic.bound_sq, 1)
    for _ in range(parties):
        total = add_noise(total, bound_sq=statistic.bound_sq, variance_micro=micro)
    return Released(total, Noise(parties, micro))


Sums = tuple[Space, Released, Released, Released]


@cache
def a_round() -> Sums:
    columns, kind = people()
    chosen = np.flatnonzero(kind)[:SEEDS]
    seeds = {name: column[chosen] for name, column in columns.items()}
    statistic = space.edges_statistic(FEATURES)
    total = tally(statistic, columns, lambda part: space.edges_rows(FEATURES, part)).total
    edges = released(statistic, total, RHO * 8 // 100, 2)
    shared = Space.read(parse(canonical(lookalike.shared_space(FEATURES, edges).write()), what="state"), FEATURES)
    total = tally(background.statistic(FEATURES), columns, lambda part: background.rows(shared, part)).total
    back = released(background.statistic(FEATURES), total, 5_000_000, 2)
    total = tally(space.seed_statistic(FEATURES), seeds, shared.rows).total
    seed = released(space.seed_statistic(FEATURES), total, RHO * 77 // 100, 1)
    return shared, edges, back, seed


@cache
def judge() -> Scorer:
    made = lookalike.public_scorer(*a_round())
    return Scorer.read(parse(canonical(made.write()), what="state"), made.space)


def test_the_score_finds_whom_is_looked_for() -> None:
    columns, kind = people()
    order = np.argsort(-judge().scores(columns), kind="stable")
    best = np.argsort(-(columns["x0"] / 1_000 - 0.8 * (columns["x2"] / 1_000) ** 2), kind="stable")
    found, possible = (kind[ranked[: N // 5]].sum() for ranked in (order, best))
    assert found > 0.93 * possible


def test_the_same_sums_give_the_same_bytes() -> None:
    assert lookalike.public_scorer(*a_round()).write() == judge().write()


def test_a_fit_takes_less_than_a_second() -> None:
    busy = time.process_time()
    lookalike.public_scorer(*a_round())
    assert time.process_time() - busy < 1.0


def test_a_scores_deviation_is_one_and_its_cells_hold_what_they_should() -> None:
    columns, _ = people()
    scores = judge().scores(columns) / scorer.UNIT
    assert abs(scores.std() - 1) < 0.1
    inside = np.cumsum(np.bincount(judge().cells(columns), minlength=scorer.CELLS)) / N
    assert np.abs(inside - lookalike._shares()).max() < 0.03


def test_cuts_by_noised_cells_reach_what_they_should() -> None:
    columns, _ = people()
    exact = np.bincount(judge().cells(columns), minlength=scorer.CELLS)
    noised = released(scorer.scores_statistic(), np.append(exact, 0), 2_000_000, 1)
    for reach, cut in zip(scorer.REACHES, scorer.cuts(noised.noised[:-1].tolist()), strict=True):
        assert abs(exact[:cut].sum() / N - reach / 100) < 0.02


def test_the_models_own_curve_is_near_the_truth_here() -> None:
    columns, kind = people()
    order = np.argsort(-judge().scores(columns), kind="stable")
    truth = [kind[order[: N * reach // 100]].sum() / kind.sum() for reach in scorer.REACHES]
    assert np.abs(np.array(judge().preview) / 1e6 - truth).max() < 0.1


def test_the_seeds_size_is_told_with_its_noise() -> None:
    assert abs(judge().people - SEEDS) < 80
    assert judge().evident


def test_drivers_say_which_features_the_score_goes_with() -> None:
    drivers = [x / 1e6 for x in judge().drivers]
    assert drivers[0] > 0.5
    assert drivers[1] > 0.3  # through x0
    assert all(abs(x) < 0.2 for x in drivers[2:])


def test_a_seed_of_nobody_still_gives_a_scorer_of_the_right_form() -> None:
    shared, edges, back, seed = a_round()
    nobody = released(space.seed_statistic(FEATURES), np.zeros_like(seed.noised), RHO, 1)
    made = lookalike.public_scorer(shared, edges, back, nobody)
    Scorer.read(parse(canonical(made.write()), what="state"), shared)
    assert abs(made.people) < 100
    assert not made.evident
