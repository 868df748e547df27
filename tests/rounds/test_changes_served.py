"""A served room of real processes that changes while it works: signed by people's commands, entered by the socket."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from protocols import keys, ledger_copy
from tests.rounds.journey import COMPANIES, tool, until
from tests.rounds.test_serving import PATIENCE_S, Desk, Served

pytestmark = pytest.mark.processes


@pytest.fixture
def desk(lab: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    room = Served(tmp_path / "room", lab)
    desk = Desk(room, capsys)
    online(desk)
    yield desk
    room.close()


def online(desk: Desk) -> None:
    until(lambda: f"connected: {', '.join(COMPANIES)}" in desk.operator("health").out, PATIENCE_S)


def test_a_raised_cap_and_new_keys_reach_running_nodes_and_the_next_round(desk: Desk) -> None:
    place = desk.room.place
    plan = desk.approved("before")
    assert desk.launch(plan, "first").status == 0
    # A cap that everybody has to raise, signed beside the running nodes, entered by the coordinator that listens.
    file = place / "caps.json"
    words = ("--raise", "person:year-2017=0.8", "--raise", "person:lifetime=0.8")
    drafted = desk.operator("change", "new", "grant", *words, "--raise", "grocer:lifetime=0.266", "--out", file)
    assert drafted.status == 0, drafted.err
    for company in COMPANIES:
        assert "all parties together" in desk.party(company, "change", "show", file).out
        assert desk.party(company, "change", "sign", file, "--yes").status == 0
    entered = desk.operator("change", "enter", file)
    assert entered.status == 0, entered.err
    again = desk.operator("change", "enter", file)
    assert (again.status, "was in the ledger before" in again.out) == (0, True)
    for company in COMPANIES:
        copy = ledger_copy.read(place / company / "state" / "ledger.db")
        assert copy is not None
        assert copy.accounts.balance("person", "lifetime").cap == 800_000_000
    # New keys of one party: its node starts again with both, the operator enters the change, and a round runs.
    turned, home = place / "rotate.json", place / "grocer"
    done = desk.party("grocer", "change", "rotate-key", "--new", home / "keys" / "next.pem", "--out", turned)
    assert done.status == 0, done.err
    settings = (home / "node.toml").read_text()
    assert "[files]\n" in settings
    (home / "node.toml").write_text(settings.replace("[files]\n", '[files]\nsigning_key_next = "keys/next.pem"\n'))
    desk.room.end("grocer", signal.SIGTERM)
    desk.room.start("grocer")
    online(desk)
    entered = desk.operator("change", "enter", turned)
    assert entered.status == 0, entered.err
    after = desk.approved("after")
    launched = desk.launch(after, "second")
    assert launched.status == 0, launched.err
    copy = ledger_copy.read(place / "convenience" / "state" / "ledger.db")
    assert copy is not None
    new = keys.Identity.from_pem((home / "keys" / "next.pem").read_bytes(), where="next")
    assert copy.accounts.members.parties["grocer"].texts() == new.public().texts()
    assert desk.verify("second").status == 0
    # Without a coordinator that listens, the command listens itself.
    desk.room.coordinator.send_signal(signal.SIGTERM)
    desk.room.coordinator.wait(15)
    more = place / "more.json"
    assert desk.operator("change", "new", "grant", "--raise", "grocer:lifetime=0.3", "--out", more).status == 0
    assert desk.party("grocer", "change", "sign", more, "--yes").status == 0
    entered_here = tool("coordinator", "change", "enter", more, "--config", desk.room.config)
    assert entered_here.returncode == 0, entered_here.stderr
    assert f"{more}: entry " in entered_here.stdout
