"""The checks of plans, and of the noise that they ask for: what was asked, and whether it is what was agreed."""

from __future__ import annotations

import datetime as dt
from functools import lru_cache

from .. import budget, bundle
from ..encoding import digest
from ..errors import IntegrityError
from ..ledger.entries import Dataset, Entry, Mechanism, Offered, Reserve
from ..ledger.entries import Plan as PlanEntry
from ..plan import Plan
from ..schema import day
from ..verdict import counted
from .evidence import Evidence, Look, Noise, ReadPlan, Spending


class Plans(Look):
    """Every plan is here, under its digest, for these parties and blocks; and no other."""

    name = "plans"
    kinds = (PlanEntry,)

    def after(self, entry: Entry, leaf: bytes) -> None:
        if isinstance(entry, PlanEntry):
            file = bundle.plan_name(entry.plan)
            self.evidence.plans[entry.plan] = None
            with self.evidence.at(self.name, file):
                self.evidence.plans[entry.plan] = self._read(file, entry)

    def _read(self, file: str, entry: PlanEntry) -> ReadPlan:
        evidence = self.evidence
        if file not in evidence.files:
            raise IntegrityError(f"the plan of entry {entry.seq} is not in the bundle")
        data = evidence.files[file]
        if digest(data) != entry.plan:
            raise IntegrityError("it has another digest than its name")
        plan = Plan.from_bytes(data)
        genesis = evidence.accounts.genesis
        if plan.room != genesis.room or list(plan.parties) != list(entry.parties):
            raise IntegrityError("it is for another room or other parties than its entry")
        for block, days in plan.blocks.items():
            if evidence.accounts.blocks.get(block) != days:
                raise IntegrityError(f"its block {block} is not that of the room")
        steps = tuple(
            (step, Mechanism.model_validate(mechanism), charge) for step, mechanism, charge in plan.mechanisms()
        )
        return ReadPlan(plan, steps, plan.table_digest)

    def finish(self) -> str:
        expected = {bundle.plan_name(name) for name in self.evidence.plans}
        for file in self.evidence.files.names(bundle.PLANS):
            if file not in expected:
                self.evidence.found(self.name, file, "no entry approves this plan")
        return counted(len(self.evidence.plans), "plan")


class Mechanisms(Look):
    """Every reserve holds exactly the steps, noise and charges of its plan, and its data are of the plan's table."""

    name = "mechanisms"
    kinds = (Reserve,)

    def __init__(self, evidence: Evidence) -> None:
        super().__init__(evidence)
        self._reserves = self._steps = 0
        self._agreed: dict[str, Offered] = {}

    def after(self, entry: Entry, leaf: bytes) -> None:
        if isinstance(entry, Reserve):
            self._reserves += 1
            self._steps += len(entry.steps)
            read = self.evidence.plans.get(entry.plan)
            if read is not None and self.evidence.goes_on(self.name):
                self._compare(entry, read)

    def _compare(self, entry: Reserve, read: ReadPlan) -> None:
        where, plan, offered = f"entry {entry.seq}", read.plan, entry.offered
        # What an earlier reserve of this plan had is equal to the plan's, and is mostly this one's, object by object.
        if offered == self._agreed.get(entry.plan, read.steps):
            self._agreed[entry.plan] = offered
        else:
            self.evidence.found(self.name, where, "its steps, noise or charges are not those of its plan")
        if set(entry.blocks) != set(plan.blocks):
            self.evidence.found(self.name, where, "it charges other blocks than its plan")
        if dt.datetime.fromtimestamp(entry.time, dt.UTC).date() > day(plan.valid_until):
            self.evidence.found(self.name, where, f"its plan was valid until {plan.valid_until}")
        for party in entry.datasets:
            # The rules have seen that it is the one that the party declared last.
            declared: Dataset = self.evidence.accounts.datasets[party]
            if (declared.schema_digest, declared.people_cap) != (read.table, plan.people_cap):
                what = f"the dataset of {party} is of another table or cap than its plan"
                self.evidence.found(self.name, where, what)

    def finish(self) -> str:
        return f"{counted(self._reserves, 'reserve')}, {counted(self._steps, 'step')}"


def spending_of(entry: Reserve) -> Spending:
    """What this reserve spends, as far as any accountant needs to know."""
    return Spending(tuple(entry.charge), entry.blocks, _noises(entry.offered))


@lru_cache(maxsize=256)
def _noises(offered: Offered) -> tuple[Noise, ...]:
    return tuple(noise_of(mechanism) for _, mechanism, _ in offered)


def noise_of(mechanism: Mechanism) -> Noise:
    return Noise(
        mechanism.sensitivity_sq,
        mechanism.variance_micro,
        mechanism.quorum,
        mechanism.collusion,
        len(mechanism.adders),
    )


def cost(noise: Noise) -> int:
    """Nano-ρ for one person's records at one party."""
    return budget.charge_for(
        noise.sensitivity_sq, noise.variance_micro, budget.honest_shares(noise.quorum, noise.collusion)
    )


def person_cost(noise: Noise) -> int:
    """Nano-ρ for one person known to every party."""
    return budget.person_charge(noise.sensitivity_sq, noise.variance_micro, noise.adders)
