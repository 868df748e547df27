"""The room of three parties that all vectors are of. Its keys come from fixed seeds, its times and salts are fixed."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from protocols import bundle, release
from protocols.encoding import parse
from protocols.logbook import Logbook
from protocols.plan import Plan
from tests.ledger import builder
from tests.vectors.spoiled import Files

ROOM = builder.Room()


def whole() -> Files:
    """The members of the room's bundle: ten entries, two releases, one round forfeited."""
    with tempfile.TemporaryDirectory() as folder:
        return ROOM.whole(Path(folder) / "ledger.db")


class Asked(builder.Room):
    """The same room with another plan, of which one round is released."""

    def __init__(self, plan: Plan, question: bytes) -> None:
        super().__init__()
        self.plan, self.steps_made = plan, parse(question)["steps"]

    def bodies(self, label: str = "one") -> list[release.Body]:
        """The releases of a question vector: its noised sums and its states, in all three parties' name."""
        earlier: dict[str, Any] = {}
        return [self._body(label, made, earlier) for made in self.steps_made]

    def _body(self, label: str, made: dict[str, Any], earlier: dict[str, Any]) -> release.Body:
        body = release.compose(
            self.plan,
            round_id=builder.hex16(label),
            step=made["step"],
            nonce=builder.hex16(f"{label}/{made['step']}"),
            noised=np.array(made["noised"], dtype=np.int64),
            survivors=list(builder.PARTIES),
            earlier=dict(earlier),
            salt=hashlib.sha256(f"{label}/{made['step']}".encode()).digest(),
            state=made.get("state"),
        )
        earlier[made["step"]] = body.released
        return body

    def whole(self, path: Path) -> Files:
        """The members of the bundle of that one round."""
        with Logbook(path) as log:
            log.append(self.opening())
            self.cosigned(log)
            log.append([self.reserve(5)])
            self.cosigned(log)
            releases = [self._released(log, body) for body in self.bodies()]
            members: Files = bundle.ledger_members(log)
        members[bundle.plan_name(self.plan.digest)] = self.plan.canonical
        return {**members, **{f"{bundle.RELEASES}{made.name}.json": made.to_bytes() for made in releases}}


def asked(plan: Plan, question: bytes) -> Files:
    with tempfile.TemporaryDirectory() as folder:
        return Asked(plan, question).whole(Path(folder) / "ledger.db")
