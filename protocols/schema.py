"""What a column may hold: types, bounds, public categories. Agreed in the plan, filled by each party in its own way."""

from __future__ import annotations

import datetime as dt
from fractions import Fraction
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from .encoding import canonical, digest
from .errors import UsageError


def _real_day(text: str) -> str:
    try:
        dt.date.fromisoformat(text)
    except ValueError:
        raise ValueError("there is no such day") from None
    return text


Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
Date = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"), AfterValidator(_real_day)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Hex16 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Base64 = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]+={0,2}$", max_length=8192)]
Count = Annotated[int, Field(strict=True, ge=0, le=2**53 - 1)]
Positive = Annotated[int, Field(strict=True, ge=1, le=2**53 - 1)]


class Frozen(BaseModel):
    """A fact: complete when made, never changed, no field unknown to it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def body(self) -> dict[str, Any]:
        """The value as plain maps, lists, strings and integers, ready for `encoding.canonical`."""
        return self.model_dump(mode="json", exclude_none=True)


class Column(Frozen):
    """One agreed column. `money` is in hundredths of the room's currency once read, `low` and `high` in whole units."""

    type: Literal["id", "date", "money"]
    low: Annotated[int, Field(strict=True, ge=-(10**9), le=10**9)] | None = None
    high: Annotated[int, Field(strict=True, ge=-(10**9), le=10**9)] | None = None

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.type == "money" and (self.low is None or self.high is None or self.low >= self.high):
            raise ValueError("a money column needs bounds, low below high")
        if self.type != "money" and (self.low is not None or self.high is not None):
            raise ValueError(f"a column of type {self.type} takes no bounds")
        return self


class Schema(Frozen):
    """The columns of one agreed table, by name."""

    name: Name
    columns: dict[Name, Column]

    def digest(self) -> str:
        return digest(canonical(self.body()))


class Block(Frozen):
    """A stretch of days, both ends included: the unit of time in which budget is kept."""

    first: Date
    last: Date

    @model_validator(mode="after")
    def _order(self) -> Self:
        if day(self.first) > day(self.last):
            raise ValueError("a block's first day is after its last")
        return self

    def meets(self, other: Block) -> bool:
        return self.first <= other.last and other.first <= self.last


def day(text: str) -> dt.date:
    """A calendar day. Raises ValueError for one that does not exist."""
    return dt.date.fromisoformat(text)


def cents(units: int) -> int:
    """Whole units of currency in hundredths."""
    return int(Fraction(units) * 100)


def explain(exc: ValidationError, what: str) -> UsageError:
    """The first fault of a document, by the name of its setting and never with more of its value than needed."""
    first = exc.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or what
    reason = first["msg"].removeprefix("Value error, ")
    more = f" (and {exc.error_count() - 1} more)" if exc.error_count() > 1 else ""
    return UsageError(f"{what}: {where}: {reason[:1].lower()}{reason[1:]}{more}")
