"""`sumroom-coordinator rehearse segments ROWS …`: a question tried on a table at hand, before anybody signs a plan."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table as Lines

from protocols import terminal
from protocols.accuracy import epsilon as epsilon_of
from protocols.budget import decimal, honest_shares
from protocols.errors import UsageError
from protocols.figures import TOO_NOISY
from protocols.plan import LARGEST_DELTA

from . import drafts, rows
from .plan_cli import JsonOption, read
from .rehearse_lookalike import of_lookalike
from .rehearse_settings import MOST_PARTIES, progress, rho_of

if TYPE_CHECKING:
    from .rehearsal import Asked, Reference, Run, Table

MOST_FEATURES = 16
STARTS, FEW_STARTS, MANY_ROWS = 20, 10, 200_000
LARGEST_BOUND, NEAREST = 1e100, 1e-9  # squares of distances are numbers; bounds differ in more than their last digits
NO_PLAN = (
    "collusion 0: each party adds a part of the noise only, and trusts all others for the rest. No plan of several "
    "parties may have it, since they read the releases"
)

app = typer.Typer(add_completion=False, help="A question tried on a table at hand, in one process: nothing is sent.")
app.command("lookalike")(of_lookalike)


@app.callback()
def _rehearse() -> None:
    """A question tried on a table at hand, in one process: nothing is sent, nothing is spent."""


@dataclass(frozen=True)
class Rehearsal:
    """What was asked of which table, and all that came of it."""

    asked: Asked
    table: Table
    columns: tuple[str, ...]
    delta: float
    against: Mapping[int, Reference]
    runs: list[Run]

    def reference(self, run: Run) -> Reference:
        """Of as many segments as were asked for; where the round was to choose, of as many as it chose."""
        question = self.asked.question
        return self.against[question.clusters if question.range is None else len(run.centres)]

    def inertia(self, run: Run) -> float:
        return self.table.inertia(run.centres)

    def ratio(self, run: Run) -> float | None:
        """Over the reference's; None where that is 0, as with rows that are all alike."""
        found = self.reference(run).inertia
        return self.inertia(run) / found if found > 0 else None


