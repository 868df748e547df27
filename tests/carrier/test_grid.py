"""The grid: what a ServerApp sends arrives once, and what comes back is what was signed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from room_lab import Room, until

from coordinator.grid import RoomGrid, run_server_app
from protocols.carrier import codec, seal
from protocols.carrier import room_pb2 as pb
from protocols.errors import UsageError

# isort: split
from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.serverapp import Grid


def test_a_good_reply_is_delivered_and_the_same_again_is_only_acknowledged(room: Room) -> None:
    stream, grid = room.stream().hello(), room.grid()
    asked = room.asked(grid, stream)
    frames = room.reply(asked)
    for _ in range(3):
        stream.send(*frames)
        receipt = stream.next().receipt
        assert (receipt.message_id, receipt.refused) == (asked.message_id, "")
    replies = grid.pull_messages([asked.message_id])
    assert [m.has_content() for m in replies] == [True]
    assert replies[0].metadata.reply_to_message_id == asked.message_id
    assert grid.pull_messages([asked.message_id]) == []


def test_an_instruction_is_signed_for_its_party_and_carries_the_plan(room: Room) -> None:
    stream, grid = room.stream().hello(), room.grid(run=2**64 - 1, plan="ab" * 32)
    room.push(grid, number=1)
    sealed = stream.next().open
    public = room.lab.public("coordinator")
    asked = seal.unseal(public, sealed, room="room-1", src="coordinator", dst="p1")
    assert (asked.run, asked.seq, asked.kind, asked.plan) == (2**64 - 1, 1, "instruction", "ab" * 32)
    message = codec.message(asked, stream.next().chunk)
    assert message.content["told"]["number"] == 1


def test_what_is_pending_is_sent_again_on_the_next_stream(room: Room) -> None:
    stream, grid = room.stream().hello(), room.grid()
    asked = room.asked(grid, stream)
    opening, chunk = room.reply(asked)
    stream.send(opening)
    stream.close()
    again = room.stream().hello()
    assert again.instruction() == asked
    again.send(opening, chunk)
    assert again.next().receipt.message_id == asked.message_id
    assert len(grid.pull_messages([asked.message_id])) == 1


def test_a_party_that_was_never_there_is_waited_for_and_then_given_up(room: Room) -> None:
    start, grid = time.monotonic(), room.grid()
    message = Message(RecordDict(), grid.node_id("p1"), "query.stats")
    replies = grid.send_and_receive([message], timeout=10)
    assert [(m.error.code, m.error.reason) for m in replies] == [(5, "party unavailable")]
    assert 0.9 < time.monotonic() - start < 5


def test_a_message_expires_and_a_late_reply_is_refused_without_blame(room: Room) -> None:
    stream, grid = room.stream().hello(), room.grid()
    asked = room.asked(grid, stream, ttl=0.3)
    until(lambda: asked.message_id in grid._arrived)
    assert [(m.error.code, m.error.reason) for m in grid.pull_messages([asked.message_id])] == [(1001, "expired")]
    stream.send(*room.reply(asked))
    receipt = stream.next().receipt
    assert (receipt.message_id, receipt.refused) == (asked.message_id, "expired")
    assert room.journal.reply(asked.message_id) is None
    assert "violation" not in room.audit()


def test_expiry_is_checked_when_a_reply_arrives_not_only_now_and_then(make_room: Callable[..., Room]) -> None:
    room = make_room(tick=60.0)
    stream, grid = room.stream().hello(), room.grid()
    asked = room.asked(grid, stream, ttl=0.05)
    time.sleep(0.06)
    stream.send(*room.reply(asked))
    assert stream.next().receipt.refused == "expired"
    assert [m.error.reason for m in grid.pull_messages([asked.message_id])] == ["expired"]


def test_a_reply_after_the_run_was_closed_is_refused_without_blame(room: Room) -> None:
    stream, grid = room.stream().hello(), room.grid()
    asked = room.asked(grid, stream)
    grid.close()
    stream.send(*room.reply(asked))
    assert stream.next().receipt.refused == "withdrawn"
    assert grid.pull_messages([asked.message_id]) == []
    assert "violation" not in room.audit()


def test_the_same_message_asked_again_after_it_was_withdrawn_is_answered(room: Room) -> None:
    stream, grid = room.stream().hello(), room.grid()
    asked = room.asked(grid, stream)
    grid.close()
    again = room.grid()
    assert room.asked(again, stream).message_id == asked.message_id
    stream.send(*room.reply(asked))
    assert stream.next().receipt.refused == ""
    assert len(again.pull_messages([asked.message_id])) == 1


def test_a_timeout_returns_what_came_and_the_rest_can_be_pulled_later(room: Room) -> None:
    first, second, grid = room.stream("p1").hello(), room.stream("p2").hello(), room.grid()
    messages = [Message(RecordDict(), grid.node_id(name), "query.stats") for name in ("p1", "p2")]
    got: list[Message] = []
    thread = threading.Thread(target=lambda: got.extend(grid.send_and_receive(messages, timeout=1)))
    thread.start()
    first.send(*room.reply(first.instruction()))
    thread.join()
    assert [grid.party_of(m.metadata.src_node_id) for m in got] == ["p1"]
    asked = second.instruction()
    second.send(*room.reply(asked, "p2"))
    assert second.next().receipt.refused == ""
    assert len(grid.pull_messages([asked.message_id])) == 1


def test_a_large_reply_goes_through_a_file_and_comes_back_whole(room: Room) -> None:
    stream, grid = room.stream().hello(), room.grid()
    asked = room.asked(grid, stream)
    text = "x" * (3 << 20)
    message = Message(RecordDict({"c": ConfigRecord({"text": text})}), 1, "query.stats")
    stream.send(*room.reply(asked, payload=b"".join(codec.encode(message))))
    stream.next()
    assert (room.lab.directory / "coordinator.db.d" / asked.message_id).stat().st_size > len(text)
    assert grid.pull_messages([asked.message_id])[0].content["c"]["text"] == text


def test_a_reply_that_cannot_be_read_becomes_an_error(room: Room) -> None:
    """Signed rubbish, and a journal whose file was changed."""
    stream, grid = room.stream().hello(), room.grid()
    rubbish = room.asked(grid, stream)
    stream.send(*room.reply(rubbish, payload=b"\x03\xff\xff\xff"))
    stream.next()
    changed = room.asked(grid, stream)
    stream.send(*room.reply(changed, payload=bytes(2 << 20)))
    stream.next()
    (room.lab.directory / "coordinator.db.d" / changed.message_id).write_bytes(b"\1" * (2 << 20))
    forgotten = room.asked(grid, stream)
    stream.send(*room.reply(forgotten))
    stream.next()
    replies = grid.pull_messages([rubbish.message_id, changed.message_id])
    room.journal.forget(5)
    replies += grid.pull_messages([forgotten.message_id])
    assert [m.error.reason for m in replies] == ["unreadable reply"] * 3


def test_only_parties_of_the_run_take_part(room: Room) -> None:
    for name in ("p1", "p2"):
        room.stream(name).hello()
    until(lambda: room.hub.online() == ("p1", "p2"))
    grid = room.grid(parties=["p2"])
    assert grid.get_node_ids() == [grid.node_id("p2")]
    assert sorted(room.grid().get_node_ids()) == sorted(grid.node_id(name) for name in ("p1", "p2"))
    with pytest.raises(UsageError, match="p1 takes no part"):
        room.push(grid, "p1")
    with pytest.raises(UsageError, match="no party of this room"):
        grid.push_messages([Message(RecordDict(), 99, "query.stats")])
    asked = Message(RecordDict(), grid.node_id("p2"), "query.stats")
    with pytest.raises(UsageError, match="not an instruction"):
        room.grid().push_messages([Message(Error(1, "x"), reply_to=Message(RecordDict(), reply_to=asked))])


def test_the_same_records_to_many_are_encoded_once(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    grid, encode, calls = room.grid(), codec.encode, []

    def counted(message: Message) -> tuple[bytes, ...]:
        calls.append(message)
        return encode(message)

    monkeypatch.setattr(codec, "encode", counted)
    content = RecordDict({"c": ConfigRecord({"x": 1})})
    grid.push_messages([Message(content, grid.node_id(name), "query.stats") for name in ("p1", "p2")])
    assert len(calls) == 1


def test_a_grid_speaks_flowers_words(room: Room) -> None:
    grid = room.grid(run=9)
    message = grid.create_message(RecordDict(), "query.stats", grid.node_id("p1"), "g", ttl=3)
    assert (message.metadata.group_id, message.metadata.ttl) == ("g", 3)
    assert grid.run.run_id == 9
    grid.set_run(SimpleNamespace(run_id=10))
    assert grid.run.run_id == 10


def test_a_server_app_runs_to_its_end_and_leaves_nothing_pending(room: Room) -> None:
    stream, seen = room.stream().hello(), list[Any]()

    def app(grid: Grid, context: Context) -> None:
        assert isinstance(grid, RoomGrid)
        seen.append((context.run_id, context.run_config["rounds"], room.asked(grid, stream)))
        raise RuntimeError("the app's own")

    with pytest.raises(RuntimeError, match="own"):
        run_server_app(app, room.hub, 8, {"rounds": 3}, plan="p", parties=["p1"])
    run, rounds, asked = seen[0]
    assert (run, rounds, asked.run, asked.plan) == (8, 3, 8, "p")
    stream.send(*room.reply(asked))
    assert stream.next().receipt.refused == "withdrawn"


def test_a_new_hub_with_the_same_journal_replays_what_was_answered(room: Room, make_room: Callable[..., Room]) -> None:
    stream, grid = room.stream().hello(), room.grid()
    first = room.asked(grid, stream, number=1)
    stream.send(*room.reply(first))
    stream.next()
    second = room.asked(grid, stream, number=2)
    room.close()
    later = make_room()
    resumed = later.grid()
    message_id = later.push(resumed, number=1)
    assert message_id == first.message_id
    assert [m.has_content() for m in resumed.pull_messages([message_id])] == [True]
    stream = later.stream().hello()
    assert later.asked(resumed, stream, number=2).message_id == second.message_id


def test_an_old_reply_that_the_journal_knows_is_acknowledged_by_a_new_hub(
    room: Room, make_room: Callable[..., Room]
) -> None:
    stream, grid = room.stream().hello(), room.grid()
    asked = room.asked(grid, stream)
    frames = room.reply(asked)
    stream.send(*frames)
    stream.next()
    room.close()
    stream = make_room().stream().hello()
    stream.send(*frames)
    assert stream.next() == pb.Frame(receipt=pb.Receipt(message_id=asked.message_id))
