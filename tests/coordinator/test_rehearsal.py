"""A rehearsal computes what a round would, on rows at hand: the same sums, states and figures, at the same cost."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coordinator import drafts, fits, rehearsal
from coordinator.rehearsal import Asked, Reals, Table
from protocols import keys, release
from protocols.accuracy import epsilon, rho_within
from protocols.budget import honest_shares
from protocols.errors import IntegrityError, UsageError
from protocols.plan import Plan
from protocols.questions import segments
from protocols.room import Room
from protocols.statistic import Integers, tally

ROOT = Path(__file__).parents[2]
DELTA = 1e-6


def blobs(n: int, d: int, seed: int = 3) -> Reals:
    draw = np.random.default_rng(seed)
    centres = draw.uniform(-0.7, 0.7, (4, d))
    return np.clip(centres[draw.choice(4, n, p=[0.4, 0.3, 0.2, 0.1])] + draw.normal(0, 0.08, (n, d)), -1, 1)


def asked(table: Table, *, rho: int = 10**9, parties: int = 3, collusion: int = 2, clusters: int = 4) -> Asked:
    honest, profile = honest_shares(parties, collusion), Fraction(1, 20)
    question = drafts.segments_question(table.features, clusters, rho, profile, table.people, parties, honest)
    return Asked.of(question, parties, collusion)


def off(total: Integers, **_: Any) -> Integers:
    """In place of noise: a pattern that depends on the sum, and is different for each party."""
    return total + np.arange(len(total)) % 7 - 3 + total % 5


# -- the code of a round -----------------------------------------------------------------------------------------------


def test_a_rehearsed_plan_gives_the_states_and_figures_of_its_round_noise_for_noise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = Plan.from_toml((ROOT / "examples" / "complete_journey" / "plan.toml").read_bytes())
    rehearsed = Asked.by(plan)
    d = rehearsed.question.dimensions
    lows, highs = (np.array([getattr(f, end) for f in rehearsed.question.features]) for end in ("low", "high"))
    table = Table.as_planned(lows + (blobs(1500, d) + 1) / 2 * (highs - lows), rehearsed.question.features)
    monkeypatch.setattr(rehearsal, "add_noise", off)
    found = rehearsal.run(rehearsed, table)

    earlier: dict[str, Any] = {}
    for step, mechanism in [pair for pair in plan.steps() if pair[0].name.startswith("seg-")]:
        totals = [
            off(tally(step.statistic, people, lambda batch: step.contribute(batch, earlier)).total)  # noqa: B023
            for people in table.dealt(len(plan.parties))
        ]
        noised = np.sum(totals, axis=0)
        noise = step.noise(len(plan.parties), mechanism.variance_micro)
        body = release.compose(
            plan,
            round_id="0" * 32,
            step=step.name,
            nonce="1" * 32,
            noised=noised,
            survivors=list(plan.parties),
            earlier=earlier,
            salt=bytes(32),
            state=fits.state_after(plan, step.name, noised, noise, earlier),
        )
        earlier[step.name] = body.released
    assert found.figures == earlier["seg-profile"]
    last = earlier[rehearsed.question.lloyd_names()[-1]]["state"]["centres"]
    assert (np.rint(found.centres * 2**24)).astype(int).tolist() == last
    assert rehearsed.rho == sum(m.charge for step, m in plan.steps() if step.name.startswith("seg-"))
    assert (rehearsed.collusion, rehearsed.parties) == (plan.collusion, plan.parties)


def test_rows_are_dealt_out_to_all_parties_once() -> None:
    table = Table.within(blobs(10, 2), -1, 1)
    parts = table.dealt(3)
    assert [len(part["usable"]) for part in parts] == [4, 3, 3]
    for name, column in table.columns.items():
        assert sorted(np.concatenate([part[name] for part in parts])) == sorted(column)


def test_every_step_draws_every_partys_noise_from_opendp(monkeypatch: pytest.MonkeyPatch) -> None:
    table, drawn = Table.within(blobs(400, 3), -1, 1), list[int]()
    real = rehearsal.add_noise

    def watched(total: Integers, *, bound_sq: int, variance_micro: int) -> Integers:
        drawn.append(variance_micro)
        return real(total, bound_sq=bound_sq, variance_micro=variance_micro)

    monkeypatch.setattr(rehearsal, "add_noise", watched)
    question = asked(table)
    rehearsal.run(question, table)
    assert drawn == [mechanism.variance_micro for _, mechanism in question.steps for _ in question.parties]


def test_a_state_that_a_node_would_refuse_ends_a_rehearsal(monkeypatch: pytest.MonkeyPatch) -> None:
    real = rehearsal.next_state

    def outside(question: segments.Plan, step: str, *rest: Any) -> dict[str, Any] | None:
        state = real(question, step, *rest)
        if step == "seg-fine" and state is not None:
            state["centres"][0][0] = 2**24 + 1
        return state

    monkeypatch.setattr(rehearsal, "next_state", outside)
    table, heard = Table.within(blobs(400, 3), -1, 1), list[str]()
    with pytest.raises(IntegrityError, match="outside the public box"):
        rehearsal.run(asked(table), table, heard.append)
    assert heard[-1] == "seg-fine"  # and not the next step, for lack of a centre that it can use


def test_with_hardly_any_noise_it_finds_what_scikit_learn_finds() -> None:
    table = Table.within(blobs(6000, 3), -1, 1)
    found = rehearsal.run(asked(table, rho=10**8, collusion=0), table)
    assert table.inertia(found.centres) <= 1.05 * rehearsal.reference(table, 4, 5).inertia
    assert found.cpu_s > 0


# -- cost --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("wanted", "d"), [(0.25, 2), (0.5, 5), (1.0, 3), (2.0, 10)])
@pytest.mark.parametrize("collusion", [0, 1, 2])
def test_what_is_charged_is_within_the_epsilon_asked_for_and_hardly_below(
    wanted: float, d: int, collusion: int
) -> None:
    table = Table.within(blobs(50, d), -1, 1)
    question = asked(table, rho=rho_within(wanted, DELTA), collusion=collusion)
    assert wanted * 0.999 < question.epsilon(DELTA) <= wanted
    assert question.epsilon(DELTA) == epsilon(question.rho, DELTA)
    assert question.rho_person >= 3 * question.rho


def test_collusion_0_shares_out_the_noise_of_one_party_and_is_in_no_plan() -> None:
    table = Table.within(blobs(50, 3), -1, 1)
    alone, all_others = asked(table, rho=10**7, collusion=0), asked(table, rho=10**7, collusion=2)
    assert (alone.allowed, all_others.allowed) == (False, True)
    assert alone.rho == pytest.approx(all_others.rho, rel=1e-3)
    for name in ("seg-moments", "seg-over", "seg-profile"):
        assert all_others.deviation(name) / alone.deviation(name) == pytest.approx(math.sqrt(3), rel=1e-3)
    assert asked(table, parties=1, collusion=0, rho=10**7).allowed


def test_a_share_with_too_little_noise_is_refused_as_a_plan_refuses_it() -> None:
    question = asked(Table.within(blobs(50, 3), -1, 1), rho=10**8).question
    loose = question.model_copy(update={"rho": question.rho.model_copy(update={"coarse": 30_000_000})})
    with pytest.raises(UsageError, match="seg-coarse: one share would have σ 2.36; the least is 3"):
        Asked.of(loose, 3, 0)


@pytest.mark.parametrize(("parties", "wanted"), [(3, 2.0), (50, 2.0), (3, 100.0)])
def test_no_share_has_too_little_noise_and_nothing_is_left_over(parties: int, wanted: float) -> None:
    table, rho = Table.within(blobs(50, 2), -1, 1), rho_within(wanted, DELTA)
    question = asked(table, rho=rho, parties=parties, collusion=0)
    assert question.rho == pytest.approx(rho, rel=1e-6)
    assert question.rho <= rho


def test_the_question_is_the_drafts_own_in_the_drafts_own_proportions() -> None:
    key = keys.public_text(Ed25519PrivateKey.generate())
    lines = [
        'room = "trial"',
        'origin = "trial.example/ledger"',
        "cosign_quorum = 1",
        "[coordinator]",
        f'key = "{key}"',
    ]
    lines += ["[parties.alpha]", f'key = "{keys.public_text(Ed25519PrivateKey.generate())}"']
    lines += ["[blocks.year-2017]", 'first = "2017-01-01"', 'last = "2017-12-31"']
    lines += ["[caps]", 'record = "1"', 'person = "1"', 'lifetime_record = "1"', 'lifetime_person = "1"']
    room = Room.from_toml("\n".join(lines).encode(), where="room.toml")
    (drafted,) = Plan.from_toml(drafts.draft(room, "first-try", ["segments"]).encode()).questions
    assert isinstance(drafted, segments.Plan)
    rho = sum(nano for _, nano in segments.steps(drafted))
    profile, table = Fraction(drafted.rho.profile, rho), Table.within(blobs(50, 3), -1, 1)
    question = drafts.segments_question(table.features, 4, rho, profile, 50, 1, 1)
    assert question.rho == drafted.rho
    assert question.lloyd_rounds == drafted.lloyd_rounds
    flat = drafts.segments_question(table.features[:2], 4, rho, profile, 10**6, 1, 1)
    assert flat.rho.covariance is None
    assert sum(nano for _, nano in segments.steps(flat)) == pytest.approx(rho, abs=20)
    assert flat.coarse_cells > question.coarse_cells


# -- rows --------------------------------------------------------------------------------------------------------------


def test_a_row_far_out_counts_as_one_on_the_bound_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "add_noise", off)
    inside = np.concatenate([blobs(300, 3), np.ones((1, 3))])
    out = inside.copy()
    out[-1] = 1e12
    tame, canary = Table.within(inside, -1, 1), Table.within(out, -1, 1)
    assert (tame.clipped, canary.clipped) == (0, 1)
    np.testing.assert_array_equal(tame.scaled, canary.scaled)
    question = asked(tame)
    assert rehearsal.run(question, tame).figures == rehearsal.run(question, canary).figures


def test_centres_and_inertia_are_in_the_units_of_the_rows() -> None:
    rows = blobs(500, 2)
    table, wide = Table.within(rows, -1, 1), Table.within(40 + 20 * rows, 20, 60)
    centres = np.array([[0.5, -0.25], [-0.5, 0.5]])
    np.testing.assert_allclose(wide.units(centres), 40 + 20 * centres, atol=1e-6)
    assert wide.inertia(centres) == pytest.approx(400 * table.inertia(centres), rel=1e-6)
    by_hand = ((rows[:, None, :] - centres[None, :, :]) ** 2).sum(axis=2).min(axis=1).mean()
    assert table.inertia(centres) == pytest.approx(by_hand, rel=1e-6)
    assert rehearsal.reference(table, 4, 3).inertia <= table.inertia(np.concatenate([centres, centres]))


def test_rows_that_are_all_alike_are_found_too() -> None:
    table = Table.within(np.full((60, 3), 0.5), -1, 1)
    found = rehearsal.run(asked(table), table)
    assert np.isfinite(found.centres).all()
    assert rehearsal.reference(table, 4, 2).inertia == pytest.approx(0, abs=1e-12)
