"""The fit of latent classes: without noise as good as the planted ones, with noise of a usual budget still so, and
fewer classes, or none, where the noise is too large."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from coordinator import fits
from coordinator.classes import bic, fit
from protocols.figures import TOO_NOISY
from protocols.questions import classes, steps_of
from protocols.questions.classes.model import Classes
from protocols.statistic import Integers, Noise
from tests.coordinator.test_classes_sections import expected, make_plan
from tests.protocols.classes.planted import FACTS, LOUD, QUIET, drawn, exact_sum, planted, question


def pooled(k: int, seed: int, people: int = 10_000) -> tuple[Integers, Integers, Any]:
    """(the pattern of each person, whose kind is whose, chances) of eight yes-or-no traits that tell classes apart."""
    rng = np.random.default_rng(seed)
    signs = ("11110000", "00101110", "01000101", "10011011")
    yes = np.array([[0.9 if sign == "1" else 0.1 for sign in one] for one in signs[:k]])
    yes = np.clip(yes + rng.uniform(-0.08, 0.08, yes.shape), 0.02, 0.98)
    kinds = rng.choice(k, people, p=np.array([4, 3, 2, 2])[:k] / sum((4, 3, 2, 2)[:k]))
    rows = (rng.random((people, 8)) < yes[kinds]).astype(np.int64)
    return np.ravel_multi_index(tuple(rows.T), (2,) * 8), kinds, yes


EIGHT = {f"f{j}": 2 for j in range(8)}


@pytest.mark.parametrize("k", [3, 4])
@pytest.mark.parametrize("noise", [Noise(1, 20_526_000), Noise(3, 20_526_000)])
def test_with_the_noise_of_epsilon_1_classes_and_their_number_are_nearly_those_of_exact_counts(
    k: int, noise: Noise
) -> None:
    plan = question({"least": 2, "most": 6}, EIGHT)
    for seed in range(3):
        at, _, _ = pooled(k, seed)
        exact = np.append(np.bincount(at, minlength=256), 0)
        reference = Classes.read(fit(question(k, EIGHT), exact, Noise(1, 10_000)), question(k, EIGHT))
        found = Classes.read(fit(plan, drawn(exact, noise, seed), noise), plan)
        assert len(found.sizes) == k
        same = [classes.chances(one).argmax(axis=1)[at] for one in (reference, found)]
        assert adjusted_rand_score(*same) >= 0.93


def test_of_exact_counts_the_fit_is_what_was_planted() -> None:
    truth = planted(100_000)
    found = Classes.read(fit(question({"least": 2, "most": 3}), exact_sum(truth), QUIET), question(3))
    assert np.allclose(found.sizes, truth.sizes, rtol=5e-3)
    for one, other in zip(found.chances, truth.chances, strict=True):
        assert np.allclose(one, other, atol=5e-3)


def test_the_same_sum_has_the_same_fit() -> None:
    noised = drawn(exact_sum(planted()), LOUD, 3)
    assert fit(question({"least": 2, "most": 3}), noised, LOUD) == fit(question({"least": 2, "most": 3}), noised, LOUD)


@pytest.mark.parametrize("people", [-500, 0, 1, 50, 1_000])
@pytest.mark.parametrize("noise", [QUIET, LOUD])
def test_whatever_the_sum_there_is_a_state_that_nodes_take_and_figures_follow(people: int, noise: Noise) -> None:
    ((step, _),) = steps_of(question({"least": 2, "most": 3}), FACTS)
    for seed in range(3):
        noised = drawn(np.full(49, people // 48), noise, seed)
        state = fit(question({"least": 2, "most": 3}), noised, noise)
        assert step.check_state is not None
        step.check_state(state, {})
        step.answer(noised, noise, {step.name: {"state": state}})


@pytest.mark.parametrize(("people", "many"), [(12_000, 3), (1_200, 2), (600, 1)])
def test_with_fewer_people_fewer_classes_are_told(people: int, many: int) -> None:
    plan = make_plan(3)
    ((step, mechanism),) = plan.steps()
    state = fits.state_after(plan, step.name, expected(people), Noise(2, mechanism.variance_micro), {})
    assert state is not None
    assert len(state["sizes"]) == many


def test_a_class_more_than_there_are_is_dearer_than_it_is_worth() -> None:
    counts = drawn(exact_sum(planted()), QUIET, 2)[:-1].astype(np.float64)
    two = Classes.read(fit(question(2), np.append(counts, 0).astype(np.int64), QUIET), question(2))
    alone = Classes(
        np.array([6000.0]), tuple(np.average(found, axis=0, weights=two.sizes)[None] for found in two.chances)
    )
    assert bic(two, counts, 9.0) < bic(alone, counts, 9.0)
    halves = np.array([two.sizes[0], two.sizes[1] / 2, two.sizes[1] / 2])
    three = Classes(halves, tuple(np.concatenate([found, found[1:]]) for found in two.chances))
    assert bic(two, counts, 9.0) < bic(three, counts, 9.0)


def test_all_people_of_one_pattern_are_one_class_at_most() -> None:
    noised = np.zeros(49, dtype=np.int64)
    noised[5] = 10_000
    found = Classes.read(fit(question({"least": 2, "most": 3}), noised, QUIET), question(3))
    assert len(found.sizes) == 1
    assert float(found.expected[0, 5]) > 9_000


def test_four_classes_of_which_each_has_next_to_nobody_in_some_levels_are_four() -> None:
    """Scoring alone came to no end there, and two classes were told as one of twice their size."""
    levels = {"recency_days": 8, "baskets": 6, "spend_cents": 5, "discounted_baskets": 4}
    draw = np.random.default_rng(0)
    chances = tuple(draw.dirichlet(np.full(n, 0.25), 4) for n in levels.values())
    assert min(found.min() for found in chances) < 1e-5
    people = draw.poisson(Classes(np.full(4, 20_000.0), chances).expected.sum(axis=0))
    noise = Noise(3, 5_333_333)
    noised = np.append(people, 0) + np.rint(draw.normal(0, 4, len(people) + 1)).astype(np.int64)
    plan = question(4, levels)
    state = fit(plan, noised, noise)
    assert len(state["sizes"]) == 4
    assert all(19_000 < size / 1024 < 21_000 for size in state["sizes"])
    told = classes.answer(plan, noised, noise, Classes.read(state, plan))["classes"]
    assert all(one["size"]["value"] != TOO_NOISY for one in told.values())
