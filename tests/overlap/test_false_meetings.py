"""A coordinator that cheats in an overlap: each node checks for itself, and gives nothing.

Where one node refuses, the whole round ends as a forfeit (`cheats.Watched.forfeited`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coordinator.conversation import Parcel
from protocols import keys, messages
from protocols.masking import Secrets
from protocols.overlap import words
from protocols.overlap.agreement import Halves
from tests.overlap import cheats, meeting_lab
from tests.overlap.cheats import CHEAT, HONEST, NORMALISER, Watched, instead, refusal, signed, with_head
from tests.rounds import lab

LISTS = f"the overlap-lists signature of {CHEAT} does not verify"
OTHERS = f"{CHEAT} speaks of other lists than were asked for"


# -- lists on their way ------------------------------------------------------------------------------------------------


def part(index: int) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """Bend the parcel of this part only."""
    return lambda bend: lambda parcel: bend(parcel) if parcel.request.index == index else parcel


@pytest.mark.parametrize(
    ("bend", "said"),
    [
        pytest.param(
            lambda p: Parcel(p.request.model_copy(update={"size": p.request.size - 32}), p.payload),
            f"a part of the lists of {CHEAT} is not what it sent",
            id="truncated",
        ),
        pytest.param(
            lambda p: Parcel(p.request, bytes(p.payload)[:-8]),
            f"a part of the lists of {CHEAT} is not what it sent",
            id="its-end-is-missing",
        ),
        pytest.param(
            lambda p: Parcel(p.request, bytes([p.payload[0] ^ 1]) + bytes(p.payload)[1:]),
            f"a part of the lists of {CHEAT} is not what it sent",
            id="altered",
        ),
        pytest.param(
            lambda p: Parcel(p.request.model_copy(update={"index": 0}), p.payload),
            f"{HONEST} does not take the lists of {CHEAT}",
            id="an-earlier-place",
        ),
        pytest.param(
            lambda p: Parcel(p.request.model_copy(update={"index": 2}), p.payload),
            f"{HONEST} does not take the lists of {CHEAT}",
            id="a-later-place",
        ),
    ],
)
def test_a_part_that_is_not_the_next_one_as_it_was_sent(
    bend: Callable[[Any], Any], said: str, in_small_parts: int, watched: Watched
) -> None:
    instead(watched, words.Take, part(1)(bend))
    watched.forfeited(said)


@pytest.mark.parametrize("which", ["the-part-before", "its-own-part"])
def test_another_part_in_the_place_of_the_next(which: str, in_small_parts: int, watched: Watched) -> None:
    """A replayed part of the same list, and the receiver's own, sent back to it."""
    seen: dict[tuple[str, int], Any] = {}

    def meddle(party: str, request: Any) -> Any:
        if not isinstance(request, Parcel):
            return request
        seen[party, request.request.index] = request
        if party != HONEST or request.request.index != 1:
            return request
        other = seen[HONEST, 0] if which == "the-part-before" else seen[CHEAT, 0]
        return Parcel(request.request.model_copy(update={"size": other.request.size}), other.payload)

    watched.room.meddle = meddle
    watched.forfeited(f"a part of the lists of {CHEAT} is not what it sent")


@pytest.mark.parametrize(
    ("bent", "said"),
    [
        ({"by": Ed25519PrivateKey.generate()}, LISTS),
        ({"by": HONEST}, LISTS),
        ({"attempt": 2}, LISTS),
        ({"sizes": [5, 5, 5]}, f"the lists of {CHEAT} have other sizes than the plan gives them"),
        ({"roster": "0" * 64}, OTHERS),
        ({"kind": "final"}, OTHERS),
        ({"peer": "gamma"}, OTHERS),
        ({"party": HONEST, "by": HONEST}, f"{HONEST} is no peer of this party"),
        ({"sha256": "0" * 64}, f"the lists of {CHEAT} are not what it said they are"),
    ],
    ids=["strangers-key", "anothers-key", "occasion", "sizes", "roster", "kind", "peer", "own", "digest"],
)
def test_a_list_under_another_head_than_its_owners_for_this_meeting(
    bent: dict[str, Any], said: str, watched: Watched
) -> None:
    change = dict(bent)
    attempt = change.pop("attempt", 1)

    def head(true: Any) -> Any:
        return signed(watched, true, occasion=watched.occasion().model_copy(update={"attempt": attempt}), **change)

    instead(watched, words.Take, with_head(head))
    watched.forfeited(said)


# -- rosters -----------------------------------------------------------------------------------------------------------


def test_a_roster_that_differs_between_the_parties(watched: Watched) -> None:
    """The cheat signed two offers: what each party lays out is for its own roster, and nobody takes it for another."""
    roster = lambda r: {**r.roster, CHEAT: cheats.another_offer(watched, CHEAT, NORMALISER)}  # noqa: E731
    instead(watched, words.Lay, lambda r: r.model_copy(update={"roster": roster(r)}))
    watched.forfeited(f"{HONEST} speaks of other lists than were asked for")


