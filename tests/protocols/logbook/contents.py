"""What a logbook's file holds and what the logbook says of itself, to compare before and after."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from protocols.logbook import Logbook


def content(path: Path) -> dict[str, list[Any]]:
    db = sqlite3.connect(path)
    try:
        return {
            table: db.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
            for table in ("entry", "checkpoint", "cosignature", "blob")
        }
    finally:
        db.close()


def everything(log: Logbook) -> tuple[Any, ...]:
    return log.size, log.root(), log.accounts.balances(), log.accounts.size
