"""The room's certificate authority. Names come from the operator's approval, never from a request.

A party has two keys: ECDSA P-256 for TLS, and Ed25519 for everything it signs. The certificate is about the first and
names the second in a URI (RFC 5280 section 4.2.1.6), so that a stream and a signature belong to the same party:
`spiffe://<room>/party/<name>` and `urn:sumroom:ed25519:<hex of the public signing key>`.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import ipaddress
import re
from dataclasses import dataclass
from typing import Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import AttributeOID, ExtendedKeyUsageOID, NameOID

from ..errors import IntegrityError, Refused, UsageError
from .seal import COORDINATOR

KEY_URN = "urn:sumroom:ed25519:"
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_PROOF = b"sumroom/request/v1\0"
# Why: clocks of two companies differ by minutes.
_CLOCK_SLACK = dt.timedelta(minutes=5)


@dataclass(frozen=True)
class Peer:
    """Whom a party's certificate names: the party, its signing key (raw, 32 bytes), and until when."""

    party: str
    signing: bytes
    not_after: dt.datetime


class RoomCA:
    """An ECDSA P-256 authority for one room. Its private key stays with the operator, off the online coordinator."""

    def __init__(self, room: str, key: ec.EllipticCurvePrivateKey, cert: x509.Certificate) -> None:
        self.room = room
        self._key = key
        self._cert = cert

    @classmethod
    def create(cls, room: str, days: float = 365) -> Self:
        """A new authority, valid for `days` days."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _common_name(f"sumroom {_name(room, 'room')}")
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = (
            _builder(subject, subject, key.public_key(), days)
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{room}")]), False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
            .add_extension(usage, True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        )
        return cls(room, key, builder.sign(key, hashes.SHA256()))

    @classmethod
    def load(cls, key_pem: bytes, cert_pem: bytes) -> Self:
        """The authority of these two files. Raises UsageError when they are not a room's, or not of each other."""
        key, cert = _tls_key(key_pem), _certificate(cert_pem)
        rooms = [uri.removeprefix("spiffe://") for uri in _uris(cert) if uri.startswith("spiffe://")]
        if len(rooms) != 1 or "/" in rooms[0]:
            raise UsageError("this certificate is not that of a room's authority")
        if cert.public_key() != key.public_key():
            raise UsageError("the authority's key and certificate do not belong together")
        return cls(_name(rooms[0], "room"), key, cert)

    @property
    def key_pem(self) -> bytes:
        """PKCS#8 PEM, unencrypted: for a file that only the operator reads."""
        return _key_pem(self._key)

    @property
    def cert_pem(self) -> bytes:
        """The certificate that every party pins."""
        return self._cert.public_bytes(serialization.Encoding.PEM)

    def server(self, hosts: list[str], days: float = 90) -> tuple[bytes, bytes]:
        """Key and certificate (PEM) for a coordinator reached under `hosts`, names or addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [_host(host) for host in hosts]
        subject = _common_name(COORDINATOR)
        return _key_pem(key), self._leaf(subject, key.public_key(), names, ExtendedKeyUsageOID.SERVER_AUTH, days)

    def party(self, csr_pem: bytes, party: str, days: float = 30) -> bytes:
        """The certificate (PEM) of `party`, the name the operator approved, for the keys of a request.

        Raises IntegrityError when the request is not signed by both of its keys, for this room; UsageError for a name
        that cannot be one.
        """
        if _name(party, "party") == COORDINATOR:
            raise UsageError(f"a party cannot be called {COORDINATOR}")
        csr = _checked_request(csr_pem, self.room)
        names: list[x509.GeneralName] = [
            x509.UniformResourceIdentifier(_party_uri(self.room, party)),
            x509.UniformResourceIdentifier(KEY_URN + _signing_key(csr).hex()),
        ]
        public = csr.public_key()
        if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
            raise IntegrityError("a request must be for an ECDSA P-256 key")
        return self._leaf(_common_name(party), public, names, ExtendedKeyUsageOID.CLIENT_AUTH, days)

    def _leaf(
        self,
        subject: x509.Name,
        public: ec.EllipticCurvePublicKey,
        names: list[x509.GeneralName],
        usage: x509.ObjectIdentifier,
        days: float,
    ) -> bytes:
        builder = (
            _builder(subject, self._cert.subject, public, days, self._cert.not_valid_after_utc)
            .add_extension(x509.SubjectAlternativeName(names), False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
            .add_extension(x509.KeyUsage(True, False, False, False, False, False, False, False, False), True)
            .add_extension(x509.ExtendedKeyUsage([usage]), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False)
        )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def new_tls_key() -> bytes:
    """A new ECDSA P-256 key, PKCS#8 PEM, unencrypted: for a file that only its owner reads."""
    return _key_pem(ec.generate_private_key(ec.SECP256R1()))


