"""The bar on a node's terminal: what it shows is public, and it is there for whoever looks, nowhere else."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from party_node import overlap_lists, progress
from protocols import terminal
from tests.overlap import meeting_lab
from tests.party_node import test_overlap_lists as lists
from tests.rounds import lab


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """What is told, in its order."""
    found: list[tuple[str, int, int]] = []
    monkeypatch.setattr(progress, "tell", lambda *said: found.append(said))
    return found


def on(monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool) -> io.StringIO:
    """What stderr is; what is written there."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=is_terminal, width=terminal.WIDE)
    monkeypatch.setattr(terminal, "console", lambda **_: console)
    return written


def test_on_a_terminal_it_says_what_is_done_and_how_much_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    written = on(monkeypatch, is_terminal=True)
    with progress.shown() as bar:
        progress.tell("lists for beta: hashed and masked", 3, 8)
        assert bar._bar is not None
        progress.tell("lists for beta: sent", 1, 2)
        progress.tell("lists for beta: sent", 2, 2)
        assert bar._bar is None  # nothing draws while nothing is under way
    assert "lists for beta: sent" in written.getvalue()
    assert "2/2" in written.getvalue()


def test_what_a_round_has_left_undone_does_not_stay_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, is_terminal=True)
    with progress.shown() as bar:
        progress.over()
        assert bar._bar is None
        progress.tell("lists of beta: taken", 1, 2)
        assert bar._bar is not None
        progress.over()
        assert bar._bar is None


def test_a_node_says_that_its_lists_are_gone_once_a_round_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = list[str]()
    monkeypatch.setattr(progress, "over", lambda: ended.append("over"))
    base, plan = meeting_lab.make(tmp_path / "room", ("alpha", "beta"), **meeting_lab.of_two())
    with lab.Room(base, plan) as room:
        room.run()
        assert len(ended) == len(room.parties)


def lines(log: pytest.LogCaptureFixture) -> list[str]:
    """What progress itself logged: asyncio may log of another test's loop."""
    return [record.getMessage() for record in log.records if record.name == progress.log.name]


@pytest.mark.parametrize("verbose", [True, False])
def test_where_nobody_looks_there_is_no_bar_and_lines_only_if_they_are_asked_for(
    verbose: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    written = on(monkeypatch, is_terminal=False)
    caplog.set_level(logging.INFO if verbose else logging.WARNING)
    with progress.shown():
        progress.tell("lists of beta: taken", 1, 1)
        progress.over()
    assert written.getvalue() == ""
    assert lines(caplog) == ["lists of beta: taken 1 of 1"] * verbose


def test_no_line_of_it_is_in_the_log_while_the_bar_is_there(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    on(monkeypatch, is_terminal=True)
    with progress.shown():
        progress.tell("lists of beta: taken", 1, 1)
    assert not lines(caplog)


@pytest.mark.parametrize("portions", [[10], [4, 3, 3], [1] * 10, [0, 9, 0, 1]])
def test_what_is_told_does_not_say_in_what_portions_entries_came(
    portions: Sequence[int], told: list[tuple[str, int, int]]
) -> None:
    counted = progress.Counted("masked", 10, 3)
    for count in portions:
        counted.add(count)
    assert told == [("masked", done, 10) for done in (3, 6, 9, 10)]


def test_a_whole_number_of_steps_is_told_once_at_its_end(told: list[tuple[str, int, int]]) -> None:
    counted = progress.Counted("masked", 6, 3)
    counted.add(6)
    assert told == [("masked", 3, 6), ("masked", 6, 6)]


def test_lists_of_nobody_are_told_of_like_lists_of_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[tuple[str, int, int]]
) -> None:
    monkeypatch.setattr(overlap_lists, "BATCH", 16)
    pair = lists.Pair()
    pair.write("alpha", tmp_path / "many")
    of_many = list(told)
    told.clear()
    pair.side("alpha").write_lists(iter(()), tmp_path / "nobody")
    assert told == of_many
    assert told[-1][1] == told[-1][2] == sum(lists.LAYOUT.sent("alpha", "beta"))
    assert len(told) > 5


def test_a_node_tells_of_all_that_it_does_in_an_overlap(tmp_path: Path, told: list[tuple[str, int, int]]) -> None:
    base, plan = meeting_lab.make(tmp_path / "room", ("alpha", "beta"), **meeting_lab.of_two())
    with lab.Room(base, plan) as room:
        *_, overlap = room.run()
    assert np.asarray(overlap.body_.noised).size == len(meeting_lab.TIERS) ** 2
    last: dict[str, Any] = {what: (done, whole) for what, done, whole in told}
    doings = ["lists for {}: hashed and masked", "lists for {}: sent", "lists of {}: taken",
              "lists of {}: masked again", "lists of {}: sent"]  # fmt: skip
    assert set(last) == {doing.format(party) for doing in doings for party in room.parties}
    assert all(done == whole > 0 for done, whole in last.values())
