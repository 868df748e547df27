"""What `register` says of the people in a file: how many have a key, what was merged, what is unreadable; no value."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import ModuleType

import pytest

from tests.party_node.registering import Said, versions

ID, ADDRESS, BROKEN = "canary-id-71", "canary.address@example.com", "canary-no-address"
COLUMNS = {
    "customer": {"type": "id"},
    "email": {"type": "email"},
    "tier": {"type": "category", "values": ["gold", "other"]},
}


@pytest.fixture
def home(lab: ModuleType, template: Path, tmp_path: Path) -> Path:
    """Alpha's folder with a file of addresses, mapped as a newcomer would, and a plan for such a table."""
    home = Path(lab.copy(template, tmp_path / "trial")) / "alpha"
    text = lab.plan_toml(lab.plan(table={"name": "known", "columns": COLUMNS}))
    (home.parent / "plan.toml").write_text(text + '\n[people]\ncolumn = "email"\nkey = "email"\n')
    settings = (home / "node.toml").read_text()
    (home / "node.toml").write_text(
        settings.split("[table.columns]")[0] + '[table.columns]\ncustomer = "email"\nemail = "email"\ntier = "tier"\n'
    )
    return home


def addresses(home: Path, *more: str) -> None:
    lines = [
        "email,tier",
        *(f"p{i}@example.com,gold" for i in range(200)),
        f"{ADDRESS},",
        ADDRESS.upper() + ",gold",
        *more,
    ]
    (home / "sales.csv").write_text("\n".join([*lines, ""]), "utf-8")


@pytest.mark.parametrize("option", [(), ("--json",)], ids=["words", "json"])
def test_a_list_of_addresses_is_registered_and_its_keys_are_reported_without_a_value(
    home: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, option: tuple[str, ...]
) -> None:
    caplog.set_level(logging.DEBUG)
    addresses(home, f"{BROKEN},gold")
    before = versions(home)
    said = Said(home, capsys, *option)
    assert (said.status, said.err, len(versions(home))) == (0, "", len(before) + 1)
    place = f"{home / 'sales.csv'} line 204"
    if option:
        told = json.loads(said.out)
        assert told["people"] == 202
        assert told["persons"] == {
            "customers": 203, "people": 202, "with_key": 201, "many_customers": 0, "many_keys": 0,
            "known": [{"column": "email", "type": "email", "people": 201}],
        }  # fmt: skip
        assert [(one["column"], one["rows"], one["first"][0]["line"]) for one in told["unspelled"]] == [
            ("email", 1, 204)
        ]
    else:
        assert said.out.splitlines()[1:] == [
            "203 customers in the files: 1 merged into others",
            "201 of 202 people have a key, and can be found at another party",
            "column email (email): filled for 201 people",
            "column email: unreadable in 1 row, as if empty; the rest of each counts:",
            f"  {place}, column email: not an e-mail address",
        ]
    for mark in (ADDRESS, ADDRESS.upper(), BROKEN):
        assert mark not in said.out + said.err + caplog.text


def test_the_wrong_column_and_a_dummy_are_warned_of(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    addresses(home, *[f"{BROKEN}{i},gold" for i in range(240)])
    said = Said(home, capsys)
    assert said.status == 0
    assert "warning: column 'email' is unreadable in 240 of 442 rows: is table.columns.email in node.toml" in said.err
    assert said.out.splitlines()[-1] == "  …"
    (home / "node.toml").write_text((home / "node.toml").read_text().replace('customer = "email"', 'customer = "id"'))
    rows = [
        "id,email,tier",
        *(f"{ID}{i},{ADDRESS},gold" for i in range(30)),
        *(f"c{i},c{i}@x.de,gold" for i in range(120)),
    ]
    (home / "sales.csv").write_text("\n".join([*rows, ""]), "utf-8")
    said = Said(home, capsys)
    assert said.status == 0
    assert said.err.startswith("warning: 1 person is made of over 20 customers: is a dummy value")
    assert (ID in said.out + said.err, ADDRESS in said.out + said.err) == (False, False)
