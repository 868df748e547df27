"""The rules of the ledger: which entry may follow a history, and what is spent after it.

Coordinator, every party's node and the auditor run exactly this over the same entries, and so must agree. Amounts are
integers in nano-ρ. There is no clock, no file and no float here; time is what the entries say.

    spent by a party in a block    = Σ of its charges there, over all reserves
    spent by a person in a block   = Σ of what the steps cost one person known to all parties (`budget.person_charge`)
    lifetime                       = Σ over the blocks

Whatever is reserved is spent: no rule gives anything back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ..budget import charge_for, decimal, honest_shares, person_charge, recovery_threshold
from ..errors import Refused
from ..keys import check, public_key
from .entries import (
    LIFETIME,
    PERSON,
    Commit,
    Dataset,
    Entry,
    Forfeit,
    Genesis,
    Mechanism,
    Plan,
    Reserve,
    approval_body,
    signed_body,
)

# Below σ = 3 the sum of shares is no longer a discrete Gaussian to within 1e-15, and the charge would not hold.
LEAST_VARIANCE_MICRO = 9_000_000


@dataclass(frozen=True)
class Balance:
    """Nano-ρ: the most that may be spent, and what is."""

    cap: int
    spent: int

    @property
    def left(self) -> int:
        return self.cap - self.spent


@dataclass(frozen=True)
class Round:
    """What became of a reserve. commits: one for each finished step, in the order of the reserve's steps."""

    reserve: Reserve
    state: Literal["open", "done", "forfeited"] = "open"
    commits: tuple[Commit, ...] = ()


