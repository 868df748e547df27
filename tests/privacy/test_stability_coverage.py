"""The 95 % interval of how surely people keep their segment holds their exact mean 95 times in 100, gated or not."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.budget import variance_for
from protocols.figures import TOO_NOISY
from protocols.noise import add_noise
from protocols.questions import segments
from protocols.questions.segments.stability import stability
from protocols.questions.segments.states import Clusters
from protocols.statistic import Noise, tally
from tests.privacy.test_segments_coverage import BAND, CENTRES, QUESTION, generated

ROUNDS = 6_000  # a figure a round then covers ± .0028: the band is five deviations from .956, ends rounded outward
DEVIATION = np.array([0.1, 0.2, 0.15, 0.3])
ASKED = segments.Plan.model_validate(QUESTION.body() | {"rho": QUESTION.rho.body() | {"stability": 10**6}})
STEP = segments.steps(ASKED)[-1][0]


@pytest.mark.parametrize(("rho", "gated"), [(12_000_000, 0.0), (1_000_000, 0.0), (40_000, 0.3)])
def test_intervals_hold_the_mean_of_the_people_there_are(rho: int, gated: float) -> None:
    clusters = Clusters(CENTRES, 0.5, np.zeros(len(CENTRES)), DEVIATION)
    parties, earlier = [generated(seed) for seed in range(3)], {"seg-lloyd-1": {"state": clusters.write()}}
    sums = [tally(STEP.statistic, one, lambda batch: STEP.contribute(batch, earlier)) for one in parties]
    x = np.concatenate([segments.scaled(ASKED, one)[one["usable"] == 1] for one in parties])
    at, _ = segments.nearest(x, CENTRES)
    sure = segments.keeps(x, clusters)
    truth = [float(sure[at == i].mean()) for i in range(len(CENTRES))]
    assert max(truth) - min(truth) > 0.02
    variance_micro = variance_for(rho, STEP.statistic.bound_sq, 1)
    side_by_side = np.tile(np.sum([one.total for one in sums], axis=0), ROUNDS)
    for _ in parties:
        side_by_side = add_noise(side_by_side, bound_sq=STEP.statistic.bound_sq, variance_micro=variance_micro)
    held: dict[str, list[bool]] = {"each": [], "all": [], "noisy": []}
    for row in side_by_side.reshape(ROUNDS, -1):
        answer = stability(row, Noise(3, variance_micro), len(CENTRES))
        told = [*zip(answer["segments"].values(), truth, ["each"] * len(truth), strict=True)]
        for one, true, family in [*told, (answer["all"], float(sure.mean()), "all")]:
            noisy = one["keeps"]["value"] == TOO_NOISY
            held["noisy"].append(noisy)
            if not noisy:
                held[family].append(float(one["keeps"]["low"]) <= true <= float(one["keeps"]["high"]))
    share = {family: sum(found) / len(found) for family, found in held.items()}
    assert share["noisy"] == pytest.approx(gated, abs=0.3 if gated else 0.01)
    assert BAND[0] <= share["each"] <= BAND[1]
    assert BAND[0] <= share["all"] <= BAND[1]
