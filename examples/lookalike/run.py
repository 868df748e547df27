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
import json
import os
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from party_node import registration
from party_node.config import Config
from party_node.files import quoted
from protocols import bundle, keys, release
from protocols.carrier import pki
from protocols.errors import SumroomError, UsageError
from protocols.figures import TOO_NOISY
from protocols.plan import Plan
from protocols.room import member_lines

HERE = Path(__file__).resolve().parent
ROOM, SEED, OWNER, MARKER = "two-customer-files", "advertiser", "publisher", ".two-customer-files-room"
PARTIES = (SEED, OWNER)
DAYS = 730
MADE_UP_UNTIL = dt.date(2025, 12, 31)
ROOM_TOML = """\
room = "{room}"
origin = "two-customer-files.example/ledger"
cosign_quorum = 2
[coordinator]
{coordinator}
{parties}
[blocks.two-years]
first = "{first}"
last = "{last}"
[caps]
record = "0.12"
person = "0.24"
lifetime_record = "0.12"
lifetime_person = "0.24"
"""
FILES = """\
[files]
room = "../room.toml"
signing_key = "signing.pem"
tls_key = "tls.pem"
tls_certificate = "tls-certificate.pem"
authority = "../authority.pem"
state = "state"
"""
NODE_TOML = (
    'party = "{party}"\ncoordinator = "localhost:{port}"\n'
    + FILES
    + """\
consent = "consent.toml"
accounts = "accounts.db"
[budget]
record = "0.12"             # the most ρ this file may ever lose: two rounds of the plan
[table]
files = [{file}]
[table.columns]
email = {email}
customer = {email}
basket = {basket}
bought_on = {date}
paid = {amount}
discount = "0"
"""
)
CONSENT_TOML = """\
default = "ask"
[[allow]]
plan = "{digest}"
per_round = "0.06"
per_period = "0.06"
"""


@dataclass(frozen=True)
class Columns:
    """What the files call them."""

    email: str
    date: str
    amount: str

    def settings(self) -> dict[str, str]:
        """As `node.toml` has them, expressions over a file's columns. Purchases of a person and a day are a basket."""
        email, date, amount = (quoted(name) for name in (self.email, self.date, self.amount))
        found = {"email": email, "date": date, "amount": amount, "basket": f"concat({email}, ' ', {date})"}
        return {name: json.dumps(text) for name, text in found.items()}


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
    try:
        _run(arguments.room.resolve(), arguments.out, arguments.files, columns, until)
    except SumroomError as exc:
        print(exc.diagnostics(), file=sys.stderr)
        return exc.exit_code
    except KeyboardInterrupt:
        print("error: interrupted\nhint: run it again; it starts afresh", file=sys.stderr)
        return 130
    return 0


def _run(room: Path, out: Path, given: list[Path], columns: Columns, until: dt.date) -> None:
    files = [path.resolve() for path in given]
    for path in files:
        if not path.is_file():
            raise UsageError(f"there is no file {path}")
    plan = _make(room, files, columns, until)
    for party, name in zip(PARTIES, map(str, files) if files else ("made up", "made up"), strict=True):
        print(f"— the {party} registers its customers: {name}", flush=True)
        _register(room / party / "node.toml", party, plan, columns, until)
    nodes = [_start(room / party) for party in PARTIES]
    try:
        print("— the coordinator runs the plan", flush=True)
        config = room / "coordinator" / "coordinator.toml"
        _tool("coordinator", "plan", "launch", room / "plan.toml", "--config", config, "--out", out)
    finally:
        for node in nodes:
            node.terminate()
        for node in nodes:
            node.wait()
    members = bundle.unpack((out / "room.tar").read_bytes())
    ranked = int(_answer(members, "look-scores")["seed"]["size"]["value"]) >= plan.body()["questions"][0]["floor"]
    if ranked:
        print(f"— the {OWNER} ranks its own customers, on its own disk", flush=True)
        _tool("party_node", "audience", "--config", room / OWNER / "node.toml", "--out", room / OWNER / "audience")
    print("— the auditor checks the bundle", flush=True)
    _tool("protocols", "verify", out / "room.tar", "--policy", out / "policy.txt")
    print("\n".join(_released(members)))
    print(f"— done: open {out / 'report.html'}" + (f"; the list is {room / OWNER / 'audience'}" if ranked else ""))


