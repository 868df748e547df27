"""How the coordinator speaks with nodes, whatever carries the words: requests out, answers or silence back.

Silence is nobody's fault at first: whoever is needed is asked again until the round's deadline, and whoever is not is
waited for no longer than `patience`.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic, sleep
from typing import TypeVar

from protocols.errors import IntegrityError, PartyUnavailable, RoundEnded
from protocols.messages import FAILED, Refusal, Reply, Request

LONGEST_PAUSE_S = 2.0
log = logging.getLogger("sumroom.coordinator")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Answer:
    """What came back from one party: a reply with the words of a share, or the public reason why nothing did."""

    reply: Reply | None
    payload: bytes | memoryview = b""
    missing: str | None = None


@dataclass(frozen=True)
class Parcel:
    """A request with what travels beside it, in words of 8 bytes."""

    request: Request
    payload: bytes | memoryview


# Every party asked is a key of the result; the time is in seconds, after which silence is an answer too.
Ask = Callable[[Mapping[str, Request | Parcel], float], Mapping[str, Answer]]


@dataclass(frozen=True)
class Deadline:
    """When a round ends, by the monotonic clock, in seconds."""

    ends: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(monotonic() + seconds)

    @property
    def left(self) -> float:
        return self.ends - monotonic()

    def pause(self, tries: int) -> None:
        """Wait before asking again: longer each time, and never as long as others do, so that not all ask at once."""
        longest = min(LONGEST_PAUSE_S, 0.1 * 2 ** min(tries, 10))
        sleep(max(0.0, min(self.left, longest * (0.5 + secrets.randbelow(500) / 1000))))


def enough(
    ask: Ask,
    requests: Mapping[str, Request | Parcel],
    check: Callable[[str, Answer], _T],
    *,
    least: int,
    deadline: Deadline,
    patience: float,
) -> dict[str, _T]:
    """The parties' answers that are no refusals, as `check` returns them, `least` of them or more.

    Where all are needed each may take until the deadline; otherwise whoever is silent for `patience` seconds is left
    out once the others are enough, and so is whose answer `check` does not accept.
    Raises PartyUnavailable at the deadline, RoundEnded as soon as too many refused, IntegrityError where nobody can be
    left out and one lies.
    """
    good, why = dict[str, _T](), dict[str, str]()
    waiting, tries = dict(requests), 0
    while (left := deadline.left) > 0:
        # Longer each time: what is needed of a slow party must come in one piece.
        wait = left if least == len(requests) else min(left, patience * 2 ** min(tries, 20))
        for party, answer in ask(waiting, wait).items():
            if answer.reply is None:
                why[party] = f"{party} did not answer ({answer.missing})"
                continue
            if isinstance(answer.reply, Refusal):
                why[party] = f"{party} refused: {answer.reply.reason}"
                if answer.reply.reason != FAILED:  # something went wrong there, a full disk perhaps: it may go by
                    del waiting[party]
                continue
            del waiting[party]
            try:
                good[party] = check(party, answer)
            except IntegrityError as exc:
                if least == len(requests):
                    raise
                log.warning("%s is left out: %s", party, exc.message)
                why[party] = exc.message
        if len(good) >= least:
            return good
        said = "; ".join(text for party, text in sorted(why.items()) if party not in good)
        if len(good) + len(waiting) < least:
            raise RoundEnded(said)
        deadline.pause(tries)
        tries += 1
    raise PartyUnavailable(said if tries else "the deadline has passed")


def who_says(parties: Sequence[str], answers: Mapping[str, Answer], fine: Collection[str]) -> str:
    """What each of the parties that are not among `fine` says, for people."""
    return "; ".join(f"{party}: {says(answers.get(party))}" for party in parties if party not in fine)


def says(answer: Answer | None) -> str:
    """Its reason where it refused, else why there is no answer."""
    if answer is not None and isinstance(answer.reply, Refusal):
        return answer.reply.reason
    return (answer.missing if answer else None) or "no answer"
