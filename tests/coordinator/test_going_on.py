"""A coordinator that was killed, or stopped, goes on with its round: nothing is drawn, charged or released twice."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from coordinator import delivery, rounds
from coordinator.conversation import Answer
from coordinator.store import body_key, release_key
from party_node import share
from protocols import keys, messages
from protocols import release as releases
from protocols.encoding import canonical
from protocols.errors import Refused, RoundEnded, Stale
from tests.coordinator.test_rounds import ends, findings

KILLED = [
    *((kind, 1) for kind in (messages.Prepare, messages.Agree, messages.Contribute, messages.Deliver)),
    *((kind, 2) for kind in (messages.Prepare, messages.Agree, messages.Contribute)),
    *((messages.Witness, nth) for nth in (2, 3)),
]


@pytest.mark.parametrize(("at", "nth"), KILLED, ids=lambda value: getattr(value, "__name__", str(value)))
def test_a_coordinator_killed_anywhere_goes_on_with_the_round_at_no_further_cost_and_no_further_noise(
    room: Any, lab: ModuleType, at: type, nth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At `Witness` it is killed with its reserve, or a commit, written and cosigned by nobody."""
    drawn: list[int] = []
    real = share.add_noise

    def watched(total: Any, **named: int) -> Any:
        drawn.append(len(total))
        return real(total, **named)

    monkeypatch.setattr("party_node.share.add_noise", watched)
    room.stopped_at(at, nth=nth)
    assert ends(room) == ["open"]
    room.restart_coordinator()
    assert len(room.run()) == 2
    assert ends(room) == ["done"]
    assert len(drawn) == 2 * len(lab.PARTIES)
    assert {room.spent(party) for party in lab.PARTIES} == {lab.RHO}
    assert findings(room).violations == ()


def test_a_round_left_open_beyond_its_deadline_is_forfeited_and_the_next_one_is_new(room: Any, lab: ModuleType) -> None:
    room.stopped_at(messages.Contribute)
    room.clock.now += room.plan.deadline_s
    assert len(room.run()) == 2
    assert ends(room) == ["forfeited", "done"]
    assert b'"reason":"coordinator-restart"' in b"".join(room.book.entries())
    assert findings(room).violations == ()


def test_a_round_of_another_plan_is_not_given_up_before_its_deadline(room: Any, lab: ModuleType) -> None:
    room.stopped_at(messages.Contribute)
    other = lab.plan(name="other")
    for party in room.nodes:
        lab.consent(room.base / party, other)
    with pytest.raises(Refused, match="of plan quintiles is open for 60 s more"):
        room.run(other)
    assert ends(room) == ["open"]
    room.clock.now += room.plan.deadline_s
    room.run(other)
    assert ends(room) == ["forfeited", "done"]


def test_a_round_whose_deadline_passes_while_the_parties_are_waited_for_is_forfeited_and_not_begun_anew(
    room: Any, lab: ModuleType
) -> None:
    room.stopped_at(messages.Contribute)
    (open_,) = room.book.accounts.rounds
    room.clock.now += room.plan.deadline_s  # decided before; the parties came after
    with pytest.raises(RoundEnded, match="its deadline passed before everybody was back"):
        rounds.run(room.plan, room.ledger, room.ask, go_on_with=open_)
    assert ends(room) == ["forfeited"]
    assert {room.spent(party) for party in lab.PARTIES} == {lab.RHO}


@pytest.mark.parametrize(("at", "nth"), [(messages.Witness, 4), (messages.Deliver, 2)], ids=["uncosigned", "unsent"])
def test_a_round_whose_last_release_was_committed_and_is_not_out_is_finished_at_no_cost(
    room: Any, lab: ModuleType, at: type, nth: int
) -> None:
    room.stopped_at(at, nth=nth)
    assert ends(room) == ["done"]
    room.restart_coordinator()
    assert delivery.unfinished(room.ledger)
    delivery.finish(room.ledger, room.ask, 5.0)
    assert not delivery.unfinished(room.ledger)
    assert len(room.book.blobs("release/")) == 2
    for node in room.nodes.values():
        for round_ in node.book.accounts.rounds.values():
            assert all(node.store.release(c.round, c.step) is not None for c in round_.commits)
    assert {room.spent(party) for party in lab.PARTIES} == {lab.RHO}
    assert findings(room).violations == ()


def put_back(room: Any, tmp_path: Path) -> tuple[str, list[bytes]]:
    """A round is stopped in the middle and ends later; then the copy of the middle is put back. The round, and all."""
    room.stopped_at(messages.Contribute)
    (open_,) = room.book.accounts.rounds
    older = tmp_path / "older"
    room.store.close()
    shutil.copytree(room.base / "coordinator" / "state", older)
    room.open_coordinator()
    room.run()
    whole = room.book.entries()
    room.store.close()
    shutil.rmtree(room.base / "coordinator" / "state")
    shutil.copytree(older, room.base / "coordinator" / "state")
    room.open_coordinator()
    return open_, whole


