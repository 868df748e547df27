"""Golden bytes of plans."""

from __future__ import annotations

from typing import Any

from protocols.encoding import canonical
from tests.ledger import builder as b
from tests.vectors.classes import CLASSES, ITEMS
from tests.vectors.lookalikes import LOOKALIKE
from tests.vectors.overlaps import THREE, TWO
from tests.vectors.questions import RANGE_PLAN, SEGMENTS_PLAN
from tests.vectors.rooms import FIVE
from tests.vectors.spoiled import Files, as_json, changed, without

SEGMENTS = {
    "kind": "segments",
    "rho": {"moments": 1_500_000, "coarse": 3_000_000, "fine": 5_500_000, "over": 4_500_000, "lloyd": 2_500_000,
            "profile": 12_000_000},
    "features": [
        {"name": "recency_days", "transform": "log1p", "low": 0, "high": 365},
        {"name": "sum_visits", "transform": "identity", "low": 0, "high": 100},
    ],
    "clusters": 3,
    "lloyd_rounds": 2,
    "coarse_cells": 16,
    "fine_cells": 64,
}  # fmt: skip
COLUMNS = {
    "customer": {"type": "id"},
    "bought_on": {"type": "date"},
    "paid": {"type": "money", "low": -10000, "high": 10000},
    "visits": {"type": "count", "high": 50},
    "channel": {"type": "category", "values": ["shop", "web", "other"]},
}
WIDE = [{"feature": item["feature"], "cuts": list(range(1, 16))} for item in ITEMS]
BG_NBD = {"r": "1.104", "alpha": "11.84", "a": "0.165", "b": "142"}
GAMMA_GAMMA = {"p": "0.614", "q": "2.202", "v": "40.8"}


PEOPLE = {"column": "email", "key": "email", "links": ["phone", "card"], "country": "DE", "gmail_dots": True}
KNOWN_BY = {
    "customer": {"type": "id"},
    "email": {"type": "email"},
    "phone": {"type": "phone"},
    "card": {"type": "id"},
}


def people_vectors() -> Files:
    """Plans with rules of who is one person."""
    good = {**b.PLAN, "people": PEOPLE, "table": {"name": "customers", "columns": KNOWN_BY}}
    visited = {**KNOWN_BY, "visits": {"type": "count", "high": 50}}
    groups = {**good, "rho": 40_000_000, "questions": [SEGMENTS]}
    files = {
        "good-email": good,
        "good-id": {**b.PLAN, "people": {"column": "customer", "key": "id"}},
        "bad-no-such-column": changed(good, "people", "links", to=["phone", "mobile"]),
        "bad-column-of-another-type": changed(good, "people", "key", to="maid"),
        "bad-link-of-another-type": changed(groups, "table", "columns", to=visited)
        | {"questions": good["questions"], "people": {**PEOPLE, "links": ["phone", "visits"]}},
        "bad-link-is-the-key": changed(good, "people", "links", to=["phone", "email"]),
        "bad-no-country": {**good, "people": without(PEOPLE, "country")},
        "bad-country-of-no-number": changed(good, "people", "links", to=["card"]),
        "bad-gmail-dots-of-no-address": {**good, "people": {"column": "card", "key": "id", "gmail_dots": False}},
        "bad-feature-without-its-column": changed(groups, "table", "columns", to=visited),
    }
    return as_json(files)


def lookalike_plans() -> dict[str, Any]:
    """A plan of a lookalike, and what it may not ask."""
    at, seed = ("questions", 0), ("questions", 0, "seed")
    by_list = {"party": "beta", "list": "loyal"}
    strange = {"party": "beta", "where": [{"feature": "sum_calls", "low": 1}]}
    return {
        "good-lookalike": LOOKALIKE,
        "bad-lookalike-without-keys": without(LOOKALIKE, "people"),
        "bad-lookalike-seed-in-two-ways": changed(LOOKALIKE, *seed, "list", to="loyal"),
        "bad-lookalike-seed-in-no-way": changed(LOOKALIKE, *seed, to={"party": "beta"}),
        "bad-lookalike-seed-cleaned-by-a-fit": changed(LOOKALIKE, *seed, to={**by_list, "clean": "seed"}),
        "bad-lookalike-seed-of-no-feature": changed(LOOKALIKE, *seed, to=strange),
        "bad-lookalike-seed-of-a-stranger": changed(LOOKALIKE, *seed, "party", to="delta"),
        "bad-lookalike-seeds-party-ranks": changed(LOOKALIKE, *at, "ranks", to=["alpha", "beta"]),
        "bad-lookalike-floor-too-low": changed(LOOKALIKE, *at, "floor", to=499),
        "bad-lookalike-reach-of-another-cut": changed(LOOKALIKE, *at, "reach", to=25),
        "bad-lookalike-target-below-one": changed(LOOKALIKE, *at, "target", to="0.9"),
        "bad-lookalike-audit-of-nothing": changed(LOOKALIKE, *at, to=without(LOOKALIKE["questions"][0], "attributes")),
        "bad-lookalike-audit-of-no-category": changed(LOOKALIKE, *at, "attributes", 0, "column", to="mail"),
        "bad-lookalike-reference-unknown": changed(LOOKALIKE, *at, "attributes", 0, "reference", to="silver"),
        "bad-lookalike-of-more-dummies-than-people": {**LOOKALIKE, "people_cap": 600},
    }


