"""A rehearsed lookalike releases, noise for noise, what a whole round of nodes and coordinator releases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coordinator import lookalike_rehearsal, rehearsal
from coordinator.lookalike_rehearsal import Asked, Table
from party_node.audience import Audience
from protocols.statistic import Integers
from tests.rounds import audience, lab


def off(total: Integers, **_: Any) -> Integers:
    """In place of noise: something that depends on the sum, and on nothing else."""
    return total + total % 5 - 2


def table_of(room: lab.Room, earlier: dict[str, Any]) -> Table:
    """The people whom the room's nodes count, as the rows of one table."""
    (question,) = room.plan.questions
    parts, owner, seed = [], [], []
    members = {f"p-{i}" for i in audience.members()}
    for number, party in enumerate(room.plan.parties):
        store = room.nodes[party].store
        dataset = room.nodes[party].dataset_for(room.plan)
        found = Audience(room.plan, question, party, earlier, dataset, store.state).found
        parts.append(np.stack([found.columns[feature.name] for feature in question.features], axis=1))
        owner.append(np.full(len(found.customers), number))
        seed.append(np.array([who in members for who in found.customers], dtype=np.int64))
    values = np.concatenate(parts)
    columns = {feature.name: values[:, j] for j, feature in enumerate(question.features)}
    return Table(columns, room.plan.parties, np.concatenate(owner), np.concatenate(seed), None, 0)


def test_a_rehearsed_plan_gives_the_figures_of_its_round_noise_for_noise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    question = {name: value for name, value in audience.QUESTION.items() if name != "attributes"}
    question["rho"] = {step: rho for step, rho in audience.SHARES.items() if step != "audit"}
    base, plan = audience.make(tmp_path / "room", questions=[question])
    for place in ("party_node.share.add_noise", "party_node.overlap.noise.add_noise"):
        monkeypatch.setattr(place, off)
    monkeypatch.setattr(rehearsal, "add_noise", off)
    with lab.Room(base, plan) as room:
        released = {one.body_.step: one.body_ for one in room.run()}
        table = table_of(room, {})
    asked = Asked.by(plan)
    found = lookalike_rehearsal.run(asked, table)
    assert found.figures == released["look-overlap"].answer["owners"]
    assert found.figures["alpha"]["signal"]["value"] == "usable"  # and not all of them too noisy
    assert str(found.seed) == released["look-scores"].answer["seed"]["size"]["value"]
    preview = released["look-seed"].state["preview"]
    assert [round(share * 10**6) for share in found.preview.values()] == preview
    assert asked.rho == plan.charge
    assert asked.rho_person == plan.charge_person
