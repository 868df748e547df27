"""Figures of classes follow from the noised sum and the state, and from no state that is not its fit."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
import pytest

from coordinator.classes import fit
from protocols.errors import IntegrityError
from protocols.figures import TOO_NOISY, pointers
from protocols.figures import at as figure_at
from protocols.questions import classes, steps_of
from protocols.questions.classes import model
from protocols.questions.classes.model import ONE, PERSON, Classes, evidence
from protocols.statistic import Integers, Noise, tally
from tests.protocols.classes.planted import FACTS, LEVELS, LOUD, QUIET, drawn, exact_sum, planted, question

((STEP, _),) = steps_of(question(), FACTS)


def answer(noised: Integers, noise: Noise, state: dict[str, Any]) -> dict[str, Any]:
    return STEP.answer(noised, noise, {STEP.name: {"state": state}})


def state_with(**changes: Any) -> dict[str, Any]:
    return {**planted().write(), **changes}


# -- rows --------------------------------------------------------------------------------------------------------------


def test_a_person_counts_once_in_the_slot_of_the_levels_of_all_items() -> None:
    people = dict(zip([*LEVELS, "usable"], np.array([[0, 1, 5], [2, 0, 9], [1, 0, 9], [0, 0, 9], [1, 0, 9], [1, 1, 0]]),
                      strict=True))  # fmt: skip
    total = tally(STEP.statistic, people, lambda batch: STEP.contribute(batch, {})).total
    expected = dict.fromkeys(STEP.statistic.slots, 0) | {"0-2-1-0-1": 1, "1-0-0-0-0": 1, "unusable": 1}
    assert dict(zip(STEP.statistic.slots, total.tolist(), strict=True)) == expected


def test_how_people_fall_to_parties_leaves_the_sum_as_it_is() -> None:
    rng = np.random.default_rng(3)
    people = {name: rng.integers(0, n, 500) for name, n in LEVELS.items()} | {"usable": rng.integers(0, 2, 500)}
    whole = tally(STEP.statistic, people, lambda batch: STEP.contribute(batch, {})).total
    order = rng.permutation(500)
    parts = [{name: values[order[part]] for name, values in people.items()} for part in np.split(np.arange(500), [99])]
    sums = [tally(STEP.statistic, part, lambda batch: STEP.contribute(batch, {})).total for part in parts]
    assert np.array_equal(sum(sums), whole)


# -- states ------------------------------------------------------------------------------------------------------------


def test_a_state_is_read_as_it_was_written() -> None:
    again = Classes.read(planted().write(), question())
    assert again.write() == planted().write()
    assert np.allclose(again.sizes, planted().sizes, atol=1 / PERSON)


HALF = [ONE // 2, ONE // 2]
FIRST = planted().write()["levels"][0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"more": 1}, "exactly the fields"),
        ({"sizes": [1, 2]}, "descending order"),
        ({"sizes": [1]}, "not one entry for each class"),
        ({"sizes": []}, "not 1 to 2 positive integers"),
        ({"sizes": [3, 2, 1]}, "not 1 to 2 positive integers"),
        ({"sizes": [2, 0]}, "not 1 to 2 positive integers"),
        ({"sizes": [2.0, 1.0]}, "not 1 to 2 positive integers"),
        ({"sizes": [True, True]}, "not 1 to 2 positive integers"),
        ({"sizes": [2**53 - 1, 1]}, "too many people"),
        ({"sizes": "12"}, "not 1 to 2 positive integers"),
        ({"levels": [FIRST]}, "not one entry for each class"),
        ({"levels": {"0": FIRST, "1": FIRST}}, "not one entry for each class"),
        ({"levels": [FIRST, FIRST[1:]]}, "not one list for each item"),
        ({"levels": [FIRST, [[ONE], *FIRST[1:]]]}, "not as many probabilities"),
        ({"levels": [FIRST, [[ONE + 1, -1], *FIRST[1:]]]}, "not as many probabilities"),
        ({"levels": [FIRST, [[ONE, 0], *FIRST[1:]]]}, "not as many probabilities"),
        ({"levels": [FIRST, [[ONE // 2, ONE // 2 - 1], *FIRST[1:]]]}, "not as many probabilities"),
        ({"levels": [FIRST, [HALF, HALF, *FIRST[2:]]]}, "not as many probabilities"),
    ],
)
def test_a_state_that_is_none_of_classes_is_refused(changes: dict[str, Any], said: str) -> None:
    assert STEP.check_state is not None
    STEP.check_state(state_with(), {})
    with pytest.raises(IntegrityError, match=said):
        STEP.check_state(state_with(**changes), {})


@pytest.mark.parametrize("part", [2**19, -(2**19)])
@pytest.mark.parametrize("item", range(5))
def test_classes_beside_the_fit_are_refused_and_the_fit_is_not(item: int, part: int) -> None:
    """A thirtieth of a probability, in any item: less than what its interval allows."""
    noised = exact_sum(planted())
    state = fit(question(), noised, QUIET)
    answer(noised, QUIET, state)
    chances = state["levels"][0][item]
    state["levels"][0][item] = [chances[0] + part, chances[1] - part, *chances[2:]]
    with pytest.raises(IntegrityError, match="not a fit"):
        answer(noised, QUIET, state)


def test_the_fit_of_another_sum_is_refused() -> None:
    other = drawn(exact_sum(planted(5000)), LOUD, 5)
    with pytest.raises(IntegrityError, match="not a fit"):
        answer(exact_sum(planted()), QUIET, fit(question(), other, LOUD))


# -- evidence ----------------------------------------------------------------------------------------------------------


def _likelihood(classes_: Classes, counts: Any, variance: float) -> float:
    mean = classes_.expected.sum(axis=0) + variance
    prior = sum(float(np.log(found).sum() / found.shape[1]) for found in classes_.chances)
    return float(((counts + variance) * np.log(mean) - mean).sum()) + model.PRIOR * prior


def _moved(classes_: Classes, parameter: int, by: float) -> Classes:
    """One parameter moved: ln λ, or ln(θ_l / θ_0)."""
    width = 1 + sum(n - 1 for n in LEVELS.values())
    k, at = divmod(parameter, width)
    sizes, chances = classes_.sizes.copy(), [found.copy() for found in classes_.chances]
    if at == 0:
        sizes[k] *= np.exp(by)
        return Classes(sizes, tuple(chances))
    at -= 1
    for found in chances:
        if at < found.shape[1] - 1:
            found[k, at + 1] *= np.exp(by)
            found[k] /= found[k].sum()
            break
        at -= found.shape[1] - 1
    return Classes(sizes, tuple(chances))


def test_the_score_is_the_slope_of_the_likelihood_and_its_inverse_undoes_the_information() -> None:
    at, counts, variance = planted(), exact_sum(planted(5500))[:-1].astype(np.float64), 30.0
    found = evidence(at, counts, variance)
    step = 1e-5
    for p, slope in enumerate(found.score):
        up, down = (_likelihood(_moved(at, p, sign * step), counts, variance) for sign in (1, -1))
        assert slope == pytest.approx((up - down) / (2 * step), rel=1e-4, abs=1e-3)
    curved = np.linalg.inv(found.inverse)
    for p in (0, 3, 8):
        up, down = (evidence(_moved(at, p, sign * step), at.expected.sum(axis=0), variance).score for sign in (1, -1))
        assert np.allclose(-(up - down) / (2 * step), curved[p], rtol=1e-3, atol=0.5)


def test_without_noise_the_variance_of_a_size_is_that_of_a_share_of_so_many_people() -> None:
    """Where classes cannot be confused a size is a binomial count: n·p·(1 − p)."""
    sharp = tuple(np.array([[0.999, 0.001], [0.001, 0.999]]) if n == 2 else np.array([[0.998, 0.001, 0.001],
                  [0.001, 0.001, 0.998]]) for n in LEVELS.values())  # fmt: skip
    at = Classes(np.array([600.0, 400.0]), sharp)
    found = evidence(at, at.expected.sum(axis=0), 1e-9)
    assert float(found.covariance[0, 0]) * 600**2 == pytest.approx(1000 * 0.6 * 0.4, rel=0.01)


def test_classes_that_are_one_and_the_same_are_not_told_apart() -> None:
    with pytest.raises(IntegrityError, match="cannot be told apart"):
        model._inverse(np.ones((2, 2)))


# -- figures -----------------------------------------------------------------------------------------------------------


def test_without_noise_to_speak_of_the_figures_are_the_planted_classes() -> None:
    truth = planted(600_000)
    noised = exact_sum(truth, 7)
    found = answer(noised, QUIET, fit(question(), noised, QUIET))
    for k, size in enumerate(truth.sizes):
        one = found["classes"][f"c{k + 1}"]
        assert float(one["size"]["value"]) == pytest.approx(size, rel=2e-3)
        assert float(one["share"]["value"]) == pytest.approx(size / 600_000, abs=1e-3)
        for name, chances in zip(LEVELS, truth.chances, strict=True):
            told = [float(one["items"][name][str(level)]["value"]) for level in range(chances.shape[1])]
            assert told == pytest.approx(chances[k].tolist(), abs=1e-3)
    assert found["unusable"]["value"] == "7"
    assert found["all"]["size"]["value"] == str(noised[:-1].sum())


@pytest.mark.parametrize("people", [0, 50])
def test_of_a_few_people_every_figure_of_classes_is_too_noisy(people: int) -> None:
    for seed in range(5):
        noised = drawn(exact_sum(planted(people)), LOUD, seed)
        found = answer(noised, LOUD, fit(question({"least": 2, "most": 3}), noised, LOUD))
        told = {figure_at(found, path)["value"] for path in pointers(found) if path.startswith(("/all", "/classes"))}
        assert told == {TOO_NOISY}


def test_a_class_below_the_noise_of_what_it_fills_hides_all_classes() -> None:
    noised = exact_sum(planted())
    state = fit(question(), noised, QUIET)
    variance = (planted().sizes[1] / 5) ** 2 / Classes.read(state, question()).filled[1]
    for factor, shown in ((0.9, True), (1.1, False)):
        noise = Noise(1, int(variance * factor * 10**6))
        stands = Classes.read(state, question()).standing(noise.variance, classes.GATE)
        assert stands == shown
    found = answer(noised, Noise(1, int(variance * 1.1 * 10**6)), state)
    assert found["classes"]["c1"]["size"] == {"value": TOO_NOISY}


@pytest.mark.parametrize(("apart", "told"), [(0.3, True), (0.07, False)])
def test_classes_that_are_hardly_different_are_not_told_though_there_are_people_enough(
    apart: float, told: bool
) -> None:
    two = np.array([[0.5 + apart, 0.5 - apart], [0.5 - apart, 0.5 + apart]])
    three = np.concatenate([two[:, :1], two[:, 1:] / 2, two[:, 1:] / 2], axis=1)
    at = Classes(np.array([4000.0, 3500.0]), tuple(three if n == 3 else two for n in LEVELS.values()))
    counts = at.expected.sum(axis=0)
    assert at.standing(9.0, classes.GATE)
    with mock.patch.object(classes, "CLOSE", 1.0):  # the prior moves the fit of exact counts by a hair
        assert (classes.told_apart(at, counts, 9.0) is not None) == told


def test_one_class_alone_has_a_share_of_all() -> None:
    alone = Classes(np.array([5000.0]), tuple(found[:1] for found in planted().chances))
    noised = exact_sum(alone)
    state = fit(question(), noised, QUIET)
    assert len(state["sizes"]) == 1
    found = answer(noised, QUIET, state)
    assert found["classes"]["c1"]["share"] == {"value": "1.0000", "low": "1.0000", "high": "1.0000"}


def test_the_figures_do_not_depend_on_the_memory_that_they_are_computed_in() -> None:
    """The same numbers in other arrays, not aligned and not writable, give the same bits."""
    noised = drawn(exact_sum(planted()), QUIET, 1)
    at = Classes.read(fit(question(), noised, QUIET), question())
    counts = noised[:-1].astype(np.float64)
    shifted = np.frombuffer(b"\0" + counts.tobytes(), dtype=np.float64, offset=1)
    one, other = (evidence(at, each, 9.0) for each in (counts, shifted))
    assert one.covariance.tobytes() == other.covariance.tobytes()
