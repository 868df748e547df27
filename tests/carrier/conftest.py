"""A room for each test: a hub in this process with short times, and its keys."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from room_lab import Lab, Stream

from coordinator.grid import RoomGrid
from coordinator.hub import Hub
from protocols.carrier import codec, frames, seal
from protocols.carrier import room_pb2 as pb
from protocols.carrier.journal import Journal

# isort: split
from flwr.app import ConfigRecord, Message, RecordDict

SHORT = {"grace": 1.0, "tick": 0.05, "hello_timeout": 1.0, "transfer_timeout": 1.0, "max_payload": 1 << 22}


class Room:
    """A lab, its hub, the port, and the streams that a test opened."""

    def __init__(self, lab: Lab, **options: Any) -> None:
        self.lab = lab
        self.journal = Journal(lab.directory / "coordinator.db")
        self.hub: Hub = lab.hub(self.journal, **{**SHORT, **options})
        self.port = lab.start(self.hub)
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
        """The frames of a reply as `name` would send it, but for the fields to `change` and the key it is signed with."""
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


@pytest.fixture(scope="session")
def made_lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("lab"))


@pytest.fixture
def lab(made_lab: Lab, tmp_path: Path) -> Iterator[Lab]:
    """A room's keys in a directory of the test's own."""
    own = Lab.__new__(Lab)
    own.__dict__.update({**made_lab.__dict__, "directory": tmp_path, "processes": []})
    for path in made_lab.directory.iterdir():
        own.write(path.name, path.read_bytes())
    yield own
    own.close()


@pytest.fixture
def make_room(lab: Lab) -> Iterator[Callable[..., Room]]:
    rooms: list[Room] = []

    def make(**options: Any) -> Room:
        rooms.append(Room(lab, **options))
        return rooms[-1]

    yield make
    for room in rooms:
        room.close()


@pytest.fixture
def room(make_room: Callable[..., Room]) -> Room:
    return make_room()
