"""Checkpoints as signed notes (C2SP signed-note, tlog-checkpoint, tlog-cosignature).

    room.example/q1                                    origin: the ledger's name, and its keys'
    7                                                  how many entries
    pmQmc9ONGM4IVX+Q8BGmDZJvJsLLcaKeSJ3fwQ4xNlg=       root over them
                                                       (empty line)
    — room.example/q1 hB3Yq…                           the coordinator's signature with its Ed25519 key
    — room.example/q1 p1dMz…                           and with its ML-DSA-44 key
    — retailer uQ0xz…                                  a party's cosignature with one of its keys, with its time
    — retailer Xk3fA…                                  and with the other

Kinds of keys, and what each signs:

    0x01  Ed25519, the log's      the text (signed-note)
    0x04  Ed25519, a cosigner's   "cosignature/v1", the time, the text (tlog-cosignature, "Ed25519 signed message")
    0x06  ML-DSA-44, anybody's    "subtree/v1", the cosigner's name, the time, origin, 0, size and root
                                  (tlog-cosignature, "ML-DSA-44 signed message"); tlog-checkpoint has logs sign in this
                                  way too, under the origin's name
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from ..encoding import MAX_INT
from ..errors import IntegrityError, UsageError
from ..keys import ED25519_BYTES, ML_DSA_44_BYTES, Identity, PublicKey, PublicKeys, base64_text, unbase64
from .tree import HASH_BYTES

LOG = 0x01
COSIGNER = 0x04
ML_DSA_44 = 0x06
MAX_LINES = 130  # the log and 64 parties, with two keys each
MAX_NAME_BYTES = 255

_KEY_BYTES = {LOG: ED25519_BYTES, COSIGNER: ED25519_BYTES, ML_DSA_44: ML_DSA_44_BYTES}
_SIGNATURE_BYTES = {LOG: 64, COSIGNER: 64, ML_DSA_44: 2420}
_TIME_BYTES = 8
_SIZE = re.compile(r"0|[1-9][0-9]{0,15}")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")


@dataclass(frozen=True)
class VerifierKey:
    """A name, a kind and a public key: what C2SP signed-note calls a vkey."""

    name: str
    kind: int
    public: bytes

    def __post_init__(self) -> None:
        check_name(self.name)
        if _KEY_BYTES.get(self.kind) != len(self.public):
            raise UsageError(f"the key of {self.name} is of no known kind and length")

    @cached_property
    def key_id(self) -> bytes:
        """The first four bytes of SHA-256(name ‖ newline ‖ kind ‖ public key)."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:4]

    @cached_property
    def public_key(self) -> PublicKey:
        return (MLDSA44PublicKey if self.kind == ML_DSA_44 else Ed25519PublicKey).from_public_bytes(self.public)

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


def log_keys(origin: str, public: PublicKeys) -> tuple[VerifierKey, ...]:
    """The keys that sign checkpoints of the ledger `origin`: one of each kind that `public` has, Ed25519 first."""
    return _verifier_keys(origin, LOG, public)


def cosigner_keys(name: str, public: PublicKeys) -> tuple[VerifierKey, ...]:
    """The keys with which the witness `name` cosigns checkpoints, Ed25519 first."""
    return _verifier_keys(name, COSIGNER, public)


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


def sign(checkpoint: Checkpoint, identity: Identity, timestamp: int) -> str:
    """The ledger's signature lines, one for each of its keys, each ending in a newline; their name is the origin.

    timestamp: unix seconds of the state that is signed; an Ed25519 signature of a log has none.
    """
    return _signed(checkpoint, checkpoint.origin, LOG, identity, timestamp)


def cosign(checkpoint: Checkpoint, name: str, identity: Identity, timestamp: int) -> str:
    """A witness's cosignature lines, one for each of its keys, each ending in a newline. timestamp: unix seconds."""
    return _signed(checkpoint, name, COSIGNER, identity, timestamp)


def assemble(checkpoint: Checkpoint, signature: str, cosignatures: Iterable[str] = ()) -> str:
    """The one note of these lines: the ledger's first, the shortest (Ed25519) leading, then all others by their text.

    signature, cosignatures: texts of any number of lines.
    """
    lines = [line for text in (signature, *cosignatures) for line in _LINE.findall(text)]
    own = f"— {checkpoint.origin} "
    lines.sort(key=lambda line: (0, len(line), line) if line.startswith(own) else (1, 0, line))
    return checkpoint.text() + "\n" + "".join(lines)


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
    note: str, log: Sequence[VerifierKey], witnesses: Iterable[VerifierKey] = ()
) -> tuple[Checkpoint, dict[str, int | None]]:
    """A checkpoint and who signed it: name → time of the cosignature, None for the ledger itself.

    log: its keys, all of one name. Strict: every line must be by a key named here and verify, no key signs twice,
    whoever signs does so with each of its keys and at one time; the ledger itself must have signed, and the origin be
    its name. Raises IntegrityError. Whether the cosigners suffice, the caller must decide
    (`cosigners.check_cosigners`).
    """
    # (0) the three lines and the signature lines
    checkpoint, lines = split(note)
    if not log:
        raise IntegrityError("the ledger has no key in force that could have signed this checkpoint")
    origin = log[0].name
    if checkpoint.origin != origin:
        raise IntegrityError(f"a checkpoint of {checkpoint.origin!r}, not of {origin!r}")
    # (1) every line, against the key of its name and id
    keys: dict[str, list[VerifierKey]] = {}
    for key in (*log, *witnesses):
        keys.setdefault(key.name, []).append(key)
    known = {(name, key.key_id): key for name, own in keys.items() for key in own}
    times = _verify_lines(checkpoint, known, lines)
    # (2) with all keys, at one time (two keys of one name whose ids were made to collide can never both have signed)
    signed = {name: _one_time(name, keys[name], stated) for name, stated in times.items()}
    # (3) the ledger's own among them
    if origin not in signed:
        raise IntegrityError("the ledger's own signature is missing")
    return checkpoint, {**signed, origin: None}


