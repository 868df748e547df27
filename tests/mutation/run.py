"""Mutation testing of the ledger and of what a release costs: `make mutation-ledger`.

    python -m tests.mutation.run [--list] [--every 10] [--survivors FILE] [path …]

For every mutant (`mutate.py`) tests run until one fails. None failed: the mutant survived, and something about the
rules is said by no test. A mutant in the body of a function is put into what is loaded (`swap.py`), and tried by the
tests that reach its line (`session.py`). One that an import runs, such as a constant or a field of a document, needs
the module anew: a fork in which pytest and all that is not ours is loaded, and ours is not yet. One that takes five
times as much CPU as its tests do without it counts as killed.

Why not mutmut or cosmic-ray: mutmut 3.8 changes no decorated function, and many of the rules are pydantic's validators;
cosmic-ray 8.7 starts a new process for each mutant, which alone takes longer than most of them need to die.

Exit status 1 where fewer than 90 % are killed, or the tests are not green without a mutant.
"""

from __future__ import annotations

import argparse
import importlib.abc
import importlib.machinery
import importlib.util
import io
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import CodeType
from typing import Any

from .mutate import Mutant, mutants, tree_of
from .session import BROKEN, KILLED, LEAST_LIMIT_S, SURVIVED, TIMES, WORKERS, Judged, confined, judge
from .suites import modules, tests_of

ROOT = Path(__file__).resolve().parents[2]
REQUIRED = 0.9


class OneChanged(importlib.abc.MetaPathFinder):
    """Finds the mutant's module before anybody else does, and compiles it changed."""

    def __init__(self, name: str, path: Path, code: CodeType) -> None:
        self.name, self.path, self.code = name, path, code

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name != self.name:
            return None
        return importlib.util.spec_from_file_location(name, self.path, loader=_Compiled(self.code, name, self.path))


class _Compiled(importlib.machinery.SourceFileLoader):
    def __init__(self, code: CodeType, name: str, path: Path) -> None:
        super().__init__(name, str(path))
        self.code = code

    def get_code(self, fullname: str) -> CodeType:
        return self.code


def load_what_is_not_ours() -> None:
    import rfc8785  # noqa: F401
    from cryptography.hazmat.primitives.asymmetric import mldsa  # noqa: F401

    if ours := [name for name in sys.modules if name.split(".")[0] in ("protocols", "coordinator", "party_node")]:
        raise RuntimeError(f"loaded before it could be changed: {ours[0]}")


def run_tests(tests: Sequence[str]) -> int:
    """pytest's exit status, in this process."""
    import pytest
    from hypothesis import HealthCheck, Phase, settings

    class Brief:
        def pytest_configure(self) -> None:
            settings.register_profile(
                "brief", phases=[Phase.explicit, Phase.generate], database=None, suppress_health_check=list(HealthCheck)
            )
            settings.load_profile("brief")

    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        options = ["-x", "-q", "-o", "filterwarnings=", "-p", "no:cacheprovider", "--tb=no", "--no-header"]
        return int(pytest.main([*options, *tests], plugins=[Brief()]))


def attempt(mutant: Mutant | None, tests: Sequence[str]) -> int:
    """In this process, which must be a fork: KILLED, SURVIVED, or BROKEN where the tests could not be run at all."""
    if mutant is not None:
        name = ".".join(mutant.path.with_suffix("").parts)
        code = compile(tree_of(mutant), str(mutant.path), "exec")
        sys.meta_path.insert(0, OneChanged(name, ROOT / mutant.path, code))
    try:
        found = run_tests(tests)
    except BaseException:  # noqa: BLE001 - what a mutant does to pytest itself
        return KILLED
    # 1: a test failed; 2: a module could not be loaded, which every test would see
    return {0: SURVIVED, 1: KILLED, 2: KILLED}.get(found, BROKEN)


def work(job: tuple[Mutant, float]) -> Judged:
    (mutant, limit), began = job, time.monotonic()
    return mutant, confined(lambda: attempt(mutant, tests_of(mutant.path)), limit), time.monotonic() - began


