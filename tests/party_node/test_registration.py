"""Registering refuses what it must, in words that help, and leaves no version, no file, no customer's value behind."""

from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from party_node import records
from tests.party_node.registering import (
    AMOUNT,
    BAD,
    BASKET,
    CANARY,
    HEADER,
    ID,
    WORDS,
    Edit,
    Said,
    people,
    plan,
    settings,
    state,
    versions,
    write,
)


@pytest.fixture
def home(lab: ModuleType, template: Path, tmp_path: Path) -> Path:
    """Alpha's folder, its data registered; its node does not run."""
    return Path(lab.copy(template, tmp_path / "trial")) / "alpha"


@pytest.fixture
def lines(lab: ModuleType) -> list[str]:
    """1,294 lines: a header, 1,292 rows of 200 people, and one of a marked customer at the end."""
    return [*lab.csv_of(lab.rows_of("alpha", people=200)).splitlines(), CANARY]


# -- what is refused ---------------------------------------------------------------------------------------------------


def column(number: int, value: str, *, every: int = 1) -> Edit:
    """Put `value` into a column of every so many-th row, the last one among them."""

    def edit(_: Path, lines: list[str]) -> list[str]:
        lines = list(lines)
        for i in range(len(lines) - 1, 0, -every):
            fields = lines[i].split(",")
            fields[number] = value
            lines[i] = ",".join(fields)
        return lines

    return edit


def mapped(old: str, new: str) -> Edit:
    def edit(home: Path, lines: list[str]) -> list[str]:
        settings(home, old, new)
        return lines

    return edit


def more(*rows: str) -> Edit:
    return lambda _, lines: [*lines, *rows]


