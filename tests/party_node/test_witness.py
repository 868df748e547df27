"""What a node cosigns: growth of one ledger that it has checked itself, and paid for before it answers."""

from __future__ import annotations

import secrets
import shutil
import sqlite3
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from coordinator.ledger import RoomLedger
from party_node.filter import Charge, Filter
from party_node.witness import CLOCK_SLACK_S
from protocols import keys, messages
from protocols.encoding import canonical, parse
from protocols.errors import IntegrityError, Refused, RoundEnded
from protocols.keys import Identity
from protocols.ledger import notes
from protocols.ledger.entries import decode
from protocols.ledger.notes import Checkpoint
from protocols.ledger.tree import Tree, leaf_hash
from protocols.logbook import Logbook
from protocols.messages import Witness


@pytest.fixture
def growth(room: Any) -> Witness:
    """The first reserve, which alpha is asked to cosign after the genesis, three datasets and the plan."""
    request: Witness = room.stopped_at(messages.Witness, nth=2)["alpha"]
    assert len(request.entries) == 1
    return request


def refused(room: Any, request: messages.Request, party: str = "alpha") -> str:
    """The reason for which the party does not cosign; its copy is what it was."""
    book = room.nodes[party].book
    before = (book.size, book.root(), book.checkpoints())
    reply = room.say(party, request)
    assert isinstance(reply, messages.Refusal), reply
    assert (book.size, book.root(), book.checkpoints()) == before
    return str(reply.reason)


def forged(room: Any, entries: list[str], by: Identity | None = None) -> Witness:
    """Growth of alpha's copy by any entries the coordinator likes, with a sound proof and its own checkpoint."""
    old = room.nodes["alpha"].book.entries()
    tree = Tree()
    for entry in [*old, *(text.encode() for text in entries)]:
        tree.append(leaf_hash(entry))
    proof = tree.consistency(len(old), len(tree)) if old else []
    checkpoint = Checkpoint(room.ledger.room.origin, len(tree), tree.root())
    note = notes.assemble(checkpoint, notes.sign(checkpoint, by or room.ledger.identity, room.ledger.now))
    return Witness(
        old_size=len(old), entries=entries, proof=[keys.base64_text(node) for node in proof], checkpoint=note
    )


def expiry_of(reserve: str) -> int:
    return int(decode(reserve.encode()).body()["expires"])


def rewritten(entry: str, changes: dict[str, Any]) -> str:
    return canonical({**decode(entry.encode()).body(), **changes}).decode()


# -- growth ------------------------------------------------------------------------------------------------------------


def test_honest_growth_is_kept_charged_and_only_then_cosigned(room: Any, lab: ModuleType, growth: Witness) -> None:
    reply = room.say("alpha", growth)
    assert isinstance(reply, messages.Cosigned)
    checkpoint, _ = notes.split(growth.checkpoint)
    public = notes.cosigner_keys("alpha", room.nodes["alpha"].config.identity.public())
    assert notes.verify_cosignature(checkpoint, public, reply.line + "\n") == lab.START
    assert room.nodes["alpha"].book.entries() == room.book.entries()
    assert room.nodes["alpha"].filter.is_spent("trial", next(iter(room.book.accounts.rounds)))


def test_the_same_growth_asked_again_is_cosigned_again_and_charged_once(
    room: Any, lab: ModuleType, growth: Witness
) -> None:
    checkpoint, _ = notes.split(growth.checkpoint)
    public = notes.cosigner_keys("alpha", room.nodes["alpha"].config.identity.public())
    first = room.say("alpha", growth)
    room.restart("alpha")
    again = room.say("alpha", growth)
    for reply in (first, again):  # ML-DSA-44 signatures are other bytes each time
        assert (reply.party, reply.size) == ("alpha", checkpoint.size)
        assert notes.verify_cosignature(checkpoint, public, reply.line + "\n") == lab.START
    kept = [line for line in room.nodes["alpha"].book.checkpoint().split("\n") if line.startswith("— alpha ")]
    assert kept == sorted(first.line.split("\n"))  # the first, and that alone
    assert sorted(again.line.split("\n")) != kept
    assert room.nodes["alpha"].book.size == room.book.size
    assert room.spent("alpha") == lab.RHO