def bent_roster(watched: Watched, name: str, roster: Any) -> dict[str, Any]:
    true, mine = roster[CHEAT], roster[HONEST]
    signing = watched.room.nodes[CHEAT].standing.signing

    def offered(**bent: Any) -> Any:
        stated = {k: v for k, v in true.body().items() if k != "signature"} | bent
        body = {**stated, "party": CHEAT, "occasion": watched.occasion().body()}
        return true.model_validate({**stated, "signature": keys.sign(signing, "overlap-offer", body)})

    def half(point: bytes) -> Any:
        return offered(halves={HONEST: keys.base64_text(point)})

    bent = {
        "nobody else": {HONEST: mine},
        "a stranger": {**roster, "gamma": cheats.another_offer(watched, CHEAT, NORMALISER)},
        "another own": {**roster, HONEST: cheats.another_offer(watched, HONEST, NORMALISER)},
        "unsigned": {**roster, CHEAT: true.model_copy(update={"signature": mine.signature})},
        "of another occasion": {**roster, CHEAT: _of_another_occasion(watched)},
        "normaliser": {**roster, CHEAT: offered(normaliser="sumroom/email/v1")},
        "salt too short": {**roster, CHEAT: offered(salt=keys.base64_text(bytes(16)))},
        "same salt": {**roster, CHEAT: offered(salt=mine.salt)},
        "own half": {**roster, CHEAT: offered(halves={HONEST: mine.halves[CHEAT]})},
        "no halves": {**roster, CHEAT: offered(halves={})},
        "half of small order": {**roster, CHEAT: half(bytes(32))},
        "half on the twist": {**roster, CHEAT: half(bytes([2]) + bytes(31))},
        "half not canonical": {**roster, CHEAT: half(bytes([9]) + bytes(30) + bytes([128]))},
        "sealing key of small order": {**roster, CHEAT: offered(sealing=keys.base64_text(bytes(32)))},
    }
    return bent[name]


def _of_another_occasion(watched: Watched) -> Any:
    other = watched.occasion().model_copy(update={"nonce": "1" * 32})
    own = Halves(Secrets.fresh(other, recoverable=False))
    return own.offer(watched.room.nodes[CHEAT].standing.signing, CHEAT, [HONEST], NORMALISER)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nobody else", "the offers are not of exactly the parties of the overlap"),
        ("a stranger", "the offers are not of exactly the parties of the overlap"),
        ("another own", "the roster shows another offer for this party than it made"),
        ("unsigned", f"the overlap-offer signature of {CHEAT} does not verify"),
        ("of another occasion", f"the overlap-offer signature of {CHEAT} does not verify"),
        ("normaliser", f"{CHEAT} turns identifiers into keys as sumroom/email/v1, the plan as {NORMALISER}"),
        ("salt too short", f"the offer of {CHEAT} is not for exactly its peers"),
        ("same salt", "the same key or salt is offered twice"),
        ("own half", "the same key or salt is offered twice"),
        ("no halves", f"the offer of {CHEAT} is not for exactly its peers"),
        ("half of small order", f"{CHEAT} offers a half that is no point of the curve"),
        ("half on the twist", f"{CHEAT} offers a half that is no point of the curve"),
        ("half not canonical", f"{CHEAT} offers a half that is no point of the curve"),
        ("sealing key of small order", f"the mask key shown for {CHEAT} is not a usable X25519 key"),
    ],
)
def test_a_roster_that_is_not_everybodys_sound_offers(name: str, said: str, watched: Watched) -> None:
    """The parties check them each for itself: nobody lays a list out for such a roster."""
    instead(watched, words.Lay, lambda r: r.model_copy(update={"roster": bent_roster(watched, name, dict(r.roster))}))
    watched.forfeited(said, "sumroom/email/v1", NORMALISER, "X25519")
    assert not [x for x in watched.room.sent(words.Lay) if x.party == HONEST and b'"laid"' in x.reply]


def test_a_second_roster_for_a_party_that_has_laid_its_lists_out(watched: Watched) -> None:
    room = watched.room
    (asked, *_) = room.stopped_at(words.Take).values()
    (first, *_) = [messages.read_request(x.request) for x in room.sent(words.Lay) if x.party == HONEST]
    other = {**first.roster, CHEAT: cheats.another_offer(watched, CHEAT, NORMALISER)}
    reply = room.say(HONEST, first.model_copy(update={"roster": other}))
    assert isinstance(reply, messages.Refusal)
    assert "another roster" in reply.reason
    assert asked.request.head.roster


# -- asked for too early, for others, or for what there is not ---------------------------------------------------------


