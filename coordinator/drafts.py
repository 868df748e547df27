"""A plan to start from: what the room already says, and for each question values that usually serve.

The draft is a sound plan as it stands; the operator sets purpose, table and bounds right before proposing it.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import tomllib
from collections.abc import Sequence
from fractions import Fraction

from protocols.budget import MICRO, charge_for, decimal, nano, variance_for
from protocols.errors import UsageError
from protocols.feature import Feature
from protocols.plan import LEAST_VARIANCE_MICRO, Plan
from protocols.questions import segments
from protocols.room import Room

PLACEHOLDER = "say here, in a sentence, what the parties want to know and why"
_ANSWER_AFTER_S = 30
_HEAD = """\
# A plan of room {room}. Every value is public, is approved by every party, and stays as it is: another value is another
# plan. `sumroom-coordinator plan check` prints what it costs.

type = "plan@v1"
room = "{room}"
name = "{name}"
purpose = {purpose}
parties = {parties}
recipients = {parties}     # who gets the results: all parties, for questions of several steps

collusion = {collusion}           # how many of the others may put their heads together
quorum = {n}              # how few shares may be released

deadline_s = {deadline_s}        # the whole round ends by then, released or forfeited
answer_after_s = {answer_after_s}     # nodes answer at this second, not when they are ready: time must not tell
valid_until = "{until}"

delta = "0.000001"      # at most 1e-6 and 1 / (10 · people_cap)
people_cap = 100000     # the most people a party may contribute, public
rho = "{rho}"            # the most the plan may cost for one person's records at one party

{blocks}
[features]
as_of = "{as_of}"            # features are reckoned from this day back
discount_depth_percent = 15     # a basket counts as discounted above this depth

# What every party's table must hold; each maps its own columns to these in node.toml.
[table]
name = "sales"
[table.columns]
customer = {{ type = "id" }}
basket = {{ type = "id" }}
bought_on = {{ type = "date" }}
paid = {{ type = "money", low = -10000, high = 10000 }}         # whole units of the currency, per row
discount = {{ type = "money", low = -10000, high = 10000 }}
"""
_LEAST_CELLS, _MOST_CELLS = 8, 13  # powers of two; more gained nothing, and each draws noise
_APART = 2  # deviations of its noise that a cell's people should be: no grid is cut finer
_ANY_RHO = "9999"  # above what any plan costs: the room's caps are what is compared with
_MATCHED = """\

# Who is one person at every party: for what is counted on masked keys, of which nobody learns whose they are.
[people]
column = "mail"         # what a person is known by at every party
key = "email"

[table.columns.mail]
type = "email"
"""
_MATCHING = {"overlap", "lookalike"}  # of these none can be asked without it
_QUESTIONS = {
    "rfm": """\

# Cohorts by recency, frequency and monetary value, cut at quintiles of all parties' customers together.
[[questions]]
kind = "rfm"
rho = { cuts = "0.006", cohorts = "0.012" }
recency_days = [2, 3, 4, 6, 8, 11, 16, 23, 32, 46, 66, 94, 134, 192, 274]          # candidates for the cuts
frequency_baskets = [2, 4, 7, 12, 20, 34, 58, 100, 170]
monetary_units = [5, 8, 13, 21, 35, 57, 94, 155, 256, 422, 696, 1147, 1890, 3114, 5132]
bargain_baskets = 4
bargain_share_percent = 60
""",
    "segments": """\

# Segments found together: k-means on noised sums, then what each segment is.
[[questions]]
kind = "segments"
clusters = { least = 3, most = 5 }    # or one number
lloyd_rounds = 5
coarse_cells = 256
fine_cells = 2048
rho = { moments = "0.0015", covariance = "0.0024", coarse = "0.00315", fine = "0.00585", over = "0.0045", \
lloyd = "0.00252", profile = "0.012" }

[[questions.features]]      # bounds in the feature's own unit; a value beyond them counts as the bound
name = "recency_days"
transform = "log1p"
low = 0
high = 365

[[questions.features]]
name = "baskets"
transform = "log1p"
low = 1
high = 300

