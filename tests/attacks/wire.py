"""What an attacker puts on the wire by hand, and what it gets back."""

from __future__ import annotations

import queue
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coordinator.hub import Hub
from party_node.config import Config
from protocols import messages
from protocols.carrier import codec, frames, rpc, seal
from protocols.carrier import room_pb2 as pb
from protocols.carrier.frames import Outgoing, Problem
from tests.attacks.stages import ROOM

# isort: split
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

SECONDS = 10.0


@dataclass(frozen=True)
class Heard:
    """What came back: a reply with its words, or the carrier's error (code, constant text)."""

    reply: messages.Reply | None = None
    payload: bytes = b""
    error: tuple[int, str] = (0, "")

    @property
    def refusal(self) -> tuple[str, str]:
        """(code, reason). Fails when it is no refusal."""
        assert isinstance(self.reply, messages.Refusal), self
        return self.reply.code, self.reply.reason


def read(reply: Message) -> Heard:
    """A party's message as the coordinator sees it."""
    if reply.has_error():
        return Heard(error=(reply.error.code, reply.error.reason or ""))
    words = reply.content.array_records.get("words")
    body: Any = reply.content.config_records["reply"]["body"]
    return Heard(messages.read_reply(body), words["words"].numpy().astype("<u8").tobytes() if words else b"")


def request_of(body: bytes) -> RecordDict:
    """A request's bytes as they travel."""
    return RecordDict({"request": ConfigRecord({"body": body})})


def encoded(request: messages.Request) -> bytes:
    """The payload of a request's message."""
    return b"".join(codec.encode(Message(request_of(messages.encode(request)), 1, "query.ask")))


@dataclass(frozen=True)
class Sent:
    """An instruction that went out as it is. `ends`: how each delivery ended, None for a reply."""

    header: seal.Header
    sealed: pb.Sealed
    payload: bytes
    ends: queue.Queue[Problem | None]


def forge(hub: Hub, party: str, payload: bytes, key: Ed25519PrivateKey, **change: Any) -> Sent:
    """Send an instruction whose header the attacker wrote: the true fields but for `change`, signed with `key`."""
    size, sha256 = seal.digest([payload])
    values: dict[str, Any] = {
        **{"room": ROOM, "run": secrets.randbits(62) + 1, "seq": 1, "kind": "instruction", "src": "coordinator"},
        **{"dst": party, "message_type": "query.ask", "created_at": time.time(), "ttl": SECONDS, "size": size},
        **{"sha256": sha256, "src_node": 1, "dst_node": hub.node_id(party), "group_id": "", "plan": ""},
        **change,
    }
    header = seal.Header(**{"message_id": _own_id(values, values["dst"]), **values})
    return post(hub, party, header, seal.seal(key, header), payload)


def post(hub: Hub, party: str, header: seal.Header, sealed: pb.Sealed, payload: bytes) -> Sent:
    """Put these very bytes on a party's stream."""
    sent = Sent(header, sealed, payload, queue.Queue())
    addressed = seal.Header(**{**{name: getattr(header, name) for name in seal.Header.__slots__}, "dst": party})
    hub.send(Outgoing(addressed, sealed, (payload,), lambda _, problem: sent.ends.put(problem)))
    return sent


class Hand:
    """A party's stream driven by hand, with all its true keys."""

    def __init__(self, home: Path, port: int) -> None:
        config = Config.load(home / "node.toml")
        self.party, self.signing = config.party, config.signing
        pair = (config.secret("tls_key"), config.read("tls_certificate"))
        credentials = grpc.ssl_channel_credentials(config.read("authority"), *pair)
        self.channel = grpc.secure_channel(f"localhost:{port}", credentials, [("grpc.max_send_message_length", -1)])
        self.frames: queue.Queue[pb.Frame | None] = queue.Queue()
        self.call = rpc.attend(self.channel)(iter(self.frames.get, None), timeout=15)
        self.frames.put(pb.Frame(hello=pb.Hello(room=ROOM, version=rpc.VERSION)))

    def instruction(self) -> tuple[seal.Header, messages.Request]:
        """The next instruction."""
        while (frame := next(self.call)).WhichOneof("body") != "open":
            pass
        header, payload = seal.read(frame.open.header), b""
        while len(payload) < header.size:
            payload += next(self.call).chunk
        records: Any = codec.decode(payload, header.kind)
        return header, messages.read_request(records.config_records["request"]["body"])

    def reply(
        self, asked: seal.Header, said: messages.Reply, words: bytes = b"", *, key: Ed25519PrivateKey | None = None,
        hold_back: int = 0, **change: Any,
    ) -> None:  # fmt: skip
        """A reply as this party would send it, but for the signing key, the header's fields to `change`, and the last
        bytes, which never come.
        """
        records = RecordDict({"reply": ConfigRecord({"body": messages.encode(said)})})
        if words:
            records["words"] = ArrayRecord({"words": Array(np.frombuffer(words, dtype="<u8"))})
        payload = b"".join(codec.encode(Message(records, 1, "query.ask")))
        size, sha256 = seal.digest([payload])
        values: dict[str, Any] = {
            **{name: getattr(asked, name) for name in ("run", "seq", "message_type", "group_id", "plan", "ttl")},
            **{"room": ROOM, "kind": "reply", "src": self.party, "dst": "coordinator", "reply_to": asked.message_id},
            **{"created_at": time.time(), "src_node": asked.dst_node, "dst_node": asked.src_node, "size": size},
            **{"sha256": sha256, **change},
        }
        header = seal.Header(**{"message_id": _own_id(values, "coordinator"), **values})
        self.frames.put(pb.Frame(open=seal.seal(key or self.signing, header)))
        for piece in frames.chunks([payload[: len(payload) - hold_back]]):
            self.frames.put(pb.Frame(chunk=piece))

    def end(self) -> tuple[str, str]:
        """Read to the stream's end; the status's name and details."""
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


def _own_id(values: dict[str, Any], receiver: str) -> str:
    return seal.message_id(values["room"], values["run"], values["seq"], receiver, values["sha256"])
