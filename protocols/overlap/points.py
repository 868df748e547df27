"""People as points: a key becomes a point of Curve25519, and whoever masks it with a scalar hides it.

    point of a key = u of the first SHA-256(|domain| ‖ domain ‖ counter ‖ |key| ‖ key) on the curve, counter = 0, 1, …
    masked by a    = X25519(a, u);  masked by a and b = X25519(b, X25519(a, u)) = X25519(a, X25519(b, u))

A point is 32 bytes, the u-coordinate, little-endian (RFC 7748, section 5); a list of points is those bytes one after
the other. |·| and the counter are 4 bytes, big-endian; the top bit of the hash is cleared.

*Why on the curve.* Every u below p belongs to the curve v² = u³ + Au² + u or to its twist, about half of all to each.
X25519 takes both and never leads from one to the other (RFC 7748, section 7; Bernstein 2006, "Curve25519: new
Diffie-Hellman speed records", section 3). So with raw hashes one bit of each person would survive every mask.

*Why a mask makes one value of several.* The curve has 8 · q points, q prime, and X25519 makes of every scalar a
multiple of 8 (RFC 7748, section 5). So a mask takes from a point what part of it is of small order, and its result is
in the group of order q. The eight points P + T, T of small order, have eight coordinates, one of them 1/u for
T = (0, 0), and one masked value; so has u + 2^255, as X25519 ignores the top bit. `check` refuses what is not
canonical, but cannot tell P from P + T for less than the price of a mask. **So whoever masks a list looks for equal
values in the result, and refuses them there: after the mask, never before.**

What is refused as of small order: u = 0 (order 2), u = 1 (order 4) and the coordinates of the points of order 8. They
are on the curve; p − 1 (order 4) is on the twist. The other values that are known to be dangerous are those, plus p or
2p, and not canonical. Source: https://cr.yp.to/ecdh.html#validate; RFC 7748, section 6.1, on a result of zero. The
tests compute the list anew.

In constant time are the masks alone, which OpenSSL computes: keys are hashed, and points checked, by who knows them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from gmpy2 import jacobi, mpz

from ..errors import IntegrityError

SIZE = 32  # bytes of a point, and of a scalar
P = mpz(2**255 - 19)
A = mpz(486662)
SMALL_ORDER = frozenset(
    {
        mpz(0),
        mpz(1),
        mpz(325606250916557431795983626356110631294008115727848805560023387167927233504),
        mpz(39382357235489614581723060781553021112529911719440698176882885853963445705823),
    }
)
_BELOW_TOP = mpz(2**255 - 1)


class Engine(Protocol):
    """Who computes with many points: `Plain` in this process, or the processes of a node (`party_node/engine.py`).

    Points and scalars go in as bytes, or as what has a buffer of bytes, such as (n, 32) uint8, and come out as bytes.
    """

    def points(self, domain: bytes, keys: Sequence[bytes]) -> bytes:
        """The point of every key, in the order of the keys, 32 bytes each.

        domain   canonical bytes that say what the keys are and for which occasion; each occasion's has a fresh salt
        """
        ...

    def mask(self, scalar: bytes, points: bytes) -> bytes:
        """X25519 of the one scalar, 32 bytes, and of every point, in their order.

        Raises IntegrityError for a wrong length and for a point of small order. Points of others are to be `check`ed
        before, and equal values in the result refused after.
        """
        ...

    def check(self, points: bytes) -> None:
        """Raise IntegrityError unless all are points: 32 bytes each, canonical (u < p), on the curve, not of small
        order."""
        ...

    def base(self, scalars: bytes) -> bytes:
        """[r]G for each scalar r, 32 bytes each, in their order; G has u = 9. IntegrityError for a wrong length."""
        ...


class Plain:
    """In this process, on one core."""

    def points(self, domain: bytes, keys: Sequence[bytes]) -> bytes:
        start = hashlib.sha256(_sized(domain))
        return b"".join([_point(start, key) for key in keys])

    def mask(self, scalar: bytes, points: bytes) -> bytes:
        return mask(scalar, points)

    def check(self, points: bytes) -> None:
        check(points)

    def base(self, scalars: bytes) -> bytes:
        load = X25519PrivateKey.from_private_bytes
        return b"".join([load(scalar).public_key().public_bytes_raw() for scalar in split(scalars)])


def on_curve(u: int) -> bool:
    """Whether u, 0 < u < p, is the coordinate of points of the curve and not of its twist. (0 is of both: False.)"""
    return bool(jacobi(u * (u * (u + A) + 1), P) == 1)


def mask(scalar: bytes, points: bytes, first: int = 0) -> bytes:
    """`Engine.mask`. `first`: how many points stand before these in the list they are of; errors count from there."""
    listed = split(points)
    if len(scalar) != SIZE:
        raise IntegrityError(f"a scalar has {len(scalar)} bytes, not {SIZE}")
    exchange, load = X25519PrivateKey.from_private_bytes(scalar).exchange, X25519PublicKey.from_public_bytes
    masked = list[bytes]()
    try:
        for point in listed:
            masked.append(exchange(load(point)))
    except ValueError:  # the result would be zero, whatever the scalar: OpenSSL refuses it
        raise IntegrityError(f"point {first + len(masked) + 1} of a list is of small order") from None
    return b"".join(masked)


def masked_base(scalar: bytes) -> bytes:
    """[a]G, 32 bytes: what a party publishes of a scalar."""
    return X25519PrivateKey.from_private_bytes(scalar).public_key().public_bytes_raw()


def powers(point: bytes, scalars: bytes) -> bytes:
    """X25519 of each scalar and the one point, 32 bytes each, in the order of the scalars. Raises IntegrityError."""
    return b"".join([mask(scalar, point) for scalar in split(scalars)])


def check(points: bytes, first: int = 0) -> None:
    """`Engine.check`. `first`: how many points stand before these in the list they are of; errors count from there."""
    for number, point in enumerate(split(points), first + 1):
        u = mpz.from_bytes(point, "little")
        if u >= P:
            raise IntegrityError(f"point {number} of a list is not canonical: u is p or more, or the top bit is set")
        if u in SMALL_ORDER:
            raise IntegrityError(f"point {number} of a list is of small order")
        if not on_curve(u):
            raise IntegrityError(f"point {number} of a list is not on the curve")


def split(points: bytes) -> Iterator[bytes]:
    """The points, or the scalars, of a list one by one. Raises IntegrityError for a list that ends within one."""
    data = whole(points)
    return (data[at : at + SIZE] for at in range(0, len(data), SIZE))


def whole(points: bytes) -> bytes:
    """The bytes of a list. Raises IntegrityError where they are not so many whole points, or scalars."""
    data = points if isinstance(points, bytes) else memoryview(points).tobytes()
    if len(data) % SIZE:
        raise IntegrityError(f"a list of points has {len(data)} bytes, which is not a multiple of {SIZE}")
    return data


def _point(start: hashlib._Hash, key: bytes) -> bytes:
    # One hash in 2^250 is on the curve and yet of small order, or p or more: nobody will see one.
    rest = _sized(key)
    counter = 0
    while True:
        hashed = start.copy()
        hashed.update(counter.to_bytes(4, "big") + rest)
        u = mpz.from_bytes(hashed.digest(), "little") & _BELOW_TOP
        if on_curve(u):
            return bytes(u.to_bytes(SIZE, "little"))
        counter += 1


def _sized(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big") + value
