"""The ledger and its witnesses against a naive model, by random operations: the quick form of `make long-ledger`."""

from __future__ import annotations

import logging
import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from protocols.errors import Refused
from protocols.ledger.entries import Entry, build
from protocols.ledger.reducer import Accounts

from . import builder, machine, members_machine, naive
from .changes import Changes, KeyRing

EXAMPLES = int(os.environ.get("STATE_MACHINE_EXAMPLES", "40"))


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Refusals by a party's own budget are logged for its operator; here there are thousands."""
    caplog.set_level(logging.ERROR, "sumroom.party")


def quick(examples: int, steps: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def test_coordinator_and_witnesses_do_what_the_naive_model_says() -> None:
    machine.Ledgers.seen.clear()
    run_state_machine_as_test(machine.Ledgers, settings=quick(EXAMPLES, 40))
    assert {"checkpoint", "cosign", "cosign: refused", "cosign: behind"} <= set(machine.Ledgers.seen)


def test_who_is_in_force_and_what_they_may_spend_is_what_the_naive_model_says() -> None:
    members_machine.Room.seen.clear()
    run_state_machine_as_test(members_machine.Room, settings=quick(EXAMPLES, 30))
    assert {"key: taken", "party: taken", "grant: taken", "who suffices"} <= set(members_machine.Room.seen)


def test_while_the_coordinator_has_no_key_only_a_new_one_of_its_own_may_follow() -> None:
    """Found by the machine: a party's rotation was taken in between."""
    room, ring, history = builder.Room(), KeyRing(), list[naive.Entry]()
    accounts = Accounts()

    def change(member: str, action: str, own: list[str], others: list[str], **new: str) -> Entry:
        now = naive.members(history)
        keys = {builder.ORIGIN: now["coordinator"], **now["parties"]}
        signers = {"old": keys[member].get("key"), "new": new["key"], "new_ml_dsa_44": new.get("ml_dsa_44")}
        by = {"own": {at: signers[at] for at in own}, "others": {at: keys[at]["key"] for at in others}}
        body = {"type": "key@v1", "action": action, "member": member, **new, "by": by}
        body |= {"seq": len(history), "time": builder.START}
        return build(Changes(ring, history, builder.START, lambda *of: of[0]).signed(body))

    def take(entry: Entry) -> None:
        accounts.apply(entry)
        history.append(entry.body())

    take(room.genesis())
    parties = list(builder.PARTIES)
    take(change(builder.ORIGIN, "revoke", [], parties, key=history[0]["coordinator"]["key"]))
    with pytest.raises(Refused, match="only a new key of its own may follow"):
        take(change("gamma", "rotate", ["old", "new"], [], **ring.make("newer gamma")))
    take(change(builder.ORIGIN, "add", ["new", "new_ml_dsa_44"], parties, **ring.make("newer", both=True)))
    take(change("gamma", "rotate", ["old", "new"], [], **ring.make("newer gamma")))
