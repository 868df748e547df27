"""The rules of the ledger a second time, from `protocols/specs/ledger-entry.md` alone, as naively as they can be said.

A history is the list of its entries as plain maps. Nothing is remembered between two questions: every sum is taken over
the whole history again, so there is nothing to undo, to fork or to get out of step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from .views import Entry as Entry
from .views import No as No
from .views import all_keys as all_keys
from .views import blocks as blocks
from .views import caps as caps
from .views import ceil_div as ceil_div
from .views import consistency as consistency
from .views import in_force as in_force
from .views import is_open as is_open
from .views import last_key as last_key
from .views import members as members
from .views import millionths as millionths
from .views import need as need
from .views import of_round as of_round
from .views import of_type as of_type
from .views import person_cost as person_cost
from .views import read as read
from .views import record_cost as record_cost
from .views import root as root
from .views import signed_by as signed_by
from .views import spelled as spelled
from .views import spent as spent
from .views import threshold as threshold
from .views import without as without


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
    need(all(a[1] < b[0] for a, b in pairwise(days)), "no day in two blocks")
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
