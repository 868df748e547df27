"""How the coordinator speaks with nodes, whatever carries the words: requests out, answers or silence back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from protocols.messages import Reply, Request


@dataclass(frozen=True)
class Answer:
    """What came back from one party: a reply with the words of a share, or the public reason why nothing did."""

    reply: Reply | None
    payload: bytes | memoryview = b""
    missing: str | None = None


# Every party asked is a key of the result; the time is in seconds, after which silence is an answer too.
Ask = Callable[[Mapping[str, Request], float], Mapping[str, Answer]]
