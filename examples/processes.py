"""Processes of the examples: tools that are run to their end, nodes that stand beside them."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

SECONDS_TO_STOP = 15


def tool(package: str, *words: object) -> None:
    """Run one of our tools as a process; end with its exit status when it fails."""
    status = subprocess.run([sys.executable, "-m", package, *map(str, words)], check=False).returncode
    if status:
        raise SystemExit(status)


@contextmanager
def nodes(homes: Iterable[Path]) -> Iterator[None]:
    """A node for each folder with a `node.toml`, its words in `node.log` there; all have ended afterwards."""
    running = list[subprocess.Popen[bytes]]()
    try:
        running += map(_start, homes)
        yield
    finally:
        for node in running:
            node.terminate()
        for node in running:
            try:
                node.wait(SECONDS_TO_STOP)
            except subprocess.TimeoutExpired:
                node.kill()
                node.wait()


def _start(home: Path) -> subprocess.Popen[bytes]:
    with (home / "node.log").open("wb") as log:
        command = [sys.executable, "-m", "party_node", "start", "--config", str(home / "node.toml"), "--verbose"]
        return subprocess.Popen(command, stdout=log, stderr=log)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def say(text: str) -> None:
    print(f"— {text}", flush=True)
