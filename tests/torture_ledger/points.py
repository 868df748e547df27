"""Points at which a process kills itself (kill -9): before and after each statement and each write and sync of a file
that an operation of the product's makes, and the operation itself.

    append/commit-before        Logbook.append, before its COMMIT
    follow/ledger-wal-sync-after    Logbook.follow, after SQLite synced the log of its file

The product has no switches for this; in the process to be killed its methods and its connections are wrapped.
"""

from __future__ import annotations

import functools
import json
import os
import re
import signal
import sqlite3
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from party_node.filter import Filter
from protocols.logbook import Logbook
from tests.torture_ledger import files

Acknowledge = Callable[..., None]
OPERATIONS: dict[str, tuple[type, str]] = {
    "open": (Logbook, "__init__"),
    "append": (Logbook, "append"),
    "extend": (Logbook, "extend"),
    "follow": (Logbook, "follow"),
    "sign_checkpoint": (Logbook, "sign_checkpoint"),
    "add_cosignature": (Logbook, "add_cosignature"),
    "hold": (Filter, "hold"),
    "spend": (Filter, "spend"),
}
CHECKPOINT_AT = "PRAGMA wal_autocheckpoint=4"  # so that SQLite's log goes into the file again and again
_VERB = re.compile(r"\s*(PRAGMA \w+|INSERT INTO \w+|CREATE|[A-Z]+)", re.IGNORECASE)


@dataclass(frozen=True)
class Order:
    """Die at the nth passing of a point. layer: see single writes (through apsw) and not statements."""

    point: str
    nth: int
    layer: bool = False


class Watcher:
    """Counts the points that this process passes, and carries out its order."""

    def __init__(self, order: Order | None, layer: bool) -> None:
        self.order, self.passed = order, Counter[str]()
        self._within: list[str] = []
        self._layer = _Layer(self) if layer else None
        self._replaced = ExitStack()

    def at(self, where: str) -> None:
        """A point is passed; outside of the operations nothing is."""
        if self._within:
            self.named(f"{self._within[-1]}/{where}")

    def named(self, name: str) -> None:
        self.passed[name] += 1
        if self.order is not None and (name, self.passed[name]) == (self.order.point, self.order.nth):
            os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        """Wrap the product in this process, for good."""
        for name, (owner, attribute) in OPERATIONS.items():
            setattr(owner, attribute, self._operation(name, getattr(owner, attribute)))
        if self._layer is not None:
            self._replaced.enter_context(files.replaced(self._layer, afterwards=CHECKPOINT_AT))
            return
        watcher = self

        class Watched(sqlite3.Connection):
            def execute(self, query: str, *values: Any) -> sqlite3.Cursor:
                verb = _verb(query)
                watcher.at(f"{verb}-before")
                found = super().execute(query, *values)
                watcher.at(f"{verb}-after")
                return found

        sqlite3.connect = functools.partial(sqlite3.connect, factory=Watched)  # type: ignore[assignment]

    def _operation(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def called(*args: Any, **more: Any) -> Any:
            self._within.append(name)
            self.at("call-before")
            try:
                result = original(*args, **more)
                self.at("call-after")
            finally:
                self._within.pop()
            return result

        return called


class _Layer(files.Layer):
    calls: ClassVar[tuple[str, ...]] = ("write", "sync", "truncate", "delete", "open")

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        super().__init__("points")

    def passing(self, file: str, what: str, *_: Any) -> None:
        self._tell(file, what, "before")

    def passed(self, file: str, what: str, *_: Any) -> None:
        self._tell(file, what, "after")

    def _tell(self, file: str, what: str, when: str) -> None:
        if what in self.calls:
            kind = "wal" if file.endswith("-wal") else "journal" if file.endswith("-journal") else "db"
            self._watcher.at(f"{kind}-{what}-{when}")


def _verb(query: str) -> str:
    """What a statement does, and to which table: begin, insert-entry, pragma-synchronous."""
    found = _VERB.match(query)
    assert found is not None, query
    return found[1].lower().replace(" into ", "-").replace(" ", "-")


# -- processes ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ended:
    """What a forked process said: what it acknowledged before it ended, the points it passed, what went wrong."""

    killed: bool
    told: list[list[Any]]
    passed: Mapping[str, int]
    failed: str


@contextmanager
def forked(work: Callable[[Acknowledge], None], order: Order | None, layer: bool = False) -> Iterator[tuple[int, int]]:
    """A process that does `work`, its number and the end of the pipe that it speaks through. It is gone afterwards."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        os._exit(_live(work, order, layer, writing))
    os.close(writing)
    try:
        yield pid, reading
    finally:
        os.close(reading)


def run(work: Callable[[Acknowledge], None], order: Order | None = None, *, layer: bool = False) -> Ended:
    """Do `work` in a process of its own, to its end or its death. `work` gets a function for what it acknowledges."""
    with forked(work, order, layer) as (pid, reading):
        said = b"".join(iter(lambda: os.read(reading, 1 << 16), b""))
        _, status = os.waitpid(pid, 0)
    return heard(said, status)


def heard(said: bytes, status: int) -> Ended:
    lines = [json.loads(line) for line in said.split(b"\n")[:-1]]  # a line without an end was not acknowledged
    passed = next((line[1] for line in lines if line[0] == "passed"), {})
    failed = next((line[1] for line in lines if line[0] == "failed"), "")
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    if not killed and os.waitstatus_to_exitcode(status) and not failed:
        failed = f"ended with {os.waitstatus_to_exitcode(status)}"
    return Ended(killed, [line for line in lines if line[0] not in ("passed", "failed")], passed, failed)


def _live(work: Callable[[Acknowledge], None], order: Order | None, layer: bool, writing: int) -> int:
    def tell(*words: Any) -> None:
        os.write(writing, json.dumps(words).encode() + b"\n")

    try:
        watcher = Watcher(order, layer or (order is not None and order.layer))
        watcher.install()
        work(tell)
        tell("passed", watcher.passed)
        return 0
    except BaseException:  # noqa: BLE001 - told, and a violation to whoever hears it
        tell("failed", traceback.format_exc())
        return 1


def orders(passed: Mapping[str, int], layer: bool) -> Sequence[Order]:
    """An order for the first, a middle and the last passing of every point."""
    return [
        Order(point, nth, layer)
        for point, often in sorted(passed.items())
        for nth in sorted({1, (often + 1) // 2, often})
    ]