@app.command("segments")
def of_segments(
    table: Annotated[Path, typer.Argument(metavar="ROWS", help="A .csv, .csv.gz, .parquet or .npy file of numbers.")],
    bounds: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="LOW HIGH", help="Public bounds of every column; a value beyond counts as the bound."),
    ] = None,
    clusters: Annotated[int | None, typer.Option(min=2, max=20, help="How many segments.")] = None,
    epsilon: Annotated[
        float | None, typer.Option(help="What the question may cost one person's records at one party.")
    ] = None,
    parties: Annotated[int, typer.Option(min=1, max=MOST_PARTIES, help="Among how many the rows are dealt out.")] = 3,
    collusion: Annotated[
        int | None, typer.Option(min=0, help="How many of the others may collude; all, if not given. No plan takes 0.")
    ] = None,
    delta: Annotated[float, typer.Option(help="The δ at which ε is reckoned.")] = 1e-6,
    profile_share: Annotated[
        float, typer.Option(help="The part of ρ for sizes and typical values; the rest finds the centres.")
    ] = 0.05,
    plan: Annotated[
        Path | None, typer.Option(metavar="PLAN.TOML", help="A plan's segments question, instead of the above.")
    ] = None,
    columns: Annotated[str | None, typer.Option(metavar="A,B,…", help="Use these columns only.")] = None,
    repeat: Annotated[int, typer.Option(min=1, max=10_000, help="How often, each time with fresh noise.")] = 10,
    starts: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Of scikit-learn, for comparison; 20, or 10 with many rows.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Find segments in a table as a room of so many parties would, and compare with k-means on the rows themselves.

    Rows, bounds, noise, fits and figures are those of a real round. The released centres are judged on the exact rows:
    inertia is their mean squared distance to the nearest centre, after values beyond the bounds have been clipped.
    """
    named = None if columns is None else [name.strip() for name in columns.split(",")]
    from .rehearsal import (
        Asked,
        Table,
        reference,
        run,
    )  # scikit-learn and OpenDP take seconds that others need not wait

    if plan is not None:
        _alone(bounds=bounds, clusters=clusters, epsilon=epsilon, collusion=collusion, columns=columns)
        planned = read(plan)
        asked, delta = Asked.by(planned), float(planned.delta)
        found = rows.read(table, [feature.name for feature in asked.question.features])
        taken = Table.as_planned(found.values, asked.question.features)
    else:
        low, high, k, rho = _settings(bounds, clusters, epsilon, delta, profile_share)
        others = parties - 1 if collusion is None else collusion
        if others >= parties:
            raise UsageError(f"--collusion is {others}; with {parties} parties it is at most {parties - 1}")
        found = rows.read(table, named)
        if len(found.columns) > MOST_FEATURES:
            raise UsageError(f"{table} has {len(found.columns)} columns; a question takes up to {MOST_FEATURES}")
        taken = Table.within(found.values, low, high)
        honest, share = honest_shares(parties, others), Fraction(profile_share)
        question = drafts.segments_question(taken.features, k, rho, share, taken.people, parties, honest)
        asked = Asked.of(question, parties, others)
    least = max(2 * asked.question.clusters, len(asked.parties))
    if taken.people < least:
        raise UsageError(f"{table} has {taken.people} rows; so many segments and parties take at least {least}")
    with progress(repeat, 1 + repeat * len(asked.steps)) as said:
        runs = [run(asked, taken, said) for _ in range(repeat)]
        said("reference")
        many = starts or (FEW_STARTS if taken.people > MANY_ROWS else STARTS)
        numbers = {asked.question.clusters} if asked.question.range is None else {len(one.centres) for one in runs}
        against = {k: reference(taken, k, many) for k in sorted(numbers)}
    rehearsal = Rehearsal(asked, taken, found.columns, delta, against, runs)
    if as_json:
        for remark in _remarks(rehearsal):
            terminal.say(f"warning: {remark}")
        print(json.dumps(document(rehearsal), indent=2))
    else:
        _show(rehearsal)


def _alone(**others: object) -> None:
    for name, value in others.items():
        if value is not None:
            what = f"--{name} comes from the plan, or from the command line: not from both"
            raise UsageError(what, f"leave out --{name}, or --plan")


def _settings(
    bounds: tuple[float, float] | None, clusters: int | None, epsilon: float | None, delta: float, profile: float
) -> tuple[float, float, int, int]:
    """(low, high, clusters, nano-ρ). Raises UsageError for what is missing or makes no sense."""
    missing = [
        name
        for name, value in (("--bounds", bounds), ("--clusters", clusters), ("--epsilon", epsilon))
        if value is None
    ]
    if bounds is None or clusters is None or epsilon is None:
        raise UsageError(f"missing: {', '.join(missing)}", "or name a plan with --plan")
    low, high = bounds
    if not (math.isfinite(low) and math.isfinite(high) and low < high and math.isfinite(high - low)):
        what = f"--bounds are {low:g} and {high:g}; the first must be the lower, both finite"
        raise UsageError(what, "as --bounds -1 1")
    furthest = max(abs(low), abs(high))
    if furthest > LARGEST_BOUND or abs(high - low) < max(furthest, 1 / LARGEST_BOUND) * NEAREST:
        raise UsageError(f"--bounds are {low:g} and {high:g}: too far out, or too near each other, to reckon with")
    if not 0 < profile < 1:
        raise UsageError(f"--profile-share is {profile:g}; it lies between 0 and 1")
    rho = rho_of(epsilon, delta)
    return low, high, clusters, rho


def _remarks(rehearsal: Rehearsal) -> Iterator[str]:
    """What of it no plan could have."""
    if not rehearsal.asked.allowed:
        yield NO_PLAN
    if rehearsal.delta > LARGEST_DELTA:
        yield f"δ {rehearsal.delta:g}: no plan may have more than {float(LARGEST_DELTA):g}"


# -- what came of it ---------------------------------------------------------------------------------------------------


def document(rehearsal: Rehearsal) -> dict[str, Any]:
    """Everything as plain values, for JSON: centres, inertia and half-widths in the units of the rows."""
    asked, table, against = rehearsal.asked, rehearsal.table, rehearsal.against
    wanted = asked.question.range
    return {
        "rows": table.people,
        "columns": list(rehearsal.columns),
        "rows_clipped": table.clipped,
        "clusters": asked.question.clusters if wanted is None else wanted.body(),
        "parties": len(asked.parties),
        "collusion": asked.collusion,
        "allowed_in_a_plan": asked.allowed,
        "delta": rehearsal.delta,
        "rho": float(decimal(asked.rho)),
        "epsilon": round(asked.epsilon(rehearsal.delta), 4),
        "rho_person": float(decimal(asked.rho_person)),
        "epsilon_person": round(epsilon_of(asked.rho_person, rehearsal.delta), 4),
        "steps": [
            {"step": step.name, "slots": mechanism.slots, "rho": float(decimal(mechanism.charge))}
            for step, mechanism in asked.steps
        ],
        # Of as many segments as were asked for; of a range each run has its own, beside its inertia.
        "reference_inertia": against[asked.question.clusters].inertia if wanted is None else None,
        "reference_starts": min(one.starts for one in against.values()),
        "reference_cpu_s": round(sum(one.cpu_s for one in against.values()), 3),
        "runs": [_run(rehearsal, run) for run in rehearsal.runs],
    }


def _run(rehearsal: Rehearsal, run: Run) -> dict[str, Any]:
    sizes, means = _half_widths(rehearsal, run)
    return {
        "centres": rehearsal.table.units(run.centres).tolist(),
        "inertia": rehearsal.inertia(run),
        "reference_inertia": rehearsal.reference(run).inertia,
        "ratio": rehearsal.ratio(run),
        "rho": float(decimal(rehearsal.asked.rho)),
        "rounds": len(rehearsal.asked.steps),
        "size_half_widths": sizes,
        "mean_half_widths": means,
        "cpu_s": round(run.cpu_s, 3),
    }


def _half_widths(rehearsal: Rehearsal, run: Run) -> tuple[list[float | None], list[list[float | None]]]:
    """Halves of the 95 % intervals of each segment's size, and of its mean of each column; None where too noisy."""
    names = [feature.name for feature in rehearsal.asked.question.features]
    parts = list(run.figures["segments"].values())
    means = [
        [_half(part["typical"][name], float(unit)) for name, unit in zip(names, rehearsal.table.unit, strict=True)]
        for part in parts
    ]
    return [_half(part["size"], 1.0) for part in parts], means


