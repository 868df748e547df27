"""Entries by which a room changes, and those that state what happened: signed as the rules want, unless a test
changes a field.

Each takes the accounts that it will be applied to, and any field of its body as a keyword. `own`, `others`,
`signatures` and `signature` are put in as they are; all other fields are signed as changed. A member's keys come from
a label; the first are of its name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from protocols import keys
from protocols.encoding import digest
from protocols.errors import Refused
from protocols.ledger import entries
from protocols.ledger.changes import Grant, KeyChange, PartyChange, change_body
from protocols.ledger.fields import LIFETIME
from protocols.ledger.reducer import Accounts
from protocols.ledger.statements import Audit, Egress, refund_body, statement_body
from tests.ledger import builder

ORIGIN = builder.ORIGIN
NEW_BLOCK = {"first": "2017-10-01", "last": "2017-12-31"}
DAY = "2023-11-13"  # the last that was over at START
SIGNED = {"own", "others", "signatures", "signature"}

Signer = Callable[[MLDSA44PrivateKey, Any], str]
_LABELS: dict[str, str] = {}


def ml_dsa_44(label: str) -> MLDSA44PrivateKey:
    """The same key for the same label, in every run. Its signatures are not: they are randomized (FIPS 204)."""
    return MLDSA44PrivateKey.from_seed_bytes(hashlib.sha256(label.encode()).digest())


def identity(label: str) -> keys.Identity:
    made = keys.Identity(builder.key(label), ml_dsa_44(label))
    _LABELS[keys.public_text(made.ed25519)] = label
    return made


def texts(label: str, *, both: bool = True) -> dict[str, str]:
    made = identity(label).public().texts()
    return made if both else {"key": made["key"]}


def label_of(accounts: Accounts, member: str) -> str:
    """The label of the keys that a member has in force, or had last; its name where it never was in the room."""
    members = accounts.members
    public = members.keys_of(member) or members.revoked.get(member)
    return member if public is None else _LABELS[keys.public_text(public.ed25519)]


def key_of(accounts: Accounts, member: str) -> Ed25519PrivateKey:
    return builder.key(label_of(accounts, member))


def _sign_with_ml_dsa_44(key: MLDSA44PrivateKey, body: Any) -> str:
    return keys.sign(key, "change", body)


class Room(builder.Room):
    """Its members have keys of both kinds; with both=False Ed25519 keys alone."""

    def __init__(
        self, parties: tuple[str, ...] = builder.PARTIES, caps: dict[str, Any] | None = None, *, both: bool = True
    ) -> None:
        super().__init__(parties, caps)
        self.both = both
        self.ml_dsa_44_signer: Signer = _sign_with_ml_dsa_44
        first = identity("coordinator")
        self.identity = first if both else keys.Identity(first.ed25519)

    def genesis(self, **changes: Any) -> entries.Entry:
        whole = {
            "type": "genesis@v2" if self.both else "genesis@v1",
            "coordinator": texts("coordinator", both=self.both),
            "parties": {party: texts(party, both=self.both) for party in self.parties},
        }
        return super().genesis(**{**whole, **changes})

    def keys_at(self, accounts: Accounts, member: str) -> keys.Identity:
        """With which a member signs checkpoints now."""
        public = accounts.members.keys_of(member)
        assert public is not None
        found = identity(label_of(accounts, member)).known_as(public)
        assert found is not None
        return found

    # --- members ------------------------------------------------------------------------------------------------------

    def rotate(self, accounts: Accounts, member: str, label: str, *, both: bool | None = None, **changes: Any) -> Any:
        new = texts(label, both=self.both if both is None else both)
        return self._key(accounts, member, {"action": "rotate", **new, **changes}, own=("old", "new"), label=label)

    def add_ml_dsa_44(self, accounts: Accounts, member: str, **changes: Any) -> Any:
        """A first ML-DSA-44 key beside the Ed25519 key in force."""
        label = label_of(accounts, member)
        return self._key(accounts, member, {"action": "add", **texts(label), **changes}, own=("old",), label=label)

    def add(self, accounts: Accounts, member: str, label: str, **changes: Any) -> Any:
        """New keys after a revocation."""
        body = {"action": "add", **texts(label), **changes}
        return self._key(accounts, member, body, own=("new",), label=label, others=others(accounts, member))

    def revoke(self, accounts: Accounts, member: str, **changes: Any) -> Any:
        label = label_of(accounts, member)
        body = {"action": "revoke", **texts(label, both=False), **changes}
        return self._key(accounts, member, body, own=(), label=label, others=others(accounts, member))

    def join(
        self, accounts: Accounts, party: str, label: str | None = None, *, both: bool | None = None, **changes: Any
    ) -> Any:
        label = label or party
        size = len(accounts.members.parties) + len(accounts.members.revoked) + 1
        body = {
            "action": "join",
            "party": party,
            **texts(label, both=self.both if both is None else both),
            "caps": {**dict.fromkeys(accounts.blocks, 60_000_000), LIFETIME: 150_000_000},
            "cosign_quorum": size // 2 + 1,
            **changes,
        }
        return self._party(accounts, body, own=("new",), label=label, others=others(accounts, party, coordinator=False))

    def leave(self, accounts: Accounts, party: str, *, sent_away: bool = False, **changes: Any) -> Any:
        """By its own wish, or sent away by the others."""
        label = label_of(accounts, party)
        size = len(accounts.members.parties) + len(accounts.members.revoked) - 1
        body = {
            "action": "leave",
            "party": party,
            **texts(label, both=False),
            "caps": {},
            "cosign_quorum": max(1, size // 2 + 1),
            **changes,
        }
        by = others(accounts, party, coordinator=False) if sent_away else {}
        return self._party(accounts, body, own=() if sent_away else ("old",), label=label, others=by)

    def _key(
        self,
        accounts: Accounts,
        member: str,
        body: dict[str, Any],
        *,
        own: tuple[str, ...],
        label: str,
        others: Mapping[str, Ed25519PrivateKey] | None = None,
    ) -> Any:
        whole = {**place(accounts), "type": "key@v1", "member": member, "own": {}, "others": {}, **body}
        return self._signed(accounts, member, whole, body, own, label, others or {})

    def _party(
        self,
        accounts: Accounts,
        body: dict[str, Any],
        *,
        own: tuple[str, ...],
        label: str,
        others: Mapping[str, Ed25519PrivateKey],
    ) -> Any:
        whole = {**place(accounts), "type": "party@v1", "own": {}, "others": {}, **body}
        return self._signed(accounts, body["party"], whole, body, own, label, others)

    def _signed(
        self,
        accounts: Accounts,
        member: str,
        whole: dict[str, Any],
        given: dict[str, Any],
        own: tuple[str, ...],
        label: str,
        others: Mapping[str, Ed25519PrivateKey],
    ) -> Any:
        draft = entries.build({**whole, "own": {}, "others": {}})
        assert isinstance(draft, KeyChange | PartyChange)
        body = change_body(draft, builder.ROOM)
        by = {"old": key_of(accounts, member), "new": builder.key(label)}
        signatures = {name: keys.sign(by[name], "change", body) for name in own}
        if draft.ml_dsa_44 is not None:
            signatures["new_ml_dsa_44"] = self.ml_dsa_44_signer(ml_dsa_44(label), body)
        of_others = {name: keys.sign(key, "change", body) for name, key in others.items()}
        return entries.build({**whole, "own": given.get("own", signatures), "others": given.get("others", of_others)})

    # --- budgets ------------------------------------------------------------------------------------------------------

    def grant(self, accounts: Accounts, caps: Any = None, *, by: Any = None, **changes: Any) -> Any:
        """A cap of alpha in q1, or other caps. by: who signs; those who must, if not said."""
        caps = {"alpha": {"q1": 70_000_000}} if caps is None else caps
        whole = {**place(accounts), "type": "grant@v1", "blocks": {}, "caps": caps, "signatures": {"a": "AAAA"}}
        whole.update(changes)
        draft = entries.build(whole)
        assert isinstance(draft, Grant)
        everybody = bool(whole["blocks"]) or "person" in caps
        names = (accounts.members.parties if everybody else caps) if by is None else by
        body = change_body(draft, builder.ROOM)
        signed = {name: keys.sign(key_of(accounts, name), "change", body) for name in names}
        return entries.build({**whole, "signatures": changes.get("signatures", signed)})

    def new_block(self, accounts: Accounts, name: str = "q4", block: Any = None, **changes: Any) -> Any:
        members = accounts.members
        caps = {party: {name: 60_000_000} for party in (*members.parties, *members.revoked)}
        caps = changes.pop("caps", {**caps, "person": {name: 180_000_000}})
        return self.grant(accounts, caps, blocks={name: block or NEW_BLOCK}, **changes)

    def refund(self, accounts: Accounts, label: str = "one", *, by: Any = None, **changes: Any) -> Any:
        round_id = builder.hex16(label)
        body = refund_body(builder.ROOM, round_id)
        names = self.parties if by is None else by
        signed = {name: keys.sign(key_of(accounts, name), "refund", body) for name in names}
        whole = {**place(accounts), "type": "refund@v1", "round": round_id, "signatures": signed}
        return entries.build({**whole, **changes})

    # --- statements ---------------------------------------------------------------------------------------------------

    def reuse(self, accounts: Accounts, label: str = "one", **changes: Any) -> Any:
        datasets = {party: builder.hex16(f"data of {party}") for party in self.parties}
        whole = {**place(accounts), "type": "reuse@v1", "round": builder.hex16(label), "plan": self.plan.digest}
        return entries.build({**whole, "datasets": datasets, **changes})

    def deny(self, accounts: Accounts, **changes: Any) -> Any:
        whole = {**place(accounts), "type": "deny@v1", "plan": digest(b"a plan"), "reason": "not-approved"}
        return entries.build({**whole, "parties": ["beta"], **changes})

    def egress(self, accounts: Accounts, party: str = "alpha", day: str = DAY, size: int = 3, **changes: Any) -> Any:
        body = {"party": party, "day": day, "size": size, "root": digest(f"{party} {size}".encode())}
        return self._statement(accounts, "egress", key_of(accounts, party), {**body, **changes})

    def audit(self, accounts: Accounts, auditor: str = "checker", **changes: Any) -> Any:
        body = {
            "auditor": auditor,
            "key": keys.public_text(builder.key(f"auditor {auditor}")),
            "size": accounts.size,
            "root": digest(b"a root"),
            "bundle": digest(b"a bundle"),
            "policy": digest(b"a policy"),
            "verdict": "clean",
        }
        return self._statement(accounts, "audit", builder.key(f"auditor {auditor}"), {**body, **changes})

    def _statement(self, accounts: Accounts, kind: Any, key: Ed25519PrivateKey, body: dict[str, Any]) -> Any:
        whole = {**place(accounts), "type": f"{kind}@v1", "signature": "AAAA", **body}
        draft = entries.build(whole)
        assert isinstance(draft, Egress | Audit)
        signed = keys.sign(key, kind, statement_body(draft, builder.ROOM))
        return entries.build({**whole, "signature": body.get("signature", signed)})

    # --- rounds, by the keys in force ---------------------------------------------------------------------------------

    def round(self, accounts: Accounts, label: str = "one", **changes: Any) -> Any:
        signers = {party: label_of(accounts, party) for party in self.parties}
        time = place(accounts)["time"]
        return self.reserve(accounts.size, label, signers=signers, **{"time": time, "expires": time + 60, **changes})


def others(accounts: Accounts, member: str, *, coordinator: bool = True) -> dict[str, Ed25519PrivateKey]:
    """Who must sign where the member cannot, each with its key."""
    members = accounts.members
    names = [party for party in members.parties if party != member]
    if coordinator and member != ORIGIN and members.coordinator is not None:
        names.append(ORIGIN)
    return {name: key_of(accounts, name) for name in names}


def place(accounts: Accounts) -> dict[str, int]:
    """Number and time of the next entry."""
    return {"seq": accounts.size, "time": max(accounts.time, builder.START + accounts.size)}


def state(accounts: Accounts) -> dict[str, Any]:
    """All that accounts know, without how to go back."""
    known = {name: value for name, value in vars(accounts).items() if name != "_undo"}
    return {name: dict(value) if isinstance(value, dict) else value for name, value in known.items()}


def refused(accounts: Accounts, entry: Any, match: str, error: type[Exception] = Refused) -> None:
    """The entry is refused for this, and nothing has changed."""
    before = state(accounts)
    with pytest.raises(error, match=match):
        accounts.apply(entries.decode(entries.encode(entry)))
    assert state(accounts) == before
