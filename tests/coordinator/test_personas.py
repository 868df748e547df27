"""Segments in words: every sentence is a claim that its figures bear out, and falls when one of them moves."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from coordinator.console import personas as p
from coordinator.console.feature_words import comparison
from protocols.figures import at
from tests.coordinator.test_segments_sections import make_plan

PLAN = make_plan()
FEATURES = ("recency_days", "spend_cents", "promo_share_ppm")
NOISY = {"value": "too noisy"}


def figure(value: float, half: float, digits: int = 0) -> dict[str, str]:
    parts = {"value": value, "low": value - half, "high": value + half}
    return {name: f"{x:.{digits}f}" for name, x in parts.items()}


def segment(size: int, share: float, index: tuple[float, float, float], half: float = 8.0) -> dict[str, Any]:
    return {
        "size": figure(size, 40),
        "share": figure(share, 0.01, 4),
        "typical": {name: figure(x, x / 20, 2) for name, x in zip(FEATURES, index, strict=True)},
        "index": {name: figure(x, half) for name, x in zip(FEATURES, index, strict=True)},
    }


def answer() -> dict[str, Any]:
    everybody = {"size": figure(5000, 90), "typical": {name: figure(100, 5, 2) for name in FEATURES}}
    found = {
        "s1": segment(3000, 0.6, (60, 250, 101)),
        "s2": segment(1200, 0.24, (150, 70, 95)),
        "s3": segment(800, 0.16, (103, 99, 320)),
    }
    return {"all": everybody, "segments": found}


def texts(found: dict[str, Any]) -> dict[str, list[str]]:
    return {persona.segment: [s.text for s in persona.sentences] for persona in p.personas(PLAN, found)}


def every_sentence(found: dict[str, Any]) -> list[tuple[str, p.Sentence]]:
    return [(persona.segment, s) for persona in p.personas(PLAN, found) for s in persona.sentences]


def test_the_cards_of_three_segments() -> None:
    one, two, three = p.personas(PLAN, answer())
    assert [one.name, two.name, three.name] == ["Big spenders", "Lapsed", "Bargain hunters"]
    assert one.paragraph == (
        "They are 60.0 % of all customers (59.0 % to 61.0 %). "
        "No other segment is as large: 3,000 customers (2,960 to 3,040). "
        "They spend far more than everybody (index 250, 242 to 258). "
        "Their last purchase is much more recent than everybody’s (index 60, 52 to 68)."
    )
    assert "Their last purchase is much longer ago than everybody’s (index 150, 142 to 158)." in two.paragraph
    assert "No other segment is as small: 800 customers (760 to 840)." in three.paragraph
    assert [claim.feature for claim in three.claims] == ["promo_share_ppm"]


def moved(found: dict[str, Any], pointer: str, by: float) -> dict[str, Any]:
    """The same answer where one figure is another by so many widths of its interval."""
    other = copy.deepcopy(found)
    leaf = at(other, pointer)
    width = float(leaf["high"]) - float(leaf["low"])
    digits = len(leaf["value"].partition(".")[2])
    leaf.update({name: f"{float(text) + by * width:.{digits}f}" for name, text in leaf.items()})
    return other


def onto(found: dict[str, Any], pointer: str, null: float) -> dict[str, Any]:
    """The same answer where one figure is so near to what its sentence excludes that its interval holds that."""
    other = copy.deepcopy(found)
    leaf = at(other, pointer)
    half = (float(leaf["high"]) - float(leaf["low"])) / 2
    beside = half / 2 if float(leaf["value"]) > null else -half / 2
    leaf.update(figure(null + beside, half, len(leaf["value"].partition(".")[2])))
    return other


FOUND = every_sentence(answer())
RESTS = [(name, sentence, pointer) for name, sentence in FOUND for pointer in sentence.figures]


def test_every_sentence_rests_on_a_figure() -> None:
    assert len(FOUND) == 3 + 2 + 5
    assert all(sentence.figures for _, sentence in FOUND)


@pytest.mark.parametrize(("name", "sentence", "pointer"), RESTS)
def test_a_figure_that_moves_beyond_its_interval_changes_or_ends_its_sentence(
    name: str, sentence: p.Sentence, pointer: str
) -> None:
    found = answer()
    for by in (1.5, -1.5):
        if "/size" in pointer and f"/{name}/" not in pointer:
            continue  # how far off another segment's size is does not matter: see the next test
        assert sentence.text not in texts(moved(found, pointer, by))[name]


def null_of(found: dict[str, Any], name: str, pointer: str) -> float:
    if "/index/" in pointer:
        return 100
    if "/share" in pointer:
        return 0
    sizes = {other: float(part["size"]["value"]) for other, part in found["segments"].items()}
    mine = pointer.split("/")[2] == name
    return sorted(sizes.values())[-2 if sizes[name] == max(sizes.values()) else 1] if mine else sizes[name]


@pytest.mark.parametrize(("name", "sentence", "pointer"), RESTS)
def test_a_sentence_is_not_printed_where_an_interval_holds_what_it_excludes(
    name: str, sentence: p.Sentence, pointer: str
) -> None:
    found = answer()
    start = sentence.text.split(" (")[0].split(":")[0][:24]
    still = texts(onto(found, pointer, null_of(found, name, pointer)))[name]
    assert not any(text.startswith(start) for text in still)


@pytest.mark.parametrize(
    ("low", "words"),
    [(99, None), (100, None), (101, "spend more than"), (119, "spend more than"), (120, "spend much more than"),
     (199, "spend much more than"), (200, "spend far more than"), (900, "spend far more than")],
)  # fmt: skip
def test_how_strong_the_words_are_follows_from_the_interval_s_nearer_end(low: int, words: str | None) -> None:
    found = answer()
    found["segments"]["s2"]["index"]["spend_cents"] = {"value": str(low + 20), "low": str(low), "high": str(low + 40)}
    said = [text for text in texts(found)["s2"] if "spend" in text and "discount" not in text]
    assert len(said) == (words is not None)
    assert all(words in text for text in said if words)


@pytest.mark.parametrize(
    ("high", "words"),
    [(101, None), (100, None), (99, "spend less than"), (84, "spend less than"), (83, "spend much less than"),
     (51, "spend much less than"), (50, "spend far less than"), (-3, "spend far less than")],
)  # fmt: skip
def test_and_so_for_less(high: int, words: str | None) -> None:
    found = answer()
    found["segments"]["s2"]["index"]["spend_cents"] = {"value": str(high - 9), "low": str(high - 18), "high": str(high)}
    said = [text for text in texts(found)["s2"] if "spend" in text and "discount" not in text]
    assert len(said) == (words is not None)
    assert all(words in text for text in said if words)


def test_a_segment_like_everybody_is_said_to_be_so_until_one_index_leaves_a_hundred() -> None:
    found = answer()
    found["segments"]["s2"] = segment(1200, 0.24, (104, 97, 100))
    (like,) = [persona for persona in p.personas(PLAN, found) if persona.segment == "s2"]
    assert (like.name, like.claims) == ("Like everybody", ())
    (nothing,) = [s for s in like.sentences if s.text.startswith("No feature sets them apart")]
    for pointer in nothing.figures:
        for by in (1.5, -1.5):
            assert nothing.text not in texts(moved(found, pointer, by))["s2"]
    found["segments"]["s2"]["index"]["spend_cents"] = NOISY
    assert nothing.text not in texts(found)["s2"]


def test_where_an_index_is_too_noisy_typical_values_that_do_not_meet_speak_but_not_of_how_much() -> None:
    found = answer()
    found["segments"]["s1"]["index"]["spend_cents"] = NOISY
    (said,) = [s for _, s in every_sentence(found) if s.text.startswith("They spend more than everybody (typically")]
    assert said.figures == ("/segments/s1/typical/spend_cents", "/all/typical/spend_cents")
    for pointer, null in zip(said.figures, (100, 250), strict=True):
        assert said.text not in texts(onto(found, pointer, null))["s1"]
        assert said.text not in texts(moved(found, pointer, 1.5))["s1"]
    found["all"]["typical"]["spend_cents"] = NOISY
    assert not any("spend" in text for text in texts(found)["s1"])


def test_nothing_is_said_of_a_segment_that_is_too_noisy() -> None:
    found = answer()
    noisy = {"typical": dict.fromkeys(FEATURES, NOISY), "index": dict.fromkeys(FEATURES, NOISY)}
    found["segments"]["s3"] = {"size": NOISY, "share": NOISY, **noisy}
    assert texts(found)["s3"] == []
    assert not any("No other segment" in text for said in texts(found).values() for text in said)


@pytest.mark.parametrize(
    ("signs", "name"),
    [
        ({"recency_days": 60, "baskets": 200, "spend_cents": 130}, "Loyal regulars"),
        ({"recency_days": 200, "baskets": 130}, "Lapsed regulars"),
        ({"recency_days": 60, "tenure_days": 40}, "Newcomers"),
        ({"recency_days": 200, "baskets": 50}, "Lapsed occasional buyers"),
        ({"promo_share_ppm": 60, "recency_days": 80}, "Full-price shoppers"),
        ({"baskets": 150}, "Frequent buyers"),
        ({"baskets": 108}, "Regulars"),
        ({"mean_basket_cents": 200}, "Big baskets"),
        ({"spend_cents": 108}, "More: spend"),
        ({"share_fresh-fish_ppm": 20}, "Less: share of spend on fresh-fish (dept)"),
    ],
)
def test_a_name_follows_from_the_claims_by_the_first_rule_that_fits(signs: dict[str, int], name: str) -> None:
    found = {"segments": {"s1": {"index": {feature: figure(x, 3) for feature, x in signs.items()}}}}
    assert p.name_of(PLAN, p.claims(found, "s1")) == name


@pytest.mark.parametrize("feature", [*p._RULES[0][1], "gap_days", "share_fresh-fish_ppm", "sum_mails", "visits_ppm"])
def test_each_feature_has_a_sentence_that_says_more_and_less(feature: str) -> None:
    sentence, more, less = comparison(PLAN, feature)
    assert sentence.count("{}") == 1
    assert more != less


# -- later -------------------------------------------------------------------------------------------------------------


def test_a_later_release_upholds_a_claim_contradicts_it_or_leaves_it_undecided() -> None:
    (claim, *_) = p.claims(answer(), "s1")
    assert (claim.feature, claim.more) == ("spend_cents", True)
    for index, verdict in ((figure(180, 30), "held"), (figure(70, 20), "contradicted"), (figure(120, 30), "undecided"),
                           (NOISY, "held")):  # fmt: skip
        later = answer()
        later["segments"]["s1"]["index"]["spend_cents"] = index
        assert p.held(claim, later, "s1") == verdict
    assert p.held(claim, answer(), "s9") == "undecided"


def test_accuracy_is_of_decided_claims_alone() -> None:
    assert p.accuracy(["held", "held", "contradicted", "undecided", "held"]) == p.Decimal("0.75")
    assert p.accuracy(["undecided"]) is None
