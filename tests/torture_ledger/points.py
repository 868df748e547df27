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
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, ClassVar

from party_node.filter import Filter
from protocols.logbook import Logbook
from tests.torture_ledger import files

LONGEST_S = 60  # a process that hangs ends, and that is a violation
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
CHECKPOINT_AT = 4  # pages, so that SQLite writes its log into the file again and again
_VERB = re.compile(r"\s*(PRAGMA \w+|INSERT INTO \w+|CREATE|[A-Z]+)", re.IGNORECASE)


@dataclass(frozen=True)
class Order:
    """Die at the nth passing of a point. layer: see single writes (through apsw) and not statements."""

    point: str
    nth: int
    layer: bool = False


class Watcher:
    """Counts the points that this process passes, and carries out its order."""

    def __init__(self, order: Order | None, layer: bool, said: int) -> None:
        self.order, self.passed, self._said = order, Counter[str](), said
        self._within: list[str] = []
        self._layer = _Layer(self) if layer else None
        self._replaced = ExitStack()

    def tell(self, *words: Any) -> None:
        """Acknowledge something. In one write: a line is there, or it is not."""
        os.write(self._said, json.dumps(words).encode() + b"\n")

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
            self._replaced.enter_context(files.replaced(self._layer, checkpoint_at=CHECKPOINT_AT))
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


class Process:
    """A process of its own that does `work`, to its end or its death. `work` gets its watcher, to say what it
    acknowledges: said, it is known, whatever happens next."""

    def __init__(
        self,
        work: Callable[[Watcher], None],
        order: Order | None = None,
        *,
        layer: bool = False,
        longest: int = LONGEST_S,
    ) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - a pipe would be full one day
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            signal.alarm(longest)
            os._exit(_live(work, Watcher(order, layer or (order is not None and order.layer), self._said.fileno())))

    def wait(self) -> Ended:
        return self.ended(os.waitpid(self.pid, 0)[1])

    def ended(self, status: int) -> Ended:
        """What it said, once it has ended with this status."""
        with self._said as file:
            file.seek(0)
            lines = [json.loads(line) for line in file.read().split(b"\n")[:-1]]
        passed = next((line[1] for line in lines if line[0] == "passed"), {})
        failed = next((line[1] for line in lines if line[0] == "failed"), "")
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        if not killed and status and not failed:
            failed = f"ended with {os.waitstatus_to_exitcode(status)}"
        return Ended(killed, [line for line in lines if line[0] not in ("passed", "failed")], passed, failed)


def _live(work: Callable[[Watcher], None], watcher: Watcher) -> int:
    try:
        watcher.install()
        work(watcher)
        watcher.tell("passed", watcher.passed)
        return 0
    except BaseException:  # noqa: BLE001 - told, and a violation to whoever hears it
        watcher.tell("failed", traceback.format_exc(limit=-6))
        return 1


def orders(passed: Mapping[str, int], layer: bool) -> Sequence[Order]:
    """An order for the first, a middle and the last passing of every point."""
    return [
        Order(point, nth, layer)
        for point, often in sorted(passed.items())
        for nth in sorted({1, (often + 1) // 2, often})
    ]
