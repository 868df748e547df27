"""What both auditors say of a bundle: 0 clean, 1 a violation, 2 cannot decide."""

from __future__ import annotations

from protocols import audit, verify
from protocols.errors import CannotDecide, UsageError
from protocols.ledger import trust
from protocols.ledger.trust import TrustPolicy


def product(data: bytes, policy: TrustPolicy) -> tuple[int, list[str]]:
    try:
        found = audit.verify(data, policy).violations
    except (CannotDecide, UsageError) as exc:
        return 2, [exc.message]
    return int(bool(found)), [problem.what for problem in found]


def second(data: bytes, policy: TrustPolicy) -> tuple[int, list[str]]:
    try:
        checks = verify.Audit(data, trust.render(policy).encode()).checks
    except verify.Undecided as exc:
        return 2, [str(exc)]
    found = [problem for _, _, problems in checks for problem in problems]
    return int(bool(found)), found
