"""What the auditor's tool prints, for people: tables of checks and budgets, and sentences about what they mean."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..budget import decimal
from ..ledger.fields import LIFETIME, PERSON
from ..terminal import plain
from ..verdict import Check, Cosigner, Event, Findings, Problem, counted
from .explain import Explanation
from .growth import Growth
from .recompute import Recomputed

_MARKS = {
    "ok": ("ok", "green"),
    "violation": ("VIOLATION", "bold red"),
    "not reached": ("not reached", "yellow"),
    "not asked": ("not asked", "dim"),
}
# kind of event → what such an entry means for a person in the data
MEANS = {
    "forfeit": "a round that did not finish; what it had reserved of your budget counts as spent",
    "refund": "a round that gave your budget back, because nothing about you had left",
    "cap": "more may be learnt about you than before; those whose data it is have signed for it",
    "key": "a member signs with other keys from here on",
    "party": "a company came or went",
    "egress": "a company's own statement of everything that it has sent; its operator can be held to it",
    "deny": "a question that was refused",
    "reuse": "an old answer was given out again; it tells nothing new about you",
    "audit": "somebody else has checked this history before",
}
SHOWN_EVENTS = 40

_OURS = (
    "ρ and ε are summed here from the noise that the entries state, not from what they say was charged. Our ε (zCDP) "
    "is the bound that is promised."
)
_THEIRS = (
    "PLD and RDP are Google's dp-accounting over the same mechanisms, taken as Gaussian. RDP is a bound like ours. PLD "
    "is tight for that noise, so ours − PLD is what our simpler sum gives away: it is not negative, but for the grid "
    "of PLD (0.0001 in ε) where next to nothing was spent. For information: no budget rests on it."
)


def show_verdict(findings: Findings, counts: Sequence[Recomputed], console: Console) -> None:
    """All that `verify` found."""
    entries = counted(findings.entries, "entry", "entries")
    last = f", the last of {when(findings.time)}" if findings.time else ""
    console.print(Text(plain(f"room {findings.room or '?'}: {entries}, root {findings.root or '?'}{last}")))
    console.print(_checks(findings))
    if findings.cosigners:
        console.print(_cosigners(findings.cosigners))
    if findings.budgets:
        console.print(_budgets(findings, counts))
    console.print(Text(tally(findings)))
    _show_events(findings.events, console)
    for check in findings.checks:  # last, so that nobody has to scroll for them
        for problem in check.problems:
            console.print(Text(plain(said(check, problem)), style="red"))
    console.print(verdict(findings))


def tally(findings: Findings) -> str:
    """Releases and their numbers, rounds without one, in a line."""
    if state(findings, "releases") == "not asked":
        matched = "releases were not asked for"
    else:
        numbers = counted(findings.numbers, "published number")
        matched = f"{counted(findings.releases, 'release')}, {numbers} matched to their entries, {orphans(findings)}"
    refunds = sum(1 for event in findings.events if event.kind == "refund")
    return (
        f"{matched}; {counted(findings.forfeits, 'forfeit')}, {counted(refunds, 'refund')}, "
        f"{counted(findings.open_rounds, 'round')} open"
    )


def orphans(findings: Findings) -> str:
    """How many releases no entry speaks of, in words."""
    problems = next(check.problems for check in findings.checks if check.name == "releases")
    return counted(sum(1 for problem in problems if problem.what.startswith("no commit")), "orphan")


def state(findings: Findings, name: str) -> str:
    """The state of one check."""
    return next(check.state for check in findings.checks if check.name == name)


def verdict(findings: Findings) -> Text:
    """The last line."""
    count = len(findings.violations)
    if count:
        return Text(f"VIOLATION: {count} found", style="bold red")
    unasked = [check.name for check in findings.checks if check.state == "not asked" and check.name != "since"]
    if unasked:
        return Text(f"clean, as far as it was asked: without {', '.join(unasked)}", style="bold green")
    return Text("clean", style="bold green")


def said(check: Check, problem: Problem) -> str:
    """A problem in one line."""
    where = "" if problem.where == check.name else f"{problem.where}: "
    return f"{check.name}: {where}{problem.what.removeprefix('entry: ')}"


def when(time: int) -> str:
    """Unix seconds as a day and a minute."""
    return dt.datetime.fromtimestamp(time, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")


def who(name: str) -> str:
    """Whose budget a line is about."""
    return "all parties (per person)" if name == PERSON else name


def rounded_up(epsilon: float) -> str:
    """ε with three digits, never less than it is."""
    return f"{math.ceil(epsilon * 1000) / 1000:.3f}"


def _checks(findings: Findings) -> Table:
    table = _table("check", "", "looked at", "for a person in the data")
    for check in findings.checks:
        table.add_row(check.name, Text(*_MARKS[check.state]), Text(plain(check.looked_at)), Text(check.promise))
    return table


def _cosigners(cosigners: Sequence[Cosigner]) -> Table:
    table = _table("cosigned by", "checkpoints here", "the last over", "at (its own clock)")
    for each in cosigners:
        entries = counted(each.size, "entry", "entries")
        table.add_row(each.party, str(each.checkpoints), entries, when(each.time))
    return table


def _budgets(findings: Findings, counts: Sequence[Recomputed]) -> Table:
    """ρ spent of the cap, and the ε it means at the δ of each plan: per record at a party, per person at all."""
    deltas = list(findings.budgets[0].epsilon)
    by_pld = {(each.who, each.block): each.pld or {} for each in counts}
    pld = [f"(PLD: {delta})" for delta in deltas] if by_pld else []
    table = _table(
        "one person's records at", "block", "ρ spent", "of cap", *(f"ε at δ = {delta}" for delta in deltas), *pld
    )
    for line in findings.budgets:
        epsilons = [rounded_up(line.epsilon[delta]) for delta in deltas]
        epsilons += [rounded_up(by_pld[line.who, line.block][delta]) for delta in deltas] if by_pld else []
        table.add_row(who(line.who), line.block, decimal(line.spent), decimal(line.cap), *epsilons)
    return table


def _show_events(events: Sequence[Event], console: Console) -> None:
    for kind, meaning in MEANS.items():
        found = [event for event in events if event.kind == kind]
        if found:
            console.print(Text(f"{kind}: {meaning}", style="bold"))
        for event in found[:SHOWN_EVENTS]:
            console.print(Padding(Text(plain(f"entry {event.entry}, {when(event.time)}: {event.what}")), (0, 0, 0, 2)))
        if len(found) > SHOWN_EVENTS:
            console.print(Text(f"  and {len(found) - SHOWN_EVENTS} more: --json or --report has them all"))


# --- the other commands ----------------------------------------------------------------------------------------------


def show_explanation(explained: Explanation, console: Console) -> None:
    """From a number to its cosigners."""
    for link in explained.links:
        console.print(Text(link.about, style="bold"))
        for sentence in link.said:
            console.print(Padding(Text(plain(sentence)), (0, 0, 0, 2)))


def show_recomputed(counts: Sequence[Recomputed], console: Console) -> None:
    """Every budget by each accountant, and by how much they differ."""
    deltas = list(counts[0].zcdp) if counts else []
    pld = any(each.pld is not None for each in counts)
    columns = ["one person's records at", "block", "mechanisms", "ρ"]
    for delta in deltas:
        columns += [f"ε at δ = {delta}", *(["by PLD", "by RDP", "ours − PLD"] if pld else [])]
    table = _table(*columns)
    for each in counts:
        cells = [who(each.who), each.block, str(each.mechanisms), decimal(each.rho)]
        for delta in deltas:
            cells.append(rounded_up(each.zcdp[delta]))
            if each.pld is not None and each.rdp is not None:
                cells += [rounded_up(each.pld[delta]), rounded_up(each.rdp[delta])]
                cells.append(f"{each.zcdp[delta] - each.pld[delta]:+.3f}")
        table.add_row(*cells)
    console.print(table)
    console.print(Text(_OURS))
    if pld:
        console.print(Text(_THEIRS))


def show_growth(grown: Growth, console: Console) -> None:
    """What became of a history since the last audit."""
    old, new = grown.old, grown.new
    for problem in grown.problems:
        console.print(Text(plain(f"{problem.where}: {problem.what}"), style="red"))
    if not grown.clean:
        console.print(Text(f"VIOLATION: {len(grown.problems)} found", style="bold red"))
        return
    entries = counted(old.entries, "entry", "entries")
    console.print(Text(f"room {new.room}: the {entries} of the last audit (root {old.root}) begin this history"))
    console.print(Text(f"{counted(new.entries - old.entries, 'new entry', 'new entries')}, root {new.root}"))
    table = _table("new", "how many")
    for kind, number in grown.types.items():
        table.add_row(kind, str(number))
    if grown.types:
        console.print(table)
    spent = {place: amount for place, amount in grown.spent.items() if amount}
    if spent:
        console.print(_spent(spent))
    console.print(Text(f"{counted(len(grown.releases), 'new release')}"))
    for name in grown.releases[:SHOWN_EVENTS]:
        console.print(Text(f"  {name}"))
    _show_events(grown.events, console)
    console.print(Text("clean: history only grew", style="bold green"))


def _spent(spent: Mapping[tuple[str, str], int]) -> Table:
    table = _table("one person's records at", "block", "ρ spent since")
    for (name, block), amount in spent.items():
        if block != LIFETIME:
            table.add_row(who(name), block, decimal(amount))
    return table


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold")
    return table
