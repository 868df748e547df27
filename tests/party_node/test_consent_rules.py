"""Rules allow, deny and ask: each condition alone and with others, at a limit and one nano over; who comes first."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from party_node.filter import DAY_S, Charge, Filter
from party_node.policy import Allow, Consent, Decision, Stop, Undecided, check_consent
from protocols.errors import Refused, UsageError
from protocols.plan import Plan
from protocols.schema import Block

SEGMENTS: dict[str, Any] = {
    "kind": "segments",
    "rho": dict.fromkeys(("moments", "coarse", "fine", "over", "lloyd", "profile"), 50_000_000),
    "features": [
        {"name": "recency_days", "transform": "log1p", "low": 0, "high": 365},
        {"name": "baskets", "transform": "log1p", "low": 1, "high": 20},
    ],
    "clusters": 3,
    "lloyd_rounds": 1,
    "coarse_cells": 64,
    "fine_cells": 64,
}
LIMITS = 'per_round = "0.4"\nper_period = "0.4"\n'
ANYTHING = '[[allow]]\nper_round = "9"\nper_period = "9"\n'


@pytest.fixture(scope="module")
def plan(lab: ModuleType) -> Plan:
    """Costs exactly ρ 0.4 a round."""
    made: Plan = lab.plan()
    assert made.charge == 400_000_000
    return made


@pytest.fixture(scope="module")
def both(lab: ModuleType) -> Plan:
    """A plan with two questions."""
    made: Plan = lab.plan(questions=[lab.QUESTION, SEGMENTS], rho=800_000_000)
    return made


def verdict(consent: Consent, plan: Plan, decision: Decision | None = None, used: int = 0) -> str:
    try:
        check_consent(consent, decision, plan, lambda _plan, _days: used)
    except Undecided:
        return "ask"
    except Refused:
        return "no"
    return "yes"


def read(text: str) -> Consent:
    return Consent.from_toml(text.encode(), where="consent.toml")


# -- each condition ----------------------------------------------------------------------------------------------------

HOLDS = [
    'recipients = ["alpha", "beta", "gamma"]',
    'recipients = ["delta", "gamma", "beta", "alpha"]',
    'purpose = "know the shared cohorts"',
    'purpose = "*COHORTS"',
    'purpose = "Know*shared*"',
    'questions = ["rfm"]',
    'questions = ["lookalike", "rfm"]',
]
FAILS = [
    f'plan = "{"0" * 64}"',
    'recipients = ["alpha", "beta"]',
    'purpose = "cohorts"',
    'purpose = "*cohort"',
    'questions = ["segments"]',
]


@pytest.mark.parametrize("condition", HOLDS)
def test_a_rule_allows_what_its_one_condition_holds_for(plan: Plan, condition: str) -> None:
    assert verdict(read(f"[[allow]]\n{LIMITS}{condition}"), plan) == "yes"


@pytest.mark.parametrize("condition", FAILS)
def test_a_rule_does_not_allow_what_one_of_its_conditions_fails_for_whatever_else_holds(
    plan: Plan, condition: str
) -> None:
    assert verdict(read(f"[[allow]]\n{LIMITS}{condition}"), plan) == "ask"
    name = condition.split(" ")[0]
    held = [f'plan = "{plan.digest}"', HOLDS[0], HOLDS[2], HOLDS[5]]
    assert verdict(read(f"[[allow]]\n{LIMITS}" + "\n".join(held)), plan) == "yes"
    rest = [line for line in held if not line.startswith(f"{name} ")]
    assert verdict(read(f"[[allow]]\n{LIMITS}" + "\n".join([*rest, condition])), plan) == "ask"


def test_exactly_the_named_plan_is_allowed_and_none_that_differs_by_a_letter(plan: Plan, lab: ModuleType) -> None:
    consent = read(f'[[allow]]\nplan = "{plan.digest}"\n{LIMITS}')
    assert verdict(consent, plan) == "yes"
    assert verdict(consent, lab.plan(name="quintilez")) == "ask"


@pytest.mark.parametrize(
    ("limits", "used", "expected"),
    [
        ('per_round = "0.4"\nper_period = "0.4"', 0, "yes"),
        ('per_round = "0.399999999"\nper_period = "9"', 0, "ask"),
        ('per_round = "9"\nper_period = "0.399999999"', 0, "ask"),
        ('per_round = "9"\nper_period = "0.4"', 1, "ask"),
        ('per_round = "9"\nper_period = "1.2"', 800_000_000, "yes"),
        ('per_round = "9"\nper_period = "1.2"', 800_000_001, "ask"),
    ],
)
def test_a_limit_may_be_reached_and_not_passed_by_one_nano(plan: Plan, limits: str, used: int, expected: str) -> None:
    assert verdict(read(f"[[allow]]\n{limits}"), plan, used=used) == expected


def test_of_several_rules_one_that_allows_is_enough_and_its_limits_are_not_added_to_anothers(plan: Plan) -> None:
    small = '[[allow]]\nper_round = "0.3"\nper_period = "0.3"\n'
    assert verdict(read(small + small), plan) == "ask"
    assert verdict(read(small + f"[[allow]]\n{LIMITS}"), plan) == "yes"


@pytest.mark.parametrize(("kind", "expected"), [("deny", "no"), ("ask", "ask")])
@pytest.mark.parametrize(
    ("condition", "speaks"),
    [
        ('recipients = ["beta"]', True),
        ('recipients = ["delta", "gamma"]', True),
        ('recipients = ["delta"]', False),
        ('purpose = "*shared*"', True),
        ('purpose = "shared"', False),
        ('questions = ["segments", "rfm"]', True),
        ('questions = ["segments"]', False),
        ('over_per_round = "0.399999999"', True),
        ('over_per_round = "0.4"', False),
        (f'plan = "{"0" * 64}"', False),
        ('recipients = ["beta"]\nquestions = ["rfm"]\nover_per_round = "0.3"\npurpose = "know*"', True),
        ('recipients = ["delta"]\nquestions = ["rfm"]\nover_per_round = "0.3"\npurpose = "know*"', False),
        ('recipients = ["beta"]\nquestions = ["segments"]\nover_per_round = "0.3"\npurpose = "know*"', False),
        ('recipients = ["beta"]\nquestions = ["rfm"]\nover_per_round = "0.4"\npurpose = "know*"', False),
        ('recipients = ["beta"]\nquestions = ["rfm"]\nover_per_round = "0.3"\npurpose = "know"', False),
    ],
)
def test_a_rule_that_denies_or_asks_speaks_of_a_plan_that_all_its_conditions_hold_for(
    plan: Plan, kind: str, expected: str, condition: str, speaks: bool
) -> None:
    consent = read(f"{ANYTHING}[[{kind}]]\n{condition}\n")
    assert verdict(consent, plan) == (expected if speaks else "yes")


def test_a_rule_that_denies_one_plan_denies_exactly_that_one(plan: Plan, both: Plan) -> None:
    consent = read(f'{ANYTHING}[[deny]]\nplan = "{plan.digest}"\n')
    assert (verdict(consent, plan), verdict(consent, both)) == ("no", "yes")


def test_a_plan_with_two_questions_is_not_allowed_by_a_rule_for_one_of_them(both: Plan) -> None:
    for named, expected in ((["rfm"], "ask"), (["segments"], "ask"), (["rfm", "segments"], "yes")):
        questions = str(named).replace("'", '"')
        assert verdict(read(f"{ANYTHING}questions = {questions}"), both) == expected
    one_of_each = ANYTHING + 'questions = ["rfm"]\n' + ANYTHING + 'questions = ["segments"]\n'
    assert verdict(read(one_of_each), both) == "ask"


@pytest.mark.parametrize(("kind", "expected"), [("deny", "no"), ("ask", "ask")])
def test_a_plan_with_two_questions_is_stopped_by_a_rule_for_one_of_them(both: Plan, kind: str, expected: str) -> None:
    for question in ("rfm", "segments"):
        assert verdict(read(f'{ANYTHING}[[{kind}]]\nquestions = ["{question}"]'), both) == expected


# -- periods -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def accounts(tmp_path: Path) -> Iterator[Filter]:
    kept = Filter(tmp_path / "accounts.db", 10**12)
    yield kept
    kept.close()


@pytest.fixture
def allowed(plan: Plan, accounts: Filter) -> Callable[..., bool]:
    """Whether one more round is allowed at a second, by a rule for ρ 0.8 with this condition."""

    def ask(condition: str, now: int, room: str = "trial") -> bool:
        def used(digest: str | None, days: int | None) -> int:
            return accounts.used_by(room, now, plan=digest, days=days)

        consent = read(f'[[allow]]\nper_round = "0.4"\nper_period = "0.8"\n{condition}')
        try:
            check_consent(consent, None, plan, used)
        except Undecided as exc:
            return "0.8 is allowed" not in exc.message
        return True

    return ask


def spend(accounts: Filter, round_id: str, digest: str, at: int, room: str = "trial") -> None:
    block = Block(first="2017-01-01", last="2017-12-31")
    accounts.spend([Charge(room, round_id, digest, (block,), 400_000_000, at + 60)], at)


def test_a_round_counts_for_so_many_days_to_the_second_and_without_days_for_ever(
    plan: Plan, accounts: Filter, allowed: Callable[..., bool]
) -> None:
    start = 1_800_000_000
    spend(accounts, "1", plan.digest, start)
    spend(accounts, "2", plan.digest, start + DAY_S)
    assert not allowed("period_days = 30", start + 30 * DAY_S - 1)
    assert allowed("period_days = 30", start + 30 * DAY_S)
    assert not allowed("", start + 36_000 * DAY_S)


def test_a_period_counts_the_named_plans_rounds_or_else_all_of_the_room_and_never_another_rooms(
    plan: Plan, accounts: Filter, allowed: Callable[..., bool]
) -> None:
    now = 1_800_000_000
    for number in range(2):
        spend(accounts, str(number), "f" * 64, now)
    named = f'plan = "{plan.digest}"\n'
    for days in ("", "period_days = 30\n"):
        assert allowed(named + days, now)
        assert not allowed(days, now)
        assert allowed(days, now, room="other")


# -- who comes first ---------------------------------------------------------------------------------------------------

DECISIONS = {"none": None, "denied": 0, "one more": 400_000_000, "used up": 399_999_999}


@pytest.mark.parametrize("denies", [False, True])
@pytest.mark.parametrize("decided", DECISIONS)
@pytest.mark.parametrize("asks", [False, True])
@pytest.mark.parametrize("allows", [False, True])
@pytest.mark.parametrize("default", ["ask", "deny"])
def test_a_rule_that_denies_comes_before_a_person_then_one_that_asks_then_one_that_allows_then_the_default(
    plan: Plan, denies: bool, decided: str, asks: bool, allows: bool, default: str
) -> None:
    everything = [Stop(questions=["rfm"])]
    consent = Consent.model_validate(
        {
            "default": default,
            "deny": everything if denies else [],
            "ask": everything if asks else [],
            "allow": [Allow(per_round=10**9, per_period=10**9)] if allows else [],
        }
    )
    most = DECISIONS[decided]
    order = [
        (denies, "no"),
        (decided == "denied", "no"),
        (decided == "one more", "yes"),
        (decided == "used up", "ask"),
        (asks, "ask"),
        (allows, "yes"),
        (True, {"ask": "ask", "deny": "no"}[default]),
    ]
    expected = next(word for holds, word in order if holds)
    decision = None if most is None else Decision(plan.digest, most)
    assert verdict(consent, plan, decision) == expected


@pytest.mark.parametrize("rounds", [1, 3])
@pytest.mark.parametrize("before", [0, 1, 400_000_000])
def test_a_persons_approval_covers_exactly_its_rounds_those_before_it_included(
    plan: Plan, before: int, rounds: int
) -> None:
    decision = Decision(plan.digest, before + rounds * plan.charge)
    answers = [verdict(Consent(), plan, decision, used=before + done * plan.charge) for done in range(rounds + 2)]
    assert answers == ["yes"] * rounds + ["ask"] * 2


def test_a_person_is_asked_for_what_their_approval_counts_of_exactly_this_plan(plan: Plan) -> None:
    asked: list[tuple[str | None, int | None]] = []

    def used(digest: str | None, days: int | None) -> int:
        asked.append((digest, days))
        return 0

    check_consent(Consent(), Decision(plan.digest, plan.charge), plan, used)
    assert asked == [(plan.digest, None)]


NAMES = st.lists(st.sampled_from(["alpha", "beta", "gamma", "delta"]), min_size=1, max_size=4, unique=True)
KINDS = st.lists(st.sampled_from(["rfm", "segments", "lookalike"]), min_size=1, max_size=3, unique=True)
COSTS = st.sampled_from([1, 399_999_999, 400_000_000, 400_000_001, 800_000_000, 10**9])
PURPOSES = st.sampled_from(["*", "*cohorts", "know the shared cohorts", "*segments*"]).filter(
    lambda text: len(text) > 2
)
CONDITIONS: dict[str, st.SearchStrategy[Any]] = {
    "plan": st.sampled_from(["0" * 64]),
    "recipients": NAMES,
    "purpose": PURPOSES,
    "questions": KINDS,
}
STOPS = st.builds(
    Stop.model_validate,
    st.fixed_dictionaries({}, optional={**CONDITIONS, "over_per_round": COSTS}).filter(bool),
)
ALLOWS = st.builds(
    Allow.model_validate,
    st.fixed_dictionaries({"per_round": COSTS, "per_period": COSTS}, optional=CONDITIONS),
)
STANDS = st.builds(
    Consent,
    default=st.sampled_from(["ask", "deny"]),
    deny=st.lists(STOPS, max_size=2),
    ask=st.lists(STOPS, max_size=2),
    allow=st.lists(ALLOWS, max_size=3),
)


@given(stands=STANDS, more=STOPS, most=st.sampled_from([None, 0, 400_000_000]), used=st.sampled_from([0, 1, 4 * 10**8]))
@settings(max_examples=200, deadline=None)
def test_one_more_rule_that_denies_or_asks_never_turns_a_no_into_a_yes(
    plan: Plan, stands: Consent, more: Stop, most: int | None, used: int
) -> None:
    decision = None if most is None else Decision(plan.digest, most)
    before = verdict(stands, plan, decision, used)
    denied = stands.model_copy(update={"deny": [*stands.deny, more]})
    asked = stands.model_copy(update={"ask": [*stands.ask, more]})
    for after in (verdict(denied, plan, decision, used), verdict(asked, plan, decision, used)):
        assert before == "yes" or after != "yes"
    assert before != "no" or verdict(denied, plan, decision, used) == "no"


# -- rules that say nothing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[[deny]]", "a rule without a condition"),
        ("[[ask]]", "a rule without a condition"),
        ('[[deny]]\nquestion = ["rfm"]', "deny rule 1: question: there is no such setting"),
        ("[[ask]]\nperiod_days = 3", "ask rule 1: period_days: there is no such setting"),
        ('[[deny]]\nper_round = "1"', "deny rule 1: per_round: there is no such setting"),
        ('[[allow]]\nover_per_round = "1"', "allow rule 1: over_per_round: there is no such setting"),
        ("[[allow]]", "allow rule 1: per_round: is missing; allow rule 1: per_period: is missing"),
        (f"{ANYTHING}{ANYTHING}questions = []", "allow rule 2: questions: "),
        (f'{ANYTHING}recipients = "beta"', "allow rule 1: recipients: "),
        (f'{ANYTHING}recipients = ["Beta"]', "allow rule 1: recipients.0: "),
        (f'{ANYTHING}purpose = "ab"', "allow rule 1: purpose: "),
        (f'{ANYTHING}plan = "9f2c"', "allow rule 1: plan: "),
        (f"{ANYTHING}period_days = 0", "allow rule 1: period_days: "),
        (f'{ANYTHING}period_days = "30"', "allow rule 1: period_days: "),
        (f"{ANYTHING}period_days = 36501", "allow rule 1: period_days: "),
        ('[[allow]]\nper_round = "0"\nper_period = "1"', "allow rule 1: per_round: "),
        (
            '[[allow]]\nper_round = 0.5\nper_period = "1"',
            'allow rule 1: per_round must be a decimal in quotes, for example "',
        ),
        ('[[allow]]\nper_round = "0.5"\nper_period = 1', "allow rule 1: per_period must be a decimal in quotes"),
        ('[[ask]]\nplan = "9f2c"\n[[ask]]', "ask rule 1: plan: must be the 64 hex digits that plan check prints"),
        ('[[deny]]\npurpose = "*ads*"\n[[deny]]', "deny rule 2 is a rule without a condition"),
        ('[[deny]]\nover_per_round = "0.0000000001"', "deny rule 1: over_per_round"),
        ('[[deny]]\nover_per_round = "many"', "deny rule 1: over_per_round"),
        ("[[allows]]", "allows: there is no such setting"),
        ("[deny]", "deny: "),
        ('default = "allow"', "default: "),
    ],
)
def test_a_rule_that_says_nothing_or_something_unknown_is_a_usage_error_that_names_the_setting(
    text: str, named: str
) -> None:
    with pytest.raises(UsageError) as caught:
        read(text)
    assert caught.value.message.startswith("consent.toml: ")
    assert named in caught.value.message
    assert "a rule starts with [[deny]]" in str(caught.value.hint)


def test_every_faulty_rule_of_several_is_named() -> None:
    faulty = "".join(itertools.repeat("[[deny]]\nwhom = 1\n", 5))
    with pytest.raises(UsageError, match="deny rule 1: whom: .*deny rule 2: whom: .*deny rule 3: whom: .*and 2 more"):
        read(faulty)
