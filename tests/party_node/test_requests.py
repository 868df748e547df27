"""What waits for a person, and what a person decided: kept across processes, obeyed only where the party signed it."""

from __future__ import annotations

import itertools
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from party_node.policy import LARGEST_PLAN, Decision
from party_node.requests import MOST_WAITING, Forged, Requests, open_requests
from protocols import messages
from protocols.errors import IntegrityError, Refused, UsageError

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
NOW = 1_800_000_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "requests.db"


@pytest.fixture
def requests(file: Path) -> Iterator[Requests]:
    kept = opened(file)
    yield kept
    kept.close()


def opened(file: Path, room: str = "trial", party: str = "alpha", signing: Ed25519PrivateKey = KEY) -> Requests:
    return Requests(file, room=room, party=party, signing=signing)


def change(file: Path, *statements: str) -> None:
    """What somebody can do who may write to the file: the triggers go first."""
    db = sqlite3.connect(file)
    for statement in ("DROP TRIGGER decision_stays", "DROP TRIGGER decision_fixed", *statements):
        db.execute(statement)
    db.commit()
    db.close()


# -- the file ----------------------------------------------------------------------------------------------------------


def test_a_request_is_kept_once_with_its_first_and_its_last_time(requests: Requests, lab: ModuleType) -> None:
    plan = lab.plan()
    for now in (NOW, NOW + 5, NOW + 60):
        requests.note(plan, now)
    (waiting,) = requests.all()
    assert (waiting.plan, waiting.first_asked, waiting.last_asked) == (plan, NOW, NOW + 60)


def test_the_file_is_its_owners_alone(requests: Requests, file: Path) -> None:
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_the_latest_decision_counts_and_survives_the_process(requests: Requests, file: Path) -> None:
    for most in (5, 0, 7):
        requests.decide(Decision("a" * 64, most), NOW)
    assert requests.decision("a" * 64) == Decision("a" * 64, 7)
    assert requests.decision("b" * 64) is None
    again = opened(file)
    assert again.decision("a" * 64) == Decision("a" * 64, 7)
    again.close()


@pytest.mark.parametrize(
    "statement", ["DELETE FROM decision", "UPDATE decision SET most = 9", "UPDATE decision SET plan = 'b'"]
)
def test_a_decision_can_be_added_to_and_not_changed(requests: Requests, file: Path, statement: str) -> None:
    requests.decide(Decision("a" * 64, 5), NOW)
    db = sqlite3.connect(file)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        db.execute(statement)
    db.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE decision SET most = 10",
        "UPDATE decision SET most = -1",
        f"UPDATE decision SET at = {NOW + 1}",
        "UPDATE decision SET number = 2",
        f"UPDATE decision SET plan = '{'b' * 64}'",
        "UPDATE decision SET signature = ''",
        "UPDATE decision SET signature = 'no base64'",
        "UPDATE decision SET signature = 'A' || substr(signature, 2)",
    ],
)
def test_a_decision_changed_in_the_file_is_refused_and_not_obeyed(
    requests: Requests, file: Path, statement: str
) -> None:
    requests.decide(Decision("a" * 64, 5), NOW)
    change(file, statement)
    plan = "b" * 64 if "SET plan" in statement else "a" * 64
    with pytest.raises(Forged, match=f"decision kept on plan {plan} is not signed by this party"):
        requests.decision(plan)


def test_an_old_approval_written_in_again_does_not_undo_the_denial_after_it(requests: Requests, file: Path) -> None:
    requests.decide(Decision("a" * 64, 5), NOW)
    requests.decide(Decision("a" * 64, 0), NOW)
    copied = "INSERT INTO decision SELECT 3, plan, most, at, signature FROM decision WHERE number = 1"
    change(file, copied)
    with pytest.raises(Forged):
        requests.decision("a" * 64)


