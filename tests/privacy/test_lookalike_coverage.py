"""A 95 % interval of a lookalike report holds the truth 95 times in 100, noise and sampling included, and no verdict of
an audit is wrong more often than intervals miss.

Scores are normal, so that recall, lift and AUC of a cut are known; the cut itself comes from each round's noise.
"""

from __future__ import annotations

from collections import defaultdict
from statistics import NormalDist

import numpy as np

from protocols.questions.lookalike import audit
from protocols.questions.lookalike.report import Owner
from protocols.questions.lookalike.scorer import CELLS, REACHES, bands, cuts

ROUNDS = 1_500  # .950 ± .0056: the band is more than three and a half standard deviations wide to each side
BAND = (0.93, 0.975)
PEOPLE, SEED, MOVED = 10_000, 600, 0.9
CELL_VARIANCE, SHARED_VARIANCE = 250.0, 300.0
NORMAL = NormalDist()
EDGES = np.array([NORMAL.inv_cdf(1 - share) for share in np.arange(1, CELLS) / CELLS])  # falling

Hits = dict[str, list[bool]]


def cells(scores: np.ndarray) -> np.ndarray:
    return np.searchsorted(-EDGES, -scores)


def held(found: tuple[float, object] | None, truth: float) -> bool:
    assert found is not None
    interval = found[1]
    return bool(interval.low <= truth <= interval.high)  # type: ignore[attr-defined]


def test_intervals_of_a_report_hold_the_truth() -> None:
    draw, hits = np.random.default_rng(17), defaultdict[str, list[bool]](list)
    for _ in range(ROUNDS):
        exact = np.bincount(cells(draw.normal(size=PEOPLE)), minlength=CELLS)
        noised = (exact + np.rint(draw.normal(0, CELL_VARIANCE**0.5, CELLS)).astype(np.int64)).tolist()
        found = cuts(noised)
        inside = np.bincount(bands(found, cells(draw.normal(MOVED, 1, SEED))), minlength=6)
        shared = (inside + np.rint(draw.normal(0, SHARED_VARIANCE**0.5, 6)).astype(np.int64)).tolist()
        owner = Owner(noised, CELL_VARIANCE, shared, SHARED_VARIANCE)
        upto, seed_upto = [0.0], [0.0]
        for i, cut in enumerate(found):
            edge = float(EDGES[cut - 1])
            upto.append(1 - NORMAL.cdf(edge))
            seed_upto.append(1 - NORMAL.cdf(edge - MOVED))
            hits[f"reach {REACHES[i]}"].append(held(owner.reach(i), exact[:cut].sum() / PEOPLE))
            hits[f"recall {REACHES[i]}"].append(held(owner.recall(i), seed_upto[-1]))
            hits[f"lift {REACHES[i]}"].append(held(owner.lift(i), seed_upto[-1] / upto[-1]))
        all_of, seed_of = np.diff([*upto, 1.0]), np.diff([*seed_upto, 1.0])
        beats = [all_of[b + 1 :].sum() + all_of[b] / 2 for b in range(6)]
        hits["auc"].append(held(owner.auc, float(seed_of @ beats)))
    assert len(hits) == 16
    for name, found_in in hits.items():
        assert BAND[0] <= np.mean(found_in) <= BAND[1], name


def test_a_seed_like_everybody_is_rarely_taken_for_a_signal() -> None:
    draw, usable = np.random.default_rng(19), []
    for _ in range(600):
        noised = np.bincount(cells(draw.normal(size=PEOPLE)), minlength=CELLS)
        noised = (noised + np.rint(draw.normal(0, CELL_VARIANCE**0.5, CELLS)).astype(np.int64)).tolist()
        inside = np.bincount(bands(cuts(noised), cells(draw.normal(size=SEED))), minlength=6)
        shared = (inside + np.rint(draw.normal(0, SHARED_VARIANCE**0.5, 6)).astype(np.int64)).tolist()
        auc = Owner(noised, CELL_VARIANCE, shared, SHARED_VARIANCE).auc
        usable.append(auc is not None and auc[1].low > 0.5)
    assert np.mean(usable) < 0.05  # a fortieth, and five deviations


def test_an_audits_verdicts_are_wrong_no_more_often_than_an_interval_misses() -> None:
    """Four groups, two of them exactly at four fifths, where a verdict is right or wrong by chance alone."""
    draw, wrong, decided = np.random.default_rng(23), 0, 0
    one = audit.Attribute("age", ("a", "b", "c", "d"), "a")
    people, rates = np.array([8_000, 6_000, 4_000, 2_000]), np.array([0.2, 0.16, 0.16, 0.2])
    rounds = 1_000
    for _ in range(rounds):
        within = draw.binomial(people, rates)
        exact = np.stack([people - within, within], axis=1).ravel()
        noised = exact + np.rint(draw.normal(0, 15, 8)).astype(np.int64)
        found = audit.figures([one], noised.tolist(), 225.0)["age"]
        verdicts = {name: found[name]["verdict"]["value"] for name in "bcd"}
        wrong += verdicts["b"] != audit.UNDECIDED or verdicts["c"] != audit.UNDECIDED or verdicts["d"] == audit.FAIL
        decided += verdicts["d"] == audit.PASS
    assert wrong / rounds < 0.06
    assert decided / rounds > 0.2
