"""What is handed to an auditor: `room.tar`, one archive with one spelling.

    ledger/checkpoints/0000000007       as few checkpoints as suffice (`needed_checkpoints`), by size
    ledger/entries                      one entry a line, from the genesis on
    plans/<digest>.json                 every plan in the ledger, canonical
    releases/<round>-<step>.json        every release; none in a bundle for an auditor who may not see them
    releases/<round>-<step>.tlog-proof  beside each release: its place in the ledger, in C2SP's own words
    verify.py                           a second verifier, one file: to be compared with a copy from elsewhere

Uncompressed POSIX ustar: members in the order of their names, mode 0644, no owner, no time, padded with zeros to a
multiple of 10,240 bytes. An archive that says the same in other bytes is refused: what the auditor's signature covers
must not have a corner in which something can be kept or changed.
"""

from __future__ import annotations

import hashlib
import mmap
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from itertools import chain

from .errors import CannotDecide, IntegrityError, UsageError
from .ledger import coverage, notes
from .ledger.cosigners import Needed, cosigners_needed
from .ledger.decoding import Decoder
from .ledger.members import Members
from .logbook import Logbook

ENTRIES = "ledger/entries"
CHECKPOINTS = "ledger/checkpoints/"
PLANS = "plans/"
RELEASES = "releases/"
VERIFIER = "verify.py"
MAX_BYTES = 1 << 30
MAX_MEMBERS = 500_000

_BLOCK, _RECORD = 512, 10_240
_MAGIC = b"ustar\x0000"
_NAME = re.compile(
    r"ledger/entries|ledger/checkpoints/[0-9]{10}|plans/[0-9a-f]{64}\.json|verify\.py"
    r"|releases/[0-9a-f]{32}-[a-z][a-z0-9_-]{0,39}\.(?:json|tlog-proof)"
)
_OCTAL = re.compile(rb"[0-7]{11}\x00")
_READ = 1000  # entries that are read from a logbook at a time
_LINES = 1 << 20  # bytes of entries that are cut into lines at a time
_STEP = 8 << 20  # bytes of a mapped file that are read before their pages are given back

Buffer = bytes | mmap.mmap


def checkpoint_name(size: int) -> str:
    """The member that holds the checkpoint of this size."""
    return f"{CHECKPOINTS}{size:010d}"


def plan_name(digest: str) -> str:
    """The member that holds the plan of this digest."""
    return f"{PLANS}{digest}.json"


def release_name(round_id: str, step: str) -> str:
    """The member that holds the release of this step."""
    return f"{RELEASES}{round_id}-{step}.json"


def proof_name(round_id: str, step: str) -> str:
    """The member that holds the proof of this step's release in the form of C2SP tlog-proof."""
    return f"{RELEASES}{round_id}-{step}.tlog-proof"


def verifier() -> bytes | None:
    """The second verifier of this version, byte for byte; None where it was not installed."""
    file = files(__package__).joinpath(VERIFIER)
    return file.read_bytes() if file.is_file() else None