class Accounts:
    """The state of a room after some entries. `apply` moves it on by one entry, or raises and leaves it unchanged.

    Each rule method checks everything first and changes something only in its last lines: that is why a refusal
    changes nothing.
    """

    def __init__(self) -> None:
        self._genesis: Genesis | None = None
        self._keys: dict[str, Ed25519PublicKey] = {}
        self._size = 0
        self._time = 0
        self._spent: dict[tuple[str, str], int] = {}
        self._plans: dict[str, Plan] = {}
        self._datasets: dict[str, Dataset] = {}
        self._versions: set[tuple[str, str]] = set()
        self._rounds: dict[str, Round] = {}
        self._nonces: set[str] = set()
        self._digests: set[str] = set()

    def fork(self) -> Accounts:
        """An independent copy, to try entries on. Entries themselves are shared: they never change."""
        twin = Accounts()
        twin._genesis, twin._keys, twin._size, twin._time = self._genesis, self._keys, self._size, self._time
        twin._spent, twin._plans, twin._datasets = dict(self._spent), dict(self._plans), dict(self._datasets)
        twin._versions, twin._rounds = set(self._versions), dict(self._rounds)
        twin._nonces, twin._digests = set(self._nonces), set(self._digests)
        return twin

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
        """The first entry. Raises Refused while there is none."""
        if self._genesis is None:
            raise Refused("the ledger is empty: its first entry must be a genesis")
        return self._genesis

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
        """Rounds by id, in the order of their reserves."""
        return MappingProxyType(self._rounds)

    def balance(self, who: str, block: str) -> Balance:
        """What `who` has spent in `block`, and may.

        who     a party, for one person's records there; or PERSON, for one person at all parties together
        block   a block; or LIFETIME, for all of them together
        """
        caps = self.genesis.caps
        if who == PERSON:
            cap = caps.lifetime_person if block == LIFETIME else caps.person[block]
        else:
            cap = caps.lifetime_record[who] if block == LIFETIME else caps.record[who][block]
        blocks = list(self.genesis.blocks) if block == LIFETIME else [block]
        return Balance(cap, sum(self._spent.get((who, b), 0) for b in blocks))

    def balances(self) -> dict[tuple[str, str], Balance]:
        """Every balance by (who, block): each party's blocks and lifetime, then those of a person at all parties."""
        whos, blocks = [*self.genesis.parties, PERSON], [*self.genesis.blocks, LIFETIME]
        return {(who, block): self.balance(who, block) for who in whos for block in blocks}

    # --- the rules -------------------------------------------------------------------------------------------------

    def apply(self, entry: Entry) -> None:
        """Take one entry in. Raises Refused (a rule) or IntegrityError (a signature); then nothing has changed."""
        self._check_place(entry)
        match entry:
            case Genesis():
                self._open_room(entry)
            case Dataset():
                self._declare(entry)
            case Plan():
                self._approve(entry)
            case Reserve():
                self._reserve(entry)
            case Commit():
                self._commit(entry)
            case Forfeit():  # pragma: no branch - there is no other type
                self._forfeit(entry)
        self._size, self._time = self._size + 1, entry.time

    def _check_place(self, entry: Entry) -> None:
        if entry.seq != self._size:
            raise Refused(f"entry {entry.seq} where {self._size} is next")
        if entry.time < self._time:
            raise Refused(f"entry from the past: {entry.time}, after one of {self._time}")
        if self._genesis is None and not isinstance(entry, Genesis):
            raise Refused("the ledger is empty: its first entry must be a genesis")

    def _open_room(self, entry: Genesis) -> None:
        if self._genesis is not None:
            raise Refused("a second genesis")
        self._genesis = entry
        self._keys = {name: public_key(party.key) for name, party in entry.parties.items()}

    def _declare(self, entry: Dataset) -> None:
        """A party declares its data, signed by itself; each version once, so that no old one can come back."""
        self._check_party(entry.party)
        self._check_blocks(entry.blocks)
        if (entry.party, entry.version) in self._versions:
            raise Refused(f"{entry.party} has declared dataset {entry.version} before")
        check(
            self._keys[entry.party], "dataset", signed_body(entry, self.genesis.room), entry.signature, who=entry.party
        )
        self._versions.add((entry.party, entry.version))
        self._datasets[entry.party] = entry

    def _approve(self, entry: Plan) -> None:
        """A plan enters once, with the approval of every party in it."""
        if entry.plan in self._plans:
            raise Refused(f"plan {entry.plan} is in the ledger already")
        for party in entry.parties:
            self._check_party(party)
        body = approval_body(self.genesis.room, entry.plan)
        for party, signature in entry.approvals.items():
            check(self._keys[party], "approval", body, signature, who=party)
        self._plans[entry.plan] = entry

    def _reserve(self, entry: Reserve) -> None:
        """A round is paid for before anything that depends on data leaves a party.

        1. the round is new, its plan approved, its end in the future
        2. every mechanism is sound, its nonce new, and its charge what the mechanism costs
        3. every party that adds noise is charged, no other, and each for every block
        4. the data are what the parties last declared, and cover the blocks
        5. no cap is passed: per record, per person, and both over a lifetime
        6. every charged party has signed exactly this
        """
        # (1)
        if entry.round in self._rounds:
            raise Refused(f"round {entry.round} is in the ledger already")
        if entry.plan not in self._plans:
            raise Refused(f"plan {entry.plan} is not in the ledger")
        if entry.expires <= entry.time:
            raise Refused(f"the round expires at {entry.expires}, not after its reserve at {entry.time}")
        self._check_blocks(entry.blocks)
        # (2)
        for step in entry.steps:
            if step.nonce in self._nonces:
                raise Refused(f"the nonce of step {step.step} was used before")
            _check_mechanism(step.step, step.mechanism, step.charge)
        # (3), (4), (5), (6)
        self._check_charged(entry)
        self._check_datasets(entry)
        person = sum(_person_cost(step.mechanism) for step in entry.steps)
        self.check_caps(entry.charge, person)
        self._check_holds(entry)
        for who, row in {**entry.charge, PERSON: dict.fromkeys(entry.blocks, person)}.items():
            for block, amount in row.items():
                self._spent[who, block] = self._spent.get((who, block), 0) + amount
        self._nonces.update(step.nonce for step in entry.steps)
        self._rounds[entry.round] = Round(entry)

    def _commit(self, entry: Commit) -> None:
        """A step is released: in order, in time, from enough shares, and never the same bytes twice."""
        round_ = self._open_round(entry.round)
        if entry.time > round_.reserve.expires:
            raise Refused(
                f"round {entry.round} expired at {round_.reserve.expires}, before this commit at {entry.time}"
            )
        step = round_.reserve.steps[len(round_.commits)]
        if entry.step != step.step:
            raise Refused(f"step {entry.step} where {step.step} is next in round {entry.round}")
        strangers = set(entry.survivors) - set(step.mechanism.adders)
        if strangers:
            raise Refused(f"{_list(strangers)} did not add noise to step {entry.step}")
        if len(entry.survivors) < step.mechanism.quorum:
            raise Refused(f"{len(entry.survivors)} shares in step {entry.step}, fewer than its {step.mechanism.quorum}")
        if entry.digest in self._digests:
            raise Refused(f"a release with digest {entry.digest} is in the ledger already")
        commits = (*round_.commits, entry)
        state: Literal["open", "done"] = "done" if len(commits) == len(round_.reserve.steps) else "open"
        self._digests.add(entry.digest)
        self._rounds[entry.round] = replace(round_, state=state, commits=commits)

    def _forfeit(self, entry: Forfeit) -> None:
        """An open round ends; what it reserved stays spent."""
        self._rounds[entry.round] = replace(self._open_round(entry.round), state="forfeited")

    # --- what the rules are made of --------------------------------------------------------------------------------

    def _open_round(self, name: str) -> Round:
        round_ = self._rounds.get(name)
        if round_ is None:
            raise Refused(f"no round {name} was reserved")
        if round_.state != "open":
            raise Refused(f"round {name} is {round_.state}")
        return round_

    def _check_party(self, party: str) -> None:
        if party not in self.genesis.parties:
            raise Refused(f"{party} is not a party of this room")

    def _check_blocks(self, blocks: Iterable[str]) -> None:
        unknown = set(blocks) - set(self.genesis.blocks)
        if unknown:
            raise Refused(f"no block {_list(unknown)} in this room")

    def _check_charged(self, entry: Reserve) -> None:
        charged = set(entry.charge)
        outside = charged - set(self._plans[entry.plan].parties)
        if outside:
            raise Refused(f"{_list(outside)} is charged but not in the plan")
        for step in entry.steps:
            if set(step.mechanism.adders) != charged:
                raise Refused(f"those who add noise in step {step.step} are not those who are charged")
        whole = sum(step.charge for step in entry.steps)
        for party, row in entry.charge.items():
            if set(row) != set(entry.blocks):
                raise Refused(f"{party} is not charged for exactly the blocks of the round")
            wrong = [block for block, amount in row.items() if amount != whole]
            if wrong:
                raise Refused(f"{party} is charged {row[wrong[0]]} in {wrong[0]}, not the steps' sum {whole} (nano-ρ)")

    def _check_datasets(self, entry: Reserve) -> None:
        if set(entry.datasets) != set(entry.charge):
            raise Refused("the datasets named are not those of the charged parties")
        for party, version in entry.datasets.items():
            latest = self._datasets.get(party)
            if latest is None or latest.version != version:
                raise Refused(f"dataset {version} is not the latest that {party} declared")
            missing = set(entry.blocks) - set(latest.blocks)
            if missing:
                raise Refused(f"the dataset of {party} does not cover {_list(missing)}")

    def check_caps(self, charge: Mapping[str, Mapping[str, int]], person: int) -> None:
        """Raise Refused when a reserve would pass a cap. Changes nothing.

        charge  party → block → nano-ρ, for one person's records there
        person  nano-ρ in each of these blocks, for one person known to every party
        """
        for party, row in charge.items():
            for block, amount in row.items():
                _check_fits(self.balance(party, block), amount, f"the record budget of {party} in {block}")
            _check_fits(self.balance(party, LIFETIME), sum(row.values()), f"the lifetime record budget of {party}")
        blocks = sorted({block for row in charge.values() for block in row})
        for block in blocks:
            _check_fits(self.balance(PERSON, block), person, f"the person budget in {block}")
        _check_fits(self.balance(PERSON, LIFETIME), person * len(blocks), "the lifetime person budget")

    def _check_holds(self, entry: Reserve) -> None:
        if set(entry.holds) != set(entry.charge):
            raise Refused("the holds are not those of exactly the charged parties")
        body = signed_body(entry, self.genesis.room)
        for party, signature in entry.holds.items():
            check(self._keys[party], "hold", body, signature, who=party)


