"""The room of three small companies (`rounds/lab.py`) and the ledger's room of three keys (`ledger/builder.py`).

Their modules are imported by their path from the root of the repository, `from tests.rounds import lab`, here and where
no fixture reaches. A folder whose tests mean another room by `room` says so in its own conftest.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="session")
def lab() -> ModuleType:
    # Imported here: most tests need neither nodes nor a coordinator, and loading both takes a second.
    from tests.rounds import lab

    return lab


@pytest.fixture(scope="session")
def built() -> ModuleType:
    from tests.ledger import builder

    return builder


@pytest.fixture(scope="session")
def template(lab: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of a room in which nothing has happened: for copies, not to be changed."""
    made: Path = lab.make(tmp_path_factory.mktemp("room") / "trial")
    return made


@pytest.fixture
def room(lab: ModuleType, template: Path, tmp_path: Path) -> Iterator[Any]:
    """The lab's room at work, copied for this test."""
    with lab.Room(lab.copy(template, tmp_path / "trial")) as room:
        yield room


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


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The name of every step whose sum a node computes from its data, from here on."""
    from party_node import contribution

    seen: list[str] = []
    real = contribution.contribute

    def watched(plan: Any, step: Any, *rest: Any) -> Any:
        seen.append(step.name)
        return real(plan, step, *rest)

    monkeypatch.setattr("party_node.participation.contribute", watched)
    return seen
