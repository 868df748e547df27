"""Each numbered rule of a page has a vector or a test that violates it, and each bad vector is refused for its rule."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from protocols.errors import CannotDecide, IntegrityError, Refused, UsageError
from tests.specs.readers import READ, VECTORS, files, golden

TESTS = VECTORS.parent
PAGES = TESTS.parent / "protocols" / "specs"
RULES: dict[str, dict[str, dict[str, Any]]] = tomllib.loads(Path(__file__).with_name("rules.toml").read_text("utf-8"))


def violations() -> list[tuple[str, str]]:
    """(bad vector, a piece of what is said of it)."""
    return [
        (name if "/" in name else f"{page}/{name}", said)
        for page, rules in RULES.items()
        for rule in rules.values()
        for name, said in rule.items()
        if name != "tests"
    ]


def numbered(page: str) -> dict[str, str]:
    """The rules of a page: number → text."""
    text = (PAGES / f"{page}.md").read_text("utf-8")
    found = re.split(r"(?m)^([0-9]+)\. ", text.split("\n## ", 1)[1])
    return {number: re.split(r"(?m)^## ", body)[0] for number, body in zip(found[1::2], found[2::2], strict=True)}


@cache
def names_of_tests() -> frozenset[str]:
    texts = (path.read_text("utf-8") for path in TESTS.rglob("test_*.py"))
    return frozenset(name for text in texts for name in re.findall(r"(?m)^ *def (test_\w+)\(", text))


@pytest.mark.parametrize("page", sorted(READ))
def test_every_rule_that_says_must_has_a_vector_or_a_test_that_violates_it(page: str) -> None:
    rules = numbered(page)
    assert {number for number, text in rules.items() if "MUST" in text} - set(RULES[page]) == set()
    assert set(RULES[page]) <= {*rules, "tables"}
    assert all(RULES[page].values())


def test_every_page_has_its_rules_here_and_every_rule_a_page() -> None:
    assert set(RULES) == set(READ) == {path.stem for path in PAGES.glob("*.md")}


def test_every_bad_vector_stands_for_a_rule() -> None:
    assert sorted(name for name, _ in violations()) == files("bad")


@pytest.mark.parametrize(("name", "said"), violations())
def test_every_bad_vector_is_refused_for_what_its_name_says(name: str, said: str) -> None:
    with pytest.raises((IntegrityError, Refused, UsageError, CannotDecide), match=re.escape(said)):
        READ[name.split("/")[0]](name, golden(name))


@pytest.mark.parametrize("page", sorted(RULES))
def test_every_test_that_a_rule_names_is_there(page: str) -> None:
    named = {name for rule in RULES[page].values() for name in rule.get("tests", [])}
    assert named - names_of_tests() == set()
