"""`plan new`: every draft is a sound plan of its room as it stands; what cannot be drafted is refused plainly."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coordinator import cli, drafts
from party_node.policy import check_plan
from protocols import keys
from protocols.errors import UsageError
from protocols.ledger.entries import build
from protocols.plan import Plan
from protocols.room import Room

NAMES = ("alpha", "beta", "gamma", "delta", "epsilon")
COMBINATIONS = (
    ["rfm"],
    ["segments"],
    ["rfm", "segments"],
    ["classes", "rfm"],
    ["rfm", "segments", "overlap"],
    ["lookalike"],
    ["overlap", "lookalike"],
)
STEPS = {
    "rfm": "rfm",
    "segments": "seg",
    "classes": "classes",
    "overlap": "overlap",
    "lookalike": "look",
}  # how the names of a question's steps begin
TODAY = dt.datetime.now(dt.UTC).date()
YEARS = {"year-2017": ("2017-01-01", "2017-12-31")}
AMPLE = {"record": "1", "person": "5", "lifetime_record": "3", "lifetime_person": "15"}


def room(parties: int, blocks: dict[str, tuple[str, str]] | None = None, **caps: str) -> Room:
    """A room whose parties are not written in the order of their names."""
    public = [keys.public_text(Ed25519PrivateKey.generate()) for _ in range(parties + 1)]
    lines = ['room = "trial"', 'origin = "trial.example/ledger"', f"cosign_quorum = {parties // 2 + 1}"]
    lines += ["[coordinator]", f'key = "{public[-1]}"']
    for party, key in zip(NAMES[:parties], public, strict=False):
        lines += [f"[parties.{party}]", f'key = "{key}"']
    for name, (first, last) in (blocks or YEARS).items():
        lines += [f"[blocks.{name}]", f'first = "{first}"', f'last = "{last}"']
    lines += ["[caps]", *(f'{name} = "{cap}"' for name, cap in {**AMPLE, **caps}.items())]
    return Room.from_toml("\n".join(lines).encode(), where="room.toml")


@pytest.mark.parametrize("questions", COMBINATIONS, ids="+".join)
@pytest.mark.parametrize("parties", range(1, 6))
def test_a_draft_is_a_sound_plan_that_plan_check_and_every_party_of_the_room_take(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, parties: int, questions: list[str]
) -> None:
    place = room(parties)
    if parties == 1 and {"overlap", "lookalike"} & set(questions):
        with pytest.raises(UsageError, match="two parties or more|ranks"):
            drafts.draft(place, "first-try", questions)
        return
    text = drafts.draft(place, "first-try", questions)
    plan = Plan.from_toml(text.encode())
    assert (plan.room, plan.name, plan.parties) == ("trial", "first-try", sorted(NAMES[:parties]))
    assert plan.recipients == plan.parties
    assert [question.kind for question in plan.questions] == questions
    assert {name: (block.first, block.last) for name, block in plan.blocks.items()} == YEARS
    assert (plan.quorum, plan.collusion) == (parties, parties - 1)
    for party in plan.parties:
        check_plan(plan, place, party, TODAY)
    (tmp_path / "plan.toml").write_text(text)
    assert cli.main(["plan", "check", str(tmp_path / "plan.toml"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["digest"] == plan.digest
    assert {step["step"].split("-")[0] for step in found["steps"]} == {STEPS[question] for question in questions}


@pytest.mark.parametrize("questions", COMBINATIONS[:3], ids="+".join)
def test_a_round_of_a_draft_fits_the_rooms_ledger(questions: list[str]) -> None:
    """Its charge for every party and block is within the caps that the room's genesis gives them."""
    place = room(3, {"y1": ("2016-01-01", "2016-12-31"), "y2": ("2017-01-01", "2017-12-31")})
    plan = Plan.from_toml(drafts.draft(place, "p", questions).encode())
    build({**place.genesis(), "seq": 0, "time": 0})
    assert plan.charge <= place.caps.record
    assert plan.charge_person <= place.caps.person
    assert plan.charge * len(plan.blocks) <= place.caps.lifetime_record
    assert plan.charge_person * len(plan.blocks) <= place.caps.lifetime_person


