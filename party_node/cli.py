"""The data engineer's tool: `sumroom-party register | start | health | status | requests | change | activate | …`."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from protocols import ledger_copy, terminal
from protocols.accuracy import epsilon
from protocols.budget import decimal
from protocols.errors import IntegrityError, UsageError
from protocols.plan import Plan

from . import activate_cli, change_cli, exports, progress, registration, requests_cli
from .config import Config
from .egress import logged, record
from .filter import Filter
from .health import Pulse, check_pulse
from .policy import consent_of
from .requests import open_requests

if TYPE_CHECKING:
    from .assignment import Assigned
    from .store import Dataset

SHOWN_DELTA = 1e-6
_DIGEST = re.compile("[0-9a-f]{8,64}")
LARGEST_REQUEST = 16 << 20  # bytes; reading one as JSON takes thirty times as much memory
_SHOWN = ("connected", "disconnected", "refused", "stream failed")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.add_typer(requests_cli.app, name="requests")
app.add_typer(change_cli.app, name="change")
app.command(name="keys")(change_cli.keys_command)
app.command()(activate_cli.activate)
app.command()(activate_cli.profiles)
app.command()(activate_cli.receipt)
ConfigOption = Annotated[Path, typer.Option(metavar="NODE.TOML", help="This node's settings.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]


@app.callback()
def _sumroom_party() -> None:
    """A party's node: it stands beside the data, and only sums leave it."""


