"""The question `rfm` says what pandas says of the same customers when there is no noise, and less when there is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from protocols.figures import TOO_NOISY, pointers
from protocols.noise import add_noise
from protocols.plan import Plan
from protocols.questions import REGISTRY, rfm, steps_of
from protocols.statistic import Integers, Noise, Step, tally

DEMO = Path(__file__).resolve().parents[1] / "plans" / "rfm.toml"
PLAN = Plan.from_toml(DEMO.read_bytes())
(QUESTION,) = [question for question in PLAN.questions if isinstance(question, rfm.Plan)]
(CUTS, CUTS_NOISE), (COHORTS, COHORTS_NOISE) = PLAN.steps()[:2]
SILENCE = Noise(1, 1)  # a millionth of a squared person: half-widths are 0, and nothing is gated that exists
MODEST = settings(deadline=None, derandomize=True, max_examples=80)

Customers = dict[str, Integers]


def customers(count: int, seed: int) -> Customers:
    draw = np.random.default_rng(seed)
    baskets = np.minimum(np.ceil(draw.lognormal(2.2, 1.4, count)), 300).astype(np.int64)
    recency = np.minimum(draw.exponential(400 / (1 + baskets)) + draw.exponential(20, count), 365).astype(np.int64)
    spend = (baskets * draw.lognormal(3.2, 0.9, count) * 100).astype(np.int64) - draw.integers(0, 3000, count)
    discounted = draw.binomial(baskets, draw.beta(1.2, 1.6, count)).astype(np.int64)
    usable = (draw.random(count) > 0.05).astype(np.int64)
    columns = {"recency_days": recency, "baskets": baskets, "spend_cents": spend, "discounted_baskets": discounted}
    return {name: column * usable for name, column in columns.items()} | {"usable": usable}


def once_each(count: int, seed: int = 5) -> Customers:
    """Everybody bought once, in the last year, for between 1 and 100."""
    draw = np.random.default_rng(seed)
    ones = np.ones(count, dtype=np.int64)
    return {
        "recency_days": draw.integers(0, 365, count),
        "baskets": ones,
        "spend_cents": draw.integers(100, 10_000, count),
        "discounted_baskets": ones * 0,
        "usable": ones,
    }


def rows_of(step: Step, people: Customers, earlier: Mapping[str, Any]) -> Integers:
    rows = step.contribute(people, earlier)
    assert isinstance(rows, np.ndarray)
    return rows


def exact_cuts(people: Customers) -> dict[str, Any]:
    total = tally(CUTS.statistic, people, lambda batch: CUTS.contribute(batch, {})).total
    return CUTS.answer(total, SILENCE, {})


def exact_cohorts(people: Customers, cuts: Mapping[str, Any]) -> dict[str, Any]:
    total = tally(COHORTS.statistic, people, lambda batch: COHORTS.contribute(batch, {CUTS.name: cuts})).total
    return COHORTS.answer(total, SILENCE, {CUTS.name: cuts})


# -- the oracle --------------------------------------------------------------------------------------------------------


def frame_of(people: Customers) -> pd.DataFrame:
    frame = pd.DataFrame(people)
    frame = frame[frame["usable"] == 1]
    frame["recency"], frame["frequency"] = frame["recency_days"], frame["baskets"]
    frame["monetary"] = frame["spend_cents"] / 100
    return frame


def oracle_cut(values: pd.Series[Any], bounds: list[int], target: int) -> tuple[int, float]:
    """The bin boundary whose share of customers below it is nearest the target, and that share."""
    edges = [0, *bounds]
    below = pd.Series([0.0, *((values < edge).mean() for edge in bounds)])
    nearest = int((below - target / 100).abs().idxmin())
    return edges[nearest], float(below[nearest])


def oracle_score(values: pd.Series[Any], cuts: list[int]) -> pd.Series[Any]:
    """1 + the cuts at or below a value; below the lowest boundary everything is open, so a cut at 0 counts for all."""
    return 1 + sum(((values >= cut) | (cut == 0)).astype(int) for cut in cuts)


def oracle_scores(frame: pd.DataFrame, cuts: Mapping[str, Any]) -> pd.DataFrame:
    edges = {f: sorted(int(cuts[f][f"p{t}"]["edge"]["value"]) for t in rfm.TARGETS) for f in rfm.FEATURES}
    out = frame.assign(**{f[0]: oracle_score(frame[f], edges[f]) for f in rfm.FEATURES})
    out["r"] = 6 - out["r"]
    lowest = 1 + edges["frequency"].count(0)
    return out.assign(cohort=[oracle_cohort(row, lowest) for row in out.to_dict("records")])


def oracle_cohort(c: Mapping[Any, Any], lowest: int) -> str:
    if c["baskets"] >= 4 and c["discounted_baskets"] / c["baskets"] >= 0.6:
        return "bargain-hunter"
    if min(c["r"], c["f"], c["m"]) >= 4:
        return "loyalist"
    if c["r"] <= 2 and c["f"] >= 4:
        return "lapsed-defector"
    if c["r"] == 5 and c["f"] == lowest:
        return "promising-new"
    if c["r"] in (2, 3) and c["f"] >= 3:
        return "at-risk"
    if c["m"] == 5:
        return "big-spender"
    return "occasional" if c["f"] <= 2 else "other"


# -- without noise -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "seed"), [(2500, 1), (2500, 2), (300, 3), (41, 4)])
def test_without_noise_the_cuts_are_the_boundaries_nearest_the_quintiles(count: int, seed: int) -> None:
    people = customers(count, seed)
    answer, frame = exact_cuts(people), frame_of(people)
    for feature in rfm.FEATURES:
        for target in rfm.TARGETS:
            edge, below = oracle_cut(frame[feature], QUESTION.boundaries(feature), target)
            shown = answer[feature][f"p{target}"]
            assert shown["edge"] == {name: str(edge) for name in ("value", "low", "high")}
            assert float(shown["below"]["value"]) == pytest.approx(below, abs=5e-5)


@pytest.mark.parametrize(("count", "seed"), [(2500, 1), (2500, 2), (300, 3)])
def test_without_noise_cells_and_cohorts_are_what_pandas_counts(count: int, seed: int) -> None:
    people = customers(count, seed)
    cuts = exact_cuts(people)
    answer, scored = exact_cohorts(people, cuts), oracle_scores(frame_of(people), cuts)
    cells = scored.groupby(["r", "f"]).size()
    for r in range(1, 6):
        for f in range(1, 6):
            assert shown_count(answer["cells"][f"r{r}f{f}"]) == cells.get((r, f), 0)
    sizes = scored["cohort"].value_counts()
    assert {name: shown_count(answer["cohorts"][name]) for name in rfm.COHORTS} == {
        name: sizes.get(name, 0) for name in rfm.COHORTS
    }
    assert float(answer["unusable"]["value"]) == np.count_nonzero(people["usable"] == 0)


def shown_count(figure: Mapping[str, str]) -> float:
    """Of nobody at all it can only be said that they are too few to tell."""
    return 0.0 if figure["value"] == TOO_NOISY else float(figure["value"])


@pytest.mark.parametrize("seed", [1, 2])
def test_without_noise_every_customer_has_the_score_that_pandas_gives(seed: int) -> None:
    people = customers(2500, seed)
    cuts = exact_cuts(people)
    rows = rows_of(COHORTS, people, {CUTS.name: cuts})[people["usable"] == 1]
    scored = oracle_scores(frame_of(people), cuts)
    cell, cohort = rows[:, :25].argmax(axis=1), rows[:, 25:].argmax(axis=1)
    assert (1 + cell // 5).tolist() == scored["r"].tolist()
    assert (1 + cell % 5).tolist() == scored["f"].tolist()
    assert [rfm.COHORTS[i] for i in cohort] == scored["cohort"].tolist()


@pytest.mark.parametrize("parties", [2, 3, 5])
def test_customers_split_over_parties_give_the_same_sum(parties: int) -> None:
    people = customers(1000, 9)
    cuts = {CUTS.name: exact_cuts(people)}
    for step in (CUTS, COHORTS):
        whole = tally(step.statistic, people, lambda batch, s=step: s.contribute(batch, cuts)).total  # type: ignore[misc]
        part = np.zeros_like(whole)
        for i in range(parties):
            some = {name: column[i::parties] for name, column in people.items()}
            part += tally(step.statistic, some, lambda batch, s=step: s.contribute(batch, cuts)).total  # type: ignore[misc]
        assert part.tolist() == whole.tolist()


# -- bins, ties, rules -------------------------------------------------------------------------------------------------


def person(**features: int) -> Customers:
    given = {"recency_days": 5, "baskets": 3, "spend_cents": 5000, "discounted_baskets": 0, "usable": 1, **features}
    return {name: np.array([value], dtype=np.int64) for name, value in given.items()}


@pytest.mark.parametrize(
    ("feature", "value", "slot"),
    [
        ("recency_days", 0, "recency/0"),
        ("recency_days", 2, "recency/1"),
        ("recency_days", 274, "recency/15"),
        ("baskets", 1, "frequency/0"),
        ("baskets", 170, "frequency/9"),
        ("spend_cents", -(10**9), "monetary/0"),
        ("spend_cents", 500, "monetary/1"),
        ("spend_cents", 513_200, "monetary/15"),
        ("spend_cents", 2**63 - 1, "monetary/15"),
    ],
)
def test_a_boundary_is_the_lower_end_of_its_bin(feature: str, value: int, slot: str) -> None:
    row = rows_of(CUTS, person(**{feature: value}), {})[0]
    filled = [CUTS.statistic.slots[i] for i in np.flatnonzero(row)]
    assert slot in filled
    assert len(filled) == 3
    assert set(row.tolist()) == {0, 1}


@pytest.mark.parametrize("baskets", [0, -1, -(2**63)])
def test_a_person_without_a_basket_counts_as_unusable(baskets: int) -> None:
    earlier = {CUTS.name: exact_cuts(customers(300, 3))}
    for step in (CUTS, COHORTS):
        total = tally(step.statistic, person(baskets=baskets), lambda b, s=step: s.contribute(b, earlier)).total  # type: ignore[misc]
        assert total[-1] == step.statistic.unusable_entry
        assert not np.any(total[:-1])


@pytest.mark.parametrize(
    ("baskets", "discounted", "hunts"), [(5, 3, True), (10, 6, True), (5, 2, False), (3, 3, False), (4, 4, True)]
)
def test_a_bargain_hunter_has_enough_baskets_and_at_least_the_plans_share_of_discounted_ones(
    baskets: int, discounted: int, hunts: bool
) -> None:
    earlier = {CUTS.name: exact_cuts(customers(300, 3))}
    row = rows_of(COHORTS, person(baskets=baskets, discounted_baskets=discounted), earlier)[0]
    assert bool(row[25 + rfm.COHORTS.index("bargain-hunter")]) is hunts


def test_where_everybody_bought_once_cuts_of_frequency_coincide_and_the_round_goes_on() -> None:
    people = once_each(2000)
    cuts = exact_cuts(people)
    edges = [cuts["frequency"][f"p{t}"]["edge"]["value"] for t in rfm.TARGETS]
    assert edges == [
        "0",
        "0",
        "2",
        "2",
    ]  # nobody is below 1, all are below 2: 20 and 40 % are nearer to 0, 60 and 80 to 1
    assert rfm.levels(QUESTION, cuts) == {"recency": 5, "frequency": 2, "monetary": 5}
    cells = rows_of(COHORTS, people, {CUTS.name: cuts})[:, :25].sum(axis=0)
    assert cells.sum() == 2000
    assert {i % 5 for i in np.flatnonzero(cells)} == {2}  # one score of frequency, the middle one


def test_where_everybody_bought_once_the_recent_ones_are_the_promising_new() -> None:
    people = once_each(2000)
    cuts = exact_cuts(people)
    answer = exact_cohorts(people, cuts)
    recent = int(cuts["recency"]["p20"]["edge"]["value"])
    assert shown_count(answer["cohorts"]["promising-new"]) == np.count_nonzero(people["recency_days"] < recent)


def test_a_cut_that_is_too_noisy_falls_back_to_the_public_bin_at_that_share() -> None:
    cuts = {f: {f"p{t}": {"edge": {"value": TOO_NOISY}} for t in rfm.TARGETS} for f in rfm.FEATURES}
    assert rfm.scores_at(QUESTION, cuts) == {
        "recency": [3, 6, 9, 12],
        "frequency": [2, 4, 6, 8],
        "monetary": [3, 6, 9, 12],
    }


# -- with noise --------------------------------------------------------------------------------------------------------


def test_a_starved_run_says_too_noisy_everywhere_and_raises_nothing() -> None:
    """Fifty customers at three parties, thirty rounds of the demo's own noise."""
    people = customers(50, 6)
    parts = [{name: column[i::3] for name, column in people.items()} for i in range(3)]
    for _ in range(30):
        earlier: dict[str, Any] = {}
        for step, mechanism in PLAN.steps():
            noised = sum_of_shares(parts, step, mechanism.variance_micro, earlier)
            earlier[step.name] = step.answer(noised, Noise(3, mechanism.variance_micro), earlier)
        assert {figure["value"] for figure in leaves(earlier[CUTS.name])} == {TOO_NOISY}
        tables = [*earlier[COHORTS.name]["cells"].values(), *earlier[COHORTS.name]["cohorts"].values()]
        assert {figure["value"] for figure in tables} == {TOO_NOISY}


