"""Whether the node is connected, for whoever watches over its process: `state/health.json`, written every few seconds.

Not trusted: it says what a process said of itself, and holds nothing of the data or of a round.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from protocols.errors import Refused

EVERY_S = 2.0
STALE_S = 10.0


class Pulse:
    """Writes the file while a node runs. `connected`: whether its stream is up."""

    def __init__(self, state: Path, address: str, connected: Callable[[], bool]) -> None:
        self._file, self._address, self._connected = state / "health.json", address, connected
        self._since = 0.0

    async def beat(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; then the file is gone."""
        try:
            while not stop.is_set():
                self._write()
                try:
                    await asyncio.wait_for(stop.wait(), EVERY_S)
                except TimeoutError:
                    continue
        finally:
            _gone(self._file)

    def _write(self) -> None:
        now, up = time.time(), self._connected()
        self._since = (self._since or now) if up else 0.0
        said = {"at": int(now), "connected": up, "coordinator": self._address, "since": int(self._since)}
        part = self._file.with_suffix(".part")
        try:
            part.write_text(json.dumps(said))
            os.replace(part, self._file)
        except OSError:  # a full disk must not end the node; the file grows stale and says so by that
            _gone(part)


def check_pulse(state: Path, now: float) -> str:
    """A line that says since when the node is connected. Raises Refused when it is not, or does not run."""
    try:
        said = json.loads((state / "health.json").read_text())
        at, up, since, address = int(said["at"]), said["connected"], int(said["since"]), str(said["coordinator"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        raise Refused("the node is not running", "sumroom-party start --config node.toml") from None
    # Either way: a clock that was set back must not make an old file look fresh for as long.
    if abs(int(now) - at) > STALE_S:
        raise Refused("the node does not run any more, or is stuck", "sumroom-party start --config node.toml")
    if up is not True:
        raise Refused(f"the node runs and is not connected to {address}", "is the coordinator running? see the log")
    return f"connected to {address} for {max(0, int(now) - since)} s"


def _gone(file: Path) -> None:
    with contextlib.suppress(OSError):
        file.unlink()
