"""Entries are closed types with one spelling each; whatever else is refused before any rule is asked."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from protocols import keys
from protocols.encoding import canonical
from protocols.errors import IntegrityError
from protocols.ledger import entries
from protocols.ledger.members import Members


@pytest.fixture
def one_of_each(room):
    return [*room.opening()[:2], room.plan_entry(2), room.reserve(3), room.commit(4), room.forfeit(5)]


def test_every_type_reads_back_from_its_own_bytes(one_of_each) -> None:
    assert len({entry.type for entry in one_of_each}) == 6
    for entry in one_of_each:
        assert entries.decode(entries.encode(entry)) == entry


def test_an_entry_made_from_lists_equals_the_one_made_from_tuples(room) -> None:
    body = room.commit(4).body()
    assert entries.Commit(**body) == entries.build(body)


def test_every_other_spelling_is_refused(room) -> None:
    data = entries.encode(room.forfeit(5))
    text = data.decode()
    for other in (
        text + "\n",
        " " + text,
        text.replace('":', '": '),
        text.replace('"seq":5', '"seq":5.0'),
        text.replace('"seq":5', '"seq":5,"seq":5'),
        text.replace('"seq":5', '"seq":"5"'),
        text.replace('"seq":5', '"seq":true'),
        text.replace('"seq":5', '"seq":-1'),
        text.replace('"seq":5', '"seq":9007199254740992'),
        text.replace("forfeit@v1", "forfeit@v2"),
        text.replace('"reason"', '"because"'),
        text.replace("party-unavailable", "bored"),
        text.replace("party-unavailable", "party\\u002dunavailable"),
        text[:-1],
        "[]",
        "null",
        "",
    ):
        with pytest.raises(IntegrityError):
            entries.decode(other.encode())


def test_an_unknown_field_is_refused_at_every_level(one_of_each) -> None:
    def add_everywhere(value):
        if isinstance(value, dict):
            yield {**value, "ZZ": 1}
            for name, inner in value.items():
                for changed in add_everywhere(inner):
                    yield {**value, name: changed}
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for changed in add_everywhere(value[0]):
                yield [changed, *value[1:]]

    tried = 0
    for entry in one_of_each:
        for body in add_everywhere(entry.body()):
            tried += 1
            with pytest.raises(IntegrityError):
                entries.build(body)
    assert tried > 20


def test_every_field_is_needed_even_those_with_one_value(one_of_each) -> None:
    for entry in one_of_each:
        body = entry.body()
        for name in body:
            with pytest.raises(IntegrityError):
                entries.decode(canonical({k: v for k, v in body.items() if k != name}))


@pytest.mark.parametrize("kind", ["grant@v1", "refund@v1", "genesis@v2", "genesis", "", None, 7])
def test_an_unknown_type_is_refused(room, kind) -> None:
    with pytest.raises(IntegrityError, match="entry"):
        entries.build({**room.forfeit(5).body(), "type": kind})


def test_an_entry_has_a_largest_size(room, monkeypatch) -> None:
    entry = room.forfeit(5)
    data = entries.encode(entry)
    monkeypatch.setattr(entries, "MAX_ENTRY_BYTES", len(data) - 1)
    with pytest.raises(IntegrityError, match="more than"):
        entries.decode(data)
    with pytest.raises(IntegrityError, match="more than"):
        entries.encode(entry)


def without(mapping, name):
    return {k: v for k, v in mapping.items() if k != name}


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("quorum", lambda g: {"cosign_quorum": 4}),
        ("quorum", lambda g: {"cosign_quorum": 0}),
        ("origin", lambda g: {"origin": "two words"}),
        ("origin", lambda g: {"origin": "alpha"}),
        ("origin", lambda g: {"origin": "x" * 256}),
        ("key", lambda g: {"coordinator": g["parties"]["alpha"]}),
        ("key", lambda g: {"parties": {**g["parties"], "beta": g["parties"]["alpha"]}}),
        ("key", lambda g: {"coordinator": {"key": "AAAA"}}),
        ("key", lambda g: {"coordinator": {"key": "AB" * 32}}),
        ("day", lambda g: {"blocks": {**g["blocks"], "q2": {"first": "2017-03-31", "last": "2017-06-30"}}}),
        ("first day", lambda g: {"blocks": {**g["blocks"], "q2": {"first": "2017-05-01", "last": "2017-04-30"}}}),
        (
            "there is no such day",
            lambda g: {"blocks": {**g["blocks"], "q2": {"first": "2017-02-30", "last": "2017-06-30"}}},
        ),
        ("caps.record", lambda g: {"caps": {**g["caps"], "record": without(g["caps"]["record"], "alpha")}}),
        ("caps.record", lambda g: {"caps": {**g["caps"], "record": {**g["caps"]["record"], "alpha": {"q1": 1}}}}),
        ("caps.person", lambda g: {"caps": {**g["caps"], "person": without(g["caps"]["person"], "q1")}}),
        ("lifetime", lambda g: {"caps": {**g["caps"], "lifetime_record": {"alpha": 1}}}),
        ("lifetime_person", lambda g: {"caps": without(g["caps"], "lifetime_person")}),
        ("named person", lambda g: {"parties": {**without(g["parties"], "alpha"), "person": g["parties"]["alpha"]}}),
        ("accountant", lambda g: {"accountant": "pld"}),
        ("unit", lambda g: {"unit": "person"}),
        ("parties", lambda g: {"parties": {}}),
    ],
)
def test_a_genesis_that_contradicts_itself_is_refused(room, what, change) -> None:
    genesis = room.genesis().body()
    with pytest.raises(IntegrityError, match=what):
        entries.build({**genesis, **change(genesis)})


@pytest.mark.parametrize(
    "change",
    [
        {"parties": ["beta", "alpha", "gamma"]},
        {"parties": ["alpha", "alpha", "beta", "gamma"]},
        {"parties": ["alpha", "beta"]},
        {"parties": []},
        {"plan": "AB" * 32},
        {"approvals": {}},
    ],
)
def test_a_plan_entry_has_its_parties_in_order_and_exactly_their_approvals(room, change) -> None:
    with pytest.raises(IntegrityError):
        entries.build({**room.plan_entry(2).body(), **change})


@pytest.mark.parametrize(
    "change",
    [
        {"recipients": []},
        {"recipients": ["alpha", "alpha"]},
        {"survivors": ["gamma", "alpha"]},
        {"survivors": []},
        {"numbers": ["size"]},
        {"numbers": ["/a~2"]},
        {"numbers": ["/a", "/a"]},
        {"numbers": ["/" + "x" * 400]},
        {"digest": "00"},
        {"step": "Step"},
    ],
)
def test_a_commit_with_a_malformed_list_is_refused(room, change) -> None:
    with pytest.raises(IntegrityError):
        entries.build({**room.commit(4).body(), **change})


def test_two_steps_of_one_name_or_one_nonce_are_refused(room) -> None:
    body = room.reserve(3).body()
    first, second = body["steps"]
    for steps in ([first, {**second, "step": first["step"]}], [first, {**second, "nonce": first["nonce"]}], []):
        with pytest.raises(IntegrityError):
            entries.build({**body, "steps": steps})


def test_an_entry_never_changes(room) -> None:
    with pytest.raises(ValidationError):
        room.forfeit(5).seq = 6


def test_what_a_party_signs_leaves_out_signatures_number_and_time_and_names_the_room(room) -> None:
    dataset, reserve = room.dataset(1, "alpha"), room.reserve(3)
    signed = entries.signed_body(dataset, "demo-room")
    assert set(signed) == set(dataset.body()) - {"signature", "seq", "time"} | {"room"}
    signed = entries.signed_body(reserve, "demo-room")
    assert set(signed) == set(reserve.body()) - {"holds", "seq", "time"} | {"room"}
    assert entries.approval_body("demo-room", "ab") == {"room": "demo-room", "plan": "ab"}


def test_the_genesis_names_the_keys_of_log_and_witnesses(room, built) -> None:
    genesis = room.genesis()
    assert Members.of(genesis).log_keys() == room.policy().log
    assert Members.of(genesis).witness_keys() == room.policy().cosigners
    assert keys.public_text(built.key("alpha")) == genesis.parties["alpha"].key


def test_a_message_names_the_field_and_not_more(room) -> None:
    body = {**room.forfeit(5).body(), "reason": "secret reason"}
    with pytest.raises(IntegrityError) as caught:
        entries.build(body)
    assert "reason" in caught.value.message
    assert "secret" not in caught.value.message
    assert json.loads(entries.encode(room.forfeit(5)))["reason"] == "party-unavailable"
