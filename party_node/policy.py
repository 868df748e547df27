"""The consent policy, `consent.toml`: what may be approved without asking a person, what never. Default: ask.

    default = "ask"                     # or "deny"; what no rule speaks of

    [[allow]]                           # every condition that is named must hold; all of these rules are limits
    plan = "9f2c…"                      # exactly this plan; `sumroom-coordinator plan check` prints the digest
    recipients = ["grocer", "pharmacy"] # nobody else reads the results
    purpose = "*assortment*"            # words of the plan's purpose; * stands for any others
    questions = ["rfm"]                 # no other question
    per_round = "0.018"                 # the most ρ per record that one round may cost
    per_period = "0.088"                # the most ρ per record for rounds together: of the plan that is named here,
    period_days = 365                   # or else of all plans in this room; without period_days: ever

    [[deny]]                            # and [[ask]]: all conditions that are named must hold, each for a part of it
    questions = ["lookalike"]           # any of these
    over_per_round = "0.03"             # it costs more than this
    features = ["share_care_ppm"]       # it asks for any of these features of people, or for such a column
    over_reach = 20                     # a lookalike may use a larger cut than this, in percent of a party's people

A rule that denies comes before a person's decision, that before a rule that asks, and that before one that allows.

Trusted: whoever can write this file spends the party's budget.
"""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, ValidationInfo, field_validator, model_validator

from protocols import ledger_copy, schema
from protocols.budget import decimal
from protocols.errors import Refused, UsageError
from protocols.plan import Plan
from protocols.questions import REGISTRY, classes, lookalike, overlap, rfm
from protocols.room import Room
from protocols.schema import Digest, Frozen, Name, Positive

from .config import Config
from .records import PERSON

# What features are computed from. Without one of these every share would be noise over zeros, and paid for.
NEEDED = {PERSON: "id", "basket": "id", "bought_on": "date", "paid": "money", "discount": "money"}
_OF_RFM = {"recency_days", "baskets", "spend_cents", "discounted_baskets"}
_DIGEST = re.compile("[0-9a-f]{64}")
_HOW_TO_WRITE = (
    "a rule starts with [[deny]], [[ask]] or [[allow]]; names and amounts stand in quotes; "
    "a plan's digest is printed by: sumroom-coordinator plan check PLAN"
)
LARGEST_PLAN = 1 << 18  # bytes of its canonical form: a person has to read it, and the node keeps it

Names = Annotated[list[Name], Field(min_length=1, max_length=50)]
Words = Annotated[str, StringConstraints(min_length=3, max_length=400)]


class Rule(Frozen):
    """The conditions that all rules share: who gets the results, what for, which questions."""

    plan: Digest | None = None
    recipients: Names | None = None
    purpose: Words | None = None
    questions: Names | None = None

    @field_validator("plan", mode="before")
    @classmethod
    def _whole(cls, value: Any) -> Any:
        if isinstance(value, str) and not _DIGEST.fullmatch(value):
            raise ValueError("must be the 64 hex digits that plan check prints")
        return value

    def _named(self, plan: Plan) -> bool:
        fits = self.purpose is None or fnmatchcase(plan.purpose.casefold(), self.purpose.casefold())
        return fits and self.plan in (None, plan.digest)


class Allow(Rule):
    """Nano-ρ per record. Limits hold for the whole plan: each recipient, each question, each round."""

    per_round: Positive
    per_period: Positive
    period_days: Annotated[int, Field(strict=True, ge=1, le=36_500)] | None = None

    @field_validator("per_round", "per_period", mode="before")
    @classmethod
    def _nano(cls, value: Any, info: ValidationInfo) -> Any:
        return schema.nano_field(value, str(info.field_name), info)

    def speaks_of(self, plan: Plan) -> bool:
        whom = self.recipients is None or set(plan.recipients) <= set(self.recipients)
        what = self.questions is None or set(_questions(plan)) <= set(self.questions)
        return self._named(plan) and whom and what


