"""The lab's room with a party that leaves everything to a person, and that person's tool."""

from __future__ import annotations

import json
from typing import Any

import pytest

from party_node import cli
from protocols import messages
from tests.cli.hands import Hands


@pytest.fixture
def asking(room: Any) -> Any:
    """The lab's room; alpha leaves everything to a person, and was asked once."""
    (room.base / "alpha" / "consent.toml").write_text("")
    room.say("alpha", messages.Propose(plan=room.plan.body()))
    return room


@pytest.fixture
def requests(capsys: pytest.CaptureFixture[str]) -> Any:
    """`sumroom-party requests …` of alpha: (status, stdout, stderr)."""

    def run(room: Any, *words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        config = str(room.base / "alpha" / "node.toml")
        status = cli.main(["requests", *map(str, words), "--config", config])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        assert "internal fault" not in err
        return status, out, err

    return run


@pytest.fixture
def document(requests: Any) -> Any:
    """The same with `--json`, read; anything but a clean end fails the test."""

    def run(room: Any, *words: object) -> Any:
        status, out, err = requests(room, *words, "--json")
        assert (status, err) == (0, "")
        return json.loads(out)

    return run


@pytest.fixture
def hands(room: Any, capsys: pytest.CaptureFixture[str]) -> Hands:
    """The lab's room, its ledger begun, and the people who change it."""
    return Hands(room, capsys)
