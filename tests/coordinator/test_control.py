"""The socket of the operator's commands: whoever asks gets an answer or an error, and the coordinator goes on."""

from __future__ import annotations

import json
import os
import queue
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from coordinator import control, service
from coordinator.control import Absent, Answer, Commands, Say
from protocols.errors import IntegrityError, PartyUnavailable, Refused, RoundEnded, SumroomError, UsageError

ROOT = Path(__file__).parents[2]
HEALTH = {"listening": "here:1", "online": ["alpha"]}
UNREADABLE = {"kind": "UsageError", "message": "the coordinator cannot read this command", "hint": None}


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    """A coordinator that listens in `tmp_path`, says its health, and does nothing else yet."""
    listening = Commands(tmp_path, {"health": lambda: HEALTH})
    yield listening
    listening.close()
    while not listening.jobs.empty():
        listening.jobs.get()[2]()


@contextmanager
def working(commands: Commands, do: Callable[[Answer, Say], Answer]) -> Iterator[None]:
    """The coordinator's main thread, doing one job after the other."""
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            try:
                asked, say, close = commands.jobs.get(timeout=0.02)
            except queue.Empty:
                continue
            control.carry_out(asked, say, do)
            close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def echo(asked: Answer, _: Say) -> Answer:
    return {"asked": asked}


def connected(state: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(10)
    connection.connect(str(state / control.NAME))
    return connection


def raw(state: Path, data: bytes) -> Any:
    """What the coordinator says to these bytes, after which nothing more comes."""
    with connected(state) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as lines:
            (line,) = lines.read().splitlines()
    return json.loads(line)


def arrived(commands: Commands, number: int) -> None:
    """Wait until so many commands wait for the main thread."""
    deadline = time.monotonic() + 30
    while commands.jobs.qsize() < number:
        assert time.monotonic() < deadline
        time.sleep(0.001)


# -- what works --------------------------------------------------------------------------------------------------------


def test_a_command_gets_its_progress_in_order_and_then_what_came_of_it(commands: Commands, tmp_path: Path) -> None:
    heard: list[str] = []

    def do(asked: Answer, say: Say) -> Answer:
        for text in ("one", "two", "ρ three"):
            say({"progress": text})
        return {"asked": asked}

    with working(commands, do):
        assert control.ask(tmp_path, {"do": "launch", "plan": "ε"}, heard.append) == {
            "asked": {"do": "launch", "plan": "ε"}
        }
    assert heard == ["one", "two", "ρ three"]


def test_health_is_answered_while_the_main_thread_leads_a_round(commands: Commands, tmp_path: Path) -> None:
    assert control.ask(tmp_path, {"do": "health"}) == HEALTH
    assert commands.jobs.empty()


@pytest.mark.parametrize("kind", [Refused, UsageError, RoundEnded, PartyUnavailable, IntegrityError])
@pytest.mark.parametrize("hint", ["sumroom-coordinator export", None])
def test_an_error_reaches_whoever_asked_with_its_kind_message_and_hint(
    commands: Commands, tmp_path: Path, kind: type[SumroomError], hint: str | None
) -> None:
    def do(asked: Answer, say: Say) -> Answer:
        raise kind("round 12ab is forfeited", hint)

    with working(commands, do), pytest.raises(SumroomError) as caught:
        control.ask(tmp_path, {"do": "launch"})
    assert type(caught.value) is kind
    assert (caught.value.message, caught.value.hint) == ("round 12ab is forfeited", hint)
    assert caught.value.exit_code == kind.exit_code


def test_a_command_that_there_is_not_is_a_mistake_of_whoever_asked(commands: Commands, tmp_path: Path) -> None:
    nothing: Any = SimpleNamespace()
    with working(commands, lambda asked, _: service.carry_out(nothing, asked, lambda _: None)):
        for request in ({"do": "fly"}, {"do": "fly", "plan": {}, "wait_s": 1}, {"do": 7}, {"do": None}):
            with pytest.raises(UsageError, match="the coordinator knows no such command"):
                control.ask(tmp_path, request)


@pytest.mark.parametrize("wait", [float("nan"), -1, 1e300, "soon", None])
def test_a_time_to_wait_that_is_none_is_refused_and_not_waited_for(wait: Any, lab: Any) -> None:
    """`nan` is never over: the coordinator would wait for a party until it is stopped."""
    nothing: Any = SimpleNamespace()
    with pytest.raises(UsageError, match="seconds to wait"):
        service.carry_out(nothing, {"do": "propose", "plan": lab.plan().body(), "wait_s": wait}, lambda _: None)


# -- rubbish -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"hello\n",
        b"[]\n",
        b"7\n",
        b"null\n",
        b'"health"\n',
        b"{}\n",
        b'{"do": []}\n',
        b'{"do": {"do": "health"}}\n',
        b"\xff\xfe\n",
        b'{"do": "hea',
        b'{"do": "launch", "plan": {"type": "pla',
        b"[" * 100_000 + b"\n",
        b"9" * 10_000 + b"\n",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
    ids=lambda data: repr(data[:20]),
)
def test_what_is_no_command_is_said_to_be_none_and_waits_for_nobody(
    commands: Commands, tmp_path: Path, data: bytes
) -> None:
    assert raw(tmp_path, data) == {"error": UNREADABLE}
    assert commands.jobs.empty()
    assert control.ask(tmp_path, {"do": "health"}) == HEALTH


