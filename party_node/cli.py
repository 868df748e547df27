"""The data engineer's tool: `sumroom-party register | start | status | segments`."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from protocols import terminal
from protocols.accuracy import epsilon
from protocols.budget import decimal
from protocols.errors import Refused, UsageError
from protocols.plan import Plan

from .config import Config
from .filter import Filter
from .policy import Consent
from .records import Snapshot, take_snapshot
from .store import Dataset, Store

SHOWN_DELTA = 1e-6
LARGEST_REQUEST = 64 << 20
WORST_SHARE = 0.05  # of rows that may be unusable: more is a wrong mapping or a broken export, not life

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
ConfigOption = Annotated[Path, typer.Option(metavar="NODE.TOML", help="This node's settings.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]


@app.callback()
def _sumroom_party() -> None:
    """A party's node: it stands beside the data, and only sums leave it."""


@app.command()
def register(
    config: ConfigOption,
    plan: Annotated[Path, typer.Option(metavar="PLAN.TOML", help="The plan whose table this is.")],
    as_json: JsonOption = False,
) -> None:
    """Read this party's files once, check them, and keep a snapshot as a new version of its data.

    What is found is shown here and told to nobody else.
    """
    settings = Config.load(config)
    agreed = _plan(plan)
    store = Store(settings.path("state"))
    try:
        version = secrets.token_hex(16)
        name = f"snapshot-{version}.parquet"
        snapshot = take_snapshot(settings.table(), agreed.table, store.state / name)
        if snapshot.people > agreed.people_cap:
            (store.state / name).unlink()
            raise Refused(
                f"the files hold more people than the plan's people_cap of {agreed.people_cap}",
                "ask the operator for a plan with a larger public cap",
            )
        if snapshot.bad_rows > snapshot.rows * WORST_SHARE:
            (store.state / name).unlink()
            _show_snapshot(version, snapshot, Console(stderr=True))
            raise Refused(
                f"{snapshot.bad_rows:,} of {snapshot.rows:,} rows are unusable, the limit is {WORST_SHARE:.0%}",
                "see the columns and rows above, then set them right in table.columns or in the files",
            )
        store.add_dataset(
            Dataset(
                version=version,
                salt=secrets.token_hex(32),
                snapshot=name,
                sha256=snapshot.sha256,
                schema_digest=agreed.table.digest(),
                blocks=tuple(sorted(settings.room.blocks)),
                people_cap=agreed.people_cap,
            )
        )
    finally:
        store.close()
    if as_json:
        print(json.dumps(_summary(version, snapshot), indent=2))
    else:
        _show_snapshot(version, snapshot, Console())


@app.command()
def start(
    config: ConfigOption,
    verbose: Annotated[bool, typer.Option("--verbose", help="Say on stderr what happens.")] = False,
) -> None:
    """Dial the coordinator and answer what the consent policy allows, until stopped (SIGTERM or Ctrl-C)."""
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    # Here and not above: Flower and gRPC take a second that `register` and `status` need not wait for.
    from protocols.carrier import codec
    from protocols.carrier.journal import Journal

    from . import app as flower
    from .attendant import Attendant

    settings = Config.load(config)
    codec.prepare_process()
    node_config = {"config": str(config.resolve())}
    flower.open_node(node_config)
    journal = Journal(settings.path("state") / "journal.db")
    attendant = Attendant(
        room=settings.room.room,
        party=settings.party,
        address=settings.settings.coordinator,
        ca_pem=settings.read("authority"),
        key_pem=settings.secret("tls_key"),
        cert_pem=settings.read("tls_certificate"),
        signing=settings.signing,
        coordinator=settings.room.coordinator_key,
        journal=journal,
        answer=codec.client_handler(flower.app, node_config),
        max_payload=LARGEST_REQUEST,
    )
    # A consent policy that cannot be read is found out now, not in a round.
    Consent.from_toml(settings.read("consent"), where=str(settings.path("consent")))
    try:
        asyncio.run(_until_stopped(attendant.run, flower.stop_waiting))
    finally:
        journal.close()
        flower.close_nodes()


@app.command()
def status(config: ConfigOption, as_json: JsonOption = False) -> None:
    """What this party's data has lost so far and may still lose, over all its rooms."""
    settings = Config.load(config)
    budget = Filter(settings.path("accounts"), settings.settings.budget.record)
    lines: list[dict[str, Any]] = []
    for name, block in sorted(settings.room.blocks.items()):
        used = budget.worst_day([block], int(time.time()))
        lines.append({"block": name, "used_nano": used, "cap_nano": budget.cap})
    budget.close()
    if as_json:
        print(json.dumps({"party": settings.party, "blocks": lines}, indent=2))
        return
    table = Table("block", "ρ used", "of", f"ε at δ = {SHOWN_DELTA:g}", title=f"{settings.party}, over all rooms")
    for line in lines:
        spent = f"{epsilon(line['used_nano'], SHOWN_DELTA):.2f}"
        table.add_row(line["block"], decimal(line["used_nano"]), decimal(line["cap_nano"]), spent)
    Console().print(table)


@app.command()
def segments(
    config: ConfigOption,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where segments.parquet and segments.csv go.")],
) -> None:
    """Put this party's own customers into the segments released last. Written here, sent nowhere.

    The node must not be running: it has the store to itself.
    """
    from .assignment import assign
    from .node import Node

    settings = Config.load(config)
    node = Node(settings, time.time)
    try:
        plan, released, dataset = node.last_segments()
        done = assign(plan, released, dataset, node.store.state, out)
    except OSError as exc:
        reason = exc.strerror or type(exc).__name__
        raise UsageError(f"cannot write to {out}: {reason}", "name a folder with --out") from None
    finally:
        node.close()
    print(f"{done.customers:,} customers in {done.parquet} and {done.csv}")


def main(arguments: Sequence[str] | None = None) -> int:
    return terminal.run(app, "sumroom-party", arguments)


async def _until_stopped(run: Callable[[asyncio.Event], Awaitable[None]], then: Callable[[], None]) -> None:
    stop = asyncio.Event()

    def end() -> None:
        then()
        stop.set()

    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, end)
    await run(stop)


def _plan(path: Path) -> Plan:
    try:
        return Plan.from_toml(path.read_bytes(), where=str(path))
    except OSError as exc:
        raise UsageError(f"cannot read the plan {path}: {exc.strerror}") from None


def _summary(version: str, snapshot: Snapshot) -> dict[str, Any]:
    return {
        "version": version,
        "rows": snapshot.rows,
        "people": snapshot.people,
        "first_day": snapshot.first_day,
        "last_day": snapshot.last_day,
        "bad_rows": snapshot.bad_rows,
        "rows_without_customer": snapshot.nameless_rows,
        "bad_sample": [vars(row) for row in snapshot.bad_sample],
    }


def _show_snapshot(version: str, snapshot: Snapshot, console: Console) -> None:
    console.print(
        f"dataset {version[:8]}: {snapshot.rows:,} rows of {snapshot.people:,} people, "
        f"{snapshot.first_day} to {snapshot.last_day}"
    )
    if snapshot.nameless_rows:
        console.print(f"{snapshot.nameless_rows:,} rows have no customer and belong to nobody")
    if snapshot.bad_rows:
        console.print(f"{snapshot.bad_rows:,} rows are unusable; their people count as unusable. The first of them:")
        for row in snapshot.bad_sample:
            console.print(f"  {row.file} row {row.row}, column {row.column}: {row.reason}")
