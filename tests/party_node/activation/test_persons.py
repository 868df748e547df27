"""One person under several customers: all their addresses are the person's, and who opted out as one is out as all."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from party_node.activation.choosing import Draw
from protocols.errors import Refused, UsageError
from tests.party_node.activation.party import Party

CANARY = "canary-value"
KEY = b"k" * 32
# a is one person with b and c: nothing in the party's own table says so, only the list does
LISTED = ("customer,rank,also_customers", 'a,1,"[""b"", ""c""]"', "d,2,")
PEOPLE = ("customer,email", "a,a@x.org", "b,b@x.org", "c,c@x.org", "d,d@x.org")
PLAIN = {"ids": "plain"}


def test_every_address_of_a_person_is_written_whichever_of_its_customers_has_it(tmp_path: Path) -> None:
    one = Party(tmp_path, LISTED, PEOPLE)
    done = one.activate(settings=PLAIN)
    assert one.out.read_text().splitlines() == ["customer,email", "a,a@x.org", "b,b@x.org", "c,c@x.org", "d,d@x.org"]
    assert (done.fates["written"], done.lines) == (2, 4)


def test_a_person_is_found_by_any_of_its_customers(tmp_path: Path) -> None:
    one = Party(tmp_path, LISTED, ("customer,email", "c,c@x.org"))
    done = one.activate(settings=PLAIN, fields=["email"])
    assert one.out.read_text().splitlines() == ["email", "c@x.org"]
    assert (done.fates["written"], done.fates["unknown"]) == (1, 1)


@pytest.mark.parametrize(
    "outs", [("customer", "a"), ("customer", "c"), ("email", "B@x.org"), ("email", "c+shop@x.org")]
)
def test_whoever_opted_out_as_one_customer_is_out_as_all_that_are_the_same_person(
    tmp_path: Path, outs: tuple[str, ...]
) -> None:
    one = Party(tmp_path, LISTED, PEOPLE)
    done = one.activate(settings=PLAIN, opt_outs=one.file("outs.csv", *outs))
    assert one.out.read_text().splitlines() == ["customer,email", "d,d@x.org"]
    assert done.fates["opted_out"] == 1


def test_a_person_that_opted_out_as_a_customer_without_addresses_is_out_in_a_file_of_customers_too(
    tmp_path: Path,
) -> None:
    one = Party(tmp_path, LISTED)
    one.activate()
    assert one.written() == ["a", "b", "c", "d"]
    one.activate(opt_outs=one.file("outs.csv", "customer", "b"), out=tmp_path / "less.csv")
    assert one.written(tmp_path / "less.csv") == ["d"]


def test_a_person_is_held_out_as_all_its_customers(tmp_path: Path) -> None:
    one = Party(tmp_path, LISTED, PEOPLE)
    one.activate(settings=PLAIN, holdout=one.file("held.csv", "customer", "c"))
    assert one.written() == ["d"]
    arm = Draw(5000, KEY, "email").arm
    held = next(text for text in (f"h{i}@x.org" for i in range(99)) if arm(text) < 5000)
    free = [text for text in (f"f{i}@x.org" for i in range(99)) if arm(text) >= 5000][:2]
    two = Party(tmp_path / ".", LISTED, ("customer,email", f"a,{free[0]}", f"c,{held}", f"d,{free[1]}"))
    two.activate(settings=PLAIN, draw=Draw(5000, KEY, "email"), out=tmp_path / "drawn.csv")
    assert two.written(tmp_path / "drawn.csv") == ["d"]


def test_a_person_is_drawn_once_by_the_customer_that_names_it(tmp_path: Path) -> None:
    arm = Draw(5000, KEY).arm
    free, held = (next(n for n in map(str, range(99)) if (arm(n) < 5000) == out) for out in (False, True))
    one = Party(tmp_path, ("customer,also_customers", f'{free},"[""{held}""]"'), (*PEOPLE[:1], f"{held},x@x.org"))
    one.activate(settings=PLAIN, draw=Draw(5000, KEY))
    assert one.written() == [held]


def test_who_is_tied_to_one_who_opted_out_by_several_steps_is_not_written(tmp_path: Path) -> None:
    """a shares an address with b, b another with c, c a telephone with d; the opt-out is of a."""
    people = ("customer,email,phone", "a,a@x.org,", "b,A@x.org,", "b,b@x.org,", "c,B+x@x.org,030 901820",
              "d,d@x.org,+49 30 901820", "e,e@x.org,")  # fmt: skip
    one = Party(tmp_path, ("customer", *"bcde"), people)
    done = one.activate(opt_outs=one.file("outs.csv", "email", "a@x.org"))
    assert one.written() == ["e"]
    assert done.fates["opted_out"] == 3


def test_an_address_that_ties_many_customers_is_warned_of(tmp_path: Path) -> None:
    names = [f"c{i}" for i in range(21)]
    one = Party(
        tmp_path, ("customer", *names, "z"), ("customer,email", *(f"{n},none@x.org" for n in names), "z,z@x.org")
    )
    done = one.activate(opt_outs=one.file("outs.csv", "customer", "c3"))
    assert one.written() == ["z"]
    assert any("21 were left out with over 20 customers each" in warning for warning in done.warnings)
    few = Party(
        tmp_path, ("customer", *names[:20], "z"), ("customer,email", *(f"{n},n@x.org" for n in names[:20]), "z,z@x.org")
    )
    done = few.activate(opt_outs=few.file("outs.csv", "customer", "c3"), out=tmp_path / "few.csv")
    assert not any("over 20 customers" in warning for warning in done.warnings)


@pytest.mark.parametrize(
    "cell", [CANARY, "17", '{"b": 1}', '["b", 2]', '[""]', '["b"', '["\\ud800"]', "[" * 100_000, "null"]
)
def test_what_is_no_array_of_customers_is_refused_with_its_place(tmp_path: Path, cell: str) -> None:
    file = tmp_path / "list.parquet"
    with duckdb.connect() as con:
        con.execute(f"COPY (SELECT 'a' AS customer, $1 AS also_customers) TO '{file}' (FORMAT parquet)", [cell])
    one = Party(tmp_path, ("customer",), PEOPLE)
    one.listed = file
    with pytest.raises(UsageError, match="row 1, column also_customers: no JSON array of customers") as caught:
        one.activate()
    assert CANARY not in caught.value.diagnostics()
    assert not one.out.exists()


@pytest.mark.parametrize("lines", [('a,"[""b""]"', "b,"), ('a,"[""b""]"', 'd,"[""b""]"'), ('a,"[""a""]"',)])
def test_a_customer_is_of_one_person_alone(tmp_path: Path, lines: tuple[str, ...]) -> None:
    one = Party(tmp_path, ("customer,also_customers", *lines), PEOPLE)
    with pytest.raises(UsageError, match="column also_customers: the same as"):
        one.activate()


def test_what_a_list_says_of_itself_goes_on_as_a_warning_and_into_the_receipt(tmp_path: Path) -> None:
    head = "customer,rank,within,signal"
    for signal in ("no usable signal", "too noisy", "not counted", "no released lift applies"):
        one = Party(tmp_path, (head, f"a,1,5,{signal}", f"d,2,,{signal}"), PEOPLE)
        done = one.activate(out=tmp_path / f"{signal}.csv")
        assert done.warnings[0].startswith(f"{signal}: ")
        assert done.warnings[1] == "1 of those written are beyond the largest cut that the companies agreed to use"
        assert f'"signal":"{signal}"' in done.receipt.read_text()
    usable = Party(tmp_path, (head, "a,1,5,usable", "d,2,20,usable"), PEOPLE)
    done = usable.activate(out=tmp_path / "usable.csv")
    assert not any("signal" in warning or "cut" in warning for warning in done.warnings)
    own = Party(tmp_path, ("customer,within,signal", f"a,,{CANARY}", "d,1,"), PEOPLE)
    assert CANARY not in "".join(own.activate(out=tmp_path / "own.csv").warnings)


def test_nobody_left_of_one_person_is_a_refusal(tmp_path: Path) -> None:
    one = Party(tmp_path, LISTED[:2], PEOPLE)
    with pytest.raises(Refused, match="nobody would be written \\(1 opted out\\)"):
        one.activate(opt_outs=one.file("outs.csv", "email", "c@x.org"))
    assert not one.out.exists()
