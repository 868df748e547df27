"""How many people do two lists of e-mail addresses share? Two nodes and a coordinator, each a process of its own.

    python examples/email_overlap/run.py [LEFT.csv RIGHT.csv] [--column email] [--room DIR] [--out DIR]

Without files, two lists of made-up addresses are written first: 3,000 and 4,000, of which 1,200 are on both.
1. keys and certificates of a room of two     3. each starts its node; the coordinator runs the plan
2. each registers its list                    4. the auditor checks the bundle, offline

It ends with the released number: how many people both lists share, and which part of each list that is, each with its
95 % interval. The lists stay where they are.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from processes import nodes, say, tool
from two_files import Two, ended, existing

from party_node import registration
from party_node.files import quoted
from protocols import bundle, release
from protocols.figures import TOO_NOISY
from protocols.plan import Plan

HERE = Path(__file__).resolve().parent
PLAN = HERE / "plan.toml"
PARTIES = ("left", "right")
ROUNDS = 4  # of the plan, that a list's budget is for


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lists", type=Path, nargs="*", help="two CSV files")
    parser.add_argument("--column", default="email", help="the column of both files that holds the addresses")
    parser.add_argument("--room", type=Path, default=Path(".two-lists"), help="an earlier one is replaced")
    parser.add_argument("--out", type=Path, default=Path("overlap-output"), help="where the results go")
    arguments = parser.parse_args()
    if len(arguments.lists) not in (0, 2):
        parser.error("name two CSV files, or none")
    two = Two("two-lists", PARTIES, arguments.room.resolve(), "all-time", ROUNDS)
    return ended(lambda: _run(two, arguments.out, arguments.lists, arguments.column))


def _run(two: Two, out: Path, lists: list[Path], column: str) -> None:
    files, plan = existing(lists), Plan.from_toml(PLAN.read_bytes())
    two.clear()
    left, right = (two.home / party / "list.csv" for party in PARTIES)
    made = files or [_made_up(left, 0, 3000), _made_up(right, 1800, 4000)]
    two.enrol(plan, made, {name: quoted(column) for name in ("customer", "email")})
    hint = (
        f"line 1 names the columns, {column!r} among them (--column: another one); below it are "
        f"{registration.LEAST_PEOPLE} to {plan.people_cap:,} people's addresses (more: people_cap in {PLAN}); "
        "the file is .csv or .csv.gz, in UTF-8, or .parquet"
    )
    for party, name in zip(PARTIES, map(str, files) if files else ("made up", "made up"), strict=True):
        say(f"{party} registers its list: {name}")
        two.register(party, plan, f"the list of {party}", "people", hint)
    with nodes(two.home / party for party in PARTIES):
        say("the coordinator runs the plan")
        two.launch(PLAN, out)
    say("the auditor checks the bundle")
    tool("protocols", "verify", out / "room.tar", "--policy", out / "policy.txt")
    print("\n".join(_released(out)))
    say(f"done: open {out / 'report.html'}")


def _released(out: Path) -> list[str]:
    """What the room released of the overlap, in words: from the bundle, for below `out` earlier rooms' files may lie.

    What noise has moved beyond 0 or beyond the whole list is shown there; an interval that holds still holds.
    """
    members = bundle.unpack((out / "room.tar").read_bytes())
    (name,) = (name for name in members if name.startswith(bundle.RELEASES) and name.endswith("-overlap.json"))
    found = release.read(members[name]).body_.answer["pairs"]["--".join(PARTIES)]["all"]
    count, low, high = (max(0, int(found["overlap"][part])) for part in ("value", "low", "high"))
    lines = [
        f"— released in {out / name}:",
        f"{' and '.join(PARTIES)} share {count:,} people (95 % interval: {low:,} to {high:,})",
    ]
    for party in PARTIES:
        share = found["share"][party]
        if share["value"] == TOO_NOISY:
            lines.append(f"which part of {party} that is: too noisy to say")
        else:
            part, least, most = (100 * min(1.0, max(0.0, float(share[at]))) for at in ("value", "low", "high"))
            lines.append(f"that is {part:.1f} % of {party} (95 % interval: {least:.1f} % to {most:.1f} %)")
    return lines


def _made_up(path: Path, first: int, count: int) -> Path:
    """A list of addresses of people who do not exist, some spelled with capitals or blanks."""
    spell = (str, str.upper, lambda text: f" {text} ")
    lines = [spell[i % 3](f"person{i}@example.com") for i in range(first, first + count)]
    path.write_text("email\n" + "\n".join(lines) + "\n", "utf-8")
    return path


if __name__ == "__main__":
    sys.exit(main())
