"""What the tests of `sumroom-party register` share: marked rows, and what one run said and left behind."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from party_node import cli

ID, BASKET, WORDS, AMOUNT = "canary-id-71", "canary-basket-72", "canary-words", "4242.42"
HEADER = "customer,basket,bought_on,paid,discount"
CANARY = f"{ID},{BASKET},2017-05-06,{AMOUNT},0.00"
BAD = f"{ID},{BASKET},2017-05-06,{WORDS},0.00"
Edit = Callable[[Path, list[str]], list[str]]  # a folder and the lines of its file → the lines in their place


class Said:
    """What one run of `register` ended with and left behind."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str], *more: str) -> None:
        capsys.readouterr()
        words = ["register", "--config", str(home / "node.toml"), "--plan", str(home.parent / "plan.toml"), *more]
        self.status = cli.main(words)
        self.out, self.err = capsys.readouterr()
        assert "Traceback" not in self.out + self.err

    @property
    def message(self) -> str:
        assert self.err.startswith("error: ")
        return self.err.removeprefix("error: ").split("\nhint: ")[0]

    @property
    def hint(self) -> str:
        return self.err.split("\nhint: ")[1].removesuffix("\n")


def write(home: Path, lines: list[str]) -> None:
    (home / "sales.csv").write_text("\n".join(lines) + "\n", "utf-8")


def state(home: Path) -> dict[str, tuple[int, bytes]]:
    """Every file of the node's state, byte for byte, and every folder."""
    return {
        str(path.relative_to(home)): (path.stat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in sorted((home / "state").rglob("*"))
    }


def settings(home: Path, old: str, new: str) -> None:
    text = (home / "node.toml").read_text()
    assert old in text
    (home / "node.toml").write_text(text.replace(old, new))


def plan(home: Path, lab: ModuleType, **table: Any) -> None:
    agreed = lab.plan(table={**lab.PLAN["table"], **table})
    (home.parent / "plan.toml").write_text(lab.plan_toml(agreed))


def versions(home: Path) -> list[str]:
    db = sqlite3.connect(home / "state" / "node.db")
    try:
        return [version for (version,) in db.execute("SELECT version FROM dataset ORDER BY number")]
    finally:
        db.close()


def people(count: int) -> Edit:
    """The marked person and as many others as make `count`."""
    return lambda _, lines: [lines[0], *(f"p{i},b,2017-05-06,1.00,0.00" for i in range(count - 1)), CANARY]
