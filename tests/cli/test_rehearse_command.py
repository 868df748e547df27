"""`sumroom-coordinator rehearse segments`: what a person and a program read, and what is refused in two lines."""

from __future__ import annotations

import json
import shlex
import statistics
from pathlib import Path

import numpy as np
import pytest

from coordinator import cli
from protocols.accuracy import epsilon
from protocols.plan import Plan
from protocols.questions import segments

ROOT = Path(__file__).parents[2]
ASKED = ["--bounds", "-1", "1", "--clusters", "3", "--parties", "3", "--epsilon", "2", "--delta", "1e-6"]
ASKED += ["--collusion", "2", "--repeat", "2"]


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    capsys.readouterr()
    status = cli.main(["rehearse", "segments", *[str(word) for word in words]])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return status, out, err


@pytest.fixture
def table(tmp_path: Path) -> Path:
    draw = np.random.default_rng(8)
    centres = np.array([[-0.6, -0.5], [0.6, 0.1], [-0.2, 0.7]])
    rows = centres[draw.integers(0, 3, 4000)] + draw.normal(0, 0.1, (4000, 2))
    rows[17] = [3.5, 0.0]
    np.save(tmp_path / "rows.npy", rows)
    return tmp_path / "rows.npy"


def test_a_program_reads_centres_inertia_cost_and_widths(capsys: pytest.CaptureFixture[str], table: Path) -> None:
    status, out, err = run(capsys, table, *ASKED, "--json")
    found = json.loads(out)
    assert (status, err) == (0, "")
    rows = np.clip(np.load(table), -1, 1)
    assert (found["rows"], found["rows_clipped"]) == (4000, int(np.any(np.abs(np.load(table)) > 1, axis=1).sum()))
    assert len(found["runs"]) == 2
    for one in found["runs"]:
        centres = np.array(one["centres"])
        by_hand = ((rows[:, None, :] - centres[None, :, :]) ** 2).sum(axis=2).min(axis=1).mean()
        assert one["inertia"] == pytest.approx(by_hand, rel=1e-6)
        assert found["reference_inertia"] <= one["inertia"] * (1 + 1e-9)
        assert one["inertia"] < 1.2 * found["reference_inertia"]
        assert 1.99 < epsilon(round(one["rho"] * 1e9), 1e-6) <= 2.0
        assert one["rounds"] == len(found["steps"])
        assert len(one["size_half_widths"]) == 3
        assert np.array(one["mean_half_widths"]).shape == (3, 2)
    assert found["runs"][0]["centres"] != found["runs"][1]["centres"]
    assert sum(step["rho"] for step in found["steps"]) == pytest.approx(found["rho"], abs=1e-9)
    assert found["allowed_in_a_plan"] is True


def test_a_person_reads_the_same_and_that_no_plan_may_count_on_all_others(
    capsys: pytest.CaptureFixture[str], table: Path
) -> None:
    status, out, err = run(capsys, table, *ASKED)
    assert (status, err) == (0, "")
    assert "No plan" not in out
    assert "4,000 rows × 2 columns, 3 parties of which 2 may collude, k = 3" in out
    assert "scikit-learn's best of 20" in out
    assert "median" in out
    status, out, _ = run(capsys, table, *ASKED, "--collusion", 0)
    assert status == 0
    assert "collusion 0: each party adds a part of the noise only" in out
    assert "No plan of several parties may have it" in out
    status, out, err = run(capsys, table, *ASKED, "--collusion", 0, "--delta", "1e-5", "--json")
    assert (status, json.loads(out)["allowed_in_a_plan"]) == (0, False)
    assert "warning: collusion 0" in err
    assert "warning: δ 1e-05: no plan may have more than 1e-06" in err


def test_collusion_costs_accuracy_at_one_epsilon(capsys: pytest.CaptureFixture[str], table: Path) -> None:
    widths = []
    for collusion in (0, 1, 2):
        _, out, _ = run(capsys, table, *ASKED, "--collusion", collusion, "--json", "--starts", 1)
        halves = [half for one in json.loads(out)["runs"] for half in one["size_half_widths"] if half is not None]
        widths.append(statistics.fmean(halves))
    assert widths[1] / widths[0] == pytest.approx((3 / 2) ** 0.5, rel=0.05)
    assert widths[2] / widths[0] == pytest.approx(3**0.5, rel=0.05)


def test_a_plans_own_question_is_rehearsed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    draw, n = np.random.default_rng(2), 2000
    columns = {
        "customer": np.arange(n),
        "baskets": draw.integers(1, 90, n),
        "promo_share_ppm": draw.integers(0, 10**6, n),
        "recency_days": draw.integers(0, 365, n),
        "spend_cents": draw.integers(100, 10**6, n),
    }
    text = ",".join(columns) + "\n" + "\n".join(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))
    (tmp_path / "rows.csv").write_text(text)
    plan = ROOT / "examples" / "complete_journey" / "plan.toml"
    status, out, _ = run(capsys, tmp_path / "rows.csv", "--plan", plan, "--repeat", 1, "--json")
    found = json.loads(out)
    assert status == 0
    planned = Plan.from_toml(plan.read_bytes())
    (question,) = [question for question in planned.questions if isinstance(question, segments.Plan)]
    assert question.range is not None
    assert (found["clusters"], found["parties"]) == (question.range.body(), 3)
    assert found["collusion"] == planned.collusion
    assert found["rho"] == pytest.approx(sum(nano for _, nano in segments.steps(question)) / 1e9, abs=2e-8)
    assert found["columns"] == [feature.name for feature in question.features]
    (one,) = found["runs"]
    assert np.all(np.array(one["centres"])[:, 2] > 100)
    assert found["reference_inertia"] is None
    status, _, err = run(capsys, tmp_path / "rows.csv", "--plan", plan, "--clusters", 4)
    assert (status, "--clusters comes from the plan" in err) == (2, True)


