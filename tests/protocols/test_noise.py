"""Noise is drawn for a sum that can bear it, or not at all."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from protocols import noise
from protocols.budget import MICRO
from protocols.errors import IntegrityError


def test_a_sum_that_opendp_does_not_accept_gets_no_noise_and_so_does_not_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []

    class Mechanism:
        input_domain = SimpleNamespace(member=lambda _: False)

        def __call__(self, total: Any) -> Any:
            drawn.append(total)
            return total

    monkeypatch.setattr(noise, "make_noise", lambda *_: Mechanism())
    with pytest.raises(IntegrityError, match="does not accept this sum"):
        noise.add_noise(np.zeros(3, dtype=np.int64), bound_sq=3, variance_micro=250 * MICRO)
    assert drawn == []


@pytest.mark.parametrize(
    "total",
    [np.zeros(3), np.zeros(3, dtype=np.int32), np.zeros((2, 2), dtype=np.int64), np.array([0, 2**62 + 1])],
    ids=["floats", "32 bits", "a table", "too large"],
)
def test_what_is_no_flat_vector_of_sums_inside_63_bits_gets_no_noise(total: Any) -> None:
    with pytest.raises(IntegrityError, match="a flat vector of int64 well inside 63 bits"):
        noise.add_noise(total, bound_sq=3, variance_micro=250 * MICRO)
