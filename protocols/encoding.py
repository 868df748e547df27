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
_WRITER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), check_circular=False)


def canonical(value: Any) -> bytes:
    """The one encoding of `value`. Raises IntegrityError for floats, large integers and foreign types.

    Why not always by rfc8785, which is three times slower: where the names in maps are ASCII, as ours are, sorting them
    by code point and by UTF-16 unit is the same, and JSON as Python writes it without white space is canonical.
    """
    try:
        if _has_plain_names(value):
            return _WRITER.encode(value).encode("utf-8")
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


def _has_plain_names(value: Any) -> bool:
    """Whether all names in maps are ASCII. Raises IntegrityError for what is not allowed in a value.

    All that is hashed or signed is walked here, so what there is most of comes first: texts, maps and lists of exactly
    these types.
    """
    stack: list[Any] = [(value,)]
    plain = True
    while stack:
        holder = stack.pop()
        if type(holder) is dict:
            try:
                plain = plain and "".join(holder).isascii()
            except TypeError:
                raise IntegrityError("value has no canonical form: a name in a map that is no text") from None
            holder = holder.values()
        for item in holder:
            kind = type(item)
            if kind is str:
                continue
            if kind is dict or kind is list:
                stack.append(item)
            elif isinstance(item, int):
                if not -MAX_INT <= item <= MAX_INT:
                    raise IntegrityError(f"value has no canonical form: {item} is outside ±(2^53 − 1)")
            elif isinstance(item, dict):
                stack.append(dict(item))
            elif isinstance(item, list | tuple):
                stack.append([*item])
            elif isinstance(item, float):
                raise IntegrityError("a float has no place in what is hashed or signed")
            elif item is not None and not isinstance(item, str):
                raise IntegrityError(f"value has no canonical form: a {kind.__name__}")
    return plain
