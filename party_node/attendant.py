"""The party's end of the stream: it dials, verifies, has the app answer, journals, sends. Knows no Flower.

Whatever happens, the attendant goes on: it dials again, after a pause that doubles. A message that comes again gets the
stored bytes again. Only what the pinned coordinator signed, for this party and this room, reaches the app.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import secrets
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocols.carrier import frames, rpc, seal
from protocols.carrier import room_pb2 as pb
from protocols.carrier.frames import EXPIRED, FAILED, SEQUENCE_USED, TOO_LARGE, Answer, Unanswered, failure
from protocols.carrier.journal import Journal
from protocols.carrier.seal import Header
from protocols.errors import IntegrityError

__all__ = ["Answer", "Attendant", "Header"]

log = logging.getLogger(__name__)

Ready = tuple[pb.Sealed, Iterable[bytes | memoryview]]
_FOR_LATER = (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.FAILED_PRECONDITION)
MOST_MESSAGES = 100_000  # of a run, each with a stored reply; a round of fifty steps needs some three hundred
KEPT_RUNS = 16  # of whose replies may be asked for again; a coordinator runs one after the other
_NETWORK = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


class Attendant:
    """One party in one room. `answer` runs in a thread of its own, one message at a time; times are in seconds.

    `on_event` gets one line for each thing an operator may want to see, never anything of a payload.
    """

    def __init__(
        self,
        *,
        room: str,
        party: str,
        address: str,
        ca_pem: bytes,
        key_pem: bytes,
        cert_pem: bytes,
        signing: Ed25519PrivateKey,
        coordinator: Ed25519PublicKey,
        journal: Journal,
        answer: Callable[[Header, bytes | memoryview], Answer],
        max_payload: int = 1 << 30,
        backoff: tuple[float, float] = (0.2, 5.0),
        on_event: Callable[[str], None] = lambda _: None,
        transfer_timeout: float = 300.0,
        keepalive: float = 20.0,
    ) -> None:
        self._room, self._party, self._address = room, party, address
        self._credentials = grpc.ssl_channel_credentials(ca_pem, key_pem, cert_pem)
        self._signing, self._coordinator, self._journal, self._app = signing, coordinator, journal, answer
        self._max_payload, self._backoff, self._on_event = max_payload, backoff, on_event
        self._transfer_timeout, self._options = transfer_timeout, rpc.client_options(keepalive)
        self._let_in = self._up = False
        self._pool: ThreadPoolExecutor | None = None
        self._work: dict[str, asyncio.Future[Ready]] = {}
        self._latest: int | None = None

    @property
    def connected(self) -> bool:
        """Whether the coordinator has let this party in, and the stream is up."""
        return self._let_in and self._up

    async def run(self, stop: asyncio.Event) -> None:
        """Attend until `stop` is set, then let an answer that is being computed come to its end."""
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="answer")
        wait = self._backoff[0]
        try:
            while not stop.is_set():
                wait = await self._session(stop, wait)
                # Why random: parties that lost the same coordinator must not all come back at the same moment.
                pause = wait * (0.5 + secrets.randbelow(1000) / 1000)
                _, rest = await asyncio.wait([asyncio.ensure_future(stop.wait())], timeout=pause)
                for waiter in rest:
                    waiter.cancel()
        finally:
            await asyncio.to_thread(self._pool.shutdown, wait=True, cancel_futures=True)

    async def _session(self, stop: asyncio.Event, wait: float) -> float:
        """One stream, to its end, whatever that is. Returns how long to wait before the next."""
        shortest, longest = self._backoff
        self._let_in = False
        self._up = True
        stopper = asyncio.ensure_future(stop.wait())
        reader = asyncio.ensure_future(self._dial())
        try:
            await asyncio.wait({reader, stopper}, return_when=asyncio.FIRST_COMPLETED)
            if reader.done():
                reader.result()
        except grpc.aio.AioRpcError as exc:
            self._event(f"disconnected: {exc.code().name} {exc.details()}")
            if exc.code() in _FOR_LATER:
                return longest
            if exc.code() in _NETWORK and self._let_in:
                return shortest
        except IntegrityError as exc:
            self._event(f"refused: {exc}")
        except Unanswered:
            self._event("stopped before the answer was due; it will be asked for again")
        except TimeoutError:
            self._event("disconnected: transfer too slow")
        except Exception as exc:  # noqa: BLE001 - a full disk or a dead call (asyncio.InvalidStateError): dial again
            self._event(f"stream failed: {type(exc).__name__}; what is journalled will be sent again")
        finally:
            self._up = False
            for task in (reader, stopper):
                task.cancel()
            await asyncio.gather(reader, stopper, return_exceptions=True)
        return min(wait * 2, longest)

    async def _dial(self) -> None:
        async with grpc.aio.secure_channel(self._address, self._credentials, options=self._options) as channel:
            call = rpc.attend(channel)()
            try:
                await self._converse(call)
            finally:
                call.cancel()

    async def _converse(self, call: Any) -> None:
        await call.write(pb.Frame(hello=pb.Hello(room=self._room, version=rpc.VERSION)))
        self._let_in = rpc.ADMITTED[0] in [tuple(pair) for pair in await call.initial_metadata()]
        if self._let_in:
            self._event("connected")
        over = _end_of(call)
        while isinstance(frame := await call.read(), pb.Frame):
            body = frame.WhichOneof("body")
            if body == "receipt":
                self._event(f"reply refused: {frame.receipt.refused}" if frame.receipt.refused else "reply accepted")
            elif body == "open":
                await self._instruction(call, frame.open, over)
            else:
                raise IntegrityError("a frame that belongs to no message")

    async def _instruction(self, call: Any, sealed: pb.Sealed, over: asyncio.Future[None]) -> None:
        """Answer one message: (1) signed by the coordinator, for us, here; (2) whole; (3) answered, and journalled;
        (4) only then sent."""
        # (1)
        header = seal.unseal(self._coordinator, sealed, room=self._room, src=seal.COORDINATOR, dst=self._party)
        if header.kind != seal.INSTRUCTION:
            raise IntegrityError("the coordinator sent something else than an instruction")
        # One message at a time, however often the stream breaks: what waits here has not been read, and costs nothing.
        while self._work and header.message_id not in self._work:
            others: list[asyncio.Future[Any]] = [*self._work.values(), over]
            await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
            if over.done():
                return
        # (2)
        # (3) Why in one line: a payload that had a name here would stay in memory until its answer is sent.
        work = self._begin(header, await self._payload(call, header))
        ends: list[asyncio.Future[Any]] = [work, over]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        # (4)
        if work.done():
            reply, buffers = work.result()
            await frames.send(call.write, reply, buffers)

    async def _payload(self, call: Any, header: Header) -> bytes | memoryview | None:
        """What the header announces, a mapped file of the journal when large; None when it is over the limit."""
        inbox = self._journal.inbox(header.size) if header.size <= self._max_payload else None
        try:
            async with asyncio.timeout(self._transfer_timeout):
                await frames.collect(call.read, header, frames.Discard() if inbox is None else inbox)
            return None if inbox is None else inbox.taken()
        finally:
            if inbox is not None:
                inbox.drop()

    def _begin(self, header: Header, payload: bytes | memoryview | None) -> asyncio.Future[Ready]:
        """Why shared: when the stream breaks the answer goes on, and the message that comes again on the next stream
        waits for it instead of queueing behind it."""
        work = self._work.get(header.message_id)
        if work is None:
            work = asyncio.get_running_loop().run_in_executor(self._pool, self._answer, header, payload)
            self._work[header.message_id] = work
            work.add_done_callback(lambda done: self._ended(header.message_id, done))
        return work

    def _ended(self, message_id: str, work: asyncio.Future[Ready]) -> None:
        self._work.pop(message_id, None)
        if not work.cancelled() and (error := work.exception()) is not None:
            log.error("%s: no answer was stored: %s", self._party, type(error).__name__)

    def _answer(self, asked: Header, payload: bytes | memoryview | None) -> Ready:
        """The stored reply, made first when there is none. Runs in the pool's one thread.

        Why it is read back: what is sent is the journal's file, and what the app built can go.
        """
        done = self._journal.reply(asked.message_id)
        if done is None and not self._claimed(asked):  # not kept: such messages have no end
            answer = failure(SEQUENCE_USED, "sequence number used before")
            return self._sealed(asked, answer), answer.buffers
        if done is None:
            self._store(asked, payload)
            done = self._journal.reply(asked.message_id)
        if isinstance(payload, memoryview):
            # Why: apps leave cycles behind (Flower's own records make them), and a mapped file in one stays in memory.
            gc.collect()
        if done is None:
            raise IntegrityError("the journal has forgotten a reply")
        return pb.Sealed.FromString(done.sealed), [done.payload]

    def _store(self, asked: Header, payload: bytes | memoryview | None) -> None:
        answer = self._decide(asked, payload)
        if sum(map(len, answer.buffers)) > self._max_payload:
            answer = failure(FAILED, "failed")
        sealed = self._sealed(asked, answer)
        self._journal.put_reply(asked.message_id, asked.run, sealed.SerializeToString(), answer.buffers)
        self._event(f"answered run {asked.run}, sequence {asked.seq}: {answer.kind}")

    def _sealed(self, asked: Header, answer: Answer) -> pb.Sealed:
        size, sha256 = seal.digest(answer.buffers)
        return seal.seal(self._signing, self._header(asked, answer.kind, size, sha256))

    def _claimed(self, asked: Header) -> bool:
        if asked.run != self._latest:  # a new run: what is of use of the old ones is in the node's own store
            self._latest = asked.run
            self._journal.keep_latest(KEPT_RUNS)
        return asked.seq <= MOST_MESSAGES and self._journal.claim(asked.run, asked.seq, asked.src, asked.message_id)

    def _decide(self, asked: Header, payload: bytes | memoryview | None) -> Answer:
        if payload is None:
            return failure(TOO_LARGE, f"over this party's limit of {self._max_payload} bytes")
        if asked.expires < time.time():
            return failure(EXPIRED, "expired")
        try:
            return self._app(asked, payload)
        except Exception as exc:  # noqa: BLE001 - one class of error leaves a party, whatever happened
            log.error("run %d, sequence %d: no answer: %s", asked.run, asked.seq, type(exc).__name__)
            return failure(FAILED, "failed")

    def _header(self, asked: Header, kind: str, size: int, sha256: bytes) -> Header:
        now = time.time()
        return Header(
            room=self._room,
            run=asked.run,
            seq=asked.seq,
            kind=kind,
            src=self._party,
            dst=seal.COORDINATOR,
            message_id=seal.message_id(self._room, asked.run, asked.seq, seal.COORDINATOR, sha256),
            message_type=asked.message_type,
            created_at=now,
            ttl=max(0.0, asked.expires - now),
            size=size,
            sha256=sha256,
            src_node=asked.dst_node,
            dst_node=asked.src_node,
            reply_to=asked.message_id,
            group_id=asked.group_id,
            plan=asked.plan,
        )

    def _event(self, what: str) -> None:
        log.info("%s: %s", self._party, what)
        self._on_event(what)


def _end_of(call: Any) -> asyncio.Future[None]:
    """Done when the stream is. Why: nobody reads it while the app works, and a party that is merely busy must dial
    again within the coordinator's grace when the network fails."""
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end(_: Any) -> None:
        if not over.done():
            over.set_result(None)

    call.add_done_callback(end)
    return over
