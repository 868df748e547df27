"""Numbers as the page about questions has them (5 to 7), with nothing of the product."""

from __future__ import annotations

import math

Z = 1.959963984540054
NOISY = {"value": "too noisy"}


def half_width(variance: float) -> int:
    """h(s²)."""
    if variance > 10**6:
        return math.ceil(normal(0.05) * math.sqrt(variance))
    tail = [math.exp(-k * k / (2 * variance)) for k in range(math.ceil(14 * math.sqrt(variance)))]
    whole = tail[0] + 2 * sum(tail[1:])
    return next(h for h in range(len(tail)) if 2 * sum(tail[h + 1 :]) <= 0.05 * whole)


def normal(alpha: float) -> float:
    """z(α), by Newton's steps on the tail."""
    z = 1.0
    for _ in range(60):
        z += (math.erfc(z / math.sqrt(2)) - alpha) / (math.sqrt(2 / math.pi) * math.exp(-z * z / 2))
    return z


def ratio(a: float, b: float, v: float, w: float, c: float, z: float = Z) -> tuple[float, float] | None:
    """F(a, b, v, w, c; z)."""
    big, middle, small = b * b - z * z * w, a * b - z * z * c, a * a - z * z * v
    if big <= 0:
        return None
    root = math.sqrt(max(0.0, middle * middle - big * small))
    return (middle - root) / big, (middle + root) / big


def decimal(scaled: int, digits: int) -> str:
    sign, text = "-" * (scaled < 0), str(abs(scaled)).rjust(digits + 1, "0")
    return sign + (f"{text[:-digits]}.{text[-digits:]}" if digits else text)


def figure(value: float, low: float, high: float, digits: int) -> dict[str, str]:
    ten = 10**digits
    ends = round(value * ten), math.floor(low * ten + 1e-9), math.ceil(high * ten - 1e-9)
    return dict(zip(("value", "low", "high"), (decimal(end, digits) for end in ends), strict=True))
