"""Whatever stands in the party's files: one spelling for one address, no formula in a cell, no line broken."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from party_node.activation.spelling import cell, first, hashed, known_by, one_line, then

TEXT = st.text(max_size=40)
MAILBOX = st.text(st.sampled_from("abcXYZ019.+-_"), min_size=1, max_size=20)
HOST = st.sampled_from(["gmail.com", "Googlemail.com", "example.org", "GMAIL.com"])
BLANK = st.text(st.sampled_from(" \t\u00a0"), max_size=3)


@given(TEXT)
def test_no_cell_is_a_formula(text: str) -> None:
    assert cell(text)[:1] not in ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")


@given(st.text(st.sampled_from("'=+-@a\t"), max_size=6), st.text(st.sampled_from("'=+-@a\t"), max_size=6))
def test_two_values_never_become_one_cell(one: str, other: str) -> None:
    assert (cell(one) == cell(other)) == (one == other)


@given(st.lists(TEXT.filter(one_line), min_size=1, max_size=4))
def test_a_csv_reader_gets_one_row_of_the_cells_that_were_written(texts: list[str]) -> None:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerow([cell(text) for text in texts])
    assert list(csv.reader(io.StringIO(out.getvalue(), newline=""))) == [[cell(text) for text in texts]]


@given(MAILBOX, HOST, BLANK, BLANK)
def test_blanks_and_case_make_no_other_address(mailbox: str, host: str, before: str, after: str) -> None:
    spell = first("email", None)
    plain = spell(f"{mailbox}@{host}")
    assert plain is not None
    assert spell(f"{before}{mailbox.upper()}@{host.swapcase()}{after}") == plain
    assert spell(plain) == plain


@given(MAILBOX, HOST)
def test_a_platforms_spelling_is_its_own_spelling(mailbox: str, host: str) -> None:
    address = first("email", None)(f"{mailbox}@{host}")
    assert address is not None
    for spelling in ("as-written", "unaliased", "no-plus"):
        once = then(spelling)(address)  # type: ignore[arg-type]
        assert once is None or then(spelling)(once) == once  # type: ignore[arg-type]


@given(MAILBOX, HOST)
def test_what_a_platform_takes_for_one_address_is_one_when_people_are_left_out(mailbox: str, host: str) -> None:
    """No platform's rule is wider than ours: nobody who opted out comes back by another spelling."""
    address = first("email", None)(f"{mailbox}@{host}")
    assert address is not None
    for spelling in ("as-written", "unaliased", "no-plus"):
        spelled = then(spelling)(address)  # type: ignore[arg-type]
        if spelled is not None:
            assert known_by("email", spelled) == known_by("email", address)


@given(st.from_regex(r"\+?[0-9 ()/.-]{5,20}", fullmatch=True), st.sampled_from(["DE", "US", "GB"]))
def test_a_number_is_e164_or_none(text: str, country: str) -> None:
    number = first("phone", country)(text)
    if number is not None:
        assert number.startswith("+")
        assert number[1:].isascii()
        assert number[1:].isdigit()
        assert first("phone", country)(number) == number
        assert then("digits")(number) == number[1:]


@given(TEXT)
def test_a_name_is_one_line_without_blanks_around_it(text: str) -> None:
    name = first("first_name", None)(text)
    if name is not None:
        assert name
        assert one_line(name)
        assert name == " ".join(name.split())
        assert first("first_name", None)(name) == name


@given(TEXT)
def test_a_hash_is_sixty_four_hex_digits_that_are_no_formula(text: str) -> None:
    assert set(hashed(text)) <= set("0123456789abcdef")
    assert len(hashed(text)) == 64
    assert cell(hashed(text)) == hashed(text)


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "a\x00b", "a\u2028b", "", "  "])
def test_text_of_several_lines_is_no_name(text: str) -> None:
    assert first("last_name", None)(text) is None


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("cloudy.sanfrancisco+shopping@gmail.com", "cloudysanfrancisco@gmail.com"),
        ("a.b+c@googlemail.com", "ab@googlemail.com"),
        ("user.name+nyc@example.com", "user.name+nyc@example.com"),
        ("+x@gmail.com", None),
    ],
)
def test_the_examples_of_googles_page(text: str, spelled: str | None) -> None:
    assert then("unaliased")(text) == spelled
