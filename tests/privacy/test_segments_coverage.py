"""A 95 % interval about a segment holds what there would be without noise 95 times in 100: size, share, typical value,
index, and how surely people keep their segment.

Fixed centres, so that the truth is one; three parties with the full noise each; generated people.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from protocols.budget import variance_for
from protocols.figures import TOO_NOISY
from protocols.noise import add_noise
from protocols.questions import segments
from protocols.questions.segments.profile import profile
from protocols.questions.segments.states import Clusters, Reals
from protocols.statistic import Integers, Noise, tally

ROUNDS = 3_000  # a figure a round then covers .950 ± .004: the band is five standard deviations wide to each side
PEOPLE = 4_000  # at each of three parties
RHO = 12_000_000
BAND = (0.93, 0.97)
FEATURES = [
    {"name": "recency_days", "transform": "log1p", "low": 0, "high": 365},
    {"name": "spend_cents", "transform": "log1p", "low": 100, "high": 10**6},
    {"name": "promo_share_ppm", "transform": "identity", "low": 0, "high": 10**6},
]
NAMES = [str(feature["name"]) for feature in FEATURES]
CENTRES = np.array([[-0.4, 0.5, 0.2], [0.7, -0.5, -0.8], [0.3, 0.0, 0.3], [0.6, 0.4, -0.6]])

People = dict[str, Integers]
Hits = dict[str, list[bool]]


def the_question() -> segments.Plan:
    rho = dict.fromkeys(("moments", "covariance", "coarse", "fine", "over", "lloyd", "profile"), RHO)
    document = {"rho": rho, "features": FEATURES, "clusters": len(CENTRES), "lloyd_rounds": 1}
    return segments.Plan.model_validate(document | {"coarse_cells": 64, "fine_cells": 64})


QUESTION = the_question()
STEP = segments.steps(QUESTION)[-1][0]
VARIANCE_MICRO = variance_for(RHO, STEP.statistic.bound_sq, 1)


def generated(seed: int) -> People:
    """Customers of one party: recent ones who spend much, lapsed ones, and a share bought on promotion."""
    draw = np.random.default_rng(seed)
    recency = np.minimum(draw.exponential(80, PEOPLE), 400).astype(np.int64)
    spend = (draw.lognormal(5, 1.2, PEOPLE) * 100 / (1 + recency / 100)).astype(np.int64)
    promoted = (draw.beta(0.8, 1.5, PEOPLE) * 10**6).astype(np.int64)
    usable = (draw.random(PEOPLE) > 0.03).astype(np.int64)
    return dict(zip(NAMES, (recency, spend, promoted), strict=True)) | {"usable": usable}


@dataclass(frozen=True)
class Truth:
    """The parties' exact sums added up, and what they say: people (k,), means (k, d) on the scale from −1 to 1."""

    total: Integers
    people: Integers
    means: Reals


@pytest.fixture(scope="module")
def truth() -> Truth:
    parties = [generated(seed) for seed in range(3)]
    state = Clusters(CENTRES, 0.5, np.zeros(len(CENTRES)), np.zeros(len(CENTRES))).write()
    earlier = {"seg-lloyd-1": {"state": state}}
    found = [tally(STEP.statistic, people, lambda batch: STEP.contribute(batch, earlier)) for people in parties]
    assert {one.over_bound for one in found} == {0}
    x = np.concatenate([segments.scaled(QUESTION, people)[people["usable"] == 1] for people in parties])
    at, _ = segments.nearest(x, CENTRES)
    means = np.stack([x[at == i].mean(axis=0) for i in range(len(CENTRES))])
    total: Integers = np.sum([one.total for one in found], axis=0)
    return Truth(total, np.bincount(at, minlength=len(CENTRES)), means)


@pytest.fixture(scope="module")
def noised(truth: Truth) -> Integers:
    """(rounds, slots): the rounds lie one behind the other while noise is added, since slots are independent."""
    side_by_side = np.zeros(ROUNDS * len(truth.total), dtype=np.int64)
    for _ in range(3):
        side_by_side += add_noise(
            np.zeros_like(side_by_side), bound_sq=STEP.statistic.bound_sq, variance_micro=VARIANCE_MICRO
        )
    result: Integers = side_by_side.reshape(ROUNDS, -1) + truth.total
    return result


