"""No row influences anything but the sum: customers far out, one after the other, in one party's table.

For every step of every question, with the noise held fixed:

(a) the party's sum moves by that customer's own bounded row, and by nothing else
(b) a party without the customer, whose noise happens to be larger by that row, sends the same bytes, logs the same and
    warns of the same; so everything that is released after it is the same too: it follows from the noised sum alone
(c) no centre, mean or corner that is released is where some customer is
"""

from __future__ import annotations

import csv
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coordinator.fits import state_after
from party_node import share
from party_node.contribution import contribute
from party_node.features import people, window_of
from party_node.records import Table, take_snapshot
from party_node.store import Dataset
from protocols import masking, release
from protocols.encoding import canonical, digest
from protocols.plan import Mechanism, Plan
from protocols.questions import segments
from protocols.questions.segments.states import FIXED, Reals
from protocols.statistic import Integers, Step

PARTIES = ("a", "b", "c")
COLUMNS = ("customer", "basket", "bought_on", "paid", "discount", "tier")
MONEY = {"type": "money", "low": -10_000, "high": 10_000}
KINDS = {"customer": {"type": "id"}, "basket": {"type": "id"}, "bought_on": {"type": "date"}}
TIER = {"type": "category", "values": ["gold", "other"]}
FEATURES = [
    {"name": "recency_days", "transform": "log1p", "low": 0, "high": 365},
    {"name": "spend_cents", "transform": "identity", "low": 0, "high": 50_000},
    {"name": "mean_basket_cents", "transform": "log1p", "low": 100, "high": 20_000},
    {"name": "value_12m_cents", "transform": "log1p", "low": 0, "high": 200_000},
]
ITEMS = [
    {"feature": "recency_days", "cuts": [30, 90]},
    {"feature": "baskets", "cuts": [2, 4]},
    {"feature": "spend_cents", "cuts": [-(2**40), 9000, 2**40]},
    {"feature": "alive_ppm", "cuts": [500_000]},
    {"feature": "share_gold_ppm", "cuts": [1]},
]
RFM = {
    "kind": "rfm", "rho": {"cuts": 6_000_000, "cohorts": 12_000_000}, "recency_days": [8, 32, 92, 184],
    "frequency_baskets": [2, 4, 7, 12], "monetary_units": [8, 21, 57, 155, 422], "bargain_baskets": 4,
    "bargain_share_percent": 60,
}  # fmt: skip
STEPS = ("moments", "covariance", "coarse", "fine", "over", "lloyd", "profile", "stability")
SEGMENTS = {"kind": "segments", "features": FEATURES, "lloyd_rounds": 2, "coarse_cells": 64, "fine_cells": 256}
CLASSES = {"kind": "classes", "rho": {"patterns": 50_000_000}, "items": ITEMS, "classes": {"least": 2, "most": 3}}
OVERLAP = {"kind": "overlap", "rho": {"sizes": 4_000_000, "pairs": 24_000_000}, "lists": {"by": "segments"}}
FIXED_NUMBER = {**SEGMENTS, "clusters": 3, "rho": dict.fromkeys(STEPS[:-1], 50_000_000)}
A_RANGE = {**SEGMENTS, "clusters": {"least": 2, "most": 4}, "rho": dict.fromkeys(STEPS, 50_000_000)}


def plan_of(*questions: dict[str, Any]) -> Plan:
    document = {
        "type": "plan@v1", "room": "r", "name": "n", "purpose": "canaries", "parties": [*PARTIES],
        "recipients": [*PARTIES], "collusion": 2, "quorum": 3, "deadline_s": 60, "answer_after_s": 1,
        "valid_until": "2031-01-01", "delta": "0.000001", "people_cap": 5000, "rho": 10**9,
        "blocks": {"year": {"first": "2017-01-01", "last": "2017-12-31"}},
        "features": {
            "as_of": "2018-01-02", "discount_depth_percent": 15,
            "bg_nbd": {"r": "1.104", "alpha": "11.84", "a": "0.165", "b": "142"},
            "gamma_gamma": {"p": "0.614", "q": "2.202", "v": "40.8"},
        },
        "people": {"column": "customer", "key": "id"},
        "table": {"name": "t", "columns": {**KINDS, "paid": MONEY, "discount": MONEY, "tier": TIER}},
        "questions": [*questions],
    }  # fmt: skip
    return Plan.from_bytes(canonical(document))


