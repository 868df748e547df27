"""The coordinator as a service: it keeps the room open, and does what the operator asks."""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Any

from protocols.change import Proposal
from protocols.encoding import canonical
from protocols.errors import Stale, SumroomError, UsageError
from protocols.plan import Plan

from . import control
from .config import Config
from .control import Answer, Say
from .listening import Listening

LONGEST_WAIT_S = 86_400


def serve(settings: Config, say: Callable[[str], None]) -> None:
    """Listen until interrupted. `say` gets one line for a person when the door is open.

    The store's lease is held from the first to the last: a second coordinator of this room is refused.
    """
    with Listening(settings) as listening:
        where = f"{settings.settings.host}:{listening.port}"
        commands = control.Commands(settings.path("state"), {"health": lambda: _health(listening, where)})
        say(f"{settings.room.room}: listening on {where}; Ctrl-C ends it")
        tend = _Tending(listening, say)
        try:
            while True:
                try:
                    asked, answer, close = commands.jobs.get(timeout=0.5)
                except queue.Empty:
                    tend()
                    continue
                try:
                    control.carry_out(asked, answer, lambda a, s: carry_out(listening, a, _heard_by(s)))
                finally:
                    close()
        finally:
            commands.close()


class _Tending:
    """What nobody asks for: rounds that an earlier process left open. What goes wrong is tried again, and said once."""

    def __init__(self, listening: Listening, say: Callable[[str], None]) -> None:
        self._listening, self._say, self._last = listening, say, ""

    def __call__(self) -> None:
        try:
            self._listening.tend(lambda text: self._say(f"open round: {text}"))
        except Stale:  # nothing may be written any more
            raise
        except SumroomError as exc:
            if exc.diagnostics() != self._last:
                self._last = exc.diagnostics()
                self._say(self._last)


def carry_out(listening: Listening, asked: Answer, progress: Callable[[str], None]) -> dict[str, Any]:
    """Do one command of the operator. Raises UsageError for one that there is not."""
    if asked["do"] == "enter":
        entered = listening.enter([Proposal.of(body) for body in asked["changes"]], _wait_of(asked))
        return {"numbers": list(entered.numbers), "fresh": list(entered.fresh)}
    if asked["do"] not in ("propose", "launch", "refund"):
        raise UsageError("the coordinator knows no such command")
    if asked["do"] == "refund":
        return listening.refund(str(asked["round"]), _wait_of(asked))
    plan, wait_s = Plan.from_bytes(canonical(asked["plan"])), _wait_of(asked)
    if asked["do"] == "propose":
        return {"said": listening.propose(plan, wait_s)}
    done = listening.launch(plan, again=bool(asked["again"]), wait_s=wait_s, progress=progress)
    return {"round": done.round, "fresh": done.fresh}


def _wait_of(asked: Answer) -> float:
    wait_s = asked["wait_s"]
    # Said this way round because of nan, which is within no bounds and, compared with a clock, never over.
    if not isinstance(wait_s, int | float) or not 0 <= wait_s <= LONGEST_WAIT_S:
        raise UsageError(f"the seconds to wait are a number from 0 to {LONGEST_WAIT_S}")
    return float(wait_s)


def _health(listening: Listening, where: str) -> Answer:
    return {"listening": where, "online": list(listening.online())}


def _heard_by(say: Say) -> Callable[[str], None]:
    return lambda text: say({"progress": text})
