"""A coordinator that keeps its room open, the operator's commands beside it, and parties that decide by hand."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from coordinator import cli as coordinator_cli
from party_node import cli as party_cli
from protocols import cli as audit_cli
from protocols.logbook import Logbook
from protocols.plan import Plan
from tests.rounds.journey import COMPANIES, ROOT, VICTIM, Journey, finish, tool, until

pytestmark = pytest.mark.processes

PATIENCE_S = 45  # the longest that anything here may take on a busy machine


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    status: int
    out: str
    err: str


class Served(Journey):
    """The journey's room with a coordinator that serves it, and parties that nobody has told what to allow."""

    coordinator: subprocess.Popen[bytes]

    def __init__(self, place: Path, lab: ModuleType) -> None:
        super().__init__(place, lab)
        for company in COMPANIES:
            (place / company / "consent.toml").write_text('default = "ask"\n')
        self.serve()

    def serve(self) -> None:
        with (self.place / "coordinator.log").open("ab") as log:
            words = [sys.executable, "-m", "coordinator", "serve", "--config", str(self.config)]
            self.coordinator = subprocess.Popen(words, cwd=ROOT, stdout=log, stderr=log)

    def close(self) -> None:
        super().close()
        self.coordinator.kill()
        self.coordinator.wait()

    def another(self, name: str) -> tuple[Path, Plan]:
        """The journey's plan under another name: to every party another plan."""
        text = self.plan_file.read_text()
        for old, new in (("households-2017", name), ("deadline_s = 12", "deadline_s = 40")):
            assert old in text
            text = text.replace(old, new)
        path = self.place / f"{name}.toml"
        path.write_text(text)
        return path, Plan.from_toml(text.encode())

    def told(self) -> list[str]:
        """Everything that the serving coordinator has said."""
        return (self.place / "coordinator.log").read_text().splitlines()

    def ledger(self) -> bytes:
        with Logbook(self.place / "coordinator" / "state" / "ledger.db") as book:
            return b"\n".join(book.entries())

    def reserved_at(self, plan: Path) -> int:
        digest = Plan.from_toml(plan.read_bytes()).digest
        with Logbook(self.place / "coordinator" / "state" / "ledger.db") as book:
            return [r.reserve.time for r in book.accounts.rounds.values() if r.reserve.plan == digest][-1]

    def command(self, plan: Path, out: str, *more: object) -> subprocess.Popen[str]:
        """`plan launch` as a process of its own."""
        words = ["plan", "launch", plan, "--config", self.config, "--out", self.place / out, "--quiet", *more]
        command = [sys.executable, "-m", "coordinator", *map(str, words)]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def launched_to_the_first_drawing(self, plan: Path, out: str) -> subprocess.Popen[str]:
        """A launch whose round has got so far that a node waits to offer its key, its noise drawn and kept."""
        before = self.drawings(VICTIM)
        launched = self.command(plan, out)
        until(lambda: self.drawings(VICTIM) > before, PATIENCE_S)
        return launched


class Desk:
    """Commands of operator and parties, run in this process: they reach the others by socket and by file."""

    def __init__(self, room: Served, capsys: pytest.CaptureFixture[str]) -> None:
        self.room, self._capsys = room, capsys

    def operator(self, *words: object) -> Ran:
        return self._run(coordinator_cli, *words, "--config", self.room.config)

    def party(self, company: str, *words: object) -> Ran:
        return self._run(party_cli, *words, "--config", self.room.place / company / "node.toml")

    def launch(self, plan: Path, out: str, *more: object) -> Ran:
        return self.operator("plan", "launch", plan, "--out", self.room.place / out, "--quiet", *more)

    def state_of(self, plan: Path) -> list[str]:
        """What has become of each round of the plan, as `plan status` says."""
        found = json.loads(self.operator("plan", "status", plan, "--json").out)
        return [one["state"] for one in found["rounds"]]

    def verify(self, out: str) -> Ran:
        folder = self.room.place / out
        return self._run(audit_cli, "verify", folder / "room.tar", "--policy", folder / "policy.txt")

    def approved(self, name: str, *, rounds: int = 1) -> Path:
        """A plan that every party's person has approved."""
        path, plan = self.room.another(name)
        assert self.operator("plan", "propose", path).status == 1
        for company in COMPANIES:
            done = self.party(company, "requests", "approve", plan.digest[:16], "--yes", "--rounds", rounds)
            assert done.status == 0, done.err
        return path

    def _run(self, cli: Any, *words: object) -> Ran:
        self._capsys.readouterr()
        status = cli.main([str(word) for word in words])
        out, err = self._capsys.readouterr()
        assert "Traceback" not in out + err
        if status:
            assert [line.split(":")[0] for line in err.splitlines()] in (["error"], ["error", "hint"]), err
        return Ran(status, out, err)


