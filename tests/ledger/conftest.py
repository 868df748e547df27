"""The room of three keys, and every entry it may write, for the tests of this folder."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def room(built: ModuleType) -> Any:
    return built.Room()
