"""A seed may be cleaned by what an earlier round released: a rule over each person alone, for which was paid."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from party_node.audience import Audience, cleaner
from party_node.policy import Consent
from protocols.errors import Refused
from protocols.plan import Plan
from protocols.questions import lookalike
from tests.rounds import audience, lab

STRANGERS = [i for i in range(600, 1800) if not audience.loyal(i)][:300]


def plan_of(base: Path, **seed: Any) -> Plan:
    """A plan with such a seed, approved by everybody."""
    question = {**audience.QUESTION, "seed": {"party": "beta", "list": "loyalists", **seed}}
    plan = lab.plan(**{**audience.CHANGES, "questions": [question]})
    for party in plan.parties:
        lab.consent(base / party, plan)
    return plan


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lab.Room]:
    """A third of the list are strangers; one round is over."""
    base = tmp_path_factory.mktemp("cleaned") / "room"
    mixed = [*audience.members(), *STRANGERS]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audience, "members", lambda: mixed)
        _, plan = audience.make(base)
    with lab.Room(base, plan) as made:
        made.run()
        yield made


def in_seed(room: lab.Room, plan: Plan) -> list[int]:
    """The people of the plan's seed, by number."""
    node = room.nodes["beta"]
    question = plan.questions[0]
    assert isinstance(question, lookalike.Plan)
    own = Audience(plan, question, "beta", {}, node.dataset_for(plan), node.store.state)
    chosen = own.found.customers[own.seed == 1].tolist()
    return sorted(int(name.removeprefix("p-")) for name in chosen)


def cleaned_by(room: lab.Room, cells: int) -> dict[str, Any]:
    (round_id,) = list(room.book.accounts.rounds)[:1]
    return {"clean": {"round": round_id, "cells": cells}}


def test_strangers_leave_the_seed_and_the_round_counts_who_is_left(
    room: lab.Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = in_seed(room, room.plan)
    plan = plan_of(room.base, **cleaned_by(room, 55))
    kept = in_seed(room, plan)
    assert set(kept) < set(whole)
    assert sum(map(audience.loyal, kept)) / len(kept) > sum(map(audience.loyal, whole)) / len(whole) + 0.1
    monkeypatch.setattr("party_node.share.add_noise", lab.NoNoise())
    sizes = {release.body_.step: release.body_.answer for release in room.run(plan)}["look-scores"]
    assert sizes["seed"]["size"]["value"] == str(len(kept))


def test_who_stays_follows_from_each_person_alone(room: lab.Room) -> None:
    """The score is a constant of the plan: nobody's being there or not changes it."""
    plan = plan_of(room.base, **cleaned_by(room, 30))
    kept, fewer = in_seed(room, plan), in_seed(room, plan_of(room.base, **cleaned_by(room, 20)))
    assert set(fewer) <= set(kept)
    node = room.nodes["beta"]
    earlier = node.steps.earlier(next(iter(room.book.accounts.rounds.values())))
    question = room.plan.questions[0]
    assert isinstance(question, lookalike.Plan)
    own = Audience(room.plan, question, "beta", {}, node.dataset_for(room.plan), node.store.state)
    for i in np.linspace(0, len(own.found.customers) - 1, 25).astype(int):
        alone = {name: values[i : i + 1] for name, values in own.found.columns.items()}
        (cell,) = lookalike.scorer_of(question, earlier).cells(alone)
        number = int(own.found.customers[i].removeprefix("p-"))
        assert (number in kept) == (bool(own.seed[i]) and cell < 30)


def test_a_round_that_has_released_no_score_cleans_nothing_and_its_plan_is_not_approved(room: lab.Room) -> None:
    with pytest.raises(Refused, match="no score to this party"):
        room.nodes["beta"].dataset_for(plan_of(room.base, clean={"round": "0" * 32, "cells": 30}))


@pytest.mark.parametrize("has_it", [True, False], ids=["the people have it", "the people have it not"])
def test_a_score_of_a_feature_that_the_plan_does_not_name_cleans_nothing(room: lab.Room, has_it: bool) -> None:
    """Its card would not show it, and a rule of the consent policy that denies the feature would let the plan pass."""
    columns = {name: one for name, one in audience.COLUMNS.items() if has_it or name != "basket"}
    features = [one for one in audience.FEATURES if one["name"] != "baskets"]
    seed = {"party": "beta", "list": "loyalists", **cleaned_by(room, 30)}
    question = {**audience.QUESTION, "features": features, "seed": seed}
    changes = {**audience.CHANGES, "questions": [question], "table": {"name": "sales", "columns": columns}}
    deny = Consent.from_toml(b'[[deny]]\nfeatures = ["baskets"]\n', where="consent.toml").deny[0]
    assert deny.speaks_of(room.plan)
    assert not deny.speaks_of(lab.plan(**changes))
    with pytest.raises(Refused, match="features that this plan does not name"):
        cleaner(seed["clean"]["round"], room.nodes["beta"].store.state, lab.plan(**changes))


def test_a_score_is_read_whatever_characters_the_path_of_the_state_has(room: lab.Room, tmp_path: Path) -> None:
    odd = tmp_path / "50% off? #1"
    shutil.copytree(room.nodes["beta"].store.state, odd)
    plan = plan_of(room.base, **cleaned_by(room, 30))
    assert cleaner(cleaned_by(room, 30)["clean"]["round"], odd, plan).space.d == 3