@pytest.mark.parametrize(
    "other", [{"room": "other"}, {"party": "beta"}, {"signing": Ed25519PrivateKey.from_private_bytes(b"\1" * 32)}]
)
def test_a_decision_of_another_room_party_or_key_is_refused(
    requests: Requests, file: Path, other: dict[str, Any]
) -> None:
    requests.decide(Decision("a" * 64, 5), NOW)
    elsewhere = opened(file, **other)
    with pytest.raises(Forged):
        elsewhere.decision("a" * 64)
    elsewhere.close()


def test_of_undecided_requests_the_latest_are_kept_and_of_decided_ones_all(requests: Requests, lab: ModuleType) -> None:
    decided = lab.plan(name="decided")
    requests.note(decided, NOW)
    requests.decide(Decision(decided.digest, 0), NOW)
    plans = [lab.plan(name=f"n{number}") for number in range(MOST_WAITING + 20)]
    for number, plan in enumerate(plans):
        requests.note(plan, NOW + number)
    kept = [waiting.plan.digest for waiting in requests.all()]
    assert kept == [plan.digest for plan in reversed(plans[20:])] + [decided.digest]


def test_a_plan_is_found_by_how_its_digest_starts_and_by_nothing_else(requests: Requests, lab: ModuleType) -> None:
    plans = [lab.plan(name=f"n{number}") for number in range(17)]  # two of them start with one letter
    for plan in plans:
        requests.note(plan, NOW)
    digests = sorted(plan.digest for plan in plans)
    shared = next(a[0] for a, b in itertools.pairwise(digests) if a[0] == b[0])
    assert requests.find(digests[0]).plan.digest == requests.find(digests[0][:12].upper()).plan.digest == digests[0]
    for start, said in ((shared, r"\d+ requests start with"), ("x", "no request starts"), ("", "by its digest")):
        with pytest.raises(UsageError, match=said) as caught:
            requests.find(start)
        assert caught.value.hint == "sumroom-party requests list"


def test_a_kept_plan_whose_bytes_were_changed_is_an_error_and_shown_as_no_other_plan(
    requests: Requests, file: Path, lab: ModuleType
) -> None:
    requests.note(lab.plan(), NOW)
    change(file, "UPDATE request SET body = CAST(replace(body, 'alpha', 'gamma') AS BLOB)")
    with pytest.raises((IntegrityError, UsageError), match="plan"):
        requests.all()


@pytest.mark.parametrize("use", ["note", "all", "decide", "decision"])
def test_a_file_that_stops_being_one_is_an_error_of_ours_at_every_use(
    requests: Requests, file: Path, lab: ModuleType, use: str
) -> None:
    change(file, "DROP TABLE request", "DROP TABLE decision")
    calls = {
        "note": lambda: requests.note(lab.plan(), NOW),
        "all": requests.all,
        "decide": lambda: requests.decide(Decision("a" * 64, 1), NOW),
        "decision": lambda: requests.decision("a" * 64),
    }
    with pytest.raises(UsageError, match="cannot use .*requests.db"):
        calls[use]()