def plan_vectors() -> Files:
    rfm: dict[str, Any] = b.PLAN
    raw = canonical(rfm)
    features = {**rfm["features"], "bg_nbd": BG_NBD, "gamma_gamma": GAMMA_GAMMA}
    table = {"name": "sales", "columns": COLUMNS}
    segments = {**rfm, "name": "groups", "rho": 40_000_000, "features": features, "table": table}
    segments["questions"] = [SEGMENTS]
    question = rfm["questions"][0]
    files = {
        "good-rfm": rfm,
        "good-rfm-of-five": FIVE.plan.body(),
        "good-segments": segments,
        "good-segments-of-three": SEGMENTS_PLAN,
        "good-segments-of-two-or-three": RANGE_PLAN,
        "bad-segments-of-no-range": changed(RANGE_PLAN, "questions", 0, "clusters", "least", to=3),
        "good-classes": CLASSES,
        "bad-classes-too-many-for-their-items": changed(CLASSES, "questions", 0, "classes", to=4),
        "bad-classes-range-of-one": changed(CLASSES, "questions", 0, "classes", to={"least": 3, "most": 3}),
        "bad-classes-of-no-feature": changed(CLASSES, "questions", 0, "items", 0, "feature", to="usable"),
        "bad-classes-feature-twice": changed(CLASSES, "questions", 0, "items", 1, "feature", to="recency_days"),
        "bad-classes-cuts-not-ascending": changed(CLASSES, "questions", 0, "items", 1, "cuts", to=[16, 4]),
        "bad-classes-too-many-patterns": changed(CLASSES, "questions", 0, "items", to=WIDE),
        **lookalike_plans(),
        "good-overlap-of-three": THREE,
        "good-overlap-of-two": TWO,
        "bad-overlap-without-keys": without(THREE, "people"),
        "bad-overlap-of-one": {**TWO, "parties": ["alpha"], "recipients": ["alpha"], "collusion": 0, "quorum": 1},
        "bad-overlap-by-no-column": changed(THREE, "questions", 0, "lists", "column", to="mail"),
        "bad-overlap-by-segments-of-none": changed(THREE, "questions", 0, "lists", to={"by": "segments"}),
        "bad-overlap-value-of-a-stranger": changed(THREE, "questions", 0, "value", "party", to="delta"),
        "bad-overlap-value-of-no-feature": changed(THREE, "questions", 0, "value", "feature", to="sum_calls"),
        "bad-overlap-of-more-dummies-than-people": {**THREE, "people_cap": 500},
        "bad-unknown-field": {**rfm, "note": "x"},
        "bad-missing-field": without(rfm, "purpose"),
        "bad-type-left-out": without(rfm, "type"),
        "bad-kind-left-out": changed(rfm, "questions", 0, to=without(question, "kind")),
        "bad-null": changed(rfm, "features", "bg_nbd", to=None),
        "bad-white-space": raw + b" ",
        "bad-float": raw.replace(b'"deadline_s":60', b'"deadline_s":60.0'),
        "bad-integer-too-large": raw.replace(b'"people_cap":5000', b'"people_cap":9007199254740992'),
        "bad-rho-as-text": {**rfm, "rho": "0.02"},
        "bad-parties-not-sorted": {**rfm, "parties": ["beta", "alpha", "gamma"]},
        "bad-recipient-outside": {**rfm, "recipients": ["delta"]},
        "bad-quorum": {**rfm, "quorum": 2},
        "bad-quorum-below-the-threshold": {**FIVE.plan.body(), "quorum": 3},
        "bad-collusion": {**rfm, "collusion": 0},
        "bad-delta": {**rfm, "delta": "0.00001"},
        "bad-deadline-too-short": {**rfm, "answer_after_s": 26},
        "bad-rho-too-low": {**rfm, "rho": 17_999_999},
        "bad-blocks-overlap": changed(rfm, "blocks", "q2", "first", to="2017-03-31"),
        "bad-no-such-day": changed(rfm, "blocks", "q2", "last", to="2017-06-31"),
        "bad-as-of-too-early": changed(rfm, "features", "as_of", to="2017-06-29"),
        "bad-unknown-question": changed(rfm, "questions", 0, "kind", to="mean"),
        "bad-question-twice": {**rfm, "rho": 40_000_000, "questions": [question, question]},
        "bad-bins-not-ascending": changed(rfm, "questions", 0, "recency_days", to=[10, 20, 20, 80]),
        "bad-little-noise": changed(rfm, "questions", 0, "rho", "cuts", to=200_000_000) | {"rho": 300_000_000},
        "bad-sum-beyond-53-bits": {**SEGMENTS_PLAN, "people_cap": 10**11, "delta": "0.000000000001"},
        "bad-unknown-feature": changed(segments, "questions", 0, "features", 1, "name", to="sum_calls"),
        "bad-covariance-of-two-features": changed(segments, "questions", 0, "rho", "covariance", to=1_000_000),
        "bad-category-without-other": changed(segments, "table", "columns", "channel", "values", to=["shop", "web"]),
    }
    return as_json(files)
