"""Entries that change who is in the room, by which keys, and how much may be spent.

    {"action":"rotate","key":"…","member":"retailer","ml_dsa_44":"…","others":{},"own":{"new":"…","old":"…",…},…,"type":"key@v1"}

What such a change needs is a signature of everybody whose business it is, in the entry itself, and a person gives it
with a command; nodes then cosign by the rules alone, and anybody can check later who agreed.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints
from pydantic import model_validator as check_model

from ..schema import Base64, Block, Name, Positive
from .fields import LIFETIME, MAX_PARTIES, PERSON, Key, Numbered, Origin, key_text, ml_dsa_44_text

Own = dict[Annotated[str, StringConstraints(pattern=r"^(old|new|new_ml_dsa_44)$")], Base64]
Others = Annotated[dict[Name | Origin, Base64], Field(max_length=MAX_PARTIES + 1)]


class KeyChange(Numbered):
    """A member's keys change. member: a party, or the ledger's origin for the coordinator.

    add      a first ML-DSA-44 key beside the Ed25519 key that stays, or new keys after a revocation
    rotate   new keys for the old ones
    revoke   the key named counts no more, and nothing in its place: lost or stolen

    own      `old`: by the member's Ed25519 key before; `new`, `new_ml_dsa_44`: by the new keys, which it shows to have
    others   by every other member in force, where the old key cannot speak for itself: they have made sure otherwise
    """

    type: Literal["key@v1"]
    action: Literal["add", "rotate", "revoke"]
    member: Name | Origin
    key: Annotated[Base64, AfterValidator(key_text)]
    ml_dsa_44: Annotated[Base64, AfterValidator(ml_dsa_44_text)] | None = None
    own: Own
    others: Others

    @property
    def keys(self) -> Key:
        """The new keys; of a revocation the revoked one."""
        return Key(key=self.key, ml_dsa_44=self.ml_dsa_44)

    @check_model(mode="after")
    def _whole(self) -> Self:
        if self.action == "revoke" and (self.ml_dsa_44 is not None or self.own):
            raise ValueError("a revocation names the Ed25519 key only, and is signed by others")
        return self


class PartyChange(Numbered):
    """A party joins or leaves. key: its new keys, or the Ed25519 key by which it is known until now.

    caps     of a party that joins: block, or `lifetime` → nano-ρ for one person's records there; else empty
    own      `new`, `new_ml_dsa_44` of one that joins; `old` of one that leaves by its own wish
    others   by every other party in force; for one that leaves by its own wish by nobody
    """

    type: Literal["party@v1"]
    action: Literal["join", "leave"]
    party: Name
    key: Annotated[Base64, AfterValidator(key_text)]
    ml_dsa_44: Annotated[Base64, AfterValidator(ml_dsa_44_text)] | None = None
    caps: dict[Name, Positive]
    cosign_quorum: Positive
    own: Own
    others: Others

    @property
    def keys(self) -> Key:
        return Key(key=self.key, ml_dsa_44=self.ml_dsa_44)

    @check_model(mode="after")
    def _whole(self) -> Self:
        if self.party == PERSON:
            raise ValueError(f"no party can be named {PERSON}")
        if self.action == "leave" and (self.ml_dsa_44 is not None or self.caps):
            raise ValueError("a party that leaves has no caps and names its Ed25519 key only")
        return self


class Grant(Numbered):
    """More may be spent: in new blocks of time, or, where those whose data it is say so, in old ones.

    blocks       new blocks, none of whose days any block has had yet
    caps         party, or `person` → block, or `lifetime` → the cap from now on, above what it was
    signatures   by each party in `caps`; where a person's cap or a new block is in it, by every party in force
    """

    type: Literal["grant@v1"]
    blocks: dict[Name, Block]
    caps: Annotated[dict[Name, Annotated[dict[Name, Positive], Field(min_length=1)]], Field(min_length=1)]
    signatures: Annotated[dict[Name, Base64], Field(min_length=1)]

    @check_model(mode="after")
    def _whole(self) -> Self:
        if LIFETIME in self.blocks:
            raise ValueError(f"no block can be named {LIFETIME}")
        return self


Change = KeyChange | PartyChange | Grant


def change_body(entry: Change, room: str) -> dict[str, Any]:
    """What is signed (purpose "change"): the entry without signatures, `seq` and `time`, and with the room.

    Why nothing can be replayed: a key comes into a ledger once only, one that leaves or is revoked is named by its key,
    and a cap is only ever raised above what it is.
    """
    left_out = {"own", "others", "signatures", "seq", "time"}
    return {**{name: value for name, value in entry.body().items() if name not in left_out}, "room": room}
