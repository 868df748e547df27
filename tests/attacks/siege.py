"""A room under attack: its real nodes behind mutual TLS on loopback, and the room's real keys in an attacker's hands.

    say       the evil coordinator: it holds the coordinator's true key and sends what it likes over the true hub
    launch    the honest coordinator, as `plan launch` runs it
    betray    an evil party: it holds its true key, and answers what it likes
    hand      the same party's own wire, frame by frame

`nothing_changes` compares every row of every store, before and after.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coordinator import app as coordinator_app
from coordinator.config import Config as CoordinatorConfig
from coordinator.conversation import Answer
from coordinator.grid import RoomGrid, run_server_app
from coordinator.hub import Hub
from coordinator.ledger import RoomLedger
from coordinator.store import Store
from party_node import app as party_app
from party_node.attendant import Attendant
from party_node.config import Config
from party_node.node import Node
from party_node.participation import Answered
from protocols import messages
from protocols.carrier import codec
from protocols.carrier.journal import Journal
from protocols.ledger.state import state_of
from protocols.logbook import Logbook
from protocols.masking import MaskKey, Occasion
from tests.attacks.stages import ROOM, Stage
from tests.attacks.wire import SECONDS, Hand, Heard, Sent, forge, read, request_of
from tests.rounds import lab

# isort: split
from flwr.app import Message

LARGEST = 1 << 22
Bend = Callable[[messages.Request, Answered], Answered]


class Siege:
    """One room over real sockets, copied from a stage into `place`."""

    def __init__(self, stage: Stage, place: Path) -> None:
        self.ready: Any = None  # a request that an honest coordinator would send next, where a fixture made one
        self.plan, self.caught, self.base = stage.plan, stage.caught, lab.copy(stage.place, place)
        self.parties = tuple(sorted(stage.plan.parties))
        for party in self.parties:
            lab.consent(self.base / party, self.plan)
        self.config = CoordinatorConfig.load(self.base / "coordinator" / "coordinator.toml")
        self.room, self.signing, self.identity = self.config.room, self.config.signing, self.config.identity
        self._hands, self._forks = list[Hand](), list[Logbook]()
        codec.prepare_process()
        self.reopen()
        self.journal = Journal(self.config.path("state") / "journal.db")
        self.hub = self.open_hub(self.journal)
        self.port = self.listen(self.hub)
        self.grid = RoomGrid(self.hub, secrets.randbits(62) + 1, plan=self.plan.digest)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="parties")
        self._thread.start()
        self.guests = {party: Guest(self.base / party, self.port, self._loop) for party in self.parties}
        self.await_parties()

    def close(self) -> None:
        for hand in self._hands:
            hand.close()
        for guest in self.guests.values():
            guest.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SECONDS)
        self._loop.close()
        self.grid.close()
        self.hub.stop()
        self.journal.close()
        self.store.close()
        for book in self._forks:
            book.close()

    # -- the coordinator's side ----------------------------------------------------------------------------------------

    def reopen(self) -> None:
        """Open the coordinator's store again, after somebody else had it."""
        self.store = Store(self.config.path("state"))
        self.ledger = RoomLedger(self.room, self.store.book, self.identity, time.time)

    def open_hub(self, journal: Journal) -> Hub:
        hub = Hub(room=ROOM, signing=self.signing, journal=journal, grace=5.0, tick=0.05, max_payload=LARGEST)
        for party, key in self.room.identities.items():
            hub.admit(party, key)
        return hub

    def listen(self, hub: Hub, port: int = 0, of: str = "coordinator") -> int:
        """Listen with the TLS key and certificate of this member of the room."""
        home = self.base / of
        pair = ((home / "tls.pem").read_bytes(), (home / "tls-certificate.pem").read_bytes())
        return hub.start("127.0.0.1", port, *pair, self.config.read("authority"))

    def await_parties(self, *those: str) -> None:
        until(lambda: self.hub.online() == (those or self.parties))

    def say(self, party: str, request: messages.Request | bytes) -> Heard:
        """The evil coordinator says this to one party, truly signed; what it hears."""
        body = request if isinstance(request, bytes) else messages.encode(request)
        message = Message(request_of(body), self.grid.node_id(party), "query.ask", ttl=SECONDS)
        (reply,) = self.grid.send_and_receive([message], timeout=SECONDS)
        return read(reply)

    def ask(self, requests: Mapping[str, messages.Request], timeout: float) -> dict[str, Answer]:
        """`say` as `coordinator.ledger` calls it."""
        heard = {party: self.say(party, request) for party, request in requests.items()}
        return {party: Answer(one.reply, one.payload, one.error[1] or None) for party, one in heard.items()}

    def send(self, party: str, payload: bytes, key: Ed25519PrivateKey | None = None, **change: Any) -> Sent:
        """An instruction whose header the attacker wrote."""
        return forge(self.hub, party, payload, key or self.signing, **change)

    def fork(self, size: int) -> RoomLedger:
        """Another ledger under the same key, that begins with the first `size` entries of the coordinator's."""
        book = Logbook(self.base / f"fork-{len(self._forks)}.db")
        self._forks.append(book)
        if size:
            book.extend(0, self.ledger.book.entries(0, size), self.ledger.book.root(size))
        return RoomLedger(self.room, book, self.identity, time.time)

    def rewind(self) -> RoomLedger:
        """The coordinator's ledger from now on: without its last entry, which nobody has seen."""
        self.ledger = self.fork(self.ledger.book.size - 1)
        return self.ledger

    def occasion(self) -> Occasion:
        """The step that the ledger says is next in its last round."""
        round_ = list(self.ledger.book.accounts.rounds.values())[-1]
        step = round_.reserve.steps[len(round_.commits)]
        whole = {"room": ROOM, "plan": round_.reserve.plan, "round": round_.reserve.round, "attempt": 1}
        return Occasion.model_validate({**whole, "step": step.step, "nonce": step.nonce, "state": state_of(round_)})

    def contribute(self, occasion: Occasion, **bent: Any) -> messages.Contribute:
        """The honest request for this step: everybody has drawn, offered a mask key and agreed to the roster."""
        roster = self.roster(occasion)
        agreed = {party: self.agreement(party, occasion, roster) for party in roster}
        return messages.Contribute(**{"occasion": occasion, "roster": roster, "agreements": agreed, **bent})

    def prepare(self, occasion: Occasion) -> messages.Prepare:
        """With a checkpoint over the round's reserve that everybody has cosigned."""
        reserve = self.ledger.book.accounts.rounds[occasion.round].reserve
        return messages.Prepare(occasion=occasion, checkpoint=self.ledger.covering(reserve.seq))

    def roster(self, occasion: Occasion) -> dict[str, MaskKey]:
        asked = self.prepare(occasion)
        offers = {party: self.say(party, asked).reply for party in self.parties}
        return {party: offer.key for party, offer in offers.items() if isinstance(offer, messages.MaskOffer)}

    def agreed(self, party: str, occasion: Occasion, roster: Mapping[str, MaskKey]) -> messages.Agreed:
        reply = self.say(party, messages.Agree(occasion=occasion, roster=dict(roster))).reply
        assert isinstance(reply, messages.Agreed), reply
        return reply

    def agreement(self, party: str, occasion: Occasion, roster: Mapping[str, MaskKey]) -> str:
        return self.agreed(party, occasion, roster).signature

    def launch(self) -> Exception | None:
        """The honest coordinator runs the plan; what it raised."""
        self.store.close()
        words = {"config": str(self.config.base / "coordinator.toml"), "plan": str(self.base / "plan.toml")}
        run = secrets.randbits(62) + 1
        try:
            run_server_app(coordinator_app.app, self.hub, run, {**words, "wait-s": SECONDS}, plan=self.plan.digest)
        except Exception as exc:  # noqa: BLE001 - which one it is, is what a test looks at
            return exc
        finally:
            self.reopen()
        return None

    # -- the parties' side ---------------------------------------------------------------------------------------------

    def betray(self, party: str, bend: Bend) -> None:
        """From here on this party answers what `bend` makes of its node's true answer, signed with its true key."""
        node: Any = self.guests[party].node
        true = node.answer
        node.answer = lambda request, payload=b"": bend(request, true(request, payload))

    @contextmanager
    def clocks(self, clock: Callable[[], float]) -> Iterator[None]:
        """All nodes' clocks, for a while."""
        holders: list[Any] = [part for guest in self.guests.values() for part in (guest.node, guest.node.steps)]
        for holder in holders:
            holder.clock = clock
        try:
            yield
        finally:
            for holder in holders:
                holder.clock = time.time

    def hand(self, party: str) -> Hand:
        """Take a party's place on the wire."""
        self.guests[party].stop()
        self.await_parties(*(other for other in self.parties if other != party))
        self._hands.append(Hand(self.base / party, self.port))
        self.await_parties()
        return self._hands[-1]

    def put_back(self, party: str, name: str, but: str = "\n") -> None:
        """Stop the party, put everything on its disk back to a copy, `but` files of such a name, and start it again."""
        guest = self.guests[party]
        guest.close()
        for path in [path for path in guest.home.rglob("*") if path.is_file() and not path.name.startswith(but)]:
            path.unlink()
        older = guest.home.with_name(f"{party}-{name}")
        shutil.copytree(older, guest.home, dirs_exist_ok=True, ignore=shutil.ignore_patterns(f"{but}*"))
        self.guests[party] = Guest(guest.home, self.port, self._loop)
        self.await_parties()

    # -- what changed --------------------------------------------------------------------------------------------------

    def dump(self, *but: str) -> dict[str, Any]:
        """Root and size of every copy of the ledger, and every row of every store, but for these tables."""
        found: dict[str, Any] = {"coordinator": rows_of(self.config.path("state") / "ledger.db", *but)}
        for party, guest in self.guests.items():
            state, book = guest.config.path("state"), guest.node.book
            paths = (state / "node.db", state / "ledger.db", guest.config.path("accounts"))
            found[party] = {path.name: rows_of(path, *but) for path in paths}
            found[party] |= {"size": book.size, "root": book.root().hex() if book.size else ""}
        return found

    def replies(self) -> dict[str, set[Any]]:
        """Every reply that a party journalled, and what the coordinator took for one."""
        homes = {party: guest.config.path("state") for party, guest in self.guests.items()}
        homes["coordinator"] = self.config.path("state")
        return {who: set(rows_of(home / "journal.db")["reply"]) for who, home in homes.items()}

    def logged(self) -> dict[str, set[Any]]:
        """Every record of a reply in each party's log of what it sent."""
        homes = {party: guest.config.path("state") for party, guest in self.guests.items()}
        return {party: set(rows_of(home / "node.db")["egress"]) for party, home in homes.items()}

    @contextmanager
    def nothing_changes(self, *but: str) -> Iterator[None]:
        """Fails when a row of any store is another afterwards, or a reply, journalled or logged, is gone or altered."""
        before, replies, logged = self.dump("egress", *but), self.replies(), self.logged()
        yield
        after = self.dump("egress", *but)
        assert after == before
        assert all(kept <= self.replies()[who] for who, kept in replies.items())
        assert all(kept <= self.logged()[party] for party, kept in logged.items())


