"""A logbook that holds the opening of the room of three keys: genesis, three datasets and the plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from protocols.logbook import Logbook


@pytest.fixture
def room(built):
    return built.Room()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def log(path, room):
    with Logbook(path) as log:
        log.append(room.opening())
        yield log
