"""The tables of `protocols/specs/ledger-entry.md`, one line a field: what a well-formed entry is."""

from __future__ import annotations

import base64
import itertools
import re
from collections.abc import Callable
from datetime import date
from typing import Any

Shape = Callable[[Any], bool]
MOST = 2**53 - 1


def text(pattern: str) -> Shape:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def whole(least: int, most: int = MOST) -> Shape:
    return lambda value: type(value) is int and least <= value <= most


def one_of(*values: Any) -> Shape:
    return lambda value: isinstance(value, str) and value in values


def listed(item: Shape, least: int, most: int, *, ascending: bool = False) -> Shape:
    def fits(value: Any) -> bool:
        if not isinstance(value, list) or not least <= len(value) <= most or not all(map(item, value)):
            return False
        return value == sorted(set(value)) if ascending else len(value) == len({str(one) for one in value})

    return fits


def mapped(item: Shape, least: int = 0, most: int = MOST) -> Shape:
    return lambda value: (
        isinstance(value, dict)
        and least <= len(value) <= most
        and all(name(at) and item(one) for at, one in value.items())
    )


def record(**fields: Shape) -> Shape:
    return lambda value: (
        isinstance(value, dict) and set(value) == set(fields) and all(fields[at](value[at]) for at in fields)
    )


def some_of(**fields: Shape) -> Shape:
    """A map of any of these fields."""
    return lambda value: isinstance(value, dict) and all(at in fields and fields[at](value[at]) for at in value)


def base64_of(size: int | None = None) -> Shape:
    def fits(value: Any) -> bool:
        try:
            raw = base64.b64decode(value, validate=True)
        except (ValueError, TypeError):
            return False
        return len(value) <= 8192 and base64.b64encode(raw).decode() == value and size in (None, len(raw))

    return fits


def day(value: Any) -> bool:
    try:
        return isinstance(value, str) and date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False


name = text(r"[a-z][a-z0-9_-]{0,39}")
hex16, digest = text(r"[0-9a-f]{32}"), text(r"[0-9a-f]{64}")
count, positive = whole(0), whole(1)
decimal = text(r"(0|[1-9][0-9]{0,24})(\.[0-9]{0,5}[1-9])?")
parties = listed(name, 1, 64, ascending=True)
names = listed(name, 1, MOST)
base = base64_of()
key = record(key=base64_of(32))
block = record(first=day, last=day)
mechanism = record(
    name=one_of("discrete_gaussian"),
    sensitivity_sq=positive,
    variance=decimal,
    slots=positive,
    adders=parties,
    quorum=positive,
    collusion=count,
)
step = record(step=name, nonce=hex16, mechanism=mechanism, charge=positive)
pointer = text(r"(?s)(?=.{1,400}\Z)(/([^~/]|~[01])*)+")

ENTRIES: dict[str, dict[str, Shape]] = {
    "genesis@v1": {
        "room": name,
        "origin": text(r"[^\s+]{1,255}"),
        "unit": one_of("person×party×block"),
        "accountant": one_of("zcdp"),
        "coordinator": key,
        "parties": mapped(key, 1, 64),
        "blocks": mapped(block, 1),
        "caps": record(
            record=mapped(mapped(count)),
            person=mapped(count),
            lifetime_record=mapped(count),
            lifetime_person=count,
        ),
        "cosign_quorum": positive,
    },
    "dataset@v1": {
        "party": name,
        "version": hex16,
        "blocks": names,
        "commitment": digest,
        "schema_digest": digest,
        "people_cap": positive,
        "signature": base,
    },
    "plan@v1": {"plan": digest, "parties": parties, "approvals": mapped(base)},
    "reserve@v1": {
        "round": hex16,
        "plan": digest,
        "steps": listed(step, 1, 1000),
        "blocks": names,
        "expires": count,
        "charge": mapped(mapped(count)),
        "datasets": mapped(hex16),
        "holds": mapped(base),
    },
    "commit@v1": {
        "round": hex16,
        "step": name,
        "digest": digest,
        "recipients": names,
        "numbers": listed(pointer, 0, 100_000),
        "survivors": parties,
    },
    "forfeit@v1": {
        "round": hex16,
        "reason": one_of("party-unavailable", "deadline", "refused", "coordinator-restart", "integrity"),
    },
}