class Stop(Rule):
    """Of [[deny]] and [[ask]]: all named conditions must hold, each for one of the plan's recipients or questions."""

    over_per_round: Positive | None = None
    features: Names | None = None
    over_reach: Annotated[int, Field(strict=True, ge=1, le=100)] | None = None

    @field_validator("over_per_round", mode="before")
    @classmethod
    def _nano(cls, value: Any, info: ValidationInfo) -> Any:
        return schema.nano_field(value, str(info.field_name), info)

    def speaks_of(self, plan: Plan) -> bool:
        whom = self.recipients is None or bool(set(plan.recipients) & set(self.recipients))
        what = self.questions is None or bool(set(_questions(plan)) & set(self.questions))
        dear = self.over_per_round is None or plan.charge > self.over_per_round
        asked = self.features is None or bool(_asked_for(plan) & set(self.features))
        wide = self.over_reach is None or any(reach > self.over_reach for reach in _reaches(plan))
        return self._named(plan) and whom and what and dear and asked and wide


class Consent(Frozen):
    default: Literal["ask", "deny"] = "ask"
    deny: list[Stop] = Field(default_factory=list)
    ask: list[Stop] = Field(default_factory=list)
    allow: list[Allow] = Field(default_factory=list)

    @model_validator(mode="after")
    def _each_rule_says_something(self) -> Self:
        for kind, rules in (("deny", self.deny), ("ask", self.ask)):
            for number, rule in enumerate(rules, 1):
                if not rule.model_fields_set:
                    raise ValueError(f"{kind} rule {number} is a rule without a condition; for everything, set default")
        return self

    @classmethod
    def from_toml(cls, data: bytes, *, where: str) -> Consent:
        """Raises UsageError naming the file and the setting."""
        try:
            return cls.model_validate(tomllib.loads(data.decode("utf-8")), context=schema.FROM_TOML)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
            raise UsageError(f"{where} is not TOML: {exc}", _HOW_TO_WRITE) from None
        except ValidationError as exc:
            raise schema.explain(exc, where, _HOW_TO_WRITE, item="rule") from None

    def check_names(self, room: Room, where: str) -> None:
        """Raise UsageError for a recipient or question that there is not: a misspelt rule would deny nothing."""
        for rule in (*self.deny, *self.ask, *self.allow):
            for what, named, known in (
                ("recipients", rule.recipients, sorted(room.parties)),
                ("questions", rule.questions, sorted(REGISTRY)),
            ):
                for name in named or ():
                    if name not in known:
                        raise UsageError(f"{where}: {what}: there is no {name!r}", f"there is {', '.join(known)}")


def consent_of(config: Config) -> Consent:
    """The consent policy of a node's settings, as it is on the disk now. Raises UsageError naming what is wrong."""
    where = str(config.path("consent"))
    consent = Consent.from_toml(config.read("consent"), where=where)
    try:
        consent.check_names(config.room, where)
    except UsageError:  # a party that joined later is in the ledger only; reading that takes time, so not always
        now = ledger_copy.room_now(config.room, config.path("state") / "ledger.db")
        consent.check_names(config.room.changed(parties={**config.room.parties, **now.parties}), where)
    return consent


class Undecided(Refused):
    """No rule and no person has decided on this plan: a person must."""


@dataclass(frozen=True)
class Decision:
    """What a person of this party said to exactly one plan.

    most: nano-ρ per record that all rounds of the plan may cost together, earlier ones included; 0: denied
    """

    plan: str
    most: int


# Nano-ρ per record that rounds of one plan (all plans: None) in this room hold or spent, in so many days (ever: None).
Used = Callable[[str | None, int | None], int]


