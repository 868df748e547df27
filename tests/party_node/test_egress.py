"""The log of what a node sent: whole, in order, before it leaves; and what it states of it, day by day."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from coordinator import afterwards
from party_node import cli, egress
from protocols import messages
from protocols.ledger.tree import EMPTY_ROOT

DAY_S = 86_400


def day_of(second: float) -> str:
    return dt.datetime.fromtimestamp(second, dt.UTC).date().isoformat()


def sent_by(room: Any, party: str) -> list[tuple[str, str]]:
    """Kind and SHA-256 of each reply, as the wire saw them."""
    return [
        (json.loads(one.reply)["type"], hashlib.sha256(one.reply).hexdigest())
        for one in room.wire
        if one.party == party
    ]


def root_of(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, from its definition."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + root_of(leaves[:k]) + root_of(leaves[k:])).digest()


def logged(room: Any, party: str) -> list[tuple[int, int, str, str]]:
    return egress.logged(room.base / party / "state")


def test_every_reply_of_a_round_is_in_the_log_once_in_the_order_in_which_it_left(room: Any) -> None:
    room.run()
    for party in room.nodes:
        rows = logged(room, party)
        assert [row[2:] for row in rows] == sent_by(room, party)
        assert [row[0] for row in rows] == list(range(1, len(rows) + 1))
        assert [kind for _, _, kind, _ in rows].count("share") == 2


def test_a_share_that_leaves_again_is_logged_again(room: Any) -> None:
    request = room.stopped_at(messages.Contribute)["alpha"]
    for times in (1, 2):
        room.share("alpha", request)
        assert [row[2] for row in logged(room, "alpha")].count("share") == times
    assert [row[2:] for row in logged(room, "alpha")] == sent_by(room, "alpha")


def test_a_refusal_is_logged_too(room: Any) -> None:
    assert isinstance(room.say("alpha", messages.Refund(round="0" * 32)), messages.Refusal)
    assert logged(room, "alpha")[-1][2:] == sent_by(room, "alpha")[-1]
    assert logged(room, "alpha")[-1][2] == "refusal"


def test_the_logs_time_of_an_offer_is_the_plans_second_and_not_when_it_was_ready(
    room: Any, lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = room.stopped_at(messages.Prepare)["alpha"]
    real = room.nodes["alpha"].steps.prepare

    def slow(asked: Any) -> Any:
        room.clock.now += 40
        return real(asked)

    monkeypatch.setattr(room.nodes["alpha"].steps, "prepare", slow)
    room.say("alpha", request)
    (offer,) = [row for row in logged(room, "alpha") if row[2] == "mask-offer"]
    assert offer[1] == lab.START + room.plan.answer_after_s


def test_what_cannot_be_logged_does_not_leave(room: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An offer's place is taken by the one word at the offer's second: when it comes tells nothing."""
    prepare = room.stopped_at(messages.Prepare)["alpha"]

    def full(*_: Any, **__: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    node = room.nodes["alpha"]
    monkeypatch.setattr(node.store, "add_egress", full)
    with pytest.raises(sqlite3.OperationalError):
        node.answer(messages.Cancel(round="0" * 32))
    answered = node.answer(prepare)
    assert answered.reply == messages.Refusal(code="round", reason=messages.FAILED)
    assert answered.after_s == room.plan.answer_after_s


@pytest.mark.parametrize("kind", [messages.Share, messages.Unmasked, messages.EgressStated])
def test_the_log_is_on_the_disk_before_what_depends_on_data_leaves_and_before_a_statement(
    five: Any, monkeypatch: pytest.MonkeyPatch, kind: type
) -> None:
    """A share's first record is in the share's own transaction. Whatever else the store writes is durable as ever."""
    five.run()
    five.clock.now += DAY_S
    asked = five.stopped_at(messages.Unmask)["alpha"]
    again = messages.read_request(
        next(o.request for o in reversed(five.sent(messages.Contribute)) if o.party == "alpha")
    )
    requests = {messages.Share: again, messages.Unmasked: asked}
    request = requests.get(kind, messages.Egress(day=day_of(five.clock.now - DAY_S)))
    store, seen = five.nodes["alpha"].store, []
    store._db.set_trace_callback(seen.append)
    assert isinstance(five.say("alpha", request), kind)
    five.say("alpha", messages.Refund(round="0" * 32))
    store._db.set_trace_callback(None)
    told = [line for line in seen if line.startswith(("PRAGMA synchronous", "INSERT INTO egress"))]
    levels = [told[i - 1][-6:].strip("= ") if i else "FULL" for i, line in enumerate(told) if line.startswith("INSERT")]
    assert levels == ["FULL", "NORMAL"]
    assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)


