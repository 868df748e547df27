"""The segments question as a round computes it, without the network: the product's rows, noise, masks, sum and fits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from coordinator import fits
from coordinator.aggregate import noised_sum
from party_node import share
from protocols import masking, release
from protocols.plan import Mechanism, Plan
from protocols.questions import segments
from protocols.questions.segments.states import Clusters, Reals
from protocols.statistic import Integers, Noise, People, Step, tally

ROUND, NONCE = "0" * 32, "1" * 32


def question_of(plan: Plan) -> segments.Plan:
    (question,) = plan.questions
    assert isinstance(question, segments.Plan)
    return question


def find_centres(plan: Plan, parties: Mapping[str, People]) -> Reals:
    """(k, d) centres in [−1, 1]^d: one whole round of the plan up to its profile, every party with its full noise."""
    earlier: dict[str, Any] = {}
    for step, mechanism in plan.steps():
        if step.name == "seg-profile":
            break
        noised = _sum_of_shares(plan, step, mechanism, parties, earlier)
        noise = Noise(len(parties), mechanism.variance_micro)
        body = release.compose(
            plan,
            round_id=ROUND,
            step=step.name,
            nonce=NONCE,
            noised=noised,
            survivors=list(plan.parties),
            earlier=earlier,
            salt=bytes(32),
            state=fits.state_after(plan, step.name, noised, noise, earlier),
        )
        earlier[step.name] = body.released
    question = question_of(plan)
    last = earlier[question.lloyd_names()[-1]]["state"]
    return Clusters.read(last, question.clusters, question.dimensions).centres


def _sum_of_shares(
    plan: Plan, step: Step, mechanism: Mechanism, parties: Mapping[str, People], earlier: Mapping[str, Any]
) -> Integers:
    """What the coordinator adds up: each party's bounded sum, noised by OpenDP, masked."""
    occasion = masking.Occasion(
        room=plan.room, plan=plan.digest, round=ROUND, step=step.name, nonce=NONCE, state=plan.digest, attempt=1
    )
    signing = {party: Ed25519PrivateKey.generate() for party in parties}
    private = {party: X25519PrivateKey.generate() for party in parties}
    roster = {party: masking.offer(private[party], signing[party], party, occasion) for party in parties}
    words = {}
    for party, people in parties.items():
        found = tally(step.statistic, people, lambda batch: step.contribute(batch, earlier))
        assert found.over_bound == 0, f"{step.name}: a row is over its bound"
        given: dict[str, Any] = {"party": party, "signing": signing[party], "private": private[party], "roster": roster}
        sealed = share.build(found.total, mechanism, occasion, **given)
        words[party] = np.frombuffer(sealed.payload, dtype="<u8").astype(np.uint64)
    return noised_sum(words)
