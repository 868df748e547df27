"""A person's features come from that person's own rows and public constants, and from nothing else."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import hyp2f1

from party_node.features import People, Window, people
from party_node.records import Table, take_snapshot
from protocols.errors import IntegrityError, UsageError
from protocols.plan import ALWAYS, BgNbd, FeatureRules, GammaGamma
from protocols.schema import Block, Schema

ID, DAY, MONEY = {"type": "id"}, {"type": "date"}, {"type": "money", "low": -1000, "high": 1000}
COLUMNS: dict[str, Any] = {"customer": ID, "basket": ID, "bought_on": DAY, "paid": MONEY, "discount": MONEY}
COLUMNS |= {"kind": {"type": "category", "values": ["fresh", "frozen-drinks", "other"]}}
COLUMNS |= {"opened": {"type": "count", "high": 100}}
LINES_SCHEMA = Schema.model_validate({"name": "lines", "columns": COLUMNS})
SPRING = Window(
    (Block(first="2017-03-01", last="2017-03-31"), Block(first="2017-05-01", last="2017-05-31")),
    "2017-05-20",
    15,
    LINES_SCHEMA.shares(),
    LINES_SCHEMA.sums(),
    BgNbd(r="0.9", alpha="20", a="0.4", b="2.5"),
    GammaGamma(p="4", q="3.5", v="15"),
)
BASIC = ("recency_days", "baskets", "spend_cents", "discounted_baskets", "usable")
NAMES = FeatureRules(
    as_of=SPRING.as_of, discount_depth_percent=15, bg_nbd=SPRING.bg_nbd, gamma_gamma=SPRING.gamma_gamma
).names(LINES_SCHEMA)
LAST = 2**63 - 1
HELD = 2**53 - 1


@dataclass(frozen=True)
class Line:
    """One row of a snapshot."""

    customer: str
    basket: str | None
    day: dt.date | None
    paid: int | None
    discount: int | None
    kind: str = "other"
    opened: int | None = 0
    bad: bool = False


def line(customer: str, day: str, paid: int = 100, discount: int = 0, basket: str = "b") -> Line:
    return Line(customer, basket, dt.date.fromisoformat(day), paid, discount)


def ask(lines: Sequence[Line], window: Window = SPRING) -> dict[str, tuple[int, ...]]:
    """The BASIC features of everybody in these lines, by customer."""
    return {who: tuple(row[name] for name in BASIC) for who, row in ask_all(lines, window).items()}


def ask_all(lines: Sequence[Line], window: Window = SPRING) -> dict[str, dict[str, int]]:
    """All features of everybody in these lines, by customer."""
    with TemporaryDirectory() as folder, duckdb.connect() as con:
        con.execute(
            "CREATE TABLE t (customer VARCHAR, basket VARCHAR, bought_on DATE, paid BIGINT, discount BIGINT, "
            "kind VARCHAR, opened BIGINT, bad BOOL)"
        )
        values = ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?)"] * len(lines))
        if lines:
            con.execute(f"INSERT INTO t VALUES {values}", [value for one in lines for value in astuple(one)])
        con.table("t").write_parquet(f"{folder}/s.parquet")
        return by_customer(people(Path(folder) / "s.parquet", window))


def by_customer(found: People) -> dict[str, dict[str, int]]:
    return {
        str(customer): {name: int(column[i]) for name, column in found.columns.items()}
        for i, customer in enumerate(found.customers)
    }


def expected(mine: Sequence[Line], window: Window) -> dict[str, int] | None:
    """The features of one person, written down a second time from the definition, in Python's own integers."""
    days = [(dt.date.fromisoformat(b.first), dt.date.fromisoformat(b.last)) for b in window.blocks]
    as_of = dt.date.fromisoformat(window.as_of)
    seen = [x for x in mine if (x.bad if x.day is None else any(a <= x.day <= b for a, b in days))]
    if not seen:
        return None
    if any(x.bad or x.day is None or x.basket is None or x.paid is None or x.day > as_of for x in seen):
        return dict.fromkeys(NAMES, 0)
    baskets: dict[str | None, tuple[int, int]] = {}
    for x in seen:
        paid, off = baskets.get(x.basket, (0, 0))
        baskets[x.basket] = (paid + (x.paid or 0), off + (x.discount or 0))
    dates = sorted({x.day for x in seen if x.day})
    spend, saved = (sum(each[i] for each in baskets.values()) for i in (0, 1))
    tenure = (as_of - dates[0]).days
    mean = abs(spend) // len(baskets) * (1 if spend > 0 else -1)
    return {
        "recency_days": (as_of - dates[-1]).days,
        "baskets": len(baskets),
        "spend_cents": max(-LAST - 1, min(LAST, spend)),
        "discounted_baskets": sum(
            p + d > 0 and 100 * d > window.discount_depth_percent * (p + d) for p, d in baskets.values()
        ),
        "tenure_days": tenure,
        "mean_basket_cents": max(-HELD, min(HELD, mean)),
        "gap_days": (dates[-1] - dates[0]).days // (len(dates) - 1) if len(dates) > 1 else tenure,
        "promo_share_ppm": millionths(sum(x.paid or 0 for x in seen if (x.discount or 0) > 0), spend),
        "discount_depth_ppm": millionths(saved, spend + saved),
        "share_fresh_ppm": millionths(sum(x.paid or 0 for x in seen if x.kind == "fresh"), spend),
        "share_frozen-drinks_ppm": millionths(sum(x.paid or 0 for x in seen if x.kind == "frozen-drinks"), spend),
        "share_other_ppm": millionths(sum(x.paid or 0 for x in seen if x.kind == "other"), spend),
        "sum_opened": min(HELD, sum(x.opened or 0 for x in seen)),
        **future(len(dates), (dates[-1] - dates[0]).days, tenure, max(0, min(LAST, spend))),
        "usable": 1,
    }


