"""A forfeited round is refunded where nothing left any party: by the word of all of them, and by nothing less."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coordinator import afterwards, rounds
from party_node import refunds
from party_node.config import Config
from party_node.node import Node
from protocols import keys, messages
from protocols.errors import IntegrityError, Refused, RoundEnded
from protocols.ledger.statements import refund_body


def forfeited(room: Any) -> str:
    """A round whose reserve gamma does not live to cosign: it ends at its deadline, and nobody has begun with it."""

    def meddle(party: str, request: messages.Request) -> messages.Request:
        if party == "gamma" and isinstance(request, messages.Witness) and "reserve@v1" in "".join(request.entries):
            room.away.add("gamma")
        return request

    room.meddle = meddle
    with pytest.raises(RoundEnded, match="forfeited") as caught:
        room.run()
    room.away.clear()
    room.meddle = lambda _, request: request
    (round_id,) = room.book.accounts.rounds
    assert f"sumroom-coordinator refund {round_id[:16]}" in str(caught.value.hint)
    return str(round_id)


def stopped(room: Any, kind: type) -> str:
    """A round whose coordinator is killed before these requests, and which is forfeited past its deadline."""
    room.stopped_at(kind)
    (round_id,) = room.book.accounts.rounds
    room.ledger.forfeit(round_id, "coordinator-restart")
    room.ledger.countersign(room.ask, sorted(room.nodes), 10.0)
    return str(round_id)


def refusal(room: Any, party: str, round_id: str) -> str:
    reply = room.say(party, messages.Refund(round=round_id))
    assert isinstance(reply, messages.Refusal), reply
    assert reply.code == "budget"
    return reply.reason


def spent(room: Any) -> set[int]:
    """By the ledger, by each party's own accounts, and for a person, a share at a time."""
    balances = room.book.accounts.balances()
    own = {room.spent(party) for party in room.nodes}
    return own | {balance.spent // (3 if who == "person" else 1) for (who, _), balance in balances.items()}


def test_a_round_that_nobody_began_is_refunded_and_its_budget_can_be_spent_again(room: Any, lab: Any) -> None:
    round_id = forfeited(room)
    assert room.spent("alpha") == lab.RHO
    assert afterwards.refund(room.ledger, room.ask, round_id) is True
    assert room.book.accounts.rounds[round_id].state == "refunded"
    assert spent(room) == {0}
    assert room.ledger.cosigned_size() == room.book.size
    assert afterwards.refund(room.ledger, room.ask, round_id) is False
    for party in room.nodes:
        room.restart(party)
    assert spent(room) == {0}
    assert len(room.run()) == 2
    assert spent(room) == {lab.RHO}


def test_what_a_refunded_round_cost_no_longer_counts_in_a_partys_consent(room: Any, lab: Any) -> None:
    """Alpha allows one round in all."""
    for party in room.nodes:
        lab.consent(room.base / party, room.plan, per_period="0.4")
    round_id = forfeited(room)
    with pytest.raises(Refused, match="not approved"):
        room.run()
    afterwards.refund(room.ledger, room.ask, round_id)
    assert len(room.run()) == 2


def test_a_party_that_does_not_answer_is_named_and_nothing_is_written(room: Any) -> None:
    round_id = forfeited(room)
    room.away.add("beta")
    with pytest.raises(Refused, match="not refunded: beta: away"):
        afterwards.refund(room.ledger, room.ask, round_id)
    assert room.book.accounts.rounds[round_id].state == "forfeited"
    room.away.clear()
    assert afterwards.refund(room.ledger, room.ask, round_id) is True


def test_a_hold_that_had_lapsed_when_its_party_came_back_is_no_obstacle(room: Any) -> None:
    round_id = forfeited(room)
    room.clock.now += 10_000
    assert afterwards.refund(room.ledger, room.ask, round_id) is True
    assert spent(room) == {0}


@pytest.mark.parametrize("kind", [messages.Agree, messages.Contribute])
def test_no_node_signs_for_a_round_that_it_had_begun_with(room: Any, lab: Any, kind: type) -> None:
    round_id = stopped(room, kind)
    for party in room.nodes:
        assert "had begun with round" in refusal(room, party, round_id)
    with pytest.raises(Refused, match="alpha: this party had begun.*beta: this party had begun.*gamma: "):
        afterwards.refund(room.ledger, room.ask, round_id)
    assert room.book.accounts.rounds[round_id].state == "forfeited"
    assert room.spent("alpha") == lab.RHO


@pytest.mark.parametrize("forgotten", ["state", "accounts.db"])
def test_either_file_alone_remembers_that_a_round_was_begun(room: Any, forgotten: str) -> None:
    """The other was put back to before its drawing: the state with its copy of the ledger, or the accounts."""
    room.stopped_at(messages.Prepare)
    older = keep(room, "alpha", forgotten)
    (round_id,) = room.book.accounts.rounds
    with pytest.raises(lab_stop := rooms_stop()):
        rounds.run(room.plan, room.ledger, until(room, messages.Contribute), go_on_with=round_id)
    assert lab_stop
    put_back(room, "alpha", older)
    room.ledger.forfeit(round_id, "coordinator-restart")
    room.ledger.countersign(room.ask, sorted(room.nodes), 10.0)
    assert "had begun with round" in refusal(room, "alpha", round_id)


def test_a_share_that_left_a_node_which_forgot_it_is_not_refunded_by_the_others(room: Any, lab: Any) -> None:
    """Alpha's whole disk is put back to before its drawing. It signs; those who agreed to its roster do not."""
    room.stopped_at(messages.Prepare)
    older = keep(room, "alpha", "state", "accounts.db")
    (round_id,) = room.book.accounts.rounds
    with pytest.raises(rooms_stop()):
        rounds.run(room.plan, room.ledger, until(room, messages.Deliver), go_on_with=round_id)
    assert room.nodes["alpha"].store.sent_share(round_id, "rfm-cuts") is not None
    put_back(room, "alpha", older)
    book = room.nodes["alpha"].book
    # The coordinator shows alpha a history in which nothing was released.
    fork = forked(room, book, {"type": "forfeit@v1", "round": round_id, "reason": "deadline"})
    assert isinstance(room.say("alpha", fork), messages.Cosigned)
    assert isinstance(room.say("alpha", messages.Refund(round=round_id)), messages.Refunded)
    for party in ("beta", "gamma"):
        refusal(room, party, round_id)
    assert room.spent("alpha") == lab.RHO


@pytest.mark.parametrize("spoil", ["missing", "another's", "another round's", "stranger"])
def test_a_refund_without_the_true_signature_of_each_charged_party_is_none(room: Any, lab: Any, spoil: str) -> None:
    """Neither in the coordinator's ledger nor, forged, in a node's copy; what it charged stays spent there."""
    round_id = forfeited(room)
    room.ledger.countersign(room.ask, sorted(room.nodes), 10.0)
    body = refund_body(room.ledger.room.room, round_id)
    signed = {party: keys.sign(node.signing, "refund", body) for party, node in room.nodes.items()}
    if spoil == "missing":
        del signed["beta"]
    elif spoil == "another's":
        signed["beta"] = signed["alpha"]
    elif spoil == "another round's":
        signed["beta"] = keys.sign(room.nodes["beta"].signing, "refund", refund_body("trial", "0" * 32))
    else:
        signed["delta"] = signed["alpha"]
    entry = {"type": "refund@v1", "round": round_id, "signatures": signed}
    with pytest.raises((Refused, IntegrityError)):
        room.ledger.append([entry])
    assert isinstance(room.say("alpha", forked(room, room.nodes["alpha"].book, entry)), messages.Refusal)
    assert room.spent("alpha") == lab.RHO


def test_only_a_forfeited_round_that_charges_this_party_is_signed_for(room: Any) -> None:
    assert "is not forfeited" in refusal(room, "alpha", "0" * 32)
    room.stopped_at(messages.Prepare)
    (round_id,) = room.book.accounts.rounds
    assert "is not forfeited" in refusal(room, "alpha", round_id)
    with pytest.raises(Refused, match="is open; only a forfeited one"):
        afterwards.refund(room.ledger, room.ask, round_id)
    room.run()
    assert "is not forfeited" in refusal(room, "alpha", round_id)
    with pytest.raises(Refused, match="has released something"):
        afterwards.refund(room.ledger, room.ask, round_id)


def test_a_round_that_released_a_step_and_then_ended_is_not_refunded(room: Any) -> None:
    room.stopped_at(messages.Prepare, nth=2)
    (round_id,) = room.book.accounts.rounds
    room.ledger.forfeit(round_id, "coordinator-restart")
    room.ledger.countersign(room.ask, sorted(room.nodes), 10.0)
    assert "is not forfeited without a release" in refusal(room, "alpha", round_id)


def test_a_charge_that_was_taken_over_after_a_restore_is_not_signed_away(room: Any) -> None:
    older = keep(room, "alpha", "state", "accounts.db")
    room.stopped_at(messages.Prepare)
    put_back(room, "alpha", older)
    room.nodes["alpha"].restored = True
    (round_id,) = room.book.accounts.rounds
    assert isinstance(room.say("alpha", grown(room, "alpha")), messages.Cosigned)
    assert room.nodes["alpha"].filter.is_spent("trial", round_id)
    room.ledger.forfeit(round_id, "coordinator-restart")
    room.ledger.countersign(room.ask, sorted(room.nodes), 10.0)
    assert "does not remember" in refusal(room, "alpha", round_id)


def test_a_node_that_learns_of_a_round_with_its_end_has_no_word_about_it(room: Any) -> None:
    older = keep(room, "alpha", "state", "accounts.db")
    round_id = stopped(room, messages.Prepare)
    put_back(room, "alpha", older)
    assert isinstance(room.say("alpha", grown(room, "alpha")), messages.Cosigned)
    assert "does not remember" in refusal(room, "alpha", round_id)


@pytest.mark.parametrize("where", ["store", "filter", "signature"])
def test_a_node_killed_before_its_signature_left_gives_it_when_it_is_asked_again(
    room: Any, lab: Any, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    round_id = forfeited(room)
    room.ledger.countersign(room.ask, sorted(room.nodes), 10.0)

    def killed(*_: Any) -> None:
        raise lab.Stop

    node = room.nodes["alpha"]
    with monkeypatch.context() as patch:
        if where == "signature":
            patch.setattr(refunds.keys, "sign", killed)
        else:
            patch.setattr(getattr(node, where), "close_round", killed)
        with pytest.raises(lab.Stop):
            room.say("alpha", messages.Refund(round=round_id))
    node = room.restart("alpha")
    assert node.store.is_closed(round_id) == (where != "store")
    assert ("closed" in node.filter.noted("trial", round_id)) == (where == "signature")
    assert isinstance(room.say("alpha", messages.Refund(round=round_id)), messages.Refunded)
    assert node.store.is_closed(round_id)
    assert "closed" in node.filter.noted("trial", round_id)


@pytest.mark.parametrize("back", [("state",), ("state/ledger.db", "accounts.db")], ids=["accounts know", "state knows"])
def test_a_round_that_was_signed_away_stays_closed_where_one_file_was_put_back(
    room: Any, computed: list[str], back: tuple[str, ...]
) -> None:
    """The copy of the ledger says that it is open, and the reserve is fine: nothing is computed for it."""
    prepare = room.stopped_at(messages.Prepare)["alpha"]
    older = keep(room, "alpha", *back)
    (round_id,) = room.book.accounts.rounds
    room.ledger.forfeit(round_id, "coordinator-restart")
    room.ledger.countersign(room.ask, sorted(room.nodes), 10.0)
    assert isinstance(room.say("alpha", messages.Refund(round=round_id)), messages.Refunded)
    put_back(room, "alpha", older)
    assert room.nodes["alpha"].book.accounts.rounds[round_id].state == "open"
    reply = room.say("alpha", prepare)
    assert isinstance(reply, messages.Refusal)
    assert "is closed: this party has signed that nothing of it ever leaves" in reply.reason
    assert computed == []


def test_a_closed_round_is_never_held_again(room: Any) -> None:
    draft = room.stopped_at(messages.Reserve)["alpha"]
    room.nodes["alpha"].filter.close_round("trial", draft.draft["round"])
    reply = room.say("alpha", draft)
    assert isinstance(reply, messages.Refusal)
    assert "this round is closed here" in reply.reason


def test_a_node_that_was_away_gets_reserve_forfeit_and_refund_in_one_growth(room: Any) -> None:
    """Its disk was put back to before all three: it is charged nothing, then or when it starts."""
    older = keep(room, "alpha", "state", "accounts.db")
    round_id = forfeited(room)
    afterwards.refund(room.ledger, room.ask, round_id)
    put_back(room, "alpha", older)
    assert isinstance(room.say("alpha", grown(room, "alpha")), messages.Cosigned)
    assert room.spent("alpha") == 0
    room.restart("alpha")
    assert room.spent("alpha") == 0


def test_a_copy_of_the_ledger_put_back_to_before_a_refund_does_not_charge_again(room: Any) -> None:
    room.stopped_at(messages.Prepare)
    older = keep(room, "alpha", "state/ledger.db")
    (round_id,) = room.book.accounts.rounds
    room.ledger.forfeit(round_id, "coordinator-restart")
    afterwards.refund(room.ledger, room.ask, round_id)
    assert room.spent("alpha") == 0
    put_back(room, "alpha", older)
    assert room.nodes["alpha"].book.accounts.rounds[round_id].state == "open"
    assert room.spent("alpha") == 0
    assert isinstance(room.say("alpha", grown(room, "alpha")), messages.Cosigned)
    assert room.spent("alpha") == 0


def test_a_refund_that_was_kept_but_not_given_back_is_given_back_at_the_next_start(
    room: Any, lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    round_id = forfeited(room)

    def killed(*_: Any, **__: Any) -> None:
        raise lab.Stop

    with monkeypatch.context() as patch:
        patch.setattr(room.nodes["alpha"].filter, "refund", killed)
        with pytest.raises(lab.Stop):
            afterwards.refund(room.ledger, room.ask, round_id)
    assert room.spent("alpha") == lab.RHO
    room.restart("alpha")
    assert room.spent("alpha") == 0


def test_a_round_that_charges_one_party_alone_is_never_signed_for(room: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    round_id = forfeited(room)
    room.ledger.countersign(room.ask, sorted(room.nodes), 10.0)
    reserve = room.nodes["alpha"].book.accounts.rounds[round_id].reserve
    alone = {"alpha": reserve.charge["alpha"]}
    monkeypatch.setattr(type(reserve), "charge", property(lambda _: alone), raising=False)
    assert "together with another" in refusal(room, "alpha", round_id)


# -- disks that are put back, coordinators that are killed, and false growth ------------------------------------------


def rooms_stop() -> type[BaseException]:
    from tests.rounds import lab

    return lab.Stop


def until(room: Any, kind: type) -> Callable[..., Any]:
    """The room's `ask`, up to the first such request, where the coordinator is killed."""

    def ask(requests: Any, timeout: float) -> Any:
        if isinstance(next(iter(requests.values()), None), kind):
            raise rooms_stop()
        return room.ask(requests, timeout)

    return ask


def keep(room: Any, party: str, *parts: str) -> tuple[Path, tuple[str, ...]]:
    """Copies of parts of a node's disk, made while it is not running."""
    room.nodes[party].close()
    older = room.base / f"older-{party}"
    for part in parts:
        _copy(room.base / party / part, older / part)
    room.nodes[party] = Node(Config.load(room.base / party / "node.toml"), room.clock)
    return older, parts


def put_back(room: Any, party: str, older: tuple[Path, tuple[str, ...]]) -> None:
    folder, parts = older
    room.nodes[party].close()
    for part in parts:
        _copy(folder / part, room.base / party / part)
    room.nodes[party] = Node(Config.load(room.base / party / "node.toml"), room.clock)


def _copy(source: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(source, to)
        return
    for end in ("-wal", "-shm"):
        Path(f"{to}{end}").unlink(missing_ok=True)
    shutil.copy(source, to)


def grown(room: Any, party: str) -> messages.Witness:
    return room.ledger._growth(room.nodes[party].book.size, room.book.size)  # type: ignore[no-any-return]


def forked(room: Any, book: Any, entry: dict[str, Any]) -> messages.Witness:
    """Growth of a node's copy by this entry, signed by the coordinator; no rule is asked."""
    from protocols.ledger import notes
    from protocols.ledger.entries import build, encode
    from protocols.ledger.notes import Checkpoint
    from protocols.ledger.tree import Tree, leaf_hash

    old, body = book.entries(), encode(build({**entry, "seq": book.size, "time": book.accounts.time}))
    tree = Tree()
    for data in [*old, body]:
        tree.append(leaf_hash(data))
    checkpoint = Checkpoint(room.ledger.room.origin, len(tree), tree.root())
    note = notes.assemble(checkpoint, notes.sign(checkpoint, room.ledger.identity, book.accounts.time))
    proof = [keys.base64_text(node) for node in tree.consistency(len(old), len(tree))]
    return messages.Witness(old_size=len(old), entries=[body.decode()], proof=proof, checkpoint=note)
