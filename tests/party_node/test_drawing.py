"""Noise is drawn once for a step, and kept with all that follows from it before anything of it leaves."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import pytest

from party_node import app
from protocols import messages
from protocols.errors import Refused
from protocols.masking import Secrets
from tests.rounds.lab import Stop
from tests.rounds.requests import another_key, contribution

FAILED = messages.Refusal(code="round", reason="failed")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What came out of every drawing of noise, from here on."""
    from party_node import share

    real, times = share.add_noise, list[Any]()

    def watched(total: Any, **named: int) -> Any:
        times.append(real(total, **named))
        return times[-1]

    monkeypatch.setattr("party_node.share.add_noise", watched)
    return times


def killed(*_: object, **__: object) -> None:
    raise Stop


def root_of(room: Any, party: str, occasion: Any) -> bytes:
    found = room.nodes[party].store.drawn(occasion.round, occasion.step)
    assert found is not None
    return bytes(found[1])


def noted(room: Any, party: str) -> list[Any]:
    """What a party's accounts say of drawings."""
    with closing(sqlite3.connect(room.nodes[party].config.path("accounts"))) as file:
        return file.execute("SELECT round, step, mask_key FROM drawn").fetchall()


# -- once, whatever happens to the process -----------------------------------------------------------------------------


def test_a_node_killed_between_its_drawing_and_the_note_in_its_accounts_goes_on_with_that_drawing(
    room: Any, monkeypatch: pytest.MonkeyPatch, drawn: list[Any]
) -> None:
    prepare = room.stopped_at(messages.Prepare)["alpha"]
    monkeypatch.setattr(room.nodes["alpha"].filter, "draw_once", killed)
    with pytest.raises(Stop):
        room.say("alpha", prepare)
    kept = root_of(room, "alpha", prepare.occasion)
    assert noted(room, "alpha") == []
    room.restart("alpha")
    offered = room.say("alpha", prepare)
    assert isinstance(offered, messages.MaskOffer)
    assert root_of(room, "alpha", prepare.occasion) == kept
    assert noted(room, "alpha") == [(prepare.occasion.round, prepare.occasion.step, offered.key.public)]
    assert len(drawn) == 1


def test_a_node_killed_before_its_drawing_is_kept_has_shown_nothing_of_it(
    room: Any, monkeypatch: pytest.MonkeyPatch, drawn: list[Any]
) -> None:
    """The second drawing is the first of which anything leaves."""
    prepare = room.stopped_at(messages.Prepare)["alpha"]
    monkeypatch.setattr(room.nodes["alpha"].store, "add_drawing", killed)
    with pytest.raises(Stop):
        room.say("alpha", prepare)
    assert noted(room, "alpha") == []
    room.restart("alpha")
    assert isinstance(room.say("alpha", prepare), messages.MaskOffer)
    assert room.nodes["alpha"].store.noised(prepare.occasion.round, "rfm-cuts") == drawn[1].astype("<i8").tobytes()
    assert len(drawn) == 2


@pytest.mark.parametrize("kind", [messages.Prepare, messages.Agree, messages.Contribute, messages.Settle])
def test_a_node_killed_after_any_word_says_the_very_same_again(five: Any, drawn: list[Any], kind: type) -> None:
    """And goes on with it: between drawing and offering, offering and agreeing, agreeing and its share, and after."""
    first: dict[str, bytes] = {}

    def meddle(party: str, request: messages.Request) -> messages.Request:
        if party == "beta" and isinstance(request, kind):
            said = five.nodes["beta"].answer(request)
            first[request.occasion.step] = messages.encode(said.reply) + said.payload
            five.restart("beta")
        return request

    five.meddle = meddle
    assert [len(release.body_.survivors) for release in five.run()] == [5, 5]
    again = [one for one in five.sent(kind) if one.party == "beta"]
    assert [one.reply + one.payload for one in again] == list(first.values())
    assert len(drawn) == 2 * 5


