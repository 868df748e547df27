"""Appends a second of other logs, in environments of their own: sigstore, pymerkle, aics-tlog. None is a dependency.

    python tests/benchmarks/other_logs.py pymerkle N BYTES       inside such an environment: one line, appends a second

Each is asked to make one entry durable at a time, by its own means. pymerkle's licence is the GPL: it is never imported
by this project, only run beside it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

Append = Callable[[bytes], object]
LOGS = ("pymerkle", "aics-tlog", "sigstore")
NEEDS_312 = ("aics-tlog",)


class Missing(Exception):
    """Why there is no figure."""


def pymerkle(folder: Path) -> Append:
    from pymerkle import SqliteTree

    tree = SqliteTree(str(folder / "tree.db"))
    return tree.append_entry


def aics_tlog(folder: Path) -> Append:
    from aics_tlog import DirectoryTileStore, IncrementalTileWriter

    writer = IncrementalTileWriter(DirectoryTileStore(folder))
    return lambda entry: writer.append([entry])


def sigstore(folder: Path) -> Append:
    import sigstore._internal.merkle as merkle

    if not any("append" in name for name in dir(merkle)):
        raise Missing("it checks inclusion proofs only; it has no log to append to")
    raise Missing("its log is private")


def measured(name: str, count: int, size: int) -> float:
    """Appends a second, in this environment."""
    with tempfile.TemporaryDirectory(prefix="other-log-") as folder:
        append = {"pymerkle": pymerkle, "aics-tlog": aics_tlog, "sigstore": sigstore}[name](Path(folder))
        entries = [os.urandom(size) for _ in range(count)]
        began = time.perf_counter()
        for entry in entries:
            append(entry)
        return count / (time.perf_counter() - began)


def environment(name: str, place: Path, *more: str) -> Path:
    """The Python of an environment with this package, and more, made where there is none. Raises Missing."""
    python, done = place / name / "bin" / "python", place / name / "installed"
    if done.exists():
        return python
    older = name in NEEDS_312 and sys.version_info < (3, 12)
    base = os.environ.get("PYTHON_3_12", "python3.12") if older else sys.executable
    try:
        subprocess.run([base, "-m", "venv", str(place / name)], check=True, capture_output=True, timeout=120)
    except (OSError, subprocess.SubprocessError):
        raise Missing("it needs a Python 3.12: name one in PYTHON_3_12" if older else "no environment") from None
    try:
        install = [str(python), "-m", "pip", "install", "--quiet", name, *more]
        subprocess.run(install, check=True, capture_output=True, timeout=600)
    except (OSError, subprocess.SubprocessError) as exc:
        raise Missing(f"it does not install here: {type(exc).__name__}") from None
    done.touch()
    return python


def appends_a_second(name: str, count: int, size: int, place: Path) -> float:
    """Of one log, in its own environment below `place`. Raises Missing."""
    command = [str(environment(name, place)), __file__, name, str(count), str(size)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise Missing(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "it failed")
    return float(done.stdout)


if __name__ == "__main__":
    try:
        print(measured(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
    except Missing as exc:
        sys.exit(str(exc))
