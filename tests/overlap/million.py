"""An overlap of two parties with a million people and twenty lists each, through real nodes: `make long-overlap`.

    python -m tests.overlap.million [--people 1000000]

Every cell of the released matrix, less what both parties drew for it, must be the number of people that are in both
lists: 400 of 400. Prints CPU and the memory of the process that holds both nodes and the coordinator, and of the
largest of its helpers. Exit status 1 where a cell differs.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocols.plan import Plan
from tests.overlap import meeting_lab
from tests.rounds import lab

LISTS = 20
NAMES = [*(f"tier-{i}" for i in range(LISTS - 1)), "other"]
PARTIES = ("alpha", "beta")


def list_of(person: int, at: int) -> int:
    """In which list of party number `at` a person is: at random, but the same in every run."""
    return ((person * 2_654_435_761 + at * 97) >> 7) % LISTS


def people_of(at: int, people: int) -> range:
    """Half of each party's people are the other's too."""
    return range(at * people // 2, at * people // 2 + people)


def csv_of(at: int, people: int) -> str:
    rows = (f"{i},{i},2017-06-01,10.00,0.00,{NAMES[list_of(i, at)]}" for i in people_of(at, people))
    return "customer,basket,bought_on,paid,discount,tier\n" + "\n".join(rows) + "\n"


def truth(people: int) -> Any:
    """(LISTS, LISTS) people of both parties."""
    both = np.arange(people // 2, people, dtype=np.int64)
    mine, theirs = (((both * 2_654_435_761 + at * 97) >> 7) % LISTS for at in range(2))
    return np.bincount(mine * LISTS + theirs, minlength=LISTS**2).reshape(LISTS, LISTS)


def plan_changes(people: int) -> dict[str, Any]:
    columns = {**lab.COLUMNS, "tier": {"type": "category", "values": NAMES}}
    cap = people + people // 10
    return {
        "table": {"name": "sales", "columns": columns},
        "people": {"column": "customer", "key": "id"},
        "questions": [meeting_lab.QUESTION | {"rho": {"sizes": 6_000_000, "pairs": 6_000_000}}],
        "people_cap": cap,
        "delta": f"0.{min(10**9, 10**15 // (10 * cap)):015d}",
        "parties": list(PARTIES),
        "recipients": list(PARTIES),
        "collusion": 1,
        "quorum": 2,
        "deadline_s": 86_400,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="An overlap of two parties with many people, against the truth.")
    parser.add_argument("--people", type=int, default=1_000_000, help="of each party")
    people: int = parser.parse_args().people
    changes = plan_changes(people)
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as monkeypatch:
        base = Path(place) / "room"
        csv = {party: csv_of(at, people) for at, party in enumerate(PARTIES)}
        lab.make(base, csv=csv, members=PARTIES, more='tier = "tier"\n', **changes)
        del csv
        agreed: Plan = lab.plan(**changes)
        draws = meeting_lab.Draws(monkeypatch)
        began, cpu = time.monotonic(), _cpu()
        with lab.Room(base, agreed) as room:
            *_, released = room.run()
        cells = np.asarray(released.body_.noised, dtype=np.int64).reshape(LISTS, LISTS) - draws.noise(*PARTIES)
    right = int(np.count_nonzero(cells == truth(people)))
    own, helper = (resource.getrusage(who).ru_maxrss / 1e3 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    said = {"people": people, "right": right, "cells": LISTS**2, "seconds": round(time.monotonic() - began)}
    used = {"cpu_us_person": round((_cpu() - cpu) / people * 1e6, 1), "mb": round(own), "helper_mb": round(helper)}
    print(json.dumps(said | used))
    return int(right != LISTS**2)


def _cpu() -> float:
    """Seconds of this process and of all that have ended below it."""
    found = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in found)


if __name__ == "__main__":
    sys.exit(main())
