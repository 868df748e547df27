"""A second implementation of masks, pieces, boxes and unmasking, from `protocols/specs/share.md` and `recovery.md`.

With nothing of the product: X25519, HKDF, AES, ChaCha20-Poly1305 and SHA-256 are others', the rest is Python's own
integers. The numbers in comments are the pages' rules, S of `share.md` and R of `recovery.md`.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from typing import Any

import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

P = 2**256 - 189
WORD = 2**64
Json = dict[str, Any]


def signed(public: Ed25519PublicKey, purpose: str, body: Json, signature: str) -> None:
    """Raises unless it is one (S 5, 7, 13; R 11)."""
    public.verify(unbase64(signature), f"sumroom/{purpose}/v1".encode() + b"\0" + rfc8785.dumps(body))


def digest(roster: Json) -> str:
    """S 7 and 10."""
    return hashlib.sha256(rfc8785.dumps(roster)).hexdigest()


def unbase64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def public_of(private: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def secret(private: bytes, public: str) -> bytes:
    """S 9."""
    return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(unbase64(public)))


def derived(material: bytes, roster: Json, info: Json) -> bytes:
    return HKDF(SHA256(), 32, bytes.fromhex(digest(roster)), rfc8785.dumps(info)).derive(material)


def stream(key: bytes, slots: int) -> list[int]:
    """S 11."""
    raw = Cipher(AES256(key), CTR(bytes(16))).encryptor().update(bytes(8 * slots))
    return list(struct.unpack(f"<{slots}Q", raw))


def key_of_pair(private: bytes, me: str, peer: str, group: Json, occasion: Json) -> bytes:
    """S 10."""
    info = {"occasion": occasion, "pair": sorted([me, peer]), "use": "sumroom/pair-mask/v1"}
    return derived(secret(private, group[peer]["public"]), group, info)


def key_of_own(seed: bytes, party: str, group: Json, occasion: Json) -> bytes:
    """R 7."""
    return derived(seed, group, {"occasion": occasion, "party": party, "use": "sumroom/own-mask/v1"})


def add(words: list[int], more: list[int], times: int) -> list[int]:
    return [(word + times * other) % WORD for word, other in zip(words, more, strict=True)]


def masked(noised: list[int], me: str, private: bytes, group: Json, occasion: Json, seed: bytes | None) -> list[int]:
    """S 12 and R 7."""
    words = [number % WORD for number in noised]
    for peer in group:
        if peer != me:
            found = stream(key_of_pair(private, me, peer, group, occasion), len(words))
            words = add(words, found, 1 if peer > me else -1)
    return words if seed is None else add(words, stream(key_of_own(seed, me, group, occasion), len(words)), 1)


def piece(coefficients: list[int], place: int) -> bytes:
    """R 5."""
    return (sum(c * place**power for power, c in enumerate(coefficients)) % P).to_bytes(32, "little")


def box_key(sealing: bytes, me: str, peer: str, dealer: str, roster: Json, occasion: Json) -> bytes:
    """R 6; of `me` and `peer` one is the dealer."""
    info = {"from": dealer, "to": peer if dealer == me else me, "occasion": occasion, "use": "sumroom/pieces/v1"}
    return derived(secret(sealing, roster[peer]["sealing"]), roster, info)


def seal(key: bytes, pieces: bytes) -> str:
    """R 6."""
    return base64.b64encode(ChaCha20Poly1305(key).encrypt(bytes(12), pieces, None)).decode()


def opened(key: bytes, box: str) -> tuple[bytes, bytes]:
    """(piece of the key, piece of the seed), R 6."""
    pieces = ChaCha20Poly1305(key).decrypt(bytes(12), unbase64(box), None)
    assert len(pieces) == 64
    return pieces[:32], pieces[32:]


def together(pieces: dict[int, bytes]) -> bytes:
    """R 15: the secret, from exactly the threshold of pieces by place."""
    found = 0
    for x, raw in pieces.items():
        above = below = 1
        for other in pieces:
            if other != x:
                above, below = above * other, below * (other - x)
        found += int.from_bytes(raw, "little") * above * pow(below, -1, P)
    return (found % P).to_bytes(32, "little")


def unmasked(words: dict[str, list[int]], given: dict[str, dict[str, str]], group: Json, adders: list[str],
             occasion: Json) -> list[int]:  # fmt: skip
    """R 16: the survivors' sum, signed, from exactly the threshold of helpers."""
    total = [0] * len(next(iter(words.values())))
    for share in words.values():
        total = add(total, share, 1)
    for party, entry in group.items():
        found = together({adders.index(helper) + 1: unbase64(out[party]) for helper, out in given.items()})
        if party in words:
            assert hashlib.sha256(found).hexdigest() == entry["seed_digest"]
            total = add(total, stream(key_of_own(found, party, group, occasion), len(total)), -1)
            continue
        assert public_of(found) == unbase64(entry["public"])
        for survivor in words:
            made = stream(key_of_pair(found, party, survivor, group, occasion), len(total))
            total = add(total, made, -1 if survivor < party else 1)
    return [word - WORD if word >= WORD // 2 else word for word in total]
