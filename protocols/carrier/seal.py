"""Who says what to whom: a header, signed over its exact bytes, that carries the hash of its payload.

A header cannot be moved to another room, run, sequence number or receiver: its message id is a hash of those and of the
payload's hash, and all are signed (Ed25519, RFC 8032). The same content at the same place has the same id, which makes
sending again and resuming idempotent.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from google.protobuf.message import DecodeError

from ..errors import IntegrityError, UsageError
from . import room_pb2 as pb

COORDINATOR = "coordinator"
COORDINATOR_NODE = 1
INSTRUCTION, REPLY, ERROR = "instruction", "reply", "error"
# Why another name than in `keys.py`: a header is protobuf, not canonical JSON, and neither may pass for the other.
DOMAIN = b"sumroom/header/v1\0"
MAX_SEQ = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """One message's header. `created_at` and `ttl` are seconds, `size` bytes, `sha256` the payload's raw digest.

    `run` is any unsigned 64-bit number, `seq` counts a run's instructions from 1; a reply repeats its instruction's.
    """

    room: str
    run: int
    seq: int
    kind: str
    src: str
    dst: str
    message_id: str
    message_type: str
    created_at: float
    ttl: float
    size: int
    sha256: bytes
    src_node: int
    dst_node: int
    reply_to: str = ""
    group_id: str = ""
    plan: str = ""

    @property
    def expires(self) -> float:
        """Seconds since 1970 after which nobody acts on this message."""
        return self.created_at + self.ttl


def seal(key: Ed25519PrivateKey, header: Header) -> pb.Sealed:
    """Sign `header`. Raises UsageError when a field does not fit its wire type."""
    try:
        raw = pb.Header(**asdict(header)).SerializeToString(deterministic=True)
    except (ValueError, TypeError):
        raise UsageError("a field of the header does not fit its wire type") from None
    return pb.Sealed(header=raw, signature=key.sign(DOMAIN + raw))


def unseal(public: Ed25519PublicKey, sealed: pb.Sealed, *, room: str, src: str, dst: str) -> Header:
    """The header that `src` signed for `dst` in `room`.

    (1) the signature is that of `public`; (2) the header is complete and its message id its own; (3) it is from and for
    the expected ones. The caller still checks the payload, the expiry, the kind and what a reply replies to.
    Raises IntegrityError.
    """
    # (1)
    try:
        public.verify(sealed.signature, DOMAIN + sealed.header)
    except InvalidSignature:
        raise IntegrityError(f"bad signature on a message from {src}") from None
    # (2)
    header = read(sealed.header)
    # (3)
    if (header.room, header.src, header.dst) != (room, src, dst):
        raise IntegrityError(f"a message from {src} names another room or party")
    if header.message_id != message_id(room, header.run, header.seq, dst, header.sha256):
        raise IntegrityError(f"a message from {src} has an id that is not its own")
    return header


def check_reply(reply: Header, asked: Header) -> None:
    """Raise IntegrityError unless `reply` is a reply or error to the instruction `asked`: same run, sequence, type,
    group and plan, from its receiver to its sender."""
    if reply.kind not in (REPLY, ERROR) or reply.reply_to != asked.message_id:
        raise IntegrityError("this is not a reply to what was asked")
    same = ("run", "seq", "message_type", "group_id", "plan")
    nodes = (reply.src_node, reply.dst_node) == (asked.dst_node, asked.src_node)
    if not nodes or any(getattr(reply, name) != getattr(asked, name) for name in same):
        raise IntegrityError("a reply that is not bound to its instruction")


def read(raw: bytes) -> Header:
    """The header in these bytes, whose signature was checked here or before it was stored. Raises IntegrityError."""
    try:
        wire = pb.Header.FromString(raw)
    except DecodeError:
        raise IntegrityError("a header does not parse") from None
    header = Header(**{field.name: getattr(wire, field.name) for field in fields(Header)})
    if header.kind not in (INSTRUCTION, REPLY, ERROR) or len(header.sha256) != 32 or not 0 < header.seq <= MAX_SEQ:
        raise IntegrityError("a header has a field out of range")
    if not (math.isfinite(header.created_at) and math.isfinite(header.ttl) and header.ttl >= 0):
        raise IntegrityError("a header has a date that is none")
    return header


def digest(buffers: Iterable[bytes | memoryview]) -> tuple[int, bytes]:
    """Size in bytes and SHA-256 of a payload given in parts."""
    total, sha = 0, hashlib.sha256()
    for buffer in buffers:
        sha.update(buffer)
        total += len(buffer)
    return total, sha.digest()


def message_id(room: str, run: int, seq: int, dst: str, sha256: bytes) -> str:
    """SHA-256 over where a message belongs and what it carries, as 64 hex characters."""
    parts = (room.encode(), str(run).encode(), str(seq).encode(), dst.encode(), sha256)
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def node_id(room: str, public: Ed25519PublicKey) -> int:
    """The number by which Flower knows a party: 63 bits of a hash of its key, never 0 or the coordinator's."""
    raw = hashlib.sha256(room.encode() + b"\0" + public.public_bytes_raw()).digest()
    return max(int.from_bytes(raw[:8], "big") >> 1, COORDINATOR_NODE + 1)
