"""What an audit has read so far, and what it found: every check looks at this and adds to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from ..bundle import Archive
from ..errors import CannotDecide, SumroomError
from ..ledger.entries import Entry, Genesis, Offered
from ..ledger.reducer import Accounts
from ..ledger.tree import Tree
from ..ledger.trust import TrustPolicy
from ..plan import Plan
from ..verdict import BudgetLine, Cosigner, Event, Problem

MOST_FIGURES = 5_000

# check → the checks it builds upon: it says nothing where one of them found something
NEEDS: dict[str, tuple[str, ...]] = {
    "archive": (),
    "verifier": ("archive",),
    "entries": ("archive",),
    "since": ("entries",),
    "identity": ("entries",),
    "checkpoints": ("entries",),
    "rules": ("entries",),
    "cosignatures": ("identity", "checkpoints", "rules"),
    "plans": ("rules",),
    "mechanisms": ("plans",),
    "releases": ("rules",),
    "proofs": ("releases", "checkpoints"),
    "figures": ("releases", "plans"),
    "budgets": ("rules", "plans"),
}


class Noise(NamedTuple):
    """All that a mechanism's cost depends on. variance_micro: of one party's share, in millionths."""

    sensitivity_sq: int
    variance_micro: int
    quorum: int
    collusion: int
    adders: int


class Spending(NamedTuple):
    """One round's charge: its parties, its blocks, its mechanisms in order."""

    parties: tuple[str, ...]
    blocks: tuple[str, ...]
    noise: tuple[Noise, ...]


@dataclass(frozen=True)
class ReadPlan:
    """A plan of the bundle, and its steps in the ledger's words."""

    plan: Plan
    steps: Offered
    table: str


@dataclass(frozen=True)
class Released:
    """A release that is in the bundle. figures: pointer → the figure as it was published; empty where there are too
    many in all to keep (`MOST_FIGURES`)."""

    file: str
    entry: int
    time: int
    round: str
    step: str
    plan: str
    recipients: tuple[str, ...]
    survivors: tuple[str, ...]
    numbers: int
    figures: Mapping[str, Mapping[str, str]]


@dataclass
class Evidence:
    """See the fields' names. asked: the checks that were asked for; counts: how much each check has looked at."""

    policy: TrustPolicy
    asked: frozenset[str]
    archive: Archive | None = None
    genesis: Genesis | None = None
    accounts: Accounts = field(default_factory=lambda: Accounts(keep="open"))
    tree: Tree = field(default_factory=Tree)
    size: int = 0
    root: bytes | None = None
    plans: dict[str, ReadPlan | None] = field(default_factory=dict)
    spendings: dict[Spending, int] = field(default_factory=lambda: defaultdict(int))
    cosigners: dict[str, Cosigner] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    releases: list[Released] = field(default_factory=list)
    budgets: list[BudgetLine] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    problems: dict[str, list[Problem]] = field(default_factory=lambda: defaultdict(list))

    @property
    def files(self) -> Archive:
        """The bundle. Raises CannotDecide where there is none that can be read."""
        if self.archive is None:
            raise CannotDecide("there is no archive")
        return self.archive

    def found(self, check: str, where: str, what: str) -> None:
        """Note a violation."""
        self.problems[check].append(Problem(where, what))

    @contextmanager
    def at(self, check: str, where: str) -> Iterator[None]:
        """What is raised inside is a violation there; only what cannot be decided goes on to the caller."""
        try:
            yield
        except CannotDecide:
            raise
        except SumroomError as exc:
            self.found(check, where, exc.message)

    def reached(self, check: str) -> bool:
        """Whether nothing that `check` builds upon has found anything so far."""
        if not any(self.problems.values()):
            return True
        return not any(self.problems.get(need) or not self.reached(need) for need in NEEDS[check])

    def goes_on(self, check: str) -> bool:
        """Whether `check` was asked for and everything below it holds so far."""
        return check in self.asked and self.reached(check)


class Look(ABC):
    """A check that sees each entry go by. Its methods are called in the order in which they stand here."""

    name: str
    kinds: tuple[type[Entry], ...]  # the entries it is shown

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence

    def start(self) -> None:  # noqa: B027 - most have nothing to do here, and in the next two
        """Before the first entry."""

    def before(self, entry: Entry) -> None:  # noqa: B027
        """The accounts are those before this entry, which may still break a rule."""

    def after(self, entry: Entry, leaf: bytes) -> None:  # noqa: B027
        """The accounts have taken the entry in."""

    @abstractmethod
    def finish(self) -> str:
        """After the last entry: what was looked at, in words."""
