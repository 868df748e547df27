"""Certificates: names come from the operator, and both of a party's keys must have signed."""

from __future__ import annotations

import base64
import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import AttributeOID

from protocols.carrier import pki
from protocols.errors import IntegrityError, Refused, SumroomError, UsageError

SIGNING = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
URN = "urn:sumroom:ed25519:" + SIGNING.public_key().public_bytes_raw().hex()


@pytest.fixture(scope="module")
def ca() -> pki.RoomCA:
    return pki.RoomCA.create("room-1")


def names(cert_pem: bytes) -> list[str]:
    cert = x509.load_pem_x509_certificate(cert_pem)
    found = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return found.get_values_for_type(x509.UniformResourceIdentifier)


def hand_made(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, proof: bytes | None, uris: list[str]) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    builder = builder.add_extension(
        x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris]), False
    )
    if proof is not None:
        builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, base64.b64encode(proof))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_the_name_is_the_operators_and_the_signing_key_the_requests(ca: pki.RoomCA) -> None:
    cert = ca.party(pki.request("room-1", "evil", pki.new_tls_key(), SIGNING), "acme")
    assert names(cert) == ["spiffe://room-1/party/acme", URN]
    who = pki.peer(cert, "room-1")
    assert (who.party, who.signing) == ("acme", SIGNING.public_key().public_bytes_raw())
    assert dt.timedelta(days=29) < who.not_after - dt.datetime.now(dt.UTC) <= dt.timedelta(days=30)


def test_an_authority_is_the_same_after_its_files_were_read(ca: pki.RoomCA) -> None:
    again = pki.RoomCA.load(ca.key_pem, ca.cert_pem)
    assert (again.room, again.cert_pem, again.key_pem) == ("room-1", ca.cert_pem, ca.key_pem)
    leaf = x509.load_pem_x509_certificate(again.party(pki.request("room-1", "a", pki.new_tls_key(), SIGNING), "a"))
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(ca.cert_pem))


def test_files_that_are_not_an_authoritys_are_refused(ca: pki.RoomCA) -> None:
    server_key, server_cert = ca.server(["localhost"])
    signing = SIGNING.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for key, cert in (
        (server_key, server_cert),
        (server_key, ca.cert_pem),
        (b"junk", ca.cert_pem),
        (ca.key_pem, b"junk"),
        (signing, ca.cert_pem),
    ):
        with pytest.raises(UsageError):
            pki.RoomCA.load(key, cert)


def test_no_leaf_outlives_its_authority() -> None:
    short = pki.RoomCA.create("room-1", days=2)
    cert = short.party(pki.request("room-1", "a", pki.new_tls_key(), SIGNING), "a", days=30)
    assert pki.peer(cert, "room-1").not_after - dt.datetime.now(dt.UTC) < dt.timedelta(days=2, seconds=5)


def test_a_server_certificate_names_hosts_and_is_no_partys(ca: pki.RoomCA) -> None:
    cert = ca.server(["room.example", "127.0.0.1"])[1]
    found = x509.load_pem_x509_certificate(cert).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert found.get_values_for_type(x509.DNSName) == ["room.example"]
    assert [str(ip) for ip in found.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    with pytest.raises(Refused, match="not a party's"):
        pki.peer(cert, "room-1")


def test_a_partys_certificate_of_another_room_is_refused(ca: pki.RoomCA) -> None:
    cert = ca.party(pki.request("room-1", "a", pki.new_tls_key(), SIGNING), "a")
    with pytest.raises(Refused, match="of this room"):
        pki.peer(cert, "room-2")


def test_a_request_without_proof_of_its_signing_key_is_refused(ca: pki.RoomCA) -> None:
    """Somebody else's signing key, another room's proof, no proof, two keys, none: all refused."""
    key = ec.generate_private_key(ec.SECP256R1())
    der = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    good = SIGNING.sign(b"sumroom/request/v1\0room-1\0" + der)
    party = "spiffe://room-1/party/a"
    ca.party(hand_made(key, good, [party, URN]), "a")
    for proof, uris in (
        (Ed25519PrivateKey.generate().sign(b"sumroom/request/v1\0room-1\0" + der), [party, URN]),
        (SIGNING.sign(b"sumroom/request/v1\0room-2\0" + der), [party, URN]),
        (None, [party, URN]),
        (good, [party, URN, URN.replace("0", "1")]),
        (good, [party]),
        (good, [party, "urn:sumroom:ed25519:zz"]),
    ):
        with pytest.raises(IntegrityError):
            ca.party(hand_made(key, proof, uris), "a")


def test_a_request_that_was_altered_or_is_for_another_kind_of_key_is_refused(ca: pki.RoomCA) -> None:
    request = pki.request("room-1", "a", pki.new_tls_key(), SIGNING)
    der = bytearray(x509.load_pem_x509_csr(request).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    altered = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM)
    key = rsa.generate_private_key(65537, 2048)
    spki = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    other = hand_made(key, SIGNING.sign(b"sumroom/request/v1\0room-1\0" + spki), [URN])
    for bad in (altered, other, b"junk"):
        with pytest.raises(IntegrityError):
            ca.party(bad, "a")


@pytest.mark.parametrize("name", ["", "A", "a/b", "a" * 41, "a b", "coordinator", "1a", "a\n"])
def test_a_name_that_cannot_be_a_partys_is_refused(ca: pki.RoomCA, name: str) -> None:
    with pytest.raises(SumroomError, match=r"cannot be"):
        ca.party(pki.request("room-1", "a", pki.new_tls_key(), SIGNING), name)
