"""The example of two lists of e-mail addresses, run as a newcomer would, and its figure compared with the true one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUN = ROOT / "examples" / "email_overlap" / "run.py"

# A 95 % interval may miss the truth. How far: the noise of two parties is a discrete Gaussian with σ = √62.5 people,
# the interval is ± 15; an honest run is off by more than twice that with probability 1.2e-4.
HALF = 15
FARTHEST = 2 * HALF

pytestmark = pytest.mark.processes


def run(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(RUN), *words, "--room", str(place / "room"), "--out", str(place / "out")]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=170, check=False)


def write(path: Path, header: str, lines: Iterable[str]) -> str:
    path.write_text("\n".join([header, *lines]) + "\n", "utf-8")
    return str(path)


def check_released(place: Path, done: subprocess.CompletedProcess[str], truth: int) -> None:
    """The last words are the release's, the auditor found nothing, and the truth is where it may be."""
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\nclean\n" in done.stdout
    (path,) = (place / "out" / "releases").glob("*-overlap.json")
    pair = json.loads(path.read_bytes())["body"]["answer"]["pairs"]["left--right"]["all"]
    value, low, high = (int(pair["overlap"][part]) for part in ("value", "low", "high"))
    assert high - value == value - low == HALF
    assert abs(value - truth) <= FARTHEST
    *_, where, shared, left, right, last = done.stdout.splitlines()
    assert where == f"— released in {path}:"
    assert shared == f"left and right share {value:,} people (95 % interval: {low:,} to {high:,})"
    for line, party in ((left, "left"), (right, "right")):
        share = 100 * float(pair["share"][party]["value"])
        assert line.startswith(f"that is {share:.1f} % of {party} (95 % interval: ")
    assert last.startswith("— done: open ")
    assert "@" not in done.stdout + done.stderr


def test_without_files_it_finds_the_1200_whom_its_made_up_lists_share(tmp_path: Path) -> None:
    done = run(tmp_path)
    check_released(tmp_path, done, 1200)
    readme = (ROOT / "README.md").read_text("utf-8")
    assert "    .venv/bin/python examples/email_overlap/run.py LEFT.csv RIGHT.csv\n" in readme
    figure = re.compile(r"[0-9][0-9,.]*")
    shown = [
        figure.sub("0", line.strip()) for line in readme.splitlines() if re.match(r"    (left and|that is) ", line)
    ]
    assert shown == [figure.sub("0", line) for line in done.stdout.splitlines()[-4:-1]]


def test_of_two_lists_of_ones_own_it_counts_addresses_however_they_are_written(tmp_path: Path) -> None:
    """A column of another name, beside others; capitals, blanks and an address twice on a list."""
    left = [f"{i},Guest-{i}@Example.org " for i in range(900)] + [f"9{i},guest-{i}@example.org" for i in range(50)]
    right = [f" guest-{i}@example.ORG,x" for i in range(600, 1400)]
    files = write(tmp_path / "a.csv", "id,E-Mail Address", left), write(tmp_path / "b.csv", "E-Mail Address,b", right)
    check_released(tmp_path, run(tmp_path, *files, "--column", "E-Mail Address"), 300)


ADDRESSES = [f"guest-{i}@example.org" for i in range(120)]


@pytest.mark.parametrize(
    ("header", "lines", "said"),
    [
        ("mail", ADDRESSES, "bad.csv has none of the mapped columns: 'email'"),
        ("", [], "bad.csv is empty: it lacks a header line"),
        ("email", ADDRESSES[:99], "the files hold 99 people, the least is 100"),
        (
            "email",
            [f"guest-{i}@example.org" for i in range(100_001)],
            "more people than the plan's people_cap of 100000",
        ),
        ("email", [f"guest-{i}" for i in range(120)], "0 people have an address that can be read"),
    ],
    ids=["no such column", "empty", "too few", "too many", "no addresses"],
)
def test_a_list_that_cannot_be_used_is_refused_in_words_before_anything_is_spent(
    tmp_path: Path, header: str, lines: list[str], said: str
) -> None:
    good, bad = write(tmp_path / "good.csv", "email", ADDRESSES), tmp_path / "bad.csv"
    write(bad, header, lines) if header else bad.touch()
    done = run(tmp_path, good, str(bad))
    assert done.returncode == 2
    error, hint = done.stderr.splitlines()[-2:]
    assert error.startswith("error: the list of right: ")
    assert said in error
    assert hint.startswith("hint: line 1 names the columns, 'email' among them (--column: another one)")
    assert "100 to 100,000 people" in hint
    assert "Traceback" not in done.stderr
    assert "guest-" not in done.stdout + done.stderr
    assert not (tmp_path / "out").exists()
