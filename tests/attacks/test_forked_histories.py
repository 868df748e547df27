"""Two histories for two parties, an older one brought back, and commits that say what did not happen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coordinator.ledger import RoomLedger
from protocols import masking, messages
from protocols.errors import Refused
from protocols.ledger import notes
from protocols.logbook import Logbook
from protocols.masking import Occasion
from tests.attacks import histories
from tests.attacks.siege import Siege
from tests.attacks.stages import PARTIES, Stage, Stages
from tests.rounds.requests import another_key

Besiege = Callable[[Stage], Siege]
FORKED = ("ledger", "a second checkpoint of the same size with another root: the ledger is forked")


@pytest.fixture
def answered(besiege: Besiege, stages: Stages) -> Siege:
    """Everybody's share of the first step is with the coordinator; its commit is not written."""
    siege = besiege(stages.before(messages.Witness, nth=3))
    siege.rewind()
    return siege


def cosigned(siege: Siege, ledger: RoomLedger, *parties: str) -> None:
    """These parties take this ledger's growth for the only one."""
    for party in parties:
        reply = siege.say(party, histories.growth(ledger, siege.guests[party].node.book.size)).reply
        assert isinstance(reply, messages.Cosigned), reply
        ledger.book.add_cosignature(reply.size, party, reply.line + "\n")


def commit_in(siege: Siege, ledger: RoomLedger, seed: int) -> messages.Deliver:
    """A commit of its own in this ledger; its release."""
    entry, _, body = histories.committed(siege, siege.occasion(), seed=seed)
    seq = ledger.append([entry])
    ledger.book.sign_checkpoint(ledger.room.origin, ledger.identity)
    return histories.delivered(ledger, body, seq)


def test_two_releases_of_one_step_in_two_histories(answered: Siege, computed: list[str]) -> None:
    """Alpha sees one, beta and gamma the other. Neither is ever complete: no release of either is taken by anybody."""
    siege, size = answered, answered.ledger.book.size
    one, two = siege.fork(size), siege.fork(size)
    releases = [commit_in(siege, ledger, seed) for seed, ledger in enumerate((one, two))]
    cosigned(siege, one, "alpha")
    cosigned(siege, two, "beta", "gamma")
    with siege.nothing_changes():
        assert siege.say("alpha", histories.growth(two, size)).reply == behind(siege, "alpha", size + 1)
        assert siege.say("alpha", histories.growth(two, size + 1)).refusal == FORKED
        assert siege.say("beta", histories.growth(one, size + 1)).refusal == FORKED
        for ledger, request, party, missing in (
            (one, releases[0], "alpha", "the cosignature of beta, gamma is missing"),
            (two, releases[1], "beta", "the cosignature of alpha is missing"),
        ):
            asked = request.model_copy(update={"checkpoint": ledger.book.checkpoint()})
            code, reason = siege.say(party, asked).refusal
            assert (code, missing in reason) == ("ledger", True), reason
        other = releases[1].model_copy(update={"checkpoint": two.book.checkpoint()})
        code, reason = siege.say("alpha", other).refusal
        assert (code, reason) == ("ledger", "the checkpoint is not one of this party's copy of the ledger")
    assert computed == []


def test_a_step_that_goes_on_after_a_fork(answered: Siege, computed: list[str]) -> None:
    """Each party is asked to start from its own release, which too few have cosigned: nobody computes anything."""
    siege, size = answered, answered.ledger.book.size
    one, two = siege.fork(size), siege.fork(size)
    commit_in(siege, one, 0), commit_in(siege, two, 1)
    cosigned(siege, one, "alpha")
    cosigned(siege, two, "beta", "gamma")
    checkpoint = siege.store.book.checkpoint(size)
    occasions: dict[str, Occasion] = {}
    for party, ledger in (("alpha", one), ("beta", two), ("gamma", two)):
        siege.ledger = ledger
        occasions[party] = siege.occasion()
    assert occasions["alpha"].state != occasions["beta"].state
    with siege.nothing_changes():
        for party, occasion in occasions.items():
            code, reason = siege.say(party, messages.Prepare(occasion=occasion, checkpoint=checkpoint)).refusal
            assert (code, "has not been delivered to this party" in reason) == ("round", True), reason
            signing = {one: guest.config.signing for one, guest in siege.guests.items()}
            roster = {one: another_key(key, one, occasion) for one, key in signing.items()}
            agreed = {one: masking.agree(key, one, occasion, roster) for one, key in signing.items()}
            asked = messages.Contribute(occasion=occasion, roster=roster, agreements=agreed)
            assert "has offered no mask key" in siege.say(party, asked).refusal[1]
    assert computed == []