def _register(config: Path, party: str, plan: Plan, columns: Columns, until: dt.date) -> None:
    """As `sumroom-party register` does. Raises UsageError, in the words of who has no more than a file."""
    names = ", ".join(repr(name) for name in (columns.email, columns.date, columns.amount))
    hint = (
        f"line 1 names the columns, {names} among them (--email, --date, --amount: others); each line below it is a "
        f"purchase, its date like 2025-03-31 and from {until - dt.timedelta(days=DAYS - 1)} to {until} (--until: "
        f"another day); there are {registration.LEAST_PEOPLE} to {plan.people_cap:,} customers; the file is .csv or "
        ".csv.gz, in UTF-8, or .parquet"
    )
    try:
        done = registration.register(Config.load(config), plan)
    except SumroomError as exc:
        raise UsageError(f"the file of the {party}: {exc.message}", hint) from None
    print("\n".join(done.lines()))
    found = done.snapshot.resolved
    if found is None or found.with_key < registration.LEAST_PEOPLE:
        have = 0 if found is None else found.with_key
        raise UsageError(f"the file of the {party}: {have} customers have an address that can be read", hint)


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


# -- the room ----------------------------------------------------------------------------------------------------------


def _make(room: Path, files: list[Path], columns: Columns, until: dt.date) -> Plan:
    if room.exists() and (not room.is_dir() or (any(room.iterdir()) and not (room / MARKER).exists())):
        raise UsageError(f"{room} is there and is no room of this example", "name an empty or a new folder with --room")
    shutil.rmtree(room, ignore_errors=True)
    for who in (*PARTIES, "coordinator"):
        (room / who).mkdir(parents=True, mode=0o700)
    (room / MARKER).touch()
    days = {"first": (until - dt.timedelta(days=DAYS - 1)).isoformat(), "last": until.isoformat()}
    text = (HERE / "plan.toml").read_text("utf-8").replace('"FIRST"', f'"{days["first"]}"')
    text = text.replace('"LAST"', f'"{days["last"]}"')
    (room / "plan.toml").write_text(text, "utf-8")
    plan = Plan.from_toml(text.encode())
    data = files or _made_up(room, columns)
    port, authority = _free_port(), pki.RoomCA.create(ROOM)
    (room / "authority.pem").write_bytes(authority.cert_pem)
    public = {}
    for party, file in zip(PARTIES, data, strict=True):
        identity, tls = keys.Identity.generate(), pki.new_tls_key()
        certificate = authority.party(pki.request(ROOM, party, tls, identity.ed25519), party)
        public[party] = _write_keys(room / party, identity, tls, certificate)
        settings = NODE_TOML.format(party=party, port=port, file=json.dumps(str(file)), **columns.settings())
        (room / party / "node.toml").write_text(settings, "utf-8")
        (room / party / "consent.toml").write_text(CONSENT_TOML.format(digest=plan.digest), "utf-8")
    identity = keys.Identity.generate()
    coordinator = _write_keys(room / "coordinator", identity, *authority.server(["localhost", "127.0.0.1"]))
    parties = "".join(f"[parties.{party}]\n{lines}\n" for party, lines in public.items())
    text = ROOM_TOML.format(room=ROOM, coordinator=coordinator, parties=parties, **days)
    (room / "room.toml").write_text(text, "utf-8")
    (room / "coordinator" / "coordinator.toml").write_text(f'host = "127.0.0.1"\nport = {port}\n{FILES}', "utf-8")
    return plan


def _write_keys(home: Path, identity: keys.Identity, tls: bytes, certificate: bytes) -> str:
    """Keys into a folder of their owner; what the room file says of them."""
    for name, data in (("signing.pem", identity.pem()), ("tls.pem", tls), ("tls-certificate.pem", certificate)):
        with os.fdopen(os.open(home / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
    return member_lines(identity.public())


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


# -- processes ---------------------------------------------------------------------------------------------------------


def _tool(package: str, *words: object) -> None:
    """Run one of our tools as a process; end with its exit status when it fails."""
    status = subprocess.run([sys.executable, "-m", package, *map(str, words)], check=False).returncode
    if status:
        raise SystemExit(status)


def _start(home: Path) -> subprocess.Popen[bytes]:
    with (home / "node.log").open("wb") as log:
        command = [sys.executable, "-m", "party_node", "start", "--config", str(home / "node.toml"), "--verbose"]
        return subprocess.Popen(command, stdout=log, stderr=log)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
