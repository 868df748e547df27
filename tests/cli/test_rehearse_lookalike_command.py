"""`sumroom-coordinator rehearse lookalike`: what a person and a program read, and what is refused in two lines."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from coordinator import cli

Write = Callable[..., Path]
NAMED = ["--seed-column", "seed", "--owner-column", "owner", "--label-column", "bought"]
ASKED = [*NAMED, "--seed-party", "shop", "--bounds", "-4", "4", "--column-bounds", "Spend €=0:5000"]
ASKED += ["--log", "Spend €", "--epsilon", "3", "--repeat", "2"]


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    capsys.readouterr()
    status = cli.main(["rehearse", "lookalike", *[str(word) for word in words]])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return status, out, err


def people(n: int = 6000) -> dict[str, list[object]]:
    draw = np.random.default_rng(3)
    a, b, c = np.clip(draw.normal(0, 1, (3, n)), -3.9, 3.9)
    kind = (draw.random(n) < 1 / (1 + np.exp(-(1.6 * a - b - 1)))).astype(int)
    owner = [("bank", "club", "shop")[i % 3] for i in range(n)]
    spend = np.round(np.exp(4 + c), 2)
    spend[7] = 9999.25
    return {
        "owner": list(owner), "seed": kind.tolist(), "bought": kind.tolist(),
        "a": a.round(3).tolist(), "b": b.round(3).tolist(), "Spend €": spend.tolist(),
    }  # fmt: skip


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to(name: str = "rows.csv", **changes: tuple[int, object]) -> Path:
        columns = people()
        # Half of the others' people of the kind are in the seed; of the rest it is to be found out.
        columns["seed"] = [s if i % 3 == 2 or i % 2 else 0 for i, s in enumerate(columns["seed"])]
        for column, (row, value) in changes.items():
            columns[column][row] = value
        with (tmp_path / name).open("w", newline="") as file:
            out = csv.writer(file)
            out.writerow(columns)
            out.writerows(zip(*columns.values(), strict=True))
        return tmp_path / name

    return to


def test_a_program_reads_the_ranking_the_report_the_references_and_the_cost(
    capsys: pytest.CaptureFixture[str], write: Write
) -> None:
    status, out, err = run(capsys, write(), *ASKED, "--target", "1.5", "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert (found["rows"], found["rows_clipped"], found["parties"]) == (6000, 1, ["bank", "club", "shop"])
    assert (found["seed_party"], found["truth"]) == ("shop", "label")
    assert [step["step"] for step in found["steps"]] == [
        "look-edges", "look-background", "look-seed", "look-scores", "look-overlap",
    ]  # fmt: skip
    assert sum(step["rho"] for step in found["steps"]) == pytest.approx(found["rho"])
    assert 2.99 < found["epsilon"] <= 3
    assert [one["name"] for one in found["references"]] == ["logistic regression", "gradient boosting"]
    best = max(one["auc"] for one in found["references"])
    for one in found["runs"]:
        assert best - 0.05 < one["auc"] < best + 0.05
        assert 0.3 < one["recall"] < 0.8
        assert set(one["report"]) == {"bank", "club"}
        assert set(one["report"]["bank"]) == {"people", "seed", "cuts", "auc", "signal", "default"}
    assert found["runs"][0]["report"] != found["runs"][1]["report"]


def test_where_a_report_says_nothing_the_least_that_it_needs_is_named(
    capsys: pytest.CaptureFixture[str], write: Write
) -> None:
    """The seed is beyond its floor by five deviations of its noise or more; what two owners share with it is not."""
    status, out, _ = run(capsys, write(), *ASKED, "--epsilon", "0.6", "--repeat", "4")
    assert status == 0
    (told,) = (line for line in out.splitlines() if line.startswith("too noisy: "))
    steps = {name: float(rho) for name, rho in re.findall(r"(look-\w+) (0\.\d+)", out)}
    people = math.ceil(5 * math.sqrt(64 / (2 * steps["look-scores"])))
    seeds = math.ceil(5 * math.sqrt(6 * 2 * 2 / (2 * steps["look-overlap"])))  # two owners: half of ρ each
    assert [int(n.replace(",", "")) for n in re.findall(r"[\d,]*\d", told)] == [people, seeds]


def test_a_person_reads_the_same(capsys: pytest.CaptureFixture[str], write: Write) -> None:
    status, out, err = run(capsys, write(), *ASKED)
    assert (status, err) == (0, "")
    for told in (
        "6,000 rows × 3 columns: shop has a seed of", "bank, club rank", "1 rows had a value beyond its bounds",
        "ρ by step: look-edges 0.", "report of bank", "report of club", "median AUC 0.",
        "on the pooled rows, without noise",
    ):  # fmt: skip
        assert told in out, told


def test_without_owners_rows_are_dealt_out_and_without_a_truth_it_says_whom_it_is_judged_by(
    capsys: pytest.CaptureFixture[str], write: Write
) -> None:
    asked = ["--seed-column", "seed", "--parties", 4, "--columns", "a,b", "--bounds", -4, 4]
    asked += ["--epsilon", 3, "--repeat", 1, "--json"]
    status, out, err = run(capsys, write(), *asked)
    found = json.loads(out)
    assert status == 0
    assert found["parties"] == ["party-01", "party-02", "party-03", "party-04"]
    assert (found["seed_party"], found["truth"], found["references"]) == ("party-01", "seed", [])
    assert found["of_the_kind"] == found["seed"]
    assert "no --label-column: whom to find are the seed's own people" in err


def test_parquet_says_the_same_as_csv(capsys: pytest.CaptureFixture[str], write: Write, tmp_path: Path) -> None:
    import duckdb

    duckdb.sql(f"COPY (FROM '{write()}') TO '{tmp_path / 'rows.parquet'}' (FORMAT PARQUET)")
    documents = [json.loads(run(capsys, tmp_path / name, *ASKED, "--json")[1]) for name in ("rows.csv", "rows.parquet")]
    for name in ("rows", "rows_clipped", "seed", "ranked", "of_the_kind", "steps", "parties"):
        assert documents[0][name] == documents[1][name]
    assert [one["auc"] for one in documents[0]["references"]] == [one["auc"] for one in documents[1]["references"]]


@pytest.mark.parametrize(
    ("changes", "more", "told"),
    [
        ({"seed": (4, "7711")}, [], "column 'seed', row 5: neither 0 nor 1"),
        ({"bought": (4, "x7711")}, [], "column 'bought', row 5 (line 6): not a number"),
        ({"a": (9, "")}, [], "column 'a', row 10 (line 11): empty"),
        ({"owner": (2, "Mrs 7711")}, [], "column 'owner', row 3: no name of a party"),
        ({}, ["--seed-party", "nobody7"], "--seed-party 'nobody7' has no row of the seed"),
        ({}, ["--label-column", "none"], "has no column 'none'"),
        (
            {},
            ["--seed-column", "x", "--owner-column", "y", "--label-column", "z"],
            "line 1 of a csv file names its columns",
        ),
        ({}, ["--columns", "a,seed"], "column 'seed' is no feature"),
        ({}, ["--columns", "a,b", "--log", "Spend €"], "'Spend €' is none of the features"),
        ({}, ["--column-bounds", "Spend €=5"], "--column-bounds: entry 1 is no NAME=LOW:HIGH"),
        ({}, ["--column-bounds", "Spend €=0:1.5"], "of a logarithm whole numbers"),
        ({}, ["--bounds", "4", "-4"], "the first must be the lower"),
        ({}, ["--epsilon", "0"], "--epsilon is 0; it must be above 0"),
        ({}, ["--reach", "15"], "--reach is 15; it is 5, 10, 20, 30 or 50"),
        ({}, ["--target", "0.5"], "--target is no lift from 1 to 100"),
        ({}, ["--parties", "3"], "--parties goes without --owner-column"),
        ({}, ["--label-column", "seed"], "are different columns"),
    ],
)
def test_what_cannot_be_is_refused_without_a_value_of_a_row(
    capsys: pytest.CaptureFixture[str], write: Write, changes: dict[str, tuple[int, object]], more: list[str], told: str
) -> None:
    status, out, err = run(capsys, write(**changes), *ASKED, *more)
    assert status == 2
    assert told in err
    assert "7711" not in out + err


def test_bounds_the_seeds_owner_and_the_cost_must_be_said(capsys: pytest.CaptureFixture[str], write: Write) -> None:
    rows = write()
    status, _, err = run(capsys, rows, *NAMED, "--seed-party", "shop", "--epsilon", 1)
    assert (status, "column 'a' has no bounds" in err) == (2, True)
    status, _, err = run(capsys, rows, *NAMED, "--bounds", -4, 4, "--epsilon", 1)
    assert (status, "bank, club, shop have rows of the seed" in err) == (2, True)
    status, _, err = run(capsys, rows, *NAMED, "--seed-party", "shop", "--bounds", -4, 4)
    assert (status, "missing: --epsilon" in err) == (2, True)
    status, _, err = run(capsys, rows.with_name("none.csv"), *ASKED)
    assert (status, "there is no file" in err) == (2, True)
