"""A card for each segment in plain words, made from its released figures and from nothing else.

A sentence is a claim about figures, and stands only where their intervals exclude that it is otherwise: an index whose
interval holds 100 says nothing. How strong its words are follows from the interval's end nearest to 100, by one table.
A name follows from the claims by rules, the first that fits. No model writes here: it could invent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from protocols.plan import Plan

from .charts import Reading
from .feature_words import comparison, short_name, value_in_words

LIKE_EVERYBODY = 100
# From which end of an index's interval on (or, for less, below 100²/it) which word stands before the comparative.
DEGREES = ((200, "far "), (120, "much "), (LIKE_EVERYBODY, ""))
MUCH = 120
TOLD = 4  # of the features that set a segment apart, in its paragraph
PLAIN = "Like everybody"


@dataclass(frozen=True)
class Claim:
    """A feature of which a segment has more (or less) than everybody, by more than the noise.

    strength: how far the interval's nearer end is from being like everybody, as a ratio above 1
    """

    feature: str
    more: bool
    strength: float
    figures: tuple[str, ...]

    @property
    def much(self) -> bool:
        return self.strength >= MUCH / LIKE_EVERYBODY


@dataclass(frozen=True)
class Sentence:
    """figures: the pointers of those that it rests on, in the release of the profile."""

    text: str
    figures: tuple[str, ...]


@dataclass(frozen=True)
class Persona:
    segment: str
    name: str
    claims: tuple[Claim, ...]
    sentences: tuple[Sentence, ...]

    @property
    def paragraph(self) -> str:
        return " ".join(sentence.text for sentence in self.sentences)


def personas(plan: Plan, answer: Mapping[str, Any]) -> list[Persona]:
    """One for each segment of the answer of seg-profile, in its order."""
    return [_persona(plan, answer, segment) for segment in answer["segments"]]


def claims(answer: Mapping[str, Any], segment: str) -> list[Claim]:
    """What sets a segment apart, the strongest first."""
    found = [_claim(answer, segment, feature) for feature in answer["segments"][segment]["index"]]
    return sorted((claim for claim in found if claim is not None), key=lambda claim: -claim.strength)


def _persona(plan: Plan, answer: Mapping[str, Any], segment: str) -> Persona:
    apart = claims(answer, segment)
    said = [_share(answer, segment), _rank(answer, segment)]
    said += [_told(plan, answer, segment, claim) for claim in apart[:TOLD]]
    if not apart:
        said.append(_nothing(answer, segment))
    return Persona(segment, name_of(plan, apart), tuple(apart), tuple(s for s in said if s is not None))


# --- claims -----------------------------------------------------------------------------------------------------------


def _claim(answer: Mapping[str, Any], segment: str, feature: str) -> Claim | None:
    """By the index; where that is too noisy, by typical values whose intervals do not meet: then not by how much."""
    at = f"/segments/{segment}/index/{feature}"
    index = Reading.of(answer["segments"][segment]["index"][feature])
    if index is not None:
        if index.low > LIKE_EVERYBODY:
            return Claim(feature, True, float(index.low) / LIKE_EVERYBODY, (at,))
        if index.high < LIKE_EVERYBODY:
            return Claim(feature, False, LIKE_EVERYBODY / max(float(index.high), 1e-3), (at,))
        return None
    own, everybody = (Reading.of(part["typical"][feature]) for part in (answer["segments"][segment], answer["all"]))
    figures = (f"/segments/{segment}/typical/{feature}", f"/all/typical/{feature}")
    if own is None or everybody is None or (own.low <= everybody.high and own.high >= everybody.low):
        return None
    return Claim(feature, own.low > everybody.high, 1.0, figures)


def _told(plan: Plan, answer: Mapping[str, Any], segment: str, claim: Claim) -> Sentence:
    degree = next((word for least, word in DEGREES if claim.strength >= least / LIKE_EVERYBODY), "")
    sentence, more, less = comparison(plan, claim.feature)
    part = answer["segments"][segment]
    index = Reading.of(part["index"][claim.feature])
    if index is not None:
        figures = f"index {index.estimate()}, {index.interval()}"
    else:
        own, everybody = (Reading.of(one["typical"][claim.feature]) for one in (part, answer["all"]))
        words = [value_in_words(claim.feature, one)[1] for one in (own, everybody) if one is not None]
        figures = "typically {}, everybody {}".format(*words)
    return Sentence(f"{sentence.format(degree + (more if claim.more else less))} ({figures}).", claim.figures)


def _nothing(answer: Mapping[str, Any], segment: str) -> Sentence | None:
    """Only where every index is known: of one that is too noisy nothing can be said."""
    index = answer["segments"][segment]["index"]
    if any(Reading.of(figure) is None for figure in index.values()):
        return None
    figures = tuple(f"/segments/{segment}/index/{feature}" for feature in index)
    return Sentence("No feature sets them apart from everybody by more than the noise.", figures)


# --- sizes ------------------------------------------------------------------------------------------------------------


def _share(answer: Mapping[str, Any], segment: str) -> Sentence | None:
    share = Reading.of(answer["segments"][segment]["share"])
    if share is None or share.low <= 0:
        return None
    shown = share.percent()
    text = f"They are {shown.estimate(1)} % of all customers ({shown.interval(1, ' %')})."
    return Sentence(text, (f"/segments/{segment}/share",))


def _rank(answer: Mapping[str, Any], segment: str) -> Sentence | None:
    """The largest or the smallest, where no other's interval meets this one's."""
    sizes = {name: Reading.of(part["size"]) for name, part in answer["segments"].items()}
    own = sizes.pop(segment)
    others = [size for size in sizes.values() if size is not None]
    if own is None or not others or len(others) < len(sizes):
        return None
    words = ""
    if own.low > max(other.high for other in others):
        words = f"No other segment is as large: {own.estimate()} customers ({own.interval()})."
    if own.high < min(other.low for other in others):
        words = f"No other segment is as small: {own.estimate()} customers ({own.interval()})."
    return Sentence(words, tuple(f"/segments/{name}/size" for name in answer["segments"])) if words else None


# --- names ------------------------------------------------------------------------------------------------------------

# What must be more (+), much more (++), less (−) or much less (−−) than everybody's: the first that fits is the name.
_RULES: tuple[tuple[str, Mapping[str, str]], ...] = (
    ("Loyal regulars", {"recency_days": "-", "baskets": "++", "spend_cents": "+"}),
    ("Lapsed regulars", {"recency_days": "++", "baskets": "+"}),
    ("Bargain hunters", {"promo_share_ppm": "++"}),
    ("Bargain hunters", {"discounted_baskets": "++"}),
    ("Newcomers", {"tenure_days": "--", "recency_days": "-"}),
    ("Lapsed occasional buyers", {"recency_days": "++", "baskets": "-"}),
    ("Lapsed", {"recency_days": "++"}),
    ("Full-price shoppers", {"promo_share_ppm": "--"}),
    ("Big spenders", {"spend_cents": "++"}),
    ("Frequent buyers", {"baskets": "++"}),
    ("Big baskets", {"mean_basket_cents": "++"}),
    ("Occasional buyers", {"baskets": "--"}),
    ("Small spenders", {"spend_cents": "--"}),
    ("Regulars", {"baskets": "+"}),
    ("Occasional buyers", {"baskets": "-"}),
)


def name_of(plan: Plan, apart: Sequence[Claim]) -> str:
    """By the first rule whose every part is claimed; else by the strongest claim; else what everybody is."""
    signs = {claim.feature: ("+" if claim.more else "-") * (2 if claim.much else 1) for claim in apart}
    for name, wanted in _RULES:
        if all(signs.get(feature, "").startswith(sign) for feature, sign in wanted.items()):
            return name
    if not apart:
        return PLAIN
    strongest = apart[0]
    return f"{'More' if strongest.more else 'Less'}: {short_name(plan, strongest.feature)}"


# --- later ------------------------------------------------------------------------------------------------------------


def held(claim: Claim, later: Mapping[str, Any], segment: str) -> str:
    """What a later release says of a claim: `held`, `contradicted`, or `undecided` where its interval allows both.

    later: the answer of seg-profile of another round, with noise of its own; segment: the one that is this one there
    """
    if segment not in later["segments"] or claim.feature not in later["segments"][segment]["index"]:
        return "undecided"
    again = _claim(later, segment, claim.feature)
    return "undecided" if again is None else "held" if again.more == claim.more else "contradicted"


def accuracy(verdicts: Sequence[str]) -> Decimal | None:
    """Held claims as a part of those that were decided; None where none was."""
    decided = [verdict for verdict in verdicts if verdict != "undecided"]
    return Decimal(decided.count("held")) / len(decided) if decided else None
