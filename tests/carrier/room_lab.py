"""A room on loopback, its keys in a directory: for tests and benchmarks."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from coordinator.grid import RoomGrid
from coordinator.hub import Hub
from protocols.carrier import codec, frames, pki, rpc, seal
from protocols.carrier import room_pb2 as pb
from protocols.carrier.journal import Journal

# isort: split
from flwr.app import ConfigRecord, Message, RecordDict

ROOM = "room-1"
SHORT: dict[str, Any] = {
    "grace": 1.0,
    "tick": 0.05,
    "hello_timeout": 1.0,
    "transfer_timeout": 1.0,
    "max_payload": 1 << 22,
}
HERE = Path(__file__).resolve().parent


class Lab:
    """Keys and certificates of a room with parties p1, p2 … in `directory`."""

    def __init__(self, directory: Path, parties: int = 2) -> None:
        self.directory = directory
        self.names = [f"p{i}" for i in range(1, parties + 1)]
        self.ca = pki.RoomCA.create(ROOM)
        self.processes: list[subprocess.Popen[bytes]] = []
        key, cert = self.ca.server(["localhost", "127.0.0.1"])
        self.write("server.key", key)
        self.write("server.pem", cert)
        self.write("ca.pem", self.ca.cert_pem)
        self.write("coordinator.sign", Ed25519PrivateKey.generate().private_bytes_raw())
        for name in self.names:
            self.issue(name)

    def write(self, name: str, data: bytes) -> None:
        (self.directory / name).write_bytes(data)

    def read(self, name: str) -> bytes:
        return (self.directory / name).read_bytes()

    def signing(self, name: str) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.read(f"{name}.sign"))

    def public(self, name: str) -> Ed25519PublicKey:
        return self.signing(name).public_key()

    def issue(self, name: str, days: float = 30) -> None:
        """New keys and a certificate for a party, in its three files."""
        self.write(f"{name}.key", pki.new_tls_key())
        self.write(f"{name}.sign", Ed25519PrivateKey.generate().private_bytes_raw())
        self.certify(name, days)

    def certify(self, name: str, days: float) -> None:
        """Another certificate for the keys a party has."""
        request = pki.request(ROOM, name, self.read(f"{name}.key"), self.signing(name))
        self.write(f"{name}.pem", self.ca.party(request, name, days))

    def hub(self, journal: Journal, **options: Any) -> Hub:
        hub = Hub(room=ROOM, signing=self.signing("coordinator"), journal=journal, **options)
        for name in self.names:
            hub.admit(name, self.public(name))
        return hub

    def start(self, hub: Hub, port: int = 0) -> int:
        return hub.start("127.0.0.1", port, self.read("server.key"), self.read("server.pem"), self.read("ca.pem"))

    def party(self, name: str, port: int, **environment: str) -> subprocess.Popen[bytes]:
        """A party in a process of its own, or several, with commas between; ended by `close`."""
        root = str(HERE.parent.parent)
        command = [sys.executable, str(HERE / "party_process.py"), str(self.directory), name, str(port)]
        process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": root, **environment})
        self.processes.append(process)
        return process

    def calls(self, name: str) -> int:
        """How often the app of a party's process did its work."""
        path = self.directory / f"{name}.calls"
        return len(path.read_text().split()) if path.exists() else 0

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


class Stream:
    """A party's stream driven by hand: what an attacker, or a careful tester, would send."""

    def __init__(self, lab: Lab, name: str, port: int, **files: bytes | None) -> None:
        given = {"ca": lab.read("ca.pem"), "key": lab.read(f"{name}.key"), "cert": lab.read(f"{name}.pem"), **files}
        self.frames: queue.Queue[pb.Frame | None] = queue.Queue()
        credentials = grpc.ssl_channel_credentials(given["ca"], given["key"], given["cert"])
        self.channel = grpc.secure_channel(f"localhost:{port}", credentials, [("grpc.max_send_message_length", -1)])
        self.call = rpc.attend(self.channel)(iter(self.frames.get, None), timeout=15)

    def hello(self, room: str = ROOM, version: int = 1) -> Stream:
        self.send(pb.Frame(hello=pb.Hello(room=room, version=version)))
        return self

    def send(self, *frames: pb.Frame) -> None:
        for frame in frames:
            self.frames.put(frame)

    def next(self) -> pb.Frame:
        return next(self.call)

    def instruction(self) -> seal.Header:
        """Read one whole instruction; return its header."""
        header, got = seal.read(self.next().open.header), 0
        while got < header.size:
            got += len(self.next().chunk)
        return header

    def end(self) -> tuple[str, str]:
        """Read to the end; the status's name and details."""
        try:
            for _ in self.call:
                pass
        except grpc.RpcError as exc:
            return exc.code().name, exc.details() or ""
        finally:
            self.close()
        return "OK", ""

    def close(self) -> None:
        self.frames.put(None)
        self.channel.close()


def until(condition: Callable[[], Any], seconds: float = 15.0) -> None:
    """Wait until `condition` holds; fail when it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


class Room:
    """A lab, its hub, the port, and the streams that a test opened."""

    def __init__(self, lab: Lab, port: int = 0, **options: Any) -> None:
        self.lab = lab
        self.journal = Journal(lab.directory / "coordinator.db")
        self.hub: Hub = lab.hub(self.journal, **{**SHORT, **options})
        self.port = lab.start(self.hub, port)
        self.streams: list[Stream] = []

    def stream(self, name: str = "p1", **files: bytes | None) -> Stream:
        self.streams.append(Stream(self.lab, name, self.port, **files))
        return self.streams[-1]

    def grid(self, run: int = 5, **options: Any) -> RoomGrid:
        return RoomGrid(self.hub, run, **options)

    def push(self, grid: RoomGrid, name: str = "p1", ttl: float | None = None, **told: Any) -> str:
        content = RecordDict({"told": ConfigRecord(told)})
        return grid.push_messages([Message(content, grid.node_id(name), "query.stats", ttl=ttl)])[0]

    def asked(self, grid: RoomGrid, stream: Stream, name: str = "p1", **options: Any) -> seal.Header:
        """Push one instruction and read it on a stream made by hand."""
        message_id = self.push(grid, name, **options)
        header = stream.instruction()
        assert header.message_id == message_id
        return header

    def reply(
        self, asked: seal.Header, name: str = "p1", key_of: str | None = None, payload: bytes = b"", **change: Any
    ) -> list[pb.Frame]:
        """The frames of a reply as `name` would send it, but for the fields to `change` and the signing key."""
        payload = payload or b"".join(codec.encode(Message(RecordDict(), 1, "query.stats")))
        size, sha256 = seal.digest([payload])
        values: dict[str, Any] = {
            **{name: getattr(asked, name) for name in ("run", "seq", "message_type", "group_id", "plan", "ttl")},
            **{"room": "room-1", "kind": "reply", "src": name, "dst": "coordinator", "reply_to": asked.message_id},
            **{"created_at": asked.created_at, "src_node": asked.dst_node, "dst_node": 1, "size": size},
            **{"sha256": sha256},
            **change,
        }
        own = seal.message_id(values["room"], values["run"], values["seq"], "coordinator", values["sha256"])
        header = seal.Header(**{"message_id": own, **values})
        sealed = seal.seal(self.lab.signing(key_of or name), header)
        return [pb.Frame(open=sealed), *(pb.Frame(chunk=piece) for piece in frames.chunks([payload]))]

    def audit(self) -> str:
        return " | ".join(f"{party}: {what}" for party, what in self.hub.events)

    def close(self) -> None:
        for stream in self.streams:
            stream.close()
        self.hub.stop()
        self.journal.close()
