"""Lookalike audiences: people like a seed of one party's customers, found where each owner's list stays with its owner.

    look-edges       all parties   one of 256 cells of each feature                    Δ² = d
      → Space        public        normal scores and quantile bins of the joint histograms, as integers of 2⁻¹²
    look-background  all parties   v(x): second moments, bins, frequencies             Δ = 1
    look-seed        seed's owner  Σ φ(x) over the seed                                Δ = 1
      → Scorer       public        weights of φ, edges of 64 cells of the score, what the model expects
    look-scores      each owner    one of 64 cells of the score; of the seed its size  Δ = 1
      → cuts         public        the edges nearest to a reach of 5, 10, 20, 30, 50 %, of each owner
    look-overlap     two parties   {seed} × the six bands between an owner's cuts      Δ² = owners that rank
    look-audit       each owner    group × within the cut, per attribute               Δ² = A

`space.py` is φ and what it is made of, `background.py` v, `scorer.py` the score of a person, its cells and an owner's
cuts: a row is a function of that person's own features and of released numbers, and in integers, so that nobody's
company changes a bit of it. `sizes.py`, `report.py` and `audit.py` make figures from noised vectors. What is fitted
between the steps sees noised sums only, and is released as a state (`coordinator/lookalike.py`); no bound depends on a
state.

`seed` in a party's people is 1 for those of the seed, and 0 for everybody at all other parties; `counted` is 1 for
these, and for everybody at all other parties. Where slots have owners, `owner` is the party's number among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from protocols.budget import MICRO
from protocols.errors import IntegrityError, UsageError
from protocols.figures import too_noisy
from protocols.statistic import Between, Facts, Integers, Noise, People, Rows, Sparse, Statistic, Step

from . import audit, background, sizes, space
from .plan import BANDS, Audited, Bound, Plan, Seed, audited, check, pairs, scores_variance_micro
from .report import NO_SIGNAL, Owner
from .scorer import Scorer, bands, scores_rows, scores_statistic
from .sizes import Sizes
from .space import Space, whole

__all__ = ["BANDS", "OVERLAP", "Audited", "Bound", "Plan", "Scorer", "Seed", "Sizes", "Space", "bands_of", "pairs",
           "scorer_of", "space_of", "steps"]  # fmt: skip

EDGES, BACKGROUND, SEED, OVERLAP, AUDIT = "look-edges", "look-background", "look-seed", "look-overlap", "look-audit"
PREFIX = "look-"
MOST_PEOPLE = 2**53


def steps(question: Plan, facts: Facts) -> list[tuple[Step, int]]:
    """All steps in order, with their nano-ρ. Raises ValueError where the question cannot be asked in such a plan."""
    check(question, facts)
    rho = question.rho
    found = [
        (_edges(question), rho.edges),
        (_background(question), rho.background),
        (_seed(question), rho.seed),
        (_scores(question), rho.scores),
        (_overlap(question, facts), rho.overlap),
    ]
    return found if rho.audit is None else [*found, (_audit(question, facts), rho.audit)]


# -- what earlier steps released ---------------------------------------------------------------------------------------


def space_of(question: Plan, earlier: Mapping[str, Any]) -> Space:
    """φ, from the state of the first step. Raises IntegrityError."""
    return Space.read(_state(earlier, EDGES), question.features)


def scorer_of(question: Plan, earlier: Mapping[str, Any]) -> Scorer:
    """The public score, from the state after the seed. Raises IntegrityError."""
    return Scorer.read(_state(earlier, SEED), space_of(question, earlier))


def bands_of(question: Plan, earlier: Mapping[str, Any], owner: str, people: People) -> Integers:
    """(n,) 0 to 5: how many of an owner's cuts each of its people is outside of."""
    return bands(Sizes.read(question, earlier).cuts(owner), scorer_of(question, earlier).cells(people))


def _state(earlier: Mapping[str, Any], step: str) -> Any:
    try:
        return earlier[step]["state"]
    except (LookupError, TypeError):
        raise IntegrityError(f"step {step} has released no state") from None


# -- the steps ---------------------------------------------------------------------------------------------------------


def _nothing(*_: Any) -> dict[str, Any]:
    """A step for the next one's sake: its noised sum is released, no figure for people is made of it."""
    return {}


def _edges(question: Plan) -> Step:
    def rows(people: People, _: Mapping[str, Any]) -> Sparse:
        return space.edges_rows(question.features, people)

    def check_state(state: Mapping[str, Any], _: Mapping[str, Any]) -> None:
        Space.read(state, question.features)

    statistic = space.edges_statistic(question.features)
    return Step(EDGES, statistic, rows, _nothing, (("a cell of a feature", 1),), check_state)


def _background(question: Plan) -> Step:
    def rows(people: People, earlier: Mapping[str, Any]) -> Integers:
        return background.rows(space_of(question, earlier), people)

    def check_state(state: Mapping[str, Any], _: Mapping[str, Any]) -> None:
        if not (isinstance(state, Mapping) and set(state) == {"people"} and whole([state["people"]], 0, MOST_PEOPLE)):
            raise IntegrityError("a state of the background is how many people there are, noised, and nothing else")

    return Step(BACKGROUND, background.statistic(question.features), rows, _nothing, check_state=check_state)


