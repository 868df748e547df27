"""Rounds under kill -9, bad networks and full disks, the quick form; and that it can see what it looks for."""

from __future__ import annotations

import importlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.torture import checks, faults, processes, report, room, run
from tests.torture.points import COORDINATOR, PARTY, POINTS
from tests.torture.proxy import Loop
from tests.torture.role import resolve

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", sorted(POINTS))
def test_every_point_is_a_function_of_the_product(name: str) -> None:
    point = POINTS[name]
    owner, attribute, function = resolve(point.module, point.attribute)
    assert callable(function)
    assert vars(owner)[attribute] is function
    assert function.__module__ == point.module
    assert importlib.import_module(point.module).__name__.split(".")[0] in ("party_node", "coordinator", "protocols")


def test_no_name_stands_for_two_points_and_each_is_of_one_side() -> None:
    assert len(PARTY) + len(COORDINATOR) == len(POINTS)
    assert {point.role for point in PARTY.values()} == {"party"}
    assert {point.role for point in COORDINATOR.values()} == {"coordinator"}


@pytest.mark.parametrize("n", [3, 5, 7, 10])
def test_a_room_of_each_size_has_a_plan_whose_rounds_fit_hundreds_of_times(n: int) -> None:
    plan = room.plan_of(tuple(f"p{k:02d}" for k in range(n)))
    assert plan.charge * 1000 < 10**9
    assert plan.quorum <= n
    assert 1 <= plan.collusion < n


def test_the_table_counts_each_round_once_and_the_violations_of_all() -> None:
    lines = [
        report.Line(1, 3, "cut", "p00", "released", 2.4, ()),
        report.Line(2, 3, "cut", "p01", "forfeited", 7.6, ("audit: entry 3: no",)),
        report.Line(3, 5, "twice", "", "released", 2.0, ()),
    ]
    assert "VIOLATION audit: entry 3: no" in str(lines[1])
    rows = {line.split()[0]: line.split()[1:] for line in report.table(lines).splitlines()[1:]}
    assert rows["cut"] == ["2", "1", "1", "0", "8", "1"]
    assert rows["twice"] == ["1", "1", "0", "0", "2", "0"]
    assert rows["all"] == ["3", "2", "1", "0", "8", "1"]


@pytest.fixture(scope="module")
def at_rest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[processes.Room]:
    """A room whose one round was released, and nothing is wrong with."""
    made = room.make(tmp_path_factory.mktemp("t") / "r", 3, Random(1), grace_s=1, noise=True, small_disks=False)
    with processes.Nest() as nest, Loop() as loop, processes.Room(made, nest, loop, ballast=False) as at_work:
        scene = faults.Scene(at_work, Random(1))
        assert list(run.rounds_end(at_work, scene, "nothing")) == []
        assert run.what_became(at_work, scene) == ("released", [])
        yield at_work


def _again(at_work: processes.Room, party: str, what: str) -> dict[str, Any]:
    """The last event of a kind, once more."""
    return dict(next(event for event in reversed(at_work.events[party]) if event["what"] == what))


def _another_draw(at_work: processes.Room) -> str:
    at_work.events["p00"].append(_again(at_work, "p00", "draw"))
    return "p00 drew noise again for step rfm-cohorts"


def _another_share(at_work: processes.Room) -> str:
    at_work.events["p01"].append({**_again(at_work, "p01", "leave"), "sha256": "0" * 64})
    return "2 different shares left p01"


def _another_arrival(at_work: processes.Room) -> str:
    at_work.events["coordinator"].append({**_again(at_work, "coordinator", "arrive"), "sha256": "0" * 64})
    return "2 different shares of "


def _another_sum(at_work: processes.Room) -> str:
    event = next(e for e in at_work.events["p02"] if e["what"] == "draw")
    event["noised"] = [event["noised"][0] + 1, *event["noised"][1:]]
    return "is not the sum of what p00, p01, p02 drew"


def _an_end(at_work: processes.Room) -> str:
    at_work.fallen.append("p00")
    return "p00 ended, and nobody had ended it"


def _a_traceback(at_work: processes.Room) -> str:
    with (at_work.place / "logs" / "p01.log").open("a") as log:
        log.write("Traceback (most recent call last):\n")
    return "log of p01: Traceback"


def _a_charge(at_work: processes.Room) -> str:
    copied = "SELECT room, 'f', plan, first, last, nano, state, at, expires FROM charge LIMIT 1"
    with closing(sqlite3.connect(at_work.place / "p00" / "accounts.db", timeout=10)) as db, db:
        db.execute(f"INSERT INTO charge {copied}")
    return "p00 has spent for round f, which is in no ledger"


@pytest.mark.processes
@pytest.mark.parametrize(
    "spoil", [_another_draw, _another_share, _another_arrival, _another_sum, _an_end, _a_traceback, _a_charge]
)
def test_what_must_never_happen_is_a_violation(
    at_rest: processes.Room, spoil: Callable[[processes.Room], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(at_rest, "events", json.loads(json.dumps(at_rest.events)))
    monkeypatch.setattr(at_rest, "fallen", [])
    before = list(checks.after_round(at_rest, set()))
    expected = spoil(at_rest)
    found = [violation for violation in checks.after_round(at_rest, set()) if violation not in before]
    assert any(expected in violation for violation in found), found


@pytest.mark.processes
def test_quick_torture_finds_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.torture.run", "--seed", "20"],
        cwd=ROOT,
        env={**os.environ, "QUICK": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    total = done.stdout.splitlines()[-1].split()
    assert total[0] == "all"
    assert int(total[1]) >= 5
    assert int(total[2]) >= 1
    assert total[-1] == "0"
