"""How many people do two lists of e-mail addresses share? Two nodes and a coordinator, each a process of its own.

    python examples/email_overlap/run.py [LEFT.csv RIGHT.csv] [--column email] [--room DIR] [--out DIR]

Without files, two lists of made-up addresses are written first: 3,000 and 4,000, of which 1,200 are on both.
1. keys and certificates of a room of two     3. each starts its node; the coordinator runs the plan
2. each registers its list                    4. the auditor checks the bundle, offline
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from protocols import keys
from protocols.carrier import pki
from protocols.errors import UsageError
from protocols.plan import Plan
from protocols.room import member_lines

HERE = Path(__file__).resolve().parent
ROOM, PARTIES, MARKER = "two-lists", ("left", "right"), ".two-lists-room"
PLAN = HERE / "plan.toml"
ROOM_TOML = """\
room = "{room}"
origin = "two-lists.example/ledger"
cosign_quorum = 2
[coordinator]
{coordinator}
{parties}
[blocks.all-time]
first = "1970-01-01"
last = "2031-12-31"
[caps]
record = "0.1"
person = "0.2"
lifetime_record = "0.1"
lifetime_person = "0.2"
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
record = "0.1"              # the most ρ this list may ever lose: four rounds of the plan
[table]
files = [{file}]
[table.columns]
customer = {column}
email = {column}
"""
)
CONSENT_TOML = """\
default = "ask"
[[allow]]
plan = "{digest}"
per_round = "0.024"
per_period = "0.024"
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lists", type=Path, nargs="*", help="two CSV files")
    parser.add_argument("--column", default="email", help="the column of both files that holds the addresses")
    parser.add_argument("--room", type=Path, default=Path(".two-lists"), help="an earlier one is replaced")
    parser.add_argument("--out", type=Path, default=Path("overlap-output"), help="where the results go")
    arguments = parser.parse_args()
    if len(arguments.lists) not in (0, 2):
        parser.error("name two CSV files, or none")
    try:
        _run(arguments.room.resolve(), arguments.out, arguments.lists, arguments.column)
    except UsageError as exc:
        print(exc.diagnostics(), file=sys.stderr)
        return exc.exit_code
    except KeyboardInterrupt:
        print("error: interrupted\nhint: run it again; it starts afresh", file=sys.stderr)
        return 130
    return 0


def _run(room: Path, out: Path, lists: list[Path], column: str) -> None:
    files = [path.resolve() for path in lists]
    for path in files:
        if not path.is_file():
            raise UsageError(f"there is no file {path}")
    _make(room, files, column)
    for party in PARTIES:
        print(f"— {party} registers its list", flush=True)
        _tool("party_node", "register", "--config", room / party / "node.toml", "--plan", PLAN)
    nodes = [_start(room / party) for party in PARTIES]
    try:
        print("— the coordinator runs the plan", flush=True)
        _tool("coordinator", "plan", "launch", PLAN, "--config", room / "coordinator" / "coordinator.toml",
              "--out", out)  # fmt: skip
    finally:
        for node in nodes:
            node.terminate()
        for node in nodes:
            node.wait()
    print("— the auditor checks the bundle", flush=True)
    _tool("protocols", "verify", out / "room.tar", "--policy", out / "policy.txt")
    print(f"— done: open {out / 'report.html'}")


def _make(room: Path, files: list[Path], column: str) -> None:
    if room.exists() and (not room.is_dir() or (any(room.iterdir()) and not (room / MARKER).exists())):
        raise UsageError(f"{room} is there and is no room of this example", "name an empty or a new folder with --room")
    shutil.rmtree(room, ignore_errors=True)
    for who in (*PARTIES, "coordinator"):
        (room / who).mkdir(parents=True, mode=0o700)
    (room / MARKER).touch()
    lists = files or [_made_up(room / "left" / "list.csv", 0, 3000), _made_up(room / "right" / "list.csv", 1800, 4000)]
    port, authority = _free_port(), pki.RoomCA.create(ROOM)
    (room / "authority.pem").write_bytes(authority.cert_pem)
    public = {}
    for party, file in zip(PARTIES, lists, strict=True):
        identity, tls = keys.Identity.generate(), pki.new_tls_key()
        certificate = authority.party(pki.request(ROOM, party, tls, identity.ed25519), party)
        public[party] = _write_keys(room / party, identity, tls, certificate)
        text = NODE_TOML.format(party=party, port=port, file=json.dumps(str(file)), column=json.dumps(column))
        (room / party / "node.toml").write_text(text, "utf-8")
        digest = Plan.from_toml(PLAN.read_bytes()).digest
        (room / party / "consent.toml").write_text(CONSENT_TOML.format(digest=digest), "utf-8")
    identity = keys.Identity.generate()
    coordinator = _write_keys(room / "coordinator", identity, *authority.server(["localhost", "127.0.0.1"]))
    parties = "".join(f"[parties.{party}]\n{lines}\n" for party, lines in public.items())
    text = ROOM_TOML.format(room=ROOM, coordinator=coordinator, parties=parties)
    (room / "room.toml").write_text(text, "utf-8")
    (room / "coordinator" / "coordinator.toml").write_text(f'host = "127.0.0.1"\nport = {port}\n{FILES}', "utf-8")


def _write_keys(home: Path, identity: keys.Identity, tls: bytes, certificate: bytes) -> str:
    """Keys into a folder of their owner; what the room file says of them."""
    for name, data in (("signing.pem", identity.pem()), ("tls.pem", tls), ("tls-certificate.pem", certificate)):
        with os.fdopen(os.open(home / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
    return member_lines(identity.public())


def _made_up(path: Path, first: int, count: int) -> Path:
    """A list of addresses of people who do not exist, some spelled with capitals or blanks."""
    spell = (str, str.upper, lambda text: f" {text} ")
    lines = [spell[i % 3](f"person{i}@example.com") for i in range(first, first + count)]
    path.write_text("email\n" + "\n".join(lines) + "\n", "utf-8")
    return path


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