def test_a_file_that_is_no_database_is_named(file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(b"x" * 8192)
    with pytest.raises(IntegrityError, match="requests.db is damaged") as caught:
        opened(file)
    assert "move it away" in str(caught.value.hint)


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a folder should be")
    with pytest.raises(UsageError, match="cannot open .*requests.db") as caught:
        opened(tmp_path / "state" / "requests.db")
    assert "permission" in str(caught.value.hint)


# -- the node ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def asking(room: Any) -> Any:
    """The lab's room, in which alpha's policy leaves everything to a person."""
    (room.base / "alpha" / "consent.toml").write_text("")
    return room


def propose(room: Any, plan: Any = None) -> Any:
    return room.say("alpha", messages.Propose(plan=(plan or room.plan).body()))


def decide(room: Any, most: int) -> None:
    """As another process of the party does, while the node runs."""
    desk = open_requests(room.nodes["alpha"].config)
    desk.decide(Decision(room.plan.digest, most), NOW)
    desk.close()


def waiting(room: Any) -> list[Any]:
    return room.nodes["alpha"].requests.all()  # type: ignore[no-any-return]


def test_a_proposed_plan_that_nobody_decided_on_is_noted_once_and_nothing_is_spent(asking: Any) -> None:
    assert "a person must decide" in propose(asking).reason
    asking.clock.now += 90
    propose(asking)
    (noted,) = waiting(asking)
    assert noted.plan == asking.plan
    assert (noted.first_asked, noted.last_asked) == (int(asking.clock.now) - 90, int(asking.clock.now))
    assert asking.spent("alpha") == 0


def test_a_plan_that_a_rule_allows_or_denies_or_that_does_not_fit_the_room_waits_for_nobody(
    asking: Any, lab: ModuleType
) -> None:
    (asking.base / "alpha" / "consent.toml").write_text('default = "deny"')
    assert isinstance(propose(asking), messages.Refusal)
    lab.consent(asking.base / "alpha", asking.plan)
    assert isinstance(propose(asking), messages.Approval)
    (asking.base / "alpha" / "consent.toml").write_text("")
    assert isinstance(propose(asking, lab.plan(room="other")), messages.Refusal)
    assert waiting(asking) == []


def test_a_decision_of_another_process_counts_at_the_next_proposal_of_the_running_node(asking: Any) -> None:
    assert isinstance(propose(asking), messages.Refusal)
    decide(asking, asking.plan.charge)
    assert isinstance(propose(asking), messages.Approval)
    decide(asking, 0)
    assert "a person has denied" in propose(asking).reason


def test_a_denial_after_approval_ends_further_holds_of_a_plan_that_the_node_has_signed(asking: Any) -> None:
    decide(asking, asking.plan.charge)
    reserve = asking.stopped_at(messages.Reserve)["alpha"]
    decide(asking, 0)
    refused = asking.say("alpha", reserve)
    assert isinstance(refused, messages.Refusal)
    assert "a person has denied" in refused.reason
    assert asking.spent("alpha") == 0
    decide(asking, asking.plan.charge)
    assert isinstance(asking.say("alpha", reserve), messages.Held)


def test_a_node_does_not_obey_a_decision_that_was_changed_in_its_file(asking: Any) -> None:
    decide(asking, 1)
    change(asking.base / "alpha" / "state" / "requests.db", "UPDATE decision SET most = 1000000000")
    assert "not signed by this party" in propose(asking).reason


def test_an_approval_by_hand_covers_its_rounds_and_then_a_person_is_asked_again(asking: Any) -> None:
    decide(asking, 2 * asking.plan.charge)
    assert [len(asking.run()), len(asking.run())] == [2, 2]
    with pytest.raises(Refused, match="alpha: the rounds of plan .* are used up"):
        asking.run()
    assert [one.plan for one in waiting(asking)] == [asking.plan]
    assert asking.spent("alpha") == 2 * asking.plan.charge


def test_a_coordinator_that_proposes_plan_after_plan_fills_no_disk_and_is_answered_each_time(
    asking: Any, lab: ModuleType
) -> None:
    for number in range(MOST_WAITING + 6):
        asking.clock.now += 1
        assert isinstance(propose(asking, lab.plan(name=f"n{number}")), messages.Refusal)
    assert len(waiting(asking)) == MOST_WAITING
    assert waiting(asking)[0].plan.name == f"n{MOST_WAITING + 5}"


def test_a_plan_too_long_to_be_read_is_refused_and_not_kept(asking: Any, lab: ModuleType) -> None:
    many = {f"column_{number}": {"type": "id"} for number in range(LARGEST_PLAN // 24)}
    plan = lab.plan(table={"name": "sales", "columns": {**lab.COLUMNS, **many}})
    assert len(plan.canonical) > LARGEST_PLAN
    assert f"the most is {LARGEST_PLAN:,}" in propose(asking, plan).reason
    assert waiting(asking) == []


def test_a_node_that_cannot_write_a_request_down_still_answers_and_tells_its_own_operator_alone(
    asking: Any, caplog: pytest.LogCaptureFixture
) -> None:
    change(asking.base / "alpha" / "state" / "requests.db", "DROP TABLE request")
    reply = propose(asking)
    assert isinstance(reply, messages.Refusal)
    assert "its operator knows more" in reply.reason
    assert "requests.db" in caplog.text
