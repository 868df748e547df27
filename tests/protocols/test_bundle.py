"""A bundle has one spelling; every other archive is refused, and a piece of one is never taken for the whole."""

from __future__ import annotations

import io
import tarfile
from contextlib import nullcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols import bundle
from protocols.errors import CannotDecide, IntegrityError, UsageError
from protocols.logbook import Logbook

MEMBERS = {
    "ledger/entries": b'{"a":1}\n' * 80,
    "ledger/checkpoints/0000000005": b"checkpoint",
    f"plans/{'ab' * 32}.json": b"{}",
    f"releases/{'cd' * 16}-rfm-cuts.json": b"",
}
ARCHIVE = bundle.pack(MEMBERS)


NAMES = st.one_of(
    st.integers(0, 10**10 - 1).map(bundle.checkpoint_name),
    st.binary(min_size=32, max_size=32).map(lambda raw: bundle.plan_name(raw.hex())),
    st.tuples(st.binary(min_size=16, max_size=16), st.from_regex(r"\A[a-z][a-z0-9_-]{0,39}\Z")).map(
        lambda pair: bundle.release_name(pair[0].hex(), pair[1])
    ),
)


@settings(deadline=None)
@given(st.dictionaries(NAMES, st.binary(max_size=1200), max_size=5), st.binary(max_size=1200))
def test_what_is_packed_unpacks_to_the_same_members(members, entries) -> None:
    whole = {**members, bundle.ENTRIES: entries}
    assert bundle.unpack(bundle.pack(whole)) == whole


def test_the_order_in_which_members_are_given_does_not_matter() -> None:
    assert bundle.pack(dict(reversed(MEMBERS.items()))) == ARCHIVE


def test_anybodys_tar_reads_it_and_finds_no_owner_no_time_and_plain_files() -> None:
    with tarfile.open(fileobj=io.BytesIO(ARCHIVE)) as archive:
        infos = archive.getmembers()
    assert [info.name for info in infos] == sorted(MEMBERS)
    assert {(i.mtime, i.mode, i.uid, i.gid, i.uname, i.gname, i.type) for i in infos} == {
        (0, 0o644, 0, 0, "", "", tarfile.REGTYPE)
    }
    assert len(ARCHIVE) % 10_240 == 0


