"""The entries of a ledger, one after the other: each exactly what `entries.decode` makes of it, most of them many times
faster. So reads who reads a whole ledger: an auditor, and whoever opens his own.

A long ledger says the same over and over: a commit differs from an earlier one of its step in a digest, a round, its
number and its time, and a reserve from the last in a round, nonces, times and holds. What stands between these *holes*
is the entry's skeleton. Once an entry was decoded in full, another one of the same skeleton is that entry with other
values in the holes, and only these are looked at.

Why that is the same: an entry without a backslash is read the same way by everybody, quote by quote. A hole is a whole
value, of the same kind for the same name (hexadecimal digits of one length, an integer within ±(2^53 − 1), Base64), and
no rule of the two types binds a hole to anything outside it but that nonces differ from each other. Where anything is
not as expected the entry is decoded in full, and the words about it are those of `decode`.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel

from ..encoding import MAX_INT
from ..schema import Frozen
from .entries import MAX_ENTRY_BYTES, Commit, Entry, Reserve, decode

_COMMIT = re.compile(
    rb'\{"digest":"([0-9a-f]{64})",("numbers":\[[^\]]*\],"recipients":\[[^\]]*\]),"round":"([0-9a-f]{32})"'
    rb',"seq":(0|[1-9][0-9]{0,15}),("step":"[^"]*","survivors":\[[^\]]*\]),"time":(0|[1-9][0-9]{0,15})'
    rb',"type":"commit@v1"\}'
)
# A reserve is cut at its nonces; of what stands before the first and after the last, these are the other holes.
_NONCE = b'"nonce":"'
_HEAD = re.compile(
    rb',"expires":(0|[1-9][0-9]{0,15}),"holds":(\{[^{}]*\})(,"plan":"[0-9a-f]{64}"),"round":"([0-9a-f]{32})"'
    rb',"seq":(0|[1-9][0-9]{0,15}),"steps":\['
)
_TAIL = re.compile(rb'\],"time":(0|[1-9][0-9]{0,15}),"type":"reserve@v1"\}')
_HEX = re.compile(rb"[0-9a-f]*")
_HOLD = re.compile(rb'"([a-z][a-z0-9_-]{0,39})":"([A-Za-z0-9+/]{1,4000}={0,2})"')
_RESERVE = b',"type":"reserve@v1"}'
_MOST = 1000  # skeletons that are remembered; a room has one for each step of a plan

_new = object.__new__
# All that an instance of a model is made of, set as pydantic's own `model_copy` sets it.
_values, _fields_set, _extra, _private = (
    vars(BaseModel)[name].__set__
    for name in ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
)
Fact = TypeVar("Fact", bound=Frozen)
Key = TypeVar("Key", bound=Hashable)


class Holes(NamedTuple):
    """What one reserve has and another of the same skeleton has not, in the order of its bytes."""

    expires: int
    holds: bytes
    round: bytes
    seq: int
    nonces: list[bytes]
    time: int


class Decoder:
    """Decodes the entries of one ledger, in any order."""

    def __init__(self) -> None:
        self._commits: dict[tuple[bytes, bytes], Commit] = {}
        self._reserves: dict[tuple[bytes, ...], Reserve] = {}

    def decode(self, data: bytes) -> Entry:
        """The entry whose canonical bytes are `data`. Raises IntegrityError as `entries.decode` does."""
        if len(data) > MAX_ENTRY_BYTES or b"\\" in data:
            return decode(data)
        commit = _COMMIT.fullmatch(data)
        if commit is not None:
            return self._commit(data, commit.groups())
        reserve = _cut(data) if data.endswith(_RESERVE) else None
        return decode(data) if reserve is None else self._reserve(data, *reserve)

    def _commit(self, data: bytes, parts: tuple[bytes, ...]) -> Entry:
        _, before, _, _, after, _ = parts
        model = self._commits.get((before, after))
        again = model and _commit_like(model, parts)
        if again is not None:
            return again
        entry = decode(data)
        if isinstance(entry, Commit) and _commit_like(entry, parts) == entry:
            _remember(self._commits, (before, after), entry)
        return entry

    def _reserve(self, data: bytes, skeleton: tuple[bytes, ...], holes: Holes) -> Entry:
        model = self._reserves.get(skeleton)
        again = model and _reserve_like(model, holes)
        if again is not None:
            return again
        entry = decode(data)
        if isinstance(entry, Reserve) and _reserve_like(entry, holes) == entry:
            _remember(self._reserves, skeleton, entry)
        return entry


def _remember(models: dict[Key, Fact], skeleton: Key, entry: Fact) -> None:
    if len(models) >= _MOST:
        models.clear()
    models[skeleton] = entry


def _commit_like(model: Commit, parts: tuple[bytes, ...]) -> Commit | None:
    """The model with these values; None where one is out of range."""
    digest, _, round_, seq_, _, time_ = parts
    seq, time = int(seq_), int(time_)
    if seq > MAX_INT or time > MAX_INT:
        return None
    return _like(
        model, {**model.__dict__, "digest": digest.decode(), "round": round_.decode(), "seq": seq, "time": time}
    )


def _cut(data: bytes) -> tuple[tuple[bytes, ...], Holes] | None:
    """A reserve's skeleton and what is in its holes; None where it is not one as all are."""
    first, *others = data.split(_NONCE)
    head, tail = _HEAD.search(first), _TAIL.search(others[-1], 32) if others else None
    if head is None or tail is None or tail.end() != len(others[-1]):
        return None
    nonces = [other[:32] for other in others]
    if not _HEX.fullmatch(b"".join(nonces)):
        return None
    expires, holds, plan, round_, seq = head.groups()
    others[-1] = others[-1][: tail.start(1)]
    skeleton = (first[: head.start()], plan, first[head.end() :], *[other[32:] for other in others])
    return skeleton, Holes(int(expires), holds, round_, int(seq), nonces, int(tail[1]))


def _reserve_like(model: Reserve, holes: Holes) -> Reserve | None:
    """The model with these values; None where they are not those of a reserve, in order, or one is out of range."""
    nonces, holds = [nonce.decode() for nonce in holes.nonces], _holds(holes.holds)
    if max(holes.expires, holes.seq, holes.time) > MAX_INT or holds is None:
        return None
    if len(set(nonces)) != len(model.steps):  # one is there twice
        return None
    pairs = zip(model.steps, nonces, strict=True)
    steps = tuple([_like(step, {**step.__dict__, "nonce": nonce}) for step, nonce in pairs])
    return _like(
        model,
        {
            **model.__dict__,
            "expires": holes.expires,
            "holds": holds,
            "round": holes.round.decode(),
            "seq": holes.seq,
            "steps": steps,
            "time": holes.time,
        },
    )


def _holds(text: bytes) -> dict[str, str] | None:
    """Party → signature; None where the text is not the canonical one of such a map."""
    pairs = _HOLD.findall(text)
    if b"{" + b",".join(b'"%b":"%b"' % pair for pair in pairs) + b"}" != text:
        return None
    if any(a >= b for (a, _), (b, _) in pairwise(pairs)):  # another order, or a name twice
        return None
    return {who.decode(): signature.decode() for who, signature in pairs}


def _like(model: Fact, values: dict[str, Any]) -> Fact:
    """What `model.model_copy(update=values)` is, in a fifth of the time. values: all of them, the model's own too."""
    again = _new(model.__class__)
    _values(again, values)
    _fields_set(again, model.__pydantic_fields_set__)
    _extra(again, None)
    _private(again, None)
    return again
