"""The people of a room at work, and the commands by which they change it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from coordinator import cli as coordinator_cli
from coordinator import delivery, entering
from party_node import cli as party_cli
from protocols.change import Proposal


class Hands:
    """The people of a room at work, and their commands: (status, stdout, stderr)."""

    def __init__(self, room: Any, capsys: pytest.CaptureFixture[str]) -> None:
        self.room, self.base, self._capsys = room, room.base, capsys
        room.ledger.open_room()
        room.ledger.countersign(room.ask, delivery.everybody(room.ledger), 5.0)
        self.file = room.base / "change.json"

    def _run(self, tool: Any, words: tuple[object, ...]) -> tuple[int, str, str]:
        self._capsys.readouterr()
        status = tool.main([str(word) for word in words])
        out, err = self._capsys.readouterr()
        assert "Traceback" not in out + err
        assert "internal fault" not in err
        return status, out, err

    def party(self, name: str, *words: object) -> tuple[int, str, str]:
        return self._run(party_cli, ("change", *words, "--config", self.base / name / "node.toml"))

    def bare(self, *words: object) -> tuple[int, str, str]:
        return self._run(party_cli, words)

    def operator(self, *words: object) -> tuple[int, str, str]:
        return self._run(
            coordinator_cli, ("change", *words, "--config", self.base / "coordinator" / "coordinator.toml")
        )

    def drafted(self, *words: object) -> Path:
        status, _, err = self.operator("new", *words, "--out", self.file)
        assert (status, err) == (0, "")
        return Path(self.file)

    def signed(self, *names: str, after: tuple[object, ...] = ()) -> None:
        for name in names:
            status, out, err = self.party(name, "sign", self.file, "--yes", *after)
            assert (status, err) == (0, ""), err
            assert "signed: " in out

    def body(self) -> Any:
        return json.loads(self.file.read_text())

    def enter(self) -> entering.Entered:
        """What `enter` does once it has the door open."""
        return entering.enter([Proposal.of(self.body())], self.room.ledger, self.room.ask, 5.0, lambda: None)
