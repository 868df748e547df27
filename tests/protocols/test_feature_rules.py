"""The public constants by which rows become features, and the features that follow from them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from protocols.plan import ALWAYS, FeatureRules
from protocols.schema import Schema, explain

RULES: dict[str, Any] = {"as_of": "2018-01-02", "discount_depth_percent": 15}
BG_NBD = {"r": "0.243", "alpha": "30.898", "a": "0.793", "b": "2.426"}
GAMMA_GAMMA = {"p": "6.25", "q": "3.74", "v": "15.44"}
KIND = {"type": "category", "values": ["fresh", "other"]}
TABLE = Schema.model_validate({"name": "sales", "columns": {"mails": {"type": "count", "high": 9}, "kind": KIND}})


def refusal(**fields: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        FeatureRules.model_validate(RULES | fields)
    return explain(caught.value, "features").message


def test_features_are_named_by_the_rules_and_the_table_with_usable_last() -> None:
    shares = ("share_fresh_ppm", "share_other_ppm", "sum_mails")
    rules = FeatureRules.model_validate(RULES)
    assert rules.names(Schema(name="sales", columns={})) == (*ALWAYS, "usable")
    assert rules.names(TABLE) == (*ALWAYS, *shares, "usable")
    alive = FeatureRules.model_validate(RULES | {"bg_nbd": BG_NBD})
    assert alive.names(TABLE) == (*ALWAYS, *shares, "alive_ppm", "usable")
    both = FeatureRules.model_validate(RULES | {"bg_nbd": BG_NBD, "gamma_gamma": GAMMA_GAMMA})
    assert both.names(TABLE) == (*ALWAYS, *shares, "alive_ppm", "value_12m_cents", "usable")


def test_rules_without_models_have_the_canonical_form_they_always_had() -> None:
    assert FeatureRules.model_validate(RULES).body() == RULES


@pytest.mark.parametrize("name", sorted(BG_NBD))
@pytest.mark.parametrize("text", ["0", "0.000000000", "-1", "1e-3", "nan", "inf", ".5", "5.", "10000", "0.0000000001"])
def test_a_parameter_is_a_plain_decimal_above_zero(name: str, text: str) -> None:
    assert f"bg_nbd.{name}" in refusal(bg_nbd=BG_NBD | {name: text})


def test_a_parameter_is_no_float_and_none_may_lack_or_be_added() -> None:
    assert "bg_nbd.r" in refusal(bg_nbd=BG_NBD | {"r": 0.243})
    assert "bg_nbd.r" in refusal(bg_nbd={name: text for name, text in BG_NBD.items() if name != "r"})
    assert "gamma_gamma.x" in refusal(bg_nbd=BG_NBD, gamma_gamma=GAMMA_GAMMA | {"x": "1"})


@pytest.mark.parametrize(("a", "b"), [("1", "2"), ("1.000", "2"), ("0.4", "0.6"), ("0.25", "0.75")])
def test_a_pole_of_the_closed_form_is_refused(a: str, b: str) -> None:
    assert "divides by zero" in refusal(bg_nbd=BG_NBD | {"a": a, "b": b})


@pytest.mark.parametrize("q", ["1", "0.999999999"])
def test_an_infinite_mean_spend_is_refused(q: str) -> None:
    assert "q must be above 1" in refusal(bg_nbd=BG_NBD, gamma_gamma=GAMMA_GAMMA | {"q": q})


def test_spend_without_a_model_of_who_comes_back_is_refused() -> None:
    assert "gamma_gamma needs bg_nbd" in refusal(gamma_gamma=GAMMA_GAMMA)
