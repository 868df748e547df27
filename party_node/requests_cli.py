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
from protocols.logbook import Logbook

from . import card
from .config import Config
from .filter import Filter
from .policy import Consent, Decision, Undecided, Used, check_consent, check_plan, consent_of
from .requests import SHORT, Forged, Requests, Waiting, open_requests

app = typer.Typer(add_completion=False, help="What this party was asked to approve; what its people decide.")
ConfigOption = Annotated[Path, typer.Option(metavar="NODE.TOML", help="This node's settings.")]
PlanArgument = Annotated[str, typer.Argument(metavar="PLAN", help="The plan's digest, or how it starts.")]
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
    table = Table("plan", "name", "questions", "ρ a round", "standing", "last asked, UTC")
    for row in rows:
        asked = dt.datetime.fromtimestamp(row["last_asked"], dt.UTC).strftime("%Y-%m-%d %H:%M")
        table.add_row(
            row["plan"][:SHORT], row["name"], ", ".join(row["questions"]), row["rho_record"], row["standing"], asked
        )
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
    """Approve a plan for so many more rounds, after showing its card."""
    with _desk(config) as desk:
        waiting = desk.requests.find(plan)
        found = waiting.plan
        check_plan(found, desk.config.room, desk.config.party, dt.datetime.now(dt.UTC).date())
        if any(rule.speaks_of(found) for rule in desk.consent.deny):
            raise Refused("a rule in consent.toml denies this plan", "take the rule out first, if you are sure")
        desk.show(waiting, terminal.console())
        _sure(yes, f"approve {rounds} more {'round' if rounds == 1 else 'rounds'} of it?")
        most = desk.used(found.digest, None) + rounds * found.charge
        desk.requests.decide(Decision(found.digest, most), int(time.time()))
    print(f"approved: plan {found.digest[:SHORT]}, for {rounds} more {'round' if rounds == 1 else 'rounds'}")


@app.command()
def deny(config: ConfigOption, plan: PlanArgument, yes: YesOption = False) -> None:
    """Deny a plan, or take an approval back: no further round of it is answered."""
    with _desk(config) as desk:
        found = desk.requests.find(plan).plan
        _sure(yes, f"deny {found.name}, plan {found.digest[:SHORT]}?")
        desk.requests.decide(Decision(found.digest, 0), int(time.time()))
    print(f"denied: plan {found.digest[:SHORT]}")


def _sure(yes: bool, question: str) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to say yes", "add --yes")
    try:
        said = typer.confirm(question)
    except typer.Abort:  # Ctrl-C, or the end of what was typed
        said = False
    if not said:
        raise Refused("nothing was decided")


@dataclass(frozen=True)
class _Desk:
    """What a person needs who decides: the requests, the policy, and this party's accounts."""

    config: Config
    requests: Requests
    filter: Filter
    consent: Consent
    accounts: Accounts | None

    @property
    def used(self) -> Used:
        def used(plan: str | None, days: int | None) -> int:
            return self.filter.used_by(self.config.room.room, int(time.time()), plan=plan, days=days)

        return used

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
        plan, room = waiting.plan, self.config.room
        own = self.filter.worst_day(list(plan.blocks.values()), int(time.time()))
        return card.budgets(plan, room, self.config.party, self.accounts, own, self.filter.cap)

    def show(self, waiting: Waiting, console: Console) -> None:
        card.show(waiting.plan, self.config.room, self.budgets(waiting), self.standing(waiting), console)


@contextmanager
def _desk(path: Path) -> Iterator[_Desk]:
    config = Config.load(path)
    consent = consent_of(config)
    accounts, book = None, config.path("state") / "ledger.db"
    if book.exists():
        with closing(Logbook(book)) as opened:
            accounts = opened.accounts
    with (
        closing(open_requests(config)) as requests,
        closing(Filter(config.path("accounts"), config.settings.budget.record)) as filter_,
    ):
        yield _Desk(config, requests, filter_, consent, accounts)


def _row(desk: _Desk, waiting: Waiting) -> dict[str, Any]:
    plan = waiting.plan
    return {
        "plan": plan.digest,
        "name": plan.name,
        "purpose": plan.purpose,
        "questions": [question.kind for question in plan.questions],
        "rho_record": decimal(plan.charge),
        "standing": desk.standing(waiting),
        "first_asked": waiting.first_asked,
        "last_asked": waiting.last_asked,
    }


def _document(desk: _Desk, waiting: Waiting) -> dict[str, Any]:
    plan, delta = waiting.plan, float(waiting.plan.delta)
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
            for line in desk.budgets(waiting)
        ],
        "warnings": card.warnings(plan),
        "body": plan.body(),
    }
