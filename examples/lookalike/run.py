"""Who in one file of customers buys like those in another? Two nodes and a coordinator, each a process of its own.

    python examples/lookalike/run.py [ADVERTISER.csv PUBLISHER.csv] [--until 2025-12-31] [--room DIR] [--out DIR]

Each file has a line for each purchase, with columns email, date and amount; --email, --date and --amount name others.
Purchases of the two years up to --until count. Without files, two are made up first.
1. keys and certificates of a room of two     4. the publisher ranks its own customers, on its own disk
2. each registers its file                    5. the auditor checks the bundle, offline
3. each starts its node; the coordinator runs the plan

It ends with what was released: whether the ranking is of use, the suggested cut, and how many times as many customers
of the advertiser it holds as drawing lots would, with 95 % intervals. Both files, and the list, stay where they are.
"""

from __future__ import annotations

import argparse
import datetime as dt
import random
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from processes import nodes, say, tool
from two_files import Two, ended, existing

from party_node import registration
from party_node.files import quoted
from protocols import bundle, release
from protocols.figures import TOO_NOISY
from protocols.plan import Plan

HERE = Path(__file__).resolve().parent
SEED, OWNER = "advertiser", "publisher"
PARTIES = (SEED, OWNER)
DAYS = 730
ROUNDS = 2  # of the plan, that a file's budget is for
MADE_UP_UNTIL = dt.date(2025, 12, 31)


@dataclass(frozen=True)
class Columns:
    """What the files call them."""

    email: str
    date: str
    amount: str

    def settings(self) -> dict[str, str]:
        """The table's, as expressions over a file's columns. Purchases of a person and a day are a basket."""
        email, date, amount = (quoted(name) for name in (self.email, self.date, self.amount))
        return {
            "email": email,
            "customer": email,
            "basket": f"concat({email}, ' ', {date})",
            "bought_on": date,
            "paid": amount,
            "discount": "0",
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="*", help="two CSV files, the advertiser's first")
    parser.add_argument("--until", type=dt.date.fromisoformat, help="the last day that counts (today)")
    for name in ("email", "date", "amount"):
        parser.add_argument(f"--{name}", default=name, help=f"the column of both files with each purchase's {name}")
    parser.add_argument("--room", type=Path, default=Path(".lookalike"), help="an earlier one is replaced")
    parser.add_argument("--out", type=Path, default=Path("lookalike-output"), help="where the results go")
    arguments = parser.parse_args()
    if len(arguments.files) not in (0, 2):
        parser.error("name two CSV files, or none")
    until = arguments.until or (dt.datetime.now(dt.UTC).date() if arguments.files else MADE_UP_UNTIL)
    columns = Columns(arguments.email, arguments.date, arguments.amount)
    two = Two("two-customer-files", PARTIES, arguments.room.resolve(), "two-years", ROUNDS)
    return ended(lambda: _run(two, arguments.out, arguments.files, columns, until))


