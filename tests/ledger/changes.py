"""Drafts of the entries by which a room changes, and of those that state what happened: see `drafts.py`."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from protocols import keys

from . import builder, naive

Body = dict[str, Any]
Sign = Callable[[str, Body], str]
CHANGES = ("key", "party")  # of who is in force
STATEMENTS = ("grant", "refund", "reuse", "deny", "egress", "audit")
UNSIGNED = ("seq", "time", "own", "others", "signatures", "signature", "by")


def second(label: str) -> MLDSA44PrivateKey:
    return MLDSA44PrivateKey.from_seed_bytes(hashlib.sha256(f"second {label}".encode()).digest())


class KeyRing:
    """Every private key that any entry ever named, by its public text."""

    def __init__(self) -> None:
        self.private: dict[str, Any] = {}
        for name in ("coordinator", *builder.PARTIES):
            self.make(name)

    def make(self, label: str, *, both: bool = False) -> Body:
        made: Body = {"key": self._keep(builder.key(label))}
        return {**made, "ml_dsa_44": self._keep(second(label))} if both else made

    def _keep(self, key: Any) -> str:
        text = keys.public_text(key)
        self.private[text] = key
        return text

    def sign(self, public: str, purpose: Any, body: Body) -> str:
        return keys.sign(self.private[public], purpose, body)

    def identity(self, member: Body) -> keys.Identity:
        second = member.get("ml_dsa_44")
        return keys.Identity(self.private[member["key"]], None if second is None else self.private[second])


class Changes:
    """one: draws one of its arguments."""

    def __init__(self, ring: KeyRing, history: list[Body], time: int, one: Callable[..., Any]) -> None:
        self.ring, self.history, self.time, self.one = ring, history, time, one
        self.now = naive.members(history)
        self.force = {party: member for party, member in self.now["parties"].items() if member}

    def make(self, kind: str) -> Body:
        body: Body = getattr(self, f"_{kind}")()
        return body

    def signed(self, body: Body) -> Body:
        """With the signatures that its type needs, made over what it is now."""
        words = {**naive.without(body, *UNSIGNED), "room": builder.ROOM}
        match body["type"]:
            case "key@v1" | "party@v1":
                by = body.pop("by")
                own = {at: self.ring.sign(key, "change", words) for at, key in by["own"].items()}
                others = {at: self.ring.sign(key, "change", words) for at, key in by["others"].items()}
                return {**body, "own": own, "others": others}
            case "grant@v1":
                by = body.pop("by")
                return {**body, "signatures": {who: self._by(who, "change", words) for who in by}}
            case "refund@v1":
                by, words = body.pop("by"), {"room": builder.ROOM, "round": body["round"], "sent": "nothing"}
                return {**body, "signatures": {who: self._by(who, "refund", words) for who in by}}
            case "egress@v1":
                return {**body, "signature": self._by(body["party"], "egress", words)}
            case "audit@v1":
                return {**body, "signature": self.ring.sign(body["key"], "audit", words)}
        return body

    def _by(self, who: str, purpose: str, words: Body) -> str:
        member = self.now["parties"].get(who) or {"key": keys.public_text(builder.key("coordinator"))}
        return self.ring.sign(member["key"], purpose, words)

    # -- who is in force -----------------------------------------------------------------------------------------------

    def _key(self) -> Body:
        origin = builder.ORIGIN
        who = self.one(*sorted(self.now["parties"]), origin)
        old = self.now["coordinator"] if who == origin else self.now["parties"][who]
        label = f"{who} {len(self.history)}"
        coordinator = {origin: self.now["coordinator"]["key"]} if self.now["coordinator"] else {}
        everybody = {**{party: member["key"] for party, member in self.force.items()}, **coordinator}
        others = {at: key for at, key in everybody.items() if at != who}
        action = self.one("rotate", "rotate", "add", "revoke") if old else self.one("add", "add", "rotate")
        if action == "revoke":
            return self._change(who, action, {"key": old["key"]}, {}, others)
        if action == "add" and old:
            new = {"key": old["key"], "ml_dsa_44": self.ring.make(label, both=True)["ml_dsa_44"]}
            return self._change(who, action, new, {"old": old["key"], "new_ml_dsa_44": new["ml_dsa_44"]}, {})
        new = self.ring.make(label, both=action == "add" or "ml_dsa_44" in old or self.one(False, False, True))
        own = {"new": new["key"], **({"new_ml_dsa_44": new["ml_dsa_44"]} if "ml_dsa_44" in new else {})}
        if action == "rotate":
            own["old"] = (old or self.ring.make("nobody"))["key"]
        return self._change(who, action, new, own, {} if action == "rotate" else others)

    def _change(self, who: str, action: str, new: Body, own: Body, others: Body) -> Body:
        return {"type": "key@v1", "action": action, "member": who, **new, "by": {"own": own, "others": others}}

    def _party(self) -> Body:
        inside = self.now["parties"]
        away = [name for name in ("delta", "epsilon", "alpha") if name not in inside]
        if away and self.one(True, False):
            who = away[0]
            both = any("ml_dsa_44" in member for member in self.force.values())
            new = self.ring.make(f"{who} {len(self.history)}", both=both)
            own = {"new": new["key"], **({"new_ml_dsa_44": new["ml_dsa_44"]} if both else {})}
            others = {party: member["key"] for party, member in self.force.items()}
            caps = dict.fromkeys([*naive.blocks(self.history), "lifetime"], self.one(60_000_000, 90_000_000))
            n = len(inside) + 1
        else:
            who = self.one(*sorted(inside))
            new, caps, n = {"key": naive.last_key(self.history, who)}, {}, max(1, len(inside) - 1)
            alone = inside[who] and self.one(True, False)
            own = {"old": inside[who]["key"]} if alone else {}
            others = {} if alone else {party: member["key"] for party, member in self.force.items() if party != who}
        action = "join" if caps else "leave"
        body = {"type": "party@v1", "action": action, "party": who, **new, "caps": caps, "cosign_quorum": n // 2 + 1}
        return {**body, "by": {"own": own, "others": others}}

    # -- budgets -------------------------------------------------------------------------------------------------------

    def _grant(self) -> Body:
        known, caps = naive.blocks(self.history), naive.caps(self.history)
        room = [*sorted(self.now["parties"]), "person"]
        if self.one(True, False, False):
            number = len(known)
            day = f"{2030 + number}-01-01"
            blocks = {f"b{number}": {"first": day, "last": day}}
            raised = {who: {f"b{number}": 50_000_000} for who in room}
            return {"type": "grant@v1", "blocks": blocks, "caps": raised, "by": sorted(self.force)}
        chosen = self.one(*([who] for who in room), room[:2])
        at = self.one(*sorted(known), "lifetime")
        raised = {who: {at: caps.get((who, at), 0) + self.one(1, 10_000_000)} for who in chosen}
        by = sorted(self.force) if "person" in chosen else chosen
        return {"type": "grant@v1", "blocks": {}, "caps": raised, "by": by}

    def _refund(self) -> Body:
        forfeited = {entry["round"] for entry in naive.of_type(self.history, "forfeit")}
        rounds = [entry for entry in naive.of_type(self.history, "reserve") if entry["round"] in forfeited]
        rounds = rounds or naive.of_type(self.history, "reserve")
        if not rounds:
            return {"type": "refund@v1", "round": "00" * 16, "by": []}
        reserve = self.one(*rounds)
        return {"type": "refund@v1", "round": reserve["round"], "by": sorted(reserve["charge"])}

    # -- statements ----------------------------------------------------------------------------------------------------

    def _reuse(self) -> Body:
        reserves = naive.of_type(self.history, "reserve")
        ended = [one for one in reserves if len(naive.of_round(self.history, one["round"])[1]) == len(one["steps"])]
        if not reserves:
            return {"type": "reuse@v1", "round": "00" * 16, "plan": "00" * 32, "datasets": {}}
        chosen = self.one(*(ended or reserves))
        return {"type": "reuse@v1", **{at: chosen[at] for at in ("round", "plan", "datasets")}}

    def _deny(self) -> Body:
        reason = self.one("not-approved", "not-held", "over-cap")
        no = self.one([], sorted(self.force)[:1], sorted(self.force))
        return {"type": "deny@v1", "plan": "77" * 32, "reason": reason, "parties": no}

    def _egress(self) -> Body:
        party = self.one(*(sorted(self.force) or builder.PARTIES))
        told = [entry for entry in naive.of_type(self.history, "egress") if entry["party"] == party]
        last = told[-1] if told else {"size": 0, "root": "00" * 32, "day": "2023-11-01"}
        today = dt.datetime.fromtimestamp(self.time, dt.UTC).date()
        since = dt.date.fromisoformat(last["day"])
        day = self.one(since + dt.timedelta(1), today - dt.timedelta(1))
        more = self.one(0, 5)
        root = last["root"] if not more else hashlib.sha256(f"{party} {day} {more}".encode()).hexdigest()
        size = last["size"] + more
        return {"type": "egress@v1", "party": party, "day": day.isoformat(), "size": size, "root": root}

    def _audit(self) -> Body:
        size = self.one(len(self.history), max(1, len(self.history) - 2), 1)
        root = naive.root(naive.spelled(entry) for entry in self.history[:size]).hex()
        auditor = self.ring.make(self.one("auditor", "another auditor"))["key"]
        files = {"bundle": self.one("33" * 32, "44" * 32), "policy": "55" * 32}
        body = {"type": "audit@v1", "auditor": "watcher", "key": auditor, "size": size, "root": root, **files}
        return {**body, "verdict": self.one("clean", "violation")}

    # -- what may be wrong ---------------------------------------------------------------------------------------------

    def spoiled(self, body: Body) -> list[Body]:
        """One field, or one signer, is another than it should be."""
        reserves = [entry["round"] for entry in naive.of_type(self.history, "reserve")]
        match body["type"]:
            case "key@v1" | "party@v1":
                return self._spoiled_change(body)
            case "grant@v1":
                return self._spoiled_grant(body)
            case "refund@v1":
                fewer = {"by": body["by"][:-1]}
                return [fewer, {"by": [*body["by"], "zeta"]}, *({"round": round_id} for round_id in reserves[:4])]
            case "reuse@v1":
                return [{"plan": "88" * 32}, {"datasets": {}}, *({"round": round_id} for round_id in reserves[:4])]
            case "deny@v1":
                return [{"parties": ["zeta"]}, {"parties": ["beta", "alpha"]}, {"reason": "why"}, {"plan": "x"}]
            case "egress@v1":
                today = dt.datetime.fromtimestamp(self.time, dt.UTC).date().isoformat()
                days = [{"day": today}, {"day": "2023-02-30"}, {"day": "2001-01-01"}, {"day": "2040-01-01"}]
                return [*days, {"size": max(0, body["size"] - 1)}, {"root": "99" * 32}, {"party": "zeta"}]
            case "audit@v1":
                wrong = [{"size": len(self.history) + 1}, {"size": 0}, {"root": "99" * 32}, {"verdict": "maybe"}]
                return [*wrong, {"key": next(iter(self.force.values()))["key"]} if self.force else {"size": 0}]
        return []

    def _spoiled_change(self, body: Body) -> list[Body]:
        own, others = body["by"]["own"], body["by"]["others"]
        first, strange = next(iter(self.force.values()), {"key": body["key"]})["key"], self.ring.make("stranger")
        less = {at: key for at, key in others.items() if at != min(others)} if others else {"alpha": first}
        wrong = [
            {"by": {"own": {}, "others": others}},
            {"by": {"own": own, "others": less}},
            {"by": {"own": {**own, "new": strange["key"]}, "others": others}},
            {"by": {"own": own, "others": {**others, "zeta": strange["key"]}}},
            {"by": {"own": own, "others": dict.fromkeys(others, strange["key"])}},
            {"key": first},
            {"key": strange["key"]},
            {"ml_dsa_44": self.ring.make("stranger", both=True)["ml_dsa_44"]},
            {"action": "rotate" if body["type"] == "key@v1" else "join"},
            {"action": "revoke" if body["type"] == "key@v1" else "leave"},
        ]
        if body["type"] == "key@v1":
            return [*wrong, {"member": "zeta"}, {"action": "add"}]
        n = len(self.now["parties"])
        more = [{"cosign_quorum": 1}, {"cosign_quorum": n + 2}, {"party": "person"}, {"party": builder.ORIGIN}]
        return [*wrong, *more, {"party": "alpha"}, {"caps": {}}, {"caps": {"lifetime": 1}}]

    def _spoiled_grant(self, body: Body) -> list[Body]:
        caps = naive.caps(self.history)
        who = next(iter(body["caps"]))
        at = next(iter(body["caps"][who]))
        return [
            {"by": body["by"][:-1]},
            {"by": [*body["by"], "zeta"]},
            {"caps": {**body["caps"], who: {at: max(1, caps.get((who, at), 0))}}},
            {"caps": {**body["caps"], "zeta": {at: 10**9}}},
            {"caps": {**body["caps"], who: {"nowhere": 10**9}}},
            {"caps": {}},
            {"blocks": {"lifetime": {"first": "2031-01-01", "last": "2031-01-01"}}},
            {"blocks": {"q1": {"first": "2031-01-01", "last": "2031-01-01"}}},
            {"blocks": {"new": {"first": "2017-01-01", "last": "2017-01-01"}}},
            {"blocks": {"new": {"first": "2051-01-01", "last": "2051-01-01"}}},
        ]
