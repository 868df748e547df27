"""What an overlap says: numbers counted by hand, views that could be true, and what is too noisy to be said."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols import figures
from protocols.accuracy import discrete_gaussian_accuracy
from protocols.encoding import canonical, parse
from protocols.errors import IntegrityError
from protocols.figures import TOO_NOISY
from protocols.questions import overlap, steps_of
from protocols.questions.overlap.reach import heaviest_tree
from protocols.statistic import Facts, Noise
from tests.protocols.overlap.crowd import facts_of, question_of

MICRO = 25_000_000  # σ = 5 of one share
TWO, THREE = facts_of("alpha", "beta", segments=2), facts_of("alpha", "beta", "gamma", segments=2)
SIZES_OF_TWO = [1000, 3000, 2000, 4000, 7]


def answers(
    question: overlap.Plan, facts: Facts, sizes: list[int], cells: list[int]
) -> tuple[dict[str, Any], dict[str, Any]]:
    (first, _), (second, _) = steps_of(question, facts)
    n = len(facts.parties)
    one = first.answer(np.array(sizes, dtype=np.int64), first.noise(n, MICRO), {})
    two = second.answer(np.array(cells, dtype=np.int64), second.noise(n, MICRO), {first.name: one})
    assert list(figures.pointers(one))
    assert list(figures.pointers(two))
    return one, two


def value(leaf: dict[str, str]) -> float:
    return float(leaf["value"])


def half(leaf: dict[str, str]) -> float:
    return (float(leaf["high"]) - float(leaf["low"])) / 2


def test_sizes_are_unbiased_and_caps_are_eight_deviations_above_within_the_plans_cap() -> None:
    facts = facts_of("alpha", "beta", segments=2, people_cap=3050)
    found, _ = answers(question_of(), facts, [1000, 3000, -20, 40, 7], [0] * 4)
    alpha, beta = found["parties"]["alpha"]["lists"], found["parties"]["beta"]["lists"]
    assert alpha["s1"]["size"]["value"] == "1000"
    assert half(alpha["s1"]["size"]) == discrete_gaussian_accuracy(50.0)
    assert half(found["parties"]["alpha"]["size"]) == discrete_gaussian_accuracy(100.0)
    assert beta["s1"]["size"] == {"value": "-20", "low": "-34", "high": "-6", "consistent": "0.0"}
    # 8 · √50 = 56.6
    assert [one["cap"]["value"] for one in (*alpha.values(), *beta.values())] == ["1057", "3050", "57", "97"]
    assert overlap.caps(question_of(), facts, found) == {
        "alpha": {"s1": 1057, "s2": 3050},
        "beta": {"s1": 57, "s2": 97},
    }
    views = [float(one["size"]["consistent"]) for one in alpha.values()]
    assert sum(views) == float(found["parties"]["alpha"]["size"]["consistent"]) == 3050
    assert found["unusable"]["value"] == "7"
    assert found["deviation"]["value"] == "7.071067812"


def test_cells_margins_and_totals_are_sums_with_the_noise_of_so_many_cells_of_two_shares() -> None:
    _, found = answers(question_of(), TWO, SIZES_OF_TWO, [500, 100, 300, 900])
    pair = found["pairs"]["alpha--beta"]
    assert [[value(pair["cells"][s][t]) for t in ("s1", "s2")] for s in ("s1", "s2")] == [[500, 100], [300, 900]]
    assert {half(leaf) for row in pair["cells"].values() for leaf in row.values()} == {discrete_gaussian_accuracy(50.0)}
    lists = {party: {name: value(one["overlap"]) for name, one in of.items()} for party, of in pair["lists"].items()}
    assert lists == {"alpha": {"s1": 600, "s2": 1200}, "beta": {"s1": 800, "s2": 1000}}
    assert half(pair["lists"]["alpha"]["s1"]["overlap"]) == discrete_gaussian_accuracy(100.0)
    assert (value(pair["all"]["overlap"]), half(pair["all"]["overlap"])) == (1800, discrete_gaussian_accuracy(200.0))
    assert value(pair["lists"]["alpha"]["s1"]["share"]) == 0.6
    assert value(pair["all"]["share"]["beta"]) == 0.3
    # 500 · 1800 / (600 · 800)
    assert value(pair["index"]["s1"]["s1"]) == 187.5
    assert found["all"]["reach"]["people"]["value"] == "8200"
    assert half(found["all"]["reach"]["people"]) == discrete_gaussian_accuracy(4 * 50.0 + 4 * 50.0)
    assert value(found["all"]["duplication"]) == 0.18


def test_the_noise_in_a_cell_is_that_of_two_parties_among_three() -> None:
    (first, _), (second, _) = steps_of(question_of("all"), THREE)
    one = first.answer(np.array([900, 900, 900, 0]), first.noise(3, MICRO), {})
    two = second.answer(np.array([300, 300, 300]), second.noise(3, MICRO), {first.name: one})
    assert half(one["parties"]["alpha"]["size"]) == discrete_gaussian_accuracy(75.0)
    assert half(two["pairs"]["alpha--beta"]["all"]["overlap"]) == discrete_gaussian_accuracy(50.0)


def test_an_index_is_not_said_below_five_deviations_nor_where_there_is_one_list() -> None:
    _, found = answers(question_of(), TWO, SIZES_OF_TWO, [35, 36, 300, 900])  # 5 · √50 = 35.4
    index = found["pairs"]["alpha--beta"]["index"]
    assert index["s1"]["s1"] == {"value": TOO_NOISY}
    assert index["s1"]["s2"]["value"] != TOO_NOISY
    _, found = answers(question_of("all"), TWO, [1000, 1000, 0], [300])
    assert "index" not in found["pairs"]["alpha--beta"]


def test_a_share_whose_interval_is_unbounded_or_says_nothing_is_too_noisy() -> None:
    _, found = answers(question_of("all"), TWO, [13, 25, 0], [9])
    share = found["pairs"]["alpha--beta"]["all"]["share"]
    assert share == {"alpha": {"value": TOO_NOISY}, "beta": {"value": TOO_NOISY}}  # 13 < 1.96 · √50 = 13.9


def test_values_are_edges_times_counts_and_their_cells_are_added_up() -> None:
    question = question_of("all", value={"party": "beta", "feature": "spend_cents", "low": 0, "high": 90, "bins": 4})
    _, found = answers(question, TWO, [900, 100, 200, 300, 100, 0], [50, 60, 70, 80])
    pair = found["pairs"]["alpha--beta"]
    assert (value(pair["all"]["overlap"]), half(pair["all"]["overlap"])) == (260, discrete_gaussian_accuracy(200.0))
    assert value(pair["all"]["share"]["beta"]) == round(260 / 700, 4)
    assert value(pair["values"]["all"]["sum"]) == 30 * 60 + 60 * 70 + 90 * 80
    assert value(pair["values"]["all"]["mean"]) == round(13_200 / 260, 2)
    low, high = (float(pair["values"]["all"]["mean"][end]) for end in ("low", "high"))
    assert 40 < low < high < 60
    noise = 50 * (30**2 + 60**2 + 90**2) + 30**2 / 4 * 260
    assert half(pair["values"]["cells"]["all"]["all"]["sum"]) == pytest.approx(1.959964 * noise**0.5, abs=1)
    turned = question_of("all", value={"party": "alpha", "feature": "spend_cents", "low": 0, "high": 90, "bins": 4})
    _, found = answers(turned, TWO, [100, 200, 300, 100, 900, 0], [50, 60, 70, 80])
    assert found["pairs"]["alpha--beta"]["values"] == pair["values"]


def test_a_mean_whose_interval_is_half_of_the_range_or_more_is_too_noisy() -> None:
    question = question_of("all", value={"party": "beta", "feature": "spend_cents", "low": 0, "high": 90, "bins": 4})
    for counts in ([5, 6, 7, 8], [0, 0, 0, 0], [-9, 3, 2, -8]):
        _, found = answers(question, TWO, [900, 100, 200, 300, 100, 0], counts)
        assert found["pairs"]["alpha--beta"]["values"]["all"]["mean"] == {"value": TOO_NOISY}
        assert found["pairs"]["alpha--beta"]["values"]["all"]["sum"]["value"] != TOO_NOISY


def test_three_parties_have_bounds_and_the_upper_one_is_by_the_heaviest_tree() -> None:
    _, found = answers(question_of("all"), THREE, [1000, 2000, 3000, 0], [400, 100, 900])
    reach = found["all"]["reach"]
    assert reach["at_least"]["value"] == "4600"
    assert reach["at_most"]["value"] == "4700"
    # Bonferroni over the three trees of three parties: z(0.05 / 3) = 2.394; 3 · 75 + 2 · 50
    (first, _), _ = steps_of(question_of("all"), THREE)
    assert first.noise(3, MICRO).variance == 75
    assert half(reach["at_most"]) == pytest.approx(2.394 * (3 * 75 + 2 * 50) ** 0.5, abs=1)


@given(weights=st.lists(st.integers(-50, 50), min_size=10, max_size=10))
def test_the_heaviest_tree_is_the_heaviest_of_all(weights: list[int]) -> None:
    from itertools import combinations

    parties = list("abcde")
    weight = dict(zip(combinations(parties, 2), weights, strict=True))

    def spans(edges: tuple[tuple[str, str], ...]) -> bool:
        reached = {"a"}
        for _ in edges:
            reached |= {x for edge in edges if reached & set(edge) for x in edge}
        return reached == set(parties)

    best = max(sum(weight[e] for e in edges) for edges in combinations(weight, 4) if spans(edges))
    tree = heaviest_tree(parties, weight)
    assert spans(tuple(tree))
    assert sum(weight[e] for e in tree) == best


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(-100, 3000), min_size=6, max_size=6),
    cells=st.lists(st.integers(-100, 900), min_size=12, max_size=12),
)
def test_the_consistent_view_could_be_true_and_its_margins_agree(sizes: list[int], cells: list[int]) -> None:
    first, second = answers(question_of(), THREE, [*sizes, 0], cells)
    for a, b in overlap.pairs(THREE.parties):
        pair = second["pairs"][f"{a}--{b}"]
        view = [[round(10 * float(leaf["consistent"])) for leaf in row.values()] for row in pair["cells"].values()]
        sums = [sum(row) for row in view], [sum(column) for column in zip(*view, strict=True)]
        for party, margins in zip((a, b), sums, strict=True):
            assert [round(10 * float(one["overlap"]["consistent"])) for one in pair["lists"][party].values()] == margins
            most = [round(10 * float(one["size"]["consistent"])) for one in first["parties"][party]["lists"].values()]
            assert all(0 <= margin <= size for margin, size in zip(margins, most, strict=True))
        assert round(10 * float(pair["all"]["overlap"]["consistent"])) == sum(map(sum, view))


def test_an_answer_is_the_same_whether_it_starts_from_the_first_answer_or_from_its_canonical_bytes() -> None:
    """In canonical form maps are sorted: plain comes after other, and s10 before s2."""
    (first, _), (second, _) = steps_of(question_of("column"), TWO)
    one = first.answer(np.array([1000, 3000, 500, 70, 2000, 4000, 900, 40, 7]), Noise(2, MICRO), {})
    cells = np.array([500, -3, 300, 900, 5, 6, 70, 800, 9, 10, 110, 12, 1, 2, 3, 4])
    again = parse(canonical(one))
    lists = ["gold", "silver", "plain", "other"]
    assert list(again["parties"]["alpha"]["lists"]) == sorted(lists)
    caps = overlap.caps(question_of("column"), TWO, again)
    assert [list(caps[party]) for party in TWO.parties] == [lists, lists]
    assert second.answer(cells, Noise(2, MICRO), {first.name: one}) == second.answer(
        cells, Noise(2, MICRO), {first.name: again}
    )


def test_sizes_of_other_lists_than_the_plans_are_refused() -> None:
    (first, _), (second, _) = steps_of(question_of(), TWO)
    one = first.answer(np.array(SIZES_OF_TWO), Noise(2, MICRO), {})
    more = {**one["parties"]["alpha"]["lists"], "s9": one["parties"]["alpha"]["lists"]["s1"]}
    other = spoiled(one, "parties", "alpha", "lists", to=more)
    with pytest.raises(IntegrityError, match="the lists of alpha are not those of the plan"):
        second.answer(np.array([500, -3, 300, 900]), Noise(2, MICRO), {first.name: other})


def spoiled(released: dict[str, Any], *path: str, to: Any) -> dict[str, Any]:
    copy = json.loads(json.dumps(released))
    at = copy
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = to
    return dict(copy)


def test_an_overlap_without_the_release_of_its_sizes_is_no_answer() -> None:
    _, (second, _) = steps_of(question_of(), TWO)
    with pytest.raises(IntegrityError, match="overlap-sizes"):
        second.answer(np.array([500, -3, 300, 900]), Noise(2, MICRO), {})


@pytest.mark.parametrize(
    ("path", "to"),
    [
        (("parties",), {}),
        (("parties", "alpha", "lists"), {"s1": {}}),
        (("parties", "alpha", "lists", "s1", "size"), {"value": TOO_NOISY}),
        (("parties", "alpha", "lists", "s1", "cap", "value"), "100001"),
        (("parties", "alpha", "lists", "s1", "cap", "value"), "-1"),
        (("parties", "alpha", "lists", "s1", "cap", "value"), "1.5"),
        (("parties", "alpha", "lists", "s1", "size", "consistent"), 5),
        (("deviation", "value"), "0"),
        (("deviation", "value"), "nan"),
        (("deviation",), {"value": TOO_NOISY}),
    ],
)
def test_sizes_that_are_no_answer_of_the_first_step_are_refused(path: tuple[str, ...], to: Any) -> None:
    (first, _), _ = steps_of(question_of(), TWO)
    one = first.answer(np.array(SIZES_OF_TWO), Noise(2, MICRO), {})
    with pytest.raises(IntegrityError):
        overlap.caps(question_of(), TWO, spoiled(one, *path, to=to))
