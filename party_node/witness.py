"""The node as a witness of the ledger: it cosigns only growth that it has checked, entry by entry, itself.

Source: C2SP tlog-witness, with two more duties: it keeps the entries, and runs the budget's rules over them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain

from protocols import keys
from protocols.errors import IntegrityError, Refused
from protocols.ledger import notes
from protocols.ledger.cosigners import check_cosigners
from protocols.ledger.entries import Commit, Entry, Genesis, Reserve, decode
from protocols.ledger.notes import Checkpoint, VerifierKey
from protocols.ledger.reducer import Accounts
from protocols.ledger.standing import in_force, standing
from protocols.logbook import Logbook
from protocols.messages import Behind, Cosigned, Witness
from protocols.room import Room

from .filter import Charge, Filter

CLOCK_SLACK_S = 300


def log_keys(room: Room) -> tuple[VerifierKey, ...]:
    """The keys that sign this room's first checkpoints."""
    return notes.log_keys(room.origin, room.coordinator_keys)


def cosign(request: Witness, *, room: Room, party: str, identity: keys.Identity, book: Logbook, filter_: Filter,
           now: int, restored: bool = False, more: Sequence[keys.Identity] = (),
           check_commit: Callable[[Commit], None] = lambda _: None,
           ) -> Cosigned | Behind:  # fmt: skip
    """Check the ledger's growth, keep it, charge for it, and only then cosign.

    1. the growth starts where this party's copy ends, or else it says where that is
    2. this party's own rules: its room's genesis, no charge it would not bear, no survivors but those it settled
    3. note, consistency, the budget's rules and the root; entries and note are durable before anything is answered
       (the charges of new reserves become final in the party's own filter first: what it does not hold, or cannot
       bear, is not kept)
    4. the cosignature

    room             as its file says it began; what it is now, the ledger says
    identity, more   this party's keys, and others it may have by now: those in force after the growth cosign it
    Raises Refused or IntegrityError; then nothing was kept. UsageError where this party has not the keys that the
    growth gave it: it is kept, and is cosigned when they are there. The coordinator may ask again all the same.
    """
    entries = [text.encode() for text in request.entries]
    # (1) a repeated request finds its entries here already
    if request.old_size + len(entries) == book.size and book.entries(request.old_size) == entries:
        checkpoint, _ = notes.open_note(request.checkpoint, book.accounts.members.log_keys())
        if (checkpoint.size, checkpoint.root) != (book.size, book.root()):
            raise IntegrityError("a second checkpoint of the same size with another root: the ledger is forked")
    elif request.old_size != book.size:
        return Behind(size=book.size, checkpoint=book.checkpoint(book.size) if book.size else "")
    else:
        # (2) before (3), so that nothing is kept that this party would not cosign
        for entry in map(decode, entries):
            _check_entry(entry, room, now)
            if isinstance(entry, Commit):
                check_commit(entry)
        # (3)
        proof = [keys.unbase64(text) for text in request.proof]
        checkpoint = book.follow(
            request.checkpoint,
            log_keys(room),
            request.old_size,
            proof,
            entries,
            before_commit=lambda accounts: _spend_held(accounts, room, party, filter_, now, restored),
        )
    # (4)
    known = book.accounts.members.keys_of(party)
    lines = notes.cosign(checkpoint, party, in_force((identity, *more), known, party), now)
    book.add_cosignature(checkpoint.size, party, lines)
    return Cosigned(party=party, size=checkpoint.size, line=lines.removesuffix("\n"))


def settle(book: Logbook, room: Room, party: str, filter_: Filter, now: int) -> None:
    """When a node starts: make sure that every reserve in its copy is spent in its filter, which is another file."""
    _spend(book.accounts, room, party, filter_, now)


def check_genesis(book: Logbook, room: Room) -> None:
    """Raise Refused where this copy of the ledger begins with another room than the party's room file."""
    if book.size:
        _check_entry(decode(book.entries(0, 1)[0]), room, book.accounts.time)


def charge_of(reserve: Reserve, room: Room, party: str) -> Charge:
    """What a reserve takes from a party's own filter. room: as it is now, with the blocks that the reserve names."""
    blocks = tuple(room.blocks[name] for name in reserve.blocks)
    nano = max(reserve.charge[party].values())
    return Charge(room.room, reserve.round, reserve.plan, blocks, nano, reserve.expires)


def check_covered(note: str, *, book: Logbook, entry: int) -> Checkpoint:
    """Raise IntegrityError unless `note` is a checkpoint of this very copy that covers `entry` and is well cosigned.

    Well cosigned: by every party where `entry` is a reserve, by enough of the survivors it names where it is a commit.
    """
    checkpoint, _ = notes.split(note)
    if checkpoint.size > book.size:
        raise IntegrityError("the checkpoint is not one of this party's copy of the ledger")
    members = book.accounts.members_at(checkpoint.size)
    checkpoint, signed = notes.open_note(note, members.log_keys(), chain.from_iterable(members.witness_keys().values()))
    if checkpoint.root != book.root(checkpoint.size):
        raise IntegrityError("the checkpoint is not one of this party's copy of the ledger")
    if checkpoint.size <= entry:
        raise IntegrityError(f"the checkpoint does not cover entry {entry}")
    check_cosigners([*signed], [decode(data) for data in book.entries(entry, entry + 1)], book.accounts)
    return checkpoint


def _check_entry(entry: Entry, room: Room, now: int) -> None:
    if entry.time > now + CLOCK_SLACK_S:
        raise Refused(f"entry {entry.seq} is from the future: {entry.time}, it is {now} here")
    if isinstance(entry, Genesis):
        stated = {**entry.body()}
        del stated["seq"], stated["time"]
        if stated != room.genesis():
            raise Refused("the ledger's genesis is not the room that this party knows")


def _spend_held(accounts: Accounts, room: Room, party: str, filter_: Filter, now: int, restored: bool) -> None:
    """Charge new reserves, each of which this party must hold at this moment: a hold that lapsed or was dropped no
    longer counts in its consent, so its signature must no longer spend.

    A node that was put back to an older copy of its accounts too has forgotten holds and spends alike. Its operator
    says so at its start; then what the others have cosigned is taken over.
    """
    known = filter_.known_rounds(room.room, now)
    for round_id, round_ in accounts.rounds.items():
        charged = party in round_.reserve.charge and round_.state in ("open", "done")
        if charged and round_id not in known and not restored:
            raise Refused(
                f"entry {round_.reserve.seq} charges {party} for round {round_id[:8]}, which it does not hold",
                "was this node put back to an older copy? start it once with --restored",
            )
    _spend(accounts, room, party, filter_, now)


def _spend(accounts: Accounts, room: Room, party: str, filter_: Filter, now: int) -> None:
    """Charge what is not charged yet, in one transaction. Raises Refused when it does not fit."""
    spent, known = filter_.spent_rounds(room.room), filter_.known_rounds(room.room, now)
    reserves = [
        round_.reserve
        for round_id, round_ in accounts.rounds.items()
        # A round that ended before this party ever charged for it got nothing from this party, and gets nothing more.
        # One that was refunded is not charged again.
        if round_id not in spent
        and (round_.state in ("open", "done") or (round_.state == "forfeited" and round_id in known))
    ]
    current = standing(room, accounts)
    charges = [charge_of(reserve, current, party) for reserve in reserves if party in reserve.charge]
    if charges:
        filter_.spend(charges, now)