@app.command()
def register(
    config: ConfigOption,
    plan: Annotated[
        Path, typer.Option(metavar="PLAN", help="The plan whose table this is: its file, or the digest of a request.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Read this party's files once, check them, and keep a snapshot as a new version of its data.

    What is found is shown here and told to nobody else.
    """
    settings = Config.load(config)
    done = registration.register(settings, _plan(settings, plan))
    for warning in done.warnings:
        print(terminal.plain(f"warning: {warning}"), file=sys.stderr)
    print(json.dumps(done.document(), indent=2) if as_json else terminal.plain("\n".join(done.lines())))


@app.command()
def start(
    config: ConfigOption,
    verbose: Annotated[bool, typer.Option("--verbose", help="Say on stderr what happens.")] = False,
    restored: Annotated[
        bool,
        typer.Option(
            "--restored", help="State and accounts were put back to an older copy: learn from the others again."
        ),
    ] = False,
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
    flower.open_node(node_config, restored=restored)
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
        on_event=_told,
    )
    pulse = Pulse(settings.path("state"), settings.settings.coordinator, lambda: attendant.connected)
    terminal.say(f"{settings.party}: dialling {settings.settings.coordinator}; Ctrl-C ends it")
    # A consent policy that cannot be read is found out now, not in a round.
    consent_of(settings)
    try:
        with nullcontext() if verbose else progress.shown():
            asyncio.run(_until_stopped([attendant.run, pulse.beat], flower.stop_waiting))
    finally:
        journal.close()
        flower.close_nodes()


@app.command()
def health(config: ConfigOption) -> None:
    """Whether the node runs and is connected: exit status 0, or 1 with the reason."""
    print(check_pulse(Config.load(config).path("state"), time.time()))


@app.command()
def export(
    config: ConfigOption,
    out: Annotated[Path, typer.Option(help="A folder for room.tar and policy.txt.")],
) -> None:
    """Write the bundle for an auditor from this party's own copy of the ledger, with the releases that it got."""
    findings = exports.write(Config.load(config), out)
    verdict = f"{len(findings.violations)} violations" if findings.violations else "clean"
    print(f"{findings.entries} entries, {findings.releases} releases; ledger {verdict}; written to {out}")
    if findings.violations:
        raise IntegrityError("the ledger does not audit clean", f"sumroom-audit verify {out / 'room.tar'} names where")


@app.command()
def status(config: ConfigOption, as_json: JsonOption = False) -> None:
    """What this party's data has lost so far and may still lose, over all its rooms."""
    settings = Config.load(config)
    budget = Filter(settings.path("accounts"), settings.settings.budget.record)
    lines: list[dict[str, Any]] = []
    for name, block in sorted(ledger_copy.room_now(settings.room, settings.path("state") / "ledger.db").blocks.items()):
        used = budget.worst_day([block], int(time.time()))
        lines.append({"block": name, "used_nano": used, "left_nano": max(0, budget.cap - used), "cap_nano": budget.cap})
    budget.close()
    if as_json:
        print(json.dumps({"party": settings.party, "blocks": lines}, indent=2))
        return
    title = f"{settings.party}, over all rooms"
    table = Table("block", "ρ used", "left", "of", f"ε at δ = {SHOWN_DELTA:g}", title=title)
    for line in lines:
        amounts = [decimal(line[name]) for name in ("used_nano", "left_nano", "cap_nano")]
        table.add_row(line["block"], *amounts, f"{epsilon(line['used_nano'], SHOWN_DELTA):.2f}")
    terminal.console().print(table)


@app.command()
def segments(
    config: ConfigOption,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where segments.parquet and segments.csv go.")],
    local: Annotated[
        bool, typer.Option("--local", help="Segments of this party's rows alone, without noise, for its own eyes.")
    ] = False,
    plan: Annotated[
        Path | None,
        typer.Option(metavar="PLAN", help="With --local: a plan that asks for segments; else the last released."),
    ] = None,
    clusters: Annotated[
        int | None, typer.Option(min=2, max=20, help="With --local: how many; else the plan's.")
    ] = None,
) -> None:
    """Put this party's own customers into the segments released last, or into its own. Written here, sent nowhere.

    The node must not be running: it has the store to itself.
    """
    from .assignment import assign

    if not local and (plan is not None or clusters is not None):
        raise UsageError("--plan and --clusters go with --local", "released segments are those of their own plan")
    if not local:
        _write_own(config, out, "seg-profile", "segments", assign)
        return
    from .own_segments import own_segments

    described: list[dict[str, float]] = []

    def write(of: Plan, _: object, dataset: Dataset, state: Path, to: Path) -> Assigned:
        found, done = own_segments(of, dataset, state, clusters, to)
        described.extend(found)
        return done

    done = _write_own(config, out, "seg-profile", "segments", write, plan)
    _show_own(described, done.customers)


@app.command()
def classes(
    config: ConfigOption,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where classes.parquet and classes.csv go.")],
) -> None:
    """Put this party's own customers into the latent classes released last. Written here, sent nowhere.

    The node must not be running: it has the store to itself.
    """
    from .assignment import classify

    _write_own(config, out, "classes-patterns", "classes", classify)


@app.command()
def audience(
    config: ConfigOption,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where audience.parquet and audience.csv go.")],
    private_ranking: Annotated[
        bool, typer.Option("--private-ranking", help="By this party's exact rows: no released lift applies.")
    ] = False,
) -> None:
    """Rank this party's own customers by their likeness to the seed of the last lookalike. Sent nowhere.

    The node must not be running: it has the store to itself.
    """
    from .ranking import rank

    _write_own(config, out, "look-scores", "lookalikes", partial(rank, Config.load(config).party, private_ranking))


@app.command()
def embeddings(
    config: ConfigOption,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where embeddings.parquet goes.")],
    plan: Annotated[
        str, typer.Option(metavar="DIGEST", help="In the space of this plan's last round, or how its digest starts.")
    ] = "",
) -> None:
    """Write the shared embedding of this party's own customers, in the space of the last lookalike. Sent nowhere.

    With it each one's cosine to that lookalike's released prototype. The node must not be running.
    """
    from .embeddings import embed

    done = _written(config, out, "look-edges", "shared spaces", embed, digest=plan)
    print(f"{done.customers:,} customers, {done.length} coordinates each, in {done.parquet}")
    if done.compared:
        print("cosine: to the released prototype, a noised sum over the seed; coordinates and cosines are not noised")
    print("nothing of this may leave this party: a row is a person's features in another spelling")


def _write_own(
    config: Path, out: Path, step: str, what: str, write: Callable[..., Assigned], plan: Path | None = None
) -> Assigned:
    """The files of this party's own customers in what the last round with that step released."""
    done: Assigned = _written(config, out, step, what, write, plan)
    for warning in done.warnings:
        print(terminal.plain(f"warning: {warning}"), file=sys.stderr)
    print(f"{done.customers:,} customers in {done.parquet} and {done.csv}")
    return done


def _written(
    config: Path,
    out: Path,
    step: str,
    what: str,
    write: Callable[..., Any],
    plan: Path | None = None,
    digest: str = "",
) -> Any:
    """What `write` makes of the last round with that step, and of this party's data.

    plan     a plan that need not have been asked, of which nothing has been released
    digest   how the digest of the round's plan begins, where it is not just the last
    """
    import duckdb

    from .node import Node

    settings = Config.load(config)
    node = Node(settings, time.time)
    try:
        if plan is None:
            of, released, dataset = node.last_released(step, what, digest)
        else:
            of, released = _plan(settings, plan), {}
            dataset = node.dataset_for(of)
        done = write(of, released, dataset, node.store.state, out)
        _warn_of_merged(of, node.store.state / dataset.snapshot)
        return done
    except OSError as exc:
        reason = exc.strerror or type(exc).__name__
        raise UsageError(f"cannot write to {out}: {reason}", "name a folder with --out") from None
    except (duckdb.IOException, duckdb.TransactionException, duckdb.OutOfMemoryException):
        # Why not the text of the error: it may quote a row.
        raise UsageError(f"cannot write to {out}: is there room?", "name a folder on another disk with --out") from None
    finally:
        node.close()


def _warn_of_merged(plan: Plan, snapshot: Path) -> None:
    """Say where data of an older version do not tell which customers the plan made one person."""
    import duckdb

    from .identity import keeps_merged

    if plan.people is None:
        return
    with duckdb.connect() as con:
        if not keeps_merged(con, snapshot):
            what = "the data were registered before it was kept which customers are one person: an opt-out of one of "
            print(f"warning: {what}them does not reach the others in `activate`; register again", file=sys.stderr)


def _show_own(described: list[dict[str, float]], customers: int) -> None:
    title = f"Segments of this party's {customers:,} customers alone: no noise, so they must not leave it"
    table = Table("segment", *described[0], title=title)
    for number, line in enumerate(described, start=1):
        table.add_row(f"s{number}", *(f"{value:,.6g}" for value in line.values()))
    terminal.console().print(table)


@app.command()
def egress(
    config: ConfigOption,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where it goes; the terminal if left out.")] = None,
) -> None:
    """Write the log of all that this node has sent, as lines of JSON for an auditor. Works while the node runs.

    The ledger has its length and Merkle root of each day: what is in it up to there cannot have been changed since.
    """
    lines = b"".join(record(row) + b"\n" for row in logged(Config.load(config).path("state")))
    if out is None:
        sys.stdout.write(lines.decode())
        return
    try:
        out.write_bytes(lines)
    except OSError as exc:
        raise UsageError(f"cannot write {out}: {exc.strerror}") from None
    print(f"{len(lines.splitlines()):,} records in {out}")


def main(arguments: Sequence[str] | None = None) -> int:
    return terminal.run(app, "sumroom-party", arguments)


def _told(event: str) -> None:
    """What an operator wants to see without asking for it."""
    if event.startswith(_SHOWN):
        terminal.say(event)


async def _until_stopped(runs: Sequence[Callable[[asyncio.Event], Awaitable[None]]], then: Callable[[], None]) -> None:
    stop = asyncio.Event()

    def end() -> None:
        then()
        stop.set()

    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, end)
    await asyncio.gather(*(run(stop) for run in runs))


def _plan(settings: Config, path: Path) -> Plan:
    if _DIGEST.fullmatch(str(path)) and not path.exists():
        with closing(open_requests(settings)) as requests:
            return requests.find(str(path)).plan
    try:
        return Plan.from_toml(path.read_bytes(), where=str(path))
    except OSError as exc:
        raise UsageError(f"cannot read the plan {path}: {exc.strerror}") from None
