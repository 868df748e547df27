"""A round before it runs: who, why, which question with every parameter, at what cost. A plan is data, never code.

The operator writes TOML; what is hashed, sent, approved and audited is the canonical form of the same values. Every
number that a node will use is here or follows from here: nothing is taken from the request that runs it.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, ValidationError, field_validator, model_validator

from . import budget, schema
from .encoding import canonical, digest, parse
from .errors import IntegrityError, UsageError
from .people import PeopleRules
from .questions import REGISTRY, Question, segments, steps_of
from .schema import Block, Date, Frozen, Name, Positive
from .statistic import Facts, Statistic, Step

LEAST_VARIANCE_MICRO = 9 * budget.MICRO
LARGEST_DELTA = Fraction(1, 10**6)
# For what a round does besides its waits: agreeing on mask keys, adding up, and having each commit cosigned.
SPARE_S = 10
# Which columns of purchases a feature is made of; shares are of `paid`, sums of their own column alone.
NEEDS = {
    "recency_days": {"bought_on"},
    "baskets": {"basket"},
    "spend_cents": {"paid"},
    "discounted_baskets": {"basket", "paid", "discount"},
    "tenure_days": {"bought_on"},
    "mean_basket_cents": {"basket", "paid"},
    "gap_days": {"bought_on"},
    "promo_share_ppm": {"paid", "discount"},
    "discount_depth_ppm": {"paid", "discount"},
}
ALWAYS = tuple(NEEDS)
FUTURE = {"alive_ppm": {"bought_on"}, "value_12m_cents": {"bought_on", "paid"}}


class Mechanism(Frozen):
    """What is done to one statistic, in the ledger's words: enough for any accountant to recompute the cost."""

    name: Literal["discrete_gaussian"] = "discrete_gaussian"
    sensitivity_sq: Positive
    variance: schema.Decimal
    slots: Positive
    adders: list[Name]
    quorum: Positive
    collusion: Annotated[int, Field(strict=True, ge=0)]

    @classmethod
    def within(cls, rho: int, statistic: Statistic, adders: list[str], quorum: int, collusion: int) -> Self:
        """The least noise whose charge is not above so many nano-ρ."""
        bound, slots = statistic.bound_sq, len(statistic.slots)
        micro = budget.variance_for(rho, bound, budget.honest_shares(quorum, collusion))
        own = budget.decimal(micro, budget.MICRO)
        return cls(sensitivity_sq=bound, variance=own, slots=slots, adders=adders, quorum=quorum, collusion=collusion)

    @property
    def variance_micro(self) -> int:
        """The variance of one share's noise, in millionths."""
        return budget.micro(self.variance)

    @property
    def charge(self) -> int:
        """Nano-ρ for one person's records at one party."""
        honest = budget.honest_shares(self.quorum, self.collusion)
        return budget.charge_for(self.sensitivity_sq, self.variance_micro, honest)

    @property
    def charge_person(self) -> int:
        """Nano-ρ for one person known to every party, or to any of them (`budget.person_charge`)."""
        return budget.person_charge(self.sensitivity_sq, self.variance_micro, len(self.adders))


def _above_zero(text: str) -> str:
    if not Fraction(text):
        raise ValueError("must be above 0")
    return text


Parameter = Annotated[
    str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,3})(\.[0-9]{1,9})?$"), AfterValidator(_above_zero)
]


class BgNbd(Frozen):
    """Parameters of the BG/NBD model of repeat purchase days, as decimals; `alpha` in days, the others without unit.

    Source: Fader, Hardie & Lee 2005, "Counting Your Customers" the Easy Way, Marketing Science 24(2), section 3.
    """

    r: Parameter
    alpha: Parameter
    a: Parameter
    b: Parameter

    @model_validator(mode="after")
    def _off_the_poles(self) -> Self:
        if Fraction(self.a) == 1 or Fraction(self.a) + Fraction(self.b) == 1:
            raise ValueError("neither a nor a + b may be exactly 1: the closed form divides by zero there")
        return self


