"""Which modules are mutated, and which tests must see it: those nearest first."""

from __future__ import annotations

from pathlib import Path

# Of everything that decides what the ledger allows and what a release costs.
LEDGER = "protocols/ledger"
MORE = ("protocols/budget.py", "protocols/verify.py")
OWN = {
    "entries": ["tests/ledger/test_entries.py"],
    "fields": ["tests/ledger/test_entries.py"],
    "notes": ["tests/ledger/test_notes.py"],
    "tree": ["tests/ledger/test_tree_and_proofs.py"],
    "proofs": ["tests/ledger/test_tree_and_proofs.py"],
    "trust": ["tests/ledger/test_trust.py"],
    "cosigners": ["tests/ledger/test_cosigners.py"],
    "records": ["tests/protocols/audit/test_releases.py"],
    "budget": ["tests/protocols/test_budget.py"],
}
ALL = ["tests/ledger", "tests/protocols/test_budget.py"]


def modules() -> list[Path]:
    """Paths from the root of the repository."""
    found = sorted(path for path in Path(LEDGER).glob("*.py") if path.name != "__init__.py")
    return [*found, *(Path(name) for name in MORE if Path(name).exists())]


def tests_of(path: Path) -> list[str]:
    if path.stem == "verify":
        return ["tests/verify"]
    own = [name for name in OWN.get(path.stem, []) if Path(name).exists()]
    return [*own, *(name for name in ALL if name not in own)]
