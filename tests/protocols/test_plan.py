"""A plan that would cost, promise or add up wrongly cannot exist; one that exists has one canonical form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from protocols.encoding import canonical
from protocols.errors import IntegrityError, SumroomError, UsageError
from protocols.plan import Plan
from protocols.questions import REGISTRY

DEMO = Path(__file__).resolve().parents[1] / "plans" / "rfm.toml"
TEXT = DEMO.read_text("utf-8")
PLAN = Plan.from_toml(TEXT.encode())
FIVE = ["a", "b", "c", "d", "e"]


def changed(**fields: Any) -> Plan:
    return Plan.from_bytes(canonical({**PLAN.body(), **fields}))


def question(**fields: Any) -> list[dict[str, Any]]:
    return [{**PLAN.body()["questions"][0], **fields}]


# -- what it is --------------------------------------------------------------------------------------------------------


def test_a_plan_is_read_and_costs_what_it_says() -> None:
    assert [(step, charge) for step, _, charge in PLAN.mechanisms()] == [
        ("rfm-cuts", 6_000_000),
        ("rfm-cohorts", 12_000_000),
    ]
    assert (PLAN.charge, PLAN.charge_person, PLAN.rho) == (18_000_000, 54_000_000, 88_000_000)


def test_the_canonical_form_of_a_plan_is_read_back_to_the_same_plan_and_digest() -> None:
    again = Plan.from_bytes(PLAN.canonical)
    assert again == PLAN
    assert again.digest == PLAN.digest


def test_comments_and_layout_of_the_toml_do_not_change_the_digest() -> None:
    bare = "\n".join(line.split("  #")[0] for line in TEXT.splitlines() if not line.startswith("#"))
    assert Plan.from_toml(bare.encode()).digest == PLAN.digest
    assert Plan.from_toml(TEXT.replace('rho = "0.088"', 'rho = "0.089"').encode()).digest != PLAN.digest


@pytest.mark.parametrize("name", ["rfm-cuts", "rfm-cohorts"])
def test_a_step_is_found_by_its_name(name: str) -> None:
    step, mechanism = PLAN.step(name)
    assert step.name == name
    assert mechanism.slots == len(step.statistic.slots)


def test_a_step_that_there_is_not_is_refused() -> None:
    with pytest.raises(UsageError, match="no step 'cuts'"):
        PLAN.step("cuts")


@pytest.mark.parametrize(("quorum", "collusion", "honest"), [(5, 4, 1), (5, 3, 2), (5, 1, 4), (4, 1, 3)])
def test_noise_is_planned_for_the_quorum_and_a_person_is_charged_for_each_share_alone(
    quorum: int, collusion: int, honest: int
) -> None:
    """So that one person known to all N parties costs what they lose: (NΔ)²/(2·N·v) = N·Δ²/(2v)."""
    plan = changed(parties=FIVE, recipients=FIVE, quorum=quorum, collusion=collusion)
    for (step, mechanism), rho in zip(plan.steps(), (6_000_000, 12_000_000), strict=True):
        n, bound, v = 5, step.statistic.bound_sq, mechanism.variance_micro
        assert v == -(-bound * 10**15 // (2 * honest * rho))
        assert -(-(n * n * bound * 10**15) // (2 * n * v)) <= mechanism.charge_person
        assert mechanism.charge_person <= n * honest * mechanism.charge
    assert plan.charge <= 18_000_000
    assert plan.charge_person == sum(m.charge_person for _, m in plan.steps())
    assert plan.charge_person > 5 * (honest - 1) * plan.charge


# -- what it cannot be -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"parties": ["grocer", "drugstore"]}, "alphabetical order"),
        ({"parties": ["grocer", "grocer"]}, "distinct"),
        ({"parties": []}, "parties"),
        ({"parties": ["Grocer"]}, "parties"),
        ({"recipients": []}, "recipients"),
        ({"quorum": 4}, "larger than the number of parties"),
        ({"quorum": 2}, "quorum is 2; .* must be at least 3: .* with four parties or fewer nothing can be recovered"),
        ({"parties": FIVE, "recipients": FIVE, "quorum": 3, "collusion": 1}, "quorum is 3; .* must be at least 4: "),
        ({"parties": FIVE, "recipients": FIVE, "quorum": 4, "collusion": 3}, "quorum is 4; .* must be at least 5: "),
        ({"collusion": 0}, "collusion is 0"),
        ({"collusion": 3}, "collusion is 3"),
        (
            {"parties": ["grocer"], "recipients": ["grocer"], "quorum": 1},
            "collusion must be 0 where there is one party",
        ),
        (
            {"recipients": ["drugstore"]},
            "a later step starts from the releases before it, so all parties must get them",
        ),
        ({"delta": "0.000002"}, "delta is 0.000002"),
        ({"delta": "0.0"}, "delta is 0.0"),
        ({"delta": "1e-6"}, "delta"),
        ({"people_cap": 1_000_000}, "delta is 0.000001"),
        ({"people_cap": 0}, "people_cap"),
        ({"people_cap": 2**52, "delta": "0.000000000000001"}, "delta"),
        ({"rho": 17_999_999}, "the steps cost 0.018, the plan allows 0.017999999"),
        ({"rho": "0.088"}, "rho"),
        ({"features": {"as_of": "2017-12-31", "discount_depth_percent": 15}}, "before the end of the last block"),
        ({"features": {"as_of": "2018-01-02", "discount_depth_percent": 100}}, "discount_depth_percent"),
        ({"blocks": {}}, "blocks"),
        ({"blocks": {"a": {"first": "2017-02-01", "last": "2017-01-31"}}}, "first day is after its last"),
        ({"blocks": {"a": {"first": "2017-02-30", "last": "2017-03-31"}}}, "blocks"),
        (
            {
                "blocks": {
                    "a": {"first": "2017-01-01", "last": "2017-06-30"},
                    "b": {"first": "2017-06-30", "last": "2017-12-31"},
                }
            },
            "share a day",
        ),
        ({"questions": []}, "questions"),
        ({"questions": question(rho={"cuts": 200_000_000, "cohorts": 12_000_000})}, "one share has σ 2.74"),
        ({"questions": question() + question()}, "steps of one name"),
        ({"purpose": "short"}, "purpose"),
        ({"type": "plan@v2"}, "type"),
        ({"surprise": 1}, "surprise"),
        ({"deadline_s": 0}, "deadline_s"),
        ({"answer_after_s": -1}, "answer_after_s"),
        ({"deadline_s": 13, "answer_after_s": 2}, "with 2 steps of answer_after_s = 2 it must be at least 14"),
        ({"valid_until": "tomorrow"}, "valid_until"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_an_unsound_plan_is_refused_by_the_name_of_what_is_wrong(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why.replace("(", r"\(")):
        changed(**fields)


def test_sums_that_could_reach_two_to_the_53_are_refused() -> None:
    many = [f"party-{i:02}" for i in range(50)]
    fields = {"parties": many, "recipients": many, "quorum": 50, "collusion": 49, "delta": "0.000000000000001"}
    assert changed(**fields, people_cap=10**13).people_cap == 10**13
    with pytest.raises(UsageError, match=r"the limit is 2\^53; lower people_cap"):
        changed(**fields, people_cap=10**14)


def test_a_deadline_is_sound_from_the_second_on_at_which_its_steps_fit() -> None:
    assert changed(deadline_s=14, answer_after_s=2).least_s == 4


@pytest.mark.parametrize("day", ["2018-02-30", "2018-13-01", "9999-99-99", "2018-1-2", ""])
def test_a_day_that_does_not_exist_is_refused(day: str) -> None:
    """Every node would send noise over zeros, and the budget would be spent."""
    with pytest.raises(UsageError, match="as_of"):
        changed(features={"as_of": day, "discount_depth_percent": 15})
    with pytest.raises(UsageError, match="valid_until"):
        changed(valid_until=day)


@pytest.mark.parametrize("kind", [None, "k-means", 7, "x" * 100, ["rfm"], {"rfm": 1}])
def test_a_question_that_is_not_registered_is_refused_and_the_hint_names_those_that_are(kind: Any) -> None:
    with pytest.raises(UsageError, match="there is no question") as caught:
        changed(questions=question(kind=kind))
    assert caught.value.hint == f"the questions are: {', '.join(sorted(REGISTRY))}"


@pytest.mark.parametrize("old", ['rho = "0.088"', 'cuts = "0.006"'])
@pytest.mark.parametrize("new", ["0.006", '"6e-3"', '"-0.1"', '"0.0000000001"', '"inf"', "6"])
def test_rho_in_toml_is_a_decimal_in_quotes_and_nothing_else(old: str, new: str) -> None:
    text = TEXT.replace(old, f"{old.split(' = ')[0]} = {new}")
    with pytest.raises(UsageError, match=r"decimal"):
        Plan.from_toml(text.encode())


@pytest.mark.parametrize("data", [b"", b"not = toml = at all", b"\xff\xfe", b'questions = ["rfm"]', b"questions = {}"])
def test_what_is_no_plan_at_all_is_a_usage_error(data: bytes) -> None:
    with pytest.raises(UsageError):
        Plan.from_toml(data)


@pytest.mark.parametrize("value", [3, True, None])
def test_questions_that_are_no_list_are_a_usage_error(value: Any) -> None:
    with pytest.raises(UsageError):
        changed(questions=value)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"a":1.5}', PLAN.canonical + b" ", PLAN.canonical[:-1]])
def test_other_bytes_than_the_canonical_ones_are_refused(data: bytes) -> None:
    with pytest.raises(SumroomError):
        Plan.from_bytes(data)


def test_a_plan_that_spells_out_a_missing_default_otherwise_is_refused() -> None:
    body = {name: value for name, value in PLAN.body().items() if name != "type"}
    with pytest.raises(IntegrityError, match="canonical form"):
        Plan.from_bytes(canonical(body))