@pytest.fixture(scope="module")
def served(lab: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    room = Served(tmp_path_factory.mktemp("served") / "room", lab)
    yield room
    room.close()


@pytest.fixture
def desk(served: Served, capsys: pytest.CaptureFixture[str]) -> Desk:
    """With the coordinator listening and all parties connected, whatever the test before has done."""
    if served.coordinator.poll() is not None:
        served.serve()
    for company in COMPANIES:
        if served.nodes[company].poll() is not None:
            served.start(company)
    desk = Desk(served, capsys)
    until(lambda: f"connected: {', '.join(COMPANIES)}" in desk.operator("health").out, PATIENCE_S)
    return desk


def test_who_watches_over_the_processes_sees_them_listening_and_connected(desk: Desk) -> None:
    found = desk.operator("health")
    assert found.status == 0
    assert found.out.startswith("listening on 127.0.0.1:")
    assert found.out.endswith("; connected: convenience, drugstore, grocer\n")
    until(lambda: desk.party("grocer", "health").status == 0, PATIENCE_S)
    assert "connected to " in desk.party("grocer", "health").out


def test_a_second_coordinator_of_the_room_is_refused(desk: Desk) -> None:
    done = tool("coordinator", "serve", "--config", desk.room.config)
    assert done.returncode == 1
    assert "another coordinator is using" in done.stderr
    assert len(done.stderr.splitlines()) == 2
    assert desk.operator("health").status == 0


def test_a_plan_is_proposed_decided_on_by_hand_and_launched_once(desk: Desk) -> None:
    path, plan = desk.room.another("by-hand")
    asked = desk.operator("plan", "propose", path)
    assert asked.status == 1
    for company in COMPANIES:
        assert f"{company}: no rule allows plan {plan.digest}: a person must decide" in asked.out
    assert asked.err == (
        f"error: not approved by {', '.join(COMPANIES)}\n"
        f"hint: a party decides with: sumroom-party requests show {plan.digest[:16]} --config node.toml\n"
    )
    refused = desk.launch(path, "early")
    assert refused.status == 1
    assert "the plan is not approved: " in refused.err
    for company in COMPANIES[:-1]:
        shown = desk.party(company, "requests", "approve", plan.digest[:16], "--yes", "--rounds", 2)
        assert (shown.status, "approved: plan" in shown.out) == (0, True)
    assert f"not approved by {COMPANIES[-1]}\n" in desk.operator("plan", "propose", path).err
    assert desk.party(COMPANIES[-1], "requests", "deny", plan.digest[:16], "--yes").status == 0
    assert f"a person has denied plan {plan.digest}" in desk.operator("plan", "propose", path).out
    assert desk.state_of(path) == []
    assert desk.party(COMPANIES[-1], "requests", "approve", plan.digest[:16], "--yes", "--rounds", 2).status == 0
    asked = desk.operator("plan", "propose", path, "--json")
    assert asked.status == 0
    assert json.loads(asked.out) == {"plan": plan.digest, "parties": dict.fromkeys(COMPANIES, "approved")}
    # launched, and launched again
    first = desk.launch(path, "first")
    assert (first.status, first.err) == (0, "")
    assert "2 releases, " in first.out
    before = desk.room.ledger()
    second = desk.launch(path, "second")
    assert (second.status, second.err) == (0, "")
    (round_,) = json.loads(desk.operator("plan", "status", path, "--json").out)["rounds"]
    assert f"round {round_['round'][:8]} has released this plan before; nothing is run, nothing is spent" in second.out
    after = desk.room.ledger()
    assert after.startswith(before)
    assert [json.loads(line)["type"] for line in after[len(before) :].split()] == ["reuse@v1"]  # it is written down
    first_files = sorted((desk.room.place / "first" / "releases").iterdir())
    assert len(first_files) == 4  # two releases, and the proof of each
    for file in (*first_files, desk.room.place / "first" / "policy.txt"):
        again = desk.room.place / "second" / file.relative_to(desk.room.place / "first")
        assert again.read_bytes() == file.read_bytes()
    # and once more, for its price
    assert desk.launch(path, "third", "--again").status == 0
    assert desk.state_of(path) == ["done", "done"]
    assert desk.verify("third").status == 0
    spent = desk.launch(path, "fourth", "--again")
    assert spent.status == 1
    assert "the rounds of plan" in spent.err
    assert "are used up" in spent.err
    assert desk.state_of(path) == ["done", "done"]


def test_two_launches_at_once_are_one_round(desk: Desk) -> None:
    path = desk.approved("at-once", rounds=2)
    ended = [finish(one) for one in [desk.room.command(path, "left"), desk.room.command(path, "right")]]
    assert [status for status, _ in ended] == [0, 0], ended
    assert sorted("has released this plan before" in said for _, said in ended) == [False, True]
    assert desk.state_of(path) == ["done"]


def test_a_round_goes_on_when_the_command_that_started_it_is_killed_and_export_does_not_disturb_it(
    desk: Desk,
) -> None:
    path = desk.approved("goes-on", rounds=2)
    command = desk.room.launched_to_the_first_drawing(path, "nobody")
    command.kill()
    command.communicate()
    assert desk.state_of(path) == ["open"]
    waiting = desk.room.command(path, "later")
    # Exported between the steps: what has been released so far, or that there is nothing, but nothing half.
    exported = desk.operator("export", "--out", desk.room.place / "between")
    assert exported.status == 0 or "no checkpoint has all its cosignatures yet" in exported.err
    until(lambda: desk.state_of(path) == ["done"], PATIENCE_S)
    status, said = finish(waiting)
    assert (status, "has released this plan before" in said) == (0, True), said
    assert desk.verify("later").status == 0


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_round_whose_coordinator_ends_goes_on_when_the_next_one_listens(desk: Desk, how: int) -> None:
    path = desk.approved(f"stopped-{how}", rounds=2)
    before = {company: desk.room.drawings(company) for company in COMPANIES}
    launched = desk.room.launched_to_the_first_drawing(path, "stopped")
    began = time.monotonic()
    desk.room.coordinator.send_signal(how)
    desk.room.coordinator.wait(PATIENCE_S)
    took = time.monotonic() - began
    assert took < 10
    status, said = finish(launched)
    assert status == 1
    assert "hint: " in said
    assert desk.state_of(path) == ["open"]
    gone = desk.operator("health")
    assert (gone.status, "no coordinator is listening" in gone.err) == (1, True)
    until(lambda: "is not connected to" in desk.party("grocer", "health").err, PATIENCE_S)
    assert desk.party("grocer", "health").status == 1
    # a new one takes its place, and nobody has to ask it
    desk.room.serve()
    until(lambda: desk.state_of(path) == ["done"], PATIENCE_S)
    assert any("going on with the round left open" in line for line in desk.room.told())
    assert {company: desk.room.drawings(company) - before[company] for company in COMPANIES} == dict.fromkeys(
        COMPANIES, 2
    )
    after = desk.launch(path, f"stopped-{how}")
    assert (after.status, "has released this plan before" in after.out) == (0, True)
    assert desk.verify(f"stopped-{how}").status == 0


def test_a_round_left_open_beyond_its_deadline_is_forfeited_by_the_coordinator_that_listens_next(desk: Desk) -> None:
    path = desk.approved("too-late", rounds=2)
    launched = desk.room.launched_to_the_first_drawing(path, "too-late")
    desk.room.coordinator.kill()
    desk.room.coordinator.wait(PATIENCE_S)
    finish(launched)
    until(lambda: time.time() > desk.room.reserved_at(path) + 40, 60)
    desk.room.serve()
    until(lambda: desk.state_of(path) == ["forfeited"], PATIENCE_S)
    refused = desk.launch(path, "too-late")
    assert refused.status == 1
    assert (
        "of this plan was forfeited; what it reserved is spent\nhint: --again runs another, for ρ 0.018" in refused.err
    )
    assert desk.operator("export", "--out", desk.room.place / "too-late").status == 0
    assert desk.verify("too-late").status == 0
