"""Lists of customers are read once with the data, and are fixed with them; a rule is of a person's own features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from party_node import seeds
from party_node.audience import Audience, check_seed
from party_node.records import Snapshot, Table, take_snapshot
from party_node.store import Dataset
from protocols.errors import IntegrityError, Refused, UsageError
from protocols.people import PeopleRules
from protocols.schema import Schema
from tests.rounds import audience, lab

SCHEMA = Schema.model_validate({"name": "sales", "columns": audience.COLUMNS})
NAMES = ["customer", "basket", "bought_on", "paid", "discount", "region"]
HEAD = ",".join(NAMES)


def take(folder: Path, listed: str, *, rows: str | None = None, rules: PeopleRules | None = None,
         name: str = "list.csv", **lists: Path) -> Snapshot:  # fmt: skip
    (folder / "sales.csv").write_text(rows or audience.csv_of("beta"))
    (folder / name).write_text(listed)
    table = Table((folder / "sales.csv",), {column: column for column in NAMES}, {"loyal": folder / name, **lists})
    return take_snapshot(table, SCHEMA, folder / "s.parquet", rules)


def test_the_persons_on_a_list_are_those_of_the_table_each_once(tmp_path: Path) -> None:
    found = take(tmp_path, "customer,note\n p-600 ,a\np-601,b\np-600,c\nstranger,d\n,e\n")
    assert seeds.customers(found.path, "loyal") == ["p-600", "p-601"]
    assert found.lists == (seeds.Listed("loyal", rows=4, people=2, repeated=1, unknown=1),)
    assert found.lists[0].line() == "list loyal: 2 people of this party's; left out: 1 repeated, 1 unknown"


def test_a_list_may_be_named_by_the_tables_own_column_and_be_parquet_with_whole_numbers_as_floats(
    tmp_path: Path,
) -> None:
    rows = f"CARD,{','.join(NAMES[1:])}\n" + "".join(f"{i},b{i},2017-06-01,1.00,0.00,north\n" for i in range(9))
    (tmp_path / "sales.csv").write_text(rows)
    path = tmp_path / "list.parquet"
    duckdb.sql(f"COPY (SELECT unnest([3.0, 4.0, NULL, 'nan'::DOUBLE]) AS \"CARD\") TO '{path}' (FORMAT parquet)")
    table = Table((tmp_path / "sales.csv",), {**{c: c for c in NAMES}, "customer": "CARD"}, {"loyal": path})
    found = take_snapshot(table, SCHEMA, tmp_path / "s.parquet")
    assert seeds.customers(found.path, "loyal") == ["3", "4"]


def test_customers_who_are_one_person_are_on_the_list_where_any_of_them_is(tmp_path: Path) -> None:
    columns = {**audience.COLUMNS, "mail": {"type": "email"}}
    schema = Schema.model_validate({"name": "sales", "columns": columns})
    rows = [f"{HEAD},mail"]
    rows += [f"{who},b{who},2017-06-01,1.00,0.00,north,{mail}" for who, mail in
             (("a", "x@example.com"), ("b", "x@example.com"), ("c", "z@example.com"))]  # fmt: skip
    (tmp_path / "sales.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "list.csv").write_text("customer\nb\na\n")
    table = Table((tmp_path / "sales.csv",), {c: c for c in [*NAMES, "mail"]}, {"loyal": tmp_path / "list.csv"})
    rules = PeopleRules.model_validate({"column": "mail", "key": "email"})
    found = take_snapshot(table, schema, tmp_path / "s.parquet", rules)
    assert seeds.customers(found.path, "loyal") == ["a"]
    assert (found.lists[0].people, found.lists[0].repeated) == (1, 1)


@pytest.mark.parametrize(
    ("listed", "match"),
    [
        ("who\np-600\n", "has no column 'customer'"),
        ("customer\n", "names no customer"),
        ("customer\n,\n", "2 fields where the header has 1"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused_without_a_customer_in_the_words(
    tmp_path: Path, listed: str, match: str
) -> None:
    with pytest.raises(UsageError, match=match) as caught:
        take(tmp_path, listed)
    assert "p-600" not in f"{caught.value.message}{caught.value.hint}"


def test_a_list_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        take(tmp_path, "customer\np-600\n", other=tmp_path / "nowhere.csv")


def test_the_snapshots_bytes_and_so_its_digest_are_those_of_its_lists_too(tmp_path: Path) -> None:
    made = []
    for i, listed in enumerate(("customer\np-600\n", "customer\np-600\n\n", "customer\np-601\n")):
        (folder := tmp_path / str(i)).mkdir()
        made.append(take(folder, listed.replace("\n\n", "\n")).sha256)
    assert made[0] == made[1] != made[2]


def test_a_plan_without_lists_has_the_bytes_it_had(tmp_path: Path) -> None:
    (tmp_path / "sales.csv").write_text(audience.csv_of("beta"))
    found = take_snapshot(Table((tmp_path / "sales.csv",), {c: c for c in NAMES}), SCHEMA, tmp_path / "s.parquet")
    assert seeds.names_of(found.path) == []
    assert found.lists == ()


# -- whom a plan means -------------------------------------------------------------------------------------------------


def people_of(folder: Path, seed: dict[str, Any], party: str = "beta", **changes: Any) -> Audience:
    """The party's people for a plan with this seed, registered without a node."""
    found = take(folder, "customer\n" + "".join(f"p-{i}\n" for i in audience.members()))
    question = {**audience.QUESTION, "seed": seed, **changes}
    plan = lab.plan(**{**audience.CHANGES, "questions": [question]})
    dataset = Dataset("0" * 32, "1" * 64, found.path.name, found.sha256, plan.table_digest, ("year",), 3000)
    return Audience(plan, plan.questions[0], party, {}, dataset, folder)  # type: ignore[arg-type]


