"""The rules of the ledger a second time, from `protocols/specs/ledger-entry.md` alone, as naively as they can be said.

A history is the list of its entries as plain maps. Nothing is remembered between two questions: every sum is taken over
the whole history again, so there is nothing to undo, to fork or to get out of step.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
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


def signed_by(key: str, purpose: str, body: Any, signature: str, who: str) -> None:
    message = f"sumroom/{purpose}/v1".encode() + b"\0" + spelled(body)
    try:
        Ed25519PublicKey.from_public_bytes(base64.b64decode(key)).verify(base64.b64decode(signature), message)
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


def spent(history: Iterable[Entry], genesis: Entry) -> dict[tuple[str, str], tuple[int, int]]:
    """(party or `person`, block or `lifetime`) → (cap, spent)."""
    caps, reserves = genesis["caps"], of_type(history, "reserve")

    def by_record(party: str, block: str) -> int:
        return sum(entry["charge"].get(party, {}).get(block, 0) for entry in reserves)

    def by_person(block: str) -> int:
        return sum(
            person_cost(step["mechanism"]) for entry in reserves if block in entry["blocks"] for step in entry["steps"]
        )

    found = {}
    for party in genesis["parties"]:
        for block in genesis["blocks"]:
            found[party, block] = (caps["record"][party][block], by_record(party, block))
        lifetime = sum(by_record(party, block) for block in genesis["blocks"])
        found[party, "lifetime"] = (caps["lifetime_record"][party], lifetime)
    for block in genesis["blocks"]:
        found["person", block] = (caps["person"][block], by_person(block))
    found["person", "lifetime"] = (caps["lifetime_person"], sum(by_person(block) for block in genesis["blocks"]))
    return found


def check(history: list[Entry], entry: Entry) -> None:
    """Raise No unless `entry`, which is well-formed, may follow this history."""
    need(entry["seq"] == len(history), "its place")
    if not history:
        need(entry["type"].startswith("genesis"), "the first is a genesis")
        return
    need(entry["time"] >= history[-1]["time"], "from the past")
    kind = entry["type"].split("@")[0]
    need(kind in _RULES, "no other genesis")
    _RULES[kind](history, history[0], entry)


def _dataset(history: list[Entry], genesis: Entry, entry: Entry) -> None:
    need(entry["party"] in genesis["parties"], "a party of the room")
    need(set(entry["blocks"]) <= set(genesis["blocks"]), "blocks of the room")
    declared = [(other["party"], other["version"]) for other in of_type(history, "dataset")]
    need((entry["party"], entry["version"]) not in declared, "each version once")
    body = {**without(entry, "seq", "time", "signature"), "room": genesis["room"]}
    signed_by(genesis["parties"][entry["party"]]["key"], "dataset", body, entry["signature"], entry["party"])


def _plan(history: list[Entry], genesis: Entry, entry: Entry) -> None:
    need(all(entry["plan"] != other["plan"] for other in of_type(history, "plan")), "a plan once")
    need(set(entry["parties"]) <= set(genesis["parties"]), "parties of the room")
    for party, signature in entry["approvals"].items():
        body = {"plan": entry["plan"], "room": genesis["room"]}
        signed_by(genesis["parties"][party]["key"], "approval", body, signature, party)


def _reserve(history: list[Entry], genesis: Entry, entry: Entry) -> None:
    plan = next((other for other in of_type(history, "plan") if other["plan"] == entry["plan"]), None)
    need(plan is not None, "a plan of the ledger")
    assert plan is not None
    reserves = of_type(history, "reserve")
    need(all(entry["round"] != other["round"] for other in reserves), "a new round")
    used = {step["nonce"] for other in reserves for step in other["steps"]}
    need(not used & {step["nonce"] for step in entry["steps"]}, "a nonce once")
    need(entry["expires"] > entry["time"], "expires after its time")
    need(set(entry["blocks"]) <= set(genesis["blocks"]), "blocks of the room")
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
    for party, signature in entry["holds"].items():
        signed_by(genesis["parties"][party]["key"], "hold", body, signature, party)
    for at, (cap, taken) in spent([*history, entry], genesis).items():
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


_RULES: dict[str, Callable[[list[Entry], Entry, Entry], None]] = {
    "dataset": _dataset,
    "plan": _plan,
    "reserve": _reserve,
    "commit": _commit,
    "forfeit": _forfeit,
}
