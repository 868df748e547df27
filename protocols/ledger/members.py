"""Who is in the room, by which keys, after so many entries; and which signatures a change of that needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from ..errors import Refused
from ..keys import PublicKeys, check, public_key
from .changes import Grant, KeyChange, PartyChange, change_body
from .entries import Genesis
from .notes import VerifierKey, cosigner_keys, log_keys

_NOBODY: Mapping[str, PublicKeys] = MappingProxyType({})


@dataclass(frozen=True)
class Members:
    """The members in force at one size of the ledger.

    parties      party → its keys; without those that left, and those whose key was revoked and not yet replaced
    coordinator  None between the revocation of its key and the new one
    revoked      parties that are in the room, but have no key in force → the last they had
    quorum       how many parties must cosign an ordinary entry; all, where fewer have a key
    """

    room: str
    origin: str
    coordinator: PublicKeys | None
    parties: Mapping[str, PublicKeys] = field(default_factory=lambda: _NOBODY)
    revoked: Mapping[str, PublicKeys] = field(default_factory=lambda: _NOBODY)
    quorum: int = 1

    @classmethod
    def of(cls, genesis: Genesis) -> Members:
        """The members that a room begins with."""
        parties = {name: member.public for name, member in genesis.parties.items()}
        return cls(
            room=genesis.room,
            origin=genesis.origin,
            coordinator=genesis.coordinator.public,
            parties=MappingProxyType(parties),
            quorum=genesis.cosign_quorum,
        )

    @property
    def least(self) -> int:
        """How many cosignatures an ordinary entry needs."""
        return min(self.quorum, len(self.parties))

    def log_keys(self) -> tuple[VerifierKey, ...]:
        """The coordinator's keys for checkpoints; none while it has no key in force."""
        return () if self.coordinator is None else log_keys(self.origin, self.coordinator)

    def witness_keys(self) -> dict[str, tuple[VerifierKey, ...]]:
        """Party → the keys of its cosignatures. The witness's name is the party's."""
        return {name: cosigner_keys(name, keys) for name, keys in self.parties.items()}

    def keys_of(self, member: str) -> PublicKeys | None:
        """The keys in force of a party, or, by the ledger's origin, of the coordinator."""
        return self.coordinator if member == self.origin else self.parties.get(member)

    # --- changes: each gives the members after it, or raises Refused or IntegrityError -------------------------------

    def after_key(self, entry: KeyChange) -> Members:
        """After a change of keys. Raises Refused where it does not fit, IntegrityError for a signature."""
        old = self.keys_of(entry.member)
        if entry.action == "revoke":
            if old is None or old.ed25519 != public_key(entry.key):
                raise Refused(f"the key that is revoked is not the one of {entry.member} in force")
            self._check_others(entry, entry.member, entry.others, coordinator=True)
            if entry.member != self.origin and len(self.parties) == 1:
                raise Refused("the only party's key cannot be revoked: nobody would be left to cosign")
            return self._with(entry.member, None)
        if old is None:
            if entry.action != "add" or not (entry.member in self.revoked or entry.member == self.origin):
                raise Refused(f"{entry.member} has no key in force to {entry.action} another to")
            self._check_others(entry, entry.member, entry.others, coordinator=True)
            expected = {"new"}
        else:
            if entry.action == "add" and (old.ml_dsa_44 is not None or old.ed25519 != public_key(entry.key)):
                raise Refused(f"{entry.member} has keys in force: they are rotated, by a signature of the old one")
            if entry.action == "rotate" and old.ed25519 == public_key(entry.key):
                raise Refused(f"{entry.member} rotates to the key that it has")
            if entry.others:
                raise Refused(f"the keys of {entry.member} change by its own old key, without others' signatures")
            expected = {"old"} if entry.action == "add" else {"old", "new"}
        if entry.ml_dsa_44 is None and (old is None or old.ml_dsa_44 is not None or entry.action == "add"):
            raise Refused(f"the new keys of {entry.member} lack the ML-DSA-44 key")
        self._check_own(entry, entry.own, expected, old)
        return self._with(entry.member, entry.keys.public)

    def after_party(self, entry: PartyChange) -> Members:
        """After a party came or went. Raises as `after_key`."""
        if entry.action == "join":
            if entry.party in self.parties or entry.party in self.revoked or entry.party == self.origin:
                raise Refused(f"{entry.party} is in the room already")
            if entry.ml_dsa_44 is None and any(keys.ml_dsa_44 is not None for keys in self.parties.values()):
                raise Refused(f"{entry.party} brings no ML-DSA-44 key, which the others have")
            self._check_own(entry, entry.own, {"new"}, None)
            self._check_others(entry, entry.party, entry.others, coordinator=False)
            after = self._with(entry.party, entry.keys.public)
        else:
            old = self.parties.get(entry.party)
            last = old or self.revoked.get(entry.party)
            if last is None:
                raise Refused(f"{entry.party} is not a party of this room")
            if last.ed25519 != public_key(entry.key):
                raise Refused(f"the key named is not the last one of {entry.party}")
            if old is not None and entry.own:
                self._check_own(entry, entry.own, {"old"}, old)
                if entry.others:
                    raise Refused(f"{entry.party} leaves by its own wish, without others' signatures")
            else:
                if entry.own:
                    raise Refused(f"{entry.party} has no key in force to leave by")
                self._check_others(entry, entry.party, entry.others, coordinator=False)
            kept = {name: keys for name, keys in self.parties.items() if name != entry.party}
            left = {name: keys for name, keys in self.revoked.items() if name != entry.party}
            after = replace(self, parties=MappingProxyType(kept), revoked=MappingProxyType(left))
            if not kept:
                raise Refused("the last party of a room cannot leave")
        size = len(after.parties) + len(after.revoked)
        if not size // 2 < entry.cosign_quorum <= size:
            raise Refused(f"a quorum of {entry.cosign_quorum} is no majority of {size} parties")
        return replace(after, quorum=entry.cosign_quorum)

    def check_grant(self, entry: Grant, owners: Iterable[str]) -> None:
        """Raise IntegrityError unless exactly `owners`, all in force, have signed a grant."""
        wanted = set(owners)
        if set(entry.signatures) != wanted:
            raise Refused(f"the grant must be signed by exactly {_list(wanted)}, not by {_list(entry.signatures)}")
        body = change_body(entry, self.room)
        for party, signature in entry.signatures.items():
            if party not in self.parties:
                raise Refused(f"{party} has no key in force in this room")
            check(self.parties[party].ed25519, "change", body, signature, who=party)

    def _with(self, member: str, keys: PublicKeys | None) -> Members:
        if member == self.origin:
            return replace(self, coordinator=keys)
        parties = {name: of for name, of in self.parties.items() if name != member}
        revoked = {name: of for name, of in self.revoked.items() if name != member}
        (parties if keys is not None else revoked)[member] = keys or self.parties[member]
        ordered = MappingProxyType(dict(sorted(parties.items())))
        return replace(self, parties=ordered, revoked=MappingProxyType(revoked))

    def _check_own(
        self, entry: KeyChange | PartyChange, own: Mapping[str, str], expected: set[str], old: PublicKeys | None
    ) -> None:
        """The signatures of the member itself: by its old key where it has one, by each new key that it brings."""
        new = entry.keys.public
        expected = expected | ({"new_ml_dsa_44"} if new.ml_dsa_44 is not None else set())
        if set(own) != expected:
            raise Refused(
                f"the change needs the member's own signatures {_list(expected)}, and has {_list(own) or 'none'}"
            )
        body = change_body(entry, self.room)
        who = entry.member if isinstance(entry, KeyChange) else entry.party
        if "old" in expected and old is not None:
            check(old.ed25519, "change", body, own["old"], who=f"{who} (old key)")
        if "new" in expected:
            check(new.ed25519, "change", body, own["new"], who=f"{who} (new key)")
        if new.ml_dsa_44 is not None:
            check(new.ml_dsa_44, "change", body, own["new_ml_dsa_44"], who=f"{who} (new ML-DSA-44 key)")

    def _check_others(
        self, entry: KeyChange | PartyChange, member: str, others: Mapping[str, str], *, coordinator: bool
    ) -> None:
        """Every other party in force has signed, and where `coordinator` says so the coordinator too."""
        wanted = {name: keys.ed25519 for name, keys in self.parties.items() if name != member}
        if coordinator and member != self.origin and self.coordinator is not None:
            wanted[self.origin] = self.coordinator.ed25519
        if set(others) != set(wanted):
            raise Refused(
                f"the change needs the signatures of {_list(wanted)}, and has those of {_list(others) or 'nobody'}"
            )
        body = change_body(entry, self.room)
        for name, key in wanted.items():
            check(key, "change", body, others[name], who=name)


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
