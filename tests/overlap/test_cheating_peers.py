"""A party that cheats in an overlap, with its own true key: it is caught, and the whole round ends as a forfeit.

What no check can catch is here too, with its limit: `test_copies_under_other_scalars_…`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from party_node.overlap_lists import Between, Stream
from protocols import keys, messages
from protocols.overlap import words
from protocols.overlap.agreement import Halves
from protocols.overlap.layout import CANARIES
from tests.overlap import cheats, meeting_lab
from tests.overlap.cheats import CHEAT, HONEST, MISSING, Watched, after, values_of, with_points

# -- another scalar than was published ---------------------------------------------------------------------------------


def finals_of(watched: Watched, owner: str, peer: str) -> Any:
    """All that the peer handed out as the owner's finished lists."""
    asked = [(x, messages.read_request(x.request)) for x in watched.room.sent(words.Fetch) if x.party == peer]
    parts = [x.payload for x, request in asked if (request.kind, request.peer) == ("final", owner)]
    return np.concatenate([values_of(part) for part in parts])


def canaries_of(watched: Watched, owner: str, peer: str) -> Any:
    (shown,) = (messages.read_reply(x.reply) for x in watched.room.sent(words.Reveal) if x.party == owner)
    return np.stack([values_of(keys.unbase64(row)) for row in shown.canaries[peer]])


