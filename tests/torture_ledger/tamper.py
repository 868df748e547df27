"""Tampering with a bundle: nothing that was changed in it is ever found clean, and the judge never falls over.

    bits       every bit of a bundle of ten entries; so many random bits of one of two hundred
    entries    every deletion, swap of two neighbours, duplication, and truncation after any entry, packed canonically;
               of the small bundle also every swap of any two
    members    each left out, exchanged with another, and doubled; headers, padding and the end of the archive

What counts is the exit status: 1, or 2 where there is no archive to read any more. A judge is a function from the bytes
of a bundle to that status; any exception that is not of ours is a fault of it.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import itertools
import multiprocessing
import shutil
import tarfile
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from protocols import audit, bundle, cli, verify
from protocols.encoding import canonical
from protocols.errors import CannotDecide
from protocols.keys import public_text
from protocols.ledger import trust
from protocols.ledger.trust import TrustPolicy
from protocols.logbook import Logbook
from tests.ledger import builder
from tests.ledger.builder import PARTIES
from tests.torture.role import replace
from tests.torture_ledger.room import CAPS

Judge = Callable[[bytes], int]
Job = tuple[str, tuple[Any, ...]]
BLOCK = 512
OTHERS = 12  # in the short form one of so many changes that are no flipped bit


def by_audit(policy: TrustPolicy) -> Judge:
    """The auditor's tool."""

    def judge(data: bytes) -> int:
        try:
            return cli.VIOLATION if audit.verify(data, policy).violations else cli.CLEAN
        except CannotDecide:
            return cli.CANNOT_DECIDE

    return judge


def remember() -> None:
    """Compute once, in this process, what depends on nothing but its arguments: ε of a ρ, and whether a signature is
    one over these bytes by this key. Nearly all of a bundle is what it was before a bit of it was flipped."""
    replace("protocols.accuracy", "epsilon", functools.cache)
    replace("protocols.keys", "check_canonical", _remembered)
    replace("protocols.ledger.notes", "_verify", functools.cache)


def _remembered(original: Callable[..., None]) -> Callable[..., None]:
    """`keys.check_canonical`, which says the same of the same bytes."""
    good = set[bytes]()

    @functools.wraps(original)
    def check_canonical(public: Any, purpose: Any, body: bytes, signatures: Any) -> None:
        known = {who: public_text(public[who]) for who in signatures}
        asked = hashlib.sha256(canonical([purpose, body.hex(), dict(signatures), known])).digest()
        if asked not in good:
            original(public, purpose, body, signatures)
            good.add(asked)

    return check_canonical


def by_verifier(policy: TrustPolicy) -> Judge:
    """The one file that is in every bundle, written apart from the rest."""
    words = trust.render(policy).encode()

    def judge(data: bytes) -> int:
        try:
            checks = verify.Audit(data, words).checks
        except verify.Undecided:
            return cli.CANNOT_DECIDE
        return cli.VIOLATION if any(problems for _, _, problems in checks) else cli.CLEAN

    return judge


def by_both(policy: TrustPolicy) -> Judge:
    """Two programs that must agree on what is clean: where they do not, this judge falls over. Which of the two other
    statuses an archive gets that is damaged at its end, or in a length, is up to each."""
    first, second = by_audit(policy), by_verifier(policy)

    def judge(data: bytes) -> int:
        status, other = first(data), second(data)
        if (status == cli.CLEAN) != (other == cli.CLEAN):
            raise AssertionError(f"one says {status}, the other {other}")
        return max(status, other)

    return judge


JUDGES: dict[str, Callable[[TrustPolicy], Judge]] = {"audit": by_audit, "verify": by_verifier, "both": by_both}


@dataclass
class Found:
    """How many changes of each kind were judged, by status; and what must not be."""

    judged: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def __iadd__(self, other: Found) -> Found:
        self.judged += other.judged
        self.statuses += other.statuses
        self.violations += other.violations
        return self


