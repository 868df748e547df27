"""What a node does with each request. It trusts nobody's word, the coordinator's least of all.

Every check here uses public state: the room, the plan, this party's own copy of the ledger, its own budget. What
depends on the data happens in `contribution.py`, which always has an answer.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from protocols import keys, messages
from protocols import release as releases
from protocols.encoding import canonical, digest
from protocols.errors import IntegrityError, Refused, SumroomError
from protocols.ledger import proofs
from protocols.ledger.entries import Reserve, approval_body, build, signed_body
from protocols.ledger.reducer import Round, state_of
from protocols.ledger.tree import leaf_hash
from protocols.logbook import Logbook
from protocols.masking import Occasion, check_roster, offer
from protocols.plan import Plan

from . import share, witness
from .config import Config
from .contribution import contribute
from .filter import Filter
from .policy import Consent, check_consent, check_plan
from .store import Dataset, Store

log = logging.getLogger("sumroom.party")
SPARE_S = 600  # how long after its deadline a round may at most expire


@dataclass(frozen=True)
class Answered:
    """A reply, beside it the words of a share, and how many seconds after the request it is to be sent."""

    reply: messages.Reply
    payload: bytes = b""
    after_s: int = 0


class Node:
    """One party in one room. `clock`: unix seconds."""

    def __init__(self, config: Config, clock: Callable[[], float]) -> None:
        self.config, self.room, self.party, self.signing = config, config.room, config.party, config.signing
        self.clock = clock
        state = config.path("state")
        with ExitStack() as opened:  # whatever fails to open, what was opened before it is closed
            self.store = opened.enter_context(closing(Store(state)))
            self.filter = opened.enter_context(closing(Filter(config.path("accounts"), config.settings.budget.record)))
            self.book = opened.enter_context(closing(Logbook(state / "ledger.db")))
            witness.check_genesis(self.book, self.room)
            witness.settle(self.book, self.room, self.party, self.filter, self.now)
            self._forget_mask_keys()
            self._opened = opened.pop_all()

    def close(self) -> None:
        self._opened.close()

    def _forget_mask_keys(self) -> None:
        """Erase the mask keys of rounds that have ended without an answer from here."""
        rounds = self.book.accounts.rounds
        self.store.forget_mask_keys({name for name, round_ in rounds.items() if round_.state == "open"})

    @property
    def now(self) -> int:
        return int(self.clock())

    def answer(self, request: messages.Request) -> Answered:
        """Do what is asked, or say why not in public words. Never raises a SumroomError."""
        try:
            match request:
                case messages.Propose():
                    return Answered(self._approve(request))
                case messages.Reserve():
                    return Answered(self._hold(request))
                case messages.Witness():
                    return Answered(
                        witness.cosign(
                            request,
                            room=self.room,
                            party=self.party,
                            signing=self.signing,
                            book=self.book,
                            filter_=self.filter,
                            now=self.now,
                        )
                    )
                case messages.Prepare():
                    return Answered(self._prepare(request))
                case messages.Contribute():
                    return self._contribute(request)
                case messages.Deliver():
                    return Answered(self._receive(request))
        except (Refused, IntegrityError) as exc:
            log.warning("refused %s: %s", request.type, exc.message)
            return Answered(messages.Refusal(code=_CODES[request.type], reason=exc.message[:600]))
        except SumroomError as exc:  # about this node's own files and settings: its operator's business alone
            log.error("cannot answer %s: %s", request.type, exc.message)
            reason = "this node is not set up for that; its operator knows more"
            return Answered(messages.Refusal(code=_CODES[request.type], reason=reason))

    # -- before a round ------------------------------------------------------------------------------------------------

    def _approve(self, request: messages.Propose) -> messages.Approval:
        """
        1. the plan is sound and fits this room
        2. the consent policy allows one more round of it
        3. there is a registered dataset for it
        4. the approval is kept, then signed
        """
        plan = Plan.from_bytes(canonical(request.plan))
        check_plan(plan, self.room, self.party, self._today())
        self._check_allowed(plan)
        dataset = self._dataset(plan)
        self.store.add_plan(plan.digest, plan.canonical, self.now)
        signature = keys.sign(self.signing, "approval", approval_body(self.room.room, plan.digest))
        return messages.Approval(
            time=self.now,
            party=self.party,
            plan=plan.digest,
            signature=signature,
            dataset=self._declaration(dataset),
        )

    def _hold(self, request: messages.Reserve) -> messages.Held:
        """
        1. the draft is a reserve of a plan approved here and still allowed, word for word what the plan says
        2. it expires soon after the plan's deadline, and its round was never seen
        3. this party's own budget, over all rooms, bears it: held now
        """
        # (1)
        draft = build({**request.draft, "seq": 0, "time": self.now, "holds": {}})
        if not isinstance(draft, Reserve):
            raise Refused("the draft is not a reserve")
        plan = self._plan(draft.plan)
        self._check_allowed(plan, but=draft.round)
        self._check_draft(draft, plan)
        # (2)
        if not self.now < draft.expires <= self.now + plan.deadline_s + SPARE_S:
            raise Refused(f"the reserve expires at {draft.expires}, it is {self.now}")
        if draft.round in self.book.accounts.rounds:
            raise Refused(f"round {draft.round[:8]} is in the ledger already")
        # (3)
        self.filter.hold(witness.charge_of(draft, self.room, self.party), self.now)
        signature = keys.sign(self.signing, "hold", signed_body(draft, self.room.room))
        return messages.Held(party=self.party, round=draft.round, signature=signature)

    def _check_allowed(self, plan: Plan, *, but: str = "") -> None:
        """Asked at approval and again at each hold: consent can be withdrawn, a plan runs out, rounds add up."""
        check_plan(plan, self.room, self.party, self._today())
        consent = Consent.from_toml(self.config.read("consent"), where=str(self.config.path("consent")))
        used = self.filter.used_by(self.room.room, plan.digest, self.now, but=but)
        check_consent(consent, plan, used)

    def _check_draft(self, draft: Reserve, plan: Plan) -> None:
        stated = [(s.step, s.mechanism.body(), s.charge) for s in draft.steps]
        if stated != plan.mechanisms():
            raise Refused("the draft's steps are not those of the plan")
        if sorted(draft.blocks) != sorted(plan.blocks):
            raise Refused("the draft's blocks are not those of the plan")
        if draft.charge != {p: dict.fromkeys(draft.blocks, plan.charge) for p in plan.parties}:
            raise Refused("the draft's charge is not what the plan costs")
        dataset = self._dataset(plan)
        if draft.datasets.get(self.party) != dataset.version:
            raise Refused("the draft names another dataset than this party's latest")

    # -- during a round ------------------------------------------------------------------------------------------------

    def _prepare(self, request: messages.Prepare) -> messages.MaskOffer:
        """A mask key for one occasion; asked again, the same one; none once its share is built."""
        o = request.occasion
        self._open_step(o)
        if self.store.share(o.round, o.step) is not None:
            raise Refused(f"step {o.step} of round {o.round[:8]} is answered")
        fresh = X25519PrivateKey.generate().private_bytes_raw()
        private = self.store.mask_key(o.round, o.step, o.attempt, digest(canonical(o.body())), fresh)
        key = offer(X25519PrivateKey.from_private_bytes(private), self.signing, self.party, o)
        return messages.MaskOffer(party=self.party, key=key)

    def _contribute(self, request: messages.Contribute) -> Answered:
        """
        0. a share built before is sent again, byte for byte, to the same request; to another one, never
        1. the round is open in this party's copy of the ledger, this step is next, plan and nonce are its own
        2. the reserve is cosigned by every party, and final in this party's own budget
        3. the roster is signed by exactly the plan's parties
        4. earlier releases of the round are here and are what the ledger says
        5. compute, bound, noise, mask, sign; journal; answer
        """
        o = request.occasion
        # (0)
        asked = digest(canonical({"occasion": o.body(), "roster": {p: k.body() for p, k in request.roster.items()}}))
        if (known := self.store.share(o.round, o.step)) is not None:
            if known[0] != asked:
                raise Refused(f"step {o.step} of round {o.round[:8]} was answered, to another request")
            return Answered(messages.read_reply(known[1]), known[2], self._plan(o.plan).answer_after_s)
        # (1)
        round_ = self._open_step(o)
        plan = self._plan(o.plan)
        # (2)
        witness.check_covered(request.checkpoint, room=self.room, book=self.book, entry=round_.reserve.seq)
        if not self.filter.is_spent(self.room.room, o.round):
            raise Refused(f"round {o.round[:8]} is not charged in this party's budget")
        if round_.reserve.expires < self.now:
            raise Refused(f"round {o.round[:8]} expired at {round_.reserve.expires}")
        # (3)
        check_roster(request.roster, {p: self.room.identities[p] for p in plan.parties}, o)
        # (4)
        earlier = self._earlier(round_)
        # (5)
        built = self._build(plan, request, earlier, round_.reserve.datasets[self.party])
        self.filter.answer_once(self.room.room, o.round, o.step)
        self.store.add_share(o.round, o.step, asked, messages.encode(built.share), built.payload, self.now)
        return Answered(built.share, built.payload, plan.answer_after_s)

    def _build(self, plan: Plan, request: messages.Contribute, earlier: dict[str, Any], version: str) -> share.Sealed:
        o = request.occasion
        step, mechanism = plan.step(o.step)
        private = self.store.known_mask_key(o.round, o.step, o.attempt, digest(canonical(o.body())))
        dataset = self.store.dataset(version)
        if dataset is None:
            raise Refused("the reserve names a dataset that is not registered here")
        contribution = contribute(plan, step, earlier, dataset, self.store.state)
        if contribution.fault:
            log.error("for this operator only: step %s: %s", o.step, contribution.fault)
        return share.build(
            contribution.total,
            mechanism,
            o,
            party=self.party,
            signing=self.signing,
            private=X25519PrivateKey.from_private_bytes(private),
            roster=request.roster,
        )

    def _open_step(self, occasion: Occasion) -> Round:
        """The round of this occasion, if it is open here and this step of this plan is its next."""
        round_ = self.book.accounts.rounds.get(occasion.round)
        if round_ is None or round_.state != "open":
            raise Refused(f"round {occasion.round[:8]} is not open in this party's copy of the ledger")
        if self.party not in round_.reserve.charge or occasion.room != self.room.room:
            raise Refused(f"round {occasion.round[:8]} does not ask this party")
        step = round_.reserve.steps[len(round_.commits)]
        if (occasion.plan, occasion.step, occasion.nonce) != (round_.reserve.plan, step.step, step.nonce):
            raise Refused(f"round {occasion.round[:8]}: plan, step or nonce is not what its reserve says is next")
        if occasion.state != state_of(round_):
            raise Refused(f"round {occasion.round[:8]}: the step starts from another release than this copy's last")
        if occasion.attempt != 1:
            raise Refused("a step is attempted once")
        return round_

    def _earlier(self, round_: Round) -> dict[str, Any]:
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

    # -- after a step --------------------------------------------------------------------------------------------------

    def _receive(self, request: messages.Deliver) -> messages.Received:
        """
        1. the checkpoint is this copy's, and cosigned by enough
        2. the commit it leads to names exactly this release
        3. the coordinator signed it, and its figures follow from its noised sum
        """
        document = canonical(request.release)
        release = releases.read(document)
        body = release.body_
        checkpoint = witness.check_covered(request.checkpoint, room=self.room, book=self.book, entry=release.entry)
        if release.proof.size != checkpoint.size:
            raise IntegrityError("the proof is for another checkpoint than the one it came with")
        path = [keys.unbase64(text) for text in release.proof.path]
        leaf = leaf_hash(self.book.entries(release.entry, release.entry + 1)[0])
        proofs.verify_inclusion(leaf, release.entry, checkpoint.size, path, checkpoint.root)
        round_ = self.book.accounts.rounds.get(body.round)
        commit = next((c for c in round_.commits if c.step == body.step), None) if round_ else None
        if commit is None or (commit.seq, commit.digest) != (release.entry, body.digest):
            raise IntegrityError("the ledger has no commit of this release")
        releases.check_signature(release, self.room.coordinator_key)
        earlier = {}
        for before in round_.commits[: round_.commits.index(commit)] if round_ else ():
            stored = self.store.release(before.round, before.step)
            if stored is None:
                raise Refused(f"the release of step {before.step} has not been delivered to this party")
            earlier[before.step] = releases.read(stored).body_.body()
        releases.recompute(body.body(), self._plan(body.plan), earlier)
        self.store.add_release(body.round, body.step, document)
        return messages.Received(party=self.party, digest=body.digest)

    def last_segments(self) -> tuple[Plan, dict[str, Any], Dataset]:
        """Plan, what was released by step, and this party's dataset of the last round that released segments."""
        for round_ in reversed(list(self.book.accounts.rounds.values())):
            steps = [commit.step for commit in round_.commits]
            dataset = self.store.dataset(round_.reserve.datasets.get(self.party, ""))
            if "seg-profile" in steps and dataset is not None:
                try:
                    return self._plan(round_.reserve.plan), self._earlier(round_), dataset
                except Refused:  # its releases have not come yet: an older round's are better than none
                    continue
        raise Refused("no segments have been released to this party yet")

    # -- what the node knows -------------------------------------------------------------------------------------------

    def _plan(self, plan_digest: str) -> Plan:
        body = self.store.plan(plan_digest)
        if body is None:
            raise Refused(f"plan {plan_digest[:12]}… was not approved here")
        return Plan.from_bytes(body)

    def _dataset(self, plan: Plan) -> Dataset:
        dataset = self.store.dataset()
        if dataset is None or dataset.schema_digest != plan.table.digest():
            raise Refused("no dataset is registered for this plan's table", "sumroom-party register --plan plan.toml")
        if not set(plan.blocks) <= set(dataset.blocks):
            raise Refused("the registered dataset does not cover the plan's blocks")
        if dataset.people_cap != plan.people_cap:
            raise Refused("the registered dataset was declared with another people_cap than the plan's")
        return dataset

    def _declaration(self, dataset: Dataset) -> messages.Declaration:
        stated = {
            "type": "dataset@v1",
            "party": self.party,
            "version": dataset.version,
            "blocks": list(dataset.blocks),
            "commitment": dataset.commitment,
            "schema_digest": dataset.schema_digest,
            "people_cap": dataset.people_cap,
        }
        signature = keys.sign(self.signing, "dataset", {**stated, "room": self.room.room})
        del stated["type"]
        return messages.Declaration.model_validate({**stated, "signature": signature})

    def _today(self) -> dt.date:
        return dt.datetime.fromtimestamp(self.now, dt.UTC).date()


_CODES: dict[str, messages.Code] = {
    "propose": "consent",
    "reserve": "budget",
    "witness": "ledger",
    "prepare": "round",
    "contribute": "round",
    "deliver": "ledger",
}
