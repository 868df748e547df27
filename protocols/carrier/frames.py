"""A message in pieces: one sealed header, then its payload in frames of at most 1 MiB.

A payload is a list of buffers that are never joined. `Answer` is what a party's app hands to the carrier; the carrier's
own errors are payloads of the same shape, so that a coordinator reads both alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import IntegrityError
from . import room_pb2 as pb
from .seal import ERROR, Header

CHUNK = 1 << 20

# Error codes. Below 1000 are Flower's own, with its meaning.
FAILED = 2
UNAVAILABLE = 5
EXPIRED = 1001
SEQUENCE_USED = 1002
TOO_LARGE = 1003

Buffers = tuple[bytes | memoryview, ...]
Read = Callable[[], Awaitable[Any]]
Write = Callable[[pb.Frame], Awaitable[Any]]


class Unanswered(BaseException):  # not an Exception: nothing on its way may make an answer of it
    """The app stops before it has an answer. None is journalled; the message comes again and is answered then."""


@dataclass(frozen=True)
class Answer:
    """A payload and what it is: `reply`, or `error` for the one of `failure`."""

    kind: str
    buffers: Buffers


@dataclass(frozen=True)
class Problem:
    """Why there will be no reply: an error code and a constant text."""

    code: int
    reason: str


@dataclass(frozen=True)
class Outgoing:
    """A sealed instruction, and whom to tell when its reply is in the journal (no problem) or will never be."""

    header: Header
    sealed: pb.Sealed
    buffers: Buffers
    deliver: Callable[[str, Problem | None], None]


class Sink(Protocol):
    """Where a payload goes while it arrives."""

    def write(self, data: bytes, /) -> Any: ...


class Discard:
    """A sink for a payload that nobody will read."""

    def write(self, data: bytes, /) -> None:
        """Forget `data`."""


def failure(code: int, reason: str) -> Answer:
    """An error as a payload. Never a text that depends on data: the reasons are the constant ones of this protocol."""
    return Answer(ERROR, (head(pb.Content(error_code=code, error_reason=reason)),))


def head(content: pb.Content) -> bytes:
    """The start of a payload: the length of `content` as a varint, then `content`."""
    raw: bytes = content.SerializeToString(deterministic=True)
    size, prefix = len(raw), bytearray()
    while size > 127:
        prefix.append(size & 127 | 128)
        size >>= 7
    return bytes(prefix) + bytes([size]) + raw


def split(payload: bytes | memoryview) -> tuple[memoryview, memoryview]:
    """The inverse of `head`: the bytes of Content, and what follows. Raises IntegrityError."""
    view, value = memoryview(payload), 0
    for at, byte in enumerate(bytes(view[:5])):
        value |= (byte & 127) << (7 * at)
        if byte < 128:
            if value > len(view) - at - 1:
                break
            return view[at + 1 : at + 1 + value], view[at + 1 + value :]
    raise IntegrityError("a payload starts with a bad length")


def chunks(buffers: Iterable[bytes | memoryview], size: int = CHUNK) -> Iterator[bytes]:
    """Pieces of 1 to `size` bytes, in order, without joining the buffers."""
    for buffer in buffers:
        view = memoryview(buffer)
        for at in range(0, len(view), size):
            yield bytes(view[at : at + size])


async def send(write: Write, sealed: pb.Sealed, buffers: Iterable[bytes | memoryview]) -> None:
    """Write one whole message."""
    await write(pb.Frame(open=sealed))
    for piece in chunks(buffers):
        await write(pb.Frame(chunk=piece))


async def collect(read: Read, header: Header, sink: Sink) -> None:
    """Read exactly the payload that `header` announces into `sink`.

    The caller sets the deadline and has checked the size. Raises IntegrityError when the frames are others, more, fewer
    or altered; what `sink` holds is then worthless.
    """
    got, sha = 0, hashlib.sha256()
    while got < header.size:
        frame = await read()
        if not isinstance(frame, pb.Frame) or frame.WhichOneof("body") != "chunk" or not frame.chunk:
            raise IntegrityError(f"a payload ended after {got} of {header.size} bytes")
        got += len(frame.chunk)
        if got > header.size:
            raise IntegrityError(f"a payload is longer than its header's {header.size} bytes")
        sha.update(frame.chunk)
        sink.write(frame.chunk)
    if sha.digest() != header.sha256:
        raise IntegrityError("a payload does not match the hash in its header")
