"""The rooms that the vectors are of: three parties, and five. Keys come from fixed seeds, times and salts are fixed."""

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
BOTH = builder.Room(both=True)
LOST, CAP = "gamma", 400_000_000
SURVIVORS = tuple(party for party in builder.FIVE if party != LOST)


def whole(room: builder.Room = ROOM) -> Files:
    """The members of the room's bundle; unless said otherwise ten entries, two releases, one round forfeited."""
    with tempfile.TemporaryDirectory() as folder:
        return room.whole(Path(folder) / "ledger.db")


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
            members: Files = bundle.ledger_members(log, [size for size, _ in log.checkpoints()])
        members[bundle.plan_name(self.plan.digest)] = self.plan.canonical
        files = {f"{bundle.RELEASES}{made.name}.json": made.to_bytes() for made in releases}
        return builder.proved({**members, **files})


def asked(plan: Plan, question: bytes) -> Files:
    return whole(Asked(plan, question))


class OfFive(builder.Room):
    """Five parties of which one may collude: a release needs four shares, and four of them to cosign its commit.

    One round is released without gamma, which is lost before its first share. A second one would pass the cap of a
    person, though five times what it charges a record would not.
    """

    def __init__(self) -> None:
        caps = {"person": dict.fromkeys(builder.BLOCKS, CAP), "lifetime_person": 2 * CAP}
        super().__init__(builder.FIVE, caps, collusion=1, quorum=4)

    def whole(self, path: Path) -> Files:
        with Logbook(path) as log:
            log.append(self.opening())
            self.cosigned(log)
            log.append([self.reserve(7)])
            self.cosigned(log)
            releases = [self._released(log, body, SURVIVORS) for body in self.bodies("one", SURVIVORS)]
            members: Files = bundle.ledger_members(log, [size for size, _ in log.checkpoints()])
        members[bundle.plan_name(self.plan.digest)] = self.plan.canonical
        files = {f"{bundle.RELEASES}{made.name}.json": made.to_bytes() for made in releases}
        return builder.proved({**members, **files})


FIVE = OfFive()


def of_five() -> Files:
    with tempfile.TemporaryDirectory() as folder:
        return FIVE.whole(Path(folder) / "ledger.db")


def cosigned_by_three(members: Files) -> Files:
    """The same, but that only three of the four survivors have cosigned the last commit."""
    bodies = bundle.split_entries(members[bundle.ENTRIES])
    by = {7: builder.FIVE, 8: builder.FIVE, 9: SURVIVORS, 10: SURVIVORS[:3]}
    return builder.proved({**members, **builder.signed_members(FIVE, bodies, by)})


def room_of(name: str) -> builder.Room:
    """Which of the three rooms a vector is of."""
    return FIVE if "-five" in name else BOTH if "-both" in name else ROOM