def test_half_a_line_keeps_nobody_else_waiting(commands: Commands, tmp_path: Path) -> None:
    with connected(tmp_path) as slow:
        slow.sendall(b'{"do": ')
        with working(commands, echo):
            assert control.ask(tmp_path, {"do": "propose"}) == {"asked": {"do": "propose"}}
        assert control.ask(tmp_path, {"do": "health"}) == HEALTH
        slow.sendall(b'"health"}\n')
        with slow.makefile("rb") as lines:
            assert json.loads(lines.readline()) == {"done": HEALTH}


def test_a_request_that_is_too_long_is_refused_before_it_is_sent(commands: Commands, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="too long") as caught:
        control.ask(tmp_path, {"do": "launch", "plan": "x" * control.LONGEST})
    assert f"{control.LONGEST:,}" in caught.value.message
    assert commands.jobs.empty()


def test_a_longer_line_than_any_request_is_cut_off_and_nothing_is_done(commands: Commands, tmp_path: Path) -> None:
    with connected(tmp_path) as connection, pytest.raises(OSError, match=r"Broken pipe|reset"):
        connection.sendall(b"x" * (32 * control.LONGEST))
    assert commands.jobs.empty()
    assert control.ask(tmp_path, {"do": "health"}) == HEALTH


def test_a_request_of_the_longest_length_is_still_read(commands: Commands, tmp_path: Path) -> None:
    request = {"do": "launch", "plan": ""}
    request["plan"] = "x" * (control.LONGEST - len(json.dumps(request)) - 1)
    with working(commands, lambda asked, _: {"length": len(asked["plan"])}):
        assert control.ask(tmp_path, request) == {"length": len(request["plan"])}


# -- many, and gone ----------------------------------------------------------------------------------------------------


def test_more_commands_than_may_wait_are_refused_and_none_that_waits_is_lost(
    commands: Commands, tmp_path: Path
) -> None:
    waiting = [connected(tmp_path) for _ in range(control.MOST_WAITING)]
    for k, connection in enumerate(waiting):
        connection.sendall(json.dumps({"do": "launch", "k": k}).encode() + b"\n")
        arrived(commands, k + 1)
    with pytest.raises(Refused, match="too many commands wait"):
        control.ask(tmp_path, {"do": "launch", "k": 99})
    assert control.ask(tmp_path, {"do": "health"}) == HEALTH
    done: list[int] = []
    with working(commands, lambda asked, _: done.append(asked["k"]) or {"k": asked["k"]}):  # type: ignore[func-returns-value]
        for k, connection in enumerate(waiting):
            with connection, connection.makefile("rb") as lines:
                assert json.loads(lines.readline()) == {"done": {"k": k}}
    assert done == list(range(control.MOST_WAITING))


def test_what_was_asked_is_done_when_whoever_asked_is_gone_and_the_next_is_answered(
    commands: Commands, tmp_path: Path
) -> None:
    done: list[str] = []

    def do(asked: Answer, say: Say) -> Answer:
        done.append(asked["plan"])
        if len(done) == 1:
            say({"progress": "to one who is gone"})
        return {}

    with connected(tmp_path) as connection:
        connection.sendall(b'{"do": "launch", "plan": "of one who leaves"}\n')
        arrived(commands, 1)
    with working(commands, do):
        assert raw(tmp_path, b'{"do": "launch", "plan": "of one who stays"}\n') == {"done": {}}
    assert done == ["of one who leaves", "of one who stays"]


# -- faults and the end ------------------------------------------------------------------------------------------------


def test_a_fault_is_told_by_its_kind_and_not_by_its_text_and_the_coordinator_goes_on(
    commands: Commands, tmp_path: Path
) -> None:
    def do(asked: Answer, say: Say) -> Answer:
        return {"value": {"known": 1}[asked["key"]]}

    with working(commands, do):
        with pytest.raises(UsageError, match="^internal fault: KeyError$") as caught:
            control.ask(tmp_path, {"do": "launch", "key": "a secret"})
        assert "secret" not in caught.value.diagnostics()
        assert control.ask(tmp_path, {"do": "launch", "key": "known"}) == {"value": 1}


