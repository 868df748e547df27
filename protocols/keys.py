"""Identities: the long-term keys of each party and of the coordinator, and what each signature is for.

Everybody has an Ed25519 key (RFC 8032), which signs messages, approvals, holds, shares and releases. Beside it stands
an ML-DSA-44 key (FIPS 204), which a quantum computer does not break: it signs checkpoints of the ledger and
cosignatures too (`ledger/notes.py`), whose word must hold for as long as anybody may ask what was done. In a room all
members have both, or all have the first alone.

Every signature names its purpose, so that a signature given for one thing can never serve for another. X25519 keys for
masks are made for one step and follow from a secret that is forgotten with its round (`masking.py`).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

from .encoding import canonical
from .errors import IntegrityError, UsageError

ED25519_BYTES = 32
ML_DSA_44_BYTES = 1312  # FIPS 204 table 2; a signature has 2,420

PrivateKey = Ed25519PrivateKey | MLDSA44PrivateKey
PublicKey = Ed25519PublicKey | MLDSA44PublicKey

Purpose = Literal[
    "approval", "dataset", "hold", "mask-key", "agreement", "share", "survivors", "release", "decision",
    "change", "refund", "egress", "audit", "overlap-offer", "overlap-lists", "activation",
]  # fmt: skip

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----[A-Za-z0-9+/=\s]*-----END \1-----")
_BEGIN, _PRIVATE = b"-----BEGIN ", b"PRIVATE KEY"


@dataclass(frozen=True)
class PublicKeys:
    """What others know a member by. ml_dsa_44: None in rooms whose members have Ed25519 keys alone."""

    ed25519: Ed25519PublicKey
    ml_dsa_44: MLDSA44PublicKey | None = None

    @classmethod
    def from_texts(cls, key: str, ml_dsa_44: str | None = None) -> PublicKeys:
        """The keys whose `texts` these are. Raises IntegrityError."""
        return cls(public_key(key), None if ml_dsa_44 is None else ml_dsa_44_key(ml_dsa_44))

    def texts(self) -> dict[str, str]:
        """As room files and ledger entries have them: `key`, and `ml_dsa_44` if there is one."""
        second = {} if self.ml_dsa_44 is None else {"ml_dsa_44": public_text(self.ml_dsa_44)}
        return {"key": public_text(self.ed25519), **second}


@dataclass(frozen=True)
class Identity:
    """A member's private keys. Secret: whoever has them is this member."""

    ed25519: Ed25519PrivateKey
    ml_dsa_44: MLDSA44PrivateKey | None = None

    @classmethod
    def generate(cls) -> Identity:
        """New keys of both kinds."""
        return cls(Ed25519PrivateKey.generate(), MLDSA44PrivateKey.generate())

    @property
    def private(self) -> tuple[PrivateKey, ...]:
        """The one key or both, Ed25519 first."""
        return (self.ed25519,) if self.ml_dsa_44 is None else (self.ed25519, self.ml_dsa_44)

    def __repr__(self) -> str:
        return f"Identity({public_text(self.ed25519)})"

    def public(self) -> PublicKeys:
        return PublicKeys(self.ed25519.public_key(), None if self.ml_dsa_44 is None else self.ml_dsa_44.public_key())

    def pem(self) -> bytes:
        """One PRIVATE KEY block (PKCS#8, unencrypted) for each key, Ed25519 first.

        The file it goes to must be readable by its owner only. The block of the ML-DSA-44 key holds its seed
        (RFC 9881 section 6).
        """
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        return b"".join(key.private_bytes(encoding, form, serialization.NoEncryption()) for key in self.private)

    @classmethod
    def from_pem(cls, data: bytes, *, where: str) -> Identity:
        """The identity of a file that `pem` wrote; a file with one block has an Ed25519 key alone.

        Raises UsageError naming the file, never its content: for another number, kind or order of keys, and for an
        encrypted one.
        """
        kinds = [match[1] for match in _BLOCK.finditer(data)]
        if not kinds or len(kinds) != data.count(_BEGIN) or any(kind != _PRIVATE for kind in kinds):
            raise UsageError(f"{where} is not an unencrypted PEM private key")
        if len(kinds) > 2:
            raise UsageError(f"{where} holds {len(kinds)} keys; {_HOLDS}")
        found = [_load(match[0], where) for match in _BLOCK.finditer(data)]
        match found:
            case [Ed25519PrivateKey() as first]:
                return cls(first)
            case [Ed25519PrivateKey() as first, MLDSA44PrivateKey() as second]:
                return cls(first, second)
            case [MLDSA44PrivateKey(), Ed25519PrivateKey()]:
                raise UsageError(f"{where} holds its keys in the wrong order; {_HOLDS}")
            case _:
                raise UsageError(f"{where} holds another kind of key; {_HOLDS}")

    def known_as(self, public: PublicKeys) -> Identity | None:
        """This identity with the keys that `public` names, None if it does not have them all.

        A room whose members have Ed25519 keys alone knows nobody's second key, so in it that key signs nothing.
        """
        own = self.public()
        if own.ed25519 != public.ed25519 or public.ml_dsa_44 not in (None, own.ml_dsa_44):
            return None
        return Identity(self.ed25519) if public.ml_dsa_44 is None else self