def test_growth_that_does_not_start_at_the_copys_end_is_answered_with_its_size(room: Any, growth: Witness) -> None:
    size, note = growth.old_size, room.nodes["alpha"].book.checkpoint()
    for old, entries in ((0, []), (2, growth.entries), (size - 1, growth.entries), (size + 1, growth.entries)):
        behind = growth.model_copy(update={"old_size": old, "entries": entries})
        assert room.say("alpha", behind) == messages.Behind(size=size, checkpoint=note)


def test_growth_with_an_entry_changed_left_out_added_or_without_its_proof_is_refused(
    room: Any, growth: Witness
) -> None:
    (reserve,) = growth.entries
    later = rewritten(reserve, {"expires": expiry_of(reserve) + 1})
    spoiled: list[dict[str, Any]] = [
        {"entries": [later]},
        {"entries": []},
        {"entries": [reserve, reserve]},
        {"entries": [reserve + " "]},
        {"entries": ["{}"]},
        {"entries": ["", reserve]},
        {"proof": []},
        {"proof": growth.proof[::-1] + growth.proof[:1]},
        {"checkpoint": growth.checkpoint.replace("trial", "other", 1)},
    ]
    for changes in spoiled:
        refused(room, growth.model_copy(update=changes))
    for entries in ([later], [reserve, reserve], [rewritten(reserve, {"seq": growth.old_size + 1})]):
        refused(room, forged(room, entries))


def test_growth_whose_checkpoint_another_key_signed_is_refused(room: Any, growth: Witness) -> None:
    assert "unknown key" in refused(room, forged(room, growth.entries, by=Identity.generate()))


def test_a_reserve_without_this_partys_own_signature_is_refused(room: Any, growth: Witness) -> None:
    reserve = decode(growth.entries[-1].encode()).body()
    for holds in (
        {**reserve["holds"], "alpha": reserve["holds"]["beta"]},
        {party: line for party, line in reserve["holds"].items() if party != "alpha"},
    ):
        refused(room, forged(room, [rewritten(growth.entries[-1], {"holds": holds})]))


def elsewhere(room: Any, nano: int, now: int) -> Charge:
    """What another room of alpha's asks of the same days."""
    blocks = tuple(room.nodes["alpha"].room.blocks.values())
    return Charge("elsewhere", "0" * 32, "0" * 64, blocks, nano, now + 60)


@pytest.mark.parametrize("how", ["lapsed", "let go"])
def test_a_reserve_that_this_party_does_not_hold_at_this_moment_is_not_kept_and_not_charged(
    room: Any, growth: Witness, how: str
) -> None:
    """Its signature is still good, but its consent no longer counts it."""
    before = room.nodes["alpha"].book.size
    if how == "lapsed":
        room.clock.now = expiry_of(growth.entries[-1]) + 1
    else:
        round_id = messages.Cancel(round=parse(growth.entries[-1].encode(), what="entry")["round"])
        assert isinstance(room.say("alpha", round_id), messages.Cancelled)
    assert "which it does not hold" in refused(room, growth)
    assert (room.spent("alpha"), room.nodes["alpha"].book.size) == (0, before)


def test_a_node_said_to_be_restored_takes_a_charge_over_that_it_has_forgotten_if_its_budget_bears_it(
    room: Any, lab: ModuleType, growth: Witness
) -> None:
    room.clock.now = expiry_of(growth.entries[-1]) + 1
    room.nodes["alpha"].restored = True
    room.nodes["alpha"].filter.spend([elsewhere(room, 300_000_000, room.clock.now)], room.clock.now)
    assert isinstance(room.say("alpha", growth), messages.Cosigned)
    assert room.spent("alpha") == lab.RHO + 300_000_000
    room.nodes["beta"].restored = True
    room.nodes["beta"].filter.spend([elsewhere(room, 700_000_000, room.clock.now)], room.clock.now)
    assert "does not bear it" in refused(room, growth, "beta")


def test_letting_go_does_not_take_a_spend_back(room: Any, lab: ModuleType) -> None:
    room.run()
    (round_id,) = room.book.accounts.rounds
    room.say("alpha", messages.Cancel(round=round_id))
    assert room.spent("alpha") == lab.RHO


# -- forks and rollbacks -----------------------------------------------------------------------------------------------


