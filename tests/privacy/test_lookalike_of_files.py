"""One customer's rows, in files as untidy as files are, move what leaves a lookalike's party by no more than the bound,
and no other customer's place: whether the seed is a list, a rule, or cleaned by an earlier score, and at an owner too.
"""

from __future__ import annotations

import csv
import tempfile
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from party_node.audience import lists_of
from party_node.contribution import Contribution, contribute
from party_node.records import Table, take_snapshot
from party_node.store import Dataset
from protocols.plan import Plan
from protocols.questions import lookalike
from tests.attacks import guessing
from tests.privacy.test_sensitivity_of_files import ANCHOR, Row, party_rows, squared
from tests.rounds import audience, lab

COLUMNS = ("customer", "basket", "bought_on", "paid", "discount", "region")
REGIONS = ("north", "south", "elsewhere", "")
RULE = [{"feature": "spend_cents", "low": 100}, {"feature": "recency_days", "high": 300}]
CLEAN = {"round": "0" * 32, "cells": 32}
SEEDS: dict[str, dict[str, Any]] = {
    "a list": {"list": "loyal"},
    "a rule": {"where": RULE},
    "a list, cleaned": {"list": "loyal", "clean": CLEAN},
    "a rule, cleaned": {"where": RULE, "clean": CLEAN},
}
FEW = settings(deadline=None, derandomize=True, max_examples=4)


@cache
def plan_of(name: str) -> Plan:
    question = {**audience.QUESTION, "seed": {"party": audience.SEED_PARTY, **SEEDS[name]}}
    return lab.plan(**{**audience.CHANGES, "questions": [question]})


def leaving(
    rows: list[Row], listed: list[str], plan: Plan, party: str, earlier: dict[str, Any], folder: Path
) -> tuple[list[Contribution], Counter[tuple[int, bytes]]]:
    """Of the sums, in order, what noise is added to; and of the overlap who is in which list."""
    for name, lines in (("rows.csv", [COLUMNS, *rows]), ("loyal.csv", [["customer"], *([one] for one in listed)])):
        with (folder / name).open("w", newline="", encoding="utf-8") as out:
            csv.writer(out).writerows(lines)
    table = Table((folder / "rows.csv",), {name: name for name in COLUMNS}, {"loyal": folder / "loyal.csv"})
    taken = take_snapshot(table, plan.table, folder / "s.parquet", plan.people)
    dataset = Dataset("0" * 32, "1" * 64, "s.parquet", taken.sha256, "2" * 64, tuple(plan.blocks), plan.people_cap)
    sums = [contribute(plan, s, earlier, dataset, folder, party) for s, _ in plan.steps() if s.made == "sum"]
    people = lists_of(plan, lookalike.OVERLAP, party, earlier, dataset, folder)
    found = Counter[tuple[int, bytes]]()
    for at, keys in people.keys_by_list():
        found.update(zip(at.tolist(), keys, strict=True))
    return sums, found


def check_removals(
    rows: list[Row], persons: list[str], listed: list[str], plan: Plan, party: str
) -> dict[str, dict[str, int]]:
    """Person → step → by how much its going moves that sum, squared."""
    earlier = guessing.usual(plan)
    scorer = lookalike.scorer_of(guessing.question(plan), earlier)
    steps, found = [step for step, _ in plan.steps() if step.made == "sum"], dict[str, dict[str, int]]()
    with tempfile.TemporaryDirectory() as folder, patch("party_node.audience.cleaner", lambda *_: scorer):
        whole, there = leaving(rows, listed, plan, party, earlier, Path(folder))
        for person in persons:
            fewer = [row for row in rows if row[0].strip() != person]
            rest, left = leaving(fewer, listed, plan, party, earlier, Path(folder))
            assert {sums.fault for sums in whole + rest} == {None}  # zeros would keep any bound
            found[person] = {}
            for step, a, b in zip(steps, whole, rest, strict=True):
                moved, own = (a.total - b.total).tolist(), step.statistic.own(party)
                assert not np.delete(a.total, np.arange(own.start, own.stop)).any(), step.name
                found[person][step.name] = squared(moved[own])
                assert found[person][step.name] <= step.statistic.bound_sq, step.name
            assert not left - there
            assert sum((there - left).values()) <= 1
            assert {key for _, key in there - left} <= {person.encode()}
    return found


@pytest.mark.parametrize("party", ["alpha", "beta"])
@pytest.mark.parametrize("seed", SEEDS)
@FEW
@given(rows=party_rows(), data=st.data())
def test_a_customers_rows_and_place_on_a_list_move_what_leaves_by_no_more_than_the_bound(
    seed: str, party: str, rows: list[Row], data: st.DataObject
) -> None:
    regions = data.draw(st.lists(st.sampled_from(REGIONS), min_size=len(rows), max_size=len(rows)))
    whole = [(*row, region) for row, region in zip(rows, regions, strict=True)] + [(*ANCHOR, "north")]
    known = sorted({row[0].strip() for row in whole} - {""})
    listed = data.draw(st.lists(st.sampled_from([*known, f" {known[0]} ", "stranger"]), min_size=1, max_size=9))
    person = data.draw(st.sampled_from([one for one in known if one != ANCHOR[0]] or ["nobody"]))
    check_removals(whole, [person], listed, plan_of(seed), party)


@pytest.mark.parametrize("seed", SEEDS)
def test_of_some_very_unlike_customers_each_one_moves_itself_alone(seed: str) -> None:
    """The likest and the unlikest, one in two groups, one on the list twice, one that cannot be used."""
    rows: list[Row] = [("bob", f"b{i}", "2017-12-30", "60", "0", "north") for i in range(20)]
    rows += [("anna", "b1", "2017-01-02", "1", "0", "south"), ("anna", "b2", "2017-01-03", "1", "0", "north")]
    rows += [("carl", "b1", "2017-06-30", "20", "0", ""), ("dora", "b1", "nonsense", "1", "0", "south")]
    rows += [(*ANCHOR, "south")]
    persons, listed = ["anna", "bob", "carl", "dora"], ["bob", "bob", "anna", "dora"]
    moved = check_removals(rows, persons, listed, plan_of(seed), "beta")
    assert moved["bob"]["look-seed"] > 0.99 * 2**32
    assert [moved["bob"][step] for step in ("look-edges", "look-scores", "look-audit")] == [3, 1, 0]
    assert moved["carl"]["look-seed"] == 0 or seed == "a rule"
    moved = check_removals(rows, persons, listed, plan_of(seed), "alpha")
    assert [moved["bob"][step] for step in ("look-seed", "look-scores", "look-audit")] == [0, 1, 1]
