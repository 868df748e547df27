"""Giving a coordinator back what it has lost of the ledger: entries, and the plans and releases that they name.

Nothing here is secret from it: it wrote all of that itself.
"""

from __future__ import annotations

from protocols import keys, messages
from protocols.encoding import parse
from protocols.ledger.entries import Commit, Plan, decode
from protocols.logbook import Logbook

from .store import Store


def supplied(request: messages.Supply, *, party: str, book: Logbook, store: Store) -> messages.Supplied:
    """The ledger after `old_size` up to the next checkpoint that is stored here: asked again, the next one."""
    old = request.old_size
    new = next(iter(book.checkpoint_sizes(above=old)), old)
    note = book.checkpoint(new) if new > old else ""
    entries = book.entries(old, new)
    plans, releases = list[bytes](), list[bytes]()
    for entry in map(decode, entries):
        if isinstance(entry, Plan) and (plan := store.plan(entry.plan)) is not None:
            plans.append(plan)
        if isinstance(entry, Commit) and (document := store.release(entry.round, entry.step)) is not None:
            releases.append(document)
    return messages.Supplied(
        party=party,
        entries=[entry.decode() for entry in entries],
        proof=[keys.base64_text(node) for node in (book.consistency(old, new) if 0 < old < new else [])],
        checkpoint=note,
        plans=[parse(plan, what="plan") for plan in plans],
        releases=[parse(document, what="release") for document in releases],
    )
