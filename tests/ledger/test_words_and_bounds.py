"""What is signed, word for word as the pages say it (and not as the product makes it); and the last value before each
bound. Found missing by mutation testing."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from protocols import keys
from protocols.encoding import MAX_INT, canonical
from protocols.errors import CannotDecide, IntegrityError, Refused, UsageError
from protocols.ledger import notes, trust
from protocols.ledger.entries import build, decode
from protocols.ledger.notes import Checkpoint
from protocols.ledger.reducer import Accounts

from . import builder, naive
from .changes import Body, Changes, KeyRing

NOON = 1_700_000_000 // 86_400 * 86_400 + 10 * 86_400 + 43_200


class History:
    """An opened room; what is taken must be taken by the naive rules too."""

    def __init__(self) -> None:
        self.room, self.ring, self.accounts, self.bodies = builder.Room(), KeyRing(), Accounts(), list[Body]()
        for entry in (*self.room.opening(), self.room.reserve(5), self.room.forfeit(6)):
            self.accounts.apply(entry)
            self.bodies.append(entry.body())

    def make(self, kind: str, *picks: int, time: int = NOON, **changes: Any) -> Body:
        """picks: which of its choices a draft takes, the first where there are none left."""
        left = list(picks)

        def one(*choices: Any) -> Any:
            return choices[left.pop(0) if left else 0]

        changed = Changes(self.ring, self.bodies, time, one)
        return changed.signed({**changed.make(kind), **changes, "seq": len(self.bodies), "time": time})

    def take(self, body: Body) -> None:
        naive.check(self.bodies, naive.read(naive.spelled(body)))
        self.accounts.apply(build(body))
        self.bodies.append(body)


def test_every_change_and_statement_is_signed_in_the_words_of_the_page() -> None:
    history = History()
    taken = [
        history.make(kind, *picks)
        for kind, picks in (("refund", ()), ("egress", ()), ("audit", ()), ("deny", ()), ("grant", (1,)), ("key", ()))
    ]
    for body in taken:
        history.take({**body, "seq": len(history.bodies)})
    assert [body["type"].split("@")[0] for body in history.bodies[7:]] == [
        "refund", "egress", "audit", "deny", "grant", "key",
    ]  # fmt: skip


def test_a_day_is_over_at_midnight_and_not_a_second_before() -> None:
    midnight = NOON - 43_200
    yesterday = (dt.datetime.fromtimestamp(midnight, dt.UTC).date() - dt.timedelta(1)).isoformat()
    history = History()
    early = history.make("egress", time=midnight - 1, day=yesterday)
    with pytest.raises(Refused):
        history.accounts.apply(build(early))
    history.take(history.make("egress", time=midnight, day=yesterday))


@pytest.mark.parametrize("kind", ["genesis@v1", "genesis@v2"])
def test_a_room_in_which_some_have_a_second_key_and_some_have_not_is_refused(kind: str) -> None:
    body = builder.Room().genesis().body()
    second = KeyRing().make("alpha", both=True)
    mixed = {**body, "type": kind, "parties": {**body["parties"], "alpha": second}}
    with pytest.raises(IntegrityError):
        build(mixed)


def test_an_integer_written_as_text_is_no_integer() -> None:
    body = builder.Room().genesis().body()
    with pytest.raises(IntegrityError):
        decode(canonical({**body, "cosign_quorum": "2"}))


@pytest.mark.parametrize("size", [31, 33])
def test_a_root_of_another_length_is_none(size: int) -> None:
    with pytest.raises(IntegrityError, match="impossible size or root"):
        notes.parse_checkpoint(f"{builder.ORIGIN}\n1\n{keys.base64_text(bytes(size))}\n")


def test_the_last_time_that_a_signature_can_have() -> None:
    checkpoint = Checkpoint(builder.ORIGIN, 1, bytes(32))
    alpha = builder.identity("alpha")
    public = notes.cosigner_keys("alpha", alpha.public())
    for time in (1, MAX_INT):
        lines = notes.cosign(checkpoint, "alpha", alpha, time)
        assert notes.verify_cosignature(checkpoint, public, lines) == time
    for time in (0, MAX_INT + 1):
        with pytest.raises(UsageError):
            notes.cosign(checkpoint, "alpha", alpha, time)


def test_the_longest_policy() -> None:
    text = trust.render(builder.Room().policy())
    filled = text + "\n" * (trust.MAX_LINES - len(text.split("\n")))
    assert trust.parse(filled) == builder.Room().policy()
    with pytest.raises(CannotDecide, match="more than"):
        trust.parse(filled + "\n")
