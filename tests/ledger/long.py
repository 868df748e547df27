"""The machines of `machine.py` and `members_machine.py` for a long time: `make long-ledger`, 50,000 steps of the first
and 10,000 of the second; STEPS=1000 for fewer.

Two processes, each with its own random runs of 60 steps. Exit status 1 at the first difference between the product and
the model, whose run is printed.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import sys
import time
import traceback

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from .machine import Ledgers
from .members_machine import Room

STEPS = 50_000
RUNS = settings(
    max_examples=20,
    stateful_step_count=60,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def work(steps: int) -> tuple[int, dict[str, int], str]:
    """At least so many steps; how many, what happened how often, and what went wrong."""
    logging.disable(logging.WARNING)
    fault = ""
    for machine, wanted in ((Room, steps // 5), (Ledgers, steps)):
        while machine.steps < wanted and not fault:
            try:
                run_state_machine_as_test(machine, settings=RUNS)
            except Exception as exc:  # noqa: BLE001 - a traceback where an error in words was due is a difference too
                fault = "".join(
                    [*traceback.format_tb(exc.__traceback__)[-3:], repr(exc), *traceback.format_exception(exc)[-40:]]
                )
    return Ledgers.steps + Room.steps, {**Ledgers.seen, **Room.seen}, fault


def main() -> int:
    began, steps = time.monotonic(), int(os.environ.get("STEPS", STEPS))
    workers = min(2, os.cpu_count() or 1)
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        parts = pool.map(work, [-(-steps // workers)] * workers)
    happened: dict[str, int] = {}
    for _, seen, _ in parts:
        for what, times in seen.items():
            happened[what] = happened.get(what, 0) + times
    for what, times in sorted(happened.items()):
        print(f"{times:>9,}  {what}")
    faults = [fault for _, _, fault in parts if fault]
    print(*faults, sep="\n")
    total = {"steps": sum(done for done, _, _ in parts), "differences": len(faults)}
    print(json.dumps(total | {"seconds": round(time.monotonic() - began)}))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
