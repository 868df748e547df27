"""What is in the bundle of a clean room, and the first thing that an auditor objects to."""

from __future__ import annotations

from protocols import bundle
from protocols.ledger import notes
from protocols.verdict import Findings

ALL, QUORUM = ("alpha", "beta", "gamma"), ("alpha", "beta")


def bodies_of(members: dict[str, bytes]) -> list[bytes]:
    return bundle.split_entries(members[bundle.ENTRIES])


def cosigners(members: dict[str, bytes]) -> dict[int, tuple[str, ...]]:
    """Who signed which checkpoint of a clean room."""
    found = {}
    for name, data in members.items():
        if name.startswith(bundle.CHECKPOINTS):
            checkpoint, lines = notes.split(data.decode())
            found[checkpoint.size] = tuple(line.split(" ")[1] for line in lines[1:])
    return found


def first(findings: Findings) -> tuple[str, str, str]:
    """(check, where, what) of the first violation; the checks before it are clean."""
    for check in findings.checks:
        if check.state not in ("ok", "not asked"):
            assert check.state == "violation"
            return check.name, check.problems[0].where, check.problems[0].what
    raise AssertionError("clean")
