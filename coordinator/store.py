"""Where the coordinator keeps what it must not lose: the ledger with its releases, and the journal of messages."""

from __future__ import annotations

import fcntl
from pathlib import Path

from protocols.errors import Refused
from protocols.logbook import Logbook

PLAN = "plan/"
BODY = "body/"
RELEASE = "release/"


class Store:
    """The state folder. One coordinator at a time: a second one is refused."""

    def __init__(self, state: Path) -> None:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.state = state
        self._lease = (state / "lease").open("w")
        try:
            fcntl.flock(self._lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lease.close()
            raise Refused(f"another coordinator is using {state}", "stop it first") from None
        try:
            self.book = Logbook(state / "ledger.db")
        except BaseException:
            self._lease.close()
            raise

    def close(self) -> None:
        self.book.close()
        self._lease.close()


def body_key(round_id: str, step: str) -> str:
    """Where a release's body lies in the logbook: written in one transaction with its commit."""
    return f"{BODY}{round_id}/{step}"


def release_key(round_id: str, step: str) -> str:
    """Where the signed release lies, once its commit is cosigned."""
    return f"{RELEASE}{round_id}/{step}"


def roster_key(round_id: str, step: str) -> str:
    """Where the roster of a step lies: kept before anybody agrees to it, so that a new process can go on."""
    return f"roster/{round_id}/{step}"


def agreements_key(round_id: str, step: str) -> str:
    """Where the agreements to it lie: kept before anybody contributes."""
    return f"agreements/{round_id}/{step}"


def survivors_key(round_id: str, step: str) -> str:
    """Where the survivors of a step lie: kept before anybody settles them."""
    return f"survivors/{round_id}/{step}"


def received_key(round_id: str, step: str, party: str) -> str:
    """Marks that a party has a release."""
    return f"received/{round_id}/{step}/{party}"


def plan_key(digest: str) -> str:
    return f"{PLAN}{digest}"
