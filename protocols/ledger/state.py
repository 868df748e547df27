"""What a room is after some entries: members, blocks, caps, what is spent, rounds. The rules are `reducer.py`'s."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from ..budget import decimal
from ..errors import Refused
from ..schema import Block
from .entries import Commit, Dataset, Genesis, Plan, Reserve
from .fields import LIFETIME, PERSON
from .members import Members
from .statements import Egress

_NONE: Any = object()


@dataclass(frozen=True)
class Balance:
    """Nano-ρ: the most that may be spent, and what is."""

    cap: int
    spent: int

    @property
    def left(self) -> int:
        return self.cap - self.spent


class Round(NamedTuple):
    """What became of a reserve. commits: one for each finished step, in the order of the reserve's steps."""

    reserve: Reserve
    state: Literal["open", "done", "forfeited", "refunded"] = "open"
    commits: tuple[Commit, ...] = ()


class State:
    """A room after some entries.

    keep   `all` rounds in full, or only the `open` and the forfeited ones: what an auditor of a long history needs

    All state is in maps, every change of them is noted, and so can be taken back: `mark` and `roll_back`. What it costs
    is the change and not the history. `settle` makes what was noted final.
    """

    def __init__(self, keep: Literal["all", "open"] = "all") -> None:
        self._keep = keep
        self._genesis: Genesis | None = None
        self._size = 0
        self._time = 0
        self._epochs: dict[int, Members] = {}
        self._keys_used: dict[str, str] = {}
        self._blocks: dict[str, Block] = {}
        self._caps: dict[tuple[str, str], int] = {}
        self._spent: dict[tuple[str, str], int] = {}
        self._plans: dict[str, Plan] = {}
        self._datasets: dict[str, Dataset] = {}
        self._versions: dict[tuple[str, str], bool] = {}
        self._rounds: dict[str, Round] = {}
        self._finished: dict[str, tuple[str, str, frozenset[tuple[str, str]]]] = {}
        self._nonces: dict[str, bool] = {}
        self._digests: dict[str, bool] = {}
        self._egress: dict[str, Egress] = {}
        self._audits: dict[tuple[str, int, str], bool] = {}
        self._grants: dict[int, bool] = {}
        self._undo: list[tuple[dict[Any, Any], Any, Any]] = []

    # --- going back ------------------------------------------------------------------------------------------------

    def mark(self) -> tuple[int, int, int]:
        """Where the accounts stand now, for `roll_back`."""
        return len(self._undo), self._size, self._time

    def roll_back(self, mark: tuple[int, int, int]) -> None:
        """Forget every entry that was applied since `mark`."""
        length, self._size, self._time = mark
        while len(self._undo) > length:
            table, key, before = self._undo.pop()
            if before is _NONE:
                del table[key]
            else:
                table[key] = before
        if self._size == 0:
            self._genesis = None

    def settle(self) -> None:
        """Nothing that was applied so far will be taken back."""
        self._undo.clear()

    def _add(self, table: dict[Any, bool], keys: Collection[Any]) -> None:
        """These are not in the table yet."""
        self._undo += [(table, key, _NONE) for key in keys]
        table.update(dict.fromkeys(keys, True))

    def _put(self, table: dict[Any, Any], key: Any, value: Any) -> None:
        self._undo.append((table, key, table.get(key, _NONE)))
        table[key] = value

    # --- reading ---------------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """How many entries were applied; the number of the next one."""
        return self._size

    @property
    def time(self) -> int:
        """The time of the last entry, unix seconds."""
        return self._time

    @property
    def genesis(self) -> Genesis:
        """The first entry: how the room began. Raises Refused while there is none."""
        if self._genesis is None:
            raise Refused("the ledger is empty: its first entry must be a genesis")
        return self._genesis

    @property
    def members(self) -> Members:
        """Who is in the room now, by which keys. Raises Refused while the ledger is empty."""
        return self.members_at(self._size)

    def members_at(self, size: int) -> Members:
        """Who was in the room after the first `size` entries; now, where there are fewer. Raises Refused for 0."""
        for start, members in reversed(self._epochs.items()):  # mostly the last is asked for
            if start <= size:
                return members
        raise Refused("the ledger is empty: its first entry must be a genesis")

    def epochs(self) -> dict[int, Members]:
        """From which size on → the members, oldest first."""
        return dict(self._epochs)

    @property
    def revision(self) -> tuple[int, int]:
        """How often the members, and how often caps and blocks were set: another value, another room."""
        return len(self._epochs), len(self._grants)

    @property
    def blocks(self) -> Mapping[str, Block]:
        """The blocks of time that have a budget."""
        return MappingProxyType(self._blocks)

    @property
    def plans(self) -> Mapping[str, Plan]:
        """Approved plans by digest."""
        return MappingProxyType(self._plans)

    @property
    def datasets(self) -> Mapping[str, Dataset]:
        """Each party's latest declared dataset."""
        return MappingProxyType(self._datasets)

    @property
    def rounds(self) -> Mapping[str, Round]:
        """Rounds by id, in the order of their reserves; with `keep="open"` without those that are done or refunded."""
        return MappingProxyType(self._rounds)

    @property
    def egress(self) -> Mapping[str, Egress]:
        """Each party's latest statement of what it has sent."""
        return MappingProxyType(self._egress)

    def balance(self, who: str, block: str) -> Balance:
        """What `who` has spent in `block`, and may.

        who     a party, for one person's records there; or PERSON, for one person at all parties together
        block   a block; or LIFETIME, for all of them together
        """
        return Balance(self._caps[who, block], self._spent.get((who, block), 0))

    def balances(self) -> dict[tuple[str, str], Balance]:
        """Every balance by (who, block): each party's blocks and lifetime, then those of a person at all parties."""
        whos = [*dict.fromkeys(who for who, _ in self._caps if who != PERSON), PERSON]
        blocks = [*self._blocks, LIFETIME]
        return {(w, b): self.balance(w, b) for w in whos for b in blocks if (w, b) in self._caps}

    def check_caps(self, charge: Mapping[str, Mapping[str, int]], person: int) -> None:
        """Raise Refused when a reserve would pass a cap. Changes nothing.

        charge  party → block → nano-ρ, for one person's records there
        person  nano-ρ in each of these blocks, for one person known to every party
        """
        for party, row in charge.items():
            for block, amount in row.items():
                self._check_fits(party, block, amount)
            self._check_fits(party, LIFETIME, sum(row.values()))
        blocks = sorted({block for row in charge.values() for block in row})
        for block in blocks:
            self._check_fits(PERSON, block, person)
        self._check_fits(PERSON, LIFETIME, person * len(blocks))

    def _check_fits(self, who: str, block: str, amount: int) -> None:
        cap, spent = self._caps[who, block], self._spent.get((who, block), 0)
        if spent + amount <= cap:
            return
        what = "person budget" if who == PERSON else "record budget"
        what = f"the lifetime {what}" if block == LIFETIME else f"the {what}"
        of, where = "" if who == PERSON else f" of {who}", "" if block == LIFETIME else f" in {block}"
        raise Refused(
            f"{what}{of}{where} would be passed: ρ {decimal(spent)} spent, {decimal(amount)} asked,"
            f" {decimal(cap)} the cap",
            "ask for less, or for another block; a cap is raised by those whose data it is, never by asking again",
        )


def state_of(round_: Round) -> str:
    """The digest that a round's next step starts from: of its last release, or of its plan before the first."""
    return round_.commits[-1].digest if round_.commits else round_.reserve.plan