def _seed(question: Plan) -> Step:
    """Δ = 1, of the seed's people alone. Why: |φ(x)| = 1, and whoever is not in the seed adds nothing."""

    def rows(people: People, earlier: Mapping[str, Any]) -> Integers:
        return space_of(question, earlier).rows(people)

    def check_state(state: Mapping[str, Any], earlier: Mapping[str, Any]) -> None:
        Scorer.read(state, space_of(question, earlier))

    part = space.seed_statistic(question.features)
    statistic = Statistic.owned({question.seed.party: part.slots[:-1]}, part.scale, part.bound_sq)
    return Step(SEED, statistic, rows, _nothing, check_state=check_state, takes_part="seed")


def _scores(question: Plan) -> Step:
    """Δ = 1. Why: a person is in one cell of its own party's, or counted once in the seed."""

    def rows(people: People, earlier: Mapping[str, Any]) -> Sparse:
        if people["owner"][0] != 0:
            return scores_rows(scorer_of(question, earlier), people)
        at = np.zeros((len(people["usable"]), 1), dtype=np.int64)  # the seed's party
        return Sparse(at, np.ones_like(at))

    def answer(noised: Integers, noise: Noise, _: Mapping[str, Any]) -> dict[str, Any]:
        return sizes.answer(question, noised, noise)

    part = scores_statistic()
    statistic = Statistic.owned(sizes.part_names(question), part.scale, part.bound_sq)
    return Step(sizes.NAME, statistic, rows, answer, (("a cell, the seed", 1),), takes_part="counted")


def _overlap(question: Plan, facts: Facts) -> Step:
    """Δ² = owners that rank. Why: somebody of the seed is in one cell of each pair, somebody of an owner in one."""
    party = question.seed.party
    names = [
        f"{a}--{b}/{'seed' if a == party else f'band{i}'}/{'seed' if b == party else f'band{i}'}"
        for a, b in pairs(question)
        for i in range(BANDS)
    ]

    def answer(noised: Integers, noise: Noise, earlier: Mapping[str, Any]) -> dict[str, Any]:
        evident = scorer_of(question, earlier).evident
        return _report(question, noised, noise, Sizes.read(question, earlier), evident)

    between = Between(
        pairs=tuple(pairs(question)),
        caps=lambda earlier: Sizes.read(question, earlier).caps(question, facts),
        sizes=sizes.NAME,
        sums=lambda earlier: Sizes.read(question, earlier).sums(question),
    )
    return Step(
        OVERLAP,
        Statistic(tuple(names), scale=1, bound_sq=len(question.ranks), tallied=False),
        _between_parties,
        answer,
        (("the seed in a band", 1),),
        made="overlap",
        between=between,
        cell_shares=2,
    )


def _between_parties(_: People, __: Mapping[str, Any]) -> Rows:
    raise UsageError(f"{OVERLAP} is no sum over one party's people: it is counted between parties")


def _report(question: Plan, noised: Integers, noise: Noise, before: Sizes, evident: bool) -> dict[str, Any]:
    """Per owner: people, the seed among them, per cut its reach, recall and lift; AUC, signal, the suggested cut.

    Nothing is said where the seed, noised, is below the plan's floor. evident: whether the seed was told from everybody
    at all; where it was not there is no usable signal, whatever the counts of one owner happen to say.
    """
    target = None if question.target is None else float(question.target)
    cells_variance = scores_variance_micro(question) / MICRO
    found: dict[str, Any] = {"owners": {}}
    for k, (a, b) in enumerate(pairs(question)):
        owner = b if a == question.seed.party else a
        shared = [int(x) for x in noised[k * BANDS : (k + 1) * BANDS]]
        figures = Owner(before.cells[owner], cells_variance, shared, noise.variance).figures(target, question.reach)
        if not evident:
            figures |= _without_signal(figures)
        found["owners"][owner] = figures if before.enough(question) else _hidden(figures)
    return found


def _without_signal(figures: Mapping[str, Any]) -> dict[str, Any]:
    """What changes where there is no usable signal: it is said, and no cut is suggested."""
    signal = figures["signal"]
    told = {"signal": {**signal, "value": NO_SIGNAL}} if "low" in signal else {}
    return {**told, **({"default": too_noisy()} if "default" in figures else {})}


def _hidden(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The same figures, none of which is told."""
    return {name: too_noisy() if "value" in one else _hidden(one) for name, one in figures.items()}


def _audit(question: Plan, facts: Facts) -> Step:
    """Δ² = A. Why: of each attribute a person of an owner is in one group, within the cut or not."""
    attributes = audited(question, facts)
    part = audit.statistic(attributes)

    def rows(people: People, earlier: Mapping[str, Any]) -> Sparse:
        owner = question.ranks[int(people["owner"][0])]
        within = bands_of(question, earlier, owner, people) <= question.within
        groups = [people[f"group/{one.name}"] for one in attributes]
        return audit.rows(attributes, groups, within.astype(np.int64))

    def answer(noised: Integers, noise: Noise, earlier: Mapping[str, Any]) -> dict[str, Any]:
        each = len(part.slots)
        found = {
            owner: audit.figures(attributes, noised[k * each : (k + 1) * each].tolist(), noise.variance)
            for k, owner in enumerate(question.ranks)
        }
        return {"owners": found if Sizes.read(question, earlier).enough(question) else _hidden(found)}

    statistic = Statistic.owned(dict.fromkeys(question.ranks, part.slots[:-1]), part.scale, part.bound_sq)
    return Step(AUDIT, statistic, rows, answer, (("a group", 1),))
