"""The fits between the steps of segments: without noise as good as k-means on the rows, with too much no crash."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.cluster import KMeans

from coordinator.segments import PRIOR, _shrunk, next_state
from protocols.budget import variance_for
from protocols.encoding import canonical
from protocols.figures import TOO_NOISY, pointers
from protocols.noise import add_noise
from protocols.questions import segments
from protocols.questions.segments.states import FIXED, Clusters, Reals
from protocols.statistic import Contribute, Integers, Noise, Step, tally

MILLION = 10**6
SCALE = 1 << 16
PARTIES = 3

People = dict[str, Integers]


def question(d: int, *, rho: float, **changes: Any) -> segments.Plan:
    """The recipe's split of ρ; a profile has a tenth on top."""
    parts = {"moments": 0.05, "covariance": 0.08, "coarse": 0.105, "fine": 0.195, "over": 0.15, "lloyd": 0.21}
    if d <= 2:
        del parts["covariance"]
    features = [{"name": f"f{j}", "transform": "identity", "low": -MILLION, "high": MILLION} for j in range(d)]
    document: dict[str, Any] = {
        "rho": {name: max(1, int(part * rho * 1e9)) for name, part in (parts | {"profile": 0.1}).items()},
        "features": features,
        "clusters": 4,
        "lloyd_rounds": 2,
        "coarse_cells": 256,
        "fine_cells": 2048,
    }
    return segments.Plan.model_validate(document | changes)


def people_at(x: Reals) -> People:
    columns = {f"f{j}": np.rint(np.clip(x[:, j], -1, 1) * MILLION).astype(np.int64) for j in range(x.shape[1])}
    return columns | {"usable": np.ones(len(x), dtype=np.int64)}


def planted(d: int, count: int, seed: int) -> Reals:
    """Four clusters of unequal size, at least five standard deviations from each other."""
    draw = np.random.default_rng(seed)
    centres = np.array([[-0.6, -0.5], [0.55, -0.45], [0.5, 0.6], [-0.35, 0.55]])
    if d == 1:
        centres = np.array([[-0.8], [-0.2], [0.3], [0.8]])
    wide = np.concatenate([centres, np.resize([0.3, -0.3, -0.3, 0.3], (4, max(0, d - 2)))], axis=1)[:, :d]
    which = draw.choice(4, count, p=[0.4, 0.3, 0.2, 0.1])
    return np.clip(wide[which] + draw.normal(0, 0.1, (count, d)), -1, 1)


def variance_of(step: Step, rho: int) -> int:
    return max(9 * MILLION, variance_for(rho, step.statistic.bound_sq, 1))


def given_to(step: Step, earlier: dict[str, Any]) -> Contribute:
    return lambda batch: step.contribute(batch, earlier)


Perturb = Callable[[Step, Integers, int], Integers]


def as_it_is(_: Step, total: Integers, __: int) -> Integers:
    return total


def with_noise(step: Step, total: Integers, variance_micro: int) -> Integers:
    for _ in range(PARTIES):
        total = add_noise(total, bound_sq=step.statistic.bound_sq, variance_micro=variance_micro)
    return total


def run(plan: segments.Plan, people: People, perturb: Perturb) -> dict[str, Any]:
    """What each step releases, state and answer, every state checked as a node checks it."""
    earlier: dict[str, Any] = {}
    variances = {step.name: variance_of(step, rho) for step, rho in segments.steps(plan)}
    for step, _ in segments.steps(plan):
        found = tally(step.statistic, people, given_to(step, earlier))
        assert found.over_bound == 0
        noised, noise = perturb(step, found.total, variances[step.name]), Noise(PARTIES, variances[step.name])
        state = next_state(plan, step.name, noised, noise, earlier, lambda s: math.sqrt(PARTIES * variances[s] / 1e6))
        assert (state is None) == (step.check_state is None)
        if state is not None and step.check_state is not None:
            step.check_state(state, earlier)
            canonical(state)  # integers, maps and lists, and nothing that JSON has not
        earlier[step.name] = step.answer(noised, noise, earlier) | (
            {} if state is None else {"state": state, "noised": noised.tolist()}
        )
    return earlier


def centres_of(plan: segments.Plan, earlier: dict[str, Any]) -> Reals:
    state = earlier[plan.lloyd_names()[-1]]["state"]
    return Clusters.read(state, plan.clusters, plan.dimensions).centres


