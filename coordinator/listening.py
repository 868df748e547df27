"""The coordinator while it listens: the door is open, parties dial in, and rounds are led one after the other."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self

from protocols.budget import decimal
from protocols.carrier import codec
from protocols.carrier.journal import Journal
from protocols.change import Proposal
from protocols.errors import Refused
from protocols.ledger.reducer import Accounts
from protocols.ledger.state import Round
from protocols.plan import Plan

from . import afterwards, delivery, rounds
from . import app as flower
from .config import Config
from .entering import Entered
from .grid import RoomGrid, run_server_app
from .hub import Hub
from .ledger import RoomLedger
from .store import plan_key

Progress = Callable[[str], None]
TEND_EVERY_S = 2.0
STATE_EVERY_S = 600.0  # how soon a party is asked again that has not stated what it sent
GATHER_S = 5.0  # how long a round that is gone on with waits for those it could do without
log = logging.getLogger("sumroom.coordinator")


@dataclass(frozen=True)
class Launched:
    """What came of a launch. `fresh`: a round was run; otherwise the plan has been released before, by `round`."""

    round: str
    fresh: bool


class Listening:
    """The coordinator of one room: its store, its journal and its open door. A context manager.

    Raises UsageError for a file that is missing or a port that is taken, Refused where another process has the store.
    """

    def __init__(self, settings: Config) -> None:
        self.settings = settings
        self._unsure = True  # whether something may be left to cosign or to hand out
        self._rest = self._state_from = 0.0

    def __enter__(self) -> Self:
        settings = self.settings
        check_files(settings)
        codec.prepare_process()
        with ExitStack() as opened:
            self._store = opened.enter_context(flower.held_store(settings))
            self._journal = Journal(settings.path("state") / "journal.db")
            opened.callback(self._journal.close)
            self._hub = Hub(
                room=settings.room.room,
                signing=settings.signing,
                journal=self._journal,
                grace=settings.settings.grace_s,
            )
            self._admit()
            opened.callback(self._hub.stop)
            self.port = self._hub.start(
                settings.settings.host,
                settings.settings.port,
                settings.secret("tls_key"),
                settings.read("tls_certificate"),
                settings.read("authority"),
            )
            self._opened = opened.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._opened.__exit__(kind, exc, tb)

    def _admit(self) -> None:
        """Let in who is in the room, by the keys of the room file or, who joined later, by its own; nobody else."""
        joined = flower.held_ledger(self.settings).room.identities
        for party, key in {**joined, **self.settings.room.identities}.items():
            if party in joined:
                self._hub.admit(party, key)
            else:
                self._hub.revoke(party)

    def online(self) -> tuple[str, ...]:
        """The parties that are connected."""
        return self._hub.online()

    def propose(self, plan: Plan, wait_s: float) -> dict[str, str]:
        """Ask the plan's parties whether they approve: party → `approved`, or the reason why not. Nothing is spent."""
        run_id = _new_run()
        grid = RoomGrid(self._hub, run_id, plan=plan.digest, parties=plan.parties)
        try:
            return flower.propose(grid, plan, wait_s)
        finally:
            grid.close()
            self._journal.forget(run_id)

    def launch(self, plan: Plan, *, again: bool, wait_s: float, progress: Progress) -> Launched:
        """Run one round of the plan, unless it has been released already. Idempotent without `again`.

        A round of it that is open is gone on with, at no further charge. Raises Refused where its last round ended
        without a release and `again` is not set: one more costs once more.
        """
        ledger = flower.held_ledger(self.settings)
        last, go_on = last_round(ledger.book.accounts, plan), rounds.left_open(plan, ledger)
        if last is not None and go_on is None and not again:
            check_unfinished(last, plan)
            if delivery.unfinished(ledger):
                self._with_grid(plan, lambda grid: flower.finish(grid, self.settings, wait_s))
            if len(self.online()) >= ledger.room.cosign_quorum:
                self._with_grid(None, lambda grid: flower.reuse(grid, self.settings, last))
            return Launched(last.reserve.round, fresh=False)
        self._unsure = True
        config: dict[str, Any] = {
            "config": str(self.settings.file),
            "plan-json": plan.canonical.decode(),
            "wait-s": wait_s,
            "go-on": go_on or "",
        }
        run_id = _new_run()
        with _heard(progress):
            try:
                run_server_app(flower.app, self._hub, run_id, config, plan=plan.digest)
            finally:
                self._journal.forget(run_id)
        self._unsure = not delivery.at_rest(ledger)  # a party that was away at the end has not got the last release
        latest = [r.reserve.round for r in ledger.book.accounts.rounds.values() if r.reserve.plan == plan.digest][-1]
        return Launched(go_on or latest, fresh=True)

    def enter(self, proposals: Sequence[Proposal], wait_s: float) -> Entered:
        """Enter changes of the room, cosigned by everybody; who is new is let in, who left is not any more."""
        self._unsure = True
        run_id = _new_run()
        grid = RoomGrid(self._hub, run_id)
        try:
            return flower.enter(grid, self.settings, proposals, wait_s, self._admit)
        finally:
            grid.close()
            self._journal.forget(run_id)

    def refund(self, name: str, wait_s: float) -> dict[str, Any]:
        """Have a forfeited round, named by the beginning of its id, refunded. Idempotent."""
        rounds_ = flower.held_ledger(self.settings).book.accounts.rounds
        round_id, fresh = afterwards.find_round(rounds_, name), list[bool]()
        if rounds_[round_id].state != "refunded":
            afterwards.check_refundable(rounds_[round_id])  # before anybody is waited for
        self._unsure = True
        self._with_grid(None, lambda grid: fresh.append(flower.refund(grid, self.settings, round_id, wait_s)))
        return {"round": round_id, "fresh": fresh[0]}

    def tend(self, progress: Progress) -> None:
        """What nobody asks for: go on with a round that was left open, once enough parties are here; forfeit one whose
        deadline has passed; hand out what could not be handed out before; and once a day have each party state what it
        has sent."""
        if time.monotonic() < self._rest:
            return
        self._rest = time.monotonic() + TEND_EVERY_S
        ledger = flower.held_ledger(self.settings)
        self._admit()
        everybody = set(self.online()) == set(ledger.room.parties)
        for round_id in ledger.open_rounds():
            body = ledger.book.blob(plan_key(ledger.book.accounts.rounds[round_id].reserve.plan))
            if body is None:
                continue
            plan = Plan.from_bytes(body)
            if rounds.left_open(plan, ledger) != round_id:
                self._with_grid(plan, partial(_end, self.settings, plan, round_id))
            elif len(self.online()) >= rounds.least_to_go_on(plan, ledger):
                self.launch(plan, again=False, wait_s=GATHER_S, progress=progress)
        if everybody and self._unsure:
            if not delivery.at_rest(ledger):
                self._with_grid(None, lambda grid: flower.finish(grid, self.settings, 5.0))
            self._unsure = False
        self._state_egress(ledger)

    def _state_egress(self, ledger: RoomLedger) -> None:
        if time.monotonic() < self._state_from or ledger.open_rounds():
            return
        here = set(self.online()) & set(afterwards.unstated(ledger)[1])
        if len(self.online()) < ledger.room.cosign_quorum or not here:
            return
        self._state_from = time.monotonic() + STATE_EVERY_S
        self._with_grid(None, lambda grid: flower.tend(grid, self.settings, here))
        self._unsure = True

    def _with_grid(self, plan: Plan | None, do: Callable[[RoomGrid], None]) -> None:
        run_id = _new_run()
        grid = RoomGrid(self._hub, run_id, plan="" if plan is None else plan.digest)
        try:
            do(grid)
        finally:
            grid.close()
            self._journal.forget(run_id)