def test_a_drawing_is_kept_once_and_never_changes(room: Any) -> None:
    prepare = room.stopped_at(messages.Prepare)["alpha"]
    room.say("alpha", prepare)
    store, o = room.nodes["alpha"].store, prepare.occasion
    kept = store.drawn(o.round, o.step), store.noised(o.round, o.step)
    with pytest.raises(sqlite3.IntegrityError):
        store.add_drawing(o.round, o.step, "0" * 64, bytes(32), bytes(8))
    with (
        closing(sqlite3.connect(store.state / "node.db")) as file,
        pytest.raises(sqlite3.IntegrityError, match="what was drawn never changes"),
    ):
        file.execute("UPDATE drawing SET noised = x'00'")
    assert (store.drawn(o.round, o.step), store.noised(o.round, o.step)) == kept


def test_what_was_drawn_for_another_occasion_is_not_used(room: Any, drawn: list[Any]) -> None:
    prepare = room.stopped_at(messages.Prepare)["alpha"]
    o, node = prepare.occasion, room.nodes["alpha"]
    other = Secrets.fresh(o.model_copy(update={"nonce": "0" * 32}), recoverable=False)
    node.store.add_drawing(o.round, o.step, "0" * 64, other.root, bytes(8 * 15))
    assert node.answer(prepare).reply == FAILED
    own = {"alpha": Secrets(other.root, o, recoverable=False).offer(node.signing, "alpha")}
    roster = own | {party: another_key(room.nodes[party].signing, party, o) for party in ("beta", "gamma")}
    reply = room.say("alpha", messages.Agree(occasion=o, roster=roster))
    assert isinstance(reply, messages.Refusal)
    assert "noise was drawn for another occasion" in reply.reason
    assert drawn == []


# -- kept before anything leaves ---------------------------------------------------------------------------------------


def full(*_: object, **__: object) -> None:
    raise OSError("customer 17: no space left on the disk")


@pytest.mark.parametrize("at", ["store.add_drawing", "filter.draw_once", "noise"])
def test_what_could_not_be_drawn_and_kept_is_answered_in_one_word_and_at_the_plans_second(
    room: Any, monkeypatch: pytest.MonkeyPatch, at: str, caplog: pytest.LogCaptureFixture
) -> None:
    prepare = room.stopped_at(messages.Prepare)["alpha"]
    node = room.nodes["alpha"]
    if at == "noise":
        monkeypatch.setattr("party_node.share.add_noise", full)
    else:
        holder, name = at.split(".")
        monkeypatch.setattr(getattr(node, holder), name, full)
    answered = node.answer(prepare)
    assert (answered.reply, answered.payload) == (FAILED, b"")
    assert answered.after_s == room.plan.answer_after_s > 0
    assert "customer 17" not in caplog.text
    assert noted(room, "alpha") == []
    monkeypatch.undo()
    assert isinstance(room.say("alpha", prepare), messages.MaskOffer)  # there is room again


def test_a_key_is_offered_only_once_what_it_masks_is_on_the_disk(room: Any, drawn: list[Any]) -> None:
    prepare = room.stopped_at(messages.Prepare)["alpha"]
    offered = room.say("alpha", prepare)
    o, state = prepare.occasion, room.nodes["alpha"].store.state
    with closing(sqlite3.connect(f"file:{state / 'node.db'}?mode=ro", uri=True)) as file:
        ((root, noised),) = file.execute("SELECT root, noised FROM drawing").fetchall()
    own = Secrets(bytes(root), o, recoverable=False)
    assert offered.key == own.offer(room.nodes["alpha"].signing, "alpha")
    assert bytes(noised) == drawn[0].astype("<i8").tobytes()


def test_a_mask_key_noted_in_the_accounts_is_the_only_one_of_its_step(room: Any) -> None:
    """A state that was put back alone, and forgot what it drew, computes nothing; nor does one that draws meanwhile."""
    prepare = room.stopped_at(messages.Prepare)["alpha"]
    o, node = prepare.occasion, room.nodes["alpha"]
    node.filter.draw_once("trial", o.round, o.step, "another key")
    reply = room.say("alpha", prepare)
    assert isinstance(reply, messages.Refusal)
    assert "noise was drawn for it before, not here" in reply.reason
    assert node.store.drawn(o.round, o.step) is None
    with pytest.raises(Refused, match="drawn for it before"):
        node.filter.draw_once("trial", o.round, o.step, "a third")


