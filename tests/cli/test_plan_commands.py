"""`sumroom-coordinator plan new | check | status`, and what every `plan` command refuses before it asks anybody."""

from __future__ import annotations

import datetime as dt
import json
import signal
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from coordinator import cli, control, drafts
from protocols.errors import Refused
from protocols.plan import Plan

YESTERDAY = (dt.datetime.now(dt.UTC).date() - dt.timedelta(days=1)).isoformat()


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Status, output and errors of one command; an error is a line, and mostly a hint."""
    capsys.readouterr()
    status = cli.main([str(word) for word in words])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    if status:
        assert err.startswith("error: ")
        assert [line.split(":")[0] for line in err.splitlines()] in (["error"], ["error", "hint"])
    return status, out, err


def config_of(base: Path) -> Path:
    return base / "coordinator" / "coordinator.toml"


@pytest.fixture
def quiet(lab: ModuleType, template: Path, tmp_path: Path) -> Path:
    """The folders of a room in which nothing has happened, to spoil."""
    return Path(lab.copy(template, tmp_path / "trial"))


def status_of(capsys: pytest.CaptureFixture[str], base: Path, plan: Path | None = None) -> dict[str, Any]:
    status, out, err = run(capsys, "plan", "status", plan or base / "plan.toml", "--config", config_of(base), "--json")
    assert (status, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    return found


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


# -- new ---------------------------------------------------------------------------------------------------------------


def test_new_writes_a_plan_that_check_takes_and_says_what_to_do_next(
    capsys: pytest.CaptureFixture[str], quiet: Path, tmp_path: Path
) -> None:
    out_file = tmp_path / "drafts.toml"
    words = ["plan", "new", "--config", config_of(quiet), "--out", out_file]
    status, out, err = run(capsys, *words, "--question", "rfm", "--question", "segments", "--name", "autumn")
    assert (status, err) == (0, "")
    assert f"sumroom-coordinator plan check {out_file}" in out
    plan = Plan.from_toml(out_file.read_bytes())
    assert (plan.room, plan.name, plan.parties) == ("trial", "autumn", ["alpha", "beta", "gamma"])
    assert [question.kind for question in plan.questions] == ["rfm", "segments"]
    status, out, _ = run(capsys, "plan", "check", out_file)
    assert status == 0
    assert f"digest {plan.digest}" in out.splitlines()


def test_new_with_a_purpose_has_nothing_left_to_say_about_it(
    capsys: pytest.CaptureFixture[str], quiet: Path, tmp_path: Path
) -> None:
    words = ["plan", "new", "--config", config_of(quiet), "--out", tmp_path / "p.toml", "--question", "rfm"]
    status, out, _ = run(capsys, *words, "--purpose", "know the shared cohorts")
    assert (status, out.split("; ")[1].split(",")[0]) == (0, "set table and bounds right")
    assert Plan.from_toml((tmp_path / "p.toml").read_bytes()).purpose == "know the shared cohorts"
    assert run(capsys, "plan", "check", tmp_path / "p.toml")[2] == ""


def test_new_never_writes_over_a_file(capsys: pytest.CaptureFixture[str], quiet: Path) -> None:
    before = (quiet / "plan.toml").read_bytes()
    words = ["plan", "new", "--config", config_of(quiet), "--out", quiet / "plan.toml", "--question", "rfm"]
    status, _, err = run(capsys, *words)
    assert status == 2
    assert "plan.toml is there already\nhint: name another file with --out" in err
    assert (quiet / "plan.toml").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--question", "sql"], "there is no question 'sql'\nhint: the questions are: rfm, segments, classes, overlap"),
        (["--question", "rfm", "--question", "rfm"], "ask each question once"),
        ([], "--question"),
        (["--question", "rfm", "--name", 'x"\nrho = "9'], "error: the draft"),
        (["--question", "rfm", "--name", "Two Words"], "name"),
    ],
)
def test_new_with_rubbish_is_status_2_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], quiet: Path, tmp_path: Path, words: list[str], said: str
) -> None:
    out_file = tmp_path / "never.toml"
    status, out, err = run(capsys, "plan", "new", "--config", config_of(quiet), "--out", out_file, *words)
    assert (status, out) == (2, "")
    assert said in err
    assert not out_file.exists()


@pytest.mark.parametrize("name", [".", "no-such-folder/plan.toml", "plan.toml/plan.toml"])
def test_new_where_nothing_can_be_written_says_so(capsys: pytest.CaptureFixture[str], quiet: Path, name: str) -> None:
    words = ["plan", "new", "--config", config_of(quiet), "--out", quiet / name, "--question", "rfm"]
    status, _, err = run(capsys, *words)
    assert status == 2
    assert name.split("/")[-1] in err or "is there already" in err


def test_new_for_a_room_whose_cap_is_too_small_names_cost_and_cap(
    capsys: pytest.CaptureFixture[str], quiet: Path, tmp_path: Path
) -> None:
    replace(quiet / "room.toml", 'person = "6"', 'person = "0.05"')
    words = ["plan", "new", "--config", config_of(quiet), "--out", tmp_path / "p.toml", "--question", "rfm"]
    status, _, err = run(capsys, *words)
    assert status == 2
    assert "cost ρ 0.054 for a person at all parties, the room's cap is 0.05\nhint: " in err
    assert not (tmp_path / "p.toml").exists()


# -- check -------------------------------------------------------------------------------------------------------------


def test_check_touches_no_file_and_says_the_same_every_time(capsys: pytest.CaptureFixture[str], quiet: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in quiet.rglob("*")}
    first = run(capsys, "plan", "check", quiet / "plan.toml", "--json")
    assert first[0] == 0
    assert run(capsys, "plan", "check", quiet / "plan.toml", "--json") == first
    assert {path: path.stat().st_mtime_ns for path in quiet.rglob("*")} == before


def test_check_says_how_long_a_round_takes_at_least(capsys: pytest.CaptureFixture[str], quiet: Path) -> None:
    out = run(capsys, "plan", "check", quiet / "plan.toml")[1]
    assert "a round of 2 steps takes 2 s at least, with answer_after_s = 1; it ends within 60 s" in out


@pytest.mark.parametrize("more", [[], ["--json"]], ids=["text", "json"])
def test_check_warns_of_what_proposing_would_be_refused_for(
    capsys: pytest.CaptureFixture[str], quiet: Path, more: list[str]
) -> None:
    assert run(capsys, "plan", "check", quiet / "plan.toml", *more)[2] == ""
    replace(quiet / "plan.toml", "2031-12-31", YESTERDAY)
    purpose = Plan.from_toml((quiet / "plan.toml").read_bytes()).purpose
    replace(quiet / "plan.toml", purpose, drafts.PLACEHOLDER)
    status, out, err = run(capsys, "plan", "check", quiet / "plan.toml", *more)
    expired, placeholder = err.splitlines()
    assert (status, bool(out)) == (0, True)
    assert expired == f"warning: the plan was valid until {YESTERDAY}: it cannot be proposed or launched any more"
    assert placeholder.startswith("warning: the purpose is still the draft's: say here, ")


def test_check_does_not_obey_what_a_plan_would_have_a_terminal_do(
    capsys: pytest.CaptureFixture[str], quiet: Path
) -> None:
    replace(quiet / "plan.toml", '"rfm"', '"\\u001b[31mrfm"')
    status, out, err = run(capsys, "plan", "check", quiet / "plan.toml")
    assert (status, out) == (2, "")
    assert "\x1b" not in err


# -- status ------------------------------------------------------------------------------------------------------------


def test_status_of_a_plan_that_nobody_has_launched(capsys: pytest.CaptureFixture[str], quiet: Path) -> None:
    found = status_of(capsys, quiet)
    assert found == {"plan": found["plan"], "approved_by": [], "rounds": [], "rho_spent": "0", "rounds_left": 5}
    status, out, _ = run(capsys, "plan", "status", quiet / "plan.toml", "--config", config_of(quiet))
    assert status == 0
    assert out == (
        f"plan {found['plan'][:16]} quintiles: not in the ledger yet\n"
        "spent ρ 0 per record; 5 more rounds fit the room's caps\n"
    )


def test_status_makes_nothing_where_nothing_is(capsys: pytest.CaptureFixture[str], quiet: Path) -> None:
    before = set(quiet.rglob("*"))
    status_of(capsys, quiet)
    assert set(quiet.rglob("*")) == before


@pytest.mark.parametrize(
    ("old", "new", "left"),
    [
        ('record = "2"\nperson', 'record = "1.1"\nperson', 2),
        ('person = "6"\nlifetime_record', 'person = "3.5"\nlifetime_record', 2),
        ('lifetime_record = "2"', 'lifetime_record = "1.5"', 3),
        ('lifetime_person = "6"', 'lifetime_person = "1.3"', 1),
    ],
)
def test_each_cap_of_the_room_limits_the_rounds_that_are_left(
    capsys: pytest.CaptureFixture[str], quiet: Path, old: str, new: str, left: int
) -> None:
    """A round costs ρ 0.4 per record and 1.2 per person; the ledger's genesis says the same before and after it."""
    replace(quiet / "room.toml", old, new)
    assert status_of(capsys, quiet)["rounds_left"] == left


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('record = "2"\nperson', 'record = "0.4"\nperson'),
        ('person = "6"\nlifetime_record', 'person = "1.2"\nlifetime_record'),
        ('lifetime_record = "2"', 'lifetime_record = "0.4"'),
        ('lifetime_person = "6"', 'lifetime_person = "1.2"'),
    ],
)
def test_rounds_left_counts_down_to_the_round_that_is_refused(
    capsys: pytest.CaptureFixture[str], lab: ModuleType, quiet: Path, old: str, new: str
) -> None:
    replace(quiet / "room.toml", old, new)
    for party in lab.PARTIES:
        replace(quiet / party / "node.toml", 'record = "1"', 'record = "100"')
    with lab.Room(quiet) as room:
        for party in lab.PARTIES:
            lab.consent(quiet / party, room.plan, per_period="100")
        assert status_of(capsys, quiet)["rounds_left"] == 1
        room.run()
        assert status_of(capsys, quiet)["rounds_left"] == 0
        with pytest.raises(Refused, match="budget .*would be passed"):
            room.run()
        assert len(status_of(capsys, quiet)["rounds"]) == 1


