"""The sections of segments in words, and of how many there are: what was released, no more, and why."""

from __future__ import annotations

import re
from html import unescape
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from coordinator.console import overlap_sections, personas
from protocols import release
from protocols.errors import IntegrityError
from protocols.questions.segments.choice import Choice, Score
from protocols.questions.segments.states import Clusters
from tests.coordinator.test_segments_sections import (
    AXES,
    MEAN,
    MEANS,
    PEOPLE,
    make_page,
    make_plan,
    states,
    sums,
)

WIDE = {"least": 2, "most": 5}
SCORES = (
    Score(2, 0.61, 0.58, 0.64, 0.5, 0.6, 0.97, 80.0),
    Score(3, 0.82, 0.8, 0.84, 0.375, 0.25, 1.0, 40.0),
    Score(4, 0.7, 0.66, 0.72, 0.0, 0.2, 0.75, 20.0),
)
TOLD = Choice(3, True, SCORES)


def bodies_of(plan: Any, choice: Choice | None) -> list[release.Body]:
    """A round that found three segments, of up to five."""
    found, earlier, known = [], dict[str, Any](), states(plan, AXES, MEAN)
    centres = {"seg-over": choice, "seg-lloyd-1": None, "seg-lloyd-2": None}
    known |= {s: Clusters(np.zeros((3, 3)), 1.0, np.ones(3), np.zeros(3), why).write() for s, why in centres.items()}
    for step, _ in plan.steps():
        noised = np.zeros(len(step.statistic.slots), dtype=np.int64)
        if step.name == "seg-profile":
            noised[: 3 * 4] = sums(PEOPLE, MEANS)[:-1]
            noised[3 * 4 : -1] = 7  # noise in blocks of segments that are not there
        body = release.compose(
            plan, round_id="0a" * 16, step=step.name, nonce="1b" * 16, noised=noised, survivors=list(plan.parties),
            earlier=dict(earlier), salt=bytes(32), state=known[step.name],
        )  # fmt: skip
        earlier[step.name] = body.released
        found.append(body)
    return found


def section(html: str, title: str) -> str:
    (found,) = re.findall(rf"<section>\s*<h2>{title}</h2>.*?</section>", html, re.DOTALL)
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", found)))


@pytest.fixture(scope="module")
def page() -> tuple[str, list[release.Body]]:
    plan = make_plan(clusters=WIDE)
    bodies = bodies_of(plan, TOLD)
    return make_page(plan, bodies), bodies


def test_the_page_shows_the_segments_that_there_are_and_none_that_there_might_have_been(page: Any) -> None:
    html, bodies = page
    assert list(bodies[-1].answer["segments"]) == ["s1", "s2", "s3"]
    assert "Segment 3" in html
    assert "Segment 4" not in html
    assert "These 3 were found" in section(html, "Segments")
    one = make_page(make_plan(), bodies_of_three := fixed())
    assert bodies[-1].answer == bodies_of_three[-1].answer
    for words in ("Segments", "Segments in words"):
        assert section(html, words) == section(one, words)


def fixed() -> list[release.Body]:
    from tests.coordinator.test_segments_sections import make_bodies

    return make_bodies(make_plan())


def test_each_card_has_the_name_the_size_the_paragraph_and_the_indices_of_its_claims(page: Any) -> None:
    html, bodies = page
    said = section(html, "Segments in words")
    found = personas.personas(make_plan(clusters=WIDE), bodies[-1].answer)
    for i, persona in enumerate(found):
        assert f"Segment {i + 1}: {persona.name}" in said
        assert persona.paragraph in said
        assert persona.claims
    assert said.count("customers (") >= 3


def test_the_reasons_for_the_number_are_shown_with_every_score(page: Any) -> None:
    said = section(page[0], "How many segments there are")
    assert "The plan allows 2 to 5 segments" in said
    assert "It is 3: of the numbers whose segments are divided by gaps" in said
    assert "3, used 0.82 0.80 to 0.84 38 % 25 % 1.00 40 σ" in said
    assert " 4 0.70 0.66 to 0.72 0 % 20 % 0.75 20 σ" in said
    drawn = re.search(r"<h2>How many segments there are</h2>.*?</section>", page[0], re.DOTALL)
    assert drawn is not None
    for picture in re.findall(r"<svg viewBox.*?</svg>", drawn[0], re.DOTALL):
        words = re.findall(r"<text[^>]*>([^<]*)</text>", picture)
        assert {"2", "3", "4", "0.61", "0.82", "0.70"} <= set(words)


def test_a_number_that_is_not_told_is_said_to_be_a_cut_of_one_crowd() -> None:
    plan = make_plan(clusters=WIDE)
    said = section(make_page(plan, bodies_of(plan, Choice(3, False, SCORES))), "How many segments there are")
    assert "The number of segments is not identifiable" in said
    assert "3 are used" in said
    assert "It is 3" not in said
    none = section(make_page(plan, bodies_of(plan, Choice(3, False, ()))), "How many segments there are")
    assert "not identifiable" in none


def test_a_plan_of_one_number_gives_no_reasons() -> None:
    assert "How many segments there are" not in make_page(make_plan(), fixed())


def test_a_profile_of_a_range_without_a_choice_is_no_report() -> None:
    plan = make_plan(clusters=WIDE)
    bodies = [body for body in bodies_of(plan, TOLD) if body.step != "seg-over"]
    with pytest.raises(IntegrityError, match="no choice of seg-over"):
        make_page(plan, bodies)


@pytest.mark.parametrize(
    ("by", "names"), [("segments", ["s1", "s2@0", "s3@1"]), ("column", ["s1", "s2@0", "s3@1", "s4"])]
)
def test_an_overlap_by_segments_shows_no_list_of_a_segment_that_was_not_found(by: str, names: list[str]) -> None:
    released = {body.step: body for body in bodies_of(make_plan(clusters=WIDE), TOLD)}
    question: Any = SimpleNamespace(lists=SimpleNamespace(by=by))
    assert overlap_sections._there(question, released, ["s1", "s2@0", "s3@1", "s4"]) == names
    assert overlap_sections._there(question, {}, ["s1", "s4"]) == ["s1", "s4"]