def test_a_fault_in_what_is_answered_at_once_is_told_too(tmp_path: Path) -> None:
    def broken() -> Answer:
        raise ZeroDivisionError("a secret")

    listening = Commands(tmp_path, {"health": broken})
    try:
        with pytest.raises(UsageError, match="^internal fault: ZeroDivisionError$"):
            control.ask(tmp_path, {"do": "health"})
    finally:
        listening.close()


def test_an_interrupt_ends_the_coordinator_and_whoever_waits_is_told() -> None:
    said: list[Answer] = []

    def do(asked: Answer, say: Say) -> Answer:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        control.carry_out({}, said.append, do)
    (answer,) = said
    assert answer["error"]["kind"] == "Refused"
    assert answer["error"]["message"] == "the coordinator was stopped"
    assert "sumroom-coordinator export" in answer["error"]["hint"]


def test_a_closed_coordinator_is_absent_and_leaves_no_file(tmp_path: Path) -> None:
    Commands(tmp_path, {}).close()
    assert not (tmp_path / control.NAME).exists()
    with pytest.raises(Absent):
        control.ask(tmp_path, {"do": "health"})


LISTENER = """\
import os, sys
from pathlib import Path
from coordinator.control import Commands
commands = Commands(Path(sys.argv[1]), {"health": lambda: {}})
print("listening", flush=True)
asked, say, close = commands.jobs.get()
say({"progress": "asking for approval"})
os._exit(9)  # nobody closes anything
"""


def test_a_coordinator_that_dies_in_the_middle_is_refused_and_its_socket_is_taken_over(tmp_path: Path) -> None:
    """Another process listens, hears a command, and is gone without an answer; its socket's file stays behind."""
    heard: list[str] = []
    words = [sys.executable, "-c", LISTENER, str(tmp_path)]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        with pytest.raises(Refused, match="the coordinator ended before it answered") as caught:
            control.ask(tmp_path, {"do": "launch"}, heard.append)
    assert "sumroom-coordinator plan status" in str(caught.value.hint)
    assert heard == ["asking for approval"]
    assert (tmp_path / control.NAME).exists()
    with pytest.raises(Absent):
        control.ask(tmp_path, {"do": "health"})
    listening = Commands(tmp_path, {"health": lambda: HEALTH})
    assert control.ask(tmp_path, {"do": "health"}) == HEALTH
    listening.close()


def test_half_an_answer_is_a_coordinator_that_ended(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / control.NAME))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b'{"progress": "asking"}\n{"done": {"roun')

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(Refused, match="the coordinator ended before it answered"):
            control.ask(tmp_path, {"do": "launch"})
        thread.join()


# -- the file ----------------------------------------------------------------------------------------------------------


def test_only_the_owner_can_open_the_socket(commands: Commands, tmp_path: Path) -> None:
    found = (tmp_path / control.NAME).stat()
    assert stat.S_ISSOCK(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o600


@pytest.mark.parametrize("length", [90, 108, 200, 800])
def test_a_state_folder_of_any_length_has_its_socket(tmp_path: Path, length: int) -> None:
    """A socket's address holds 108 bytes, unix(7)."""
    state = tmp_path
    while len(os.fsencode(state)) < length:
        state = state / "a-folder-with-a-long-name-and-an-ü"[: max(1, length - len(os.fsencode(state)) - 1)]
    state.mkdir(parents=True, exist_ok=True)
    before = set(os.listdir("/proc/self/fd"))
    listening = Commands(state, {"health": lambda: HEALTH})
    try:
        assert control.ask(state, {"do": "health"}) == HEALTH
        assert stat.S_IMODE((state / control.NAME).stat().st_mode) == 0o600
    finally:
        listening.close()
    assert not (state / control.NAME).exists()
    assert len(set(os.listdir("/proc/self/fd")) - before) <= 1  # the thread that accepts may hold the socket a moment


def test_where_nobody_has_listened_or_a_plain_file_lies_the_coordinator_is_absent(tmp_path: Path) -> None:
    for state in (tmp_path, tmp_path / "no-such-folder", tmp_path / ("x" * 120)):
        with pytest.raises(Absent):
            control.ask(state, {"do": "health"})
    (tmp_path / control.NAME).write_text("no socket")
    with pytest.raises(Absent):
        control.ask(tmp_path, {"do": "health"})
