"""Beside the lab's room of three (`tests/conftest.py`), one of five of whom one may be lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="session")
def template_of_five(lab: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of a room of five in which nothing has happened."""
    made: Path = lab.make(tmp_path_factory.mktemp("five") / "trial", members=lab.FIVE, **lab.FOUR_OF_FIVE)
    return made


@pytest.fixture
def five(lab: ModuleType, template_of_five: Path, tmp_path: Path) -> Iterator[Any]:
    """The room of five at work, copied for this test."""
    with lab.Room(lab.copy(template_of_five, tmp_path / "five"), lab.plan(**lab.FOUR_OF_FIVE)) as room:
        yield room