class GammaGamma(Frozen):
    """Parameters of the gamma-gamma model of spend per purchase day, as decimals; `v` in whole units of the currency.

    Source: Fader & Hardie 2013, "The Gamma-Gamma Model of Monetary Value", eq. 5.
    """

    p: Parameter
    q: Parameter
    v: Parameter

    @model_validator(mode="after")
    def _has_a_mean(self) -> Self:
        if Fraction(self.q) <= 1:
            raise ValueError("q must be above 1, or the mean spend is infinite")
        return self


class FeatureRules(Frozen):
    """Public constants by which a party turns a person's own rows into features.

    `bg_nbd` adds the feature alive_ppm, `gamma_gamma` on top of it value_12m_cents. Both are public numbers, never
    fitted on the rows of the parties: a model fitted on rows makes everybody's features depend on everybody's rows.
    """

    as_of: Date
    discount_depth_percent: Annotated[int, Field(strict=True, ge=0, le=99)]
    bg_nbd: BgNbd | None = None
    gamma_gamma: GammaGamma | None = None

    @model_validator(mode="after")
    def _spend_needs_a_future(self) -> Self:
        if self.gamma_gamma is not None and self.bg_nbd is None:
            raise ValueError("gamma_gamma needs bg_nbd: spend alone says nothing of what is still to come")
        return self

    def names(self, table: schema.Schema) -> tuple[str, ...]:
        """The features that a party has of each of its people under these rules, `usable` last."""
        alive = ("alive_ppm",) if self.bg_nbd else ()
        value = ("value_12m_cents",) if self.gamma_gamma else ()
        return (*ALWAYS, *table.shares(), *table.sums(), *alive, *value, "usable")

    def computable(self, table: schema.Schema) -> tuple[str, ...]:
        """Those of `names` that the table has the columns for."""
        needs = NEEDS | FUTURE | {name: {"paid"} for name in table.shares()}
        return tuple(name for name in self.names(table) if needs.get(name, set()) <= table.columns.keys())


