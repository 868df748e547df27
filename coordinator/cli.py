"""The operator's tool: `sumroom-coordinator plan check | run | export`."""

from __future__ import annotations

import json
import logging
import math
import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from protocols import terminal
from protocols.accuracy import discrete_gaussian_accuracy, epsilon
from protocols.budget import MICRO, decimal
from protocols.errors import IntegrityError, RoundEnded, UsageError
from protocols.plan import Plan

from .config import Config
from .store import Store

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
plan_app = typer.Typer(add_completion=False, help="Look at a plan before anybody runs it.")
app.add_typer(plan_app, name="plan")

ConfigOption = Annotated[Path, typer.Option(metavar="COORDINATOR.TOML", help="The coordinator's settings.")]
PlanArgument = Annotated[Path, typer.Argument(metavar="PLAN.TOML", help="The plan.")]
OutOption = Annotated[Path, typer.Option(metavar="FOLDER", help="Where the results go.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]


@app.callback()
def _sumroom_coordinator() -> None:
    """The coordinator: it leads rounds and sees noised sums, nothing else."""


@plan_app.command()
def check(plan: PlanArgument, as_json: JsonOption = False) -> None:
    """Check a plan, and print its digest, its cost, and how wide its intervals will be. No data is touched."""
    checked = _plan(plan)
    forecast = _forecast(checked)
    if as_json:
        print(json.dumps(forecast, indent=2))
    else:
        _show_forecast(forecast, Console())


@app.command()
def run(
    plan: PlanArgument,
    config: ConfigOption,
    out: OutOption,
    wait_s: Annotated[float, typer.Option("--wait", help="Seconds to wait for the parties.")] = 60.0,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Run one round of a plan with the parties that dial in, and write releases, bundle, policy and report."""
    checked = _plan(plan)
    settings = Config.load(config)
    _check_files(settings)
    _check_folder(out)
    # Here and not above: Flower and gRPC take a second that `plan check` need not wait for.
    from protocols.carrier import codec
    from protocols.carrier.journal import Journal

    from . import app as flower
    from .grid import run_server_app
    from .hub import Hub

    codec.prepare_process()
    Store(settings.path("state")).close()  # the folder is there, and nobody else in it
    journal = Journal(settings.path("state") / "journal.db")
    hub = Hub(room=settings.room.room, signing=settings.signing, journal=journal, grace=settings.settings.grace_s)
    for party, key in settings.room.identities.items():
        hub.admit(party, key)
    run_id = secrets.randbits(62) + 1
    run_config: dict[str, Any] = {"config": str(config), "plan": str(plan), "wait-s": wait_s}
    try:
        hub.start(
            settings.settings.host,
            settings.settings.port,
            settings.secret("tls_key"),
            settings.read("tls_certificate"),
            settings.read("authority"),
        )
        with _progress(checked, quiet):
            run_server_app(flower.app, hub, run_id, run_config, plan=checked.digest)
    except KeyboardInterrupt:
        raise RoundEnded(
            "interrupted: the budget of a round under way stays spent",
            f"what was released so far: sumroom-coordinator export --config {config} --out {out}",
        ) from None
    finally:
        hub.stop()
        journal.forget(run_id)
        journal.close()
    _export(settings, out)


@app.command()
def export(config: ConfigOption, out: OutOption) -> None:
    """Write releases, bundle, policy and report of what the room has released so far."""
    _check_folder(out)
    _export(Config.load(config), out)


def main(arguments: Sequence[str] | None = None) -> int:
    return terminal.run(app, "sumroom-coordinator", arguments)


def _plan(path: Path) -> Plan:
    try:
        return Plan.from_toml(path.read_bytes(), where=str(path))
    except OSError as exc:
        raise UsageError(f"cannot read the plan {path}: {exc.strerror}") from None


def _check_files(settings: Config) -> None:
    """Read every file that a round needs, before one begins. Raises UsageError."""
    settings.room, settings.signing  # noqa: B018 - reading them is the check
    settings.secret("tls_key")
    settings.read("tls_certificate")
    settings.read("authority")


def _check_folder(out: Path) -> None:
    """Results that cannot be written are found out before budget is spent on them. Raises UsageError."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / ".probe").touch()
        (out / ".probe").unlink()
    except OSError as exc:
        reason = exc.strerror or type(exc).__name__
        raise UsageError(f"cannot write to {out}: {reason}", "name a folder with --out") from None


def _export(settings: Config, out: Path) -> None:
    from . import outputs  # charts take a second to load
    from .ledger import RoomLedger
    from .release import publish_missing

    store = Store(settings.path("state"))
    try:
        publish_missing(RoomLedger(settings.room, store.book, settings.signing, time.time))
        findings = outputs.write(out, settings.room, store.book, time.time())
    finally:
        store.close()
    verdict = f"{len(findings.violations)} violations" if findings.violations else "clean"
    print(f"{findings.releases} releases, {findings.numbers} figures; ledger {verdict}; written to {out}")
    if findings.violations:
        raise IntegrityError("the ledger does not audit clean", f"sumroom-audit verify {out / 'room.tar'} names where")


# -- what a plan costs -------------------------------------------------------------------------------------------------


def _forecast(plan: Plan) -> dict[str, Any]:
    delta = float(plan.delta)
    steps = []
    for step, mechanism in plan.steps():
        variance = len(plan.parties) * mechanism.variance_micro / MICRO
        half = discrete_gaussian_accuracy(variance)
        steps.append(
            {
                "step": step.name,
                "slots": mechanism.slots,
                "rho": decimal(mechanism.charge),
                "sigma_share": round(math.sqrt(mechanism.variance_micro / MICRO), 2),
                "half_width_95_people": {what: half / units for what, units in step.counted},
            }
        )
    return {
        "digest": plan.digest,
        "plan": plan.name,
        "steps": steps,
        "rho_record": decimal(plan.charge),
        "epsilon_record": round(epsilon(plan.charge, delta), 4),
        "rho_person": decimal(plan.charge_person),
        "epsilon_person": round(epsilon(plan.charge_person, delta), 4),
        "rho_allowed": decimal(plan.rho),
        "delta": plan.delta,
    }


def _show_forecast(forecast: dict[str, Any], console: Console) -> None:
    table = Table("step", "slots", "ρ", "σ of a share", "± 95 %, people", title=forecast["plan"])
    for step in forecast["steps"]:
        table.add_row(
            step["step"],
            str(step["slots"]),
            step["rho"],
            str(step["sigma_share"]),
            ", ".join(f"{what} ± {half:g}" for what, half in step["half_width_95_people"].items()),
        )
    console.print(table)
    console.print(
        f"per record ρ {forecast['rho_record']}, ε {forecast['epsilon_record']:.2f}; "
        f"per person at all parties ρ {forecast['rho_person']}, ε {forecast['epsilon_person']:.2f}; "
        f"δ {forecast['delta']}"
    )
    console.print(f"digest {forecast['digest']}", soft_wrap=True)


# -- progress ----------------------------------------------------------------------------------------------------------


class _Bar(logging.Handler):
    """Moves a bar at each line of the round's progress."""

    def __init__(self, bar: Progress, task: Any) -> None:
        super().__init__()
        self._bar, self._task = bar, task

    def emit(self, record: logging.LogRecord) -> None:
        self._bar.update(self._task, advance=1, description=record.getMessage())


@contextmanager
def _progress(plan: Plan, quiet: bool) -> Iterator[None]:
    stages = 3 + 2 * len(plan.mechanisms())
    columns = (TextColumn("{task.description:<32}"), BarColumn(), TimeElapsedColumn())
    logger = logging.getLogger("sumroom.progress")
    with Progress(*columns, console=Console(file=sys.stderr), disable=quiet) as bar:
        task = bar.add_task("opening the room", total=stages)
        handler = _Bar(bar, task)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            yield
        finally:
            logger.removeHandler(handler)
