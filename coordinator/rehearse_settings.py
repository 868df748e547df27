"""What all rehearsals are told on the command line in the same way: how much they may cost. And how far they are."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from protocols import terminal
from protocols.accuracy import rho_within
from protocols.errors import UsageError

MOST_EPSILON, MOST_PARTIES = 100, 50


def rho_of(epsilon: float, delta: float) -> int:
    """Nano-ρ. Raises UsageError for an ε or a δ that makes no sense."""
    if not 0 < delta < 1:
        raise UsageError(f"--delta is {delta:g}; it lies between 0 and 1", "a plan's is at most 0.000001")
    if not 0 < epsilon <= MOST_EPSILON:
        raise UsageError(f"--epsilon is {epsilon:g}; it must be above 0, and at most {MOST_EPSILON}")
    rho = rho_within(epsilon, delta)
    if rho < 1000:
        raise UsageError(f"--epsilon is {epsilon:g}; at δ = {delta:g} that is next to no ρ", "ask for a higher one")
    return rho


@contextmanager
def progress(repeat: int, stages: int) -> Iterator[Any]:
    """A bar on a terminal, and what to call at the beginning of each stage."""
    columns = (TextColumn("{task.description:<24}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=terminal.console(error=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(f"{repeat} ×", total=stages)
        yield lambda text: bar.update(task, advance=1, description=text)
