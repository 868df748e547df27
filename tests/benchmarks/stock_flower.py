"""Empty rounds of stock Flower, on loopback: a SuperLink, SuperNodes and the app in `stock_app`, from this environment.

Without TLS and without a database on disk, which is to its advantage. Flower writes only below the directory given.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent


class NotMeasured(Exception):
    """Stock Flower could not be started, or did not get through its rounds in time."""


def measure(directory: Path, parties: int, rounds: int, timeout: float) -> list[float]:
    """Milliseconds of each round. Raises NotMeasured."""
    ports = free_ports(parties + 1)
    link = f"127.0.0.1:{ports[0]}"
    app, out = directory / "app", directory / "out.json"
    shutil.copytree(HERE / "stock_app", app)
    shutil.copy(HERE.parents[1] / "LICENSE", app)
    (directory / "config.toml").write_text(
        f'[superlink]\ndefault = "local"\n\n[superlink.local]\naddress = "{link}"\ninsecure = true\n'
    )
    config = f'parties={parties} rounds={rounds} out="{out}"'
    superlink = ["flower-superlink", "--insecure", "--disable-runtime-dependency-installation"]
    supernode = ["flower-supernode", "--insecure", "--superlink", link]
    deadline = time.monotonic() + timeout
    with running(directory, [*superlink, *address(ports[0])]):
        wait(lambda: listens(ports[0]), deadline, "the SuperLink does not listen")
        with running(directory, *([*supernode, *address(port)] for port in ports[1:])):
            submit = ["flwr", "run", str(app), "local", "--run-config", config]
            with running(directory, submit):
                wait(out.exists, deadline, "the run did not come to its end")
    return [float(ms) for ms in json.loads(out.read_text())]


def address(port: int) -> list[str]:
    return ["--host", "127.0.0.1", "--port", str(port)]


@contextmanager
def running(directory: Path, *commands: list[str]) -> Iterator[None]:
    """Processes, ended when this is left."""
    quiet = {"FLWR_HOME": str(directory), "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
    environment = {**os.environ, **quiet, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    started: list[subprocess.Popen[bytes]] = []
    try:
        with open(directory / "log.txt", "ab") as log:
            for command in commands:
                started.append(
                    subprocess.Popen(
                        [str(BIN / command[0]), *command[1:]],
                        env=environment,
                        stdout=log,
                        stderr=log,
                    )
                )
        yield
    except OSError as exc:
        raise NotMeasured(f"cannot start it: {exc.strerror}") from None
    finally:
        theirs = [pid for process in started for pid in below(process.pid)]
        for process in started:
            process.terminate()
        for process in started:
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()
        for pid in theirs:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def below(pid: int) -> list[int]:
    """The processes that a process has started, and those that they have, and so on."""
    found: list[int] = []
    with suppress(OSError):
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in map(int, children.read_text().split()):
                found += [child, *below(child)]
    return found


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(taken.getsockname()[1]) for taken in sockets]
    for taken in sockets:
        taken.close()
    return ports


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def wait(condition: Callable[[], bool], deadline: float, otherwise: str) -> None:
    while not condition():
        if time.monotonic() > deadline:
            raise NotMeasured(otherwise)
        time.sleep(0.1)
