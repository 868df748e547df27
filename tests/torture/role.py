"""The product's own commands as processes that can be told to die at a point. Started once; forks a process when asked.

    python -m tests.torture.role        one line of JSON in: a process to start; one line out: its number

The product has no switches for tests: here its functions are wrapped from outside (`points.py`). At every point the
process looks for an order, a file of its name in the room's folder `orders`, and does it once:

    kill     SIGKILL to itself                    stop     SIGSTOP to itself: somebody else lets it go on
    full     no byte more can be written          twice    call the function a second time

What the checks need to know is written to the folder `events` before it can have any effect. Forked, not started anew:
loading Flower, gRPC and OpenDP takes .7 s of CPU each time.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import hashlib
import importlib
import inspect
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from tests.torture.points import POINTS, Point

Function = Callable[..., Any]
KEEPALIVE_S = 1.0
MODULES = {
    "party": ("party_node.cli", "party_node.app", "party_node.attendant", "party_node.node", "duckdb"),
    "coordinator": ("coordinator.cli", "coordinator.service", "coordinator.listening"),
}


class Watched:
    """What one process was told at its birth, and its way to say what it did.

    birth: role, name, folder of the room, words of the command, environment, log, noise (whether it is drawn), ballast
    """

    def __init__(self, birth: dict[str, Any]) -> None:
        self.role, self.name, self.noise = str(birth["role"]), str(birth["name"]), bool(birth["noise"])
        folder = Path(birth["folder"])
        self.ballast = birth.get("ballast")
        self._order = folder / "orders" / self.name
        self._events = os.open(folder / "events" / self.name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._passed: Counter[str] = Counter()
        self._heard = ""

    def tell(self, what: str, **about: Any) -> None:
        """One line for the checks, also while the disk is full."""
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        try:
            line = json.dumps({"what": what, "at": time.time(), "pid": os.getpid(), **about}) + "\n"
            os.write(self._events, line.encode())
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    def pass_(self, name: str) -> bool:
        """A point is passed: do what is ordered for it. True: the function is to be called twice."""
        try:
            order = json.loads(self._order.read_bytes())
        except (OSError, ValueError):
            return False
        if order["id"] != self._heard:
            self._heard = order["id"]
            self._passed.clear()
        if order["point"] != name:
            return False
        self._passed[name] += 1
        if self._passed[name] != order["nth"]:
            return False
        self._order.unlink(missing_ok=True)
        self.tell("ordered", do=order["do"], point=name, nth=order["nth"])
        if order["do"] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif order["do"] == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif order["do"] == "full":
            fill(self.ballast)
        return bool(order["do"] == "twice")


def fill(ballast: str | None) -> None:
    """Leave no room: on the small file system that the ballast is on, or else by the kernel's limit."""
    if ballast is None:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        return
    handle = os.open(ballast, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        while os.write(handle, bytes(1 << 12)):
            pass
    except OSError as exc:
        if exc.errno != errno.ENOSPC:
            raise
    finally:
        os.close(handle)


# -- wrapping ----------------------------------------------------------------------------------------------------------


def resolve(module: str, attribute: str) -> tuple[Any, str, Function]:
    """(what holds it, its name there, the function). Raises AttributeError or ImportError where there is none."""
    owner: Any = importlib.import_module(module)
    *path, name = attribute.split(".")
    for part in path:
        owner = getattr(owner, part)
    return owner, name, getattr(owner, name)


def replace(module: str, attribute: str, made: Callable[[Function], Function]) -> None:
    """Put a wrapper in a function's place, wherever the product refers to it."""
    owner, name, original = resolve(module, attribute)
    wrapper = made(original)
    setattr(owner, name, wrapper)
    if "." in attribute:
        return
    for each in list(sys.modules.values()):
        if getattr(each, "__name__", "").split(".")[0] in ("party_node", "coordinator", "protocols"):
            for key, value in list(vars(each).items()):
                if value is original:
                    setattr(each, key, wrapper)


def install(me: Watched) -> None:
    """Wrap every function that a point of this role is at, and those whose effects the checks count."""
    wrap_watchers(me)
    functions: dict[tuple[str, str], dict[str, Point]] = {}
    for name, point in POINTS.items():
        if point.role == me.role:
            functions.setdefault((point.module, point.attribute), {})[name] = point
    for (module, attribute), points in functions.items():
        replace(module, attribute, functools.partial(_pointed, me, points))


def _pointed(me: Watched, points: dict[str, Point], original: Function) -> Function:
    def passed(when: str, args: Any) -> bool:
        twice = [me.pass_(n) for n, p in points.items() if p.when == when and (not p.only or p.only in repr(args))]
        return any(twice)

    if inspect.iscoroutinefunction(original):

        @functools.wraps(original)
        async def awaited(*args: Any, **more: Any) -> Any:
            twice = passed("before", args)
            result = await original(*args, **more)
            if twice or passed("after", args):
                result = await original(*args, **more)
            return result

        return awaited

    @functools.wraps(original)
    def called(*args: Any, **more: Any) -> Any:
        passed("before", args)
        result = original(*args, **more)
        passed("after", args)
        return result

    return called


def wrap_watchers(me: Watched) -> None:
    """Draws and departures of a party, arrivals at the coordinator; and times that suit a test."""
    if me.role == "party":
        replace("protocols.noise", "add_noise", functools.partial(_drawing, me))
        replace("party_node.node", "Node.answer", functools.partial(_departing, me))
        # Why not 1 s for a party as well: gRPC's own least is 10 s for a client.
        usual = {"backoff": (0.1, 1.0), "keepalive": 10.0}
        replace("party_node.attendant", "Attendant.__init__", lambda init: _with(init, **usual))
    else:
        replace("protocols.messages", "read_reply", functools.partial(_arriving, me))
        replace("coordinator.hub", "Hub.__init__", lambda init: _with(init, keepalive=KEEPALIVE_S))


def _with(original: Function, **usual: Any) -> Function:
    @functools.wraps(original)
    def called(*args: Any, **more: Any) -> Any:
        return original(*args, **{**usual, **more})

    return called


def _drawing(me: Watched, original: Function) -> Function:
    @functools.wraps(original)
    def add_noise(total: Any, **more: Any) -> Any:
        noised = original(total, **more) if me.noise else total.copy()
        o = occasion_of(sys._getframe(1))
        me.tell("draw", round=o.round, step=o.step, total=total.tolist(), noised=noised.tolist())
        return noised

    return add_noise


def _departing(me: Watched, original: Function) -> Function:
    @functools.wraps(original)
    def answer(node: Any, request: Any, payload: Any = b"") -> Any:
        answered = original(node, request, payload)
        if answered.payload and hasattr(answered.reply, "occasion"):
            o = answered.reply.occasion
            me.tell("leave", round=o.round, step=o.step, sha256=hashlib.sha256(answered.payload).hexdigest())
        return answered

    return answer


def _arriving(me: Watched, original: Function) -> Function:
    @functools.wraps(original)
    def read_reply(data: bytes) -> Any:
        reply = original(data)
        if hasattr(reply, "payload") and hasattr(reply, "occasion"):
            o = reply.occasion
            me.tell("arrive", party=reply.party, round=o.round, step=o.step, sha256=reply.payload)
        return reply

    return read_reply


def occasion_of(frame: FrameType | None) -> Any:
    """The occasion that whoever draws noise is about, from the variables of its callers."""
    from protocols.masking import Occasion
    from protocols.schema import Frozen

    while frame is not None:
        for value in list(frame.f_locals.values()):
            if isinstance(value, Frozen):
                found = value if isinstance(value, Occasion) else getattr(value, "occasion", None)
                if isinstance(found, Occasion):
                    return found
        frame = frame.f_back
    raise LookupError("noise is drawn for no occasion")


# -- processes ---------------------------------------------------------------------------------------------------------


def live(birth: dict[str, Any]) -> int:
    """Be the process: the product's own command line, with these words."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(birth["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(birth["environment"])
    me = Watched(birth)
    install(me)
    cli = importlib.import_module(MODULES[me.role][0])
    sys.argv = [me.name, *birth["words"]]
    me.tell("born")
    status = int(cli.main(list(birth["words"])))
    me.tell("ended", status=status)
    return status


def main() -> None:
    for modules in MODULES.values():
        for module in modules:
            importlib.import_module(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead are nobody's to collect
    assert len(os.listdir("/proc/self/task")) == 1, "a process of several threads must not fork"
    print("ready", flush=True)
    while line := sys.stdin.readline():
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: without us nothing stays behind
                status = live(json.loads(line))
            except Exception:  # noqa: BLE001 - for the log, where the checks find it
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        print(pid, flush=True)


if __name__ == "__main__":
    main()