# -- the bundles -------------------------------------------------------------------------------------------------------


def small(folder: Path) -> tuple[bytes, TrustPolicy]:
    """Ten entries: the opening, a round with both its releases, a round that was forfeited."""
    room = builder.Room()
    return bundle.pack(room.whole(folder / "small.ledger")), room.policy()


def large(folder: Path, length: int) -> tuple[bytes, TrustPolicy]:
    """So many entries: the same, and rounds that were forfeited."""
    room = builder.Room(caps=CAPS)
    members = room.whole(folder / "large.ledger")
    with Logbook(folder / "large.ledger") as log:
        while log.size < length:
            label = f"round {log.size}"
            log.append([lambda seq, label=label: room.reserve(seq, label)])
            room.cosigned(log)
            log.append([lambda seq, label=label: room.forfeit(seq, label)])
        room.cosigned(log, PARTIES[:2])
        members |= bundle.ledger_members(log)
    return bundle.pack(members), room.policy()


# -- what is changed in them -------------------------------------------------------------------------------------------


def flipped(data: bytes, bit: int) -> bytes:
    at = bit // 8
    return data[:at] + bytes([data[at] ^ 1 << bit % 8]) + data[at + 1 :]


def entries_changed(data: bytes, *, any_two: bool) -> Iterator[tuple[str, bytes]]:
    """Every deletion, duplication, truncation, and swap of neighbours (or of any two) among the entries."""
    members = bundle.unpack(data)
    whole = bundle.split_entries(members[bundle.ENTRIES])
    count = len(whole)
    pairs = itertools.combinations(range(count), 2) if any_two else ((i, i + 1) for i in range(count - 1))
    lists: Iterator[tuple[str, list[bytes]]] = itertools.chain(
        (("deletion", whole[:i] + whole[i + 1 :]) for i in range(count)),
        (("duplication", whole[: i + 1] + whole[i:]) for i in range(count)),
        (("duplication", [*whole, whole[i]]) for i in range(count)),
        (("truncation", whole[:i]) for i in range(count)),
        (("swap", [*whole[:i], whole[j], *whole[i + 1 : j], whole[i], *whole[j + 1 :]]) for i, j in pairs),
    )
    for kind, these in lists:
        yield kind, bundle.pack({**members, bundle.ENTRIES: bundle.join_entries(these)})


def members_changed(data: bytes, *, any_two: bool) -> Iterator[tuple[str, bytes]]:
    """Members left out, exchanged (each with the next, or any two) or doubled. A checkpoint may be missing where a
    later one covers what it covered."""
    members = bundle.unpack(data)
    checkpoints = sorted(name for name in members if name.startswith(bundle.CHECKPOINTS))
    for name in set(members) - set(checkpoints[:-1]):
        yield "member left out", bundle.pack({n: d for n, d in members.items() if n != name})
    for one, other in itertools.combinations(members, 2) if any_two else itertools.pairwise(members):
        yield "members exchanged", bundle.pack({**members, one: members[other], other: members[one]})
    for name in members:
        yield "member doubled", _doubled(data, name)