class Guest:
    """A party at home: its node, and its attendant on the siege's loop, wired as `sumroom-party start` does it."""

    def __init__(self, home: Path, port: int, loop: asyncio.AbstractEventLoop) -> None:
        self.home, self.loop, self.config = home, loop, Config.load(home / "node.toml")
        self.events: list[str] = []
        self._settings = {"config": str(home.resolve() / "node.toml")}
        self.journal = Journal(self.config.path("state") / "journal.db")
        self.node: Node = party_app.open_node(self._settings)
        self._run: Any = None
        self.start(port)

    def start(self, port: int) -> None:
        self.stop()
        attendant = Attendant(
            room=ROOM,
            party=self.config.party,
            address=f"localhost:{port}",
            ca_pem=self.config.read("authority"),
            key_pem=self.config.secret("tls_key"),
            cert_pem=self.config.read("tls_certificate"),
            signing=self.config.signing,
            coordinator=self.config.room.coordinator_key,
            journal=self.journal,
            answer=codec.client_handler(party_app.app, self._settings),
            max_payload=LARGEST,
            backoff=(0.02, 0.2),
            on_event=self.events.append,
            transfer_timeout=0.5,
        )
        self._stop = asyncio.Event()
        self._run = asyncio.run_coroutine_threadsafe(attendant.run(self._stop), self.loop)

    def stop(self) -> None:
        if self._run is not None:
            self.loop.call_soon_threadsafe(self._stop.set)
            self._run.result(SECONDS)
            self._run = None

    def close(self) -> None:
        self.stop()
        self.journal.close()
        # One process, several rooms: only this one's node.
        party_app._nodes.pop(self._settings["config"]).close()

    def copy(self, name: str) -> None:
        """Keep a copy of everything on this party's disk, as of now."""
        shutil.copytree(self.home, self.home.with_name(f"{self.config.party}-{name}"))

    def refused(self) -> list[str]:
        """What this party's operator was told about messages that nobody looked into."""
        return [event for event in list(self.events) if event.startswith("refused: ")]


def rows_of(path: Path, *but: str) -> dict[str, list[Any]]:
    """Table → its rows, in an order of their own."""
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type='table'")]
        return {name: sorted(db.execute(f"SELECT * FROM {name}"), key=repr) for name in names if name not in but}
    finally:
        db.close()


def until(condition: Callable[[], Any], seconds: float = SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)
