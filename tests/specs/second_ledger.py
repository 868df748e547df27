"""A second reader of the entries by which a room changes, from the pages `ledger-changes.md` and `ledger-entry.md`,
and with nothing of the product. It takes what is allowed and says what a room is then; it does not refuse all that is
wrong, but no signature goes unchecked. The numbers in comments are the page's rules.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

Entry = dict[str, Any]


class Wrong(Exception):
    """A signature that does not verify, or is not there, or is too many."""


def signed(purpose: str, body: Any) -> bytes:
    """All texts of these bodies are ASCII, so that Python's own order and escapes are those of RFC 8785."""
    return f"sumroom/{purpose}/v1\0".encode() + json.dumps(body, sort_keys=True, separators=(",", ":")).encode()


def verify(key: str, signature: str, data: bytes) -> None:
    raw = base64.b64decode(key)
    public = Ed25519PublicKey.from_public_bytes(raw) if len(raw) == 32 else MLDSA44PublicKey.from_public_bytes(raw)
    try:
        public.verify(base64.b64decode(signature), data)
    except InvalidSignature:
        raise Wrong(signature[:8]) from None


class Room:
    """members: name, or the origin → its keys as they stand in an entry; None while it has none in force."""

    def __init__(self) -> None:
        self.members: dict[str, Entry | None] = {}
        self.caps: dict[tuple[str, str], int] = {}
        self.spent: dict[tuple[str, str], int] = {}
        self.reserves: dict[str, Entry] = {}
        self.room = self.origin = ""
        self.quorum = 0

    def parties(self) -> dict[str, Entry]:
        return {name: keys for name, keys in self.members.items() if keys is not None and name != self.origin}

    def take(self, entry: Entry) -> None:
        kind = entry["type"].split("@")[0]
        getattr(self, f"_{kind}", lambda _: None)(entry)

    def _genesis(self, e: Entry) -> None:
        self.room, self.origin, self.quorum, caps = e["room"], e["origin"], e["cosign_quorum"], e["caps"]
        self.members = {**e["parties"], e["origin"]: e["coordinator"]}
        rows = {**caps["record"], "person": caps["person"]}
        self._raise(rows)
        self._raise({who: {"lifetime": cap} for who, cap in caps["lifetime_record"].items()})
        self._raise({"person": {"lifetime": caps["lifetime_person"]}})

    def _raise(self, caps: dict[str, dict[str, int]]) -> None:
        self.caps.update({(who, block): cap for who, row in caps.items() for block, cap in row.items()})

    def _body(self, e: Entry, *left_out: str) -> Entry:
        return {
            **{name: value for name, value in e.items() if name not in (*left_out, "seq", "time")},
            "room": self.room,
        }

    def _each(self, signatures: dict[str, str], keys: dict[str, str], purpose: str, body: Entry) -> None:
        if set(signatures) != set(keys):
            raise Wrong(f"{sorted(signatures)} for {sorted(keys)}")
        for name, key in keys.items():
            verify(key, signatures[name], signed(purpose, body))

    def _own_and_others(self, e: Entry, own: dict[str, str], others: dict[str, str]) -> None:
        if "ml_dsa_44" in e:
            own = {**own, "new_ml_dsa_44": e["ml_dsa_44"]}  # (9)
        body = self._body(e, "own", "others")
        self._each(e["own"], own, "change", body)
        self._each(e["others"], others, "change", body)

    def _key(self, e: Entry) -> None:
        """(4)."""
        name, action = e["member"], e["action"]
        old = self.members[name]
        others = {member: keys["key"] for member, keys in self.members.items() if keys is not None and member != name}
        if action == "rotate":
            assert old is not None
            self._own_and_others(e, {"old": old["key"], "new": e["key"]}, {})
        elif action == "revoke":
            assert old is not None
            assert old["key"] == e["key"]
            self._own_and_others(e, {}, others)
        elif old is not None:
            assert old["key"] == e["key"]
            self._own_and_others(e, {"old": old["key"]}, {})
        else:
            self._own_and_others(e, {"new": e["key"]}, others)
        new = {kind: e[kind] for kind in ("key", "ml_dsa_44") if kind in e}
        self.members[name] = None if action == "revoke" else new

    def _party(self, e: Entry) -> None:
        """(5)."""
        name, others = e["party"], {party: keys["key"] for party, keys in self.parties().items() if party != e["party"]}
        if e["action"] == "join":
            self._own_and_others(e, {"new": e["key"]}, others)
            self.members[name] = {kind: e[kind] for kind in ("key", "ml_dsa_44") if kind in e}
            self._raise({name: e["caps"]})
        else:
            self._own_and_others(e, {"old": e["key"]} if e["own"] else {}, {} if e["own"] else others)
            del self.members[name]
        self.quorum = e["cosign_quorum"]

    def _grant(self, e: Entry) -> None:
        """(6)."""
        owners = self.parties() if e["blocks"] or "person" in e["caps"] else e["caps"]
        keys = {party: self.parties()[party]["key"] for party in owners}
        self._each(e["signatures"], keys, "change", self._body(e, "signatures"))
        self._raise(e["caps"])

    def _reserve(self, e: Entry) -> None:
        self.reserves[e["round"]] = e
        self._charge(e, 1)

    def _charge(self, e: Entry, sign: int) -> None:
        """12 of ledger entry: n · ⌈Δ² · 10^15 / (2 · variance in millionths)⌉ for each step."""
        noises = [step["mechanism"] for step in e["steps"]]
        person = sum(len(n["adders"]) * -(-n["sensitivity_sq"] * 10**15 // (2 * micro(n["variance"]))) for n in noises)
        for who, row in {**e["charge"], "person": dict.fromkeys(e["blocks"], person)}.items():
            for block, amount in row.items():
                for at in ((who, block), (who, "lifetime")):
                    self.spent[at] = self.spent.get(at, 0) + sign * amount

    def _refund(self, e: Entry) -> None:
        """(7)."""
        reserve = self.reserves.pop(e["round"])
        keys = {party: self.parties()[party]["key"] for party in reserve["charge"]}
        self._each(e["signatures"], keys, "refund", {"room": self.room, "round": e["round"], "sent": "nothing"})
        self._charge(reserve, -1)

    def _egress(self, e: Entry) -> None:
        verify(self.parties()[e["party"]]["key"], e["signature"], signed("egress", self._body(e, "signature")))

    def _audit(self, e: Entry) -> None:
        verify(e["key"], e["signature"], signed("audit", self._body(e, "signature")))


def micro(decimal: str) -> int:
    whole, _, part = decimal.partition(".")
    return int(whole) * 10**6 + int(part.ljust(6, "0"))
