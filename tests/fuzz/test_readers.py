"""No bytes make a reader of ours do anything but read them or say why not: the quick form of `make fuzz`."""

from __future__ import annotations

import logging

import pytest

from .judge import judge, run
from .targets import TARGETS

EXAMPLES = 150


@pytest.mark.parametrize("name", TARGETS)
def test_a_reader_refuses_in_words_or_has_read_exactly_these_bytes(name: str) -> None:
    logging.disable(logging.WARNING)
    try:
        target = TARGETS[name]
        assert target.seeds()
        assert all(judge(target, data) for data in target.seeds())
        read, taken = run(target, max(20, EXAMPLES // target.weight))
    finally:
        logging.disable(logging.NOTSET)
    assert read > taken
