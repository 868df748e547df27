"""The coordinator's end of every party's stream: admission, delivery, sending again, receipts. Knows no Flower.

One asyncio loop on a thread of its own; the public methods may be called from any thread. A message stays pending until
its reply is in the journal, it expires, its party is revoked or stays away for longer than the grace: then whoever sent
it is told, once. A party that comes back gets all that is pending again, and answers with the bytes it stored.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocols.carrier import frames, pki, rpc, seal
from protocols.carrier import room_pb2 as pb
from protocols.carrier.frames import EXPIRED, TOO_LARGE, UNAVAILABLE, Outgoing, Problem
from protocols.carrier.journal import Journal
from protocols.errors import IntegrityError, Refused, UsageError

log = logging.getLogger(__name__)

End = tuple[grpc.StatusCode, str]
NOT_ADMITTED: End = (grpc.StatusCode.PERMISSION_DENIED, "not admitted")
MAX_EVENTS = 10_000
MAX_SETTLED = 4096
MAX_STREAMS_OF_A_PARTY = 4


@dataclass(eq=False)
class _Session:
    """One live stream. `over` says why the coordinator ends it."""

    not_after: dt.datetime
    over: asyncio.Future[End]
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    sent: set[str] = field(default_factory=set)
    receipts: list[pb.Frame] = field(default_factory=list)

    def end(self, code: grpc.StatusCode, why: str) -> None:
        if not self.over.done():
            self.over.set_result((code, why))


@dataclass(eq=False)
class _Party:
    """A member of the roster. `settled`: ids that got an error instead of a reply: a late reply is no offence."""

    name: str
    public: Ed25519PublicKey
    node_id: int
    revoked: bool = False
    pending: dict[str, Outgoing] = field(default_factory=dict)
    settled: dict[str, str] = field(default_factory=dict)
    session: _Session | None = None
    lost_at: float | None = None


class Hub:
    """See the module. Times in seconds, `max_payload` in bytes; `events` is the audit trail of (party, what)."""

    def __init__(
        self,
        *,
        room: str,
        signing: Ed25519PrivateKey,
        journal: Journal,
        max_payload: int = 1 << 30,
        grace: float = 30.0,
        hello_timeout: float = 5.0,
        transfer_timeout: float = 300.0,
        max_attend: int = 64,
        tick: float = 0.2,
        keepalive: float = 20.0,
    ) -> None:
        self.room, self.signing, self.journal = room, signing, journal
        self.max_payload, self.grace, self.max_attend = max_payload, grace, max_attend
        self._hello_timeout, self._transfer_timeout = hello_timeout, transfer_timeout
        self._tick_seconds, self._keepalive = tick, keepalive
        self.events: list[tuple[str, str]] = []
        self._parties: dict[str, _Party] = {}
        self._streams: Counter[str] = Counter()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def admit(self, party: str, public: Ed25519PublicKey) -> None:
        """Put a party and its signing key on the roster; with another key, what went on under the old one ends."""
        old = self._parties.get(party)
        if old is not None and old.public == public and not old.revoked:
            return
        self._parties[party] = _Party(party, public, seal.node_id(self.room, public))
        if old is not None:
            self._soon(lambda: self._expel(old, "replaced"))

    def revoke(self, party: str) -> None:
        """Take a party off the roster: its stream is closed at once, what it was asked gets an error."""
        member = self._member(party)
        member.revoked = True
        self._soon(lambda: self._expel(member, "revoked"))

    def start(self, host: str, port: int, key_pem: bytes, cert_pem: bytes, ca_pem: bytes) -> int:
        """Listen, with mutual TLS under the room's authority. Returns the port. Raises UsageError when it is taken."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="room-hub", daemon=True)
        self._thread.start()
        credentials = grpc.ssl_server_credentials([(key_pem, cert_pem)], ca_pem, require_client_auth=True)
        try:
            return asyncio.run_coroutine_threadsafe(self._up(f"{host}:{port}", credentials), self._loop).result(10)
        except RuntimeError:
            self._end_loop()
            raise UsageError(f"cannot listen on {host}:{port}", "is another coordinator running?") from None

    def stop(self) -> None:
        """Close every stream and the port. What is pending stays unanswered."""
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(self._down(), self._loop).result(10)
            self._end_loop()

    def online(self) -> tuple[str, ...]:
        """The parties that have a stream, in the order of the alphabet."""
        return tuple(sorted(p.name for p in list(self._parties.values()) if p.session is not None and not p.revoked))

    def node_id(self, party: str) -> int:
        """Flower's number for a party. Raises UsageError when it is not on the roster."""
        return self._member(party).node_id

    def party_of(self, node_id: int) -> str:
        """The inverse of `node_id`. Raises UsageError."""
        if not (named := [party.name for party in list(self._parties.values()) if party.node_id == node_id]):
            raise UsageError(f"no party of this room has node id {node_id}")
        return named[0]

    def send(self, out: Outgoing) -> None:
        """Deliver an instruction to the party its header names. Returns at once. Raises UsageError."""
        party = self._member(out.header.dst)

        def place() -> None:
            party.settled.pop(out.header.message_id, None)
            party.pending[out.header.message_id] = out
            if party.revoked:
                self._settle(party, out, Problem(UNAVAILABLE, "party revoked"))
            elif party.session is not None:
                party.session.sent.discard(out.header.message_id)
                party.session.wake.set()

        self._soon(place)

    def withdraw(self, message_ids: Iterable[str]) -> None:
        """Stop waiting for these; nobody is told, and a reply that still comes is refused as late."""
        ids = set(message_ids)

        def take() -> None:
            for party in self._parties.values():
                for message_id in ids & party.pending.keys():
                    self._close(party, message_id, "withdrawn")

        self._soon(take)

    # The loop's side: everything below runs on the hub's own thread.

    async def _up(self, address: str, credentials: Any) -> int:
        options = rpc.server_options(self._keepalive, self._hello_timeout)
        self._server: Any = grpc.aio.server(options=options, maximum_concurrent_rpcs=4 * self.max_attend)
        self._server.add_generic_rpc_handlers((rpc.attend_handler(self._attend),))
        port: int = self._server.add_secure_port(address, credentials)
        await self._server.start()
        self._ticker = asyncio.get_running_loop().create_task(self._tick())
        return port

    async def _down(self) -> None:
        for party in self._parties.values():
            if party.session is not None:
                party.session.end(grpc.StatusCode.UNAVAILABLE, "the coordinator stops")
        await self._server.stop(0.5)
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def _end_loop(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None and self._thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join(5)
            loop.close()

    def _soon(self, action: Callable[[], None]) -> None:
        if self._loop is None:
            action()
        else:
            self._loop.call_soon_threadsafe(action)

    def _member(self, party: str) -> _Party:
        if party not in self._parties:
            raise UsageError(f"{party} is not on the roster of this room")
        return self._parties[party]

    def _audit(self, party: str, what: str) -> None:
        log.info("%s: %s", party, what)
        self.events.append((party, what))
        del self.events[:-MAX_EVENTS]

    def _expel(self, party: _Party, why: str) -> None:
        self._audit(party.name, why)
        if party.session is not None:
            party.session.end(grpc.StatusCode.PERMISSION_DENIED, why)
        self._fail_all(party, f"party {why}")

    async def _attend(self, _frames: Any, context: Any) -> None:
        """One stream: (1) who is it, (2) is there room, (3) hello, (4) serve, (5) say why it ended.

        Why a refusal waits for the hello: a party that is still writing when it is refused never learns the reason.
        """
        # (1)
        party, not_after = self._identify(context)
        name = "?" if party is None else party.name
        # (2)
        if self._streams.total() >= self.max_attend or self._streams[name] >= MAX_STREAMS_OF_A_PARTY:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many streams")
        self._streams[name] += 1
        try:
            # (3)
            end = await self._hello(context)
            if end is None:  # (4)
                end = NOT_ADMITTED if party is None else await self._serve(party, context, not_after)
        finally:
            self._streams[name] -= 1
        # (5)
        if end is not None:
            await context.abort(*end)

    def _identify(self, context: Any) -> tuple[_Party | None, dt.datetime]:
        # Why: grpcio has checked chain, dates and usage, but knows no roster and no revocation.
        try:
            who = pki.peer(context.auth_context()["x509_pem_cert"][0], self.room)
            party = self._member(who.party)
            if party.revoked:
                raise Refused(f"{who.party} is revoked")
            if party.public.public_bytes_raw() != who.signing:
                raise Refused(f"the certificate of {who.party} names another signing key than the roster")
        except (Refused, UsageError) as exc:
            self._audit("?", f"refused: {exc}")
            return None, dt.datetime.now(dt.UTC)
        return party, who.not_after

    async def _hello(self, context: Any) -> End | None:
        try:
            async with asyncio.timeout(self._hello_timeout):
                frame = await context.read()
        except TimeoutError:
            return grpc.StatusCode.DEADLINE_EXCEEDED, "no hello"
        hello = frame.hello if isinstance(frame, pb.Frame) and frame.WhichOneof("body") == "hello" else pb.Hello()
        if hello.room != self.room or hello.version != rpc.VERSION:
            return grpc.StatusCode.FAILED_PRECONDITION, f"hello refused: not room {self.room}, version {rpc.VERSION}"
        return None

    async def _serve(self, party: _Party, context: Any, not_after: dt.datetime) -> End | None:
        # Why again: it may have been revoked, or given another key, while it said hello.
        if party.revoked or self._parties[party.name] is not party:
            return NOT_ADMITTED
        session, old = _Session(not_after, asyncio.get_running_loop().create_future()), party.session
        party.session = session
        if old is not None:
            old.end(grpc.StatusCode.ABORTED, "a newer stream of this party took over")
        self._audit(party.name, "online")
        # Why never cancelled: cut off half-way, abort would send it again; gRPC refuses that, and no reason arrives.
        greeting = asyncio.ensure_future(context.send_initial_metadata(rpc.ADMITTED))
        jobs = (self._write(party, session, context, greeting), self._read(party, session, context))
        tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(job) for job in jobs]
        try:
            await asyncio.wait([*tasks, session.over], return_when=asyncio.FIRST_COMPLETED)
            return session.over.result() if session.over.done() else self._why(party, tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(greeting, *tasks, return_exceptions=True)
            if party.session is session:
                party.session, party.lost_at = None, time.monotonic()
                self._audit(party.name, "offline")

    def _why(self, party: _Party, tasks: list[asyncio.Future[Any]]) -> End | None:
        error = next((e for t in tasks if t.done() and not t.cancelled() and (e := t.exception())), None)
        if error is None:
            return None
        end: End = grpc.StatusCode.INTERNAL, f"stream failed: {type(error).__name__}"
        if isinstance(error, IntegrityError):
            end = grpc.StatusCode.INVALID_ARGUMENT, f"protocol violation: {error}"
        elif isinstance(error, TimeoutError):
            end = grpc.StatusCode.DEADLINE_EXCEEDED, "transfer too slow"
        self._audit(party.name, end[1])
        return end

    async def _write(self, party: _Party, session: _Session, context: Any, greeting: asyncio.Future[None]) -> None:
        await asyncio.shield(greeting)
        while True:
            session.wake.clear()
            while session.receipts:
                await context.write(session.receipts.pop(0))
            for out in [o for mid, o in party.pending.items() if mid not in session.sent]:
                session.sent.add(out.header.message_id)
                async with asyncio.timeout(self._transfer_timeout):
                    await frames.send(context.write, out.sealed, out.buffers)
            await session.wake.wait()

    async def _read(self, party: _Party, session: _Session, context: Any) -> None:
        while isinstance(frame := await context.read(), pb.Frame):
            if frame.WhichOneof("body") != "open":
                raise IntegrityError("a frame that belongs to no message")
            header = await self._reply(party, context, frame.open)
            session.sent.discard(header.reply_to)
            refused = party.settled.get(header.reply_to, "")
            session.receipts.append(pb.Frame(receipt=pb.Receipt(message_id=header.reply_to, refused=refused)))
            session.wake.set()

    async def _reply(self, party: _Party, context: Any, sealed: pb.Sealed) -> seal.Header:
        """Take one reply: (1) by this party, for us, small enough; (2) to something it was asked; (3) whole, in time;
        (4) in the journal, and only then (5) delivered."""
        # (1)
        header = seal.unseal(party.public, sealed, room=self.room, src=party.name, dst=seal.COORDINATOR)
        asked = party.pending.get(header.reply_to)
        if header.size > self.max_payload:
            # Why told: the party would come back with the same reply for as long as it is asked.
            if asked is not None:
                self._settle(party, asked, Problem(TOO_LARGE, "reply over the room's limit"))
            raise IntegrityError(f"a payload of {header.size} bytes is over the room's limit of {self.max_payload}")
        # (2)
        if asked is None:
            self._check_known(party, header, sealed)
        else:
            seal.check_reply(header, asked.header)
        # (3)
        inbox = self.journal.inbox(header.size)
        try:
            async with asyncio.timeout(self._transfer_timeout):
                await frames.collect(context.read, header, inbox)
        except BaseException:
            inbox.drop()
            raise
        if asked is not None and asked.header.expires < time.time():
            self._settle(party, asked, Problem(EXPIRED, "expired"))
        # (4)
        if party.pending.get(header.reply_to) is not asked or asked is None:
            inbox.drop()
            return header
        await asyncio.to_thread(self.journal.put_reply, header.reply_to, header.run, sealed.SerializeToString(), inbox)
        # (5)
        if party.pending.pop(header.reply_to, None) is asked:
            asked.deliver(header.reply_to, None)
        return header

    def _check_known(self, party: _Party, header: seal.Header, sealed: pb.Sealed) -> None:
        """A reply to what is not pending is either late, or the very one that is journalled, sent again."""
        if header.reply_to in party.settled:
            return
        if (known := self.journal.reply(header.reply_to)) is None:
            raise IntegrityError("a reply to nothing outstanding")
        if known.sealed != sealed.SerializeToString():
            raise IntegrityError("a second, different reply to the same message")

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._tick_seconds)
            for party in list(self._parties.values()):
                self._look_after(party, time.monotonic(), time.time())

    def _look_after(self, party: _Party, now: float, wall: float) -> None:
        session = party.session
        if session is not None and session.not_after.timestamp() < wall and not session.over.done():
            self._audit(party.name, "certificate expired")
            session.end(grpc.StatusCode.PERMISSION_DENIED, "certificate expired")
        for out in [o for o in party.pending.values() if o.header.expires < wall]:
            self._settle(party, out, Problem(EXPIRED, "expired"))
        if session is None and party.pending:
            party.lost_at = now if party.lost_at is None else party.lost_at
            if now - party.lost_at > self.grace:
                self._fail_all(party, "party unavailable")

    def _fail_all(self, party: _Party, why: str) -> None:
        for out in list(party.pending.values()):
            self._settle(party, out, Problem(UNAVAILABLE, why))

    def _settle(self, party: _Party, out: Outgoing, problem: Problem) -> None:
        # Why asked: a message may expire while its reply is on its way; its sender is told once.
        if party.pending.get(out.header.message_id) is out:
            self._close(party, out.header.message_id, problem.reason)
            out.deliver(out.header.message_id, problem)

    def _close(self, party: _Party, message_id: str, why: str) -> None:
        party.pending.pop(message_id, None)
        party.settled[message_id] = why
        while len(party.settled) > MAX_SETTLED:
            del party.settled[next(iter(party.settled))]
