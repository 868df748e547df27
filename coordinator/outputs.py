"""What a room hands out: releases, the auditor's bundle, a trust policy to start from, and the report page."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from protocols import audit, bundle, handout
from protocols import release as releases
from protocols.handout import policy_of, write_file
from protocols.ledger import trust
from protocols.logbook import Logbook
from protocols.plan import Plan
from protocols.room import Room
from protocols.verdict import Findings

from .console import report
from .store import plan_key, release_key


def bundle_of(book: Logbook, *, with_releases: bool = True) -> bytes:
    """`room.tar` from the coordinator's own copy. with_releases: False for an auditor who may not see them."""

    def release(round_id: str, step: str) -> bytes | None:
        return book.blob(release_key(round_id, step)) if with_releases else None

    return handout.bundle_of(book, lambda digest: book.blob(plan_key(digest)), release)


__all__ = ["bundle_of", "policy_of", "write"]


def write(out: Path, room: Room, book: Logbook, now: float) -> Findings:
    """Write everything below `out`; each file whole or not at all. Returns what the auditor would find."""
    (out / "releases").mkdir(parents=True, exist_ok=True)
    packed = bundle_of(book)
    policy = policy_of(room)
    findings = audit.verify(packed, policy)
    members = bundle.unpack(packed)
    for name, data in members.items():
        if name.startswith(bundle.RELEASES):
            write_file(out / name, data)
    write_file(out / "room.tar", packed)
    write_file(out / "policy.txt", trust.render(policy).encode())
    latest = _latest(members)
    if latest:
        plan = Plan.from_bytes(members[bundle.plan_name(latest[0].plan)])
        made_at = dt.datetime.fromtimestamp(now, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
        write_file(out / "report.html", report.page(plan, latest, findings, made_at=made_at).encode())
    return findings


def _latest(members: dict[str, bytes]) -> list[releases.Body]:
    """The bodies of the round that released last, in the order of their entries."""
    found = [
        releases.read(data)
        for name, data in members.items()
        if name.startswith(bundle.RELEASES) and name.endswith(".json")
    ]
    found.sort(key=lambda release: release.entry)
    return [r.body_ for r in found if r.body_.round == found[-1].body_.round]
