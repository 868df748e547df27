"""The consent card: what it says before a round is what then leaves, costs and comes out."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console

from coordinator.console import budget_tables
from party_node import card, cli
from protocols import keys, messages
from protocols.accuracy import epsilon
from protocols.budget import decimal
from protocols.errors import Refused
from protocols.figures import TOO_NOISY
from protocols.ledger.fields import LIFETIME, PERSON
from tests.protocols.overlap.crowd import SHOPS, plan_of, question_of

ESCAPES = "know \x1b[31mred\x1b[0m [bold]fat[/bold] \x9b2J\u202etxt\nstanding  approved\r\tall"


def propose(room: Any, plan: Any) -> None:
    room.say("alpha", messages.Propose(plan=plan.body()))


def line_of(text: str, start: str) -> str:
    (found,) = [line for line in text.splitlines() if line.startswith(start)]
    return found.removeprefix(start).strip()


def test_the_card_says_who_asks_what_for_who_reads_it_and_until_when(requests: Any, asking: Any) -> None:
    status, card, _ = requests(asking, "show", asking.plan.digest)
    assert status == 0
    key = keys.public_text(asking.ledger.identity.ed25519)
    assert line_of(card, "asked by") == f"the coordinator of trial, key {key}"
    assert line_of(card, "purpose") == "know the shared cohorts"
    assert line_of(card, "read by") == "alpha, beta, gamma, the coordinator and every auditor"
    assert line_of(card, "about") == "year (2017-01-01 to 2017-12-31)"
    assert line_of(card, "until").startswith("2031-12-31")
    assert line_of(card, "digest") == asking.plan.digest
    assert line_of(card, "standing") == "waits for a decision"
    assert "the other 2 parties together could subtract their parts" in card


def test_the_card_announces_exactly_the_numbers_and_bytes_that_then_leave(requests: Any, asking: Any) -> None:
    _, card, _ = requests(asking, "approve", asking.plan.digest, "--yes")
    rows = re.findall(r"│ (rfm-\w+) +│ ([\d,]+) +│ ([\d,]+) +│", card)
    announced = {step: (int(slots), int(size)) for step, slots, size in rows}
    asking.run()
    sent = {}
    for one in asking.sent(messages.Contribute):
        request: Any = messages.read_request(one.request)
        if one.party == "alpha":
            sent[request.occasion.step] = (len(one.payload) // 8, len(one.payload))
    assert announced == sent
    assert len(sent) == 2
    assert f"{sum(slots for slots, _ in sent.values())} whole numbers in all" in card


def _check_budgets(room: Any, shown: Any) -> None:
    """The card's lines after a round are what accounts and ledger say then."""
    accounts, delta = room.book.accounts, float(room.plan.delta)
    expected = {"one record here, in all your rooms": room.spent("alpha")}
    for who, whose in (("alpha", "one record here"), (PERSON, "one person at all 3 parties")):
        for block in (*room.plan.blocks, LIFETIME):
            name = "all blocks" if block == LIFETIME else block
            expected[f"{whose}, {name}"] = accounts.balance(who, block).spent
    assert {line["what"]: line["rho_after"] for line in shown} == {w: decimal(nano) for w, nano in expected.items()}
    for line in shown:
        assert line["epsilon_after"] == round(epsilon(expected[line["what"]], delta), 4)


def test_what_the_card_says_of_budgets_after_a_round_is_so_after_the_round(
    requests: Any, document: Any, asking: Any
) -> None:
    for number in range(2):
        shown = document(asking, "show", asking.plan.digest)["budgets"]
        befores = {line["rho_before"] for line in shown}
        assert befores == ({"0"} if not number else {"0.4", "1.2"})
        assert all(line["epsilon_before"] == 0.0 for line in shown) == (number == 0)
        requests(asking, "approve", asking.plan.digest, "--yes")
        asking.run()
        _check_budgets(asking, shown)
    caps = {line["what"]: line["rho_cap"] for line in shown}
    assert caps["one record here, in all your rooms"] == "1"
    assert (caps["one record here, year"], caps["one person at all 3 parties, year"]) == ("2", "6")
    shown = requests(asking, "show", asking.plan.digest)[1]
    assert re.search(r"one record here, in all your rooms +│ 0\.8 +│ 1\.2 over +│ 1 ", shown)


def test_what_the_card_says_of_intervals_is_what_the_releases_state(requests: Any, document: Any, asking: Any) -> None:
    shown = document(asking, "show", asking.plan.digest)
    requests(asking, "approve", asking.plan.digest, "--yes")
    (forecast,) = [step for step in shown["forecast"]["steps"] if step["step"] == "rfm-cohorts"]
    answer = asking.run()[1].body_.answer
    stated = {
        what: {
            (float(leaf["high"]) - float(leaf["low"])) / 2
            for leaf in answer[table].values()
            if leaf["value"] != TOO_NOISY
        }
        for what, table in (("a cell", "cells"), ("a cohort", "cohorts"))
    }
    assert stated["a cohort"] == {forecast["half_width_95_people"]["a cohort"]}
    assert stated["a cell"] <= {forecast["half_width_95_people"]["a cell"]}


