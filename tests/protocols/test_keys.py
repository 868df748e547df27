"""A signature is for one purpose, a public key and a base64 text have one spelling, a private key has its one kind."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA65PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from protocols import keys
from protocols.errors import IntegrityError, UsageError
from protocols.keys import Identity, PublicKeys

SEED = bytes(range(32))
KEY = Ed25519PrivateKey.from_private_bytes(SEED)
SECOND = MLDSA44PrivateKey.from_seed_bytes(SEED)
ONE, BOTH = Identity(KEY), Identity(KEY, SECOND)
PEM, PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8


def block(key: Any, word: bytes | None = None) -> bytes:
    locked = serialization.NoEncryption() if word is None else serialization.BestAvailableEncryption(word)
    return key.private_bytes(PEM, PKCS8, locked)


@pytest.mark.parametrize("identity", [ONE, BOTH], ids=["one key", "both keys"])
def test_an_identity_is_read_back_from_its_file(identity: Identity) -> None:
    again = Identity.from_pem(identity.pem(), where="signing.pem")
    assert again.public() == identity.public()
    assert again.pem() == identity.pem() == b"".join(map(block, identity.private))


def test_a_new_identity_has_keys_of_both_kinds_and_nobody_elses() -> None:
    one, other = Identity.generate().public(), Identity.generate().public()
    assert one.ml_dsa_44 is not None
    assert other.ml_dsa_44 is not None
    assert one.ed25519 != other.ed25519
    assert one.ml_dsa_44 != other.ml_dsa_44


def test_an_identity_is_shown_without_its_secrets() -> None:
    assert repr(BOTH) == f"Identity({keys.public_text(KEY)})"


LOCKED = block(KEY, b"word")
CUT = block(KEY)[:-40]
X25519 = block(X25519PrivateKey.from_private_bytes(bytes(32)))
CERTIFICATE = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("pem", "why"),
    [
        (b"", "is not an unencrypted PEM private key"),
        (b"-----BEGIN PRIVATE KEY-----", "is not an unencrypted PEM private key"),
        (CUT, "is not an unencrypted PEM private key"),
        (CUT + block(SECOND), "is not an unencrypted PEM private key"),
        (block(KEY) + block(SECOND)[:-40], "is not an unencrypted PEM private key"),
        (LOCKED, "is not an unencrypted PEM private key"),
        (block(KEY) + block(SECOND, b"word"), "is not an unencrypted PEM private key"),
        (CERTIFICATE, "is not an unencrypted PEM private key"),
        (block(KEY) + CERTIFICATE, "is not an unencrypted PEM private key"),
        (block(KEY).replace(b"MC4", b"MC5"), "is not an unencrypted PEM private key"),
        (X25519, "holds another kind of key"),
        (block(SECOND), "holds another kind of key"),
        (block(KEY) + X25519, "holds another kind of key"),
        (block(KEY) * 2, "holds another kind of key"),
        (block(KEY) + block(MLDSA65PrivateKey.from_seed_bytes(SEED)), "holds another kind of key"),
        (block(SECOND) + block(KEY), "holds its keys in the wrong order"),
        (BOTH.pem() + block(SECOND), "holds 3 keys"),
    ],
)
def test_a_file_that_is_no_identity_is_refused_by_its_name_and_without_its_content(pem: bytes, why: str) -> None:
    with pytest.raises(UsageError, match=f"^signing.pem {why}") as caught:
        Identity.from_pem(pem, where="signing.pem")
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_an_identity_signs_with_the_keys_that_a_room_knows_it_by() -> None:
    other = Identity.generate()
    assert BOTH.known_as(BOTH.public()) is BOTH
    restricted = BOTH.known_as(ONE.public())
    assert restricted is not None
    assert restricted.private == (KEY,)
    assert ONE.known_as(BOTH.public()) is None
    assert BOTH.known_as(other.public()) is None
    assert BOTH.known_as(PublicKeys(BOTH.public().ed25519, other.public().ml_dsa_44)) is None


@pytest.mark.parametrize("identity", [ONE, BOTH], ids=["one key", "both keys"])
def test_public_keys_are_read_back_from_their_texts(identity: Identity) -> None:
    public = identity.public()
    texts = public.texts()
    assert PublicKeys.from_texts(texts["key"], texts.get("ml_dsa_44")) == public
    assert list(texts) == ["key", "ml_dsa_44"][: len(identity.private)]


def test_a_public_key_is_read_back_from_its_text() -> None:
    assert keys.public_key(keys.public_text(KEY)).public_bytes_raw() == KEY.public_key().public_bytes_raw()
    assert keys.public_text(KEY.public_key()) == keys.public_text(KEY)


@pytest.mark.parametrize("size", [0, 1311, 1313])
def test_a_second_public_key_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(IntegrityError, match=f"an ML-DSA-44 public key has 1312 bytes, not {size}"):
        keys.ml_dsa_44_key(keys.base64_text(bytes(size)))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_public_key_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(IntegrityError, match=f"an Ed25519 public key has 32 bytes, not {size}"):
        keys.public_key(keys.base64_text(bytes(size)))


@pytest.mark.parametrize(("text", "why"), [("AA", "not base64"), ("A*==", "not base64"), ("AB==", "stray bits")])
def test_bytes_have_one_text(text: str, why: str) -> None:
    with pytest.raises(IntegrityError, match=why):
        keys.unbase64(text)


@pytest.mark.parametrize("key", [KEY, SECOND], ids=["Ed25519", "ML-DSA-44"])
def test_a_signature_for_one_purpose_or_body_is_none_for_another(key: keys.PrivateKey) -> None:
    signature = keys.sign(key, "hold", {"a": 1})
    keys.check(key.public_key(), "hold", {"a": 1}, signature, who="alpha")
    with pytest.raises(IntegrityError, match="the approval signature of alpha does not verify"):
        keys.check(key.public_key(), "approval", {"a": 1}, signature, who="alpha")
    with pytest.raises(IntegrityError, match="the hold signature of alpha does not verify"):
        keys.check(key.public_key(), "hold", {"a": 2}, signature, who="alpha")
    with pytest.raises(IntegrityError, match="the hold signature of alpha does not verify"):
        keys.check(key.public_key(), "hold", {"a": 1}, keys.base64_text(bytes(64)), who="alpha")
