"""What a run says: a line for each round, a table at the end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

OUTCOMES = ("released", "forfeited", "refused")


@dataclass(frozen=True)
class Line:
    """One round. seconds: from the launch until the room was at rest again."""

    number: int
    parties: int
    fault: str
    detail: str
    outcome: str
    seconds: float
    violations: tuple[str, ...]

    def __str__(self) -> str:
        text = f"{self.number:4d}  N={self.parties:<2d} {self.fault:<17}{self.outcome:<10}{self.seconds:6.1f} s"
        return "\n".join([f"{text}  {self.detail}".rstrip(), *(f"      VIOLATION {v}" for v in self.violations)])


def table(lines: list[Line]) -> str:
    """Rounds by fault and outcome, the longest time, violations."""
    counts: dict[str, Counter[str]] = {}
    for line in lines:
        for name in (line.fault, "all"):
            count = counts.setdefault(name, Counter())
            count["rounds"] += 1
            count[line.outcome] += 1
            count["violations"] += len(line.violations)
            count["longest"] = max(count["longest"], round(line.seconds))
    head = ("fault", "rounds", *OUTCOMES, "longest s", "violations")
    rows: list[tuple[str, ...]] = [head]
    for name in [*sorted(counts.keys() - {"all"}), "all"]:
        count = counts.get(name, Counter())
        figures = [count[key] for key in ("rounds", *OUTCOMES, "longest", "violations")]
        rows.append((name, *map(str, figures)))
    return "\n".join(
        "".join(cell.ljust(18) if i == 0 else cell.rjust(11) for i, cell in enumerate(row)) for row in rows
    )
