"""Parties as processes that are killed, frozen and started again: every effect happens once, and no round hangs."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hand_made import HandMade
from proc import forget_peak, status
from room_lab import Lab, Room, until

from coordinator.grid import RoomGrid, run_server_app
from protocols.carrier import codec

# isort: split
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid

pytestmark = pytest.mark.processes


def told(**values: Any) -> RecordDict:
    return RecordDict({"told": ConfigRecord(values)})


def ask(grid: RoomGrid, content: RecordDict, *names: str, timeout: float = 20.0) -> dict[str, str]:
    """One round; for each party that came back `ok` or the reason of its error."""
    messages = [Message(content, grid.node_id(name), "query.stats") for name in names or ("p1", "p2")]
    replies = grid.send_and_receive(messages, timeout=timeout)
    return {grid.party_of(m.metadata.src_node_id): m.error.reason or "" if m.has_error() else "ok" for m in replies}


def online(room: Room, *names: str) -> None:
    until(lambda: room.hub.online() == (names or ("p1", "p2")), 20)


@pytest.fixture
def two(make_room: Callable[..., Room]) -> tuple[Room, dict[str, subprocess.Popen[bytes]]]:
    room = make_room(grace=15.0, keepalive=1.0, transfer_timeout=30.0, max_payload=1 << 30)
    processes = {name: room.lab.party(name, room.port) for name in room.lab.names}
    online(room)
    return room, processes


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def test_a_party_killed_at_work_and_started_again_answers_and_the_effect_is_once(
    two: tuple[Room, dict[str, subprocess.Popen[bytes]]],
) -> None:
    room, processes = two
    got: dict[str, str] = {}
    grid = room.grid()
    thread = threading.Thread(target=lambda: got.update(ask(grid, told(sleep=0.6))))
    thread.start()
    time.sleep(0.3)
    kill(processes["p1"])
    room.lab.party("p1", room.port)
    thread.join()
    assert got == {"p1": "ok", "p2": "ok"}
    assert (room.lab.calls("p1"), room.lab.calls("p2")) == (1, 1)


def test_a_party_killed_after_it_journalled_sends_the_very_same_bytes(lab: Lab) -> None:
    """The app puts a random number into its reply: what was drawn once is sent again, never drawn again."""
    coordinator = HandMade(lab)
    payload = b"".join(codec.encode(_message(told(round=1))))
    process = lab.party("p1", coordinator.port)
    coordinator.say(payload)
    first = coordinator.hear()
    kill(process)
    lab.party("p1", coordinator.port)
    until(lambda: coordinator.streams == 2)
    coordinator.say(payload)
    assert coordinator.hear() == first
    assert lab.calls("p1") == 1
    lab.close()
    coordinator.server.stop(0).wait()


def _message(content: RecordDict) -> Message:
    codec.prepare_process()
    return Message(content, 7, "query.stats")


def test_a_party_that_does_not_come_back_gets_an_error_and_the_round_goes_on(
    two: tuple[Room, dict[str, subprocess.Popen[bytes]]],
) -> None:
    room, processes = two
    room.hub.grace = 0.5
    kill(processes["p1"])
    start = time.monotonic()
    assert ask(room.grid(), told(round=1)) == {"p1": "party unavailable", "p2": "ok"}
    assert time.monotonic() - start < 5
    room.lab.party("p1", room.port)
    online(room)
    assert ask(room.grid(6), told(round=2)) == {"p1": "ok", "p2": "ok"}


def test_a_frozen_party_is_noticed_and_answers_when_it_thaws(
    two: tuple[Room, dict[str, subprocess.Popen[bytes]]],
) -> None:
    """With keepalive of 1 s instead of 20; its kernel still acknowledges, so only an unanswered ping can tell."""
    room, processes = two
    grid = room.grid()
    processes["p2"].send_signal(signal.SIGSTOP)
    try:
        start = time.monotonic()
        assert ask(grid, told(round=1), timeout=1.0) == {"p1": "ok"}
        until(lambda: room.hub.online() == ("p1",), 10)
        assert time.monotonic() - start < 5
    finally:
        processes["p2"].send_signal(signal.SIGCONT)
    online(room)
    until(lambda: room.lab.calls("p2") == 1)
    assert ask(grid, told(round=2)) == {"p1": "ok", "p2": "ok"}
    assert (room.lab.calls("p1"), room.lab.calls("p2")) == (2, 2)


def test_a_new_coordinator_replays_and_no_party_runs_anything_twice(
    lab: Lab, make_room: Callable[..., Room], two: tuple[Room, dict[str, subprocess.Popen[bytes]]]
) -> None:
    room, _ = two
    assert ask(room.grid(), told(round=1)) == {"p1": "ok", "p2": "ok"}
    port = room.port
    room.close()
    later = make_room(port=port, grace=15.0)
    grid = later.grid()
    assert ask(grid, told(round=1), timeout=1.0) == {"p1": "ok", "p2": "ok"}
    online(later)
    assert ask(grid, told(round=2)) == {"p1": "ok", "p2": "ok"}
    assert (lab.calls("p1"), lab.calls("p2")) == (2, 2)


def test_a_used_sequence_number_fails_the_run_clearly(
    two: tuple[Room, dict[str, subprocess.Popen[bytes]]],
) -> None:
    room, _ = two
    assert ask(room.grid(), told(round=1), "p1") == {"p1": "ok"}
    assert ask(room.grid(), told(round=2), "p1", timeout=5.0) == {"p1": "sequence number used before"}
    assert room.lab.calls("p1") == 1


def test_what_an_app_raises_stays_at_the_party(
    two: tuple[Room, dict[str, subprocess.Popen[bytes]]], capfd: pytest.CaptureFixture[str]
) -> None:
    room, _ = two
    assert ask(room.grid(), told(boom=True), "p1") == {"p1": "failed"}
    assert "secret" not in "".join(capfd.readouterr())


def test_arrays_of_some_megabytes_go_down_and_up_unchanged(
    two: tuple[Room, dict[str, subprocess.Popen[bytes]]],
) -> None:
    room, _ = two
    array = np.arange(1 << 20, dtype=np.float64)
    content = RecordDict({"told": ConfigRecord({}), "array": ArrayRecord({"x": Array(array)})})
    grid = room.grid()
    messages = [Message(content, grid.node_id(name), "query.stats") for name in ("p1", "p2")]
    replies = grid.send_and_receive(messages, timeout=20)
    assert len(replies) == 2
    assert all(np.array_equal(m.content["array"]["x"].numpy(), array) for m in replies)


def test_a_party_needs_at_most_twice_the_payload_to_take_it_and_send_it_back(
    two: tuple[Room, dict[str, subprocess.Popen[bytes]]],
) -> None:
    """64 MB each way. Its peak of memory, mapped files included, above what it had after a round without any."""
    room, processes = two
    size, grid, pid = 64 << 20, room.grid(), processes["p1"].pid
    content = RecordDict({"told": ConfigRecord({}), "array": ArrayRecord({"x": Array(np.arange(size // 8))})})
    assert ask(grid, told(round=1), "p1") == {"p1": "ok"}
    idle = status(pid, "VmRSS")
    forget_peak(pid)
    assert ask(grid, content, "p1") == {"p1": "ok"}
    assert status(pid, "VmHWM") - idle < 2 * size


def test_three_runs_side_by_side_keep_their_states_apart(
    two: tuple[Room, dict[str, subprocess.Popen[bytes]]],
) -> None:
    room, _ = two
    calls: dict[int, list[int]] = {}

    def app(grid: Grid, context: Context) -> None:
        for number in range(int(context.run_config["rounds"])):
            messages = [Message(told(round=number), node, "query.stats") for node in grid.get_node_ids()]
            replies = list(grid.send_and_receive(messages, timeout=20))
            calls[context.run_id] = sorted(int(m.content["m"]["calls"]) for m in replies)

    runs = {100: 3, 101: 5, 102: 7}
    work = [threading.Thread(target=run_server_app, args=(app, room.hub, r, {"rounds": n})) for r, n in runs.items()]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join(60)
    assert calls == {run: [rounds, rounds] for run, rounds in runs.items()}


def connect_proxy(seen: list[str]) -> socket.socket:
    """An HTTP proxy that knows CONNECT only."""
    server = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        finally:
            source.close()
            sink.close()

    def serve(client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        seen.append(head.split(b"\r\n")[0].decode())
        upstream = socket.create_connection(("127.0.0.1", int(head.split()[1].rpartition(b":")[2])))
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        threading.Thread(target=pump, args=(upstream, client), daemon=True).start()
        pump(client, upstream)

    def accept() -> None:
        try:
            while True:
                threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
        except OSError:
            return

    threading.Thread(target=accept, daemon=True).start()
    return server


def test_a_party_behind_a_proxy_comes_through_with_connect(make_room: Callable[..., Room]) -> None:
    room, seen = make_room(grace=15.0), list[str]()
    proxy = connect_proxy(seen)
    try:
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        room.lab.party("p1", room.port, https_proxy=address, no_proxy="", NO_PROXY="")
        online(room, "p1")
        assert ask(room.grid(), told(round=1), "p1") == {"p1": "ok"}
        assert seen[0].startswith(f"CONNECT localhost:{room.port}")
        room.lab.close()
    finally:
        proxy.close()
