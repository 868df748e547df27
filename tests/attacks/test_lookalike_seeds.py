"""A malicious advertiser's seeds: one person, one among fillers, the same one again. What it learns of an owner's rows.

The advertiser names whom it looks for, knows all other customers of the owner, and its own noise. Measured by playing
(`guessing.py`), beside what was promised; and with the noise taken away, where it must win.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from coordinator import listening, rounds
from coordinator.config import Config
from protocols.budget import NANO
from protocols.errors import Refused
from protocols.noise import add_noise
from tests.attacks import guessing
from tests.attacks.guessing import OWNER, TOLERANCE, advantage, by_rho, check, customers, played, spent
from tests.rounds import audience, lab


def victim(fillers: bool) -> Any:
    """An owner's customers; of the seed is the last one, or with it every third of the others."""
    seed = np.zeros(900, dtype=np.int64)
    seed[-1] = 1
    if fillers:
        seed[:-1:3] = 1
    return customers(seed=seed)


@pytest.mark.parametrize("fillers", [False, True], ids=["a seed of one person", "one person and fillers"])
def test_a_seed_made_for_one_person_tells_no_more_than_was_charged(fillers: bool) -> None:
    """Below the floor nothing is said of a seed; but its noised counts are released, and this attacker reads these."""
    plan, people = guessing.plan(), victim(fillers)
    earlier = guessing.usual(plan)
    inside, outside = (played(plan, OWNER, people, earlier, there) for there in (True, False))
    found = advantage(inside, outside)
    check(found, plan.charge, "a seed made for one person")
    assert (
        found > by_rho(spent(inside)) - TOLERANCE
    )  # it is as good as an attack can be: a loose one would show nothing
    assert 0.5 * plan.charge / NANO < spent(inside) <= plan.charge / NANO


def test_an_overlap_of_one_person_tells_no_more_than_that_step_was_charged() -> None:
    """What the seed's owner alone makes happen: the cell in which nobody else is."""
    plan, people = guessing.plan(), victim(fillers=False)
    earlier = guessing.usual(plan)
    charge = plan.step("look-overlap")[1].charge
    names = [step.name for step, _ in plan.steps() if step.name != "look-seed"]
    each = [dict(zip(names, played(plan, OWNER, people, earlier, there), strict=True)) for there in (True, False)]
    inside, outside = ([one["look-overlap"]] for one in each)
    check(advantage(inside, outside), charge, "the overlap alone")
    # Two owners share what the step costs: somebody known to one of them is worth half.
    assert spent(inside) == pytest.approx(charge / NANO / 2, rel=1e-6)


def test_repeated_seeds_cost_again_and_tell_what_their_charges_add_up_to() -> None:
    plan, people = guessing.plan(), victim(fillers=False)
    earlier = guessing.usual(plan)
    inside, outside = (
        [one for _ in range(4) for one in played(plan, OWNER, people, earlier, there)] for there in (True, False)
    )
    found = advantage(inside, outside)
    check(found, 4 * plan.charge, "four plans with one seed")
    assert found > by_rho(spent(inside) / 4) + TOLERANCE  # so that to charge one of them only would be a lie


@pytest.mark.parametrize("fillers", [False, True])
def test_without_noise_the_attack_always_wins(monkeypatch: pytest.MonkeyPatch, fillers: bool) -> None:
    for place in ("party_node.share.add_noise", "party_node.overlap.noise.add_noise"):
        monkeypatch.setattr(place, lab.NoNoise())
    plan, people = guessing.plan(), victim(fillers)
    inside, outside = (played(plan, OWNER, people, guessing.usual(plan), there) for there in (True, False))
    assert advantage(inside, outside) == 1


def test_with_half_the_noise_the_attack_goes_beyond_what_was_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    def half(total: Any, *, bound_sq: int, variance_micro: int) -> Any:
        noise = add_noise(np.zeros_like(total), bound_sq=bound_sq, variance_micro=variance_micro)
        return total + np.rint(noise / 2).astype(np.int64)

    for place in ("party_node.share.add_noise", "party_node.overlap.noise.add_noise"):
        monkeypatch.setattr(place, half)
    plan, people = guessing.plan(), victim(fillers=False)
    inside, outside = (played(plan, OWNER, people, guessing.usual(plan), there) for there in (True, False))
    with pytest.raises(AssertionError, match="half the noise"):
        check(advantage(inside, outside), round(spent(inside) * NANO), "half the noise")


def test_the_same_plan_asked_again_is_answered_with_the_same_bytes_at_no_charge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for by an advertiser, through `plan launch`, as often as it likes: there is nothing to average."""
    base, plan = audience.make(tmp_path / "room")
    with lab.Room(base, plan) as room:

        def run(*_: Any, **__: Any) -> None:
            rounds.run(plan, room.ledger, room.ask)

        coordinator = listening.Listening(Config.load(base / "coordinator" / "coordinator.toml"))
        coordinator._hub = SimpleNamespace(admit=lambda *_: None)  # type: ignore[assignment]
        coordinator._journal = type("Journal", (), {"forget": lambda *_: None})()  # type: ignore[assignment]
        monkeypatch.setattr(listening, "run_server_app", run)
        monkeypatch.setattr(listening.flower, "held_ledger", lambda _: room.ledger)
        monkeypatch.setattr(coordinator, "_with_grid", lambda _, do: do(None))
        monkeypatch.setattr(coordinator, "online", lambda: tuple(plan.parties))
        monkeypatch.setattr(listening.flower, "reuse", lambda *_: None)
        launched, released = [], []
        for _ in range(3):
            launched.append(coordinator.launch(plan, again=False, wait_s=1.0, progress=lambda _: None))
            store = room.nodes["gamma"].store
            released.append([store.release(launched[-1].round, step.name) for step, _ in plan.steps()])
            assert room.spent(OWNER) == plan.charge
        assert [one.fresh for one in launched] == [True, False, False]
        assert len({one.round for one in launched}) == 1
        assert None not in released[0]
        assert released[0] == released[1] == released[2]


def test_a_coordinator_that_leads_the_same_plan_again_is_charged_again_until_nobody_answers(tmp_path: Path) -> None:
    """An honest one gives out what was released. To average one must pay: each round has new noise, at full price."""
    base, plan = audience.make(tmp_path / "room")
    with lab.Room(base, plan) as room:
        for party in plan.parties:
            lab.consent(base / party, plan, per_round="0.3", per_period="0.5")
            room.restart(party)
        first = {one.body_.step: one.body_.noised for one in room.run()}
        assert room.spent(OWNER) == plan.charge
        again = {one.body_.step: one.body_.noised for one in room.run()}
        assert room.spent(OWNER) == 2 * plan.charge
        assert all(first[step] != again[step] for step in first)
        with pytest.raises(Refused, match="alpha: the plan's rounds have used"):
            room.run()
        assert room.spent(OWNER) == 2 * plan.charge