def test_status_shows_released_and_forfeited_rounds_and_what_both_have_spent(
    capsys: pytest.CaptureFixture[str], room: Any, lab: ModuleType
) -> None:
    room.run()
    room.stopped_at(lab.messages.Prepare, nth=2)
    found = status_of(capsys, room.base)
    assert [(one["state"], one["released"]) for one in found["rounds"]] == [("done", "2 of 2"), ("open", "1 of 2")]
    room.ledger.forfeit(room.ledger.open_rounds()[0], "coordinator-restart")
    found = status_of(capsys, room.base)
    assert [(one["state"], one["released"]) for one in found["rounds"]] == [
        ("done", "2 of 2"),
        ("forfeited", "1 of 2"),
    ]
    assert (found["approved_by"], found["rho_spent"], found["rounds_left"]) == (["alpha", "beta", "gamma"], "0.8", 3)
    status, out, _ = run(capsys, "plan", "status", room.base / "plan.toml", "--config", config_of(room.base))
    assert status == 0
    assert "approved by alpha, beta, gamma" in out
    assert "forfeited" in out
    assert found["rounds"][0]["round"][:8] in out
    assert "spent ρ 0.8 per record; 3 more rounds fit the room's caps" in out


def test_status_reads_while_a_coordinator_holds_the_store_and_changes_nothing(
    capsys: pytest.CaptureFixture[str], room: Any
) -> None:
    room.run()
    before = room.book.entries(), room.book.checkpoints()
    assert status_of(capsys, room.base)["rounds"][0]["state"] == "done"
    assert (room.book.entries(), room.book.checkpoints()) == before


