"""Many processes make what one makes, in the same order, refuse the same, and end with the node."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from party_node import engine, worker
from party_node.engine import WorkerLost, open_engine
from protocols.errors import IntegrityError, SumroomError
from protocols.overlap.points import Engine, Plain

ROOT = Path(__file__).resolve().parents[2]
PLAIN = Plain()
KEYS = [b"customer %d" % i for i in range(330)]
POINTS = PLAIN.points(b"a test", KEYS)
SCALAR = bytes(range(32))


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BATCH", 16)


@pytest.fixture
def pooled() -> Iterator[Engine]:
    with open_engine(3) as opened:
        yield opened


def children() -> set[int]:
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(words[1]) == os.getpid() and b"party_node.worker" in (folder / "cmdline").read_bytes():
            found.add(int(folder.name))
    return found


def until(holds: Callable[[], bool], seconds: float = 10) -> bool:
    for _ in range(int(seconds * 50)):
        if holds():
            return True
        time.sleep(0.02)
    return False


def gone(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


# -- the same as one process -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 16, 17, 32, 33, 330])
def test_processes_make_what_one_makes_and_in_the_same_order(pooled: Engine, count: int) -> None:
    keys, points = KEYS[:count], POINTS[: 32 * count]
    assert pooled.points(b"a test", keys) == points
    assert pooled.mask(SCALAR, points) == PLAIN.mask(SCALAR, points)
    assert pooled.base(points) == PLAIN.base(points)
    pooled.check(points)


def test_keys_of_all_lengths_are_kept_apart(pooled: Engine) -> None:
    keys = [b"x" * (i % 7) for i in range(40)] + [b"\n", b"\0\0\0\0", b"y" * 100_000]
    assert pooled.points(b"", keys) == PLAIN.points(b"", keys)


def test_the_order_is_kept_when_a_batch_takes_longer_than_those_after_it(pooled: Engine) -> None:
    keys = [b"z" * 3_000_000, *KEYS]
    assert pooled.points(b"a test", keys) == PLAIN.points(b"a test", keys)


@pytest.mark.parametrize("workers", [0, 1, 2, None])
def test_any_number_of_processes_makes_the_same(workers: int | None) -> None:
    with open_engine(workers) as opened:
        assert opened.mask(SCALAR, POINTS) == PLAIN.mask(SCALAR, POINTS)


def test_a_view_of_an_array_is_taken_as_its_bytes(pooled: Engine) -> None:
    array = np.frombuffer(POINTS, np.uint8).reshape(-1, 32)
    pooled.check(array)  # type: ignore[arg-type]
    assert pooled.mask(SCALAR, array) == PLAIN.mask(SCALAR, POINTS)  # type: ignore[arg-type]


def test_several_threads_may_use_one_engine(pooled: Engine) -> None:
    scalars = [bytes([i]) * 32 for i in range(8)]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda scalar: pooled.mask(scalar, POINTS), scalars)) == [
            PLAIN.mask(scalar, POINTS) for scalar in scalars
        ]


# -- the same errors ---------------------------------------------------------------------------------------------------


def refusal(work: Callable[[], object]) -> str:
    with pytest.raises(IntegrityError) as refused:
        work()
    return refused.value.message


@pytest.mark.parametrize(
    ("place", "bad"),
    [(3, bytes(32)), (200, bytes(32)), (329, (2).to_bytes(32, "little")), (40, b"\xff" * 32)],
)
def test_what_is_no_point_is_refused_in_the_same_words(pooled: Engine, place: int, bad: bytes) -> None:
    points = POINTS[: 32 * place] + bad + POINTS[32 * (place + 1) :]
    said = refusal(lambda: pooled.check(points))
    assert said == refusal(lambda: PLAIN.check(points))
    assert f"point {place + 1} " in said
    pooled.check(POINTS)  # and it goes on


def test_a_mask_of_a_point_of_small_order_is_refused_in_the_same_words(pooled: Engine) -> None:
    points = POINTS[: 32 * 100] + bytes(32) + POINTS
    assert refusal(lambda: pooled.mask(SCALAR, points)) == refusal(lambda: PLAIN.mask(SCALAR, points))


def test_of_two_bad_points_the_first_is_named(pooled: Engine) -> None:
    points = bytearray(POINTS)
    points[32 * 300 : 32 * 301] = points[32 * 60 : 32 * 61] = bytes(32)
    assert "point 61 " in refusal(lambda: pooled.check(bytes(points)))


@pytest.mark.parametrize("length", [31, 32 * 17 - 1, 32 * 330 - 1])
def test_a_list_that_ends_within_a_point_is_refused_whole(pooled: Engine, length: int) -> None:
    for each in (pooled.check, pooled.base, lambda points: pooled.mask(SCALAR, points)):
        assert f"{length} bytes" in refusal(lambda each=each: each(POINTS[:length]))  # type: ignore[misc]


def test_a_scalar_of_another_length_is_refused(pooled: Engine) -> None:
    assert refusal(lambda: pooled.mask(b"short", POINTS)) == refusal(lambda: PLAIN.mask(b"short", POINTS))


def test_a_process_that_is_killed_is_an_error_of_ours_and_is_replaced() -> None:
    with open_engine(1) as opened:
        opened.check(POINTS)
        (pid,) = children()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(WorkerLost, match="status -9") as lost:
            opened.check(POINTS)
        assert isinstance(lost.value, SumroomError)
        assert lost.value.hint
        assert opened.mask(SCALAR, POINTS) == PLAIN.mask(SCALAR, POINTS)
        assert children() != {pid}


# -- processes ---------------------------------------------------------------------------------------------------------


def test_processes_start_with_the_first_long_input_and_end_with_the_engine() -> None:
    before = children()
    with open_engine(2) as opened:
        opened.mask(SCALAR, POINTS[: 32 * 16])
        assert children() == before
        opened.mask(SCALAR, POINTS)
        started = children() - before
        assert 1 <= len(started) <= 2
        opened.mask(SCALAR, POINTS)
        assert len(children() - before) <= 2
    assert children() == before


def test_an_engine_of_no_processes_starts_none() -> None:
    before = children()
    with open_engine(0) as opened:
        opened.mask(SCALAR, POINTS)
        assert children() == before


def test_processes_end_when_the_block_ends_with_an_error() -> None:
    before = children()
    with suppress(KeyError), open_engine(2) as opened:
        opened.check(POINTS)
        assert children() > before
        raise KeyError
    assert children() == before


def test_a_worker_heeds_neither_sigint_nor_sigterm(pooled: Engine) -> None:
    pooled.check(POINTS)
    workers = children()
    for pid in workers:
        for name in (signal.SIGINT, signal.SIGTERM):
            os.kill(pid, name)
    time.sleep(0.2)
    pooled.check(POINTS)
    assert children() >= workers


def test_a_worker_is_no_member_of_the_group_of_the_node(pooled: Engine) -> None:
    """So the Ctrl-C that a terminal sends to a whole group does not reach it, not even while it starts."""
    pooled.check(POINTS)
    assert children()
    assert all(os.getpgid(pid) != os.getpgid(os.getpid()) for pid in children())


NODE = """
import sys, time
from party_node.engine import open_engine
with open_engine(2) as opened:
    opened.points(b"a test", [b"x"] * 20_000)
    print(*(each._process.pid for each in opened._pool._all), flush=True)
    if "busy" in sys.argv:
        opened.points(b"a test", [b"x"] * 5_000_000)
    time.sleep(60)
"""


@pytest.mark.parametrize("busy", ["busy", "idle"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_the_node_however_that_ends(busy: str, how: signal.Signals) -> None:
    node = subprocess.Popen(
        [sys.executable, "-c", NODE, busy], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert node.stdout is not None
    assert node.stderr is not None
    with node:
        workers = [int(word) for word in node.stdout.readline().split()]
        assert workers
        assert not any(gone(pid) for pid in workers)
        time.sleep(0.2)
        assert node.poll() is None
        node.send_signal(how)
        node.wait()
        assert until(lambda: all(gone(pid) for pid in workers))
        assert "Traceback" not in node.stderr.read()


def test_a_worker_loads_neither_flower_nor_what_only_a_node_needs() -> None:
    script = "import sys, party_node.worker; print(*{m.split('.')[0] for m in sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"flwr", "grpc", "numpy", "pydantic", "duckdb", "party_node.app"} & set(done.stdout.split())


def test_half_a_message_ends_a_worker_without_a_word() -> None:
    whole = [sys.executable, "-m", worker.__name__]
    done = subprocess.run(whole, cwd=ROOT, input=b"\x01\x00\x00\x00\x03\x00", capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")
