"""What a lookalike's coordinator learns of one person: in a seed from all that it sees, at an owner by hostile states.

It knows everybody else's rows. Measured by playing (`guessing.py`), beside what was promised; and with the noise, or
the masks, taken away, where it must win.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from party_node.overlap_lists import Between
from protocols.budget import NANO
from protocols.errors import IntegrityError
from protocols.masking import Occasion, Secrets
from protocols.overlap import points
from protocols.overlap.agreement import Halves
from protocols.overlap.layout import Layout
from protocols.questions import lookalike
from tests.attacks import guessing
from tests.attacks.guessing import OWNER, SEEDS, TOLERANCE, advantage, by_rho, check, customers, played, spent
from tests.protocols import circles
from tests.rounds import lab

NOISES = ("party_node.share.add_noise", "party_node.overlap.noise.add_noise")


# -- sums --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("also", [0, 2], ids=["all others collude", "nobody colludes"])
def test_who_is_in_the_seed_shows_no_more_in_all_sums_than_was_charged(also: int) -> None:
    plan, people = guessing.plan(), customers()
    earlier = guessing.usual(plan)
    inside, outside = (played(plan, SEEDS, people, earlier, there, also=also) for there in (True, False))
    found = advantage(inside, outside)
    check(found, plan.charge, f"the seed, {also} others' noise unknown")
    assert found > by_rho(spent(inside)) - TOLERANCE
    assert spent(inside) <= plan.charge / NANO


def test_without_noise_the_sums_give_away_who_is_in_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in NOISES:
        monkeypatch.setattr(place, lab.NoNoise())
    plan, people = guessing.plan(), customers()
    inside, outside = (played(plan, SEEDS, people, guessing.usual(plan), there) for there in (True, False))
    assert advantage(inside, outside) == 1


# -- hostile states ----------------------------------------------------------------------------------------------------


def test_a_space_weights_and_cuts_made_for_one_person_tell_no_more_than_was_charged() -> None:
    """Nobody but that person gets any score: it alone is in the likest cell and within each cut."""
    plan, people = guessing.plan(), customers(seed=0)
    earlier = guessing.for_one(plan, people)
    cells = lookalike.scorer_of(guessing.question(plan), earlier).cells(people)
    assert cells[-1] == 0
    assert (cells[:-1] == 63).mean() > 0.99
    inside, outside = (played(plan, OWNER, people, earlier, there) for there in (True, False))
    found = advantage(inside, outside)
    check(found, plan.charge, "states made for one person")
    assert found > by_rho(spent(inside)) - TOLERANCE
    honest = played(plan, OWNER, people, guessing.usual(plan), True)
    assert spent(inside) < 1.1 * spent(honest)  # a hostile state moves no bound


def test_without_noise_a_state_made_for_one_person_finds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in NOISES:
        monkeypatch.setattr(place, lab.NoNoise())
    plan, people = guessing.plan(), customers(seed=0)
    inside, outside = (played(plan, OWNER, people, guessing.for_one(plan, people), there) for there in (True, False))
    assert advantage(inside, outside) == 1


@pytest.mark.parametrize(
    ("step", "field", "value"),
    [
        ("look-seed", "weights", 2**34 + 1),
        ("look-seed", "edges", 2**52 + 1),
        ("look-edges", "scores", 3 * 2**12 + 1),
        ("look-edges", "bins", 1),
    ],
)
def test_states_beyond_what_a_plan_allows_are_refused_before_anybody_is_scored(
    step: str, field: str, value: int
) -> None:
    plan = guessing.plan()
    earlier = guessing.usual(plan)
    state: Any = earlier[step]["state"]
    row = state[field][0] if step == "look-edges" else state[field]
    row[0 if field != "edges" else -1] = value
    with pytest.raises(IntegrityError):
        plan.step(step)[0].check_state(state, earlier)  # type: ignore[misc]
    with pytest.raises(IntegrityError):
        lookalike.scorer_of(guessing.question(plan), earlier)


# -- masks and lists ---------------------------------------------------------------------------------------------------


def guesses(words: Any, total: int) -> Any:
    """`There` where a word is nearer to one more than the total than to the total."""
    return words.view(np.int64) - total > 0.5


def test_a_masked_share_without_any_noise_tells_nothing() -> None:
    """The exact number and one more, so that masks alone stand between; without these the guess is right each time."""
    name, plays = circles.NAMES[0], 20_000
    total = np.full(plays, 600, dtype=np.int64)
    hits = []
    for values in (total + 1, total):
        circle = circles.circle(3)
        hits.append(guesses(circle.mask(name, values), 600).mean())
    assert abs(hits[0] - hits[1]) < 4 * np.sqrt(0.5 / plays)
    assert [guesses(values.view(np.uint64), 600).mean() for values in (total + 1, total)] == [1, 0]


def lists(keys: list[bytes], to: Path, engine: Any = None) -> bytes:
    """The seed's list as it goes through the coordinator: of a cap of 30, under secrets of its own."""
    at = Occasion(
        room="r", plan="0" * 64, round=secrets.token_hex(16), step="look-overlap", nonce="2" * 32, state="0" * 64,
        attempt=1,
    )  # fmt: skip
    halves = {party: Halves(Secrets.fresh(at, recoverable=False)) for party in (OWNER, SEEDS)}
    side = Between(
        me=SEEDS, peer=OWNER, halves=halves[SEEDS], half=points.masked_base(halves[OWNER].scalar(SEEDS)),
        drawn=np.full((1, 6), 2), layout=Layout({SEEDS: (30,), OWNER: (9,) * 6}, 3), engine=points.Plain(),
        domain=b"domain",
    )  # fmt: skip
    side.write_lists(iter([(np.zeros(len(keys), dtype=np.int64), keys)]), to)
    return to.read_bytes()


def test_a_masked_list_is_as_long_with_one_person_more_and_has_no_point_that_was_seen_before(tmp_path: Path) -> None:
    others = [b"p-%d" % i for i in range(20)]
    seen = [lists(keys, tmp_path / "list") for keys in (others, [*others, b"p-999"], others)]
    assert len({len(one) for one in seen}) == 1
    each = [{one[i : i + 32] for i in range(0, len(one), 32)} for one in seen]
    assert not each[0] & each[1]
    assert not each[0] & each[2]
    # Without the mask a person is the same point each time: then the coordinator needs no more than look it up.
    plain = points.Plain().points(b"domain", [b"p-999"])
    assert not any(bytes(plain) in one for one in each)
