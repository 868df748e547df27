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
LAST = ("tests/ledger/test_state_machine.py",)  # it takes longest, and sees what no other test does


def modules() -> list[Path]:
    """Paths from the root of the repository."""
    found = sorted(path for path in Path(LEDGER).glob("*.py") if path.name != "__init__.py")
    return [*found, *(Path(name) for name in MORE if Path(name).exists())]


def tests_of(path: Path) -> list[str]:
    if path.stem == "verify":
        return ["tests/verify"]
    all_of_them = sorted(str(test) for test in Path("tests/ledger").glob("test_*.py"))
    first = [*OWN.get(path.stem, []), "tests/protocols/test_budget.py"]
    return [*dict.fromkeys([*first, *(name for name in all_of_them if name not in LAST)]), *LAST]
