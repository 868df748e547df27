"""What a column may hold: types, bounds, public categories. Agreed in the plan, filled by each party in its own way."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from .budget import nano
from .encoding import canonical, digest
from .errors import UsageError

OTHER = "other"
NAME_LENGTH = 40
SHOWN_FAULTS = 3
FROM_TOML = {"toml": True}  # the validation context of what a person wrote; amounts in it are decimals in quotes


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
Value = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,29}$")]
# A decimal with at most six digits after the point, in its one spelling: no leading or trailing zero.
Decimal = Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,24})(\.[0-9]{0,5}[1-9])?$")]
Count = Annotated[int, Field(strict=True, ge=0, le=2**53 - 1)]
Positive = Annotated[int, Field(strict=True, ge=1, le=2**53 - 1)]


class Frozen(BaseModel):
    """A fact: complete when made, never changed, no field unknown to it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def body(self) -> dict[str, Any]:
        """The value as plain maps, lists, strings and integers, ready for `encoding.canonical`."""
        return self.model_dump(mode="json", exclude_none=True)


MOST_GROUPS = 20
HowMany = Annotated[int, Field(strict=True, ge=2, le=MOST_GROUPS)]


class Range(Frozen):
    """How many segments or classes there may be. Which it is, what was released decides, at no further cost."""

    least: HowMany
    most: HowMany

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        if self.least >= self.most:
            raise ValueError("a range needs least below most; one number is written as such")
        return self


class Column(Frozen):
    """One agreed column.

    id        text
    date      a day
    money     `low` to `high` in whole units of the room's currency; in hundredths once read
    count     a whole number from 0 to `high`: e-mails opened, visits, calls
    category  one of the public `values`; any other text, and none, is the value "other"
    email, phone, maid, sha256
              text that a person is known by, in the one spelling of `people.py` once read; may be missing
    """

    type: Literal["id", "date", "money", "count", "category", "email", "phone", "maid", "sha256"]
    low: Annotated[int, Field(strict=True, ge=-(10**9), le=10**9)] | None = None
    high: Annotated[int, Field(strict=True, ge=-(10**9), le=10**9)] | None = None
    values: Annotated[list[Value], Field(min_length=2, max_length=32)] | None = None

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.type == "money" and (self.low is None or self.high is None or self.low >= self.high):
            raise ValueError("a money column needs bounds, low below high")
        if self.type == "count" and (self.low is not None or self.high is None or self.high < 1):
            raise ValueError("a count column needs high, 1 or more, and no low: it starts at 0")
        if self.type not in ("money", "count") and (self.low is not None or self.high is not None):
            raise ValueError(f"a column of type {self.type} takes no bounds")
        return self

    @model_validator(mode="after")
    def _public_values(self) -> Self:
        if self.type != "category" and self.values is not None:
            raise ValueError(f"a column of type {self.type} takes no values")
        if self.type == "category" and (self.values is None or len(set(self.values)) < len(self.values)):
            raise ValueError("a category column needs values, each once")
        if self.values is not None and OTHER not in self.values:
            raise ValueError(f"the values of a category column must have {OTHER!r}, for what is not among them")
        return self


class Schema(Frozen):
    """The columns of one agreed table, by name. `one_row_per`: an id column that no two rows share a value of."""

    name: Name
    columns: dict[Name, Column]
    one_row_per: Name | None = None

    @model_validator(mode="after")
    def _one_row_per_id(self) -> Self:
        if self.one_row_per is not None:
            column = self.columns.get(self.one_row_per)
            if column is None or column.type != "id":
                raise ValueError(f"one_row_per is {self.one_row_per!r}, which is no id column of the table")
        return self

    @model_validator(mode="after")
    def _features_have_names(self) -> Self:
        names = [*(name for name, _, _ in self._shares()), *self.sums()]
        for name in names:
            if len(name) > NAME_LENGTH:
                raise ValueError(f"columns: the feature {name!r} would have a name of over {NAME_LENGTH} characters")
            if names.count(name) > 1:
                raise ValueError(f"columns: two features would be called {name!r}")
        return self

    def digest(self) -> str:
        return digest(canonical(self.body()))

    def shares(self) -> dict[str, tuple[str, str]]:
        """Feature → (category column, value) whose share of spend it is.

        `share_<value>_ppm`, and `share_<column>_<value>_ppm` for a value that two columns have.
        """
        return {name: (column, value) for name, column, value in self._shares()}

    def sums(self) -> dict[str, str]:
        """Feature `sum_<column>` → the count column that it adds up."""
        return {f"sum_{name}": name for name in sorted(self.columns) if self.columns[name].type == "count"}

    def _shares(self) -> list[tuple[str, str, str]]:
        pairs = [(name, value) for name in sorted(self.columns) for value in self.columns[name].values or ()]
        often = Counter(value for _, value in pairs)
        return [(f"share_{v if often[v] == 1 else f'{name}_{v}'}_ppm", name, v) for name, v in pairs]


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


def nano_field(value: Any, what: str, info: ValidationInfo | None = None) -> Any:
    """For validators: a decimal string in nano-ρ, anything else as it is. Raises ValueError, as pydantic wants it.

    In TOML (`info.context` is FROM_TOML) a number without quotes is refused: a float is no exact amount, and an integer
    would be taken for billionths.
    """
    bare = isinstance(value, float) or (isinstance(value, int) and info is not None and info.context == FROM_TOML)
    if bare:
        raise ValueError(f'{what} must be a decimal in quotes, for example "0.06"')
    if not isinstance(value, str):
        return value
    try:
        return nano(value, what=what)
    except UsageError as exc:
        raise ValueError(exc.message) from None


def day(text: str) -> dt.date:
    """A calendar day. Raises ValueError for one that does not exist."""
    return dt.date.fromisoformat(text)


def explain(exc: ValidationError, what: str, hint: str | None = None, *, item: str = "") -> UsageError:
    """The first faults of a document, by the names of its settings and never with more of a value than needed.

    item   what one of its lists is made of: `allow.0.plan` is then "allow rule 1: plan"
    """
    faults = exc.errors(include_url=False, include_context=False, include_input=False)
    said = [_placed(fault["loc"], fault["type"], fault["msg"], item) for fault in faults[:SHOWN_FAULTS]]
    more = f" (and {len(faults) - SHOWN_FAULTS} more)" if len(faults) > SHOWN_FAULTS else ""
    return UsageError(f"{what}: {'; '.join(said)}{more}", hint)


def _placed(loc: tuple[int | str, ...], kind: str, message: str, item: str) -> str:
    if item and len(loc) > 1 and isinstance(loc[1], int):
        return f"{loc[0]} {item} {loc[1] + 1}: {_fault('.'.join(map(str, loc[2:])), kind, message)}"
    return _fault(".".join(map(str, loc)), kind, message)


def _fault(where: str, kind: str, message: str) -> str:
    reason = {"missing": "is missing", "extra_forbidden": "there is no such setting"}.get(kind)
    if reason is None:
        reason = message.removeprefix("Value error, ")
        reason = reason[:1].lower() + reason[1:]
    # Our own reasons often name the setting themselves.
    return reason if not where or reason.startswith((f"{where} ", f"{where}:")) else f"{where}: {reason}"
