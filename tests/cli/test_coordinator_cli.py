"""`sumroom-coordinator`: what a plan costs, what a room has released; errors in two lines, never a traceback."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from coordinator import cli
from examples.complete_journey import room as demo_room
from protocols import audit, bundle, release
from protocols.accuracy import epsilon
from protocols.ledger import tlog_proof, trust

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "complete_journey"


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    capsys.readouterr()
    status = cli.main([str(word) for word in words])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return status, out, err


# -- plan check --------------------------------------------------------------------------------------------------------


def test_plan_check_prints_the_digest_the_cost_and_the_width_of_the_intervals(
    capsys: pytest.CaptureFixture[str], lab: ModuleType, template: Path
) -> None:
    status, out, err = run(capsys, "plan", "check", template / "plan.toml", "--json")
    found = json.loads(out)
    assert (status, err) == (0, "")
    assert found["digest"] == lab.plan().digest
    assert (found["rho_record"], found["rho_person"], found["rho_allowed"]) == ("0.4", "1.2", "0.4")
    assert found["epsilon_record"] == pytest.approx(epsilon(lab.RHO, 1e-6), abs=1e-4)
    assert [(step["step"], step["slots"], step["rho"]) for step in found["steps"]] == [
        ("rfm-cuts", 16, "0.15"),
        ("rfm-cohorts", 34, "0.25"),
    ]
    assert [step["sigma_share_people"] for step in found["steps"]] == [
        pytest.approx(10**0.5, abs=0.01),
        pytest.approx(10**0.5 / 2, abs=0.01),
    ]


def test_plan_check_for_a_person_shows_the_same_and_the_whole_digest_in_one_line(
    capsys: pytest.CaptureFixture[str], lab: ModuleType, template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    status, out, _ = run(capsys, "plan", "check", template / "plan.toml")
    assert status == 0
    assert f"digest {lab.plan().digest}" in out.splitlines()


@pytest.mark.processes
@pytest.mark.parametrize("more", [[], ["--json"]], ids=["text", "json"])
@pytest.mark.parametrize("full", [True, False], ids=["no space", "reader gone"])
def test_a_result_that_cannot_be_written_is_an_error_in_a_line(template: Path, more: list[str], full: bool) -> None:
    command = [sys.executable, "-m", "coordinator", "plan", "check", str(template / "plan.toml"), *more]
    if full:
        sink = os.open("/dev/full", os.O_WRONLY)
    else:
        gone, sink = os.pipe()
        os.close(gone)
    done = subprocess.run(command, cwd=ROOT, stdout=sink, stderr=subprocess.PIPE, text=True, check=False)
    os.close(sink)
    why = "No space left on device" if full else "Broken pipe"
    assert (done.returncode, done.stderr) == (1, f"error: the result could not be written: {why}\n")


def replaced(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (replaced('rho = "0.088"', 'rho = "0.017"'), "the steps cost 0.018, the plan allows 0.017"),
        (replaced('rho = "0.088"', "rho = 0.088"), "must be a decimal in quotes"),
        (replaced("quorum = 3", "quorum = 2"), "quorum is 2; with 3 parties"),
        (replaced("collusion = 2", "collusion = 0"), "collusion is 0"),
        (replaced('delta = "0.000001"', 'delta = "0.00001"'), "delta is 0.00001; at most 1e-6"),
        (replaced('kind = "rfm"', 'kind = "sql"'), "there is no question 'sql'"),
        (replaced("people_cap = 5000", "people_cap = 0"), "people_cap"),
        (
            replaced("deadline_s = 60", "deadline_s = 13"),
            "deadline_s is 13; with 2 steps of answer_after_s = 2 it must be",
        ),
        (replaced("[table]", "[table"), "is not TOML"),
        (replaced('cuts = "0.006"', 'cuts = "0.3"'), "the least is 3"),
        (replaced('name = "households-2017"', 'name = "Households 2017"'), "name"),
    ],
)
def test_an_unsound_plan_is_named_in_two_lines(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, change: Callable[[str], str], said: str
) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(change((Path(__file__).parents[1] / "plans" / "rfm.toml").read_text()))
    status, out, err = run(capsys, "plan", "check", path)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert said in err
    assert len(err.splitlines()) <= 2


def test_a_plan_that_is_not_there_is_status_2(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        status, _, err = run(capsys, "plan", "check", path)
        assert status == 2
        assert "cannot read the plan" in err


# -- export ------------------------------------------------------------------------------------------------------------


def export(capsys: pytest.CaptureFixture[str], room: Any, out: Path) -> tuple[int, str, str]:
    """With the room's own coordinator gone, as for a real one that has ended."""
    room.store.close()
    try:
        return run(capsys, "export", "--config", room.base / "coordinator" / "coordinator.toml", "--out", out)
    finally:
        room.open_coordinator()