def _end(settings: Config, plan: Plan, round_id: str, grid: RoomGrid) -> None:
    flower.end(grid, settings, plan, round_id)


def last_round(accounts: Accounts, plan: Plan) -> Round | None:
    """The plan's latest round: an open one before a released one, a released one before a forfeited one."""
    mine = [round_ for round_ in accounts.rounds.values() if round_.reserve.plan == plan.digest]
    for state in ("open", "done", "forfeited"):
        if found := [round_ for round_ in mine if round_.state == state]:
            return found[-1]
    return None


def check_unfinished(last: Round, plan: Plan) -> None:
    """Raise Refused unless the plan's last round has released everything."""
    if last.state == "done":
        return
    what = "was forfeited" if last.state == "forfeited" else "was left open, and its deadline has passed"
    raise Refused(
        f"round {last.reserve.round[:8]} of this plan {what}; what it reserved is spent",
        f"--again runs another, for ρ {decimal(plan.charge)} per record once more",
    )


def check_files(settings: Config) -> None:
    """Read every file that a round needs, before one begins. Raises UsageError."""
    settings.room, settings.signing  # noqa: B018 - reading them is the check
    settings.secret("tls_key")
    settings.read("tls_certificate")
    settings.read("authority")


def _new_run() -> int:
    return secrets.randbits(62) + 1


class _heard(logging.Handler):  # noqa: N801 - used as a function
    """Hands each line of the round's progress to `progress` while the block runs."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress, self._logger = progress, logging.getLogger("sumroom.progress")

    def emit(self, record: logging.LogRecord) -> None:
        self._progress(record.getMessage())

    def __enter__(self) -> Self:
        self._logger.addHandler(self)
        self._logger.setLevel(logging.INFO)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