def hits(truth: Truth, noised: Integers, shares: int) -> Hits:
    """Family of figures → does each interval hold the truth? `shares`: how many parties' noise is reckoned with."""
    found: Hits = defaultdict(list)
    for row in noised:
        answer = profile(QUESTION, row, Noise(shares, VARIANCE_MICRO))
        _judge_all(answer["all"], truth, found)
        for i, segment in enumerate(answer["segments"].values()):
            _judge(segment["size"], truth.people[i], "size", found)
            _judge(segment["share"], truth.people[i] / truth.people.sum(), "share", found)
            _judge_typical(segment["typical"], truth.means[i], "typical", found)
    return found


def _judge_all(answer: dict[str, Any], truth: Truth, found: Hits) -> None:
    _judge(answer["size"], truth.people.sum(), "size of all", found)
    mean = truth.people @ truth.means / truth.people.sum()
    _judge_typical(answer["typical"], mean, "typical of all", found)


def _judge_typical(figures: dict[str, Any], means: Reals, family: str, found: Hits) -> None:
    """The true mean, from −1 to 1, is brought to the feature's unit: monotone, so nothing is won or lost by it."""
    for feature, mean in zip(QUESTION.features, means.tolist(), strict=True):
        _judge(figures[feature.name], feature.unit(mean), family, found)


def _judge(figure: dict[str, str], true: float, family: str, found: Hits) -> None:
    if figure["value"] == TOO_NOISY:
        found[f"gated {family}"].append(True)
    else:
        found[family].append(float(figure["low"]) - 1e-9 <= true <= float(figure["high"]) + 1e-9)


def coverage(found: Hits, family: str) -> float:
    return sum(found[family]) / len(found[family])


FAMILIES = ("size", "share", "typical", "size of all", "typical of all")


@pytest.fixture(scope="module")
def judged(truth: Truth, noised: Integers) -> Hits:
    return hits(truth, noised, shares=3)


@pytest.mark.parametrize("family", FAMILIES)
def test_intervals_hold_the_truth_as_often_as_they_say(family: str, judged: Hits) -> None:
    assert len(judged[family]) >= ROUNDS
    assert BAND[0] <= coverage(judged, family) <= BAND[1]


@pytest.mark.parametrize("family", FAMILIES)
def test_intervals_that_forget_two_of_three_shares_of_noise_fall_out_of_the_band(
    family: str, truth: Truth, noised: Integers
) -> None:
    assert coverage(hits(truth, noised[:300], shares=1), family) < 0.85


@pytest.mark.parametrize("louder", [4, 8])
def test_intervals_of_an_index_hold_it_as_often_as_they_say(louder: int, truth: Truth, noised: Integers) -> None:
    """With so much noise that ends which are rounded outward to whole numbers hold hardly more."""
    found: Hits = defaultdict(list)
    everybody = (truth.people @ truth.means / truth.people.sum()).tolist()
    for row in noised[:1000]:
        loud = truth.total + louder * (row - truth.total)
        answer = profile(QUESTION, loud, Noise(3, louder**2 * VARIANCE_MICRO))
        for i, segment in enumerate(answer["segments"].values()):
            for feature, own, whole in zip(QUESTION.features, truth.means[i].tolist(), everybody, strict=True):
                _judge(segment["index"][feature.name], 100 * feature.unit(own) / feature.unit(whole), "index", found)
    assert len(found["index"]) > 10_000
    assert BAND[0] <= coverage(found, "index") <= BAND[1]


def test_nearly_all_figures_are_shown(judged: Hits) -> None:
    """So that coverage is not that of the lucky figures which a gate let pass."""
    for family in FAMILIES:
        assert len(judged[f"gated {family}"]) < 0.02 * len(judged[family])


def test_the_truth_of_people_and_means_is_the_one_in_the_exact_sum(truth: Truth) -> None:
    """Two ways to it, so that neither can be wrong alone: the question's rows, and plain means by segment."""
    answer = profile(QUESTION, truth.total, Noise(1, 1))
    assert [int(one["size"]["value"]) for one in answer["segments"].values()] == truth.people.tolist()
    for one, mean in zip(answer["segments"].values(), truth.means, strict=True):
        for feature, value in zip(QUESTION.features, mean.tolist(), strict=True):
            shown = float(one["typical"][feature.name]["value"])
            assert shown == pytest.approx(feature.unit(value), rel=1e-3, abs=1)
