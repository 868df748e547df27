"""The two phases of a spend under kill -9: a coordinator and three witnesses, each a process with its own files.

    hold → reserve, cosigned by all → each party draws its noise → commit and the release in one transaction,
    cosigned → the release is sent

The coordinator writes and collects cosignatures by its own `RoomLedger`; a witness holds, cosigns and lets noise be
drawn by the node's own `witness` and `Filter`. In place of noise a party draws random bytes and notes that it did, in a
file that is never cut: a draw cannot be undone. Sending is a line in another such file.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from coordinator.conversation import Answer
from coordinator.ledger import RoomLedger
from party_node import witness
from protocols import messages
from protocols.errors import PartyUnavailable, Refused, RoundEnded, SumroomError
from protocols.ledger import entries
from protocols.ledger.entries import Reserve
from protocols.logbook import Logbook
from tests.ledger.builder import PARTIES, ROOM, hex16
from tests.torture_ledger.points import Watcher
from tests.torture_ledger.room import Member, Room, sync_line

COORDINATOR = "coordinator"
ROUNDS = 2  # that a coordinator brings to an end before it ends itself
PATIENCE_S = 30.0
LASTS_S = 600  # how long a reserve does
_LENGTH = struct.Struct(">I")


# -- a witness ---------------------------------------------------------------------------------------------------------


class Witness:
    """One party's node, as far as the ledger goes."""

    def __init__(self, folder: Path, name: str, room: Room, watcher: Watcher) -> None:
        self.folder, self.room, self.watcher = folder, room.file, watcher
        self.member = Member.at(folder, name)
        witness.check_genesis(self.member.book, self.room)
        witness.settle(self.member.book, self.room, name, self.member.filter, _now())

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        try:
            if asked["type"] == "draw":
                return self._draw(asked)
            request = messages.read_request(entries.canonical(asked))
            if isinstance(request, messages.Reserve):
                return self._hold(request)
            assert isinstance(request, messages.Witness)
            reply = self.member.cosign(self.room, request, _now())
            if isinstance(reply, messages.Cosigned):
                self.watcher.tell("note", self.member.name, request.checkpoint)
            return reply.body()
        except SumroomError as exc:
            return messages.Refusal(code="ledger", reason=exc.message[:600]).body()

    def _hold(self, request: messages.Reserve) -> dict[str, Any]:
        draft = entries.build({**request.draft, "holds": {}})
        assert isinstance(draft, Reserve)
        signature = self.member.hold(self.room, draft, _now())
        return messages.Held(party=self.member.name, round=draft.round, signature=signature).body()

    def _draw(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Noise, once, and only for a reserve that everybody has cosigned."""
        book, filter_ = self.member.book, self.member.filter
        round_id, step = asked["round"], asked["step"]
        round_ = book.accounts.rounds.get(round_id)
        if round_ is None or round_.state != "open" or not filter_.is_spent(ROOM, round_id):
            raise Refused(f"round {round_id[:8]} is not open and paid for here")
        witness.check_covered(asked["note"], book=book, entry=round_.reserve.seq)
        filter_.check_undrawn(ROOM, round_id, step)
        filter_.draw_once(ROOM, round_id, step, secrets.token_hex(16))
        self.watcher.named("draw/noted")
        sync_line(self.folder / "drawn", json.dumps([self.member.name, round_id, step]))
        self.watcher.named("draw/drawn")
        return {"drawn": secrets.token_hex(16)}


def witness_process(folder: Path, name: str, room: Room, watcher: Watcher) -> None:
    """Answer for ever, one question at a time."""
    node = Witness(folder, name, room, watcher)
    path = folder / f"{name}.socket"
    with socket.socket(socket.AF_UNIX) as listening:
        path.unlink(missing_ok=True)
        listening.bind(str(path))
        listening.listen()
        while True:
            connection, _ = listening.accept()
            with connection:
                while (asked := _read(connection)) is not None:
                    watcher.named("answer/asked")
                    reply = node.answer(asked)
                    watcher.named("answer/done")
                    _write(connection, reply)
                    watcher.named("answer/sent")


# -- the coordinator ---------------------------------------------------------------------------------------------------


class Coordinator:
    """Its ledger, and the ways to the witnesses."""

    def __init__(self, folder: Path, room: Room, watcher: Watcher) -> None:
        self.folder, self.room, self.watcher = folder, room, watcher
        self.book = Logbook(folder / f"{COORDINATOR}.ledger")
        self.ledger = RoomLedger(room.file, self.book, room.identity, time.time)
        self._lines: dict[str, socket.socket] = {}

    def recover(self) -> None:
        """What a coordinator does when it starts: bytes that are there are sent again, a round without them ends."""
        if self.book.size == 0:
            self.book.append(self.room.opening())
        for round_id in self.ledger.open_rounds():
            self.ledger.forfeit(round_id, "coordinator-restart")
            self.watcher.tell("ended", round_id, "forfeited")
        self.countersign()
        for round_id, round_ in [*self.book.accounts.rounds.items()][-ROUNDS:]:
            if round_.state == "done":
                self.send(round_id)

    def one_round(self) -> None:
        label = f"{os.getpid()} {secrets.token_hex(4)}"
        round_id = hex16(label)
        draft = self._draft(label)
        holds = self._all({party: messages.Reserve(draft=draft).body() for party in PARTIES}, "signature")
        self.watcher.named("spend/held")
        seq = self.ledger.append([{**draft, "holds": holds}])
        self.watcher.named("spend/reserve-written")
        note = self.countersign()
        self.watcher.tell("reserved", round_id, seq)
        self.watcher.named("spend/reserve-cosigned")
        asked = {"type": "draw", "round": round_id, "step": draft["steps"][0]["step"], "note": note}
        try:
            drawn = self._all(dict.fromkeys(PARTIES, asked), "drawn")
        except RoundEnded:  # noise is lost with the process that drew it
            self.ledger.forfeit(round_id, "party-unavailable")
            self.watcher.named("spend/forfeited")
            self.countersign()
            self.watcher.tell("ended", round_id, "forfeited")
            return
        self.watcher.named("spend/drawn")
        blob = json.dumps([round_id, drawn]).encode() * 20
        commit = self.room.ended(0, label, blob).body()
        del commit["seq"], commit["time"]
        self.ledger.append([commit], {f"release/{round_id}": blob})
        self.watcher.named("spend/committed")
        self.countersign()
        self.watcher.tell("ended", round_id, "done")
        self.watcher.named("spend/commit-cosigned")
        self.send(round_id)
        self.watcher.named("spend/sent")

    def send(self, round_id: str) -> None:
        blob = self.book.blob(f"release/{round_id}")
        assert blob is not None
        sync_line(self.folder / "sent", json.dumps([round_id, hashlib.sha256(blob).hexdigest()]))

    def countersign(self) -> str:
        """Everybody's cosignature; who was killed is back soon."""
        ends = time.monotonic() + PATIENCE_S
        while True:
            try:
                note = self.ledger.countersign(self._ask, PARTIES, 5.0)
            except PartyUnavailable:
                if time.monotonic() > ends:
                    raise
                time.sleep(0.01)
            else:
                self.watcher.tell("note", COORDINATOR, note)
                return note

    def _draft(self, label: str) -> dict[str, Any]:
        now = self.ledger.now
        draft = self.room.reserve(0, label, signers={}, time=now, expires=now + LASTS_S).body()
        del draft["holds"], draft["seq"], draft["time"]
        # The draft of the real thing has a place and a time as well; no signature covers them.
        return {**draft, "seq": 0, "time": now}

    def _all(self, requests: Mapping[str, dict[str, Any]], wanted: str) -> dict[str, str]:
        """Everybody's answer, asked again while somebody is away. Raises RoundEnded where somebody says no."""
        found: dict[str, str] = {}
        ends = time.monotonic() + PATIENCE_S
        while len(found) < len(requests):
            for party, request in requests.items():
                if party not in found:
                    reply = self._talk(party, request)
                    if reply is not None and wanted not in reply:
                        raise RoundEnded(f"{party}: {reply}")
                    if reply is not None:
                        found[party] = reply[wanted]
            if time.monotonic() > ends:
                raise PartyUnavailable("a witness does not come back")
        return found

    def _ask(self, requests: Mapping[str, messages.Request], _: float) -> Mapping[str, Answer]:
        answers = {}
        for party, request in requests.items():
            reply = self._talk(party, request.body())
            if reply is None:
                answers[party] = Answer(None, missing="it is away")
            else:
                answers[party] = Answer(messages.read_reply(entries.canonical(reply)))
        return answers

    def _talk(self, party: str, request: dict[str, Any]) -> dict[str, Any] | None:
        """One question and its answer, nothing where the party dies over it."""
        try:
            if party not in self._lines:
                line = socket.socket(socket.AF_UNIX)
                line.settimeout(PATIENCE_S)
                self._lines[party] = line
                line.connect(str(self.folder / f"{party}.socket"))
            self.watcher.named("ask/before")
            _write(self._lines[party], request)
            reply = _read(self._lines[party])
        except OSError:
            reply = None
        if reply is None:
            self._lines.pop(party).close()
            time.sleep(0.005)
        else:
            self.watcher.named("ask/after")
        return reply


def coordinator_process(folder: Path, room: Room, watcher: Watcher) -> None:
    coordinator = Coordinator(folder, room, watcher)
    coordinator.recover()
    for _ in range(ROUNDS):
        try:
            coordinator.one_round()
        except Refused as exc:
            if "budget" not in exc.message:
                raise
            watcher.tell("full", exc.message)
            return


# -- bytes -------------------------------------------------------------------------------------------------------------


def _write(to: socket.socket, value: Mapping[str, Any]) -> None:
    data = entries.canonical(dict(value))
    to.sendall(_LENGTH.pack(len(data)) + data)


def _read(of: socket.socket) -> dict[str, Any] | None:
    head = _exactly(of, _LENGTH.size)
    body = _exactly(of, _LENGTH.unpack(head)[0]) if head else None
    return None if body is None else dict(json.loads(body))


def _exactly(of: socket.socket, size: int) -> bytes | None:
    data = b"".join(_pieces(of, size))
    return data if len(data) == size else None


def _pieces(of: socket.socket, size: int) -> Iterator[bytes]:
    while size > 0 and (piece := of.recv(size)):
        size -= len(piece)
        yield piece


def _now() -> int:
    return int(time.time())
