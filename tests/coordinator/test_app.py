"""The words of a share on their way out of Flower's records: exactly the party's bytes, without a copy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coordinator import app
from protocols import messages
from protocols.carrier import codec

# isort: split
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

WORDS = np.arange(7, dtype="<u8") + np.uint64(2**63)


def test_the_words_are_the_bytes_that_the_party_sent_and_no_copy() -> None:
    array = Array(WORDS)
    payload = codec.words_of(ArrayRecord({"words": array}))
    assert bytes(payload) == WORDS.tobytes()
    assert isinstance(payload, memoryview)
    assert payload.obj is array.data


@pytest.mark.parametrize("record", [{}, {"other": Array(WORDS)}, {"words": Array(WORDS[:0])}])
def test_no_words_are_no_bytes(record: dict[str, Any]) -> None:
    assert bytes(codec.words_of(ArrayRecord(record))) == b""


@pytest.mark.parametrize("shape", [(-1,), (8,), (10**12,), (2, 3)])
def test_words_whose_shape_lies_are_other_bytes_and_no_exception(shape: tuple[int, ...]) -> None:
    """Whoever checks the share finds that they do not have the digest that the party signed."""
    array = Array("uint64", shape, "numpy.ndarray", Array(WORDS).data)
    assert bytes(codec.words_of(ArrayRecord({"words": array}))) != WORDS.tobytes()


@pytest.mark.parametrize("record", [None, ConfigRecord({"body": "text"}), ConfigRecord({"body": b"{}"}), ArrayRecord()])
def test_a_reply_that_cannot_be_read_is_a_refusal_and_is_not_asked_for_again(record: Any) -> None:
    codec.prepare_process()
    records = RecordDict({} if record is None else {"reply": record})
    answer = app._answer(app.Message(records, 7, "query.ask"))
    assert answer.reply == messages.Refusal(code="round", reason="an answer that cannot be read")
