"""One person is spelled in one way at every party, and rules that fit no table are refused."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from protocols.encoding import canonical, digest
from protocols.errors import SumroomError
from protocols.people import PeopleRules, email, identifier, maid, sha256
from protocols.plan import Plan
from protocols.schema import explain
from tests.protocols.test_plan import PLAN, changed

UUID = "38400000-8cf0-11bd-b23e-10b96e40000d"
TABLE = {
    "name": "customers",
    "columns": {
        "customer": {"type": "id"},
        "email": {"type": "email"},
        "phone": {"type": "phone"},
        "device": {"type": "maid"},
        "hashed": {"type": "sha256"},
        "visits": {"type": "count", "high": 9},
    },
}


def planned(table: dict[str, Any] = TABLE, **people: Any) -> Plan:
    return changed(table=table, people=people)


# -- spelling ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        (" Anna.B+shop@Example.COM\t", "anna.b+shop@example.com"),
        ("x.y+z@gmail.com", "x.y+z@gmail.com"),
        ("Jose\u0301@example.com", "jos\u00e9@example.com"),
        ("JOS\u00c9@example.com", "jos\u00e9@example.com"),
        ("anna@example", "anna@example"),
        *[(text, None) for text in ("", "anna", "@x.com", "anna@", "a@b@c.com", "an na@x.com", "a@x .com")],
        *[(text, None) for text in ("a\u200bb@x.com", "a\u00a0b@x.com", "a\x00b@x.com")],
    ],
)
def test_an_address_has_one_spelling_and_what_is_none_has_none(text: str, spelled: str | None) -> None:
    assert email(text) == spelled


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("X.Y+shop@googlemail.com", "xy@gmail.com"),
        ("xy@gmail.com", "xy@gmail.com"),
        ("x.y+z@example.com", "x.y+z@example.com"),
        ("x.y@mail.gmail.com", "x.y@mail.gmail.com"),
        ("+shop@gmail.com", None),
        ("...@gmail.com", None),
    ],
)
def test_gmail_s_dots_and_suffixes_go_only_where_gmail_ignores_them(text: str, spelled: str | None) -> None:
    assert email(text, gmail_dots=True) == spelled


def test_an_id_keeps_its_case_and_has_one_form_of_an_accent() -> None:
    assert identifier(" Ab\u0065\u0301 7 ") == "Ab\u00e9 7"
    assert identifier(" \t") is None


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        (UUID.upper(), UUID),
        (f" {UUID.replace('-', '')} ", UUID),
        ("00000000-0000-0000-0000-000000000000", None),
        ("0" * 32, None),
        (UUID[:-1], None),
        (f"{{{UUID}}}", None),
        (UUID.replace("d", "\u0664"), None),
    ],
)
def test_an_advertising_id_is_a_uuid_in_lower_case_and_all_zeros_are_nobody(text: str, spelled: str | None) -> None:
    assert maid(text) == spelled


def test_a_digest_is_64_hex_digits_in_lower_case() -> None:
    assert sha256(" " + "AB" * 32) == "ab" * 32
    assert [sha256(text) for text in ("ab" * 31, "ab" * 33, "zz" * 32, "")] == [None] * 4


@given(st.one_of(st.text(), st.from_regex(r"[^@]{1,12}@[^@]{1,12}", fullmatch=True), st.emails()), st.booleans())
def test_what_is_spelled_stays_as_it_is_and_every_form_of_a_letter_comes_to_the_same(text: str, dots: bool) -> None:
    once = email(text, dots)
    assert once is None or email(once, dots) == once
    for form in ("NFC", "NFD"):
        assert email(unicodedata.normalize(form, text), dots) == once
    named = identifier(text)
    assert named is None or identifier(named) == named


# -- rules -------------------------------------------------------------------------------------------------------------


def test_the_normaliser_is_named_after_all_that_decides_the_spelling() -> None:
    rules = [
        PeopleRules(column="c", key="email"),
        PeopleRules(column="c", key="email", gmail_dots=False),
        PeopleRules(column="c", key="email", gmail_dots=True),
        PeopleRules(column="c", key="phone", country="DE"),
        PeopleRules(column="c", key="id"),
        PeopleRules(column="c", key="maid", links=["d"], country="FR"),
        PeopleRules(column="c", key="sha256"),
    ]
    assert [one.normaliser.removeprefix("sumroom/") for one in rules] == [
        "email/v1", "email/v1", "email/v1/gmail", "phone/v1/DE", "id/v1", "maid/v1", "sha256/v1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("people", "said"),
    [
        ({"column": "email", "key": "name"}, "key"),
        ({"column": "phone", "key": "phone"}, "country is missing"),
        ({"column": "phone", "key": "phone", "country": "de"}, "country"),
        ({"column": "email", "key": "email", "country": "DE"}, "people.country is for telephone numbers"),
        ({"column": "customer", "key": "id", "gmail_dots": True}, "people.gmail_dots is for e-mail addresses"),
        ({"column": "email", "key": "email", "links": ["phone", "phone"]}, "links must be distinct"),
        ({"column": "email", "key": "email", "links": ["email"]}, "links must be distinct"),
        ({"column": "email", "key": "email", "links": []}, "links"),
        ({"column": "email", "key": "email", "note": "x"}, "no such setting"),
        ({"column": "mail", "key": "email"}, "the table has no column 'mail'"),
        ({"column": "email", "key": "email", "links": ["mobile"]}, "the table has no column 'mobile'"),
        ({"column": "phone", "key": "email"}, "'phone' is of type phone, and neither email nor id"),
        ({"column": "email", "key": "id"}, "'email' is of type email, and neither id nor id"),
        ({"column": "email", "key": "email", "links": ["visits"]}, "'visits' is of type count; a link is id or email"),
        ({"column": "email", "key": "email", "links": ["phone"]}, "people.country is missing"),
        ({"column": "email", "key": "email", "links": ["device"], "country": "DE"}, "people.country is for telephone"),
        ({"column": "device", "key": "maid", "links": ["hashed"], "gmail_dots": False}, "people.gmail_dots is for"),
    ],
)
def test_rules_that_make_no_sense_are_refused(people: dict[str, Any], said: str) -> None:
    with pytest.raises((SumroomError, ValidationError)) as caught:
        planned(**people)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "people",
    [
        {"column": "customer", "key": "email"},
        {"column": "email", "key": "email", "links": ["phone", "device"], "country": "DE", "gmail_dots": True},
        {"column": "phone", "key": "phone", "country": "DE", "links": ["email"], "gmail_dots": True},
        {"column": "hashed", "key": "sha256", "links": ["customer"]},
    ],
)
def test_rules_are_part_of_what_a_party_registers_for(people: dict[str, Any]) -> None:
    plan = planned(**people)
    assert Plan.from_bytes(plan.canonical) == plan
    assert plan.table_digest == digest(canonical({"people": people, "table": TABLE}))
    assert plan.table_digest != changed(table=TABLE).table_digest


def test_a_plan_without_people_is_what_it_was() -> None:
    assert b'"people"' not in PLAN.canonical
    assert PLAN.table_digest == PLAN.table.digest()


def test_rules_are_frozen() -> None:
    rules = PeopleRules(column="c", key="id")
    with pytest.raises(ValidationError) as caught:
        rules.key = "email"  # type: ignore[misc]
    assert "frozen" in explain(caught.value, "people").message
