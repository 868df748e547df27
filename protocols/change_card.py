"""A change of a room in words: who, what, from which cap to which, and what it means for a person in the data.

Everything here is the change, and the ledger as one's own copy has it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from . import terminal
from .accuracy import epsilon
from .budget import decimal
from .change import Entry, Proposal, Slot
from .ledger.changes import Grant, KeyChange, PartyChange
from .ledger.fields import LIFETIME, PERSON
from .ledger.state import State
from .ledger.statements import Audit

DELTA = 1e-6  # at which ε is shown, as in `sumroom-party status`
MOST_EPSILON = 30.0  # e^30 is more than there are people, and no float overflows


def show(proposal: Proposal, slots: Sequence[Slot], room: str, accounts: State | None, console: Console) -> None:
    """Print the card of a change. accounts: None where there is no copy of the ledger."""
    entry = proposal.entry()
    console.print(Text(f"{title(entry, accounts)}: a change of room {room}", style="bold"))
    for sentence in sentences(entry, accounts):
        console.print(Text(f"• {terminal.plain(sentence)}"))
    if rows := budgets(entry, accounts):
        console.print(_budgets_table(rows))
    if slots:
        table = Table("signature of", "", box=None, pad_edge=False)
        for slot in slots:
            table.add_row(Text(slot.who), "is there" if slot.signed else "is missing")
        console.print(table)
    else:
        console.print(Text("needs nobody's signature but the one it has"))
    console.print(Text(f"digest {proposal.digest(room)}"), soft_wrap=True)


def document(proposal: Proposal, slots: Sequence[Slot], room: str, accounts: State | None) -> dict[str, Any]:
    """The same for programs."""
    entry = proposal.entry()
    return {
        "what": title(entry, accounts),
        "room": room,
        "digest": proposal.digest(room),
        "sentences": list(sentences(entry, accounts)),
        "budgets": budgets(entry, accounts),
        "signatures": [{"who": slot.who, "where": slot.where, "name": slot.name, "signed": slot.signed}
                       for slot in slots],
        "entry": dict(proposal.body),
    }  # fmt: skip


def title(entry: Entry, accounts: State | None) -> str:
    """What it is, in a line."""
    match entry:
        case Grant():
            new = ", ".join(sorted(entry.blocks))
            return f"budget for new days ({new})" if new else "more budget"
        case KeyChange():
            verb = {"add": "gets new keys", "rotate": "changes its keys", "revoke": "loses its key"}[entry.action]
            return f"{_whose(entry.member, accounts)} {verb}"
        case PartyChange():
            return f"{entry.party} {'joins' if entry.action == 'join' else 'leaves'}"
        case Audit():  # pragma: no branch - there is no other type
            return f"the verdict of {entry.auditor}: {entry.verdict}"


def sentences(entry: Entry, accounts: State | None) -> Iterator[str]:
    """What it does, and what that means for a person in the data."""
    match entry:
        case Grant():
            yield from _of_grant(entry, accounts)
        case KeyChange():
            yield from _of_keys(entry, _whose(entry.member, accounts))
        case PartyChange():
            yield from _of_party(entry)
        case Audit():  # pragma: no branch - there is no other type
            yield f"{entry.auditor} says that the first {entry.size:,} entries are: {entry.verdict}"
            yield f"by its own key {entry.key}; bundle {entry.bundle[:16]}…, policy {entry.policy[:16]}…"
            yield "for a person in the data nothing changes: it states what was found, and spends nothing"


def budgets(entry: Entry, accounts: State | None) -> list[dict[str, Any]]:
    """Every cap that the change sets: whose, where, which days, ρ now and from then on, ε at `DELTA`, what is spent."""
    caps = entry.caps if isinstance(entry, Grant) else {}
    if isinstance(entry, PartyChange) and entry.action == "join":
        caps = {entry.party: entry.caps}
    known = {} if accounts is None else accounts.balances()
    rows = []
    for who, row in sorted(caps.items(), key=lambda item: (item[0] == PERSON, item[0])):
        for block, cap in sorted(row.items(), key=lambda item: (item[0] == LIFETIME, item[0])):
            before = known.get((who, block))
            now = 0 if before is None else before.cap
            rows.append({
                "who": who, "block": block, "days": _days(block, entry, accounts),
                "rho_cap_before": decimal(now), "rho_cap_after": decimal(cap),
                "rho_spent": decimal(0 if before is None else before.spent),
                "epsilon_before": round(epsilon(now, DELTA), 2), "epsilon_after": round(epsilon(cap, DELTA), 2),
            })  # fmt: skip
    return rows


def _budgets_table(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table("at", "in", "days", "ρ spent", "cap now", "cap then", f"ε, δ {DELTA:g}, now", "then")
    for row in rows:
        who = "all parties together" if row["who"] == PERSON else row["who"]
        block = "all blocks" if row["block"] == LIFETIME else row["block"]
        amounts = (row["rho_spent"], row["rho_cap_before"], row["rho_cap_after"])
        table.add_row(who, block, row["days"], *amounts, f"{row['epsilon_before']:.2f}", f"{row['epsilon_after']:.2f}")
    return table


def _of_grant(entry: Grant, accounts: State | None) -> Iterator[str]:
    for name, block in sorted(entry.blocks.items()):
        yield f"the days from {block.first} to {block.last} become block {name}: questions about them can be asked"
    worst = max((row for row in budgets(entry, accounts)), key=lambda row: float(row["rho_cap_after"]))
    now, then = _odds(worst["rho_cap_before"]), _odds(worst["rho_cap_after"])
    yield (
        "for a person in the data: when all that these caps allow is spent, whoever reads every result may become up "
        f"to {then} times surer, or less sure, that this person is among the customers; until now up to {now} times "
        f"(the largest cap below, except with chance {DELTA:g})"
    )
    yield "what is spent stays spent; a cap can be raised again with new signatures, and can never be lowered"
    if not any(LIFETIME in row for row in entry.caps.values()):
        yield "the caps over all blocks together stay as they are, and hold beside these"
    yield "a party's own limit over all its rooms (budget.record in its node.toml) holds whatever this says"


def _of_keys(entry: KeyChange, who: str) -> Iterator[str]:
    if entry.action == "revoke":
        yield f"the key {entry.key} of {who} counts no more, nor the one beside it; nothing is put in its place"
        yield "whatever it signed until then stays as it is: a charge, a release, an approval that is in the ledger"
        yield f"until {who} gets new keys it signs nothing: no plan that needs it can run"
        yield "for a person in the data: nothing more may be spent than before, and nothing released is called back"
        return
    yield f"new Ed25519 key {entry.key}"
    if entry.ml_dsa_44 is not None:
        yield f"new ML-DSA-44 key, SHA-256 {hashlib.sha256(entry.ml_dsa_44.encode()).hexdigest()[:32]} of its base64"
    if entry.action == "rotate":
        yield f"from the next entry on only these sign for {who}; the old ones count no more"
    else:
        yield f"make sure by another way, by telephone say, that these keys are made by {who}: your signature says so"
    yield "for a person in the data: nothing more may be spent than before"


def _of_party(entry: PartyChange) -> Iterator[str]:
    if entry.action == "leave":
        yield f"{entry.party} cosigns nothing more, and takes part in no plan; what its data have lost stays counted"
        yield "the results that it got stay with it"
        yield f"from then on {entry.cosign_quorum} cosignatures carry an ordinary entry"
        yield "for a person in the data: nothing more may be spent than before"
        return
    yield f"its Ed25519 key is {entry.key}"
    yield f"make sure by another way, by telephone say, that this key is made by {entry.party}: your signature says so"
    yield f"from then on every plan, charge and change needs its cosignature, and {entry.cosign_quorum} carry the rest"
    yield (
        "for a person in the data: one whom it knows too pays at one party more; what a person may lose at all parties "
        "together stays as it is"
    )


def _days(block: str, entry: Entry, accounts: State | None) -> str:
    if block == LIFETIME:
        return "all"
    found = entry.blocks.get(block) if isinstance(entry, Grant) else None
    if found is None and accounts is not None:
        found = accounts.blocks.get(block)
    return "?" if found is None else f"{found.first} to {found.last}"


def _whose(member: str, accounts: State | None) -> str:
    return "the coordinator" if accounts is not None and member == accounts.genesis.origin else member


def _odds(rho: str) -> str:
    return f"{math.exp(min(epsilon(round(float(rho) * 10**9), DELTA), MOST_EPSILON)):,.1f}"
