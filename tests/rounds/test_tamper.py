"""A bundle of a real round with anything at all changed is never clean, and the auditor's tool never falls over."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from coordinator import outputs
from protocols import accuracy, audit, bundle, cli, messages
from protocols.errors import CannotDecide, RoundEnded
from protocols.ledger import trust
from protocols.ledger.entries import decode

SEED = 20_170_101
CHANGES = 2_000


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """ε of the same ρ is the same every time: computed once, a third of the time is saved."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accuracy, "epsilon", functools.cache(accuracy.epsilon))
        yield


@pytest.fixture(scope="module")
def real(lab: ModuleType, template: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The bundle of a released and a forfeited round, its policy, and the policy of another room."""
    with lab.Room(lab.copy(template, tmp_path_factory.mktemp("real") / "trial")) as room:
        room.run()
        room.meddle = lambda party, request: _away(room, party, request)
        with pytest.raises(RoundEnded):
            room.run()
        data, policy = outputs.bundle_of(room.book), outputs.policy_of(room.ledger.room)
    other = lab.make(tmp_path_factory.mktemp("other") / "trial")
    with lab.Room(other) as room:
        strangers = outputs.policy_of(room.ledger.room)
    assert audit.verify(data, policy).violations == ()
    return SimpleNamespace(data=data, policy=policy, strangers=strangers, members=bundle.unpack(data))


@pytest.fixture(scope="module")
def small(lab: ModuleType, template: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The bundle of one round, forfeited after its first release: every kind of entry there is."""
    with lab.Room(lab.copy(template, tmp_path_factory.mktemp("small") / "trial")) as room:
        room.stopped_at(messages.Prepare, nth=2)
        room.ledger.forfeit(room.ledger.open_rounds()[0], "coordinator-restart")
        room.ledger.countersign(room.ask, sorted(room.nodes), 5.0)
        data, policy = outputs.bundle_of(room.book), outputs.policy_of(room.ledger.room)
    assert audit.verify(data, policy).violations == ()
    return SimpleNamespace(policy=policy, members=bundle.unpack(data))


def _away(room: Any, party: str, request: Any) -> Any:
    if request.type == "contribute" and party == "gamma":
        room.away = {"gamma"}
    return request


def status_of(data: bytes, policy: trust.TrustPolicy) -> int:
    """The exit status that the tool would have; any other exception is a failure of the test."""
    try:
        return cli.VIOLATION if audit.verify(data, policy).violations else cli.CLEAN
    except CannotDecide:
        return cli.CANNOT_DECIDE


def changed(data: bytes, at: int, mask: int) -> bytes:
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


def test_no_byte_changed_anywhere_in_the_archive_leaves_it_clean(real: SimpleNamespace) -> None:
    """Headers, contents, padding and end alike; drawn once, so that a failure can be looked at again."""
    draw = random.Random(SEED)
    places = [(draw.randrange(len(real.data)), draw.randrange(1, 256)) for _ in range(CHANGES)]
    statuses = [status_of(changed(real.data, at, mask), real.policy) for at, mask in places]
    clean = [place for place, status in zip(places, statuses, strict=True) if status == cli.CLEAN]
    assert clean == []
    assert set(statuses) <= {cli.VIOLATION, cli.CANNOT_DECIDE}


def _last_of(members: dict[str, bytes], prefix: str) -> str:
    return max(name for name in members if name.startswith(prefix))


@pytest.mark.parametrize("prefix", [bundle.CHECKPOINTS, bundle.RELEASES])
def test_every_byte_of_a_member_counts(small: SimpleNamespace, prefix: str) -> None:
    name = _last_of(small.members, prefix)
    whole = small.members[name]
    for at in range(len(whole)):
        packed = bundle.pack({**small.members, name: changed(whole, at, 1 + at % 255)})
        assert status_of(packed, small.policy) == cli.VIOLATION, (name, at)


def test_every_byte_of_a_reserve_and_many_of_every_other_kind_of_entry_count(small: SimpleNamespace) -> None:
    entries = bundle.split_entries(small.members[bundle.ENTRIES])
    kinds = {decode(entry).type: number for number, entry in enumerate(entries)}
    assert len(kinds) == 6
    for kind, number in kinds.items():
        for at in range(0, len(entries[number]), 1 if kind == "reserve@v1" else 7):
            spoiled = [*entries]
            spoiled[number] = changed(entries[number], at, 1 + at % 255)
            packed = bundle.pack({**small.members, bundle.ENTRIES: bundle.join_entries(spoiled)})
            assert status_of(packed, small.policy) == cli.VIOLATION, (number, at)


def test_no_member_and_no_entry_can_be_left_out_doubled_or_moved(real: SimpleNamespace) -> None:
    spoiled = [{n: d for n, d in real.members.items() if n != name} for name in real.members]
    entries = bundle.split_entries(real.members[bundle.ENTRIES])
    lists = [entries[:i] + entries[i + 1 :] for i in range(len(entries))]
    lists += [entries[: i + 1] + entries[i:] for i in range(len(entries))]
    lists += [[*entries[:i], entries[i + 1], entries[i], *entries[i + 2 :]] for i in range(len(entries) - 1)]
    spoiled += [{**real.members, bundle.ENTRIES: bundle.join_entries(these)} for these in lists]
    # A checkpoint may be missing where a later one covers what it covered, and so may the second verifier: it says
    # nothing about the room, and an auditor runs a copy from elsewhere. Nothing else may.
    optional = {
        name for name in real.members if name.startswith(bundle.CHECKPOINTS) and name != _last_of(real.members, "l")
    }
    optional |= {bundle.VERIFIER}
    for members in spoiled:
        missing = set(real.members) - set(members)
        if not missing <= optional or not missing:
            assert status_of(bundle.pack(members), real.policy) == cli.VIOLATION, missing


def test_an_archive_cut_anywhere_cannot_be_decided(real: SimpleNamespace) -> None:
    draw = random.Random(SEED)
    sizes = [0, 1, 511, 512, 1024, *(draw.randrange(len(real.data)) for _ in range(60))]
    end = len(real.data.rstrip(b"\0"))
    for size in sizes:
        status = status_of(real.data[:size], real.policy)
        assert status == cli.CANNOT_DECIDE or (status == cli.VIOLATION and size > end), size


def test_bytes_after_the_archives_end_are_a_violation(real: SimpleNamespace) -> None:
    for more in (b"\0", b"\0" * 512, b"\0" * 10240, b"x", real.data):
        assert status_of(real.data + more, real.policy) == cli.VIOLATION


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    status = cli.main(["verify", *arguments])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return status, out + err


def test_the_tool_gives_the_status_of_each_case(
    real: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {
        "room.tar": real.data,
        "cut.tar": real.data[:5000],
        "changed.tar": changed(real.data, len(real.data) // 2, 1),
        "policy.txt": trust.render(real.policy).encode(),
        "strangers.txt": trust.render(real.strangers).encode(),
        "nonsense.txt": b"\xff\xfe",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    for archive, policy, status in (
        ("room.tar", "policy.txt", cli.CLEAN),
        ("cut.tar", "policy.txt", cli.CANNOT_DECIDE),
        ("changed.tar", "policy.txt", cli.VIOLATION),
        ("room.tar", "strangers.txt", cli.VIOLATION),
        ("room.tar", "nonsense.txt", cli.CANNOT_DECIDE),
        ("room.tar", "gone.txt", cli.CANNOT_DECIDE),
        ("gone.tar", "policy.txt", cli.CANNOT_DECIDE),
        ("policy.txt", "policy.txt", cli.CANNOT_DECIDE),
    ):
        found, text = run(capsys, str(tmp_path / archive), "--policy", str(tmp_path / policy))
        assert found == status, (archive, policy, text)