def test_the_log_in_the_file_cannot_be_changed(room: Any) -> None:
    room.say("alpha", messages.Refund(round="0" * 32))
    for statement in ("UPDATE egress SET at = 0", "DELETE FROM egress"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            room.nodes["alpha"].store._db.execute(statement)


# -- what is stated ----------------------------------------------------------------------------------------------------


def test_a_day_that_is_not_over_is_not_stated(room: Any) -> None:
    reply = room.say("alpha", messages.Egress(day=day_of(room.clock.now)))
    assert isinstance(reply, messages.Refusal)
    assert (reply.code, "is not over here" in reply.reason) == ("ledger", True)


def test_a_statement_has_length_and_root_of_the_log_at_the_days_end(room: Any) -> None:
    room.run()
    before = logged(room, "alpha")
    leaves = [
        json.dumps(
            {"at": at, "kind": kind, "number": number, "sha256": sha256}, sort_keys=True, separators=(",", ":")
        ).encode()
        for number, at, kind, sha256 in before
    ]
    day = day_of(room.clock.now)
    room.clock.now += DAY_S
    stated = room.say("alpha", messages.Egress(day=day))
    assert isinstance(stated, messages.EgressStated)
    assert (stated.party, stated.day, stated.size) == ("alpha", day, len(before))
    assert stated.root == root_of(leaves).hex()
    earlier = room.say("alpha", messages.Egress(day=day_of(room.clock.now - 9 * DAY_S)))
    assert (earlier.size, earlier.root) == (0, EMPTY_ROOT.hex())


def test_a_clock_that_went_back_puts_no_record_out_of_its_place(room: Any) -> None:
    room.clock.now += 2 * DAY_S
    room.say("alpha", messages.Refund(round="0" * 32))
    room.clock.now -= 2 * DAY_S
    room.say("alpha", messages.Refund(round="1" * 32))
    day = day_of(room.clock.now)
    room.clock.now += DAY_S
    assert room.say("alpha", messages.Egress(day=day)).size == 2


def test_the_next_days_first_round_brings_a_statement_of_each_party_once(room: Any, lab: Any) -> None:
    room.run()
    assert room.book.accounts.egress == {}
    sizes = {party: len(logged(room, party)) for party in room.nodes}
    day = day_of(room.clock.now)
    room.clock.now += DAY_S
    room.run()
    stated = room.book.accounts.egress
    assert {party: (one.day, one.size) for party, one in stated.items()} == {p: (day, n) for p, n in sizes.items()}
    assert room.ledger.cosigned_size() == room.book.size
    asked = len(room.sent(messages.Egress))
    assert asked == 3
    afterwards.tend(room.ledger, room.ask, room.nodes)
    assert len(room.sent(messages.Egress)) == asked


def test_a_party_that_states_nothing_or_what_cannot_be_stops_nothing(
    room: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Beta answers with a day that is not asked for, gamma with a root that it did not sign."""
    room.run()
    day = day_of(room.clock.now)
    room.clock.now += DAY_S
    real = {party: node.answer for party, node in room.nodes.items()}

    def other(party: str, **changes: Any) -> Any:
        def answer(request: messages.Request, payload: bytes = b"") -> Any:
            answered = real[party](request, payload)
            if not isinstance(request, messages.Egress):
                return answered
            reply = answered.reply.model_copy(update=changes)
            return type(answered)(reply)

        return answer

    monkeypatch.setattr(room.nodes["beta"], "answer", other("beta", day=day_of(room.clock.now - 3 * DAY_S)))
    monkeypatch.setattr(room.nodes["gamma"], "answer", other("gamma", root="0" * 64))
    assert len(room.run()) == 2
    assert set(room.book.accounts.egress) == {"alpha"}
    assert f"what beta states to have sent up to {day} is not written" in caplog.text
    assert f"what gamma states to have sent up to {day} is not written" in caplog.text


def test_a_party_that_is_away_when_nobody_runs_a_round_is_asked_when_it_is_back(room: Any) -> None:
    room.run()
    room.clock.now += DAY_S
    room.away.add("beta")
    afterwards.tend(room.ledger, room.ask, ["alpha", "beta", "gamma"])
    assert set(room.book.accounts.egress) == {"alpha", "gamma"}
    room.away.clear()
    afterwards.tend(room.ledger, room.ask, ["beta"])
    assert set(room.book.accounts.egress) == {"alpha", "beta", "gamma"}
    assert room.ledger.cosigned_size() == room.book.size


def test_a_log_that_lost_its_end_contradicts_what_was_stated(room: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Alpha's log is cut in its file, triggers and all: its next statement is not taken."""
    room.run()
    room.clock.now += DAY_S
    afterwards.tend(room.ledger, room.ask, room.nodes)
    db = room.nodes["alpha"].store._db
    db.execute("DROP TRIGGER egress_no_DELETE")
    db.execute("DELETE FROM egress WHERE number > 3")
    room.clock.now += DAY_S
    afterwards.tend(room.ledger, room.ask, room.nodes)
    assert {party: one.day for party, one in room.book.accounts.egress.items()} == {
        "alpha": day_of(room.clock.now - 2 * DAY_S),
        "beta": day_of(room.clock.now - DAY_S),
        "gamma": day_of(room.clock.now - DAY_S),
    }
    assert "the log of what alpha sent is not the one of" in caplog.text


# -- the file for an auditor -------------------------------------------------------------------------------------------


def test_the_log_is_written_for_an_auditor_while_the_node_runs(
    room: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    room.run()
    config = str(room.base / "alpha" / "node.toml")
    capsys.readouterr()
    assert cli.main(["egress", "--config", config]) == 0
    text = capsys.readouterr().out
    assert [egress.record(row).decode() for row in logged(room, "alpha")] == text.splitlines()
    assert cli.main(["egress", "--config", config, "--out", str(tmp_path / "log.jsonl")]) == 0
    assert (tmp_path / "log.jsonl").read_text() == text
    assert f"{len(text.splitlines())} records" in capsys.readouterr().out


def test_the_log_cannot_be_written_where_there_is_none_or_no_place(
    room: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = str(room.base / "alpha" / "node.toml")
    assert cli.main(["egress", "--config", config, "--out", str(tmp_path / "no" / "log")]) == 2
    assert "cannot write" in capsys.readouterr().err
    room.nodes["alpha"].close()
    path = room.base / "alpha" / "state" / "node.db"
    for end in ("-wal", "-shm"):
        Path(f"{path}{end}").unlink(missing_ok=True)
    path.write_bytes(b"no database, not at all, but long enough to be taken for one" * 20)
    assert cli.main(["egress", "--config", config]) == 3
    path.unlink()
    assert cli.main(["egress", "--config", config]) == 2
    assert "this node has sent nothing" in capsys.readouterr().err
    room.nodes.pop("alpha")
