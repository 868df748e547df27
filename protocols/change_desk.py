"""What both sides' commands do with a change: show it, sign it, make new keys. The desk of whoever sits there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import change_card, ledger_copy, settings, terminal
from .change import LONGEST, Proposal, Slot, add_signatures, own_keys, slots_of_join
from .errors import Refused, UsageError
from .keys import Identity
from .ledger.changes import PartyChange
from .ledger.statements import Audit

SHORT = 16


def read(path: Path) -> Proposal:
    """The change in a file. Raises UsageError."""
    try:
        with path.open("rb") as file:
            return Proposal.from_bytes(file.read(LONGEST + 1), where=str(path))
    except OSError as exc:
        raise UsageError(f"cannot read the change {path}: {exc.strerror}") from None


def read_identity(path: Path) -> Identity:
    """A key file that is named on the command line. Raises UsageError."""
    return Identity.from_pem(settings.secret(path, "signing_key"), where=str(path))


def make_keys(path: Path) -> Identity:
    """New keys of both kinds in a file of their owner's alone, which must not be there. Raises UsageError."""
    identity = Identity.generate()
    settings.write_new(path, identity.pem(), mode=0o600, option="--new")
    return identity


@dataclass(frozen=True)
class Desk:
    """Whoever decides. me: a party's name, or the ledger's origin; room: its name; held: the private keys at hand."""

    me: str
    room: str
    copy: ledger_copy.Copy | None
    held: Sequence[Identity]

    @property
    def known(self) -> ledger_copy.Copy:
        """The ledger. Raises UsageError where there is none yet."""
        if self.copy is None:
            raise UsageError("there is no ledger yet: nothing to change", "a room begins with its room.toml")
        return self.copy

    def slots(self, proposal: Proposal, after: Sequence[Proposal] = ()) -> tuple[Slot, ...]:
        """The signatures that it needs, by the rules. after: what will be entered just before it.

        Raises Refused where it is in the ledger already, or the rules would not have it.
        """
        if self.copy is None:
            return slots_of_join(proposal, self.room)
        number = self.copy.number_of(proposal)
        if number is not None:
            raise Refused(f"this change is in the ledger already: entry {number}")
        self.copy.check_root(proposal.entry())
        return self.copy.accounts.slots([*after, proposal])

    def show(self, path: Path, after: Sequence[Path], *, as_json: bool) -> None:
        """Print what a change would do, and who has signed it."""
        proposal = read(path)
        accounts = None if self.copy is None else self.copy.accounts
        if self.copy is not None and (number := self.copy.number_of(proposal)) is not None:
            print(f"this change is in the ledger: entry {number}")
            return
        slots = self.slots(proposal, [read(one) for one in after])
        if as_json:
            print(json.dumps(change_card.document(proposal, slots, self.room, accounts), indent=2))
        else:
            change_card.show(proposal, slots, self.room, accounts, terminal.console())

    def sign(self, path: Path, after: Sequence[Path], *, yes: bool) -> None:
        """Show a change, ask, and put what signatures are missing and can be given here into its file."""
        proposal = read(path)
        slots = self.slots(proposal, [read(one) for one in after])
        signed = self.signed(proposal, slots)
        change_card.show(
            proposal, slots, self.room, None if self.copy is None else self.copy.accounts, terminal.console()
        )
        terminal.sure(yes, "sign it?", "nothing was signed")
        settings.replace(path, signed.to_bytes())
        left = missing(self.slots(signed, [read(one) for one in after]))
        if self.copy is None and not left:  # one that joins
            left = ["every party of the room"]
        more = f"still to sign: {', '.join(left)}" if left else "nobody else has to sign it"
        print(f"signed: {path}; {more}")

    def signed(self, proposal: Proposal, slots: Sequence[Slot]) -> Proposal:
        """The change with this member's signatures. Raises Refused where it has none to give."""
        if isinstance(proposal.entry(), Audit):
            raise Refused("a verdict is signed by its auditor alone", "hand it to the operator, who enters it")
        signed = add_signatures(proposal, slots, self.held, self.room)
        if signed is not None:
            return signed
        public = [key.public_key() for identity in self.held for key in identity.private]
        if any(slot.key in public for slot in slots):
            raise Refused("you have signed this change already", _next(missing(slots)))
        wanted = ", ".join(slot.who for slot in slots)
        raise Refused(f"this change is not for {self.me} to sign: it needs {wanted}", "have you the keys in force?")

    def write(self, body: dict[str, Any], out: Path, after: Sequence[Proposal] = (), *, sign: bool = False) -> str:
        """Check a new change against the rules, sign it where wanted, and write its file; what to do next."""
        proposal = Proposal.of(body)
        slots = self.slots(proposal, after)
        if sign:
            proposal = self.signed(proposal, slots)
            slots = self.slots(proposal, after)
        settings.write_new(out, proposal.to_bytes())
        return f"written: {out}; digest {proposal.digest(self.room)[:SHORT]}; {_next(missing(slots))}"

    def leave(self, body: dict[str, Any], out: Path) -> str:
        """Write this party's own leaving, signed by its key in force; what to do next."""
        proposal = Proposal.of(body)
        entry, members = proposal.entry(), self.known.accounts.members
        assert isinstance(entry, PartyChange)
        slots = [
            Slot("own", name, key, who, False)
            for name, (key, who) in own_keys(entry, {"old"}, members.keys_of(self.me)).items()
        ]
        return self.write(dict(self.signed(proposal, slots).body), out)

    def rotate(self, new: Path, out: Path) -> str:
        """Make new keys, and a change to them signed by the old ones and the new; what to do next."""
        if out.exists():
            raise UsageError(f"{out} is there already", "name another file with --out")
        members = self.known.accounts.members
        if not any(members.keys_of(self.me) == _in_room(identity, members.keys_of(self.me)) for identity in self.held):
            raise Refused(
                "none of your key files has the keys in force", "without them others must revoke the old ones"
            )
        made = make_keys(new)
        body = {
            "type": "key@v1", "action": "rotate", "member": self.me, **made.public().texts(), "own": {}, "others": {},
        }  # fmt: skip
        return Desk(self.me, self.room, self.copy, (*self.held, made)).write(body, out, sign=True)


def missing(slots: Sequence[Slot]) -> list[str]:
    """Whose signatures are not there yet, each once."""
    return list(dict.fromkeys(slot.who for slot in slots if not slot.signed))


def _in_room(identity: Identity, known: Any) -> Any:
    if known is None or identity.known_as(known) is None:
        return None
    return known


def _next(left: Sequence[str]) -> str:
    if left:
        return f"to be signed by {', '.join(left)}, each with: change sign FILE; then the operator enters it"
    return "all signatures are there; the operator enters it: sumroom-coordinator change enter FILE"
