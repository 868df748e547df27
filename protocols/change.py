"""A change of a room on its way round those who must sign it: the body of an entry, in a file, without place and time.

    change.json    key@v1, party@v1, grant@v1 or audit@v1 without `seq` and `time`; it is no secret

Whose signatures it needs is what the rules say: `OnTrial` runs them over it before all signatures are there, and
collects those that they ask for. Nothing here is trusted: every node runs the same rules over the finished entry.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from .encoding import canonical, digest
from .errors import IntegrityError, Refused, UsageError
from .keys import Identity, PublicKey, PublicKeys, check, sign
from .ledger.changes import Grant, KeyChange, PartyChange, change_body
from .ledger.entries import build
from .ledger.members import Members
from .ledger.reducer import Accounts
from .ledger.statements import Audit, statement_body

LONGEST = 1 << 20  # bytes of a file; an entry has no more
Entry = KeyChange | PartyChange | Grant | Audit
Body = Mapping[str, Any]
Where = Literal["own", "others", "signatures"]

_TYPES = ("key@v1", "party@v1", "grant@v1", "audit@v1")
# An entry without signatures is none, and what is signed leaves them out.
_NO_SIGNATURES = {"nobody": "AA=="}


@dataclass(frozen=True)
class Slot:
    """One signature that a change needs. who: whose, in words; key: by which it is given; signed: it is there."""

    where: Where
    name: str
    key: PublicKey
    who: str
    signed: bool


@dataclass(frozen=True)
class Proposal:
    """A change as its file has it. `body` has every field of the entry but `seq` and `time`."""

    body: Body

    @classmethod
    def of(cls, body: Body, *, where: str = "the change") -> Proposal:
        """Raises UsageError for what is no change of a room, or has fields that no entry has."""
        kind = body.get("type")
        if kind not in _TYPES:
            raise UsageError(f"{where} is no change of a room, but {str(kind)[:40]!r}", f"one is {', '.join(_TYPES)}")
        placed = sorted({"seq", "time"} & set(body))
        if placed:
            raise UsageError(f"{where} has {placed[0]}, which the coordinator gives it", "take the field out")
        if kind == "audit@v1":  # its auditor's paper names the room, too, which the signature is over
            body = {name: value for name, value in body.items() if name != "room"}
        made = cls(dict(body))
        try:
            made.entry()
        except IntegrityError as exc:
            raise UsageError(f"{where}: {exc.message.removeprefix('entry: ')}") from None
        return made

    @classmethod
    def from_bytes(cls, data: bytes, *, where: str) -> Proposal:
        """The change in a file. Raises UsageError."""
        if len(data) > LONGEST:
            raise UsageError(f"{where} has more than {LONGEST:,} bytes")
        try:
            value = json.loads(data.decode("utf-8"), object_pairs_hook=_each_once)
        except (ValueError, RecursionError):
            raise UsageError(f"{where} is not JSON with each name once", "is it the file that was handed on?") from None
        if not isinstance(value, dict):
            raise UsageError(f"{where} is no change of a room", f"one is {', '.join(_TYPES)}")
        return cls.of(value, where=where)

    def to_bytes(self) -> bytes:
        """What is written into a file: JSON, for people to look at too."""
        return (json.dumps(self.body, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()

    def entry(self, seq: int = 0, time: int = 0) -> Entry:
        """The entry that it would be. A grant that nobody has signed yet is shown as signed by nobody."""
        body = {**self.body, "seq": seq, "time": time}
        if body["type"] == "grant@v1" and not body.get("signatures"):
            body["signatures"] = _NO_SIGNATURES
        made = build(body)
        assert isinstance(made, Entry)  # by its type
        return made

    def signed(self, room: str) -> dict[str, Any]:
        """What is signed, by whoever signs it."""
        entry = self.entry()
        return statement_body(entry, room) if isinstance(entry, Audit) else change_body(entry, room)

    def digest(self, room: str) -> str:
        """SHA-256 of what is signed, 64 hex digits: what two people compare who have the file from each other."""
        return digest(canonical(self.signed(room)))

    def with_signatures(self, added: Iterable[tuple[Slot, str]]) -> Proposal:
        """The same with more signatures."""
        body = {**self.body}
        for slot, signature in added:
            body[slot.where] = {**body.get(slot.where, {}), slot.name: signature}
        return Proposal(body)


class OnTrial(Accounts):
    """A room's accounts, on which changes can be tried before everybody has signed them."""

    def __init__(self) -> None:
        super().__init__()
        self._slots: list[Slot] | None = None

    @property
    def members(self) -> Members:
        now = super().members
        if self._slots is None:
            return now
        return _Lenient(**{f.name: getattr(now, f.name) for f in fields(Members)}, slots=self._slots)

    def slots(self, proposals: Sequence[Proposal]) -> tuple[Slot, ...]:
        """The signatures that the last of these changes needs, entered one after the other; the accounts stay.

        Raises Refused where the rules would not have one of them now, whoever signs it; IntegrityError for a signature
        in one that is there and wrong.
        """
        mark = self.mark()
        try:
            for proposal in proposals:
                self._slots = []
                self.apply(proposal.entry(self.size, self.time))
            return tuple(self._slots or ())
        finally:
            self._slots = None
            self.roll_back(mark)


