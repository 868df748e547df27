"""Features in words, and their values in units that people use. A feature's name says what its integers are.

…_days are days, …_cents hundredths of the currency, …_ppm millionths, which are shown in per cent; others are counts.
"""

from __future__ import annotations

from decimal import Decimal

from protocols.plan import Plan

from .charts import Reading

_WORDS = {
    "recency_days": "days since the last purchase",
    "tenure_days": "days since the first purchase",
    "gap_days": "days between purchases",
    "baskets": "baskets",
    "discounted_baskets": "baskets bought at a discount",
    "spend_cents": "spend, in units of currency",
    "mean_basket_cents": "spend per basket, in units of currency",
    "promo_share_ppm": "share of spend on discounted items",
    "discount_depth_ppm": "discount as a share of the full price",
    "alive_ppm": "chance of still being a customer",
    "value_12m_cents": "expected spend in the next 12 months, in units of currency",
}
# A sentence with a place for "far more recent" or the like, the word for more of the feature, and that for less.
Comparison = tuple[str, str, str]
_COMPARED: dict[str, Comparison] = {
    "recency_days": ("Their last purchase is {} than everybody’s", "longer ago", "more recent"),
    "tenure_days": ("Their first purchase is {} than everybody’s", "longer ago", "more recent"),
    "gap_days": ("The time between their purchases is {} than everybody’s", "longer", "shorter"),
    "baskets": ("They buy {} than everybody", "more often", "less often"),
    "discounted_baskets": ("They buy at a discount {} than everybody", "more often", "less often"),
    "spend_cents": ("They spend {} than everybody", "more", "less"),
    "mean_basket_cents": ("They spend {} per basket than everybody", "more", "less"),
    "promo_share_ppm": ("The share of their spend on discounted items is {} than everybody’s", "larger", "smaller"),
    "discount_depth_ppm": ("Their discounts are {} than everybody’s", "deeper", "less deep"),
    "alive_ppm": ("They are {} to still be customers than everybody", "more likely", "less likely"),
    "value_12m_cents": ("Their expected spend in 12 months is {} than everybody’s", "higher", "lower"),
}
_UNITS = {"_days": ", in days", "_cents": ", in units of currency", "_ppm": ", in per cent"}
_LARGE = 1000


def name_in_words(plan: Plan, feature: str) -> str:
    """With the unit, where the words do not say it themselves."""
    if feature in _WORDS:
        return _WORDS[feature]
    if feature in plan.table.shares():
        column, value = plan.table.shares()[feature]
        return f"share of spend on {value} ({column})"
    if feature in plan.table.sums():
        return f"sum of {_spaced(plan.table.sums()[feature])}"
    ending = next((end for end in _UNITS if feature.endswith(end)), "")
    return _spaced(feature.removesuffix(ending)) + _UNITS.get(ending, "")


def short_name(plan: Plan, feature: str) -> str:
    """Without the unit."""
    return name_in_words(plan, feature).split(",")[0]


def comparison(plan: Plan, feature: str) -> Comparison:
    """How a segment that has more or less of a feature than everybody is spoken of."""
    if feature in _COMPARED:
        return _COMPARED[feature]
    if feature in plan.table.shares():
        _, value = plan.table.shares()[feature]
        return f"The share of their spend on {value} is {{}} than everybody’s", "larger", "smaller"
    name = short_name(plan, feature).replace("{", "").replace("}", "")
    return f"Their {name} is {{}} than everybody’s", "higher", "lower"


def value_in_words(feature: str, figure: Reading) -> tuple[str, str]:
    """(estimate, interval) of a typical value, in the unit that `name_in_words` says."""
    if feature.endswith("_ppm"):
        figure = figure.times(Decimal("0.0001"))
        return f"{figure.estimate(1)} %", figure.interval(1, " %")
    money = feature.endswith("_cents")
    figure = figure.times(Decimal("0.01")) if money else figure
    places = 0 if figure.high >= _LARGE else 2 if money else 1
    return figure.estimate(places), figure.interval(places)


def _spaced(name: str) -> str:
    return name.replace("_", " ").replace("-", " ")
