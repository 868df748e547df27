"""A Flower Grid over the room's hub: a ServerApp uses it exactly as it uses Flower's own.

A message gets its sequence number in the order of sending, so a ServerApp that does the same things again after a
restart, under the same run id, gets the replies that are already in the journal and asks no party twice.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")

# Why not at the top: flwr reads the telemetry switch when it is imported
from flwr.app import Context, Message, RecordDict
from flwr.serverapp import Grid

from protocols.carrier import codec, seal
from protocols.carrier import room_pb2 as pb
from protocols.carrier.frames import UNAVAILABLE, Buffers, Outgoing, Problem
from protocols.errors import IntegrityError, UsageError

from .hub import Hub


@dataclass(frozen=True)
class RunInfo:
    """What a ServerApp may read of a run."""

    run_id: int


class RoomGrid(Grid):
    """The parties of one run. `plan` is the hash that every instruction carries; `parties` limits who takes part."""

    def __init__(self, hub: Hub, run_id: int, *, plan: str = "", parties: Sequence[str] | None = None) -> None:
        codec.prepare_process()
        self._hub, self._run, self._plan = hub, RunInfo(run_id), plan
        self._parties = None if parties is None else frozenset(parties)
        self._seq = itertools.count(1)
        self._news = threading.Condition()
        self._waiting: dict[str, seal.Header] = {}
        self._arrived: dict[str, Problem | None] = {}

    def node_id(self, party: str) -> int:
        """Flower's number for a party. Raises UsageError when it is not on the roster."""
        return self._hub.node_id(party)

    def party_of(self, node_id: int) -> str:
        """The inverse of `node_id`. Raises UsageError."""
        return self._hub.party_of(node_id)

    # Why Any: the type of a run is not among Flower's public names.
    def set_run(self, run: Any) -> None:
        """Take another run; only its `run_id` is used."""
        self._run = RunInfo(run.run_id)

    @property
    def run(self) -> Any:
        """The run, with its `run_id`."""
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """A message as Flower makes them."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> list[int]:
        """The parties of this run that are online."""
        return sorted(self.node_id(name) for name in self._hub.online() if self._takes_part(name))

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Send; the same RecordDict to many is encoded once. Raises UsageError for a node that takes no part."""
        encoded: dict[int, tuple[Buffers, int, bytes, Message]] = {}
        ids = []
        for message in messages:
            party = self.party_of(message.metadata.dst_node_id)
            if not self._takes_part(party):
                raise UsageError(f"{party} takes no part in this run")
            if not message.has_content():
                raise UsageError("an error is not an instruction")
            key = id(message.content)
            if key not in encoded:
                buffers = codec.encode(message)
                # Why the message too: it keeps the id of its content from being given to another.
                encoded[key] = (buffers, *seal.digest(buffers), message)
            buffers, size, sha256, _ = encoded[key]
            ids.append(self._push(message, party, buffers, size, sha256))
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """The replies that are there, each once; an error stands for one that will never come."""
        with self._news:
            have = [mid for mid in message_ids if mid in self._arrived]
        return [self._take(mid) for mid in have]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Send, and wait at most `timeout` seconds for all replies; those that came are returned."""
        want, replies = set(self.push_messages(messages)), list[Message]()
        deadline = None if timeout is None else time.monotonic() + timeout
        while want and (have := self._wait(want, deadline)):
            want -= have
            replies += [self._take(mid) for mid in have]
        return replies

    def close(self) -> None:
        """Stop waiting for whatever is still out."""
        self._hub.withdraw(self._waiting.keys() - self._arrived.keys())

    def _wait(self, want: set[str], deadline: float | None) -> set[str]:
        with self._news:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            self._news.wait_for(lambda: want & self._arrived.keys(), left)
            return want & self._arrived.keys()

    def _takes_part(self, party: str) -> bool:
        return self._parties is None or party in self._parties

    def _push(self, message: Message, party: str, buffers: Buffers, size: int, sha256: bytes) -> str:
        metadata, run, seq = message.metadata, self._run.run_id, next(self._seq)
        header = seal.Header(
            room=self._hub.room,
            run=run,
            seq=seq,
            kind=seal.INSTRUCTION,
            src=seal.COORDINATOR,
            dst=party,
            message_id=seal.message_id(self._hub.room, run, seq, party, sha256),
            message_type=metadata.message_type,
            group_id=metadata.group_id,
            created_at=metadata.created_at,
            ttl=metadata.ttl,
            size=size,
            sha256=sha256,
            src_node=seal.COORDINATOR_NODE,
            dst_node=metadata.dst_node_id,
            plan=self._plan,
        )
        self._waiting[header.message_id] = header
        if self._hub.journal.reply(header.message_id) is not None:
            self._deliver(header.message_id, None)
        else:
            self._hub.send(Outgoing(header, seal.seal(self._hub.signing, header), buffers, self._deliver))
        return header.message_id

    def _deliver(self, message_id: str, problem: Problem | None) -> None:
        with self._news:
            self._arrived[message_id] = problem
            self._news.notify_all()

    def _take(self, message_id: str) -> Message:
        asked, problem = self._waiting.pop(message_id), self._arrived.pop(message_id)
        if problem is None:
            try:
                return self._stored(message_id)
            except IntegrityError:
                problem = Problem(UNAVAILABLE, "unreadable reply")
        return codec.problem(asked, problem.code, problem.reason)

    def _stored(self, message_id: str) -> Message:
        stored = self._hub.journal.reply(message_id)
        if stored is None:
            raise IntegrityError("the journal has forgotten this reply")
        header = seal.read(pb.Sealed.FromString(stored.sealed).header)
        if stored.digest() != (header.size, header.sha256):
            raise IntegrityError("the journal holds another payload than was signed")
        return codec.message(header, stored.payload)


def run_server_app(
    app: Callable[[Grid, Context], None],
    hub: Hub,
    run_id: int,
    run_config: dict[str, Any],
    *,
    plan: str = "",
    parties: Sequence[str] | None = None,
) -> None:
    """Run a ServerApp to its end in this thread; several may run side by side, each under its own run id."""
    grid = RoomGrid(hub, run_id, plan=plan, parties=parties)
    try:
        app(grid, Context(run_id, seal.COORDINATOR_NODE, {}, RecordDict(), dict(run_config)))
    finally:
        grid.close()
