"""The coordinator as a Flower ServerApp: a round over whatever Grid it is given. Flower's words stop here.

Run config: `config` (path of `coordinator.toml`), `plan` (path of the plan) or `plan-json` (its canonical form),
`wait-s` (how long to wait for parties), `go-on` (the open round to go on with, empty for a new one; without it, the one
that there is).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

from protocols import messages
from protocols.carrier import codec
from protocols.change import Proposal
from protocols.errors import IntegrityError, Refused, UsageError
from protocols.ledger.state import Round
from protocols.plan import Plan

from . import afterwards, delivery, entering, noted, rounds
from .config import Config
from .conversation import Answer, Ask, Parcel
from .ledger import RoomLedger, ledger_of
from .store import Store

progress = logging.getLogger("sumroom.progress")
CLOCK_SLACK_S = 300.0  # a message's expiry is told by the party's clock; ours may be ahead
app = ServerApp()
_held: dict[Path, Store] = {}


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run one round of the plan; releases and ledger are in the coordinator's store when this returns."""
    config = Config.load(Path(str(context.run_config["config"])))
    plan = _plan(context.run_config)
    if plan.room != config.room.room:
        raise UsageError(f"the plan is for room {plan.room!r}, the settings are of {config.room.room!r}")
    with ExitStack() as opened:
        store = _held.get(config.path("state")) or opened.enter_context(closing(Store(config.path("state"))))
        ledger = ledger_of(config, store.book)
        # Decided before the parties are waited for: a round whose deadline passes meanwhile must not become a new one.
        go_on = str(context.run_config.get("go-on", rounds.left_open(plan, ledger)) or "") or None
        least = len(ledger.room.parties) if go_on is None else rounds.least_to_go_on(plan, ledger)
        nodes = _find(grid, sorted(ledger.room.parties), float(str(context.run_config["wait-s"])), least)
        rounds.run(plan, ledger, _asker(grid, nodes), progress.info, go_on_with=go_on)


def propose(grid: Grid, plan: Plan, wait_s: float) -> dict[str, str]:
    """Ask the plan's parties that come within `wait_s` whether they approve: party → `approved`, or why not."""
    nodes = _here(grid, plan.parties, wait_s)
    said = rounds.propose(plan, _asker(grid, nodes))
    return {party: said[party] if party in nodes else f"did not come within {wait_s:g} s" for party in plan.parties}


def end(grid: Grid, config: Config, plan: Plan, round_id: str) -> None:
    """Forfeit an open round whose deadline has passed; cosigned by those who are here."""
    ledger = held_ledger(config)
    rounds.end(plan, round_id, ledger, _asker(grid, _here(grid, sorted(ledger.room.parties), 0.0)))


def refund(grid: Grid, config: Config, round_id: str, wait_s: float) -> bool:
    """Have a forfeited round refunded by those that come within `wait_s`; whether it was not before."""
    return afterwards.refund(
        held_ledger(config), _asker(grid, _here(grid, sorted(held_ledger(config).room.parties), wait_s)), round_id
    )


def tend(grid: Grid, config: Config, only: Collection[str]) -> None:
    """Have these parties state what they had sent by yesterday's end; cosigned by those who are here."""
    ask = _asker(grid, _here(grid, sorted(held_ledger(config).room.parties), 0.0))
    afterwards.tend(held_ledger(config), ask, only)


def finish(grid: Grid, config: Config, wait_s: float) -> None:
    """Have cosigned, signed and handed out what an earlier process, or a party that was away, left undone."""
    ledger = held_ledger(config)
    nodes = _find(grid, sorted(ledger.room.parties), wait_s)
    delivery.finish(ledger, _asker(grid, nodes), rounds.APPROVAL_TIMEOUT_S)


def enter(
    grid: Grid, config: Config, proposals: Sequence[Proposal], wait_s: float, admit: Callable[[], None]
) -> entering.Entered:
    """Enter changes of the room; everybody is waited for, who is new too. admit: lets in who is in the room now."""
    ledger = held_ledger(config)
    nodes = _find(grid, sorted(ledger.room.parties), wait_s)

    def meet() -> None:
        admit()
        new = sorted(set(ledger.room.parties) - set(nodes))
        if new:
            nodes.update(_here(grid, new, wait_s))

    return entering.enter(proposals, ledger, _asker(grid, nodes), rounds.APPROVAL_TIMEOUT_S, meet)


def reuse(grid: Grid, config: Config, round_: Round) -> None:
    """Write down that a released plan was asked for again; cosigned by those who are here."""
    ledger = held_ledger(config)
    noted.reuse(ledger, _asker(grid, _here(grid, sorted(ledger.room.parties), 0.0)), round_)


def held_ledger(config: Config) -> RoomLedger:
    """The ledger of the store that this process holds."""
    return ledger_of(config, _held[config.path("state")].book)


@contextmanager
def held_store(config: Config) -> Iterator[Store]:
    """The store, held for as long as the coordinator listens: rounds in this process use it, no other process can."""
    store = Store(config.path("state"))
    _held[config.path("state")] = store
    try:
        yield store
    finally:
        del _held[config.path("state")]
        store.close()


