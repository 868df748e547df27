"""A party's own customers in the segments or classes: in files that only their owner can read, and nowhere else."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import duckdb
import numpy as np
import pytest

from party_node import assignment
from party_node.assignment import write
from party_node.features import People
from party_node.store import Dataset
from protocols.errors import UsageError
from protocols.questions import classes
from protocols.questions.classes.model import Classes
from tests.coordinator.test_classes_sections import LEVELS, make_plan


def snapshot(file: Path, more: str = "") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as con:
        con.execute(
            f"COPY (SELECT 'änna' AS customer{more}) TO '{str(file).replace(chr(39), chr(39) * 2)}' (FORMAT parquet)"
        )
    return file


def written(out: Path, more: str = "") -> list[dict[str, str]]:
    customers = np.array(["b'ob", "änna", "=1+1"], dtype=object)
    of = snapshot(out.parent / f"{out.name}-state" / "s.parquet", more)
    done = write(out, customers, np.array([2, 0, 1]), np.array([0.5, np.nan, 0.25]), of)
    assert done.customers == 3
    with done.csv.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("there", [False, True])
def test_both_files_are_their_owners_alone_whether_or_not_the_folder_was_there(tmp_path: Path, there: bool) -> None:
    out = tmp_path / "o'ut"
    if there:
        out.mkdir(mode=0o755)
    rows = {row["customer"]: row["segment"] for row in written(out)}
    assert rows == {"b'ob": "s2", "änna": "unusable", "=1+1": "s1"}
    assert sorted(path.name for path in out.iterdir()) == ["segments.csv", "segments.parquet"]
    assert all(path.stat().st_mode & 0o077 == 0 for path in out.iterdir())


def test_the_parquet_file_says_the_same_as_the_csv(tmp_path: Path) -> None:
    rows = written(tmp_path)
    with duckdb.connect() as con:
        found = con.execute("SELECT * FROM read_parquet($1)", [str(tmp_path / "segments.parquet")]).fetchall()
    assert [(row["customer"], row["segment"]) for row in rows] == [(c, s) for c, s, _ in found]
    assert [distance for _, _, distance in sorted(found)] == [0.25, 0.5, None]


def test_the_customers_who_became_one_person_stand_beside_the_one_that_names_it(tmp_path: Path) -> None:
    rows = written(tmp_path, """, unnest(['zoë, "z"', 'zack', 'zack', NULL]) AS "merged customer\"""")
    assert {row["customer"]: row["also_customers"] for row in rows} == {
        "b'ob": "", "änna": '["zack","zoë, \\"z\\""]', "=1+1": ""
    }  # fmt: skip
    assert "also_customers" not in written(tmp_path / "none")[0]


def test_a_planted_link_in_the_folder_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("keep")
    out = tmp_path / "out"
    out.mkdir()
    (out / "segments.csv").symlink_to(target)
    written(out)
    assert target.read_text() == "keep"
    assert not (out / "segments.csv").is_symlink()


def test_where_one_of_the_files_has_no_place_neither_is_written(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "segments.csv").mkdir(parents=True)
    with pytest.raises(OSError, match="segments.csv is a folder there"):
        written(out)
    assert [path.name for path in out.iterdir()] == ["segments.csv"]


# -- latent classes ----------------------------------------------------------------------------------------------------


def classified(monkeypatch: pytest.MonkeyPatch, out: Path, size: str = "4000") -> dict[str, dict[str, str]]:
    """Customer → the row of the file, of four customers in two released classes."""
    plan = make_plan(2)
    question = plan.questions[0]
    assert isinstance(question, classes.Plan)
    chances = tuple(np.array([[0.9] + [0.1 / (n - 1)] * (n - 1), [0.1 / (n - 1)] * (n - 1) + [0.9]]) for n in LEVELS)
    released = {"classes": {f"c{k}": {"size": {"value": size}} for k in (1, 2)}}
    released |= {"state": Classes(np.array([4000.0, 3000.0]), chances).write()}
    rows = {"low": [0, 0, 0, 0, 0, 1], "high": [30, 20, 2550, 505_000, 180, 1], "mixed": [30, 0, 0, 0, 0, 1],
            "none": [0] * 6}  # fmt: skip
    names = [*(item.feature for item in question.items), "usable"]
    columns = {name: np.array([row[j] for row in rows.values()], dtype=np.int64) for j, name in enumerate(names)}
    found = People(np.array(list(rows), dtype=object), columns)
    monkeypatch.setattr(assignment, "check_snapshot", lambda *_: None)
    monkeypatch.setattr(assignment, "people", lambda *_: found)
    dataset, state = cast(Dataset, SimpleNamespace(snapshot="s", sha256="0" * 64)), out.parent / f"{out.name}-state"
    snapshot(state / "s")
    done = assignment.classify(plan, {classes.NAME: released}, dataset, state, out)
    with done.csv.open(newline="", encoding="utf-8") as file:
        return {row["customer"]: row for row in csv.DictReader(file)}


def test_each_customer_is_put_into_the_likeliest_class_with_its_probability(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = classified(monkeypatch, tmp_path)
    assert {who: row["class"] for who, row in rows.items()} == {
        "low": "c1", "high": "c2", "mixed": "c1", "none": "unusable"
    }  # fmt: skip
    # Bayes: 4000 · .9^5 against 3000 · .1^3 · .05^2, and with the first level the other way round.
    first, second = 4000 * 0.9**4 * 0.1, 3000 * 0.1**2 * 0.05**2 * 0.9
    assert float(rows["mixed"]["probability"]) == pytest.approx(first / (first + second), abs=1e-5)
    assert float(rows["high"]["probability"]) > 0.99
    assert rows["none"]["probability"] == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["classes.csv", "classes.parquet"]
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.iterdir())


def test_nobody_is_put_into_classes_that_are_too_noisy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="too noisy to put customers into"):
        classified(monkeypatch, tmp_path, "too noisy")
    assert list(tmp_path.iterdir()) == []
