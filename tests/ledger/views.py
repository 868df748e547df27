"""What a history says, asked naively: see `naive.py`. Every sum is taken over the whole of it again."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from . import shapes

Entry = dict[str, Any]


class No(Exception):
    """The rule that an entry breaks."""


def need(held: bool, rule: str) -> None:
    if not held:
        raise No(rule)


def spelled(value: Any) -> bytes:
    """RFC 8785 of what the ledger holds: ASCII names, no floats."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def root(leaves: Iterable[bytes]) -> bytes:
    """RFC 6962 section 2.1, as it is printed there."""
    entries = list(leaves)
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    k = 1
    while 2 * k < len(entries):
        k *= 2
    return hashlib.sha256(b"\x01" + root(entries[:k]) + root(entries[k:])).digest()


def consistency(leaves: list[bytes], m: int) -> list[bytes]:
    """RFC 6962 section 2.1.2, as it is printed there: that the first m leaves begin these."""

    def subproof(m: int, part: list[bytes], whole: bool) -> list[bytes]:
        if m == len(part):
            return [] if whole else [root(part)]
        k = 1
        while 2 * k < len(part):
            k *= 2
        if m <= k:
            return [*subproof(m, part[:k], whole), root(part[k:])]
        return [*subproof(m - k, part[k:], False), root(part[:k])]

    return subproof(m, leaves, True) if m else []


def signed_by(key: str, purpose: str, body: Any, signature: str, who: str, kind: Any = Ed25519PublicKey) -> None:
    message = f"sumroom/{purpose}/v1".encode() + b"\0" + spelled(body)
    try:
        kind.from_public_bytes(base64.b64decode(key)).verify(base64.b64decode(signature), message)
    except (InvalidSignature, ValueError):
        raise No(f"the {purpose} signature of {who}") from None


def read(body: bytes) -> Entry:
    """The entry of exactly these bytes. Raises No where they are none."""
    try:
        entry = json.loads(body)
    except ValueError:
        raise No("no JSON") from None
    need(spelled(entry) == body, "another spelling")
    fault = shapes.fault(entry)
    need(fault is None, str(fault))
    return dict(entry)


def without(entry: Mapping[str, Any], *fields: str) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name not in fields}


def millionths(decimal: str) -> int:
    whole, _, rest = decimal.partition(".")
    return int(whole) * 10**6 + int((rest + "000000")[:6])


def ceil_div(a: int, b: int) -> int:
    return (a + b - 1) // b


