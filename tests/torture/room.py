"""The folders of a room of N parties: keys, certificates, settings, tiny data, one cheap plan."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import socket
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np

from party_node import cli as party_cli
from protocols import keys
from protocols.carrier import pki
from protocols.errors import UsageError
from protocols.plan import Plan
from protocols.room import member_lines
from tests.rounds import lab
from tests.torture.disks import small_disk

PEOPLE = 40
DEADLINE_S = 12  # the least that a plan of two steps may say, which wait a second each
STEP_NANO = 2_000  # ρ of a step: noise of σ 27 and more, and hundreds of rounds below every cap
Row = tuple[str, str, dt.date, int, int]


@dataclass(frozen=True)
class Made:
    """What there is on disk. ports: of each party's way to the coordinator. noise: whether it is drawn at all."""

    place: Path
    parties: tuple[str, ...]
    plan: Plan
    port: int
    ports: dict[str, int]
    noise: bool

    def settings(self, name: str) -> Path:
        return self.place / name / ("coordinator.toml" if name == "coordinator" else "node.toml")

    def state(self, name: str) -> Path:
        return self.place / name / "state"


def trust(n: int) -> list[tuple[int, int]]:
    """(quorum, collusion) to try, the wished one first: shares that may be missing, where a plan allows that."""
    wished = [] if n < 5 else [(max((n + c + 1) // 2 + 1, 2 * n // 3 + 1), c) for c in (1,)]
    return [*((q, c) for q, c in wished if q < n), (n, n - 1)]


def plan_of(parties: tuple[str, ...]) -> Plan:
    """The first of `trust` that the rules of plans allow."""
    for quorum, collusion in trust(len(parties)):
        with contextlib.suppress(UsageError):
            return lab.plan(
                parties=list(parties),
                recipients=list(parties),
                quorum=quorum,
                collusion=collusion,
                deadline_s=DEADLINE_S,
                answer_after_s=1,
                rho=4 * STEP_NANO,
                questions=[{**lab.QUESTION, "rho": {"cuts": STEP_NANO, "cohorts": STEP_NANO}}],
            )
    raise AssertionError("no plan of so many parties is sound")


def rows_of(k: int) -> list[Row]:
    """(customer, basket, day, paid, discount) of each purchase at the k-th party, amounts in cents."""
    rows = []
    for i in range(PEOPLE):
        for j in range(1 + (i * 7 + k) % 5):
            day = dt.date(2017, 12, 31) - dt.timedelta(days=(i * 13 * (k + 1) + j * 29) % 364)
            paid = 150 + (i * 977 + j * 311 * (k + 1)) % 3900
            rows.append((f"{k}-{i}", f"{k}-{i}-{j}", day, paid, paid if i % 5 == 0 else paid // 20))
    return rows


def exact_cuts(k: int) -> list[int]:
    """One party's exact sum of the step `rfm-cuts`, computed from its rows without the product."""
    names = ("recency_days", "frequency_baskets", "monetary_units")
    slots = np.zeros(16, dtype=np.int64)
    people: dict[str, list[Row]] = {}
    for row in rows_of(k):
        people.setdefault(row[0], []).append(row)
    for mine in people.values():
        recency = (dt.date(2018, 1, 2) - max(day for _, _, day, _, _ in mine)).days
        values = (recency, len({row[1] for row in mine}), sum(row[3] for row in mine) // 100)
        for at, (name, value) in enumerate(zip(names, values, strict=True)):
            bounds = lab.QUESTION[name]
            assert isinstance(bounds, list)
            slots[5 * at + sum(value >= bound for bound in bounds)] += 1
    return [int(slot) for slot in slots]


def make(place: Path, n: int, random: Random, *, grace_s: int, noise: bool, small_disks: bool) -> Made:
    """A room whose parties have registered their data and allow its plan, hundreds of times."""
    parties = tuple(f"p{k:02d}" for k in range(n))
    for folder in ("orders", "events", *parties, "coordinator"):
        (place / folder).mkdir(parents=True)
        if small_disks and folder not in ("orders", "events"):
            small_disk(place / folder)
    authority = pki.RoomCA.create("trial")
    (place / "authority.pem").write_bytes(authority.cert_pem)
    public = {}
    for name in (*parties, "coordinator"):
        identity = keys.Identity.generate()
        signing = identity.ed25519
        public[name] = member_lines(identity.public())
        if name == "coordinator":
            tls, certificate = authority.server(["localhost", "127.0.0.1"])
        else:
            tls = pki.new_tls_key()
            certificate = authority.party(pki.request("trial", name, tls, signing), name)
        files = {"signing.pem": identity.pem(), "tls.pem": tls, "tls-certificate.pem": certificate}
        for file, data in files.items():
            (place / name / file).touch(0o600)
            (place / name / file).write_bytes(data)
    (place / "room.toml").write_text(_room(parties, public))
    plan = plan_of(parties)
    (place / "plan.toml").write_text(lab.plan_toml(plan))
    port, *ways = free_ports(n + 1, random)
    made = Made(place, parties, plan, port, dict(zip(parties, ways, strict=True)), noise)
    made.settings("coordinator").write_text(
        f'host = "127.0.0.1"\nport = {port}\ngrace_s = {grace_s}\n' + lab.FILES_TOML
    )
    for k, party in enumerate(parties):
        _register(made, k, party)
    return made


def _room(parties: tuple[str, ...], public: dict[str, str]) -> str:
    text = lab.ROOM_TOML.format(
        room="trial",
        coordinator=public["coordinator"],
        parties="".join(f"[parties.{party}]\n{public[party]}" for party in parties),
        block="year",
        majority=len(parties) // 2 + 1,
        **lab.YEAR,
    )
    assert 'person = "6"' in text
    return text.replace('person = "6"', 'person = "90"')


def _register(made: Made, k: int, party: str) -> None:
    home = made.place / party
    (home / "sales.csv").write_text(lab.csv_of(rows_of(k)))
    text = lab.NODE_TOML.format(party=party, accounts="accounts.db")
    for old, new in (
        ("localhost:1", f"localhost:{made.port if k == len(made.parties) - 1 else made.ports[party]}"),
        ('files = ["sales.csv"]', f'files = ["sales.csv"]\nleast_people = {PEOPLE}'),
    ):
        assert old in text
        text = text.replace(old, new)
    made.settings(party).write_text(text)
    lab.consent(home, made.plan, per_round="0.001", per_period="0.9")
    words = ["register", "--config", str(made.settings(party)), "--plan", str(made.place / "plan.toml"), "--json"]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert party_cli.main(words) == 0


def free_ports(n: int, random: Random) -> list[int]:
    """Ports below those that the kernel gives to connections by itself: one of them could take a listener's place."""
    found: list[int] = []
    while len(found) < n:
        port = random.randrange(15_000, 30_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in found:
                found.append(port)
    return found
