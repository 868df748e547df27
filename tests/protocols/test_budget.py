"""Budget is counted in whole nano-ρ, rounded against us, and only from plain decimals."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.budget import (
    charge_for,
    decimal,
    honest_shares,
    micro,
    nano,
    person_charge,
    recovery_threshold,
    variance_for,
)
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


# -- the fewest that must be there, and a person known to several parties ----------------------------------------------


def pairs(most: int) -> list[tuple[int, int]]:
    return [(adders, collusion) for adders in range(1, most + 1) for collusion in range(adders)]


def test_the_threshold_is_the_least_number_that_is_above_both_bounds_and_never_more_than_all() -> None:
    for adders, collusion in pairs(64):
        enough = [t for t in range(1, adders + 1) if 2 * t > adders + collusion + 1 and 3 * t > 2 * adders]
        assert recovery_threshold(adders, collusion) == (enough or [adders])[0]


def test_two_sets_of_threshold_size_share_two_parties_more_than_may_collude_or_are_everybody() -> None:
    """Two: of which one may have been put back to an older copy of its disk, and have forgotten what it signed."""
    for adders, collusion in pairs(7):
        sets = [set(s) for s in combinations(range(adders), recovery_threshold(adders, collusion))]
        assert len(sets) == 1 or all(len(one & other) >= collusion + 2 for one in sets for other in sets)


def test_nothing_can_be_recovered_among_four_or_when_all_but_one_or_two_may_collude() -> None:
    for adders, collusion in pairs(64):
        if (adders <= 4 and collusion >= 1) or collusion >= adders - 3:
            assert recovery_threshold(adders, collusion) == adders
    assert (recovery_threshold(4, 1), recovery_threshold(5, 1), recovery_threshold(50, 10)) == (4, 4, 34)


@pytest.mark.parametrize(("adders", "collusion"), [(0, 0), (1, 1), (3, 3), (3, -1)])
def test_there_is_no_threshold_where_everybody_or_nobody_could_collude(adders: int, collusion: int) -> None:
    with pytest.raises(UsageError, match="cannot collude"):
        recovery_threshold(adders, collusion)


@pytest.mark.parametrize(("bound", "variance"), [(1, 9_000_000), (5, 208_333_334), (3 << 32, 10**15 + 7)])
def test_no_coalition_and_no_set_of_survivors_learns_more_of_a_person_than_the_persons_charge(
    bound: int, variance: int
) -> None:
    """By brute force: m parties that know the person among h honest survivors of a set of at least the quorum."""
    for adders, collusion in pairs(8):
        charge = person_charge(bound, variance, adders)
        for quorum in range(recovery_threshold(adders, collusion), adders + 1):
            for colluders in range(collusion + 1):
                for survivors in range(quorum, adders + 1):
                    for among in range(min(colluders, survivors) + 1):  # colluders that survived
                        honest = survivors - among
                        if honest > adders - colluders:
                            continue
                        for m in range(1, honest + 1):
                            assert m * m * bound * 10**15 <= charge * 2 * honest * variance
                            assert m * m <= adders * max(m, quorum - colluders)
                            if m == 1:  # the record's own charge
                                record = charge_for(bound, variance, honest_shares(quorum, collusion))
                                assert bound * 10**15 <= record * 2 * honest * variance


def test_the_charge_of_a_person_is_reached_where_all_know_them_and_nobody_colludes() -> None:
    """So that nothing less would do: n parties, n of n survivors, (nΔ)²/(2·n·v) = n·Δ²/(2v)."""
    for n in range(1, 10):
        assert person_charge(6, 10_000_000, n) == n * 300_000_000
        assert (n * n * 6 * 10**15) == person_charge(6, 10_000_000, n) * 2 * n * 10_000_000