[[questions.features]]
name = "spend_cents"
transform = "log1p"
low = 100
high = 1000000
""",
    "classes": """\

# Kinds of customers by the pattern of a few traits. A cut is the lower end of a level, in the feature's own unit.
[[questions]]
kind = "classes"
rho = { patterns = "0.024" }
classes = { least = 2, most = 5 }       # or one number, of 2 to 8
items = [
    { feature = "recency_days", cuts = [30] },
    { feature = "tenure_days", cuts = [180] },
    { feature = "baskets", cuts = [4, 20] },
    { feature = "mean_basket_cents", cuts = [3000] },
    { feature = "gap_days", cuts = [14] },
    { feature = "promo_share_ppm", cuts = [200000, 500000] },
    { feature = "discount_depth_ppm", cuts = [100000] },
]
""",
    "overlap": """\

# How many people each two parties share, counted on masked keys: nobody learns who.
[[questions]]
kind = "overlap"
rho = { sizes = "0.004", pairs = "0.024" }          # pairs: of all pairs of one party together
lists = { by = "all" }          # or by = "segments", found by a question before; or by = "column" and its name
""",
    "lookalike": """\

# People like a seed of one party's customers, which every other party looks for among its own: docs/lookalike.md.
[[questions]]
kind = "lookalike"
rho = { edges = "0.006", background = "0.004", seed = "0.05", scores = "0.006", overlap = "0.022" }
seed = { party = FIRST, where = [{ feature = "baskets", low = 12 }] }       # or list = "NAME", which it registered
ranks = OTHERS
floor = 500             # the fewest people of the seed of which anything is said
reach = 20              # the largest cut that may be used: 5, 10, 20, 30 or 50 percent
target = "1.5"          # the lift that the suggested cut must surely reach

[[questions.features]]      # what people are alike in; bounds as for segments
name = "recency_days"
transform = "log1p"
low = 0
high = 365

[[questions.features]]
name = "baskets"
transform = "log1p"
low = 1
high = 300

[[questions.features]]
name = "spend_cents"
transform = "log1p"
low = 100
high = 1000000
""",
}


def draft(room: Room, name: str, questions: Sequence[str], purpose: str = PLACEHOLDER) -> str:
    """TOML of a sound plan that asks `questions` of all parties of the room. Raises UsageError, the caps among it."""
    if not purpose.isprintable():
        raise UsageError("the purpose has a character that cannot be printed", "write it in one line of text")
    for question in questions:
        if question not in _QUESTIONS:
            raise UsageError(f"there is no question {question[:40]!r}", f"the questions are: {', '.join(_QUESTIONS)}")
    loose = Plan.from_toml(_text(room, name, questions, purpose, _ANY_RHO, 86_400).encode(), where="the draft")
    _check_caps(loose, room)
    # As much again as its waits, and two minutes: nodes compute, sign, and may have to come back in between.
    return _text(room, name, questions, purpose, decimal(room.caps.record), 2 * loose.least_s + 120)


def segments_question(
    features: Sequence[Feature], clusters: int, rho: int, profile: Fraction, people: int, parties: int, honest: int
) -> segments.Plan:
    """The draft's segments question for another table and at most so many nano-ρ, in the draft's own proportions.

    profile   the profile's part of ρ
    people    about how many there are in all: from them and the noise follow how many cells a grid may have
    honest    shares of noise, of `parties` in all, that ρ is reckoned with (`budget.honest_shares`)

    With one or two features there are no axes to find, and the grids share what these would cost. A grid's count is in
    whole people, and a share's σ at least 3: what a grid cannot use the moves of centres get.
    """
    (usual,) = tomllib.loads(_QUESTIONS["segments"])["questions"]
    rounds = int(usual["lloyd_rounds"])
    parts = {name: Fraction(nano(text, what=name)) for name, text in usual["rho"].items() if name != "profile"}
    shares = _shares(parts, rounds, rho, profile, len(features), honest)
    full = {grid: people / (_APART * _sigma(shares[grid], parties, honest)) for grid in ("coarse", "fine")}
    cells = {"coarse": _cells(full["coarse"]), "fine": _cells(full["coarse"] + full["fine"])}  # a full box has a part
    document = {
        "rho": {name: max(1, share) for name, share in shares.items()},
        "features": [feature.body() for feature in features],
        "clusters": clusters,
        "lloyd_rounds": rounds,
        "coarse_cells": cells["coarse"],
        "fine_cells": cells["fine"],
    }
    return segments.Plan.model_validate(document)


def _shares(
    parts: dict[str, Fraction], rounds: int, rho: int, profile: Fraction, features: int, honest: int
) -> dict[str, int]:
    """Nano-ρ of each step in the proportions of `parts`, those of Lloyd's rounds for each of them."""
    if features <= 2:
        axes, both = parts["covariance"], parts["coarse"] + parts["fine"]
        parts = {name: part for name, part in parts.items() if name != "covariance"}
        parts |= {grid: parts[grid] * (both + axes) / both for grid in ("coarse", "fine")}
    scale = (1 - profile) * rho / (sum(parts.values()) + (rounds - 1) * parts["lloyd"])
    exact = {name: part * scale for name, part in parts.items()}
    most = Fraction(charge_for(1, LEAST_VARIANCE_MICRO, honest) - 1)
    spare = sum(max(Fraction(), exact[grid] - most) for grid in ("coarse", "fine"))
    exact |= {grid: min(most, exact[grid]) for grid in ("coarse", "fine")}
    more = 1 + spare / (exact["over"] + rounds * exact["lloyd"])
    exact |= {name: exact[name] * more for name in ("over", "lloyd")} | {"profile": profile * rho}
    return {name: int(share) for name, share in exact.items()}


