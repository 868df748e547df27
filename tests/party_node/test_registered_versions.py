"""What registering keeps: a new version each time; nothing of what was cut short."""

from __future__ import annotations

import errno
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from party_node import registration
from party_node.records import check_snapshot
from party_node.store import Dataset, Store
from tests.party_node.registering import (
    BAD,
    CANARY,
    HEADER,
    ID,
    WORDS,
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


# -- what is registered all the same -----------------------------------------------------------------------------------


def test_one_bad_row_in_a_thousand_is_registered_and_listed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(home, [*people(999)(home, [HEADER]), BAD])
    agreed = home.parent / "plan.toml"
    agreed.write_text(agreed.read_text().replace("people_cap = 500", "people_cap = 1000"))
    said = Said(home, capsys)
    assert said.status == 0
    assert "1,000 rows of 999 people" in said.out
    assert (
        f"1 row is unusable, and each one's customer with it:\n  {home / 'sales.csv'} line 1001, column paid: "
        in said.out
    )
    assert WORDS not in said.out + said.err
    write(home, [*people(998)(home, [HEADER]), BAD])
    assert Said(home, capsys).message.startswith("1 of 999 rows cannot be used (0.11 %)")


@pytest.mark.parametrize(("floor", "count"), [("", 100), ("least_people = 1\n", 1)])
def test_as_many_people_as_the_floor_asks_for_are_registered(
    home: Path, capsys: pytest.CaptureFixture[str], floor: str, count: int
) -> None:
    settings(home, "[table]\n", f"[table]\n{floor}")
    write(home, people(count)(home, [HEADER]))
    assert Said(home, capsys).status == 0
    assert len(versions(home)) == 2


@pytest.mark.parametrize(
    ("first", "last", "said"),
    [
        ("2017-01-02", "2017-12-31", "the table spans 364 days, 2017-01-02 to 2017-12-31, under 12 months: "),
        ("2017-05-06", "2017-05-06", "the table spans 1 day, 2017-05-06 to 2017-05-06, under 12 months: "),
        ("2017-01-01", "2017-12-31", None),
        ("2015-01-01", "2017-12-31", None),
    ],
)
def test_under_twelve_months_of_history_is_a_warning_and_the_data_are_registered(
    home: Path, capsys: pytest.CaptureFixture[str], first: str, last: str, said: str | None
) -> None:
    days = (first, last)
    write(home, [HEADER, *(f"p{i},b{i},{days[i % 2]},1.00,0.00" for i in range(200))])
    plain = Said(home, capsys)
    as_json = Said(home, capsys, "--json")
    assert (plain.status, as_json.status, len(versions(home))) == (0, 0, 3)
    warnings = json.loads(as_json.out)["warnings"]
    assert plain.err == as_json.err == "".join(f"warning: {one}\n" for one in warnings)
    assert "warning" not in plain.out
    assert [one.startswith(said or "?") for one in warnings] == ([] if said is None else [True])


def test_a_table_without_days_has_no_history_to_warn_of(
    home: Path, lab: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    plan(home, lab, columns={"customer": {"type": "id"}})
    text = (home / "node.toml").read_text()
    (home / "node.toml").write_text(text[: text.index("basket = ")])
    write(home, ["customer", *(f"p{i}" for i in range(100))])
    said = Said(home, capsys)
    assert (said.status, said.err) == (0, "")
    assert said.out.endswith(": 100 rows of 100 people\n")


def test_a_column_that_this_plan_does_not_ask_for_may_be_mapped_for_another(
    home: Path, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    write(home, lines)
    settings(home, "basket = ", 'shelf = "no such column"\nbasket = ')
    assert Said(home, capsys).status == 0


# -- what lies inside the plan's period --------------------------------------------------------------------------------


def days(*counts: tuple[str, int]) -> list[str]:
    """So many people with one row each, day by day."""
    return [HEADER, *(f"p{day}-{i},b,{day},1.00,0.00" for day, count in counts for i in range(count))]


def test_rows_and_people_inside_the_plans_blocks_are_counted_to_the_day(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(home, days(("2016-12-31", 5), ("2017-01-01", 60), ("2017-12-31", 70), ("2018-01-01", 7)))
    said = Said(home, capsys)
    assert said.out.splitlines()[1] == "year: 130 of 142 rows, 130 people"
    assert "inside the plan's period" not in said.err
    assert json.loads(Said(home, capsys, "--json").out)["inside"] == {"year": {"rows": 130, "people": 130}}


def test_under_half_of_the_rows_inside_the_period_is_a_warning(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for outside, warned in ((120, False), (121, True)):
        write(home, days(("2016-01-01", outside), ("2017-01-01", 120)))
        said = Said(home, capsys)
        assert said.status == 0
        text = "warning: 120 of 241 rows lie inside the plan's period: the others count for nothing in it\n"
        assert (text in said.err) == warned
        assert ("inside the plan's period" in said.err) == warned


def test_too_few_people_inside_the_period_are_refused_and_nothing_is_kept(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(home, days(("2016-12-31", 200), ("2017-01-01", 99), ("2018-01-01", 200)))
    before = state(home)
    said = Said(home, capsys)
    assert (said.status, said.out, state(home)) == (1, "", before)
    assert said.message == (
        "99 people with a row inside the plan's period (2017-01-01 to 2017-12-31), the least is 100"
    )
    assert said.hint.startswith("name files of that period in table.files, or ask the operator for a plan of another")
    settings(home, "[table]\n", "[table]\nleast_people = 99\n")
    assert Said(home, capsys).status == 0


def test_the_least_is_asked_of_all_blocks_of_the_plan_together(
    home: Path, lab: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    both = {"next": {"first": "2018-01-01", "last": "2018-12-31"}, "year": lab.YEAR}
    (home.parent / "plan.toml").write_text(
        lab.plan_toml(lab.plan(blocks=both, features={"as_of": "2019-01-01", "discount_depth_percent": 15}))
    )
    write(home, days(("2017-12-31", 60), ("2018-01-01", 60)))
    said = Said(home, capsys)
    assert said.status == 0
    assert said.out.splitlines()[1:3] == ["next: 60 of 120 rows, 60 people", "year: 60 of 120 rows, 60 people"]


# -- the same again ----------------------------------------------------------------------------------------------------


def test_the_same_rows_again_are_a_new_version_in_the_same_words(
    home: Path, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Or the ledger, where versions are declared, would show whether a party's data have changed."""
    first: list[str] = []
    for rows in (lines, lines, [lines[0], *reversed(lines[1:])], lines[:-1], lines):
        write(home, rows)
        said = Said(home, capsys)
        assert (said.status, said.out[:16]) == (0, f"dataset {versions(home)[-1][:8]}")
        first = first or said.out.splitlines()
        assert (said.out.splitlines()[1:] == first[1:]) == (len(rows) == len(lines))
    found = json.loads(Said(home, capsys, "--json").out)
    assert found["version"] == versions(home)[-1]
    kept = {path.name for path in (home / "state").glob("snapshot-*")}
    assert kept == {f"snapshot-{version}.parquet" for version in versions(home)}
    assert len(kept) == 7


def test_the_same_rows_for_another_cap_or_table_are_a_new_version(
    home: Path, lab: ModuleType, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    write(home, lines)
    assert Said(home, capsys).status == 0
    text = (home.parent / "plan.toml").read_text()
    (home.parent / "plan.toml").write_text(text.replace("people_cap = 500", "people_cap = 501"))
    assert Said(home, capsys).out.startswith("dataset ")
    plan(home, lab, name="baskets")
    assert Said(home, capsys).out.startswith("dataset ")
    assert len(versions(home)) == 4


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"torn")], ids=["lost", "damaged"])
def test_a_lost_or_damaged_snapshot_is_left_as_it_is_and_the_new_version_has_a_file_of_its_own(
    home: Path, lines: list[str], capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], object]
) -> None:
    write(home, lines)
    assert Said(home, capsys).status == 0
    spoil(home / "state" / f"snapshot-{versions(home)[-1]}.parquet")
    assert Said(home, capsys).status == 0
    with closing(Store(home / "state")) as store:
        latest = store.dataset()
    assert latest is not None
    assert latest.version == versions(home)[-1]
    check_snapshot(home / "state" / latest.snapshot, latest.sha256)


# -- when it is cut short ----------------------------------------------------------------------------------------------


def test_a_version_that_cannot_be_noted_leaves_no_file(
    home: Path, lines: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("disk is full")

    write(home, lines)
    before = state(home)
    monkeypatch.setattr(Store, "add_dataset", fail)
    assert Said(home, capsys).status == 2
    assert state(home) == before


def test_what_a_killed_register_left_goes_at_the_next_one(
    home: Path, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    left = home / "state" / ".snapshot-x1"
    left.mkdir()
    (left / "part").write_text(ID)
    write(home, lines)
    assert Said(home, capsys).status == 0
    assert not list((home / "state").glob(".snapshot-*"))


def test_a_state_that_cannot_be_written_is_said_and_no_fault_of_the_tool(
    home: Path, lines: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write(home, lines)
    monkeypatch.setattr(registration, "TemporaryDirectory", full)
    said = Said(home, capsys)
    assert (said.status, said.out) == (2, "")
    assert said.message == f"cannot write below {home / 'state'}: no space left on device"
    assert said.hint == "is there room and permission?"


def test_the_same_snapshot_under_two_salts_has_two_commitments() -> None:
    """Or whoever reads the ledger could test a guess of a party's rows against it."""
    first = Dataset("0" * 32, "1" * 64, "snapshot.parquet", "2" * 64, "3" * 64, ("year",), 1000)
    assert first.commitment != replace(first, salt="4" * 64).commitment
