"""Who is in the room, and by which keys: each rule of the page, allowed and refused."""

from __future__ import annotations

import pytest

from protocols import keys
from protocols.errors import IntegrityError, Refused
from protocols.ledger.entries import build
from protocols.ledger.fields import LIFETIME, MAX_PARTIES, PERSON
from protocols.ledger.reducer import Accounts
from protocols.ledger.state import Balance
from tests.ledger import builder, changing
from tests.ledger.changing import ORIGIN, Room, refused

COST = 18_000_000


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.fixture
def accounts(room: Room) -> Accounts:
    return room.accounts()


# --- keys -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("member", ["beta", ORIGIN])
def test_a_member_changes_its_keys_by_the_old_one_and_both_new_ones(room, accounts, member) -> None:
    before = accounts.members
    accounts.apply(room.rotate(accounts, member, "second"))
    assert accounts.members.keys_of(member) == changing.identity("second").public()
    assert accounts.members_at(accounts.size - 1) == before
    assert {name for name in before.parties if accounts.members.parties[name] != before.parties[name]} == {member} - {
        ORIGIN
    }


@pytest.mark.parametrize("missing", ["old", "new", "new_ml_dsa_44"])
def test_a_change_lacks_no_signature_of_the_member_itself(room, accounts, missing) -> None:
    own = room.rotate(accounts, "beta", "second").own
    few = {name: text for name, text in own.items() if name != missing}
    refused(accounts, room.rotate(accounts, "beta", "second", own=few), "needs the member's own signatures")
    other = {**own, missing: room.rotate(accounts, "beta", "third").own[missing]}
    refused(accounts, room.rotate(accounts, "beta", "second", own=other), "does not verify", IntegrityError)


def test_others_cannot_change_the_keys_of_a_member_that_has_its_own(room, accounts) -> None:
    made = room.revoke(accounts, "beta")
    refused(accounts, room.rotate(accounts, "beta", "second", others=made.others), "without others' signatures")
    by_others = {
        "own": {name: text for name, text in room.rotate(accounts, "beta", "second").own.items() if name != "old"}
    }
    refused(accounts, room.rotate(accounts, "beta", "second", **by_others), "needs the member's own signatures")
    refused(accounts, room.add(accounts, "beta", "second"), "beta has keys in force: they are rotated")


def test_a_new_key_is_new(room, accounts) -> None:
    public = changing.texts("beta")
    refused(accounts, room.rotate(accounts, "beta", "beta"), "rotates to the key that it has")
    refused(accounts, room.rotate(accounts, "beta", "alpha"), "has been in this room before")
    refused(accounts, room.rotate(accounts, "beta", "second", ml_dsa_44=public["ml_dsa_44"]), "verify", IntegrityError)
    accounts.apply(room.rotate(accounts, "beta", "second"))
    refused(accounts, room.rotate(accounts, "beta", "beta"), "has been in this room before")
    refused(accounts, room.rotate(accounts, "alpha", "beta"), "has been in this room before")


def test_the_same_ml_dsa_44_key_is_no_new_one(room, accounts) -> None:
    """Signed rightly in every way, only that one of the keys stays."""
    made = room.rotate(accounts, "beta", "second", ml_dsa_44=changing.texts("beta")["ml_dsa_44"])
    body = changing.change_body(made, builder.ROOM)
    own = {**made.own, "new_ml_dsa_44": keys.sign(changing.ml_dsa_44("beta"), "change", body)}
    refused(accounts, build({**made.body(), "own": own}), "has been in this room before")


def test_a_member_with_both_keys_brings_both(room, accounts) -> None:
    refused(accounts, room.rotate(accounts, "beta", "second", both=False), "lack the ML-DSA-44 key")