def test_a_list_names_its_people_and_at_other_parties_nobody(tmp_path: Path) -> None:
    found = people_of(tmp_path, {"party": "beta", "list": "loyal"})
    chosen = found.found.customers[found.seed == 1].tolist()
    assert chosen == sorted(f"p-{i}" for i in audience.members())
    other = people_of(tmp_path, {"party": "beta", "list": "loyal"}, party="gamma")
    assert not other.seed.any()
    assert other.columns("look-scores")["counted"].all()


def test_a_rule_is_of_a_persons_own_features_with_both_ends(tmp_path: Path) -> None:
    where = [{"feature": "baskets", "low": 8, "high": 10}, {"feature": "recency_days", "high": 60}]
    found = people_of(tmp_path, {"party": "beta", "where": where})
    features = found.found.columns
    wanted = (features["baskets"] >= 8) & (features["baskets"] <= 10) & (features["recency_days"] <= 60)
    assert 0 < wanted.sum() < len(wanted)
    assert np.array_equal(found.seed == 1, wanted)


def test_a_person_taken_out_of_the_table_takes_nobody_else_into_the_seed_or_out_of_it(tmp_path: Path) -> None:
    seed = {"party": "beta", "where": [{"feature": "baskets", "low": 8}]}
    whole = people_of(tmp_path, seed)
    before = dict(zip(whole.found.customers.tolist(), whole.seed.tolist(), strict=True))
    for gone in ("p-600", "p-601", "p-1799"):
        (folder := tmp_path / gone).mkdir()
        rows = [line for line in audience.csv_of("beta").splitlines() if not line.startswith(f"{gone},")]
        (folder / "sales.csv").write_text("\n".join(rows) + "\n")
        table = Table((folder / "sales.csv",), {c: c for c in NAMES})
        found = take_snapshot(table, SCHEMA, folder / "s.parquet")
        dataset = Dataset("0" * 32, "1" * 64, "s.parquet", found.sha256, "", ("year",), 3000)
        rest = Audience(whole.plan, whole.question, "beta", {}, dataset, folder)
        after = dict(zip(rest.found.customers.tolist(), rest.seed.tolist(), strict=True))
        assert after == {who: one for who, one in before.items() if who != gone}


def test_a_group_is_the_first_of_the_columns_values_in_any_row_of_the_person_in_the_period(tmp_path: Path) -> None:
    (tmp_path / "sales.csv").write_text(
        f"{HEAD}\n"
        "a,1,2017-06-01,1.00,0.00,south\na,2,2017-06-02,1.00,0.00,north\n"
        "b,1,2017-06-01,1.00,0.00,south\nb,2,2016-06-02,1.00,0.00,north\n"
        "c,1,2017-06-01,1.00,0.00,elsewhere\n"
    )
    table = Table((tmp_path / "sales.csv",), {c: c for c in NAMES})
    found = take_snapshot(table, SCHEMA, tmp_path / "s.parquet")
    plan = lab.plan(**audience.CHANGES)
    dataset = Dataset("0" * 32, "1" * 64, "s.parquet", found.sha256, "", ("year",), 3000)
    own = Audience(plan, plan.questions[0], "gamma", {}, dataset, tmp_path)  # type: ignore[arg-type]
    columns = own.columns("look-audit")
    assert columns["group/region"].tolist() == [0, 1, 2]
    assert "group/region" not in own.columns("look-scores")


def test_a_plan_whose_list_was_not_registered_is_refused_at_the_seeds_party_alone(tmp_path: Path) -> None:
    found = take(tmp_path, "customer\np-600\n")
    plan = lab.plan(**audience.CHANGES)  # its list is called loyalists
    with pytest.raises(Refused, match="no list loyalists is registered"):
        check_seed(plan, "beta", found.path)
    check_seed(plan, "gamma", found.path)
    check_seed(lab.plan(), "beta", found.path)


def test_a_list_that_a_snapshot_has_not_is_no_list(tmp_path: Path) -> None:
    found = take(tmp_path, "customer\np-600\n")
    with pytest.raises(IntegrityError, match="no list other"):
        seeds.customers(found.path, "other")