def _half(figure: dict[str, str], unit: float) -> float | None:
    return None if figure["value"] == TOO_NOISY else (float(figure["high"]) - float(figure["low"])) / 2 * unit


def _show(rehearsal: Rehearsal) -> None:
    asked, table, console = rehearsal.asked, rehearsal.table, terminal.console()
    n, others, wanted = len(asked.parties), asked.collusion, asked.question.range
    k = str(asked.question.clusters) if wanted is None else f"{wanted.least} to {wanted.most}"
    print(
        f"{table.people:,} rows × {len(rehearsal.columns)} columns, {n} parties of which {others} may collude, k = {k}"
    )
    print(f"{table.clipped:,} rows had a value beyond its bounds, which counts as the bound")
    each, person = asked.epsilon(rehearsal.delta), epsilon_of(asked.rho_person, rehearsal.delta)
    print(f"{len(asked.steps)} rounds cost a record ρ {decimal(asked.rho)}, ε {each:.2f}; ", end="")
    print(f"a person at all parties ρ {decimal(asked.rho_person)}, ε {person:.2f}; δ {rehearsal.delta:g}")
    for remark in _remarks(rehearsal):
        print(remark)
    lines = Lines("run", "k", "inertia", "÷ reference", "sizes ± 95 %", "means ± 95 %", "CPU s")
    for number, run in enumerate(rehearsal.runs, start=1):
        sizes, means = _half_widths(rehearsal, run)
        ratio = rehearsal.ratio(run)
        flat = [half for row in means for half in row]
        told = (f"{rehearsal.inertia(run):.6g}", "–" if ratio is None else f"{ratio:.4f}", _range(sizes), _range(flat))
        lines.add_row(str(number), str(len(run.centres)), *told, f"{run.cpu_s:.1f}")
    console.print(lines)
    unit = "in the units of the rows" if rehearsal.table.box != 1.0 or table.unit[0] != 1.0 else "in the box [-1, 1]"
    for number, found_by in rehearsal.against.items():
        told_of = f"inertia {found_by.inertia:.6g}, {found_by.cpu_s:.1f} s CPU"
        print(f"reference, k = {number}: scikit-learn's best of {found_by.starts}, {told_of}")
    found = [ratio for run in rehearsal.runs if (ratio := rehearsal.ratio(run)) is not None]
    if found:
        median, mean = statistics.median(found), statistics.fmean(found)
        print(f"÷ reference: median {median:.4f}, mean {mean:.4f}, worst {max(found):.4f} of {len(found)}")
    print(f"inertia: mean squared distance of the clipped rows to the nearest released centre, {unit}")


def _range(halves: list[float | None]) -> str:
    """The narrowest and the widest interval, and how many there is none of."""
    known = sorted(half for half in halves if half is not None)
    noisy = f"{TOO_NOISY}: {len(halves) - len(known)} of {len(halves)}" if len(known) < len(halves) else ""
    return "; ".join(filter(None, (f"{known[0]:.3g} to {known[-1]:.3g}" if known else "", noisy)))
