"""A second implementation of the lookalike question, from `protocols/specs/lookalike-question.md`, up to its figures.

Slow and plain, with nothing of the product: one person at a time, lists of Python's own numbers. The numbers in
comments are the page's rules.
"""

from __future__ import annotations

import hashlib
import math
import statistics
from fractions import Fraction
from functools import cache
from itertools import pairwise
from typing import Any

from tests.specs.second_segments import SCALE, integers, moved

Plan = dict[str, Any]
State = dict[str, Any]
Person = dict[str, int]
Numbers = list[int]
Names = list[str]
CUTS = (5, 10, 20, 30, 50)
ONE = 2**12  # of a normal score
WEIGHT = 2**24
MILLION = 10**6
DRAW = statistics.NormalDist().inv_cdf


# -- cells of features (5, 7) ------------------------------------------------------------------------------------------


def raw_cell(feature: dict[str, Any], value: int) -> int:
    low, high = moved(feature, float(feature["low"])), moved(feature, float(feature["high"]))
    place = 2 * (moved(feature, float(value)) - low) / (high - low) - 1
    return min(255, math.floor(128 * (place + 1)))


def cells_of(feature: dict[str, Any]) -> Numbers:
    """The cells that hold a whole number, by halving for each the least number that is in it or in a later one."""
    found, at = [raw_cell(feature, feature["low"])], feature["low"]
    while found[-1] < raw_cell(feature, feature["high"]):
        below, above = at, feature["high"]
        while above - below > 1:
            middle = (below + above) // 2
            below, above = (below, middle) if raw_cell(feature, middle) > found[-1] else (middle, above)
        at = above
        found.append(raw_cell(feature, at))
    return found


def cell(feature: dict[str, Any], person: Person) -> int:
    inside = max(feature["low"], min(feature["high"], person[feature["name"]]))
    return cells_of(feature).index(raw_cell(feature, inside))


def most_bins(feature: dict[str, Any]) -> int:
    return min(10, len(cells_of(feature)))


def edges_row(question: Plan, person: Person) -> Numbers:
    return [int(k == cell(feature, person)) for feature in question["features"] for k in range(len(cells_of(feature)))]


# -- the space (8, 9) --------------------------------------------------------------------------------------------------


@cache
def turns(d: int, k: int, j: int) -> int:
    """t of frequency k and feature j."""
    digest = hashlib.sha256(f"sumroom lookalike frequency {d} {k} {j}".encode()).digest()
    n = int.from_bytes(digest[:6], "big")
    wide = (0.5, 1.0, 2.0)[k % 3] * math.sqrt(d)
    return round(DRAW((n + 0.5) / 2**48) / wide / (2 * math.pi) * 2**32 / ONE)


def place(question: Plan, person: Person, edges: State) -> tuple[list[float], list[float], list[float]]:
    """(u and what is missing to length 1, the bins' one-hot, cosines and sines), the last two of weight 1."""
    d = len(question["features"])
    at = [cell(feature, person) for feature in question["features"]]
    whole = [edges["scores"][j][k] for j, k in enumerate(at)]
    z = [x / ONE for x in whole]
    u = [x / (1.3 * math.sqrt(d)) for x in [*z, *((x * x - 1) / 2 for x in z)]]
    norm = math.sqrt(math.fsum(x * x for x in u))
    if norm > 1:
        u = [x / norm for x in u]
    u.append(math.sqrt(max(0.0, 1 - math.fsum(x * x for x in u))))
    bins = []
    for feature, first, k in zip(question["features"], edges["bins"], at, strict=True):
        own = sum(start <= k for start in first) - 1
        bins += [float(b == own) for b in range(most_bins(feature))]
    steps = [sum(x * turns(d, k, j) for j, x in enumerate(whole)) % 2**32 for k in range(80)]
    angles = [2 * math.pi * ((step >> 20) + 0.5) / 4096 for step in steps]
    return u, bins, [*map(math.cos, angles), *map(math.sin, angles)]


def background_row(question: Plan, person: Person, edges: State) -> Numbers:
    u, bins, waves = place(question, person, edges)
    m = [math.sqrt(0.7) * x for x in u] + [math.sqrt(0.3)]
    upper = [math.sqrt(0.8) * m[i] * m[j] * (1 if i == j else math.sqrt(2))
             for i in range(len(m)) for j in range(i, len(m))]  # fmt: skip
    d, part = len(question["features"]), 0.2 / 0.45
    return integers([*upper, *(math.sqrt(0.2 / d * part) * x for x in bins),
                     *(math.sqrt(0.25 / 80 * part) * x for x in waves)])  # fmt: skip


def seed_row(question: Plan, person: Person, edges: State) -> Numbers:
    u, bins, waves = place(question, person, edges)
    d = len(question["features"])
    return integers([*(math.sqrt(0.45) * x for x in u), *(math.sqrt(0.2 / d) * x for x in bins),
                     *(math.sqrt(0.25 / 80) * x for x in waves), math.sqrt(0.1)])  # fmt: skip


