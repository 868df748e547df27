"""A room file says who is in the room and under which caps, or names the setting that is wrong."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from protocols import keys
from protocols.encoding import canonical
from protocols.errors import UsageError
from protocols.keys import Identity, PublicKeys
from protocols.ledger import entries, notes
from protocols.ledger.members import Members
from protocols.room import Room, member_lines
from tests.ledger import builder

KEYS = {name: keys.public_text(builder.key(name)) for name in ("coordinator", *builder.PARTIES)}
TEXT = f"""
room = "demo-room"
origin = "room.example/demo"
cosign_quorum = 2
coordinator = {{ key = "{KEYS["coordinator"]}" }}

[parties]
alpha = {{ key = "{KEYS["alpha"]}" }}
beta = {{ key = "{KEYS["beta"]}" }}
gamma = {{ key = "{KEYS["gamma"]}" }}

[blocks]
q1 = {{ first = "2017-01-01", last = "2017-03-31" }}
q2 = {{ first = "2017-04-01", last = "2017-06-30" }}

[caps]
record = "0.06"
person = "0.18"
lifetime_record = "0.15"
lifetime_person = "0.45"
"""


def read(old: str = "", new: str = "") -> Room:
    """The room with a piece of its text replaced."""
    return Room.from_toml(TEXT.replace(old, new, 1).encode() if old else TEXT.encode(), where="room.toml")


def test_a_room_file_is_read_to_its_keys_and_nano_rho() -> None:
    room = read()
    assert (room.caps.record, room.caps.person) == (60_000_000, 180_000_000)
    assert (room.caps.lifetime_record, room.caps.lifetime_person) == (150_000_000, 450_000_000)
    assert {party: keys.public_text(key) for party, key in room.identities.items()} == {
        party: KEYS[party] for party in builder.PARTIES
    }
    assert keys.public_text(room.coordinator_key) == KEYS["coordinator"]


def test_the_genesis_of_a_room_is_an_entry_with_its_keys_blocks_and_the_same_caps_for_everybody() -> None:
    entry: Any = entries.build({**read().genesis(), "seq": 0, "time": 1})
    assert entries.decode(entries.encode(entry)) == entry
    assert {party: member.key for party, member in entry.parties.items()} == {p: KEYS[p] for p in builder.PARTIES}
    blocks = {"q1": 60_000_000, "q2": 60_000_000}
    assert entry.caps.body() == {
        "record": dict.fromkeys(builder.PARTIES, blocks),
        "person": {"q1": 180_000_000, "q2": 180_000_000},
        "lifetime_record": dict.fromkeys(builder.PARTIES, 150_000_000),
        "lifetime_person": 450_000_000,
    }
    assert canonical(entry.blocks["q1"].body()) == b'{"first":"2017-01-01","last":"2017-03-31"}'


def both(name: str) -> PublicKeys:
    seed = hashlib.sha256(name.encode()).digest()
    return Identity(builder.key(name), MLDSA44PrivateKey.from_seed_bytes(seed)).public()


def second(name: str, of: str = "") -> tuple[str, str]:
    """What gives a member `of`'s second key, its own unless said: text to replace, and by what."""
    return f'key = "{KEYS[name]}"', f'key = "{KEYS[name]}", ml_dsa_44 = "{both(of or name).texts()["ml_dsa_44"]}"'


def with_seconds(**of: str) -> str:
    text = TEXT
    for name in KEYS:
        text = text.replace(*second(name, of.get(name, "")))
    return text


def test_a_room_whose_members_all_have_both_keys_begins_with_genesis_v2() -> None:
    room = Room.from_toml(with_seconds().encode(), where="room.toml")
    assert room.members == {party: both(party) for party in builder.PARTIES}
    assert room.coordinator_keys == both("coordinator")
    assert {**room.genesis(), "type": ""} != {**read().genesis(), "type": ""}
    entry: Any = entries.build({**room.genesis(), "seq": 0, "time": 1})
    assert entry.type == "genesis@v2"
    members = Members.of(entry)
    assert members.witness_keys() == {party: notes.cosigner_keys(party, both(party)) for party in builder.PARTIES}
    assert members.log_keys() == notes.log_keys("room.example/demo", both("coordinator"))
    assert read().genesis()["type"] == "genesis@v1"


def test_the_lines_of_a_member_are_read_back_from_a_room_file() -> None:
    lines = "".join(f"[parties.{party}]\n{member_lines(both(party))}" for party in builder.PARTIES)
    blocks, caps = TEXT.split("[blocks]")[1].split("[caps]")
    head = TEXT.split("coordinator =")[0] + f"[coordinator]\n{member_lines(both('coordinator'))}"
    room = Room.from_toml(f"{head}{lines}[blocks]{blocks}[caps]{caps}".encode(), where="room.toml")
    assert room == Room.from_toml(with_seconds().encode(), where="room.toml")


def test_a_room_where_some_have_an_ml_dsa_44_key_or_two_have_one_is_refused() -> None:
    with pytest.raises(UsageError, match="parties: 1 of 4 members have ml_dsa_44; all must have it, or none"):
        read(*second("beta"))
    for other in ("alpha", "coordinator"):
        with pytest.raises(UsageError, match="parties: two members have the same key"):
            Room.from_toml(with_seconds(beta=other).encode(), where="room.toml")
    old, new = second("beta")
    with pytest.raises(UsageError, match="ml_dsa_44"):
        read(old, new[:-4] + '*"')


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("cosign_quorum = 2", "cosign_quorum = 1", "it must be a majority of 3 parties"),
        ("cosign_quorum = 2", "cosign_quorum = 4", "it must be a majority of 3 parties"),
        ('first = "2017-04-01"', 'first = "2017-03-31"', "blocks: two blocks share a day"),
        (KEYS["beta"], KEYS["alpha"], "parties: two members have the same key"),
        (KEYS["beta"], KEYS["coordinator"], "parties: two members have the same key"),
        ('record = "0.06"', 'record = "6e-2"', "caps.record is '6e-2', not a decimal"),
        ('record = "0.06"', "record = 0.06", "caps.record"),
        ('room = "demo-room"', 'room = "demo-room"\nnote = "x"', "note"),
        ('origin = "room.example/demo"', "", "origin"),
    ],
)
def test_a_room_that_cannot_be_is_refused_by_file_and_setting(old: str, new: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(old, new)
    assert caught.value.message.startswith("room.toml: ")
    assert why in caught.value.message


def test_caps_that_are_no_table_are_refused() -> None:
    text = "caps = 3\n" + TEXT.split("[caps]")[0]
    with pytest.raises(UsageError, match="room.toml: caps: "):
        Room.from_toml(text.encode(), where="room.toml")


@pytest.mark.parametrize("data", [b"room = ", b"\xff\xfe", b"= 1"])
def test_what_is_no_toml_is_refused_by_the_name_of_the_file(data: bytes) -> None:
    with pytest.raises(UsageError, match="room.toml is not TOML"):
        Room.from_toml(data, where="room.toml")
