"""Payloads in pieces: exactly what was announced arrives, or nothing."""

from __future__ import annotations

import asyncio
import io
from types import SimpleNamespace
from typing import Any

import pytest

from protocols.carrier import frames, seal
from protocols.carrier import room_pb2 as pb
from protocols.errors import IntegrityError


def collected(pieces: list[Any], payload: bytes) -> bytes:
    size, sha256 = seal.digest([payload])
    queue, sink = iter([*pieces, None]), io.BytesIO()

    async def read() -> Any:
        return next(queue)

    header: Any = SimpleNamespace(size=size, sha256=sha256)
    asyncio.run(frames.collect(read, header, sink))
    return sink.getvalue()


def chunk(data: bytes) -> pb.Frame:
    return pb.Frame(chunk=data)


@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 35])
def test_what_is_cut_into_chunks_is_collected_again(size: int) -> None:
    payload = bytes(range(size))
    pieces = list(frames.chunks([payload[:7], b"", memoryview(payload)[7:]], 10))
    assert all(0 < len(piece) <= 10 for piece in pieces)
    assert collected([chunk(piece) for piece in pieces], payload) == payload


@pytest.mark.parametrize(
    ("pieces", "expect"),
    [
        ([], "ended after 0 of 4"),
        ([chunk(b"ab")], "ended after 2 of 4"),
        ([chunk(b"ab"), chunk(b"")], "ended"),
        ([chunk(b"ab"), pb.Frame(hello=pb.Hello())], "ended"),
        ([chunk(b"abcde")], "longer"),
        ([chunk(b"abcX")], "hash"),
    ],
)
def test_fewer_more_other_or_altered_bytes_are_refused(pieces: list[Any], expect: str) -> None:
    with pytest.raises(IntegrityError, match=expect):
        collected(pieces, b"abcd")


@pytest.mark.parametrize("length", [0, 5, 127, 128, 20_000])
def test_a_head_is_split_from_what_follows(length: int) -> None:
    content = pb.Content(error_reason="x" * length)
    raw, rest = frames.split(frames.head(content) + b"rest")
    assert bytes(raw) == content.SerializeToString()
    assert bytes(rest) == b"rest"


@pytest.mark.parametrize("payload", [b"", b"\x05abc", b"\xff", b"\xff\xff\xff\xff\xff\x01"])
def test_a_payload_with_a_bad_length_is_refused(payload: bytes) -> None:
    with pytest.raises(IntegrityError, match="bad length"):
        frames.split(payload)
