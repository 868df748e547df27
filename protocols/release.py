"""The only shape in which anything leaves the room: a signed document of figures with their intervals.

A release carries the noised sum it was computed from, so that anybody can compute the figures again: they follow from
the noised sum, its step's state, the plan and earlier releases of the round, and from nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import Field, ValidationError

from . import keys, schema
from .encoding import canonical, digest, parse
from .errors import IntegrityError
from .figures import pointers
from .plan import Mechanism, Plan
from .schema import Base64, Count, Digest, Frozen, Hex16, Name, Positive
from .statistic import Integers

Whole = Annotated[int, Field(strict=True, ge=-(2**53) + 1, le=2**53 - 1)]


class Body(Frozen):
    """What is hashed into the ledger's commit and signed by the coordinator.

    salt    32 random bytes: the ledger's digest of a few small numbers must not be guessable
    noised  the sum of all shares, one integer a slot, noise included
    answer  a tree of figures (`figures.py`)
    state   what the round's next step starts from, or figures rest on, where it does not follow from the noised sum:
            centres, grids, classes, as integers. Fitted by the coordinator on that sum; nodes check bounds and digest
    """

    type: Literal["release@v1"] = "release@v1"
    room: Name
    plan: Digest
    round: Hex16
    step: Name
    nonce: Hex16
    recipients: list[Name]
    survivors: list[Name]
    mechanism: Mechanism
    charge_record: Positive
    charge_person: Positive
    noised: list[Whole]
    answer: dict[str, Any]
    state: dict[str, Any] | None = None
    salt: Digest

    @property
    def digest(self) -> str:
        return digest(canonical(self.body()))

    @property
    def numbers(self) -> list[str]:
        """The path of every published figure."""
        return list(pointers(self.answer)) if self.answer else []

    @property
    def released(self) -> dict[str, Any]:
        """What later steps of the round see of this one: its figures; where it has a state, that and the noised sum."""
        return self.answer if self.state is None else {**self.answer, "state": self.state, "noised": self.noised}


class Proof(Frozen):
    """Where the commit is in the ledger: RFC 6962 audit path to the root of the checkpoint of this size."""

    size: Positive
    path: list[Base64]


class Release(Frozen):
    body_: Annotated[Body, Field(alias="body")]
    signature: Base64
    entry: Count
    proof: Proof

    @property
    def name(self) -> str:
        return f"{self.body_.round}-{self.body_.step}"

    def to_bytes(self) -> bytes:
        return canonical(self.model_dump(mode="json", exclude_none=True, by_alias=True))


def compose(plan: Plan, *, round_id: str, step: str, nonce: str, noised: Integers, survivors: list[str],
            earlier: Mapping[str, Any], salt: bytes, state: dict[str, Any] | None = None) -> Body:  # fmt: skip
    """Turn a noised sum into figures. `earlier`: step name → what the round's earlier steps released.

    Raises IntegrityError for a state that the step must not have, or that lies outside what the plan allows.
    """
    question, mechanism = plan.step(step)
    if (state is None) != (question.check_state is None):
        raise IntegrityError(f"step {step}: a state is there and should not be, or the other way round")
    if state is not None and question.check_state is not None:
        question.check_state(state, earlier)
    noise = question.noise(len(survivors), mechanism.variance_micro)
    if np.any(np.abs(noised.astype(np.float64)) >= 2.0**53):
        raise IntegrityError("the sum is larger than any sum of people: masks or shares are not what they should be")
    return Body(
        room=plan.room,
        plan=plan.digest,
        round=round_id,
        step=step,
        nonce=nonce,
        recipients=plan.recipients,
        survivors=survivors,
        mechanism=mechanism,
        charge_record=mechanism.charge,
        charge_person=mechanism.charge_person,
        noised=[int(x) for x in noised],
        answer=question.answer(noised, noise, earlier if state is None else {**earlier, step: {"state": state}}),
        state=state,
        salt=salt.hex(),
    )


def sign(body: Body, key: Ed25519PrivateKey, entry: int, proof: Proof) -> Release:
    """The release as recipients get it, once its commit is in the ledger and cosigned."""
    signature = keys.sign(key, "release", body.body())
    return Release.model_validate({"body": body, "signature": signature, "entry": entry, "proof": proof})


def read(data: bytes) -> Release:
    """Parse a release; the caller still checks signature, proof and `recompute`. Raises IntegrityError."""
    document = parse(data, what="release")
    try:
        release = Release.model_validate(document)
    except ValidationError as exc:
        raise IntegrityError(schema.explain(exc, "release").message) from None
    if release.to_bytes() != data:  # a default left out, or a null: two spellings of one release
        raise IntegrityError("release: not in its canonical form")
    return release


def read_body(document: Any) -> Body:
    """Parse a release's body from plain values. Raises IntegrityError."""
    try:
        return Body.model_validate(document)
    except ValidationError as exc:
        raise IntegrityError(schema.explain(exc, "release").message) from None


def check_signature(release: Release, coordinator: Ed25519PublicKey) -> None:
    keys.check(coordinator, "release", release.body_.body(), release.signature, who="the coordinator")


def recompute(document: Mapping[str, Any], plan: Plan, earlier: Mapping[str, Any]) -> None:
    """Raise IntegrityError unless every figure of a release body follows from its noised sum.

    document  the body; `earlier` maps earlier steps of the same round to *their bodies*
    """
    body = read_body(document)
    if body.step not in [step.name for step, _ in plan.steps()]:
        raise IntegrityError("the release is of a step that its plan has not")
    question, _ = plan.step(body.step)
    if (body.plan, body.room, body.recipients) != (plan.digest, plan.room, plan.recipients):
        raise IntegrityError("the release names another room, plan or recipients than its plan")
    if len(body.noised) != len(question.statistic.slots):
        raise IntegrityError(f"the release has {len(body.noised)} slots, its plan {len(question.statistic.slots)}")
    again = compose(
        plan,
        round_id=body.round,
        step=body.step,
        nonce=body.nonce,
        noised=np.asarray(body.noised, dtype=np.int64),
        survivors=body.survivors,
        earlier={step: read_body(inner).released for step, inner in earlier.items()},
        state=body.state,
        salt=bytes.fromhex(body.salt),
    )
    if canonical(again.body()) != canonical(body.body()):
        raise IntegrityError("a released figure does not follow from the released noised sum")
