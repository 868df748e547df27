"""A second implementation of both questions, from `protocols/specs/question.md` and with nothing of the product.

Slow and plain: one person at a time, lists of Python's own numbers. The numbers in comments are the page's rules.
"""

from __future__ import annotations

import math
import statistics
from typing import Any

Z = 1.959963984540054
TARGETS = (20, 40, 60, 80)
COHORTS = ("bargain-hunter", "loyalist", "lapsed-defector", "promising-new", "at-risk", "big-spender", "occasional",
           "other")  # fmt: skip
NOISY = {"value": "too noisy"}
FIXED, SCALE = 2**24, 2**16
Person = dict[str, int]
Row = list[int]


# -- numbers (5 to 7) --------------------------------------------------------------------------------------------------


def half_width(variance: float) -> int:
    """h(s²)."""
    if variance > 10**6:
        return math.ceil(normal(0.05) * math.sqrt(variance))
    tail = [math.exp(-k * k / (2 * variance)) for k in range(math.ceil(14 * math.sqrt(variance)))]
    whole = tail[0] + 2 * sum(tail[1:])
    return next(h for h in range(len(tail)) if 2 * sum(tail[h + 1 :]) <= 0.05 * whole)


def normal(alpha: float) -> float:
    """z(α), by Newton's steps on the tail."""
    z = 1.0
    for _ in range(60):
        z += (math.erfc(z / math.sqrt(2)) - alpha) / (math.sqrt(2 / math.pi) * math.exp(-z * z / 2))
    return z


def ratio(a: float, b: float, v: float, w: float, c: float, z: float = Z) -> tuple[float, float] | None:
    """F(a, b, v, w, c; z)."""
    big, middle, small = b * b - z * z * w, a * b - z * z * c, a * a - z * z * v
    if big <= 0:
        return None
    root = math.sqrt(max(0.0, middle * middle - big * small))
    return (middle - root) / big, (middle + root) / big


def decimal(scaled: int, digits: int) -> str:
    sign, text = "-" * (scaled < 0), str(abs(scaled)).rjust(digits + 1, "0")
    return sign + (f"{text[:-digits]}.{text[-digits:]}" if digits else text)


def figure(value: float, low: float, high: float, digits: int) -> dict[str, str]:
    ten = 10**digits
    ends = round(value * ten), math.floor(low * ten + 1e-9), math.ceil(high * ten - 1e-9)
    return dict(zip(("value", "low", "high"), (decimal(end, digits) for end in ends), strict=True))


# -- rfm (8 to 14) -----------------------------------------------------------------------------------------------------


