"""How a released number is written: a decimal with its 95 % interval, or `too noisy`. Never a bare number.

A figure is a map `{"value", "low", "high"}` of decimal strings, optionally with `consistent`, the same number in the
view where nothing is negative and margins agree; or `{"value": "too noisy"}`. An answer is a tree of maps whose leaves
are figures, so that every published number has a path (RFC 6901) which the ledger names.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from .accuracy import Interval
from .errors import IntegrityError

TOO_NOISY = "too noisy"
Figure = dict[str, str]


def too_noisy() -> Figure:
    return {"value": TOO_NOISY}


def figure(value: float, interval: Interval, digits: int) -> Figure:
    """A figure with so many decimals; the ends of its interval are rounded outward (from 10⁻⁹ of the last digit on)."""
    return {
        "value": _text(round(value * 10**digits), digits),
        "low": _text(math.floor(interval.low * 10**digits + 1e-9), digits),
        "high": _text(math.ceil(interval.high * 10**digits - 1e-9), digits),
    }


def count(noised: int, half_width: int, scale: int, consistent: float | None = None) -> Figure:
    """A number of people from a noised slot of `scale` units a person, ± a half-width in the same units."""
    if scale not in (1, 2):
        raise IntegrityError(f"a count has one unit or two a person, not {scale}")
    digits, tenths = (0, 1) if scale == 1 else (1, 5)  # exact: a half is five tenths
    ends = {"value": noised, "low": noised - half_width, "high": noised + half_width}
    shown = {name: _text(units * tenths, digits) for name, units in ends.items()}
    return shown if consistent is None else {**shown, "consistent": _text(round(consistent * 10), 1)}


def pointers(answer: Any, at: str = "") -> Iterator[str]:
    """The JSON pointer of every figure in an answer, in order. Raises IntegrityError where a leaf is no figure."""
    if not isinstance(answer, Mapping) or not answer:
        raise IntegrityError(f"{at or 'the answer'} is not a figure and not a map of figures")
    if "value" in answer:
        _check_figure(answer, at)
        yield at
        return
    for name, inner in answer.items():
        escaped = name.replace("~", "~0").replace("/", "~1")
        yield from pointers(inner, f"{at}/{escaped}")


def at(answer: Any, pointer: str) -> Any:
    """What is at this pointer of an answer. Raises LookupError or TypeError where nothing is."""
    for part in pointer.split("/")[1:]:
        answer = answer[part.replace("~1", "/").replace("~0", "~")]
    return answer


def _check_figure(leaf: Mapping[str, Any], at: str) -> None:
    noisy = leaf["value"] == TOO_NOISY
    allowed = {"value"} if noisy else {"value", "low", "high", "consistent"}
    needed = {"value"} if noisy else {"value", "low", "high"}
    if not (needed <= set(leaf) <= allowed and all(isinstance(part, str) for part in leaf.values())):
        raise IntegrityError(f"{at} is a number without its interval")


def _text(scaled: int, digits: int) -> str:
    if digits == 0:
        return str(scaled)
    sign, scaled = ("-" if scaled < 0 else ""), abs(scaled)
    whole, rest = divmod(scaled, 10**digits)
    return f"{sign}{whole}.{rest:0{digits}d}"
