"""The party's end, against a coordinator made by hand: what it answers, what it refuses, and that it always goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hand_made import HandMade, Party
from room_lab import Lab, Room, until

from party_node.attendant import Answer, Header
from protocols.carrier import room_pb2 as pb
from protocols.carrier import seal

LARGE = bytes(range(256)) * (2 << 12) + b"end"


@pytest.fixture
def coordinator(lab: Lab) -> Iterator[HandMade]:
    made = HandMade(lab)
    yield made
    made.server.stop(0).wait()


@pytest.fixture
def start(lab: Lab, coordinator: HandMade) -> Iterator[Callable[..., Party]]:
    parties: list[Party] = []

    def begin(port: int = coordinator.port, **options: Any) -> Party:
        parties.append(Party(lab, port, **options))
        return parties[-1]

    yield begin
    for party in parties:
        party.stop()


@pytest.fixture
def party(start: Callable[..., Party]) -> Party:
    return start()


def test_an_instruction_is_answered_with_a_signed_reply_that_is_bound_to_it(
    coordinator: HandMade, party: Party
) -> None:
    asked = coordinator.say(b"question")
    reply, _, payload = coordinator.hear()
    seal.check_reply(reply, asked)
    assert payload == b"re:question"
    assert (reply.kind, reply.plan) == ("reply", "plan")
    assert reply.expires <= asked.expires + 0.001
    assert party.events == ["connected", "answered run 3, sequence 1: reply"]


def test_the_same_message_again_gets_the_same_bytes_and_the_app_is_not_called(
    coordinator: HandMade, start: Callable[..., Party]
) -> None:
    """On the same stream, on the next one, and after the party was started anew."""
    party, got = start(), []
    large = b"x" * (2 << 20)
    asked = coordinator.say(large)
    got.append(coordinator.hear())
    coordinator.say(large)
    got.append(coordinator.hear())
    coordinator.drop()
    coordinator.say(large, created_at=asked.created_at + 1)
    got.append(coordinator.hear())
    party.stop()
    again = start()
    until(lambda: coordinator.streams == 3)
    coordinator.say(large)
    got.append(coordinator.hear())
    assert len({(header.message_id, signature, payload) for header, signature, payload in got}) == 1
    assert (len(party.calls), len(again.calls)) == (1, 0)


def test_a_reply_is_in_the_journal_before_it_is_sent(coordinator: HandMade, party: Party) -> None:
    asked = coordinator.say(b"question")
    while coordinator.incoming.empty():
        time.sleep(0.001)
    stored = party.journal.reply(asked.message_id)
    assert stored is not None
    assert coordinator.incoming.get().open.SerializeToString() == stored.sealed


def test_a_sequence_number_used_twice_gets_a_signed_error_and_the_stream_goes_on(
    coordinator: HandMade, party: Party
) -> None:
    coordinator.say(b"first")
    coordinator.hear()
    second = coordinator.say(b"second")
    for _ in range(2):
        header, _, payload = coordinator.hear()
        seal.check_reply(header, second)
        assert b"sequence number used before" in payload
        assert party.journal.reply(second.message_id) is None  # such messages have no end: none is kept
        coordinator.say(b"second")
    coordinator.hear()
    coordinator.say(b"third", seq=2)
    assert coordinator.hear()[2] == b"re:third"
    assert party.calls == [b"first", b"third"]
    assert coordinator.streams == 1


def test_a_forgotten_run_cannot_be_asked_again(coordinator: HandMade, party: Party) -> None:
    coordinator.say(b"first")
    coordinator.hear()
    party.journal.forget(3)
    coordinator.say(b"first")
    assert coordinator.error() == (1002, "sequence number used before")
    assert party.calls == [b"first"]


def test_an_expired_message_does_not_reach_the_app(coordinator: HandMade, party: Party) -> None:
    coordinator.say(b"late", created_at=time.time() - 100, ttl=99.0)
    assert coordinator.error() == (1001, "expired")
    assert party.calls == []


def test_a_message_over_the_limit_gets_a_signed_error_and_the_stream_goes_on(
    coordinator: HandMade, party: Party
) -> None:
    coordinator.say(bytes((1 << 22) + 1))
    assert coordinator.error() == (1003, f"over this party's limit of {1 << 22} bytes")
    coordinator.say(b"small", seq=2)
    assert coordinator.hear()[2] == b"re:small"
    assert party.calls == [b"small"]
    assert coordinator.streams == 1


def test_a_large_message_reaches_the_app_as_a_file_that_nobody_else_can_find(
    coordinator: HandMade, party: Party, lab: Lab
) -> None:
    """And the answer may be made of views of it; what is left on the disk is the journalled reply."""
    spool, seen = lab.directory / "p1.db.d", list[tuple[type, list[Path]]]()

    def app(_: Header, payload: bytes | memoryview) -> Answer:
        seen.append((type(payload), list(spool.iterdir())))
        return Answer("reply", (payload[: 1 << 20], payload[1 << 20 :]))

    party.answer = app
    asked = coordinator.say(LARGE)
    assert coordinator.hear()[2] == LARGE
    assert seen == [(memoryview, [])]
    assert [path.name for path in spool.iterdir()] == [asked.message_id]


@pytest.mark.parametrize("how", ["altered", "cut off"])
def test_a_large_message_that_does_not_arrive_whole_leaves_no_file(
    coordinator: HandMade, party: Party, lab: Lab, how: str
) -> None:
    spool = lab.directory / "p1.db.d"
    if how == "altered":
        coordinator.say(LARGE, sha256=bytes(32))
    else:
        header = coordinator.header(LARGE)
        coordinator.outgoing.put(pb.Frame(open=seal.seal(coordinator.lab.signing("coordinator"), header)))
        coordinator.outgoing.put(pb.Frame(chunk=LARGE[: 1 << 20]))
        until(lambda: [path.stat().st_size for path in spool.iterdir()] == [1 << 20])
        coordinator.outgoing.put(grpc.StatusCode.UNAVAILABLE)
    until(lambda: coordinator.streams == 2)
    assert list(spool.iterdir()) == []
    assert party.calls == []


@pytest.mark.parametrize("answer", ["raises", "over the limit"])
def test_whatever_goes_wrong_in_the_app_leaves_as_failed_and_its_text_is_not_even_logged(
    coordinator: HandMade, party: Party, caplog: pytest.LogCaptureFixture, answer: str
) -> None:
    def app(_: Header, payload: bytes) -> Answer:
        if answer == "raises":
            raise RuntimeError("secret row 42")
        return Answer("reply", (bytes(1 << 22), payload))

    party.answer = app
    coordinator.say(b"question")
    assert coordinator.error() == (2, "failed")
    assert "secret" not in str(party.events) + caplog.text
    ours = [record.getMessage() for record in caplog.records if record.name == "party_node.attendant"]
    assert any("RuntimeError" in text for text in ours) == (answer == "raises")


@pytest.mark.parametrize(
    ("change", "expect"),
    [
        ({"key": Ed25519PrivateKey.generate()}, "bad signature"),
        ({"room": "room-2"}, "another room or party"),
        ({"dst": "p2"}, "another room or party"),
        ({"src": "p2"}, "another room or party"),
        ({"message_id": "0" * 64}, "not its own"),
        ({"kind": "reply"}, "else than an instruction"),
        ({"sha256": bytes(32)}, "does not match the hash"),
        ({"size": 3}, "longer than"),
    ],
)
def test_what_the_coordinator_did_not_sign_for_this_party_never_reaches_the_app(
    coordinator: HandMade, party: Party, change: dict[str, Any], expect: str
) -> None:
    coordinator.say(b"forged", **change)
    until(lambda: coordinator.streams == 2)
    assert any(event.startswith("refused: ") and expect in event for event in party.events)
    assert coordinator.say_until_heard(b"true", seq=5)[2] == b"re:true"
    assert party.calls == [b"true"]


def test_a_frame_out_of_place_ends_the_stream(coordinator: HandMade, party: Party) -> None:
    coordinator.outgoing.put(pb.Frame(chunk=b"x"))
    until(lambda: coordinator.streams == 2)
    assert "refused: a frame that belongs to no message" in party.events


def test_a_coordinator_that_trickles_is_left(coordinator: HandMade, start: Callable[..., Party]) -> None:
    party = start(transfer_timeout=0.3)
    header = coordinator.header(b"question")
    coordinator.outgoing.put(pb.Frame(open=seal.seal(coordinator.lab.signing("coordinator"), header)))
    until(lambda: coordinator.streams == 2)
    assert "disconnected: transfer too slow" in party.events


def test_a_stream_that_dies_while_the_app_works_costs_nothing(coordinator: HandMade, party: Party) -> None:
    """The party dials again at once, the answer goes on and is what the message gets when it comes again."""
    release = threading.Event()

    def app(_: Header, payload: bytes) -> Answer:
        release.wait(10)
        return Answer("reply", (payload,))

    party.answer = app
    coordinator.say(b"question")
    until(lambda: party.calls)
    coordinator.drop()
    assert not release.is_set()
    coordinator.say(b"question")
    release.set()
    assert coordinator.hear()[2] == b"question"
    assert party.calls == [b"question"]


def test_a_journal_that_fails_is_not_the_end(
    coordinator: HandMade, party: Party, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent that is not stored; when the disk has room again, the message is answered."""
    put, failed = party.journal.put_reply, []

    def full(*arguments: Any) -> None:
        if not failed:
            failed.append(1)
            raise OSError(28, "no space left")
        put(*arguments)

    monkeypatch.setattr(party.journal, "put_reply", full)
    coordinator.say(b"question")
    until(lambda: coordinator.streams == 2)
    assert coordinator.incoming.empty()
    assert "stream failed: OSError; what is journalled will be sent again" in party.events
    coordinator.say(b"question")
    assert coordinator.hear()[2] == b"re:question"


