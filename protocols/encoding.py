"""A value ↔ exactly one string of bytes: JSON canonicalised by RFC 8785 (JCS), without floats.

Everything that is hashed or signed goes through here. Allowed: strings, integers within ±(2^53 − 1), booleans, null,
lists, and maps with string keys. Real parameters travel as decimal strings or as integers of a named unit.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import rfc8785

from .errors import IntegrityError

MAX_INT = 2**53 - 1


def canonical(value: Any) -> bytes:
    """The one encoding of `value`. Raises IntegrityError for floats, large integers and foreign types."""
    _refuse_floats(value)
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, RecursionError, UnicodeError) as exc:
        raise IntegrityError(f"value has no canonical form: {exc}") from None


def parse(data: bytes, *, what: str = "document") -> Any:
    """The value whose canonical form is exactly `data`.

    Raises IntegrityError when `data` is not JSON or is any other spelling of its value: a duplicate key, white space,
    a float, another escape. Why compare and not only parse: two spellings of one value would have two hashes.
    """
    try:
        value = json.loads(data.decode("utf-8"), parse_float=_no_float, parse_constant=_no_float)
    except (ValueError, RecursionError):
        raise IntegrityError(f"{what} is not canonical JSON") from None
    if canonical(value) != data:
        raise IntegrityError(f"{what} is not in its canonical form (RFC 8785)")
    return value


def digest(data: bytes | memoryview) -> str:
    """SHA-256 as 64 lower-case hex characters."""
    return hashlib.sha256(data).hexdigest()


def _no_float(text: str) -> Any:
    raise ValueError(f"not an integer: {text[:20]}")


def _refuse_floats(value: Any) -> None:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, float):
            raise IntegrityError("a float has no place in what is hashed or signed")
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list | tuple):
            stack.extend(item)
