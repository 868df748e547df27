"""Identities: an Ed25519 key per party and for the coordinator, and what each signature is for.

Every signature names its purpose, so that a signature given for one thing can never serve for another. X25519 keys for
masks are made for one step and follow from a secret that is forgotten with its round (`masking.py`).
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from .encoding import canonical
from .errors import IntegrityError, UsageError

Purpose = Literal["approval", "dataset", "hold", "mask-key", "agreement", "share", "survivors", "release", "decision"]


def sign(key: Ed25519PrivateKey, purpose: Purpose, body: Any) -> str:
    """Base64 of an Ed25519 signature (RFC 8032) over the purpose and the canonical form of `body`."""
    return base64_text(key.sign(_signed_bytes(purpose, body)))


def check(public: Ed25519PublicKey, purpose: Purpose, body: Any, signature: str, *, who: str) -> None:
    """Raise IntegrityError unless `signature` is `who`'s, for this purpose, over this body."""
    try:
        public.verify(unbase64(signature), _signed_bytes(purpose, body))
    except InvalidSignature:
        raise IntegrityError(f"the {purpose} signature of {who} does not verify") from None


def public_text(key: Ed25519PrivateKey | Ed25519PublicKey) -> str:
    """A public key as base64 of its 32 bytes."""
    public = key.public_key() if isinstance(key, Ed25519PrivateKey) else key
    return base64_text(public.public_bytes_raw())


def public_key(text: str) -> Ed25519PublicKey:
    """The public key that `public_text` wrote. Raises IntegrityError."""
    raw = unbase64(text)
    if len(raw) != 32:
        raise IntegrityError(f"an Ed25519 public key has 32 bytes, not {len(raw)}")
    return Ed25519PublicKey.from_public_bytes(raw)


def load_private_key(pem: bytes, *, where: str) -> Ed25519PrivateKey:
    """The Ed25519 key of a PKCS#8 PEM file. Raises UsageError naming the file, never its content."""
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError):
        raise UsageError(f"{where} is not an unencrypted PEM private key") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"{where} holds another kind of key; signing keys are Ed25519")
    return key


def private_pem(key: Ed25519PrivateKey) -> bytes:
    """PKCS#8 PEM, unencrypted: the file it goes to must be readable by its owner only."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


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


def _signed_bytes(purpose: Purpose, body: Any) -> bytes:
    # Why the NUL: checkpoints are signed as plain text without control characters, so no signature over a note can
    # pass for one of these, and the other way round.
    return f"sumroom/{purpose}/v1".encode() + b"\0" + canonical(body)
