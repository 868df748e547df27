"""A party's own segments hold somebody each, whoever its customers are."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import numpy as np
import pytest

from party_node import own_segments
from party_node.features import People
from protocols.errors import UsageError
from protocols.questions import segments

FAR = 1 << 40
QUESTION = segments.Plan.model_validate(
    {
        "rho": dict.fromkeys(("moments", "coarse", "fine", "over", "lloyd", "profile"), 10**6),
        "features": [{"name": "spend_cents", "transform": "identity", "low": -FAR, "high": FAR}],
        "clusters": 4,
        "lloyd_rounds": 1,
        "coarse_cells": 16,
        "fine_cells": 16,
    }
)


def found(monkeypatch: pytest.MonkeyPatch, out: Path, spend: list[int]) -> list[dict[str, float]]:
    columns = {"spend_cents": np.array(spend), "usable": np.ones(len(spend), dtype=np.int64)}
    customers = np.array([f"c{i:03}" for i in range(len(spend))], dtype=np.object_)
    monkeypatch.setattr(own_segments, "check_snapshot", lambda *_: None)
    monkeypatch.setattr(own_segments, "window_of", lambda _: None)
    monkeypatch.setattr(own_segments, "people", lambda *_: People(customers, columns))
    plan: Any = SimpleNamespace(questions=[QUESTION])
    data: Any = SimpleNamespace(snapshot="s.parquet", sha256="0")
    state = out.parent / f"{out.name}-state"
    state.mkdir(exist_ok=True)
    duckdb.sql(f"COPY (SELECT 'c000' AS customer) TO '{state / 's.parquet'}' (FORMAT parquet)")
    described, _ = own_segments.own_segments(plan, data, state, None, out)
    return described


@pytest.mark.filterwarnings("error")
def test_customers_that_hardly_differ_are_too_few_and_leave_no_segment_of_nobody(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Four values, of which k-means takes three for one: it ends with two centres that nobody is nearest to."""
    with pytest.raises(UsageError, match="fewer than 4 customers that differ"):
        found(monkeypatch, tmp_path, [0, 1, 2, FAR] * 5)
    assert not list(tmp_path.iterdir())
    apart = found(monkeypatch, tmp_path, [*[-FAR] * 2, *[0] * 5, *[FAR // 2] * 3, *[FAR] * 4])
    assert [one["people"] for one in apart] == [5, 4, 3, 2]
    assert [one["spend_cents"] for one in apart] == [0, FAR, FAR // 2, -FAR]