def state_of(round_: Round) -> str:
    """The digest that a round's next step starts from: of its last release, or of its plan before the first."""
    return round_.commits[-1].digest if round_.commits else round_.reserve.plan


def _check_mechanism(step: str, mechanism: Mechanism, charge: int) -> None:
    """The noise is enough to be what it is called, the attackers fewer than those who add it, the charge its cost."""
    adders = len(mechanism.adders)
    if mechanism.variance_micro < LEAST_VARIANCE_MICRO:
        raise Refused(
            f"step {step}: a share of noise with variance {decimal(mechanism.variance_micro, 10**6)}, below 9"
        )
    if mechanism.quorum > adders:
        raise Refused(f"step {step}: a quorum of {mechanism.quorum} among {adders}")
    least = 1 if adders > 1 else 0
    if not least <= mechanism.collusion <= adders - 1:
        raise Refused(
            f"step {step}: collusion {mechanism.collusion}, not {least} to {adders - 1} with {adders} parties"
        )
    threshold = recovery_threshold(adders, mechanism.collusion)
    if mechanism.quorum < threshold:
        raise Refused(
            f"step {step}: a quorum of {mechanism.quorum}; with {adders} parties of which {mechanism.collusion} may"
            f" collude it must be at least {threshold}"
        )
    honest = honest_shares(mechanism.quorum, mechanism.collusion)
    cost = charge_for(mechanism.sensitivity_sq, mechanism.variance_micro, honest)
    if charge != cost:
        raise Refused(f"step {step} is charged {charge}, but costs {cost} (nano-ρ)")


def _person_cost(mechanism: Mechanism) -> int:
    return person_charge(mechanism.sensitivity_sq, mechanism.variance_micro, len(mechanism.adders))


def _check_fits(balance: Balance, amount: int, what: str) -> None:
    if amount > balance.left:
        raise Refused(
            f"{what} would be passed: ρ {decimal(balance.spent)} spent, {decimal(amount)} asked,"
            f" {decimal(balance.cap)} the cap",
            "ask for less, or for another block; a cap is raised by those whose data it is, never by asking again",
        )


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
