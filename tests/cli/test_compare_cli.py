"""`sumroom-coordinator compare`: two folders of results, that audit clean, in words and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from coordinator import cli
from coordinator.compare_cli import BORDERS, _lines
from coordinator.comparing import Comparison, Drift, Tracked
from protocols.ledger import trust
from tests.vectors.rooms import ROOM

GOLDEN = Path(__file__).parents[1] / "vectors" / "bundle"


def results(folder: Path, bundle: str = "good-segments.tar") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "room.tar").write_bytes((GOLDEN / bundle).read_bytes())
    (folder / "policy.txt").write_bytes(trust.render(ROOM.policy()).encode())
    return folder


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    capsys.readouterr()
    status = cli.main(["compare", *(str(word) for word in words)])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return status, out, err


def test_the_same_results_twice_have_each_segment_where_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = results(tmp_path / "one"), results(tmp_path / "other")
    status, out, err = run(capsys, one, other)
    assert (status, err) == (0, "")
    assert "is now s1, 0.000 away" in out
    assert "is now s2, 0.000 away" in out
    assert "no share has moved" in out
    status, out, _ = run(capsys, one, other, "--json")
    found = json.loads(out)
    assert status == 0
    assert [(t["earlier"], t["later"]) for t in found["tracked"]] == [("s1", "s1"), ("s2", "s2")]
    assert found["moved"] is False


def test_shares_that_differ_are_not_said_to_show_that_anybody_moved() -> None:
    """Borders between groups that run into one another lie elsewhere in each round, and shares with them."""
    tracked = tuple(Tracked(f"s{i}", f"s{i}", "Regulars", 0.01, {}) for i in (1, 2))
    found = Comparison(tracked, (), (), Drift(30.0, 1, 1e-7), None)
    said = _lines(found)
    assert "drift: shares differ by more than noise and sampling explain (χ² 30.0, 1 degrees, p 0.0000)" in said
    assert "by chance it is so in 1% of comparisons where nothing moved and borders stayed where they were" in said
    assert said[-1] == BORDERS
    assert "one of three comparisons in which nobody moved" in BORDERS
    assert not any("have moved" in line for line in said)


def test_results_that_are_not_there_or_have_no_segments_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = results(tmp_path / "one")
    status, out, err = run(capsys, one, tmp_path / "nowhere")
    assert status != 0
    assert out == ""
    assert "cannot read room.tar and policy.txt" in err
    status, _, err = run(capsys, one, results(tmp_path / "rfm", "good-room.tar"))
    assert status != 0
    assert "has found segments" in err


def test_results_that_do_not_audit_clean_are_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = results(tmp_path / "one"), results(tmp_path / "other")
    room = (other / "room.tar").read_bytes()
    at = room.index(b'"high":"')
    (other / "room.tar").write_bytes(room[: at + 8] + b"9" + room[at + 9 :])
    status, out, err = run(capsys, one, other)
    assert status != 0
    assert out == ""
    assert "do not audit clean" in err
