"""The way from each party to the coordinator, which a test can spoil: a TCP proxy each, one of them by HTTP CONNECT.

All proxies of a run live in one loop on a thread of its own; their methods may be called from any thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any

PIECE = 1 << 14


class Loop:
    """The thread that the proxies work in. A context manager."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="proxies", daemon=True)

    def __enter__(self) -> Loop:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.do(self._end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self.loop.close()

    async def _end(self) -> None:
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(10)


class Proxy:
    """Listens on `port` and passes on to `target`. connect: it is first asked, by HTTP, where to.

    delay     seconds that each piece waits                 rate      bytes a second, or None
    stalled   nothing is passed on, nothing is closed       refused   who connects is sent away
    """

    def __init__(self, loop: Loop, port: int, target: int, *, connect: bool = False) -> None:
        self._loop, self._port, self._target, self._connect = loop, port, target, connect
        self.delay: float = 0.0
        self.rate: int | None = None
        self.stalled = self.refused = False
        self._open: set[asyncio.StreamWriter] = set()
        self._server = loop.do(self._listen())

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._serve, "127.0.0.1", self._port)

    def cut(self) -> None:
        """Break every connection that there is now."""
        self._loop.loop.call_soon_threadsafe(self._break)

    def heal(self) -> None:
        """Pass on everything again, as it comes."""
        self.delay, self.rate, self.stalled, self.refused = 0.0, None, False, False

    def close(self) -> None:
        self._loop.do(self._end())

    async def _end(self) -> None:
        self._server.close()
        self._break()

    def _break(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refused:
            writer.transport.abort()
            return
        self._open.add(writer)
        out: asyncio.StreamWriter | None = None
        try:
            if self._connect and not await self._asked(reader, writer):
                return
            back, out = await asyncio.open_connection("127.0.0.1", self._target)
            self._open.add(out)
            await asyncio.gather(self._pass(reader, out), self._pass(back, writer))
        except (OSError, EOFError, ValueError):  # the coordinator does not listen; or somebody is gone
            pass
        finally:
            for each in (writer, out):
                if each is not None:
                    self._open.discard(each)
                    each.transport.abort()

    async def _asked(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        fine = head.startswith(b"CONNECT localhost:%d HTTP/1.1\r\n" % self._target)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n" if fine else b"HTTP/1.1 403 Forbidden\r\n\r\n")
        await writer.drain()
        return fine

    async def _slowly(self, size: int) -> None:
        """What a piece of `size` bytes takes; a piece that was read before the connection became slow, no longer than
        the connection stays slow."""
        began = self._loop.loop.time()
        await asyncio.sleep(self.delay if self.rate is None else 0)
        while self.rate is not None and self._loop.loop.time() < began + size / self.rate:
            await asyncio.sleep(min(size / self.rate, 0.05))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(self.rate or PIECE):
                while self.stalled:
                    await asyncio.sleep(0.02)
                await self._slowly(len(data))
                writer.write(data)
                await writer.drain()
        finally:
            with contextlib.suppress(OSError):
                writer.close()