def sum_of_shares(parts: list[Customers], step: Any, variance_micro: int, earlier: dict[str, Any]) -> Integers:
    noised = np.zeros(len(step.statistic.slots), dtype=np.int64)
    for part in parts:
        total = tally(step.statistic, part, lambda batch: step.contribute(batch, earlier)).total
        noised += add_noise(total, bound_sq=step.statistic.bound_sq, variance_micro=variance_micro)
    return noised


def leaves(tree: Mapping[str, Any]) -> list[Mapping[str, str]]:
    if "value" in tree:
        return [tree]
    return [leaf for inner in tree.values() for leaf in leaves(inner)]


noised_slots = st.integers(-100, 4000) | st.integers(-(2**53) + 1, 2**53 - 1) | st.just(0)


@MODEST
@given(
    cuts=st.lists(noised_slots, min_size=43, max_size=43),
    cohorts=st.lists(noised_slots, min_size=34, max_size=34),
    shares=st.integers(1, 50),
)
def test_every_noised_sum_whatever_it_is_has_an_answer_of_sound_figures(
    cuts: list[int], cohorts: list[int], shares: int
) -> None:
    first = CUTS.answer(np.array(cuts, dtype=np.int64), Noise(shares, CUTS_NOISE.variance_micro), {})
    second = COHORTS.answer(np.array(cohorts, dtype=np.int64), Noise(shares, COHORTS_NOISE.variance_micro), {})
    assert len(list(pointers(first))) == 24
    assert len(list(pointers(second))) == 34
    for figure in [*leaves(first), *leaves(second)]:
        if figure["value"] != TOO_NOISY:
            assert float(figure["low"]) <= float(figure["value"]) <= float(figure["high"])
            assert float(figure.get("consistent", "0")) >= 0
    for positions in rfm.scores_at(QUESTION, first).values():
        assert positions == sorted(positions)
        assert 0 <= positions[0] <= positions[-1] < 16


