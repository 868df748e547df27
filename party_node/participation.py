"""A node during a round: it offers a mask key, agrees to the roster of all keys, and contributes, once for each step.

Every check here uses public state and this party's own copies. What depends on the data happens in `contribution.py`,
which always has an answer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from protocols import messages
from protocols import release as releases
from protocols.encoding import canonical, digest
from protocols.errors import IntegrityError, Refused
from protocols.ledger.reducer import Round, state_of
from protocols.logbook import Logbook
from protocols.masking import (
    Occasion,
    agree,
    agreeing,
    check_agreements,
    check_own,
    check_roster,
    offer,
    roster_digest,
)
from protocols.plan import Plan
from protocols.room import Room

from . import share, witness
from .contribution import contribute
from .filter import Filter
from .store import Dataset, Store

log = logging.getLogger("sumroom.party")


@dataclass(frozen=True)
class Answered:
    """A reply, beside it the words of a share, and how many seconds after the request it is to be sent."""

    reply: messages.Reply
    payload: bytes = b""
    after_s: int = 0


class Participation:
    """One party's part in the rounds of its room. `clock`: unix seconds. Mask keys live in this object only."""

    def __init__(self, *, room: Room, party: str, signing: Ed25519PrivateKey, store: Store, filter_: Filter,
                 book: Logbook, clock: Callable[[], float], check_consent: Callable[[Plan, str], None]
                 ) -> None:  # fmt: skip
        """`check_consent` raises Refused where this round of a plan is no longer consented to."""
        self.room, self.party, self.signing = room, party, signing
        self.store, self.filter, self.book, self.clock = store, filter_, book, clock
        self._check_consent = check_consent
        # By round and occasion. On no disk: a copy of the disk is another process, and must not have them.
        self._mask_keys: dict[tuple[str, str], X25519PrivateKey] = {}

    def prepare(self, request: messages.Prepare) -> messages.MaskOffer:
        """A mask key for one occasion; asked again, the same one; none once its share is built.

        It lives in this process only. A node that starts again has lost it, and offers another: which makes another
        roster, to which nobody agrees who has agreed to the first.
        """
        o = request.occasion
        self._my_step(o)
        self._forget_mask_keys()
        if self.store.share(o.round, o.step) is not None:
            raise Refused(f"step {o.step} of round {o.round[:8]} is answered")
        private = self._mask_keys.setdefault(_key(o), X25519PrivateKey.generate())
        return messages.MaskOffer(party=self.party, key=offer(private, self.signing, self.party, o))

    def agree(self, request: messages.Agree) -> messages.Agreed:
        """
        1. the round is open in this party's copy of the ledger, this step is next, plan and nonce are its own
        2. the roster is signed by exactly the parties that contribute, and shows this party's own key as it offered it
        3. it is the only one that this party ever agreed to for this attempt: kept, then signed
        """
        # (1)
        o = request.occasion
        round_ = self._open_step(o)
        # (2)
        contributors = sorted(round_.reserve.charge)
        check_roster(request.roster, {p: self.room.identities[p] for p in contributors}, o)
        if self.party in contributors:
            check_own(request.roster, self.party, self._mask_key(o))
        elif self.party not in agreeing(contributors, self.room.parties):
            raise Refused(f"round {o.round[:8]} does not ask this party")
        # (3)
        self.store.agree_once(o.round, o.step, o.attempt, roster_digest(request.roster))
        return messages.Agreed(party=self.party, signature=agree(self.signing, self.party, o, request.roster))

    def contribute(self, request: messages.Contribute) -> Answered:
        """
        0. a share built before is sent again, byte for byte, to the same request; to another one, never
        1. the round is open in this party's copy of the ledger, this step is next, plan and nonce are its own
        2. the reserve is cosigned by every party, and final in this party's own budget
        3. the roster is signed by exactly the plan's parties, and every party has agreed to it, and to no other
        4. earlier releases of the round are here and are what the ledger says, and so is the reserve's dataset
        5. compute, bound, noise, mask, sign; journal; answer at the plan's second

        From (5) on whatever happens is answered at that second too, an error as well: when it comes would tell how long
        computing took.
        """
        o = request.occasion
        # (0)
        asked = digest(canonical({"occasion": o.body(), "roster": {p: k.body() for p, k in request.roster.items()}}))
        if (known := self.store.share(o.round, o.step)) is not None:
            if known[0] != asked:
                raise Refused(f"step {o.step} of round {o.round[:8]} was answered, to another request")
            return Answered(messages.read_reply(known[1]), known[2], self.plan(o.plan).answer_after_s)
        # (1)
        round_, plan = self._my_step(o)
        # (2)
        witness.check_covered(request.checkpoint, room=self.room, book=self.book, entry=round_.reserve.seq)
        if not self.filter.is_spent(self.room.room, o.round):
            raise Refused(f"round {o.round[:8]} is not charged in this party's budget")
        if round_.reserve.expires < int(self.clock()):
            raise Refused(f"round {o.round[:8]} expired at {round_.reserve.expires}")
        self.filter.check_unanswered(self.room.room, o.round, o.step)
        # (3)
        identities = self.room.identities
        check_roster(request.roster, {p: identities[p] for p in plan.parties}, o)
        agreed = agreeing(plan.parties, self.room.parties)
        check_agreements(request.agreements, {p: identities[p] for p in agreed}, o, request.roster)
        private = self._mask_key(o)
        check_own(request.roster, self.party, private)
        # (4)
        earlier = self.earlier(round_)
        dataset = self.store.dataset(round_.reserve.datasets[self.party])
        if dataset is None:
            raise Refused("the reserve names a dataset that is not registered here")
        # (5)
        try:
            built = self._build(plan, request, private, earlier, dataset)
            self.filter.answer_once(self.room.room, o.round, o.step)
            self.store.add_share(o.round, o.step, asked, messages.encode(built.share), built.payload, int(self.clock()))
        except Exception as exc:  # noqa: BLE001 - a full disk, a fault of ours: outside, all of them look alike
            log.error("step %s: no share could be kept: %s", o.step, type(exc).__name__)
            return Answered(messages.Refusal(code="round", reason="failed"), after_s=plan.answer_after_s)
        del self._mask_keys[_key(o)]
        return Answered(built.share, built.payload, plan.answer_after_s)

    def _build(self, plan: Plan, request: messages.Contribute, private: X25519PrivateKey, earlier: dict[str, Any],
               dataset: Dataset) -> share.Sealed:  # fmt: skip
        o = request.occasion
        step, mechanism = plan.step(o.step)
        contribution = contribute(plan, step, earlier, dataset, self.store.state)
        if contribution.fault:
            log.error("for this operator only: step %s: %s", o.step, contribution.fault)
        return share.build(
            contribution.total,
            mechanism,
            o,
            party=self.party,
            signing=self.signing,
            private=private,
            roster=request.roster,
        )

    def _mask_key(self, occasion: Occasion) -> X25519PrivateKey:
        """The key that this process offered for an occasion."""
        private = self._mask_keys.get(_key(occasion))
        if private is None:
            raise Refused(
                f"step {occasion.step} of round {occasion.round[:8]}: since it started, this node has offered no mask "
                "key for this occasion"
            )
        return private

    def _my_step(self, occasion: Occasion) -> tuple[Round, Plan]:
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

    def _forget_mask_keys(self) -> None:
        rounds = self.book.accounts.rounds
        ended = [key for key in self._mask_keys if rounds[key[0]].state != "open"]
        for key in ended:
            del self._mask_keys[key]


def _key(occasion: Occasion) -> tuple[str, str]:
    return occasion.round, digest(canonical(occasion.body()))