@pytest.mark.parametrize("way", ["go on", "begin", "end"])
def test_a_coordinator_put_back_to_an_older_copy_takes_back_what_it_lost_and_writes_nothing(
    room: Any, tmp_path: Path, way: str
) -> None:
    open_, whole = put_back(room, tmp_path)
    assert len(room.book.entries()) < len(whole)
    go_on = open_ if way == "go on" else None

    def launch() -> object:
        if way == "end":
            return rounds.end(room.plan, open_, room.ledger, room.ask)
        return rounds.run(room.plan, room.ledger, room.ask, go_on_with=go_on)

    with pytest.raises(Refused, match="entries have been taken back from the parties"):
        launch()
    assert room.book.entries() == whole
    assert rounds.left_open(room.plan, room.ledger) is None
    delivery.finish(room.ledger, room.ask, 5.0)  # who has which release already, it asks them
    assert not delivery.unfinished(room.ledger)
    assert room.book.entries() == whole
    assert {node.book.size for node in room.nodes.values()} == {len(whole)}


def test_an_older_copy_that_was_written_to_is_never_gone_on_with(room: Any, tmp_path: Path) -> None:
    open_, _ = put_back(room, tmp_path)
    room.ledger.forfeit(open_, "deadline")
    before = room.book.entries()
    for go_on in (open_, None):
        with pytest.raises(Stale, match="does not continue this ledger|restored from an older copy"):
            rounds.run(room.plan, room.ledger, room.ask, go_on_with=go_on)
    assert room.book.entries() == before


@pytest.mark.parametrize("liars", [("alpha", "beta", "gamma"), ("alpha", "beta")], ids=len)
@pytest.mark.parametrize("field", ["body", "signature"])
def test_a_release_that_a_party_gives_back_is_the_one_that_was_signed(
    room: Any, tmp_path: Path, field: str, liars: tuple[str, ...]
) -> None:
    open_, _ = put_back(room, tmp_path)

    def bend(document: dict[str, Any]) -> dict[str, Any]:
        if field == "signature":
            return {**document, field: "A" * 86 + "=="}
        body = {**document["body"], "salt": "ab" * 32}  # signed, and not what was committed
        return {**document, "body": body, "signature": keys.sign(room.ledger.identity.ed25519, "release", body)}

    def ask(requests: Mapping[str, messages.Request], timeout: float) -> dict[str, Answer]:
        answers = dict(room.ask(requests, timeout))
        for party, answer in answers.items():
            if party in liars and isinstance(answer.reply, messages.Supplied):
                bent = [bend(document) for document in answer.reply.releases]
                answers[party] = Answer(answer.reply.model_copy(update={"releases": bent}))
        return answers

    with pytest.raises(Refused, match="entries have been taken back"):
        rounds.run(room.plan, room.ledger, ask, go_on_with=open_)
    steps = [step.step for step in room.book.accounts.rounds[open_].reserve.steps]
    taken = [room.book.blob(body_key(open_, step)) for step in steps]
    honest = [room.nodes["gamma"].store.release(open_, step) for step in steps]
    if "gamma" in liars:
        assert taken == [None, None]
        delivery.finish(room.ledger, room.ask, 5.0)  # what is lost stops nothing, and nothing is made in its place
        assert [room.book.blob(release_key(open_, step)) for step in steps] == [None, None]
        assert {problem.what for problem in findings(room).violations} == {"its release is not in the bundle"}
    else:
        assert taken == [canonical(releases.read(document).body_.body()) for document in honest]


def test_a_reserve_that_nobody_cosigned_before_its_holds_lapsed_does_not_block_the_room(
    room: Any, lab: ModuleType
) -> None:
    """No party cosigns it any more as it is; forfeited, it is cosigned by all and charged to nobody."""
    room.stopped_at(messages.Witness, nth=2)
    (lapsed,) = room.book.accounts.rounds.values()
    room.clock.now = lapsed.reserve.expires + 1
    assert len(room.run()) == 2
    assert ends(room) == ["forfeited", "done"]
    assert {room.spent(party) for party in lab.PARTIES} == {lab.RHO}
    assert findings(room).violations == ()


def test_an_open_round_is_ended_by_a_quorum_and_not_by_fewer_who_might_not_know_the_newest_entries(room: Any) -> None:
    room.stopped_at(messages.Contribute)
    (open_,) = room.book.accounts.rounds
    room.clock.now += room.plan.deadline_s
    room.away = {"alpha", "beta"}
    with pytest.raises(RoundEnded, match="nobody knows whether this ledger is the newest"):
        rounds.end(room.plan, open_, room.ledger, room.ask)
    assert ends(room) == ["open"]
    room.away = {"alpha"}
    rounds.end(room.plan, open_, room.ledger, room.ask)
    assert ends(room) == ["forfeited"]
    assert room.ledger.cosigned_size() == room.book.size


def test_a_release_written_before_the_coordinator_was_killed_is_sent_afterwards_in_the_same_bytes(room: Any) -> None:
    room.stopped_at(messages.Witness, nth=3)
    (stored,) = room.book.blobs("body/").values()
    room.run()
    released = list(room.book.blobs("release/").values())
    assert len(released) == 2
    assert any(stored in document for document in released)
