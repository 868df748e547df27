"""How the operator's commands reach a coordinator that is listening: a socket in its state folder.

One line of JSON asks, lines of JSON answer: any number of `{"progress": …}`, then one `{"done": …}` or `{"error": …}`.
A round is led by the listening process; the command that started it may end, the round goes on.

Trusted: whoever can open the socket is the operator. It lies in a folder that only its owner can enter.
"""

from __future__ import annotations

import json
import os
import queue
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from protocols import errors
from protocols.errors import Refused, SumroomError, UsageError

NAME = "control.sock"
LONGEST = 1 << 20  # bytes of a request
MOST_WAITING = 16
_PATH_LIMIT = 100  # sun_path holds 108 bytes (unix(7))

Answer = dict[str, Any]
Say = Callable[[Answer], None]


class Absent(Exception):
    """No coordinator is listening in this state folder."""


class Commands:
    """The listening side. `now` answers at once, from a thread; everything else waits in `jobs` for the main thread."""

    def __init__(self, state: Path, now: Mapping[str, Callable[[], Answer]]) -> None:
        self.jobs: queue.Queue[tuple[Answer, Say, Callable[[], None]]] = queue.Queue(MOST_WAITING)
        self._now, self._path = now, state / NAME
        self._path.unlink(missing_ok=True)  # the store's lease is ours: whoever left it is gone
        self._socket = socket.socket(socket.AF_UNIX)
        with _short(self._path) as place:
            self._socket.bind(place)
        os.chmod(self._path, 0o600)
        self._socket.listen(MOST_WAITING)
        self._thread = threading.Thread(target=self._accept, name="control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._path.unlink(missing_ok=True)
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(10)

        def say(answer: Answer) -> None:
            with suppress(OSError):  # who asked may be gone; what was asked goes on
                connection.sendall(json.dumps(answer).encode() + b"\n")

        try:
            with connection.makefile("rb") as lines:
                asked = json.loads(lines.readline(LONGEST))
            at_once = self._now.get(asked["do"])
            if at_once is None:
                self.jobs.put_nowait((asked, say, connection.close))
                return
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            say(_error(UsageError("the coordinator cannot read this command")))
        except queue.Full:
            say(_error(Refused("too many commands wait for the coordinator")))
        else:
            carry_out(asked, say, lambda *_: at_once())
        connection.close()


def carry_out(asked: Answer, say: Say, do: Callable[[Answer, Say], Answer]) -> None:
    """Do what was asked, and say what came of it. Only an interrupt gets past."""
    try:
        say({"done": do(asked, say)})
    except SumroomError as exc:
        say(_error(exc))
    except Exception as exc:  # noqa: BLE001 - the coordinator goes on listening; the text could hold anything
        fault = UsageError(f"internal fault: {type(exc).__name__}", "this is a fault of the tool: please report it")
        say(_error(fault))
    except BaseException:
        say(_error(Refused("the coordinator was stopped", "what was released so far: sumroom-coordinator export")))
        raise


def ask(state: Path, request: Answer, progress: Callable[[str], None] = lambda _: None) -> Answer:
    """Have the coordinator that listens in `state` do something. Raises Absent, or the error that it ended with."""
    line = json.dumps(request).encode() + b"\n"
    if len(line) > LONGEST:
        raise UsageError(f"the plan is too long for the coordinator: {len(line):,} bytes, the most is {LONGEST:,}")
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            with _short(state / NAME) as place:
                connection.connect(place)
        except OSError:
            raise Absent from None
        try:
            connection.sendall(line)
            with connection.makefile("rb") as lines:
                return _answered(lines, progress)
        except (OSError, ValueError):  # it died in the middle of a line, or before it had read ours
            raise _ended() from None


def _answered(lines: Iterable[bytes], progress: Callable[[str], None]) -> Answer:
    for line in lines:
        said = json.loads(line)
        if "progress" in said:
            progress(str(said["progress"]))
        elif "error" in said:
            raise _raised(said["error"])
        else:
            done: Answer = said["done"]
            return done
    raise _ended()


def _ended() -> Refused:
    return Refused("the coordinator ended before it answered", "sumroom-coordinator plan status tells how far it came")


def _error(exc: SumroomError) -> Answer:
    return {"error": {"kind": type(exc).__name__, "message": exc.message, "hint": exc.hint}}


def _raised(error: Mapping[str, Any]) -> SumroomError:
    kind: type[SumroomError] = getattr(errors, str(error["kind"]), Refused)
    return kind(str(error["message"]), error["hint"])


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name of the path that fits into a socket's address."""
    if len(os.fsencode(path)) <= _PATH_LIMIT:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
