"""The entries of the ledger: closed types, each one line of canonical JSON, each line one leaf of the tree.

    {"digest":"…","numbers":["/segments/3/size"],"recipients":["retailer"],"round":"…","seq":7,…,"type":"commit@v1"}

An entry records what was done (mechanism, sensitivity, noise, who added it) and not only what it cost, so that the
cost can be computed again. A type is never changed, only succeeded (`@v2`). Never in an entry: exact counts, sizes of
cohorts, seeds, values before noise.

Whether an entry is *allowed* is the reducer's to say; here it is only well-formed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError
from pydantic import model_validator as check_model

from ..budget import micro
from ..encoding import canonical, parse
from ..errors import IntegrityError
from ..schema import Base64, Block, Count, Decimal, Digest, Frozen, Hex16, Name, Positive, explain
from .changes import Change, Grant, KeyChange, PartyChange
from .fields import (
    LIFETIME,
    MAX_PARTIES,
    PERSON,
    Charge,
    Key,
    Names,
    Numbered,
    Origin,
    Parties,
    Pointer,
    as_tuple,
    distinct,
)
from .statements import Statement

MAX_ENTRY_BYTES = 1 << 20
# What stands in a reserve around `holds` and `seq`, and around `time`. See `hold_bytes`.
_AROUND_HOLDS = re.compile(
    rb',"expires":[0-9]+(,"holds":\{[^{}]*\}),"plan":"[0-9a-f]{64}"(),"round":"[0-9a-f]{32}"(,"seq":[0-9]+),"steps":\['
)
_AROUND_TIME = re.compile(rb'(,"time":[0-9]+),"type":"reserve@v1"\}')


class Caps(Frozen):
    """The most that may ever be spent, in nano-ρ.

    record           party → block → cap for one person's records at that party in that block
    person           block → cap for one person at all parties together
    lifetime_record  party → cap over all blocks
    lifetime_person  cap over all parties and blocks
    """

    record: Charge
    person: dict[Name, Count]
    lifetime_record: dict[Name, Count]
    lifetime_person: Count


class Genesis(Numbered):
    """How the room begins: who is in it, which stretches of time have a budget, and how much.

    `genesis@v2` is that of a room whose members all have an ML-DSA-44 key beside the Ed25519 key.
    """

    type: Literal["genesis@v1", "genesis@v2"]
    room: Name
    origin: Origin
    unit: Literal["person×party×block"]
    accountant: Literal["zcdp"]
    coordinator: Key
    parties: Annotated[dict[Name, Key], Field(min_length=1, max_length=MAX_PARTIES)]
    blocks: Annotated[dict[Name, Block], Field(min_length=1)]
    caps: Caps
    cosign_quorum: Positive

    @check_model(mode="after")
    def _whole(self) -> Self:
        if self.cosign_quorum > len(self.parties):
            raise ValueError(f"a quorum of {self.cosign_quorum} among {len(self.parties)} parties")
        if self.origin in self.parties:
            raise ValueError("the origin is also the name of a party")
        if PERSON in self.parties or LIFETIME in self.blocks:
            raise ValueError(f"no party can be named {PERSON}, and no block {LIFETIME}")
        members = [self.coordinator, *self.parties.values()]
        second = {member.ml_dsa_44 for member in members}
        if (self.type == "genesis@v1") != (second == {None}) or (self.type == "genesis@v2") != (None not in second):
            raise ValueError("in genesis@v1 no member has an ML-DSA-44 key, in genesis@v2 every one has")
        if len({member.key for member in members}) != len(members) or len(second) not in (1, len(members)):
            raise ValueError("one key for two members of the room")
        self._check_blocks()
        self._check_caps()
        return self

    def _check_blocks(self) -> None:
        ordered = sorted(self.blocks.values(), key=lambda block: block.first)
        if any(a.meets(b) for a, b in pairwise(ordered)):
            raise ValueError("two blocks share a day")

    def _check_caps(self) -> None:
        parties, blocks, caps = set(self.parties), set(self.blocks), self.caps
        if set(caps.record) != parties or any(set(row) != blocks for row in caps.record.values()):
            raise ValueError("caps.record needs every party and every block, and no other")
        if set(caps.person) != blocks:
            raise ValueError("caps.person needs every block, and no other")
        if set(caps.lifetime_record) != parties:
            raise ValueError("caps.lifetime_record needs every party, and no other")


class Dataset(Numbered):
    """A party declares which data it will answer from. No counts: `people_cap` is a public upper bound."""

    type: Literal["dataset@v1"]
    party: Name
    version: Hex16
    blocks: Names
    commitment: Digest
    schema_digest: Digest
    people_cap: Positive
    signature: Base64


class Plan(Numbered):
    """A plan that all its parties approved; `plan` is the digest of its canonical form."""

    type: Literal["plan@v1"]
    plan: Digest
    parties: Parties
    approvals: dict[Name, Base64]

    @check_model(mode="after")
    def _approved_by_all(self) -> Self:
        if set(self.approvals) != set(self.parties):
            raise ValueError("approvals must be of exactly the plan's parties")
        return self


class Mechanism(Frozen):
    """The noise of one statistic.

    sensitivity_sq   Δ², squared L2, of one person at one party, in integer units
    variance         variance of one party's noise, squared integer units
    adders           the parties that add it; at least `quorum` of their shares are in any release
    collusion        how many of them might subtract theirs
    """

    name: Literal["discrete_gaussian"]
    sensitivity_sq: Positive
    variance: Decimal
    slots: Positive
    adders: Parties
    quorum: Positive
    collusion: Count

    @property
    def variance_micro(self) -> int:
        """The variance in millionths."""
        return micro(self.variance)


class Step(Frozen):
    """One release to come. charge: nano-ρ for each adder and block."""

    step: Name
    nonce: Hex16
    mechanism: Mechanism
    charge: Positive


Offered = tuple[tuple[str, Mechanism, int], ...]  # (step, mechanism, charge) of each step


class Reserve(Numbered):
    """The budget of a whole round, spent from here on, whatever becomes of the round."""

    type: Literal["reserve@v1"]
    round: Hex16
    plan: Digest
    steps: Annotated[tuple[Step, ...], BeforeValidator(as_tuple), Field(min_length=1, max_length=1000)]
    blocks: Names
    charge: Charge
    datasets: dict[Name, Hex16]
    expires: Count
    holds: dict[Name, Base64]

    @check_model(mode="after")
    def _whole(self) -> Self:
        if len({step.step for step in self.steps}) != len(self.steps):
            raise ValueError("two steps of one name")
        if len({step.nonce for step in self.steps}) != len(self.steps):
            raise ValueError("two steps with one nonce")
        return self

    @property
    def offered(self) -> Offered:
        """What the plan says of each step: all of it but the nonce."""
        return tuple([(step.step, step.mechanism, step.charge) for step in self.steps])


class Commit(Numbered):
    """A release: written before anybody gets it. digest: SHA-256 of the canonical, salted body."""

    type: Literal["commit@v1"]
    round: Hex16
    step: Name
    digest: Digest
    recipients: Names
    numbers: Annotated[
        tuple[Pointer, ...], BeforeValidator(as_tuple), Field(max_length=100_000), AfterValidator(distinct)
    ]
    survivors: Parties


class Forfeit(Numbered):
    """A round that ended early. Its budget is spent; the coordinator may have seen a noised sum."""

    type: Literal["forfeit@v1"]
    round: Hex16
    reason: Literal["party-unavailable", "deadline", "refused", "coordinator-restart", "integrity"]


Entry = Genesis | Dataset | Plan | Reserve | Commit | Forfeit | Change | Statement
# What every party must cosign before anybody relies on it.
STRONG: tuple[type[Entry], ...] = (Genesis, KeyChange, PartyChange, Grant, Dataset, Plan, Reserve)

_ENTRY: TypeAdapter[Entry] = TypeAdapter(Annotated[Entry, Field(discriminator="type")])


def encode(entry: Entry) -> bytes:
    """The exact bytes of the leaf: canonical JSON. Raises IntegrityError."""
    data = canonical(entry.body())
    if len(data) > MAX_ENTRY_BYTES:
        raise IntegrityError(f"an entry of {len(data)} bytes, more than {MAX_ENTRY_BYTES}")
    return data


def decode(data: bytes) -> Entry:
    """The entry whose `encode` is exactly `data`.

    Raises IntegrityError for an unknown type or field, a duplicate key, a float, or another spelling of the value.
    """
    if len(data) > MAX_ENTRY_BYTES:
        raise IntegrityError(f"an entry of {len(data)} bytes, more than {MAX_ENTRY_BYTES}")
    # The comparison decides: whatever was read, these bytes are its one spelling.
    try:
        entry = _ENTRY.validate_json(data, strict=True)
        if canonical(entry.body()) == data:
            return entry
        fault = "entry: not in its canonical form"  # as with a default that is spelled out
    except ValidationError as exc:
        fault = explain(exc, "entry").message
    except IntegrityError as exc:  # pragma: no cover - what an entry may hold has a canonical form
        fault = exc.message
    parse(data, what="entry")  # says so where it is no canonical JSON at all
    raise IntegrityError(fault)


def build(body: Mapping[str, Any]) -> Entry:
    """The entry of plain maps, lists, strings and integers. Raises IntegrityError like `decode`."""
    return decode(canonical(dict(body)))


def approval_body(room: str, plan: str) -> dict[str, Any]:
    """What a party signs (purpose "approval") to approve the plan of this digest."""
    return {"room": room, "plan": plan}


def signed_body(entry: Dataset | Reserve, room: str) -> dict[str, Any]:
    """What a party signs: the entry's body without the signatures, `seq` and `time`, and with the room.

    Purpose "dataset" for a Dataset, "hold" for a Reserve. Why not seq and time: a party signs before the coordinator
    knows where in the ledger the entry will stand. Why nothing can be replayed all the same: the reducer takes a
    dataset's version, a round and a nonce once only.
    """
    left_out = {"signature", "holds", "seq", "time"}
    return {**{name: value for name, value in entry.body().items() if name not in left_out}, "room": room}


def hold_bytes(raw: bytes, room: str) -> bytes:
    """The canonical form of a reserve's `signed_body`, cut from the reserve's own canonical bytes.

    raw    what `encode` makes of a reserve: of anything else this says nothing

    Why cut: in a canonical map names are in order, so leaving some out leaves the others as they stand, and `room` has
    its place before `round`. Making the same from the entry costs twice what the signatures cost. Why these are the
    members of the entry itself: nothing before `expires` has a number and then a map beside each other, and nothing in
    a reserve has a quotation mark inside a text.
    """
    holds, time = _AROUND_HOLDS.search(raw), None
    if holds is not None:
        time = _AROUND_TIME.search(raw, max(holds.end(), len(raw) - 50))
    if holds is None or time is None or time.end() != len(raw):
        raise IntegrityError("not the canonical form of a reserve")
    parts = (
        raw[: holds.start(1)],
        raw[holds.end(1) : holds.start(2)],
        b',"room":"%b"' % room.encode(),
        raw[holds.end(2) : holds.start(3)],
        raw[holds.end(3) : time.start(1)],
        raw[time.end(1) :],
    )
    return b"".join(parts)
