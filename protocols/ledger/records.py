"""Whether a release says what the ledger says of it: asked by every node that gets one, and by the auditor."""

from __future__ import annotations

from ..errors import IntegrityError
from ..release import Release
from .entries import Commit, Reserve


def check_recorded(release: Release, commit: Commit, reserve: Reserve, room: str) -> None:
    """Raise IntegrityError unless the release says in every field what its commit and its reserve say.

    Still the caller's to do: signature, proof, and whether its figures follow from its noised sum.
    """
    body = release.body_
    step = next(step for step in reserve.steps if step.step == commit.step)
    if body.digest != commit.digest:
        raise IntegrityError(f"its digest is not that of entry {commit.seq}: the ledger has no commit of this release")
    for what, said, known in (
        ("entry", release.entry, commit.seq),
        ("room", body.room, room),
        ("plan", body.plan, reserve.plan),
        ("round", body.round, commit.round),
        ("step", body.step, commit.step),
        ("nonce", body.nonce, step.nonce),
        ("mechanism", body.mechanism.body(), step.mechanism.body()),
        ("survivors", list(body.survivors), list(commit.survivors)),
        ("recipients", list(body.recipients), list(commit.recipients)),
        ("list of numbers", sorted(body.numbers), sorted(commit.numbers)),
    ):
        if said != known:
            raise IntegrityError(f"its {what} is not what the ledger says")
