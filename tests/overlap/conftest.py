"""A room of two companies that share customers, led to the moment before they meet: made once, copied for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from party_node import overlap as node_overlap
from party_node import overlap_lists
from protocols.overlap import layout, words
from tests.overlap import cheats, meeting_lab
from tests.rounds import lab


@pytest.fixture(scope="session")
def before_meeting(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Two companies, of which sizes are released; next their meeting is asked for."""
    base, plan = meeting_lab.make(tmp_path_factory.mktemp("two") / "room", cheats.MEMBERS, **meeting_lab.of_two())
    with lab.Room(base, plan) as room:
        room.stopped_at(words.Meet)
    return base, plan


@pytest.fixture
def in_small_parts(monkeypatch: pytest.MonkeyPatch) -> int:
    """Lists travel in many parts, of so many bytes."""
    size = 1 << 12
    for module in (layout, node_overlap, overlap_lists):
        monkeypatch.setattr(module, "CHUNK_BYTES", size)
    return size


@pytest.fixture
def watched(
    before_meeting: tuple[Path, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> Iterator[cheats.Watched]:
    base, plan = lab.copy(before_meeting[0], tmp_path / "room"), before_meeting[1]
    with lab.Room(base, plan) as room:
        yield cheats.Watched(room, caplog)
