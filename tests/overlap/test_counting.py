"""The coordinator's count, on values that are made up: canaries above all, where a pair has one list each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from protocols.errors import IntegrityError
from protocols.overlap import counting
from protocols.overlap.layout import CANARIES, Layout

ONE_LIST = Layout({"alpha": (10,), "beta": (20,)}, shift=3)
SHARED = 7


def values(first: int, layout: Layout, owner: str, peer: str) -> Any:
    return np.arange(first, first + sum(layout.final(owner, peer)), dtype=np.uint64)


def counted(bend: Callable[[Any, Any], None] = lambda *_: None) -> Any:
    """Two finished lists of values that have SHARED in common; `bend` those of alpha, or its canaries."""
    alpha, beta = values(10_000, ONE_LIST, "alpha", "beta"), values(20_000, ONE_LIST, "beta", "alpha")
    alpha[:SHARED] = beta[:SHARED]
    signs = alpha[-CANARIES:].reshape(1, CANARIES).copy(), beta[-CANARIES:].reshape(1, CANARIES).copy()
    bend(alpha, signs[0])
    return counting.matrix(ONE_LIST, "alpha", "beta", (alpha, beta), signs)


def missing(values: Any, _: Any) -> None:
    values[-1] = 5


def above_all(_: Any, signs: Any) -> None:
    signs[0, 0] = 2**64 - 1


def one_twice(_: Any, signs: Any) -> None:
    signs[0, 0] = signs[0, 1]


def test_what_is_shared_is_counted_less_the_public_part() -> None:
    assert counted().tolist() == [[SHARED - 2 * ONE_LIST.shift]]


@pytest.mark.parametrize("bend", [missing, above_all, one_twice])
def test_of_a_pair_with_one_list_each_every_canary_must_be_there(bend: Callable[[Any, Any], None]) -> None:
    """A single one that is not ends the count; and so does one that is named twice, in the place of another."""
    with pytest.raises(IntegrityError, match="canaries are missing in the lists that beta finished"):
        counted(bend)


def test_a_canary_that_a_peer_has_too_is_not_counted() -> None:
    """Taken out before the count: canaries are nobody."""

    def shared(values: Any, signs: Any) -> None:
        signs[0, 0] = values[0]

    assert counted(shared).tolist() == [[SHARED - 1 - 2 * ONE_LIST.shift]]


def test_a_value_twice_ends_the_count() -> None:
    def twice(values: Any, _: Any) -> None:
        values[3] = values[4]

    with pytest.raises(IntegrityError, match="the lists of alpha hold a value twice"):
        counted(twice)


def test_values_that_end_within_an_entry() -> None:
    with pytest.raises(IntegrityError, match="in the middle of an entry"):
        counting.values_of(bytes(12))