REFUSALS: dict[str, tuple[Edit, int, str, str]] = {
    "a column that is not in the file": (
        lambda _, lines: [lines[0].replace("customer", "CARD_NO"), *lines[1:]],
        2,
        r"column 'customer' is mapped to 'customer'; file \S+sales.csv has no column 'customer'",
        "there is 'CARD_NO', 'basket', 'bought_on', 'paid', 'discount'",
    ),
    "a misspelt column": (
        mapped('paid = "paid"', 'paid = "piad"'),
        2,
        r"column 'paid' is mapped to 'piad'; file \S+sales.csv has no column 'piad'",
        "did you mean 'paid'? there is",
    ),
    "a file without a header": (
        lambda _, lines: [CANARY, *lines[1:]],
        2,
        r"file \S+sales.csv has none of the mapped columns: 'basket', 'bought_on', 'customer', 'discount', 'paid'",
        "is line 1 a header, and is it the right file?",
    ),
    "a file without a header, and a constant that stands on its first line": (
        lambda home, lines: [CANARY.replace("0.00", "0"), *mapped('= "discount"', '= "0"')(home, lines)[1:]],
        2,
        r"file \S+sales.csv has none of the mapped columns: 'basket', 'bought_on', 'customer', 'paid'",
        "is line 1 a header",
    ),
    "an expression that cannot be read": (
        mapped('paid = "paid"', "paid = \"replace(paid, ','\""),
        2,
        r".* is mapped to \"replace\(paid, ','\", neither a column of \S+ nor an expression: .* at or near .*",
        "table.columns.paid takes a column or what may stand after SELECT, as lower(x) or x - y; close each bracket",
    ),
    "an expression that makes no sense": (
        mapped('paid = "paid"', 'paid = "paid + INTERVAL 1 DAY"'),
        2,
        r"column 'paid' is mapped to 'paid \+ INTERVAL 1 DAY', which cannot be computed from \S+sales.csv",
        "write CAST(x AS DECIMAL(18,2)) where a number is meant",
    ),
    "a column that is not mapped": (
        mapped('paid = "paid"\n', ""),
        2,
        r"column 'paid' of schema sales is not mapped",
        'below [table.columns] in node.toml write: paid = "…"',
    ),
    "text in a column of numbers": (
        column(3, WORDS),
        1,
        r"column 'paid' cannot be read in 1,293 of 1,293 rows \(not a number in 1,293\)"
        r"(\n  \S+sales.csv line [234], column paid: not a number){3}",
        "set table.columns.paid in node.toml: map it to a column of numbers; replace(x, ',', '.') reads a",
    ),
    "text in most of a column of numbers, whatever else is bad": (
        lambda home, lines: [*column(3, WORDS)(home, column(2, "never", every=3)(home, lines)), *lines[1:1000]],
        1,
        r"column 'paid' cannot be read in 1,293 of 2,292 rows \(not a number in 1,293\)(\n  \S+ line [234], .*){3}",
        "set table.columns.paid",
    ),
    "dates written in another way": (
        column(2, "06.05.2017"),
        1,
        r"column 'bought_on' cannot be read in 1,293 of 1,293 rows \(not a date in 1,293\)(\n .*){3}",
        "strptime(x, '%d.%m.%Y') reads 31.12.2017",
    ),
    "amounts in another unit": (
        column(3, "424242"),
        1,
        r"column 'paid' cannot be read in 1,293 of 1,293 rows \(out of bounds in 1,293\)(\n .*){3}",
        "the plan's bounds are -10,000 to 10,000 in whole units; x / 100 reads hundredths",
    ),
    "more than one bad row in a thousand": (
        more(BAD, f'"{ID}\nof two lines",{BASKET},2017-13-45,1.00,', CANARY, BAD),
        1,
        r"3 of 1,297 rows cannot be used \(0.24 %\); the limit is 0.1 %, here 1 row"
        r"\n  \S+sales.csv line 1295, column paid: not a number"
        r"\n  \S+sales.csv line 1296, column bought_on: not a date"
        r"\n  \S+sales.csv line 1296, column discount: empty"
        r"\n  \S+sales.csv line 1299, column paid: not a number",
        "mend these rows in the files or leave them out, or set table.columns in node.toml right; then again: "
        "sumroom-party register --config node.toml --plan plan.toml",
    ),
    "one bad row in fewer than a thousand": (
        lambda _, lines: [*lines[:500], BAD],
        1,
        r"1 of 500 rows cannot be used \(0.2 %\); the limit is 0.1 %, here no row\n  \S+ line 501, column paid: .*",
        "mend these rows",
    ),
    "many bad rows": (
        column(3, WORDS, every=3),
        1,
        r"431 of 1,293 rows cannot be used \(33.34 %\); the limit is 0.1 %, here 1 row(\n  \S+csv line .*){20}\n  …",
        "mend these rows",
    ),
    "too few people": (
        people(99),
        1,
        r"the files hold 99 people, the least is 100: their own noise would drown them",
        "name more files in table.files; a smaller floor is table.least_people in node.toml",
    ),
    "one person": (people(1), 1, r"the files hold 1 person, the least is 100: .*", "table.files"),
    "fewer people than the party itself wants": (
        mapped("[table]\n", "[table]\nleast_people = 300\n"),
        1,
        r"the files hold 201 people, the least is 300: .*",
        "table.least_people",
    ),
    "more people than the plan's cap": (
        people(501),
        1,
        r"the files hold more people than the plan's people_cap of 500",
        "ask the operator for a plan with a larger public cap",
    ),
    "rows of nobody": (
        column(0, ""),
        2,
        r"no row has a customer, so there is nothing to take",
        "is table.columns.customer in node.toml the right column?",
    ),
    "a line with more fields than the header": (
        more(f"{CANARY},{WORDS}"),
        2,
        r"file \S+sales.csv, line 1295: 6 fields where the header has 5",
        "a csv file is UTF-8",
    ),
    "a file of another kind": (
        mapped("sales.csv", "plan.toml"),
        2,
        r"table.files: nothing matches 'plan.toml' below \S+",
        "set table.files in node.toml",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
@pytest.mark.parametrize("option", [(), ("--json",)], ids=["words", "json"])
def test_a_refusal_says_what_where_and_how_to_mend_it_and_changes_and_shows_nothing(
    home: Path,
    lines: list[str],
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    name: str,
    option: tuple[str, ...],
) -> None:
    caplog.set_level(logging.DEBUG)
    edit, status, message, hint = REFUSALS[name]
    write(home, edit(home, lines))
    assert ID in (home / "sales.csv").read_text() or name == "rows of nobody"
    before = state(home)
    said = Said(home, capsys, *option)
    assert (said.status, said.out) == (status, "")
    assert re.fullmatch(message, said.message), said.message
    assert hint in said.hint
    assert state(home) == before
    for mark in (ID, BASKET, WORDS, AMOUNT, "424242", "2017-13-45"):
        assert mark not in said.err + caplog.text


def test_a_party_that_never_registered_has_no_version_and_no_file_after_a_refusal(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(home / "state")
    write(home, [HEADER, CANARY])
    assert Said(home, capsys).status == 1
    assert versions(home) == []
    assert {path.name for path in (home / "state").iterdir()} == {"lease", "node.db"}


# -- one row of each customer ------------------------------------------------------------------------------------------


def test_a_second_row_of_a_person_is_refused_in_a_table_of_one_row_per_customer(
    home: Path, lab: ModuleType, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    plan(home, lab, one_row_per="customer")
    write(home, [*people(200)(home, [HEADER]), CANARY, CANARY.replace(ID, "p0")])
    before = state(home)
    said = Said(home, capsys, "--json")
    assert (said.status, said.out, state(home)) == (1, "", before)
    sales = home / "sales.csv"
    assert said.message.splitlines() == [
        "2 rows have in column 'customer' what an earlier row has; table 'sales' takes one row of each",
        f"  {sales} line 202, column customer: the same as {sales} line 201",
        f"  {sales} line 203, column customer: the same as {sales} line 2",
    ]
    assert said.hint.startswith("leave one row of each in the files (the plan's table says one_row_per = 'customer')")
    for mark in (ID, BASKET, AMOUNT):
        assert mark not in said.err + caplog.text


def test_one_second_row_is_said_in_the_singular_and_many_are_cut_off(
    home: Path, lab: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    plan(home, lab, one_row_per="customer")
    write(home, [*people(200)(home, [HEADER]), CANARY])
    assert Said(home, capsys).message.startswith("1 row has in column 'customer' what an earlier row has; ")
    write(home, [*people(200)(home, [HEADER]), *[CANARY] * 21])
    assert len(Said(home, capsys).message.splitlines()) == 1 + 20 + 1
    assert Said(home, capsys).message.endswith("\n  …")


def test_one_row_of_each_registers_and_other_tables_may_have_many(
    home: Path, lab: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    write(home, people(200)(home, [HEADER]))
    plan(home, lab, one_row_per="customer")
    assert Said(home, capsys).status == 0
    write(home, [*people(200)(home, [HEADER]), CANARY])
    plan(home, lab)
    assert Said(home, capsys).status == 0


def test_a_file_takes_a_gigabyte_of_memory_at_most_and_less_where_there_is_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is over that is beside the snapshot; DuckDB by itself takes 80 % of the machine."""
    settings = "SELECT parse_formatted_bytes(current_setting('memory_limit')), current_setting('threads')"
    for most, threads in ((records.MEMORY, records.THREADS), (256 << 20, 1)):
        monkeypatch.setattr(records, "MEMORY", most)
        monkeypatch.setattr(records, "THREADS", threads)
        with records._engine(tmp_path) as con:
            ((memory, workers),) = con.execute(settings).fetchall()
        assert 0.9 * most < memory <= most
        assert 1 <= workers <= threads