def fork_of(room: Any, tmp_path: Path, at: int) -> RoomLedger:
    """A second ledger of the same coordinator, which agrees with the first on `at` entries."""
    book = Logbook(tmp_path / f"fork-{at}.db")
    book.append([decode(data) for data in room.book.entries(0, at)])
    return RoomLedger(room.ledger.room, book, room.ledger.identity, room.clock)


def test_a_ledger_forked_anywhere_is_cosigned_by_nobody(room: Any, tmp_path: Path) -> None:
    room.run()
    for at in range(1, room.book.size):
        fork = fork_of(room, tmp_path, at)
        size = fork.book.size
        while fork.book.size < room.book.size + at % 2:
            _grow(room, fork)
        with pytest.raises((RoundEnded, IntegrityError), match="not cosigned|older copy"):
            fork.countersign(room.ask, sorted(room.nodes), 5.0)
        assert fork.book.size > size
        fork.book.close()
    assert {node.book.root() for node in room.nodes.values()} == {room.book.root()}


def _grow(room: Any, fork: RoomLedger) -> None:
    """One more entry that the rules allow: a dataset that alpha itself declares, under a new version."""
    body = {
        "type": "dataset@v1",
        "party": "alpha",
        "version": secrets.token_hex(16),
        "blocks": ["year"],
        "commitment": "0" * 64,
        "schema_digest": "0" * 64,
        "people_cap": 500,
    }
    signature = keys.sign(room.nodes["alpha"].signing, "dataset", {**body, "room": "trial"})
    fork.append([{**body, "signature": signature}])


def test_a_ledger_rolled_back_to_any_earlier_size_is_cosigned_by_nobody(room: Any, tmp_path: Path) -> None:
    room.run()
    for at in range(1, room.book.size):
        older = fork_of(room, tmp_path, at)
        with pytest.raises(IntegrityError, match="restored from an older copy"):
            older.countersign(room.ask, sorted(room.nodes), 5.0)
        older.book.close()
    assert {node.book.size for node in room.nodes.values()} == {room.book.size}


def test_two_checkpoints_of_one_size_are_not_both_cosigned(room: Any, growth: Witness) -> None:
    room.say("alpha", growth)
    checkpoint = Checkpoint(room.ledger.room.origin, len(growth.entries), bytes(32))
    note = notes.assemble(checkpoint, notes.sign(checkpoint, room.ledger.identity, room.ledger.now))
    assert "forked" in refused(room, growth.model_copy(update={"checkpoint": note}))


# -- the room ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('record = "2"', 'record = "3"'),
        ("cosign_quorum = 2", "cosign_quorum = 3"),
        ('last = "2017-12-31"', 'last = "2017-12-30"'),
    ],
)
def test_a_genesis_that_is_not_the_room_of_the_partys_own_file_is_not_cosigned(room: Any, old: str, new: str) -> None:
    text = (room.base / "room.toml").read_text()
    assert old in text
    room.store.close()
    (room.base / "room.toml").write_text(text.replace(old, new, 1))
    room.open_coordinator()
    with pytest.raises((RoundEnded, Refused), match="not the room that this party knows|block year is not"):
        room.run()
    assert {node.book.size for node in room.nodes.values()} == {0}


def test_a_stranger_in_the_genesis_is_not_cosigned(room: Any) -> None:
    entries = room.stopped_at(messages.Witness)["alpha"].entries
    genesis = decode(entries[0].encode()).body()
    stranger = Identity.generate().public().texts()
    for parties in ({**genesis["parties"], "delta": stranger}, {**genesis["parties"], "gamma": stranger}):
        body = {**genesis, "parties": parties}
        body["caps"] = {**genesis["caps"]}
        for table in ("record", "lifetime_record"):
            like = genesis["caps"][table]["gamma"]
            body["caps"][table] = dict.fromkeys(parties, like)
        entry = rewritten(entries[0], body)
        assert "not the room that this party knows" in refused(room, forged(room, [entry]))


def test_a_node_does_not_start_on_the_ledger_of_another_room(room: Any) -> None:
    room.run()
    room.nodes.pop("alpha").close()
    text = (room.base / "room.toml").read_text()
    (room.base / "room.toml").write_text(text.replace('record = "2"', 'record = "3"', 1))
    with pytest.raises(Refused, match="not the room that this party knows"):
        room._node("alpha")


