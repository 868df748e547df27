"""`sumroom-party requests list | show | approve | deny`: what waits for a person of this party, and the person's word.

All of it works while the node is running.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from protocols import forecast, terminal
from protocols.accuracy import epsilon
from protocols.budget import decimal
from protocols.errors import Refused, UsageError
from protocols.ledger.reducer import Accounts
from protocols.ledger.standing import standing
from protocols.logbook import Logbook
from protocols.plan import Plan
from protocols.room import Room

from . import card
from .config import Config
from .filter import Filter
from .policy import Consent, Decision, Undecided, Used, check_consent, check_plan, consent_of
from .requests import SHORT, Forged, Requests, Waiting, open_requests

app = typer.Typer(add_completion=False, help="What this party was asked to approve; what its people decide.")
ConfigOption = Annotated[Path, typer.Option(metavar="NODE.TOML", help="This node's settings.")]
PlanArgument = Annotated[str, typer.Argument(metavar="PLAN", help="The plan's digest, or how it starts.")]
TYPED = 8  # as many hex digits of a digest are enough for somebody who then reads the card
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask whether you are sure.")]


@app.command(name="list")
def list_(config: ConfigOption, as_json: JsonOption = False) -> None:
    """What waits for a decision, and what was decided."""
    with _desk(config) as desk:
        rows = [_row(desk, waiting) for waiting in desk.requests.all()]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    if not rows:
        print("nobody has asked for a decision")
        return
    table = Table("plan", "name", "questions", "ρ a round", "standing", "rounds left", "last asked, UTC")
    for row in rows:
        asked = dt.datetime.fromtimestamp(row["last_asked"], dt.UTC).strftime("%Y-%m-%d %H:%M")
        left = "–" if row["rounds_left"] is None else str(row["rounds_left"])
        what = (row["plan"][:SHORT], row["name"], ", ".join(row["questions"]), row["rho_record"])
        table.add_row(*what, row["standing"], left, asked)
    terminal.console().print(table)


@app.command()
def show(config: ConfigOption, plan: PlanArgument, as_json: JsonOption = False) -> None:
    """The consent card of a plan: who asks, what for, what would leave, what it costs, how sure it will be."""
    with _desk(config) as desk:
        waiting = desk.requests.find(plan)
        if as_json:
            print(json.dumps(_document(desk, waiting), indent=2))
        else:
            desk.show(waiting, terminal.console())


@app.command()
def approve(
    config: ConfigOption,
    plan: PlanArgument,
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="How many more rounds of it.")] = 1,
    yes: YesOption = False,
) -> None:
    """Approve a plan for so many more rounds, after showing its card; an earlier approval is replaced."""
    with _desk(config) as desk:
        waiting = desk.find(plan, yes)
        found = waiting.plan
        check_plan(found, desk.room, desk.config.party, dt.datetime.now(dt.UTC).date())
        if any(rule.speaks_of(found) for rule in desk.consent.deny):
            raise Refused("a rule in consent.toml denies this plan", "take the rule out first, if you are sure")
        desk.show(waiting, terminal.console())
        left = desk.rounds_left(found)
        before = "" if left is None else f"; it replaces your approval of {_more(left)}"
        terminal.sure(yes, f"approve {_more(rounds)} of it{before}?")
        # Why not what is held: a hold that lapses would leave its round to be had on top of these.
        most = desk.used_by(found.digest, None, spent_only=True) + rounds * found.charge
        desk.requests.decide(Decision(found.digest, most), int(time.time()))
    print(f"approved: plan {found.digest[:SHORT]}, for {_more(rounds)}{before}")


@app.command()
def deny(config: ConfigOption, plan: PlanArgument, yes: YesOption = False) -> None:
    """Deny a plan, or take an approval back: nothing of it is answered any more, a round under way included."""
    with _desk(config, denying=True) as desk:
        waiting = desk.find(plan, yes)
        found = waiting.plan
        if not yes:
            desk.show(waiting, terminal.console())
        terminal.sure(yes, f"deny {found.name}, plan {found.digest[:SHORT]}?")
        desk.requests.decide(Decision(found.digest, 0), int(time.time()))
        if desk.unread is not None:
            print(terminal.plain(f"warning: {desk.unread.message}"), file=sys.stderr)
    print(f"denied: plan {found.digest[:SHORT]}")


def _more(rounds: int) -> str:
    return "1 more round" if rounds == 1 else f"{rounds} more rounds"


@dataclass(frozen=True)
class _Desk:
    """What a person needs who decides: the requests, the policy (`unread`: why not), and this party's accounts."""

    config: Config
    requests: Requests
    filter: Filter
    consent: Consent
    accounts: Accounts | None
    unread: UsageError | None = None

    def used_by(self, plan: str | None, days: int | None, *, spent_only: bool = False) -> int:
        now = int(time.time())
        return self.filter.used_by(self.config.room.room, now, plan=plan, days=days, spent_only=spent_only)

    @property
    def room(self) -> Room:
        """The room as it stands now, by this party's copy of the ledger."""
        return self.config.room if self.accounts is None else standing(self.config.room, self.accounts)

    @property
    def used(self) -> Used:
        return lambda plan, days: self.used_by(plan, days)

    def find(self, start: str, yes: bool) -> Waiting:
        """The plan to decide on. Raises UsageError where `start` could be another's: unseen, a start can be forged."""
        try:
            waiting, least = self.requests.find(start), SHORT if yes else TYPED
        except UsageError as exc:
            raise self.unread or exc from None
        if len(start) < least:
            what = f"to decide on a plan{' with --yes' if yes else ''} it takes {least} digits of its digest"
            raise UsageError(f"{what}, these are {len(start)}", "sumroom-party requests list")
        return waiting

    def rounds_left(self, plan: Plan) -> int | None:
        """How many rounds a person approved and are not used; None where the latest word is no approval."""
        try:
            decision = self.requests.decision(plan.digest)
        except Forged:
            return None
        if decision is None or not decision.most:
            return None
        return max(0, decision.most - self.used_by(plan.digest, None)) // plan.charge

    def standing(self, waiting: Waiting) -> str:
        try:
            check_consent(self.consent, self.requests.decision(waiting.plan.digest), waiting.plan, self.used)
        except Undecided:
            return "waits for a decision"
        except Forged:
            return "refused: the decision kept on it is not signed by you"
        except Refused as exc:
            return "denied by you" if "a person" in exc.message else "denied by a rule"
        return "approved"

    def budgets(self, waiting: Waiting) -> list[card.Line]:
        plan, room = waiting.plan, self.room
        own = self.filter.worst_day(list(plan.blocks.values()), int(time.time()))
        return card.budgets(plan, room, self.config.party, self.accounts, own, self.filter.cap)

    def show(self, waiting: Waiting, console: Console) -> None:
        standing, left = self.standing(waiting), self.rounds_left(waiting.plan)
        if left is not None:
            standing += f"; your approval has {_more(left)}"
        card.show(waiting.plan, self.room, self.budgets(waiting), standing, console)