def test_a_run_that_chose_fewer_segments_is_held_against_as_many_without_noise(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Against the most that there might have been it would look far worse than it is."""
    plan = ROOT / "examples" / "complete_journey" / "plan.toml"
    (question,) = [q for q in Plan.from_toml(plan.read_bytes()).questions if isinstance(q, segments.Plan)]
    draw, names = np.random.default_rng(4), [feature.name for feature in question.features]
    middle = [[f.unit(at) for f in question.features] for at in (-0.7, 0.0, 0.7)]
    rows = np.array(middle)[draw.integers(0, 3, 6000)] * draw.uniform(0.97, 1.03, (6000, len(names)))
    np.savetxt(tmp_path / "rows.csv", rows, "%.0f", ",", header=",".join(names), comments="")
    status, out, _ = run(capsys, tmp_path / "rows.csv", "--plan", plan, "--repeat", 2, "--starts", 3, "--json")
    assert status == 0
    found = json.loads(out)
    assert {len(one["centres"]) for one in found["runs"]} == {3}
    for one in found["runs"]:
        assert one["ratio"] == pytest.approx(one["inertia"] / one["reference_inertia"])
        assert 1 - 1e-9 <= one["ratio"] < 2
    status, out, _ = run(capsys, tmp_path / "rows.csv", "--plan", plan, "--repeat", 1, "--starts", 3)
    assert (status, "k = 3 to 5" in out, "reference, k = 3: scikit-learn's best of 3" in out) == (0, True, True)


def test_the_command_of_the_page_runs_as_it_stands(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "segments.md").read_text("utf-8").replace("\\\n", " ")
    (line,) = [line for line in page.splitlines() if line.startswith("    sumroom-coordinator rehearse")]
    words = shlex.split(line)
    assert words[1:4] == ["rehearse", "segments", "rows.csv"]
    np.savetxt(tmp_path / "rows.csv", np.random.default_rng(1).uniform(-1, 1, (200, 3)), "%.6f", ",")
    monkeypatch.chdir(tmp_path)
    status, out, _ = run(capsys, *words[3:], "--json")
    assert status == 0
    assert len(json.loads(out)["runs"]) == 20


BAD = {
    "no file": (["MISSING.csv", *ASKED], "there is no file"),
    "bounds reversed": (["TABLE", *ASKED, "--bounds", "1", "-1"], "--bounds are 1 and -1"),
    "bounds equal": (["TABLE", *ASKED, "--bounds", "1", "1"], "--bounds are 1 and 1"),
    "bounds not finite": (["TABLE", *ASKED, "--bounds", "-inf", "1"], "--bounds are -inf and 1"),
    "bounds far out": (["TABLE", *ASKED, "--bounds", "-1e200", "1e200"], "too far out, or too near each other"),
    "bounds in one place": (["TABLE", *ASKED, "--bounds", "0", "5e-324"], "too far out, or too near each other"),
    "bounds of one number": (["TABLE", *ASKED, "--bounds", "1", "1.0000000000000002"], "or too near each other"),
    "bounds missing": (["TABLE", "--clusters", "3", "--epsilon", "1"], "missing: --bounds"),
    "one cluster": (["TABLE", *ASKED, "--clusters", "1"], "--clusters"),
    "too many clusters": (["TABLE", *ASKED, "--clusters", "21"], "--clusters"),
    "no epsilon": (["TABLE", *ASKED, "--epsilon", "0"], "--epsilon is 0"),
    "epsilon below 0": (["TABLE", *ASKED, "--epsilon", "-1"], "--epsilon is -1"),
    "epsilon nan": (["TABLE", *ASKED, "--epsilon", "nan"], "--epsilon is nan"),
    "epsilon next to nothing": (["TABLE", *ASKED, "--epsilon", "1e-9"], "next to no ρ"),
    "epsilon enormous": (["TABLE", *ASKED, "--epsilon", "1e9"], "at most 100"),
    "delta 0": (["TABLE", *ASKED, "--delta", "0"], "--delta is 0"),
    "delta 1": (["TABLE", *ASKED, "--delta", "1"], "--delta is 1"),
    "profile 1": (["TABLE", *ASKED, "--profile-share", "1"], "--profile-share is 1"),
    "no party": (["TABLE", *ASKED, "--parties", "0"], "--parties"),
    "all collude": (["TABLE", *ASKED, "--collusion", "3"], "--collusion is 3; with 3 parties it is at most 2"),
    "collusion below 0": (["TABLE", *ASKED, "--collusion", "-1"], "--collusion"),
    "no repeat": (["TABLE", *ASKED, "--repeat", "0"], "--repeat"),
    "no such column": (["TABLE", *ASKED, "--columns", "c1,c9"], "has no column 'c9'"),
    "too few rows": (["FEW", *ASKED], "has 5 rows; so many segments and parties take at least 6"),
    "too many columns": (["WIDE", *ASKED], "has 17 columns; a question takes up to 16"),
}


@pytest.mark.parametrize(("words", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_an_error_in_two_lines(
    capsys: pytest.CaptureFixture[str], table: Path, words: list[str], message: str
) -> None:
    np.save(table.with_name("few.npy"), np.load(table)[:5])
    np.save(table.with_name("wide.npy"), np.zeros((50, 17)))
    files = {"TABLE": table, "FEW": table.with_name("few.npy"), "WIDE": table.with_name("wide.npy")}
    status, out, err = run(capsys, *[files.get(word, word) for word in words])
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert len(err.splitlines()) <= 2
