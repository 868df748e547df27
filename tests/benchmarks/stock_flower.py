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
                        start_new_session=True,
                    )
                )
        yield
    except OSError as exc:
        raise NotMeasured(f"cannot start it: {exc.strerror}") from None
    finally:
        for process in started:
            process.terminate()
        for process in started:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Wait for it to go. Why not killed at once: what it has started leaves its group, and goes when it is told to."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


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
