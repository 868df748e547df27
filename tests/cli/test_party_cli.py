"""`sumroom-party`: 0 done, 1 refused by a rule, 2 wrong usage, 3 integrity broken; an error is two lines on stderr."""

from __future__ import annotations

import csv
import json
import math
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from party_node import cli
from tests.rounds.in_toml import plan_toml

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(lab: ModuleType, template: Path, tmp_path: Path) -> Path:
    """Alpha's folder, to spoil; its node does not run."""
    return Path(lab.copy(template, tmp_path / "spoilt")) / "alpha"


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    capsys.readouterr()
    status = cli.main([str(word) for word in words])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return status, out, err


def register(capsys: pytest.CaptureFixture[str], home: Path, *more: object) -> tuple[int, str, str]:
    return run(capsys, "register", "--config", home / "node.toml", "--plan", home.parent / "plan.toml", *more)


def more_rows(home: Path, *rows: str) -> None:
    with (home / "sales.csv").open("a") as file:
        file.writelines(f"{row}\n" for row in rows)


def test_register_shows_what_it_found_and_keeps_a_new_version(
    capsys: pytest.CaptureFixture[str], lab: ModuleType, home: Path
) -> None:
    before = set((home / "state").glob("snapshot-*.parquet"))
    more_rows(home, "alpha-0,new,2018-01-01,1.00,0.00")
    status, out, err = register(capsys, home)
    assert (status, err) == (0, "")
    assert "781 rows of 120 people, 2017-01-02 to 2018-01-01" in out
    (fresh,) = set((home / "state").glob("snapshot-*.parquet")) - before
    assert fresh.name.removeprefix("snapshot-")[:8] in out
    assert fresh.stat().st_mode & 0o077 == 0


def test_register_names_unusable_rows_by_file_row_and_column_and_never_by_value(
    capsys: pytest.CaptureFixture[str], lab: ModuleType, home: Path
) -> None:
    (home / "sales.csv").write_text(lab.csv_of(lab.rows_of("alpha", people=200)))
    last = len((home / "sales.csv").read_text().splitlines())
    more_rows(home, "alpha-99,b,2017-13-45,secret-amount,0.00", ",b,2017-01-05,1.00,0.00")
    status, out, err = register(capsys, home)
    assert status == 0
    assert "\n1 row is unusable, and each one's customer with it:\n" in out
    assert "\n1 row has no customer and belongs to nobody\n" in out
    assert f"sales.csv line {last + 1}, column bought_on: not a date" in out
    assert "secret-amount" not in out + err
    status, out, _ = register(capsys, home, "--json")
    found = json.loads(out)
    assert (status, found["bad_rows"], found["rows_without_customer"]) == (0, 1, 1)
    assert [(row["column"], row["line"]) for row in found["bad_sample"]] == [
        ("bought_on", last + 1),
        ("paid", last + 1),
    ]
    assert "secret-amount" not in out


def test_register_refuses_more_people_than_the_plans_cap_without_keeping_anything(
    capsys: pytest.CaptureFixture[str], lab: ModuleType, home: Path
) -> None:
    before = set((home / "state").iterdir())
    (home / "sales.csv").write_text(lab.csv_of(lab.rows_of("alpha", people=501)))
    status, out, err = register(capsys, home)
    assert (status, out) == (1, "")
    assert err.startswith("error: the files hold more people than the plan's people_cap of 500\nhint: ")
    assert {path for path in (home / "state").iterdir() if path.suffix == ".parquet"} <= before


def test_register_while_the_node_runs_is_refused(capsys: pytest.CaptureFixture[str], room: Any) -> None:
    status, _, err = register(capsys, room.base / "alpha")
    assert status == 1
    assert "another process of this node is using" in err
    assert err.splitlines()[1] == "hint: stop it first"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda home: (home / "node.toml").unlink(), "there is no settings file"),
        (lambda home: (home / "node.toml").write_text("["), "is not TOML"),
        (lambda home: (home.parent / "plan.toml").unlink(), "cannot read the plan"),
        (lambda home: (home.parent / "plan.toml").write_text("room = 1"), "error: "),
        (lambda home: (home / "sales.csv").unlink(), "nothing matches"),
        (lambda home: (home / "sales.csv").write_bytes(b"\xff\xfe"), "sales.csv"),
        (lambda home: (home / "sales.csv").write_text("a,b\n1,2\n"), "column"),
        (lambda home: (home.parent / "room.toml").write_text(""), "room.toml"),
    ],
)
def test_a_mistake_is_two_lines_and_status_2(
    capsys: pytest.CaptureFixture[str], home: Path, spoil: Any, said: str
) -> None:
    spoil(home)
    status, out, err = register(capsys, home)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert said in err
    assert len(err.splitlines()) <= 2