# -- rows with their owners (6, 10, 11, 14) ----------------------------------------------------------------------------


def owned(owners: dict[str, int], own: str, row: Numbers, broken: Numbers) -> Numbers:
    """A vector of blocks, of which this party fills its own; `broken` is its slot unusable."""
    out: Numbers = []
    for owner, width in owners.items():
        out += [*row, *broken] if owner == own else [0] * (width + 1)
    return out


def blocks(question: Plan, plan: Plan, step: str) -> dict[str, int]:
    """Whose slots there are, and how many of each beside `unusable`."""
    if step == "look-seed":
        d = len(question["features"])
        return {question["seed"]["party"]: 2 * d + 1 + sum(map(most_bins, question["features"])) + 161}
    if step == "look-scores":
        return {question["seed"]["party"]: 1, **dict.fromkeys(question["ranks"], 64)}
    return dict.fromkeys(question["ranks"], sum(2 * len(values(plan, one)) for one in question["attributes"]))


def values(plan: Plan, attribute: dict[str, str]) -> list[str]:
    found: list[str] = plan["table"]["columns"][attribute["column"]]["values"]
    return found


def score_cell(question: Plan, person: Person, earlier: dict[str, Any]) -> int:
    state = earlier["look-seed"]["state"]
    phi = seed_row(question, person, earlier["look-edges"]["state"])
    score = sum(x * w for x, w in zip(phi, state["weights"], strict=True))
    return 63 - sum(edge <= score for edge in state["edges"])


def row(plan: Plan, step: str, party: str, person: Person, earlier: dict[str, Any]) -> Numbers:
    """What one person of a party adds to a step, `unusable` included."""
    question = plan["questions"][0]
    usable, seeds = person["usable"] == 1, party == question["seed"]["party"]
    if step == "look-edges":
        found = edges_row(question, person)
        return [*found, 0] if usable else [0] * len(found) + [1]
    if step == "look-background":
        found = background_row(question, person, earlier["look-edges"]["state"])
        return [*found, 0] if usable else [0] * len(found) + [SCALE]
    owners = blocks(question, plan, step)
    width = owners.get(party, 0)
    if width == 0 or (seeds and person["seed"] == 0):
        return owned(owners, "", [], [])
    if not usable:
        return owned(owners, party, [0] * width, [SCALE if step == "look-seed" else 1])
    if step == "look-seed":
        return owned(owners, party, seed_row(question, person, earlier["look-edges"]["state"]), [0])
    if seeds:
        return owned(owners, party, [1], [0])
    k = score_cell(question, person, earlier)
    if step == "look-scores":
        return owned(owners, party, [int(k == c) for c in range(64)], [0])
    within = band(cuts(cell_counts(plan, party, earlier["look-scores"]["noised"])), k) <= CUTS.index(question["reach"])
    found = [int(g == person[f"group/{one['column']}"] and yes == within)
             for one in question["attributes"] for g in range(len(values(plan, one)))
             for yes in (False, True)]  # fmt: skip
    return owned(owners, party, found, [0])


def slots(plan: Plan, step: str) -> Names:
    """What the page calls each."""
    question = plan["questions"][0]
    d, seed, features = len(question["features"]), question["seed"]["party"], question["features"]
    if step == "look-edges":
        return [*(f"{f['name']}/{c}" for f in features for c in range(len(cells_of(f)))), "unusable"]
    if step == "look-overlap":
        return [f"{a}--{b}/seed/band{i}" if a == seed else f"{a}--{b}/band{i}/seed"
                for a, b in pairs(question) for i in range(6)]  # fmt: skip
    moments = [*(f"{z}/{j}" for z in ("z", "zz") for j in range(d)), "rest"]
    singles = [f"{f['name']}/bin{b}" for f in features for b in range(most_bins(f))]
    singles += [f"{what}/{k}" for what in ("cos", "sin") for k in range(80)]
    if step == "look-background":
        side = range(2 * d + 2)
        return [*(f"m{i}/m{j}" for i in side for j in side if i <= j), *singles, "unusable"]
    own: dict[str, Names] = {}
    for owner in blocks(question, plan, step):
        own[owner] = {
            "look-seed": [*moments, *singles, "one"],
            "look-scores": ["seed"] if owner == seed else [f"cell/{c}" for c in range(64)],
            "look-audit": [f"{one['column']}/{value}/{yes}" for one in question["attributes"]
                           for value in values(plan, one) for yes in ("no", "yes")],
        }[step]  # fmt: skip
    return [f"{owner}/{name}" for owner, names in own.items() for name in (*names, "unusable")]


def pairs(question: Plan) -> list[Names]:
    return sorted(sorted((question["seed"]["party"], owner)) for owner in question["ranks"])