def test_a_plan_that_has_run_out_has_its_state_but_is_not_proposed_or_launched(
    capsys: pytest.CaptureFixture[str], quiet: Path, tmp_path: Path
) -> None:
    replace(quiet / "plan.toml", "2031-12-31", YESTERDAY)
    assert status_of(capsys, quiet)["rounds"] == []
    for words in (["propose"], ["launch", "--out", tmp_path / "out"]):
        status, _, err = run(capsys, "plan", *words, quiet / "plan.toml", "--config", config_of(quiet))
        assert status == 1
        assert f"the plan was valid until {YESTERDAY}\nhint: set valid_until" in err
    assert not (tmp_path / "out").exists()


def test_a_plan_with_the_purpose_of_the_draft_is_not_proposed_or_launched(
    capsys: pytest.CaptureFixture[str], quiet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "ask", lambda *_: pytest.fail("the coordinator was asked"))
    replace(quiet / "plan.toml", Plan.from_toml((quiet / "plan.toml").read_bytes()).purpose, drafts.PLACEHOLDER)
    for words in (["propose"], ["launch", "--out", quiet / "out"]):
        status, _, err = run(capsys, "plan", *words, quiet / "plan.toml", "--config", config_of(quiet))
        assert status == 2
        assert "the purpose is still the draft's: say here, " in err
        assert "--purpose" in err.splitlines()[1]
    assert not (quiet / "out").exists()


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ('record = "2"', 'record = "0.001"', "per record, the room's cap is 0.001"),
        ('person = "6"', 'person = "0.001"', "per person at all parties, the room's cap is 0.001"),
    ],
)
def test_a_plan_that_no_cap_of_the_room_bears_is_not_proposed_or_launched(
    capsys: pytest.CaptureFixture[str], quiet: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, what: str
) -> None:
    monkeypatch.setattr(control, "ask", lambda *_: pytest.fail("the coordinator was asked"))
    replace(quiet / "room.toml", f"\n{old}", f"\n{new}")
    for words in (["propose"], ["launch", "--out", quiet / "out"]):
        status, _, err = run(capsys, "plan", *words, quiet / "plan.toml", "--config", config_of(quiet))
        assert status == 1
        assert what in err


