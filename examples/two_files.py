"""A room of two companies with a file each, all of it on this machine: what the examples with two files share.

    HOME/room.toml  authority.pem      who is in the room, and its limits
    HOME/coordinator/                  settings, keys, ledger
    HOME/<party>/                      settings, keys, consent, state of each

The authority's private key exists in this process only and is never written.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from processes import free_port, tool

from party_node import registration
from party_node.config import Config
from protocols import keys
from protocols.budget import decimal
from protocols.carrier import pki
from protocols.errors import SumroomError, UsageError
from protocols.plan import Plan
from protocols.room import member_lines

ROOM_TOML = """\
room = "{room}"
origin = "{room}.example/ledger"
cosign_quorum = 2
[coordinator]
{coordinator}
{parties}
[blocks.{block}]
first = "{first}"
last = "{last}"
[caps]
record = "{record}"
person = "{person}"
lifetime_record = "{record}"
lifetime_person = "{person}"
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
record = "{record}"             # the most ρ this file may ever lose: {rounds} rounds of the plan
[table]
files = [{file}]
[table.columns]
{columns}"""
)
CONSENT_TOML = """\
default = "ask"
[[allow]]
plan = "{digest}"
per_round = "{rho}"
per_period = "{rho}"
"""


@dataclass(frozen=True)
class Two:
    """Two parties, and where their room is.

    block: of the plan's time blocks the one that both open; rounds: how many of the plan a file's budget is for
    """

    room: str
    parties: tuple[str, str]
    home: Path
    block: str
    rounds: int

    @property
    def _marker(self) -> Path:
        return self.home / f".{self.room}-room"

    def settings(self, party: str) -> Path:
        return self.home / party / "node.toml"

    def clear(self) -> None:
        """New folders, in place of an earlier run's. Raises UsageError for a folder that holds anything else."""
        home = self.home
        if home.exists() and (not home.is_dir() or (any(home.iterdir()) and not self._marker.exists())):
            hint = "name an empty or a new folder with --room"
            raise UsageError(f"{home} is there and is no room of this example", hint)
        shutil.rmtree(home, ignore_errors=True)
        for who in (*self.parties, "coordinator"):
            (home / who).mkdir(parents=True, mode=0o700)
        self._marker.touch()

    def enrol(self, plan: Plan, files: list[Path], columns: Mapping[str, str]) -> None:
        """Keys, certificates, settings and consent of all three. columns: the table's, as expressions over a file's."""
        port, authority, public = free_port(), pki.RoomCA.create(self.room), dict[str, str]()
        (self.home / "authority.pem").write_bytes(authority.cert_pem)
        rho, record, person = (decimal(plan.body()["rho"] * times) for times in (1, self.rounds, 2 * self.rounds))
        lines = "".join(f"{name} = {json.dumps(text)}\n" for name, text in columns.items())
        consent = CONSENT_TOML.format(digest=plan.digest, rho=rho)
        for party, file in zip(self.parties, files, strict=True):
            identity, tls = keys.Identity.generate(), pki.new_tls_key()
            certificate = authority.party(pki.request(self.room, party, tls, identity.ed25519), party)
            public[party] = _write_keys(self.home / party, identity, tls, certificate)
            own = {"party": party, "file": json.dumps(str(file)), "columns": lines}
            text = NODE_TOML.format(port=port, record=record, rounds=self.rounds, **own)
            self.settings(party).write_text(text, "utf-8")
            (self.home / party / "consent.toml").write_text(consent, "utf-8")
        server = authority.server(["localhost", "127.0.0.1"])
        coordinator = _write_keys(self.home / "coordinator", keys.Identity.generate(), *server)
        days = plan.body()["blocks"][self.block]
        text = ROOM_TOML.format(
            room=self.room,
            coordinator=coordinator,
            parties="".join(f"[parties.{party}]\n{lines}\n" for party, lines in public.items()),
            block=self.block,
            record=record,
            person=person,
            **days,
        )
        (self.home / "room.toml").write_text(text, "utf-8")
        settings = f'host = "127.0.0.1"\nport = {port}\n{FILES}'
        (self.home / "coordinator" / "coordinator.toml").write_text(settings, "utf-8")

    def register(self, party: str, plan: Plan, what: str, people: str, hint: str) -> None:
        """As `sumroom-party register` does. Raises UsageError, in the words of who has no more than a file.

        what: the file is called by this, as in `the list of left`; people: what they are called
        """
        try:
            done = registration.register(Config.load(self.settings(party)), plan)
        except SumroomError as exc:
            raise UsageError(f"{what}: {exc.message}", hint) from None
        print("\n".join(done.lines()))
        found = done.snapshot.resolved
        if found is None or found.with_key < registration.LEAST_PEOPLE:
            have = 0 if found is None else found.with_key
            raise UsageError(f"{what}: {have} {people} have an address that can be read", hint)

    def launch(self, plan: Path, out: Path) -> None:
        tool("coordinator", "plan", "launch", plan, "--config", self.home / "coordinator" / "coordinator.toml",
             "--out", out)  # fmt: skip


def existing(paths: list[Path]) -> list[Path]:
    """Raises UsageError for a path where no file is."""
    files = [path.resolve() for path in paths]
    for path in files:
        if not path.is_file():
            raise UsageError(f"there is no file {path}")
    return files


def ended(run: Callable[[], None]) -> int:
    """The exit status of an example: errors in a line each, with a hint."""
    try:
        run()
    except SumroomError as exc:
        print(exc.diagnostics(), file=sys.stderr)
        return exc.exit_code
    except KeyboardInterrupt:
        print("error: interrupted\nhint: run it again; it starts afresh", file=sys.stderr)
        return 130
    return 0


def _write_keys(home: Path, identity: keys.Identity, tls: bytes, certificate: bytes) -> str:
    """Keys into a folder of their owner; what the room file says of them."""
    for name, data in (("signing.pem", identity.pem()), ("tls.pem", tls), ("tls-certificate.pem", certificate)):
        with os.fdopen(os.open(home / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
    return member_lines(identity.public())
