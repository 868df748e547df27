"""The check of budgets: sums anew, from the mechanisms alone and not from what the entries say was charged."""

from __future__ import annotations

from collections import Counter

from .. import accuracy
from ..ledger.entries import Entry, Reserve
from ..ledger.fields import LIFETIME, PERSON
from ..ledger.statements import Refund
from ..verdict import BudgetLine, counted
from .documents import cost, person_cost, spending_of
from .evidence import Look


class Budgets(Look):
    """What the mechanisms cost, summed here, is what was charged and within every cap."""

    name = "budgets"
    kinds = (Reserve, Refund)

    def before(self, entry: Entry) -> None:
        round_ = self.evidence.accounts.rounds.get(entry.round) if isinstance(entry, Refund) else None
        self._refunded = spending_of(round_.reserve) if round_ else None

    def after(self, entry: Entry, leaf: bytes) -> None:
        if isinstance(entry, Reserve):
            self.evidence.spendings[spending_of(entry)] += 1
        elif self._refunded is not None:
            self.evidence.spendings[self._refunded] -= 1

    def finish(self) -> str:
        evidence, costs = self.evidence, self._costs()
        deltas = sorted({read.plan.delta for read in evidence.plans.values() if read}, reverse=True)
        for (who, block), balance in evidence.accounts.balances().items():
            spent = sum(n for (party, b), n in costs.items() if who == party and block in (b, LIFETIME))
            if spent != balance.spent or spent > balance.cap:
                what = f"cost {spent}, charged {balance.spent} of {balance.cap}"
                evidence.found(self.name, f"budget of {who}, {block}", what)
            epsilon = {delta: accuracy.epsilon(spent, float(delta)) for delta in deltas}
            evidence.budgets.append(BudgetLine(who, block, spent, balance.cap, epsilon))
        return counted(len(evidence.budgets), "budget")

    def _costs(self) -> Counter[tuple[str, str]]:
        costs: Counter[tuple[str, str]] = Counter()
        for spending, times in self.evidence.spendings.items():
            record, person = (times * sum(map(each, spending.noise)) for each in (cost, person_cost))
            for block in spending.blocks:
                costs.update({(party, block): record for party in spending.parties})
                costs[PERSON, block] += person
        return costs
