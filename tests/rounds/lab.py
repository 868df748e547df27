"""A room of three small companies in this process: real keys, nodes and logbooks, and an `ask` that a test can bend.

Every request and reply passes through the bytes of `protocols.messages`, as it would between machines. `Room.wire` is
all that ever travelled.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from coordinator import conversation, rounds
from coordinator.config import Config as CoordinatorConfig
from coordinator.conversation import Answer, Parcel
from coordinator.ledger import RoomLedger
from coordinator.store import Store
from party_node import cli
from party_node.config import Config
from party_node.node import Node
from protocols import keys, messages
from protocols.encoding import canonical
from protocols.plan import Plan
from protocols.release import Release
from protocols.room import member_lines
from tests.rounds.in_toml import plan_toml

PARTIES = ("alpha", "beta", "gamma")
FIVE = (*PARTIES, "delta", "epsilon")  # of whom one may be lost, with a plan of `FOUR_OF_FIVE`
START = 1_800_000_000
PEOPLE = 120
RHO, CUTS, COHORTS = 400_000_000, 150_000_000, 250_000_000
YEAR = {"first": "2017-01-01", "last": "2017-12-31"}
QUESTION = {
    "kind": "rfm",
    "rho": {"cuts": CUTS, "cohorts": COHORTS},
    "recency_days": [30, 60, 120, 240],
    "frequency_baskets": [2, 4, 6, 9],
    "monetary_units": [20, 40, 80, 160],
    "bargain_baskets": 4,
    "bargain_share_percent": 60,
}
MONEY = {"type": "money", "low": -10_000, "high": 10_000}
COLUMNS = {
    "customer": {"type": "id"},
    "basket": {"type": "id"},
    "bought_on": {"type": "date"},
    "paid": MONEY,
    "discount": MONEY,
}
PLAN: dict[str, Any] = {
    "type": "plan@v1",
    "room": "trial",
    "name": "quintiles",
    "purpose": "know the shared cohorts",
    "parties": list(PARTIES),
    "recipients": list(PARTIES),
    "collusion": 2,
    "quorum": 3,
    "deadline_s": 60,
    "answer_after_s": 1,
    "valid_until": "2031-12-31",
    "delta": "0.000001",
    "people_cap": 500,
    "rho": RHO,
    "blocks": {"year": YEAR},
    "features": {"as_of": "2018-01-02", "discount_depth_percent": 15},
    "table": {"name": "sales", "columns": COLUMNS},
    "questions": [QUESTION],
}
_MEMBERS = {"parties": sorted(FIVE), "recipients": sorted(FIVE), "collusion": 1, "quorum": 4}
FOUR_OF_FIVE = _MEMBERS | {"questions": [QUESTION | {"rho": {"cuts": 50_000_000, "cohorts": 15_000_000}}]}
ROOM_TOML = """\
room = "{room}"
origin = "trial.example/{room}"
cosign_quorum = {majority}
[coordinator]
{coordinator}
{parties}
[blocks.{block}]
first = "{first}"
last = "{last}"
[caps]
record = "2"
person = "6"
lifetime_record = "2"
lifetime_person = "6"
"""
FILES_TOML = """\
[files]
room = "../room.toml"
signing_key = "signing.pem"
tls_key = "tls.pem"
tls_certificate = "tls-certificate.pem"
authority = "../authority.pem"
state = "state"
"""
NODE_TOML = (
    'party = "{party}"\ncoordinator = "localhost:1"\n'
    + FILES_TOML
    + """\
