"""Histories, commits and releases that a coordinator makes up. It has the room's key, and need not keep the rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from coordinator import release
from coordinator.ledger import RoomLedger
from coordinator.store import body_key
from protocols import keys, messages
from protocols import release as releases
from protocols.encoding import parse
from protocols.ledger import notes
from protocols.ledger.entries import Commit, build, encode
from protocols.ledger.notes import Checkpoint
from protocols.ledger.tree import Tree, leaf_hash
from protocols.logbook import Logbook
from protocols.masking import Occasion
from protocols.release import Body, Proof
from tests.attacks.siege import Siege
from tests.attacks.stages import PARTIES

Bodies = Sequence[Mapping[str, Any]]


def growth(ledger: RoomLedger, old: int) -> messages.Witness:
    """What came after the first `old` entries of a ledger that keeps the rules."""
    book = ledger.book
    return messages.Witness(
        old_size=old,
        entries=[data.decode() for data in book.entries(old)],
        proof=_texts(book.consistency(old, book.size) if 0 < old < book.size else []),
        checkpoint=book.sign_checkpoint(ledger.room.origin, ledger.identity),
    )


def lawless(siege: Siege, book: Logbook, bodies: Bodies) -> messages.Witness:
    """Entries after a party's copy that no rule was asked about, under a checkpoint that is truly signed."""
    old, time = book.size, book.accounts.time
    entries = [encode(build({**body, "seq": old + i, "time": time})) for i, body in enumerate(bodies)]
    tree = Tree()
    for data in [*book.entries(), *entries]:
        tree.append(leaf_hash(data))
    checkpoint = Checkpoint(siege.room.origin, len(tree), tree.root())
    return messages.Witness(
        old_size=old,
        entries=[data.decode() for data in entries],
        proof=_texts(tree.consistency(old, len(tree)) if old else []),
        checkpoint=notes.assemble(checkpoint, notes.sign(checkpoint, siege.identity, siege.ledger.now)),
    )


def without(note: str, party: str) -> str:
    """A checkpoint that lacks one party's cosignature."""
    checkpoint, lines = notes.split(note)
    left = [line for line in lines if not line.startswith(f"— {party} ")]
    assert 1 <= len(lines) - len(left) <= 2  # one for each of its keys
    return notes.assemble(checkpoint, left[0], left[1:])


def committed(
    siege: Siege, occasion: Occasion, *, seed: int = 0, survivors: Sequence[str] = PARTIES
) -> tuple[dict[str, Any], dict[str, bytes], Body]:
    """The commit entry of a sum that was made up, the bytes that go with it, and the release's body."""
    noised = np.arange(len(siege.plan.step(occasion.step)[0].statistic.slots), dtype=np.int64) + 100 + seed
    return release.commit(
        siege.plan,
        round_id=occasion.round,
        step=occasion.step,
        nonce=occasion.nonce,
        noised=noised,
        survivors=sorted(survivors),
        earlier={},
    )


def published(siege: Siege, occasion: Occasion, bend: Callable[[Body], Body]) -> messages.Deliver:
    """All have contributed; what comes out is another body: committed, cosigned by all, signed, ready to be sent."""
    entry, _, body = committed(siege, occasion)
    bent = bend(body)
    seq = siege.ledger.append([{**entry, "digest": bent.digest}])
    siege.ledger.countersign(siege.ask, PARTIES, 10.0)
    return delivered(siege.ledger, bent, seq)


def delivered(ledger: RoomLedger, body: Body, seq: int) -> messages.Deliver:
    """A body as a signed release, with its proof."""
    size = ledger.book.size
    proof = Proof(size=size, path=_texts(ledger.book.inclusion(seq, size)))
    document = releases.sign(body, ledger.identity.ed25519, seq, proof).to_bytes()
    return messages.Deliver(release=parse(document, what="release"), checkpoint=ledger.book.checkpoint(size))


def stored(siege: Siege, commit: Commit) -> Body:
    """What the honest coordinator would release."""
    document = siege.ledger.book.blob(body_key(commit.round, commit.step))
    assert document is not None
    return releases.read_body(parse(document, what="release body"))


def _texts(hashes: Sequence[bytes]) -> list[str]:
    return [keys.base64_text(one) for one in hashes]