class Plan(Frozen):
    """See `docs` of each field in `examples/complete_journey/plan.toml`, which is a whole one."""

    type: Literal["plan@v1"] = "plan@v1"
    room: Name
    name: Name
    purpose: Annotated[str, StringConstraints(min_length=8, max_length=400)]
    parties: Annotated[list[Name], Field(min_length=1, max_length=50)]
    recipients: Annotated[list[Name], Field(min_length=1, max_length=50)]
    collusion: Annotated[int, Field(strict=True, ge=0, le=49)]
    quorum: Annotated[int, Field(strict=True, ge=1, le=50)]
    deadline_s: Annotated[int, Field(strict=True, ge=1, le=86_400)]
    answer_after_s: Annotated[int, Field(strict=True, ge=0, le=3_600)]
    valid_until: Date
    delta: Annotated[str, StringConstraints(pattern=r"^0\.[0-9]{1,15}$")]
    people_cap: Positive
    rho: Positive
    blocks: Annotated[dict[Name, Block], Field(min_length=1, max_length=64)]
    features: FeatureRules
    table: schema.Schema
    people: PeopleRules | None = None
    questions: Annotated[list[Annotated[Question, Field(discriminator="kind")]], Field(min_length=1, max_length=16)]

    @field_validator("parties", "recipients")
    @classmethod
    def _sorted_and_distinct(cls, names: list[str]) -> list[str]:
        if names != sorted(set(names)):
            raise ValueError("names must be distinct and in alphabetical order")
        return names

    @model_validator(mode="after")
    def _sound(self) -> Self:
        self._check_trust()
        self._check_delta()
        self._check_time()
        blocks = sorted(self.blocks.values(), key=lambda b: b.first)
        if any(a.meets(b) for a, b in pairwise(blocks)):
            raise ValueError("blocks: two blocks share a day")
        if self.features.as_of < blocks[-1].last:
            raise ValueError("features.as_of lies before the end of the last block")
        if not set(self.recipients) <= set(self.parties):
            raise ValueError("recipients: only parties of the plan can be recipients so far")
        if self.recipients != self.parties and len(self.steps()) > 1:
            raise ValueError(
                "recipients: a later step starts from the releases before it, so all parties must get them"
            )
        self._check_features()
        if self.people is not None:
            self.people.check(self.table)
        names = [step.name for step, _ in self.steps()]
        if len(set(names)) != len(names):
            raise ValueError("questions: two of them have steps of one name; ask each question once")
        for step, mechanism in self.steps():
            self._check_step(step, mechanism)
        spent = sum(m.charge for _, m in self.steps())
        if spent > self.rho:
            raise ValueError(f"rho: the steps cost {budget.decimal(spent)}, the plan allows {budget.decimal(self.rho)}")
        return self

    @property
    def table_digest(self) -> str:
        """What a party registers its data for: the table and, where there are any, the rules of who is one person."""
        if self.people is None:
            return self.table.digest()
        return digest(canonical({"people": self.people.body(), "table": self.table.body()}))

    @property
    def _features(self) -> tuple[str, ...]:
        """What a question may name; without `people` also what lacks its columns, as noise over zeros."""
        return (self.features.names if self.people is None else self.features.computable)(self.table)

    def _check_features(self) -> None:
        known = self._features
        for question in self.questions:
            for feature in getattr(question, "features", []):
                if feature.name not in known:
                    raise ValueError(f"questions: no party has a feature {feature.name}; there are {', '.join(known)}")

    def _check_trust(self) -> None:
        n = len(self.parties)
        if self.quorum > n:
            raise ValueError(f"quorum {self.quorum} is larger than the number of parties, {n}")
        if n > 1 and not 1 <= self.collusion <= n - 1:
            raise ValueError(
                f"collusion is {self.collusion}; with {n} parties it must be 1 to {n - 1}, since the parties read "
                "the releases"
            )
        if n == 1 and self.collusion:
            raise ValueError("collusion must be 0 where there is one party only")
        least = budget.recovery_threshold(n, self.collusion)
        if self.quorum < least:
            raise ValueError(
                f"quorum is {self.quorum}; with {n} parties of which {self.collusion} may collude it must be at least "
                f"{least}: two sets of survivors must share an honest party"
                + ("; with four parties or fewer nothing can be recovered" if n <= 4 else "")
            )

    def _check_delta(self) -> None:
        largest = min(LARGEST_DELTA, Fraction(1, 10 * self.people_cap))
        if not 0 < Fraction(self.delta) <= largest:
            raise ValueError(f"delta is {self.delta}; at most 1e-6 and 1/(10 · people_cap) = {float(largest):.2g}")

    def _check_time(self) -> None:
        least = self.least_s + SPARE_S
        if self.deadline_s < least:
            raise ValueError(
                f"deadline_s is {self.deadline_s}; with {len(self.steps())} steps of answer_after_s = "
                f"{self.answer_after_s} it must be at least {least}"
            )

    def _check_step(self, step: Step, mechanism: Mechanism) -> None:
        if mechanism.variance_micro < LEAST_VARIANCE_MICRO:
            sigma = math.sqrt(mechanism.variance_micro / budget.MICRO)
            raise ValueError(f"step {step.name}: one share has σ {sigma:.2f}; the least is 3: lower its rho")
        # Why 2^53 and not 2^63: the noised sum is published as JSON integers. 40 s_tot is never exceeded in practice.
        noise = math.isqrt(len(self.parties) * mechanism.variance_micro // budget.MICRO) + 1
        largest = len(self.parties) * self.people_cap * math.isqrt(step.statistic.bound_sq) + 40 * noise
        if largest >= 2**53:
            raise ValueError(f"step {step.name}: sums could reach {largest}, the limit is 2^53; lower people_cap")

    @classmethod
    def from_toml(cls, data: bytes, *, where: str = "plan") -> Plan:
        """Read what an operator wrote: ρ as decimal strings, everything else as it is. Raises UsageError."""
        try:
            document = tomllib.loads(data.decode("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
            raise UsageError(f"{where} is not TOML: {exc}") from None
        return cls._from(_with_nano(document), where)

    @classmethod
    def from_bytes(cls, data: bytes) -> Plan:
        """Read the canonical form. Raises IntegrityError for other bytes, UsageError for an unsound plan."""
        plan = cls._from(parse(data, what="plan"), "plan")
        if plan.canonical != data:
            raise IntegrityError("the plan spells out defaults in another way than its canonical form")
        return plan

    @classmethod
    def _from(cls, document: Any, where: str) -> Plan:
        questions = document.get("questions") if isinstance(document, dict) else None
        for number, question in enumerate(questions if isinstance(questions, list) else []):
            kind = question.get("kind") if isinstance(question, dict) else None
            if not isinstance(kind, str) or kind not in REGISTRY:
                raise UsageError(
                    f"{where}: question {number + 1}: there is no question {str(kind)[:40]!r}",
                    f"the questions are: {', '.join(sorted(REGISTRY))}",
                )
        try:
            return cls.model_validate(document)
        except ValidationError as exc:
            raise schema.explain(exc, where) from None

    @cached_property
    def canonical(self) -> bytes:
        return canonical(self.body())

    @cached_property
    def digest(self) -> str:
        return digest(self.canonical)

    def steps(self) -> list[tuple[Step, Mechanism]]:
        """All charged steps in the order in which they run."""
        return list(self._steps)

    @cached_property
    def _steps(self) -> tuple[tuple[Step, Mechanism], ...]:
        return tuple(self._each_step())

    def step(self, name: str) -> tuple[Step, Mechanism]:
        """One step by its name. Raises UsageError."""
        for step, mechanism in self.steps():
            if step.name == name:
                return step, mechanism
        raise UsageError(f"the plan has no step {name!r}")

    def mechanisms(self) -> list[tuple[str, dict[str, Any], int]]:
        """(step, mechanism, charge) in the ledger's words."""
        return [(step.name, mechanism.body(), mechanism.charge) for step, mechanism in self.steps()]

    @property
    def least_s(self) -> int:
        """Seconds that a round waits in all: at every step the nodes answer `answer_after_s` after they are asked.

        Twice where they count between them: with their lists laid out, and with their peers' lists finished.
        """
        waits = sum(2 if step.made == "overlap" else 1 for step, _ in self.steps())
        return waits * self.answer_after_s

    @property
    def charge(self) -> int:
        """Nano-ρ of the whole plan for one person's records at one party."""
        return sum(mechanism.charge for _, mechanism in self.steps())

    @property
    def charge_person(self) -> int:
        """Nano-ρ of the whole plan for one person known to every party, or to any of them."""
        return sum(mechanism.charge_person for _, mechanism in self.steps())

    def facts(self, question: Question) -> Facts:
        """What one of the plan's questions may know of the plan around it."""
        before = self.questions[: self.questions.index(question)]
        return Facts(
            parties=tuple(self.parties),
            people_cap=self.people_cap,
            table=self.table,
            features=self._features,
            keyed=self.people is not None,
            segments=next((q.clusters for q in before if isinstance(q, segments.Plan)), None),
        )

    def _each_step(self) -> Iterator[tuple[Step, Mechanism]]:
        for question in self.questions:
            for step, rho in steps_of(question, self.facts(question)):
                yield step, self._mechanism(step, rho)

    def _mechanism(self, step: Step, rho: int) -> Mechanism:
        quorum, collusion = self.quorum, self.collusion
        if step.relies_on_one:  # in one slot there is a pair's noise only, of which each knows its own, or its owner's
            quorum, collusion = len(self.parties), len(self.parties) - 1
        return Mechanism.within(rho, step.statistic, self.parties, quorum, collusion)


def _with_nano(document: dict[str, Any]) -> dict[str, Any]:
    """The same document with each `rho` (a decimal string, or a table of them) in nano-ρ, at its two places."""
    out = {**document}
    if "rho" in out:
        out["rho"] = _nano(out["rho"], "rho")
    if isinstance(out.get("questions"), list):
        out["questions"] = [
            {**q, "rho": _nano(q["rho"], "questions.rho")} if isinstance(q, dict) and "rho" in q else q
            for q in out["questions"]
        ]
    return out


def _nano(value: Any, what: str) -> Any:
    if isinstance(value, dict):
        return {name: _nano(inner, f"{what}.{name}") for name, inner in value.items()}
    if not isinstance(value, str):
        raise UsageError(f'{what} must be a decimal in quotes, for example "0.006"')
    return budget.nano(value, what=what)
