"""Budget is counted in whole nano-ρ, rounded against us, and only from plain decimals."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.budget import charge_for, decimal, honest_shares, micro, nano, variance_for
from protocols.errors import UsageError

MODEST = settings(deadline=None, derandomize=True, max_examples=100)


@MODEST
@given(st.integers(0, 10**15 - 1))
def test_a_decimal_is_read_back_to_the_same_number_of_billionths(value: int) -> None:
    assert nano(decimal(value), what="rho") == value


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "1e-3", ".5", "5.", "01", "0.0000000001", "1000000", "nan", " 1", "1\n"]
)
def test_what_is_no_plain_decimal_is_refused_by_the_name_of_its_setting(text: str) -> None:
    with pytest.raises(UsageError, match="caps.record is .* not a decimal with at most nine digits") as caught:
        nano(text, what="caps.record")
    assert caught.value.hint == 'write for example "0.006"'


def test_a_number_below_zero_and_millionths_are_written_as_shortly() -> None:
    assert [decimal(-88_000_000), decimal(-2 * 10**9), decimal(0), decimal(1)] == ["-0.088", "-2", "0", "0.000000001"]
    assert decimal(208_333_334, 10**6) == "208.333334"
    assert micro("208.333334") == 208_333_334


@MODEST
@given(rho=st.integers(1, 10**12), bound=st.integers(1, 2**40), honest=st.integers(1, 50))
def test_the_noise_of_a_plan_costs_no_more_than_its_rho_and_the_least_bit_less_noise_does(
    rho: int, bound: int, honest: int
) -> None:
    variance = variance_for(rho, bound, honest)
    assert charge_for(bound, variance, honest) <= rho
    assert variance == 1 or charge_for(bound, variance - 1, honest) > rho


@pytest.mark.parametrize("numbers", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (-1, 1, 1)])
def test_nothing_is_charged_or_noised_for_numbers_that_are_not_positive(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError, match="must all be positive"):
        variance_for(*numbers)
    with pytest.raises(UsageError, match="must all be positive"):
        charge_for(*numbers)


def test_a_charge_never_counts_on_less_than_the_one_share_that_a_node_adds_itself() -> None:
    assert [honest_shares(3, 2), honest_shares(3, 3), honest_shares(1, 0), honest_shares(5, 2)] == [1, 1, 1, 3]
