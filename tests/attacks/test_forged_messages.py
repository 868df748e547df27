"""Messages that are not what they say: other keys, other parties, other bytes, and true ones sent again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols import messages
from protocols.carrier import seal
from protocols.carrier.journal import Journal
from tests.attacks.siege import Siege, until
from tests.attacks.stages import Stage, Stages
from tests.attacks.wire import SECONDS, Sent, encoded, post

Besiege = Callable[[Stage], Siege]


@pytest.fixture(scope="module")
def siege(stages: Stages, besiege_all: Besiege) -> Siege:
    """A round is reserved, and every party has agreed to contribute to its first step."""
    made = besiege_all(stages.before(messages.Prepare))
    made.ready = made.contribute(made.occasion())
    return made


def never_looked_into(siege: Siege, party: str, sent: Sent, reason: str) -> None:
    """The message is refused where it arrives, its stream ended; afterwards this party answers as ever."""
    guest = siege.guests[party]
    until(lambda: any(reason in event for event in guest.refused()))
    siege.hub.withdraw([sent.header.message_id])
    assert sent.ends.empty()
    until(lambda: siege.hub.online() == siege.parties)
    assert isinstance(siege.say(party, siege.caught[party]).reply, messages.MaskOffer)
    guest.events.clear()


def test_an_instruction_signed_by_another_key_than_the_coordinators(siege: Siege, computed: list[str]) -> None:
    with siege.nothing_changes():
        sent = siege.send("alpha", encoded(siege.ready), key=Ed25519PrivateKey.generate())
        never_looked_into(siege, "alpha", sent, "bad signature on a message from coordinator")
    assert computed == []


def test_an_instruction_signed_by_another_party(siege: Siege, computed: list[str]) -> None:
    with siege.nothing_changes():
        sent = siege.send("alpha", encoded(siege.ready), key=siege.guests["gamma"].config.signing)
        never_looked_into(siege, "alpha", sent, "bad signature on a message from coordinator")
    assert computed == []


def test_an_instruction_to_one_party_sent_to_another(siege: Siege, computed: list[str]) -> None:
    with siege.nothing_changes():
        true = siege.send("alpha", encoded(siege.caught["alpha"]))
        assert true.ends.get(timeout=SECONDS) is None
        sent = post(siege.hub, "beta", true.header, true.sealed, true.payload)
        never_looked_into(siege, "beta", sent, "names another room or party")
    assert computed == []


def test_an_instruction_whose_payload_was_altered_under_way(siege: Siege, computed: list[str]) -> None:
    payload = encoded(siege.ready)
    altered = payload.replace(b'"contribute"', b'"contribuTe"')
    assert altered != payload
    with siege.nothing_changes():
        size, sha256 = seal.digest([payload])
        sent = siege.send("alpha", altered, size=size, sha256=sha256)
        never_looked_into(siege, "alpha", sent, "does not match the hash in its header")
    assert computed == []


def test_an_instruction_moved_to_another_run_under_its_old_signature(siege: Siege, computed: list[str]) -> None:
    with siege.nothing_changes():
        true = siege.send("alpha", encoded(siege.caught["alpha"]))
        assert true.ends.get(timeout=SECONDS) is None
        moved = type(true.sealed)(
            header=true.sealed.header.replace(true.header.message_id.encode(), b"0" * 64),
            signature=true.sealed.signature,
        )
        sent = post(siege.hub, "alpha", true.header, moved, true.payload)
        never_looked_into(siege, "alpha", sent, "bad signature")
    assert computed == []


def test_the_same_signed_instruction_to_contribute_later_and_again_in_another_run(
    besiege: Besiege, stages: Stages, computed: list[str]
) -> None:
    """The same bytes come back each time, and noise was drawn once: when the mask keys were asked for."""
    siege = besiege(stages.before(messages.Prepare))
    payload = encoded(siege.contribute(siege.occasion()))
    first = siege.send("alpha", payload)
    assert first.ends.get(timeout=SECONDS) is None
    kept = siege.journal.reply(first.header.message_id)
    with siege.nothing_changes():
        assert post(siege.hub, "alpha", first.header, first.sealed, payload).ends.get(timeout=SECONDS) is None
        again = siege.send("alpha", payload, run=first.header.run + 1)
        assert again.ends.get(timeout=SECONDS) is None
    other = siege.journal.reply(again.header.message_id)
    assert kept is not None
    assert other is not None
    assert bytes(other.payload) == bytes(kept.payload)
    assert computed == ["rfm-cuts"] * 3


def test_a_party_that_poses_as_the_coordinator_with_its_own_certificate(siege: Siege, tmp_path: Path) -> None:
    """A party's certificate is good for dialling only: nobody's handshake accepts it from a server."""
    guest, journal = siege.guests["alpha"], Journal(tmp_path / "false.db")
    false = siege.open_hub(journal)
    with siege.nothing_changes():
        guest.start(siege.listen(false, of="beta"))
        until(lambda: sum("UNAVAILABLE" in event for event in guest.events) > 1)
        assert "connected" not in guest.events
        assert false.online() == ()
        false.stop()
        journal.close()
        guest.start(siege.port)
        until(lambda: siege.hub.online() == siege.parties)


@pytest.fixture
def share(besiege: Besiege, stages: Stages) -> tuple[Siege, Any]:
    """A siege, and an evil alpha's wire that was just asked for its share."""
    siege = besiege(stages.before(messages.Prepare))
    request = siege.contribute(siege.occasion())
    return siege, request


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({"src": "beta"}, "a message from alpha names another room or party"),
        ({"key": "beta"}, "bad signature on a message from alpha"),
        ({"key": "coordinator"}, "bad signature on a message from alpha"),
        ({"sha256": bytes(32)}, "does not match the hash in its header"),
        ({"size": 1 << 23}, "over the room's limit"),
        ({"plan": "0" * 64}, "not bound to its instruction"),
    ],
    ids=["in another's name", "signed by another party", "signed by the coordinator", "altered", "oversized", "plan"],
)
def test_a_share_that_is_not_what_its_header_says(
    share: tuple[Siege, Any], change: dict[str, Any], refused: str
) -> None:
    """Never delivered; and the true node's true share still counts where the room's limit was kept."""
    siege, request = share
    answered = siege.guests["alpha"].node.answer(request)
    hand, keys_ = siege.hand("alpha"), {"beta": siege.guests["beta"].config.signing, "coordinator": siege.signing}
    with siege.nothing_changes():
        sent = siege.send("alpha", encoded(request))
        asked, _ = hand.instruction()
        bent = {**change, "key": keys_[change["key"]]} if "key" in change else change
        hand.reply(asked, answered.reply, answered.payload, **bent)
        code, details = hand.end()
        assert (code, refused in details) == ("INVALID_ARGUMENT", True), details
        assert siege.journal.reply(asked.message_id) is None
        assert ("alpha", details) in siege.hub.events
        siege.guests["alpha"].start(siege.port)
        ended = sent.ends.get(timeout=SECONDS)
        assert (ended is None) == ("size" not in change)
