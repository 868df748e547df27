"""Checkpoints as signed notes (C2SP signed-note, tlog-checkpoint, tlog-cosignature v1).

    room.example/q1                                    origin: the ledger's name, and its key's
    7                                                  how many entries
    pmQmc9ONGM4IVX+Q8BGmDZJvJsLLcaKeSJ3fwQ4xNlg=       root over them
                                                       (empty line)
    — room.example/q1 hB3Yq…                           the coordinator's signature
    — retailer uQ0xz…                                  a party's cosignature, with its time

Kinds of keys: 0x01 Ed25519 over the text; 0x04 Ed25519 over time and text. ML-DSA-44 (0x06) gets its place in `_KINDS`
and `_message` when it comes; until then such a line is one by an unknown key, and refused.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ..encoding import MAX_INT
from ..errors import IntegrityError, UsageError
from ..keys import base64_text, unbase64
from .tree import HASH_BYTES

LOG = 0x01
COSIGNER = 0x04
MAX_LINES = 128
MAX_NAME_BYTES = 255

_KINDS = {LOG: 32, COSIGNER: 32}
_SIGNATURE_BYTES = 64
_SIZE = re.compile(r"0|[1-9][0-9]{0,15}")


@dataclass(frozen=True)
class VerifierKey:
    """A name, a kind and a public key: what C2SP signed-note calls a vkey."""

    name: str
    kind: int
    public: bytes

    def __post_init__(self) -> None:
        check_name(self.name)
        if _KINDS.get(self.kind) != len(self.public):
            raise UsageError(f"the key of {self.name} is of no known kind and length")

    @property
    def key_id(self) -> bytes:
        """The first four bytes of SHA-256(name ‖ newline ‖ kind ‖ public key)."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:4]

    def text(self) -> str:
        """`name+id+key` in one line."""
        return f"{self.name}+{self.key_id.hex()}+{base64_text(bytes([self.kind]) + self.public)}"


@dataclass(frozen=True)
class Checkpoint:
    """What a ledger was at one size. root: 32 bytes."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The three signed lines."""
        return f"{self.origin}\n{self.size}\n{base64_text(self.root)}\n"


def check_name(name: str) -> None:
    """Raise UsageError unless `name` may name a key: no space, no plus, no control character, ≤ 255 bytes."""
    bad = any(char.isspace() or char == "+" or unicodedata.category(char).startswith("C") for char in name)
    if not name or bad or len(name.encode()) > MAX_NAME_BYTES:
        raise UsageError("a key's name has no spaces, plus signs or control characters, and 1 to 255 bytes")


def log_key(origin: str, public: Ed25519PublicKey) -> VerifierKey:
    """The key that signs checkpoints of the ledger `origin`."""
    return VerifierKey(origin, LOG, public.public_bytes_raw())


def cosigner_key(name: str, public: Ed25519PublicKey) -> VerifierKey:
    """The key with which the witness `name` cosigns checkpoints."""
    return VerifierKey(name, COSIGNER, public.public_bytes_raw())


def parse_key(text: str) -> VerifierKey:
    """The key that `VerifierKey.text` wrote. Raises UsageError for any other spelling."""
    parts = text.split("+", 2)
    try:
        raw = unbase64(parts[2])
        key = VerifierKey(parts[0], raw[0], raw[1:])
    except (IndexError, IntegrityError):
        raise UsageError("not a verifier key", "it looks like name+1a2b3c4d+AQ…") from None
    if key.text() != text:
        raise UsageError(f"the verifier key of {key.name} does not carry its own id")
    return key


def parse_checkpoint(text: str) -> Checkpoint:
    """The checkpoint of exactly three lines. Raises IntegrityError; extension lines are refused, by policy."""
    lines = text.split("\n")
    if len(lines) != 4 or lines[3] or not lines[0] or not _SIZE.fullmatch(lines[1]):
        raise IntegrityError("a checkpoint is an origin, a size and a root, one a line")
    root = unbase64(lines[2])
    if len(root) != HASH_BYTES or int(lines[1]) > MAX_INT:
        raise IntegrityError("a checkpoint with an impossible size or root")
    return Checkpoint(lines[0], int(lines[1]), root)


def sign(checkpoint: Checkpoint, key: Ed25519PrivateKey) -> str:
    """The ledger's signature line, ending in a newline; the key's name is the origin."""
    public = log_key(checkpoint.origin, key.public_key())
    return _line(public, key.sign(_message(LOG, checkpoint.text(), 0)))


def cosign(checkpoint: Checkpoint, name: str, key: Ed25519PrivateKey, timestamp: int) -> str:
    """A witness's cosignature line, ending in a newline. timestamp: unix seconds."""
    if not 0 < timestamp <= MAX_INT:
        raise UsageError(f"a cosignature cannot be of time {timestamp}")
    public = cosigner_key(name, key.public_key())
    signature = key.sign(_message(COSIGNER, checkpoint.text(), timestamp))
    return _line(public, timestamp.to_bytes(8, "big") + signature)