class Archive:
    """The members of an archive that `pack` wrote, read where they lie: in bytes, or in a mapped file.

    Making one checks the whole archive against its canonical form, member by member. Raises CannotDecide where there is
    no archive or its end is missing, IntegrityError where the archive is not the one that `pack` makes of its members:
    another header, order, padding or end. A mapped file must not be changed while it is read.
    """

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = buffer
        self._places: dict[str, tuple[int, int]] = {}
        if len(buffer) > MAX_BYTES:
            raise CannotDecide(f"an archive of {len(buffer)} bytes, more than {MAX_BYTES}")
        if len(buffer) < 2 * _BLOCK or buffer[257:265] != _MAGIC:
            raise CannotDecide("not a bundle: no POSIX tar archive")
        self._index()
        if ENTRIES not in self._places:
            raise IntegrityError(f"the bundle has no {ENTRIES}")

    def __len__(self) -> int:
        """How many members there are."""
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __getitem__(self, name: str) -> bytes:
        start, size = self._places[name]
        return self._buffer[start : start + size]

    @property
    def bytes_in_all(self) -> int:
        return len(self._buffer)

    def names(self, prefix: str = "", suffix: str = "") -> list[str]:
        """Members by the beginning and the end of their names, in order."""
        return [name for name in self._places if name.startswith(prefix) and name.endswith(suffix)]

    def entries(self) -> Iterator[bytes]:
        """Each entry's exact bytes, in order. Raises IntegrityError at the end where the last has no newline."""
        start, size = self._places[ENTRIES]
        at, end, kept = start, start + size, start
        while at < end:
            stop = self._buffer.rfind(b"\n", at, min(at + _LINES, end))
            if stop < 0:  # a line longer than that, or none
                stop = self._buffer.find(b"\n", at, end)
            if stop < 0:
                raise IntegrityError("the last entry has no end")
            yield from self._buffer[at:stop].split(b"\n")
            at = stop + 1
            if at - kept > _STEP:
                kept = _give_back(self._buffer, kept, at)

    def _index(self) -> None:
        """Names and places, from headers that are byte for byte those of `pack`."""
        at, last = 0, ""
        while True:
            header = self._buffer[at : at + _BLOCK]
            if len(header) < _BLOCK:
                raise CannotDecide("the archive is cut short")
            if not any(header):
                break
            name = header[:100].rstrip(b"\x00").decode("latin-1")
            if not _OCTAL.fullmatch(header[124:136]) or not _NAME.fullmatch(name):
                raise IntegrityError(f"a header at byte {at} that no bundle has")
            if name in self._places or len(self._places) >= MAX_MEMBERS:
                raise IntegrityError(f"the member {name} is there twice, or one too many")
            start, size = at + _BLOCK, int(header[124:135], 8)
            if start + size > len(self._buffer):
                raise CannotDecide(f"the archive is cut short in {name}")
            at = start + -(-size // _BLOCK) * _BLOCK
            if name < last or header != _header(name, size) or any(self._buffer[start + size : at]):
                raise _not_canonical(f"at {name}")
            self._places[name], last = (start, size), name
        end = -(-(at + 2 * _BLOCK) // _RECORD) * _RECORD
        if len(self._buffer) != end or any(self._buffer[at:end]):
            raise _not_canonical("after its last file")


def digest(buffer: Buffer) -> str:
    """SHA-256 of a whole archive, in hex."""
    running, kept = hashlib.sha256(), 0
    for at in range(0, len(buffer), _STEP):
        running.update(buffer[at : at + _STEP])
        kept = _give_back(buffer, kept, min(at + _STEP, len(buffer)))
    return running.hexdigest()


def _give_back(buffer: Buffer, start: int, end: int) -> int:
    """Let go of the pages of a mapped file that were read: an audit of any length then needs little memory."""
    start -= start % mmap.PAGESIZE
    end -= end % mmap.PAGESIZE
    if isinstance(buffer, mmap.mmap) and end > start and hasattr(mmap, "MADV_DONTNEED"):
        buffer.madvise(mmap.MADV_DONTNEED, start, end - start)
    return end


@contextmanager
def mapped(path: str) -> Iterator[mmap.mmap]:
    """A file's bytes, mapped and not read into memory. Raises CannotDecide where it cannot be."""
    try:
        with open(path, "rb") as file:
            if not file.seek(0, 2):
                raise CannotDecide("not a bundle: no POSIX tar archive")
            buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or type(exc).__name__
        raise CannotDecide(f"cannot read {path}: {reason}") from None
    with buffer:
        yield buffer


def pack(members: Mapping[str, bytes]) -> bytes:
    """The one archive of these members. Raises UsageError for a name that has no place in it, or too much in all."""
    unknown = [name for name in members if not _NAME.fullmatch(name)]
    if unknown:
        raise UsageError(f"a bundle has no place for a member {unknown[0][:80]!r}")
    if len(members) > MAX_MEMBERS or sum(map(len, members.values())) > MAX_BYTES:
        raise UsageError(f"more than a bundle holds: {MAX_MEMBERS} members, {MAX_BYTES} bytes")
    parts: list[bytes] = []
    for name in sorted(members):
        size = len(members[name])
        parts += [_header(name, size), members[name], bytes(-size % _BLOCK)]
    parts.append(bytes(2 * _BLOCK))
    parts.append(bytes(-sum(map(len, parts)) % _RECORD))
    return b"".join(parts)


def unpack(data: bytes) -> dict[str, bytes]:
    """The members of an archive that `pack` wrote, in memory. Raises as `Archive` does."""
    archive = Archive(data)
    return {name: archive[name] for name in archive.names()}


def join_entries(entries: Sequence[bytes]) -> bytes:
    """Entries as the member `ledger/entries` holds them. Canonical JSON has no newline of its own."""
    return b"".join(entry + b"\n" for entry in entries)


def split_entries(member: bytes) -> list[bytes]:
    """What `join_entries` joined. Raises IntegrityError."""
    if member and not member.endswith(b"\n"):
        raise IntegrityError("the last entry has no end")
    return member.split(b"\n")[:-1]


def ledger_members(log: Logbook, proofs: Collection[int] = ()) -> dict[str, bytes]:
    """The ledger's part of a bundle: the fewest checkpoints that carry all that is carried (`coverage.fewest`), and the
    entries up to the last of them. What is younger is not yet anybody's to rely on.

    proofs   sizes of checkpoints that the proofs of releases lead to: these are among them

    Raises CannotDecide while there is no complete checkpoint, IntegrityError where one of them does not verify.
    """
    accounts, decoder = log.accounts, Decoder()

    read: list[bytes] = []

    def needs(seq: int) -> list[Needed]:
        if seq % _READ == 0:  # asked for one after the other, from the first on
            read[:] = log.entries(seq, min(seq + _READ, log.size))
        return cosigners_needed([decoder.decode(read[seq % _READ])], accounts)

    stored = log.checkpoints()
    names = ((size, _names(note, accounts.members_at(size))) for size, note in stored)
    sizes = coverage.fewest(names, needs, accounts.epochs(), proofs)
    if not sizes:
        raise CannotDecide("no checkpoint has all its cosignatures yet", "wait for the parties' nodes, or ask them")
    members = {}
    for size, note in stored:
        if size in sizes:
            keys = accounts.members_at(size)
            notes.open_note(note, keys.log_keys(), chain.from_iterable(keys.witness_keys().values()))
            members[checkpoint_name(size)] = note.encode()
    return {**members, ENTRIES: join_entries(log.entries(0, sizes[-1]))}


def _names(note: str, members: Members) -> list[str]:
    """Whose lines are on a note, all of their keys; not verified again, as each was when it was stored."""
    _, lines = notes.split(note)
    signed = Counter(line.split(" ")[1] for line in lines)
    return [name for name, keys in members.witness_keys().items() if signed[name] == len(keys)]


def _header(name: str, size: int) -> bytes:
    """The 512 bytes before a member: mode 0644, owner 0, time 0, no names (specs/bundle.md, 9)."""
    head = b"%b0000644\x00%b%011o\x00%011o\x00" % (name.encode().ljust(100, b"\0"), b"0000000\x00" * 2, size, 0)
    tail = b"0" + bytes(100) + _MAGIC
    checksum = sum(head) + sum(tail) + 8 * ord(" ")
    return (head + b"%06o\x00 " % checksum + tail).ljust(_BLOCK, b"\0")


def _not_canonical(where: str) -> IntegrityError:
    return IntegrityError(
        f"the archive is not the canonical one of its files: bytes between or around them were changed, {where}"
    )