def bins_of(plan: dict[str, Any], person: Person) -> dict[str, tuple[int, list[int]]]:
    """Feature → (its bin, its boundaries)."""
    values = {
        "recency": (person["recency_days"], plan["recency_days"]),
        "frequency": (person["baskets"], plan["frequency_baskets"]),
        "monetary": (person["spend_cents"] // 100, plan["monetary_units"]),
    }
    return {name: (sum(bound <= value for bound in bounds), bounds) for name, (value, bounds) in values.items()}


def cuts_row(plan: dict[str, Any], person: Person, _: Any) -> Row:
    found = bins_of(plan, person).values()
    row = [int(at == k) for at, bounds in found for k in range(len(bounds) + 1)]
    return row if person["baskets"] >= 1 else [0] * len(row)


def cuts_answer(plan: dict[str, Any], noised: Row, variance: float, _: Any) -> dict[str, Any]:
    answer, rest = {}, noised
    for feature, name in (
        ("recency", "recency_days"),
        ("frequency", "frequency_baskets"),
        ("monetary", "monetary_units"),
    ):
        edges = [0, *plan[name]]
        counts, rest = rest[: len(edges)], rest[len(edges) :]
        answer[feature] = {f"p{target}": cut(edges, counts, target / 100, variance) for target in TARGETS}
    return answer


def cut(edges: list[int], counts: Row, t: float, s2: float) -> dict[str, Any]:
    n, total = len(edges), sum(counts)
    below = [sum(counts[:k]) for k in range(n)]
    gaps = [abs(b / total - t) for b in below] if total > 0 else [0.0]
    k = gaps.index(min(gaps))
    ends = ratio(below[k], total, k * s2, n * s2, k * s2) if k else (0.0, 0.0)
    if ends is None or (ends[1] - ends[0]) / 2 > 0.05 or total < 5 * math.sqrt(n * s2):
        return {"edge": NOISY, "below": NOISY}
    near, far, z = [t], [t], normal(0.05 / (n - 1))
    for j in range(1, n):
        low, high = ratio(below[j], total, j * s2, n * s2, j * s2, z) or (-1.0, 2.0)
        near.append(max(0.0, low - t, t - high))
        far.append(max(abs(low - t), abs(high - t)))
    possible = [j for j in range(n) if near[j] <= min(far)]
    return {
        "edge": figure(edges[k], edges[min(*possible, k)], edges[max(*possible, k)], 0),
        "below": figure(below[k] / total if k else 0.0, *ends, 4),
    }


def positions(plan: dict[str, Any], earlier: dict[str, Any]) -> dict[str, list[int]]:
    found = {}
    for feature, name in (
        ("recency", "recency_days"),
        ("frequency", "frequency_baskets"),
        ("monetary", "monetary_units"),
    ):
        edges = [0, *plan[name]]
        shown = {target: earlier["rfm-cuts"]["answer"][feature][f"p{target}"]["edge"]["value"] for target in TARGETS}
        found[feature] = sorted(
            len(edges) * target // 100 if text == "too noisy" else edges.index(int(text))
            for target, text in shown.items()
        )
    return found


def cohorts_row(plan: dict[str, Any], person: Person, earlier: dict[str, Any]) -> Row:
    at, bins = positions(plan, earlier), bins_of(plan, person)
    score = {name: 1 + sum(p <= bins[name][0] for p in at[name]) for name in bins}
    r, f, m = 6 - score["recency"], score["frequency"], score["monetary"]
    baskets = person["baskets"]
    rules = (
        baskets >= plan["bargain_baskets"]
        and 100 * person["discounted_baskets"] >= plan["bargain_share_percent"] * baskets,
        min(r, f, m) >= 4,
        r <= 2 and f >= 4,
        r == 5 and f == 1 + at["frequency"].count(0),
        2 <= r <= 3 and f >= 3,
        m == 5,
        f <= 2,
        True,
    )
    cells = [int((r - 1) * 5 + f - 1 == k) for k in range(25)]
    row = cells + [2 * int(rules.index(True) == k) for k in range(8)]
    return row if baskets >= 1 else [0] * 33


def cohorts_answer(_: Any, noised: Row, variance: float, __: Any) -> dict[str, Any]:
    cells, halves, h = noised[:25], noised[25:33], half_width(variance)
    total = max(0.0, (sum(cells) / 25 + sum(halves) / 2 / 2) / (1 / 25 + 1 / 2))
    names = [f"r{r}f{f}" for r in range(1, 6) for f in range(1, 6)]
    return {
        "cells": table(names, cells, 1, h, total, variance),
        "cohorts": table(list(COHORTS), halves, 2, h, total, variance),
        "unusable": people(noised[33], h, 2),
    }


def people(x: int, h: int, units: int) -> dict[str, str]:
    digits, tenths = (0, 1) if units == 1 else (1, 5)
    ends = {"value": x, "low": x - h, "high": x + h}
    return {name: decimal(end * tenths, digits) for name, end in ends.items()}


def table(names: list[str], found: Row, units: int, h: int, total: float, variance: float) -> dict[str, Any]:
    noisy = [x < 5 * math.sqrt(variance) for x in found]
    noisy = [True] * len(noisy) if sum(noisy) > len(noisy) / 2 else noisy
    near = nearest_table([x / units for x in found], total)
    shown = [{**people(x, h, units), "consistent": decimal(round(y * 10), 1)} for x, y in zip(found, near, strict=True)]
    return {name: NOISY if hide else made for name, hide, made in zip(names, noisy, shown, strict=True)}


def nearest_table(values: list[float], total: float) -> list[float]:
    """By bisection on the shift that all entries have in common; the rest is cut off at 0."""
    low, high = min(values) - total - 1, max(values) + 1
    for _ in range(300):
        shift = (low + high) / 2
        low, high = (shift, high) if sum(max(0.0, x - shift) for x in values) > total else (low, shift)
    return [max(0.0, x - high) for x in values]


# -- segments (15 to 21) -----------------------------------------------------------------------------------------------


def moved(feature: dict[str, Any], value: float) -> float:
    return math.log1p(value) if feature["transform"] == "log1p" else value


def scaled(plan: dict[str, Any], person: Person) -> list[float]:
    x = []
    for feature in plan["features"]:
        low, high = moved(feature, float(feature["low"])), moved(feature, float(feature["high"]))
        inside = moved(feature, float(max(feature["low"], min(feature["high"], person[feature["name"]]))))
        x.append(2 * (inside - low) / (high - low) - 1)
    return x


def integers(entries: list[float]) -> Row:
    return [math.trunc(entry * SCALE) for entry in entries]


def reals(state: dict[str, Any], name: str) -> list[float]:
    return [value / FIXED for value in state[name]]


def moments_row(plan: dict[str, Any], person: Person, _: Any) -> Row:
    x = scaled(plan, person)
    return integers([math.sqrt(len(x)), *x, *(value**2 for value in x)])


def covariance_row(plan: dict[str, Any], person: Person, earlier: dict[str, Any]) -> Row:
    state = earlier["seg-moments"]["state"]
    radius = state["radius"] / FIXED
    y = [x - mean for x, mean in zip(scaled(plan, person), reals(state, "mean"), strict=True)]
    norm = math.sqrt(sum(value**2 for value in y))
    y = [value * min(1.0, radius / norm) / radius for value in y]
    d = len(y)
    return integers([y[i] * y[j] * (1 if i == j else math.sqrt(2)) for i in range(d) for j in range(i, d)])


def boxes(plan: dict[str, Any], person: Person, state: dict[str, Any]) -> list[tuple[int, float]]:
    """Along each axis the number of the box, and where in it the person is: a part of its width."""
    x, found = scaled(plan, person), []
    for axis, low, width, cells in zip(
        state["axes"], reals(state, "low"), reals(state, "width"), state["cells"], strict=True
    ):
        along = sum((a - m) * part / FIXED for a, m, part in zip(x, reals(state, "mean"), axis, strict=True))
        box = max(0, min(cells - 1, math.floor((along - low) / width)))
        found.append((box, (along - low) / width - box))
    return found


def mixed(digits: list[int], radix: list[int]) -> int:
    number = 0
    for digit, base in zip(digits, radix, strict=True):
        number = number * base + digit
    return number


def coarse_row(plan: dict[str, Any], person: Person, earlier: dict[str, Any]) -> Row:
    state = earlier["seg-covariance"]["state"]
    at = mixed([box for box, _ in boxes(plan, person, state)], state["cells"])
    return [int(k == at) for k in range(plan["coarse_cells"])]


def fine_row(plan: dict[str, Any], person: Person, earlier: dict[str, Any]) -> Row:
    state, before, at = earlier["seg-covariance"]["state"], 0, plan["fine_cells"]
    where = boxes(plan, person, state)
    own = mixed([box for box, _ in where], state["cells"])
    for box, _, *parts in earlier["seg-coarse"]["state"]["split"]:
        if box == own:
            inner = [max(0, min(n - 1, math.floor(part * n))) for (_, part), n in zip(where, parts, strict=True)]
            at = before + mixed(inner, parts)
        before += math.prod(parts)
    return [int(k == at) for k in range(plan["fine_cells"] + 1)]


def block(
    plan: dict[str, Any], person: Person, state: dict[str, Any], blocks: int
) -> tuple[int, list[float], float, float]:
    """(where the own block begins, x − c, ‖x − c‖, the radius)."""
    x, radius = scaled(plan, person), state["radius"] / FIXED
    offsets = [[a - c / FIXED for a, c in zip(x, centre, strict=True)] for centre in state["centres"]]
    squares = [sum(value**2 for value in offset) for offset in offsets]
    at = squares.index(min(squares))
    assert at < blocks
    return at * (len(x) + 1), offsets[at], math.sqrt(squares[at]), radius


def clustered(move: float, count: float, spread: float, before: str) -> Any:
    def row(plan: dict[str, Any], person: Person, earlier: dict[str, Any]) -> Row:
        blocks = most(plan) * (1 if spread else 4)
        start, offset, norm, radius = block(plan, person, earlier[before]["state"], blocks)
        width = len(offset) + 1
        out = [0] * (blocks * width)
        moves = [math.sqrt(move) * value / max(norm, radius) for value in offset]
        out[start : start + width] = integers([*moves, math.sqrt(count)])
        return [*out, *integers([math.sqrt(spread) * min(1.0, norm / radius) ** 2])] if spread else out

    return row


def most(plan: dict[str, Any]) -> int:
    clusters: int | dict[str, int] = plan["clusters"]
    return clusters if isinstance(clusters, int) else clusters["most"]


def profile_row(plan: dict[str, Any], person: Person, earlier: dict[str, Any]) -> Row:
    start, _, _, _ = block(plan, person, earlier[f"seg-lloyd-{plan['lloyd_rounds']}"]["state"], most(plan))
    x = scaled(plan, person)
    out = [0] * (most(plan) * (len(x) + 1))
    out[start : start + len(x) + 1] = integers([*(math.sqrt(0.7 / len(x)) * value for value in x), math.sqrt(0.3)])
    return out


def profile_answer(plan: dict[str, Any], noised: Row, variance: float, earlier: dict[str, Any]) -> dict[str, Any]:
    width, k = len(plan["features"]) + 1, plan["clusters"]
    if not isinstance(k, int):
        k = len(earlier[f"seg-lloyd-{plan['lloyd_rounds']}"]["state"]["centres"])
    parts = [noised[i * width : (i + 1) * width] for i in range(k)]
    whole = [sum(column) for column in zip(*parts, strict=True)]
    everybody = typical(plan, whole, k * variance)
    segments = {f"s{i + 1}": segment(plan, part, whole, variance, k) for i, part in enumerate(parts)}
    shown = {name: show(plan, name, found) for name, found in everybody.items()}
    return {"all": {"size": size(whole[-1], k * variance), "typical": shown}, "segments": segments}


def stability_row(plan: dict[str, Any], person: Person, earlier: dict[str, Any]) -> Row:
    state, x = earlier[f"seg-lloyd-{plan['lloyd_rounds']}"]["state"], scaled(plan, person)
    far = [sum((a - c / FIXED) ** 2 for a, c in zip(x, centre, strict=True)) for centre in state["centres"]]
    at, doubt = far.index(min(far)), [e / FIXED for e in state["deviation"]]
    rivals = [
        (far[j] - far[at]) / (2 * math.sqrt(doubt[j] ** 2 * far[j] + doubt[at] ** 2 * far[at]))
        for j in range(len(far))
        if j != at
    ]
    out = [0] * (2 * most(plan))
    out[2 * at : 2 * at + 2] = integers([math.sqrt(0.5) * statistics.NormalDist().cdf(min(rivals)), math.sqrt(0.5)])
    return out


def stability_answer(plan: dict[str, Any], noised: Row, variance: float, earlier: dict[str, Any]) -> dict[str, Any]:
    k = len(earlier[f"seg-lloyd-{plan['lloyd_rounds']}"]["state"]["centres"])
    weight, one = math.sqrt(0.5) * SCALE, math.floor(math.sqrt(0.5) * SCALE)

    def shown(kept: int, people: int, of: float) -> dict[str, str]:
        ends = ratio(kept / weight, people / one, of / weight**2, of / one**2, 0)
        if ends is None or (ends[1] - ends[0]) / 2 > 0.25 or people < 5 * math.sqrt(of):
            return NOISY
        return figure(kept / weight / (people / one), ends[0] - 1 / weight, ends[1] + 1 / weight, 3)

    segments = {f"s{i + 1}": {"keeps": shown(noised[2 * i], noised[2 * i + 1], variance)} for i in range(k)}
    whole = shown(sum(noised[: 2 * k : 2]), sum(noised[1 : 2 * k : 2]), k * variance)
    return {"all": {"keeps": whole}, "segments": segments}


def segment(plan: dict[str, Any], part: Row, whole: Row, variance: float, k: int) -> dict[str, Any]:
    own, all_of_them = typical(plan, part, variance), typical(plan, whole, k * variance)
    ends = ratio(part[-1], whole[-1], variance, k * variance, variance)
    steady = part[-1] >= 5 * math.sqrt(variance) and whole[-1] >= 5 * math.sqrt(k * variance)
    return {
        "size": size(part[-1], variance),
        "share": figure(part[-1] / whole[-1], *ends, 4) if ends and steady else NOISY,
        "typical": {name: show(plan, name, found) for name, found in own.items()},
        "index": {name: index(own[name], all_of_them[name]) for name in own},
    }


def unit() -> int:
    return math.floor(math.sqrt(0.3) * SCALE)


def size(x: int, variance: float) -> dict[str, str]:
    if x < 5 * math.sqrt(variance):
        return NOISY
    h = half_width(variance)
    return figure(x / unit(), (x - h) / unit(), (x + h) / unit(), 0)


Found = tuple[float, float, float] | None


def typical(plan: dict[str, Any], part: Row, variance: float) -> dict[str, Found]:
    weight = math.sqrt(0.7) / math.sqrt(len(plan["features"])) * SCALE
    found: dict[str, Found] = {}
    for feature, total in zip(plan["features"], part[:-1], strict=True):
        a, b = total / weight, part[-1] / unit()
        ends = ratio(a, b, variance / weight**2, variance / unit() ** 2, 0)
        sure = ends is not None and (ends[1] - ends[0]) / 2 <= 0.5 and part[-1] >= 5 * math.sqrt(variance)
        places = (a / b, ends[0] - 1 / weight, ends[1] + 1 / weight) if sure and ends else None
        found[feature["name"]] = places and tuple(back(feature, place) for place in places)  # type: ignore[assignment]
    return found


def back(feature: dict[str, Any], place: float) -> float:
    low, high = moved(feature, float(feature["low"])), moved(feature, float(feature["high"]))
    value = low + (max(-1.0, min(1.0, place)) + 1) / 2 * (high - low)
    return math.expm1(value) if feature["transform"] == "log1p" else value


def show(plan: dict[str, Any], name: str, found: Found) -> dict[str, str]:
    feature = next(feature for feature in plan["features"] if feature["name"] == name)
    return NOISY if found is None else figure(*found, 0 if feature["high"] - feature["low"] >= 10_000 else 2)


def index(own: Found, everybody: Found) -> dict[str, str]:
    if own is None or everybody is None or everybody[1] <= 0:
        return NOISY
    ends = [100 * a / b for a in own[1:] for b in everybody[1:]]
    return figure(100 * own[0] / everybody[0], min(ends), max(ends), 0)


ROWS: dict[str, Any] = {
    "rfm-cuts": cuts_row,
    "rfm-cohorts": cohorts_row,
    "seg-moments": moments_row,
    "seg-covariance": covariance_row,
    "seg-coarse": coarse_row,
    "seg-fine": fine_row,
    "seg-over": clustered(0.8, 0.2, 0.0, "seg-fine"),
    "seg-lloyd-1": clustered(0.85, 0.12, 0.03, "seg-over"),
    "seg-profile": profile_row,
    "seg-stability": stability_row,
}
ANSWERS: dict[str, Any] = {"rfm-cuts": cuts_answer, "rfm-cohorts": cohorts_answer, "seg-profile": profile_answer,
                           "seg-stability": stability_answer}  # fmt: skip
BOUNDS = {"rfm-cuts": (1, 3), "rfm-cohorts": (2, 5), "seg-moments": (SCALE, 9 * SCALE**2), "seg-coarse": (1, 1),
          "seg-fine": (1, 1)}  # fmt: skip


def counted(step: str, plan: dict[str, Any], person: Person, earlier: dict[str, Any]) -> Row:
    """(2): a person's row and its last slot."""
    scale, bound = BOUNDS.get(step, (SCALE, SCALE**2))
    row = ROWS[step](plan, person, earlier)
    if person["usable"] == 1 and 0 < sum(x * x for x in row) <= bound:
        return [*row, 0]
    return [0] * len(row) + [min(scale, math.isqrt(bound))]
