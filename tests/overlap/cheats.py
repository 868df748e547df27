"""Two companies, of which one cheats: how it does, and what everybody must see of a round in which it did."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coordinator import release
from coordinator.conversation import Parcel
from party_node.overlap import FOLDER
from party_node.overlap_lists import Between
from protocols import messages
from protocols.encoding import parse
from protocols.errors import RoundEnded
from protocols.masking import Occasion, Secrets
from protocols.overlap import agreement, words
from protocols.overlap.agreement import Halves, Head
from tests.rounds import lab

HONEST, CHEAT = "alpha", "beta"
MEMBERS = (HONEST, CHEAT)
NORMALISER = "sumroom/id/v1"
MISSING = f"canaries are missing in the lists that {CHEAT} finished"
TWICE = f"the lists of {CHEAT} hold a value twice"
NO_POINT = f"the lists of {CHEAT} hold what is no point of the curve"

Written = Callable[[Between, Path], None]


class Watched:
    """A room that stands before its first Meet, and all that was spent for the round."""

    def __init__(self, room: lab.Room, log: pytest.LogCaptureFixture) -> None:
        self.room, self._log = room, log
        (self.round,) = room.ledger.book.accounts.rounds
        self.spent = {party: room.spent(party) for party in room.parties}
        self.told: list[str] = []

    @property
    def cheat(self) -> Any:
        """The cheat's part in the meeting."""
        return self.room.nodes[CHEAT].meeting

    def occasion(self) -> Occasion:
        request: Any = messages.read_request(self.room.sent(words.Meet)[0].request)
        return Occasion.model_validate(request.occasion)

    def forfeited(self, said: str, *public: str) -> None:
        """Run the round: it ends with these words, nothing is released, and nobody is told anything of anybody.

        public   names with figures in them, which may be said
        """
        with pytest.raises(RoundEnded) as caught:
            self.room.run()
        message = caught.value.message
        assert f"round {self.round[:8]} is forfeited: " in message
        assert said in message
        self.nothing_left()
        self.all_quiet(message, *public)

    def nothing_left(self) -> None:
        room = self.room
        round_ = room.ledger.book.accounts.rounds[self.round]
        assert round_.state == "forfeited"
        assert [commit.step for commit in round_.commits] == ["overlap-sizes"]
        assert list(release.answers(room.ledger, round_)) == ["overlap-sizes"]
        for party in room.parties:
            node = room.nodes[party]
            assert node.store.release(self.round, "overlap") is None
            assert room.spent(party) == self.spent[party] > 0
            assert not list((room.base / party / "state" / FOLDER).glob("*"))
            assert not node.store.drawn_rounds()

    def all_quiet(self, message: str, *public: str) -> None:
        """No customer, key, value or count: not in what people are told, nor in a refusal, nor in the ledger."""
        replies = [messages.read_reply(exchange.reply) for exchange in self.room.wire]
        said = [message, *(reply.reason for reply in replies if isinstance(reply, messages.Refusal))]
        for text in said:
            names_nobody(text, self.round, *public)
        book = self.room.ledger.book
        last = parse(book.entries(book.size - 1, book.size)[0], what="an entry")
        assert (last["type"], last["round"]) == ("forfeit@v1", self.round)
        assert set(last) <= {"type", "seq", "time", "round", "reason"}
        assert last["reason"] in ("integrity", "refused")
        assert not [r for r in self._log.records if "person-" in r.getMessage()]


def names_nobody(text: str, round_id: str, *public: str) -> None:
    """No customer, no key, no number but the round's, and none in public names."""
    rest = text.replace(f"round {round_id[:8]}", "")
    for name in public:
        rest = rest.replace(name, "")
    assert not re.search(r"person-|\d|[A-Za-z0-9+/=]{22,}", rest), text


# -- what a cheat does with its own lists, and with its peer's ---------------------------------------------------------


def after(monkeypatch: pytest.MonkeyPatch, name: str, bend: Written) -> None:
    """The cheat's lists are written as usual (`write_lists`), or its peer's finished (`finish`), and then bent."""
    real = getattr(Between, name)

    def bent(between: Between, given: Any, to: Path) -> None:
        real(between, given, to)
        if between.me == CHEAT:
            bend(between, to)

    monkeypatch.setattr(Between, name, bent)


def with_points(change: Callable[[list[bytes]], None]) -> Written:
    """Bend a file of own lists, point by point."""

    def bend(_: Between, to: Path) -> None:
        data = to.read_bytes()
        points = [data[i : i + 32] for i in range(0, len(data), 32)]
        change(points)
        to.write_bytes(b"".join(points))

    return bend


class OtherScalar(Halves):
    """Masks with another scalar than its offer was made with."""

    def __init__(self, true: Halves) -> None:
        super().__init__(true._own)

    def scalar(self, peer: str) -> bytes:
        return self.derive(f"another-scalar/{peer}")


def two_scalars(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """It offers [b*]G, and masks its own lists and its peer's with b."""
    mask_otherwise(watched.cheat, monkeypatch)


def mask_otherwise(meeting: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = meeting._between
    other = lambda *a: dataclasses.replace(real(*a), halves=OtherScalar(real(*a).halves))  # noqa: E731
    monkeypatch.setattr(meeting, "_between", other)


def values_of(data: bytes) -> Any:
    return np.frombuffer(data, dtype="<u8")


# -- what a coordinator sends instead ----------------------------------------------------------------------------------


def instead(watched: Watched, kind: type, bend: Callable[[Any], Any], party: str = HONEST) -> None:
    """One party gets bent requests of this kind."""

    def meddle(to: str, request: Any) -> Any:
        inner = request.request if isinstance(request, Parcel) else request
        return bend(request) if to == party and isinstance(inner, kind) else request

    watched.room.meddle = meddle


def with_head(change: Callable[[Head], Head]) -> Callable[[Any], Any]:
    """A part of a peer's list under another head."""

    def bend(parcel: Any) -> Any:
        return Parcel(parcel.request.model_copy(update={"head": change(parcel.request.head)}), parcel.payload)

    return bend


def signed(watched: Watched, head: Head, *, by: str | Ed25519PrivateKey = CHEAT, **bent: Any) -> Head:
    """Such a head, truly signed by its sender, or by somebody else; `occasion` among what can be bent."""
    signing = watched.room.nodes[by].standing.signing if isinstance(by, str) else by
    told = {name: value for name, value in head.body().items() if name != "signature"} | bent
    occasion = told.pop("occasion", None) or watched.occasion()
    return agreement.state_lists(signing, occasion=occasion, **told)


def refusal(reply: messages.Reply) -> str:
    assert isinstance(reply, messages.Refusal), reply
    return reply.reason


def another_offer(watched: Watched, party: str, normaliser: str) -> agreement.Offer:
    """A second offer of a party for the occasion, truly signed."""
    own = Halves(Secrets.fresh(watched.occasion(), recoverable=False))
    peers = [peer for peer in MEMBERS if peer != party]
    return own.offer(watched.room.nodes[party].standing.signing, party, peers, normaliser)