_KEYS = {"key": base64_of(32), "ml_dsa_44": base64_of(1312)}
_CONSENT = {
    "own": some_of(old=base, new=base, new_ml_dsa_44=base),
    "others": lambda value: isinstance(value, dict) and len(value) <= 65 and all(map(base, value.values())),
}
ENTRIES |= {
    "key@v1": {"action": one_of("add", "rotate", "revoke"), "member": text(r"[^\s+]{1,255}"), **_KEYS, **_CONSENT},
    "party@v1": {
        "action": one_of("join", "leave"),
        "party": lambda value: name(value) and value != "person",
        **_KEYS,
        "caps": mapped(positive),
        "cosign_quorum": positive,
        **_CONSENT,
    },
    "grant@v1": {
        "blocks": lambda value: mapped(block)(value) and "lifetime" not in value,
        "caps": mapped(mapped(positive, 1), 1),
        "signatures": mapped(base),
    },
    "refund@v1": {"round": hex16, "signatures": mapped(base)},
    "reuse@v1": {"round": hex16, "plan": digest, "datasets": mapped(hex16)},
    "deny@v1": {
        "plan": digest,
        "reason": one_of("not-approved", "not-held", "over-cap"),
        "parties": listed(name, 0, 64, ascending=True),
    },
    "egress@v1": {"party": name, "day": day, "size": count, "root": digest, "signature": base},
    "audit@v1": {
        "auditor": name,
        "key": base64_of(32),
        "size": positive,
        "root": digest,
        "bundle": digest,
        "policy": digest,
        "verdict": one_of("clean", "violation"),
        "signature": base,
    },
}
LEFT_OUT = {"key@v1": {"ml_dsa_44"}, "party@v1": {"ml_dsa_44"}}


def fault(entry: Any) -> str | None:
    """Why this is no well-formed entry; None if it is one."""
    if not isinstance(entry, dict) or entry.get("type") not in ENTRIES:
        return "no known type"
    fields = {"seq": count, "time": count, "type": one_of(entry["type"]), **ENTRIES[entry["type"]]}
    if not set(fields) - LEFT_OUT.get(entry["type"], set()) <= set(entry) <= set(fields):
        return "another field, or one that is missing"
    wrong = [at for at, value in entry.items() if not fields[at](value)]
    if wrong:
        return f"its {wrong[0]}"
    if entry["type"] == "plan@v1" and set(entry["approvals"]) != set(entry["parties"]):
        return "approvals of exactly the parties"
    if entry["type"] == "reserve@v1":
        for field in ("step", "nonce"):
            if len({one[field] for one in entry["steps"]}) != len(entry["steps"]):
                return f"a {field} twice"
    return _genesis_fault(entry) if entry["type"] == "genesis@v1" else None


def _genesis_fault(entry: Any) -> str | None:
    members, blocks, caps = entry["parties"], entry["blocks"], entry["caps"]
    keys = [entry["coordinator"]["key"], *(member["key"] for member in members.values())]
    if len(set(keys)) != len(keys) or "person" in members or "lifetime" in blocks or entry["origin"] in members:
        return "a key twice, or a name that is taken"
    if entry["cosign_quorum"] > len(members):
        return "the quorum"
    if set(caps["record"]) != set(members) or set(caps["lifetime_record"]) != set(members):
        return "caps of exactly the parties"
    if any(set(row) != set(blocks) for row in (*caps["record"].values(), caps["person"])):
        return "caps of exactly the blocks"
    spans = sorted((one["first"], one["last"]) for one in blocks.values())
    if any(first > last for first, last in spans) or any(a[1] >= b[0] for a, b in itertools.pairwise(spans)):
        return "days of blocks"
    return None
