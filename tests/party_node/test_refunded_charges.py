"""A refunded round counts no more in a party's own accounts, as in the ledger, and nothing of them is ever removed."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from party_node import refunds, witness
from party_node.filter import Charge, Filter
from protocols import keys
from protocols.errors import Refused
from protocols.ledger.entries import Reserve, build
from protocols.ledger.statements import refund_body
from protocols.schema import Block
from tests.ledger import builder

CAP = 100
YEAR = Block(first="2017-01-01", last="2017-12-31")


@pytest.fixture
def accounts(tmp_path: Path) -> Iterator[Filter]:
    budget = Filter(tmp_path / "accounts.db", CAP)
    yield budget
    budget.close()


def charge(round_id: str, nano: int, room: str = "one") -> Charge:
    return Charge(room, round_id, "a" * 64, (YEAR,), nano, 60)


def test_what_is_refunded_can_be_spent_again_to_its_last_nano(accounts: Filter) -> None:
    accounts.hold(charge("1", 60), 0)
    accounts.spend([charge("1", 60)], 0)
    with pytest.raises(Refused, match="does not bear it"):
        accounts.hold(charge("2", 41), 0)
    accounts.refund("one", ["1"])
    accounts.refund("one", ["1"])
    assert (accounts.worst_day([YEAR], 0), accounts.used_by("one", 0), accounts.spent_rounds("one")) == (0, 0, set())
    accounts.hold(charge("2", 100), 0)
    with pytest.raises(Refused, match="closed here"):
        accounts.hold(charge("1", 60), 0)
    accounts.spend([charge("1", 60), charge("2", 100)], 0)  # by an older copy of the ledger
    assert accounts.worst_day([YEAR], 0) == 100
    assert accounts.spent_rounds("one") == {"2"}


def test_a_refund_is_of_one_room(accounts: Filter) -> None:
    for room in ("one", "two"):
        accounts.spend([charge("1", 30, room)], 0)
    accounts.refund("two", ["1"])
    assert (accounts.used_by("one", 0), accounts.used_by("two", 0), accounts.worst_day([YEAR], 0)) == (30, 0, 30)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM charge",
        "UPDATE charge SET state = 'held'",
        "DELETE FROM refund",
        "UPDATE refund SET round = '2'",
        "DELETE FROM noted",
        "UPDATE noted SET what = 'held'",
    ],
)
def test_the_file_itself_refuses_to_forget_a_charge_a_refund_or_a_note(accounts: Filter, statement: str) -> None:
    accounts.spend([charge("1", 60)], 0)
    accounts.refund("one", ["1"])
    with pytest.raises(sqlite3.IntegrityError, match="append-only|never"):
        accounts._db.execute(statement)


def test_a_file_from_before_there_were_refunds_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "accounts.db"
    first = Filter(path, CAP)
    first.spend([charge("1", 60)], 0)
    first._db.execute("DROP TABLE refund")
    first._db.execute("DROP TABLE noted")
    first.close()
    later = Filter(path, CAP)
    assert (later.worst_day([YEAR], 0), later.noted("one", "1")) == (60, set())  # nothing says that it held it itself
    later.refund("one", ["1"])
    assert later.worst_day([YEAR], 0) == 0
    later.close()


# -- with the ledger ---------------------------------------------------------------------------------------------------

GREAT = 10**12
CAPS = {
    "record": {party: dict.fromkeys(builder.BLOCKS, GREAT) for party in builder.PARTIES},
    "person": dict.fromkeys(builder.BLOCKS, 9 * GREAT),
    "lifetime_record": dict.fromkeys(builder.PARTIES, 9 * GREAT),
    "lifetime_person": 99 * GREAT,
}
BLOCKS = {name: Block.model_validate(block) for name, block in builder.BLOCKS.items()}
STEPS = st.lists(st.tuples(st.sampled_from(["reserve", "forfeit", "refund", "start"]), st.integers(0, 5)), max_size=14)


@given(steps=STEPS)
@settings(max_examples=25, deadline=None)
def test_after_any_history_a_partys_own_accounts_say_what_the_ledger_says(steps: list[tuple[str, int]]) -> None:
    room, party = builder.Room(caps=CAPS), builder.PARTIES[0]
    rules: Any = room.accounts()
    known: Any = SimpleNamespace(room=builder.ROOM, blocks=BLOCKS)
    with tempfile.TemporaryDirectory() as folder:
        own = Filter(Path(folder) / "accounts.db", GREAT)
        for what, number in steps:
            label, seq = f"round {number}", rules.size
            try:
                if what == "reserve":
                    blocks = [["q1"], ["q1", "q2"], ["q2"]][number % 3]
                    entry = room.reserve(seq, label, blocks=blocks)
                    rules.apply(entry)
                    assert isinstance(entry, Reserve)
                    taken = witness.charge_of(entry, known, party)
                    own.hold(taken, 0)
                    own.spend([taken], 0)
                elif what == "forfeit":
                    rules.apply(room.forfeit(seq, label))
                elif what == "refund":
                    rules.apply(refund(seq, label))
                else:
                    own.close()
                    own = Filter(Path(folder) / "accounts.db", GREAT)
            except Refused:
                continue
            refunds.give_back(rules, room=builder.ROOM, party=party, filter_=own)
            for name, block in BLOCKS.items():
                assert own.worst_day([block], 0) == rules.balance(party, name).spent
            live = {i for i, one in rules.rounds.items() if one.state != "refunded"}
            assert own.spent_rounds(builder.ROOM) == live
            nano = [max(rules.rounds[i].reserve.charge[party].values()) for i in live]
            assert own.used_by(builder.ROOM, 0) == sum(nano)
        own.close()


def refund(seq: int, label: str) -> Any:
    body = refund_body(builder.ROOM, builder.hex16(label))
    signed = {party: keys.sign(builder.key(party), "refund", body) for party in builder.PARTIES}
    entry = {"type": "refund@v1", "seq": seq, "time": builder.START + seq, "round": builder.hex16(label)}
    return build({**entry, "signatures": signed})
