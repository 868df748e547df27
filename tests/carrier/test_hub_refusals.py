"""The coordinator's door: who is let in, and what is never delivered."""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import grpc
import pytest
from room_lab import ROOM, Lab, Room, until

from protocols.carrier import pki, rpc
from protocols.carrier import room_pb2 as pb
from protocols.errors import UsageError


def tls_client(room: Room, **limit: Any) -> ssl.SSLSocket:
    """A finished TLS handshake by a certified party, and nothing after it."""
    context = ssl.create_default_context(cafile=str(room.lab.directory / "ca.pem"))
    context.load_cert_chain(room.lab.directory / "p1.pem", room.lab.directory / "p1.key")
    context.set_alpn_protocols(["h2"])
    for name, value in limit.items():
        setattr(context, name, value)
    raw = socket.create_connection(("127.0.0.1", room.port), timeout=10)
    return context.wrap_socket(raw, server_hostname="localhost")


def seconds_until_closed(sock: socket.socket) -> float:
    start = time.monotonic()
    with sock, suppress(ConnectionError, ssl.SSLError):
        while sock.recv(1000):
            pass
    return time.monotonic() - start


def server_pair(lab: Lab) -> dict[str, bytes | None]:
    key, cert = lab.ca.server(["localhost"])
    return {"key": key, "cert": cert}


def foreign_pair(lab: Lab) -> dict[str, bytes | None]:
    key = pki.new_tls_key()
    return {"key": key, "cert": pki.RoomCA.create(ROOM).party(pki.request(ROOM, "p1", key, lab.signing("p1")), "p1")}


def expired_pair(lab: Lab) -> dict[str, bytes | None]:
    lab.certify("p1", days=-1)
    return {}


@pytest.mark.parametrize(
    "files",
    [
        foreign_pair,
        expired_pair,
        server_pair,
        lambda _: {"key": None, "cert": None},
        lambda _: {"ca": pki.RoomCA.create(ROOM).cert_pem},
    ],
    ids=["wrong authority", "expired", "wrong usage", "none", "the party trusts another authority"],
)
def test_a_certificate_that_does_not_fit_is_refused_in_the_handshake(
    room: Room, files: Callable[[Lab], dict[str, bytes | None]]
) -> None:
    assert room.stream(**files(room.lab)).hello().end()[0] == "UNAVAILABLE"
    assert room.hub.events == []


def test_without_tls_there_is_no_answer(room: Room) -> None:
    with grpc.insecure_channel(f"localhost:{room.port}") as channel, pytest.raises(grpc.RpcError) as refused:
        next(rpc.attend(channel)(iter([pb.Frame()]), timeout=3))
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    with socket.create_connection(("127.0.0.1", room.port), timeout=5) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200" not in sock.recv(100)


def test_a_room_speaks_tls_1_3_and_still_accepts_1_2_with_a_certificate(room: Room) -> None:
    """What grpcio does, so that the day it changes is noticed; see rpc.py."""
    versions = []
    for latest in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
        with tls_client(room, maximum_version=latest) as sock:
            versions.append(sock.version())
    assert versions == ["TLSv1.3", "TLSv1.2"]
    with pytest.raises((ssl.SSLError, OSError)), pytest.warns(DeprecationWarning, match="TLSv1_1"):
        tls_client(room, minimum_version=ssl.TLSVersion.TLSv1_1, maximum_version=ssl.TLSVersion.TLSv1_1)


def test_a_key_that_is_not_on_the_roster_is_not_admitted(room: Room) -> None:
    room.lab.issue("p1")
    assert room.stream().hello().end() == ("PERMISSION_DENIED", "not admitted")
    assert "another signing key" in room.audit()


def test_a_party_that_is_not_on_the_roster_is_not_admitted(room: Room) -> None:
    room.lab.issue("p9")
    assert room.stream("p9").hello().end() == ("PERMISSION_DENIED", "not admitted")
    assert "p9 is not on the roster" in room.audit()


def test_a_revoked_party_loses_its_stream_within_a_second_and_does_not_come_back(room: Room) -> None:
    stream, grid = room.stream().hello(), room.grid()
    message_id = room.asked(grid, stream).message_id
    start = time.monotonic()
    room.hub.revoke("p1")
    assert stream.end() == ("PERMISSION_DENIED", "revoked")
    assert time.monotonic() - start < 1
    until(lambda: room.hub.online() == ())
    replies = grid.pull_messages([message_id])
    assert [(m.error.code, m.error.reason) for m in replies] == [(5, "party revoked")]
    assert room.stream().hello().end()[0] == "PERMISSION_DENIED"
    late = room.push(grid)
    until(lambda: grid.pull_messages([late]))


