"""A node during a round: for each step it draws once, agrees to the roster of all keys, masks, and helps to unmask.

Every check here uses public state and this party's own copies. What depends on the data happens in `contribution.py`,
which always has an answer, and shows in no other message than the offer of a mask key, at the plan's second.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols import budget, messages, recovery
from protocols import release as releases
from protocols.encoding import canonical, digest
from protocols.errors import IntegrityError, Refused
from protocols.ledger.entries import Commit, Step
from protocols.ledger.state import Round, state_of
from protocols.logbook import Logbook
from protocols.masking import (
    MaskKey,
    Occasion,
    Secrets,
    agree,
    agreeing,
    check_agreements,
    check_own,
    check_roster,
    roster_digest,
)
from protocols.plan import Plan
from protocols.room import Room

from . import refunds, share, witness
from .caps import own_digest
from .contribution import contribute
from .filter import Filter
from .standing import Standing
from .store import Dataset, Store

log = logging.getLogger("sumroom.party")


@dataclass(frozen=True)
class Answered:
    """A reply, beside it the words of a share, and how many seconds after the request it is to be sent.

    logged   whether the log of what was sent has it already
    """

    reply: messages.Reply
    payload: bytes = b""
    after_s: int = 0
    logged: bool = False


class Participation:
    """One party's part in the rounds of its room. `clock`: unix seconds."""

    def __init__(self, *, standing: Standing, party: str, store: Store, filter_: Filter,
                 book: Logbook, clock: Callable[[], float], check_consent: Callable[[Plan, str], None]
                 ) -> None:  # fmt: skip
        """`check_consent` raises Refused where this round of a plan is no longer consented to."""
        self.standing, self.party = standing, party
        self.store, self.filter, self.book, self.clock = store, filter_, book, clock
        self._check_consent = check_consent

    @property
    def room(self) -> Room:
        return self.standing.room

    @property
    def signing(self) -> Ed25519PrivateKey:
        return self.standing.signing

    def prepare(self, request: messages.Prepare) -> Answered:
        """
        1. the round is open in this party's copy of the ledger, this step is next, plan and nonce are its own
        2. the reserve is cosigned by every party, and final in this party's own budget
        3. earlier releases of the round are here and are what the ledger says, and so is the reserve's dataset
        4. what was drawn before is used again; otherwise compute, bound, draw the noise, and keep it with fresh secrets
        5. the keys that follow from these secrets are offered at the plan's second

        In (4) and (5) whatever happens is answered at that second too, an error as well: when it comes would tell how
        long computing took, or whether it was done before.
        """
        # (1)
        o = request.occasion
        round_, plan = self.my_step(o)
        if plan.step(o.step)[0].made != "sum":  # noise over zeros would be what its dummies are counted by
            raise Refused(f"step {o.step} is no sum")
        # (2)
        self.check_paid(o, round_, request.checkpoint)
        # (3)
        earlier = self.earlier(round_)
        dataset = self.dataset_of(round_)
        if self.store.drawn(o.round, o.step) is None:
            self.filter.check_undrawn(self.room.room, o.round, o.step)
        try:
            # (4)
            own = self.drawn(o, recoverable=_recoverable(round_)) or self._draw(o, plan, round_, earlier, dataset)
            # (5)
            key = own.offer(self.signing, self.party)
            self.filter.draw_once(self.room.room, o.round, o.step, key.public)
        except Exception as exc:  # noqa: BLE001 - a full disk, a fault of ours: outside, all of them look alike
            log.error("step %s: nothing could be drawn and kept: %s", o.step, type(exc).__name__)
            return Answered(messages.Refusal(code="round", reason=messages.FAILED), after_s=plan.answer_after_s)
        return Answered(messages.MaskOffer(party=self.party, key=key), after_s=plan.answer_after_s)

    def agree(self, request: messages.Agree) -> messages.Agreed:
        """
        1. the round is open in this party's copy of the ledger, this step is next, plan and nonce are its own
        2. the roster is signed by enough of those that contribute, and shows this party's own key as it offered it
        3. it is the only one that this party ever agreed to for this attempt: kept, then signed
        4. where a party may be lost, the pieces of this party's secrets, sealed for the others
        """
        # (1)
        o = request.occasion
        round_ = self._open_step(o)
        # (2)
        named = sorted(request.roster)
        self._check_roster(request, round_)
        own = None
        if self.party in named:
            own = self._own(o, round_)
            check_own(request.roster, self.party, own.offer(self.signing, self.party))
        elif self.party not in agreeing(named, self.room.parties):
            raise Refused(f"round {o.round[:8]} does not ask this party")
        # (3)
        self.store.agree_once(o.round, o.step, o.attempt, roster_digest(request.roster))
        signature = agree(self.signing, self.party, o, request.roster)
        # (4)
        boxes = {}
        if own is not None and own.recoverable:
            boxes = recovery.Dealer(_circle(o, request.roster, round_), self.party, own).deal()
        return messages.Agreed(party=self.party, signature=signature, boxes=boxes)

    def contribute(self, request: messages.Contribute) -> Answered:
        """
        1. the round is open in this party's copy of the ledger, this step is next, plan and nonce are its own
        2. this party has agreed to this roster, and so have enough of those in it
        3. one share leaves for a step: to the same request the same again, byte for byte, to another one none
        4. mask, sign; journal
        """
        # (1)
        o = request.occasion
        round_, _ = self.my_step(o)
        # (2)
        known = digest(request_bytes := messages.encode(request))
        self._check_contribute(request, round_)
        # (3)
        sent = self.store.sent_share(o.round, o.step)
        if sent is not None and digest(sent[0]) != known:
            raise Refused(f"step {o.step} of round {o.round[:8]} was answered, to another request")
        own = self._own(o, round_)
        check_own(request.roster, self.party, own.offer(self.signing, self.party))
        # (4)
        try:
            group = {party: request.roster[party] for party in request.roster if party in request.agreements}
            noised = np.frombuffer(self.store.noised(o.round, o.step), dtype="<i8")
            built = share.build(noised, own, party=self.party, signing=self.signing, group=group)
            reply = messages.encode(built.share)
            if sent is None:
                self.store.add_sent_share(o.round, o.step, request_bytes, reply, int(self.clock()))
            elif sent[1] != reply:
                raise IntegrityError("the share that was sent cannot be made again")
        except Exception as exc:  # noqa: BLE001 - a full disk, a fault of ours: outside, all of them look alike
            log.error("step %s: no share could be kept: %s", o.step, type(exc).__name__)
            return Answered(messages.Refusal(code="round", reason=messages.FAILED))
        return Answered(built.share, built.payload, logged=sent is None)

    def settle(self, request: messages.Settle) -> messages.Settled:
        """
        1. this party has sent its share for this open step
        2. the survivors are among those who masked with one another, it is one of them, and they are enough
        3. they are the only ones that this party ever settles for the step: kept, in two places, then signed
        """
        # (1)
        o = request.occasion
        round_, _ = self.my_step(o)
        roster, group = self._sent(o)
        # (2) and (3)
        self._settle(o, round_, group, request.survivors)
        shown = {party: roster[party] for party in group}
        signature = recovery.settle(self.signing, self.party, o, shown, request.survivors)
        return messages.Settled(party=self.party, signature=signature)

    def unmask(self, request: messages.Unmask) -> messages.Unmasked:
        """
        1. this party has sent its share for this open step
        2. so many survivors signed that no others can be settled; nor has this party settled others
        3. of each that masked one piece is given out: of its seed where it survived, of its key where it is lost
        """
        # (1)
        o = request.occasion
        round_, _ = self.my_step(o)
        roster, group = self._sent(o)
        # (2)
        shown, circle = {party: roster[party] for party in group}, _circle(o, roster, round_)
        survivors = request.survivors
        self._check_survivors(round_, group, survivors)
        identities = {party: self.room.identities[party] for party in survivors}
        recovery.check_settled(request.signatures, identities, o, shown, survivors, circle.threshold)
        self._settle(o, round_, group, survivors)
        # (3)
        dealer = recovery.Dealer(circle, self.party, self._own(o, round_))
        return messages.Unmasked(party=self.party, pieces=dealer.give_out(request.boxes, survivors, group))

    def check_settled(self, commit: Commit) -> None:
        """Raise Refused for a commit that names other survivors than this party settled for its step."""
        kept = (
            self.store.settled(commit.round, commit.step),
            self.filter.settled(self.room.room, commit.round, commit.step),
        )
        if any(settled is not None and settled != list(commit.survivors) for settled in kept):
            raise Refused(f"the commit of step {commit.step} names other survivors than were settled")

    def forget_ended(self) -> None:
        """Drop what was drawn for rounds that have ended: nothing is sent for them any more."""
        for round_id in self.store.drawn_rounds():
            known = self.book.accounts.rounds.get(round_id)
            if known is not None and known.state != "open":
                self.store.forget_drawings(round_id)

    # -- what was drawn ------------------------------------------------------------------------------------------------

    def _draw(
        self, occasion: Occasion, plan: Plan, round_: Round, earlier: dict[str, Any], dataset: Dataset
    ) -> Secrets:
        step, mechanism = plan.step(occasion.step)
        contribution = contribute(plan, step, earlier, dataset, self.store.state, self.party)
        if contribution.fault:
            log.error("for this operator only: step %s: %s", occasion.step, contribution.fault)
        noised = share.draw(contribution.total, mechanism, step.statistic.own(self.party))
        own = Secrets.fresh(occasion, recoverable=_recoverable(round_))
        words = noised.astype("<i8", copy=False).tobytes()
        alone = own_digest(step.statistic, self.party, noised)
        kept = (occasion.round, occasion.step, _key(occasion), own.root, words, alone)
        self.store.add_drawing(*kept, failed=contribution.failed)
        return own

    def drawn(self, occasion: Occasion, *, recoverable: bool = False) -> Secrets | None:
        """The secrets that were kept with what was drawn for this occasion."""
        drawn = self.store.drawn(occasion.round, occasion.step)
        if drawn is None:
            return None
        if drawn[0] != _key(occasion):
            raise Refused(f"step {occasion.step} of round {occasion.round[:8]}: noise was drawn for another occasion")
        return Secrets(drawn[1], occasion, recoverable)

    def _own(self, occasion: Occasion, round_: Round) -> Secrets:
        own = self.drawn(occasion, recoverable=_recoverable(round_))
        if own is None:
            raise Refused(
                f"step {occasion.step} of round {occasion.round[:8]}: this node has offered no mask key for it"
            )
        return own

    # -- what is checked -----------------------------------------------------------------------------------------------

    def _check_roster(self, request: messages.Agree | messages.Contribute, round_: Round) -> None:
        named = sorted(request.roster)
        self._check_named(named, round_)
        identities = {party: self.room.identities[party] for party in named}
        check_roster(request.roster, identities, request.occasion, recoverable=_recoverable(round_))

    def _check_contribute(self, request: messages.Contribute, round_: Round) -> None:
        o, roster, identities = request.occasion, request.roster, self.room.identities
        named = sorted(roster)
        # A roster that this party has agreed to, it has checked; a node put back to before that checks it again.
        if self.store.agreed(o.round, o.step, o.attempt) != roster_digest(roster):
            self._check_roster(request, round_)
        agreed = agreeing(named, self.room.parties)
        if _recoverable(round_):  # who agreed and who was lost before it could
            agreed = sorted(set(request.agreements) & set(agreed))
            self._check_named(agreed, round_)
            if self.party not in agreed:
                raise Refused(f"step {o.step} of round {o.round[:8]}: this party is not among those who agreed")
        check_agreements(request.agreements, {p: identities[p] for p in agreed}, o, roster)

    def _check_named(self, named: list[str], round_: Round) -> None:
        """Raise IntegrityError for strangers to the step, or fewer than its quorum: a small group hides nobody."""
        mechanism = _next(round_).mechanism
        if not set(named) <= set(mechanism.adders) or len(named) < mechanism.quorum:
            raise IntegrityError("the roster of mask keys does not name exactly the contributing parties")

    def _sent(self, occasion: Occasion) -> tuple[dict[str, Any], list[str]]:
        """The roster with which this party's share of a step was masked, and who of it masked with one another."""
        sent = self.store.sent_share(occasion.round, occasion.step)
        request = None if sent is None else messages.read_request(sent[0])
        if not isinstance(request, messages.Contribute) or request.occasion != occasion:
            raise Refused(f"step {occasion.step} of round {occasion.round[:8]}: this node has sent no share for it")
        return dict(request.roster), sorted(request.agreements)

    def _settle(self, occasion: Occasion, round_: Round, group: list[str], survivors: list[str]) -> None:
        self._check_survivors(round_, group, survivors)
        self.store.check_settled(occasion.round, occasion.step, survivors)  # before the accounts note anything
        self.filter.settle_once(self.room.room, occasion.round, occasion.step, survivors)
        self.store.settle_once(occasion.round, occasion.step, survivors)

    def _check_survivors(self, round_: Round, group: list[str], survivors: list[str]) -> None:
        mechanism = _next(round_).mechanism
        if not _recoverable(round_):
            raise Refused("this plan needs every party's share: nobody can be lost")
        if survivors != sorted(set(survivors)) or not set(survivors) <= set(group) or self.party not in survivors:
            raise IntegrityError("the survivors are not some of those who masked, this party among them")
        if len(survivors) < mechanism.quorum:
            raise Refused(f"{len(survivors)} survivors, fewer than the quorum of {mechanism.quorum}")

    def my_step(self, occasion: Occasion) -> tuple[Round, Plan]:
        """`_open_step`, of a round that this party contributes to, and still consents to; and its plan."""
        round_ = self._open_step(occasion)
        if self.party not in round_.reserve.charge:
            raise Refused(f"round {occasion.round[:8]} does not ask this party")
        plan = self.plan(occasion.plan)
        self._check_consent(plan, occasion.round)
        return round_, plan

    def _open_step(self, occasion: Occasion) -> Round:
        """The round of this occasion, if it is open here and this step of this plan is its next."""
        round_ = self.book.accounts.rounds.get(occasion.round)
        if round_ is None or round_.state != "open":
            raise Refused(f"round {occasion.round[:8]} is not open in this party's copy of the ledger")
        refunds.check_open(occasion.round, room=self.room.room, store=self.store, filter_=self.filter)
        if occasion.room != self.room.room:
            raise Refused(f"round {occasion.round[:8]} is asked for in another room")
        step = round_.reserve.steps[len(round_.commits)]
        if (occasion.plan, occasion.step, occasion.nonce) != (round_.reserve.plan, step.step, step.nonce):
            raise Refused(f"round {occasion.round[:8]}: plan, step or nonce is not what its reserve says is next")
        if occasion.state != state_of(round_):
            raise Refused(f"round {occasion.round[:8]}: the step starts from another release than this copy's last")
        if occasion.attempt != 1:
            raise Refused("a step is attempted once")
        return round_

    def check_paid(self, occasion: Occasion, round_: Round, checkpoint: str) -> None:
        """Raise Refused unless all have cosigned the reserve, it is final in this party's budget, and not expired."""
        witness.check_covered(checkpoint, book=self.book, entry=round_.reserve.seq)
        if not self.filter.is_spent(self.room.room, occasion.round):
            raise Refused(f"round {occasion.round[:8]} is not charged in this party's budget")
        if round_.reserve.expires < int(self.clock()):
            raise Refused(f"round {occasion.round[:8]} expired at {round_.reserve.expires}")

    def dataset_of(self, round_: Round) -> Dataset:
        """The dataset that the round's reserve names. Raises Refused."""
        dataset = self.store.dataset(round_.reserve.datasets[self.party])
        if dataset is None:
            raise Refused("the reserve names a dataset that is not registered here")
        return dataset

    def earlier(self, round_: Round) -> dict[str, Any]:
        """What the round's earlier steps released, by step, from the releases whose digests are in the ledger."""
        answers: dict[str, Any] = {}
        for commit in round_.commits:
            document = self.store.release(commit.round, commit.step)
            if document is None:
                raise Refused(f"the release of step {commit.step} has not been delivered to this party")
            body = releases.read(document).body_
            if body.digest != commit.digest:
                raise IntegrityError(f"the stored release of step {commit.step} is not what the ledger says")
            answers[commit.step] = body.released
        return answers

    def plan(self, plan_digest: str) -> Plan:
        """A plan that was approved here. Raises Refused for any other."""
        body = self.store.plan(plan_digest)
        if body is None:
            raise Refused(f"plan {plan_digest[:12]}… was not approved here")
        return Plan.from_bytes(body)


def _next(round_: Round) -> Step:
    """The step of an open round that comes next."""
    return round_.reserve.steps[len(round_.commits)]


def _recoverable(round_: Round) -> bool:
    """Whether a party of the next step may be lost: it has more that contribute than it needs."""
    mechanism = _next(round_).mechanism
    return mechanism.quorum < len(mechanism.adders)


def _circle(occasion: Occasion, roster: Mapping[str, MaskKey], round_: Round) -> recovery.Circle:
    mechanism = _next(round_).mechanism
    threshold = budget.recovery_threshold(len(mechanism.adders), mechanism.collusion)
    return recovery.Circle(occasion, roster, list(mechanism.adders), threshold)


def _key(occasion: Occasion) -> str:
    return digest(canonical(occasion.body()))
