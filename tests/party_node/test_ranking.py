"""A ranked list says in each line what was released of it, and beside whom it names for several customers."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from party_node import ranking
from protocols.questions import lookalike


def released(signal: str) -> dict[str, Any]:
    return {lookalike.OVERLAP: {"owners": {"gamma": {"signal": {"value": signal}}}}}


@pytest.mark.parametrize("signal", ["usable", "no usable signal", "too noisy"])
def test_a_signal_is_the_released_one(signal: str) -> None:
    assert ranking.signal_of("gamma", released(signal)) == signal


def test_where_nobody_was_counted_there_is_no_signal() -> None:
    """A round can end after its scores, and an owner rank by them."""
    assert ranking.signal_of("gamma", {"look-scores": {}}) == "not counted"


@pytest.mark.parametrize("signal", ["usable", "no usable signal", "too noisy", "not counted"])
def test_a_list_carries_its_signal_and_whoever_makes_it_is_warned(tmp_path: Path, signal: str) -> None:
    state = tmp_path / "s.parquet"
    duckdb.sql(f"""COPY (SELECT 'a' AS customer, 'b' AS "merged customer") TO '{state}'""")
    columns = {
        "customer": np.array(["a", "c"], dtype=object),
        "score": np.array([0.5, np.nan]),
        "rank": np.array([1, 2]),
    }
    done = ranking._write(columns, signal, tmp_path / "out", "audience", state)
    with done.csv.open(newline="") as file:
        lines = list(csv.reader(file))
    assert lines == [
        ["customer", "score", "rank", "signal", "also_customers"],
        ["a", "0.5", "1", signal, '["b"]'],
        ["c", "", "2", signal, ""],
    ]
    assert [text.partition(":")[0] for text in done.warnings] == ([] if signal == "usable" else [signal])