def inertia(x: Reals, centres: Reals) -> float:
    return float(segments.nearest(x, centres)[1].mean())


# -- as good as k-means on the rows ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("d", "seed"), [(1, 1), (2, 2), (2, 3), (3, 4), (4, 5)])
def test_without_noise_the_centres_are_within_one_percent_of_k_means_on_the_rows(d: int, seed: int) -> None:
    x = planted(d, 9000, seed)
    plan = question(d, rho=0.1)
    centres = centres_of(plan, run(plan, people_at(x), as_it_is))
    best = KMeans(4, n_init=10, random_state=0).fit(x)
    assert inertia(x, centres) <= 1.01 * inertia(x, best.cluster_centers_)


def test_one_number_for_everybody_would_be_far_from_it() -> None:
    """So that one percent is not what any four centres reach."""
    x = planted(2, 9000, 2)
    best = inertia(x, KMeans(4, n_init=10, random_state=0).fit(x).cluster_centers_)
    assert inertia(x, x[:4]) > 1.3 * best
    assert inertia(x, KMeans(3, n_init=10, random_state=0).fit(x).cluster_centers_) > 1.3 * best


def test_without_noise_the_profile_is_that_of_the_people_nearest_to_the_released_centres() -> None:
    x = planted(3, 9000, 4)
    plan, people = question(3, rho=0.1), people_at(x)
    earlier = run(plan, people, as_it_is)
    x = segments.scaled(plan, people)
    at, _ = segments.nearest(x, centres_of(plan, earlier))
    step = 1 / (math.sqrt(0.7 / 3) * SCALE)  # to which an entry is truncated, on the scale from −1 to 1
    for i, found in enumerate(earlier["seg-profile"]["segments"].values()):
        assert int(found["size"]["value"]) == np.count_nonzero(at == i)
        for j, name in enumerate(found["typical"]):
            shown = float(found["typical"][name]["value"]) / MILLION
            assert shown == pytest.approx(float(x[at == i, j].mean()), abs=step + 1 / MILLION)


def test_the_largest_segment_comes_first() -> None:
    plan = question(2, rho=0.1)
    earlier = run(plan, people_at(planted(2, 9000, 2)), as_it_is)
    sizes = [int(found["size"]["value"]) for found in earlier["seg-profile"]["segments"].values()]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 3000


def test_a_fit_of_the_same_sums_is_the_same_state() -> None:
    plan, people = question(3, rho=0.1), people_at(planted(3, 3000, 4))
    assert canonical(run(plan, people, as_it_is)) == canonical(run(plan, people, as_it_is))


def test_with_the_noise_of_a_usual_budget_segments_are_still_nearly_as_good() -> None:
    x = planted(3, 30_000, 6)
    plan = question(3, rho=0.03)
    best = inertia(x, KMeans(4, n_init=10, random_state=0).fit(x).cluster_centers_)
    found = [inertia(x, centres_of(plan, run(plan, people_at(x), with_noise))) for _ in range(3)]
    assert max(found) <= 1.01 * best


# -- too much noise, too few people, people all alike ------------------------------------------------------------------


def starved(kind: str, count: int, d: int) -> Reals:
    draw = np.random.default_rng(count)
    return {
        "alike": np.full((count, d), 0.3),
        "in a corner": np.full((count, d), 1.0),
        "anywhere": draw.uniform(-1, 1, (count, d)),
    }[kind]


@pytest.mark.parametrize("kind", ["alike", "in a corner", "anywhere"])
@pytest.mark.parametrize("count", [0, 1, 50])
@pytest.mark.parametrize("d", [1, 4])
@pytest.mark.parametrize("rho", [1e-6, 0.03])
def test_a_starved_round_ends_with_states_that_nodes_accept_and_says_too_noisy(
    rho: float, d: int, count: int, kind: str
) -> None:
    """Sums of a round, without noise and with far more than there are people: no exception, no false figure."""
    plan = question(d, rho=rho, clusters=3, coarse_cells=64, fine_cells=64, lloyd_rounds=1)
    earlier = run(plan, people_at(starved(kind, count, d)), as_it_is)
    answer = earlier["seg-profile"]
    assert len(list(pointers(answer))) == 3 * (2 + 2 * d) + 1 + d
    if rho < 1e-5:
        values = [segment["size"]["value"] for segment in answer["segments"].values()]
        assert values == [TOO_NOISY] * 3


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("d", [1, 2])
def test_any_sums_of_up_to_a_million_people_lead_to_states_that_nodes_accept(d: int, seed: int) -> None:
    """One or two features: no covariance is estimated (for three and more see below)."""
    plan = question(d, rho=0.01, clusters=2, coarse_cells=16, fine_cells=32, lloyd_rounds=1)
    draw = np.random.default_rng(seed)

    def drawn(step: Step, total: Integers, _: int) -> Integers:
        people = draw.choice([-1, 0, 1, 1], len(total)) * 2 ** draw.uniform(0, 20, len(total))
        return np.rint(people * step.statistic.scale).astype(np.int64)

    run(plan, people_at(np.zeros((1, d))), drawn)


