"""Every reader against many documents: `make fuzz`. EXAMPLES=2000 for fewer than 40,000 a reader; or some readers by
name: `python -m tests.fuzz.long entry plan`.

Heavy readers get fewer, by their weight. Exit status 1 where a reader did anything but take or refuse: the smallest
document found is printed.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import sys
import time
import traceback

from .judge import run
from .targets import TARGETS

EXAMPLES = 40_000


def work(name: str) -> tuple[str, int, int, float, str]:
    """(name, documents, taken, seconds, fault)."""
    logging.disable(logging.WARNING)
    began, target, fault, counts = time.monotonic(), TARGETS[name], "", (0, 0)
    try:
        counts = run(target, int(os.environ.get("EXAMPLES", EXAMPLES)) // target.weight, seeded=False)
    except Exception as exc:  # noqa: BLE001 - whatever it is, it is no error in words
        fault = "".join(traceback.format_exception(exc)[-12:])
    return name, *counts, time.monotonic() - began, fault


def main() -> int:
    began, faults = time.monotonic(), list[str]()
    names = sys.argv[1:] or list(TARGETS)
    total = 0
    with multiprocessing.get_context("spawn").Pool(min(2, os.cpu_count() or 1)) as pool:
        for name, read, taken, seconds, fault in pool.imap_unordered(work, names):
            print(f"{name:<22}{read:>9,} documents {taken:>8,} taken {seconds:>6.0f} s  {'FAULT' if fault else 'ok'}")
            print(fault, end="", flush=True)
            total, faults = total + read, faults + [name] * bool(fault)
    print(json.dumps({"documents": total, "faults": faults, "seconds": round(time.monotonic() - began)}))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