# -- at the plan's second ----------------------------------------------------------------------------------------------


def test_a_mask_key_is_offered_at_the_plans_second_whether_or_not_it_was_drawn_before(room: Any) -> None:
    """First, again, after a restart: whoever asks cannot tell how long computing took, or whether it was done."""
    prepare = room.stopped_at(messages.Prepare)["alpha"]
    replies = [room.nodes["alpha"].answer(prepare), room.nodes["alpha"].answer(prepare)]
    replies.append(room.restart("alpha").answer(prepare))
    assert [answered.after_s for answered in replies] == [room.plan.answer_after_s] * 3
    assert len({messages.encode(answered.reply) for answered in replies}) == 1


def test_no_word_after_the_mask_key_waits_for_a_second(five: Any) -> None:
    """Nothing in them depends on the data."""
    kinds: dict[type, int] = {}

    def meddle(party: str, request: messages.Request) -> messages.Request:
        kinds[type(request)] = max(kinds.get(type(request), 0), five.nodes[party].answer(request).after_s)
        return request

    five.meddle = meddle
    five.run()
    assert kinds.pop(messages.Prepare) == five.plan.answer_after_s
    assert {messages.Agree, messages.Contribute, messages.Settle, messages.Unmask} <= set(kinds)
    assert set(kinds.values()) == {0}


def test_a_mask_key_leaves_the_process_at_the_plans_second(room: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What took a third of it waits for the rest; what was drawn before waits for nearly all of it."""
    prepare = room.stopped_at(messages.Prepare)["alpha"]
    waits: list[float] = []
    monkeypatch.setattr(app._stopping, "wait", lambda seconds: waits.append(seconds))
    times = iter([100.4, 200.001])
    monkeypatch.setattr(app.time, "monotonic", lambda: next(times))
    for began in (100.0, 200.0):
        app._wait_for_schedule(room.nodes["alpha"].answer(prepare), began)
    assert waits == pytest.approx([0.6, 0.999])


# -- forgotten when the round has ended --------------------------------------------------------------------------------


def on_disk(room: Any, party: str, raw: bytes) -> list[str]:
    return [path.name for path in (room.base / party).rglob("*") if path.is_file() and raw in path.read_bytes()]


@pytest.mark.parametrize("end", ["released", "forfeited"])
def test_what_was_drawn_is_forgotten_when_its_round_has_ended(room: Any, end: str) -> None:
    """And overwritten in the files: who finds them later, and kept what travelled, takes off no mask."""
    prepare = room.stopped_at(messages.Prepare)["alpha"]
    request = contribution(room, prepare)
    assert isinstance(room.say("alpha", request), messages.Share)
    root = root_of(room, "alpha", prepare.occasion)
    noised = room.nodes["alpha"].store.noised(prepare.occasion.round, prepare.occasion.step)
    assert on_disk(room, "alpha", root)
    if end == "released":
        room.run()
    else:
        room.ledger.forfeit(prepare.occasion.round, "deadline")
        room.ledger.countersign(room.ask, sorted(room.nodes), 5.0)
    for party in room.nodes:
        assert room.nodes[party].store.drawn_rounds() == []
    assert on_disk(room, "alpha", root) == on_disk(room, "alpha", noised) == []
    assert isinstance(room.say("alpha", request), messages.Refusal)
    assert isinstance(room.say("alpha", prepare), messages.Refusal)


def test_a_node_killed_before_it_forgot_forgets_when_it_starts(room: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room.nodes["alpha"].store, "forget_drawings", lambda _: None)
    room.run()
    assert len(room.nodes["alpha"].store.drawn_rounds()) == 1
    assert room.restart("alpha").store.drawn_rounds() == []


def test_what_was_drawn_for_an_open_round_is_not_forgotten(room: Any) -> None:
    prepare = room.stopped_at(messages.Prepare, nth=2)["alpha"]
    room.say("alpha", prepare)
    room.restart("alpha").steps.forget_ended()
    assert room.nodes["alpha"].store.drawn(prepare.occasion.round, prepare.occasion.step) is not None
