"""How the operator's side leads a round: it ends as released or as forfeited, whatever a party does or fails to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from coordinator import app, outputs, rounds
from coordinator.conversation import Answer
from coordinator.release import publish_missing
from protocols import audit, messages
from protocols.carrier import codec
from protocols.encoding import digest
from protocols.errors import IntegrityError, Refused, RoundEnded, SumroomError
from protocols.noise import add_noise
from protocols.verdict import Findings

Bend = Callable[[Answer], Answer]


def played(room: Any, party: str, kind: type, bend: Bend) -> Any:
    """An `ask` in which one party answers one kind of request in its own way; growth only once it holds a reserve."""

    def ask(requests: Mapping[str, messages.Request], timeout: float) -> dict[str, Answer]:
        answers = dict(room.ask(requests, timeout))
        begun = kind is not messages.Witness or ends(room)
        if party in requests and isinstance(requests[party], kind) and begun:
            answers[party] = bend(answers[party])
        return answers

    return ask


def silent(_: Answer) -> Answer:
    return Answer(None, missing="silent for 1 s")


def refusing(_: Answer) -> Answer:
    return Answer(messages.Refusal.model_validate({"code": CODE, "reason": "not today"}))


CODE = messages.Refusal.model_json_schema()["properties"]["code"]["enum"][0]


def ends(room: Any) -> list[str]:
    """What became of each round, by the ledger."""
    return [round_.state for round_ in room.book.accounts.rounds.values()]


def findings(room: Any) -> Findings:
    """What the auditor finds in what `export` would write."""
    publish_missing(room.ledger)
    return audit.verify(outputs.bundle_of(room.book), outputs.policy_of(room.ledger.room))


# -- before the reserve: nothing is spent ------------------------------------------------------------------------------


@pytest.mark.parametrize("bend", [silent, refusing])
def test_a_party_that_does_not_approve_ends_it_before_anything_is_written(room: Any, bend: Bend) -> None:
    with pytest.raises(Refused, match="the plan is not approved: beta: (silent for 1 s|not today)"):
        rounds.run(room.plan, room.ledger, played(room, "beta", messages.Propose, bend))
    assert room.book.size == 0
    assert {room.spent(party) for party in room.nodes} == {0}


@pytest.mark.parametrize("bend", [silent, refusing])
def test_a_party_that_does_not_hold_ends_it_before_anything_is_spent(room: Any, bend: Bend) -> None:
    with pytest.raises(Refused, match="the budget is not held: beta: (silent for 1 s|not today)"):
        rounds.run(room.plan, room.ledger, played(room, "beta", messages.Reserve, bend))
    assert ends(room) == []
    room.clock.now += room.plan.deadline_s + 61
    assert {room.spent(party) for party in room.nodes} == {0}


@pytest.mark.parametrize("kind", [messages.Propose, messages.Reserve])
def test_a_signature_of_another_partys_is_found_before_anything_is_spent(room: Any, kind: type) -> None:
    def swap(requests: Mapping[str, messages.Request], timeout: float) -> dict[str, Answer]:
        answers = dict(room.ask(requests, timeout))
        if isinstance(requests["beta"], kind):
            stolen = answers["alpha"].reply.signature
            answers["beta"] = Answer(answers["beta"].reply.model_copy(update={"signature": stolen}))
        return answers

    with pytest.raises(IntegrityError, match="signature of beta does not verify"):
        rounds.run(room.plan, room.ledger, swap)
    assert ends(room) == []


def test_a_party_that_declares_anothers_data_is_found(room: Any) -> None:
    def declare(answer: Answer) -> Answer:
        reply = answer.reply
        assert isinstance(reply, messages.Approval)
        declared = reply.dataset.model_copy(update={"party": "alpha"})
        return Answer(reply.model_copy(update={"dataset": declared}))

    with pytest.raises(IntegrityError, match="beta declared a dataset of another party"):
        rounds.run(room.plan, room.ledger, played(room, "beta", messages.Propose, declare))


# -- after the reserve: forfeited, said so in the ledger, and the next round works -------------------------------------


@pytest.mark.parametrize("kind", [messages.Witness, messages.Prepare, messages.Contribute])
@pytest.mark.parametrize("bend", [silent, refusing])
def test_a_party_lost_after_the_reserve_forfeits_the_round_and_the_next_one_works(
    room: Any, kind: type, bend: Bend
) -> None:
    with pytest.raises(RoundEnded, match="is forfeited: .*beta.*(silent|not today)"):
        rounds.run(room.plan, room.ledger, played(room, "beta", kind, bend))
    assert ends(room) == ["forfeited"]
    assert len(room.run()) == 2
    assert ends(room) == ["forfeited", "done"]
    assert findings(room).violations == ()


def test_the_forfeit_names_its_reason_and_those_who_are_there_cosign_it(room: Any) -> None:
    with pytest.raises(RoundEnded):
        rounds.run(room.plan, room.ledger, played(room, "beta", messages.Contribute, silent))
    room.away = {"beta"}
    assert room.book.entries()[-1].find(b'"reason":"party-unavailable"') > 0
    assert findings(room).forfeits == 1
    assert findings(room).violations == ()


def foreign(answer: Answer) -> Answer:
    return Answer(messages.Received(party="beta", digest="0" * 64))


def other_bytes(answer: Answer) -> Answer:
    return Answer(answer.reply, answer.payload[:-1] + bytes([answer.payload[-1] ^ 1]))


def fewer_words(answer: Answer) -> Answer:
    assert isinstance(answer.reply, messages.Share)
    payload = answer.payload[:-8]
    return Answer(answer.reply.model_copy(update={"payload": digest(payload)}), payload)


def digest_of_other_bytes(answer: Answer) -> Answer:
    assert isinstance(answer.reply, messages.Share)
    changed = other_bytes(answer)
    return Answer(answer.reply.model_copy(update={"payload": digest(changed.payload)}), changed.payload)


def for_another_party(answer: Answer) -> Answer:
    assert isinstance(answer.reply, messages.Share)
    return Answer(answer.reply.model_copy(update={"party": "alpha"}), answer.payload)


def for_another_step(answer: Answer) -> Answer:
    assert isinstance(answer.reply, messages.Share)
    occasion = answer.reply.occasion.model_copy(update={"step": "rfm-cohorts"})
    return Answer(answer.reply.model_copy(update={"occasion": occasion}), answer.payload)


@pytest.mark.parametrize(
    "bend", [foreign, other_bytes, fewer_words, digest_of_other_bytes, for_another_party, for_another_step]
)
def test_a_share_that_is_not_the_partys_own_of_this_step_is_never_added(room: Any, bend: Bend) -> None:
    with pytest.raises(RoundEnded, match="beta"):
        rounds.run(room.plan, room.ledger, played(room, "beta", messages.Contribute, bend))
    assert ends(room) == ["forfeited"]
    assert b'"reason":"integrity"' in room.book.entries()[-1]
    assert room.book.blobs("body/") == {}


def test_a_mask_key_signed_by_another_party_ends_the_round_before_anybody_contributes(room: Any) -> None:
    def swap(requests: Mapping[str, messages.Request], timeout: float) -> dict[str, Answer]:
        answers = dict(room.ask(requests, timeout))
        if isinstance(requests["beta"], messages.Prepare):
            key = answers["alpha"].reply.key.model_copy(update={"public": answers["beta"].reply.key.public})
            answers["beta"] = Answer(answers["beta"].reply.model_copy(update={"key": key}))
        return answers

    with pytest.raises(RoundEnded, match="mask-key signature of beta"):
        rounds.run(room.plan, room.ledger, swap)
    assert room.sent(messages.Contribute) == []


def test_a_cosignature_that_does_not_verify_ends_the_round_as_forfeited(room: Any) -> None:
    def spoil(answer: Answer) -> Answer:
        reply = answer.reply
        if not isinstance(reply, messages.Cosigned):
            return answer
        return Answer(reply.model_copy(update={"line": reply.line[:-8] + "AAAAAAA="}))

    with pytest.raises(SumroomError, match="beta|not base64|stray bits|cosignature"):
        rounds.run(room.plan, room.ledger, played(room, "beta", messages.Witness, spoil))
    assert ends(room) == ["forfeited"]


# -- the deadline ------------------------------------------------------------------------------------------------------


def test_a_round_past_its_deadline_is_forfeited_and_not_released(room: Any) -> None:
    def slow(answer: Answer) -> Answer:
        room.waited += 61.0
        return answer

    with pytest.raises(RoundEnded, match="the deadline passed before the release"):
        rounds.run(room.plan, room.ledger, played(room, "gamma", messages.Contribute, slow))
    assert ends(room) == ["forfeited"]
    assert b'"reason":"deadline"' in room.book.entries()[-1]
    assert room.book.blobs("release/") == {}


def test_no_request_waits_beyond_the_deadline(room: Any) -> None:
    waits: list[tuple[str, float]] = []

    def ask(requests: Mapping[str, messages.Request], timeout: float) -> dict[str, Answer]:
        waits.append((next(iter(requests.values())).type, timeout))
        return dict(room.ask(requests, timeout))

    rounds.run(room.plan, room.ledger, ask)
    assert {kind for kind, _ in waits} == {
        *("propose", "reserve", "witness", "prepare", "agree", "contribute", "deliver")
    }
    assert all(timeout <= room.plan.deadline_s for _, timeout in waits)


# -- releases ----------------------------------------------------------------------------------------------------------


def test_a_release_that_one_survivor_has_not_cosigned_is_not_out_before_it_does(room: Any) -> None:
    """Nothing is lost: its bytes are stored with the commit, and go out when the party is back."""

    def ask(requests: Mapping[str, messages.Request], timeout: float) -> dict[str, Answer]:
        answers = dict(room.ask(requests, timeout))
        if isinstance(requests["beta"], messages.Witness) and ends(room) == ["done"]:
            answers["beta"] = silent(answers["beta"])
        return answers

    with pytest.raises(RoundEnded, match="has committed all its releases, but they are not all out"):
        rounds.run(room.plan, room.ledger, ask)
    assert findings(room).violations == ()
    assert len(room.book.blobs("release/")) == 1
    stored = max(room.book.blobs("body/").items())[1]
    assert len(room.run()) == 2
    assert any(stored in document for document in room.book.blobs("release/").values())
    assert findings(room).violations == ()
    assert findings(room).releases == 4


def test_a_released_round_is_not_called_forfeited_because_a_party_then_refuses_its_copy(room: Any) -> None:
    def ask(requests: Mapping[str, messages.Request], timeout: float) -> dict[str, Answer]:
        answers = dict(room.ask(requests, timeout))
        if isinstance(requests["beta"], messages.Deliver) and len(room.sent(messages.Contribute)) == 6:
            answers["beta"] = refusing(answers["beta"])
        return answers

    said = ""
    try:
        rounds.run(room.plan, room.ledger, ask)
    except SumroomError as exc:
        said = exc.message
    assert ends(room) == ["done"]
    assert "is forfeited" not in said


def test_a_commit_that_was_not_cosigned_in_time_leaves_a_bundle_that_verifies(room: Any) -> None:
    """Its bytes are stored: once the forfeit after it is cosigned, the commit is covered, and its release belongs."""

    def ask(requests: Mapping[str, messages.Request], timeout: float) -> dict[str, Answer]:
        commits = sum(len(round_.commits) for round_ in room.book.accounts.rounds.values())
        if isinstance(requests["beta"], messages.Witness) and commits and ends(room) == ["open"]:
            return {party: silent(Answer(None)) for party in requests}
        return dict(room.ask(requests, timeout))

    with pytest.raises(RoundEnded):
        rounds.run(room.plan, room.ledger, ask)
    assert ends(room) == ["forfeited"]
    assert findings(room).violations == ()


def test_released_bytes_asked_for_again_are_the_same(room: Any) -> None:
    room.run()
    first = outputs.bundle_of(room.book)
    blobs = room.book.blobs("release/")
    room.restart_coordinator()
    assert publish_missing(room.ledger) == []
    assert room.book.blobs("release/") == blobs
    assert outputs.bundle_of(room.book) == first


# -- who must be there -------------------------------------------------------------------------------------------------


@pytest.fixture
def flower() -> None:
    codec.prepare_process()


class Parties:
    """A Grid of nodes that say who they are, one more at each look."""

    def __init__(self, names: list[str]) -> None:
        self._names, self._here = names, 0

    def get_node_ids(self) -> list[int]:
        self._here = min(self._here + 1, len(self._names))
        return list(range(1, self._here + 1))

    def send_and_receive(self, asked: list[Any], timeout: float) -> list[Any]:
        nodes = [message.metadata.dst_node_id for message in asked]
        return [self._reply(node) for node in nodes]

    def _reply(self, node: int) -> Any:
        records = SimpleNamespace(config_records={"who": {"party": self._names[node - 1]}})
        metadata = SimpleNamespace(src_node_id=node)
        return SimpleNamespace(content=records, metadata=metadata, has_content=lambda: True)


def test_a_party_of_the_room_that_is_not_in_the_plan_is_waited_for_since_it_must_cosign(flower: None) -> None:
    found = app._find(Parties(["alpha", "beta", "gamma"]), ["alpha", "beta", "gamma"], 5.0)  # type: ignore[arg-type]
    assert set(found) == {"alpha", "beta", "gamma"}


def test_a_party_that_never_comes_is_named_and_nothing_is_asked(flower: None) -> None:
    with pytest.raises(Refused, match="gamma did not come within 0.2 s; nothing was asked and nothing is spent"):
        app._find(Parties(["alpha", "beta"]), ["alpha", "beta", "gamma"], 0.2)  # type: ignore[arg-type]


# -- the arithmetic ----------------------------------------------------------------------------------------------------


def test_what_is_released_is_the_pooled_sum_and_every_partys_noise(
    room: Any, lab: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []

    def watched(total: Any, **named: int) -> Any:
        noised = add_noise(total, **named)
        drawn.append(noised - total)
        return noised

    monkeypatch.setattr("party_node.share.add_noise", watched)
    released = room.run()
    assert len(drawn) == 6
    assert released[0].body_.noised == (lab.pooled_cuts() + sum(drawn[:3])).tolist()
    assert all(np.any(noise) for noise in drawn)
