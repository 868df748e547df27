"""`sumroom-coordinator plan new | check | propose | launch | status`: a plan's life, from a draft to its results."""

from __future__ import annotations

import datetime as dt
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from protocols import forecast, ledger_copy, terminal
from protocols.budget import decimal
from protocols.encoding import canonical
from protocols.errors import Refused, RoundEnded, SumroomError, UsageError
from protocols.ledger.fields import LIFETIME, PERSON
from protocols.ledger.reducer import Accounts
from protocols.ledger.state import Round
from protocols.logbook import Logbook
from protocols.plan import Plan
from protocols.room import Room
from protocols.verdict import counted

from . import control, drafts, exports
from .config import Config

SHORT = 16
app = typer.Typer(add_completion=False, help="A plan's life: write it, check it, propose it, launch it, see its state.")

ConfigOption = Annotated[Path, typer.Option(metavar="COORDINATOR.TOML", help="The coordinator's settings.")]
PlanArgument = Annotated[Path, typer.Argument(metavar="PLAN.TOML", help="The plan.")]
OutOption = Annotated[Path, typer.Option(metavar="FOLDER", help="Where the results go.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]
WaitOption = Annotated[float, typer.Option("--wait", min=0, max=86_400, help="Seconds to wait for the parties.")]


@app.command()
def new(
    config: ConfigOption,
    out: Annotated[Path, typer.Option(metavar="PLAN.TOML", help="The file to write; it must not be there.")],
    question: Annotated[
        list[str], typer.Option(help="One of rfm, segments, classes, overlap, lookalike. May be given again.")
    ],
    name: Annotated[str, typer.Option(help="A short name for it.")] = "new-plan",
    purpose: Annotated[
        str, typer.Option(help="What the parties want to know, and why: a sentence.")
    ] = drafts.PLACEHOLDER,
) -> None:
    """Write a plan to start from: the room's own parties, blocks and caps, and each question with usual values."""
    text = drafts.draft(_room(Config.load(config)), name, question, purpose)
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{out} is there already", "name another file with --out") from None
    except OSError as exc:
        raise UsageError(f"cannot write {out}: {exc.strerror}") from None
    missing = "purpose, " if purpose == drafts.PLACEHOLDER else ""
    print(f"written: {out}; set {missing}table and bounds right, then: sumroom-coordinator plan check {out}")


@app.command()
def check(plan: PlanArgument, as_json: JsonOption = False) -> None:
    """Check a plan, and print its digest, its cost, and how wide its intervals will be. No data is touched."""
    checked = read(plan)
    for warning in _warnings(checked):
        print(f"warning: {warning}", file=sys.stderr)
    if as_json:
        print(json.dumps(forecast.document(checked), indent=2))
    else:
        _show_forecast(checked)


@app.command()
def propose(plan: PlanArgument, config: ConfigOption, wait_s: WaitOption = 60.0, as_json: JsonOption = False) -> None:
    """Ask every party whether it approves the plan. Nothing is spent. Exit status 1 where one does not."""
    checked, settings = read(plan), Config.load(config)
    check_room(checked, settings)
    request = {"do": "propose", "plan": checked.body(), "wait_s": wait_s}
    said: dict[str, str] = done(settings, request, quiet=True)["said"]
    if as_json:
        print(json.dumps({"plan": checked.digest, "parties": said}, indent=2))
    else:
        for party, answer in said.items():
            print(terminal.plain(f"{party}: {answer}"))
    if waiting := [party for party, answer in said.items() if answer != "approved"]:
        hint = "each party's reason is above"
        if any("must decide" in said[party] for party in waiting):
            hint = f"a party decides with: sumroom-party requests show {checked.digest[:SHORT]} --config node.toml"
        raise Refused(f"not approved by {', '.join(waiting)}", hint)


@app.command()
def launch(
    plan: PlanArgument,
    config: ConfigOption,
    out: OutOption,
    again: Annotated[bool, typer.Option("--again", help="Run one more round of a plan that has had one.")] = False,
    wait_s: WaitOption = 60.0,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Run one round of a plan, and write releases, bundle, policy and report.

    A plan that has been released is not run again: its results are written, and nothing is spent, unless --again says
    so. Where a coordinator is listening (`serve`) it leads the round; elsewhere this command listens itself.
    """
    checked, settings = read(plan), Config.load(config)
    check_room(checked, settings)
    exports.check_folder(out)
    request = {"do": "launch", "plan": checked.body(), "again": again, "wait_s": wait_s}
    launched = done(settings, request, quiet=quiet, hint=f"sumroom-coordinator export --config {config} --out {out}")
    if not launched["fresh"]:
        print(f"round {launched['round'][:8]} has released this plan before; nothing is run, nothing is spent")
    exports.write(settings, out)


@app.command()
def status(plan: PlanArgument, config: ConfigOption, as_json: JsonOption = False) -> None:
    """What has become of a plan: who approved, its rounds, what it has spent and how many more rounds would fit."""
    checked, settings = read(plan), Config.load(config)
    check_same_room(checked, settings)  # and no more: a plan that has run out has its state all the same
    found = _status(checked, settings)
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        _show_status(checked, found)


def read(path: Path) -> Plan:
    """The plan in a file. Raises UsageError."""
    try:
        return Plan.from_toml(path.read_bytes(), where=str(path))
    except OSError as exc:
        raise UsageError(f"cannot read the plan {path}: {exc.strerror}") from None


def check_same_room(plan: Plan, settings: Config) -> None:
    """Raise UsageError for a plan of another room, or of parties or blocks that this room does not have."""
    room = _room(settings)
    if plan.room != room.room:
        raise UsageError(f"the plan is for room {plan.room!r}, the settings are of {room.room!r}")
    if strangers := [party for party in plan.parties if party not in room.parties]:
        raise UsageError(f"the room has no party {strangers[0]}", f"its parties are: {', '.join(sorted(room.parties))}")
    for name, block in plan.blocks.items():
        if room.blocks.get(name) != block:
            raise UsageError(
                f"the room has no block {name} from {block.first} to {block.last}",
                "take its blocks as they are: sumroom-coordinator plan new writes them",
            )


def check_room(plan: Plan, settings: Config) -> None:
    """Raise UsageError for a plan of another room or without a purpose of its own, Refused for one that has expired or
    costs more than a cap.
    """
    check_same_room(plan, settings)
    if plan.purpose == drafts.PLACEHOLDER:
        raise UsageError(
            f"the purpose is still the draft's: {drafts.PLACEHOLDER}",
            "the people who decide read it: set purpose in the plan, or draft it with --purpose",
        )
    if _has_expired(plan):
        raise Refused(f"the plan was valid until {plan.valid_until}", "set valid_until, and have it approved anew")
    caps = _room(settings).caps
    for what, cost, cap in (
        ("record", plan.charge, caps.record),
        ("person at all parties", plan.charge_person, caps.person),
    ):
        if cost > cap:
            raise Refused(
                f"the plan costs ρ {decimal(cost)} per {what}, the room's cap is {decimal(cap)}",
                "lower the rho of its questions; sumroom-coordinator plan check shows what each step costs",
            )


def _room(settings: Config) -> Room:
    """The room as it stands now."""
    return ledger_copy.room_now(settings.room, settings.path("state") / "ledger.db")


def _has_expired(plan: Plan) -> bool:
    return dt.date.fromisoformat(plan.valid_until) < dt.datetime.now(dt.UTC).date()


def _warnings(plan: Plan) -> Iterator[str]:
    """What a sound plan would be refused for when it is proposed."""
    if _has_expired(plan):
        yield f"the plan was valid until {plan.valid_until}: it cannot be proposed or launched any more"
    if plan.purpose == drafts.PLACEHOLDER:
        yield f"the purpose is still the draft's: {plan.purpose}"


# -- a coordinator that listens, or this process ----------------------------------------------------------------------


def done(settings: Config, request: dict[str, Any], *, quiet: bool, hint: str | None = None) -> dict[str, Any]:
    """Have the listening coordinator do it, or listen and do it here."""
    here = False
    with _progress(request, quiet) as progress:
        try:
            with _interruptible():
                try:
                    return control.ask(settings.path("state"), request, progress)
                except control.Absent:
                    here = True
                # Here and not above: Flower and gRPC take a second that `plan check` need not wait for.
                from .listening import Listening
                from .service import carry_out

                with Listening(settings) as listening:
                    return carry_out(listening, request, progress)
        except KeyboardInterrupt:
            raise _interrupted(request, here, hint) from None


def _interrupted(request: dict[str, Any], here: bool, hint: str | None) -> SumroomError:
    if not here:
        return Refused("interrupted; the coordinator goes on with it", "sumroom-coordinator plan status tells how far")
    if request["do"] in ("propose", "refund"):
        return Refused("interrupted; nothing is spent")
    told = "launch the plan again to go on with it" + (f"; what was released so far: {hint}" if hint else "")
    return RoundEnded("interrupted: a round under way stays open until its deadline, and its budget is spent", told)


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM interrupts a round as Ctrl-C does, and says so."""

    def stop(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _progress(request: dict[str, Any], quiet: bool) -> Iterator[Any]:
    steps = Plan.from_bytes(canonical(request["plan"])).mechanisms() if "plan" in request else ()
    stages = 3 + 2 * len(steps)
    with terminal.bar(quiet=quiet) as bar:
        task = bar.add_task("opening the room", total=stages)
        yield lambda text: bar.update(task, advance=1, description=text)


# -- what it looks like ------------------------------------------------------------------------------------------------


def _show_forecast(plan: Plan) -> None:
    found = forecast.document(plan)
    table = Table("step", "numbers", "ρ", "one person moves", "σ of a share", "± 95 %", title=Text(plan.name))
    for step in forecast.steps(plan):
        moves, sigma = f"{step.bound:.2f}", f"{step.sigma:.1f}"
        table.add_row(step.name, f"{step.slots:,}", decimal(step.charge), moves, sigma, forecast.widths(step))
    console = terminal.console()
    console.print(table)
    console.print("moves, σ and intervals in persons")
    console.print(
        f"per record ρ {found['rho_record']}, ε {found['epsilon_record']:.2f}; "
        f"per person at all parties ρ {found['rho_person']}, ε {found['epsilon_person']:.2f}; δ {found['delta']}"
    )
    steps = counted(len(found["steps"]), "step")
    console.print(
        f"a round of {steps} takes {plan.least_s} s at least, with answer_after_s = {plan.answer_after_s}; it ends "
        f"within {plan.deadline_s} s"
    )
    console.print(f"digest {found['digest']}", soft_wrap=True)


def _status(plan: Plan, settings: Config) -> dict[str, Any]:
    path = settings.path("state") / "ledger.db"
    accounts = Accounts()
    if path.exists():
        with Logbook(path) as book:
            accounts = book.accounts
    rounds = [round_ for round_ in accounts.rounds.values() if round_.reserve.plan == plan.digest]
    entry = accounts.plans.get(plan.digest)
    return {
        "plan": plan.digest,
        "approved_by": sorted(entry.approvals) if entry else [],
        "rounds": [_round(round_) for round_ in rounds],
        "rho_spent": decimal(sum(plan.charge for round_ in rounds if round_.state != "refunded")),
        "rounds_left": _left(plan, accounts, settings),
    }


def _round(round_: Round) -> dict[str, Any]:
    reserve = round_.reserve
    at = dt.datetime.fromtimestamp(reserve.time, dt.UTC).strftime("%Y-%m-%d %H:%M:%S")
    released = f"{len(round_.commits)} of {len(reserve.steps)}"
    return {"round": reserve.round, "reserved_at": at, "state": round_.state, "released": released}


def _left(plan: Plan, accounts: Accounts, settings: Config) -> int:
    """How many more rounds of the plan the room's own caps would bear."""
    if not accounts.size:
        caps, each = settings.room.caps, len(plan.blocks)
        ever_record, ever_person = caps.lifetime_record // each, caps.lifetime_person // each
        return min(min(caps.record, ever_record) // plan.charge, min(caps.person, ever_person) // plan.charge_person)
    costs = {**dict.fromkeys(plan.parties, plan.charge), PERSON: plan.charge_person}
    left = [accounts.balance(who, block).left // cost for block in plan.blocks for who, cost in costs.items()]
    ever = [accounts.balance(who, LIFETIME).left // (cost * len(plan.blocks)) for who, cost in costs.items()]
    return max(0, min(*left, *ever))


def _show_status(plan: Plan, found: dict[str, Any]) -> None:
    console = terminal.console()
    who = ", ".join(found["approved_by"])
    print(f"plan {plan.digest[:SHORT]} {plan.name}: " + (f"approved by {who}" if who else "not in the ledger yet"))
    if found["rounds"]:
        table = Table("round", "reserved at, UTC", "state", "steps released")
        for round_ in found["rounds"]:
            table.add_row(round_["round"][:8], round_["reserved_at"], round_["state"], round_["released"])
        console.print(table)
    for round_ in found["rounds"]:
        if round_["state"] == "forfeited" and round_["released"].startswith("0 "):
            print(
                f"round {round_['round'][:8]} released nothing; where nothing left a party either, its charge is given "
                f"back by: sumroom-coordinator refund {round_['round'][:SHORT]} --config COORDINATOR.TOML"
            )
    more = found["rounds_left"]
    fit = "round fits" if more == 1 else "rounds fit"
    print(f"spent ρ {found['rho_spent']} per record; {more} more {fit} the room's caps")
