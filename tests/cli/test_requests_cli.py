"""`sumroom-party requests list | approve | deny`: a person's word counts, for exactly the rounds it was given for."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from party_node import cli
from party_node.filter import Charge
from party_node.requests import open_requests
from protocols import messages
from protocols.errors import Refused


def propose(room: Any, plan: Any) -> None:
    room.say("alpha", messages.Propose(plan=plan.body()))


# -- the four commands -------------------------------------------------------------------------------------------------


def test_list_shows_what_waits_and_what_became_of_it(
    requests: Any, document: Any, asking: Any, lab: ModuleType
) -> None:
    other = lab.plan(name="other", purpose="another purpose")
    asking.clock.now += 1
    propose(asking, other)
    rows = document(asking, "list")
    assert [(row["name"], row["standing"]) for row in rows] == [
        ("other", "waits for a decision"),
        ("quintiles", "waits for a decision"),
    ]
    assert rows[1] == {
        "plan": asking.plan.digest,
        "name": "quintiles",
        "purpose": "know the shared cohorts",
        "questions": ["rfm"],
        "rho_record": "0.4",
        "standing": "waits for a decision",
        "rounds_left": None,
        "first_asked": lab.START,
        "last_asked": lab.START,
    }
    assert requests(asking, "approve", asking.plan.digest, "--yes")[0] == 0
    assert requests(asking, "deny", other.digest, "--yes")[0] == 0
    assert [row["standing"] for row in document(asking, "list")] == ["denied by you", "approved"]
    status, out, _ = requests(asking, "list")
    assert status == 0
    for shown in (asking.plan.digest[:16], other.digest[:16], "quintiles", "rfm", "0.4", "denied by you"):
        assert shown in out


def test_list_of_a_party_that_nobody_has_asked_says_so_in_words_and_in_json(
    requests: Any, document: Any, room: Any
) -> None:
    assert requests(room, "list") == (0, "nobody has asked for a decision\n", "")
    assert document(room, "list") == []


@pytest.mark.parametrize("command", ["show", "approve", "deny"])
def test_a_plan_that_is_not_there_or_not_alone_is_a_usage_error_and_nothing_is_decided(
    requests: Any, asking: Any, lab: ModuleType, command: str
) -> None:
    start = asking.plan.digest[0]
    same = next(p for p in (lab.plan(name=f"n{n}") for n in range(200)) if p.digest[0] == start)
    propose(asking, same)
    for words, said in (
        (["x"], "no request starts with 'x'"),
        ([start], f"2 requests start with '{start}'"),
        ([""], "a plan is named by its digest"),
    ):
        status, out, err = requests(asking, command, *words)
        assert (status, out) == (2, "")
        assert err.splitlines() == [err.splitlines()[0], "hint: sumroom-party requests list"]
        assert err.startswith(f"error: {said}")
    assert asking.nodes["alpha"].requests.decision(asking.plan.digest) is None


@pytest.mark.parametrize("command", ["approve", "deny"])
def test_without_a_terminal_a_decision_needs_yes_on_the_command_line(
    requests: Any, asking: Any, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    status, _, err = requests(asking, command, asking.plan.digest)
    assert (status, err) == (2, "error: nobody is there to say yes\nhint: add --yes\n")
    assert asking.nodes["alpha"].requests.decision(asking.plan.digest) is None


@pytest.mark.parametrize(
    ("typed", "decided"),
    [("y\n", True), ("n\n", False), ("\n", False), ("", False), ("what?\nYES\n", True), ("1\nno\ny\n", False)],
)
def test_at_a_terminal_only_a_typed_yes_decides(
    requests: Any, asking: Any, monkeypatch: pytest.MonkeyPatch, typed: str, decided: bool
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal(typed))
    status, out, err = requests(asking, "approve", asking.plan.digest[:8])
    assert "approve 1 more round of it? [y/N]: " in out
    assert ("type y for yes or n for no" in out) == (typed.count("\n") > 1)
    assert (status, err) == ((0, "") if decided else (1, "error: nothing was decided\n"))
    assert (asking.nodes["alpha"].requests.decision(asking.plan.digest) is not None) == decided


@pytest.mark.parametrize("rounds", ["0", "1001", "-1", "many"])
def test_a_number_of_rounds_that_is_none_is_a_usage_error(requests: Any, asking: Any, rounds: str) -> None:
    status, _, err = requests(asking, "approve", asking.plan.digest, "--yes", "--rounds", rounds)
    assert (status, err[:7]) == (2, "error: ")


@pytest.mark.parametrize("command", ["approve", "deny"])
def test_a_start_that_another_plan_could_be_made_to_have_decides_nothing_unseen(
    requests: Any, asking: Any, command: str
) -> None:
    digest = asking.plan.digest
    for words, said in (([digest[:15], "--yes"], "with --yes it takes 16 digits"), ([digest[:7]], "it takes 8 digits")):
        status, out, err = requests(asking, command, *words)
        assert (status, out) == (2, "")
        assert said in err
        assert err.endswith("hint: sumroom-party requests list\n")
    assert asking.nodes["alpha"].requests.decision(digest) is None


# -- what a person's word does -----------------------------------------------------------------------------------------


def test_an_approved_plan_runs_and_one_round_more_is_asked_again(requests: Any, document: Any, asking: Any) -> None:
    with pytest.raises(Refused, match="alpha: no rule allows plan"):
        asking.run()
    status, out, _ = requests(asking, "approve", asking.plan.digest[:16], "--yes")
    assert status == 0
    assert out.endswith(f"approved: plan {asking.plan.digest[:16]}, for 1 more round\n")
    assert len(asking.run()) == 2
    with pytest.raises(Refused, match="alpha: the rounds of plan .* are used up"):
        asking.run()
    assert document(asking, "list")[0]["standing"] == "waits for a decision"
    assert requests(asking, "approve", asking.plan.digest, "--yes")[0] == 0
    assert len(asking.run()) == 2
    with pytest.raises(Refused, match="used up"):
        asking.run()


def test_a_second_approval_replaces_the_first_and_is_not_added_to_it(requests: Any, asking: Any) -> None:
    for rounds, said in (("3", "3 more rounds"), ("1", "1 more round")):
        _, out, _ = requests(asking, "approve", asking.plan.digest, "--yes", "--rounds", rounds)
        assert f"approved: plan {asking.plan.digest[:16]}, for {said}" in out
    assert out.endswith("; it replaces your approval of 3 more rounds\n")
    asking.run()
    with pytest.raises(Refused, match="used up"):
        asking.run()


def test_the_rounds_that_are_left_are_shown_until_they_are_used_up_or_denied(
    requests: Any, document: Any, asking: Any
) -> None:
    digest = asking.plan.digest

    def left() -> list[Any]:
        return [document(asking, "list")[0]["rounds_left"], document(asking, "show", digest)["rounds_left"]]

    requests(asking, "approve", digest, "--yes", "--rounds", "2")
    assert left() == [2, 2]
    assert "approved; your approval has 2 more rounds" in requests(asking, "show", digest)[1]
    asking.run()
    assert left() == [1, 1]
    asking.run()
    assert left() == [0, 0]
    requests(asking, "deny", digest, "--yes")
    assert left() == [None, None]


def test_what_is_only_held_when_a_person_approves_is_no_round_on_top(requests: Any, asking: Any) -> None:
    """A hold may lapse: an approval that counted it would be good for one round more than was said."""
    plan, node = asking.plan, asking.nodes["alpha"]
    held = Charge("trial", "0" * 32, plan.digest, tuple(plan.blocks.values()), plan.charge, 1 << 40)
    node.filter.hold(held, 0)
    requests(asking, "approve", plan.digest, "--yes", "--rounds", "3")
    assert node.requests.decision(plan.digest).most == 3 * plan.charge


def test_a_denied_plan_does_not_run_until_a_person_approves_it(requests: Any, asking: Any) -> None:
    requests(asking, "approve", asking.plan.digest, "--yes", "--rounds", "5")
    status, out, _ = requests(asking, "deny", asking.plan.digest, "--yes")
    assert (status, out) == (0, f"denied: plan {asking.plan.digest[:16]}\n")
    with pytest.raises(Refused, match="alpha: a person has denied plan"):
        asking.run()
    assert asking.spent("alpha") == 0
    requests(asking, "approve", asking.plan.digest, "--yes")
    assert len(asking.run()) == 2


def test_a_plan_that_a_rule_denies_cannot_be_approved_by_hand(requests: Any, document: Any, asking: Any) -> None:
    (asking.base / "alpha" / "consent.toml").write_text('[[deny]]\nquestions = ["rfm"]\n')
    status, out, err = requests(asking, "approve", asking.plan.digest, "--yes")
    assert (status, out) == (1, "")
    assert err == "error: a rule in consent.toml denies this plan\nhint: take the rule out first, if you are sure\n"
    assert document(asking, "list")[0]["standing"] == "denied by a rule"
    assert asking.nodes["alpha"].requests.decision(asking.plan.digest) is None


def test_a_plan_whose_last_day_is_over_cannot_be_approved(requests: Any, room: Any, lab: ModuleType) -> None:
    room.clock.now = 1_500_000_000
    (room.base / "alpha" / "consent.toml").write_text("")
    over = lab.plan(valid_until="2017-12-31")
    propose(room, over)
    status, _, err = requests(room, "approve", over.digest, "--yes")
    assert (status, err) == (1, "error: the plan was valid until 2017-12-31\n")


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_without_a_ledger_or_without_any_state_the_commands_still_work(
    requests: Any, document: Any, asking: Any, lab: ModuleType
) -> None:
    state = asking.base / "alpha" / "state"
    before = document(asking, "show", asking.plan.digest)
    asking.nodes.pop("alpha").close()
    for file in state.glob("ledger.db*"):
        file.unlink()
    assert document(asking, "show", asking.plan.digest) == before
    shutil.rmtree(state)
    assert requests(asking, "list") == (0, "nobody has asked for a decision\n", "")


def _damaged(state: Path) -> None:
    (state / "requests.db").write_bytes(b"\xff" * 8192)


def _folder(state: Path) -> None:
    (state / "requests.db").mkdir()


def _no_folder(state: Path) -> None:
    shutil.rmtree(state)
    state.write_text("")


def _forged(state: Path) -> None:
    (state.parent / "consent.toml").write_text("[[deny]]\nwhom = 1")


@pytest.mark.parametrize(
    ("spoil", "status", "said"),
    [
        (_damaged, 3, "requests.db is damaged or is none of a node's"),
        (_folder, 2, "cannot open "),
        (_no_folder, 2, "cannot open "),
        (_forged, 2, "deny rule 1: whom: there is no such setting"),
    ],
)
def test_what_is_wrong_with_the_files_is_one_error_and_one_hint(
    requests: Any, room: Any, spoil: Any, status: int, said: str
) -> None:
    room.nodes.pop("alpha").close()
    state = room.base / "alpha" / "state"
    for file in state.glob("requests.db*"):
        file.unlink()
    spoil(state)
    for words in (["list"], ["show", "a"], ["approve", "a", "--yes"], ["deny", "a", "--yes"]):
        found, out, err = requests(room, *words)
        assert (found, out) == (status, "")
        assert err.startswith("error: ")
        assert said in err
        assert len(err.splitlines()) == 2


def test_a_decision_changed_in_the_file_is_shown_as_what_it_is(requests: Any, document: Any, asking: Any) -> None:
    requests(asking, "approve", asking.plan.digest, "--yes")
    desk = open_requests(asking.nodes["alpha"].config)
    desk._db.execute("DROP TRIGGER decision_fixed")
    desk._db.execute("UPDATE decision SET most = most * 2")
    desk.close()
    assert "not signed by you" in document(asking, "list")[0]["standing"]
    with pytest.raises(Refused, match="not signed by this party"):
        asking.run()
    requests(asking, "approve", asking.plan.digest, "--yes")
    assert document(asking, "list")[0]["standing"] == "approved"
    assert len(asking.run()) == 2


@pytest.mark.parametrize("words", [["--help"], ["list", "--help"], ["show", "--help"], ["approve", "--help"]])
def test_help_is_there_for_every_command(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert cli.main(["requests", *words]) == 0
    assert "Usage" in capsys.readouterr().out


def test_a_no_needs_no_policy_that_can_be_read_and_a_yes_does(requests: Any, asking: Any) -> None:
    (asking.base / "alpha" / "consent.toml").write_text("[")
    status, _, err = requests(asking, "approve", asking.plan.digest, "--yes")
    assert (status, "is not TOML" in err) == (2, True)
    status, out, err = requests(asking, "deny", asking.plan.digest, "--yes")
    assert (status, out) == (0, f"denied: plan {asking.plan.digest[:16]}\n")
    assert err.startswith("warning: ")
    assert "is not TOML" in err