def test_export_writes_what_the_auditor_then_finds_clean(
    capsys: pytest.CaptureFixture[str], room: Any, tmp_path: Path
) -> None:
    room.run()
    status, said, err = export(capsys, room, tmp_path / "out")
    assert (status, err) == (0, "")
    assert said.startswith("2 releases, ")
    assert "ledger clean" in said
    found = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found >= {"room.tar", "policy.txt", "report.html"}
    assert len([name for name in found if name.startswith("releases/") and name.endswith(".json")]) == 2
    assert not [name for name in found if name.endswith(".part")]
    policy = trust.parse((tmp_path / "out" / "policy.txt").read_bytes())
    data = (tmp_path / "out" / "room.tar").read_bytes()
    assert audit.verify(data, policy).violations == ()
    for name, member in bundle.unpack(data).items():
        if name.startswith(bundle.RELEASES):
            assert (tmp_path / "out" / name).read_bytes() == member


def test_beside_each_release_lies_the_proof_that_its_commit_is_in_the_ledger(
    capsys: pytest.CaptureFixture[str], room: Any, tmp_path: Path
) -> None:
    room.run()
    assert export(capsys, room, tmp_path / "out")[0] == 0
    policy = trust.parse((tmp_path / "out" / "policy.txt").read_bytes())
    assert [key.kind for key in policy.log] == [1, 6]
    files = sorted((tmp_path / "out" / "releases").glob("*.json"))
    assert len(files) == 2
    for file in files:
        made = release.read(file.read_bytes())
        proof = tlog_proof.parse(file.with_suffix(".tlog-proof").read_text("utf-8"))
        (entry,) = room.book.entries(made.entry, made.entry + 1)
        checkpoint, signed = proof.check(entry, policy.log, policy.witnesses.values())
        assert (proof.index, checkpoint.size) == (made.entry, made.proof.size)
        assert policy.satisfied(signed)
        assert made.body_.digest.encode() in entry


def test_export_again_writes_the_same_bytes(capsys: pytest.CaptureFixture[str], room: Any, tmp_path: Path) -> None:
    room.run()
    for out in ("one", "two"):
        assert export(capsys, room, tmp_path / out)[0] == 0
    for name in ("room.tar", "policy.txt"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_export_after_a_round_that_ended_between_its_steps_reports_what_there_is(
    capsys: pytest.CaptureFixture[str], room: Any, lab: ModuleType, tmp_path: Path
) -> None:
    room.stopped_at(lab.messages.Prepare, nth=2)
    room.ledger.forfeit(room.ledger.open_rounds()[0], "coordinator-restart")
    room.ledger.countersign(room.ask, sorted(room.nodes), 5.0)
    status, said, err = export(capsys, room, tmp_path / "out")
    assert (status, err) == (0, "")
    assert said.startswith("1 releases, ")
    assert "ledger clean" in said
    assert (tmp_path / "out" / "report.html").is_file()


def test_export_of_a_room_that_has_released_nothing_says_so_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], room: Any, tmp_path: Path
) -> None:
    status, out, err = export(capsys, room, tmp_path / "out")
    assert (status, out) == (2, "")
    assert "no checkpoint has all its cosignatures yet" in err
    assert not (tmp_path / "out" / "room.tar").exists()


def test_export_while_a_coordinator_listens_writes_what_is_released_and_changes_nothing(
    capsys: pytest.CaptureFixture[str], room: Any, tmp_path: Path
) -> None:
    room.run()
    before, checkpoints = room.book.entries(), room.book.checkpoints()
    config = room.base / "coordinator" / "coordinator.toml"
    status, out, err = run(capsys, "export", "--config", config, "--out", tmp_path / "out")
    assert (status, err) == (0, "")
    assert "2 releases" in out
    assert (room.book.entries(), room.book.checkpoints()) == (before, checkpoints)


def test_a_store_whose_ledger_was_changed_is_status_3(room: Any, tmp_path: Path) -> None:
    room.run()
    room.store.close()
    db = sqlite3.connect(room.base / "coordinator" / "state" / "ledger.db")
    db.execute("DROP TRIGGER entry_no_delete")
    db.execute("DELETE FROM entry WHERE seq > 5")
    db.commit()
    db.close()
    config = str(room.base / "coordinator" / "coordinator.toml")
    words = [sys.executable, "-m", "coordinator", "export", "--config", config, "--out", str(tmp_path / "out")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert "is missing" in done.stderr
    assert "Traceback" not in done.stderr


# -- run ---------------------------------------------------------------------------------------------------------------


def test_launch_says_when_its_port_is_taken(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        demo_room.make(tmp_path / "room", port)
        config = tmp_path / "room" / "coordinator" / "coordinator.toml"
        words = ["plan", "launch", EXAMPLE / "plan.toml", "--config", config, "--out", tmp_path / "out", "--quiet"]
        status, _, err = run(capsys, *words)
    assert status == 2
    assert f"error: cannot listen on 127.0.0.1:{port}\nhint: is another coordinator running?" in err


@pytest.mark.parametrize("words", [["--help"], ["plan", "--help"], ["plan", "launch", "--help"], ["export", "--help"]])
def test_help_is_there_for_every_command(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    status, out, _ = run(capsys, *words)
    assert status == 0
    assert "Usage" in out


@pytest.mark.parametrize("words", [["approve"], ["plan", "check"], ["plan", "launch"], ["export", "--out", "x"]])
def test_a_wrong_command_line_is_status_2(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    status, out, err = run(capsys, *words)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert "hint: see: sumroom-coordinator --help" in err
