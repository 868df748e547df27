"""Who is in the room and under which limits: the file that every party and the coordinator hold alike.

Each side has its own copy (`room.toml`), got at enrolment and not over the wire: a node cosigns a ledger only if its
`genesis` says the same. Trusted: whoever can change a node's copy can put strangers into its room.
"""

from __future__ import annotations

import tomllib
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Any, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import Field, StringConstraints, ValidationError, ValidationInfo, field_validator, model_validator

from . import schema
from .errors import UsageError
from .keys import PublicKeys
from .schema import Base64, Block, Frozen, Name, Positive

Origin = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9./_-]{0,200}$")]


class Caps(Frozen):
    """Nano-ρ. `record`: one person's rows at one party in one block; `person`: the same person at all parties."""

    record: Positive
    person: Positive
    lifetime_record: Positive
    lifetime_person: Positive


class Member(Frozen):
    """Public keys. ml_dsa_44: all members of a room have one, or none has."""

    key: Base64
    ml_dsa_44: Base64 | None = None


class Room(Frozen):
    """The room's name, its keys, its blocks of time, its caps, and how many cosignatures an ordinary entry needs."""

    room: Name
    origin: Origin
    cosign_quorum: Annotated[int, Field(strict=True, ge=1, le=50)]
    coordinator: Member
    parties: Annotated[dict[Name, Member], Field(min_length=1, max_length=50)]
    blocks: Annotated[dict[Name, Block], Field(min_length=1, max_length=400)]
    caps: Caps

    @field_validator("caps", mode="before")
    @classmethod
    def _nano(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, dict):
            return {n: schema.nano_field(v, f"caps.{n}", info) for n, v in value.items()}
        return value

    @model_validator(mode="after")
    def _sound(self) -> Self:
        n = len(self.parties)
        if not n // 2 < self.cosign_quorum <= n:
            raise ValueError(f"cosign_quorum is {self.cosign_quorum}; it must be a majority of {n} parties")
        blocks = sorted(self.blocks.values(), key=lambda b: b.first)
        if any(a.meets(b) for a, b in pairwise(blocks)):
            raise ValueError("blocks: two blocks share a day")
        members = (*self.parties.values(), self.coordinator)
        seconds = [m.ml_dsa_44 for m in members if m.ml_dsa_44 is not None]
        if len(seconds) not in (0, n + 1):
            raise ValueError(f"parties: {len(seconds)} of {n + 1} members have ml_dsa_44; all must have it, or none")
        if len({m.key for m in members}) != n + 1 or len(set(seconds)) != len(seconds):
            raise ValueError("parties: two members have the same key")
        return self

    @classmethod
    def from_toml(cls, data: bytes, *, where: str) -> Room:
        """Raises UsageError naming the setting."""
        try:
            return cls.model_validate(tomllib.loads(data.decode("utf-8")), context=schema.FROM_TOML)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
            raise UsageError(f"{where} is not TOML: {exc}") from None
        except ValidationError as exc:
            raise schema.explain(exc, where) from None

    @cached_property
    def members(self) -> dict[str, PublicKeys]:
        """Party → its long-term public keys."""
        return {party: PublicKeys.from_texts(m.key, m.ml_dsa_44) for party, m in self.parties.items()}

    @cached_property
    def coordinator_keys(self) -> PublicKeys:
        return PublicKeys.from_texts(self.coordinator.key, self.coordinator.ml_dsa_44)

    @cached_property
    def identities(self) -> dict[str, Ed25519PublicKey]:
        """Party → its long-term Ed25519 key, which signs all but the ledger's checkpoints alone."""
        return {party: public.ed25519 for party, public in self.members.items()}

    @property
    def coordinator_key(self) -> Ed25519PublicKey:
        return self.coordinator_keys.ed25519

    def changed(self, **fields: Any) -> Room:
        """This room with other members, blocks or caps: what a ledger has made of it. They are checked already."""
        whole = {name: getattr(self, name) for name in type(self).model_fields}
        return Room.model_construct(**{**whole, **fields})

    def genesis(self) -> dict[str, Any]:
        """The body of the ledger's first entry, without its place and time."""
        return {
            "type": "genesis@v1" if self.coordinator.ml_dsa_44 is None else "genesis@v2",
            "room": self.room,
            "origin": self.origin,
            "unit": "person×party×block",
            "accountant": "zcdp",
            "coordinator": self.coordinator.body(),
            "parties": {party: member.body() for party, member in self.parties.items()},
            "blocks": {name: block.body() for name, block in self.blocks.items()},
            "caps": {
                "record": {party: dict.fromkeys(self.blocks, self.caps.record) for party in self.parties},
                "person": dict.fromkeys(self.blocks, self.caps.person),
                "lifetime_record": dict.fromkeys(self.parties, self.caps.lifetime_record),
                "lifetime_person": self.caps.lifetime_person,
            },
            "cosign_quorum": self.cosign_quorum,
        }


def member_lines(public: PublicKeys) -> str:
    """What stands in room.toml below `[coordinator]` or `[parties.<name>]`: the member's keys, a line each."""
    return "".join(f'{setting} = "{text}"\n' for setting, text in public.texts().items())