def millionths(part: int, whole: int) -> int:
    return max(0, min(10**6, 10**6 * part // whole)) if whole > 0 else 0


def future(days: int, last: int, age: int, spend: int) -> dict[str, int]:
    """The models of SPRING as they are printed: r .9, alpha 20, a .4, b 2.5; p 4, q 3.5, v 15."""
    x = days - 1
    left = 0.4 / (2.5 + x - 1) * ((20 + age) / (20 + last)) ** (0.9 + x) if x else 0.0
    z = 365 / (20 + age + 365)
    unless_left = (1.9 + x) / -0.6 * (1 - (1 - z) ** (0.9 + x) * hyp2f1(0.9 + x, 2.5 + x, 1.9 + x, z))
    value = unless_left / (1 + left) * 4 * (1500 + spend) / (4 * days + 2.5)
    return {"alive_ppm": int(10**6 / (1 + left)), "value_12m_cents": int(min(HELD, value))}


AMOUNTS = st.integers(-300, 2000) | st.sampled_from([0, LAST, -LAST - 1])
DAYS = st.dates(dt.date(2017, 2, 25), dt.date(2017, 6, 3))
KINDS = st.sampled_from(["fresh", "frozen-drinks", "other"])
OPENED = st.integers(0, 9) | st.just(LAST)
LINES = st.lists(
    st.builds(
        Line,
        st.sampled_from(["", "anna", "bob", "Émile", "顧客", "'"]),
        st.sampled_from("xyz"),
        DAYS,
        AMOUNTS,
        AMOUNTS,
        KINDS,
        OPENED,
    )
    | st.builds(
        Line,
        st.sampled_from(["anna", "bob"]),
        st.none() | st.just("x"),
        st.none() | DAYS,
        st.none(),
        AMOUNTS,
        KINDS,
        st.none(),
        st.just(True),
    ),
    max_size=25,
)


def near(found: Mapping[str, int], exact: Mapping[str, int]) -> bool:
    """Equal, but for the last digit of what passed through floats."""
    floats = {"alive_ppm": 1.0, "value_12m_cents": 1 + exact["value_12m_cents"] * 1e-9}
    return list(found) == list(exact) and all(abs(found[k] - v) <= floats.get(k, 0) for k, v in exact.items())


@settings(max_examples=120, deadline=None)
@given(lines=LINES, depth=st.sampled_from([0, 15, 50, 100]))
def test_everybody_has_the_features_of_their_own_rows(lines: list[Line], depth: int) -> None:
    window = replace(SPRING, discount_depth_percent=depth)
    alone = {name: expected([x for x in lines if x.customer == name], window) for name in {x.customer for x in lines}}
    exact = {name: row for name, row in sorted(alone.items()) if row is not None}
    found = ask_all(lines, window)
    assert list(found) == list(exact)
    assert [who for who, row in exact.items() if not near(found[who], row)] == []


@settings(max_examples=60, deadline=None)
@given(lines=LINES, gone=st.sampled_from(["anna", "bob", "Émile"]))
def test_removing_a_person_changes_nobody_else(lines: list[Line], gone: str) -> None:
    before = ask_all(lines)
    before.pop(gone, None)
    assert ask_all([x for x in lines if x.customer != gone]) == before


TEXT = st.sampled_from(["anna", "bob", "eve", ""])
AMOUNT = st.sampled_from(["1", "2.50", "-3", "0.005", "", "x", "99999"])
ROWS = st.lists(
    st.tuples(
        TEXT,
        st.sampled_from(["b1", "b2", ""]),
        st.sampled_from(["2017-03-05", "2017-05-06", "?"]),
        AMOUNT,
        AMOUNT,
        st.sampled_from(["fresh", "FRESH", ""]),
        st.sampled_from(["0", "3", "x"]),
    ),
    min_size=1,
    max_size=12,
).filter(lambda rows: any(row[0] for row in rows))


@settings(max_examples=25, deadline=None)
@given(rows=ROWS, data=st.data())
def test_how_rows_are_ordered_and_split_over_files_changes_nothing(
    rows: list[tuple[str, ...]], data: st.DataObject
) -> None:
    turned = data.draw(st.permutations(rows))
    cut = data.draw(st.integers(0, len(rows)))
    with TemporaryDirectory() as folder:
        one = snapshot(Path(folder) / "one", rows)
        two = snapshot(Path(folder) / "two", turned[:cut], turned[cut:])
        assert one.read_bytes() == two.read_bytes()
        assert by_customer(people(one, SPRING)) == by_customer(people(two, SPRING))


def snapshot(folder: Path, *parts: Sequence[tuple[str, ...]]) -> Path:
    """Of CSV files, one for each part; a row that ends early goes on with nothing fresh and two e-mails opened."""
    folder.mkdir()
    names = tuple(LINES_SCHEMA.columns)
    files = tuple(folder / f"{i}.csv" for i in range(len(parts)))
    for file, rows in zip(files, parts, strict=True):
        lines = (names, *((*row, "socks", "2")[:7] for row in rows))
        file.write_text("\n".join(",".join(row) for row in lines) + "\n")
    return take_snapshot(Table(files, {name: name for name in names}), LINES_SCHEMA, folder / "s.parquet").path


def test_a_worked_example_of_every_feature_but_the_models() -> None:
    lines = [
        replace(line("anna", "2017-03-01", 600, 0, "x"), kind="fresh", opened=2),
        replace(line("anna", "2017-03-01", 300, 100, "x"), kind="other"),
        replace(line("anna", "2017-03-20", -200, 0, "y"), kind="fresh", opened=1),
        replace(line("anna", "2017-05-10", 50, 50, "z"), kind="frozen-drinks"),
    ]
    found = ask_all(lines)["anna"]
    assert {name: value for name, value in found.items() if name not in ("alive_ppm", "value_12m_cents")} == {
        "recency_days": 10,
        "baskets": 3,
        "spend_cents": 750,
        "discounted_baskets": 1,
        "tenure_days": 80,
        "mean_basket_cents": 250,
        "gap_days": 35,
        "promo_share_ppm": 466_666,
        "discount_depth_ppm": 166_666,
        "share_fresh_ppm": 533_333,
        "share_frozen-drinks_ppm": 66_666,
        "share_other_ppm": 400_000,
        "sum_opened": 3,
        "usable": 1,
    }


def test_refunds_leave_a_share_between_nothing_and_everything() -> None:
    bought, returned = line("anna", "2017-03-01", 500, 100), line("anna", "2017-03-02", -100, -900)
    found = ask_all([replace(bought, kind="fresh"), returned])["anna"]
    assert (found["promo_share_ppm"], found["discount_depth_ppm"]) == (1_000_000, 0)
    assert (found["share_fresh_ppm"], found["share_other_ppm"]) == (1_000_000, 0)
    assert ask_all([returned])["anna"]["share_other_ppm"] == 0


def test_what_a_plan_does_not_give_is_not_computed() -> None:
    plain = Window(SPRING.blocks, SPRING.as_of, 15)
    assert tuple(ask_all([line("anna", "2017-03-01")], plain)["anna"]) == (*ALWAYS, "usable")
    half = ask_all([line("anna", "2017-03-01")], replace(SPRING, gamma_gamma=None))["anna"]
    assert tuple(half) == tuple(name for name in NAMES if name != "value_12m_cents")


def test_rows_outside_the_blocks_do_not_exist() -> None:
    lines = [line("anna", "2017-03-31"), line("anna", "2017-04-01", basket="c"), line("bob", "2017-04-30")]
    assert ask(lines) == {"anna": (50, 1, 100, 0, 1)}


def test_a_row_after_as_of_spoils_its_person_only_inside_a_block() -> None:
    inside = [line("anna", "2017-05-20"), line("anna", "2017-05-21")]
    outside = [line("bob", "2017-05-20"), line("bob", "2017-06-01")]
    assert ask(inside + outside) == {"anna": (0, 0, 0, 0, 0), "bob": (0, 1, 100, 0, 1)}


def test_a_bad_row_without_a_day_counts_in_every_block_and_one_with_a_day_in_its_own() -> None:
    no_day = Line("anna", "b", None, 100, 0, bad=True)
    elsewhere = Line("bob", "b", dt.date(2017, 4, 15), None, 0, bad=True)
    there = Line("eve", "b", dt.date(2017, 3, 15), None, 0, bad=True)
    good = [line(name, "2017-03-02") for name in ("bob", "eve")]
    assert ask([no_day, elsewhere, there, *good]) == {"anna": (0,) * 5, "bob": (79, 1, 100, 0, 1), "eve": (0,) * 5}


def test_a_day_before_1970_is_unusable_even_when_a_block_holds_it() -> None:
    window = replace(SPRING, blocks=(Block(first="1969-01-01", last="1971-01-01"),), as_of="1971-01-01")
    assert ask([line("anna", "1969-12-31"), line("bob", "1970-01-01")], window) == {
        "anna": (0,) * 5,
        "bob": (365, 1, 100, 0, 1),
    }


@pytest.mark.parametrize(
    ("paid", "discount", "counts"),
    [(85, 15, 0), (84, 16, 1), (0, 0, 0), (0, 1, 1), (-10, 5, 0), (-5, 5, 0), (100, -20, 0), (850000, 150001, 1)],
)
def test_a_basket_is_discounted_above_the_depth_of_its_price_before_discount(
    paid: int, discount: int, counts: int
) -> None:
    assert ask([line("anna", "2017-05-01", paid, discount)])["anna"][3] == counts


def test_a_discount_is_judged_on_the_basket_and_not_on_the_line() -> None:
    lines = [line("anna", "2017-05-01", 50, 50), line("anna", "2017-05-01", 900, 0), line("bob", "2017-05-01", 50, 50)]
    found = ask(lines)
    assert (found["anna"][3], found["bob"][3]) == (0, 1)


def test_a_basket_whose_rows_bear_two_days_is_one_basket() -> None:
    lines = [line("anna", "2017-03-31", 50, 50), line("anna", "2017-05-01", 900, 0)]
    assert ask(lines) == {"anna": (19, 1, 950, 0, 1)}


def test_baskets_of_one_number_at_two_customers_are_two_baskets() -> None:
    assert [row[1] for row in ask([line("anna", "2017-05-01"), line("bob", "2017-05-01")]).values()] == [1, 1]


@pytest.mark.parametrize("sign", [1, -1])
def test_a_million_rows_at_the_bound_sum_exactly_and_hostile_amounts_are_held(tmp_path: Path, sign: int) -> None:
    amount = sign * 10**11
    with duckdb.connect() as con:
        con.sql(
            "SELECT 'anna' AS customer, 'b' AS basket, DATE '2017-05-01' AS bought_on, "
            f"{amount}::BIGINT AS paid, {amount}::BIGINT AS discount, 'fresh' AS kind, {LAST}::BIGINT AS opened, "
            "false AS bad FROM range(1000000)"
        ).write_parquet(str(tmp_path / "s.parquet"))
    found = by_customer(people(tmp_path / "s.parquet", SPRING))["anna"]
    assert tuple(found[name] for name in BASIC) == (19, 1, amount * 10**6, sign > 0, 1)
    assert found["mean_basket_cents"] == sign * HELD
    assert found["sum_opened"] == HELD
    assert found["share_fresh_ppm"] == found["promo_share_ppm"] == (sign > 0) * 10**6
    assert found["discount_depth_ppm"] == (sign > 0) * 500_000
    assert 0 <= found["value_12m_cents"] <= HELD
    end = LAST if sign > 0 else -LAST - 1
    assert ask([line("anna", "2017-05-01", end)] * 3)["anna"][2] == end


def test_people_come_sorted_as_int64_and_cannot_be_written(tmp_path: Path) -> None:
    found = people(
        snapshot(tmp_path / "s", [("bob", "b", "2017-05-06", "1", "0"), ("anna", "b", "2017-05-06", "1", "0")]), SPRING
    )
    assert found.customers.tolist() == ["anna", "bob"]
    assert tuple(found.columns) == NAMES
    assert {column.dtype for column in found.columns.values()} == {np.dtype(np.int64)}
    with pytest.raises(ValueError, match="read-only"):
        found.columns["usable"][0] = 0


def test_nobody_in_the_window_is_an_empty_answer_and_not_an_error(tmp_path: Path) -> None:
    found = people(snapshot(tmp_path / "s", [("anna", "b", "2017-04-06", "1", "0")]), SPRING)
    assert found.customers.shape == found.columns["usable"].shape == (0,)


def test_a_file_named_like_a_pattern_is_read_itself(tmp_path: Path) -> None:
    taken = snapshot(tmp_path / "s", [("anna", "b", "2017-05-06", "1", "0")])
    other = snapshot(tmp_path / "t", [("bob", "b", "2017-05-06", "1", "0")])
    taken.rename(tmp_path / "x[1].parquet")
    other.rename(tmp_path / "x1.parquet")
    assert list(by_customer(people(tmp_path / "x[1].parquet", SPRING))) == ["anna"]


def test_what_is_no_snapshot_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="cannot be read"):
        people(tmp_path / "none.parquet", SPRING)
    (tmp_path / "text.parquet").write_text("customer,paid")
    with pytest.raises(IntegrityError, match="cannot be read"):
        people(tmp_path / "text.parquet", SPRING)
    with duckdb.connect() as con:
        con.sql("SELECT 'anna' AS customer, false AS bad").write_parquet(str(tmp_path / "few.parquet"))
    with pytest.raises(UsageError, match="lacks a column"):
        people(tmp_path / "few.parquet", SPRING)


def test_a_window_of_nonsense_is_refused() -> None:
    with pytest.raises(UsageError, match="without blocks"):
        Window((), "2017-05-20", 15)
    with pytest.raises(UsageError, match="percent"):
        Window(SPRING.blocks, "2017-05-20", 101)
    with pytest.raises(UsageError, match="not a day"):
        Window(SPRING.blocks, "2017-02-30", 15)
