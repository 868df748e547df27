"""What is handed to an auditor: `room.tar`, one archive with one spelling.

    ledger/checkpoints/0000000007     every checkpoint that all its cosigners signed, by size
    ledger/entries                    one entry a line, from the genesis on
    plans/<digest>.json               every plan in the ledger, canonical
    releases/<round>-<step>.json      every release

Uncompressed POSIX ustar: members in the order of their names, mode 0644, no owner, no time, padded with zeros to a
multiple of 10,240 bytes. An archive that says the same in other bytes is refused: what the auditor's signature covers
must not have a corner in which something can be kept or changed.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Mapping, Sequence
from itertools import chain

from .errors import CannotDecide, IntegrityError, UsageError
from .ledger import notes
from .ledger.cosigners import check_cosigners
from .ledger.entries import Entry, decode
from .logbook import Logbook

ENTRIES = "ledger/entries"
CHECKPOINTS = "ledger/checkpoints/"
PLANS = "plans/"
RELEASES = "releases/"
MAX_BYTES = 1 << 30
MAX_MEMBERS = 100_000

_BLOCK = tarfile.BLOCKSIZE
_NAME = re.compile(
    r"ledger/entries|ledger/checkpoints/[0-9]{10}|plans/[0-9a-f]{64}\.json"
    r"|releases/[0-9a-f]{32}-[a-z][a-z0-9_-]{0,39}\.json"
)
_OCTAL = re.compile(rb"[0-7]{11}\x00")


def checkpoint_name(size: int) -> str:
    """The member that holds the checkpoint of this size."""
    return f"{CHECKPOINTS}{size:010d}"


def plan_name(digest: str) -> str:
    """The member that holds the plan of this digest."""
    return f"{PLANS}{digest}.json"


def release_name(round_id: str, step: str) -> str:
    """The member that holds the release of this step."""
    return f"{RELEASES}{round_id}-{step}.json"


def pack(members: Mapping[str, bytes]) -> bytes:
    """The one archive of these members. Raises UsageError for a name that has no place in it, or too much in all."""
    unknown = [name for name in members if not _NAME.fullmatch(name)]
    if unknown:
        raise UsageError(f"a bundle has no place for a member {unknown[0][:80]!r}")
    if len(members) > MAX_MEMBERS or sum(map(len, members.values())) > MAX_BYTES:
        raise UsageError(f"more than a bundle holds: {MAX_MEMBERS} members, {MAX_BYTES} bytes")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(members):
            info = tarfile.TarInfo(name)  # its defaults: mode 0644, owner 0, time 0, no names
            info.size = len(members[name])
            archive.addfile(info, io.BytesIO(members[name]))
    return out.getvalue()


def unpack(data: bytes) -> dict[str, bytes]:
    """The members of an archive that `pack` wrote.

    Raises CannotDecide where there is no archive or its end is missing, IntegrityError where the archive is not the one
    that `pack` makes of its members: another header, order, padding or end.
    """
    if len(data) > MAX_BYTES:
        raise CannotDecide(f"an archive of {len(data)} bytes, more than {MAX_BYTES}")
    if len(data) < 2 * _BLOCK or data[257:265] != tarfile.POSIX_MAGIC:
        raise CannotDecide("not a bundle: no POSIX tar archive")
    members = _read(data)
    if ENTRIES not in members:
        raise IntegrityError(f"the bundle has no {ENTRIES}")
    if pack(members) != data:
        raise IntegrityError(
            "the archive is not the canonical one of its files: bytes between or around them were changed"
        )
    return members


def join_entries(entries: Sequence[bytes]) -> bytes:
    """Entries as the member `ledger/entries` holds them. Canonical JSON has no newline of its own."""
    return b"".join(entry + b"\n" for entry in entries)


def split_entries(member: bytes) -> list[bytes]:
    """What `join_entries` joined. Raises IntegrityError."""
    if member and not member.endswith(b"\n"):
        raise IntegrityError("the last entry has no end")
    return member.split(b"\n")[:-1]


def ledger_members(log: Logbook) -> dict[str, bytes]:
    """The ledger's part of a bundle: every checkpoint with all the cosignatures it needs, and the entries up to the
    last of them. What is younger is not yet anybody's to rely on. Raises CannotDecide while there is none.
    """
    members: dict[str, bytes] = {}
    covered = 0
    for size, note in log.checkpoints():
        new = [decode(body) for body in log.entries(covered, size)]
        if _is_complete(note, new, log):
            members[checkpoint_name(size)] = note.encode()
            covered = size
    if not covered:
        raise CannotDecide("no checkpoint has all its cosignatures yet", "wait for the parties' nodes, or ask them")
    return {**members, ENTRIES: join_entries(log.entries(0, covered))}


def _is_complete(note: str, new: Sequence[Entry], log: Logbook) -> bool:
    checkpoint, _ = notes.split(note)
    members = log.accounts.members_at(checkpoint.size)
    _, signed = notes.open_note(note, members.log_keys(), chain.from_iterable(members.witness_keys().values()))
    try:
        check_cosigners(signed.keys(), new, log.accounts)
    except IntegrityError:
        return False
    return True


def _read(data: bytes) -> dict[str, bytes]:
    """Names and contents, from headers read for these two alone; `unpack` compares everything else byte by byte."""
    members: dict[str, bytes] = {}
    at = 0
    while True:
        header = data[at : at + _BLOCK]
        if len(header) < _BLOCK:
            raise CannotDecide("the archive is cut short")
        if not any(header):
            return members
        name = header[:100].rstrip(b"\x00").decode("latin-1")
        if not _OCTAL.fullmatch(header[124:136]) or not _NAME.fullmatch(name):
            raise IntegrityError(f"a header at byte {at} that no bundle has")
        if name in members or len(members) >= MAX_MEMBERS:
            raise IntegrityError(f"the member {name} is there twice, or one too many")
        start = at + _BLOCK
        size = int(header[124:135], 8)
        if start + size > len(data):
            raise CannotDecide(f"the archive is cut short in {name}")
        members[name] = data[start : start + size]
        at = start + -(-size // _BLOCK) * _BLOCK
