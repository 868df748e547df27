"""What a node approves and holds: exactly the plans its consent policy names, for no more than they may cost in all."""

from __future__ import annotations

import copy
import datetime as dt
import secrets
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from party_node.policy import Allow, Consent, check_consent, check_plan
from protocols import messages
from protocols.errors import Refused, UsageError
from tests.rounds import lab as lab_module

TODAY = dt.date(2027, 1, 1)
WITHOUT_BASKET = {name: column for name, column in lab_module.COLUMNS.items() if name != "basket"}
BASKET_AS_DATE = {**lab_module.COLUMNS, "basket": {"type": "date"}}


def draft_of(room: Any, **changes: Any) -> messages.Reserve:
    """An honest draft of a round that nobody has seen, with changes."""
    request: Any = messages.read_request(room.sent(messages.Reserve)[0].request)
    steps = [{**step, "nonce": secrets.token_hex(16)} for step in request.draft["steps"]]
    fresh = {"round": secrets.token_hex(16), "steps": steps}
    return messages.Reserve(draft={**copy.deepcopy(request.draft), **fresh, **changes})


def refused(room: Any, request: messages.Request, party: str = "alpha") -> messages.Refusal:
    reply = room.say(party, request)
    assert isinstance(reply, messages.Refusal), reply
    return reply


# -- the policy alone --------------------------------------------------------------------------------------------------


def rule(lab: ModuleType, **changes: Any) -> Consent:
    values = {"plan": lab.plan().digest, "per_round": lab.RHO, "per_period": 2 * lab.RHO, **changes}
    return Consent(allow=[Allow.model_validate(values)])


def used(nano: int) -> Any:
    return lambda plan, days: nano


def test_a_plan_exactly_at_both_limits_is_allowed(lab: ModuleType) -> None:
    check_consent(rule(lab), None, lab.plan(), used(lab.RHO))


@pytest.mark.parametrize(
    ("changes", "already", "reason"),
    [
        ({"per_round": 399_999_999}, 0, "0.399999999 is allowed"),
        ({"per_period": 799_999_999}, 400_000_000, "one more makes 0.8, 0.799999999 is allowed"),
        ({}, 400_000_001, "one more makes 0.800000001"),
        ({"plan": "0" * 64}, 0, "a person must decide"),
    ],
)
def test_one_nano_over_a_limit_or_another_digest_is_not_allowed(
    lab: ModuleType, changes: dict[str, Any], already: int, reason: str
) -> None:
    with pytest.raises(Refused, match=reason):
        check_consent(rule(lab, **changes), None, lab.plan(), used(already))


def test_without_any_rule_a_person_is_asked_or_by_choice_nobody(lab: ModuleType) -> None:
    with pytest.raises(Refused, match="a person must decide"):
        check_consent(Consent.from_toml(b"", where="consent.toml"), None, lab.plan(), used(0))
    with pytest.raises(Refused, match="it is denied"):
        check_consent(Consent.from_toml(b'default = "deny"', where="consent.toml"), None, lab.plan(), used(0))