# -- nothing is kept of what is refused; nothing is lost of what is kept -----------------------------------------------


def test_a_reserve_that_nobody_signed_takes_nothing_from_the_partys_budget(
    room: Any, lab: ModuleType, growth: Witness
) -> None:
    """One request, from a coordinator of one room, would else block the party's budget in all rooms for ever."""
    reserve = decode(growth.entries[-1].encode()).body()
    body = {
        "round": "0" * 32,
        "charge": {party: {"year": 10**9 - lab.RHO} for party in reserve["charge"]},
        "expires": 2**53 - 1,
        "holds": dict.fromkeys(reserve["holds"], "AAAA"),
    }
    refused(room, forged(room, [rewritten(growth.entries[-1], body)]))
    assert room.spent("alpha") == lab.RHO
    room.clock.now += 10 * 365 * 86_400
    assert room.spent("alpha") == 0


def test_a_reserve_of_a_block_that_the_room_has_not_is_refused_in_words(room: Any, growth: Witness) -> None:
    reserve = decode(growth.entries[-1].encode()).body()
    charge = {party: {"nowhere": 1} for party in reserve["charge"]}
    entry = rewritten(growth.entries[-1], {"blocks": ["nowhere"], "charge": charge})
    refused(room, forged(room, [entry]))


def test_an_entry_dated_later_than_clocks_may_differ_is_not_cosigned(room: Any, growth: Witness) -> None:
    late = rewritten(growth.entries[-1], {"time": int(room.clock()) + CLOCK_SLACK_S + 1})
    assert "from the future" in refused(room, forged(room, [late]))


class Killed(BaseException):
    pass


def test_a_node_killed_between_its_own_account_and_its_copy_of_the_ledger_is_charged_once(
    room: Any, lab: ModuleType, growth: Witness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The account comes first: the worst that a kill leaves is a charge without its entry."""
    real = Filter.spend

    def killed(*arguments: Any) -> None:
        real(*arguments)
        raise Killed

    monkeypatch.setattr(Filter, "spend", killed)
    with pytest.raises(Killed):
        room.say("alpha", growth)
    monkeypatch.undo()
    assert room.restart("alpha").book.size == growth.old_size
    assert room.spent("alpha") == lab.RHO
    assert isinstance(room.say("alpha", growth), messages.Cosigned)
    assert room.spent("alpha") == lab.RHO


def test_an_account_that_lacks_a_reserve_of_the_ledger_is_repaired_when_the_node_starts(
    room: Any, lab: ModuleType, growth: Witness
) -> None:
    room.say("alpha", growth)
    room.nodes.pop("alpha").close()
    for path in (room.base / "alpha").glob("accounts.db*"):
        path.unlink()
    room.nodes["alpha"] = room._node("alpha")
    assert room.nodes["alpha"].filter.is_spent("trial", next(iter(room.book.accounts.rounds)))
    assert room.spent("alpha") == lab.RHO


def test_a_copy_that_somebody_changed_is_found_when_the_node_starts(room: Any) -> None:
    room.run()
    node = room.nodes.pop("alpha")
    path = room.base / "alpha" / "state" / "ledger.db"
    node.close()
    db = sqlite3.connect(path)
    db.execute("DROP TRIGGER entry_no_update")
    db.execute("UPDATE entry SET body = CAST(replace(CAST(body AS TEXT), 'trial', 'other') AS BLOB) WHERE seq = 0")
    db.commit()
    db.close()
    with pytest.raises(IntegrityError, match="entr"):
        Logbook(path)


def test_a_node_whose_state_was_put_back_cosigns_again_only_what_continues_it(room: Any, tmp_path: Path) -> None:
    state = room.base / "alpha" / "state"
    room.nodes.pop("alpha").close()
    shutil.copytree(state, tmp_path / "saved")
    room.nodes["alpha"] = room._node("alpha")
    room.run()
    room.nodes.pop("alpha").close()
    shutil.rmtree(state)
    shutil.copytree(tmp_path / "saved", state)
    room.nodes["alpha"] = room._node("alpha")
    assert room.nodes["alpha"].book.size == 0
    assert len(room.run()) == 2
    assert room.nodes["alpha"].book.entries() == room.book.entries()