def cells_and_cohorts(cells: list[int], named: list[int]) -> dict[str, Any]:
    noised = np.array([*cells, *named, 0], dtype=np.int64)
    return COHORTS.answer(noised, Noise(3, 208_333_334), {})  # σ of the sum: 25.00


def test_a_cell_below_five_standard_deviations_is_too_noisy() -> None:
    answer = cells_and_cohorts([126] * 20 + [125] * 5, [126] * 4 + [125] * 4)
    assert [f["value"] for f in answer["cells"].values()] == ["126"] * 20 + [TOO_NOISY] * 5
    assert [f["value"] for f in answer["cohorts"].values()] == ["63.0"] * 4 + [TOO_NOISY] * 4


@pytest.mark.parametrize(("clear", "shown"), [(13, 13), (12, 0)])
def test_a_table_of_which_more_than_half_is_too_noisy_is_so_as_a_whole(clear: int, shown: int) -> None:
    answer = cells_and_cohorts([5000] * clear + [20] * (25 - clear), [5000] * 8)
    assert sum(f["value"] != TOO_NOISY for f in answer["cells"].values()) == shown
    assert sum(f["value"] != TOO_NOISY for f in answer["cohorts"].values()) == 8


@MODEST
@given(
    cells=st.lists(st.integers(200, 3000), min_size=25, max_size=25),
    named=st.lists(st.integers(200, 6000), min_size=8, max_size=8),
)
def test_in_the_consistent_view_cells_and_cohorts_add_up_to_one_total(cells: list[int], named: list[int]) -> None:
    answer = cells_and_cohorts(cells, named)
    sums = [sum(float(f["consistent"]) for f in answer[table].values()) for table in ("cells", "cohorts")]
    assert sums[0] == pytest.approx(sums[1], abs=0.05 * 33 + 1e-6)
    between = sorted([sum(cells), sum(named) / 2])
    assert between[0] - 2 <= sums[0] <= between[1] + 2
    assert all(f["value"] == str(x) for f, x in zip(answer["cells"].values(), cells, strict=True))


