"""A second reader of the ledger, written from the pages, says of every room what the product says of it."""

from __future__ import annotations

import json

import pytest

from protocols.ledger import entries
from protocols.ledger.reducer import Accounts
from tests.specs import second_ledger
from tests.specs.readers import VECTORS, files

ROOMS = {"good-[0-9]*": 25, "good-plain-*": 6}


@pytest.mark.parametrize("series", ROOMS)
def test_members_caps_and_spending_are_the_same_after_every_entry(series: str) -> None:
    second, accounts, found = second_ledger.Room(), Accounts(), sorted((VECTORS / "ledger-changes").glob(series))
    assert len(found) == ROOMS[series]
    for path in found:
        second.take(json.loads(path.read_bytes()))
        accounts.apply(entries.decode(path.read_bytes()))
        members = accounts.members
        assert second.parties() == {name: keys.texts() for name, keys in members.parties.items()}
        assert {name for name, keys in second.members.items() if keys is None} - {second.origin} == set(members.revoked)
        known = second.members[second.origin]
        assert known == (None if members.coordinator is None else members.coordinator.texts())
        assert second.quorum == members.quorum
        balances = accounts.balances()
        assert second.caps == {at: balance.cap for at, balance in balances.items()}
        assert {at: spent for at, spent in second.spent.items() if spent} == {
            at: balance.spent for at, balance in balances.items() if balance.spent
        }


@pytest.mark.parametrize("name", [name for name in files("bad") if "ledger-changes/" in name and "signature" in name])
def test_no_wrong_signature_passes_the_second_reader(name: str) -> None:
    bad, second = json.loads((VECTORS / name).read_bytes()), second_ledger.Room()
    for path in sorted((VECTORS / "ledger-changes").glob("good-[0-9]*"))[: bad["seq"]]:
        second.take(json.loads(path.read_bytes()))
    with pytest.raises(second_ledger.Wrong):
        second.take(bad)
