"""Segments of two rounds: names follow their segments, and drift is seen where there is some and rarely otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from coordinator.comparing import NOMINAL, Segmentation, check_comparable, compare, drift, matched
from protocols.errors import IntegrityError, Refused
from protocols.questions.segments.states import Clusters, Reals
from tests.coordinator.test_segments_sections import MEANS, PEOPLE, RECENCY, SPEND, make_bodies, make_plan

SHARES = np.array([0.35, 0.25, 0.2, 0.15, 0.05])
TRIALS = 4000


def noised(draw: np.random.Generator, shares: Reals, people: int, sigma: float) -> Reals:
    return draw.multinomial(people, shares) + np.rint(draw.normal(0, sigma, len(shares)))


def triggers(people: int, sigma: float, later: Reals = SHARES, trials: int = TRIALS) -> float:
    """How often drift is seen between two rounds of so many people, drawn anew, with noise in every count."""
    draw = np.random.default_rng(people)
    seen = [
        drift(noised(draw, SHARES, people, sigma), noised(draw, later, people, sigma), (sigma**2, sigma**2)).moved
        for _ in range(trials)
    ]
    return float(np.mean(seen))


@pytest.mark.parametrize(("people", "sigma"), [(3000, 4.0), (3000, 15.0), (30_000, 15.0), (30_000, 60.0)])
def test_where_nothing_moved_drift_is_seen_as_often_as_is_said(people: int, sigma: float) -> None:
    """1 % of 4,000: 25 to 58 are within three standard deviations, and a little more for p that is estimated."""
    assert 0.005 <= triggers(people, sigma) <= 0.0165


def test_noise_that_is_not_reckoned_with_would_be_taken_for_drift() -> None:
    draw, silent = np.random.default_rng(1), (1e-9, 1e-9)
    seen = [drift(*(noised(draw, SHARES, 3000, 40.0) for _ in range(2)), silent).moved for _ in range(400)]
    assert np.mean(seen) > 10 * NOMINAL


def test_a_shift_of_three_points_is_seen_among_thirty_thousand_people() -> None:
    assert triggers(30_000, 15.0, SHARES + np.array([-0.03, 0.03, 0, 0, 0]), trials=300) > 0.99


@pytest.mark.parametrize("seed", range(5))
def test_segments_are_found_again_in_whatever_order_and_however_little_they_moved(seed: int) -> None:
    draw = np.random.default_rng(seed)
    earlier = draw.uniform(-1, 1, (6, 3))
    order = draw.permutation(6)
    later = (earlier + draw.normal(0, 0.02, earlier.shape))[order]
    assert [(i, int(order[j])) for i, j in matched(earlier, later)] == [(i, i) for i in range(6)]


def test_of_fewer_or_more_segments_the_nearest_are_matched_and_the_others_are_gone_or_new() -> None:
    earlier, later = np.array([[-0.5], [0.0], [0.6]]), np.array([[0.55], [-0.45]])
    assert matched(earlier, later) == [(0, 1), (2, 0)]
    assert matched(later, earlier) == [(0, 2), (1, 0)]


# -- whole rounds ------------------------------------------------------------------------------------------------------


def round_of(people: list[int] = PEOPLE, means: list[list[float]] = MEANS, **plan: Any) -> Segmentation:
    """A round whose last centres are its segments' means."""
    agreed = make_plan(**plan)
    bodies = make_bodies(agreed, people, means)
    centres = Clusters(np.array(means), 1.0, np.array(people, float), np.zeros(len(people))).write()
    at = [body.step for body in bodies].index("seg-lloyd-2")
    bodies[at] = bodies[at].model_copy(update={"state": centres})
    return Segmentation.of(agreed, bodies)


def test_a_round_compared_with_itself_has_every_segment_every_claim_and_no_drift() -> None:
    one = round_of()
    assert one.counts == pytest.approx(PEOPLE, abs=0.1)
    found = compare(one, one)
    assert [(t.earlier, t.later, t.distance) for t in found.tracked] == [(f"s{i}", f"s{i}", 0.0) for i in (1, 2, 3)]
    assert {verdict for t in found.tracked for verdict in t.verdicts.values()} == {"held"}
    assert (found.accuracy, found.gone, found.new) == (1.0, (), ())
    assert found.drift is not None
    assert found.drift.p == pytest.approx(1)


def test_names_stay_with_their_segments_when_the_sizes_change_places() -> None:
    """The largest comes first in a release: a segment that grew has another place in the later one."""
    earlier, later = round_of(), round_of([3200, 1500, 300], [MEANS[2], MEANS[0], MEANS[1]])
    found = compare(earlier, later)
    assert [(t.earlier, t.later) for t in found.tracked] == [("s1", "s2"), ("s2", "s3"), ("s3", "s1")]
    names = [t.name for t in found.tracked]
    assert names == [t.name for t in compare(earlier, earlier).tracked]
    assert found.drift is not None
    assert found.drift.moved


def test_what_a_later_round_contradicts_is_no_longer_held() -> None:
    turned = [MEANS[0], [-0.6, 0.3, -0.2], MEANS[2]]
    found = compare(round_of(), round_of(means=turned))
    assert "contradicted" in {verdict for t in found.tracked for verdict in t.verdicts.values()}
    assert found.accuracy is not None
    assert found.accuracy < 1


def test_of_other_numbers_of_segments_and_of_noisy_ones_no_drift_is_told() -> None:
    one, few = round_of(), round_of(PEOPLE[:2], MEANS[:2], clusters=2)
    found = compare(one, few)
    assert (len(found.tracked), found.drift, found.new) == (2, None, ())
    assert len(found.gone) == 1
    assert compare(few, one).new == found.gone
    assert compare(one, replace(one, variance=1e6)).drift is None


@pytest.mark.parametrize(
    ("features", "words"),
    [
        ((RECENCY, SPEND), "of other features"),
        ((SPEND, RECENCY), "of other features"),
        ((RECENCY, {**SPEND, "high": 2_000_000}), "feature spend_cents has other bounds"),
        ((RECENCY, {**SPEND, "low": 101}), "feature spend_cents has other bounds"),
        (({**RECENCY, "transform": "identity"}, SPEND), "feature recency_days has other bounds"),
    ],
)
def test_segments_of_other_features_or_bounds_are_not_compared(features: Any, words: str) -> None:
    asked, other = make_plan((RECENCY, SPEND)).questions[0], make_plan(features).questions[0]
    if features == (RECENCY, SPEND):
        other = make_plan().questions[0]
    with pytest.raises(Refused, match=words):
        check_comparable(asked, other)
    check_comparable(asked, make_plan((RECENCY, SPEND), clusters=2).questions[0])


def test_rounds_of_other_bounds_are_refused_before_anything_is_compared() -> None:
    wide = [{**RECENCY, "high": 730}, SPEND, {"name": "promo_share_ppm", "transform": "identity", "low": 0,
            "high": 1_000_000}]  # fmt: skip
    with pytest.raises(Refused, match="feature recency_days has other bounds"):
        compare(round_of(), round_of(features=wide))


def test_a_round_without_segments_or_without_centres_is_refused() -> None:
    plan = make_plan()
    bodies = make_bodies(plan)
    with pytest.raises(Refused, match="released no segments"):
        Segmentation.of(plan, bodies[:-1])
    with pytest.raises(IntegrityError, match="no centres"):
        Segmentation.of(plan, [body for body in bodies if body.step != "seg-lloyd-2"])