def assemble(checkpoint: Checkpoint, signature: str, cosignatures: Iterable[str] = ()) -> str:
    """The one note of these lines: the ledger's signature first, then cosignatures in order of their text."""
    return checkpoint.text() + "\n" + signature + "".join(sorted(cosignatures))


def split(note: str) -> tuple[Checkpoint, list[str]]:
    """A note's checkpoint and signature lines, nothing verified yet. Raises IntegrityError."""
    text, gap, lines = note.partition("\n\n")
    if not gap or not lines.endswith("\n"):
        raise IntegrityError("not a signed note")
    found = [line + "\n" for line in lines[:-1].split("\n")]
    if len(found) > MAX_LINES:
        raise IntegrityError(f"a note of {len(found)} signatures, more than {MAX_LINES}")
    return parse_checkpoint(text + "\n"), found


def open_note(
    note: str, log: VerifierKey, witnesses: Iterable[VerifierKey] = ()
) -> tuple[Checkpoint, dict[str, int | None]]:
    """A checkpoint and who signed it: name → time of the cosignature, None for the ledger's own signature.

    Strict: every line must be by a key named here and verify, no key signs twice, the ledger's signature must be there
    and the origin be its name. Raises IntegrityError. Whether the cosigners suffice, the caller must decide
    (`cosigners.check_cosigners`).
    """
    # (0) the three lines and the signature lines
    checkpoint, lines = split(note)
    if checkpoint.origin != log.name:
        raise IntegrityError(f"a checkpoint of {checkpoint.origin!r}, not of {log.name!r}")
    # (1) every line, against the key of its name and id
    known = {(key.name, key.key_id): key for key in (log, *witnesses)}
    signed: dict[str, int | None] = {}
    for line in lines:
        name, key_id, payload = _parse_line(line)
        key = known.get((name, key_id))
        if key is None:
            raise IntegrityError(f"a signature by an unknown key of {name!r}")
        if name in signed:
            raise IntegrityError(f"two signatures by {name}")
        signed[name] = _verify(key, checkpoint.text(), payload)
    # (2) the ledger's own among them
    if log.name not in signed:
        raise IntegrityError("the ledger's own signature is missing")
    return checkpoint, signed


def verify_cosignature(checkpoint: Checkpoint, witness: VerifierKey, line: str) -> int:
    """The time at which `witness` cosigned. Raises IntegrityError unless `line` is its cosignature of `checkpoint`."""
    name, key_id, payload = _parse_line(line)
    if (name, key_id) != (witness.name, witness.key_id) or witness.kind != COSIGNER:
        raise IntegrityError(f"not a cosignature by {witness.name}")
    timestamp = _verify(witness, checkpoint.text(), payload)
    if timestamp is None:  # pragma: no cover - a cosigner's key always yields a time
        raise IntegrityError("a cosignature without a time")
    return timestamp


def _verify(key: VerifierKey, text: str, payload: bytes) -> int | None:
    """The time of a cosignature, None for the ledger's own signature."""
    stamped = key.kind == COSIGNER
    if len(payload) != _SIGNATURE_BYTES + (8 if stamped else 0):
        raise IntegrityError(f"the signature of {key.name} has an impossible length")
    timestamp = int.from_bytes(payload[:-_SIGNATURE_BYTES], "big")
    if timestamp > MAX_INT or (stamped and timestamp == 0):
        raise IntegrityError(f"the cosignature of {key.name} has an impossible time")
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(
            payload[-_SIGNATURE_BYTES:], _message(key.kind, text, timestamp)
        )
    except InvalidSignature:
        raise IntegrityError(f"the signature of {key.name} on the checkpoint does not verify") from None
    return timestamp if stamped else None


def _message(kind: int, text: str, timestamp: int) -> bytes:
    """What is signed: the text itself, or for cosignatures (tlog-cosignature v1) a header with the time before it."""
    return (f"cosignature/v1\ntime {timestamp}\n{text}" if kind == COSIGNER else text).encode()


def _line(key: VerifierKey, payload: bytes) -> str:
    return f"— {key.name} {base64_text(key.key_id + payload)}\n"


def _parse_line(line: str) -> tuple[str, bytes, bytes]:
    parts = line.removesuffix("\n").split(" ")
    if not line.endswith("\n") or len(parts) != 3 or parts[0] != "—" or not parts[1]:
        raise IntegrityError("not a signature line")
    raw = unbase64(parts[2])
    if len(raw) < 5:
        raise IntegrityError("a signature line without a signature")
    return parts[1], raw[:4], raw[4:]
