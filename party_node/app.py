"""The party as a Flower ClientApp: Flower's words stop here. The node behind it knows no Flower.

The same app runs under our attendant and, for demonstrations, under a stock SuperNode. It needs one setting in its
node config: `config`, the path of `node.toml`.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from protocols import messages
from protocols.carrier import codec
from protocols.carrier.frames import Unanswered
from protocols.errors import IntegrityError

from .config import Config
from .node import Node
from .participation import Answered

log = logging.getLogger("sumroom.party")


app = ClientApp()
_nodes: dict[str, Node] = {}
_stopping = threading.Event()


@app.query("who")
def who(message: Message, context: Context) -> Message:
    """Which party this node is. Only a name: everything that counts is signed."""
    return Message(RecordDict({"who": ConfigRecord({"party": open_node(context.node_config).party})}), reply_to=message)


@app.query("ask")
def ask(message: Message, context: Context) -> Message:
    """One request of the round's conversation (`protocols/messages.py`)."""
    began = time.monotonic()
    answered = open_node(context.node_config).answer(_request(message), _payload(message))
    _wait_for_schedule(answered, began)
    return Message(_records(answered), reply_to=message)


def open_node(node_config: Mapping[str, Any], *, restored: bool = False) -> Node:
    """The node of these settings, opened once in a process; `restored` as in `Node`."""
    path = str(node_config["config"])
    if path not in _nodes:
        _nodes[path] = Node(Config.load(Path(path)), time.time, restored=restored)
    return _nodes[path]


def stop_waiting() -> None:
    """Let no answer keep the process from ending."""
    _stopping.set()


def close_nodes() -> None:
    """Close what `open_node` opened."""
    while _nodes:
        _nodes.popitem()[1].close()


def _request(message: Message) -> messages.Request:
    record = message.content.config_records.get("request")
    body = record.get("body") if record is not None else None
    if not isinstance(body, bytes):
        raise IntegrityError("a message without a request")
    return messages.read_request(body)


def _payload(message: Message) -> bytes | memoryview:
    """What travelled beside the request: words of 8 bytes."""
    record = message.content.get("words")
    return codec.words_of(record) if isinstance(record, ArrayRecord) else b""


def _wait_for_schedule(answered: Answered, began: float) -> None:
    """Answer at the plan's second, not when ready: how long a node computes depends on its data."""
    if not answered.after_s:
        return
    took = time.monotonic() - began
    turns = max(1, math.ceil(took / answered.after_s))  # too late for its second: it waits for the next multiple
    if turns > 1:
        log.error(
            "computing took longer than the plan's answer_after_s of %d s; ask for a larger one", answered.after_s
        )
    if _stopping.wait(answered.after_s * turns - took):  # the share is journalled, and will be asked for again
        raise Unanswered


def _records(answered: Answered) -> RecordDict:
    records = RecordDict({"reply": ConfigRecord({"body": messages.encode(answered.reply)})})
    if answered.payload:
        records["words"] = ArrayRecord({"words": Array(np.frombuffer(answered.payload, dtype="<u8"))})
    return records
