"""How the coordinator speaks with nodes, whatever carries the words: requests out, answers or silence back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from protocols.errors import PartyUnavailable, RoundEnded
from protocols.messages import Refusal, Reply, Request


@dataclass(frozen=True)
class Answer:
    """What came back from one party: a reply with the words of a share, or the public reason why nothing did."""

    reply: Reply | None
    payload: bytes | memoryview = b""
    missing: str | None = None


# Every party asked is a key of the result; the time is in seconds, after which silence is an answer too.
Ask = Callable[[Mapping[str, Request], float], Mapping[str, Answer]]


def everybody(parties: Sequence[str], answers: Mapping[str, Answer]) -> Mapping[str, Answer]:
    """All parties' answers, or RoundEnded naming who did not give one."""
    silent = [f"{p} did not answer ({a.missing})" for p, a in answers.items() if a.reply is None]
    refused = [f"{p} refused: {a.reply.reason}" for p, a in answers.items() if isinstance(a.reply, Refusal)]
    if silent:
        raise PartyUnavailable("; ".join([*silent, *refused]))
    if refused or set(answers) != set(parties):
        raise RoundEnded("; ".join(refused) or "another set of parties answered than was asked")
    return answers
