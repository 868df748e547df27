"""What a plan may ask of latent classes, and what it is told where it may not."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from protocols.questions import classes, steps_of
from protocols.questions.classes.plan import identified
from tests.protocols.classes.planted import FACTS, LEVELS, question


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"classes": 1}, "greater than or equal to 2"),
        ({"classes": 9}, "the most is 8"),
        ({"classes": {"least": 3, "most": 2}}, "a range needs least below most"),
        ({"classes": {"least": 2, "most": 9}}, "the most is 8"),
        ({"classes": {"least": 2, "most": 21}}, "less than or equal to 20"),
        ({"classes": "2"}, "valid integer"),
        ({"classes": 6}, "cannot tell 6 classes apart"),
        ({"items": [{"feature": "baskets", "cuts": [1]}] * 3}, "one feature is named twice"),
        ({"items": [{"feature": f"f{i}", "cuts": [1]} for i in range(2)]}, "at least 3 items"),
        ({"items": [{"feature": f"f{i}", "cuts": [1]} for i in range(13)]}, "at most 12 items"),
        ({"items": [{"feature": f"f{i}", "cuts": [1, 2]} for i in range(8)]}, "6,561 patterns, the most is 4,096"),
        ({"items": [{"feature": f"f{i}", "cuts": [2, 2]} for i in range(3)]}, "cuts must ascend"),
        ({"items": [{"feature": f"f{i}", "cuts": []} for i in range(3)]}, "at least 1 item"),
        ({"items": [{"feature": f"f{i}", "cuts": [0.5]} for i in range(3)]}, "valid integer"),
        ({"rho": {"patterns": 0}}, "greater than"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        question(**{"many": 2, **changes} if "classes" not in changes else {"many": changes["classes"]})


@pytest.mark.parametrize("feature", ["usable", "no_such"])
def test_an_item_of_a_feature_that_nobody_has_is_refused_with_those_that_there_are(feature: str) -> None:
    asked = question(levels={**LEVELS, feature: 2})
    with pytest.raises(
        ValueError, match=f"no party has a feature {feature}; there are recency_days, baskets"
    ) as caught:
        steps_of(asked, FACTS)
    assert not str(caught.value).endswith("usable")


@pytest.mark.parametrize(
    ("levels", "most"),
    [
        ((2, 2, 2), 2),
        ((2, 2, 2, 2), 2),
        ((2,) * 5, 4),
        ((2,) * 7, 8),
        ((3, 3, 2), 3),
        ((16, 16, 16), 8),
        ((4, 2, 2), 2),
    ],
)
def test_so_many_items_tell_so_many_classes_apart_and_not_one_more(levels: tuple[int, ...], most: int) -> None:
    """Goodman 1974: four yes-or-no items cannot tell three classes apart, though they have more cells than numbers."""
    assert identified(levels, most)
    assert most == 8 or not identified(levels, most + 1)


def test_one_step_is_charged_whose_slots_are_the_patterns_and_the_unusable() -> None:
    ((step, rho),) = steps_of(question(), FACTS)
    assert (step.name, rho, step.made) == (classes.NAME, 10**7, "sum")
    assert (len(step.statistic.slots), step.statistic.bound_sq, step.statistic.scale) == (49, 1, 1)
    assert step.statistic.slots[:2] == ("0-0-0-0-0", "0-0-0-0-1")
    assert step.statistic.slots[-2:] == ("1-2-1-1-1", "unusable")


def test_a_number_of_classes_is_a_range_of_itself() -> None:
    assert (question(3).least, question(3).most) == (3, 3)
    assert (question({"least": 2, "most": 4}).least, question({"least": 2, "most": 4}).most) == (2, 4)
