"""The coordinator as a Flower ServerApp: a round over whatever Grid it is given. Flower's words stop here.

Run config: `config` (path of `coordinator.toml`), `plan` (path of the plan), `wait-s` (how long to wait for parties).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

from protocols import messages
from protocols.errors import IntegrityError, Refused, UsageError
from protocols.plan import Plan

from . import rounds
from .config import Config
from .conversation import Answer, Ask
from .ledger import RoomLedger
from .store import Store

progress = logging.getLogger("sumroom.progress")
CLOCK_SLACK_S = 300.0  # a message's expiry is told by the party's clock; ours may be ahead
app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run one round of the plan; releases and ledger are in the coordinator's store when this returns."""
    config = Config.load(Path(str(context.run_config["config"])))
    plan = read_plan(Path(str(context.run_config["plan"])))
    if plan.room != config.room.room:
        raise UsageError(f"the plan is for room {plan.room!r}, the settings are of {config.room.room!r}")
    store = Store(config.path("state"))
    try:
        ledger = RoomLedger(config.room, store.book, config.signing, time.time)
        nodes = _find(grid, sorted(config.room.parties), float(str(context.run_config["wait-s"])))
        rounds.run(plan, ledger, _asker(grid, nodes), progress.info)
    finally:
        store.close()


def read_plan(path: Path) -> Plan:
    try:
        return Plan.from_toml(path.read_bytes(), where=str(path))
    except OSError as exc:
        raise UsageError(f"cannot read the plan {path}: {exc.strerror}") from None


def _find(grid: Grid, parties: list[str], wait_s: float) -> dict[str, int]:
    """Which node is which party, once all of the room are there: whoever is not in the plan still has to cosign it.

    Where the grid knows its parties by certificate, that is who they are; elsewhere they say it, and signatures are
    checked later.
    """
    progress.info("waiting for the parties")
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
        if set(parties) == set(known.values()):
            return {party: node for node, party in known.items()}
        if time.monotonic() > deadline:
            missing = sorted(set(parties) - set(known.values()))
            raise Refused(
                f"{', '.join(missing)} did not come within {wait_s:g} s; nothing was asked and nothing is spent",
                "start the node: sumroom-party start --config node.toml",
            )
        time.sleep(0.05)


def _name(grid: Grid, reply: Message) -> str:
    certified = getattr(grid, "party_of", None)
    if certified is not None:
        return str(certified(reply.metadata.src_node_id))
    record = reply.content.config_records.get("who") if reply.has_content() else None
    return str(record.get("party", "")) if record is not None else ""


def _asker(grid: Grid, nodes: Mapping[str, int]) -> Ask:
    """Requests and answers over a Grid."""

    def ask(requests: Mapping[str, messages.Request], timeout: float) -> dict[str, Answer]:
        answers = {party: Answer(None, missing="not in the room now") for party in requests}
        if timeout <= 0:
            return dict.fromkeys(requests, Answer(None, missing="the deadline has passed"))
        by_node = {nodes[party]: party for party in requests if party in nodes}
        encoded: dict[int, RecordDict] = {}  # the same request to many is encoded once
        out = []
        for node, party in by_node.items():
            request = requests[party]
            if id(request) not in encoded:
                encoded[id(request)] = RecordDict({"request": ConfigRecord({"body": messages.encode(request)})})
            out.append(Message(encoded[id(request)], node, "query.ask", ttl=timeout + CLOCK_SLACK_S))
            answers[party] = Answer(None, missing=f"silent for {timeout:.0f} s")
        for reply in grid.send_and_receive(out, timeout=timeout):
            answers[by_node[reply.metadata.src_node_id]] = _answer(reply)
        return answers

    return ask


def _answer(reply: Message) -> Answer:
    if not reply.has_content():
        return Answer(None, missing=reply.error.reason or "no reason given")
    record = reply.content.config_records.get("reply")
    body = record.get("body") if record is not None else None
    if not isinstance(body, bytes):
        return Answer(None, missing="an answer that cannot be read")
    words = reply.content.array_records.get("words")
    payload = words["words"].numpy().astype("<u8").tobytes() if words is not None and "words" in words else b""
    try:
        return Answer(messages.read_reply(body), payload)
    except IntegrityError:
        return Answer(None, missing="an answer that cannot be read")
