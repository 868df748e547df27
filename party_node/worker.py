"""`python -m party_node.worker`: computes with points for `engine.py` until its standard input ends.

A message, there and back: a byte that says what it is, 4 bytes with the number of parts, and each part after the 8
bytes of its length; numbers big-endian. The only ones who write it are a node and the processes it started.

    POINTS  domain, key …             → the points of the keys
    MASK    scalar, place, points     → the masked points        place: 8 bytes, how many points of the list
    CHECK   nothing, place, points    → nothing                         stand before these
    BASE    nothing, place, scalars   → [r]G for each scalar
    answer: DONE with one part, or REFUSED with the words of an IntegrityError
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import IO

from protocols.errors import IntegrityError
from protocols.overlap import points

POINTS, MASK, CHECK, BASE = range(4)
DONE, REFUSED = range(2)


def send(there: IO[bytes], kind: int, parts: Sequence[bytes | memoryview]) -> None:
    there.write(bytes((kind,)) + len(parts).to_bytes(4, "big"))
    for part in parts:
        there.write(len(part).to_bytes(8, "big"))
        there.write(part)
    there.flush()


def receive(back: IO[bytes]) -> tuple[int, list[bytes]]:
    """Raises EOFError where there is no whole message."""
    head = _read(back, 5)
    return head[0], [_read(back, int.from_bytes(_read(back, 8), "big")) for _ in range(int.from_bytes(head[1:], "big"))]


def _read(back: IO[bytes], size: int) -> bytes:
    data = back.read(size)
    if len(data) < size:
        raise EOFError
    return data


def compute(kind: int, parts: Sequence[bytes]) -> bytes:
    if kind == POINTS:
        return points.Plain().points(parts[0], parts[1:])
    argument, first, listed = parts[0], int.from_bytes(parts[1], "big"), parts[2]
    if kind == MASK:
        return points.mask(argument, listed, first)
    if kind == CHECK:
        points.check(listed, first)
        return b""
    return points.Plain().base(listed)


def main() -> None:
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    while True:
        try:
            kind, parts = receive(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer, found = DONE, compute(kind, parts)
        except IntegrityError as exc:
            answer, found = REFUSED, exc.message.encode()
        try:
            send(sys.stdout.buffer, answer, [found])
        except BrokenPipeError:  # whoever asked is gone
            sys.stderr.close()  # and so is whoever would read that Python could not flush
            return


if __name__ == "__main__":
    main()
