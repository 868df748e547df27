"""A party's own customers in the segments: in files that only their owner can read, and nowhere else."""

from __future__ import annotations

import csv
from pathlib import Path

import duckdb
import numpy as np
import pytest

from party_node.assignment import write


def written(out: Path) -> list[dict[str, str]]:
    customers = np.array(["b'ob", "änna", "=1+1"], dtype=object)
    done = write(out, customers, np.array([2, 0, 1]), np.array([0.5, np.nan, 0.25]))
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


def test_a_planted_link_in_the_folder_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("keep")
    out = tmp_path / "out"
    out.mkdir()
    (out / "segments.csv").symlink_to(target)
    written(out)
    assert target.read_text() == "keep"
    assert not (out / "segments.csv").is_symlink()
