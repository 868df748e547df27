"""Bytes that are almost a document: golden ones with one to three things changed, where a reader looks.

bytes    a bit, a byte, a piece left out, doubled, moved or taken from another document
text     the same of lines and of words
JSON     the same of the tree's values, most of them written canonically again, so that more than the first check
         of a reader is reached
archive  the same of headers, with the checksum made right again
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

BLOCK = 512
Draw = Callable[[Any], Any]
PLACE = st.integers(0, 1 << 20)
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 64, 65, 2**31, 2**53 - 1, 2**53, -(2**53), 2**63, 2**64, 10**40, 0.5, 1e400),
    *(
        "",
        "0",
        "1",
        "-1",
        "a",
        "A",
        "alpha",
        "é",
        "\u2028",
        "\ud800",
        "\x00",
        "/",
        "~",
        "/~2",
        "0.5",
        "1e3",
        "2017-02-30",
    ),
    *("AA==", "AB==", "AAAA", "person", "lifetime", "x" * 41, "0" * 32, "0" * 64),
    *([], {}, [[]], [{}], {"": 0}, {"alpha": 1}, ["alpha"], ["alpha", "alpha"], ["beta", "alpha"]),
]
FIELDS = st.sampled_from(["more", "", "é", "Alpha", "delta", "person", "type"])
BYTES = st.sampled_from([b"\x00", b"\xff", b"\n", b"\r", b" ", b"-", b"9"])
LETTERS = st.sampled_from(["", "0", "1", "A", "a", "=", ".", "-", "é", "00"])


def near(draw: Draw, seeds: Sequence[bytes]) -> bytes:
    """One of the documents, changed."""
    data = seeds[draw(PLACE) % len(seeds)]
    for _ in range(draw(st.sampled_from([1, 1, 2, 3]))):
        data = _changed(draw, data, seeds)
    return data


def _changed(draw: Draw, data: bytes, seeds: Sequence[bytes]) -> bytes:
    if data[:1] in (b"{", b"[") and draw(st.sampled_from([True, True, True, False])):
        return _json(draw, data)
    if len(data) > BLOCK and data[257:262] == b"ustar" and draw(st.booleans()):
        return _archive(draw, data)
    if b"\n" in data[:2000] and draw(st.booleans()):
        return _pieces(draw, data, b"\n", seeds)
    if draw(st.sampled_from([False, False, True])):
        return _pieces(draw, data, draw(st.sampled_from([b" ", b"+", b'"', b",", b"="])), seeds)
    return _bytes(draw, data, seeds)


def _bytes(draw: Draw, data: bytes, seeds: Sequence[bytes]) -> bytes:
    at = draw(PLACE) % (len(data) + 1)
    length = draw(st.sampled_from([1, 1, 2, 4, 32, 512]))
    match draw(st.integers(0, 7)):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + draw(st.binary(max_size=8)) + data[at:]
        case 2:
            return data[:at] + data[at + length :]
        case 3:
            return data[:at] + data[at : at + length] * 2 + data[at + length :]
        case 4:
            other = seeds[draw(PLACE) % len(seeds)]
            begin = draw(PLACE) % (len(other) + 1)
            return data[:at] + other[begin : begin + length] + data[at + length :]
        case 5:
            return data + draw(st.binary(max_size=8))
        case 6:
            return data[:at] + draw(BYTES) + data[at + 1 :]
    if not data:
        return data
    at %= len(data)
    return data[:at] + bytes([data[at] ^ 1 << draw(st.integers(0, 7))]) + data[at + 1 :]


def _pieces(draw: Draw, data: bytes, between: bytes, seeds: Sequence[bytes]) -> bytes:
    parts = data.split(between)
    at, to = draw(PLACE) % len(parts), draw(PLACE) % len(parts)
    match draw(st.integers(0, 5)):
        case 0:
            del parts[at]
        case 1:
            parts.insert(to, parts[at])
        case 2:
            parts[at], parts[to] = parts[to], parts[at]
        case 3:
            others = seeds[draw(PLACE) % len(seeds)].split(between)
            parts[at] = others[draw(PLACE) % len(others)]
        case 4:
            parts[at] = _bytes(draw, parts[at], seeds)
        case 5:
            parts[at] = b""
    return between.join(parts)


def _archive(draw: Draw, data: bytes) -> bytes:
    """A header with a byte changed, or a member left out, doubled or moved; the checksums are right."""
    heads, at = list[int](), 0
    while at + BLOCK <= len(data) and data[at : at + 1] != b"\x00":
        heads.append(at)
        digits = data[at + 124 : at + 135]  # a change before this one may have spoiled them
        size = int(digits, 8) if digits and not digits.strip(b"01234567") else 0
        at += BLOCK + -(-size // BLOCK) * BLOCK
    members, end = [data[a:b] for a, b in zip(heads, [*heads[1:], at][: len(heads)], strict=True)], data[at:]
    if not members:
        return data
    which, to = draw(PLACE) % len(members), draw(PLACE) % len(members)
    match draw(st.integers(0, 4)):
        case 0:
            del members[which]
        case 1:
            members.insert(to, members[which])
        case 2:
            members[which], members[to] = members[to], members[which]
        case 3:
            head, body = members[which][:BLOCK], members[which][BLOCK:]
            members[which] = head + _bytes(draw, body, [body])
        case _:
            head, body = bytearray(members[which][:BLOCK]), members[which][BLOCK:]
            head[draw(PLACE) % BLOCK] = draw(st.sampled_from([0, 32, 48, 49, 55, 56, 120, 255]))
            head[148:156] = b" " * 8
            head[148:156] = b"%06o\x00 " % sum(head)
            members[which] = bytes(head) + body
    return b"".join(members) + end


def _json(draw: Draw, data: bytes) -> bytes:
    try:
        tree = json.loads(data)
    except ValueError:
        return data
    tree = _branch(draw, tree)
    plain = draw(st.sampled_from([True, True, True, True, False]))
    text = json.dumps(tree, ensure_ascii=not plain, sort_keys=plain, separators=(",", ":") if plain else None)
    return text.encode("utf-8", "surrogatepass")


def _branch(draw: Draw, value: Any) -> Any:
    """The value with one thing below it, or itself, changed."""
    if isinstance(value, dict) and value:
        name = sorted(value)[draw(PLACE) % len(value)]
        match draw(st.integers(0, 9)):
            case 0:
                return {at: one for at, one in value.items() if at != name}
            case 1:
                return {
                    **value,
                    draw(FIELDS): value[name],
                }
            case 2:
                other = sorted(value)[draw(PLACE) % len(value)]
                return {**value, name: value[other], other: value[name]}
            case _:
                return {**value, name: _branch(draw, value[name])}
    if isinstance(value, list) and value:
        at, to = draw(PLACE) % len(value), draw(PLACE) % len(value)
        match draw(st.integers(0, 5)):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return [*value[:to], value[at], *value[to:]]
            case _:
                return [*value[:at], _branch(draw, value[at]), *value[at + 1 :]]
    if isinstance(value, str) and value and draw(st.booleans()):
        at = draw(PLACE) % len(value)
        return value[:at] + draw(LETTERS) + value[at + 1 :]
    if type(value) is int and draw(st.booleans()):
        return value + draw(st.sampled_from([1, -1, -value, 2**53 - 1 - value, 2**53 - value]))
    return VALUES[draw(PLACE) % len(VALUES)]
