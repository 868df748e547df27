"""Two auditors, written apart, say the same of every bundle: those of the vectors, those that hypothesis makes, and
those that something was done to."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from protocols import bundle, verify
from protocols.ledger import entries, trust
from tests.fuzz.mutations import near
from tests.ledger import builder
from tests.specs.readers import files, golden
from tests.vectors import rooms
from tests.verify import judges
from tests.verify.made import Made

FILE = Path(verify.__file__)
RANDOM = settings(
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("name", [name for name in files("good") + files("bad") if name.startswith("bundle/")])
def test_every_bundle_of_the_vectors_is_judged_alike(name: str) -> None:
    data, policy = golden(name), rooms.room_of(name).policy()
    status, why = judges.second(data, policy)
    assert status == judges.product(data, policy)[0], why
    assert (status == 0) == ("good" in name)


@settings(RANDOM, max_examples=60)
@given(st.data())
def test_every_bundle_that_hypothesis_makes_is_judged_alike(data: st.DataObject) -> None:
    made = Made(data.draw)
    made.grow()
    archive, policy = made.bundle(), made.policy()
    ours, second = judges.product(archive, policy), judges.second(archive, policy)
    assert ours[0] == second[0], (ours, second)


@settings(RANDOM, max_examples=150)
@given(st.data())
def test_every_bundle_that_something_was_done_to_is_judged_alike(data: st.DataObject) -> None:
    """But for figures that do not follow from the noised sums: the second auditor says that it does not ask."""
    seeds = [golden(name) for name in files("good") if name.startswith("bundle/good-room")]
    archive, policy = near(data.draw, seeds), builder.Room().policy()
    ours, second = judges.product(archive, policy), judges.second(archive, policy)
    assert ours[0] == second[0], (ours, second)


def test_data_declared_by_other_rules_of_who_is_one_person_are_a_violation_to_both(tmp_path: Path) -> None:
    room = builder.Room(people={"column": "customer", "key": "id"})
    members = room.whole(tmp_path / "ledger.db")
    for judge in (judges.product, judges.second):
        assert judge(bundle.pack(members), room.policy())[0] == 0
    plain = {"schema_digest": room.plan.table.digest()}
    opening = room.opening()
    opening[2] = room.dataset(2, builder.PARTIES[1], **plain)
    bodies = [entries.encode(entry) for entry in (*opening, room.reserve(5))]
    cosigned = dict.fromkeys(range(1, len(bodies) + 1), builder.PARTIES)
    name = bundle.plan_name(room.plan.digest)
    wrong = bundle.pack({name: members[name], **builder.signed_members(room, bodies, cosigned)})
    for judge in (judges.product, judges.second):
        status, why = judge(wrong, room.policy())
        assert (status, "of another table or cap" in str(why)) == (1, True)


# -- the file ----------------------------------------------------------------------------------------------------------


def test_it_is_one_file_that_needs_the_standard_library_and_cryptography() -> None:
    tree = ast.parse(FILE.read_text())
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(str(node.module).split(".")[0])
    assert imported - set(sys.stdlib_module_names) == {"cryptography"}


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """As an auditor runs it: a copy of the file, outside the project, with nothing else on the path."""
    copy = folder / "verify.py"
    copy.write_bytes(FILE.read_bytes())
    command = [sys.executable, "-I", str(copy), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "policy.txt").write_text(trust.render(builder.Room().policy()))
    (tmp_path / "room.tar").write_bytes(golden("bundle/good-room.tar"))
    return tmp_path


def test_alone_in_a_folder_it_prints_a_line_a_check_and_what_it_does_not_check(folder: Path) -> None:
    done = run("room.tar", "--policy", "policy.txt", folder=folder)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines if line.startswith("ok")] == [
        ["ok", check] for check in ("archive", "entries", "checkpoints", "plans", "releases")
    ]
    assert "    budget       alpha in q1: ρ 0.036000000 of 0.060000000 spent" in lines
    assert sum(line.startswith("not checked here: ") for line in lines) == len(verify.NOT_CHECKED)
    assert lines[-1] == "clean"


def test_a_violation_is_named_with_its_entry_and_ends_with_1(folder: Path) -> None:
    members = bundle.unpack(golden("bundle/good-room.tar"))
    members[bundle.ENTRIES] = members[bundle.ENTRIES].replace(b'"people_cap":5000', b'"people_cap":5001', 1)
    (folder / "room.tar").write_bytes(bundle.pack(members))
    done = run("room.tar", "--policy", "policy.txt", folder=folder)
    assert (done.returncode, done.stderr) == (1, "")
    assert "entry 1: the dataset signature of alpha does not verify" in done.stdout
    told = json.loads(run("room.tar", "--policy", "policy.txt", "--json", folder=folder).stdout)
    assert told["verdict"] == "violation"


@pytest.mark.parametrize("broken", ["room.tar", "policy.txt"])
def test_what_is_no_bundle_or_no_policy_ends_with_2(folder: Path, broken: str) -> None:
    (folder / broken).write_text("nothing of the kind\n")
    done = run("room.tar", "--policy", "policy.txt", folder=folder)
    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout.startswith("cannot decide: ")
    assert run("no.tar", "--policy", "policy.txt", "--json", folder=folder).returncode == 2
