"""A lookalike of three parties, made up: the states and the noised sums of its round, as documents to spoil.

A coordinator that means harm chooses both. Whatever is taken as a state, what people add stays within its bound, and
nobody is lost or counted twice; whatever the sums are, figures are figures.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from protocols.encoding import canonical, parse
from protocols.errors import IntegrityError
from protocols.figures import pointers
from protocols.plan import Plan
from protocols.questions.lookalike import Sizes, background, scorer_of, space_of
from protocols.questions.lookalike.space import SCALE
from protocols.statistic import Step
from tests.specs.readers import golden
from tests.vectors.lookalikes import question_of

STATES = ("look-edges", "look-background", "look-seed")
SUMS = ("look-scores", "look-overlap", "look-audit")


@cache
def plan() -> Plan:
    return Plan.from_bytes(golden("plan/good-lookalike.json"))


@cache
def made() -> dict[str, Any]:
    """The vector's steps by their names."""
    return {one["step"]: one for one in parse(golden("lookalike-question/good-lookalike.json"))["steps"]}


@cache
def people() -> dict[str, dict[str, Any]]:
    """Party → the vector's people, each kind once, and one beyond every bound."""
    found = {}
    for party, kinds in parse(golden("lookalike-question/good-lookalike.json"))["people"].items():
        far = {**kinds[0], "recency_days": 2**40, "spend_cents": -(2**40)}
        names = [name for name in far if name != "times"]
        found[party] = {name: np.array([one[name] for one in (*kinds, far)], dtype=np.int64) for name in names}
    return found


@cache
def states() -> list[bytes]:
    return [canonical({step: made()[step]["state"] for step in STATES})]


@cache
def sums() -> list[bytes]:
    return [canonical({step: made()[step]["noised"] for step in SUMS})]


def state_read(data: bytes) -> bytes:
    """As a node takes the states of a round, and what its people then add to each step."""
    found, earlier, question = _document(data, STATES), dict[str, Any](), question_of(plan())
    for step, _ in plan().steps():
        if step.check_state is not None:
            step.check_state(found[step.name], earlier)
            earlier[step.name] = {"state": found[step.name]}
        elif step.between is None:
            _add(step, earlier)
            earlier[step.name] = made()[step.name]["answer"]
    _within_one(earlier)
    for name in STATES[1:]:
        _add(plan().step(name)[0], earlier)
    written = {
        "look-edges": space_of(question, earlier).write(),
        "look-background": found["look-background"],
        "look-seed": scorer_of(question, earlier).write(),
    }
    return canonical(written)


def _within_one(earlier: dict[str, Any]) -> None:
    """Whoever it is, φ and v are no longer than 1."""
    known = space_of(question_of(plan()), earlier)
    for own in people().values():
        for rows in (known.rows(own), background.rows(known, own)):
            assert (rows * rows).sum(axis=1).max() <= SCALE**2


def _add(step: Step, earlier: dict[str, Any]) -> None:
    """Each party's people add to a step: nobody is over its bound, and in a count each is counted once."""
    for party, own in people().items():
        tally = step.tally(party, own, earlier)
        assert tally.over_bound == 0
        if step.name == "look-scores":
            assert tally.total.sum() == own["counted"].sum()
            assert tally.total.min() >= 0


def figures_of(data: bytes) -> None:
    """As everybody makes figures of sums, and an owner its caps."""
    found, question = _document(data, SUMS), question_of(plan())
    earlier: dict[str, Any] = {step: {"state": made()[step]["state"]} for step in STATES}
    for step, mechanism in plan().steps():
        if step.name not in SUMS:
            continue
        noised = _numbers(found[step.name], len(step.statistic.slots))
        earlier[step.name] = step.answer(noised, step.noise(len(plan().parties), mechanism.variance_micro), earlier)
        assert list(pointers(earlier[step.name]))
        if step.between is not None:
            assert step.between.caps(earlier)
            cells = Sizes.read(question, earlier).cells
            assert all(1 <= cut < 64 for owner in cells for cut in Sizes.read(question, earlier).cuts(owner))
    if data in sums():
        assert {step: earlier[step] for step in SUMS} == {step: made()[step]["answer"] for step in SUMS}


def _numbers(found: Any, many: int) -> Any:
    """As a release has them, which its own reader asks for."""
    if not (isinstance(found, list) and len(found) == many and all(type(x) is int for x in found)):
        raise IntegrityError("no noised sum")
    return np.array(found, dtype=np.int64)


def _document(data: bytes, names: tuple[str, ...]) -> dict[str, Any]:
    found = parse(data, what="document")
    if not isinstance(found, dict) or set(found) != set(names):
        raise IntegrityError("no document")
    return found
