"""A signature is for one purpose, a public key and a base64 text have one spelling, a private key has its one kind."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from protocols import keys
from protocols.errors import IntegrityError, UsageError

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PEM, PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8


def test_a_private_key_is_read_back_from_its_file() -> None:
    again = keys.load_private_key(keys.private_pem(KEY), where="signing.pem")
    assert again.private_bytes_raw() == KEY.private_bytes_raw()


def locked() -> bytes:
    return KEY.private_bytes(PEM, PKCS8, serialization.BestAvailableEncryption(b"word"))


@pytest.mark.parametrize("pem", [b"", b"-----BEGIN PRIVATE KEY-----", keys.private_pem(KEY)[:-40], locked()])
def test_what_is_no_open_private_key_is_refused_by_the_name_of_its_file_and_without_its_content(pem: bytes) -> None:
    with pytest.raises(UsageError) as caught:
        keys.load_private_key(pem, where="signing.pem")
    assert caught.value.message == "signing.pem is not an unencrypted PEM private key"
    assert caught.value.__suppress_context__


def test_a_private_key_of_another_kind_is_refused() -> None:
    pem = X25519PrivateKey.from_private_bytes(bytes(32)).private_bytes(PEM, PKCS8, serialization.NoEncryption())
    with pytest.raises(UsageError, match="signing.pem holds another kind of key; signing keys are Ed25519"):
        keys.load_private_key(pem, where="signing.pem")


def test_a_public_key_is_read_back_from_its_text() -> None:
    assert keys.public_key(keys.public_text(KEY)).public_bytes_raw() == KEY.public_key().public_bytes_raw()
    assert keys.public_text(KEY.public_key()) == keys.public_text(KEY)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_public_key_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(IntegrityError, match=f"an Ed25519 public key has 32 bytes, not {size}"):
        keys.public_key(keys.base64_text(bytes(size)))


@pytest.mark.parametrize(("text", "why"), [("AA", "not base64"), ("A*==", "not base64"), ("AB==", "stray bits")])
def test_bytes_have_one_text(text: str, why: str) -> None:
    with pytest.raises(IntegrityError, match=why):
        keys.unbase64(text)


def test_a_signature_for_one_purpose_or_body_is_none_for_another() -> None:
    signature = keys.sign(KEY, "hold", {"a": 1})
    keys.check(KEY.public_key(), "hold", {"a": 1}, signature, who="alpha")
    with pytest.raises(IntegrityError, match="the approval signature of alpha does not verify"):
        keys.check(KEY.public_key(), "approval", {"a": 1}, signature, who="alpha")
    with pytest.raises(IntegrityError, match="the hold signature of alpha does not verify"):
        keys.check(KEY.public_key(), "hold", {"a": 2}, signature, who="alpha")