def test_a_party_admitted_again_under_another_key_must_use_that_key(room: Room) -> None:
    stream = room.stream().hello()
    until(lambda: room.hub.online() == ("p1",))
    old = {"key": room.lab.read("p1.key"), "cert": room.lab.read("p1.pem")}
    room.lab.issue("p1")
    room.hub.admit("p1", room.lab.public("p1"))
    assert stream.end() == ("PERMISSION_DENIED", "replaced")
    assert room.stream(**old).hello().end()[0] == "PERMISSION_DENIED"
    room.stream().hello()
    until(lambda: room.hub.online() == ("p1",))


def test_a_certificate_that_expires_while_its_stream_lives_ends_it(room: Room) -> None:
    room.lab.certify("p1", days=2.5 / 86400)
    assert room.stream().hello().end() == ("PERMISSION_DENIED", "certificate expired")
    assert "certificate expired" in room.audit()


@pytest.mark.parametrize(
    ("change", "key_of", "expect"),
    [
        ({"src": "p2"}, None, "another room or party"),
        ({}, "p2", "bad signature"),
        ({"room": "room-2"}, None, "another room or party"),
        ({"dst": "p2"}, None, "another room or party"),
        ({"message_id": "0" * 64}, None, "not its own"),
        ({"reply_to": "0" * 64}, None, "nothing outstanding"),
        ({"seq": 99}, None, "not bound"),
        ({"run": 77}, None, "not bound"),
        ({"plan": "other"}, None, "not bound"),
        ({"src_node": 3}, None, "not bound"),
        ({"kind": "instruction"}, None, "not a reply"),
        ({"size": (1 << 22) + 1}, None, "over the room's limit"),
        ({"sha256": bytes(32)}, None, "does not match the hash"),
        ({"size": 1}, None, "longer than"),
    ],
)
def test_a_reply_that_is_not_what_it_must_be_is_refused_and_not_delivered(
    room: Room, change: dict[str, Any], key_of: str | None, expect: str
) -> None:
    stream, grid = room.stream().hello(), room.grid()
    asked = room.asked(grid, stream)
    stream.send(*room.reply(asked, key_of=key_of, payload=b"four", **change))
    code, details = stream.end()
    assert (code, expect in details) == ("INVALID_ARGUMENT", True), details
    assert f"p1: protocol violation: {details.removeprefix('protocol violation: ')}" in room.audit()
    assert not [m for m in grid.pull_messages([asked.message_id]) if m.has_content()]
    assert room.journal.reply(asked.message_id) is None


def test_a_reply_over_the_limit_fails_the_run_clearly(room: Room) -> None:
    stream, grid = room.stream().hello(), room.grid()
    asked = room.asked(grid, stream)
    stream.send(*room.reply(asked, size=(1 << 22) + 1))
    stream.end()
    replies = grid.pull_messages([asked.message_id])
    assert [m.error.reason for m in replies] == ["reply over the room's limit"]


def test_one_party_cannot_answer_for_another(room: Room) -> None:
    other, mine, grid = room.stream("p2").hello(), room.stream().hello(), room.grid()
    asked = room.asked(grid, other, "p2")
    mine.send(*room.reply(asked))
    assert "nothing outstanding" in mine.end()[1]
    other.send(*room.reply(asked, "p2"))
    assert other.next().receipt.message_id == asked.message_id
    stream = room.stream().hello()
    stream.send(*room.reply(asked))
    assert "second, different" in stream.end()[1]
    assert len(grid.pull_messages([asked.message_id])) == 1


def test_a_second_different_reply_is_refused(room: Room) -> None:
    stream, grid = room.stream().hello(), room.grid()
    asked = room.asked(grid, stream)
    stream.send(*room.reply(asked))
    assert stream.next().receipt.refused == ""
    stream.send(*room.reply(asked, ttl=1.0))
    assert "second, different" in stream.end()[1]
    assert len(grid.pull_messages([asked.message_id])) == 1


def test_a_frame_over_the_limit_and_a_frame_out_of_place_end_the_stream(room: Room) -> None:
    stream = room.stream().hello()
    stream.send(pb.Frame(chunk=bytes(rpc.FRAME_LIMIT + 1)))
    assert stream.end()[0] == "RESOURCE_EXHAUSTED"
    stream = room.stream().hello()
    stream.send(pb.Frame(chunk=b"x"))
    assert stream.end() == ("INVALID_ARGUMENT", "protocol violation: a frame that belongs to no message")


