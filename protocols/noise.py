"""The discrete Gaussian on integers, drawn by OpenDP. The only file that imports it.

Who may call: `party_node/share.py` and `party_node/overlap.py`, which send, and the rehearsal, which does not. The
vector mechanism of OpenDP neither checks its input nor refuses a scale of zero, so both are checked here, and what
OpenDP says the release costs is compared with what we charge.
"""

from __future__ import annotations

import math

import numpy as np

# Not `opendp.prelude`: that brings scikit-learn and pandas with it, a second of a node's start.
from opendp.domains import atom_domain, vector_domain
from opendp.measurements import make_noise
from opendp.measures import zero_concentrated_divergence
from opendp.metrics import l2_distance
from opendp.mod import enable_features

from .budget import MICRO, NANO, charge_for
from .errors import IntegrityError, UsageError
from .statistic import Integers

enable_features("contrib")

LEAST_VARIANCE_MICRO = 9 * MICRO
_LIMIT = 2**62


def add_noise(total: Integers, *, bound_sq: int, variance_micro: int) -> Integers:
    """`total` plus independent discrete Gaussian noise in each slot.

    total           (slots,) int64, an exact sum whose squared L2 sensitivity is `bound_sq`
    variance_micro  the least variance, in millionths; at least 9 (σ ≥ 3), so that sums of shares stay discrete Gaussian

    Raises UsageError for a variance below the limit, IntegrityError when the input or OpenDP's own accounting is off.
    """
    if variance_micro < LEAST_VARIANCE_MICRO:
        raise UsageError(f"noise variance {variance_micro / MICRO:g} is below 9: a share needs σ of at least 3")
    if total.dtype != np.int64 or total.ndim != 1 or np.any((total > _LIMIT) | (total < -_LIMIT)):
        raise IntegrityError("a sum must be a flat vector of int64 well inside 63 bits")
    scale = math.nextafter(math.sqrt(variance_micro / MICRO), math.inf)  # never below the promised σ
    mechanism = make_noise(
        vector_domain(atom_domain(T="i64")),
        l2_distance(T="f64"),
        zero_concentrated_divergence(),
        scale,
    )
    if not mechanism.input_domain.member(total):
        raise IntegrityError("OpenDP does not accept this sum as a member of its input domain")
    charged = charge_for(bound_sq, variance_micro, 1) / NANO
    cost: float = mechanism.map(math.sqrt(bound_sq))  # type: ignore[no-untyped-call]  # opendp ships no types here
    if cost > charged * (1 + 1e-9) + 1 / NANO:
        raise IntegrityError("OpenDP's privacy map is above the charge of this statistic")
    return np.asarray(mechanism(total), dtype=np.int64)