# -- refused before anybody is asked -----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["propose", "launch", "status"])
@pytest.mark.parametrize(
    ("spoil", "status", "said"),
    [
        (lambda base: replace(base / "plan.toml", '"trial"', '"other"'), 2, "the plan is for room 'other'"),
        (lambda base: replace(base / "plan.toml", "gamma", "zeta"), 2, "the room has no party zeta"),
        (lambda base: replace(base / "plan.toml", "year =", "age ="), 2, "the room has no block age"),
        (lambda base: replace(base / "plan.toml", "2017-01-01", "2017-01-02"), 2, "the room has no block year from"),
        (lambda base: (base / "plan.toml").unlink(), 2, "cannot read the plan"),
        (lambda base: (base / "plan.toml").write_text("["), 2, "is not TOML"),
        (lambda base: config_of(base).unlink(), 2, "there is no settings file"),
        (lambda base: (base / "room.toml").unlink(), 2, "room.toml"),
    ],
)
def test_what_no_party_needs_to_be_asked_for_is_refused_at_once(
    capsys: pytest.CaptureFixture[str],
    quiet: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    spoil: Callable[[Path], object],
    status: int,
    said: str,
) -> None:
    monkeypatch.setattr(control, "ask", lambda *_: pytest.fail("the coordinator was asked"))
    spoil(quiet)
    more = ["--out", quiet / "out"] if command == "launch" else []
    found, out, err = run(capsys, "plan", command, quiet / "plan.toml", "--config", config_of(quiet), *more)
    assert (found, out) == (status, "")
    assert said in err


def test_results_that_cannot_be_written_are_found_out_before_the_round(
    capsys: pytest.CaptureFixture[str], quiet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "ask", lambda *_: pytest.fail("the coordinator was asked"))
    words = ["plan", "launch", quiet / "plan.toml", "--config", config_of(quiet), "--out", quiet / "plan.toml"]
    status, _, err = run(capsys, *words)
    assert status == 2
    assert "cannot write to" in err
    assert "hint: name a folder with --out" in err


@pytest.mark.parametrize("wait", ["-1", "86401", "soon", ""])
def test_a_wait_that_is_none_is_status_2(capsys: pytest.CaptureFixture[str], quiet: Path, wait: str) -> None:
    words = ["plan", "propose", quiet / "plan.toml", "--config", config_of(quiet), "--wait", wait]
    assert run(capsys, *words)[0] == 2


# -- Ctrl-C and SIGTERM ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["propose", "launch"])
def test_interrupting_the_command_says_that_the_listening_coordinator_goes_on(
    capsys: pytest.CaptureFixture[str], quiet: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(control, "ask", lambda *_: signal.raise_signal(signal.SIGTERM))
    more = ["--out", quiet / "out", "--quiet"] if command == "launch" else []
    status, _, err = run(capsys, "plan", command, quiet / "plan.toml", "--config", config_of(quiet), *more)
    assert status == 1
    assert "error: interrupted; the coordinator goes on with it\nhint: sumroom-coordinator plan status" in err
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(
    ("command", "said"),
    [("propose", "interrupted; nothing is spent"), ("launch", "interrupted: a round under way stays open")],
)
def test_interrupting_the_process_that_leads_the_round_says_what_it_has_cost(
    capsys: pytest.CaptureFixture[str], quiet: Path, monkeypatch: pytest.MonkeyPatch, command: str, said: str
) -> None:
    from coordinator import listening

    monkeypatch.setattr(listening, "check_files", lambda _: signal.raise_signal(signal.SIGTERM))
    more = ["--out", quiet / "out", "--quiet"] if command == "launch" else []
    status, _, err = run(capsys, "plan", command, quiet / "plan.toml", "--config", config_of(quiet), *more)
    assert status == 1
    assert said in err


def test_health_without_a_coordinator_is_status_1_and_names_the_command_that_starts_one(
    capsys: pytest.CaptureFixture[str], quiet: Path
) -> None:
    status, out, err = run(capsys, "health", "--config", config_of(quiet))
    assert (status, out) == (1, "")
    assert err == (f"error: no coordinator is listening\nhint: sumroom-coordinator serve --config {config_of(quiet)}\n")
