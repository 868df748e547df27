"""The ledger under torture, the short form; and that it can see what it looks for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from protocols import bundle, cli
from protocols.logbook import Logbook
from tests.torture_ledger import episodes, kills, points, powerloss, race, run, tamper
from tests.torture_ledger.room import Room

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.processes
def test_quick_torture_finds_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.torture_ledger.run", "--seed", "20"],
        cwd=ROOT,
        env={**os.environ, "QUICK": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == list(run.PARTS)
    assert lines[-1] == "violations: 0"


def test_the_full_form_reaches_the_figures_that_are_promised() -> None:
    full = run.FULL
    assert full.kills + full.spend_kills >= 1000
    assert full.images >= 10_000
    assert full.fault_step == full.every_bit == full.fork_step == 1
    assert (full.racers, full.reserves) == (8, 1000)
    assert (full.bits, full.length, full.forks) == (20_000, 200, 200)


# -- what must never happen is a violation -----------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> kills.Place:
    room = Room()
    made = kills.Place(tmp_path / "place", room, room.history(20))
    made.begin()
    return made


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (["size", "mine", 6], "6 entries were there, and 5 are"),
        (["entry", "mine", 5, "0" * 64], "entry 5 was acknowledged"),
        (["entry", "copy", 4, "0" * 64], "entry 4 was acknowledged"),
        (["blob", "mine", "release/x", "0" * 64], "the bytes of release/x"),
    ],
)
def test_a_lost_acknowledgement_shows(place: kills.Place, told: list, said: str) -> None:
    (found,) = kills.broken(place, [told])
    assert said in found


def test_a_contradicted_and_a_lost_checkpoint_show(place: kills.Place, tmp_path: Path) -> None:
    with place.grown(7) as whole:
        longer = whole.sign_checkpoint(whole.accounts.genesis.origin, place.room.identity)
    (found,) = kills.broken(place, [["note", "mine", longer]])
    assert "the checkpoint of 7 entries is contradicted" in found
    with place.grown(5) as whole:
        lost = whole.sign_checkpoint(whole.accounts.genesis.origin, place.room.identity)
    (found,) = kills.broken(place, [["note", "mine", lost], ["line", "mine", 5, "x"]][:1])
    assert "acknowledged, and is not there" in found


def test_a_process_dies_at_its_point_and_what_it_said_before_is_heard(place: kills.Place) -> None:
    work = kills.WORK["append"][0]
    ended = points.Process(lambda watcher: work(place, watcher), points.Order("append/commit-before", 3)).wait()
    assert ended.killed
    assert [line[:3] for line in ended.told] == [
        ["entry", "mine", 5],
        ["entry", "mine", 6],
        ["blob", "mine", next(line[2] for line in ended.told if line[0] == "blob")],
    ]
    with Logbook(place.mine) as book:
        assert book.size == 7


@pytest.fixture
def spent(tmp_path: Path) -> episodes.Episodes:
    """A room in which two rounds were released."""
    room = episodes.Episodes(tmp_path / "room", Random(1), kills.Tally())
    room.one({})
    assert room.ended["done"] == 2
    assert room.tally.violations == []
    return room


@pytest.mark.processes
def test_noise_drawn_twice_and_a_release_sent_otherwise_show(spent: episodes.Episodes) -> None:
    drawn, sent = spent.folder / "drawn", spent.folder / "sent"
    drawn.write_text(drawn.read_text() + drawn.read_text().splitlines()[0] + "\n")
    round_id, _ = json.loads(sent.read_text().splitlines()[0])
    sent.write_text(sent.read_text() + json.dumps([round_id, "0" * 64]) + "\n")
    found = list(episodes.violations(spent.folder, spent.told))
    assert [what.split(":")[0] for what in found] == ["double noise", "sent otherwise than committed"]


@pytest.mark.processes
def test_a_ledger_put_back_to_an_older_copy_shows(spent: episodes.Episodes, tmp_path: Path) -> None:
    path = spent.folder / "coordinator.ledger"
    with Logbook(path) as book:
        bodies, root = book.entries(0, 6), book.root(6)
    path.unlink()
    with Logbook(path) as book:
        book.extend(0, bodies, root)
    kinds = {what.split(":")[0] for what in episodes.violations(spent.folder, spent.told)}
    assert kinds >= {"lost", "contradicted", "double spend", "forked", "sent otherwise than committed"}


def test_a_file_that_was_not_synced_shows() -> None:
    """The control: SQLite that does not sync before it answers."""
    assert powerloss.torture(120, 1, normal=True, workers=2).lost.total() > 0


def test_a_grant_that_is_not_in_the_ledger_shows(tmp_path: Path) -> None:
    room = race._room(2)
    with Logbook(tmp_path / "race.ledger") as book:
        book.append(room.opening())
        granted = [book.append([lambda seq, n=n: room.reserve(seq, f"{n}")]) for n in range(2)]
        told = [["granted", seq, book.accounts.rounds[each].reserve.round] for seq, each in
                zip(granted, book.accounts.rounds, strict=True)]  # fmt: skip
        assert race._wrong(room, book, 5, told) == []
        assert race._wrong(room, book, 5, [*told, ["granted", 7, "0" * 32]]) != []
        assert race._wrong(room, book, 5, [*told, ["refused", 6, "0" * 32]]) != []


def test_a_judge_that_finds_all_clean_or_falls_over_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tamper.JUDGES, "blind", lambda policy: lambda data: cli.CLEAN)
    data, policy = tamper.small(tmp_path)
    blind = tamper.Case("ten", data, policy, "blind")
    assert len(blind.bits(range(5)).violations) == 5
    monkeypatch.setitem(tamper.JUDGES, "lame", lambda policy: lambda data: 1 // 0)
    assert "ZeroDivisionError" in tamper.Case("ten", data, policy, "lame").bits([0]).violations[0]


def test_tampered_bundles_are_of_every_kind(tmp_path: Path) -> None:
    data, _ = tamper.small(tmp_path)
    entries = bundle.split_entries(bundle.unpack(data)[bundle.ENTRIES])
    assert len(entries) == 10
    changed = [what for what, _ in tamper.entries_changed(data, any_two=True)]
    assert {kind: changed.count(kind) for kind in set(changed)} == {
        "deletion": 10,
        "duplication": 20,
        "truncation": 10,
        "swap": 45,
    }


def test_both_judges_agree_on_a_bundle_whose_checkpoints_are_all_spoiled(tmp_path: Path) -> None:
    data, policy = tamper.small(tmp_path)
    members = bundle.unpack(data)
    for name in members:
        if name.startswith(bundle.CHECKPOINTS):
            members[name] = b"no note\n"
    assert tamper.by_both(policy)(bundle.pack(members)) == cli.VIOLATION


def test_a_commit_of_a_step_that_no_reserve_names_is_a_violation_to_both_judges(tmp_path: Path) -> None:
    data, policy = tamper.small(tmp_path)
    members = bundle.unpack(data)
    spoiled = members[bundle.ENTRIES].replace(b'"step":"rfm-cuts","survivors"', b'"step":"rfm-cutt","survivors"', 1)
    assert spoiled != members[bundle.ENTRIES]
    assert tamper.by_both(policy)(bundle.pack({**members, bundle.ENTRIES: spoiled})) == cli.VIOLATION
