"""Forks: every way to split a history of up to so many entries, shown to a witness that has cosigned another branch.

    A   what the witness holds: n entries
    B   the same up to k, and other entries after it, each of which the rules allow

For every k < n the witness is asked for a cosignature of B: of the same size as A, of one entry more; with the entries
from n on, or from k on; with B's own proof and root, and with A's proof. It must refuse all of it, and keep A.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from protocols import keys
from protocols.errors import IntegrityError, Refused
from protocols.ledger import notes
from protocols.ledger.entries import decode, encode
from protocols.ledger.tree import Tree, leaf_hash
from protocols.messages import Cosigned, Witness
from tests.ledger.builder import ORIGIN
from tests.torture_ledger.room import NOW, Member, Room


@dataclass
class Found:
    splits: int = 0
    asked: int = 0
    violations: list[str] = field(default_factory=list)


def torture(folder: Path, most: int, step: int = 1) -> Found:
    """Every split of every size up to `most` (of every `step`th size)."""
    room, found = Room(), Found()
    ours = room.history(most + 1)
    theirs = [encode(_later(decode(body))) for body in ours]
    # One forked history for each split; its entries from the split on.
    trees = [Tree() for _ in range(most + 1)]
    for k, tree in enumerate(trees):
        for body in [*ours[:k], *theirs[k:]]:
            tree.append(leaf_hash(body))
    whole = trees[-1]  # split after everything that a witness comes to hold
    member = Member.at(folder, "alpha")
    member.hold_all(room.file, ours, NOW)
    for n in range(1, most + 1):
        note = _note(room, n, whole.root(n))
        proof = whole.consistency(n - 1, n) if n > 1 else []
        reply = member.cosign(room.file, _asked(n - 1, ours[n - 1 : n], proof, note), NOW)
        assert isinstance(reply, Cosigned)
        if n % step and n != most:
            continue
        for k in range(n):
            found.splits += 1
            for asked in _forks(room, n, k, trees[k], theirs, whole):
                found.asked += 1
                found.violations += _refused(member, room, asked, n, k)
        if member.book.root() != whole.root(n) or len(member.book.checkpoints()) != n:
            found.violations.append(f"at {n} entries: its copy is not what it was")
    member.close()
    return found


def _later(entry: Any) -> Any:
    """Another entry that the rules allow in the same place: no signature covers the time."""
    return entry.model_copy(update={"time": entry.time + 1})


def _forks(room: Room, n: int, k: int, fork: Tree, theirs: Sequence[bytes], whole: Tree) -> Iterator[Witness]:
    same, more = _note(room, n, fork.root(n)), _note(room, n + 1, fork.root(n + 1))
    yield _asked(n, [], [], same)
    yield _asked(n, theirs[n : n + 1], fork.consistency(n, n + 1), more)
    yield _asked(n, theirs[n : n + 1], whole.consistency(n, n + 1), more)
    yield _asked(k, theirs[k : n + 1], fork.consistency(k, n + 1), more)
    yield _asked(n - 1, theirs[n - 1 : n], fork.consistency(n - 1, n), same)


def _refused(member: Member, room: Room, asked: Witness, n: int, k: int) -> list[str]:
    try:
        reply = member.cosign(room.file, asked, NOW)
    except (Refused, IntegrityError):
        return []
    if isinstance(reply, Cosigned):
        return [f"split at {k} of {n}, from {asked.old_size}: cosigned"]
    return [] if reply.size == n else [f"split at {k} of {n}: it says that it holds {reply.size}"]


def _note(room: Room, size: int, root: bytes) -> str:
    checkpoint = notes.Checkpoint(ORIGIN, size, root)
    return notes.assemble(checkpoint, notes.sign(checkpoint, room.identity, NOW))


def _asked(old: int, bodies: Sequence[bytes], proof: Sequence[bytes], note: str) -> Witness:
    path = [keys.base64_text(part) for part in proof]
    return Witness(old_size=old, entries=[body.decode() for body in bodies], proof=path, checkpoint=note)