@pytest.mark.parametrize(("rho", "seed"), [(0.003, 22), (0.003, 100), (0.003, 133), (0.01, 387)])
def test_a_covariance_larger_than_the_box_leads_to_a_grid_that_nodes_accept(rho: float, seed: int) -> None:
    """Two hundred people and the noise of their round: one in 60 at ρ = .003, one in 400 at .01, is such a one."""
    plan, draw = question(3, rho=rho), np.random.default_rng(seed)
    people = people_at(np.random.default_rng(1).uniform(-1, 1, (200, 3)))
    earlier: dict[str, Any] = {}
    for step, share in segments.steps(plan)[:2]:
        noise = Noise(PARTIES, variance_of(step, share))
        total = tally(step.statistic, people, given_to(step, earlier)).total
        noised = total + np.rint(draw.normal(0, math.sqrt(noise.variance), len(total))).astype(np.int64)
        state = next_state(plan, step.name, noised, noise, earlier, lambda _: 30.0)
        assert state is not None
        assert step.check_state is not None
        step.check_state(state, earlier)
        earlier[step.name] = {"state": state, "noised": noised.tolist()}


@pytest.mark.parametrize(("coarse", "fine", "clusters"), [(256, 64, 4), (32, 8, 5)])
def test_a_plan_with_fewer_fine_cells_than_coarse_ones_runs_or_is_refused(
    coarse: int, fine: int, clusters: int
) -> None:
    try:
        plan = question(2, rho=0.1, coarse_cells=coarse, fine_cells=fine, clusters=clusters)
    except ValueError:
        return  # refused before anybody pays
    run(plan, people_at(np.random.default_rng(3).uniform(-1, 1, (9000, 2))), as_it_is)


# -- what a fit may and may not do -------------------------------------------------------------------------------------


def test_the_grid_lies_along_the_directions_in_which_people_differ_most() -> None:
    draw, long = np.random.default_rng(8), np.array([2.0, 1.0, -0.5]) / math.sqrt(5.25)
    x = np.clip(draw.normal(0, 0.3, (9000, 1)) * long + draw.normal(0, 0.05, (9000, 3)), -1, 1)
    state = run(question(3, rho=0.1), people_at(x), as_it_is)["seg-covariance"]["state"]
    assert abs(np.array(state["axes"][0]) / FIXED @ long) > 0.999
    y = x - x.mean(axis=0)  # as the step has it: held at 1.5 root total variances
    y *= np.minimum(1, 1.5 * math.sqrt(y.var(axis=0).sum()) / np.linalg.norm(y, axis=1))[:, None]
    assert state["deviation"][0] / FIXED == pytest.approx(float((y @ long).std()), rel=0.01)


def at_lloyds_first(plan: segments.Plan, centres: list[list[float]], radius: float) -> dict[str, Any]:
    """What was released before the first of Lloyd's rounds, which asks about these centres."""
    earlier = run(plan, people_at(planted(2, 9000, 2)), as_it_is)
    c = len(centres)
    earlier["seg-over"]["state"] = Clusters(np.array(centres), radius, np.full(c, 100.0), np.zeros(c)).write()
    return earlier


def test_a_move_is_no_longer_than_the_radius_and_a_centre_stays_in_the_box() -> None:
    plan = question(2, rho=0.1)
    earlier = at_lloyds_first(plan, [[0.9, 0.9], [-0.5, 0.0], [0.0, -0.5], [0.5, 0.5]], 0.25)
    noised = np.array([*([2**30, 2**30, 2**18] * 4), 2**20, 0], dtype=np.int64)
    found = next_state(plan, "seg-lloyd-1", noised, Noise(3, MILLION), earlier, lambda _: 1.0)
    assert found is not None
    moved = np.array(found["centres"]) - np.array(earlier["seg-over"]["state"]["centres"])
    assert np.all(np.abs(found["centres"]) <= FIXED)
    assert np.sqrt((moved.astype(float) ** 2).sum(axis=1)).max() <= 0.25 * FIXED + 2
    assert np.abs(moved).max() > 0.1 * FIXED


