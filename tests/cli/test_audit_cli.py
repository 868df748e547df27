"""`sumroom-audit`: 0 clean, 1 a violation, 2 cannot decide; an error is two lines, never a traceback."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from protocols import audit, bundle, cli, terminal
from protocols.auditor import words
from protocols.ledger import trust

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def files(built, tmp_path_factory) -> SimpleNamespace:
    """A clean bundle, one with a changed plan, and the policy."""
    room, folder = built.Room(), tmp_path_factory.mktemp("audit")
    members = room.whole(folder / "log.db")
    changed = {**members, bundle.plan_name(room.plan.digest): b"{}"}
    for name, data in (
        ("room.tar", bundle.pack(members)),
        ("changed.tar", bundle.pack(changed)),
        ("policy.txt", trust.render(room.policy()).encode()),
        ("nonsense.txt", b"nonsense\n"),
        ("binary.txt", b"\xff\xfe"),
        ("cut.tar", bundle.pack(members)[:3000]),
        ("padding.tar", bundle.pack(members)[:-1] + b"x"),
        ("blank.tar", bundle.pack({**members, bundle.ENTRIES: b"{}\n" + members[bundle.ENTRIES]})),
    ):
        (folder / name).write_bytes(data)
    return SimpleNamespace(**{path.name.replace(".", "_"): str(path) for path in folder.iterdir()})


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    status = cli.main(arguments)
    out, err = capsys.readouterr()
    return status, out, err


def test_a_clean_bundle_prints_every_check_and_budget_and_exits_0(capsys, files) -> None:
    status, out, err = run(capsys, "verify", files.room_tar, "--policy", files.policy_txt)
    assert (status, err) == (0, "")
    for name in audit.MEANINGS:
        assert name in out
    assert out.splitlines()[-1] == "clean"
    assert "ε at δ = 0.000001" in out
    assert "all parties (per person)" in out
    assert "2 releases, 58 published numbers matched to their entries, 0 orphans" in out
    assert "1 forfeit, 0 refunds, 0 rounds open" in out
    assert "entry 9, 2023-11-14 22:13 UTC: round 3fc4ccfe745870e2c0d99f71f30ff065 ended early" in out


def test_what_takes_minutes_to_count_is_counted_only_when_it_is_asked_for(capsys, files, monkeypatch) -> None:
    arguments = ("verify", files.room_tar, "--policy", files.policy_txt)
    monkeypatch.setattr(cli, "MOST_LOOKS", 1)
    monkeypatch.setattr(cli.recompute, "is_there", lambda: True)
    counted = []
    monkeypatch.setattr(cli.recompute, "recompute", lambda evidence, *, pld: counted.append(pld) or [])
    status, _, err = run(capsys, *arguments)
    assert (status, counted) == (0, [])
    assert "looks at noise take minutes; --pld counts them" in err
    assert run(capsys, *arguments, "--pld")[0] == 0
    assert counted == [True]


def test_a_violation_is_named_with_its_file_and_exits_1(capsys, files) -> None:
    status, out, err = run(capsys, "verify", files.changed_tar, "--policy", files.policy_txt)
    assert (status, err) == (1, "")
    joined = " ".join(out.split())
    assert "plans: plans/" in joined
    assert "it has another digest than its name" in joined
    assert "VIOLATION: 1 found" in joined
    assert "not reached" in joined


def test_a_promise_is_not_made_where_its_check_found_a_violation_or_was_not_reached(capsys, files) -> None:
    _, out, _ = run(capsys, "verify", files.changed_tar, "--policy", files.policy_txt)
    lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    for check in json.loads(run(capsys, "verify", files.changed_tar, "--policy", files.policy_txt, "--json")[1])[
        "checks"
    ]:
        assert ("not shown: " in lines[check["name"]]) == (check["state"] != "ok")
        assert not check["meaning"].startswith("not shown")
    assert "not shown: what was asked about you is written" in lines["plans"]


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("padding_tar", "archive: the archive is not the canonical one of its files: bytes between or around them"),
        ("blank_tar", "entries: entry 0: "),
    ],
)
def test_a_problem_is_told_without_a_stutter(capsys, files, file, says) -> None:
    status, out, _ = run(capsys, "verify", getattr(files, file), "--policy", files.policy_txt)
    joined = " ".join(out.split())
    assert status == 1
    assert says in joined
    assert "archive: archive:" not in joined
    assert "entry 0: entry:" not in joined


def test_one_of_a_thing_is_not_told_in_the_plural(capsys, files) -> None:
    _, out, _ = run(capsys, "verify", files.room_tar, "--policy", files.policy_txt)
    assert re.findall(r"\b1 (?:rounds|plans|reserves|forfeits|commits|entries|checkpoints)\b", out) == []
    assert re.search(r"\bplans +ok +1 plan ", out)


def test_json_says_the_same_to_a_program(capsys, files) -> None:
    status, out, _ = run(capsys, "verify", files.room_tar, "--policy", files.policy_txt, "--json")
    document = json.loads(out)
    assert (status, document["verdict"], document["entries"], document["releases"]) == (0, "clean", 10, 2)
    assert [check["state"] for check in document["checks"]] == [
        "not asked" if name == "since" else "ok" for name in audit.MEANINGS
    ]
    assert document["budgets"][0] == {
        "who": "alpha", "block": "q1", "spent": 36_000_000, "cap": 60_000_000,
        "epsilon": {"0.000001": document["budgets"][0]["epsilon"]["0.000001"]},
    }  # fmt: skip
    status, out, _ = run(capsys, "verify", files.changed_tar, "--policy", files.policy_txt, "--json")
    document = json.loads(out)
    assert (status, document["verdict"]) == (1, "violation")
    problem = next(check for check in document["checks"] if check["state"] == "violation")["problems"][0]
    assert problem["where"].startswith("plans/")


def test_a_dash_reads_the_bundle_from_stdin(capsys, files, monkeypatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(Path(files.room_tar).read_bytes())))
    assert run(capsys, "verify", "-", "--policy", files.policy_txt)[0] == 0
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(Path(files.policy_txt).read_bytes())))
    assert run(capsys, "verify", files.room_tar, "--policy", "-")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "Missing command"),
        (("verify",), "Missing argument"),
        (("verify", "{room_tar}"), "--policy"),
        (("verify", "{room_tar}", "--policy", "{policy_txt}", "--fast"), "--fast"),
        (("forge",), "forge"),
        (("verify", "nowhere.tar", "--policy", "{policy_txt}"), "cannot read nowhere.tar"),
        (("verify", "{room_tar}", "--policy", "nowhere.txt"), "cannot read nowhere.txt"),
        (("verify", "{room_tar}", "--policy", "{nonsense_txt}"), "policy line 1"),
        (("verify", "{room_tar}", "--policy", "{binary_txt}"), "UTF-8"),
        (("verify", "{room_tar}", "--policy", "{room_tar}"), "control character"),
        (("verify", "{policy_txt}", "--policy", "{policy_txt}"), "no POSIX tar archive"),
        (("verify", "{cut_tar}", "--policy", "{policy_txt}"), "cut short"),
        (("verify", "-", "--policy", "-"), "both come from stdin"),
    ],
)
def test_what_cannot_be_decided_is_an_error_line_and_exit_2(capsys, files, arguments, says) -> None:
    status, out, err = run(capsys, *(argument.format(**vars(files)) for argument in arguments))
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert says in err
    assert "Traceback" not in err


def test_a_file_beyond_the_limit_cannot_be_decided(capsys, files, monkeypatch) -> None:
    monkeypatch.setattr(bundle, "MAX_BYTES", 1000)
    status, _, err = run(capsys, "verify", files.room_tar, "--policy", files.policy_txt)
    assert status == 2
    assert "more than 1000" in err


@pytest.mark.parametrize(
    ("fault", "says"), [(RuntimeError("secret"), "internal fault"), (KeyboardInterrupt(), "interrupted")]
)
def test_an_unexpected_fault_is_one_error_line_without_its_text(capsys, files, monkeypatch, fault, says) -> None:
    def broken(*_, **__):
        raise fault

    monkeypatch.setattr(audit, "audit", broken)
    status, out, err = run(capsys, "verify", files.room_tar, "--policy", files.policy_txt)
    assert (status, out) == (2, "")
    assert says in err
    assert "secret" not in err
    assert "Traceback" not in err


def test_help_exits_0(capsys) -> None:
    status, out, _ = run(capsys, "verify", "--help")
    assert status == 0
    assert "ROOM.TAR" in out


def test_nothing_that_a_terminal_would_obey_is_printed() -> None:
    assert terminal.plain("a\x1b[31mb\nc") == "a\ufffd[31mb\nc"


def test_epsilon_is_rounded_up() -> None:
    assert words.rounded_up(1.2340001) == "1.235"
    assert words.rounded_up(0.0) == "0.000"


@pytest.mark.processes
def test_the_module_runs_as_a_program(files) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-m", "protocols", "verify", files.room_tar, "--policy", files.policy_txt]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("clean\n")


@pytest.mark.processes
@pytest.mark.parametrize("target", ["/dev/full", "a reader that has gone", "both streams to one that has gone"])
@pytest.mark.parametrize("more", [[], ["--json"]], ids=["text", "json"])
def test_a_verdict_that_cannot_be_written_is_no_verdict(files, target, more) -> None:
    """Exit status 1 would say that a clean bundle holds a violation, 0 that somebody has read it is clean."""
    command = [sys.executable, "-W", "error", "-m", "protocols", "verify", files.room_tar, "--policy", files.policy_txt]
    if target == "/dev/full":
        sink = os.open(target, os.O_WRONLY)
    else:
        gone, sink = os.pipe()
        os.close(gone)
    err = sink if target.startswith("both") else subprocess.PIPE
    done = subprocess.run([*command, *more], cwd=ROOT, stdout=sink, stderr=err, text=True, check=False)
    os.close(sink)
    assert done.returncode == 2
    if done.stderr is not None:
        assert re.fullmatch(r"error: the result could not be written: [^\n]+\n", done.stderr)
