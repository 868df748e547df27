"""The sections of the lookalike question: how many of the seed a cut finds, owner by owner, and whom it reaches alike.

What the overlap has counted and what the model itself expects are told apart, in the table and in the drawing: the
second is a preview that no count has seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from protocols.errors import IntegrityError
from protocols.plan import Plan
from protocols.questions import lookalike
from protocols.questions.lookalike.report import SIGNAL
from protocols.questions.lookalike.scorer import REACHES
from protocols.questions.lookalike.space import whole

from .charts import BAR, INK, NARROW, QUIET, RULE, WHISKER, WIDE, Picture, Reading, picture
from .feature_words import short_name
from .sections import NOISY, Column, Make, Released, Section, Table, cells

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHT = 260
MILLION = 10**6
VERDICTS = {"pass": "passes", "fail": "fails", "undecided": "undecided"}


def _question(plan: Plan) -> lookalike.Plan:
    for question in plan.questions:
        if isinstance(question, lookalike.Plan):
            return question
    raise IntegrityError("there is a release of a lookalike, but the plan does not ask for it")


# --- the seed and the owners' people ----------------------------------------------------------------------------------


def _scores(plan: Plan, released: Released) -> list[Section]:
    question, answer = _question(plan), released["look-scores"].answer
    seed = answer["seed"]
    enough = int(seed["size"]["value"]) >= question.floor
    lead = (
        f"The seed is customers of {question.seed.party}. Each company that looks for people like them scored its own "
        "customers, with a score that follows from released sums alone, and counted them in 64 cells. "
        + ("" if enough else f"The seed is below the plan’s floor of {question.floor:,}: nothing is said of it.")
    )
    rows = [["The seed", *cells(seed["size"])[:2]], ["Of it unusable", *cells(seed["unusable"])[:2]]]
    rows += [[f"Unusable at {owner}", *cells(answer["owners"][owner]["unusable"])[:2]] for owner in question.ranks]
    columns = [Column(""), Column("people", "number"), Column("95 % interval", "number")]
    blocks = [Table("How large the seed is", columns, rows)]
    for owner in question.ranks:
        own = answer["owners"][owner]["cells"]
        lines = [[str(int(name) + 1), *cells(own[name])[:2]] for name in sorted(own, key=int)]
        titles = [Column("Cell, the likest first"), *columns[1:]]
        blocks.append(Table(f"Customers of {owner} by cell of the score", titles, lines, folded=True))
    return [Section("Lookalike: the seed", lead, blocks)]


# --- what a cut finds -------------------------------------------------------------------------------------------------


def _report(plan: Plan, released: Released) -> list[Section]:
    question = _question(plan)
    preview = _preview(released["look-seed"].state)
    found = [_owner(question, owner, own, preview) for owner, own in released["look-overlap"].answer["owners"].items()]
    return [*found, _drivers(plan, question, released["look-seed"].state)]


def _preview(state: Mapping[str, Any] | None) -> list[int]:
    found = (state or {}).get("preview")
    if not (isinstance(found, list) and whole(found, 0, MILLION) and len(found) == len(REACHES)):
        raise IntegrityError("the state after the seed has no preview")
    return found


def _owner(question: lookalike.Plan, owner: str, own: Mapping[str, Any], preview: Sequence[int]) -> Section:
    cuts = {reach: {name: Reading.of(one) for name, one in own["cuts"][str(reach)].items()} for reach in REACHES}
    lead = (
        f"How many of the seed’s people are among the customers of {owner} that the score finds likest. Reach is how "
        f"much of {owner}’s customers a cut takes in; recall, how much of the seed’s people there; lift is recall over "
        f"reach. The overlap has counted these: people, and not what a model says. {_signal(own)}"
    )
    rows = []
    for reach, expected in zip(REACHES, preview, strict=True):
        readings = [cuts[reach][name] for name in ("reach", "recall")]
        shares = [NOISY if one is None else _percent(one) for one in readings]
        lift = cuts[reach]["lift"]
        times = NOISY if lift is None else f"{lift.estimate(2)} ({lift.interval(2)})"
        rows.append([f"The likest {reach} %{_used(question, reach)}", *shares, times, f"{expected / 1e4:.0f} %"])
    titles = [Column("Cut"), *(Column(name, "number") for name in ("reach", "recall", "lift", "preview of recall"))]
    whole_ = [["Customers", *cells(own["people"])[:2]], ["Of the seed among them", *cells(own["seed"])[:2]]]
    whole_.append(["AUC", *cells(own["auc"], 3)[:2]])
    if "default" in own:
        suggested = own["default"]["value"]
        said = NOISY if Reading.of(own["default"]) is None else f"the likest {suggested} %"
        why = "" if said == NOISY else f"lift {own['default']['low']} to {own['default']['high']}"
        whole_.append([f"Suggested cut for a lift of {question.target}", said, why])
    columns = [Column(""), Column("", "number"), Column("95 % interval", "number")]
    blocks: list[Table | Picture] = [_chart(owner, cuts, preview), Table("What each cut finds", titles, rows)]
    return Section(f"Lookalike: {owner}", lead, [*blocks, Table("In all", columns, whole_)])


def _used(question: lookalike.Plan, reach: int) -> str:
    return ", not to be used" if reach > question.reach else ""


def _percent(one: Reading) -> str:
    shown = one.percent()
    return f"{shown.estimate(1)} % ({shown.interval(1, ' %')})"


def _signal(own: Mapping[str, Any]) -> str:
    value = own["signal"]["value"]
    if value == SIGNAL:
        return "The score tells them from the others better than chance."
    return (
        "There is too much noise to say whether the score is better than chance."
        if "low" not in own["signal"]
        else ("There is no usable signal: it cannot be told from chance.")
    )


def _chart(owner: str, cuts: Mapping[int, Mapping[str, Reading | None]], preview: Sequence[int]) -> Picture:
    words = (
        "How much of the seed each cut finds",
        f"Recall by reach among the customers of {owner}, with 95 % intervals, and the model’s own preview",
        "Dots: recall that the overlap has counted, with its 95 % interval, at the reach that was counted. Rings: what "
        "the model itself expects at a reach; a preview, which nothing has checked. Dashed: a choice by chance.",
    )
    return picture(
        words, lambda narrow: partial(_draw, cuts, preview), lambda narrow: (NARROW if narrow else WIDE, HEIGHT)
    )


def _draw(cuts: Mapping[int, Mapping[str, Reading | None]], preview: Sequence[int], figure: Figure) -> None:
    width, height = (figure.get_size_inches() * 72).tolist()
    ax: Axes = figure.add_axes((44 / width, 40 / height, (width - 60) / width, (height - 52) / height))
    ax.plot([0, 55], [0, 55], color=QUIET, linewidth=1, linestyle=(0, (4, 4)))
    ax.plot(REACHES, [one / 1e4 for one in preview], color=QUIET, marker="o", markerfacecolor="white", linewidth=0)
    for one in cuts.values():
        reach, recall = one["reach"], one["recall"]
        if reach is not None and recall is not None:
            x, low, high = (100 * float(part) for part in (reach.value, recall.low, recall.high))
            ax.plot([x, x], [low, high], color=WHISKER, linewidth=1.8, solid_capstyle="butt")
            ax.plot([x], [100 * float(recall.value)], color=BAR, marker="o", markeredgecolor=WHISKER, linewidth=0)
    ax.set_xlim(0, 55)
    ax.set_ylim(-3, 108)
    ax.set_xticks([0, *REACHES])
    ax.set_yticks([0, 25, 50, 75, 100])
    ax.set_xlabel("reach, % of customers", color=INK)
    ax.set_ylabel("recall, % of the seed", color=INK)
    ax.tick_params(length=0, colors=QUIET, labelsize=11.5)
    ax.grid(color=RULE, linewidth=0.8)
    ax.set_axisbelow(True)
    for side in ax.spines.values():
        side.set_visible(False)


def _drivers(plan: Plan, question: lookalike.Plan, state: Mapping[str, Any] | None) -> Section:
    found = (state or {}).get("drivers")
    if not (isinstance(found, list) and whole(found, -MILLION, MILLION) and len(found) == len(question.features)):
        raise IntegrityError("the state after the seed has no drivers")
    named = sorted(zip(question.features, found, strict=True), key=lambda one: -abs(one[1]))
    rows = [[short_name(plan, feature.name), f"{value / MILLION:+.2f}".replace("-", "−")] for feature, value in named]
    lead = (
        "How the score goes with each feature among everybody, from −1 to 1. These follow from the model and released "
        "sums; they have no interval, and say what the score looks at, not why people buy."
    )
    columns = [Column("Feature"), Column("correlation with the score", "number")]
    return Section("Lookalike: what the score looks at", lead, [Table("Features", columns, rows)])


# --- the audit --------------------------------------------------------------------------------------------------------


def _audit(plan: Plan, released: Released) -> list[Section]:
    question = _question(plan)
    lead = (
        f"Whether the likest {question.reach} % take in the groups of an attribute alike: at least four fifths of the "
        "rate of the group that the plan names. “Undecided” is not “passes”: more customers decide it. The attribute "
        "never left its company."
    )
    blocks = []
    for owner, attributes in released["look-audit"].answer["owners"].items():
        for name, groups in attributes.items():
            rows = [[group, *_group(one)] for group, one in groups.items()]
            titles = [Column(name), *(Column(title, "number") for title in ("people", "rate", "ratio", "verdict"))]
            blocks.append(Table(f"{owner}, by {name}", titles, rows))
    return [Section("Lookalike: whom it reaches", lead, blocks)]


def _group(one: Mapping[str, Any]) -> list[str]:
    people, rate = Reading.of(one["people"]), Reading.of(one["rate"])
    shown = [NOISY if people is None else f"{people.estimate()} ({people.interval()})"]
    shown.append(NOISY if rate is None else _percent(rate))
    if "ratio" not in one:
        return [*shown, "", "others are compared with it"]
    ratio = Reading.of(one["ratio"])
    verdict = one["verdict"]["value"]
    return [
        *shown,
        NOISY if ratio is None else f"{ratio.estimate(3)} ({ratio.interval(3)})",
        VERDICTS.get(verdict, NOISY),
    ]


STEPS: dict[str, tuple[str, Make]] = {
    "look-scores": ("Lookalike: sizes", _scores),
    "look-overlap": ("Lookalike: what each cut finds", _report),
    "look-audit": ("Lookalike: whom it reaches", _audit),
}