def test_start_refuses_a_key_that_others_can_read_before_it_dials(
    capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    (home / "signing.pem").chmod(0o644)
    done = subprocess.run(
        [sys.executable, "-m", "party_node", "start", "--config", str(home / "node.toml")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "files.signing_key: others can read" in done.stderr
    assert "hint: chmod 600" in done.stderr
    assert "Traceback" not in done.stderr


def test_status_shows_what_is_used_of_the_partys_budget(
    capsys: pytest.CaptureFixture[str], room: Any, lab: ModuleType
) -> None:
    path = room.base / "alpha" / "node.toml"
    status, out, _ = run(capsys, "status", "--config", path, "--json")
    unused = {"block": "year", "used_nano": 0, "left_nano": 10**9, "cap_nano": 10**9}
    assert (status, json.loads(out)) == (0, {"party": "alpha", "blocks": [unused]})
    room.run()
    status, out, _ = run(capsys, "status", "--config", path, "--json")
    assert json.loads(out)["blocks"] == [{**unused, "used_nano": lab.RHO, "left_nano": 10**9 - lab.RHO}]
    status, out, _ = run(capsys, "status", "--config", path)
    assert status == 0
    assert "0.4" in out
    assert "year" in out


def test_status_of_a_party_that_has_answered_nothing_changes_nothing_of_its_data(
    capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    before = {path.name for path in (home / "state").iterdir()}
    assert run(capsys, "status", "--config", home / "node.toml")[0] == 0
    assert {path.name for path in (home / "state").iterdir()} == before


def test_an_accounts_file_that_is_none_is_named(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    (home / "accounts.db").write_text("this is no database, and long enough to be read as one: " + "x" * 4096)
    (home / "accounts.db").chmod(0o600)
    status, _, err = run(capsys, "status", "--config", home / "node.toml")
    assert status in (2, 3)
    assert "internal fault" not in err


@pytest.mark.parametrize("words", [["--help"], ["register", "--help"], ["start", "--help"], ["status", "--help"]])
def test_help_is_there_for_every_command(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    status, out, _ = run(capsys, *words)
    assert status == 0
    assert "Usage" in out


@pytest.mark.parametrize("words", [["fetch"], ["register"], ["status", "--config"], ["status", "--verbose"]])
def test_a_wrong_command_line_is_status_2(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    status, out, err = run(capsys, *words)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert "hint: see: sumroom-party --help" in err


def test_two_registered_versions_are_both_kept_and_the_latest_counts(
    capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    more_rows(home, "alpha-0,new,2018-01-01,1.00,0.00")
    register(capsys, home)
    db = sqlite3.connect(home / "state" / "node.db")
    rows = db.execute("SELECT version, snapshot FROM dataset ORDER BY number").fetchall()
    db.close()
    assert len(rows) == 2
    assert all((home / "state" / snapshot).is_file() for _, snapshot in rows)


def segments_plan(lab: ModuleType, home: Path) -> Path:
    features = [
        {"name": name, "transform": "log1p", "low": 1, "high": high}
        for name, high in (("recency_days", 365), ("baskets", 100))
    ]
    rho = dict.fromkeys(("moments", "coarse", "fine", "over", "lloyd", "profile"), 10**6)
    more = {"features": features, "clusters": 3, "lloyd_rounds": 1, "coarse_cells": 64, "fine_cells": 64}
    path = home / "segments.toml"
    path.write_text(plan_toml(lab.plan(questions=[{"kind": "segments", "rho": rho, **more}], rho=10**9)))
    return path


def test_own_segments_are_those_of_this_partys_rows_and_need_no_round(
    capsys: pytest.CaptureFixture[str], lab: ModuleType, home: Path
) -> None:
    plan, out = segments_plan(lab, home), home / "own"
    words = ("segments", "--config", home / "node.toml", "--local", "--plan", plan, "--out", out)
    status, said, err = run(capsys, *words)
    assert (status, err) == (0, "")
    assert "no noise, so they must not leave it" in said
    rows = list(csv.DictReader((out / "segments.csv").read_text().splitlines()))
    counts = Counter(row["segment"] for row in rows)
    assert sorted(counts) == ["s1", "s2", "s3"]
    assert [counts[f"s{i}"] for i in (1, 2, 3)] == sorted(counts.values(), reverse=True)
    assert sum(counts.values()) == lab.PEOPLE
    # A table of a segment's typical number of baskets that is its own customers' mean of log(1 + baskets).
    baskets = {f"alpha-{i}": 1 + (i * 7 + 1) % 12 for i in range(lab.PEOPLE)}
    logs = [math.log1p(baskets[row["customer"]]) for row in rows if row["segment"] == "s1"]
    (line,) = [line for line in said.splitlines() if line.lstrip("│┃ ").startswith("s1")]
    assert f"{math.expm1(sum(logs) / len(logs)):,.6g}" in line
    assert run(capsys, *words, "--clusters", "5")[0] == 0
    assert len({row["segment"] for row in csv.DictReader((out / "segments.csv").read_text().splitlines())}) == 5


@pytest.mark.parametrize("fault", ["IOException", "TransactionException", "OutOfMemoryException"])
def test_a_list_that_finds_no_room_is_refused_in_words(
    capsys: pytest.CaptureFixture[str], lab: ModuleType, home: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    import duckdb

    def full(*_: object) -> None:
        raise getattr(duckdb, fault)("row alpha-0: no space left on device")

    monkeypatch.setattr("party_node.own_segments.write", full)
    words = ("--local", "--plan", segments_plan(lab, home), "--out", home / "own")
    status, out, err = run(capsys, "segments", "--config", home / "node.toml", *words)
    assert (status, "is there room?" in err, "alpha-0" in out + err) == (2, True, False)


def test_own_segments_refuse_what_cannot_be_meant(
    capsys: pytest.CaptureFixture[str], lab: ModuleType, home: Path
) -> None:
    plan, out = segments_plan(lab, home), home / "own"
    words = ("segments", "--config", home / "node.toml", "--out", out)
    status, _, err = run(capsys, *words, "--plan", plan)
    assert (status, "--plan and --clusters go with --local" in err) == (2, True)
    status, _, err = run(capsys, *words, "--local", "--plan", home.parent / "plan.toml")
    assert (status, "asks for no segments" in err) == (2, True)
    status, _, err = run(capsys, *words, "--local")
    assert (status, "no segments have been released" in err) == (1, True)
    assert not out.exists()