def test_a_room_of_ed25519_keys_gets_ml_dsa_44_keys_one_after_another() -> None:
    room = Room(both=False)
    accounts = room.accounts()
    accounts.apply(room.rotate(accounts, "beta", "second"))
    for member in ("alpha", "beta", ORIGIN):
        old = accounts.members.keys_of(member)
        accounts.apply(room.add_ml_dsa_44(accounts, member))
        now = accounts.members.keys_of(member)
        assert now.ed25519 == old.ed25519
        assert now.ml_dsa_44 is not None
        refused(accounts, room.add_ml_dsa_44(accounts, member), f"{member} has keys in force")
    refused(accounts, room.rotate(accounts, "alpha", "third", both=False), "lack the ML-DSA-44 key")
    others = changing.texts("elsewhere", both=False)
    refused(accounts, room.add_ml_dsa_44(accounts, "gamma", **others), "gamma has keys in force")
    alone = {"own": {"old": room.add_ml_dsa_44(accounts, "gamma").own["old"]}}
    refused(accounts, room.add_ml_dsa_44(accounts, "gamma", **alone), "needs the member's own signatures")


def test_a_key_is_revoked_by_all_others_and_the_coordinator(room, accounts) -> None:
    made = room.revoke(accounts, "beta")
    assert set(made.others) == {"alpha", "gamma", ORIGIN}
    for missing in made.others:
        few = {name: text for name, text in made.others.items() if name != missing}
        refused(accounts, room.revoke(accounts, "beta", others=few), f"needs the signatures of .*{missing}")
        wrong = {**made.others, missing: made.others["gamma" if missing != "gamma" else "alpha"]}
        refused(accounts, room.revoke(accounts, "beta", others=wrong), "does not verify", IntegrityError)
    more = {**made.others, "beta": made.others["alpha"]}
    refused(accounts, room.revoke(accounts, "beta", others=more), "needs the signatures of")
    accounts.apply(made)
    assert set(accounts.members.parties) == {"alpha", "gamma"}
    assert set(accounts.members.revoked) == {"beta"}


def test_a_revocation_names_the_key_in_force(room, accounts) -> None:
    refused(accounts, room.revoke(accounts, "beta", key=changing.texts("alpha")["key"]), "is not the one of beta")
    refused(accounts, room.revoke(accounts, "delta"), "is not the one of delta in force")
    accounts.apply(room.revoke(accounts, "beta"))
    refused(accounts, room.revoke(accounts, "beta"), "is not the one of beta in force")


def test_a_party_that_is_not_in_force_signs_nothing(room, accounts) -> None:
    accounts.apply(room.round(accounts))
    accounts.apply(room.forfeit(accounts.size))
    accounts.apply(room.revoke(accounts, "beta"))
    at = accounts.size
    match = "beta is not a party of this room with a key in force"
    refused(accounts, room.dataset(at, "beta", version="0" * 32), match)
    refused(accounts, room.plan_entry(at, "ab" * 32), match)
    refused(accounts, room.round(accounts, "two"), match)
    refused(accounts, room.refund(accounts), match)
    refused(accounts, room.egress(accounts, "beta"), match)
    refused(accounts, room.deny(accounts), match)
    refused(accounts, room.grant(accounts, {"beta": {"q1": 70_000_000}}), "beta has no key in force")
    refused(accounts, room.rotate(accounts, "beta", "second"), "no key in force to rotate another to")


def test_a_revoked_party_comes_back_by_new_keys_and_the_signatures_of_the_others(room, accounts) -> None:
    accounts.apply(room.revoke(accounts, "beta"))
    refused(accounts, room.add(accounts, "beta", "beta"), "has been in this room before")
    refused(accounts, room.add(accounts, "delta", "delta"), "delta has no key in force to add another to")
    made = room.add(accounts, "beta", "second")
    assert set(made.others) == {"alpha", "gamma", ORIGIN}
    refused(accounts, room.add(accounts, "beta", "second", others={}), "needs the signatures of alpha, gamma")
    refused(accounts, room.add(accounts, "beta", "second", own={"new": made.own["new"]}), "own signatures")
    accounts.apply(made)
    assert accounts.members.revoked == {}
    assert accounts.members.parties["beta"] == changing.identity("second").public()
    accounts.apply(room.round(accounts))


