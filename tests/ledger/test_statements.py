"""What happened, as the ledger states it: given back, asked for again, refused, sent, audited."""

from __future__ import annotations

from typing import Any

import pytest

from protocols import keys
from protocols.encoding import digest
from protocols.errors import IntegrityError, Refused
from protocols.ledger.entries import build
from protocols.ledger.fields import LIFETIME, PERSON
from protocols.ledger.reducer import DAY_S, Accounts
from protocols.logbook import Logbook
from tests.ledger import builder, changing
from tests.ledger.changing import Room, refused

START = builder.START


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.fixture
def accounts(room: Room) -> Accounts:
    return room.accounts()


def apply(accounts: Accounts, *steps: Any) -> None:
    for step in steps:
        accounts.apply(step())


# --- refund -----------------------------------------------------------------------------------------------------------


def test_a_refund_gives_back_in_every_balance_exactly_what_was_charged(room, accounts) -> None:
    accounts.apply(room.round(accounts, "kept"))
    before = accounts.balances()
    accounts.apply(room.round(accounts))
    charged = accounts.balances()
    assert {at for at in before if charged[at].spent > before[at].spent} == {
        (who, block) for who in (*builder.PARTIES, PERSON) for block in ("q1", "q2", LIFETIME)
    }
    accounts.apply(room.forfeit(accounts.size))
    assert accounts.balances() == charged
    accounts.apply(room.refund(accounts))
    assert accounts.balances() == before


def test_a_round_is_refunded_once(room, accounts) -> None:
    apply(accounts, lambda: room.round(accounts, "kept"), lambda: room.round(accounts),
          lambda: room.forfeit(accounts.size), lambda: room.refund(accounts))  # fmt: skip
    for again in (room.refund(accounts), build({**room.refund(accounts).body(), "time": accounts.time + 9})):
        refused(accounts, again, "is not forfeited")
    refused(accounts, room.forfeit(accounts.size), "is refunded")
    refused(accounts, room.commit(accounts.size), "is refunded")
    refused(accounts, room.round(accounts), "is in the ledger already")
    refused(accounts, room.round(accounts, "two", steps=room.steps("one")), "nonce of step .* was used")


def test_only_a_forfeited_round_is_refunded(room, accounts) -> None:
    refused(accounts, room.refund(accounts), "is not forfeited")
    accounts.apply(room.round(accounts))
    refused(accounts, room.refund(accounts), "is not forfeited")
    apply(accounts, lambda: room.commit(accounts.size), lambda: room.commit(accounts.size, step="rfm-cohorts"))
    refused(accounts, room.refund(accounts), "is not forfeited")


def test_a_round_that_has_released_something_is_never_refunded(room, accounts) -> None:
    apply(accounts, lambda: room.round(accounts), lambda: room.commit(accounts.size),
          lambda: room.forfeit(accounts.size))  # fmt: skip
    refused(accounts, room.refund(accounts), "has released something")


@pytest.mark.parametrize("missing", builder.PARTIES)
def test_a_refund_is_signed_by_every_party_that_was_charged(room, accounts, missing) -> None:
    apply(accounts, lambda: room.round(accounts), lambda: room.forfeit(accounts.size))
    others = [party for party in builder.PARTIES if party != missing]
    refused(accounts, room.refund(accounts, by=others), "exactly the parties that were charged")
    whole = room.refund(accounts).signatures
    wrong = {**whole, missing: whole[others[0]]}
    refused(accounts, room.refund(accounts, signatures=wrong), f"refund signature of {missing}", IntegrityError)
    more = {**whole, "delta": whole["alpha"]}
    refused(accounts, room.refund(accounts, signatures=more), "exactly the parties that were charged")


def test_a_refund_is_signed_for_one_round_and_for_nothing_else(room, accounts) -> None:
    apply(accounts, lambda: room.round(accounts), lambda: room.forfeit(accounts.size),
          lambda: room.round(accounts, "two"), lambda: room.forfeit(accounts.size, "two"))  # fmt: skip
    of_two = room.refund(accounts, "two").signatures
    refused(accounts, room.refund(accounts, signatures=of_two), "refund signature of", IntegrityError)
    body = changing.refund_body(builder.ROOM, builder.hex16("one"))
    holds = {party: keys.sign(builder.key(party), "hold", body) for party in builder.PARTIES}
    refused(accounts, room.refund(accounts, signatures=holds), "refund signature of", IntegrityError)


def test_a_refund_is_signed_by_the_keys_in_force(room, accounts) -> None:
    apply(accounts, lambda: room.round(accounts), lambda: room.forfeit(accounts.size))
    early = room.refund(accounts).signatures
    accounts.apply(room.rotate(accounts, "beta", "second"))
    refused(accounts, room.refund(accounts, signatures=early), "refund signature of beta", IntegrityError)
    accounts.apply(room.refund(accounts))


# --- reuse and deny ---------------------------------------------------------------------------------------------------


def test_a_reuse_is_of_a_round_that_released_this_plan_on_these_data(room, accounts) -> None:
    match = "has not released this plan on these datasets"
    refused(accounts, room.reuse(accounts), match)
    accounts.apply(room.round(accounts))
    refused(accounts, room.reuse(accounts), match)
    accounts.apply(room.commit(accounts.size))
    refused(accounts, room.reuse(accounts), match)
    accounts.apply(room.commit(accounts.size, step="rfm-cohorts"))
    known = room.reuse(accounts).datasets
    for changes in ({"plan": "ab" * 32}, {"datasets": {**known, "beta": "0" * 32}}, {"datasets": {}},
                    {"datasets": {"alpha": known["alpha"]}}):  # fmt: skip
        refused(accounts, room.reuse(accounts, **changes), match)
    before = accounts.balances()
    apply(accounts, lambda: room.reuse(accounts), lambda: room.reuse(accounts))
    assert accounts.balances() == before