def _run(two: Two, out: Path, given: list[Path], columns: Columns, until: dt.date) -> None:
    files = existing(given)
    two.clear()
    first = until - dt.timedelta(days=DAYS - 1)
    text = (HERE / "plan.toml").read_text("utf-8").replace('"FIRST"', f'"{first}"').replace('"LAST"', f'"{until}"')
    path = two.home / "plan.toml"
    path.write_text(text, "utf-8")
    plan = Plan.from_toml(text.encode())
    two.enrol(plan, files or _made_up(two.home, columns), columns.settings())
    names = ", ".join(repr(name) for name in (columns.email, columns.date, columns.amount))
    hint = (
        f"line 1 names the columns, {names} among them (--email, --date, --amount: others); each line below it is a "
        f"purchase, its date like 2025-03-31 and from {first} to {until} (--until: another day); there are "
        f"{registration.LEAST_PEOPLE} to {plan.people_cap:,} customers; the file is .csv or .csv.gz, in UTF-8, or "
        ".parquet"
    )
    for party, name in zip(PARTIES, map(str, files) if files else ("made up", "made up"), strict=True):
        say(f"the {party} registers its customers: {name}")
        two.register(party, plan, f"the file of the {party}", "customers", hint)
    with nodes(two.home / party for party in PARTIES):
        say("the coordinator runs the plan")
        two.launch(path, out)
    members = bundle.unpack((out / "room.tar").read_bytes())
    ranked = int(_answer(members, "look-scores")["seed"]["size"]["value"]) >= plan.body()["questions"][0]["floor"]
    own = two.home / OWNER / "audience"
    if ranked:
        say(f"the {OWNER} ranks its own customers, on its own disk")
        tool("party_node", "audience", "--config", two.settings(OWNER), "--out", own)
    say("the auditor checks the bundle")
    tool("protocols", "verify", out / "room.tar", "--policy", out / "policy.txt")
    print("\n".join(_released(members)))
    say(f"done: open {out / 'report.html'}" + (f"; the list is {own}" if ranked else ""))


# -- what was released -------------------------------------------------------------------------------------------------


def _answer(members: Mapping[str, bytes], step: str) -> Any:
    (name,) = (name for name in members if name.startswith(bundle.RELEASES) and name.endswith(f"-{step}.json"))
    return release.read(members[name]).body_.answer


def _released(members: Mapping[str, bytes]) -> list[str]:
    """In words, each figure as it was released, with its interval."""
    lines = [_seed_words(_answer(members, "look-scores")["seed"]["size"])]
    found = _answer(members, "look-overlap")["owners"][OWNER]
    signal, auc = found["signal"]["value"], found["auc"]
    if signal == TOO_NOISY or auc["value"] == TOO_NOISY:
        return [*lines, f"too noisy to say whether the score finds them among those of the {OWNER}"]
    value, low, high = (100 * float(auc[part]) for part in ("value", "low", "high"))
    lines.append(
        f"signal: {signal}; in {value:.0f} of 100 pairs (95 % interval: {low:.1f} to {high:.1f}) one of them comes "
        f"before any customer of the {OWNER}"
    )
    cut = found["default"]["value"]
    if cut == TOO_NOISY:
        return [*lines, "no cut is suggested: of none does it surely hold enough more of them than drawing lots would"]
    lift = found["cuts"][cut]["lift"]
    lines.append(
        f"suggested: the likest {cut} %, which hold {lift['value']} times as many of them as drawing lots would "
        f"(95 % interval: {lift['low']} to {lift['high']})"
    )
    return lines


def _seed_words(size: Mapping[str, str]) -> str:
    value, low, high = (int(size[part]) for part in ("value", "low", "high"))
    return f"the seed has {value:,} customers of the {SEED} (95 % interval: {low:,} to {high:,})"


def _made_up(room: Path, columns: Columns) -> list[Path]:
    """Purchases of people who do not exist: 1,500 of the advertiser, who come often; 4,000 of the publisher, of whom
    800 are the advertiser's too, 400 more come as often, and the others seldom.
    """
    made = []
    for party, people in ((SEED, range(1500)), (OWNER, range(700, 4700))):
        path, draw = room / party / "customers.csv", random.Random(party)
        with path.open("w", encoding="utf-8") as file:
            file.write(f"{columns.email},{columns.date},{columns.amount}\n")
            for i in people:
                often = i < 1900
                for _ in range(draw.randint(8, 20) if often else draw.randint(1, 7)):
                    ago = int(draw.random() ** (2 if often else 1) * (DAYS - 1))
                    day = (MADE_UP_UNTIL - dt.timedelta(days=ago)).isoformat()
                    file.write(f"person{i}@example.com,{day},{draw.lognormvariate(3.4 if often else 3, 0.6):.2f}\n")
        made.append(path)
    return made


if __name__ == "__main__":
    sys.exit(main())