def test_what_is_asked_for_before_its_time(watched: Watched) -> None:
    """Each is refused, whatever came before; nothing is drawn for it, and nothing stated."""
    room = watched.room
    caught = room.stopped_at(words.Lay)
    o, lay = watched.occasion(), caught[HONEST]
    fetch = words.Fetch(occasion=o, peer=CHEAT, kind="list", index=0)
    for request in (fetch, fetch.model_copy(update={"kind": "final"}), words.Reveal(occasion=o, heads={})):
        assert "this node has not come so far" in refusal(room.say(HONEST, request))
    assert f"the lists of {CHEAT} are not here" in refusal(room.say(HONEST, words.Finish(occasion=o)))
    laid = room.say(HONEST, lay)
    assert isinstance(laid, words.Laid)
    assert "part 9 of 1" in refusal(room.say(HONEST, fetch.model_copy(update={"index": 9})))
    assert "no such lists for gamma" in refusal(room.say(HONEST, fetch.model_copy(update={"peer": "gamma"})))
    assert "this node has not come so far" in refusal(room.say(HONEST, fetch.model_copy(update={"kind": "final"})))
    assert "this node has not come so far" in refusal(room.say(HONEST, words.Reveal(occasion=o, heads={})))
    take = words.Take(occasion=o, head=laid.heads[CHEAT], index=0, size=1)
    assert "has agreed to no roster" in refusal(room.say(CHEAT, take)) or "no lists" in refusal(room.say(CHEAT, take))


def test_canaries_asked_for_before_the_peer_has_finished(watched: Watched) -> None:
    """With no word of the peer's, with its word about its own lists, and with a word that it never gave."""
    room = watched.room
    caught = room.stopped_at(words.Finish)
    o = watched.occasion()
    assert isinstance(room.say(HONEST, caught[HONEST]), words.Finished)
    laid: Any = next(messages.read_reply(x.reply) for x in room.sent(words.Lay) if x.party == CHEAT)
    own = laid.heads[HONEST]
    stranger = Ed25519PrivateKey.generate()
    sizes = [size + 240 for size in own.sizes]
    forged = signed(watched, own, by=stranger, kind="final", sizes=sizes)
    for heads in ({}, {CHEAT: own}, {CHEAT: forged}, {HONEST: own}):
        assert isinstance(room.say(HONEST, words.Reveal(occasion=o, heads=heads)), messages.Refusal), heads
    assert not any(b'"revealed"' in x.reply for x in room.wire)


@pytest.mark.parametrize("bent", [{"sha256": "0" * 64}, {"by": Ed25519PrivateKey.generate()}, {"kind": "list"},
                                  {"sizes": [9, 9, 9]}, {"roster": "0" * 64}, {"attempt": 2}])  # fmt: skip
def test_canaries_asked_for_with_another_word_of_the_peers(bent: dict[str, Any], watched: Watched) -> None:
    """Whatever it is, it is refused, once canaries were shown; or never shown for it."""
    change = dict(bent)
    attempt = change.pop("attempt", 1)
    room = watched.room

    def heads(true: Any) -> Any:
        occasion = watched.occasion().model_copy(update={"attempt": attempt})
        return {CHEAT: signed(watched, true.heads[CHEAT], occasion=occasion, **change)}

    def twice(request: Any) -> Any:
        other = request.model_copy(update={"heads": heads(request)})
        if "sha256" in change:  # truly signed, for other finished lists than those that canaries were shown for
            assert isinstance(room.say(HONEST, request), words.Revealed)
        return other

    instead(watched, words.Reveal, twice)
    watched.forfeited("was answered, to another request" if "sha256" in change else CHEAT)


def test_a_step_that_is_counted_between_parties_is_not_drawn_as_a_sum(watched: Watched) -> None:
    """A coordinator that asks for a mask key first: noise over zeros, half of it negative, would be the dummies."""
    instead(watched, words.Meet, lambda r: messages.Prepare(occasion=r.occasion, checkpoint=r.checkpoint))
    watched.forfeited("step overlap is no sum")


def test_a_sum_is_not_met_for(tmp_path: Path, before_meeting: tuple[Path, Any]) -> None:
    base, plan = meeting_lab.make(tmp_path / "room", cheats.MEMBERS, **meeting_lab.of_two())
    with lab.Room(base, plan) as room:
        (asked, *_) = room.stopped_at(messages.Prepare).values()
        meet = words.Meet(occasion=asked.occasion, checkpoint=asked.checkpoint)
        assert refusal(room.say(HONEST, meet)) == "step overlap-sizes is no overlap"
        assert not room.nodes[HONEST].store.drawn_rounds()


def test_a_meeting_that_not_everybody_has_cosigned(watched: Watched) -> None:
    instead(watched, words.Meet, lambda r: r.model_copy(update={"checkpoint": _half_signed(r.checkpoint)}))
    watched.forfeited(HONEST)


def _half_signed(checkpoint: str) -> str:
    return "".join(line for line in checkpoint.splitlines(keepends=True) if not line.startswith(f"— {CHEAT} "))