def test_a_party_that_is_added_again_brings_both_keys() -> None:
    room = Room(both=False)
    accounts = room.accounts()
    accounts.apply(room.revoke(accounts, "beta"))
    made = room.add(accounts, "beta", "second")
    body = {name: value for name, value in made.body().items() if name not in ("ml_dsa_44", "own", "others")}
    draft = build({**body, "own": {}, "others": {}})
    signed = changing.change_body(draft, builder.ROOM)
    own = {"new": keys.sign(builder.key("second"), "change", signed)}
    by = {name: keys.sign(key, "change", signed) for name, key in changing.others(accounts, "beta").items()}
    refused(accounts, build({**body, "own": own, "others": by}), "lack the ML-DSA-44 key")


def test_the_only_partys_key_is_not_revoked_and_it_does_not_leave() -> None:
    room, accounts = Room(), Accounts()
    room.parties = ("alpha",)
    accounts.apply(room.genesis(cosign_quorum=1))
    refused(accounts, room.revoke(accounts, "alpha"), "only party's key")
    refused(accounts, room.leave(accounts, "alpha"), "last party of a room")
    refused(accounts, room.leave(accounts, "alpha", sent_away=True), "last party of a room")


def test_of_a_room_whose_others_are_revoked_the_last_in_force_stays(room, accounts) -> None:
    accounts.apply(room.revoke(accounts, "alpha"))
    accounts.apply(room.revoke(accounts, "beta"))
    refused(accounts, room.revoke(accounts, "gamma"), "only party's key")
    refused(accounts, room.leave(accounts, "gamma"), "last party of a room")
    assert accounts.members.least == 1


def test_after_the_revocation_of_the_coordinators_key_only_its_new_one_follows(room, accounts) -> None:
    made = room.revoke(accounts, ORIGIN)
    assert set(made.others) == set(builder.PARTIES)
    refused(accounts, room.revoke(accounts, ORIGIN, others={}), "needs the signatures of alpha, beta, gamma")
    accounts.apply(made)
    assert accounts.members.coordinator is None
    assert accounts.members.log_keys() == ()
    at, only = accounts.size, "only a new key of its own may follow"
    for entry in (
        room.round(accounts), room.forfeit(at), room.dataset(at, "alpha", version="0" * 32), room.deny(accounts),
        room.rotate(accounts, "beta", "second"), room.revoke(accounts, "beta"), room.join(accounts, "delta"),
        room.grant(accounts), room.plan_entry(at, "ab" * 32), room.audit(accounts), room.egress(accounts),
    ):  # fmt: skip
        refused(accounts, entry, only)
    refused(accounts, room.rotate(accounts, ORIGIN, "second", own={}), "has no key in force to rotate")
    refused(accounts, room.add(accounts, ORIGIN, "coordinator"), "has been in this room before")
    accounts.apply(room.add(accounts, ORIGIN, "second"))
    assert accounts.members.coordinator == changing.identity("second").public()
    accounts.apply(room.round(accounts))


# --- parties ----------------------------------------------------------------------------------------------------------


def test_a_party_joins_by_its_new_keys_and_all_that_are_in_force(room, accounts) -> None:
    made = room.join(accounts, "delta")
    assert set(made.others) == set(builder.PARTIES)
    for missing in builder.PARTIES:
        few = {name: text for name, text in made.others.items() if name != missing}
        refused(accounts, room.join(accounts, "delta", others=few), f"needs the signatures of .*{missing}")
    more = {**made.others, ORIGIN: made.others["alpha"]}
    refused(accounts, room.join(accounts, "delta", others=more), "needs the signatures of")
    refused(accounts, room.join(accounts, "delta", own={"new": made.own["new"]}), "own signatures")
    refused(accounts, room.join(accounts, "delta", own={**made.own, "old": made.own["new"]}), "own signatures")
    accounts.apply(made)
    assert list(accounts.members.parties) == ["alpha", "beta", "delta", "gamma"]
    assert accounts.members.quorum == 3
    assert accounts.balance("delta", "q1") == Balance(60_000_000, 0)


