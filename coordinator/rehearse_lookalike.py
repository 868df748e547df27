"""`sumroom-coordinator rehearse lookalike ROWS …`: an audience tried on a table at hand, before anybody signs."""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table as Lines

from protocols import terminal
from protocols.accuracy import epsilon as epsilon_of
from protocols.budget import decimal
from protocols.errors import UsageError
from protocols.figures import TOO_NOISY
from protocols.plan import LARGEST_DELTA

from .plan_cli import JsonOption, read
from .rehearse_settings import MOST_PARTIES, progress, rho_of

if TYPE_CHECKING:
    from .lookalike_rehearsal import Asked, Reference, Run, Table

LEAST_CAP = 10**6  # people_cap of a plan in the mind, or twice the rows
REACHES = (5, 10, 20, 30, 50)
_IN_SAMPLE = "no --label-column: whom to find are the seed's own people at other parties, whom the score was made from"


@dataclass(frozen=True)
class Rehearsal:
    """What was asked of which table, and all that came of it."""

    asked: Asked
    table: Table
    delta: float
    against: list[Reference]
    runs: list[Run]

    @property
    def owners(self) -> list[str]:
        return self.asked.question.ranks

    @property
    def best(self) -> Reference | None:
        """The reference with the greater AUC."""
        known = [one for one in self.against if one.judged.auc is not None]
        return max(known, key=lambda one: one.judged.auc or 0.0, default=None)