@pytest.mark.parametrize("hello", [{"room": "room-2"}, {"version": 2}])
def test_a_hello_to_another_room_or_version_is_refused(room: Room, hello: dict[str, Any]) -> None:
    assert room.stream().hello(**hello).end()[0] == "FAILED_PRECONDITION"


def test_whoever_says_nothing_is_closed(room: Room) -> None:
    """Silent TCP, silent TLS, a stream without hello: each within the handshake's time."""
    assert seconds_until_closed(socket.create_connection(("127.0.0.1", room.port), timeout=10)) < 3
    assert seconds_until_closed(tls_client(room)) < 3
    start = time.monotonic()
    assert room.stream().end() == ("DEADLINE_EXCEEDED", "no hello")
    assert time.monotonic() - start < 3


def test_a_trickle_is_closed_at_the_transfers_deadline(room: Room) -> None:
    stream, grid = room.stream().hello(), room.grid()
    asked = room.asked(grid, stream)
    start = time.monotonic()
    opening, *_ = room.reply(asked, payload=bytes(100))
    stream.send(opening)
    for _ in range(15):
        stream.send(pb.Frame(chunk=b"\0"))
        time.sleep(0.1)
    assert stream.end() == ("DEADLINE_EXCEEDED", "transfer too slow")
    assert 0.9 < time.monotonic() - start < 3
    assert room.journal.reply(asked.message_id) is None


def test_a_broken_transfer_leaves_no_file(room: Room) -> None:
    stream, grid = room.stream().hello(), room.grid()
    asked = room.asked(grid, stream)
    stream.send(*room.reply(asked, payload=bytes(3 << 20), sha256=bytes(32)))
    assert stream.end()[0] == "INVALID_ARGUMENT"
    assert list((room.lab.directory / "coordinator.db.d").iterdir()) == []


def test_a_newer_stream_takes_over(room: Room) -> None:
    first = room.stream().hello()
    until(lambda: room.hub.online() == ("p1",))
    second = room.stream().hello()
    assert first.end()[0] == "ABORTED"
    room.asked(room.grid(), second)


def test_streams_are_limited_for_all_together(make_room: Callable[..., Room]) -> None:
    room = make_room(max_attend=1)
    room.stream("p1").hello()
    until(lambda: room.hub.online() == ("p1",))
    assert room.stream("p2").hello().end() == ("RESOURCE_EXHAUSTED", "too many streams")


def test_streams_are_limited_for_each_party(make_room: Callable[..., Room]) -> None:
    """One that opens stream after stream and says nothing cannot keep the others out."""
    room = make_room(hello_timeout=10.0)
    codes: list[str] = []
    for _ in range(5):
        stream = room.stream("p1")

        def ended(call: Any = stream.call) -> None:
            codes.append(call.code().name)

        if not stream.call.add_callback(ended):  # it had ended before: gRPC does not call back then
            ended()
    until(lambda: codes == ["RESOURCE_EXHAUSTED"])
    room.stream("p2").hello()
    until(lambda: room.hub.online() == ("p2",))


def test_a_port_that_is_taken_is_the_operators_mistake(room: Room) -> None:
    second = room.lab.hub(room.journal)
    with pytest.raises(UsageError, match="cannot listen"):
        room.lab.start(second, room.port)
    with pytest.raises(UsageError, match="not on the roster"):
        second.revoke("p9")


class SlowToGreet:
    """A stream whose initial metadata takes a while to go out, and whose first frame belongs to no message."""

    def __init__(self) -> None:
        self.greeted = False

    async def send_initial_metadata(self, _: Any) -> None:
        await asyncio.sleep(0.05)
        self.greeted = True

    async def read(self) -> pb.Frame:
        return pb.Frame(chunk=b"x")


def test_a_stream_that_is_ended_at_once_is_greeted_first(room: Room) -> None:
    """gRPC sends the metadata with the reason where they were not sent; not where they are under way (`abort`)."""
    context, hub = SlowToGreet(), room.hub
    party = hub._parties["p1"]
    later = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    end = asyncio.run_coroutine_threadsafe(hub._serve(party, context, later), hub._loop).result(10)  # type: ignore[arg-type]
    assert end is not None
    assert end[0] == grpc.StatusCode.INVALID_ARGUMENT
    assert context.greeted
