"""Random histories of all types: whatever comes is taken whole or changes nothing, and everything can be taken back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import IntegrityError, Refused
from protocols.ledger.entries import Commit, Entry, build, encode
from protocols.ledger.fields import LIFETIME, PERSON
from protocols.ledger.reducer import Accounts
from protocols.ledger.reserving import price
from tests.ledger import builder, changing
from tests.ledger.changing import ORIGIN, Room, state

NAMES = (*builder.PARTIES, "delta")
LABELS = ("one", "two", "three")


def onward(data: st.DataObject, room: Room, accounts: Accounts, label: str) -> Entry:
    """What may come next of a round."""
    room.parties, round_ = builder.PARTIES, accounts.rounds.get(builder.hex16(label))
    made: Any
    if round_ is None:
        made = room.round(accounts, label)
    elif round_.state == "forfeited":
        made = room.refund(accounts, label)
    elif round_.state != "open":
        made = room.reuse(accounts, label)
    elif data.draw(st.booleans()):
        made = room.forfeit(accounts.size, label)
    else:
        made = room.commit(accounts.size, label, ("rfm-cuts", "rfm-cohorts")[len(round_.commits)])
    return build({**made.body(), "time": accounts.time}) if isinstance(made, Commit) else made


def drawn(data: st.DataObject, room: Room, accounts: Accounts, number: int) -> Entry:
    """An entry of any type: most fit, many do not."""
    at, label = accounts.size, data.draw(st.sampled_from(LABELS))
    party, member = data.draw(st.sampled_from(NAMES)), data.draw(st.sampled_from((*NAMES, ORIGIN)))
    absent = data.draw(st.sampled_from([name for name in NAMES if name not in accounts.members.parties] or ["alpha"]))
    room.parties = data.draw(st.sampled_from((builder.PARTIES, builder.PARTIES, ("alpha", "beta"))))
    new, year = f"{member} {number}", 2018 + number
    makers: list[Any] = [
        *[lambda: onward(data, room, accounts, label)] * 8,
        lambda: room.round(accounts, label),
        lambda: room.commit(at, label, data.draw(st.sampled_from(["rfm-cuts", "rfm-cohorts"]))),
        lambda: room.forfeit(at, label),
        lambda: room.refund(accounts, label),
        lambda: room.reuse(accounts, label),
        lambda: room.deny(accounts, parties=[party]),
        lambda: room.dataset(at, party, by=changing.label_of(accounts, party), version=builder.hex16(str(number))),
        lambda: room.plan_entry(at, builder.digest(str(number).encode())),
        lambda: room.rotate(accounts, member, new),
        lambda: room.add(accounts, data.draw(st.sampled_from([absent, ORIGIN])), new),
        lambda: room.revoke(accounts, member),
        lambda: room.join(accounts, absent, new),
        lambda: room.leave(accounts, party, sent_away=data.draw(st.booleans())),
        lambda: room.grant(accounts, {party: {"q1": 60_000_000 + number * 1000}}),
        lambda: room.grant(accounts, {PERSON: {LIFETIME: 450_000_000 + number * 1000}}),
        lambda: room.new_block(accounts, f"b{number}", {"first": f"{year}-01-01", "last": f"{year}-12-31"}),
        lambda: room.egress(accounts, party, f"2023-11-{1 + data.draw(st.integers(0, 12)):02d}", number),
        lambda: room.audit(accounts, size=data.draw(st.integers(1, at + 1))),
    ]  # fmt: skip
    entry: Entry = makers[data.draw(st.integers(0, len(makers) - 1))]()
    late = changing.place(accounts)["time"] + data.draw(st.sampled_from([0, 0, 0, 0, -40, 50]))
    return entry if late == entry.time else build({**entry.body(), "time": max(0, late)})


def histories(data: st.DataObject, room: Room, accounts: Accounts) -> Iterator[Entry]:
    for number in range(data.draw(st.integers(1, 16))):
        yield drawn(data, room, accounts, number)


def outcome(accounts: Accounts, entry: Entry, raw: bytes | None = None) -> str:
    try:
        accounts.apply(entry, raw)
    except (Refused, IntegrityError) as exc:
        return exc.message
    return ""


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_comes_is_taken_whole_or_changes_nothing_and_all_of_it_can_be_taken_back(data: st.DataObject) -> None:
    room = Room(both=data.draw(st.booleans()))
    accounts = room.accounts()
    stood = [(accounts.mark(), state(accounts))]
    for entry in histories(data, room, accounts):
        before = state(accounts)
        if outcome(accounts, entry):
            assert state(accounts) == before
        else:
            assert accounts.size == entry.seq + 1
            stood.append((accounts.mark(), state(accounts)))
    for mark, before in reversed(stood):
        accounts.roll_back(mark)
        assert state(accounts) == before


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_who_keeps_the_open_rounds_only_has_the_same_balances_and_refusals(data: st.DataObject) -> None:
    room = Room()
    accounts, few = room.accounts(), Accounts(keep="open")
    for entry in room.opening():
        few.apply(entry)
    for entry in histories(data, room, accounts):
        assert outcome(few, entry, encode(entry)) == outcome(accounts, entry)
        few.settle()
        assert few.balances() == accounts.balances()
        assert (few.members, few.epochs(), few.revision) == (accounts.members, accounts.epochs(), accounts.revision)
        open_ones = {name: round_ for name, round_ in accounts.rounds.items() if round_.state in ("open", "forfeited")}
        assert few.rounds == open_ones


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_is_spent_is_what_rounds_charged_that_were_not_refunded(data: st.DataObject) -> None:
    """Whatever joins, leaves and grants do to members and caps; and no reserve passes a cap."""
    room = Room()
    accounts = room.accounts()
    for entry in histories(data, room, accounts):
        outcome(accounts, entry)
    spent: dict[tuple[str, str], int] = {}
    for round_ in accounts.rounds.values():
        if round_.state != "refunded":
            reserve = round_.reserve
            rows = {**reserve.charge, PERSON: dict.fromkeys(reserve.blocks, price(reserve.offered).person)}
            for who, row in rows.items():
                for block, amount in row.items():
                    for at in ((who, block), (who, LIFETIME)):
                        spent[at] = spent.get(at, 0) + amount
    assert {at: balance.spent for at, balance in accounts.balances().items() if balance.spent} == spent
