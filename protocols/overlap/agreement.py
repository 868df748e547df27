"""What the parties of an overlap agree on before any list travels: public halves, salts, and who states which lists.

For each pair both have a fresh scalar, a and b, and publish [a]G and [b]G; the domain of the hash to the curve has a
fresh salt of each, so that no value of one pair or round is a value of another. All secrets of a party follow from the
32 random bytes that it keeps for the occasion (`masking.Secrets`), and are forgotten with its round.

Lists go from party to party through the coordinator, which cannot read them: AES-256-GCM, under a key that X25519
(RFC 7748) and HKDF-SHA256 (RFC 5869) make of both sides' `sealing` keys, bound to the occasion and the roster of all
offers. Whoever agrees to a roster agrees to one for an occasion only (`party_node/store.py`), and every statement about
a list names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import Field

from .. import keys
from ..encoding import canonical, digest
from ..errors import IntegrityError
from ..masking import Occasion, Secrets, exchange
from ..schema import Base64, Digest, Frozen, Name, Positive
from . import points

SALT_BYTES = 32
Normaliser = Annotated[str, Field(pattern=r"^[a-zA-Z0-9/._+-]{1,80}$")]


class Offer(Frozen):
    """A party's public halves for one occasion, signed with its long-term key.

    normaliser   how it turned identifiers into keys: parties that did so in two ways would find nobody
    salt         32 bytes: its part of what the keys are hashed with
    sealing      X25519: with it the others encrypt for this party
    halves       other party → [a]G, 32 bytes: the base point, masked with this party's scalar for that pair
    """

    normaliser: Normaliser
    salt: Base64
    sealing: Base64
    halves: dict[Name, Base64]
    signature: Base64


class Head(Frozen):
    """What `party` says about the lists of one pair that it hands out, before a byte of them travels.

    kind     `list`: its own, 32 bytes an entry, for `peer` alone. `final`: those of `peer`, masked by both, 8 bytes an
             entry, for the coordinator
    sizes    entries of each list, in the order of the lists of the party that they are of
    sha256   of all their bytes, before encryption
    roster   digest of the offers that they were made with
    """

    kind: Literal["list", "final"]
    party: Name
    peer: Name
    sizes: Annotated[list[Positive], Field(min_length=1, max_length=4096)]
    sha256: Digest
    roster: Digest
    signature: Base64


Roster = Mapping[str, Offer]


class Halves:
    """The secrets of one party for one occasion."""

    def __init__(self, own: Secrets) -> None:
        self._own = own

    @property
    def sealing(self) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(self._own.derive("overlap-sealing"))

    def scalar(self, peer: str) -> bytes:
        """The 32 bytes that X25519 masks with in the pair with this peer."""
        return self._own.derive(f"overlap-scalar/{peer}")

    def derive(self, what: str) -> bytes:
        """32 bytes for one other purpose: shuffles, dummies, canaries, places that nobody fills."""
        return self._own.derive(f"overlap-{what}")

    def offer(self, signing: Ed25519PrivateKey, party: str, peers: Sequence[str], normaliser: str) -> Offer:
        stated = {
            "normaliser": normaliser,
            "salt": keys.base64_text(self._own.derive("overlap-salt", SALT_BYTES)),
            "sealing": keys.base64_text(self.sealing.public_key().public_bytes_raw()),
            "halves": {peer: keys.base64_text(points.masked_base(self.scalar(peer))) for peer in peers},
        }
        body = {**stated, "party": party, "occasion": self._own.occasion.body()}
        return Offer.model_validate({**stated, "signature": keys.sign(signing, "overlap-offer", body)})


def check_roster(
    roster: Roster, identities: Mapping[str, Ed25519PublicKey], occasion: Occasion, normaliser: str,
    peers: Callable[[str], Sequence[str]],
) -> None:  # fmt: skip
    """Raise IntegrityError unless exactly these parties offer, each for all its peers and truly signed, each half a
    point of the curve and no two alike, and all turn identifiers into keys in the same way: the plan's."""
    if set(roster) != set(identities):
        raise IntegrityError("the offers are not of exactly the parties of the overlap")
    public = [text for offer in roster.values() for text in (offer.sealing, offer.salt, *offer.halves.values())]
    if len(set(public)) != len(public):
        raise IntegrityError("the same key or salt is offered twice")
    for party, offer in roster.items():
        if offer.normaliser != normaliser:
            raise IntegrityError(f"{party} turns identifiers into keys as {offer.normaliser}, the plan as {normaliser}")
        if set(offer.halves) != set(peers(party)) or len(keys.unbase64(offer.salt)) != SALT_BYTES:
            raise IntegrityError(f"the offer of {party} is not for exactly its peers")
        stated = {name: value for name, value in offer.body().items() if name != "signature"}
        body = {**stated, "party": party, "occasion": occasion.body()}
        keys.check(identities[party], "overlap-offer", body, offer.signature, who=party)
        try:
            for half in offer.halves.values():
                points.check(keys.unbase64(half))
        except IntegrityError:
            raise IntegrityError(f"{party} offers a half that is no point of the curve") from None
        exchange(X25519PrivateKey.from_private_bytes(bytes(32)), offer.sealing, party)