PLANS = {
    "all": plan_of(RFM, FIXED_NUMBER, CLASSES, OVERLAP),
    "a range": plan_of(A_RANGE, {**OVERLAP, "lists": {"by": "column", "column": "tier"}}),
}

# -- customers ---------------------------------------------------------------------------------------------------------

LEAST, MOST = -(2**63), 2**63 - 1
Row = tuple[str, ...]
DAY = "2017-05-06"


def one(who: str, paid: object = "5", discount: object = "0", day: str = DAY, tier: str = "gold") -> list[Row]:
    return [(who, f"{who}-1", day, str(paid), str(discount), tier)]


# As a file says it, and so as `register` reads it; those named `cents` are put into the snapshot behind its back, since
# no column may hold so much.
CANARIES: dict[str, list[Row]] = {
    "all that a column may hold": one("most", 10_000, 10_000, "2017-12-31"),
    "the least that it may": one("least", -10_000, -10_000, "2017-01-01"),
    "minus zero": one("zero", "-0.0", "-0.0"),
    "1e308": one("huge", "1e308"),
    "not a number": one("nan", "NaN"),
    "infinite": one("infinite", 5, "-inf"),
    "no such day": one("no-day", day="2017-02-30"),
    "a category that is none": one("tier", tier="Gotham"),
    "no category": one("no-tier", tier=""),
    "a thousand baskets": [("many", f"many-{i}", "2017-03-04", "10000", "0", "gold") for i in range(1000)],
    "first of all": one("!", 10_000),
    "last of all": one("\U0010ffff", 10_000),
    "the most of 64 bits": one("cents 1", MOST, MOST),
    "the least of 64 bits": one("cents 2", LEAST, LEAST),
    "most paid, least discount": one("cents 3", MOST, LEAST),
    "what no float can hold": one("cents 4", 2**53 + 1, -(2**53) - 1),
}


def ordinary(seed: int) -> list[Row]:
    draw = np.random.default_rng(seed)
    rows: list[Row] = []
    for i in range(250):
        many, level = int(draw.integers(1, 9)), draw.choice([800, 6000])
        for j in range(many):
            day = np.datetime64("2017-01-01") + int(draw.integers(0, 365))
            paid, tier = f"{draw.integers(100, level) / 100:.2f}", draw.choice(["gold", "plain"])
            rows.append((f"c{seed}-{i}", f"b{i}-{j}", str(day), paid, "0", str(tier)))
    return rows


@dataclass(frozen=True)
class Held:
    """One party's data."""

    dataset: Dataset
    state: Path


def held(rows: list[Row], folder: Path) -> Held:
    """Rows as a file and its snapshot, in which amounts in cents are as they stand here."""
    folder.mkdir()
    cents = {row[0]: row[3:5] for row in rows if row[0].startswith("cents")}
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows(
            [COLUMNS, *((*row[:3], "1", "0", row[5]) if row[0] in cents else row for row in rows)]
        )
    table = Table((folder / "rows.csv",), {name: name for name in COLUMNS})
    plan, snapshot = PLANS["all"], folder / "s.parquet"
    take_snapshot(table, plan.table, snapshot, plan.people)
    with duckdb.connect() as con:
        con.execute(f"CREATE TABLE rows AS FROM read_parquet('{snapshot}')")
        for who, amounts in cents.items():
            con.execute("UPDATE rows SET paid = ?, discount = ? WHERE customer = ?", [*map(int, amounts), who])
        snapshot.chmod(0o600)
        con.execute(f"COPY rows TO '{snapshot}' (FORMAT parquet)")
    found = digest(snapshot.read_bytes())
    return Held(Dataset("0" * 32, "1" * 64, "s.parquet", found, "2" * 64, ("year",), 5000), folder)


