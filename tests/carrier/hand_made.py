"""A coordinator that does as a test tells it, and a party on a thread whose app is a function of the test's."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from room_lab import ROOM, Lab, until

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

    def say_until_heard(self, payload: bytes, **change: Any) -> Got:
        """The answer to a message, said again until there is one: a stream that is being left may take it along."""
        for _ in range(20):
            with suppress(queue.Empty):
                while True:
                    self.outgoing.get_nowait()
            self.say(payload, **change)
            try:
                return self.hear(2)
            except queue.Empty:
                continue
        raise AssertionError("no answer")

    def hear(self, timeout: float = 10) -> Got:
        """One whole message of the party: its header, checked; its signature; its payload."""
        sealed = self.incoming.get(timeout=timeout).open
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
