"""The auditor's tool: `sumroom-audit verify room.tar --policy policy.txt`. Offline, and without any private key.

Exit status: 0 clean, 1 a violation (each named with its entry or file), 2 cannot decide (no whole archive, no readable
policy, wrong usage).
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from . import audit, bundle, terminal
from .budget import decimal
from .errors import CannotDecide, UsageError
from .ledger import trust
from .ledger.fields import PERSON
from .verdict import Check, Findings, Problem, counted

CLEAN, VIOLATION, CANNOT_DECIDE = 0, 1, 2

_MARKS = {
    "ok": ("ok", "green"),
    "violation": ("VIOLATION", "bold red"),
    "not reached": ("not reached", "yellow"),
    "not asked": ("not asked", "dim"),
}
_POLICY_BYTES = 1 << 20

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def _sumroom_audit() -> None:
    """Check, offline, what a room has released and what it spent."""


@app.command()
def verify(
    room: Annotated[str, typer.Argument(metavar="ROOM.TAR", help="The bundle to check; - reads it from stdin.")],
    policy: Annotated[str, typer.Option(metavar="POLICY.TXT", help="Whose keys you trust (C2SP tlog-policy).")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as one JSON document.")] = False,
) -> None:
    """Check every entry, signature, proof, budget and figure of a bundle against your own trust policy.

    Exit status: 0 clean, 1 a violation, 2 cannot decide.
    """
    if room == policy == "-":
        raise UsageError("bundle and policy cannot both come from stdin", "keep the policy in a file of your own")
    trusted = trust.parse(_read(policy, _POLICY_BYTES))
    findings = audit.verify(_read(room, bundle.MAX_BYTES), trusted)
    if as_json:
        print(json.dumps(_document(findings), indent=2))
    else:
        _show(findings, terminal.console())
    raise typer.Exit(VIOLATION if findings.violations else CLEAN)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status. Whatever keeps it from a verdict is `cannot decide`."""
    return terminal.run(app, "sumroom-audit", arguments, lambda _: CANNOT_DECIDE)


def _read(name: str, limit: int) -> bytes:
    try:
        if name == "-":
            data = sys.stdin.buffer.read(limit + 1)
        else:
            with open(name, "rb") as file:
                data = file.read(limit + 1)
    except OSError as exc:
        raise CannotDecide(f"cannot read {name}: {exc.strerror or type(exc).__name__}") from None
    if len(data) > limit:
        raise CannotDecide(f"{name} is larger than {limit} bytes")
    return data


def _document(findings: Findings) -> dict[str, Any]:
    verdict = "violation" if findings.violations else "clean"
    return {"verdict": verdict, **dataclasses.asdict(findings)}


def _show(findings: Findings, console: Console) -> None:
    console.print(
        Text(
            f"room {findings.room or '?'}: {counted(findings.entries, 'entry', 'entries')}, root {findings.root or '?'}"
        )
    )
    console.print(_checks_table(findings))
    if findings.budgets:
        console.print(_budgets_table(findings))
    console.print(Text(
        f"{counted(findings.releases, 'release')}, {counted(findings.numbers, 'published number')} matched to their "
        f"entries, {counted(findings.forfeits, 'forfeit')}, {counted(findings.open_rounds, 'round')} open"
    ))  # fmt: skip
    for check in findings.checks:  # last, so that nobody has to scroll for them
        for problem in check.problems:
            console.print(Text(terminal.plain(_said(check, problem)), style="red"))
    count = len(findings.violations)
    console.print(Text(f"VIOLATION: {count} found", style="bold red") if count else Text("clean", style="bold green"))


def _said(check: Check, problem: Problem) -> str:
    where = "" if problem.where == check.name else f"{problem.where}: "
    return f"{check.name}: {where}{problem.what.removeprefix('entry: ')}"


def _checks_table(findings: Findings) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("check", "", "looked at", "for a person in the data"):
        table.add_column(title, overflow="fold")
    for check in findings.checks:
        table.add_row(check.name, Text(*_MARKS[check.state]), Text(check.looked_at), Text(check.promise))
    return table


def _budgets_table(findings: Findings) -> Table:
    """ρ spent of the cap, and the ε it means at the δ of each plan: per record at a party, per person at all."""
    deltas = list(findings.budgets[0].epsilon)
    table = Table(box=None, pad_edge=False)
    for title in ("one person's records at", "block", "ρ spent", "of cap", *(f"ε at δ = {delta}" for delta in deltas)):
        table.add_column(title, overflow="fold")
    for line in findings.budgets:
        who = "all parties (per person)" if line.who == PERSON else line.who
        epsilons = [_rounded_up(line.epsilon[delta]) for delta in deltas]
        table.add_row(who, line.block, decimal(line.spent), decimal(line.cap), *epsilons)
    return table


def _rounded_up(epsilon: float) -> str:
    return f"{math.ceil(epsilon * 1000) / 1000:.3f}"