def test_a_party_joins_under_a_name_of_its_own_with_keys_of_its_own(room, accounts) -> None:
    refused(accounts, room.join(accounts, "beta", "second"), "beta is in the room already")
    refused(accounts, room.join(accounts, "delta", "alpha"), "has been in this room before")
    refused(accounts, room.join(accounts, "delta", both=False), "brings no ML-DSA-44 key")
    accounts.apply(room.revoke(accounts, "beta"))
    refused(accounts, room.join(accounts, "beta", "second"), "beta is in the room already")
    with pytest.raises(IntegrityError, match="no party can be named person"):
        room.join(accounts, PERSON)


def test_no_party_has_the_name_of_the_origin() -> None:
    room = Room()
    first = {**room.genesis().body(), "origin": "demo"}
    accounts = Accounts()
    accounts.apply(build(first))
    refused(accounts, room.join(accounts, "demo", "second", others={}), "demo is in the room already")


def test_a_party_that_joins_has_a_cap_for_every_block_and_its_lifetime(room, accounts) -> None:
    whole = room.join(accounts, "delta").caps
    for wrong in ({**whole, "q9": 1}, {name: cap for name, cap in whole.items() if name != "q2"},
                  {name: cap for name, cap in whole.items() if name != LIFETIME}):  # fmt: skip
        refused(accounts, room.join(accounts, "delta", caps=wrong), "caps of delta must be those of every block")


@pytest.mark.parametrize("quorum", [1, 2, 5])
def test_the_quorum_is_a_majority(room, accounts, quorum) -> None:
    refused(accounts, room.join(accounts, "delta", cosign_quorum=quorum), f"a quorum of {quorum} is no majority of 4")
    if quorum != 2:
        refused(accounts, room.leave(accounts, "gamma", cosign_quorum=quorum + 2), "is no majority of 2")


def test_revoked_parties_count_in_the_majority(room, accounts) -> None:
    accounts.apply(room.revoke(accounts, "beta"))
    refused(accounts, room.join(accounts, "delta", cosign_quorum=2), "no majority of 4")
    accounts.apply(room.join(accounts, "delta", cosign_quorum=4))
    assert (accounts.members.quorum, accounts.members.least) == (4, 3)


def test_there_are_never_more_than_64_parties() -> None:
    room, accounts = Room(), Accounts()
    room.parties = tuple(f"p{number:02d}" for number in range(MAX_PARTIES - 1))
    accounts.apply(room.genesis(cosign_quorum=32))
    accounts.apply(room.revoke(accounts, "p00"))
    accounts.apply(room.join(accounts, "one"))
    refused(accounts, room.join(accounts, "two"), "at most 64 parties")
    accounts.apply(room.leave(accounts, "p01"))
    accounts.apply(room.join(accounts, "two"))


def test_a_party_leaves_by_its_own_wish_or_is_sent_away_by_all_others(room, accounts) -> None:
    mark, made = accounts.mark(), room.leave(accounts, "gamma")
    assert (set(made.own), made.others) == ({"old"}, {})
    by_others = room.leave(accounts, "gamma", sent_away=True)
    assert (by_others.own, set(by_others.others)) == ({}, {"alpha", "beta"})
    refused(accounts, room.leave(accounts, "gamma", others=by_others.others), "by its own wish")
    refused(accounts, room.leave(accounts, "gamma", own={}), "needs the signatures of alpha, beta")
    few = {"alpha": by_others.others["alpha"]}
    refused(accounts, room.leave(accounts, "gamma", sent_away=True, others=few), "needs the signatures of alpha, beta")
    wrong = {"old": room.leave(accounts, "alpha").own["old"]}
    refused(accounts, room.leave(accounts, "gamma", own=wrong), "does not verify", IntegrityError)
    refused(accounts, room.leave(accounts, "gamma", key=changing.texts("alpha")["key"]), "not the last one of gamma")
    refused(accounts, room.leave(accounts, "delta"), "delta is not a party")
    for entry in (made, by_others):
        accounts.roll_back(mark)
        accounts.apply(entry)
        assert set(accounts.members.parties) == {"alpha", "beta"}
        refused(accounts, room.leave(accounts, "gamma", own={}), "gamma is not a party")


