"""What an attacker gains who names the seed: a seed of one person, the same seed again, all others' shares at hand.

The seed's sum is one party's alone. Whoever reads it (the advertiser of another party, the coordinator, all others
together, who know that their own shares are zeros) sees it with the noise of its owner and no other. The best that can
be done with it is a likelihood ratio; by how much that is right more often than a coin is measured here, on the noise
that the product draws, beside what ρ promises: at most √(ρ/2) (Pinsker's inequality, with a KL divergence of at most
ρ: Bun & Steinke 2016, Definition 1.1), and for Gaussian noise erf(√ρ/2).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from party_node import share
from protocols.plan import Mechanism, Plan
from protocols.statistic import Integers, Step
from tests.rounds import audience, lab

DRAWS = 700
STANDARD_ERROR = math.sqrt(0.5 / DRAWS)  # of an advantage: two rates of at most a half each, added


def plan_of(rho: int) -> Plan:
    question = {**audience.QUESTION, "rho": {**audience.SHARES, "seed": rho}}
    return lab.plan(**{**audience.CHANGES, "questions": [question], "rho": 10**10})


def space_state(step: Step) -> dict[str, Any]:
    """A space as it might be released."""
    from protocols.questions.lookalike.space import ONE, bins_of, starts

    features = plan_of(10**7).questions[0].features  # type: ignore[union-attr]
    many = [len(starts(feature)) for feature in features]
    scores = [[(2 * i + 1 - n) * 2 * ONE // n for i in range(n)] for n in many]
    bins = [sorted({i * n // bins_of(f) for i in range(bins_of(f))}) for n, f in zip(many, features, strict=True)]
    return {"scores": scores, "bins": bins}


def person(seed: int) -> dict[str, Integers]:
    values = {"recency_days": 3, "baskets": 17, "spend_cents": 90_000, "usable": 1, "seed": seed, "counted": seed}
    return {name: np.array([value], dtype=np.int64) for name, value in values.items()}


def sum_of(step: Step, in_seed: bool) -> Integers:
    """What the owner of the seed computes where its seed is this person, or nobody."""
    return step.tally(audience.SEED_PARTY, person(int(in_seed)), {"look-edges": {"state": space_state(step)}}).total


def advantage(step: Step, mechanism: Mechanism, rounds: int) -> float:
    """How much oftener than by a coin the best test tells the two seeds apart, from so many rounds of them."""
    own = step.statistic.own(audience.SEED_PARTY)
    direction = sum_of(step, True)[own].astype(np.float64)
    right = []
    for in_seed in (True, False):
        exact = sum_of(step, in_seed)[own]
        drawn = share.draw(np.tile(exact, DRAWS * rounds), mechanism).reshape(DRAWS, rounds, len(exact))
        yes = (drawn @ direction).mean(axis=1) > direction @ direction / 2
        right.append(float(np.mean(yes if in_seed else ~yes)))
    return sum(right) - 1


@pytest.mark.parametrize("rho", [50_000_000, 500_000_000])
def test_a_seed_of_one_person_tells_an_attacker_of_all_others_no_more_than_rho_allows(rho: int) -> None:
    step, mechanism = plan_of(rho).step("look-seed")
    found, exact = advantage(step, mechanism, 1), math.erf(math.sqrt(rho / 1e9) / 2)
    assert found <= math.sqrt(rho / 2e9) + 4 * STANDARD_ERROR
    assert abs(found - exact) <= 4 * STANDARD_ERROR, "the attack is the best there is: it finds what there is to find"


def test_half_the_noise_would_be_seen_by_the_same_attacker() -> None:
    """The measurement can fail."""
    step, mechanism = plan_of(500_000_000).step("look-seed")
    halved = mechanism.model_copy(update={"variance": str(mechanism.variance_micro // 4 // 10**6)})
    assert advantage(step, halved, 1) > math.erf(math.sqrt(0.5) / 2) + 4 * STANDARD_ERROR


def test_the_same_seed_asked_again_costs_again_and_tells_no_more_than_all_its_cost() -> None:
    """Two rounds of ρ .2 are worth one of .4: averaging gains what was paid for."""
    rho, rounds = 200_000_000, 2
    step, mechanism = plan_of(rho).step("look-seed")
    found, exact = advantage(step, mechanism, rounds), math.erf(math.sqrt(rounds * rho / 1e9) / 2)
    assert found <= math.sqrt(rounds * rho / 2e9) + 4 * STANDARD_ERROR
    assert abs(found - exact) <= 4 * STANDARD_ERROR


def test_who_is_not_in_the_seed_is_nowhere_in_what_its_party_sends_for_it() -> None:
    step, _ = plan_of(10**7).step("look-seed")
    assert not sum_of(step, False).any()
    for party in audience.OWNERS:
        assert not step.tally(party, person(1), {"look-edges": {"state": space_state(step)}}).total.any()
