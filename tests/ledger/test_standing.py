"""The room as it stands now: its file until the ledger changes it, and what the ledger made of it from then on."""

from __future__ import annotations

import pytest

from protocols.errors import UsageError
from protocols.ledger.fields import LIFETIME, PERSON
from protocols.ledger.reducer import Accounts
from protocols.ledger.standing import in_force, standing
from protocols.room import Caps, Member, Room
from protocols.schema import Block
from tests.ledger import builder, changing

FILE = Room(
    room=builder.ROOM,
    origin=builder.ORIGIN,
    cosign_quorum=2,
    coordinator=Member(**changing.texts("coordinator")),
    parties={party: Member(**changing.texts(party)) for party in builder.PARTIES},
    blocks={name: Block(**block) for name, block in builder.BLOCKS.items()},
    caps=Caps(record=60_000_000, person=180_000_000, lifetime_record=150_000_000, lifetime_person=450_000_000),
)


@pytest.fixture
def room() -> changing.Room:
    return changing.Room()


@pytest.fixture
def accounts(room: changing.Room) -> Accounts:
    return room.accounts()


def test_before_the_ledger_has_changed_anything_it_is_the_file(accounts: Accounts) -> None:
    assert standing(FILE, Accounts()) is FILE
    assert standing(FILE, accounts) is FILE


def test_a_party_has_the_keys_it_changed_to_and_all_else_stays(room: changing.Room, accounts: Accounts) -> None:
    accounts.apply(room.rotate(accounts, "beta", "beta-2"))
    now = standing(FILE, accounts)
    assert now.parties == FILE.parties | {"beta": Member(**changing.texts("beta-2"))}
    left = {name: getattr(now, name) for name in Room.model_fields if name != "parties"}
    assert left == {name: getattr(FILE, name) for name in left}


def test_the_coordinator_has_the_keys_it_changed_to(room: changing.Room, accounts: Accounts) -> None:
    accounts.apply(room.rotate(accounts, builder.ORIGIN, "coordinator-2"))
    assert standing(FILE, accounts).coordinator == Member(**changing.texts("coordinator-2"))


def test_a_coordinator_without_a_key_in_force_is_still_the_one_of_the_file(
    room: changing.Room, accounts: Accounts
) -> None:
    accounts.apply(room.revoke(accounts, builder.ORIGIN))
    assert standing(FILE, accounts).coordinator == FILE.coordinator


def test_caps_are_the_largest_of_their_kind_and_no_other_kinds(room: changing.Room, accounts: Accounts) -> None:
    raised = [
        ({"alpha": {"q1": 61_000_001}}, {"record": 61_000_001}),
        ({"beta": {LIFETIME: 151_000_002}}, {"lifetime_record": 151_000_002}),
        ({PERSON: {"q2": 181_000_003}}, {"person": 181_000_003}),
        ({PERSON: {LIFETIME: 451_000_004}}, {"lifetime_person": 451_000_004}),
    ]
    caps = FILE.caps.body()
    for grant, changed in raised:
        accounts.apply(room.grant(accounts, grant))
        caps |= changed
        assert standing(FILE, accounts).caps.body() == caps


def test_new_blocks_members_and_quorum_are_the_ledgers(room: changing.Room, accounts: Accounts) -> None:
    accounts.apply(room.new_block(accounts))
    accounts.apply(room.join(accounts, "delta"))
    now = standing(FILE, accounts)
    assert set(now.blocks) == {*FILE.blocks, "q4"}
    assert now.parties == FILE.parties | {"delta": Member(**changing.texts("delta"))}
    assert (FILE.cosign_quorum, now.cosign_quorum) == (2, 3)
    accounts.apply(room.leave(accounts, "delta"))
    assert standing(FILE, accounts).parties == FILE.parties


def test_of_the_identities_at_hand_the_one_is_used_that_is_known() -> None:
    old, new = changing.identity("beta"), changing.identity("beta-2")
    for known in (old, new):
        used = in_force([old, new], known.public(), "beta")
        assert used.public() == known.public()


def test_without_the_keys_in_force_it_is_said_whose_they_are_and_what_to_set() -> None:
    for held, known in (([changing.identity("beta")], changing.identity("beta-2").public()), ([], None)):
        with pytest.raises(UsageError, match="the room knows beta by") as caught:
            in_force(held, known, "beta")
        assert "files.signing_key_next" in str(caught.value.hint)
    with pytest.raises(UsageError, match="the room knows beta by"):
        in_force([changing.identity("beta")], None, "beta")
