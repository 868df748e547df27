"""The same readers under a fuzzer that sees which branches it reaches: `make fuzz-atheris NAME=entry`, SECONDS=60.

atheris (Python 3.11 to 3.13, Linux) is in an environment of its own, `.atheris`, and no dependency. It starts from the
golden documents. Exit status 1 at the first that makes a reader do anything but take or refuse; libFuzzer writes it to
a file.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from pathlib import Path

import atheris  # type: ignore[import-not-found, unused-ignore]


def main() -> None:
    name, seconds = os.environ.get("NAME", "entry"), os.environ.get("SECONDS", "60")
    logging.disable(logging.WARNING)
    with atheris.instrument_imports(include=["protocols"]):
        from tests.fuzz.judge import judge
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]
    folder = Path(tempfile.mkdtemp(prefix="corpus-"))
    for number, seed in enumerate(target.seeds()):
        (folder / str(number)).write_bytes(seed)

    def one_input(data: bytes) -> None:
        judge(target, data)

    atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", "-max_len=65536", str(folder)], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