def of_lookalike(
    table: Annotated[
        Path, typer.Argument(metavar="ROWS", help="A .csv, .csv.gz, .parquet or .npy file: a row a person.")
    ],
    seed_column: Annotated[str, typer.Option(metavar="NAME", help="1 for the seed's people, 0 for all others.")],
    owner_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Whose customer a row is; else rows are dealt out to --parties.")
    ] = None,
    label_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="1 for whom is looked for: a truth to judge by, told to nobody.")
    ] = None,
    seed_party: Annotated[
        str | None, typer.Option(metavar="NAME", help="The owner that has the seed; needed where several have some.")
    ] = None,
    parties: Annotated[
        int | None, typer.Option(min=2, max=MOST_PARTIES, help="Without --owner-column: how many; 3, if not given.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(metavar="A,B,…", help="These columns are the features; else all others.")
    ] = None,
    bounds: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="LOW HIGH", help="Public bounds of every column; a value beyond counts as the bound."),
    ] = None,
    column_bounds: Annotated[
        str | None, typer.Option(metavar="A=LOW:HIGH,…", help="Public bounds of single columns.")
    ] = None,
    log: Annotated[
        str | None,
        typer.Option(metavar="A,B,…", help="Columns that are measured by their logarithm, in whole numbers."),
    ] = None,
    epsilon: Annotated[
        float | None, typer.Option(help="What the question may cost one person's records at one party.")
    ] = None,
    delta: Annotated[float, typer.Option(help="The δ at which ε is reckoned.")] = 1e-6,
    floor: Annotated[int, typer.Option(min=500, max=10**9, help="The fewest people of a seed that is reported.")] = 500,
    reach: Annotated[int, typer.Option(help="The largest cut, in percent: 5, 10, 20, 30 or 50.")] = 20,
    target: Annotated[
        str | None, typer.Option(metavar="LIFT", help="The lift that the suggested cut must surely reach.")
    ] = None,
    plan: Annotated[
        Path | None, typer.Option(metavar="PLAN.TOML", help="A plan's lookalike and parties, instead of the above.")
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, max=10_000, help="How often, each time with fresh noise.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """Rank the people of a table by their likeness to a seed, as a room would, and judge the ranking by a truth.

    Rows, bounds, noise, fits and figures are those of a real round. A row of the seed at another party than the seed's
    is somebody whom both know. With a truth the ranking is compared with models of the pooled rows without any noise.
    """
    # Here and not above: scikit-learn and OpenDP take seconds that others need not wait.
    from . import rehearsed_rows
    from .lookalike_rehearsal import Asked, question_of, references, run
    from .rehearsed_rows import Named

    named = Named(seed_column, owner_column, label_column, seed_party)
    if plan is not None:
        _alone(bounds=bounds, column_bounds=column_bounds, log=log, epsilon=epsilon, columns=columns, parties=parties,
               seed_party=seed_party, target=target)  # fmt: skip
        planned = read(plan)
        asked, delta = Asked.by(planned), float(planned.delta)
        taken = rehearsed_rows.as_planned(table, named, asked.question, asked.parties)
    else:
        if epsilon is None:
            raise UsageError("missing: --epsilon", "or name a plan with --plan")
        if reach not in REACHES:
            raise UsageError(f"--reach is {reach}; it is 5, 10, 20, 30 or 50 percent")
        if target is not None and not (
            re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,4})?", target) and 1 <= float(target) <= 100
        ):
            raise UsageError("--target is no lift from 1 to 100", "for example 1.5")
        rho = rho_of(epsilon, delta)
        found = rehearsed_rows.within(table, named, _names(columns), bounds, _bounds(column_bounds), _names(log) or [],
                                      parties)  # fmt: skip
        taken, owner = found.table, found.seed_party
        owners = [party for party in taken.parties if party != owner]
        question = question_of(found.features, rho, owner, owners, floor, reach, target)
        asked = Asked.of(question, max(LEAST_CAP, 2 * taken.people))
    against, runs = list[Any](), list[Any]()
    with progress(repeat, 1 + repeat * len(asked.steps)) as said:
        said("reference")
        if taken.kind is not None:
            against = references(taken, asked.question.seed.party)
        runs = [run(asked, taken, said) for _ in range(repeat)]
    rehearsal = Rehearsal(asked, taken, delta, against, runs)
    if as_json:
        for remark in _remarks(rehearsal):
            terminal.say(f"warning: {remark}")
        print(json.dumps(document(rehearsal), indent=2))
    else:
        _show(rehearsal)


def _alone(**others: object) -> None:
    for name, value in others.items():
        if value is not None:
            option = name.replace("_", "-")
            what = f"--{option} comes from the plan, or from the command line: not from both"
            raise UsageError(what, f"leave out --{option}, or --plan")


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",")]


def _bounds(text: str | None) -> dict[str, tuple[float, float]]:
    """`a=0:5,b=-1:1`. Raises UsageError."""
    found: dict[str, tuple[float, float]] = {}
    for number, one in enumerate([] if text is None else text.split(","), start=1):
        name, _, ends = one.rpartition("=")
        low, _, high = ends.partition(":")
        try:
            found[name.strip()] = float(low), float(high)
        except ValueError:
            raise UsageError(
                f"--column-bounds: entry {number} is no NAME=LOW:HIGH", "--column-bounds spend=0:5000"
            ) from None
    return found


def _remarks(rehearsal: Rehearsal) -> Iterator[str]:
    """What no plan could have, or what the figures do not say."""
    if rehearsal.delta > LARGEST_DELTA:
        yield f"δ {rehearsal.delta:g}: no plan may have more than {float(LARGEST_DELTA):g}"
    if rehearsal.table.kind is None:
        yield _IN_SAMPLE
    question = rehearsal.asked.question
    if any(run.seed < question.floor for run in rehearsal.runs):
        yield f"below the floor of {question.floor:,} people, noise included, nothing is reported of a seed"
    elif any(own["signal"]["value"] == TOO_NOISY for run in rehearsal.runs for own in run.figures.values()):
        people, seeds = (math.ceil(least) for least in rehearsal.asked.needed())
        yield (
            f"too noisy: of an owner with fewer than {people:,} people, or {seeds:,} of the seed's among them, noise "
            "included, nothing is said"
        )
    if question.attributes is not None:
        yield "the plan's audit was left out, with its ρ: rows have no groups"


# -- what came of it ---------------------------------------------------------------------------------------------------


def document(rehearsal: Rehearsal) -> dict[str, Any]:
    """Everything as plain values, for JSON. Figures of the report are as a round releases them, decimals in quotes."""
    asked, table = rehearsal.asked, rehearsal.table
    ranked = table.ranked(asked.question.seed.party)
    return {
        "rows": table.people,
        "rows_clipped": table.clipped,
        "columns": list(table.columns),
        "parties": asked.parties,
        "seed_party": asked.question.seed.party,
        "seed": table.seed_people(asked.question.seed.party),
        "ranked": len(ranked),
        "truth": "seed" if table.kind is None else "label",
        "of_the_kind": int(table.truth[ranked].sum()),
        "delta": rehearsal.delta,
        "rho": float(decimal(asked.rho)),
        "epsilon": round(epsilon_of(asked.rho, rehearsal.delta), 4),
        "rho_person": float(decimal(asked.rho_person)),
        "epsilon_person": round(epsilon_of(asked.rho_person, rehearsal.delta), 4),
        "steps": [
            {"step": step.name, "slots": mechanism.slots, "rho": float(decimal(mechanism.charge))}
            for step, mechanism in asked.steps
        ],
        "references": [
            {"name": one.name, "auc": one.judged.auc, "recall": one.judged.recall, "cpu_s": round(one.cpu_s, 3)}
            for one in rehearsal.against
        ],
        "runs": [
            {
                "auc": run.judged.auc,
                "recall": run.judged.recall,
                "seed": run.seed,
                "preview": run.preview,
                "report": run.figures,
                "cpu_s": round(run.cpu_s, 3),
            }
            for run in rehearsal.runs
        ],
    }


def _show(rehearsal: Rehearsal) -> None:
    asked, table, console = rehearsal.asked, rehearsal.table, terminal.console()
    seeds = asked.question.seed.party
    ranked = table.ranked(seeds)
    print(
        f"{table.people:,} rows × {len(table.columns)} columns: {seeds} has a seed of {table.seed_people(seeds):,}, "
        f"{', '.join(rehearsal.owners)} rank {len(ranked):,} people"
    )
    print(f"{table.clipped:,} rows had a value beyond its bounds, which counts as the bound")
    each, person = (epsilon_of(rho, rehearsal.delta) for rho in (asked.rho, asked.rho_person))
    print(f"{len(asked.steps)} steps cost a record ρ {decimal(asked.rho)}, ε {each:.2f}; ", end="")
    print(f"a person at all parties ρ {decimal(asked.rho_person)}, ε {person:.2f}; δ {rehearsal.delta:g}")
    print("ρ by step: " + ", ".join(f"{step.name} {decimal(mechanism.charge)}" for step, mechanism in asked.steps))
    for remark in _remarks(rehearsal):
        print(remark)
    console.print(_ranking(rehearsal))
    for owner in rehearsal.owners:
        console.print(_report(rehearsal, owner))
    _summary(rehearsal)


def _ranking(rehearsal: Rehearsal) -> Lines:
    lines = Lines("run", "AUC", "recall at 20 %", "seed, noised", "CPU s", title="the released score on the rows")
    for number, run in enumerate(rehearsal.runs, start=1):
        lines.add_row(
            str(number), _plain(run.judged.auc), _plain(run.judged.recall), f"{run.seed:,}", f"{run.cpu_s:.1f}"
        )
    for one in rehearsal.against:
        lines.add_row(one.name, _plain(one.judged.auc), _plain(one.judged.recall), "no noise", f"{one.cpu_s:.1f}")
    return lines


def _report(rehearsal: Rehearsal, owner: str) -> Lines:
    """What a round would release of one owner, run by run: signal, AUC, and the lift of each cut, with intervals."""
    target = rehearsal.asked.question.target is not None
    more = ["suggested"] if target else []
    lines = Lines(
        "run", "signal", "AUC", *(f"lift at {reach} %" for reach in REACHES), *more, title=f"report of {owner}"
    )
    for number, run in enumerate(rehearsal.runs, start=1):
        own = run.figures[owner]
        cells = [_figure(own["cuts"][str(reach)]["lift"]) for reach in REACHES]
        cells += [_percent(own["default"])] if target else []
        lines.add_row(str(number), own["signal"]["value"], _figure(own["auc"]), *cells)
    return lines


def _summary(rehearsal: Rehearsal) -> None:
    found = [run.judged for run in rehearsal.runs if run.judged.auc is not None and run.judged.recall is not None]
    if not found:
        print("nobody of those ranked is whom to find, or all are: there is no AUC")
        return
    auc, recall = (statistics.median(values) for values in zip(*((o.auc, o.recall) for o in found), strict=True))
    told, best = f"median AUC {auc:.3f}, recall at 20 % {recall:.3f}", rehearsal.best
    if best is not None and best.judged.auc is not None:
        told += f"; {best.name} on the pooled rows, without noise: {best.judged.auc:.3f}, {best.judged.recall:.3f}"
    print(told)


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _figure(figure: Mapping[str, str]) -> str:
    return TOO_NOISY if figure["value"] == TOO_NOISY else f"{figure['value']} ({figure['low']} to {figure['high']})"


def _percent(figure: Mapping[str, str]) -> str:
    return "no cut" if figure["value"] == TOO_NOISY else f"{figure['value']} %"
