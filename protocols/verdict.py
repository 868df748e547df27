"""What the auditor's tool says: checks, problems, budgets. Facts only; how they are found is in `audit`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "violation", "not reached", "not asked"]


@dataclass(frozen=True)
class Problem:
    """A violation. where: an entry by its number, or a file of the bundle."""

    where: str
    what: str


@dataclass(frozen=True)
class Check:
    """One line of the verdict. meaning: what it says to a person whose data were used."""

    name: str
    looked_at: str
    meaning: str
    problems: tuple[Problem, ...]
    state: State

    @property
    def promise(self) -> str:
        """The meaning where the check bears it out, and elsewhere that it does not."""
        return self.meaning if self.state == "ok" else f"not shown: {self.meaning}"


@dataclass(frozen=True)
class BudgetLine:
    """Nano-ρ spent of a cap, by (who, block) as in `Accounts.balance`. epsilon: δ of a plan → what ρ means there."""

    who: str
    block: str
    spent: int
    cap: int
    epsilon: Mapping[str, float]


@dataclass(frozen=True)
class Cosigner:
    """A party, how many checkpoints of the bundle it cosigned, and the last one: its size and when, unix seconds."""

    party: str
    checkpoints: int
    size: int
    time: int


@dataclass(frozen=True)
class Event:
    """An entry that an auditor wants to see by itself. kind: `forfeit`, `refund`, `cap`, `key`, `party`, `egress`, …"""

    entry: int
    time: int
    kind: str
    what: str


@dataclass(frozen=True)
class Findings:
    """All that `verify` found. root: hex, over all entries. numbers: published figures that match their entry."""

    room: str | None
    entries: int
    root: str | None
    checks: tuple[Check, ...]
    budgets: tuple[BudgetLine, ...]
    releases: int
    numbers: int
    forfeits: int
    open_rounds: int = 0
    cosigners: tuple[Cosigner, ...] = ()
    events: tuple[Event, ...] = ()
    time: int | None = None

    @property
    def violations(self) -> tuple[Problem, ...]:
        """Every problem of every check; none means clean."""
        return tuple(problem for check in self.checks for problem in check.problems)


def counted(number: int, one: str, many: str = "") -> str:
    """`1 plan`, `2 plans`, and with `many` `2 entries`."""
    return f"{number} {one if number == 1 else many or one + 's'}"
