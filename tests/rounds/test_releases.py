"""What a node accepts as a release: what the ledger says, signed, proved, and computed again from its noised sum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coordinator.release import publish_missing
from protocols import messages
from protocols import release as releases
from protocols.encoding import canonical, parse
from protocols.errors import RoundEnded
from protocols.release import Body, Proof
from tests.rounds.requests import next_step, unsigned_by


def resigned(room: Any, document: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A release with another body, signed by the coordinator all the same."""
    old = releases.read(canonical(document))
    body = Body.model_validate({**old.body_.body(), **changes})
    signed = releases.sign(body, room.ledger.identity.ed25519, old.entry, old.proof)
    parsed: dict[str, Any] = parse(signed.to_bytes())
    return parsed


def test_a_release_other_than_the_committed_one_is_refused_and_the_next_step_is_not_computed(
    room: Any, computed: list[str]
) -> None:
    """Different state to different parties: what one of them gets is not what the ledger says."""

    def meddle(party: str, request: messages.Request) -> messages.Request:
        if party == "beta" and isinstance(request, messages.Deliver):
            noised = [count + 1 for count in request.release["body"]["noised"]]
            return request.model_copy(update={"release": resigned(room, request.release, noised=noised)})
        return request

    room.meddle = meddle
    with pytest.raises(RoundEnded, match="beta did not take the release that the next step starts from"):
        room.run()
    replies = {one.party: messages.read_reply(one.reply) for one in room.sent(messages.Deliver)}
    assert isinstance(replies["beta"], messages.Refusal)
    assert "the ledger has no commit of this release" in replies["beta"].reason
    assert room.nodes["beta"].store.drawn(*next_of(room, "rfm-cohorts")) is None
    assert "rfm-cohorts" not in computed
    (round_,) = room.book.accounts.rounds.values()
    assert round_.state == "forfeited"


def next_of(room: Any, step: str) -> tuple[str, str]:
    return list(room.book.accounts.rounds)[-1], step


def test_the_next_step_is_refused_where_the_release_before_it_was_not_delivered(room: Any, computed: list[str]) -> None:
    room.stopped_at(messages.Deliver)
    prepare = next_step(room)
    before = len(computed)
    reply = room.say("alpha", prepare)
    assert isinstance(reply, messages.Refusal)
    assert "has not been delivered" in reply.reason
    assert len(computed) == before


def test_a_release_whose_figures_do_not_follow_from_its_noised_sum_is_refused(
    room: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The coordinator commits to the false figures too, so that only computing them again can find it out."""
    real = releases.compose

    def false(*arguments: Any, **named: Any) -> Body:
        body = real(*arguments, **named)
        return body.model_copy(update={"noised": [body.noised[0] + 1, *body.noised[1:]]})

    monkeypatch.setattr("coordinator.release.releases.compose", false)
    request = room.stopped_at(messages.Deliver)["alpha"]
    monkeypatch.setattr("coordinator.release.releases.compose", real)
    reply = room.say("alpha", request)
    assert isinstance(reply, messages.Refusal)
    assert "does not follow" in reply.reason


def test_a_release_signed_by_another_key_is_refused(room: Any) -> None:
    request = room.stopped_at(messages.Deliver)["alpha"]
    old = releases.read(canonical(request.release))
    forged = releases.sign(old.body_, Ed25519PrivateKey.generate(), old.entry, old.proof)
    reply = room.say("alpha", request.model_copy(update={"release": parse(forged.to_bytes())}))
    assert isinstance(reply, messages.Refusal)
    assert "does not verify" in reply.reason


@pytest.mark.parametrize("absent", [("beta",), ("alpha", "gamma"), ("alpha", "beta", "gamma")])
def test_a_release_whose_commit_a_survivor_did_not_cosign_is_refused(room: Any, absent: tuple[str, ...]) -> None:
    request = room.stopped_at(messages.Deliver)["alpha"]
    checkpoint = unsigned_by(request.checkpoint, *absent)
    reply = room.say("alpha", request.model_copy(update={"checkpoint": checkpoint}))
    assert isinstance(reply, messages.Refusal)
    assert "is missing" in reply.reason


@pytest.mark.parametrize("spoil", [lambda path: path[:-1], lambda path: [*path[:-1], path[0]], lambda path: []])
def test_a_release_whose_proof_does_not_lead_to_the_checkpoint_is_refused(
    room: Any, spoil: Callable[[list[str]], list[str]]
) -> None:
    request = room.stopped_at(messages.Deliver)["alpha"]
    proof = request.release["proof"]
    assert len(proof["path"]) > 1
    release = {**request.release, "proof": {**proof, "path": spoil(proof["path"])}}
    reply = room.say("alpha", request.model_copy(update={"release": release}))
    assert isinstance(reply, messages.Refusal)


def test_a_release_whose_proof_states_another_size_is_refused(room: Any) -> None:
    request = room.stopped_at(messages.Deliver)["alpha"]
    proof = Proof.model_validate(request.release["proof"])
    release = {**request.release, "proof": {**proof.body(), "size": proof.size + 1}}
    assert isinstance(room.say("alpha", request.model_copy(update={"release": release})), messages.Refusal)


def test_a_release_delivered_again_is_received_again(room: Any) -> None:
    room.run()
    (first, *_) = room.sent(messages.Deliver)
    assert room.say(first.party, messages.read_request(first.request)) == messages.read_reply(first.reply)
    assert publish_missing(room.ledger) == []


def test_a_party_that_was_away_when_a_release_was_delivered_gets_it_with_the_next_round(room: Any) -> None:
    def meddle(party: str, request: messages.Request) -> messages.Request:
        last = isinstance(request, messages.Deliver) and request.release["body"]["step"] == "rfm-cohorts"
        room.away = {"beta"} if last else set()
        return request

    room.meddle = meddle
    missed = room.run()[-1].body_
    assert room.nodes["alpha"].store.release(missed.round, missed.step) is not None
    assert room.nodes["beta"].store.release(missed.round, missed.step) is None
    room.meddle = lambda _, request: request
    room.away = set()
    room.run()
    assert room.nodes["beta"].store.release(missed.round, missed.step) is not None
