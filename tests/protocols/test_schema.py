"""What an agreed table may hold, and what its features are called."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from protocols.schema import Column, Schema, explain, nano_field


def refusal(columns: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as caught:
        Schema.model_validate({"name": "sales", "columns": columns})
    return explain(caught.value, "schema").message


def category(*values: str) -> dict[str, Any]:
    return {"type": "category", "values": list(values)}


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ({"type": "money"}, "a money column needs bounds"),
        ({"type": "money", "low": 1, "high": 1}, "low below high"),
        ({"type": "count"}, "a count column needs high"),
        ({"type": "count", "high": 0}, "a count column needs high"),
        ({"type": "count", "low": 0, "high": 9}, "no low"),
        ({"type": "date", "high": 9}, "type date takes no bounds"),
        (category("fresh", "other") | {"high": 9}, "type category takes no bounds"),
        ({"type": "category"}, "needs values"),
        (category("other"), "at least 2"),
        (category("fresh", "fresh", "other"), "each once"),
        (category("fresh", "frozen"), "must have 'other'"),
        (category("Fresh", "other"), "pattern"),
        (category("a" * 31, "other"), "pattern"),
        ({"type": "id", "values": ["fresh", "other"]}, "type id takes no values"),
    ],
)
def test_a_column_that_makes_no_sense_is_refused(column: dict[str, Any], said: str) -> None:
    assert said in refusal({"it": column})


def test_shares_and_sums_are_named_after_values_and_columns() -> None:
    columns = {"kind": category("fresh", "other"), "mails": {"type": "count", "high": 9}, "customer": {"type": "id"}}
    schema = Schema.model_validate({"name": "sales", "columns": columns})
    assert schema.shares() == {"share_fresh_ppm": ("kind", "fresh"), "share_other_ppm": ("kind", "other")}
    assert schema.sums() == {"sum_mails": "mails"}


def test_a_value_that_two_columns_have_is_named_with_its_column() -> None:
    columns = {"kind": category("fresh", "other"), "channel": category("other", "shop")}
    assert Schema.model_validate({"name": "sales", "columns": columns}).shares() == {
        "share_channel_other_ppm": ("channel", "other"),
        "share_shop_ppm": ("channel", "shop"),
        "share_fresh_ppm": ("kind", "fresh"),
        "share_kind_other_ppm": ("kind", "other"),
    }


def test_names_of_features_are_distinct_and_short_enough_for_a_question() -> None:
    clash = {"a": category("x", "other"), "b": category("x", "other"), "c": category("a_x", "other")}
    assert "two features would be called 'share_a_x_ppm'" in refusal(clash)
    assert "over 40 characters" in refusal({"n" * 37: {"type": "count", "high": 1}})
    long = "c" * 26
    assert "over 40 characters" in refusal({long: category("other", "x"), "kind": category("other", "y")})


def test_a_column_without_the_new_types_has_the_canonical_form_it_always_had() -> None:
    assert Column(type="id").body() == {"type": "id"}
    assert Column(type="money", low=0, high=9).body() == {"type": "money", "low": 0, "high": 9}


def test_a_table_may_say_of_which_id_it_has_one_row_each() -> None:
    columns = {"customer": {"type": "id"}, "kind": category("x", "other")}
    table = {"name": "sales", "columns": columns}
    assert Schema.model_validate(table | {"one_row_per": "customer"}).body()["one_row_per"] == "customer"
    assert Schema.model_validate(table).body().keys() == {"name", "columns"}  # as before there was such a thing
    for name in ("kind", "person"):
        with pytest.raises(ValidationError) as caught:
            Schema.model_validate(table | {"one_row_per": name})
        assert f"one_row_per is '{name}', which is no id column" in explain(caught.value, "schema").message


def test_a_cap_is_read_from_a_decimal_in_quotes_and_an_integer_of_no_file_is_billionths() -> None:
    assert nano_field("0.006", "caps.record") == 6_000_000
    assert nano_field(6_000_000, "caps.record") == 6_000_000
    with pytest.raises(ValueError, match="caps.record must be a decimal in quotes"):
        nano_field(0.006, "caps.record")
    with pytest.raises(ValueError, match="caps.record is '6e-3', not a decimal"):
        nano_field("6e-3", "caps.record")
