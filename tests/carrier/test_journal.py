"""The journal: what was stored is given back, byte for byte, whatever happened to the process."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from proc import status

from protocols.carrier import seal
from protocols.carrier.journal import SPOOL, Journal
from protocols.errors import IntegrityError, UsageError

ID, OTHER = "a" * 64, "b" * 64
LARGE = bytes(range(256)) * (SPOOL // 256 + 1)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["disk", "memory"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "j.db" if request.param == "disk" else None)
    yield journal
    journal.close()


@pytest.mark.parametrize("payload", [b"", b"small", LARGE])
def test_a_reply_is_given_back_byte_for_byte(journal: Journal, payload: bytes) -> None:
    assert journal.reply(ID) is None
    journal.put_reply(ID, 2**64 - 1, b"sealed", [payload[:3], payload[3:]])
    stored = journal.reply(ID)
    assert stored is not None
    assert (stored.sealed, bytes(stored.payload)) == (b"sealed", payload)


def test_the_same_reply_again_is_nothing_new_and_another_one_is_refused(journal: Journal) -> None:
    journal.put_reply(ID, 1, b"sealed", [LARGE])
    journal.put_reply(ID, 1, b"sealed", [LARGE])
    with pytest.raises(IntegrityError, match="second, different"):
        journal.put_reply(ID, 1, b"other", [LARGE[1:]])
    stored = journal.reply(ID)
    assert stored is not None
    assert bytes(stored.payload) == LARGE


def test_of_many_different_replies_at_once_exactly_one_is_kept(journal: Journal) -> None:
    refused = []

    def put(number: int) -> None:
        try:
            journal.put_reply(ID, 1, bytes([number]), [bytes([number]) * SPOOL])
        except IntegrityError:
            refused.append(number)

    threads = [threading.Thread(target=put, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored = journal.reply(ID)
    assert stored is not None
    assert len(refused) == 5
    assert set(bytes(stored.payload)) == set(stored.sealed)


def test_a_sequence_number_belongs_to_one_message(journal: Journal) -> None:
    assert journal.claim(1, 7, "coordinator", ID)
    assert journal.claim(1, 7, "coordinator", ID)
    assert not journal.claim(1, 7, "coordinator", OTHER)
    assert journal.claim(1, 8, "coordinator", OTHER)
    assert journal.claim(2, 7, "coordinator", OTHER)


def test_a_forgotten_run_is_gone_but_its_sequence_numbers_stay_used(journal: Journal, tmp_path: Path) -> None:
    for seq, message_id in ((3, ID), (9, OTHER)):
        assert journal.claim(1, seq, "coordinator", message_id)
        journal.put_reply(message_id, 1, b"sealed", [LARGE])
    assert journal.claim(2, 1, "coordinator", "c" * 64)
    for _ in range(2):
        journal.forget(1)
    assert journal.reply(ID) is None
    assert not list((tmp_path / "j.db.d").glob("*"))
    assert not journal.claim(1, 3, "coordinator", ID)
    assert not journal.claim(1, 9, "coordinator", "d" * 64)
    assert journal.claim(1, 10, "coordinator", "d" * 64)
    assert journal.claim(2, 1, "coordinator", "c" * 64)


def test_forgetting_keeps_one_row_for_a_run_and_sender(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db")
    for seq in range(1, 50):
        journal.claim(1, seq, "coordinator", f"{seq:064x}")
        journal.put_reply(f"{seq:064x}", 1, b"s", [b"p"])
    journal.forget(1)
    journal.close()
    db = sqlite3.connect(tmp_path / "j.db")
    rows = [db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("reply", "seen", "forgotten")]
    db.close()
    assert rows == [0, 0, 1]


def test_what_is_stored_outlives_the_process(tmp_path: Path) -> None:
    script = f"""