@contextmanager
def _desk(path: Path, *, denying: bool = False) -> Iterator[_Desk]:
    """`denying`: a consent policy that cannot be read does not stand in the way of a no."""
    config, unread = Config.load(path), None
    try:
        consent = consent_of(config)
    except UsageError as exc:
        if not denying:
            raise
        consent, unread = Consent(default="deny"), exc
    accounts, book = None, config.path("state") / "ledger.db"
    if book.exists():
        with closing(Logbook(book)) as opened:
            accounts = opened.accounts
    with (
        closing(open_requests(config)) as requests,
        closing(Filter(config.path("accounts"), config.settings.budget.record)) as filter_,
    ):
        yield _Desk(config, requests, filter_, consent, accounts, unread)


def _row(desk: _Desk, waiting: Waiting) -> dict[str, Any]:
    plan = waiting.plan
    return {
        "plan": plan.digest,
        "name": plan.name,
        "purpose": plan.purpose,
        "questions": [question.kind for question in plan.questions],
        "rho_record": decimal(plan.charge),
        "standing": desk.standing(waiting),
        "rounds_left": desk.rounds_left(plan),
        "first_asked": waiting.first_asked,
        "last_asked": waiting.last_asked,
    }


def _document(desk: _Desk, waiting: Waiting) -> dict[str, Any]:
    plan, delta, budgets = waiting.plan, float(waiting.plan.delta), desk.budgets(waiting)
    return {
        **_row(desk, waiting),
        "recipients": plan.recipients,
        "parties": plan.parties,
        "forecast": forecast.document(plan),
        "budgets": [
            {
                "what": line.what,
                "rho_before": decimal(line.before),
                "rho_after": decimal(line.after),
                "rho_cap": decimal(line.cap),
                "epsilon_before": round(epsilon(line.before, delta), 4),
                "epsilon_after": round(epsilon(line.after, delta), 4),
            }
            for line in budgets
        ],
        "warnings": card.warnings(plan, budgets),
        "body": plan.body(),
    }