def check_consent(consent: Consent, decision: Decision | None, plan: Plan, used: Used) -> None:
    """Raise Refused unless one more round of the plan is allowed; Undecided where a person is to be asked.

    1. a rule that denies it
    2. a person's decision on exactly this plan
    3. a rule that asks, 4. one that allows within its limits, 5. the default
    """
    # (1)
    if any(rule.speaks_of(plan) for rule in consent.deny):
        raise Refused(f"a rule denies plan {plan.digest}")
    # (2)
    if decision is not None:
        _check_decision(decision, plan, used(plan.digest, None))
        return
    # (3)
    if any(rule.speaks_of(plan) for rule in consent.ask):
        raise Undecided(f"a person must decide on plan {plan.digest}: a rule says so")
    # (4)
    short = [_shortfall(rule, plan, used) for rule in consent.allow if rule.speaks_of(plan)]
    if None in short:
        return
    # (5)
    reason = next((text for text in short if text), f"no rule allows plan {plan.digest}")
    if consent.default == "deny":
        raise Refused(f"{reason}: it is denied")
    raise Undecided(f"{reason}: a person must decide")


def _check_decision(decision: Decision, plan: Plan, already: int) -> None:
    if not decision.most:
        raise Refused(f"a person has denied plan {plan.digest}")
    if already + plan.charge > decision.most:
        raise Undecided(
            f"the rounds of plan {plan.digest} that a person approved are used up: a person must decide on more"
        )


def _shortfall(rule: Allow, plan: Plan, used: Used) -> str | None:
    """Why the rule does not allow one more round; None where it does."""
    if plan.charge > rule.per_round:
        return f"the plan costs ρ {decimal(plan.charge)} a round, {decimal(rule.per_round)} is allowed"
    already = used(rule.plan, rule.period_days)
    if already + plan.charge > rule.per_period:
        whose = "the plan's rounds" if rule.plan else "this room's rounds"
        when = f" in {rule.period_days} days" if rule.period_days else ""
        return (
            f"{whose} have used ρ {decimal(already)}{when}; one more makes {decimal(already + plan.charge)}, "
            f"{decimal(rule.per_period)} is allowed"
        )
    return None


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
    for column, kind in _needed(plan).items():
        if column not in plan.table.columns or plan.table.columns[column].type != kind:
            raise Refused(f"features need a column {column} of type {kind}, and the plan's table has none")
    if schema.day(plan.valid_until) < today:
        raise Refused(f"the plan was valid until {plan.valid_until}")
    for what, cost, cap in (
        ("record", plan.charge, room.caps.record),
        ("person at all parties", plan.charge_person, room.caps.person),
    ):
        if cost > cap:
            raise Refused(f"the plan costs ρ {decimal(cost)} per {what}, the room's cap is {decimal(cap)}")
    if len(plan.canonical) > LARGEST_PLAN:
        raise Refused(f"the plan has {len(plan.canonical):,} bytes, the most is {LARGEST_PLAN:,}")


def _needed(plan: Plan) -> dict[str, str]:
    """The columns that the plan's questions cannot do without, each with its type."""
    purchases = any(not isinstance(q, overlap.Plan) or q.value is not None for q in plan.questions)
    return NEEDED if purchases else {PERSON: NEEDED[PERSON]}


def _asked_for(plan: Plan) -> set[str]:
    """The features that the plan's questions name, or cannot do without, and the columns that these are made of."""
    found = set[str]()
    for question in plan.questions:
        match question:
            case rfm.Plan():
                found |= _OF_RFM
            case classes.Plan():
                found |= {item.feature for item in question.items}
            case overlap.Plan():
                found |= {question.lists.column} if question.lists.column else set()
                found |= {question.value.feature} if question.value else set()
            case lookalike.Plan():
                found |= {one.column for one in question.attributes or ()} | set(question.seed_feature_names())
        found |= {feature.name for feature in getattr(question, "features", [])}
    made = {name: column for name, (column, _) in plan.table.shares().items()} | plan.table.sums()
    return found | {column for name, column in made.items() if name in found}


def _reaches(plan: Plan) -> list[int]:
    return [question.reach for question in plan.questions if isinstance(question, lookalike.Plan)]


def _questions(plan: Plan) -> list[str]:
    return [question.kind for question in plan.questions]