def test_a_party_that_masks_with_another_scalar_than_it_published_has_none_of_the_canaries(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    cheats.two_scalars(watched, monkeypatch)
    watched.forfeited(MISSING)
    canaries = canaries_of(watched, HONEST, CHEAT)
    assert canaries.shape == (len(meeting_lab.TIERS), CANARIES)
    assert not np.isin(canaries, finals_of(watched, HONEST, CHEAT)).any()


def test_a_party_that_masks_only_what_it_got_with_another_scalar(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own lists are honest; the other's dummies would match nothing."""
    real = Between.finish

    def finish(between: Between, received: Path, to: Path) -> None:
        if between.me == CHEAT:
            object.__setattr__(between, "halves", cheats.OtherScalar(between.halves))
        real(between, received, to)

    monkeypatch.setattr(Between, "finish", finish)
    watched.forfeited(MISSING)
    assert np.isin(canaries_of(watched, CHEAT, HONEST), finals_of(watched, CHEAT, HONEST)).all()


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_a_party_that_drops_entries_of_the_others_lists_and_fills_up_with_others(
    share: float, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tenth already costs a canary but once in 24,000: of each list 32 must all stay."""

    def bend(_: Between, to: Path) -> None:
        values = values_of(to.read_bytes()).copy()
        dropped = Stream(bytes(32)).order(len(values))[: int(share * len(values))]
        values[dropped] = np.frombuffer(Stream(bytes([1] * 32)).take(8 * len(dropped)), dtype="<u8")
        to.write_bytes(values.tobytes())

    after(monkeypatch, "finish", bend)
    watched.forfeited(MISSING)


def test_a_party_that_swaps_two_of_the_others_lists(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    def bend(_: Between, to: Path) -> None:
        values = values_of(to.read_bytes())
        to.write_bytes(np.roll(values, 1 + len(values) // 2).tobytes())

    after(monkeypatch, "finish", bend)
    watched.forfeited(MISSING)


# -- sizes and bytes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["list", "final"])
@pytest.mark.parametrize("more", [1, -1])
def test_lists_of_another_size_than_the_plans(
    kind: str, more: int, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    meeting = watched.cheat
    real = meeting._state

    def state(of: str, o: Any, peer: str, sizes: tuple[int, ...], path: Path) -> Any:
        return real(of, o, peer, (sizes[0] + more * (of == kind), *sizes[1:]), path)

    monkeypatch.setattr(meeting, "_state", state)
    watched.forfeited(f"the lists of {CHEAT} have other sizes than the plan gives them")


@pytest.mark.parametrize("name", ["write_lists", "finish"])
@pytest.mark.parametrize("more", [64, -64])
def test_more_or_fewer_bytes_than_the_sizes_say(
    name: str, more: int, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bend(_: Between, to: Path) -> None:
        data = to.read_bytes()
        to.write_bytes(data + bytes(range(more)) if more > 0 else data[:more])

    after(monkeypatch, name, bend)
    watched.forfeited(
        f"a part of the lists of {CHEAT} has another size than its place"
        if name == "write_lists"
        else f"the lists of {HONEST} have other sizes than the plan gives them"
    )


def test_other_bytes_than_were_stated(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alike in all but that: a list of nobody, made after the first was signed for."""
    meeting, real = watched.cheat, watched.cheat.lay

    def lay(request: words.Lay) -> Any:
        answered = real(request)
        with_points(lambda points: points.reverse())(None, meeting._file(request.occasion, HONEST, "list"))  # type: ignore[arg-type]
        return answered

    monkeypatch.setattr(meeting, "lay", lay)
    watched.forfeited(f"the lists of {CHEAT} are not what it said they are")


def test_other_finished_lists_than_were_stated(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    meeting, real = watched.cheat, watched.cheat.finish

    def finish(request: words.Finish) -> Any:
        answered = real(request)
        path = meeting._file(request.occasion, HONEST, "final")
        path.write_bytes(values_of(path.read_bytes())[::-1].tobytes())
        return answered

    monkeypatch.setattr(meeting, "finish", finish)
    watched.forfeited(f"{CHEAT} handed out other lists than it stated")


def test_other_lists_after_the_coordinator_was_restarted(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Truly signed, for the same occasion and roster: but the other party has the first ones."""
    watched.room.stopped_at(words.Finish)
    meeting, real = watched.cheat, watched.cheat._laid

    def laid(o: Any, *rest: Any) -> Any:
        path = meeting._file(o, HONEST, "list")
        with_points(lambda points: points.reverse())(None, path)  # type: ignore[arg-type]
        return real(o, *rest)

    monkeypatch.setattr(meeting, "_laid", laid)
    monkeypatch.setattr(meeting, "_keep_once", lambda *_: None)
    watched.forfeited(f"{CHEAT} says something else of its lists than before")


# -- offers and heads --------------------------------------------------------------------------------------------------


def test_another_normaliser(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Halves.offer

    def offer(own: Halves, signing: Any, party: str, peers: Any, normaliser: str) -> Any:
        return real(own, signing, party, peers, "sumroom/email/v1" if party == CHEAT else normaliser)

    monkeypatch.setattr(Halves, "offer", offer)
    spellings = ("sumroom/email/v1", "sumroom/id/v1")  # both are named, with their versions
    watched.forfeited(f"{CHEAT} turns identifiers into keys as {spellings[0]}, the plan as {spellings[1]}", *spellings)
    assert not watched.room.sent(words.Lay)  # nobody is even asked to lay anything out


@pytest.mark.parametrize("kind", ["list", "final"])
@pytest.mark.parametrize(
    ("bent", "said"),
    [
        ({"by": Ed25519PrivateKey.generate()}, f"the overlap-lists signature of {CHEAT} does not verify"),
        ({"by": HONEST}, f"the overlap-lists signature of {CHEAT} does not verify"),
        ({"attempt": 2}, f"the overlap-lists signature of {CHEAT} does not verify"),
        ({"roster": "0" * 64}, f"{CHEAT} speaks of other lists than were asked for"),
        ({"peer": CHEAT}, f"{CHEAT} speaks of other lists than were asked for"),
        ({"party": HONEST, "by": HONEST}, f"{CHEAT} speaks of other lists than were asked for"),
    ],
    ids=["a-strangers-key", "anothers-key", "another-occasion", "another-roster", "another-peer", "anothers-lists"],
)
def test_a_statement_that_is_not_the_partys_own_for_this_meeting(
    bent: dict[str, Any], said: str, kind: str, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    meeting, real = watched.cheat, watched.cheat._state
    change = dict(bent)
    attempt = change.pop("attempt", 1)

    def state(of: str, o: Any, peer: str, sizes: tuple[int, ...], path: Path) -> Any:
        head = real(of, o, peer, sizes, path)
        if of != kind:
            return head
        return cheats.signed(watched, head, occasion=o.model_copy(update={"attempt": attempt}), **change)

    monkeypatch.setattr(meeting, "_state", state)
    watched.forfeited(said)


def test_canaries_of_fewer_lists_or_other_numbers(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Between.canaries

    def canaries(between: Between) -> Any:
        return real(between)[1:] if between.me == CHEAT else real(between)

    monkeypatch.setattr(Between, "canaries", canaries)
    watched.forfeited(f"{CHEAT} shows another number of canaries than its lists have")


def test_canaries_that_were_never_in_the_lists_are_the_owners_own_loss(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The round ends as if its peer had cheated: it costs both their budget, and tells nobody anything."""
    real = Between.canaries
    monkeypatch.setattr(Between, "canaries", lambda between: real(between) ^ np.uint64(between.me == CHEAT))
    watched.forfeited(f"canaries are missing in the lists that {HONEST} finished")


def answering(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, kind: type, bend: Callable[[Any], dict[str, Any]]
) -> None:
    """The cheat's replies of this kind, with other fields."""
    node = watched.room.nodes[CHEAT]
    real = node.answer

    def answer(request: Any, payload: Any = b"") -> Any:
        answered = real(request, payload)
        if not isinstance(answered.reply, kind):
            return answered
        return dataclasses.replace(answered, reply=answered.reply.model_copy(update=bend(answered.reply)))

    monkeypatch.setattr(node, "answer", answer)


@pytest.mark.parametrize(
    ("kind", "bend", "said"),
    [
        (words.Laid, lambda _: {"heads": {}}, f"{CHEAT} states other lists than those of its pairs"),
        (words.Finished, lambda r: {"heads": {CHEAT: r.heads[HONEST]}}, f"{CHEAT} states other lists than those"),
        (words.Revealed, lambda _: {"canaries": {}}, f"{CHEAT} shows canaries of other pairs"),
        (words.Chunk, lambda _: {"sha256": "0" * 64}, f"{CHEAT}: a part of its lists is not what it says"),
        (words.Chunk, lambda r: {"size": r.size - 8}, f"{CHEAT}: a part of its lists is not what it says"),
        (words.Taken, lambda r: {"next": r.next + 1}, f"{CHEAT} does not take the lists of {HONEST}"),
        (words.Taken, lambda _: {"next": 0}, f"{CHEAT} does not take the lists of {HONEST}"),
        (words.Met, lambda _: {"party": HONEST}, f"{CHEAT} gave another answer than was asked for"),
    ],
    ids=["no-lists", "anothers-lists", "no-canaries", "other-bytes", "fewer-bytes", "more", "none", "as-another"],
)
def test_an_answer_that_is_about_something_else(
    kind: type, bend: Callable[[Any], dict[str, Any]], said: str, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(watched, monkeypatch, kind, bend)
    watched.forfeited(said)


# -- part by part ------------------------------------------------------------------------------------------------------


def test_lists_in_many_parts_are_counted_like_those_in_one(
    in_small_parts: int, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = meeting_lab.Draws(monkeypatch)
    *_, overlap = watched.room.run()
    cells = meeting_lab.matrices(overlap.body_.noised, watched.room.plan.parties)[HONEST, CHEAT]
    assert (cells - draws.noise(HONEST, CHEAT) == meeting_lab.truth(HONEST, CHEAT)).all()
    assert len(watched.room.sent(words.Take)) > 4 * len(cheats.MEMBERS)
