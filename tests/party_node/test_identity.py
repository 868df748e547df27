"""One person has one key and one customer, whatever the spelling and the order of rows; no value is told."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from party_node import identity
from party_node.features import people, window_of
from party_node.records import Snapshot, Table, take_snapshot
from protocols.encoding import canonical
from protocols.errors import IntegrityError, UsageError
from protocols.people import PeopleRules
from protocols.plan import Plan
from protocols.schema import Schema
from tests.protocols.test_plan import PLAN

BROKEN = "canary-no-address"
COLUMNS: dict[str, Any] = {
    "customer": {"type": "id"},
    "email": {"type": "email"},
    "phone": {"type": "phone"},
    "card": {"type": "id"},
}
BY_ADDRESS = PeopleRules(column="email", key="email")
BY_ALL = PeopleRules(column="email", key="email", links=["phone", "card"], country="DE")
Row = tuple[str | None, ...]


def schema_of(columns: Mapping[str, Any] = COLUMNS) -> Schema:
    return Schema.model_validate({"name": "known", "columns": columns})


def csv(file: Path, lines: Sequence[Row], header: Sequence[str] = tuple(COLUMNS)) -> Path:
    text = [",".join(header), *(",".join(f'"{value}"' if value else "" for value in line) for line in lines), ""]
    file.write_text("\n".join(text), "utf-8")
    return file


def take(
    folder: Path, lines: Sequence[Row], rules: PeopleRules | None, columns: Mapping[str, Any] = COLUMNS
) -> Snapshot:
    file = csv(folder / "a.csv", lines, tuple(columns))
    return take_snapshot(
        Table((file,), {name: name for name in columns}), schema_of(columns), folder / "out" / "s.parquet", rules
    )


def keyed(snapshot: Snapshot, rules: PeopleRules, batch: int = 2) -> dict[str, bytes]:
    found = list(identity.keys(snapshot.path, rules, batch))
    customers = [customer for some, _ in found for customer in some]
    assert customers == sorted(set(customers))
    assert all(1 <= len(some) == len(keys) <= batch for some, keys in found)
    return {customer: key for some, keys in found for customer, key in zip(some, keys, strict=True)}


# -- spelling ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "country", "spelled"),
    [
        ("030 / 123 456-78", "DE", "+493012345678"),
        ("+49 (0)30 12345678", "FR", "+493012345678"),
        ("0049 30 12345678", "DE", "+493012345678"),
        ("(212) 555-2368", "US", "+12125552368"),
        ("+12125552368", None, "+12125552368"),
        ("2125552368", None, None),
        ("000 000 0000", "US", None),
        ("030 12345678 ext. 5", "DE", None),
        ("call me", "DE", None),
        ("", "DE", None),
        ("1" * 300, "DE", None),
    ],
)
def test_a_number_is_e164_and_what_is_no_number_in_use_or_a_desk_s_is_none(
    text: str, country: str | None, spelled: str | None
) -> None:
    assert identity.phone(text, country) == spelled


def test_a_country_without_telephones_is_refused(tmp_path: Path) -> None:
    rules = PeopleRules(column="phone", key="phone", country="XX")
    with pytest.raises(UsageError, match="people.country is 'XX', and there are no telephone numbers of it"):
        take(tmp_path, [("a", "", "030 12345678", "")], rules)


def test_the_same_people_in_another_spelling_are_the_same_bytes(tmp_path: Path) -> None:
    one = take(tmp_path, [("a", "Anna@Example.COM", "030 12345678", "7"), ("b", "jos\u00e9@x.de", "", "8")], BY_ALL)
    two = take(
        tmp_path, [("b", " JOSE\u0301@x.de", "", "8"), ("a", "anna@example.com", "+49 30 12345678", "7")], BY_ALL
    )
    assert one.sha256 == two.sha256
    assert keyed(one, BY_ALL) == {"a": b"anna@example.com", "b": "jos\u00e9@x.de".encode()}


@pytest.mark.parametrize("rules", [None, BY_ADDRESS], ids=["no rules", "rules"])
def test_a_value_that_cannot_be_spelled_is_null_and_reported_and_its_row_is_good(
    tmp_path: Path, rules: PeopleRules | None
) -> None:
    lines = [
        ("a", "a@x.de", "+4930 12345678", ""),
        ("b", BROKEN, "12", "c"),
        ("c", "", "", "c"),
        ("d", BROKEN, "", "c"),
    ]
    taken = take(tmp_path, lines, rules, {**COLUMNS, "card": {"type": "category", "values": ["c", "other"]}})
    assert (taken.bad_rows, taken.bad_sample, taken.faults) == (0, (), ())
    assert [(fault.column, dict(fault.reasons)) for fault in taken.unspelled] == [
        ("email", {"not an e-mail address": 2}),
        ("phone", {"not a telephone number": 1}),
    ]
    file = tmp_path / "a.csv"
    assert [str(row) for row in taken.unspelled[0].first] == [
        f"{file} line 3, column email: not an e-mail address",
        f"{file} line 5, column email: not an e-mail address",
    ]
    assert BROKEN not in repr(taken)
    if rules:
        assert keyed(taken, rules) == {"a": b"a@x.de"}


def test_a_bad_row_s_person_still_has_a_key(tmp_path: Path) -> None:
    columns = COLUMNS | {"card": {"type": "money", "low": 0, "high": 9}}
    taken = take(tmp_path, [("a", "a@x.de", "", "much"), ("a", "?", "", "1")], BY_ADDRESS, columns)
    assert (taken.bad_rows, taken.unspelled[0].rows) == (1, 1)
    assert keyed(taken, BY_ADDRESS) == {"a": b"a@x.de"}


# -- who is one person -------------------------------------------------------------------------------------------------


def test_without_links_customers_with_one_key_are_one_person(tmp_path: Path) -> None:
    lines = [("b", "Same@x.de", "", ""), ("a", "same@x.de", "", ""), ("c", "", "", ""), ("d", "", "", "")]
    taken = take(tmp_path, lines, BY_ADDRESS)
    assert taken.people == 3
    assert taken.resolved == identity.Resolved(4, 3, 1, (identity.Known("email", "email", 1),), 0, 0)
    assert keyed(taken, BY_ADDRESS) == {"a": b"same@x.de"}


def test_links_are_followed_from_one_to_the_next_and_the_least_key_is_the_person_s(tmp_path: Path) -> None:
    lines = [
        ("d", "z@x.de", "030 12345678", ""),
        ("c", "", "+49 30 12345678", "Caf\u00e9"),
        ("b", "m@x.de", "", "Cafe\u0301"),
        ("b", "n@x.de", "", ""),
        ("a", "N@x.de", "", ""),
        ("e", "e@x.de", "", "caf\u00e9"),
    ]
    taken = take(tmp_path, lines, BY_ALL)
    assert keyed(taken, BY_ALL) == {"a": b"m@x.de", "e": b"e@x.de"}
    assert taken.resolved is not None
    assert (taken.resolved.customers, taken.resolved.people) == (5, 2)


def test_empty_values_join_nobody(tmp_path: Path) -> None:
    taken = take(
        tmp_path, [("a", "", "", ""), ("b", "", "", ""), ("c", BROKEN, "0", ""), ("d", BROKEN, "0", "")], BY_ALL
    )
    assert taken.people == 4
    assert keyed(taken, BY_ALL) == {}


@pytest.mark.parametrize(
    ("key", "values", "found"),
    [
        ("email", ("Anna@x.de", "anna@X.de", "17"), {"Anna@x.de": b"anna@x.de"}),
        (
            "id",
            ("Jose\u0301", "Jos\u00e9", "jos\u00e9"),
            {"Jose\u0301": "Jos\u00e9".encode(), "jos\u00e9": "jos\u00e9".encode()},
        ),
        ("sha256", ("AB" * 32, "ab" * 32, "cd" * 31), {"AB" * 32: bytes.fromhex("ab" * 32)}),
    ],
)
def test_the_customer_may_be_the_key_itself(
    tmp_path: Path, key: Any, values: tuple[str, ...], found: dict[str, bytes]
) -> None:
    rules = PeopleRules(column="customer", key=key)
    taken = take(tmp_path, [(value,) for value in values], rules, {"customer": {"type": "id"}})
    assert keyed(taken, rules) == found
    assert (taken.people, taken.bad_rows) == (2, 0)
    assert sum(fault.rows for fault in taken.unspelled) == (0 if key == "id" else 1)


def test_a_person_keeps_a_key_where_the_customer_it_comes_from_is_not_the_first(tmp_path: Path) -> None:
    rules = PeopleRules(column="customer", key="email", links=["card"])
    taken = take(tmp_path, [("17", "7"), ("x@x.de", "7")], rules, {"customer": {"type": "id"}, "card": {"type": "id"}})
    assert keyed(taken, rules) == {"17": b"x@x.de"}


def alike(lines: Sequence[Row], columns: Sequence[int]) -> dict[str, set[str]]:
    """The naive way: customers whose rows share a value, joined again and again until nothing changes."""
    group = {str(line[0]): {str(line[0])} for line in lines}
    changed = True
    while changed:
        changed = False
        for one, other in itertools.combinations(lines, 2):
            a, b = group[str(one[0])], group[str(other[0])]
            if a is not b and any(one[i] and one[i] == other[i] for i in columns):
                for customer in a | b:
                    group[customer] = a | b
                    changed = True
                joined = a | b
                for customer in joined:
                    group[customer] = joined
    return group


VALUES = st.sampled_from(["", "", "p", "q", "r", "s", "t"])
LINES = st.lists(
    st.tuples(st.sampled_from("abcdefgh"), VALUES.map(lambda v: v and f"{v}@x.de"), st.just(""), VALUES),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(LINES, st.randoms(use_true_random=False))
def test_persons_are_the_connected_customers_no_two_share_a_key_and_order_is_nothing(
    lines: list[Row], chance: random.Random
) -> None:
    shuffled = list(lines)
    chance.shuffle(shuffled)
    with TemporaryDirectory() as one, TemporaryDirectory() as two:
        taken, again = take(Path(one), lines, BY_ALL), take(Path(two), shuffled, BY_ALL)
        assert taken.sha256 == again.sha256
        found = keyed(taken, BY_ALL)
    assert len(set(found.values())) == len(found)
    wanted: dict[str, str] = {}
    addresses = defaultdict(set)
    for customer, address, _, _ in lines:
        addresses[customer] |= {address} - {""}
    groups = alike(lines, (0, 1, 3))
    for group in groups.values():
        if least := min((address for one in group for address in addresses[one] if address), default=None):
            wanted[min(group)] = least
    assert {customer: key.decode() for customer, key in found.items()} == wanted
    assert taken.people == len({min(group) for group in groups.values()})


@settings(max_examples=30, deadline=None)
@given(LINES, st.sampled_from("abcdefgh"))
def test_without_one_person_all_others_are_who_they_were(lines: list[Row], customer: str) -> None:
    """Why it matters: a bound holds for one person's leaving only if nobody else becomes another by it."""
    gone = alike(lines, (0, 1, 3)).get(customer, set())
    left = [line for line in lines if line[0] not in gone]
    if not left:
        return
    with TemporaryDirectory() as one, TemporaryDirectory() as two:
        all_of_them = keyed(take(Path(one), lines, BY_ALL), BY_ALL)
        others = keyed(take(Path(two), left, BY_ALL), BY_ALL)
    assert others == {one: key for one, key in all_of_them.items() if one not in gone}


