"""Points by the million: every core of the node's machine computes with batches of them.

    with open_engine() as engine:
        masked = engine.mask(scalar, points)

What comes out is what `protocols.overlap.points.Plain` makes, in the same order, and so are the errors.

A worker is a fresh process of the same Python that loads little more than `points.py` (`worker.py`): never a fork of a
node, whose threads and gRPC do not survive one, and not `multiprocessing`, whose children load the program that
started them, with Flower in it. It gets work on its standard input, answers on its standard output, and ends when its
input does: so it ends with the node, however that ends. It is no member of the node's group of processes and heeds no
SIGINT or SIGTERM: when the node is asked to end, it is the node that decides what happens to work under way.

Workers see the keys of the party's people and its scalars, in memory, as the node does.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from protocols.errors import IntegrityError, SumroomError
from protocols.overlap.points import SIZE, Engine, Plain, whole

from . import worker

BATCH = 4096  # about .15 s of a core
ENDS_WITHIN_S = 5.0  # a batch under way is finished first

Parts = Callable[[int], Sequence[bytes | memoryview]]  # of the batch that begins at a place of the list


class WorkerLost(SumroomError):
    """A process that computed for this node is gone. What it was asked can be asked again."""


@contextmanager
def open_engine(workers: int | None = None) -> Iterator[Engine]:
    """An engine with so many processes; by default as many as the cores that this process may use; 0: none.

    They are started with the first input that is longer than a batch, and end with the `with` block. The engine may be
    used by several threads. Its calls raise IntegrityError as `points.Engine` says, and WorkerLost.
    """
    count = _cores() if workers is None else workers
    if count == 0:
        yield Plain()
        return
    pool = _Pool(count)
    try:
        yield _Processes(pool)
    finally:
        pool.close()


class _Processes:
    """`points.Engine` over a pool. One batch or less is not worth a process."""

    def __init__(self, pool: _Pool) -> None:
        self._pool, self._plain = pool, Plain()

    def points(self, domain: bytes, keys: Sequence[bytes]) -> bytes:
        if len(keys) <= BATCH:
            return self._plain.points(domain, keys)
        return self._pool.run(worker.POINTS, len(keys), lambda at: (domain, *keys[at : at + BATCH]))

    def mask(self, scalar: bytes, points: bytes) -> bytes:
        data = whole(points)
        return self._split(worker.MASK, scalar, data) if _long(data) else self._plain.mask(scalar, data)

    def check(self, points: bytes) -> None:
        data = whole(points)
        if _long(data):
            self._split(worker.CHECK, b"", data)
        else:
            self._plain.check(data)

    def base(self, scalars: bytes) -> bytes:
        data = whole(scalars)
        return self._split(worker.BASE, b"", data) if _long(data) else self._plain.base(data)

    def _split(self, operation: int, argument: bytes, data: bytes) -> bytes:
        listed = memoryview(data)  # a batch of it is read where it lies: a long list is not held twice

        def parts(at: int) -> tuple[bytes | memoryview, ...]:
            return argument, at.to_bytes(8, "big"), listed[at * SIZE : (at + BATCH) * SIZE]

        return self._pool.run(operation, len(data) // SIZE, parts)


class _Pool:
    """So many workers, each started when there is work for it, and a thread for each that waits for its answers."""

    def __init__(self, count: int) -> None:
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="engine")
        self._idle: queue.LifoQueue[_Worker] = queue.LifoQueue()
        self._all = list[_Worker]()

    def run(self, operation: int, length: int, parts: Parts) -> bytes:
        """What all batches yield, in their order. Of several that fail, the first in that order says why."""
        starts = range(0, length, BATCH)
        futures = [self._threads.submit(self._batch, operation, parts, at) for at in starts]
        try:
            return b"".join([future.result() for future in futures])
        finally:
            for future in futures:
                future.cancel()

    def _batch(self, operation: int, parts: Parts, at: int) -> bytes:
        try:
            free = self._idle.get_nowait()
        except queue.Empty:
            free = _Worker()
            self._all.append(free)
        try:
            answer, found = free.ask(operation, parts(at))
        except WorkerLost:
            self._all.remove(free)
            raise
        self._idle.put(free)
        if answer == worker.REFUSED:
            raise IntegrityError(found.decode())
        return found

    def close(self) -> None:
        """Let the workers finish the batches they are at, and end them."""
        self._threads.shutdown(cancel_futures=True)
        for each in self._all:
            each.end()


class _Worker:
    """One process, from here."""

    def __init__(self) -> None:
        # As `multiprocessing` does it: what this process imports, its children import, and nothing of the folder.
        found = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", worker.__name__],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **found}, process_group=0,
        )  # fmt: skip

    def ask(self, operation: int, parts: Sequence[bytes | memoryview]) -> tuple[int, bytes]:
        """What the worker answers. Raises WorkerLost where it does not."""
        there, back = self._process.stdin, self._process.stdout
        assert there is not None
        assert back is not None
        try:
            worker.send(there, operation, parts)
            answer, (found,) = worker.receive(back)
        except (OSError, EOFError):
            self.end()
            raise WorkerLost(
                f"a process that computed for this node ended before its work did (status {self._process.returncode})",
                "was there too little memory? Ask again, with fewer processes",
            ) from None
        return answer, found

    def end(self) -> None:
        """Close its input, at which it ends; kill it where it does not."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):  # what was still to be written may have no reader
                    pipe.close()
        try:
            self._process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _long(data: bytes) -> bool:
    return len(data) > BATCH * SIZE


def _cores() -> int:
    """Those this process may use: in a container often fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
