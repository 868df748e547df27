"""A clean room's bundle, and what the auditor finds in it once a test has changed it."""

from __future__ import annotations

import pytest

from protocols import audit, bundle
from protocols.ledger import entries
from tests.protocols.audit.members import ALL


@pytest.fixture(scope="session")
def room(built):
    return built.Room()


@pytest.fixture(scope="session")
def clean(room, tmp_path_factory) -> dict[str, bytes]:
    members: dict[str, bytes] = room.whole(tmp_path_factory.mktemp("room") / "log.db")
    return members


@pytest.fixture
def verdict(room):
    """members → the findings of a canonical archive of them."""
    return lambda members, policy=None: audit.verify(bundle.pack(members), policy or room.policy())


@pytest.fixture
def colluding(room, built, clean):
    """Entries after the opening, signed and cosigned by everybody: only the rules can object."""

    def _colluding(*more: entries.Entry, **members: bytes) -> dict[str, bytes]:
        bodies = [entries.encode(entry) for entry in (*room.opening(), *more)]
        ledger = built.signed_members(room, bodies, dict.fromkeys(range(1, len(bodies) + 1), ALL))
        plan = bundle.plan_name(room.plan.digest)
        return {plan: clean[plan], **ledger, **members}

    return _colluding
