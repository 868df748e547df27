"""What a node does for a coordinator that lies: before the ledger says so it computes nothing, and noise comes once."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from party_node.filter import Filter
from party_node.node import Node
from protocols import messages
from protocols.encoding import canonical, parse
from protocols.errors import Refused, RoundEnded
from protocols.masking import agree
from protocols.questions import rfm
from tests.rounds.requests import another_key, contribution, next_step, unsigned_by, with_occasion

# -- before the reserve ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"round": "0" * 32}, "not open in this party's copy"),
        ({"plan": "0" * 64}, "not what its reserve says"),
        ({"nonce": "0" * 32}, "not what its reserve says"),
        ({"step": "rfm-cohorts"}, "not what its reserve says"),
        ({"attempt": 2}, "attempted once"),
        ({"room": "other"}, "asked for in another room"),
        ({"state": "0" * 64}, "starts from another release"),
    ],
)
def test_an_occasion_that_the_ledger_does_not_name_is_refused_before_anything_is_computed(
    room: Any, computed: list[str], changes: dict[str, Any], reason: str
) -> None:
    prepare = with_occasion(room.stopped_at(messages.Prepare)["beta"], **changes)
    o = prepare.occasion
    roster = {party: another_key(node.signing, party, o) for party, node in room.nodes.items()}
    for asked in (
        prepare,
        messages.Agree(occasion=o, roster=roster),
        messages.Contribute(occasion=o, roster=roster, agreements={}),
        messages.Settle(occasion=o, survivors=sorted(roster)),
        messages.Unmask(occasion=o, survivors=sorted(roster), signatures={}, boxes={}),
    ):
        reply = room.say("beta", asked)
        assert isinstance(reply, messages.Refusal)
        assert reason in reply.reason
    assert computed == []


@pytest.mark.parametrize("absent", [("alpha",), ("gamma",), ("alpha", "beta"), ("alpha", "beta", "gamma")])
def test_a_reserve_that_not_every_party_cosigned_gets_nothing_computed(
    room: Any, computed: list[str], absent: tuple[str, ...]
) -> None:
    prepare = room.stopped_at(messages.Prepare)["beta"]
    reply = room.say("beta", prepare.model_copy(update={"checkpoint": unsigned_by(prepare.checkpoint, *absent)}))
    assert isinstance(reply, messages.Refusal)
    assert "cosignature" in reply.reason
    assert computed == []


def test_a_reserve_that_a_node_has_not_seen_gets_no_mask_key_and_no_contribution(
    room: Any, computed: list[str]
) -> None:
    room.stopped_at(messages.Witness, nth=2)
    room.away = {"beta"}
    with pytest.raises(RoundEnded, match="beta"):
        room.ledger.countersign(room.ask, sorted(room.nodes), 5.0)
    prepare = next_step(room, room.book.sign_checkpoint(room.ledger.room.origin, room.ledger.identity))
    roster = {p: another_key(room.nodes[p].signing, p, prepare.occasion) for p in ("alpha", "beta", "gamma")}
    agree = messages.Agree(occasion=prepare.occasion, roster=roster)
    contribute = messages.Contribute(occasion=prepare.occasion, roster=roster, agreements={})
    for asked in (prepare, agree, contribute):
        reply = room.say("beta", asked)
        assert isinstance(reply, messages.Refusal)
        assert "not open in this party's copy" in reply.reason
    assert computed == []


def test_a_checkpoint_from_before_the_reserve_does_not_open_the_round(room: Any, computed: list[str]) -> None:
    room.run()
    before = len(computed)
    earlier = room.book.checkpoint()
    prepare = room.stopped_at(messages.Prepare)["alpha"]
    reply = room.say("alpha", prepare.model_copy(update={"checkpoint": earlier}))
    assert isinstance(reply, messages.Refusal)
    assert "does not cover" in reply.reason
    assert len(computed) == before


def test_for_an_expired_round_nothing_is_computed(room: Any, computed: list[str]) -> None:
    prepare = room.stopped_at(messages.Prepare)["alpha"]
    room.clock.now += room.plan.deadline_s + 61
    reply = room.say("alpha", prepare)
    assert isinstance(reply, messages.Refusal)
    assert "expired" in reply.reason
    assert computed == []


def test_for_a_round_that_is_not_in_the_partys_own_accounts_nothing_is_computed(
    room: Any, computed: list[str], tmp_path: Path
) -> None:
    prepare = room.stopped_at(messages.Prepare)["alpha"]
    node = room.nodes["alpha"]
    node.filter.close()
    node.filter = node.steps.filter = Filter(tmp_path / "other.db", 10**9)
    reply = room.say("alpha", prepare)
    assert isinstance(reply, messages.Refusal)
    assert "not charged in this party's budget" in reply.reason
    assert computed == []


def test_a_forfeited_round_gets_no_contribution(room: Any, computed: list[str]) -> None:
    prepare = room.stopped_at(messages.Prepare)["beta"]
    request = contribution(room, prepare)
    room.ledger.forfeit(request.occasion.round, "deadline")
    room.ledger.countersign(room.ask, sorted(room.nodes), 5.0)
    before = len(computed)
    agree = messages.Agree(occasion=request.occasion, roster=request.roster)
    for asked in (prepare, agree, request):
        reply, payload = room.share("alpha", asked)
        assert isinstance(reply, messages.Refusal)
        assert "not open" in reply.reason
        assert payload == b""
    assert len(computed) == before


def _without_gamma(room: Any, request: messages.Contribute) -> dict[str, Any]:
    return {party: key for party, key in request.roster.items() if party != "gamma"}


def _with_the_coordinators_key(room: Any, request: messages.Contribute) -> dict[str, Any]:
    return {**request.roster, "gamma": another_key(room.ledger.identity.ed25519, "gamma", request.occasion)}


def _with_one_key_twice(room: Any, request: messages.Contribute) -> dict[str, Any]:
    return {**request.roster, "gamma": request.roster["beta"]}


def _with_a_key_of_another_round(room: Any, request: messages.Contribute) -> dict[str, Any]:
    old = with_occasion(request, round="1" * 32).occasion
    return {**request.roster, "gamma": another_key(room.nodes["gamma"].signing, "gamma", old)}


def _with_another_key_of_its_own(room: Any, request: messages.Contribute) -> dict[str, Any]:
    return {**request.roster, "alpha": another_key(room.nodes["alpha"].signing, "alpha", request.occasion)}


@pytest.mark.parametrize(
    "bend",
    [
        _without_gamma,
        _with_the_coordinators_key,
        _with_one_key_twice,
        _with_a_key_of_another_round,
        _with_another_key_of_its_own,
    ],
)
def test_a_roster_that_the_parties_did_not_sign_for_this_occasion_gets_no_share(
    room: Any, bend: Callable[[Any, messages.Contribute], dict[str, Any]]
) -> None:
    """Whatever the others agree to: everybody else is in league here."""
    request = room.stopped_at(messages.Contribute)["alpha"]
    o, roster = request.occasion, bend(room, request)
    agreements = {party: agree(room.nodes[party].signing, party, o, roster) for party in roster}
    bent = messages.Contribute(occasion=o, roster=roster, agreements=agreements)
    reply, payload = room.share("alpha", bent)
    assert isinstance(reply, messages.Refusal)
    assert payload == b""
    assert room.nodes["alpha"].store.sent_share(o.round, o.step) is None


# -- one share ---------------------------------------------------------------------------------------------------------


def test_a_share_asked_again_is_the_same_bytes_and_its_noise_is_drawn_once(
    room: Any, lab: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = lab.NoNoise()
    monkeypatch.setattr("party_node.share.add_noise", draws)
    request = room.stopped_at(messages.Contribute)["alpha"]
    first = room.share("alpha", request)
    again = room.share("alpha", request)
    room.restart("alpha")
    later = room.share("alpha", request)
    room.clock.now += 10**6
    assert first == again == later == room.share("alpha", request)
    assert isinstance(first[0], messages.Share)
    assert len(draws.totals) == len(room.nodes)


def test_another_roster_for_a_step_that_was_answered_is_refused(room: Any, computed: list[str]) -> None:
    request = room.stopped_at(messages.Contribute)["alpha"]
    room.share("alpha", request)
    before, o = len(computed), request.occasion
    roster = {**request.roster, "beta": another_key(room.nodes["beta"].signing, "beta", o)}
    agreements = {party: agree(room.nodes[party].signing, party, o, roster) for party in roster}
    reply, payload = room.share("alpha", messages.Contribute(occasion=o, roster=roster, agreements=agreements))
    assert isinstance(reply, messages.Refusal)
    assert "to another request" in reply.reason
    assert payload == b""
    assert len(computed) == before


def test_a_share_that_cannot_be_made_again_as_it_was_does_not_leave(room: Any) -> None:
    """The kept sum is another than the one that was sent: somebody changed the file."""
    request = room.stopped_at(messages.Contribute)["alpha"]
    assert isinstance(room.say("alpha", request), messages.Share)
    with closing(sqlite3.connect(room.nodes["alpha"].store.state / "node.db")) as file:
        file.execute("DROP TRIGGER drawing_fixed")
        file.execute("UPDATE drawing SET noised = zeroblob(length(noised))")
        file.commit()
    assert room.share("alpha", request) == (messages.Refusal(code="round", reason="failed"), b"")


# -- the data are wrong ------------------------------------------------------------------------------------------------


def _changed(room: Any, _: pytest.MonkeyPatch) -> None:
    from_lab = next((room.base / "beta" / "state").glob("snapshot-*.parquet"))
    data = bytearray(from_lab.read_bytes())
    data[len(data) // 2] ^= 1
    from_lab.write_bytes(bytes(data))


def _gone(room: Any, _: pytest.MonkeyPatch) -> None:
    next((room.base / "beta" / "state").glob("snapshot-*.parquet")).unlink()


def _raising(room: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = rfm.bin_rows
    rows = room.nodes["beta"].store.dataset().snapshot

    def broken(plan: Any, people: Any) -> Any:
        if room.answering == "beta":
            raise ValueError(f"customer beta-17 of {rows} broke the question")
        return real(plan, people)

    monkeypatch.setattr(rfm, "bin_rows", broken)


@pytest.mark.parametrize("spoil", [_changed, _gone, _raising])
def test_data_that_fail_a_check_send_noise_over_zeros_and_nobody_can_tell(
    room: Any,
    lab: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Any, pytest.MonkeyPatch], None],
) -> None:
    caplog.set_level(logging.DEBUG)
    totals: dict[str, Any] = {}

    def noiseless(total: Any, **_: int) -> Any:
        totals.setdefault(room.answering, total.copy())
        return total

    def watch(party: str, request: messages.Request) -> messages.Request:
        room.answering = party
        return request

    monkeypatch.setattr("party_node.share.add_noise", noiseless)
    room.answering, room.meddle = "", watch
    spoil(room, monkeypatch)
    released = room.run()
    assert not np.any(totals["beta"])
    assert all(np.any(totals[party]) for party in ("alpha", "gamma"))
    assert sum(totals.values()).tolist() == released[0].body_.noised
    offers = [messages.read_reply(one.reply).body() for one in room.sent(messages.Prepare)[:3]]
    assert len({frozenset(offer) for offer in offers}) == len({len(str(offer["key"])) for offer in offers}) == 1
    shares = {one.party: one for one in room.sent(messages.Contribute)[:3]}
    assert len({len(one.payload) for one in shares.values()}) == 1
    assert len({len(one.reply) - len(one.party) for one in shares.values()}) == 1
    replies = {party: messages.read_reply(one.reply).body() for party, one in shares.items()}
    assert replies["alpha"].keys() == replies["beta"].keys() == replies["gamma"].keys()
    assert "for this operator only" in caplog.text
    assert "beta-17" not in caplog.text


# -- the process -------------------------------------------------------------------------------------------------------


def test_a_share_that_could_not_be_kept_is_answered_in_one_word(room: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    request = room.stopped_at(messages.Contribute)["alpha"]
    node = room.nodes["alpha"]
    monkeypatch.setattr(node.store, "add_sent_share", _full)
    answered = node.answer(request)
    assert (answered.reply, answered.payload) == (messages.Refusal(code="round", reason="failed"), b"")
    monkeypatch.undo()
    assert isinstance(room.say("alpha", request), messages.Share)  # there is room again


def _full(*_: object) -> None:
    raise OSError("customer 17: no space left on the disk")


def test_consent_taken_back_in_the_middle_of_a_round_stops_its_steps(room: Any, computed: list[str]) -> None:
    prepare = room.stopped_at(messages.Prepare)["beta"]
    request = contribution(room, prepare)
    room.nodes["alpha"].config.path("consent").write_text('default = "deny"\n')
    before, named = len(computed), sorted(request.roster)
    settle = messages.Settle(occasion=request.occasion, survivors=named)
    unmask = messages.Unmask(occasion=request.occasion, survivors=named, signatures={}, boxes={})
    for asked in (prepare, request, settle, unmask):
        reply = room.say("alpha", asked)
        assert isinstance(reply, messages.Refusal)
        assert "it is denied" in reply.reason
    assert len(computed) == before


def test_a_kept_release_that_is_not_what_the_ledger_says_is_not_computed_from(
    room: Any, computed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    request = room.stopped_at(messages.Prepare, nth=2)["alpha"]
    store, before = room.nodes["alpha"].store, len(computed)
    document = parse(store.release(request.occasion.round, "rfm-cuts"))
    document["body"]["salt"] = "ab" * 32
    monkeypatch.setattr(store, "release", lambda *_: canonical(document))
    reply = room.say("alpha", request)
    assert isinstance(reply, messages.Refusal)
    assert "is not what the ledger says" in reply.reason
    assert len(computed) == before


def test_what_a_node_keeps_cannot_be_changed_or_taken_out_in_its_file(room: Any) -> None:
    room.run()
    with closing(sqlite3.connect(room.nodes["alpha"].store.state / "node.db")) as file:
        for table in ("plan", "dataset", "agreement", "sent_share", "egress", "release"):
            for statement in (f"UPDATE {table} SET rowid = rowid", f"DELETE FROM {table}"):
                with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                    file.execute(statement)


def test_a_second_process_of_a_node_is_refused(room: Any) -> None:
    with pytest.raises(Refused, match="another process of this node"):
        Node(room.nodes["alpha"].config, room.clock)


def test_a_node_that_starts_again_before_every_word_goes_on_where_it_was(room: Any) -> None:
    restarted: list[str] = []

    def meddle(party: str, request: messages.Request) -> messages.Request:
        if party == "beta":
            restarted.append(request.type)
            room.restart("beta")
        return request

    room.meddle = meddle
    assert len(room.run()) == 2
    assert len(restarted) >= 12
