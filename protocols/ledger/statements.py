"""Entries that state what happened, and spend nothing: what was refused, asked for again, sent, audited, given back.

{"day":"2026-11-26","party":"retailer","root":"…","seq":40,"signature":"…","size":112,"time":…,"type":"egress@v1"}
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from ..schema import Base64, Count, Date, Digest, Hex16, Name, Positive
from .fields import MAX_PARTIES, Numbered, as_tuple, ascending, key_text


class Refund(Numbered):
    """A round that ended before anything left any charged party: what it reserved is free again.

    signatures: by every charged party (purpose "refund", body `refund_body`).
    """

    type: Literal["refund@v1"]
    round: Hex16
    signatures: Annotated[dict[Name, Base64], Field(min_length=1)]


class Reuse(Numbered):
    """A plan was asked for again, on the same declared data: the releases of `round` are its answer, at no charge."""

    type: Literal["reuse@v1"]
    round: Hex16
    plan: Digest
    datasets: dict[Name, Hex16]


class Deny(Numbered):
    """A plan was asked for, and refused. The reason is one of public state; parties: who said no, if it was a party."""

    type: Literal["deny@v1"]
    plan: Digest
    reason: Literal["not-approved", "not-held", "over-cap"]
    parties: Annotated[
        tuple[Name, ...], BeforeValidator(as_tuple), Field(max_length=MAX_PARTIES), AfterValidator(ascending)
    ]


class Egress(Numbered):
    """What a party's node has sent up to the end of `day` (UTC): records in its log, and the Merkle root over them."""

    type: Literal["egress@v1"]
    party: Name
    day: Date
    size: Count
    root: Digest
    signature: Base64


class Audit(Numbered):
    """An auditor's verdict over the first `size` entries. bundle, policy: SHA-256 of the two files it rests on."""

    type: Literal["audit@v1"]
    auditor: Name
    key: Annotated[Base64, AfterValidator(key_text)]
    size: Positive
    root: Digest
    bundle: Digest
    policy: Digest
    verdict: Literal["clean", "violation"]
    signature: Base64


Statement = Refund | Reuse | Deny | Egress | Audit


def refund_body(room: str, round_id: str) -> dict[str, Any]:
    """What a charged party signs: nothing of this round has left it, and nothing ever will."""
    return {"room": room, "round": round_id, "sent": "nothing"}


def statement_body(entry: Egress | Audit, room: str) -> dict[str, Any]:
    """What is signed (purposes "egress", "audit"): the entry without `signature`, `seq` and `time`, with the room."""
    left_out = {"signature", "seq", "time"}
    return {**{name: value for name, value in entry.body().items() if name not in left_out}, "room": room}
