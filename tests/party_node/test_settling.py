"""Who survived a step is settled once, in two files; of each party's two secrets a node gives out pieces of one."""

from __future__ import annotations

import shutil
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from coordinator import release
from party_node.config import Config
from party_node.filter import Filter
from party_node.node import Node
from party_node.store import Store
from protocols import keys, messages, recovery
from protocols.budget import recovery_threshold
from protocols.errors import Refused
from protocols.masking import Secrets
from tests.rounds import lab as rooms
from tests.rounds.requests import contribution

FIVE = sorted(rooms.FIVE)
WITHOUT_DELTA = [party for party in FIVE if party != "delta"]
BEFORE = "other survivors were settled before"


def refused(reply: messages.Reply, words: str) -> None:
    assert isinstance(reply, messages.Refusal), reply
    assert words in reply.reason, reply.reason


@pytest.fixture
def shared(five: Any) -> Any:
    """Every share of the first step is in. `five.settle`: what comes next."""
    five.settle = five.stopped_at(messages.Settle)["alpha"]
    return five


def circle_of(room: Any, request: messages.Contribute) -> recovery.Circle:
    return recovery.Circle(request.occasion, request.roster, FIVE, recovery_threshold(5, room.plan.collusion))


def pieces_of(room: Any, request: messages.Contribute, dealer: str, helper: str) -> dict[str, str]:
    """What `dealer` dealt to `helper`: key and seed."""
    o = request.occasion
    found = room.nodes[dealer].store.drawn(o.round, o.step)
    raw = recovery.Dealer(circle_of(room, request), dealer, Secrets(found[1], o, True))._pieces(helper)
    return {"key": keys.base64_text(raw[:32]), "seed": keys.base64_text(raw[32:])}


def sent_request(room: Any, party: str = "alpha") -> messages.Contribute:
    (one,) = [one for one in room.sent(messages.Contribute) if one.party == party]
    asked = messages.read_request(one.request)
    assert isinstance(asked, messages.Contribute)
    return asked


def boxes_for(room: Any, helper: str) -> dict[str, str]:
    """What everybody sealed for this party."""
    dealt = {one.party: messages.read_reply(one.reply) for one in room.sent(messages.Agree)}
    return {party: said.boxes[helper] for party, said in dealt.items() if helper in said.boxes}  # type: ignore[union-attr]


def unmasking(room: Any, survivors: list[str], helper: str, *signers: str) -> messages.Unmask:
    """Asked after these signers, or all survivors, have settled."""
    settle = room.settle.model_copy(update={"survivors": survivors})
    signed = {party: room.say(party, settle).signature for party in signers or survivors}
    boxes = boxes_for(room, helper)
    return messages.Unmask(occasion=settle.occasion, survivors=survivors, signatures=signed, boxes=boxes)


# -- once --------------------------------------------------------------------------------------------------------------


def test_survivors_are_settled_once_and_to_the_same_ones_again(shared: Any) -> None:
    first = shared.say("alpha", shared.settle)
    assert isinstance(first, messages.Settled)
    second = shared.settle.model_copy(update={"survivors": WITHOUT_DELTA})
    for _ in range(2):
        assert shared.say("alpha", shared.settle) == first
        refused(shared.say("alpha", second), BEFORE)
        shared.restart("alpha")


