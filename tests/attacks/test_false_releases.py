"""Releases that do not follow from their sum, or that are not what the ledger says; and what comes after them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from protocols import messages
from protocols.questions.segments.states import FIXED
from protocols.release import Body
from tests.attacks import histories
from tests.attacks.siege import Siege
from tests.attacks.stages import DEADLINE_S, PARTIES, Stage, Stages
from tests.rounds import lab

Besiege = Callable[[Stage], Siege]


@pytest.fixture
def answered(besiege: Besiege, stages: Stages) -> Siege:
    """Everybody's share of the first step is with the coordinator; its commit is not written."""
    siege = besiege(stages.before(messages.Witness, nth=3))
    siege.rewind()
    return siege


def refused(siege: Siege, request: messages.Deliver, reason: str, *parties: str) -> None:
    with siege.nothing_changes():
        for party in parties or PARTIES:
            code, said = siege.say(party, request).refusal
            assert (code, reason in said) == ("ledger", True), said


def next_step(siege: Siege, *parties: str) -> None:
    """Nobody computes what would start from a release that nobody took."""
    asked = siege.prepare(siege.occasion())
    with siege.nothing_changes():
        for party in parties or PARTIES:
            code, said = siege.say(party, asked).refusal
            assert (code, "has not been delivered to this party" in said) == ("round", True), said


def figure_changed(body: Body) -> Body:
    """The first figure of the answer, and no other, one higher."""

    def bump(tree: Any) -> tuple[Any, bool]:
        if isinstance(tree, dict) and "value" in tree and not isinstance(tree["value"], dict):
            return {**tree, "value": _more(tree["value"])}, True
        if isinstance(tree, dict):
            for key, inner in tree.items():
                bent, done = bump(inner)
                if done:
                    return {**tree, key: bent}, True
        if isinstance(tree, list):
            for at, inner in enumerate(tree):
                bent, done = bump(inner)
                if done:
                    return [*tree[:at], bent, *tree[at + 1 :]], True
        return tree, False

    answer, done = bump(body.answer)
    assert done
    return body.model_copy(update={"answer": answer})


def _more(value: Any) -> Any:
    return f"{value}1" if isinstance(value, str) else value + 1


def test_a_release_whose_figures_do_not_follow_from_its_sum(answered: Siege, computed: list[str]) -> None:
    request = histories.published(answered, answered.occasion(), figure_changed)
    refused(answered, request, "a released figure does not follow from the released noised sum")
    next_step(answered)
    assert computed == []


@pytest.mark.parametrize(
    ("bend", "reason"),
    [
        ({"charge_record": 1}, "does not follow"),
        ({"recipients": ["alpha"]}, "its recipients is not what the ledger says"),
        ({"noised": [1, 2, 3]}, "the release has 3 slots"),
        ({"state": {"centres": []}}, "a state is there and should not be"),
        ({"nonce": "0" * 32}, "its nonce is not what the ledger says"),
    ],
    ids=["a lower charge", "other recipients", "other slots", "a state", "another nonce"],
)
def test_a_release_that_says_something_else_than_its_plan_and_ledger(
    answered: Siege, bend: dict[str, Any], reason: str, computed: list[str]
) -> None:
    request = histories.published(answered, answered.occasion(), lambda body: body.model_copy(update=bend))
    refused(answered, request, reason)
    next_step(answered)
    assert computed == []


def test_a_release_that_counts_fewer_shares_of_noise_than_there_are(answered: Siege) -> None:
    """Its commit names three survivors, its figures reckon with one: every interval is too narrow."""
    _, _, narrow = histories.committed(answered, answered.occasion(), survivors=["alpha"])
    request = histories.published(answered, answered.occasion(), lambda _: narrow)
    refused(answered, request, "its survivors is not what the ledger says")
    next_step(answered)


def test_a_release_that_differs_between_parties(answered: Siege, computed: list[str]) -> None:
    """One is committed, and beta gets another: signed, with the true one's proof, and refused."""
    siege, occasion = answered, answered.occasion()
    true = histories.published(siege, occasion, lambda body: body)
    _, _, other = histories.committed(siege, occasion, seed=1)
    seq = siege.ledger.book.size - 1
    refused(siege, histories.delivered(siege.ledger, other, seq), "the ledger has no commit of this release", "beta")
    for party in ("alpha", "gamma"):
        assert isinstance(siege.say(party, true).reply, messages.Received)
    next_step(siege, "beta")
    assert computed == []


def test_a_release_that_nobody_committed(answered: Siege) -> None:
    """It points to the reserve as its entry."""
    _, _, body = histories.committed(answered, answered.occasion())
    answered.ledger.countersign(answered.ask, PARTIES, 10.0)
    request = histories.delivered(answered.ledger, body, answered.ledger.book.size - 1)
    refused(answered, request, "the ledger has no commit of this release")


# -- segments ----------------------------------------------------------------------------------------------------------

FEATURES = [
    {"name": "recency_days", "transform": "log1p", "low": 0, "high": 365},
    {"name": "baskets", "transform": "log1p", "low": 1, "high": 20},
    {"name": "spend_cents", "transform": "log1p", "low": 100, "high": 50_000},
]
QUESTION = {
    "kind": "segments",
    "rho": dict.fromkeys(("moments", "covariance", "coarse", "fine", "over", "lloyd", "profile"), 50_000_000),
    "features": FEATURES,
    "clusters": 3,
    "lloyd_rounds": 1,
    "coarse_cells": 64,
    "fine_cells": 64,
}
SEGMENTS = lab.plan(questions=[QUESTION], deadline_s=DEADLINE_S)


def moved(state: dict[str, Any], far: int) -> dict[str, Any]:
    """The same state, its first centre at `far` along each feature."""
    return {**state, "centres": [[far] * 3, *state["centres"][1:]]}


@pytest.mark.parametrize("far", [FIXED + 1, -(2**52)], ids=["just outside", "far outside"])
def test_centroids_outside_the_box(besiege: Besiege, stages: Stages, far: int, computed: list[str]) -> None:
    """Committed, cosigned, signed, and refused by every node; nobody moves a customer towards such a centre."""
    # The fourth step's sum is out; its release, with the centres that the fifth starts from, is not committed yet.
    siege = besiege(stages.before(messages.Witness, nth=6, plan=SEGMENTS))
    computed.clear()  # what the honest coordinator asked for until here
    (round_,) = siege.ledger.book.accounts.rounds.values()
    commit = round_.commits[-1]
    assert commit.step == "seg-fine"
    body = histories.stored(siege, commit)
    assert body.state is not None
    bent = body.model_copy(update={"state": {**body.state, "centres": [[far] * 3, *body.state["centres"][1:]]}})
    entry = {name: value for name, value in commit.body().items() if name not in ("seq", "time")}
    ledger = siege.rewind()
    seq = ledger.append([{**entry, "digest": bent.digest}])
    ledger.countersign(siege.ask, PARTIES, 10.0)
    refused(siege, histories.delivered(ledger, bent, seq), "a state that lies outside the public box")
    next_step(siege)
    assert computed == []
