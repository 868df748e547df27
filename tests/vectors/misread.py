"""What comes out where one rule about a question is misread.

Each is computed by the product with that one rule broken, and so wrong from there on. A second implementation that
finds its own numbers here knows which rule it misread.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np

from protocols import accuracy
from protocols.accuracy import Interval
from protocols.figures import Figure, figure, too_noisy
from protocols.questions import rfm, segments
from protocols.questions.segments import plan as segments_plan
from protocols.questions.segments import states
from protocols.questions.segments.states import Reals
from protocols.statistic import Integers
from tests.vectors.questions import document
from tests.vectors.spoiled import Files, as_json

People = Mapping[str, Integers]


def misread_vectors() -> Files:
    rows_and_figures = {**_rfm_rows(), **_rfm_figures(), **_segments_rows(), **_segments_figures()}
    return as_json({f"bad-{name}": made for name, made in rows_and_figures.items()})


def _with(where: Any, name: str, other: Any, kind: str = "") -> dict[str, Any]:
    """The document of the same question where one name of the product is another."""
    with mock.patch.object(where, name, other):
        return document(kind or ("rfm" if where is rfm else "segments"))


# -- rfm ---------------------------------------------------------------------------------------------------------------


def _rfm_rows() -> dict[str, Any]:
    def lower_bin(plan: rfm.Plan, feature: str, found: Integers) -> Integers:
        return np.searchsorted(np.asarray(plan.boundaries(feature)), found, side="left")

    def to_nearest(people: People) -> dict[str, Integers]:
        return {**values(people), "monetary": np.rint(people["spend_cents"] / 100).astype(np.int64)}

    def one_basket(plan: rfm.Plan, people: People) -> Integers:
        return bins(plan, {**people, "baskets": np.maximum(people["baskets"], 1)})

    def above(plan: rfm.Plan, people: People, score: Any, lowest: int) -> Integers:
        return cohort(plan, {**people, "discounted_baskets": people["discounted_baskets"] - 1}, score, lowest)

    values, bins, cohort = rfm._values, rfm.bin_rows, rfm._cohort
    return {
        "rfm-noise-of-two": document("rfm", adders=2),
        "rfm-boundary-in-the-lower-bin": _with(rfm, "_bin", lower_bin),
        "rfm-cents-rounded": _with(rfm, "_values", to_nearest),
        "rfm-no-basket-as-one": _with(rfm, "bin_rows", one_basket),
        "rfm-bargains-above-the-share-only": _with(rfm, "_cohort", above),
        "rfm-cell-as-heavy-as-a-cohort": _with(rfm, "CELL", rfm.COHORT),
    }


def _rfm_figures() -> dict[str, Any]:
    def by_the_delta_method(below: float, above: float, k: int, rest: int, variance: float, *_: float) -> Interval:
        share = below / (below + above)
        spread = k * variance * (1 - 2 * share) + share**2 * (k + rest) * variance
        half = accuracy.Z95 * math.sqrt(spread) / (below + above)
        return Interval(share - half, share + half)

    def inward(value: float, interval: Interval, digits: int) -> Figure:
        ends = {"value": value, "low": interval.low, "high": interval.high}
        return {name: f"{end:.{digits}f}" for name, end in ends.items()}

    return {
        "rfm-variance-of-one-share": document("rfm", shares=1),
        "rfm-interval-by-the-delta-method": _with(rfm, "share_interval", by_the_delta_method),
        "rfm-ends-rounded-to-nearest": _with(rfm, "figure", inward),
        "rfm-edge-without-doubt": _with(rfm, "_possible", lambda counts, *_: (len(counts), 0)),
        "rfm-shown-above-three-deviations": _with(rfm, "GATE", 3.0),
        "rfm-consistent-by-cutting-off": _with(rfm, "_project", lambda found, _: [max(0.0, x) for x in found]),
    }


# -- segments ----------------------------------------------------------------------------------------------------------


def _segments_rows() -> dict[str, Any]:
    def rounded(entries: Reals, scale: int) -> Integers:
        return np.rint(entries * scale).astype(np.int64)

    def straight(feature: segments_plan.Feature, found: Integers) -> Reals:
        inside = np.clip(found, feature.low, feature.high)
        return 2.0 * (inside - feature.low) / (feature.high - feature.low) - 1.0

    def last_of_equals(points: Reals, centres: Reals) -> tuple[Integers, Reals]:
        at, squared = nearest(points, centres[::-1])
        return len(centres) - 1 - at, squared

    def last_axis_first(digits: Integers, radix: Integers) -> Integers:
        return mixed(digits[:, ::-1], radix[..., ::-1])

    nearest, mixed = segments.nearest, states._mixed
    return {
        "segments-noise-of-two": document("segments", adders=2),
        "segments-rounded-to-nearest": _with(segments, "truncate", rounded),
        "segments-without-log": _with(segments_plan.Feature, "scaled", straight),
        "segments-covariance-beyond-the-radius": _with(segments, "_norm", lambda y: np.full(len(y), 1e-12)),
        "segments-last-axis-first": _with(states, "_mixed", last_axis_first),
        "segments-last-of-equals": _with(segments, "nearest", last_of_equals),
        "segments-count-of-the-lloyd-step": _with(segments, "OVER_COUNT", segments.COUNT),
        "segments-profile-with-the-count-of-an-over-cluster": _with(segments, "PROFILE_COUNT", segments.OVER_COUNT),
    }


def _segments_figures() -> dict[str, Any]:
    def independent(a: float, b: float, var_a: float, var_b: float, _: float) -> Interval | None:
        return accuracy.fieller(a, b, var_a, var_b, 0.0)

    def doubt_of_the_first(points: Reals, clusters: states.Clusters) -> Reals:
        return keeps(points, replace(clusters, deviation=np.full(len(clusters.centres), clusters.deviation[0])))

    def by_both_intervals(own: Any, j: int, everybody: Any) -> Figure:
        one, other = own.typical(j), everybody.typical(j)
        if one is None or other is None or other[1].low <= 0:
            return too_noisy()
        ends = [100 * a / b for a in (one[1].low, one[1].high) for b in (other[1].low, other[1].high)]
        return figure(100 * one[0] / other[0], Interval(min(ends), max(ends)), 0)

    keeps = segments.keeps
    profile = sys.modules["protocols.questions.segments.profile"]  # the package's `profile` is its function
    return {
        "segments-variance-of-one-share": document("segments", shares=1),
        "segments-share-as-if-independent": _with(profile, "fieller", independent),
        "segments-index-by-both-intervals": _with(profile._Sums, "_index", by_both_intervals),
        "segments-typical-hidden-above-a-tenth": _with(profile, "WIDEST", 0.1),
        "range-stability-with-the-doubt-of-the-first": _with(segments, "keeps", doubt_of_the_first, "range"),
    }