def roster_digest(roster: Roster) -> str:
    """SHA-256, in hex, of the canonical form of all offers."""
    return digest(canonical({party: offer.body() for party, offer in roster.items()}))


def domain(roster: Roster, occasion: Occasion, one: str, other: str) -> bytes:
    """What keys are hashed to the curve with, between two parties: no other pair, round or normaliser has the same."""
    pair = sorted((one, other))
    salts = [roster[party].salt for party in pair]
    used = {"use": "sumroom/overlap-hash/v1", "pair": pair, "salts": salts, "normaliser": roster[one].normaliser}
    return canonical({**used, "occasion": occasion.body()})


class Box:
    """Encrypts the lists of `sender` for `receiver`, or decrypts them, chunk by chunk. One of the two secrets does."""

    def __init__(self, own: Halves, me: str, roster: Roster, occasion: Occasion, sender: str, receiver: str) -> None:
        peer = receiver if me == sender else sender
        secret = exchange(own.sealing, roster[peer].sealing, peer)
        info = canonical({"use": "sumroom/overlap-box/v1", "from": sender, "to": receiver, "occasion": occasion.body()})
        self._cipher = AESGCM(HKDF(hashes.SHA256(), 32, bytes.fromhex(roster_digest(roster)), info).derive(secret))
        self._sender = sender

    def seal(self, index: int, chunk: bytes) -> bytes:
        """Why a counter is a safe nonce: the key is of this list alone, and the list is made once and never changes."""
        return self._cipher.encrypt(index.to_bytes(12, "little"), chunk, None)

    def open(self, index: int, sealed: bytes) -> bytes:
        """Raises IntegrityError."""
        try:
            return self._cipher.decrypt(index.to_bytes(12, "little"), sealed, None)
        except InvalidTag:
            raise IntegrityError(f"a part of the lists of {self._sender} is not what it sent") from None


def state_lists(
    signing: Ed25519PrivateKey, kind: Literal["list", "final"], party: str, peer: str, sizes: Sequence[int],
    sha256: str, roster: str, occasion: Occasion,
) -> Head:  # fmt: skip
    """What `party` signs about lists."""
    stated = {"kind": kind, "party": party, "peer": peer, "sizes": list(sizes), "sha256": sha256, "roster": roster}
    signature = keys.sign(signing, "overlap-lists", {**stated, "occasion": occasion.body()})
    return Head.model_validate({**stated, "signature": signature})


def check_lists(head: Head, public: Ed25519PublicKey, occasion: Occasion, *, kind: str, party: str, peer: str,
                sizes: Sequence[int], roster: str) -> None:  # fmt: skip
    """Raise IntegrityError unless `party` signed this, about such lists of these sizes, made with this roster."""
    if (head.kind, head.party, head.peer, head.roster) != (kind, party, peer, roster):
        raise IntegrityError(f"{party} speaks of other lists than were asked for")
    if head.sizes != list(sizes):
        raise IntegrityError(f"the lists of {party} have other sizes than the plan gives them")
    stated = {name: value for name, value in head.body().items() if name != "signature"}
    keys.check(public, "overlap-lists", {**stated, "occasion": occasion.body()}, head.signature, who=party)
