"""A node's settings. Beside each: who must be trusted with it.

`node.toml` is the party's own file; relative paths start at its folder. A key file that others can read is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field, StringConstraints, ValidationInfo, field_validator

from protocols import schema, settings
from protocols.errors import UsageError
from protocols.keys import Identity
from protocols.people import Country
from protocols.room import Room
from protocols.schema import Frozen, Name, Positive

from .records import Table


class Files(Frozen):
    """Paths.

    room             who is in the room. Trusted: a changed copy can admit strangers
    signing_key      this party's identity. Secret: whoever reads it can approve, cosign and contribute in its name
    signing_key_next its next identity, where its keys are being changed: used once the ledger names them
    tls_key          opens the connection only; the signing key is what counts
    tls_certificate  public
    authority        the room's certificate authority. Trusted for who may connect, not for what is signed
    consent          what may be approved without asking a person. Trusted: whoever writes it spends this party's budget
    state            ledger copy, journal, snapshots of this room. Trusted: a changed copy is noticed by its checksums,
                     an older one put back refuses the steps that the accounts file shows as drawn
    accounts         the party's budget over ALL its rooms: every node of this party must name the same file
    """

    room: str
    signing_key: str
    signing_key_next: str | None = None
    tls_key: str
    tls_certificate: str
    authority: str
    consent: str
    state: str
    accounts: str


class Budget(Frozen):
    """`record`: the most nano-ρ that any day of this party's data may ever lose, over all rooms together."""

    record: Positive

    @field_validator("record", mode="before")
    @classmethod
    def _nano(cls, value: Any, info: ValidationInfo) -> Any:
        return schema.nano_field(value, "budget.record", info)


class TableSettings(Frozen):
    """Where this party's rows are, and which of its columns is which agreed one (names or expressions over them).

    least_people: how few people may be registered, in place of `registration.LEAST_PEOPLE`.
    """

    files: Annotated[list[str], Field(min_length=1)]
    columns: dict[Name, Annotated[str, StringConstraints(min_length=1, max_length=400)]]
    least_people: Positive | None = None


class ActivationSettings(Frozen):
    """What `activate` needs of this party's own: where the addresses of its customers are. Sent nowhere.

    columns      field (customer, email, phone, maid, first_name, last_name, postcode, country) → own column; left out:
                 the columns that are so called
    country      what a telephone number without + belongs to
    holdout_key  draws holdout arms; secret, the same at all parties of a campaign, and never at the coordinator
    """

    files: Annotated[list[str], Field(min_length=1)]
    columns: dict[Name, Annotated[str, StringConstraints(min_length=1, max_length=400)]] = Field(default_factory=dict)
    country: Country | None = None
    holdout_key: str | None = None


class Settings(Frozen):
    """joined_later: this party came when the room had begun, so the ledger names it and the room file does not.

    seeds   files of some of this party's customers, by the name that a plan calls them; read when data are registered.
            Trusted: whoever writes one decides whom an audience is to be like, and no noise hides which list it was
    """

    party: Name
    joined_later: bool = False
    coordinator: Annotated[str, StringConstraints(pattern=r"^[^\s:/]+:[0-9]{1,5}$")]
    files: Files
    budget: Budget
    table: TableSettings
    activation: ActivationSettings | None = None
    seeds: dict[Name, Annotated[str, StringConstraints(min_length=1, max_length=400)]] | None = None


@dataclass(frozen=True)
class Config:
    """The settings with their folder: everything a node knows before it talks to anybody."""

    base: Path
    settings: Settings

    @classmethod
    def load(cls, path: Path) -> Config:
        """Raises UsageError naming the file and the setting."""
        return cls(path.resolve().parent, settings.load(path, Settings))

    @property
    def party(self) -> str:
        return self.settings.party

    def path(self, name: str) -> Path:
        """The absolute path of one of `files`."""
        return self.base / str(getattr(self.settings.files, name))

    def read(self, name: str) -> bytes:
        """The file that one of `files` names. Raises UsageError."""
        return settings.read(self.path(name), name)

    def secret(self, name: str) -> bytes:
        """The same, for a file that only its owner may read. Raises UsageError otherwise."""
        return settings.secret(self.path(name), name)

    @cached_property
    def room(self) -> Room:
        room = Room.from_toml(self.read("room"), where=str(self.path("room")))
        if self.party not in room.parties and not self.settings.joined_later:
            raise UsageError(
                f"party {self.party!r} is not in the room {room.room!r}",
                "a party that joined after the room began sets joined_later = true",
            )
        return room

    @cached_property
    def identities(self) -> tuple[Identity, ...]:
        """The private keys it has: those in use and, while they are being changed, the next."""
        files = ("signing_key", *(("signing_key_next",) if self.settings.files.signing_key_next is not None else ()))
        return tuple(Identity.from_pem(self.secret(name), where=str(self.path(name))) for name in files)

    @cached_property
    def identity(self) -> Identity:
        """The private keys that open its connection: those of the room file, or of a party that joined later its own.

        What signs in the ledger may have changed since (`standing.py`).
        """
        held = self.identities[0]
        known = self.room.members.get(self.party)
        identity = held if known is None else held.known_as(known)
        if identity is None:
            raise UsageError("files.signing_key has not the keys that the room knows this party by")
        return identity

    @property
    def signing(self) -> Ed25519PrivateKey:
        """Its Ed25519 key, which signs all but the ledger's checkpoints alone."""
        return self.identity.ed25519

    def table(self) -> Table:
        """This party's table, its file patterns expanded. Raises UsageError when one matches nothing."""
        files = self.matching(self.settings.table.files, "table.files")
        lists = {name: self.base / path for name, path in (self.settings.seeds or {}).items()}
        return Table(files, self.settings.table.columns, lists)

    def matching(self, patterns: list[str], name: str) -> tuple[Path, ...]:
        """The files of a setting's patterns. Raises UsageError when one matches nothing."""
        files: list[Path] = []
        for pattern in patterns:
            found = sorted(self.base.glob(pattern)) if not Path(pattern).is_absolute() else [Path(pattern)]
            if not found:
                what = f"{name}: nothing matches {pattern!r} below {self.base}"
                raise UsageError(what, f"set {name} in node.toml; relative paths start at its folder")
            files.extend(found)
        return tuple(files)
