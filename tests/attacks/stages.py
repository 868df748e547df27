"""Rooms led to some point of a round by the honest coordinator, in this process: made once, copied for each attack."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from party_node.config import Config
from protocols.carrier import pki
from protocols.plan import Plan
from tests.rounds import lab

ROOM = "trial"
PARTIES = lab.PARTIES


@dataclass(frozen=True)
class Stage:
    """A room's folders, and by party the request that its honest coordinator would have sent next."""

    place: Path
    plan: Plan
    caught: Mapping[str, Any]


# Stages are made once and used until the last attack: on a slow machine that is long after.
DEADLINE_S = 3600


class Stages:
    """All stages of one room: its keys, and the data that its parties registered, are the same in each."""

    def __init__(self, place: Path, members: Sequence[str] = PARTIES, *, csv: Mapping[str, str] | None = None,
                 more: str = "", **changes: Any) -> None:  # fmt: skip
        """csv, more: as `lab.make` takes them. `changes`: of the plan."""
        self.place = place
        self.plan = lab.plan(deadline_s=DEADLINE_S, **changes)
        base = lab.make(place / "fresh", members=members, csv=csv, more=more, deadline_s=DEADLINE_S, **changes)
        self.fresh = Stage(base, self.plan, {})
        certify(self.fresh.place, members)
        self._made: dict[str, Stage] = {}

    def done(self) -> Stage:
        """One whole round has been released."""
        return self._made.get("done") or self._make("done", self.plan, None, 1)

    def before(self, kind: type, nth: int = 1, plan: Plan | None = None) -> Stage:
        """The room stopped before its nth batch of requests of this kind: sent, they would have been honest."""
        agreed = plan or self.plan
        name = f"{kind.__name__}-{nth}-{agreed.digest[:8]}"
        return self._made.get(name) or self._make(name, agreed, kind, nth)

    def _make(self, name: str, agreed: Plan, kind: type | None, nth: int) -> Stage:
        base = lab.copy(self.fresh.place, self.place / name)
        caught: dict[str, Any] = {}
        with lab.Room(base, agreed, clock=lab.Clock(time.time())) as room:
            if kind is None:
                room.run()
            else:
                caught = room.stopped_at(kind, nth=nth)
        self._made[name] = Stage(base, agreed, caught)
        return self._made[name]


def certify(base: Path, members: Sequence[str]) -> None:
    """An authority, and for every member of the room a TLS key and a certificate."""
    authority = pki.RoomCA.create(ROOM)
    (base / "authority.pem").write_bytes(authority.cert_pem)
    _write_pair(base / "coordinator", *authority.server(["localhost", "127.0.0.1"]))
    for party in members:
        config, tls = Config.load(base / party / "node.toml"), pki.new_tls_key()
        _write_pair(base / party, tls, authority.party(pki.request(ROOM, party, tls, config.signing), party))


def _write_pair(home: Path, key: bytes, certificate: bytes) -> None:
    with os.fdopen(os.open(home / "tls.pem", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key)
    (home / "tls-certificate.pem").write_bytes(certificate)