def test_two_histories_before_the_reserve(besiege: Besiege, stages: Stages, computed: list[str]) -> None:
    """Beta's reserve is in another history than the others': no checkpoint over it has everybody's cosignature."""
    siege = besiege(stages.before(messages.Reserve))
    draft = siege.caught["alpha"].draft
    held = {party: siege.say(party, siege.caught[party]).reply for party in PARTIES}
    reserve = {**draft, "holds": {p: one.signature for p, one in held.items() if isinstance(one, messages.Held)}}
    one, two = siege.fork(siege.ledger.book.size), siege.fork(siege.ledger.book.size)
    two.clock = lambda: one.now + 1  # the same entry, a second later: another history
    for ledger, parties in ((one, ("alpha", "gamma")), (two, ("beta",))):
        ledger.append([reserve])
        cosigned(siege, ledger, *parties)
    siege.ledger = one
    occasion = siege.occasion()
    checkpoint, lines = notes.split(one.book.checkpoint())
    beta = next(line for line in notes.split(two.book.checkpoint())[1] if "beta" in line)
    pasted = notes.assemble(checkpoint, lines[0], [*lines[1:], beta])
    with siege.nothing_changes():
        for party, note, reason in (
            ("alpha", one.book.checkpoint(), "the cosignature of beta is missing"),
            ("alpha", pasted, "the signature of beta on the checkpoint does not verify"),
            ("alpha", two.book.checkpoint(), "not one of this party's copy"),
            ("beta", two.book.checkpoint(), "the cosignature of alpha, gamma is missing"),
        ):
            asked = messages.Prepare(occasion=occasion, checkpoint=note)
            code, said = siege.say(party, asked).refusal
            assert (code, reason in said) == ("round", True), said
    assert computed == []


def test_a_ledger_rolled_back_and_written_on_otherwise(besiege: Besiege, stages: Stages) -> None:
    """The last commit never was, says the coordinator, and writes a forfeit in its place."""
    siege = besiege(stages.done())
    size = siege.ledger.book.size
    (round_,) = siege.ledger.book.accounts.rounds
    older, otherwise = siege.fork(size - 1), siege.fork(size - 1)
    otherwise.append([{"type": "forfeit@v1", "round": round_, "reason": "deadline"}])
    with siege.nothing_changes():
        for party in PARTIES:
            assert siege.say(party, histories.growth(older, 0)).reply == behind(siege, party, size)
            assert siege.say(party, histories.growth(otherwise, size - 1)).reply == behind(siege, party, size)
            asked = histories.growth(otherwise, size)
            assert siege.say(party, asked).refusal == FORKED
            otherwise_longer = histories.growth(otherwise, size).model_copy(
                update={"entries": [otherwise.book.entries(size - 1)[0].decode()]}
            )
            assert siege.say(party, otherwise_longer).refusal[0] == "ledger"


def test_an_honest_coordinator_restored_from_an_older_copy(besiege: Besiege, stages: Stages) -> None:
    """It takes back from the parties what it has lost, and asks to be launched again before anything is reserved."""
    siege = besiege(stages.done())
    whole = siege.ledger.book.entries()
    older = siege.fork(siege.ledger.book.size - 2)
    path = siege.config.path("state") / "ledger.db"
    siege.store.close()
    for name in ("ledger.db", "ledger.db-wal", "ledger.db-shm"):
        path.with_name(name).unlink(missing_ok=True)
    with Logbook(path) as book:
        book.extend(0, older.book.entries(), older.book.root())
    siege.reopen()
    raised = siege.launch()
    assert isinstance(raised, Refused)
    assert "this ledger was an older copy; 2 entries have been taken back from the parties" in raised.message
    assert siege.ledger.book.entries() == whole
    assert all(guest.node.book.entries() == whole for guest in siege.guests.values())


# -- commits -----------------------------------------------------------------------------------------------------------


def refused_commit(siege: Siege, reason: str, **bent: Any) -> None:
    entry, _, _ = histories.committed(siege, siege.occasion())
    with siege.nothing_changes():
        for party in PARTIES:
            request = histories.lawless(siege, siege.guests[party].node.book, [{**entry, **bent}])
            code, said = siege.say(party, request).refusal
            assert (code, reason in said) == ("ledger", True), said


@pytest.fixture(scope="module")
def reserved(stages: Stages, besiege_all: Besiege) -> Siege:
    """A round is reserved; nobody has contributed."""
    return besiege_all(stages.before(messages.Prepare))


def test_a_commit_naming_fewer_survivors_than_the_quorum(reserved: Siege) -> None:
    step = reserved.occasion().step
    refused_commit(reserved, f"2 shares in step {step}, fewer than its 3", survivors=["alpha", "beta"])


def test_a_commit_naming_a_stranger_among_its_survivors(reserved: Siege) -> None:
    refused_commit(reserved, "delta did not add noise", survivors=["alpha", "beta", "delta", "gamma"])


def test_a_commit_of_a_step_that_is_not_next(reserved: Siege) -> None:
    refused_commit(reserved, "where rfm-cuts is next", step="rfm-cohorts")


def test_a_commit_of_a_round_that_nobody_reserved(reserved: Siege) -> None:
    refused_commit(reserved, "was reserved", round="0" * 32)


def test_a_commit_of_a_sum_that_the_coordinator_made_up(besiege: Besiege, stages: Stages, computed: list[str]) -> None:
    """Nobody has sent a share, and nobody can any more: there is nothing of anybody's data in it, now or later."""
    siege = besiege(stages.before(messages.Prepare))
    ready = siege.contribute(siege.occasion())
    request = histories.published(siege, ready.occasion, lambda body: body)
    with siege.nothing_changes("release", "cosignature"):
        for party in PARTIES:
            assert isinstance(siege.say(party, request).reply, messages.Received)
            assert "is not what its reserve says is next" in siege.say(party, ready).refusal[1]
            assert siege.guests[party].node.store.sent_share(ready.occasion.round, ready.occasion.step) is None
    assert computed == ["rfm-cuts"] * 3  # for the mask keys


def behind(siege: Siege, party: str, size: int) -> messages.Behind:
    """What a party of so many entries says, with the note that it holds of them."""
    return messages.Behind(size=size, checkpoint=siege.guests[party].node.book.checkpoint(size))