def test_many_in_one_person_are_warned_of_and_stay_one(tmp_path: Path) -> None:
    dummy = [(f"c{i}", "none@none.com", "", "") for i in range(21)]
    many = [("d", f"d{i}@x.de", "", "") for i in range(11)]
    taken = take(tmp_path, [*dummy, *many], BY_ADDRESS)
    assert taken.resolved is not None
    assert (taken.people, taken.resolved.many_customers, taken.resolved.many_keys) == (2, 1, 1)
    said = taken.resolved.warnings()
    assert [text.split(":")[0] for text in said] == [
        "1 person is made of over 20 customers",
        "1 person is made of over 10 keys",
    ]
    assert "none@" not in "".join(said)
    fewer = take(tmp_path, [*dummy[1:], *many[1:]], BY_ADDRESS)
    assert fewer.resolved is not None
    assert fewer.resolved.warnings() == ()


# -- keys --------------------------------------------------------------------------------------------------------------


def test_keys_come_in_batches_once_each_for_a_person_of_many_rows(tmp_path: Path) -> None:
    lines = [(f"c{i:03}", f"c{i}@x.de", "", "") for i in range(50) for _ in range(7)]
    taken = take(tmp_path, lines, BY_ADDRESS)
    found = keyed(taken, BY_ADDRESS, batch=8)
    assert found == {f"c{i:03}": f"c{i}@x.de".encode() for i in range(50)}


