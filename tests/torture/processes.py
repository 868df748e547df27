"""A room at work: a process for each party and the coordinator, kept warm, killed, started again, asked.

Everything here goes by what is stable: the commands' words, the settings files, the control socket.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.torture.proxy import Loop, Proxy
from tests.torture.room import Made

ROOT = Path(__file__).resolve().parents[2]
COORDINATOR = "coordinator"
WAIT_S = 20.0  # for the parties, before a launch gives up


class Nest:
    """The process that all others are forked from. A context manager; with it everything ends."""

    def __enter__(self) -> Nest:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.torture.role"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # a process of several threads must not fork
            start_new_session=True,
        )
        assert self._said() == "ready\n", "the processes cannot be started"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def birth(self, **about: Any) -> int:
        """Start a process; its number."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(about) + "\n")
        self._process.stdin.flush()
        return int(self._said())

    def _said(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@dataclass
class Member:
    """One process. killed: it was told from here to end."""

    name: str
    pid: int
    handle: int
    log: Path
    killed: bool = False

    @property
    def alive(self) -> bool:
        return not select.select([self.handle], [], [], 0)[0]


@dataclass
class Launch:
    """A `plan launch --again`, asked of the coordinator in a thread."""

    said: list[str] = field(default_factory=list)
    outcome: tuple[str, str] = ("", "")
    began: float = field(default_factory=time.monotonic)
    thread: threading.Thread | None = None

    @property
    def over(self) -> bool:
        return self.thread is not None and not self.thread.is_alive()


class Room:
    """See the module. A context manager: what it started ends with it."""

    def __init__(self, made: Made, nest: Nest, loop: Loop, *, ballast: bool) -> None:
        self.made, self._nest, self._ballast = made, nest, ballast
        self.place, self.parties = made.place, made.parties
        self.names = (*made.parties, COORDINATOR)
        (made.place / "logs").mkdir()
        last = made.parties[-1]
        self.proxies = {p: Proxy(loop, made.ports[p], made.port, connect=p == last) for p in made.parties}
        self.members: dict[str, Member] = {}
        self._events_read: dict[str, int] = {}
        self.events: dict[str, list[dict[str, Any]]] = {name: [] for name in self.names}
        self._logs_read: dict[str, int] = {}
        self.fallen: list[str] = []  # who ended, and nobody had ended it

    def __enter__(self) -> Room:
        for name in (COORDINATOR, *self.parties):
            self.start(name)
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self.members):
            self.signal(name, signal.SIGKILL)
        for proxy in self.proxies.values():
            proxy.close()
        for member in self.members.values():
            os.close(member.handle)

    # -- processes -----------------------------------------------------------------------------------------------------

    def start(self, name: str) -> None:
        """Start a member that does not run, or is about to be gone: a process that kills itself takes a moment."""
        if (old := self.members.get(name)) is not None:
            assert until(lambda: not old.alive, 5.0, 0.01), f"{name} runs"
            os.close(old.handle)
            self.hear()
            mine = [event for event in self.events[name] if event["pid"] == old.pid]
            if not old.killed and mine[-1].get("do") != "kill":
                self.fallen.append(name)
        through = {"https_proxy": f"http://127.0.0.1:{self.made.ports[name]}"} if name == self.parties[-1] else {}
        settings = ["--config", str(self.made.settings(name))]
        log = self.place / "logs" / f"{name}.log"
        pid = self._nest.birth(
            role="coordinator" if name == COORDINATOR else "party",
            name=name,
            folder=str(self.place),
            words=["serve", *settings] if name == COORDINATOR else ["start", *settings, "--verbose"],
            environment={"no_proxy": "", **through},
            log=str(log),
            noise=self.made.noise,
            ballast=str(self.place / name / "ballast") if self._ballast else None,
        )
        self.members[name] = Member(name, pid, os.pidfd_open(pid), log)

    def signal(self, name: str, how: int) -> None:
        """Send a signal; after SIGKILL the process is gone when this returns."""
        member = self.members[name]
        if how == signal.SIGKILL:
            member.killed = True
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(member.handle, how)
        if how == signal.SIGKILL:
            select.select([member.handle], [], [], 10)

    def alive(self, name: str) -> bool:
        return self.members[name].alive

    def dead(self) -> list[str]:
        return [name for name in self.names if not self.alive(name)]

    def room_on_disk(self, name: str) -> None:
        """Undo an order to fill the disk."""
        (self.place / name / "ballast").unlink(missing_ok=True)
        with contextlib.suppress(ProcessLookupError):
            _, hard = resource.prlimit(self.members[name].pid, resource.RLIMIT_FSIZE)
            resource.prlimit(self.members[name].pid, resource.RLIMIT_FSIZE, (hard, hard))

    # -- orders, events, logs ------------------------------------------------------------------------------------------

    def order(self, name: str, point: str, nth: int, do: str = "kill") -> None:
        """Tell a process what to do when it passes a point for the nth time from now on."""
        file = self.place / "orders" / name
        part = file.with_suffix(".part")
        part.write_text(json.dumps({"id": uuid.uuid4().hex, "point": point, "nth": nth, "do": do}))
        part.replace(file)

    def take_back(self, name: str) -> bool:
        """Withdraw an order. False: it has been carried out."""
        try:
            (self.place / "orders" / name).unlink()
        except FileNotFoundError:
            return False
        return True

    def ordered(self, name: str) -> bool:
        """Whether an order waits to be carried out."""
        return (self.place / "orders" / name).exists()

    def hear(self) -> None:
        """Read what the processes have written for the checks since."""
        for name in self.names:
            lines, self._events_read[name] = _rest(self.place / "events" / name, self._events_read.get(name, 0))
            self.events[name] += [json.loads(line) for line in lines]

    def told(self, name: str) -> list[str]:
        """The lines of a process's log that are new."""
        lines, self._logs_read[name] = _rest(self.place / "logs" / f"{name}.log", self._logs_read.get(name, 0))
        return [line.decode("utf-8", "replace") for line in lines]

    # -- the coordinator's door ----------------------------------------------------------------------------------------

    def online(self, timeout: float = 5.0) -> tuple[str, ...] | None:
        """The parties that are connected; None while the coordinator does not answer."""
        for line in self._ask({"do": "health"}, timeout):
            if "done" in line:
                return tuple(line["done"]["online"])
        return None

    def launch(self, patience: float, *, wait_s: float = WAIT_S) -> Launch:
        """Ask for one more round of the plan."""
        launch = Launch()
        request = {"do": "launch", "plan": self.made.plan.body(), "again": True, "wait_s": wait_s}

        def run() -> None:
            outcome = ("gone", "the coordinator ended, or did not answer in time")
            for line in self._ask(request, patience):
                if "progress" in line:
                    launch.said.append(line["progress"])
                elif "error" in line:
                    outcome = ("error", line["error"]["message"])
                else:
                    outcome = ("done", line["done"]["round"])
            launch.outcome = outcome

        launch.thread = threading.Thread(target=run, name="launch", daemon=True)
        launch.thread.start()
        return launch

    def _ask(self, request: dict[str, Any], timeout: float) -> Iterator[dict[str, Any]]:
        """The lines of the coordinator's answer, none where there is nobody."""
        ends = time.monotonic() + timeout
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            try:
                connection.connect(str(self.made.state(COORDINATOR) / "control.sock"))
                connection.sendall(json.dumps(request).encode() + b"\n")
                with connection.makefile("rb") as lines:
                    while line := lines.readline():
                        yield json.loads(line)
                        connection.settimeout(max(0.1, ends - time.monotonic()))
            except (OSError, ValueError):
                return


def until(what: Callable[[], Any], seconds: float, pause: float = 0.05) -> bool:
    """Whether it came to be so in time."""
    ends = time.monotonic() + seconds
    while not what():
        if time.monotonic() > ends:
            return False
        time.sleep(pause)
    return True


def _rest(path: Path, at: int) -> tuple[list[bytes], int]:
    """The whole lines of a file from `at` on, and where the next begins."""
    try:
        with path.open("rb") as file:
            file.seek(at)
            data = file.read()
    except FileNotFoundError:
        return [], at
    whole = data[: data.rfind(b"\n") + 1]
    return whole.splitlines(), at + len(whole)