_HOLDS = "an identity is an Ed25519 key and then, in rooms that have them, an ML-DSA-44 key"


def sign(key: PrivateKey, purpose: Purpose, body: Any) -> str:
    """Base64 of a signature over the purpose and the canonical form of `body`.

    By RFC 8032 for Ed25519, by FIPS 204 section 5.2 with an empty context for ML-DSA-44.
    """
    return base64_text(key.sign(_signed_bytes(purpose, body)))


def check(public: PublicKey, purpose: Purpose, body: Any, signature: str, *, who: str) -> None:
    """Raise IntegrityError unless `signature` is `who`'s, for this purpose, over this body."""
    check_each({who: public}, purpose, body, {who: signature})


def check_each(keys: Mapping[str, PublicKey], purpose: Purpose, body: Any, signatures: Mapping[str, str]) -> None:
    """Raise IntegrityError unless each signature is that of its name's key, for this purpose, over this body.

    Why together: the bytes that all of them sign are made once, and making them costs as much as a verification.
    """
    check_canonical(keys, purpose, canonical(body), signatures)


def check_canonical(
    keys: Mapping[str, PublicKey], purpose: Purpose, body: bytes, signatures: Mapping[str, str]
) -> None:
    """The same as `check_each`, of a body whose canonical form is at hand."""
    signed = _prefix(purpose) + body
    for who, signature in signatures.items():
        try:
            keys[who].verify(unbase64(signature), signed)
        except InvalidSignature:
            raise IntegrityError(f"the {purpose} signature of {who} does not verify") from None


def public_text(key: PrivateKey | PublicKey) -> str:
    """A public key as base64 of its 32 (Ed25519) or 1,312 (ML-DSA-44) bytes."""
    public = key.public_key() if isinstance(key, Ed25519PrivateKey | MLDSA44PrivateKey) else key
    return base64_text(public.public_bytes_raw())


def public_key(text: str) -> Ed25519PublicKey:
    """The Ed25519 key that `public_text` wrote. Raises IntegrityError."""
    raw = unbase64(text)
    if len(raw) != ED25519_BYTES:
        raise IntegrityError(f"an Ed25519 public key has {ED25519_BYTES} bytes, not {len(raw)}")
    return Ed25519PublicKey.from_public_bytes(raw)


def ml_dsa_44_key(text: str) -> MLDSA44PublicKey:
    """The ML-DSA-44 key that `public_text` wrote. Raises IntegrityError."""
    raw = unbase64(text)
    if len(raw) != ML_DSA_44_BYTES:
        raise IntegrityError(f"an ML-DSA-44 public key has {ML_DSA_44_BYTES} bytes, not {len(raw)}")
    return MLDSA44PublicKey.from_public_bytes(raw)


def base64_text(raw: bytes) -> str:
    """Standard base64 with padding."""
    return base64.b64encode(raw).decode()


def unbase64(text: str) -> bytes:
    """Strict base64: the only text that encodes these bytes. Raises IntegrityError."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise IntegrityError("not base64") from None
    if base64_text(raw) != text:
        raise IntegrityError("base64 with stray bits")
    return raw


def _load(block: bytes, where: str) -> object:
    try:
        return serialization.load_pem_private_key(block, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise UsageError(f"{where} is not an unencrypted PEM private key") from None


def _signed_bytes(purpose: Purpose, body: Any) -> bytes:
    return _prefix(purpose) + canonical(body)


def _prefix(purpose: Purpose) -> bytes:
    # Why the NUL: checkpoints are signed as plain text without control characters, so no signature over a note can
    # pass for one of these, and the other way round.
    return f"sumroom/{purpose}/v1".encode() + b"\0"
