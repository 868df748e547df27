"""A room of the example's three companies as real processes over loopback: tiny tables, a quick plan, its commands."""

from __future__ import annotations

import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from examples.complete_journey import room as demo_room
from protocols.logbook import Logbook
from protocols.plan import Plan

ROOT = Path(__file__).resolve().parents[2]
COMPANIES = ("convenience", "drugstore", "grocer")
VICTIM = "drugstore"
DEADLINE = 12
TABLE = """\
[table]
files = ["sales.csv"]
least_people = 40
[table.columns]
customer = "customer"
basket = "basket"
bought_on = "bought_on"
paid = "paid"
discount = "discount"
"""


def tool(package: str, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", package, *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


class Journey:
    """The example's room with tiny tables and a quick plan, and its processes."""

    def __init__(self, place: Path, lab: ModuleType) -> None:
        self.place, self.nodes = place, dict[str, subprocess.Popen[bytes]]()
        demo_room.make(place, _free_port())
        self.plan_file, self.plan = _quick_plan(place)
        for k, company in enumerate(COMPANIES):
            home = place / company
            text = (home / "node.toml").read_text()
            (home / "node.toml").write_text(text[: text.index("[table]")] + TABLE)
            (home / "sales.csv").write_text(lab.csv_of(lab.rows_of(lab.PARTIES[k], people=40)))
            lab.consent(home, self.plan, per_round="0.018", per_period="0.133")
            done = tool("party_node", "register", "--config", home / "node.toml", "--plan", self.plan_file)
            assert done.returncode == 0, done.stderr
        text = self.config.read_text()
        assert "grace_s = 5 " in text  # a restarted node has to import Flower and gRPC before it can dial
        self.config.write_text(text.replace("grace_s = 5 ", "grace_s = 9 "))
        for company in COMPANIES:
            self.start(company)

    def start(self, company: str) -> None:
        home = self.place / company
        with (home / "node.log").open("ab") as log:
            command = [sys.executable, "-m", "party_node", "start", "--config", str(home / "node.toml"), "--verbose"]
            self.nodes[company] = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)

    def end(self, company: str, how: int) -> None:
        node = self.nodes.pop(company)
        node.send_signal(how)
        node.wait(15)

    def close(self) -> None:
        for node in self.nodes.values():
            node.kill()
            node.wait()

    @property
    def config(self) -> Path:
        return self.place / "coordinator" / "coordinator.toml"

    def begin(self, out: str, *more: object) -> subprocess.Popen[str]:
        words = ["plan", "launch", self.plan_file, "--config", self.config, "--out", self.place / out, "--quiet"]
        words += ["--again", *more]
        command = [sys.executable, "-m", "coordinator", *map(str, words)]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, out: str, *more: object) -> tuple[int, str]:
        return finish(self.begin(out, *more))

    def drawings(self, company: str) -> int:
        """How many steps a party has ever drawn noise for, by its own accounts."""
        db = sqlite3.connect(f"file:{self.place / company / 'accounts.db'}?mode=ro", uri=True)
        try:
            return int(db.execute("SELECT count(*) FROM drawn").fetchone()[0])
        finally:
            db.close()

    def states(self) -> list[str]:
        """What became of each round, by the coordinator's ledger."""
        with Logbook(self.place / "coordinator" / "state" / "ledger.db") as book:
            return [round_.state for round_ in book.accounts.rounds.values()]

    def verify(self, out: str) -> tuple[int, str]:
        folder = self.place / out
        done = tool("protocols", "verify", folder / "room.tar", "--policy", folder / "policy.txt")
        return done.returncode, done.stdout + done.stderr

    def while_it_waits(self, company: str, out: str, do: Callable[[], None]) -> tuple[int, str, float]:
        """Run the plan, and do something while this node waits to offer its key, its noise drawn and kept.

        The status of the coordinator, what it said, and how many seconds it still took.
        """
        before = self.drawings(company)
        coordinator = self.begin(out)
        until(lambda: self.drawings(company) > before, 30)
        do()
        began = time.monotonic()
        status, said = finish(coordinator)
        return status, said, time.monotonic() - began


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        out, err = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    assert "Traceback" not in out + err
    return process.returncode, out + err


def until(what: Callable[[], Any], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _quick_plan(place: Path) -> tuple[Path, Plan]:
    text = (Path(__file__).parents[1] / "plans" / "rfm.toml").read_text()
    for old, new in (("deadline_s = 60", f"deadline_s = {DEADLINE}"), ("answer_after_s = 2", "answer_after_s = 1")):
        assert old in text
        text = text.replace(old, new)
    path = place / "plan.toml"
    path.write_text(text)
    return path, Plan.from_toml(text.encode())
