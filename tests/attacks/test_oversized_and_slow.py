"""Too much, too slow, or nothing that can be read: a constant word in return, and the next request is answered."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from protocols import messages
from protocols.carrier import room_pb2 as pb
from protocols.carrier import seal
from tests.attacks.siege import LARGEST, Siege, until
from tests.attacks.stages import PARTIES, Stage, Stages
from tests.attacks.wire import SECONDS, encoded

Besiege = Callable[[Stage], Siege]


@pytest.fixture(scope="module")
def siege(stages: Stages, besiege_all: Besiege) -> Siege:
    """A round is reserved, and every party has agreed to contribute to its first step."""
    made = besiege_all(stages.before(messages.Prepare))
    made.ready = made.contribute(made.occasion())
    return made


def test_a_request_over_a_partys_limit(siege: Siege) -> None:
    with siege.nothing_changes():
        for party in PARTIES:
            error = (1003, f"over this party's limit of {LARGEST} bytes")
            assert siege.say(party, b" " * (LARGEST + 1)).error == error
            assert isinstance(siege.say(party, siege.caught[party]).reply, messages.MaskOffer)


def test_a_plan_as_large_as_fits(siege: Siege) -> None:
    """Four megabytes of plan: read, refused, and not kept."""
    body = {**siege.plan.body(), "purpose": "x" * (LARGEST - 20_000)}
    with siege.nothing_changes():
        heard = siege.say("alpha", messages.Propose(plan=body))
        assert isinstance(heard.reply, messages.Refusal) or heard.error == (2, "failed")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"[" * 200_000,
        b'{"type":"prepare"}',
        b'{"type":"query"}',
        b'{"a":' + b"9" * 10_000 + b"}",
        b'{"type":"prepare","type":"prepare"}',
    ],
    ids=["nothing", "no text", "deep nesting", "too little", "another type", "a long number", "a key twice"],
)
def test_a_request_that_cannot_be_read(siege: Siege, body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with siege.nothing_changes():
        assert siege.say("alpha", body).error == (2, "failed")
        assert isinstance(siege.say("alpha", siege.caught["alpha"]).reply, messages.MaskOffer)
    assert not [record for record in caplog.records if record.exc_info and record.name != "asyncio"]


def test_a_message_that_has_expired(siege: Siege, computed: list[str]) -> None:
    """Truly signed, a request to contribute, an hour old."""
    with siege.nothing_changes():
        sent = siege.send("alpha", encoded(siege.ready), created_at=time.time() - 3600)
        problem = sent.ends.get(timeout=SECONDS)
        assert problem is not None
        assert problem.reason == "expired"
        until(lambda: siege.hub.online() == ("alpha", "beta", "gamma"))
    assert computed == []


def test_another_question_than_a_party_answers(siege: Siege, computed: list[str]) -> None:
    """Flower's other types of message reach no code of ours."""
    with siege.nothing_changes():
        for kind in ("train", "evaluate", "query", "query.other", "query.ask.more"):
            sent = siege.send("alpha", encoded(siege.ready), message_type=kind)
            assert sent.ends.get(timeout=SECONDS) is None
            kept = siege.journal.reply(sent.header.message_id)
            assert kept is not None
            assert seal.read(pb.Sealed.FromString(kept.sealed).header).kind == "error"
    assert computed == []


def test_a_party_that_trickles_its_share(besiege: Besiege, stages: Stages) -> None:
    """Its stream is closed at the transfer's deadline; the true node comes back and is heard."""
    siege = besiege(stages.before(messages.Prepare))
    siege.hub._transfer_timeout = 0.3
    request = siege.contribute(siege.occasion())
    answered = siege.guests["alpha"].node.answer(request)
    hand = siege.hand("alpha")
    with siege.nothing_changes():
        sent = siege.send("alpha", encoded(request))
        asked, _ = hand.instruction()
        hand.reply(asked, answered.reply, answered.payload, hold_back=1)
        assert hand.end() == ("DEADLINE_EXCEEDED", "transfer too slow")
        assert siege.journal.reply(asked.message_id) is None
        siege.guests["alpha"].start(siege.port)
        assert sent.ends.get(timeout=SECONDS) is None
