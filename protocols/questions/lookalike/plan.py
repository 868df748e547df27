"""The public constants of the lookalike question, and what may not be asked."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from protocols.accuracy import shift
from protocols.budget import variance_for
from protocols.feature import Feature
from protocols.schema import Decimal, Frozen, Hex16, Name, Positive
from protocols.statistic import Facts

from .audit import Attribute
from .scorer import CELLS, REACHES

FLOOR = 500  # people of a seed, noised: with fewer the lists would say more of the noise than of the seed
BANDS = len(REACHES) + 1
_FITTED = (
    "seed.clean: whoever decides by a fit on the seed who stays in it lets one person's absence move others in or out, "
    "and no bound holds (one person moved eleven); name a rule (where), a list that is fixed before the round, or the "
    "round of an earlier release (clean = { round = …, cells = … })"
)
Whole = Annotated[int, Field(strict=True, ge=-(2**40), le=2**40)]


class Shares(Frozen):
    """Nano-ρ of each step; `overlap`: of all pairs together. `audit` where there are attributes, and only there."""

    edges: Positive
    background: Positive
    seed: Positive
    scores: Positive
    overlap: Positive
    audit: Positive | None = None


class Bound(Frozen):
    """What a feature of a person must be, both ends included, in the feature's own unit."""

    feature: Name
    low: Whole | None = None
    high: Whole | None = None

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.low is None and self.high is None:
            raise ValueError("a bound of a seed's rule needs low, high, or both")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError("a bound of a seed's rule needs low not above high")
        return self


Bounds = Annotated[list[Bound], Field(min_length=1, max_length=16)]


class Cleaned(Frozen):
    """Of a seed, only those stay whom the score of an earlier round, released before this plan, finds within so many of
    its 64 cells, the likest first: a rule over a person's own features and released numbers.
    """

    round: Hex16
    cells: Annotated[int, Field(strict=True, ge=1, le=CELLS - 1)]


class Seed(Frozen):
    """Which people of one party the audience is to be like: by a rule, or by a list that the party holds.

    where   all bounds hold: a rule over a person's own features and public constants
    list    the name of a list of customers that the party registered with its data, and that is fixed with them
    clean   who of them stays; None: all
    """

    party: Name
    where: Bounds | None = None
    list: Name | None = None
    clean: Cleaned | None = None

    @model_validator(mode="before")
    @classmethod
    def _cleaned_by_nothing_fitted(cls, given: Any) -> Any:
        clean = given.get("clean") if isinstance(given, dict) else None
        if clean is not None and not (isinstance(clean, dict | Cleaned) and "round" in dict(clean)):
            raise ValueError(_FITTED)
        return given

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.where is None) == (self.list is None):
            raise ValueError("a seed is named by where, a rule, or by list, and not by both")
        return self


class Audited(Frozen):
    """A category column whose groups a cut must reach alike; `reference`: the group that others are compared with."""

    column: Name
    reference: Name


class Plan(Frozen):
    """The public constants of the question.

    ranks    the parties that rank their own people; the seed's party is none of them
    floor    the fewest people of the seed, noised, of which anything is said
    reach    the largest cut that may be used, in percent of an owner's people; it is the one that is audited
    target   the lift that the suggested cut must surely reach
    """

    kind: Literal["lookalike"] = "lookalike"
    rho: Shares
    features: Annotated[list[Feature], Field(min_length=1, max_length=16)]
    seed: Seed
    ranks: Annotated[list[Name], Field(min_length=1, max_length=49)]
    floor: Annotated[int, Field(strict=True, ge=FLOOR, le=10**9)]
    reach: Literal[5, 10, 20, 30, 50]
    target: Decimal | None = None
    attributes: Annotated[list[Audited], Field(min_length=1, max_length=8)] | None = None

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.ranks != sorted(set(self.ranks)):
            raise ValueError("ranks: names must be distinct and in alphabetical order")
        if self.seed.party in self.ranks:
            raise ValueError("ranks: the seed's party is none of those that rank")
        names = [feature.name for feature in self.features]
        columns = [one.column for one in self.attributes or ()]
        for what, found in (("features", names), ("attributes", columns)):
            if len(set(found)) < len(found):
                raise ValueError(f"{what}: one is named twice")
        if (self.rho.audit is None) != (self.attributes is None):
            raise ValueError("rho.audit belongs to attributes, and only to them")
        if self.target is not None and not 1 <= float(self.target) <= 100:
            raise ValueError("target is a lift: a decimal in quotes, 1 to 100")
        return self

    def seed_feature_names(self) -> list[str]:
        """The features that the seed's rule speaks of."""
        return [bound.feature for bound in self.seed.where or ()]

    @property
    def within(self) -> int:
        """The place of `reach` among the cuts."""
        return REACHES.index(self.reach)


def audited(question: Plan, facts: Facts) -> list[Attribute]:
    """The attributes with their groups, which are the public values of their columns."""
    columns = facts.table.columns
    return [
        Attribute(one.column, tuple(columns[one.column].values or ()), one.reference)
        for one in question.attributes or ()
    ]


def pairs(question: Plan) -> list[tuple[str, str]]:
    """The seed's party with each that ranks, each pair in alphabetical order."""
    found = [(min(question.seed.party, owner), max(question.seed.party, owner)) for owner in question.ranks]
    return sorted(found)


def scores_variance_micro(question: Plan) -> int:
    """The variance of an owner's noise in each of its cells, in millionths."""
    return variance_for(question.rho.scores, 1, 1)


def overlap_variance_micro(question: Plan) -> int:
    """The variance of one party's noise in each cell of a pair, in millionths."""
    return variance_for(question.rho.overlap, len(question.ranks), 1)


def check(question: Plan, facts: Facts) -> None:
    """Raise ValueError where the question cannot be asked in such a plan."""
    strange = [party for party in (question.seed.party, *question.ranks) if party not in facts.parties]
    if strange:
        raise ValueError(f"questions: {strange[0]!r} is no party of the plan")
    if not facts.keyed:
        raise ValueError("questions: a lookalike needs [people]: which column identifies a person, and how")
    if any("--" in party for party in facts.parties):
        raise ValueError("questions: a lookalike needs names of parties without '--'")
    for name in question.seed_feature_names():
        if name not in facts.features or name == "usable":
            known = ", ".join(one for one in facts.features if one != "usable")
            raise ValueError(f"questions: seed.where: no party has a feature {name}; there are {known}")
    if any(feature.name == "usable" for feature in question.features):
        raise ValueError("questions: usable is no feature to be like")
    _check_attributes(question, facts)
    if question.floor > facts.people_cap:
        raise ValueError(f"questions: floor is {question.floor:,}, the plan's people_cap {facts.people_cap:,}")
    dummies = 2 * shift(overlap_variance_micro(question)) * BANDS
    if dummies > facts.people_cap:
        raise ValueError(
            f"questions: the seed's list would hold {dummies:,} people that do not exist beside at most "
            f"{facts.people_cap:,} that do (people_cap); raise rho.overlap"
        )


def _check_attributes(question: Plan, facts: Facts) -> None:
    for one in question.attributes or ():
        column = facts.table.columns.get(one.column)
        if column is None or not column.values:
            raise ValueError(f"questions: attributes: {one.column!r} is no category column of the table")
        if one.reference not in column.values:
            raise ValueError(f"questions: attributes: {one.column} has no value {one.reference!r} to compare with")
