"""A room for each test of this folder, copied from one that is made once."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def _load() -> ModuleType:
    name = "sumroom_tests_rounds_lab"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("lab.py"))
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="session")
def lab() -> ModuleType:
    return _load()


@pytest.fixture(scope="session")
def template(lab: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of a room in which nothing has happened."""
    made: Path = lab.make(tmp_path_factory.mktemp("room") / "trial")
    return made


@pytest.fixture
def room(lab: ModuleType, template: Path, tmp_path: Path) -> Iterator[Any]:
    with lab.Room(lab.copy(template, tmp_path / "trial")) as room:
        yield room
