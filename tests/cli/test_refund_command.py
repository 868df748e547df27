"""`sumroom-coordinator refund`, and what `plan status` says of a round that may be refunded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from coordinator import afterwards, cli, control
from protocols import messages


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    capsys.readouterr()
    status = cli.main([str(word) for word in words])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return status, out, err


def config_of(base: Path) -> Path:
    return base / "coordinator" / "coordinator.toml"


def test_a_round_is_named_by_hex_digits(capsys: pytest.CaptureFixture[str], room: Any) -> None:
    for name in ("1234567", "ROUND123", "0" * 33):
        status, _, err = run(capsys, "refund", name, "--config", config_of(room.base))
        assert (status, "8 to 32 hex digits" in err) == (2, True)


@pytest.mark.parametrize("fresh", [True, False])
def test_the_listening_coordinator_is_asked_and_its_answer_shown(
    capsys: pytest.CaptureFixture[str], room: Any, monkeypatch: pytest.MonkeyPatch, fresh: bool
) -> None:
    asked: list[Any] = []

    def ask(_: Path, request: Any, __: Any) -> dict[str, Any]:
        asked.append(request)
        return {"round": "ab" * 16, "fresh": fresh}

    monkeypatch.setattr(control, "ask", ask)
    words = ("refund", "abababab", "--config", config_of(room.base), "--wait", "3")
    status, out, _ = run(capsys, *words)
    assert (status, "refunded before" in out) == (0, not fresh)
    status, out, _ = run(capsys, *words, "--json")
    assert json.loads(out) == {"round": "ab" * 16, "fresh": fresh}
    assert asked == [{"do": "refund", "round": "abababab", "wait_s": 3.0}] * 2


def test_status_names_the_command_while_it_may_help_and_counts_what_was_refunded_no_more(
    capsys: pytest.CaptureFixture[str], room: Any
) -> None:
    room.stopped_at(messages.Prepare)
    (round_id,) = room.book.accounts.rounds
    words = ("plan", "status", room.base / "plan.toml", "--config", config_of(room.base))
    hint = f"sumroom-coordinator refund {round_id[:16]}"
    assert hint not in run(capsys, *words)[1]
    room.ledger.forfeit(round_id, "coordinator-restart")
    out = run(capsys, *words)[1]
    assert hint in out
    assert "spent ρ 0.4 per record; 4 more rounds fit" in out
    afterwards.refund(room.ledger, room.ask, round_id)
    out = run(capsys, *words)[1]
    assert hint not in out
    assert "refunded" in out
    assert "spent ρ 0 per record; 5 more rounds fit" in out