consent = "consent.toml"
accounts = "{accounts}"
[budget]
record = "1"
[table]
files = ["sales.csv"]
[table.columns]
customer = "customer"
basket = "basket"
bought_on = "bought_on"
paid = "paid"
discount = "discount"
"""
)


class Stop(BaseException):
    """Raised in the middle of a round, as if the coordinator had been killed there."""


@dataclass
class Clock:
    now: float = START

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Exchange:
    """One request and its reply, as bytes. payload: the words of a share."""

    party: str
    request: bytes
    reply: bytes
    payload: bytes


def plan(**changes: Any) -> Plan:
    return Plan.from_bytes(canonical({**PLAN, **changes}))


def rows_of(party: str, people: int = PEOPLE) -> list[tuple[str, str, dt.date, int, int]]:
    """(customer, basket, day, paid, discount) of each purchase, amounts in cents; the same in every run."""
    seed = FIVE.index(party) + 1
    rows = []
    for i in range(people):
        for j in range(1 + (i * 7 + seed) % 12):
            day = dt.date(2017, 12, 31) - dt.timedelta(days=(i * 13 * seed + j * 29) % 364)
            paid = 150 + (i * 977 + j * 311 * seed) % 3900
            rows.append((f"{party}-{i}", f"{party}-{i}-{j}", day, paid, (paid if i % 5 == 0 else paid // 20)))
    return rows


def csv_of(rows: list[tuple[str, str, dt.date, int, int]]) -> str:
    lines = ["customer,basket,bought_on,paid,discount"]
    lines += [f"{who},{basket},{day},{paid / 100:.2f},{off / 100:.2f}" for who, basket, day, paid, off in rows]
    return "\n".join(lines) + "\n"


def make(
    base: Path,
    *,
    room: str = "trial",
    accounts: str = "accounts.db",
    block: tuple[str, str, str] = ("year", YEAR["first"], YEAR["last"]),
    csv: Mapping[str, str] | None = None,
    members: Sequence[str] = PARTIES,
    more: str = "",
    **changes: Any,
) -> Path:
    """A room's folders, data registered. accounts: a path with `{party}` in it; more: lines of `table.columns`;
    changes: of the plan."""
    public = {}
    for who in (*members, "coordinator"):
        (base / who).mkdir(parents=True)
        public[who] = _write_key(base / who / "signing.pem")
    parties = "".join(f"[parties.{party}]\n{public[party]}" for party in members)
    name, first, last = block
    text = ROOM_TOML.format(
        room=room, coordinator=public["coordinator"], parties=parties, block=name, first=first, last=last,
        majority=len(members) // 2 + 1,
    )  # fmt: skip
    (base / "room.toml").write_text(text)
    (base / "coordinator" / "coordinator.toml").write_text('host = "127.0.0.1"\nport = 0\n' + FILES_TOML)
    agreed = base / "plan.toml"
    agreed.write_text(plan_toml(plan(room=room, blocks={name: {"first": first, "last": last}}, **changes)))
    for party in members:
        home = base / party
        (home / "sales.csv").write_text((csv or {}).get(party) or csv_of(rows_of(party)))
        settings = NODE_TOML.format(party=party, accounts=accounts.format(party=party))
        if first != YEAR["first"]:  # a room about other days: all its baskets are of the first of them
            settings = settings.replace('bought_on = "bought_on"', f"bought_on = \"'{first}'\"")
        (home / "node.toml").write_text(settings + more)
        status = cli.main(["register", "--config", str(home / "node.toml"), "--plan", str(agreed), "--json"])
        assert status == 0
    return base


def consent(home: Path, agreed: Plan, *, per_round: str = "0.4", per_period: str = "0.8") -> None:
    """Let the party whose folder this is approve exactly this plan."""
    rule = f'[[allow]]\nplan = "{agreed.digest}"\nper_round = "{per_round}"\nper_period = "{per_period}"\n'
    (home / "consent.toml").write_text('default = "ask"\n' + rule)


class Room:
    """A room at work. away: parties that do not answer. meddle: what the coordinator sends instead."""

    def __init__(self, base: Path, agreed: Plan | None = None, *, clock: Clock | None = None) -> None:
        self.base, self.clock = base, clock or Clock()
        self.plan = agreed or plan()
        self.away: set[str] = set()
        self.wire: list[Exchange] = []
        self.meddle: Callable[[str, Any], Any] = lambda _, request: request
        self.parties = tuple(self.plan.parties)
        for party in self.parties:
            consent(base / party, self.plan)
        self.nodes = {party: self._node(party) for party in self.parties}
        self.open_coordinator()
        # Whoever is away stays away: waiting for it takes no time here.
        self._waits = (conversation.monotonic, conversation.sleep)
        self.waited = 0.0
        conversation.monotonic, conversation.sleep = lambda: time.monotonic() + self.waited, self._wait

    def _wait(self, _: float) -> None:
        self.waited += 7.0

    def __enter__(self) -> Room:
        return self

    def __exit__(self, *_: object) -> None:
        conversation.monotonic, conversation.sleep = self._waits
        self.store.close()
        for node in self.nodes.values():
            node.close()

    def _node(self, party: str) -> Node:
        return Node(Config.load(self.base / party / "node.toml"), self.clock)

    def restart(self, party: str) -> Node:
        """The party's node closed and opened again, as after a crash."""
        self.nodes[party].close()
        self.nodes[party] = self._node(party)
        return self.nodes[party]

    def open_coordinator(self) -> None:
        config = CoordinatorConfig.load(self.base / "coordinator" / "coordinator.toml")
        self.store = Store(config.path("state"))
        self.ledger = RoomLedger(config.room, self.store.book, config.identity, self.clock)

    def restart_coordinator(self) -> None:
        self.store.close()
        self.open_coordinator()

    @property
    def book(self) -> Any:
        return self.store.book

    def say(self, party: str, request: messages.Request) -> messages.Reply:
        """One request to one party, through bytes; its reply, read again from bytes."""
        return self._exchange(party, request)[0]

    def share(self, party: str, request: messages.Contribute) -> tuple[messages.Reply, bytes]:
        """Like `say`, with the words that came beside the reply."""
        return self._exchange(party, request)

    def _exchange(self, party: str, request: messages.Request | Parcel) -> tuple[messages.Reply, bytes]:
        parcel = request if isinstance(request, Parcel) else Parcel(request, b"")
        asked = messages.encode(parcel.request)
        answered = self.nodes[party].answer(messages.read_request(asked), parcel.payload)
        reply = messages.encode(answered.reply)
        self.wire.append(Exchange(party, asked, reply, answered.payload))
        return messages.read_reply(reply), answered.payload

    def ask(self, requests: Mapping[str, messages.Request], timeout: float) -> dict[str, Answer]:
        """What `coordinator.rounds` calls: everybody is asked in turn, and answers at once or not at all."""
        assert timeout > 0
        answers = {}
        for party, request in requests.items():
            sent = self.meddle(party, request)
            if party in self.away:
                answers[party] = Answer(None, missing="away")
            else:
                answers[party] = Answer(*self._exchange(party, sent))
        return answers

    def run(self, agreed: Plan | None = None) -> list[Release]:
        return self._run(agreed or self.plan, self.ask)

    def _run(self, agreed: Plan, ask: Any) -> list[Release]:
        return rounds.run(agreed, self.ledger, ask, go_on_with=rounds.left_open(agreed, self.ledger))

    def stopped_at(self, kind: type, agreed: Plan | None = None, *, nth: int = 1) -> dict[str, Any]:
        """Run a round up to its nth batch of these requests, and there kill the coordinator; a new one takes its place.

        party → the request that it would have got.
        """
        caught: dict[str, Any] = {}
        seen = 0

        def ask(requests: Mapping[str, messages.Request], timeout: float) -> dict[str, Answer]:
            nonlocal seen
            first: Any = next(iter(requests.values()), None)
            seen += isinstance(first.request if isinstance(first, Parcel) else first, kind)
            if seen == nth:
                caught.update(requests)
                self.store.close()  # the dead write nothing more
                raise Stop
            return self.ask(requests, timeout)

        try:
            self._run(agreed or self.plan, ask)
        except (Stop, sqlite3.ProgrammingError):
            self.open_coordinator()
            return caught
        raise AssertionError("the round ended before such a request")

    def sent(self, kind: type) -> list[Exchange]:
        """The exchanges of one kind of request."""
        return [one for one in self.wire if isinstance(messages.read_request(one.request), kind)]

    def spent(self, party: str) -> int:
        """Nano-ρ that any day of this party's data has lost or is held for, by its own accounts."""
        node = self.nodes[party]
        return node.filter.worst_day(list(node.room.blocks.values()), int(self.clock()))


