"""A rehearsed lookalike: every party's noise in every step, a ranking as good as it says, and whom it is judged by."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from coordinator import lookalike_rehearsal, rehearsal
from coordinator.lookalike_rehearsal import SHARES, Asked, Column, Table, judged, question_of, references, run
from protocols.accuracy import epsilon, rho_within
from protocols.errors import IntegrityError, UsageError
from protocols.statistic import Integers

DELTA = 1e-6
PARTIES = ["alpha", "beta", "gamma"]
COLUMNS = [Column("a", -4, 4), Column("b", -4, 4), Column("spend", 0, 5000, log=True)]
FEATURES = [column.feature(column.name) for column in COLUMNS]


def table(n: int = 9000, *, truth: bool = True, number: int = 1) -> Table:
    """People of three parties; those of the kind have more of a and less of b, and half of alpha's are the seed."""
    draw = np.random.default_rng(number)
    a, b = draw.normal(0, 1, (2, n))
    kind = (draw.random(n) < 1 / (1 + np.exp(-(1.5 * a - b - 1)))).astype(np.int64)
    owner = np.arange(n) % 3
    seed = np.where(draw.random(n) < 0.5, kind, 0)
    values = (a, b, np.exp(draw.normal(4, 1, n)))
    columns = {column.name: column.whole(value) for column, value in zip(COLUMNS, values, strict=True)}
    return Table(columns, PARTIES, owner, seed, kind if truth else None, 0)


def asked(rho: int, floor: int = 500) -> Asked:
    return Asked.of(question_of(FEATURES, rho, "alpha", ["beta", "gamma"], floor, 20, "1.5"), 10**6)


def test_with_hardly_any_noise_it_ranks_as_models_of_the_pooled_rows_do_and_reports_what_is_so() -> None:
    people = table()
    found = run(asked(500_000_000), people)
    best = max(one.judged.auc or 0 for one in references(people, "alpha"))
    assert found.judged.auc is not None
    assert found.judged.auc > best - 0.02
    assert best > 0.75
    for number, owner in enumerate(PARTIES[1:], start=1):
        figures = found.figures[owner]
        assert figures["signal"]["value"] == "usable"
        exact = int(people.seed[people.owner == number].sum())
        assert abs(int(figures["seed"]["value"]) - exact) < 60
        assert float(figures["cuts"]["10"]["lift"]["low"]) > 1.2
        assert figures["default"]["value"] in ("20", "30", "50")
    assert abs(found.seed - int(people.seed[people.owner == 0].sum())) < 20


def test_what_is_reported_of_the_seed_at_an_owner_is_what_the_rows_say() -> None:
    """Recall within a cut, counted on the rows by the cells that the released score gives them."""
    people, figures = table(truth=False), dict[str, list[float]]()
    for _ in range(2):
        found = run(asked(500_000_000), people)
        own = found.figures["beta"]["cuts"]["20"]
        for end in ("low", "high"):
            figures.setdefault(end, []).append(float(own["recall"][end]))
        assert found.judged.recall is not None
        # Of all owners together, and at a cut of 20 % to the person.
        assert float(own["recall"]["low"]) - 0.05 < found.judged.recall < float(own["recall"]["high"]) + 0.05


def test_every_step_draws_every_partys_own_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    real = rehearsal.add_noise

    def watched(total: Integers, *, bound_sq: int, variance_micro: int) -> Integers:
        seen.append((len(total), variance_micro))
        return real(total, bound_sq=bound_sq, variance_micro=variance_micro)

    monkeypatch.setattr(rehearsal, "add_noise", watched)
    question = asked(rho_within(1.0, DELTA))
    run(question, table(1500))
    wanted = []
    for step, mechanism in question.steps:
        own = [step.statistic.own(party) for party in PARTIES]
        sizes = [one.stop - one.start for one in own if one.stop > one.start]
        wanted += [(size, mechanism.variance_micro) for size in (sizes if step.made == "sum" else [6] * 4)]
    assert seen == wanted


def test_what_is_charged_is_within_the_epsilon_asked_for_and_hardly_below() -> None:
    assert sum(SHARES.values()) == 100
    for wanted in (0.5, 1.0, 2.0):
        question = asked(rho_within(wanted, DELTA))
        assert 0.999 * wanted < epsilon(question.rho, DELTA) <= wanted
        assert question.rho_person == pytest.approx(3 * question.rho, rel=1e-3)


def test_a_question_that_no_plan_could_ask_is_refused() -> None:
    with pytest.raises(UsageError, match="the seed's list would hold"):
        asked(60)
    with pytest.raises(UsageError, match="look-scores: one share would have σ"):
        asked(2_000_000_000)
    with pytest.raises(UsageError, match=r"floor is 2,000,000, the plan's people_cap 1,000,000"):
        asked(10**7, floor=2_000_000)


def test_a_state_that_a_node_would_refuse_ends_a_rehearsal(monkeypatch: pytest.MonkeyPatch) -> None:
    real = lookalike_rehearsal.lookalike_state

    def outside(question: Any, step: str, *rest: Any) -> dict[str, Any] | None:
        state = real(question, step, *rest)
        if step == "look-seed" and state is not None:
            state["weights"][0] = 2**35
        return state

    monkeypatch.setattr(lookalike_rehearsal, "lookalike_state", outside)
    heard: list[str] = []
    with pytest.raises(IntegrityError, match="weights"):
        run(asked(10**8), table(900), heard.append)
    assert heard[-1] == "look-seed"


def test_a_seed_below_the_floor_gets_no_figures() -> None:
    found = run(asked(10**8, floor=5000), table())
    assert found.figures["beta"]["signal"]["value"] == "too noisy"
    assert found.judged.auc is not None


def test_a_seed_of_anybody_is_told_from_nobody() -> None:
    people = table(truth=False)
    draw = np.random.default_rng(0)
    anybody = Table(people.columns, PARTIES, people.owner, (draw.random(people.people) < 0.3).astype(np.int64), None, 0)
    found = run(asked(200_000_000), anybody)
    signals = [found.figures[owner]["signal"]["value"] for owner in PARTIES[1:]]
    assert "usable" not in signals or found.figures["beta"]["auc"]["value"] < "0.56"


def test_with_a_truth_nobody_of_the_seed_is_among_those_judged_by() -> None:
    people = table(600)
    assert people.seed[people.ranked("alpha")].sum() == 0
    assert table(600, truth=False).seed[table(600, truth=False).ranked("alpha")].sum() > 0
    assert (people.owner[people.ranked("alpha")] != 0).all()


def test_auc_and_recall_are_those_of_the_textbook() -> None:
    found = judged(np.array([9, 8, 7, 6, 5, 4, 3, 2, 1, 0]), np.array([1, 0, 1, 0, 0, 0, 0, 0, 0, 0]))
    assert found.auc == pytest.approx(15 / 16)
    assert found.recall == pytest.approx(1 / 2)
    assert judged(np.arange(3), np.zeros(3, dtype=np.int64)).auc is None
    assert math.isclose(judged(np.zeros(400), np.arange(400) % 2).auc or 0, 0.5)
