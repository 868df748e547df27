"""The tables of the privacy budget: what is spent of each cap, what a plan costs, what that means for one person."""

from __future__ import annotations

import math
from collections.abc import Callable

from protocols import accuracy
from protocols.budget import decimal
from protocols.ledger.fields import LIFETIME, PERSON
from protocols.plan import Plan
from protocols.verdict import BudgetLine, Findings

from .charts import meter
from .sections import MOST_ROWS, Column, Table


def spent(plan: Plan, findings: Findings) -> Table | None:
    if not findings.budgets:
        return None
    numbers = ("Spent ρ", "Cap ρ", "Spent, % of cap", "Spent ε", "Cap ε")
    columns = [Column("One person’s records at"), Column("Period"), Column("Spent of cap", "meter")]
    return Table(
        "Spent of each cap",
        [*columns, *(Column(title, "number") for title in numbers)],
        [_budget_row(plan, line) for line in findings.budgets],
        folded=len(findings.budgets) > MOST_ROWS,
    )


def _budget_row(plan: Plan, line: BudgetLine) -> list[str]:
    charged = len(plan.blocks) if line.block == LIFETIME else int(line.block in plan.blocks)
    cost = plan.charge_person if line.who == PERSON else plan.charge if line.who in plan.parties else 0
    now = min(line.spent, cost * charged)
    return [
        "all companies together" if line.who == PERSON else line.who,
        "all periods together" if line.block == LIFETIME else line.block,
        meter(now, line.spent - now, line.cap),
        decimal(line.spent),
        decimal(line.cap),
        f"{100 * line.spent / line.cap:.1f} %",
        epsilon(line.spent, plan.delta),
        epsilon(line.cap, plan.delta),
    ]


def cost(plan: Plan, label: Callable[[str], str]) -> Table:
    """What each part of the plan costs; steps with one label are one part."""
    parts: dict[str, list[int]] = {}
    for step, mechanism in plan.steps():
        record, person = parts.setdefault(label(step.name), [0, 0])
        parts[label(step.name)] = [record + mechanism.charge, person + mechanism.charge_person]
    rows = [[name, decimal(record), "", decimal(person), ""] for name, (record, person) in parts.items()]
    whole = [decimal(plan.charge), epsilon(plan.charge, plan.delta), decimal(plan.charge_person)]
    rows.append(["This plan, once", *whole, epsilon(plan.charge_person, plan.delta)])
    numbers = ("ρ per record", "ε per record", "ρ per person", "ε per person")
    return Table("What this plan costs", [Column("For"), *(Column(title, "number") for title in numbers)], rows)


def reach(plan: Plan) -> dict[str, str]:
    """How much one person can change: ε, and e^ε in words, per record and per person; δ as odds."""
    found = {"odds": f"{math.floor(1 / float(plan.delta) + 1e-6):,}"}
    for name, charge in (("record", plan.charge), ("person", plan.charge_person)):
        found[name] = epsilon(charge, plan.delta)
        found[f"{name}_times"] = f"{math.ceil(10 * math.exp(accuracy.epsilon(charge, float(plan.delta)))) / 10:,.1f}"
    return found


def epsilon(spent: int, delta: str) -> str:
    """Rounded up, as everything that is counted against us."""
    return f"{math.ceil(1000 * accuracy.epsilon(spent, float(delta))) / 1000:,.3f}"