def test_a_revoked_party_is_sent_away_by_the_others_only(room, accounts) -> None:
    own = room.leave(accounts, "gamma").own
    accounts.apply(room.revoke(accounts, "gamma"))
    refused(accounts, room.leave(accounts, "gamma", own=own), "gamma has no key in force to leave by")
    accounts.apply(room.leave(accounts, "gamma", sent_away=True))
    assert accounts.members.revoked == {}


def test_a_party_does_not_leave_while_a_round_that_charges_it_is_open(room, accounts) -> None:
    accounts.apply(room.join(accounts, "delta"))
    accounts.apply(room.round(accounts))
    refused(accounts, room.leave(accounts, "gamma"), "gamma cannot leave while round .* is open")
    refused(accounts, room.leave(accounts, "gamma", sent_away=True), "gamma cannot leave while round .* is open")
    mark = accounts.mark()
    accounts.apply(room.leave(accounts, "delta"))
    accounts.roll_back(mark)
    accounts.apply(room.forfeit(accounts.size))
    accounts.apply(room.leave(accounts, "gamma"))


def test_a_party_that_comes_back_keeps_what_it_had_spent(room, accounts) -> None:
    accounts.apply(room.round(accounts))
    accounts.apply(room.forfeit(accounts.size))
    accounts.apply(room.leave(accounts, "gamma"))
    refused(accounts, room.grant(accounts, {"gamma": {"q1": 70_000_000}}, by=["alpha"]), "gamma is not a party")
    refused(accounts, room.join(accounts, "gamma"), "has been in this room before")
    accounts.apply(
        room.join(accounts, "gamma", "second", caps={**dict.fromkeys(builder.BLOCKS, COST), LIFETIME: 10**9})
    )
    assert accounts.balance("gamma", "q1") == Balance(COST, COST)
    assert accounts.balance("gamma", LIFETIME) == Balance(10**9, 2 * COST)
    refused(accounts, room.round(accounts, "two"), "the record budget of gamma in q1 would be passed")


def test_consent_to_a_change_is_used_once(room, accounts) -> None:
    """Everything that was ever signed is sent again, at its new place."""
    made = [room.rotate(accounts, "beta", "second")]
    accounts.apply(made[-1])
    for step in (
        lambda: room.revoke(accounts, "alpha"), lambda: room.add(accounts, "alpha", "alpha-2"),
        lambda: room.join(accounts, "delta"), lambda: room.leave(accounts, "delta"),
        lambda: room.join(accounts, "delta", "delta-2"), lambda: room.leave(accounts, "delta", sent_away=True),
        lambda: room.grant(accounts), lambda: room.new_block(accounts),
        lambda: room.revoke(accounts, ORIGIN), lambda: room.add(accounts, ORIGIN, "coordinator-2"),
    ):  # fmt: skip
        made.append(step())
        accounts.apply(made[-1])
    for entry in made:
        again = build({**entry.body(), **changing.place(accounts)})
        with pytest.raises((Refused, IntegrityError)):
            accounts.apply(again)


def test_a_change_signed_for_another_room_is_none_of_this_one(room, accounts, monkeypatch) -> None:
    monkeypatch.setattr(builder, "ROOM", "other-room")
    made = [room.rotate(accounts, "beta", "second"), room.revoke(accounts, "beta"), room.join(accounts, "delta"),
            room.leave(accounts, "beta"), room.grant(accounts)]  # fmt: skip
    for entry in made:
        refused(accounts, entry, "does not verify", IntegrityError)