def request(room: str, party: str, tls_key_pem: bytes, signing: Ed25519PrivateKey) -> bytes:
    """A certificate request (PEM, RFC 2986) for both keys of a party, signed by both.

    Why twice: the request's own signature proves the TLS key only. The other, over room and TLS key, is its challenge
    attribute; without it a party could have somebody else's signing key bound to its own name.
    """
    key = _tls_key(tls_key_pem)
    uris = [
        _party_uri(_name(room, "room"), _name(party, "party")),
        KEY_URN + signing.public_key().public_bytes_raw().hex(),
    ]
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])
    proof = base64.b64encode(signing.sign(_proved(room, key.public_key())))
    builder = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(_common_name(party))
        .add_extension(names, False)
        .add_attribute(AttributeOID.CHALLENGE_PASSWORD, proof)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def peer(cert_pem: bytes, room: str) -> Peer:
    """Whom a certificate names whose chain TLS has already checked. Raises Refused when it is not a party's, here."""
    cert = _certificate(cert_pem)
    prefix = _party_uri(room, "")
    parties = [uri.removeprefix(prefix) for uri in _uris(cert) if uri.startswith(prefix)]
    try:
        usages = list(cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
        signing = _signing_key(cert)
    except (x509.ExtensionNotFound, IntegrityError):
        raise Refused("this certificate is not a party's") from None
    if len(parties) != 1 or ExtendedKeyUsageOID.CLIENT_AUTH not in usages:
        raise Refused("this certificate is not a party's of this room")
    return Peer(parties[0], signing, cert.not_valid_after_utc)


def _checked_request(csr_pem: bytes, room: str) -> x509.CertificateSigningRequest:
    try:
        csr = x509.load_pem_x509_csr(csr_pem)
        proof = base64.b64decode(
            csr.attributes.get_attribute_for_oid(AttributeOID.CHALLENGE_PASSWORD).value, validate=True
        )
    except (ValueError, binascii.Error, x509.AttributeNotFound):
        raise IntegrityError("this is not a certificate request of sumroom") from None
    if not csr.is_signature_valid:
        raise IntegrityError("the request is not signed by the TLS key it names")
    public = csr.public_key()
    try:
        Ed25519PublicKey.from_public_bytes(_signing_key(csr)).verify(proof, _proved(room, public))
    except (InvalidSignature, ValueError):
        raise IntegrityError("the request is not signed for this room by the signing key it names") from None
    return csr


def _proved(room: str, public: CertificatePublicKeyTypes) -> bytes:
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return _PROOF + room.encode() + b"\0" + der


def _signing_key(holder: x509.Certificate | x509.CertificateSigningRequest) -> bytes:
    found = [uri.removeprefix(KEY_URN) for uri in _uris(holder) if uri.startswith(KEY_URN)]
    if len(found) != 1 or not re.fullmatch(r"[0-9a-f]{64}", found[0]):
        raise IntegrityError("exactly one Ed25519 signing key must be named")
    return bytes.fromhex(found[0])


def _uris(holder: x509.Certificate | x509.CertificateSigningRequest) -> list[str]:
    try:
        names = holder.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    days: float,
    latest: dt.datetime | None = None,
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    end = min(now + dt.timedelta(days=days), latest or dt.datetime.max.replace(tzinfo=dt.UTC))
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, end) - _CLOCK_SLACK)
        .not_valid_after(end)
    )


def _name(text: str, what: str) -> str:
    if not _NAME.fullmatch(text):
        raise UsageError(
            f"{text!r} cannot be the name of a {what}", "a lower-case letter, then up to 39 of a-z, 0-9, _ and -"
        )
    return text


def _party_uri(room: str, party: str) -> str:
    return f"spiffe://{room}/party/{party}"


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)


def _tls_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError):
        raise UsageError("not an unencrypted PEM private key") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise UsageError("another kind of key; TLS keys are ECDSA P-256")
    return key


def _certificate(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise UsageError("not a PEM certificate") from None
