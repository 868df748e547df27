"""An owner's own ranking: it finds whom the seed is like, and is nobody else's business, because absences move it."""

from __future__ import annotations

import numpy as np
import pytest

from party_node.own_likeness import own_scores
from protocols.errors import UsageError
from protocols.feature import Feature
from protocols.questions.lookalike import space
from protocols.questions.lookalike.space import Space
from protocols.statistic import Integers, Noise, People

FEATURES = [Feature(name=f"x{j}", transform="identity", low=-4_000, high=4_000) for j in range(3)]
NOISE = Noise(1, 4 * 2**32 * 10**6)  # two people


def shared() -> Space:
    scores = [np.clip((space.starts(f) + 16) * space.ONE // 1_000, -space.FARTHEST, space.FARTHEST) for f in FEATURES]
    return Space(tuple(FEATURES), tuple(scores), tuple(np.array([0, 64, 128, 192]) for _ in FEATURES))


def people(n: int, seed: int = 4) -> dict[str, Integers]:
    x = np.rint(np.random.default_rng(seed).normal(0, 1_000, (n, 3))).astype(np.int64)
    return {f.name: x[:, j] for j, f in enumerate(FEATURES)} | {"usable": np.ones(n, dtype=np.int64)}


def seed_sum() -> Integers:
    everybody = people(5_000, seed=5)
    likely = np.argsort(-everybody["x0"])[:600]
    total = shared().rows({name: column[likely] for name, column in everybody.items()}).sum(axis=0)
    noise = np.rint(np.random.default_rng(6).normal(0, 2 * space.SCALE, len(total)))
    return np.append(total + noise.astype(np.int64), 0)


def test_those_most_like_the_seed_come_first() -> None:
    mine = people(3_000)
    order = np.argsort(-own_scores(shared(), seed_sum(), NOISE, mine))
    assert mine["x0"][order[:300]].mean() > 1_300
    assert mine["x0"][order[1_500:]].mean() < -400


def test_people_who_are_not_usable_change_nothing() -> None:
    mine = people(3_000)
    strange: People = {name: np.append(column, -(2**63)) for name, column in mine.items()} | {
        "usable": np.append(mine["usable"], 0)
    }
    assert np.array_equal(
        own_scores(shared(), seed_sum(), NOISE, strange)[:-1], own_scores(shared(), seed_sum(), NOISE, mine)
    )


def test_one_persons_absence_moves_the_scores_of_others() -> None:
    """Why it may label nothing that leaves."""
    mine = people(300)
    fewer = {name: column[1:] for name, column in mine.items()}
    whole, without = (own_scores(shared(), seed_sum(), NOISE, who) for who in (mine, fewer))
    assert np.any(whole[1:] != without)


def test_nobody_to_compare_with_is_told() -> None:
    with pytest.raises(UsageError, match="nobody to compare with"):
        own_scores(shared(), seed_sum(), NOISE, people(1))
