"""Curve25519 once more, in affine coordinates and plain integers: slow, and by other formulas than the product's.

v² = u³ + A u² + u (mod p), a point is (u, v) or None for the neutral one. RFC 7748, section 4.1.
"""

from __future__ import annotations

from collections.abc import Iterator

P = 2**255 - 19
A = 486662
Q = 2**252 + 27742317777372353535851937790883648493  # the order of the group that G generates
Point = tuple[int, int] | None


def as_bytes(u: int) -> bytes:
    return u.to_bytes(32, "little")


def number(point: bytes) -> int:
    return int.from_bytes(point, "little")


def add(one: Point, other: Point) -> Point:
    if one is None or other is None:
        return one or other
    (u, v), (x, y) = one, other
    if u == x and (v + y) % P == 0:
        return None
    slope = (3 * u * u + 2 * A * u + 1) * pow(2 * v, -1, P) if one == other else (y - v) * pow(x - u, -1, P)
    w = (slope * slope - A - u - x) % P
    return w, (slope * (u - w) - v) % P


def times(scalar: int, point: Point) -> Point:
    result: Point = None
    for bit in bin(scalar)[2:]:
        result = add(result, result)
        if bit == "1":
            result = add(result, point)
    return result


def lift(u: int) -> Point:
    """A point with this u. Raises ValueError where the curve has none."""
    square = (u * u * u + A * u * u + u) % P
    root = pow(square, (P + 3) // 8, P)
    for v in (root, root * pow(2, (P - 1) // 4, P) % P):
        if v * v % P == square:
            return u, v
    raise ValueError("not on the curve")


def points() -> Iterator[Point]:
    """Points of the curve with u = 2, 3, 4 …"""
    for u in range(2, P):
        try:
            yield lift(u)
        except ValueError:
            continue


def of_small_order() -> list[Point]:
    """All eight: the multiples of one of order 8."""
    for point in points():
        generator = times(Q, point)
        if times(4, generator) is not None:
            return [times(k, generator) for k in range(8)]
    raise AssertionError("a cyclic group has a generator")
