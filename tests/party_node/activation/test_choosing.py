"""Who is written: the segment, the best, nobody who opted out or is held out, and each row of the list counted once."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from party_node.activation.choosing import ARMS, Draw, Top, hundredths
from protocols.errors import Refused, UsageError
from tests.party_node.activation.party import Party

CANARY = "canary-value"
LISTED = ("customer,segment,score", "a,s1,.9", "b,s1,.9", "c,s2,.8", "d,s1,.5", "e,unusable,", "f,s1,.1")
PEOPLE = ("customer,email", *(f"{name},{name}@x.org" for name in "abcdefgh"))
KEY = b"k" * 32


def party(folder: Path, people: tuple[str, ...] = PEOPLE) -> Party:
    return Party(folder, LISTED, people)


def fates(done: object) -> dict[str, int]:
    return {fate: count for fate, count in done.fates.items() if count}  # type: ignore[attr-defined]


# -- segments and cuts -------------------------------------------------------------------------------------------------


def test_a_whole_list_is_written(tmp_path: Path) -> None:
    one = party(tmp_path)
    assert fates(one.activate()) == {"written": 6}
    assert one.written() == list("abcdef")


def test_a_segment_or_several(tmp_path: Path) -> None:
    one = party(tmp_path)
    assert fates(one.activate(segments=("s1",))) == {"other_segment": 2, "written": 4}
    assert one.written() == list("abdf")
    two = tmp_path / "two.csv"
    one.activate(segments=("s1", "s2"), out=two)
    assert one.written(two) == list("abcdf")


def test_classes_are_segments_too_and_so_is_any_column_that_is_named(tmp_path: Path) -> None:
    one = Party(tmp_path, ["customer,class,shelf", "a,c1,x", "b,c2,y"], PEOPLE)
    one.activate(segments=("c2",))
    assert one.written() == ["b"]
    one.activate(segments=("x",), segment_column="shelf", out=tmp_path / "x.csv")
    assert one.written(tmp_path / "x.csv") == ["a"]


@pytest.mark.parametrize(
    ("top", "best"),
    [("1", "a"), ("2", "ab"), ("4", "abcd"), ("99", "abcdf"), ("50%", "abc"), ("49.9%", "ab"), ("100%", "abcdf")],
)
def test_the_best_by_score_equal_ones_by_name_shares_rounded_down(tmp_path: Path, top: str, best: str) -> None:
    one = party(tmp_path)
    done = one.activate(top=Top.read(top))
    assert one.written() == list(best)
    assert done.fates["unranked"] == 1
    assert done.fates["below_cut"] == 5 - len(best)


def test_of_a_rank_the_lowest_are_the_best_and_of_another_column_the_highest(tmp_path: Path) -> None:
    one = Party(tmp_path, ["customer,rank,worth", "a,10,10", "b,9,9", "c,NaN,1"], PEOPLE)
    one.activate(top=Top.read("1"))
    assert one.written() == ["b"]
    one.activate(top=Top.read("1"), by="worth", out=tmp_path / "w.csv")
    assert one.written(tmp_path / "w.csv") == ["a"]


def test_a_share_is_of_the_segment(tmp_path: Path) -> None:
    one = party(tmp_path)
    assert fates(one.activate(segments=("s1",), top=Top.read("50%"))) == {
        "other_segment": 2, "below_cut": 2, "written": 2
    }  # fmt: skip


def test_a_parquet_list_says_the_same_as_a_csv(tmp_path: Path) -> None:
    import duckdb

    one = party(tmp_path)
    to = tmp_path / "list.parquet"
    with duckdb.connect() as con:
        con.execute(f"COPY (SELECT * FROM read_csv('{one.listed}')) TO '{to}' (FORMAT parquet)")
    one.listed = to
    one.activate(top=Top.read("3"), segments=("s1",))
    assert one.written() == ["a", "b", "d"]


# -- who is left out ---------------------------------------------------------------------------------------------------


def test_whoever_opted_out_is_not_written_by_whatever_they_said_it(tmp_path: Path) -> None:
    people = ("customer,email,phone,maid", "a,a@x.org,,", "b,b.b+c@gmail.com,,", "c,,030 901820,", "d,d@x.org,,",
              "e,,,AECE52E7-03EE-455A-B3C4-E57283966239", "f,f@x.org,,")  # fmt: skip
    one = party(tmp_path, people)
    outs = one.file("outs.csv", "Customer,email,phone,maid", "a,,,", ",BB@googlemail.com,,", ",,+4930901820,",
                    ",,,aece52e703ee455ab3c4e57283966239", ",D+list@x.org,,")  # fmt: skip
    assert fates(one.activate(opt_outs=outs)) == {"opted_out": 5, "written": 1}
    assert one.written() == ["f"]


def test_whoever_shares_an_address_with_one_who_opted_out_is_not_written(tmp_path: Path) -> None:
    """The opt-out names a customer who is not even on the list; the address is what must not be shown anything."""
    one = party(tmp_path, ("customer,email", *PEOPLE[1:], "h,C@X.org "))
    assert fates(one.activate(opt_outs=one.file("outs.csv", "customer", "h"))) == {"opted_out": 1, "written": 5}
    assert "c" not in one.written()


def test_every_address_of_one_who_opted_out_by_one_of_them_is_left_out(tmp_path: Path) -> None:
    one = party(tmp_path, ("customer,email", *PEOPLE[1:], "a,second@x.org", "b,second@x.org"))
    one.activate(opt_outs=one.file("outs.csv", "email", "a@x.org"))
    assert one.written() == list("cdef")


def test_an_opt_out_that_cannot_be_read_stops_everything(tmp_path: Path) -> None:
    one = party(tmp_path)
    for lines, where in (
        (["email", "a@x.org", CANARY], "line 3, column email: not an e-mail address"),
        (["email,phone", f"a@x.org,{CANARY}"], "line 2, column phone: not a telephone number"),
        (["customer,email", ",", "a,"], "line 2 says of nobody who it is"),
        ([CANARY, "a@x.org"], "no column 'customer'"),
        (["customer", "a,b"], "line 2: 2 fields where the header has 1"),
    ):
        with pytest.raises(UsageError, match=where) as caught:
            one.activate(opt_outs=one.file("outs.csv", *lines))
        assert CANARY not in caught.value.diagnostics()
        assert not one.out.exists()


def test_an_opt_out_by_address_needs_to_know_whose_it_is(tmp_path: Path) -> None:
    one = Party(tmp_path, LISTED)
    with pytest.raises(UsageError, match="whose it is cannot be told"):
        one.activate(opt_outs=one.file("outs.csv", "email", "a@x.org"))
    one.activate(opt_outs=one.file("outs.csv", "customer", "a"))
    assert one.written() == list("bcdef")


def test_a_holdout_file_and_a_holdout_column(tmp_path: Path) -> None:
    one = Party(tmp_path, ["customer,arm", "a,holdout", "b,treated", "c,1", "d,FALSE"], PEOPLE)
    assert fates(one.activate(holdout="arm")) == {"holdout": 2, "written": 2}
    assert one.written() == ["b", "d"]
    held = one.file("held.csv", "email", "b@x.org")
    one.activate(holdout=held, out=tmp_path / "h.csv")
    assert one.written(tmp_path / "h.csv") == ["a", "c", "d"]


def test_an_arm_that_is_neither_is_refused_with_its_place(tmp_path: Path) -> None:
    for value in (CANARY, ""):
        one = Party(tmp_path, ["customer,arm", "a,holdout", f"b,{value}"], PEOPLE)
        with pytest.raises(UsageError, match="line 3, column arm: neither held out nor not") as caught:
            one.activate(holdout="arm")
        assert CANARY not in caught.value.diagnostics()


# -- a holdout by lot --------------------------------------------------------------------------------------------------


def test_an_arm_is_the_hmac_of_the_value_under_the_key() -> None:
    digest = hmac.new(KEY, b"sumroom/holdout/v1\0email\0a@x.org", hashlib.sha256).digest()
    assert Draw(1, KEY, "email").arm("a@x.org") == int.from_bytes(digest, "big") % 10_000


def test_arms_are_even_and_another_key_draws_others() -> None:
    draws = [Draw(2000, key).arm for key in (KEY, b"l" * 32)]
    held = [{i for i in range(20_000) if arm(str(i)) < 2000} for arm in draws]
    for one in held:
        assert abs(len(one) - 4000) < 5 * (20_000 * 0.2 * 0.8) ** 0.5
    assert abs(len(held[0] & held[1]) - 800) < 5 * (20_000 * 0.04 * 0.96) ** 0.5


def test_a_person_is_in_the_same_arm_at_every_party_that_draws_by_address(tmp_path: Path) -> None:
    addresses = [f"p{i}@x.org" for i in range(200)]
    written = []
    for name, spelled in (("one", str.upper), ("two", str)):
        folder = tmp_path / name
        folder.mkdir()
        listed = ["customer", *(f"{name}{i}" for i in range(200))]
        one = Party(folder, listed, ["customer,email", *(f"{name}{i},{spelled(a)}" for i, a in enumerate(addresses))])
        one.activate(draw=Draw(2500, KEY, "email"))
        written.append({customer.removeprefix(name) for customer in one.written()})
    assert written[0] == written[1]
    arm = Draw(2500, KEY, "email").arm
    assert written[0] == {str(i) for i, address in enumerate(addresses) if arm(address) >= 2500}


def test_who_has_nothing_to_draw_by_is_outside_the_experiment(tmp_path: Path) -> None:
    one = Party(tmp_path, ["customer", "a", "b"], ["customer,email", "a,a@x.org", "b,", "c,c@x.org"])
    done = one.activate(draw=Draw(1, KEY, "email"))
    assert done.fates["no_holdout_token"] == 1
    assert one.written() == ["a"]


def test_whoever_shares_an_address_with_one_who_is_held_out_is_held_out(tmp_path: Path) -> None:
    arm = Draw(5000, KEY).arm
    held = next(name for name in map(str, range(99)) if arm(name) < 5000)
    free = next(name for name in map(str, range(99)) if arm(name) >= 5000)
    other = next(name for name in map(str, range(99)) if arm(name) >= 5000 and name != free)
    people = ["customer,email", f"{held},one@x.org", f"{free},ONE@x.org", f"{other},two@x.org"]
    one = Party(tmp_path, ["customer", free, other], people)
    assert fates(one.activate(draw=Draw(5000, KEY))) == {"holdout": 1, "written": 1}
    assert one.written() == [other]


# -- the whole, against a naive model ----------------------------------------------------------------------------------

NAMES = st.sampled_from("abcdefgh")
SHARED = st.sampled_from(["", "p@x.org", "q@x.org", "r@x.org", "s@x.org", "t@x.org"])


@settings(max_examples=40, deadline=None)
@given(
    listed=st.lists(NAMES, min_size=1, max_size=8, unique=True),
    people=st.lists(st.tuples(NAMES, SHARED), max_size=10),
    outs=st.lists(st.tuples(st.one_of(NAMES, st.just("")), SHARED).filter(any), max_size=3),
    held=st.lists(NAMES, max_size=2),
)
def test_fates_add_up_and_nobody_left_out_is_written(
    listed: list[str], people: list[tuple[str, str]], outs: list[tuple[str, str]], held: list[str]
) -> None:
    def left_out(named: set[str], marks: set[str]) -> set[str]:
        for _ in people:
            named = named | {name for name, mark in people if mark in marks}
            marks = marks | {mark for name, mark in people if mark and name in named}
        return named | {name for name, mark in people if mark in marks}

    out = left_out({name for name, _ in outs if name}, {mark for _, mark in outs if mark})
    out |= left_out(set(held), set())
    mailable = {name for name, mark in people if mark}
    expected = {mark for name, mark in people if name in set(listed) - out and mark}
    with TemporaryDirectory() as where:
        one = Party(Path(where), ["customer", *listed], ["customer,email", *(f"{n},{m}" for n, m in people)])
        files = {
            "opt_outs": one.file("outs.csv", "customer,email", *(f"{n},{m}" for n, m in outs)),
            "holdout": one.file("held.csv", "customer", *held),
        }
        try:
            done = one.activate("plain-csv", {"ids": "plain"}, fields=["email"], **files)
        except Refused:
            assert not expected
            assert not one.out.exists()
            return
        assert one.out.read_text().splitlines() == ["email", *sorted(expected)]
        assert sum(done.fates.values()) == len(listed)
        assert done.fates["written"] == len((set(listed) - out) & mailable)
        assert done.fates["unknown"] == len(set(listed) - out - {name for name, _ in people})


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "choice", "message"),
    [
        ([CANARY, "a"], {}, "has no column 'customer'; is its line 1 a header"),
        (["customer", CANARY, "b", CANARY], {}, "line 4, column customer: the same as .* line 2"),
        (["customer,score", f"a,{CANARY}"], {"top": Top.read("1")}, "line 2, column score: not a number"),
        (["customer", "a"], {"top": Top.read("1")}, "neither a column rank nor a column score"),
        (["customer,score", "a,1"], {"top": Top.read("1"), "by": "scor"}, "no column 'scor'; did you mean 'score'"),
        (["customer,score", "a,1"], {"top": Top.read("20%")}, "that share of 1 people is nobody"),
        (["customer,segment", "a,s1"], {"segments": ("s9",)}, "--segment s9: no row"),
        (["customer", "a"], {"segments": ("s1",)}, "no column 'segment'"),
        (["customer", f'"{CANARY}\nb"'], {}, "line 2, column customer: not one line of text"),
        (["customer", f'"{CANARY}'], {}, "line 2: a quote that is not closed"),
        (["customer", "a"], {"holdout": "arm"}, "no column 'arm'"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused_with_the_place_and_never_a_value(
    tmp_path: Path, lines: list[str], choice: dict[str, object], message: str
) -> None:
    one = Party(tmp_path, lines, ["customer,email", "a,a@x.org", f'"{CANARY}\nb",b@x.org'])
    with pytest.raises(UsageError, match=message) as caught:
        one.activate(**choice)  # type: ignore[arg-type]
    assert CANARY not in caught.value.diagnostics()
    assert not one.out.exists()


def test_values_without_a_spelling_are_told_by_their_place(tmp_path: Path) -> None:
    one = Party(tmp_path, ["customer", "a"], ["customer,email", "a,a@x.org", f"a,{CANARY}", f",{CANARY}@x.org"])
    done = one.activate()
    told = [str(bad) for fault in done.faults for bad in fault.first]
    assert [text.split("people.csv ")[1] for text in told] == [
        "line 4, column customer: empty, so the row is nobody's",
        "line 3, column email: not an e-mail address",
    ]
    assert CANARY not in "".join(told)


def test_a_table_of_ones_own_without_a_header_is_refused_without_showing_it(tmp_path: Path) -> None:
    from party_node.activation import activate
    from party_node.activation.choosing import Choice
    from party_node.activation.profile import decide
    from party_node.activation.tables import Known
    from tests.party_node.activation.regenerate import DAY, SIGNER

    one = Party(tmp_path, ["customer", "a"], [f"a,{CANARY}"])
    assert one.people is not None
    known = Known((one.people,), {"customer": "customer", "email": "email"})
    with pytest.raises(UsageError, match="has no column 'customer'") as caught:
        activate(Choice(one.listed), known, decide("plain-csv", {}), one.out, "x", SIGNER, DAY)
    assert CANARY not in caught.value.diagnostics()


@pytest.mark.parametrize("text", ["0", "-5", "1.5", "0%", "101%", "1.234%", "x%", "", "%"])
def test_a_top_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--top"):
        Top.read(text)


def test_shares_are_exact() -> None:
    assert Top.read("20%").of(10) == 2
    assert Top.read("0.07%").of(100_000) == 70
    assert [hundredths(text, "--x", 99) for text in ("0.01", "12.5", "99")] == [1, 1250, 9900]
    assert ARMS == 10_000


def test_nobody_left_is_a_refusal_and_leaves_nothing(tmp_path: Path) -> None:
    one = party(tmp_path)
    with pytest.raises(Refused, match="nobody would be written \\(6 opted out\\)"):
        one.activate(opt_outs=one.file("outs.csv", "customer", *"abcdef"))
    assert list(one.out.parent.iterdir()) == []