def threshold(n: int, c: int) -> int:
    return min(n, max((n + c + 1) // 2 + 1, 2 * n // 3 + 1))


def record_cost(mechanism: Mapping[str, Any]) -> int:
    h = max(1, mechanism["quorum"] - mechanism["collusion"])
    return ceil_div(mechanism["sensitivity_sq"] * 10**15, 2 * h * millionths(mechanism["variance"]))


def person_cost(mechanism: Mapping[str, Any]) -> int:
    one = ceil_div(mechanism["sensitivity_sq"] * 10**15, 2 * millionths(mechanism["variance"]))
    return len(mechanism["adders"]) * one


def of_type(history: Iterable[Entry], kind: str) -> list[Entry]:
    return [entry for entry in history if entry["type"].split("@")[0] == kind]


def of_round(history: Iterable[Entry], round_id: str) -> tuple[Entry | None, list[Entry], bool]:
    """The reserve, the commits so far, whether it was forfeited."""
    reserve = next((entry for entry in of_type(history, "reserve") if entry["round"] == round_id), None)
    commits = [entry for entry in of_type(history, "commit") if entry["round"] == round_id]
    forfeited = any(entry["round"] == round_id for entry in of_type(history, "forfeit"))
    return reserve, commits, forfeited


def is_open(history: Iterable[Entry], round_id: str) -> bool:
    history = list(history)
    reserve, commits, forfeited = of_round(history, round_id)
    return reserve is not None and not forfeited and len(commits) < len(reserve["steps"])


# -- what the changes so far have made of the room ---------------------------------------------------------------------


def members(history: Iterable[Entry]) -> dict[str, Any]:
    """origin, coordinator, parties, quorum: after the last entry. A member whose keys are revoked has none."""
    now: dict[str, Any] = {}
    for entry in history:
        new = {at: entry[at] for at in ("key", "ml_dsa_44") if at in entry}
        if entry["type"].startswith("genesis"):
            now = {at: entry[at] for at in ("origin", "coordinator", "parties")} | {"quorum": entry["cosign_quorum"]}
        elif entry["type"] == "key@v1":
            new = {} if entry["action"] == "revoke" else new
            if entry["member"] == now["origin"]:
                now = {**now, "coordinator": new}
            else:
                now = {**now, "parties": {**now["parties"], entry["member"]: new}}
        elif entry["type"] == "party@v1":
            others = {party: member for party, member in now["parties"].items() if party != entry["party"]}
            joined = {entry["party"]: new} if entry["action"] == "join" else {}
            now = {**now, "parties": {**others, **joined}, "quorum": entry["cosign_quorum"]}
    return now


def in_force(history: Iterable[Entry]) -> dict[str, dict[str, str]]:
    return {party: member for party, member in members(history)["parties"].items() if member}


def last_key(history: list[Entry], party: str) -> str:
    """The last Ed25519 key that it had."""
    had = [members(history[:size])["parties"].get(party, {}).get("key") for size in range(1, len(history) + 1)]
    return str([key for key in had if key][-1])


def all_keys(history: Iterable[Entry]) -> set[str]:
    """Every key that any member ever brought, of both kinds."""
    found = set()
    for entry in history:
        brought = [entry] if entry["type"] in ("key@v1", "party@v1") else []
        if entry["type"].startswith("genesis"):
            brought = [entry["coordinator"], *entry["parties"].values()]
        found |= {one[at] for one in brought for at in ("key", "ml_dsa_44") if at in one}
    return found


def blocks(history: Iterable[Entry]) -> dict[str, Any]:
    """Of the genesis and of every grant."""
    found: dict[str, Any] = {}
    for entry in history:
        if entry["type"].startswith("genesis") or entry["type"] == "grant@v1":
            found |= entry["blocks"]
    return found


def caps(history: Iterable[Entry]) -> dict[tuple[str, str], int]:
    """(party or `person`, block or `lifetime`) → cap."""
    found = {}
    for entry in history:
        if entry["type"].startswith("genesis"):
            first = entry["caps"]
            rows = {
                party: {**row, "lifetime": first["lifetime_record"][party]} for party, row in first["record"].items()
            }
            rows["person"] = {**first["person"], "lifetime": first["lifetime_person"]}
        elif entry["type"] == "grant@v1":
            rows = entry["caps"]
        elif entry["type"] == "party@v1":
            rows = {entry["party"]: entry["caps"]}
        else:
            continue
        found |= {(who, at): cap for who, row in rows.items() for at, cap in row.items()}
    return found


def spent(history: Iterable[Entry]) -> dict[tuple[str, str], tuple[int, int]]:
    """(party or `person`, block or `lifetime`) → (cap, spent)."""
    history = list(history)
    refunded = {entry["round"] for entry in of_type(history, "refund")}
    reserves = [entry for entry in of_type(history, "reserve") if entry["round"] not in refunded]
    known = blocks(history)

    def by_record(party: str, block: str) -> int:
        return sum(entry["charge"].get(party, {}).get(block, 0) for entry in reserves)

    def by_person(block: str) -> int:
        return sum(
            person_cost(step["mechanism"]) for entry in reserves if block in entry["blocks"] for step in entry["steps"]
        )

    def used(who: str, block: str) -> int:
        if block == "lifetime":
            return sum(used(who, one) for one in known)
        return by_person(block) if who == "person" else by_record(who, block)

    return {(who, block): (cap, used(who, block)) for (who, block), cap in caps(history).items()}
