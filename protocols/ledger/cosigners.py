"""Whose cosignatures a checkpoint needs before anybody relies on what is new in it.

    genesis, key, party, grant, dataset, plan, reserve   every party in force after it
    commit                                               t of the survivors that it names, and the quorum in all
    anything else, or nothing new                        the quorum: `Members.least`

t is the recovery threshold of the step (`budget.recovery_threshold`), by its mechanism in the reserve. Why it is
enough: any two sets of t among those who add noise share more than `collusion` parties, so at least one honest one, and
an honest party cosigns one history only; so there is one release of a step. Why not all survivors: a party that is
lost between its share and the commit must not end the round. With four adders or fewer t is all of them. A forfeit
needs the quorum only, so that a round can end without the party that was lost in it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ..budget import recovery_threshold
from ..errors import IntegrityError
from .entries import STRONG, Commit, Entry
from .state import State


@dataclass(frozen=True)
class Needed:
    """At least `least` of the parties `names` must have cosigned. whose, bound: for words."""

    names: frozenset[str]
    least: int
    whose: str
    bound: str


def cosigners_needed(entries: Iterable[Entry], accounts: State) -> list[Needed]:
    """All that must hold of the cosigners of a checkpoint with these new entries. accounts: after them, or later.

    Who is asked is who was in force just after each entry. A party that leaves is not among those who cosign its going;
    so whatever came before must have been cosigned before.
    """
    needed: dict[Needed, None] = {}
    members = accounts.members
    for entry in entries:
        members = accounts.members_at(entry.seq + 1)
        if isinstance(entry, STRONG):
            parties = frozenset(members.parties)
            needed[Needed(parties, len(parties), "parties", "number")] = None
        elif isinstance(entry, Commit):
            needed[_of_commit(entry, accounts)] = None
    return [*needed, Needed(frozenset(members.parties), members.least, "parties", "quorum")]


def check_cosigners(names: Collection[str], entries: Iterable[Entry], accounts: State) -> None:
    """Raise IntegrityError unless `names` may together carry these new entries. accounts: after them, or later."""
    check_needed(names, cosigners_needed(entries, accounts))


def check_needed(names: Collection[str], needs: Iterable[Needed]) -> None:
    """Raise IntegrityError unless all of this holds of the cosigners `names`."""
    for needed in needs:
        missing = needed.names - set(names)
        present = len(needed.names) - len(missing)
        if present >= needed.least:
            continue
        if needed.least == len(needed.names):
            raise IntegrityError(f"the cosignature of {', '.join(sorted(missing))} is missing; these entries need it")
        raise IntegrityError(
            f"{present} cosignatures of {needed.whose}, fewer than the {needed.bound} of {needed.least}"
        )


def _of_commit(commit: Commit, accounts: State) -> Needed:
    steps = accounts.rounds[commit.round].reserve.steps
    mechanism = next(step.mechanism for step in steps if step.step == commit.step)
    threshold = recovery_threshold(len(mechanism.adders), mechanism.collusion)
    return Needed(frozenset(commit.survivors), threshold, f"survivors of step {commit.step}", "threshold")