def test_a_forfeited_or_refunded_round_is_no_answer(room, accounts) -> None:
    apply(accounts, lambda: room.round(accounts), lambda: room.forfeit(accounts.size))
    refused(accounts, room.reuse(accounts), "has not released this plan")
    accounts.apply(room.refund(accounts))
    refused(accounts, room.reuse(accounts), "has not released this plan")


def test_a_denial_names_parties_in_force_or_nobody(room, accounts) -> None:
    refused(accounts, room.deny(accounts, parties=["alpha", "delta"]), "delta is not a party")
    for parties in ([], ["alpha"], ["alpha", "beta", "gamma"]):
        accounts.apply(room.deny(accounts, parties=parties, reason="not-held"))
    with pytest.raises(IntegrityError, match="alphabetical"):
        room.deny(accounts, parties=["beta", "alpha"])
    with pytest.raises(IntegrityError, match="reason"):
        room.deny(accounts, reason="too many people")


# --- egress -----------------------------------------------------------------------------------------------------------


def test_what_a_party_sent_is_signed_by_itself(room, accounts) -> None:
    wrong = room.egress(accounts, "beta").signature
    refused(accounts, room.egress(accounts, signature=wrong), "egress signature of alpha", IntegrityError)
    refused(accounts, room.egress(accounts, "delta"), "delta is not a party")
    other = room.egress(accounts, size=4).signature
    refused(accounts, room.egress(accounts, signature=other), "egress signature of alpha", IntegrityError)
    accounts.apply(room.egress(accounts))
    assert accounts.egress["alpha"].size == 3


def test_a_day_is_over_before_it_is_stated(room, accounts) -> None:
    midnight = (START // DAY_S + 1) * DAY_S  # of 2023-11-14 to 15
    for day, time in (("2023-11-14", midnight - 1), ("2023-11-15", midnight), ("2024-02-29", midnight)):
        refused(accounts, room.egress(accounts, day=day, time=time), f"the day {day} is not over")
    accounts.apply(room.egress(accounts, day="2023-11-14", time=midnight))


def test_the_log_of_what_was_sent_only_grows(room, accounts) -> None:
    accounts.apply(room.egress(accounts, day="2023-11-10", size=3))
    root = accounts.egress["alpha"].root
    for day in ("2023-11-10", "2023-11-09"):
        refused(accounts, room.egress(accounts, day=day, size=4), "has stated what it sent up to 2023-11-10 already")
    refused(accounts, room.egress(accounts, size=2), "is not the one of 2023-11-10, grown")
    refused(accounts, room.egress(accounts, size=3, root="ab" * 32), "is not the one of 2023-11-10, grown")
    accounts.apply(room.egress(accounts, day="2023-11-11", size=3, root=root))
    accounts.apply(room.egress(accounts, day="2023-11-13", size=9))
    accounts.apply(room.egress(accounts, "beta", day="2023-11-10", size=0))


def test_a_party_that_comes_back_goes_on_with_its_log(room, accounts) -> None:
    apply(accounts, lambda: room.egress(accounts, day="2023-11-10"), lambda: room.leave(accounts, "alpha"))
    refused(accounts, room.egress(accounts), "alpha is not a party")
    accounts.apply(room.join(accounts, "alpha", "second"))
    refused(accounts, room.egress(accounts, size=0), "grown")
    accounts.apply(room.egress(accounts, size=4))


# --- audit ------------------------------------------------------------------------------------------------------------


def test_a_verdict_is_over_entries_that_there_are_and_signed(room, accounts) -> None:
    at = accounts.size
    refused(accounts, room.audit(accounts, size=at + 1), f"a verdict over {at + 1} entries, of {at}")
    wrong = room.audit(accounts, verdict="violation").signature
    refused(accounts, room.audit(accounts, signature=wrong), "audit signature of checker", IntegrityError)
    accounts.apply(room.audit(accounts))
    accounts.apply(room.audit(accounts, "second", size=1, verdict="violation"))


def test_an_auditors_key_is_no_members_now_or_ever(room, accounts) -> None:
    accounts.apply(room.rotate(accounts, "beta", "beta-2"))
    for label in ("alpha", "beta", "beta-2", "coordinator"):
        key = keys.public_text(builder.key(label))
        refused(accounts, room.audit(accounts, key=key), "an auditor's key is its own")


def test_a_verdict_enters_once(room, accounts) -> None:
    made = room.audit(accounts)
    accounts.apply(made)
    refused(accounts, build({**made.body(), **changing.place(accounts)}), "this verdict is in the ledger already")
    refused(accounts, room.audit(accounts, size=5, verdict="violation"), "this verdict is in the ledger already")
    accounts.apply(room.audit(accounts, size=5, bundle=digest(b"another")))


def test_a_verdict_over_another_history_is_refused_by_every_copy(room, tmp_path) -> None:
    with Logbook(tmp_path / "ledger.db") as log:
        log.append(room.opening())
        with pytest.raises(Refused, match="over another history of 5 entries"):
            log.append([room.audit(log.accounts)])
        assert log.size == 5
        log.append([room.audit(log.accounts, root=log.root(5).hex())])
        assert log.size == 6


def test_what_is_stated_in_another_room_is_no_statement_here(room, accounts, monkeypatch) -> None:
    apply(accounts, lambda: room.round(accounts), lambda: room.forfeit(accounts.size))
    monkeypatch.setattr(builder, "ROOM", "other-room")
    for entry in (room.refund(accounts), room.egress(accounts), room.audit(accounts)):
        refused(accounts, entry, "does not verify", IntegrityError)
