"""What an auditor wants to see one by one: rounds that ended early, and whatever changed in the room."""

from __future__ import annotations

from collections.abc import Iterable

from ..budget import decimal
from ..ledger.changes import Grant, KeyChange, PartyChange
from ..ledger.entries import Entry, Forfeit, Reserve
from ..ledger.fields import LIFETIME, PERSON
from ..ledger.statements import Audit, Deny, Refund, Reuse
from ..verdict import Event, counted
from .evidence import Evidence

_KEY_WORDS = {
    "add": "gets new keys",
    "rotate": "has new keys in the place of its old ones",
    "revoke": "has no valid key from here on: the old one was lost or stolen",
}


def describe(evidence: Evidence, entry: Entry) -> list[Event]:
    """What this entry says, if it is of that kind. The accounts are those before it."""
    match entry:
        case Reserve():
            evidence.counts["rounds"] += 1
            return []
        case Forfeit():
            evidence.counts["forfeits"] += 1
            kind, said = "forfeit", [f"round {entry.round} ended early ({entry.reason}); its budget stays spent"]
        case Refund():
            evidence.counts["refunds"] += 1
            kind, said = "refund", [_refund(evidence, entry)]
        case KeyChange():
            kind, said = "key", [f"{entry.member} {_KEY_WORDS[entry.action]}, {_consent(entry.own, entry.others)}"]
        case PartyChange():
            verb = "joins" if entry.action == "join" else "leaves"
            quorum = f"from here on {counted(entry.cosign_quorum, 'party', 'parties')} must cosign"
            kind, said = "party", [f"{entry.party} {verb}, {_consent(entry.own, entry.others)}; {quorum}"]
        case Grant():
            kind, said = "cap", list(_grant(evidence, entry))
        case Deny():
            who = f" by {_list(entry.parties)}" if entry.parties else ""
            kind, said = "deny", [f"plan {entry.plan} was refused{who} ({entry.reason}); nothing was spent"]
        case Reuse():
            kind, said = "reuse", [f"the releases of round {entry.round} were given out again, at no charge"]
        case Audit():
            words = f"{entry.auditor} has audited the first {entry.size} entries: {entry.verdict}"
            kind, said = "audit", [f"{words} (key {entry.key})"]
        case _:
            return []
    return [Event(entry.seq, entry.time, kind, what) for what in said]


def latest_egress(evidence: Evidence) -> list[Event]:
    """Each party's last statement of what its node has sent."""
    return [
        Event(
            said.seq,
            said.time,
            "egress",
            f"{party} states the root over the {counted(said.size, 'record')} of all that its node has sent up to "
            f"{said.day}: {said.root}",
        )
        for party, said in sorted(evidence.accounts.egress.items())
    ]


def _refund(evidence: Evidence, entry: Refund) -> str:
    round_ = evidence.accounts.rounds.get(entry.round)
    reserved = f"reserved by entry {round_.reserve.seq}, " if round_ else ""
    back = sum(step.charge for step in round_.reserve.steps) if round_ else 0
    return (
        f"round {entry.round}, {reserved}gives back ρ {decimal(back)} in each of its blocks: {_list(entry.signatures)} "
        "each signed that nothing of it had left them, and nothing was released"
    )


def _grant(evidence: Evidence, entry: Grant) -> Iterable[str]:
    signed = f"signed by {_list(entry.signatures)}"
    for name, block in sorted(entry.blocks.items()):
        yield f"a new block {name}, {block.first} to {block.last}, {signed}"
    balances = evidence.accounts.balances()
    for who, row in sorted(entry.caps.items()):
        for block_name, cap in sorted(row.items()):
            whose = "one person at all parties" if who == PERSON else f"one person's records at {who}"
            where = "over all blocks" if block_name == LIFETIME else f"in {block_name}"
            before = balances.get((who, block_name))
            was = f"raised from {decimal(before.cap)} to {decimal(cap)}" if before else f"set to {decimal(cap)}"
            yield f"the cap of {whose} {where} is {was}, {signed}"


def _consent(own: Iterable[str], others: Iterable[str]) -> str:
    signers = [word for word, there in (("itself", list(own)), (_list(others), list(others))) if there]
    return f"signed by {' and '.join(signers)}"


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