# -- a round -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Left:
    """A party's exact sum, which stays there; its log lines and warnings; what its operator is told."""

    total: Integers
    said: list[str]
    fault: str | None


@dataclass
class World:
    """A round of all steps that are sums over people, with noise of a fixed seed. left: of party `a`, as `words`."""

    plan: Plan
    data: Mapping[str, Held]
    more: Mapping[str, Integers] = field(default_factory=dict)  # step → what a's noise has beside
    left: dict[str, Left] = field(default_factory=dict)
    words: dict[str, bytes] = field(default_factory=dict)
    bodies: dict[str, bytes] = field(default_factory=dict)
    released: dict[str, Any] = field(default_factory=dict)

    def run(self) -> World:
        for number, (step, mechanism) in enumerate(steps_of(self.plan)):
            noised = self._added(number, step, mechanism)
            noise = step.noise(len(PARTIES), mechanism.variance_micro)
            body = release.compose(
                self.plan, round_id="0" * 32, step=step.name, nonce="1" * 32, noised=noised, survivors=[*PARTIES],
                earlier=self.released, salt=bytes(32),
                state=state_after(self.plan, step.name, noised, noise, self.released),
            )  # fmt: skip
            self.bodies[step.name] = canonical(body.body())
            self.released[step.name] = body.released
        return self

    def _added(self, number: int, step: Step, mechanism: Mechanism) -> Integers:
        before = digest(b"".join(self.bodies.values()))
        occasion = masking.Occasion(
            room="r", plan=self.plan.digest, round="1" * 32, step=step.name, nonce="2" * 32, state=before, attempt=1
        )
        signing = {party: Ed25519PrivateKey.from_private_bytes(party.encode() * 32) for party in PARTIES}
        own = {party: masking.Secrets(party.encode() * 32, occasion, False) for party in PARTIES}
        group = {party: own[party].offer(signing[party], party) for party in PARTIES}
        sent, sigma = {}, (mechanism.variance_micro / 1e6) ** 0.5
        for at, party in enumerate(PARTIES):
            found = left_of(self.plan, step, self.released, self.data[party], party)
            noise = np.rint(np.random.default_rng([number, at]).normal(0, sigma, mechanism.slots)).astype(np.int64)
            if party == "a":
                self.left[step.name], noise = found, noise + self.more.get(step.name, 0)
            noised = found.total + noise
            sent[party] = share.build(noised, own[party], party=party, signing=signing[party], group=group).payload
        self.words[step.name] = sent["a"]
        return masking.add_up({p: np.frombuffer(w, dtype="<u8").astype(np.uint64) for p, w in sent.items()}).view(
            np.int64
        )


def steps_of(plan: Plan) -> list[tuple[Step, Mechanism]]:
    return [(step, mechanism) for step, mechanism in plan.steps() if step.statistic.tallied]


