"""The demo: three companies, one coordinator, one auditor, each a process of its own.

    python examples/complete_journey/demo.py [--room .room] [--out demo-output]

1. cut the data into three companies            5. the coordinator runs one round of each plan
2. make the room's keys and certificates        6. each company assigns, and ranks, its own customers
3. each company registers its data              7. the auditor checks the bundle, offline
4. each company starts its node
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cut
import room
from processes import free_port, nodes, say, tool

from protocols.errors import UsageError

HERE = Path(__file__).resolve().parent
PLAN = HERE / "plan.toml"
LOOKALIKE = HERE / "lookalike.toml"
RANKS = ("convenience", "drugstore")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--room",
        type=Path,
        default=Path(".room"),
        help="where keys, data and state of the room go; an earlier demo's is replaced",
    )
    parser.add_argument("--out", type=Path, default=Path("demo-output"), help="where the results go")
    arguments = parser.parse_args()
    began = time.monotonic()
    place, out = arguments.room.resolve(), arguments.out.resolve()
    try:
        _run(place, out, began)
    except UsageError as exc:
        print(exc.diagnostics(), file=sys.stderr)
        return exc.exit_code
    except KeyboardInterrupt:
        print("error: interrupted\nhint: make demo starts afresh", file=sys.stderr)
        return 130
    return 0


def _run(place: Path, out: Path, began: float) -> None:
    room.make(place, free_port())
    say("cutting the households' baskets into three companies")
    cut.cut(place / "cut")
    for company in room.COMPANIES:
        (place / "cut" / company).rename(place / company / "data")
        say(f"{company} registers its data")
        tool("party_node", "register", "--config", place / company / "node.toml", "--plan", PLAN)
    with nodes(place / company for company in room.COMPANIES):
        say("the coordinator runs the plan")
        config = place / "coordinator" / "coordinator.toml"
        tool("coordinator", "plan", "launch", PLAN, "--config", config, "--out", _shown(out))
        first = (out / "report.html").read_bytes()
        say("the coordinator runs the second plan: who is like the grocer's loyal customers?")
        tool("coordinator", "plan", "launch", LOOKALIKE, "--config", config, "--out", _shown(out))
        # A launch writes the page of its own round: each keeps a name of its own.
        (out / "report.html").replace(out / "lookalike.html")
        (out / "report.html").write_bytes(first)
    for company in room.COMPANIES:
        say(f"{company} puts its own customers into the segments, on its own disk")
        tool("party_node", "segments", "--config", place / company / "node.toml", "--out", place / company / "segments")
    for company in RANKS:
        say(f"{company} ranks its own customers by their likeness to the grocer's loyal ones, on its own disk")
        settings, own = place / company / "node.toml", place / company / "audience"
        tool("party_node", "audience", "--config", settings, "--out", own)
        print(
            f"  then, as its own campaign needs it: sumroom-party activate {_shown(own / 'audience.csv')}"
            f" --config {_shown(settings)} --profile plain-csv --top 30% --no-opt-outs --purpose TEXT --out FILE",
            flush=True,
        )
    say("the auditor checks the bundle, which has both rounds")
    tool("protocols", "verify", out / "room.tar", "--policy", out / "policy.txt")
    pages = " and ".join(_shown(out / name) for name in ("report.html", "lookalike.html"))
    say(f"done in {time.monotonic() - began:.0f} s: open {pages}")


def _shown(path: Path) -> str:
    """A path as a person standing here would write it."""
    return os.path.relpath(path)


if __name__ == "__main__":
    sys.exit(main())
