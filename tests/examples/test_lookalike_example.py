"""The example of two files of customers, run as a newcomer would, and its figures compared with the true ones."""

from __future__ import annotations

import csv
import datetime as dt
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUN = ROOT / "examples" / "lookalike" / "run.py"
UNTIL = dt.date(2024, 6, 30)
FIGURE = re.compile(r"[0-9][0-9,.]*")

pytestmark = pytest.mark.processes


def run(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(RUN), *words, "--room", str(place / "room"), "--out", str(place / "out")]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=300, check=False)


def answer_of(place: Path, step: str) -> Any:
    (path,) = (place / "out" / "releases").glob(f"*-{step}.json")
    return json.loads(path.read_bytes())["body"]["answer"]


def ranked(place: Path) -> list[dict[str, str]]:
    with (place / "room" / "publisher" / "audience" / "audience.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, header: str, lines: Iterable[str]) -> str:
    path.write_text("\n".join([header, *lines]) + "\n", "utf-8")
    return str(path)


def test_without_files_it_ranks_people_like_the_seed_first_and_the_docs_show_what_it_prints(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\nclean\n" in done.stdout
    people = ranked(tmp_path)
    assert [int(one["rank"]) for one in people] == list(range(1, 4001))
    often = [int(one["customer"].removeprefix("person").split("@")[0]) < 1900 for one in people]
    assert sum(often[:800]) > 640  # 1,200 of 4,000 are like the seed, so that lots would find 240
    *_, seed, signal, suggested, last = done.stdout.splitlines()
    size = answer_of(tmp_path, "look-scores")["seed"]["size"]
    assert abs(int(size["value"]) - 1500) <= 5 * 7.1  # σ
    assert seed.startswith(f"the seed has {int(size['value']):,} customers of the advertiser")
    assert signal.startswith("signal: usable; in ")
    cut = answer_of(tmp_path, "look-overlap")["owners"]["publisher"]["default"]["value"]
    assert suggested.startswith(f"suggested: the likest {cut} %, which hold ")
    assert last.startswith("— done: open ")
    docs = (ROOT / "docs" / "lookalike.md").read_text("utf-8")
    assert "    .venv/bin/python examples/lookalike/run.py ADVERTISER.csv PUBLISHER.csv\n" in docs
    shown = docs.split("```text\n")[1].split("```")[0].splitlines()
    assert [FIGURE.sub("0", line) for line in shown] == [FIGURE.sub("0", line) for line in (seed, signal, suggested)]


def purchases(i: int, often: bool) -> list[str]:
    """Of a person: twelve in the last months, or two, long ago; the address spelled in two ways."""
    days = range(10, 10 + 12 * 21, 21) if often else (400, 500)
    found = []
    for ago in days:
        name, day = "Guest" if ago % 2 else "guest", UNTIL - dt.timedelta(days=ago + i % 9)
        found.append(f"{name}-{i}@Example.org,{day},{20 + (i + ago) % 30}")
    return found


def test_of_two_files_of_ones_own_it_counts_the_seed_within_the_cuts(tmp_path: Path) -> None:
    """Columns of other names. Of the publisher's 3,000, 700 are the advertiser's, and they are the likest."""
    mine = write(tmp_path / "a.csv", "E-Mail,Day,Sum", (line for i in range(1400) for line in purchases(i, True)))
    other = (line for i in range(700, 3700) for line in purchases(i, i < 1400))
    theirs = write(tmp_path / "b.csv", "E-Mail,Day,Sum", other)
    words = ("--until", UNTIL.isoformat(), "--email", "E-Mail", "--date", "Day", "--amount", "Sum")
    done = run(tmp_path, mine, theirs, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    likest = [one["customer"].lower().removeprefix("guest-").split("@")[0] for one in ranked(tmp_path)[:700]]
    assert sum(int(number) < 1400 for number in likest) > 665
    found = answer_of(tmp_path, "look-overlap")["owners"]["publisher"]
    assert abs(int(found["seed"]["value"]) - 700) <= 5 * 15.5  # of all six bands, σ = √(6 · 2 · 20)
    assert float(found["cuts"]["30"]["recall"]["value"]) > 0.9
    assert "example.org" not in (done.stdout + done.stderr).lower()


GOOD = [line for i in range(600) for line in purchases(i, True)]


@pytest.mark.parametrize(
    ("header", "lines", "said"),
    [
        ("mail,date,amount", GOOD, "bad.csv has no column 'email'"),
        ("email,date,amount", GOOD[: 12 * 99], "the files hold 99 people, the least is 100"),
        ("email,date,amount", [f"guest-{i},2024-01-01,5" for i in range(200)], "0 customers have an address"),
    ],
    ids=["no such column", "too few", "no addresses"],
)
def test_a_file_that_cannot_be_used_is_refused_in_words_before_anything_is_spent(
    tmp_path: Path, header: str, lines: list[str], said: str
) -> None:
    good, bad = write(tmp_path / "good.csv", "email,date,amount", GOOD), tmp_path / "bad.csv"
    write(bad, header, lines)
    done = run(tmp_path, good, str(bad), "--until", UNTIL.isoformat())
    assert done.returncode == 2
    error, hint = done.stderr.splitlines()[-2:]
    assert error.startswith("error: the file of the publisher: ")
    assert said in error
    assert hint.startswith("hint: line 1 names the columns, 'email', 'date', 'amount' among them")
    assert "Traceback" not in done.stderr
    assert "guest-" not in (done.stdout + done.stderr).lower()
    assert not (tmp_path / "out").exists()


def test_a_seed_below_the_floor_ranks_nobody_and_says_so(tmp_path: Path) -> None:
    few = write(tmp_path / "a.csv", "email,date,amount", (line for i in range(300) for line in purchases(i, True)))
    many = write(tmp_path / "b.csv", "email,date,amount", GOOD)
    done = run(tmp_path, few, many, "--until", UNTIL.isoformat())
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-2] == "too noisy to say whether the score finds them among those of the publisher"
    assert "the list is" not in done.stdout
    assert not (tmp_path / "room" / "publisher" / "audience").exists()