class Heard(logging.Handler):
    """All log lines of a party's, from the least."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def left_of(plan: Plan, step: Step, earlier: Mapping[str, Any], data: Held, party: str) -> Left:
    heard, log = Heard(), logging.getLogger("sumroom")
    level = log.level
    log.addHandler(heard)
    log.setLevel(logging.DEBUG)
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            found = contribute(plan, step, earlier, data.dataset, data.state, party)
    finally:
        log.removeHandler(heard)
        log.setLevel(level)
    return Left(found.total, [*heard.lines, *(str(one.message) for one in warned)], found.fault)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Held]:
    base = tmp_path_factory.mktemp("tables")
    return {party: held(ordinary(seed), base / party) for seed, party in enumerate(PARTIES)}


@pytest.fixture(scope="module", params=PLANS)
def base(request: pytest.FixtureRequest, tables: dict[str, Held]) -> World:
    """A round without any of them."""
    return World(PLANS[request.param], tables).run()


@pytest.mark.parametrize("name", CANARIES)
def test_a_customer_far_out_moves_each_sum_by_its_own_row_and_is_in_no_log(
    name: str, base: World, tmp_path: Path
) -> None:
    with_it, alone = held(ordinary(0) + CANARIES[name], tmp_path / "with"), held(CANARIES[name], tmp_path / "alone")
    for step, _ in steps_of(base.plan):
        found = left_of(base.plan, step, base.released, with_it, "a")
        own = left_of(base.plan, step, base.released, alone, "a")
        moved = sum(x * x for x in own.total.tolist())
        # Whose only row has no day is in no list; elsewhere such a customer counts as unusable.
        assert moved > 0 or (name, step.name) == ("no such day", "overlap-sizes")
        assert moved <= step.statistic.bound_sq, step.name
        assert (found.total - base.left[step.name].total).tolist() == own.total.tolist(), step.name
        assert found.said == own.said == base.left[step.name].said == [], step.name
        assert found.fault is own.fault is None, step.name


def test_they_are_as_far_out_as_they_say(tmp_path: Path) -> None:
    data = held([row for rows in CANARIES.values() for row in rows], tmp_path / "all")
    found = people(data.state / data.dataset.snapshot, window_of(PLANS["all"]))
    spend = dict(zip(found.customers.tolist(), found.columns["spend_cents"].tolist(), strict=True))
    assert {spend[f"cents {i}"] for i in (1, 2, 3)} == {LEAST, MOST}
    assert spend["cents 4"] == 2**53 + 1
    unusable = found.customers[found.columns["usable"] == 0].tolist()
    assert sorted(unusable) == ["huge", "infinite", "nan", "no-day"]
    assert found.customers[[0, -1]].tolist() == ["!", "\U0010ffff"]


def test_what_is_sent_and_released_is_what_a_party_without_them_and_with_other_noise_would_send(
    base: World, tmp_path: Path
) -> None:
    every = [row for rows in CANARIES.values() for row in rows]
    with_them = World(base.plan, {**base.data, "a": held(ordinary(0) + every, tmp_path / "with")}).run()
    alone, steps = held(every, tmp_path / "alone"), [step for step, _ in steps_of(base.plan)]
    own = {step.name: left_of(base.plan, step, with_them.released, alone, "a").total for step in steps}
    without = World(base.plan, base.data, more=own).run()
    assert with_them.words == without.words
    assert with_them.bodies == without.bodies
    assert list(with_them.bodies) == [step.name for step in steps]
    assert all(with_them.bodies[step.name] != base.bodies[step.name] for step in steps)  # they do count
    at = np.concatenate([places(base.plan, data) for data in (*with_them.data.values(), alone)])
    assert not where_somebody_is(released_places(with_them.released), at)


# -- (c) ---------------------------------------------------------------------------------------------------------------


def places(plan: Plan, data: Held) -> Reals:
    """(n, d) where the customers of a party are in the box."""
    question = next(q for q in plan.questions if isinstance(q, segments.Plan))
    return segments.scaled(question, people(data.state / data.dataset.snapshot, window_of(plan)).columns)


def released_places(released: Mapping[str, Any]) -> Iterator[list[int]]:
    """Every point of the box that a state names, in integers of 2⁻²⁴."""
    for one in released.values():
        state = one.get("state", {})
        yield from state.get("centres", [])
        if "mean" in state:
            yield state["mean"]


def where_somebody_is(points: Iterator[list[int]], at: Reals) -> list[list[int]]:
    taken = {tuple(row) for row in np.rint(at * FIXED).astype(np.int64).tolist()}
    return [point for point in points if tuple(point) in taken]


def test_a_centre_that_is_a_customer_would_be_seen(base: World) -> None:
    at, named = places(base.plan, base.data["b"]), [*released_places(base.released)]
    assert len(named) > 4 * 2 + 3 * 2
    assert not where_somebody_is(iter(named), at)
    named[3] = np.rint(at[7] * FIXED).astype(int).tolist()
    assert where_somebody_is(iter(named), at) == [named[3]]