# -- states (7, 9) -----------------------------------------------------------------------------------------------------


def check_state(plan: Plan, step: str, state: State) -> None:
    question = plan["questions"][0]
    features = question["features"]
    names = {"look-edges": {"scores", "bins"}, "look-background": {"people"},
             "look-seed": {"weights", "edges", "preview", "drivers", "evidence", "people"}}  # fmt: skip
    need(set(state) == names[step], "fields")
    if step == "look-edges":
        need(len(state["scores"]) == len(state["bins"]) == len(features), "features")
        for feature, scores, bins in zip(features, state["scores"], state["bins"], strict=True):
            many = len(cells_of(feature))
            need(whole(scores, many, 3 * ONE), "scores")
            need(whole(bins, len(bins), many - 1) and 1 <= len(bins) <= most_bins(feature), "bins")
            need(bins[0] == 0 and all(a < b for a, b in pairwise(bins)), "bins that do not ascend from 0")
        return
    need(whole([state["people"]], 1, 2**53 - 1), "people")
    need(step == "look-seed" or state["people"] >= 0, "people")
    if step == "look-seed":
        (width,) = blocks(question, plan, step).values()
        need(whole(state["weights"], width, 1024 * WEIGHT), "weights")
        need(whole(state["edges"], 63, 2**52) and all(a <= b for a, b in pairwise(state["edges"])), "edges")
        need(whole(state["preview"], 5, MILLION) and min(state["preview"]) >= 0, "preview")
        need(whole(state["drivers"], len(features), MILLION), "drivers")
        need(whole([state["evidence"]], 1, 2**53 - 1) and state["evidence"] >= 0, "evidence")


def whole(numbers: Any, many: int, most: int) -> bool:
    return (isinstance(numbers, list) and len(numbers) == many
            and all(type(x) is int and abs(x) <= most for x in numbers))  # fmt: skip


def need(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"no such state: {what}")


# -- cuts and lists (11, 12) -------------------------------------------------------------------------------------------


def variance(plan: Plan, step: str) -> float:
    """Of one share, of a step with owners and of the overlap."""
    question = plan["questions"][0]
    name = step.removeprefix("look-")
    squared = {"overlap": len(question["ranks"]), "audit": len(question.get("attributes", [])), "seed": SCALE**2}
    return -(-squared.get(name, 1) * 10**15 // (2 * question["rho"][name])) / 10**6


def cell_counts(plan: Plan, owner: str, noised: Numbers) -> Numbers:
    """Of the sum of look-scores."""
    at = 2 + 65 * plan["questions"][0]["ranks"].index(owner)
    return noised[at : at + 64]


def cuts(counts: Numbers) -> Numbers:
    """The five cuts of an owner, each so many cells."""
    sums = [sum(counts[: c + 1]) for c in range(64)]
    smooth = ascending(sums)
    found: Numbers = []
    for i, r in enumerate(CUTS):
        possible = range(found[-1] + 1 if found else 1, 64 - (len(CUTS) - i) + 1)
        found.append(min(possible, key=lambda c, r=r: (abs(smooth[c - 1] - Fraction(sums[-1] * r, 100)), c)))
    return found


def ascending(numbers: Numbers) -> list[Fraction]:
    """The nearest that does not descend: neighbours that do are pooled to their mean."""
    pools: list[tuple[int, int]] = []
    for x in numbers:
        pools.append((x, 1))
        while len(pools) > 1 and Fraction(*pools[-2]) > Fraction(*pools[-1]):
            total, many = pools.pop()
            pools[-1] = (pools[-1][0] + total, pools[-1][1] + many)
    return [Fraction(*pool) for pool in pools for _ in range(pool[1])]


def band(found: Numbers, k: int) -> int:
    return sum(cut <= k for cut in found)


def dummies(plan: Plan) -> int:
    """(4) of people that do not exist, how many the seed's list would hold."""
    eight = 64 * round(variance(plan, "look-overlap") * MILLION)
    return 12 * (1 + math.isqrt((eight - 1) // MILLION))


def caps(plan: Plan, noised: Numbers) -> dict[str, Numbers]:
    """Party → to how many points each of its lists is filled up."""
    question, s2 = plan["questions"][0], variance(plan, "look-scores")

    def cap(counts: Numbers) -> int:
        eight = 64 * len(counts) * round(s2 * MILLION)  # the square of eight deviations, in millionths
        return min(int(plan["people_cap"]), max(0, sum(counts)) + 1 + math.isqrt((eight - 1) // MILLION))

    found = {question["seed"]["party"]: [cap(noised[:1])]}
    for owner in question["ranks"]:
        counts = cell_counts(plan, owner, noised)
        ends = [0, *cuts(counts), 64]
        found[owner] = [cap(counts[a:b]) for a, b in pairwise(ends)]
    return found