import os, signal, sys
from protocols.carrier.journal import Journal
j = Journal(sys.argv[1])
j.claim(1, 1, "coordinator", "{ID}")
j.put_reply("{ID}", 1, b"sealed", [b"x" * {SPOOL}])
j.put_reply("{OTHER}", 1, b"sealed", [b"y"])
j.inbox({SPOOL}).write(b"half")
os.kill(os.getpid(), signal.SIGKILL)
"""
    path = tmp_path / "j.db"
    run = subprocess.run([sys.executable, "-c", script, str(path)], cwd=ROOT, check=False)
    assert run.returncode == -signal.SIGKILL
    (tmp_path / "j.db.d" / ("e" * 64)).write_bytes(b"a payload whose row was never written")
    assert len(list((tmp_path / "j.db.d").iterdir())) == 3
    journal = Journal(path)
    try:
        assert [p.name for p in (tmp_path / "j.db.d").iterdir()] == [ID]
        assert not journal.claim(1, 1, "coordinator", OTHER)
        large, small = journal.reply(ID), journal.reply(OTHER)
        assert large is not None
        assert small is not None
        assert (len(large.payload), small.payload) == (SPOOL, b"y")
    finally:
        journal.close()


def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db")
    with pytest.raises(UsageError, match="locked by another process"):
        Journal(tmp_path / "j.db")
    journal.close()
    Journal(tmp_path / "j.db").close()


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db")
    journal.put_reply(ID, 1, b"sealed", [LARGE])
    modes = {path.name: os.stat(path).st_mode & 0o077 for path in [*tmp_path.iterdir(), tmp_path / "j.db.d" / ID]}
    journal.close()
    assert set(modes.values()) == {0}


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "j.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(IntegrityError, match="damaged"):
        Journal(tmp_path / "j.db")


def test_a_path_that_cannot_be_written_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write"):
        Journal(tmp_path / "nowhere" / "j.db")


def test_a_lost_payload_is_noticed(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db")
    journal.put_reply(ID, 1, b"sealed", [LARGE])
    (tmp_path / "j.db.d" / ID).unlink()
    with pytest.raises(IntegrityError, match="lost the payload"):
        journal.reply(ID)
    journal.close()


def test_an_id_that_is_no_hash_never_becomes_a_file(journal: Journal) -> None:
    with pytest.raises(IntegrityError, match="64 hex"):
        journal.put_reply("../" + "a" * 61, 1, b"sealed", [LARGE])


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "j.db")

    def full(_: int) -> None:
        raise OSError(28, "no space left")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="no space"):
            journal.put_reply(ID, 1, b"sealed", [LARGE])
    assert journal.reply(ID) is None
    assert not list((tmp_path / "j.db.d").iterdir())
    journal.put_reply(ID, 1, b"sealed", [LARGE])
    journal.close()


def test_a_full_disk_is_said_in_words_and_once_there_is_room_it_goes_on(tmp_path: Path) -> None:
    """The limit on a file's size stands for the disk. What else than our own errors got out would end a coordinator."""
    script = """
import resource, sys
from protocols.carrier.journal import Journal
from protocols.errors import SumroomError
journal = Journal(sys.argv[1])
journal.put_reply("e" * 64, 2, b"sealed", [b"small"])
works = [lambda: journal.claim(1, 1, "a", "f" * 64), lambda: journal.put_reply("f" * 64, 1, b"sealed", [b"small"]),
         lambda: journal.forget(2)]
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
for work in works:
    try:
        work()
        sys.exit("done")
    except SumroomError as exc:
        assert exc.message.startswith("the journal cannot be used now: "), exc.message
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert journal.reply("f" * 64) is None
for work in works:
    work()
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "j.db")], cwd=ROOT, check=True)


@pytest.mark.parametrize("payload", [b"", b"small", LARGE])
def test_what_is_taken_from_an_inbox_is_all_that_was_written_and_leaves_no_file(
    journal: Journal, tmp_path: Path, payload: bytes
) -> None:
    inbox = journal.inbox(len(payload))
    inbox.write(payload[:3])
    inbox.write(memoryview(payload)[3:])
    taken = inbox.taken()
    inbox.drop()
    assert bytes(taken) == payload
    assert isinstance(taken, memoryview) == (payload == LARGE and (tmp_path / "j.db.d").exists())
    assert not list(tmp_path.glob("j.db.d/*"))


def test_an_inbox_on_a_full_disk_can_be_dropped_and_leaves_nothing(tmp_path: Path) -> None:
    """The limit on a file's size stands for the disk: what is still buffered cannot be written when it is closed."""
    script = """
import resource, sys
from protocols.carrier.journal import SPOOL, Journal
journal = Journal(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (SPOOL, SPOOL))
inbox = journal.inbox(2 * SPOOL)
inbox.write(bytes(SPOOL))
inbox.write(b"one more")
try:
    inbox.taken()
    sys.exit("taken")
except OSError:
    inbox.drop()
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "j.db")], cwd=ROOT, check=True)
    assert not list((tmp_path / "j.db.d").iterdir())


def test_the_digest_of_a_stored_reply_is_its_payloads(journal: Journal) -> None:
    for message_id, payload in ((ID, b"small"), (OTHER, LARGE * 9)):
        journal.put_reply(message_id, 1, b"sealed", [payload])
        stored = journal.reply(message_id)
        assert stored is not None
        assert stored.digest() == seal.digest([payload])


def test_checking_a_large_reply_does_not_keep_it_in_memory(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db")
    journal.put_reply(ID, 1, b"sealed", [bytes(SPOOL)] * 64)
    stored = journal.reply(ID)
    assert stored is not None
    before = status(os.getpid(), "RssFile")
    stored.digest()
    assert status(os.getpid(), "RssFile") - before < 16 * SPOOL
    _ = bytes(stored.payload[: 32 * SPOOL])
    assert status(os.getpid(), "RssFile") - before > 24 * SPOOL  # it would have been seen
    journal.close()


def test_all_but_the_latest_runs_are_forgotten_and_their_sequences_stay_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    for run in (5, 900, 3, 40):  # numbers say nothing: the order in which they began does
        assert journal.claim(run, 1, "coordinator", f"{run:064x}")
        journal.put_reply(f"{run:064x}", run, b"sealed", [b"x" * (2 << 20)])
    journal.keep_latest(2)
    assert [journal.reply(f"{run:064x}") is None for run in (5, 900, 3, 40)] == [True, True, False, False]
    assert len(list((tmp_path / "journal.db.d").iterdir())) == 2
    assert not journal.claim(5, 1, "coordinator", "f" * 64)
    assert journal.claim(3, 1, "coordinator", f"{3:064x}")
    journal.close()
