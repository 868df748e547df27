"""A room for each test: a hub in this process with short times, and its keys."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from room_lab import Lab, Room


@pytest.fixture(scope="session")
def made_lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("lab"))


@pytest.fixture
def lab(made_lab: Lab, tmp_path: Path) -> Iterator[Lab]:
    """A room's keys in a directory of the test's own."""
    own = Lab.__new__(Lab)
    own.__dict__.update({**made_lab.__dict__, "directory": tmp_path, "processes": []})
    for path in made_lab.directory.iterdir():
        own.write(path.name, path.read_bytes())
    yield own
    own.close()


@pytest.fixture
def make_room(lab: Lab) -> Iterator[Callable[..., Room]]:
    rooms: list[Room] = []

    def make(**options: Any) -> Room:
        rooms.append(Room(lab, **options))
        return rooms[-1]

    yield make
    for room in rooms:
        room.close()


@pytest.fixture
def room(make_room: Callable[..., Room]) -> Room:
    return make_room()