def _doubled(data: bytes, name: str) -> bytes:
    """The member's header and content once more, right behind it."""
    at = data.index(name.encode() + b"\0")
    end = at + BLOCK + -(-int(data[at + 124 : at + 135], 8) // BLOCK) * BLOCK
    return data[:end] + data[at:end] + data[end:]


def archives_changed(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The same members in archives that are not the canonical one; the archive cut, and with more behind it."""
    members = bundle.unpack(data)
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        for name, value in (("mtime", 1), ("mode", 0o600), ("uid", 7), ("uname", "x"), ("type", tarfile.AREGTYPE)):
            yield "another header", _packed(members, sorted(members), form, **{name: value})
        yield "another order", _packed(members, sorted(members)[::-1], form)
    end = len(data.rstrip(b"\0"))
    yield from (("cut", data[:size]) for size in {0, 1, 511, *range(BLOCK, len(data), BLOCK), end - 1, len(data) - 1})
    yield from (("more behind it", data + more) for more in (b"\0", bytes(BLOCK), bytes(10240), b"x", data))
    yield "compressed", gzip.compress(data)


def _packed(members: dict[str, bytes], order: Sequence[str], form: int, **header: Any) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:", format=form) as archive:
        for name in order:
            info = tarfile.TarInfo(name)
            info.size = len(members[name])
            for field_, value in header.items():
                setattr(info, field_, value)
            archive.addfile(info, io.BytesIO(members[name]))
    return out.getvalue()


# -- judging -----------------------------------------------------------------------------------------------------------


class Case:
    """A bundle, and what is done to it: changes by number, so that each process makes its own."""

    def __init__(self, name: str, data: bytes, policy: TrustPolicy, judge: str) -> None:
        self.name, self.data = name, data
        self.judge = JUDGES[judge](policy)

    def bits(self, bits: Sequence[int]) -> Found:
        return self._judged((f"bit {bit}", flipped(self.data, bit)) for bit in bits)

    def others(self, first: int, step: int, any_two: bool) -> Found:
        changed = itertools.chain(
            entries_changed(self.data, any_two=any_two),
            members_changed(self.data, any_two=any_two),
            archives_changed(self.data),
        )
        return self._judged(itertools.islice(changed, first, None, step))

    def _judged(self, changed: Iterator[tuple[str, bytes]]) -> Found:
        found = Found()
        for what, data in changed:
            found.judged[f"{self.name}: {'bit' if what.startswith('bit ') else what}"] += 1
            if data == self.data:  # there are two alike
                continue
            try:
                status = self.judge(data)
            except Exception:  # noqa: BLE001 - what falls over is what this is about
                found.violations.append(f"{self.name}, {what}: {traceback.format_exc(limit=-3)}")
                continue
            found.statuses[status] += 1
            if status not in (cli.VIOLATION, cli.CANNOT_DECIDE):
                found.violations.append(f"{self.name}, {what}: found clean")
        return found


def torture(judge: str, seed: int, *, every: int, bits: int, length: int, workers: int) -> Found:
    """Every `every`th bit of the small bundle and `bits` of the large one, of `length` entries; and all else."""
    found, random = Found(), Random(seed)
    folder = Path(tempfile.mkdtemp(prefix="tamper-"))
    try:
        cases = [("10 entries", *small(folder)), (f"{length} entries", *large(folder, length))]
        for number, (name, data, policy) in enumerate(cases):
            case = Case(name, data, policy, judge)
            if case.judge(data) != cli.CLEAN:
                found.violations.append(f"{name}: the bundle itself is not clean")
            chosen = range(random.randrange(every), 8 * len(data), every)
            if number:
                chosen = [random.randrange(8 * len(data)) for _ in range(bits)]
            jobs: list[Job] = [("bits", (part,)) for part in _parts(chosen, 8 * workers)]
            rest = 4 * workers
            jobs += [("others", (i, rest * (1 if every == 1 else OTHERS), not number)) for i in range(rest)]
            for part in _in_processes(case, jobs, workers):
                found += part
    finally:
        shutil.rmtree(folder)
    return found


def _parts(chosen: Sequence[int], count: int) -> list[Sequence[int]]:
    return [chosen[i::count] for i in range(count)]


_case: Case


def _in_processes(case: Case, jobs: list[Job], workers: int) -> Iterator[Found]:
    """Forked, so that nothing has to be handed over but what is to be done."""
    global _case
    _case = case
    with multiprocessing.get_context("fork").Pool(workers, initializer=remember) as pool:
        yield from pool.imap_unordered(_do, jobs)


def _do(job: Job) -> Found:
    name, arguments = job
    found = getattr(_case, name)(*arguments)
    assert isinstance(found, Found)
    return found
