"""The consent policy, `consent.toml`: what may be approved without asking a person. Default: ask.

    default = "ask"
    [[allow]]
    plan = "9f2c…"            # exactly this plan; `sumroom-coordinator plan check` prints the digest
    per_round = "0.018"       # the most ρ per record that one round of it may cost
    in_all = "0.088"          # the most ρ per record for all its rounds together

Trusted: whoever can write this file spends the party's budget.
"""

from __future__ import annotations

import datetime as dt
import tomllib
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from protocols import schema
from protocols.budget import decimal
from protocols.errors import Refused, UsageError
from protocols.plan import Plan
from protocols.room import Room
from protocols.schema import Digest, Frozen, Positive

# What features are computed from. Without one of these every share would be noise over zeros, and paid for.
NEEDED = {"customer": "id", "basket": "id", "bought_on": "date", "paid": "money", "discount": "money"}


class Rule(Frozen):
    plan: Digest
    per_round: Positive
    in_all: Positive

    @field_validator("per_round", "in_all", mode="before")
    @classmethod
    def _nano(cls, value: Any) -> Any:
        return schema.nano_field(value, "allow")


class Consent(Frozen):
    default: Literal["ask", "deny"] = "ask"
    allow: list[Rule] = Field(default_factory=list)

    @classmethod
    def from_toml(cls, data: bytes, *, where: str) -> Consent:
        try:
            return cls.model_validate(tomllib.loads(data.decode("utf-8")))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
            raise UsageError(f"{where} is not TOML: {exc}") from None
        except ValidationError as exc:
            raise schema.explain(exc, where) from None


def check_consent(consent: Consent, plan: Plan, already: int) -> None:
    """Raise Refused unless a rule allows one more round. `already`: nano-ρ that this plan's rounds hold or spent."""
    for rule in consent.allow:
        if rule.plan != plan.digest:
            continue
        if plan.charge > rule.per_round:
            raise Refused(f"the plan costs ρ {decimal(plan.charge)} a round, {decimal(rule.per_round)} is allowed")
        if already + plan.charge > rule.in_all:
            raise Refused(
                f"the plan's rounds have used ρ {decimal(already)}; one more makes "
                f"{decimal(already + plan.charge)}, {decimal(rule.in_all)} is allowed"
            )
        return
    verb = "a person must decide" if consent.default == "ask" else "it is denied"
    raise Refused(f"no rule allows plan {plan.digest}: {verb}", "add an [[allow]] rule to consent.toml")


def check_plan(plan: Plan, room: Room, party: str, today: dt.date) -> None:
    """Raise Refused when a plan does not fit the room this party is in. Public facts only."""
    if plan.room != room.room:
        raise Refused(f"the plan is for room {plan.room}, this is {room.room}")
    if party not in plan.parties or not set(plan.parties) <= set(room.parties):
        raise Refused("the plan's parties are not this room's")
    if not set(plan.recipients) <= set(room.parties):
        raise Refused("the plan's recipients are not this room's")
    wrong = [name for name, block in plan.blocks.items() if room.blocks.get(name) != block]
    if wrong:
        raise Refused(f"the plan's block {wrong[0]} is not one of this room's")
    if plan.answer_after_s < 1:
        raise Refused("answer_after_s is 0: how long this node computes would show; the least is 1")
    for column, kind in NEEDED.items():
        if column not in plan.table.columns or plan.table.columns[column].type != kind:
            raise Refused(f"features need a column {column} of type {kind}, and the plan's table has none")
    if schema.day(plan.valid_until) < today:
        raise Refused(f"the plan was valid until {plan.valid_until}")