@pytest.mark.parametrize("kept", ["state", "accounts.db"])
def test_survivors_are_settled_in_two_places_of_which_one_is_enough(shared: Any, tmp_path: Path, kept: str) -> None:
    """Whichever of state and accounts is put back alone: the other has not forgotten."""
    home = shared.base / "alpha"
    shutil.copytree(home, tmp_path / "older")
    first = shared.say("alpha", shared.settle)
    shared.nodes["alpha"].close()
    older = "accounts.db" if kept == "state" else "state"
    for path in home.glob(f"{older}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in (tmp_path / "older").glob(f"{older}*"):
        shutil.copytree(path, home / path.name) if path.is_dir() else shutil.copy(path, home)
    shared.nodes["alpha"] = Node(Config.load(home / "node.toml"), shared.clock)
    refused(shared.say("alpha", shared.settle.model_copy(update={"survivors": WITHOUT_DELTA})), BEFORE)
    assert shared.say("alpha", shared.settle) == first


def test_the_accounts_keep_one_set_of_survivors_for_each_step(tmp_path: Path) -> None:
    filter_ = Filter(tmp_path / "accounts.db", 1)
    filter_.settle_once("trial", "1" * 32, "cuts", ["beta", "alpha"])
    filter_.settle_once("trial", "1" * 32, "cuts", ["alpha", "beta"])
    filter_.settle_once("trial", "1" * 32, "cohorts", ["alpha"])
    filter_.settle_once("other", "1" * 32, "cuts", ["alpha"])
    with pytest.raises(Refused, match=BEFORE):
        filter_.settle_once("trial", "1" * 32, "cuts", ["alpha"])
    filter_.close()


def test_the_state_keeps_one_set_of_survivors_for_each_step(tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    store.settle_once("1" * 32, "cuts", ["beta", "alpha"])
    store.settle_once("1" * 32, "cuts", ["alpha", "beta"])
    with pytest.raises(Refused, match=BEFORE):
        store.settle_once("1" * 32, "cuts", ["alpha"])
    assert store.settled("1" * 32, "cuts") == ["alpha", "beta"]
    assert store.settled("1" * 32, "cohorts") is None
    store.close()


def test_what_was_settled_is_on_the_disk_before_it_is_signed(shared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    node = shared.nodes["alpha"]

    def stop(*_: object) -> None:
        raise rooms.Stop

    monkeypatch.setattr("party_node.participation.recovery.settle", stop)
    with pytest.raises(rooms.Stop):
        node.answer(shared.settle)
    monkeypatch.undo()
    refused(shared.say("alpha", shared.settle.model_copy(update={"survivors": WITHOUT_DELTA})), BEFORE)


# -- what is given out -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("survivors", [FIVE, WITHOUT_DELTA], ids=["nobody is lost", "one is lost"])
def test_of_a_survivor_a_piece_of_its_seed_is_given_out_and_of_a_lost_party_one_of_its_key(
    shared: Any, survivors: list[str]
) -> None:
    asked = unmasking(shared, survivors, "alpha")
    given = shared.say("alpha", asked)
    assert isinstance(given, messages.Unmasked)
    request = sent_request(shared)
    for peer in FIVE:
        kind = "seed" if peer in survivors else "key"
        assert given.pieces[peer] == pieces_of(shared, request, peer, "alpha")[kind]
    assert shared.say("alpha", asked) == given
    shared.restart("alpha")
    assert shared.say("alpha", asked) == given


def test_whoever_is_asked_for_pieces_has_settled_with_that(shared: Any) -> None:
    """Alpha was never asked to settle; four others have."""
    asked = unmasking(shared, FIVE, "alpha", "beta", "delta", "epsilon", "gamma")
    assert isinstance(shared.say("alpha", asked), messages.Unmasked)
    refused(shared.say("alpha", shared.settle.model_copy(update={"survivors": WITHOUT_DELTA})), BEFORE)


def test_pieces_for_others_than_those_this_party_settled_are_not_given_out(shared: Any) -> None:
    """Four survivors have truly signed, and alpha is one of these survivors; but it has settled all five."""
    assert isinstance(shared.say("alpha", shared.settle), messages.Settled)
    without = [party for party in FIVE if party != "epsilon"]
    group = {party: sent_request(shared).roster[party] for party in FIVE}
    o, signing = shared.settle.occasion, {party: node.signing for party, node in shared.nodes.items()}
    signed = {party: recovery.settle(signing[party], party, o, group, without) for party in without}
    boxes = boxes_for(shared, "alpha")
    refused(shared.say("alpha", messages.Unmask(occasion=o, survivors=without, signatures=signed, boxes=boxes)), BEFORE)


def test_where_nobody_may_be_lost_nothing_is_settled_or_given_out(room: Any) -> None:
    prepare = room.stopped_at(messages.Prepare)["alpha"]
    request = contribution(room, prepare)
    assert isinstance(room.say("alpha", request), messages.Share)
    o, named = request.occasion, sorted(request.roster)
    agreed = room.say("alpha", messages.Agree(occasion=o, roster=request.roster))
    assert isinstance(agreed, messages.Agreed)
    assert agreed.boxes == {}
    for asked in (
        messages.Settle(occasion=o, survivors=named),
        messages.Unmask(occasion=o, survivors=named, signatures={}, boxes={}),
    ):
        refused(room.say("alpha", asked), "nobody can be lost")
    assert room.nodes["alpha"].store.settled(o.round, o.step) is None


def test_a_commit_that_names_others_than_were_settled_is_not_cosigned(five: Any) -> None:
    """The coordinator writes that delta was lost; everybody has settled that it was not."""
    five.stopped_at(messages.Unmask)
    (round_,) = five.book.accounts.rounds.values()
    step = round_.reserve.steps[0]
    assert five.nodes["alpha"].store.settled(round_.reserve.round, step.step) == FIVE
    slots = len(five.plan.step(step.step)[0].statistic.slots)
    entry, _, _ = release.commit(
        five.plan,
        round_id=round_.reserve.round,
        step=step.step,
        nonce=step.nonce,
        noised=np.arange(slots) + 100,
        survivors=WITHOUT_DELTA,
        earlier={},
    )
    five.ledger.append([entry])
    size = five.nodes["alpha"].book.size
    growth = messages.Witness(
        old_size=size,
        entries=[data.decode() for data in five.book.entries(size)],
        proof=[keys.base64_text(one) for one in five.book.consistency(size, five.book.size)],
        checkpoint=five.book.sign_checkpoint(five.ledger.room.origin, five.ledger.identity),
    )
    for party in FIVE:
        refused(five.say(party, growth), f"the commit of step {step.step} names other survivors than were settled")
        assert five.nodes[party].book.size == size
    # a state that has forgotten what it settled: the accounts have not
    five.nodes["alpha"].store.settled = lambda *_: None
    refused(five.say("alpha", growth), f"the commit of step {step.step} names other survivors than were settled")


# -- both kinds of one secret ------------------------------------------------------------------------------------------

SETS = [FIVE] + [[party for party in FIVE if party != lost] for lost in FIVE]
HONEST = [party for party in FIVE if party != "epsilon"]  # which is in league with the coordinator
some_set, some_group = st.sampled_from(SETS[:3]), st.sampled_from([FIVE, FIVE, SETS[1]])
some_party = st.sampled_from(HONEST)


class Coordinator(RuleBasedStateMachine):
    """It has epsilon's keys, picks groups, survivors and signatures as it likes, restarts nodes, and collects."""

    template = ""

    @initialize()
    def open(self) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="settling-"))
        self.room = rooms.Room(rooms.copy(Path(self.template), self.place / "trial"), rooms.plan(**rooms.FOUR_OF_FIVE))
        self.request = contribution(self.room, self.room.stopped_at(messages.Prepare)["alpha"])
        self.signed: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
        self.given: dict[tuple[str, str], set[str]] = defaultdict(set)  # (helper, peer) → the pieces it gave out
        self.kinds: dict[tuple[str, str], set[str]] = defaultdict(set)  # (peer, kind) → helpers
        for dealer in FIVE:
            for kind in ("key", "seed"):
                self.kinds[dealer, kind].add("epsilon")

    def teardown(self) -> None:
        if hasattr(self, "room"):
            self.room.__exit__()
            shutil.rmtree(self.place)

    @rule(party=some_party, group=some_group)
    def contribute(self, party: str, group: list[str]) -> None:
        agreements = {one: self.request.agreements[one] for one in group}
        self.room.say(party, self.request.model_copy(update={"agreements": agreements}))

    @rule(group=some_group)
    def contribute_all(self, group: list[str]) -> None:
        for party in HONEST:
            self.contribute(party, group)

    @rule(party=some_party, survivors=some_set)
    def settle(self, party: str, survivors: list[str]) -> None:
        said = self.room.say(party, messages.Settle(occasion=self.request.occasion, survivors=survivors))
        if isinstance(said, messages.Settled):
            self.signed[tuple(survivors)][party] = said.signature

    @rule(survivors=some_set, group=some_group)
    def go_through(self, survivors: list[str], group: list[str]) -> None:
        """All that an honest coordinator does, for what it says at this moment."""
        self.contribute_all(group)
        for party in HONEST:
            self.settle(party, survivors)
        self.unmask(survivors, group)

    @rule(survivors=some_set, group=some_group)
    def unmask(self, survivors: list[str], group: list[str]) -> None:
        shown = {one: self.request.roster[one] for one in group}
        false = recovery.settle(self.room.nodes["epsilon"].signing, "epsilon", self.request.occasion, shown, survivors)
        signatures = {**self.signed[tuple(survivors)], **({"epsilon": false} if "epsilon" in survivors else {})}
        for helper in HONEST:
            said = self.room.say(
                helper,
                messages.Unmask(
                    occasion=self.request.occasion,
                    survivors=survivors,
                    signatures=signatures,
                    boxes=boxes_for(self.room, helper),
                ),
            )
            if isinstance(said, messages.Unmasked):
                for peer, piece in said.pieces.items():
                    self.given[helper, peer].add(piece)
                    for kind, true in pieces_of(self.room, self.request, peer, helper).items():
                        if piece == true:
                            self.kinds[peer, kind].add(helper)

    @rule(party=some_party)
    def restart(self, party: str) -> None:
        self.room.restart(party)

    @invariant()
    def one_piece_of_each_secret_from_each_helper(self) -> None:
        if hasattr(self, "room"):
            assert all(len(pieces) == 1 for pieces in self.given.values())
            for peer in FIVE:
                have = [len(self.kinds[peer, kind]) for kind in ("key", "seed")]
                assert min(have) < recovery_threshold(5, 1), (peer, have)


@pytest.fixture
def evil(template_of_five: Path, monkeypatch: pytest.MonkeyPatch) -> type[Coordinator]:
    monkeypatch.setattr(Coordinator, "template", str(template_of_five))
    return Coordinator


def test_no_sequence_of_requests_brings_out_both_secrets_of_a_party(evil: type[Coordinator]) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        evil,
        settings=settings(
            max_examples=16, stateful_step_count=8, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