def test_no_changed_byte_of_headers_padding_or_end_goes_unseen() -> None:
    content, at = set(), 0
    for name in sorted(MEMBERS):
        content |= set(range(at + 512, at + 512 + len(MEMBERS[name])))
        at += 512 + -(-len(MEMBERS[name]) // 512) * 512
    for at in set(range(len(ARCHIVE))) - content:
        changed = ARCHIVE[:at] + bytes([ARCHIVE[at] ^ (1 << at % 8)]) + ARCHIVE[at + 1 :]
        with pytest.raises((IntegrityError, CannotDecide)):
            bundle.unpack(changed)


def test_no_changed_byte_of_content_unpacks_to_the_same_members() -> None:
    for at in range(512, 512 + len(b"checkpoint")):
        changed = ARCHIVE[:at] + bytes([ARCHIVE[at] ^ 1]) + ARCHIVE[at + 1 :]
        assert bundle.unpack(changed) != MEMBERS


def test_every_truncation_and_every_addition_is_refused() -> None:
    for size in range(0, len(ARCHIVE), 64):
        with pytest.raises((CannotDecide, IntegrityError)):
            bundle.unpack(ARCHIVE[:size])
    for more in (b"\0", bytes(512), bytes(10_240), b"hidden", ARCHIVE):
        with pytest.raises(IntegrityError, match="canonical"):
            bundle.unpack(ARCHIVE + more)


@pytest.mark.parametrize("size", [0, 511, 512, 1024, 1500, 3000])
def test_an_archive_whose_end_is_missing_cannot_be_decided(size) -> None:
    with pytest.raises(CannotDecide):
        bundle.unpack(ARCHIVE[:size])


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04" + bytes(2000), bytes(10_240), b"{}" * 2000])
def test_what_is_no_archive_cannot_be_decided(data) -> None:
    with pytest.raises(CannotDecide, match="no POSIX tar"):
        bundle.unpack(data)


def tar(members: list[tuple[str, bytes]], kind: int = tarfile.USTAR_FORMAT, **fields) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:", format=kind) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for field, value in fields.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


E = ("ledger/entries", b"{}\n")
C = (bundle.checkpoint_name(5), b"note")


@pytest.mark.parametrize(
    "archive",
    [
        tar([E, C]),
        tar([C, E, E]),
        tar([C, ("ledger/../entries", b""), E]),
        tar([C, E, ("readme.txt", b"hello")]),
        tar([C]),
        tar([C, E], mtime=1),
        tar([C, E], mode=0o755),
        tar([C, E], uid=1000),
        tar([C, E], uname="somebody"),
        tar([C, E], type=tarfile.LNKTYPE),
        tar([C, E], linkname="x"),
    ],
)
def test_another_archive_of_the_same_kind_is_refused(archive) -> None:
    assert bundle.unpack(tar([C, E])) == dict([C, E])
    with pytest.raises(IntegrityError):
        bundle.unpack(archive)


@pytest.mark.parametrize(
    "name",
    ["", "/ledger/entries", "ledger/entries\n", "ledger/checkpoints/5", "plans/x.json", "releases/a.json", "a" * 300,
     f"releases/{'cd' * 16}-../x.json", f"releases/{'cd' * 16}-{'x' * 41}.json"],
)  # fmt: skip
def test_nothing_is_packed_under_another_name(name) -> None:
    with pytest.raises(UsageError, match="no place"):
        bundle.pack({name: b""})


def test_a_bundle_has_a_largest_size_and_number_of_members(monkeypatch) -> None:
    monkeypatch.setattr(bundle, "MAX_MEMBERS", 3)
    with pytest.raises(UsageError, match="more than"):
        bundle.pack(MEMBERS)
    with pytest.raises(IntegrityError, match="one too many"):
        bundle.unpack(ARCHIVE)
    monkeypatch.undo()
    monkeypatch.setattr(bundle, "MAX_BYTES", len(ARCHIVE) - 1)
    with pytest.raises(CannotDecide, match="more than"):
        bundle.unpack(ARCHIVE)
    monkeypatch.setattr(bundle, "MAX_BYTES", 100)
    with pytest.raises(UsageError, match="more than"):
        bundle.pack(MEMBERS)


@given(st.lists(st.binary(max_size=20).map(lambda raw: raw.replace(b"\n", b""))))
def test_joined_entries_split_again(bodies) -> None:
    assert bundle.split_entries(bundle.join_entries(bodies)) == bodies


def test_entries_without_a_last_newline_are_refused() -> None:
    with pytest.raises(IntegrityError, match="no end"):
        bundle.split_entries(b"{}\n{}")


@pytest.mark.parametrize("at_once", [1, 2, 3, 7, 64, 1 << 20])
@pytest.mark.parametrize("end", [b"", b"\n", b"\n\n", b"\nx"])
def test_entries_are_read_the_same_however_many_at_a_time(monkeypatch, at_once, end) -> None:
    monkeypatch.setattr("protocols.bundle._LINES", at_once)
    member = b"\n".join([b"a", b"", b"bcd", b"e" * 70, b"f"]) + end
    found, whole = list[bytes](), member.endswith(b"\n")
    archive = bundle.Archive(bundle.pack({bundle.ENTRIES: member}))
    with nullcontext() if whole else pytest.raises(IntegrityError, match="no end"):
        for entry in archive.entries():
            found.append(entry)
    assert found == member.split(b"\n")[:-1]


def test_the_ledgers_part_holds_complete_checkpoints_only_and_ends_at_the_last(built, tmp_path) -> None:
    room = built.Room()
    with Logbook(tmp_path / "log.db") as log:
        log.append(room.opening()[:3])
        room.cosigned(log, built.PARTIES[:2])
        with pytest.raises(CannotDecide, match="no checkpoint has all its cosignatures"):
            bundle.ledger_members(log)
        log.append(room.opening()[3:])
        room.cosigned(log)
        log.append([room.reserve(5)])
        room.cosigned(log, ("alpha", "beta"))
        log.append([room.commit(6)])
        room.cosigned(log, ("alpha", "beta"))
        part = bundle.ledger_members(log)
        assert set(part) == {bundle.ENTRIES, bundle.checkpoint_name(5)}
        assert bundle.split_entries(part[bundle.ENTRIES]) == log.entries(0, 5)
        log.append([room.forfeit(7)])
        room.cosigned(log)
        assert set(bundle.ledger_members(log)) == {bundle.ENTRIES, bundle.checkpoint_name(8)}
        assert set(bundle.ledger_members(log, {5})) == {*part, bundle.checkpoint_name(8)}
        assert set(bundle.ledger_members(log, {6})) == {bundle.ENTRIES, bundle.checkpoint_name(8)}
