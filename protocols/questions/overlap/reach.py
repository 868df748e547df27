"""All parties together: how much is counted twice, and how many different people there are.

With two parties the reach is the sizes less the overlap. With more, people known to three are counted in three pairs,
and pairs alone leave bounds:

    Σ sizes − Σ pairs  ≤  reach  ≤  Σ sizes − the pairs of any spanning tree

Sources: Bonferroni 1936 (below); Hunter 1976, "An upper bound for the probability of a union", J. Appl. Prob. 13
(above; the heaviest tree is the nearest bound).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from protocols.accuracy import ALPHA, Interval, discrete_gaussian_accuracy, z_for
from protocols.figures import count, figure

from .matrix import share

Pair = tuple[str, str]


@dataclass(frozen=True)
class Whole:
    """size: of each party, noised; overlap: of each pair, noised; and the variances of both."""

    size: Mapping[str, int]
    size_variance: Mapping[str, float]
    overlap: Mapping[Pair, int]
    overlap_variance: Mapping[Pair, float]

    def figures(self) -> dict[str, Any]:
        sizes, var_sizes = sum(self.size.values()), sum(self.size_variance.values())
        shared, var_shared = sum(self.overlap.values()), sum(self.overlap_variance.values())
        found: dict[str, Any] = {"duplication": share(shared, sizes, var_shared, var_sizes)}
        least = count(sizes - shared, discrete_gaussian_accuracy(var_sizes + var_shared), 1)
        if len(self.size) == 2:
            return {**found, "reach": {"people": least}}
        return {**found, "reach": {"at_least": least, "at_most": self._at_most(sizes, var_sizes)}}

    def _at_most(self, sizes: int, var_sizes: float) -> dict[str, str]:
        """Why its interval is wider: the heaviest tree of noised counts is a lucky one, so the interval is made to hold
        for all n^(n − 2) trees at once (Cayley 1889), by Bonferroni."""
        tree = heaviest_tree(list(self.size), self.overlap)
        n = len(self.size)
        value = sizes - sum(self.overlap[pair] for pair in tree)
        widest = sum(sorted(self.overlap_variance.values())[-len(tree) :])
        half = z_for(ALPHA / n ** (n - 2)) * math.sqrt(var_sizes + widest)
        return figure(value, Interval(value - half, value + half), 0)


def heaviest_tree(parties: list[str], weight: Mapping[Pair, int]) -> list[Pair]:
    """The edges of the spanning tree with the largest sum. Source: Kruskal 1956; the first of equals wins."""
    part = {party: party for party in parties}
    chosen = []
    for a, b in sorted(weight, key=lambda pair: (-weight[pair], pair)):
        if part[a] != part[b]:
            chosen.append((a, b))
            left, kept = part[b], part[a]
            part = {party: kept if of == left else of for party, of in part.items()}
    return chosen