def _plan(run_config: Mapping[str, Any]) -> Plan:
    if "plan-json" in run_config:
        return Plan.from_bytes(str(run_config["plan-json"]).encode())
    return read_plan(Path(str(run_config["plan"])))


def read_plan(path: Path) -> Plan:
    try:
        return Plan.from_toml(path.read_bytes(), where=str(path))
    except OSError as exc:
        raise UsageError(f"cannot read the plan {path}: {exc.strerror}") from None


def _find(grid: Grid, parties: list[str], wait_s: float, least: int | None = None) -> dict[str, int]:
    """Which node is which party, once all of the room are there: whoever is not in the plan still has to cosign it.

    least   how many are enough when not all come in time; without it, all
    Raises Refused when fewer come.
    """
    progress.info("waiting for the parties")
    here = _here(grid, parties, wait_s)
    missing = sorted(set(parties) - set(here))
    if len(here) < (len(parties) if least is None else least):
        raise Refused(
            f"{', '.join(missing)} did not come within {wait_s:g} s; nothing was asked and nothing is spent",
            "start the node: sumroom-party start --config node.toml",
        )
    # Whoever comes back later is found under its number, where the grid knows it beforehand.
    known = getattr(grid, "node_id", None)
    return here if known is None else {party: known(party) for party in parties}


def _here(grid: Grid, parties: list[str], wait_s: float) -> dict[str, int]:
    """Which node is which party, of those that come in time.

    Where the grid knows its parties by certificate, that is who they are; elsewhere they say it, and signatures are
    checked later.
    """
    deadline = time.monotonic() + wait_s
    known: dict[int, str] = {}
    while True:
        fresh = [node for node in grid.get_node_ids() if node not in known]
        asked = [
            Message(RecordDict({"who": ConfigRecord({})}), node, "query.who", ttl=10.0 + CLOCK_SLACK_S)
            for node in fresh
        ]
        for reply in grid.send_and_receive(asked, timeout=10.0) if asked else []:
            name = _name(grid, reply)
            if name in known.values():
                raise Refused(f"two nodes call themselves {name}")
            if name in parties:
                known[reply.metadata.src_node_id] = name
        if set(parties) == set(known.values()) or time.monotonic() > deadline:
            return {party: node for node, party in known.items()}
        time.sleep(0.05)


def _name(grid: Grid, reply: Message) -> str:
    certified = getattr(grid, "party_of", None)
    if certified is not None:
        return str(certified(reply.metadata.src_node_id))
    record = reply.content.config_records.get("who") if reply.has_content() else None
    return str(record.get("party", "")) if record is not None else ""


def _asker(grid: Grid, nodes: Mapping[str, int]) -> Ask:
    """Requests and answers over a Grid."""

    def ask(requests: Mapping[str, messages.Request | Parcel], timeout: float) -> dict[str, Answer]:
        answers = {party: Answer(None, missing="not in the room now") for party in requests}
        if timeout <= 0:
            return dict.fromkeys(requests, Answer(None, missing="the deadline has passed"))
        by_node = {nodes[party]: party for party in requests if party in nodes}
        encoded: dict[int, RecordDict] = {}  # the same request to many is encoded once
        out = []
        for node, party in by_node.items():
            request = requests[party]
            if id(request) not in encoded:
                encoded[id(request)] = _records(request)
            out.append(Message(encoded[id(request)], node, "query.ask", ttl=timeout + CLOCK_SLACK_S))
            answers[party] = Answer(None, missing=f"silent for {timeout:.0f} s")
        for reply in grid.send_and_receive(out, timeout=timeout):
            answers[by_node[reply.metadata.src_node_id]] = _answer(reply)
        return answers

    return ask


def _records(request: messages.Request | Parcel) -> RecordDict:
    parcel = request if isinstance(request, Parcel) else Parcel(request, b"")
    records = RecordDict({"request": ConfigRecord({"body": messages.encode(parcel.request)})})
    if parcel.payload:
        records["words"] = ArrayRecord({"words": Array(np.frombuffer(parcel.payload, dtype="<u8"))})
    return records


# A refusal and not silence: whoever is silent is asked again, and each such answer is kept until the round ends.
_UNREADABLE = Answer(messages.Refusal(code="round", reason="an answer that cannot be read"))


def _answer(reply: Message) -> Answer:
    if not reply.has_content():
        return Answer(None, missing=reply.error.reason or "no reason given")
    # Why not `.config_records` and `.array_records`: they make a cycle, by which large words would stay in memory.
    record, words = reply.content.get("reply"), reply.content.get("words")
    body = record.get("body") if isinstance(record, ConfigRecord) else None
    if not isinstance(body, bytes):
        return _UNREADABLE
    try:
        return Answer(messages.read_reply(body), codec.words_of(words) if isinstance(words, ArrayRecord) else b"")
    except IntegrityError:
        return _UNREADABLE
