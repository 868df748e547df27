"""The consistent view: the nearest table that could be true."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize  # in the environment already, for scikit-learn

from protocols.questions.overlap.consistent import capped, in_tenths, table

MODEST = settings(deadline=None, derandomize=True, max_examples=150)
number = st.integers(-60, 400).map(float)


def test_a_capped_point_is_the_nearest_by_hand() -> None:
    assert capped([3.0, -1.0, 2.0], 10.0) == [3.0, 0.0, 2.0]
    assert capped([3.0, -1.0, 2.0], 3.0) == [2.0, 0.0, 1.0]
    assert capped([9.0, 1.0], 4.0) == [4.0, 0.0]
    assert capped([5.0], 0.0) == [0.0]


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[list[float]], list[int], list[int]]:
    m, n = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    values = draw(st.lists(st.lists(number, min_size=n, max_size=n), min_size=m, max_size=m))
    caps = [draw(st.lists(st.integers(0, 6000), min_size=k, max_size=k)) for k in (m, n)]
    return values, caps[0], caps[1]


@MODEST
@given(drawn=tables())
def test_a_view_is_never_negative_and_no_margin_is_above_its_list(
    drawn: tuple[list[list[float]], list[int], list[int]],
) -> None:
    values, rows, columns = drawn
    x = np.array(in_tenths(values, rows, columns))
    assert x.dtype.kind == "i"
    assert np.all(x >= 0)
    assert np.all(x.sum(axis=1) <= rows)
    assert np.all(x.sum(axis=0) <= columns)


@MODEST
@given(drawn=tables())
def test_what_could_be_true_already_is_left_as_it_is(drawn: tuple[list[list[float]], list[int], list[int]]) -> None:
    values = np.maximum(np.array(drawn[0]), 0)
    rows, columns = (10 * values.sum(axis=axis) for axis in (1, 0))
    found = in_tenths(values.tolist(), [int(x) for x in rows], [int(x) for x in columns])
    assert np.array_equal(np.array(found), 10 * values)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(drawn=tables())
def test_the_view_is_the_nearest_that_a_general_solver_finds(
    drawn: tuple[list[list[float]], list[int], list[int]],
) -> None:
    values, rows, columns = np.array(drawn[0]), np.array(drawn[1]) / 10, np.array(drawn[2]) / 10
    mine = np.array(table(values.tolist(), rows.tolist(), columns.tolist()))
    shape = values.shape
    limits = [
        {"type": "ineq", "fun": lambda x: rows - x.reshape(shape).sum(axis=1)},
        {"type": "ineq", "fun": lambda x: columns - x.reshape(shape).sum(axis=0)},
    ]
    solved = minimize(
        lambda x: ((x - values.ravel()) ** 2).sum() / 1e3,
        np.zeros(values.size),
        jac=lambda x: 2 * (x - values.ravel()) / 1e3,
        bounds=[(0, None)] * values.size,
        constraints=limits,
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-10},
    )
    assert solved.success
    best = np.linalg.norm(solved.x - values.ravel())
    assert np.linalg.norm(mine - values) <= best + 0.01
    assert np.all(mine.sum(axis=1) <= rows + 0.001)
    assert np.all(mine.sum(axis=0) <= columns + 0.001)