CORNERS = [[-0.6, -0.5], [0.55, -0.45], [0.5, 0.6], [-0.35, 0.55]]


def lloyd_sums(earlier: dict[str, Any], plan: segments.Plan, name: str, off: Reals) -> Integers:
    """The exact sum of one of Lloyd's rounds, every move of every cluster off by `off` (4, 2) people-radii."""
    (step,) = (found for found, _ in segments.steps(plan) if found.name == name)
    total = tally(step.statistic, people_at(planted(2, 9000, 2)), given_to(step, earlier)).total.copy()
    for i, (x, y) in enumerate(off):
        total[3 * i : 3 * i + 2] += np.rint(np.array([x, y]) * SCALE).astype(np.int64)
    return total


def test_noise_of_two_rounds_that_cancels_leaves_no_trace() -> None:
    """Rounds are averaged, so each of T rounds with a T-th of ρ serves the last centres."""
    plan, off = question(2, rho=0.1), np.array([[40.0, -25.0], [-30.0, 10.0], [20.0, 20.0], [-15.0, 5.0]])
    noise, ended = Noise(1, (40 * SCALE) ** 2 * MILLION), []
    for sign in (0.0, 1.0):
        earlier = at_lloyds_first(plan, CORNERS, 0.3)
        first = lloyd_sums(earlier, plan, "seg-lloyd-1", sign * off)
        # The second round is asked about the same centres: only what is added to the sums differs.
        earlier["seg-lloyd-1"] = {"state": earlier["seg-over"]["state"], "noised": first.tolist()}
        second = lloyd_sums(earlier, plan, "seg-lloyd-2", -sign * off)
        found = next_state(plan, "seg-lloyd-2", second, noise, earlier, lambda _: 5.0)
        assert found is not None
        ended.append(np.array(found["centres"]) / FIXED)
        alone = next_state(plan, "seg-lloyd-1", first, noise, earlier, lambda _: 5.0)
        assert alone is not None
        ended.append(np.array(alone["centres"]) / FIXED)
    still, first_still, averaged, moved = ended
    assert np.abs(averaged - still).max() < 1e-4
    assert np.abs(moved - first_still).max() > 1e-3


def test_a_mean_that_is_off_by_what_noise_explains_is_pulled_back_and_one_far_beyond_it_is_not() -> None:
    variance = np.full(4, 0.01)
    usual = _shrunk(np.array([[0.1, 0.1], [-0.1, 0.1], [0.1, -0.1], [0.1, 0.1]]), variance)
    assert np.abs(usual).max() == pytest.approx(0.1 * PRIOR / (1 + PRIOR))
    far = _shrunk(np.array([[2.0, 2.0], [-0.1, 0.1], [0.1, -0.1], [0.1, 0.1]]), variance)
    assert far[0].min() > 1.95
    precise = _shrunk(np.array([[0.1, 0.1], [-0.1, 0.1], [0.1, -0.1], [0.1, 0.1]]), variance / 1e6)
    assert np.abs(precise).min() > 0.0999


def test_a_feature_is_never_taken_for_narrower_than_the_noise_of_its_variance() -> None:
    """A grid laid along a variance that noise made small would put all people into a few of its cells."""
    plan, people = question(2, rho=0.1), 1000
    sums = [round(people * 2**0.5 * SCALE), 0, 0, people * SCALE // 4, -people * SCALE // 8, 0]
    for sigma, least in ((10, 0.01), (100, 0.1)):
        noise = Noise(1, (sigma * SCALE) ** 2 * MILLION)
        state = next_state(plan, "seg-moments", np.array(sums), noise, {}, lambda _: 5.0)
        assert state is not None
        deviation = np.sort(np.array(state["deviation"]) / FIXED)
        assert deviation[0] ** 2 == pytest.approx(least, rel=0.02)
        assert deviation[1] ** 2 == pytest.approx(0.25, rel=0.01)


def test_the_step_after_the_last_has_no_state() -> None:
    plan = question(2, rho=0.1)
    noised = np.zeros(13, dtype=np.int64)
    assert next_state(plan, "seg-profile", noised, Noise(3, MILLION), {}, lambda _: 1.0) is None