def test_a_snapshot_without_keys_or_in_no_order_or_gone_is_refused(tmp_path: Path) -> None:
    taken = take(tmp_path, [("a", "a@x.de", "", "")], None)
    with pytest.raises(IntegrityError, match="has no keys that can be read"):
        list(identity.keys(taken.path, BY_ADDRESS))
    taken.path.unlink()
    with pytest.raises(IntegrityError, match="has no keys that can be read"):
        list(identity.keys(taken.path, BY_ADDRESS))
    file = tmp_path / "odd.parquet"
    duckdb.sql(f"""COPY (SELECT unnest(['b', 'a']) AS customer, 'k' AS "person key") TO '{file}'""")
    with pytest.raises(IntegrityError, match="is in no order"):
        list(identity.keys(file, BY_ADDRESS))


def test_a_snapshot_keeps_which_customers_became_one_person(tmp_path: Path) -> None:
    """a, c and e are one by two addresses; activation needs to know, since a list names the person by a alone."""
    lines = [("e", "A@x.de", "", ""), ("c", "c@x.de", "", ""), ("a", "a@x.de", "", ""), ("a", "C@x.de", "", ""),
             ("c", "", "", ""), ("b", "b@x.de", "", "")]  # fmt: skip
    with duckdb.connect() as con:
        for rules, expected in ((BY_ADDRESS, [("a", '["c","e"]'), ("b", None)]), (None, None)):
            taken = take(tmp_path, lines, rules)
            more, join = identity.also(con, taken.path)
            if expected is None:
                assert (more, join) == ("", "")
                continue
            found = f"SELECT customer{more} FROM (SELECT unnest(['a', 'b']) AS customer){join} ORDER BY 1"
            assert con.execute(found).fetchall() == expected


