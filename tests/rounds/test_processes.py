"""Rounds among real processes over real sockets: nodes that are killed, frozen or never come, and what is left then."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from types import ModuleType

import pytest

from protocols import bundle
from protocols.errors import Refused
from tests.rounds.journey import COMPANIES, DEADLINE, VICTIM, Journey, tool

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def shared(lab: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journey]:
    journey = Journey(tmp_path_factory.mktemp("journey") / "room", lab)
    yield journey
    journey.close()


@pytest.fixture
def journey(shared: Journey) -> Journey:
    """All three nodes run, whatever the test before has done to them."""
    for company in COMPANIES:
        if company not in shared.nodes or shared.nodes[company].poll() is not None:
            shared.start(company)
    return shared


def test_three_processes_and_a_coordinator_release_and_the_auditor_finds_nothing(journey: Journey) -> None:
    status, said = journey.run("released")
    assert status == 0, said
    assert "2 releases" in said
    assert "ledger clean" in said
    status, said = journey.verify("released")
    assert status == 0, said
    assert (journey.place / "released" / "report.html").stat().st_size > 1000


def test_a_node_killed_and_not_started_again_forfeits_the_round_and_the_plan_can_run_again(journey: Journey) -> None:
    status, said, took = journey.while_it_waits(VICTIM, "x", lambda: journey.end(VICTIM, signal.SIGKILL))
    assert status == 1
    assert "error: round" in said
    assert f"is forfeited: {VICTIM} did not answer (" in said
    assert took < DEADLINE + 10  # it is waited for until then: started again, it would go on
    assert journey.states()[-1] == "forfeited"
    assert tool("coordinator", "export", "--config", journey.config, "--out", journey.place / "killed").returncode == 0
    status, said = journey.verify("killed")
    assert (status, "1 forfeit" in said) == (0, True), said
    entries = bundle.unpack((journey.place / "killed" / "room.tar").read_bytes())[bundle.ENTRIES]
    assert b'"reason":"party-unavailable"' in entries
    journey.start(VICTIM)
    status, said = journey.run("again")
    assert status == 0, said
    assert journey.states()[-2:] == ["forfeited", "done"]
    assert journey.verify("again")[0] == 0


@pytest.mark.parametrize(
    "how",
    [
        signal.SIGKILL,
        pytest.param(
            signal.SIGTERM,
        ),
    ],
)
def test_a_node_that_is_started_again_goes_on_with_what_it_had_drawn(journey: Journey, how: int) -> None:
    before = journey.drawings(VICTIM)

    def restart() -> None:
        journey.end(VICTIM, how)
        journey.start(VICTIM)

    status, said, _ = journey.while_it_waits(VICTIM, "back", restart)
    assert status == 0, said
    assert journey.drawings(VICTIM) == before + 2
    assert journey.states()[-1] == "done"


def test_a_frozen_node_forfeits_the_round_by_its_deadline(journey: Journey) -> None:
    frozen = journey.nodes[VICTIM]
    try:
        status, said, took = journey.while_it_waits(VICTIM, "x", lambda: os.kill(frozen.pid, signal.SIGSTOP))
    finally:
        os.kill(frozen.pid, signal.SIGCONT)
    assert status == 1
    assert f"is forfeited: {VICTIM} did not answer (silent" in said
    assert took < DEADLINE + 10  # the forfeit is offered for cosigning for five seconds more
    assert journey.states()[-1] == "forfeited"
    assert tool("coordinator", "export", "--config", journey.config, "--out", journey.place / "frozen").returncode == 0
    assert journey.verify("frozen")[0] == 0


def test_a_party_that_never_comes_is_named_and_nothing_is_spent(journey: Journey) -> None:
    journey.end("grocer", signal.SIGTERM)
    before = journey.states()
    # Nodes without a coordinator dial less and less often, at least every 7.5 s.
    status, said = journey.run("x", "--wait", 9)
    assert status == 1
    assert "error: grocer did not come within 9 s; nothing was asked and nothing is spent" in said
    assert "hint: start the node" in said
    assert journey.states() == before


def test_a_second_coordinator_and_a_second_process_of_a_node_are_refused(journey: Journey) -> None:
    done = tool("party_node", "start", "--config", journey.place / "convenience" / "node.toml")
    assert (done.returncode, "another process of this node is using" in done.stderr) == (1, True)
    book = journey.place / "coordinator" / "state"
    from coordinator.store import Store

    mine = Store(book)
    try:
        status, said = journey.run("x")
    finally:
        mine.close()
    assert status == Refused.exit_code
    assert "another coordinator is using" in said
