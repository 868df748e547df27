"""Which modules are mutated, and which tests must see it: those nearest first."""

from __future__ import annotations

from pathlib import Path

# Of everything that decides what the ledger allows and what a release costs.
LEDGER = "protocols/ledger"
MORE = ("protocols/budget.py", "protocols/verify.py")
OWN = {
    "decoding": ["tests/ledger/test_decoding.py"],
    "entries": ["tests/ledger/test_entries.py"],
    "fields": ["tests/ledger/test_entries.py"],
    "notes": ["tests/ledger/test_notes.py"],
    "tree": ["tests/ledger/test_tree_and_proofs.py"],
    "proofs": ["tests/ledger/test_tree_and_proofs.py"],
    "trust": ["tests/ledger/test_trust.py"],
    "cosigners": ["tests/ledger/test_cosigners.py"],
    "records": ["tests/protocols/audit/test_releases.py"],
    "changes": ["tests/ledger/test_changes.py", "tests/ledger/test_grants.py"],
    "members": ["tests/ledger/test_changes.py"],
    "reducer": ["tests/ledger/test_reducer.py", "tests/ledger/test_changes.py", "tests/ledger/test_grants.py"],
    "reserving": ["tests/ledger/test_reducer.py"],
    "state": ["tests/ledger/test_reducer.py", "tests/ledger/test_histories.py"],
    "statements": ["tests/ledger/test_statements.py"],
    "tlog_proof": ["tests/ledger/test_tlog_proof.py"],
    "coverage": ["tests/protocols/audit", "tests/protocols/test_bundle.py"],
    "standing": ["tests/ledger/test_standing.py"],
    "budget": ["tests/protocols/test_budget.py"],
}
# A mutant should die in seconds.
SLOW = tuple(f"tests/ledger/test_{name}.py" for name in ("state_machine", "torture", "other_readers"))


def modules() -> list[Path]:
    """Paths from the root of the repository."""
    found = sorted(path for path in Path(LEDGER).glob("*.py") if path.name != "__init__.py")
    return [*found, *(Path(name) for name in MORE if Path(name).exists())]


def tests_of(path: Path) -> list[str]:
    if path.stem == "verify":
        return ["tests/verify"]
    all_of_them = sorted(str(test) for test in Path("tests/ledger").glob("test_*.py"))
    first = [*OWN.get(path.stem, []), "tests/protocols/test_budget.py"]
    return list(dict.fromkeys([*first, *(name for name in all_of_them if name not in SLOW)]))