def test_a_draft_takes_all_blocks_of_the_room_and_reckons_from_the_day_after_the_last() -> None:
    blocks = {"b": ("2017-01-01", "2017-06-30"), "a": ("2017-07-01", "2017-12-31")}
    plan = Plan.from_toml(drafts.draft(room(3, blocks), "two-halves", ["rfm"]).encode())
    assert {name: (block.first, block.last) for name, block in plan.blocks.items()} == blocks
    assert plan.features.as_of == "2018-01-01"


def test_a_draft_is_valid_for_a_year_from_today() -> None:
    plan = Plan.from_toml(drafts.draft(room(2), "p", ["rfm"]).encode())
    assert 364 <= (dt.date.fromisoformat(plan.valid_until) - TODAY).days <= 366


@pytest.mark.parametrize("questions", [["sql"], ["rfm", "RFM"], [""], ["rfm "], ["x" * 5000]])
def test_a_question_that_there_is_not_is_named_with_those_that_there_are(questions: list[str]) -> None:
    with pytest.raises(UsageError, match="there is no question") as caught:
        drafts.draft(room(3), "p", questions)
    assert caught.value.hint == "the questions are: rfm, segments, classes, overlap, lookalike"
    assert len(caught.value.message) < 100


@pytest.mark.parametrize("questions", COMBINATIONS[:3], ids="+".join)
def test_the_deadline_of_a_draft_leaves_as_much_again_as_its_steps_wait(questions: list[str]) -> None:
    plan = Plan.from_toml(drafts.draft(room(3), "p", questions).encode())
    assert plan.least_s == len(plan.steps()) * plan.answer_after_s > 0
    assert plan.deadline_s == 2 * plan.least_s + 120


@pytest.mark.parametrize("purpose", ['a "quoted" \\ purpose', "what {name} costs, für alle 🛒", "x" * 400])
def test_a_purpose_is_in_the_draft_as_it_was_given(purpose: str) -> None:
    assert Plan.from_toml(drafts.draft(room(3), "p", ["rfm"], purpose).encode()).purpose == purpose


@pytest.mark.parametrize("purpose", ["short", "x" * 401, "two\nlines of it", "a bell \a rings", "half \udcff a letter"])
def test_a_purpose_that_is_none_is_refused(purpose: str) -> None:
    with pytest.raises(UsageError, match="purpose"):
        drafts.draft(room(3), "p", ["rfm"], purpose)


def test_a_question_that_is_named_twice_is_refused_and_none_at_all_too() -> None:
    with pytest.raises(UsageError, match="ask each question once"):
        drafts.draft(room(3), "p", ["rfm", "rfm"])
    with pytest.raises(UsageError, match="questions"):
        drafts.draft(room(3), "p", [])


@pytest.mark.parametrize(
    "name",
    ["", "Big", "two words", "9lives", "x" * 41, 'a"', 'a"\nrho = "9', "a\\", "{room}", "a\n[blocks.z]", "ü", "a\0b"],
)
def test_a_name_that_is_none_is_refused_and_changes_nothing_else_of_the_draft(name: str) -> None:
    with pytest.raises(UsageError, match="the draft"):
        drafts.draft(room(3), name, ["rfm"])


@pytest.mark.parametrize(
    ("cap", "small", "needs"),
    [
        ("record", "0.017", "0.018"),
        ("person", "0.053", "0.054"),
        ("lifetime_record", "0.035", "0.036"),
        ("lifetime_person", "0.107", "0.108"),
    ],
)
def test_a_room_whose_caps_are_too_small_is_refused_with_the_cost_and_the_cap(cap: str, small: str, needs: str) -> None:
    """Two blocks and three parties: a lifetime bears the cost once for each block, a person once for each party."""
    blocks = {"y1": ("2016-01-01", "2016-12-31"), "y2": ("2017-01-01", "2017-12-31")}
    with pytest.raises(UsageError) as caught:
        drafts.draft(room(3, blocks, **{cap: small}), "p", ["rfm"])
    assert needs in caught.value.message
    assert small in caught.value.message
    assert caught.value.hint
    assert drafts.draft(room(3, blocks, **{cap: needs}), "p", ["rfm"])


def test_a_room_with_more_blocks_than_a_plan_can_have_is_refused() -> None:
    day = dt.date(2016, 1, 1)
    blocks = {f"d{k}": ((day + dt.timedelta(k)).isoformat(), (day + dt.timedelta(k)).isoformat()) for k in range(65)}
    with pytest.raises(UsageError, match=r"the draft: blocks.*64"):
        drafts.draft(room(3, blocks), "p", ["rfm"])
