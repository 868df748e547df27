"""In which list each person is, read as it is used: against the same counted row by row."""

from __future__ import annotations

from pathlib import Path

import pytest

from party_node import membership
from party_node.config import Config
from party_node.membership import NOWHERE, Own
from party_node.store import Store
from protocols.errors import IntegrityError
from protocols.plan import Plan
from tests.overlap import meeting_lab
from tests.rounds import lab

PARTY = "alpha"
COLUMNS = {**meeting_lab.COLUMNS, "mail": {"type": "email"}}
CHANGES = meeting_lab.CHANGES | {
    "table": {"name": "sales", "columns": COLUMNS},
    "people": {"column": "mail", "key": "email"},
}
# customer, day, tier: in several lists, in none of the plan's days, in one list on other days, in a list unheard of
ROWS = [
    ("ann", "2017-03-01", "silver"), ("ann", "2017-03-02", "gold"), ("ann", "2017-03-03", "silver"),
    ("bob", "2016-12-31", "gold"), ("bob", "2017-01-01", "silver"),
    ("cleo", "2016-05-05", "gold"),
    ("dan", "2017-06-01", "what"), ("dan", "2017-06-02", "silver"),
    ("eve", "2017-12-31", "gold"),
    ("keyless", "2017-01-01", "gold"),
    *((f"f{i:03}", f"2017-02-{1 + i % 9:02}", ("gold", "silver", "other")[(i + j) % 3])
      for i in range(150) for j in range(i % 3)),
]  # fmt: skip


def csv() -> str:
    lines = (f"{who},b{i},{day},1.00,0.00,{tier},{mail(who)}" for i, (who, day, tier) in enumerate(ROWS))
    return "customer,basket,bought_on,paid,discount,tier,mail\n" + "\n".join(lines) + "\n"


def mail(who: str) -> str:
    return "" if who == "keyless" else f"{who}@example.com"


def expected() -> dict[str, int]:
    """Customer → list: of several the first one of the plan."""
    found: dict[str, int] = {}
    for who, day, tier in ROWS:
        if day.startswith("2017"):
            at = meeting_lab.TIERS.index(tier if tier in meeting_lab.TIERS else "other")
            found[who] = min(at, found.get(who, at))
    return found


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Own:
    base, plan = tmp_path_factory.mktemp("membership") / "room", lab.plan(**CHANGES)
    files = {party: csv() for party in lab.PARTIES}
    lab.make(base, csv=files, more='tier = "tier"\nmail = "mail"\n', **CHANGES)
    return of(base, plan)


def of(base: Path, plan: Plan) -> Own:
    state = Config.load(base / PARTY / "node.toml").path("state")
    store = Store(state)
    try:
        dataset = store.dataset()
    finally:
        store.close()
    assert dataset is not None
    return Own(plan, PARTY, {}, dataset, state)


@pytest.fixture(params=[1, 2, 7, 65536])
def rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many rows are read at a time: so a person's are in one portion or in several."""
    monkeypatch.setattr(membership, "ROWS", request.param)
    return int(request.param)


def test_everybody_with_a_key_is_in_one_list_once(rows: int, own: Own) -> None:
    found: dict[str, int] = {}
    for at, keys in own.keys_by_list():
        assert len(at) == len(keys)
        for place, key in zip(at.tolist(), keys, strict=True):
            assert key.decode() not in found
            found[key.decode()] = place
    assert found == {mail(who): at for who, at in expected().items() if who != "keyless"}
    assert len(found) > 100


def test_sizes_are_of_the_same_people_and_whoever_has_no_key_is_in_no_list(rows: int, own: Own) -> None:
    columns = own.listed()
    people = sorted(expected())
    places = [NOWHERE if who == "keyless" else expected()[who] for who in people]
    assert columns["list"].tolist() == places
    assert {len(column) for column in columns.values()} == {len(people)}
    assert set(columns["usable"].tolist()) == {1}
    assert set(columns["party"].tolist()) == {own.plan.parties.index(PARTY)}


def test_a_list_that_is_split_by_a_value_is_of_the_same_people(own: Own) -> None:
    """The other way to read them, in which all are held: without the value they are where they are when streamed."""
    held = own._by_column()
    assert held.customers.tolist() == sorted(expected())
    assert held.at.tolist() == own.listed()["list"].tolist()


def test_a_snapshot_in_another_order_is_no_snapshot() -> None:
    batch = membership._Batch(str.encode)
    batch.add("bob", "b", 0)
    with pytest.raises(IntegrityError, match="in no order"):
        batch.add("ann", "a", 0)
