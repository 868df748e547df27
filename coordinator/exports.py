"""Writing a room's results where the operator wants them: before a round it is tried, after it is done."""

from __future__ import annotations

import time
from pathlib import Path

from protocols.errors import IntegrityError, Refused, UsageError
from protocols.logbook import Logbook

from .config import Config
from .store import Store


def check_folder(out: Path) -> None:
    """Results that cannot be written are found out before budget is spent on them. Raises UsageError."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / ".probe").touch()
        (out / ".probe").unlink()
    except OSError as exc:
        reason = exc.strerror or type(exc).__name__
        raise UsageError(f"cannot write to {out}: {reason}", "name a folder with --out") from None


def write(settings: Config, out: Path) -> None:
    """Releases, bundle, policy and report of what the room has released so far, and a line that says so.

    Raises IntegrityError where the ledger does not audit clean: the files are there all the same, to look into.
    """
    from . import outputs  # charts take a second to load
    from .ledger import ledger_of
    from .release import publish_missing

    path = settings.path("state")
    try:
        store = Store(path)
    except Refused:  # a coordinator is listening: it signs what is to be signed itself
        with Logbook(path / "ledger.db") as book:
            findings = outputs.write(out, settings.room, book, time.time())
    else:
        try:
            publish_missing(ledger_of(settings, store.book))
            findings = outputs.write(out, settings.room, store.book, time.time())
        finally:
            store.close()
    verdict = f"{len(findings.violations)} violations" if findings.violations else "clean"
    print(f"{findings.releases} releases, {findings.numbers} figures; ledger {verdict}; written to {out}")
    if findings.violations:
        raise IntegrityError("the ledger does not audit clean", f"sumroom-audit verify {out / 'room.tar'} names where")