def test_receipts_are_told(coordinator: HandMade, party: Party) -> None:
    for refused in ("", "expired"):
        coordinator.outgoing.put(pb.Frame(receipt=pb.Receipt(message_id="m", refused=refused)))
    until(lambda: party.events[1:] == ["reply accepted", "reply refused: expired"])


def test_a_party_that_is_not_admitted_waits_the_longest_pause(
    room: Room, start: Callable[..., Party], lab: Lab
) -> None:
    room.hub.revoke("p1")
    party = start(room.port, backoff=(0.01, 30.0))
    until(lambda: party.events)
    time.sleep(0.3)
    assert party.events == ["disconnected: PERMISSION_DENIED not admitted"]


def test_a_party_whose_coordinator_is_away_keeps_trying_and_stops_when_told(start: Callable[..., Party]) -> None:
    party = start(1, backoff=(0.01, 0.02))
    until(lambda: len(party.events) > 2)
    assert {event.split(" ")[1] for event in party.events} == {"UNAVAILABLE"}
    began = time.monotonic()
    party.stop()
    assert time.monotonic() - began < 2


def test_stopping_lets_an_answer_come_to_its_end(coordinator: HandMade, start: Callable[..., Party]) -> None:
    party = start()

    def app(_: Header, payload: bytes) -> Answer:
        party.loop.call_soon_threadsafe(party.stopping.set)
        time.sleep(0.3)
        return Answer("reply", (payload,))

    party.answer = app
    asked = coordinator.say(b"question")
    party.thread.join(10)
    assert party.journal.reply(asked.message_id) is not None