def _sigma(rho: int, parties: int, honest: int) -> float:
    """Standard deviation of all parties' noise in a count that costs so many nano-ρ."""
    return math.sqrt(parties * variance_for(max(1, rho), 1, honest) / MICRO)


def _cells(wanted: float) -> int:
    return 1 << min(_MOST_CELLS, max(_LEAST_CELLS, math.ceil(math.log2(max(1.0, wanted)))))


def _text(room: Room, name: str, questions: Sequence[str], purpose: str, rho: str, deadline_s: int) -> str:
    parties, last = sorted(room.parties), max(block.last for block in room.blocks.values())
    head = _HEAD.format(
        room=room.room,
        name=name,
        purpose=json.dumps(purpose, ensure_ascii=False),
        deadline_s=deadline_s,
        answer_after_s=_ANSWER_AFTER_S,
        parties="[" + ", ".join(f'"{party}"' for party in parties) + "]",
        collusion=len(parties) - 1,
        n=len(parties),
        until=(dt.datetime.now(dt.UTC).date() + dt.timedelta(days=365)).isoformat(),
        as_of=(dt.date.fromisoformat(last) + dt.timedelta(days=1)).isoformat(),
        rho=rho,
        blocks="\n".join(
            f'[blocks.{name}]\nfirst = "{block.first}"\nlast = "{block.last}"\n'
            for name, block in sorted(room.blocks.items())
        ),
    )
    asked = (_MATCHED if _MATCHING & set(questions) else "") + "".join(_QUESTIONS[question] for question in questions)
    return head + asked.replace("FIRST", json.dumps(parties[0])).replace("OTHERS", json.dumps(parties[1:]))


def _check_caps(plan: Plan, room: Room) -> None:
    """Raise UsageError where not even one round of the plan fits a cap of the room: no party could hold it."""
    blocks, caps = len(plan.blocks), room.caps
    for whose, cost, cap in (
        ("a record", plan.charge, caps.record),
        ("a person at all parties", plan.charge_person, caps.person),
        ("a record over all blocks", plan.charge * blocks, caps.lifetime_record),
        ("a person at all parties over all blocks", plan.charge_person * blocks, caps.lifetime_person),
    ):
        if cost > cap:
            raise UsageError(
                f"these questions cost ρ {decimal(cost)} for {whose}, the room's cap is {decimal(cap)}",
                "ask fewer of them, or write a plan with a lower rho for each by hand",
            )