class NoNoise:
    """In place of `add_noise`: keeps what it is given, and returns it as it is."""

    def __init__(self) -> None:
        self.totals: list[Any] = []

    def __call__(self, total: Any, **_: int) -> Any:
        self.totals.append(total.copy())
        return total.copy()


def copy(template: Path, to: Path) -> Path:
    """A room's folders, for one test to spoil."""
    return Path(shutil.copytree(template, to))


def pooled_cuts(parties: Sequence[str] = PARTIES) -> Any:
    """The exact sum of the step `rfm-cuts` over these parties, computed from the rows without the product."""
    slots = np.zeros(16, dtype=np.int64)
    for party in parties:
        for mine in _by_person(rows_of(party)).values():
            recency = (dt.date(2018, 1, 2) - max(day for _, _, day, _, _ in mine)).days
            values = (recency, len({row[1] for row in mine}), sum(row[3] for row in mine) // 100)
            for k, (name, value) in enumerate(
                zip(("recency_days", "frequency_baskets", "monetary_units"), values, strict=True)
            ):
                slots[5 * k + sum(value >= bound for bound in QUESTION[name])] += 1  # type: ignore[attr-defined]
    return slots


def _by_person(rows: list[tuple[str, str, dt.date, int, int]]) -> dict[str, list[Any]]:
    people: dict[str, list[Any]] = {}
    for row in rows:
        people.setdefault(row[0], []).append(row)
    return people


def _write_key(path: Path) -> str:
    """A new identity into a file; what the room file says of it."""
    identity = keys.Identity.generate()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(identity.pem())
    return member_lines(identity.public())
