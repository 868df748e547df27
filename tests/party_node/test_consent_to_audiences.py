"""A party may keep features out of all questions, and cap the cut of a lookalike, before anything is ranked."""

from __future__ import annotations

from typing import Any

import pytest

from party_node.policy import Consent, Undecided, check_consent
from protocols.errors import Refused, UsageError
from protocols.plan import Plan
from tests.party_node.test_consent_rules import SEGMENTS
from tests.protocols.overlap.crowd import plan_of, question_of
from tests.rounds import audience, lab
from tests.vectors.classes import plan_of as classes_plan


def verdict(rule: str, plan: Plan) -> str:
    try:
        check_consent(Consent.from_toml(f"[[deny]]\n{rule}\n".encode(), where="x"), None, plan, lambda *_: 0)
    except Undecided:
        return "ask"
    except Refused:
        return "no"
    return "yes"


def lookalike(**changes: Any) -> Plan:
    return lab.plan(**{**audience.CHANGES, "questions": [{**audience.QUESTION, **changes}]})


BY_RULE = {"party": "beta", "where": [{"feature": "tenure_days", "low": 90}]}
SHARE = {"name": "share_south_ppm", "transform": "identity", "low": 0, "high": 10**6}


@pytest.mark.parametrize(
    ("plan", "named"),
    [
        (lookalike(), "spend_cents"),
        (lookalike(), "region"),
        (lookalike(seed=BY_RULE), "tenure_days"),
        (lookalike(features=[*audience.FEATURES, SHARE]), "share_south_ppm"),
        (lookalike(features=[*audience.FEATURES, SHARE]), "region"),
        (lab.plan(questions=[SEGMENTS]), "baskets"),
        (lab.plan(), "discounted_baskets"),
        (classes_plan(), "spend_cents"),
        (plan_of(question_of("column")), "tier"),
    ],
)
def test_a_rule_that_names_a_feature_denies_whatever_asks_for_it_or_is_made_of_its_column(
    plan: Plan, named: str
) -> None:
    assert verdict(f'features = ["{named}"]', plan) == "no"
    assert verdict('features = ["gap_days"]', plan) == "ask"


@pytest.mark.parametrize(("most", "expected"), [(5, "no"), (19, "no"), (20, "ask"), (50, "ask")])
def test_a_rule_denies_a_larger_cut_than_it_names_and_no_smaller_one(most: int, expected: str) -> None:
    assert verdict(f"over_reach = {most}", lookalike(reach=20)) == expected


def test_a_rule_about_cuts_says_nothing_of_plans_without_any() -> None:
    assert verdict("over_reach = 1", lab.plan()) == "ask"


def test_all_conditions_of_a_rule_must_hold() -> None:
    both = 'over_reach = 10\nfeatures = ["region"]\nquestions = ["lookalike"]\npurpose = "*cohorts*"'
    assert verdict(both, lookalike()) == "no"
    assert verdict(both, lookalike(reach=10)) == "ask"


@pytest.mark.parametrize("rule", ["over_reach = 0", "over_reach = 101", 'over_reach = "20"', "features = []"])
def test_a_rule_that_says_nothing_sensible_is_refused(rule: str) -> None:
    with pytest.raises(UsageError, match="x: deny rule 1"):
        Consent.from_toml(f"[[deny]]\n{rule}\n".encode(), where="x")