@dataclass(frozen=True)
class _Lenient(Members):
    """Members that let a signature be missing, and note that it is; one that is there must be right."""

    slots: list[Slot] = field(default_factory=list)

    def check_grant(self, entry: Grant, owners: Iterable[str]) -> None:
        wanted = {}
        for name in sorted(owners):
            if name not in self.parties:
                raise Refused(f"{name} has no key in force in this room")
            wanted[name] = (self.parties[name].ed25519, name)
        given = {} if entry.signatures == _NO_SIGNATURES else entry.signatures
        self._note("signatures", entry, given, wanted)

    def _check_others(
        self, entry: KeyChange | PartyChange, member: str, others: Mapping[str, str], *, coordinator: bool
    ) -> None:
        wanted: dict[str, tuple[PublicKey, str]] = {
            name: (keys.ed25519, name) for name, keys in sorted(self.parties.items()) if name != member
        }
        if coordinator and member != self.origin and self.coordinator is not None:
            wanted[self.origin] = (self.coordinator.ed25519, "the coordinator")
        self._note("others", entry, others, wanted)

    def _check_own(
        self, entry: KeyChange | PartyChange, own: Mapping[str, str], expected: set[str], old: PublicKeys | None
    ) -> None:
        wanted = own_keys(entry, expected, old, self.origin)
        self._note("own", entry, own, wanted)

    def _note(
        self,
        where: Where,
        entry: KeyChange | PartyChange | Grant,
        given: Mapping[str, str],
        wanted: Mapping[str, tuple[PublicKey, str]],
    ) -> None:
        strangers = sorted(set(given) - set(wanted))
        if strangers:
            raise Refused(f"{strangers[0]} has signed in `{where}`, where its signature has no business")
        body = change_body(entry, self.room)
        for name, (key, who) in wanted.items():
            if name in given:
                check(key, "change", body, given[name], who=who)
            self.slots.append(Slot(where, name, key, who, name in given))


def own_keys(
    entry: KeyChange | PartyChange, expected: set[str], old: PublicKeys | None, origin: str = ""
) -> dict[str, tuple[PublicKey, str]]:
    """The signatures of the member itself: which → (key, whose in words). expected: among `old` and `new`."""
    new = entry.keys.public
    named = entry.member if isinstance(entry, KeyChange) else entry.party
    who = "the coordinator" if named == origin else named
    wanted: dict[str, tuple[PublicKey, str]] = {}
    if "old" in expected and old is not None:
        wanted["old"] = (old.ed25519, f"{who}, by its key until now")
    if "new" in expected:
        wanted["new"] = (new.ed25519, f"{who}, by its new key")
    if new.ml_dsa_44 is not None:
        wanted["new_ml_dsa_44"] = (new.ml_dsa_44, f"{who}, by its new ML-DSA-44 key")
    return wanted


def slots_of_join(proposal: Proposal, room: str) -> tuple[Slot, ...]:
    """What one that joins must sign itself: all that it can know of a room whose ledger it has not got yet.

    Raises UsageError for another change, IntegrityError for a wrong signature.
    """
    entry = proposal.entry()
    if not isinstance(entry, PartyChange) or entry.action != "join":
        raise UsageError("without a copy of the ledger only one's own joining can be signed", "name it with --config")
    body, slots = proposal.signed(room), []
    for name, (key, who) in own_keys(entry, {"new"}, None).items():
        if name in entry.own:
            check(key, "change", body, entry.own[name], who=who)
        slots.append(Slot("own", name, key, who, name in entry.own))
    return tuple(slots)


def add_signatures(proposal: Proposal, slots: Iterable[Slot], held: Iterable[Identity], room: str) -> Proposal | None:
    """The change with every signature that is missing and that one of these identities can give; None if there is none.

    Which key may fill which slot is not a matter of names: a slot says by which key it must be signed. Raises Refused
    where the old key would hand its place to a new one that is not here.
    """
    private = [key for identity in held for key in identity.private]
    body, added = proposal.signed(room), []
    entry = proposal.entry()
    new = [entry.keys.public.ed25519, entry.keys.public.ml_dsa_44] if isinstance(entry, KeyChange) else []
    strange = [one for one in new if one is not None and all(key.public_key() != one for key in private)]
    for slot in slots:
        mine = [key for key in private if key.public_key() == slot.key]
        if mine and slot.name == "old" and strange:
            raise Refused(
                "the new key is none that you hold: whoever has it would be you from then on",
                "a party makes its own new keys: sumroom-party change rotate-key",
            )
        if mine and not slot.signed:
            added.append((slot, sign(mine[0], "change", body)))
    return proposal.with_signatures(added) if added else None


def content(body: Body) -> str:
    """The digest of an entry's body without signatures, place and time: the same for the same change."""
    left_out = {"own", "others", "signatures", "signature", "seq", "time"}
    return digest(canonical({name: value for name, value in body.items() if name not in left_out}))


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name twice")
    return made
