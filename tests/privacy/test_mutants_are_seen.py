"""What no other test would notice if it went wrong (`make mutants`), and that the mutants still fit the tree."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from protocols.plan import Mechanism
from protocols.statistic import Integers

ROOT = Path(__file__).resolve().parents[2]
PATCHES = sorted(path for folder in ("mutants", "guards") for path in (ROOT / "tests" / folder).glob("*.patch"))
PARTIES = ("convenience", "drugstore", "grocer")
SLOTS, VARIANCE = 20_000, 250


@pytest.mark.parametrize("entry", [0, 1000])
@pytest.mark.parametrize("party", PARTIES)
def test_the_share_of_every_party_has_its_full_noise_whatever_it_counted(
    party: str, entry: int, through_masks: Callable[..., Integers]
) -> None:
    """The others add none here, so that what is left is one party's; a quarter less in one of three shows in no sum."""
    mechanism = Mechanism(
        sensitivity_sq=3, variance=str(VARIANCE), slots=SLOTS, adders=list(PARTIES), quorum=3, collusion=2
    )
    totals = {name: np.full(SLOTS, entry, dtype=np.int64) for name in PARTIES}
    noise = through_masks(totals, mechanism, silent=frozenset(PARTIES) - {party}) - 3 * entry
    # The mean square of so many draws is within 2 % of σ², the mean within .5 of 0, but for 1 run in a million.
    assert abs(float(noise.var()) / VARIANCE - 1) < 5 * math.sqrt(2 / SLOTS)
    assert abs(float(noise.mean())) < 5 * math.sqrt(VARIANCE / SLOTS)


def test_there_are_mutants() -> None:
    assert len(PATCHES) >= 5


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.stem)
def test_every_mutant_applies_to_the_tree_as_it_is(patch: Path) -> None:
    command = ["git", "apply", "--check", str(patch)]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