@pytest.mark.parametrize(
    "text",
    [
        b'default = "allow"',
        b"[[allow]]\nplan = 1",
        b'[[allow]]\nplan = "*"\nper_round = "1"\nper_period = "1"',
        b'[[allow]]\nplan = "' + b"0" * 64 + b'"\nper_round = 0.5\nper_period = "1"',
        pytest.param(
            b'[[allow]]\nplan = "' + b"0" * 64 + b'"\nper_round = "0.0000000001"\nper_period = "1"',
        ),
        b'[[allow]]\nplan = "' + b"0" * 64 + b'"\nper_round = "1"\nper_period = "1"\nuntil = "2027"',
        b"\xff",
        b"[",
    ],
)
def test_a_consent_policy_that_says_anything_unclear_is_a_usage_error(text: bytes) -> None:
    with pytest.raises(UsageError, match=r"consent\.toml"):
        Consent.from_toml(text, where="consent.toml")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"room": "other"}, "the plan is for room other"),
        ({"parties": ["beta", "gamma"], "recipients": ["beta", "gamma"], "quorum": 2, "collusion": 1}, "parties are"),
        ({"parties": ["alpha", "beta", "delta"], "recipients": ["alpha", "beta", "delta"]}, "parties are not"),
        ({"blocks": {"year": {"first": "2017-01-01", "last": "2017-12-30"}}}, "block year is not"),
        ({"blocks": {"jahr": {"first": "2017-01-01", "last": "2017-12-31"}}}, "block jahr is not"),
        ({"valid_until": "2026-12-31"}, "valid until 2026-12-31"),
        ({"answer_after_s": 0}, "answer_after_s is 0"),
        ({"table": {"name": "sales", "columns": WITHOUT_BASKET}}, "need a column basket of type id"),
        ({"table": {"name": "sales", "columns": BASKET_AS_DATE}}, "need a column basket of type id"),
    ],
)
def test_a_plan_that_does_not_fit_the_room_of_the_party_is_refused(
    room: Any, lab: ModuleType, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(Refused, match=reason):
        check_plan(lab.plan(**changes), room.nodes["alpha"].room, "alpha", TODAY)
    check_plan(lab.plan(valid_until=str(TODAY)), room.nodes["alpha"].room, "alpha", TODAY)


@pytest.mark.parametrize(("cap", "what"), [("record", "per record"), ("person", "per person at all parties")])
def test_a_plan_that_one_round_of_would_pass_a_cap_of_the_room_is_refused_and_one_at_the_cap_is_not(
    room: Any, lab: ModuleType, cap: str, what: str
) -> None:
    agreed, here = lab.plan(), room.nodes["alpha"].room
    cost = lab.RHO if cap == "record" else 3 * lab.RHO
    for most in (cost, cost - 1):
        capped = here.model_copy(update={"caps": here.caps.model_copy(update={cap: most})})
        if most == cost:
            check_plan(agreed, capped, "alpha", TODAY)
            continue
        with pytest.raises(Refused, match=f"{what}, the room's cap is"):
            check_plan(agreed, capped, "alpha", TODAY)


# -- the node asks it --------------------------------------------------------------------------------------------------


def test_a_plan_changed_by_one_byte_is_not_the_plan_that_was_allowed(room: Any, lab: ModuleType) -> None:
    changed = lab.plan(purpose=lab.PLAN["purpose"][:-1] + "t")
    assert len(changed.canonical) == len(room.plan.canonical)
    with pytest.raises(Refused, match="alpha: no rule allows plan"):
        room.run(changed)
    assert refused(room, messages.Propose(plan=changed.body())).code == "consent"
    assert room.book.size == 0


def test_where_the_default_is_deny_the_refusal_says_so(room: Any, lab: ModuleType) -> None:
    (room.base / "alpha" / "consent.toml").write_text('default = "deny"')
    assert "it is denied" in refused(room, messages.Propose(plan=room.plan.body())).reason


def test_a_round_dearer_than_the_consent_is_refused_and_nothing_is_spent(room: Any, lab: ModuleType) -> None:
    lab.consent(room.base / "beta", room.plan, per_round="0.399999999")
    with pytest.raises(Refused, match="beta: the plan costs"):
        room.run()
    assert {room.spent(party) for party in room.nodes} == {0}


def test_a_second_round_beyond_in_all_is_refused_and_nothing_more_is_spent(room: Any, lab: ModuleType) -> None:
    lab.consent(room.base / "beta", room.plan, per_period="0.799999999")
    room.run()
    with pytest.raises(Refused, match="beta: the plan's rounds have used"):
        room.run()
    assert {room.spent(party) for party in room.nodes} == {lab.RHO}


def test_in_all_holds_for_a_coordinator_that_proposes_once_and_reserves_twice(room: Any, lab: ModuleType) -> None:
    lab.consent(room.base / "alpha", room.plan, per_period="0.4")
    room.run()
    refused(room, draft_of(room, expires=lab.START + 100))


def test_a_rule_taken_back_after_approval_ends_further_rounds(room: Any, lab: ModuleType) -> None:
    room.run()
    (room.base / "alpha" / "consent.toml").write_text("")
    refused(room, draft_of(room, expires=lab.START + 100))


def test_a_plan_past_its_last_day_gets_no_further_round(lab: ModuleType, template: Path, tmp_path: Path) -> None:
    agreed = lab.plan(valid_until="2027-01-15")
    with lab.Room(lab.copy(template, tmp_path / "trial"), agreed) as room:
        room.run()
        room.clock.now += 3 * 86_400
        refused(room, messages.Propose(plan=agreed.body()))
        refused(room, draft_of(room, expires=int(room.clock.now) + 100))


def test_a_refusal_does_not_tell_where_the_party_keeps_its_files(room: Any) -> None:
    (room.base / "alpha" / "consent.toml").write_text("[")
    assert str(room.base) not in refused(room, messages.Propose(plan=room.plan.body())).reason


def test_a_plan_for_which_no_dataset_is_registered_is_refused(room: Any, lab: ModuleType) -> None:
    columns = {**lab.COLUMNS, "paid": {"type": "money", "low": 0, "high": 1}}
    for changes, reason in (
        ({"people_cap": 499}, "another people_cap"),
        ({"table": {"name": "sales", "columns": columns}}, "no dataset is registered"),
        ({"people": {"column": "customer", "key": "id"}}, "no dataset is registered"),
    ):
        agreed = lab.plan(**changes)
        lab.consent(room.base / "alpha", agreed)
        assert reason in refused(room, messages.Propose(plan=agreed.body())).reason


# -- drafts of a reserve -----------------------------------------------------------------------------------------------


def cheaper(draft: dict[str, Any]) -> dict[str, Any]:
    steps = copy.deepcopy(draft["steps"])
    steps[0]["mechanism"]["variance"] = "249.999999"
    return {"steps": steps}


def test_a_draft_that_is_not_word_for_word_the_plans_is_not_held(room: Any, lab: ModuleType) -> None:
    room.run()
    draft, soon = draft_of(room).draft, lab.START + 100
    others = {party: {"year": lab.RHO} for party in ("beta", "gamma")}
    for changes, reason in (
        (cheaper(draft), "steps are not those of the plan"),
        ({"steps": draft["steps"][::-1]}, "steps are not those of the plan"),
        ({"steps": draft["steps"][:1]}, "steps are not those of the plan"),
        ({"blocks": ["other"]}, "blocks are not those of the plan"),
        ({"charge": {**others, "alpha": {"year": 1}}}, "charge is not what the plan costs"),
        ({"charge": others}, "charge is not what the plan costs"),
        ({"datasets": {**draft["datasets"], "alpha": "0" * 32}}, "another dataset"),
        ({"plan": "0" * 64}, "was not approved here"),
        ({"round": next(iter(room.book.accounts.rounds))}, "in the ledger already"),
        ({"expires": lab.START}, "the reserve expires at"),
        ({"expires": lab.START + 90_001}, "the reserve expires at"),
    ):
        assert reason in refused(room, draft_of(room, **{"expires": soon, **changes})).reason
    assert room.spent("alpha") == lab.RHO


def test_a_draft_of_something_else_than_a_reserve_is_not_held(room: Any, lab: ModuleType) -> None:
    for draft in ({}, {"type": "forfeit@v1", "round": "0" * 32, "reason": "deadline"}, {"type": "reserve@v1"}):
        assert refused(room, messages.Reserve(draft=draft)).code == "budget"


def test_a_plan_that_was_only_written_in_a_consent_file_but_never_proposed_is_not_held(
    room: Any, lab: ModuleType, template: Path, tmp_path: Path
) -> None:
    with lab.Room(lab.copy(template, tmp_path / "second")) as other:
        other.run()
        assert "was not approved here" in refused(room, draft_of(other)).reason