@pytest.fixture
def wide(lab: ModuleType, template: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    """A room with two blocks, and a plan that is charged in both."""
    base = lab.copy(template, tmp_path / "wide")
    with (base / "room.toml").open("a") as file:
        file.write('[blocks.next]\nfirst = "2018-01-01"\nlast = "2018-12-31"\n')
    both = {"next": {"first": "2018-01-01", "last": "2018-12-31"}, "year": lab.YEAR}
    agreed = lab.plan(blocks=both, features={"as_of": "2019-01-01", "discount_depth_percent": 15})
    (base / "plan.toml").write_text(lab.plan_toml(agreed))
    for party in lab.PARTIES:
        words = ["--config", str(base / party / "node.toml"), "--plan", str(base / "plan.toml")]
        assert cli.main(["register", *words]) == 0
    with lab.Room(base, agreed) as room:
        (room.base / "alpha" / "consent.toml").write_text("")
        propose(room, agreed)
        yield room


def test_in_a_room_with_two_blocks_the_card_counts_a_lifetime_over_both(
    requests: Any, document: Any, wide: Any
) -> None:
    shown = document(wide, "show", wide.plan.digest)["budgets"]
    assert {line["what"]: line["rho_after"] for line in shown} == {
        "one record here, in all your rooms": "0.4",
        "one record here, next": "0.4",
        "one record here, year": "0.4",
        "one record here, all blocks": "0.8",
        "one person at all 3 parties, next": "1.2",
        "one person at all 3 parties, year": "1.2",
        "one person at all 3 parties, all blocks": "2.4",
    }
    requests(wide, "approve", wide.plan.digest, "--yes")
    wide.run()
    _check_budgets(wide, shown)
    with pytest.raises(Refused, match="used up"):
        wide.run()


def test_a_purpose_cannot_reach_the_terminal_as_anything_but_words_on_one_line(
    requests: Any, document: Any, asking: Any, lab: ModuleType
) -> None:
    evil = lab.plan(purpose=ESCAPES)
    propose(asking, evil)
    for words in (["list"], ["list", "--json"], ["show", evil.digest], ["show", evil.digest, "--json"]):
        status, out, _ = requests(asking, *words)
        assert status == 0
        assert not [char for char in out if not char.isprintable() and char != "\n"]
    shown = requests(asking, "show", evil.digest)[1]
    assert "[bold]fat[/bold]" in line_of(shown, "purpose")
    assert line_of(shown, "purpose").endswith("standing approved\ufffd\ufffdall")
    assert line_of(shown, "standing") == "waits for a decision"
    assert document(asking, "show", evil.digest)["purpose"] == ESCAPES


# -- the honest sentences ----------------------------------------------------------------------------------------------


def _with(lab: ModuleType, count: int, collusion: int) -> Any:
    parties = ["alpha", "beta", "delta", "gamma"][:count]
    questions = [{**lab.QUESTION, "rho": {"cuts": 6_000_000, "cohorts": 12_000_000}}]
    return lab.plan(parties=parties, recipients=parties, collusion=collusion, quorum=count, questions=questions)


@pytest.mark.parametrize(
    ("count", "collusion", "said"),
    [
        (1, 0, None),
        (2, 1, "with two parties masks hide nothing"),
        (3, 2, "the other 2 parties together could subtract"),
        (4, 3, "the other 3 parties together could subtract"),
        (4, 2, None),
    ],
)
def test_the_card_says_what_masks_do_not_do_among_so_few(
    lab: ModuleType, count: int, collusion: int, said: str | None
) -> None:
    sentences = card.warnings(_with(lab, count, collusion))
    about_masks = [one for one in sentences if "subtract" in one]
    assert [one.startswith(str(said)) for one in about_masks] == ([True] if said else [])
    assert sentences[-1] == "a round ends when one party is lost in it until its deadline: every share is needed"


def test_the_card_says_how_many_may_be_lost(lab: ModuleType) -> None:
    parties = [f"party{i}" for i in range(5)]
    rho = {"rho": {"cuts": 50_000_000, "cohorts": 15_000_000}}
    plan = lab.plan(parties=parties, recipients=parties, collusion=1, quorum=4, questions=[lab.QUESTION | rho])
    assert card.warnings(plan)[-1].startswith("a round goes on when up to 1 of the 5 parties are lost in it")


@pytest.mark.parametrize(("count", "collusion", "honest"), [(3, 2, 1), (3, 1, 2), (4, 1, 3), (4, 3, 1), (1, 0, 1)])
def test_the_card_says_where_the_cost_counts_on_the_noise_of_others(
    lab: ModuleType, count: int, collusion: int, honest: int
) -> None:
    told = [one for one in card.warnings(_with(lab, count, collusion)) if "your own noise is a part" in one]
    assert len(told) == (honest > 1)
    for one in told:
        assert f"one of {honest}: the masks, and {honest - 1} others" in one
        assert one.endswith(f"if more than {collusion} work together, it is up to {honest} times the cost")


def test_the_card_and_the_report_show_a_person_each_share_alone(lab: ModuleType, asking: Any) -> None:
    """Three parties, two honest shares: a record costs 0.018, a person at all parties 3 · 2 · 0.018."""
    plan, room = _with(lab, 3, 1), asking.ledger.room
    lines = {line.what: line.cost for line in card.budgets(plan, room, "alpha", None, 0, 1)}
    assert lines == {
        "one record here, in all your rooms": 18_000_000,
        "one record here, year": 18_000_000,
        "one record here, all blocks": 18_000_000,
        "one person at all 3 parties, year": 108_000_000,
        "one person at all 3 parties, all blocks": 108_000_000,
    }
    *parts, whole = budget_tables.cost(plan, str).rows
    assert [(name, record, person) for name, record, _, person, _ in parts] == [
        ("rfm-cuts", "0.006", "0.036"),
        ("rfm-cohorts", "0.012", "0.072"),
    ]
    assert (whole[1], whole[3]) == ("0.018", "0.108")


def test_the_card_says_how_much_surer_somebody_may_become(lab: ModuleType) -> None:
    """e^ε, ε of one record: 4.60 for ρ 0.4 at δ 10⁻⁶."""
    said = card.warnings(lab.plan())[0]
    assert said.startswith(
        "from this round alone, except with chance 0.000001, whoever reads the results may become up"
    )
    assert "up to 99.9 times surer" in said


def test_the_card_says_what_holds_together_with_what_was_released_before(lab: ModuleType) -> None:
    """ε at δ 10⁻⁶, as `accuracy.epsilon` has it, of 0.8 (here) and 2.4 (a person anywhere) after the round."""
    lines = [card.Line("here", 400_000_000, 400_000_000, 10**9), card.Line("anywhere", 1_200_000_000, 1_200_000_000, 1)]
    here, anywhere = (math.exp(epsilon(nano, 1e-6)) for nano in (800_000_000, 2_400_000_000))
    assert card.warnings(lab.plan(), lines)[1] == (
        f"together with what was released before: up to {here:,.1f} times (here), "
        f"and {anywhere:,.1f} times about anywhere"
    )
    assert not [one for one in card.warnings(lab.plan()) if one.startswith("together")]


def test_the_card_of_an_overlap_says_what_leaves_besides_sums_and_what_is_not_covered(asking: Any) -> None:
    plan = plan_of(question_of("column"), SHOPS)
    told = io.StringIO()
    card.show(plan, asking.ledger.room, [], "waits", Console(file=told, width=200, no_color=True))
    text = " ".join(told.getvalue().split())
    assert re.search(r"overlap-sizes │ 13 │ 104 │ 1.00 ", text)
    assert re.search(r"overlap │ 48 │ masked lists │ 1.41 ", text)
    assert "13 whole numbers in all, each a sum over your customers" in text
    assert "a point of 32 bytes for each of your customers that has a key, to each of the 2 other parties" in text
    said = card.warnings(plan)
    for words in (
        "which of your customers are shared",
        "is found out",
        "not covered",
        "a pseudonym, and not anonymous",
    ):
        assert any(words in one for one in said), words
    assert "your noise alone protects your customers" in " ".join(said)


def test_the_card_of_sums_alone_says_nothing_of_an_overlap(lab: ModuleType, asking: Any) -> None:
    told = io.StringIO()
    card.show(lab.plan(), asking.ledger.room, [], "waits", Console(file=told, width=200))
    assert "overlap" not in told.getvalue()
    assert not [one for one in card.warnings(lab.plan()) if "overlap" in one]


def test_the_overlap_needs_all_parties_though_sums_can_lose_some() -> None:
    shops = [f"shop{i}" for i in range(5)]
    plan = plan_of(question_of("all"), shops, collusion=1, quorum=4)
    (lost,) = (one for one in card.warnings(plan) if one.startswith("a round goes on when up to 1 of the 5"))
    assert lost.endswith("; for the overlap all are needed")


def test_a_plan_of_any_cost_has_a_card(lab: ModuleType) -> None:
    """A scale of 2¹⁶ lets a plan ask for an ε whose power of e no float holds."""
    names = ("moments", "coarse", "fine", "over", "lloyd", "profile")
    dear = {"moments": 9_000 * 10**9, **dict.fromkeys(names[1:], 10**7)}
    columns = ("recency_days", "baskets")
    features = [{"name": name, "transform": "log1p", "low": 1, "high": 365} for name in columns]
    more = {"features": features, "clusters": 3, "lloyd_rounds": 1, "coarse_cells": 64, "fine_cells": 64}
    plan = lab.plan(questions=[{"kind": "segments", "rho": dear, **more}], rho=10**13)
    assert re.search(r"up to [\d,]{15,}\.\d times surer", card.warnings(plan)[0])
