"""The party's end, against a coordinator made by hand: what it answers, what it refuses, and that it always goes on."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from room_lab import ROOM, Lab, Room, until

from party_node.attendant import Answer, Attendant, Header
from protocols.carrier import frames, rpc, seal
from protocols.carrier import room_pb2 as pb
from protocols.carrier.journal import Journal

Got = tuple[Header, bytes, bytes]


class HandMade:
    """A coordinator that says what a test tells it to. `streams` counts how often the party came."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.streams = lab, 0
        self.outgoing: queue.Queue[pb.Frame | grpc.StatusCode] = queue.Queue()
        self.incoming: queue.Queue[pb.Frame] = queue.Queue()
        self.server = grpc.server(ThreadPoolExecutor(8), options=rpc.server_options())
        self.server.add_generic_rpc_handlers((rpc.attend_handler(self.attend),))
        pair = (lab.read("server.key"), lab.read("server.pem"))
        credentials = grpc.ssl_server_credentials([pair], lab.read("ca.pem"), require_client_auth=True)
        self.port = self.server.add_secure_port("127.0.0.1:0", credentials)
        self.server.start()

    def attend(self, incoming: Iterator[pb.Frame], context: grpc.ServicerContext) -> Iterator[pb.Frame]:
        assert next(incoming).hello.room == ROOM
        self.streams += 1
        mine = self.streams
        context.send_initial_metadata(rpc.ADMITTED)
        threading.Thread(target=self.listen, args=(incoming,), daemon=True).start()
        while mine == self.streams and context.is_active():
            try:
                said = self.outgoing.get_nowait()
            except queue.Empty:
                time.sleep(0.002)
                continue
            if isinstance(said, grpc.StatusCode):
                context.abort(said, "as told")
            yield said

    def drop(self) -> None:
        """End the stream as a network would, and wait for the party to come again."""
        self.outgoing.put(grpc.StatusCode.UNAVAILABLE)
        until(lambda streams=self.streams: self.streams > streams)

    def listen(self, incoming: Iterator[pb.Frame]) -> None:
        try:
            for frame in incoming:
                self.incoming.put(frame)
        except Exception:  # noqa: BLE001 - grpc raises a bare Exception when the stream is over
            return

    def header(self, payload: bytes, **change: Any) -> Header:
        size, sha256 = seal.digest([payload])
        values: dict[str, Any] = {
            **{"room": ROOM, "run": 3, "seq": 1, "kind": "instruction", "src": "coordinator", "dst": "p1"},
            **{"message_type": "query.stats", "created_at": time.time(), "ttl": 60.0, "size": size},
            **{"sha256": sha256, "src_node": 1, "dst_node": 7, "plan": "plan", "group_id": "g", **change},
        }
        own = seal.message_id(values["room"], values["run"], values["seq"], values["dst"], values["sha256"])
        return seal.Header(**{"message_id": own, **values})

    def say(self, payload: bytes, key: Ed25519PrivateKey | None = None, **change: Any) -> Header:
        header = self.header(payload, **change)
        self.outgoing.put(pb.Frame(open=seal.seal(key or self.lab.signing("coordinator"), header)))
        for piece in frames.chunks([payload]):
            self.outgoing.put(pb.Frame(chunk=piece))
        return header

    def hear(self) -> Got:
        """One whole message of the party: its header, checked; its signature; its payload."""
        sealed = self.incoming.get(timeout=10).open
        header = seal.unseal(self.lab.public("p1"), sealed, room=ROOM, src="p1", dst="coordinator")
        payload = b""
        while len(payload) < header.size:
            payload += self.incoming.get(timeout=10).chunk
        assert seal.digest([payload]) == (header.size, header.sha256)
        return header, sealed.signature, payload

    def error(self) -> tuple[int, str]:
        """The party's next message, which must be an error."""
        header, _, payload = self.hear()
        content = pb.Content.FromString(bytes(frames.split(payload)[0]))
        assert header.kind == "error"
        return content.error_code, content.error_reason


class Party:
    """An attendant on a thread, whose app is `answer`; `calls` are the payloads the app saw."""

    def __init__(self, lab: Lab, port: int, **options: Any) -> None:
        self.calls: list[bytes] = []
        self.events: list[str] = []
        self.answer: Callable[[Header, bytes], Answer] = lambda _, payload: Answer("reply", (b"re:", payload))
        self.journal = Journal(lab.directory / "p1.db")
        self.attendant = Attendant(
            room=ROOM,
            party="p1",
            address=f"localhost:{port}",
            ca_pem=lab.read("ca.pem"),
            key_pem=lab.read("p1.key"),
            cert_pem=lab.read("p1.pem"),
            signing=lab.signing("p1"),
            coordinator=lab.public("coordinator"),
            journal=self.journal,
            answer=self.called,
            on_event=self.events.append,
            **{"backoff": (0.02, 0.2), "max_payload": 1 << 22, **options},
        )
        self.loop = asyncio.new_event_loop()
        self.stopping = asyncio.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        self.loop.run_until_complete(self.attendant.run(self.stopping))

    def called(self, header: Header, payload: bytes) -> Answer:
        self.calls.append(payload)
        return self.answer(header, payload)

    def stop(self) -> None:
        if self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.stopping.set)
            self.thread.join(10)
            assert not self.thread.is_alive()
        self.loop.close()
        self.journal.close()


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
    header, signature, payload = coordinator.hear()
    seal.check_reply(header, second)
    assert b"sequence number used before" in payload
    coordinator.say(b"second")
    assert coordinator.hear()[1] == signature
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


@pytest.mark.parametrize("answer", ["raises", "over the limit"])
def test_whatever_goes_wrong_in_the_app_leaves_as_failed(coordinator: HandMade, party: Party, answer: str) -> None:
    def app(_: Header, payload: bytes) -> Answer:
        if answer == "raises":
            raise RuntimeError("secret row 42")
        return Answer("reply", (bytes(1 << 22), payload))

    party.answer = app
    coordinator.say(b"question")
    assert coordinator.error() == (2, "failed")
    assert "secret" not in str(party.events)


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
    while not coordinator.outgoing.empty():
        coordinator.outgoing.get()
    coordinator.say(b"true", seq=5)
    assert coordinator.hear()[2] == b"re:true"
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