def cosignatures(note: str) -> dict[str, str]:
    """Who else has lines in a note, nothing verified: name → its lines, in their order. Raises IntegrityError."""
    checkpoint, lines = split(note)
    found: dict[str, str] = {}
    for line in lines:
        name = _parse_line(line)[0]
        if name != checkpoint.origin:
            found[name] = found.get(name, "") + line
    return found


def verify_cosignature(checkpoint: Checkpoint, witness: Sequence[VerifierKey], lines: str) -> int:
    """The time at which `witness` cosigned. witness: all its keys; lines: what its `cosign` gave.

    Raises IntegrityError unless each of these keys has signed this checkpoint, at one time, and there is nothing else.
    """
    if not witness:
        raise IntegrityError("a cosignature by nobody: there is no key in force")
    known = {(key.name, key.key_id): key for key in witness if key.kind != LOG}
    name, found = witness[0].name, _LINE.findall(lines)
    if any(_parse_line(line)[:2] not in known for line in found):
        raise IntegrityError(f"not a cosignature by {name}")
    times = _verify_lines(checkpoint, known, found)
    timestamp = _one_time(name, witness, times.get(name, {}))
    if timestamp is None:  # a log's key alone
        raise IntegrityError(f"not a cosignature by {name}")
    return timestamp


def _verify_lines(
    checkpoint: Checkpoint, known: Mapping[tuple[str, bytes], VerifierKey], lines: Iterable[str]
) -> dict[str, dict[VerifierKey, int | None]]:
    """Name → key → time. Raises IntegrityError for a line by another key, a second one, or one that does not verify."""
    found: dict[str, dict[VerifierKey, int | None]] = {}
    for line in lines:
        name, key_id, payload = _parse_line(line)
        key = known.get((name, key_id))
        if key is None:
            raise IntegrityError(f"a signature by an unknown key of {name!r}")
        if key in found.setdefault(name, {}):
            raise IntegrityError(f"two signatures by {name} with one key")
        found[name][key] = _verify(key, checkpoint, payload)
    return found


def _one_time(name: str, keys: Sequence[VerifierKey], times: Mapping[VerifierKey, int | None]) -> int | None:
    """The time of signatures by all these keys, None where no kind among them has a time."""
    if any(key not in times for key in keys):
        raise IntegrityError(f"{name} has not signed with all its keys")
    stated = {time for time in times.values() if time is not None}
    if len(stated) > 1:
        raise IntegrityError(f"the signatures of {name} are of different times")
    return min(stated, default=None)


def _verify(key: VerifierKey, checkpoint: Checkpoint, payload: bytes) -> int | None:
    """The time that a signature states, None for a log's Ed25519 signature, which has none."""
    timed, length = key.kind != LOG, _SIGNATURE_BYTES[key.kind]
    if len(payload) != length + (_TIME_BYTES if timed else 0):
        raise IntegrityError(f"the signature of {key.name} has an impossible length")
    timestamp = int.from_bytes(payload[:-length], "big")
    if timestamp > MAX_INT or (timed and timestamp == 0):
        raise IntegrityError(f"the cosignature of {key.name} has an impossible time")
    try:
        key.public_key.verify(payload[-length:], _message(key, checkpoint, timestamp))
    except InvalidSignature:
        raise IntegrityError(f"the signature of {key.name} on the checkpoint does not verify") from None
    return timestamp if timed else None


def _message(key: VerifierKey, checkpoint: Checkpoint, timestamp: int) -> bytes:
    """What is signed by a key of this kind."""
    match key.kind:
        case 0x01:
            return checkpoint.text().encode()
        case 0x04:
            return f"cosignature/v1\ntime {timestamp}\n{checkpoint.text()}".encode()
        case _:
            # cosigned_message, in the presentation language of RFC 8446 section 3; a checkpoint begins at entry 0
            name, origin = key.name.encode(), checkpoint.origin.encode()
            return b"".join((
                b"subtree/v1\n\0", bytes([len(name)]), name, timestamp.to_bytes(8, "big"),
                bytes([len(origin)]), origin, (0).to_bytes(8, "big"), checkpoint.size.to_bytes(8, "big"),
                checkpoint.root,
            ))  # fmt: skip


def _verifier_keys(name: str, kind: int, public: PublicKeys) -> tuple[VerifierKey, ...]:
    first = VerifierKey(name, kind, public.ed25519.public_bytes_raw())
    if public.ml_dsa_44 is None:
        return (first,)
    return first, VerifierKey(name, ML_DSA_44, public.ml_dsa_44.public_bytes_raw())


def _signed(checkpoint: Checkpoint, name: str, kind: int, identity: Identity, timestamp: int) -> str:
    if not 0 < timestamp <= MAX_INT:
        raise UsageError(f"a cosignature cannot be of time {timestamp}")
    keys = _verifier_keys(name, kind, identity.public())
    lines = []
    for key, private in zip(keys, identity.private, strict=True):
        time = b"" if key.kind == LOG else timestamp.to_bytes(_TIME_BYTES, "big")
        lines.append(_line(key, time + private.sign(_message(key, checkpoint, timestamp))))
    return "".join(lines)


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
