"""The segments question once more, from the page (15 to 24), with nothing of the product."""

from __future__ import annotations

import math
import statistics
from typing import Any

from tests.specs.second_numbers import NOISY, figure, half_width, ratio

FIXED, SCALE = 2**24, 2**16
Person = dict[str, int]
Row = list[int]


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
    own = typical(plan, part, variance)
    ends = ratio(part[-1], whole[-1], variance, k * variance, variance)
    steady = part[-1] >= 5 * math.sqrt(variance) and whole[-1] >= 5 * math.sqrt(k * variance)
    return {
        "size": size(part[-1], variance),
        "share": figure(part[-1] / whole[-1], *ends, 4) if ends and steady else NOISY,
        "typical": {name: show(plan, name, found) for name, found in own.items()},
        "index": {name: index(plan, j, part, whole, variance, k) for j, name in enumerate(own)},
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


def index(plan: dict[str, Any], j: int, part: Row, whole: Row, variance: float, k: int) -> dict[str, str]:
    feature, weight = plan["features"][j], math.sqrt(0.7) / math.sqrt(len(plan["features"])) * SCALE
    own, everybody = (
        typical(plan, sums, s2)[feature["name"]] for sums, s2 in ((part, variance), (whole, k * variance))
    )
    if own is None or everybody is None or everybody[1] <= 0:
        return NOISY
    b, c = part[-1] / unit(), whole[-1] / unit()
    m, n = part[j] / weight / b, whole[j] / weight / c
    v, w, r = variance / weight**2, variance / unit() ** 2, own[0] / everybody[0]
    g, h = steep(feature, own[0]) / everybody[0], r * steep(feature, everybody[0]) / everybody[0]
    spread = (g / b) ** 2 * (v + m * m * w) + k * (h / c) ** 2 * (v + n * n * w) - 2 * g * h / (b * c) * (v + m * n * w)
    half = 1.959963984540054 * math.sqrt(max(0.0, spread)) + (g + abs(h)) / weight
    return figure(100 * r, 100 * (r - half), 100 * (r + half), 0)


def steep(feature: dict[str, Any], value: float) -> float:
    """The slope of `back` where it gives this value."""
    half = (moved(feature, float(feature["high"])) - moved(feature, float(feature["low"]))) / 2
    return half * (1 + value if feature["transform"] == "log1p" else 1)