@MODEST
@given(values=st.lists(st.floats(-500, 5000), min_size=1, max_size=12), total=st.floats(0.01, 5000))
def test_the_consistent_view_is_the_nearest_table_without_negative_cells(values: list[float], total: float) -> None:
    """The point is nearest exactly where one shift moved all that is positive, and no zero would have been above it."""
    view = rfm._project(values, total)
    assert min(view) >= 0
    assert sum(view) == pytest.approx(total, abs=1e-6)
    shifts = [v - x for v, x in zip(values, view, strict=True) if x > 0]
    assert not shifts or max(shifts) - min(shifts) < 1e-6
    assert not shifts or all(v <= shifts[0] + 1e-6 for v, x in zip(values, view, strict=True) if x == 0)


def test_a_table_of_nobody_is_consistent_with_zeros_only() -> None:
    assert rfm._project([1.0, -3.0], 0.0) == [0.0, 0.0]


# -- what a plan may say -----------------------------------------------------------------------------------------------


def test_the_steps_of_a_plan_are_cuts_then_cohorts_with_the_bounds_of_their_proofs() -> None:
    assert REGISTRY["rfm"][0] is rfm.Plan
    found = [
        (s.name, len(s.statistic.slots), s.statistic.scale, s.statistic.bound_sq, rho)
        for s, rho in steps_of(QUESTION, PLAN.facts(QUESTION))
    ]
    assert found == [("rfm-cuts", 43, 1, 3, 6_000_000), ("rfm-cohorts", 34, 2, 5, 12_000_000)]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("recency_days", [2, 4, 4, 8]),
        ("recency_days", [8, 6, 4, 2]),
        ("recency_days", [2, 4, 8]),
        ("recency_days", list(range(1, 65))),
        ("recency_days", [0, 4, 8, 16]),
        ("frequency_baskets", [1, 2, 3, 4]),
        ("bargain_baskets", 0),
        ("bargain_share_percent", 0),
        ("bargain_share_percent", 101),
        ("kind", "rfm2"),
        ("rho", {"cuts": 0, "cohorts": 1}),
        ("surprise", 1),
    ],
)
def test_a_question_with_an_unsound_setting_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        rfm.Plan.model_validate({**QUESTION.body(), field: value})