# -- a table of addresses and nothing else -----------------------------------------------------------------------------

NEWCOMER = {
    "customer": {"type": "id"},
    "email": {"type": "email"},
    "tier": {"type": "category", "values": ["gold", "other"]},
    "visits": {"type": "count", "high": 1000},
}
GROUPS = {
    "kind": "segments",
    "rho": {"moments": 1_500_000, "coarse": 3_000_000, "fine": 5_500_000, "over": 4_500_000, "lloyd": 2_500_000,
            "profile": 12_000_000},
    "features": [{"name": "sum_visits", "transform": "identity", "low": 0, "high": 100}],
    "clusters": 2, "lloyd_rounds": 2, "coarse_cells": 16, "fine_cells": 64,
}  # fmt: skip
PEOPLE = {"column": "email", "key": "email"}


def test_a_table_without_days_and_baskets_has_people_and_what_can_be_made_of_it(tmp_path: Path) -> None:
    body = {**PLAN.body(), "questions": [GROUPS], "people": PEOPLE, "table": {"name": "known", "columns": NEWCOMER}}
    plan = Plan.from_bytes(canonical(body))
    lines = [("b", "b@x.de", "gold", "3"), ("a", "B@x.de", "", "4"), ("c", "", "gold", "many")]
    taken = take(tmp_path, lines, plan.people, NEWCOMER)
    found = people(taken.path, window_of(plan))
    assert (list(found.customers), set(found.columns)) == (["a", "c"], {"sum_visits", "usable"})
    assert tuple(found.columns) == plan.features.computable(plan.table)
    assert (found.columns["sum_visits"].tolist(), found.columns["usable"].tolist()) == ([7, 0], [1, 0])


@pytest.mark.parametrize("feature", ["recency_days", "baskets", "share_gold_ppm", "alive_ppm", "value_12m_cents"])
def test_a_plan_with_people_names_no_feature_whose_columns_its_table_lacks(feature: str) -> None:
    asked = {**GROUPS, "features": [{**GROUPS["features"][0], "name": feature}]}
    body = {**PLAN.body(), "questions": [asked], "people": PEOPLE, "table": {"name": "known", "columns": NEWCOMER}}
    with pytest.raises(UsageError, match=f"no party has a feature {feature}; there are sum_visits, usable"):
        Plan.from_bytes(canonical(body))
