"""Figures of a report from noised counts: what they are where noise is small, and what is not said where it is not."""

from __future__ import annotations

from typing import Any

import pytest

from protocols.figures import TOO_NOISY, pointers
from protocols.questions.lookalike.report import NO_SIGNAL, SIGNAL, Owner
from protocols.questions.lookalike.scorer import CELLS

EVEN = [1_000] * CELLS  # cuts after 3, 6, 13, 19, 32 cells
FOUND = [600, 300, 500, 200, 300, 100]  # 2,000 of the seed, most of them among the likest


def owner(shared: list[int], variance: float = 100.0) -> Owner:
    return Owner(EVEN, variance, shared, variance)


def test_the_figures_are_the_ratios_of_the_counts() -> None:
    found = owner(FOUND).figures()
    assert found["people"]["value"] == "64000"
    assert found["seed"]["value"] == "2000"
    assert [found["cuts"][str(r)]["reach"]["value"] for r in (5, 10, 20, 30, 50)] == [
        "0.0469", "0.0938", "0.2031", "0.2969", "0.5000",
    ]  # fmt: skip
    recalls = [found["cuts"][str(r)]["recall"]["value"] for r in (5, 10, 20, 30, 50)]
    assert recalls == ["0.3000", "0.4500", "0.7000", "0.8000", "0.9500"]
    assert found["cuts"]["20"]["lift"]["value"] == "3.45"  # .7 over 13/64


def test_the_auc_is_how_often_the_seed_is_before_others_a_tie_counting_a_half() -> None:
    cells = [3, 3, 7, 6, 13, 32]
    beats = [sum(cells[b + 1 :]) + cells[b] / 2 for b in range(6)]
    exact = sum(x * g for x, g in zip(FOUND, beats, strict=True)) / 2_000 / 64
    assert owner(FOUND).figures()["auc"]["value"] == f"{exact:.3f}"


def test_every_leaf_is_a_figure() -> None:
    assert len(list(pointers(owner(FOUND).figures(1.5)))) == 2 + 15 + 3
    assert len(list(pointers(owner([0] * 6).figures()))) == 2 + 15 + 2


def test_a_seed_found_above_chance_is_a_usable_signal() -> None:
    assert owner(FOUND).figures()["signal"]["value"] == SIGNAL


def test_a_seed_spread_like_everybody_is_no_usable_signal() -> None:
    spread = [94, 94, 219, 187, 406, 1_000]
    found = owner(spread).figures()["signal"]
    assert found["value"] == NO_SIGNAL
    assert float(found["low"]) < 0.5 < float(found["high"])


def test_too_few_of_the_seed_among_an_owners_people_say_nothing_of_it() -> None:
    found = owner([30, 10, 10, 5, 5, 5], variance=400.0).figures(1.5)
    said: list[Any] = [found["auc"], found["signal"], found["default"]]
    said += [cut[name] for cut in found["cuts"].values() for name in ("recall", "lift")]
    assert all(one == {"value": TOO_NOISY} for one in said)
    assert found["cuts"]["20"]["reach"]["value"] == "0.2031"
    assert found["seed"]["value"] == "65"


def test_too_few_people_in_the_noise_have_no_reach() -> None:
    few = Owner([10] * CELLS, 900.0, FOUND, 100.0).figures()
    assert few["cuts"]["20"]["reach"] == {"value": TOO_NOISY}
    assert few["cuts"]["20"]["lift"] == {"value": TOO_NOISY}
    assert few["cuts"]["20"]["recall"]["value"] == "0.7000"


@pytest.mark.parametrize(("target", "cut"), [(1.5, "50"), (2.0, "30"), (3.0, "20"), (4.0, "10")])
def test_the_default_cut_is_the_largest_whose_lift_is_surely_the_target(target: float, cut: str) -> None:
    found = owner(FOUND).figures(target)
    assert found["default"]["value"] == cut
    assert float(found["default"]["low"]) >= target
    assert (found["default"]["low"], found["default"]["high"]) == tuple(
        found["cuts"][cut]["lift"][end] for end in ("low", "high")
    )


def test_no_cut_is_the_default_where_no_lift_surely_reaches_the_target() -> None:
    assert owner(FOUND).figures(9.0)["default"] == {"value": TOO_NOISY}
