"""How often a 95 % interval of latent classes holds what was planted, noise and people drawn anew 300 times."""

from __future__ import annotations

from typing import Any

import numpy as np

from coordinator.classes import fit
from protocols.figures import TOO_NOISY
from protocols.questions import classes
from protocols.questions.classes.model import Classes
from protocols.statistic import Noise
from tests.protocols.classes.planted import LEVELS, drawn, planted, question

RELEASES, PEOPLE = 300, 6000
NOISE = Noise(3, 12_500_000)
PLAN = question(2)


def released(seed: int) -> dict[str, Any]:
    """The figures of one sample of people from the planted classes, noised."""
    cells = planted(PEOPLE).expected.sum(axis=0)
    exact = np.append(np.random.default_rng([seed, 1]).multinomial(PEOPLE, cells / cells.sum()), 0)
    noised = drawn(exact, NOISE, seed)
    return classes.answer(PLAN, noised, NOISE, Classes.read(fit(PLAN, noised, NOISE), PLAN))


def test_intervals_of_sizes_shares_and_probabilities_hold_the_planted_classes_in_93_to_97_of_100() -> None:
    truth = planted(PEOPLE)
    held: dict[str, list[bool]] = {"size": [], "share": [], "chance": []}
    for seed in range(RELEASES):
        told = released(seed)["classes"]
        for k, size in enumerate(truth.sizes):
            one = told[f"c{k + 1}"]
            held["size"].append(_holds(one["size"], float(size)))
            held["share"].append(_holds(one["share"], float(size) / PEOPLE))
            for name, found in zip(LEVELS, truth.chances, strict=True):
                held["chance"].append(_holds(one["items"][name]["1"], float(found[k, 1])))
    for what, found_in in held.items():
        share = sum(found_in) / len(found_in)
        assert 0.93 <= share <= 0.97, (what, share)


def _holds(figure: dict[str, str], truth: float) -> bool:
    assert figure["value"] != TOO_NOISY
    return float(figure["low"]) <= truth <= float(figure["high"])
