"""Mutants inside functions: pytest collects once, and every mutant is tried in a fork of that one process.

First the tests run once without any mutant, under coverage.py, which notes for each line the tests that reach it
(`Coverage.switch_context`). A mutant is put to those only: its module's own, then the quickest, up to some seconds;
what only a slow test of another module sees counts as seen by none. What a fixture reaches is reached by every test of
that test's file.
"""

from __future__ import annotations

import os
import pickle
import resource
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import coverage
import pytest
from hypothesis import HealthCheck, Phase, settings

from .mutate import Mutant
from .suites import OWN
from .swap import Loaded, NotInPlace

KILLED, SURVIVED, BROKEN, ELSEWHERE = 0, 1, 2, 3
LEAST_LIMIT_S, TIMES = 10, 5  # CPU
PATIENCE = 20  # times as long by the clock
MEMORY = 4 << 30
ENOUGH_S = 8.0  # of tests a mutant, beside its module's own
WORKERS = min(2, os.cpu_count() or 1)
Judged = tuple[Mutant, int, float]


@dataclass
class Reach:
    """seconds: CPU of every test; tests: (file, line) → names of the tests that run it."""

    seconds: dict[str, float] = field(default_factory=dict)
    tests: dict[tuple[str, int], set[str]] = field(default_factory=dict)

    def of(self, mutant: Mutant) -> list[str]:
        file = str(mutant.path.resolve())
        lines = range(mutant.lines[0], mutant.lines[1] + 1)
        found = {name for line in lines for name in self.tests.get((file, line), ())}
        own = tuple(OWN.get(mutant.path.stem, ()))
        chosen, spent = list[str](), 0.0
        for name in sorted(found, key=lambda name: (not name.startswith(own), self.seconds[name])):
            spent += self.seconds[name]
            if spent > ENOUGH_S and not name.startswith(own):
                break
            chosen.append(name)
        return chosen


def confined(job: Callable[[], int], limit: float) -> int:
    """In a fork of its own; KILLED where it takes too much CPU, time or memory."""
    child = os.fork()
    if child == 0:
        status = BROKEN
        try:
            # Why CPU first: on a busy machine a mutant that no test sees would take too long by the clock.
            resource.setrlimit(resource.RLIMIT_CPU, (round(limit), round(limit) + 5))
            signal.alarm(round(PATIENCE * limit))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            status = job()
        finally:
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    return os.WEXITSTATUS(ended) if os.WIFEXITED(ended) else KILLED


class Judging:
    """A pytest plugin that runs mutants where pytest would have run tests."""

    def __init__(self, todo: list[Mutant], paths: list[Path], say: Callable[[Judged], None]) -> None:
        self.todo, self.paths, self.say = todo, paths, say
        self.elsewhere: list[Mutant] = []
        self.green = False

    def pytest_configure(self) -> None:
        settings.register_profile(
            "brief", phases=[Phase.explicit, Phase.generate], database=None, suppress_health_check=list(HealthCheck)
        )
        settings.load_profile("brief")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.session, self.loaded, self.reach = session, Loaded(self.paths), _measured(session, self.paths)
        self.items = {item.nodeid: item for item in session.items}
        names = list(self.items)
        self.green = bool(names) and confined(lambda: self._attempt(None, names), self._limit(names)) == SURVIVED
        if self.green:
            with get_context("fork").Pool(WORKERS) as pool:
                for judged in pool.imap_unordered(_judge, self.todo):
                    if judged[1] == ELSEWHERE:
                        self.elsewhere.append(judged[0])
                    else:
                        self.say(judged)
        return True

    def judge(self, mutant: Mutant) -> Judged:
        began, names = time.monotonic(), self.reach.of(mutant)
        return mutant, confined(lambda: self._attempt(mutant, names), self._limit(names)), time.monotonic() - began

    def _limit(self, names: list[str]) -> float:
        return max(LEAST_LIMIT_S, TIMES * sum(self.reach.seconds[name] for name in names))

    def _attempt(self, mutant: Mutant | None, names: list[str]) -> int:
        if mutant is not None:
            try:
                self.loaded.change(mutant)
            except NotInPlace:
                return ELSEWHERE
        try:
            return SURVIVED if _run(self.session, [self.items[name] for name in names]) else KILLED
        except BaseException:  # noqa: BLE001 - what a mutant does to pytest itself
            return KILLED


_here: Judging


def _judge(mutant: Mutant) -> Judged:
    return _here.judge(mutant)


def _run(session: pytest.Session, items: list[pytest.Item]) -> bool:
    """Whether all of them pass; ends at the first that does not."""
    for item, following in zip(items, [*items[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.testsfailed:
            return False
    return True


def _measured(session: pytest.Session, paths: list[Path]) -> Reach:
    """In a fork, so that nothing of these runs is left in what the mutants start from."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read)
            with os.fdopen(write, "wb") as out:
                pickle.dump(_measure(session, paths), out)
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as back:
        found: Reach = pickle.load(back)  # noqa: S301 - our own child's
    os.waitpid(child, 0)
    return found


class _Contexts:
    """Tells coverage.py which test it is in, and in which part of it."""

    def __init__(self, watched: coverage.Coverage) -> None:
        self.watched = watched

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self.watched.switch_context(f"setup|{item.nodeid}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> None:
        self.watched.switch_context(f"call|{item.nodeid}")


def _measure(session: pytest.Session, paths: list[Path]) -> Reach:
    found, files = Reach(), [str(path.resolve()) for path in paths]
    watched = coverage.Coverage(data_file=None, include=files, config_file=False)
    session.config.pluginmanager.register(_Contexts(watched))
    watched.start()
    for item, following in zip(session.items, [*session.items[1:], None], strict=True):
        began = time.process_time()
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        found.seconds[item.nodeid] = time.process_time() - began
    watched.stop()
    by_file = defaultdict(set)
    for item in session.items:
        by_file[item.path].add(item.nodeid)
    sharers = {item.nodeid: by_file[item.path] for item in session.items}
    for file in files:
        for line, contexts in watched.get_data().contexts_by_lineno(file).items():
            found.tests[file, line] = set(_names(contexts, sharers))
    return found


def _names(contexts: list[str], sharers: dict[str, set[str]]) -> Iterator[str]:
    for context in filter(None, contexts):
        part, name = context.split("|", 1)
        yield from sharers[name] if part == "setup" else [name]


def judge(todo: list[Mutant], tests: list[str], say: Callable[[Judged], None]) -> tuple[bool, list[Mutant]]:
    """Try all of them. Returns whether the tests pass without one, and those that must be tried by importing anew."""
    global _here
    _here = Judging(todo, sorted({mutant.path for mutant in todo}), say)
    options = ["-q", "-o", "filterwarnings=", "-o", "tmp_path_retention_policy=none", "-p", "no:cacheprovider"]
    pytest.main([*options, "--tb=no", "--no-header", *tests], plugins=[_here])
    return _here.green, _here.elsewhere