def import_anew(todo: list[Mutant], say: Callable[[Judged], None]) -> bool:
    """Try those that an import runs. Returns whether the tests pass without one."""
    load_what_is_not_ours()
    limits: dict[frozenset[str], float] = {}
    for tests in dict.fromkeys(frozenset(tests_of(mutant.path)) for mutant in todo):
        start = time.monotonic()
        if confined(lambda tests=tests: attempt(None, sorted(tests)), 600) != SURVIVED:  # type: ignore[misc]
            return False
        limits[tests] = max(LEAST_LIMIT_S, TIMES * (time.monotonic() - start))
    jobs = [(mutant, limits[frozenset(tests_of(mutant.path))]) for mutant in todo]
    with multiprocessing.get_context("fork").Pool(WORKERS) as pool:
        for judged in pool.imap_unordered(work, jobs):
            say(judged)
    return True


def in_place(todo: list[Mutant], say: Callable[[Judged], None]) -> list[Mutant] | None:
    """Try those inside functions, in a fork. Returns what must be imported anew; None: not green without a mutant."""
    tests = sorted({test for path in {mutant.path for mutant in todo} for test in tests_of(path)})
    read, write = multiprocessing.get_context("fork").Pipe(duplex=False)
    child = os.fork()
    if child == 0:
        try:
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                write.send(judge(todo, tests, lambda judged: write.send(judged)))
        finally:
            os._exit(0)
    write.close()
    try:
        while len(told := read.recv()) == 3:
            say(told)
    except EOFError:
        return None
    finally:
        os.waitpid(child, 0)
    green, elsewhere = told
    return elsewhere if green else None


def main() -> int:
    parser = argparse.ArgumentParser(description="Change the code in every small way, and see that the tests notice.")
    parser.add_argument("--list", action="store_true", help="only say what would be changed")
    parser.add_argument("--every", type=int, default=1, help="every n-th mutant only")
    parser.add_argument("--survivors", type=Path, help="write what survived to this file")
    parser.add_argument("paths", nargs="*", type=Path, help="modules; all of them where none is named")
    asked = parser.parse_args()
    os.chdir(ROOT)
    paths = asked.paths or modules()
    todo = [mutant for path in paths for mutant in mutants(path)][:: asked.every]
    if asked.list:
        print(*todo, sep="\n")
        return 0
    began = time.monotonic()
    survivors, counts, slow = list[str](), dict[Path, list[int]](), 0.0

    def say(judged: Judged) -> None:
        nonlocal slow
        mutant, status, seconds = judged
        count = counts.setdefault(mutant.path, [0, 0])
        count[0] += 1
        count[1] += status == KILLED
        slow = max(slow, seconds)
        if status != KILLED:
            survivors.append(f"{mutant}{'  (the tests did not run)' if status == BROKEN else ''}")
            print(f"SURVIVED {survivors[-1]}", flush=True)

    later = [mutant for mutant in todo if mutant.later]
    left = in_place(later, say) if later else []
    if left is None or not import_anew([*(mutant for mutant in todo if not mutant.later), *left], say):
        print("error: the tests are not green without a mutant")
        return 1
    for path, (all_of_it, killed) in sorted(counts.items()):
        print(f"{path!s:<36}{killed:>6} of {all_of_it:>5} killed  {100 * killed / all_of_it:5.1f} %")
    if asked.survivors:
        asked.survivors.write_text("\n".join(sorted(survivors)) + "\n")
    share = 1 - len(survivors) / max(1, len(todo))
    total = {"mutants": len(todo), "killed": len(todo) - len(survivors), "share": round(share, 4)}
    print(json.dumps(total | {"seconds": round(time.monotonic() - began), "slowest_s": round(slow, 1)}))
    return 0 if todo and share >= REQUIRED else 1


if __name__ == "__main__":
    sys.exit(main())
