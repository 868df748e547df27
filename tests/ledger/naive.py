"""The rules of the ledger a second time, from `protocols/specs/ledger-entry.md` alone, as naively as they can be said.

A history is the list of its entries as plain maps. Nothing is remembered between two questions: every sum is taken over
the whole history again, so there is nothing to undo, to fork or to get out of step.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

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


def check(history: list[Entry], entry: Entry) -> None:
    """Raise No unless `entry`, which is well-formed, may follow this history."""
    need(entry["seq"] == len(history), "its place")
    if not history:
        need(entry["type"].startswith("genesis"), "the first is a genesis")
        return
    need(entry["time"] >= history[-1]["time"], "from the past")
    kind = entry["type"].split("@")[0]
    need(kind in _RULES, "no other genesis")
    now = members(history)
    revoked = not now["coordinator"]
    replaces = kind == "key" and entry["action"] == "add" and entry["member"] == now["origin"]
    need(not revoked or replaces, "the coordinator has no key")
    _RULES[kind](history, history[0], entry)


def _dataset(history: list[Entry], genesis: Entry, entry: Entry) -> None:
    need(entry["party"] in in_force(history), "a party in force")
    need(set(entry["blocks"]) <= set(blocks(history)), "blocks of the room")
    declared = [(other["party"], other["version"]) for other in of_type(history, "dataset")]
    need((entry["party"], entry["version"]) not in declared, "each version once")
    body = {**without(entry, "seq", "time", "signature"), "room": genesis["room"]}
    signed_by(in_force(history)[entry["party"]]["key"], "dataset", body, entry["signature"], entry["party"])


def _plan(history: list[Entry], genesis: Entry, entry: Entry) -> None:
    need(all(entry["plan"] != other["plan"] for other in of_type(history, "plan")), "a plan once")
    need(set(entry["parties"]) <= set(in_force(history)), "parties in force")
    for party, signature in entry["approvals"].items():
        body = {"plan": entry["plan"], "room": genesis["room"]}
        signed_by(in_force(history)[party]["key"], "approval", body, signature, party)


def _reserve(history: list[Entry], genesis: Entry, entry: Entry) -> None:
    plan = next((other for other in of_type(history, "plan") if other["plan"] == entry["plan"]), None)
    need(plan is not None, "a plan of the ledger")
    assert plan is not None
    reserves = of_type(history, "reserve")
    need(all(entry["round"] != other["round"] for other in reserves), "a new round")
    used = {step["nonce"] for other in reserves for step in other["steps"]}
    need(not used & {step["nonce"] for step in entry["steps"]}, "a nonce once")
    need(entry["expires"] > entry["time"], "expires after its time")
    need(set(entry["blocks"]) <= set(blocks(history)), "blocks of the room")
    for step in entry["steps"]:
        _step(step, plan)
    for step in entry["steps"]:
        need(set(entry["charge"]) == set(step["mechanism"]["adders"]), "charge of exactly the adders")
    for party, row in entry["charge"].items():
        whole = sum(step["charge"] for step in entry["steps"] if party in step["mechanism"]["adders"])
        need(row == dict.fromkeys(entry["blocks"], whole), "charge is the steps' sum in exactly the blocks")
    _data(history, entry)
    need(set(entry["holds"]) == set(entry["charge"]), "holds of exactly the charged")
    body = {**without(entry, "seq", "time", "holds"), "room": genesis["room"]}
    need(set(entry["holds"]) <= set(in_force(history)), "holds by parties in force")
    for party, signature in entry["holds"].items():
        signed_by(in_force(history)[party]["key"], "hold", body, signature, party)
    for at, (cap, taken) in spent([*history, entry]).items():
        need(taken <= cap, f"the cap of {at}")


def _step(step: Mapping[str, Any], plan: Entry) -> None:
    mechanism = step["mechanism"]
    n, c, quorum = len(mechanism["adders"]), mechanism["collusion"], mechanism["quorum"]
    need(set(mechanism["adders"]) <= set(plan["parties"]), "adders are the plan's parties")
    need(millionths(mechanism["variance"]) >= 9 * 10**6, "variance at least 9")
    need(c == 0 if n == 1 else 1 <= c < n, "collusion")
    need(threshold(n, c) <= quorum <= n, "the quorum")
    need(step["charge"] == record_cost(mechanism), "the charge of a step")


def _data(history: list[Entry], entry: Entry) -> None:
    need(set(entry["datasets"]) == set(entry["charge"]), "datasets of exactly the charged")
    for party, version in entry["datasets"].items():
        declared = [other for other in of_type(history, "dataset") if other["party"] == party]
        need(bool(declared) and declared[-1]["version"] == version, "the latest dataset")
        need(set(entry["blocks"]) <= set(declared[-1]["blocks"]), "the dataset covers the blocks")


def _commit(history: list[Entry], genesis: Entry, entry: Entry) -> None:
    reserve, commits, _ = of_round(history, entry["round"])
    need(is_open(history, entry["round"]), "an open round")
    assert reserve is not None
    step = reserve["steps"][len(commits)]
    need(step["step"] == entry["step"], "the next of its steps")
    need(entry["time"] <= reserve["expires"], "not after the reserve expires")
    need(all(entry["digest"] != other["digest"] for other in of_type(history, "commit")), "a digest once")
    need(set(entry["survivors"]) <= set(step["mechanism"]["adders"]), "survivors are adders")
    need(len(entry["survivors"]) >= step["mechanism"]["quorum"], "survivors are the quorum")


def _forfeit(history: list[Entry], genesis: Entry, entry: Entry) -> None:
    need(is_open(history, entry["round"]), "an open round")


# -- changes of the room, and statements (ledger-changes.md) ----------------------------------------------------------


def _consent(history: list[Entry], entry: Entry, own: dict[str, str], others: dict[str, Any]) -> None:
    """own: which → the public key that signs; others: name → member."""
    need(set(entry["own"]) == set(own), "exactly its own signatures")
    need(set(entry["others"]) == set(others), "exactly the others' signatures")
    words = {**without(entry, "own", "others", "signatures", "seq", "time"), "room": history[0]["room"]}
    for which, signature in entry["own"].items():
        kind = MLDSA44PublicKey if which == "new_ml_dsa_44" else Ed25519PublicKey
        signed_by(own[which], "change", words, signature, which, kind)
    for who, signature in entry["others"].items():
        signed_by(others[who]["key"], "change", words, signature, who)


def _key(history: list[Entry], genesis: Entry, entry: Entry) -> None:
    now, force, who, ever = members(history), in_force(history), entry["member"], all_keys(history)
    is_log = who == now["origin"]
    need(is_log or who in now["parties"], "a member")
    old = now["coordinator"] if is_log else now["parties"][who]
    others = {party: member for party, member in force.items() if party != who}
    if now["coordinator"] and not is_log:
        others[now["origin"]] = now["coordinator"]
    key, second = entry["key"], entry.get("ml_dsa_44")
    with_second = {"new_ml_dsa_44": second} if second else {}
    if entry["action"] == "revoke":
        need(bool(old) and key == old["key"] and not second, "exactly the key in force")
        need(is_log or bool(set(force) - {who}), "not of the only party in force")
        _consent(history, entry, {}, others)
        return
    if entry["action"] == "rotate":
        need(bool(old), "a member with keys")
        need(bool(second) or "ml_dsa_44" not in old, "both keys succeeded")
        need(key not in ever and second not in ever, "new keys")
        _consent(history, entry, {"old": old["key"], "new": key, **with_second}, {})
    elif old:
        need("ml_dsa_44" not in old and key == old["key"] and bool(second), "an ML-DSA-44 key beside the other")
        need(second not in ever, "a new key")
        _consent(history, entry, {"old": key, **with_second}, {})
    else:
        need(bool(second) and key not in ever and second not in ever, "two new keys")
        _consent(history, entry, {"new": key, **with_second}, others)


def _party(history: list[Entry], genesis: Entry, entry: Entry) -> None:
    now, force, who, ever = members(history), in_force(history), entry["party"], all_keys(history)
    key, second = entry["key"], entry.get("ml_dsa_44")
    if entry["action"] == "join":
        need(who not in now["parties"] and who != now["origin"], "a free name")
        need(bool(second) or all("ml_dsa_44" not in member for member in force.values()), "an ML-DSA-44 key too")
        need(key not in ever and second not in ever, "new keys")
        need(set(entry["caps"]) == {*blocks(history), "lifetime"}, "caps of exactly the blocks")
        _consent(history, entry, {"new": key, **({"new_ml_dsa_44": second} if second else {})}, force)
    else:
        need(who in now["parties"] and key == last_key(history, who) and not second, "its last key")
        need(entry["caps"] == {}, "no caps")
        others = {party: member for party, member in force.items() if party != who}
        need(bool(others), "not the last party in force")
        for reserve in of_type(history, "reserve"):
            need(who not in reserve["charge"] or not is_open(history, reserve["round"]), "no open round")
        if entry["own"]:
            need(who in force, "in force, where it signs itself")
            _consent(history, entry, {"old": force[who]["key"]}, {})
        else:
            _consent(history, entry, {}, others)
    n = len(members([*history, entry])["parties"])
    need(n <= 64 and n < 2 * entry["cosign_quorum"] <= 2 * n, "a majority")


def _grant(history: list[Entry], genesis: Entry, entry: Entry) -> None:
    room, new, known, before = {*members(history)["parties"], "person"}, entry["blocks"], blocks(history), caps(history)
    need(not set(new) & set(known), "new blocks")
    spans = [(one["first"], one["last"]) for one in (*known.values(), *new.values())]
    need(all(first <= last for first, last in spans), "days in their order")
    days = sorted(spans)
    need(all(a[1] < b[0] for a, b in itertools.pairwise(days)), "no day in two blocks")
    need(set(entry["caps"]) <= room, "caps of who is in the room")
    for who in room:
        need(set(new) <= set(entry["caps"].get(who, {})), "a cap of everybody for a new block")
    for who, row in entry["caps"].items():
        for at, cap in row.items():
            need(at in known or at in new or at == "lifetime", "a block of the room")
            need(cap > before.get((who, at), 0), "a cap that is raised")
    force = in_force(history)
    all_of_them = bool(new) or "person" in entry["caps"]
    need(
        set(entry["signatures"]) == (set(force) if all_of_them else set(entry["caps"])), "signed by exactly the owners"
    )
    words = {**without(entry, "signatures", "seq", "time"), "room": genesis["room"]}
    for who, signature in entry["signatures"].items():
        need(who in force, "a party in force")
        signed_by(force[who]["key"], "change", words, signature, who)


def _refund(history: list[Entry], genesis: Entry, entry: Entry) -> None:
    reserve, commits, forfeited = of_round(history, entry["round"])
    need(reserve is not None and forfeited and not commits, "forfeited without a commit")
    assert reserve is not None
    need(all(entry["round"] != other["round"] for other in of_type(history, "refund")), "refunded once")
    need(set(entry["signatures"]) == set(reserve["charge"]), "signed by exactly the charged")
    words = {"room": genesis["room"], "round": entry["round"], "sent": "nothing"}
    for who, signature in entry["signatures"].items():
        need(who in in_force(history), "a party in force")
        signed_by(in_force(history)[who]["key"], "refund", words, signature, who)


def _reuse(history: list[Entry], genesis: Entry, entry: Entry) -> None:
    reserve, commits, _ = of_round(history, entry["round"])
    need(reserve is not None and len(commits) == len(reserve["steps"]), "all steps released")
    assert reserve is not None
    need(all(entry[at] == reserve[at] for at in ("plan", "datasets")), "its plan and data")


def _deny(history: list[Entry], genesis: Entry, entry: Entry) -> None:
    need(set(entry["parties"]) <= set(in_force(history)), "parties in force")


def _egress(history: list[Entry], genesis: Entry, entry: Entry) -> None:
    who, force = entry["party"], in_force(history)
    need(who in force, "a party in force")
    need(entry["day"] < time.strftime("%Y-%m-%d", time.gmtime(entry["time"])), "a day that is over")
    for other in of_type(history, "egress"):
        if other["party"] == who:
            need(entry["day"] > other["day"] and entry["size"] >= other["size"], "later, and no less")
            need(entry["size"] > other["size"] or entry["root"] == other["root"], "one root of a size")
    words = {**without(entry, "signature", "seq", "time"), "room": genesis["room"]}
    signed_by(force[who]["key"], "egress", words, entry["signature"], who)


def _audit(history: list[Entry], genesis: Entry, entry: Entry) -> None:
    need(entry["key"] not in all_keys(history), "no member's key")
    need(entry["size"] <= len(history), "a size that there was")
    need(root(spelled(one) for one in history[: entry["size"]]).hex() == entry["root"], "the root of it")
    for other in of_type(history, "audit"):
        need(any(other[at] != entry[at] for at in ("key", "size", "bundle")), "once")
    words = {**without(entry, "signature", "seq", "time"), "room": genesis["room"]}
    signed_by(entry["key"], "audit", words, entry["signature"], "the auditor")


_RULES: dict[str, Callable[[list[Entry], Entry, Entry], None]] = {
    "dataset": _dataset,
    "plan": _plan,
    "reserve": _reserve,
    "commit": _commit,
    "forfeit": _forfeit,
    "key": _key,
    "party": _party,
    "grant": _grant,
    "refund": _refund,
    "reuse": _reuse,
    "deny": _deny,
    "egress": _egress,
    "audit": _audit,
}
