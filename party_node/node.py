"""What a node does with each request. It trusts nobody's word, the coordinator's least of all.

Every check here uses public state: the room, the plan, this party's own copy of the ledger, its own budget. What it
does during a round is in `participation.py`.
"""

from __future__ import annotations

import datetime as dt
import logging
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols import keys, messages
from protocols import release as releases
from protocols.encoding import canonical, digest
from protocols.errors import IntegrityError, Refused, SumroomError, UsageError
from protocols.ledger import notes, proofs
from protocols.ledger.entries import Reserve, approval_body, build, signed_body
from protocols.ledger.records import check_recorded
from protocols.ledger.tree import leaf_hash
from protocols.logbook import Logbook
from protocols.overlap import words
from protocols.plan import Plan
from protocols.room import Room

from . import egress, refunds, supply, witness
from .audience import check_seed
from .caps import check_own
from .config import Config
from .filter import Filter
from .overlap import Meeting
from .participation import Answered, Participation
from .policy import Consent, Decision, Undecided, check_consent, check_plan, consent_of
from .requests import open_requests
from .standing import Standing
from .store import Dataset, Store

log = logging.getLogger("sumroom.party")
SPARE_S = 600  # how long after its deadline a round may at most expire


class Node:
    """One party in one room. `clock`: unix seconds.

    restored   its operator says that state and accounts were put back to an older copy: charges that it has forgotten
               are taken over from the ledger
    """

    def __init__(self, config: Config, clock: Callable[[], float], *, restored: bool = False) -> None:
        self.config, self.party = config, config.party
        self.clock, self.restored = clock, restored
        self._consent: Consent | None = None
        state = config.path("state")
        with ExitStack() as opened:  # whatever fails to open, what was opened before it is closed
            self.store = opened.enter_context(closing(Store(state)))
            self.filter = opened.enter_context(closing(Filter(config.path("accounts"), config.settings.budget.record)))
            self.book = opened.enter_context(closing(Logbook(state / "ledger.db")))
            self.requests = opened.enter_context(closing(open_requests(config)))
            self.standing = Standing(config, self.book)
            witness.check_genesis(self.book, self.standing.founded)
            witness.settle(self.book, self.room, self.party, self.filter, self.now)
            refunds.give_back(self.book.accounts, room=self.room.room, party=self.party, filter_=self.filter)
            self.steps = Participation(
                standing=self.standing,
                party=self.party,
                store=self.store,
                filter_=self.filter,
                book=self.book,
                clock=clock,
                check_consent=self._check_still_consented,
            )
            self.meeting = Meeting(self.steps)
            self._forget_ended()
            self._opened = opened.pop_all()

    def close(self) -> None:
        self._opened.close()

    @property
    def room(self) -> Room:
        """The room now, by this party's copy of the ledger."""
        return self.standing.room

    @property
    def signing(self) -> Ed25519PrivateKey:
        return self.standing.signing

    @property
    def now(self) -> int:
        return int(self.clock())

    def answer(self, request: messages.Request, payload: bytes | memoryview = b"") -> Answered:
        """Do what is asked, or say why not in public words, and log what is about to be sent. Never raises a
        SumroomError; where the log cannot be written, there is no answer. payload: what travelled beside the request.

        The log's time is when the reply is due, and not when it was ready: that would tell how long computing took.
        """
        asked = self.now
        answered = self._answered(request, payload)
        if answered.logged:
            return answered
        try:
            kind, sha256 = answered.reply.type, digest(messages.encode(answered.reply))
            self.store.add_egress(kind, sha256, asked + answered.after_s, durable=kind in _DURABLE)
        except sqlite3.Error as exc:
            if not answered.after_s:
                raise
            log.error("what is sent could not be logged: %s", type(exc).__name__)
            refusal = messages.Refusal(code=_CODES[request.type], reason=messages.FAILED)
            return Answered(refusal, after_s=answered.after_s)
        return answered

    def _answered(self, request: messages.Request, payload: bytes | memoryview) -> Answered:
        try:
            if isinstance(request, words.Requests):
                return self.meeting.answer(request, payload)
            match request:
                case messages.Propose():
                    return Answered(self._approve(request))
                case messages.Reserve():
                    return Answered(self._hold(request))
                case messages.Cancel():
                    self.filter.let_go(self.room.room, request.round)
                    return Answered(messages.Cancelled(party=self.party, round=request.round))
                case messages.Refund():
                    return Answered(self._refund(request))
                case messages.Egress():
                    return Answered(self._state_egress(request))
                case messages.Witness():
                    return Answered(self._cosign(request))
                case messages.Prepare():
                    return self.steps.prepare(request)
                case messages.Agree():
                    return Answered(self.steps.agree(request))
                case messages.Contribute():
                    return self.steps.contribute(request)
                case messages.Settle():
                    return Answered(self.steps.settle(request))
                case messages.Unmask():
                    return Answered(self.steps.unmask(request))
                case messages.Supply():
                    return Answered(supply.supplied(request, party=self.party, book=self.book, store=self.store))
                case messages.Deliver():
                    return Answered(self._receive(request))
        except (Refused, IntegrityError) as exc:
            log.warning("refused %s: %s", request.type, exc.message)
            return Answered(messages.Refusal(code=_CODES[request.type], reason=exc.message[:600]))
        except SumroomError as exc:  # about this node's own files and settings: its operator's business alone
            log.error("cannot answer %s: %s", request.type, exc.message)
            reason = "this node is not set up for that; its operator knows more"
            return Answered(messages.Refusal(code=_CODES[request.type], reason=reason))

    def _forget_ended(self) -> None:
        self.steps.forget_ended()
        self.meeting.forget_ended()

    def _cosign(self, request: messages.Witness) -> messages.Cosigned | messages.Behind:
        reply = witness.cosign(
            request,
            room=self.standing.founded,
            party=self.party,
            identity=self.config.identities[0],
            more=self.config.identities[1:],
            book=self.book,
            filter_=self.filter,
            now=self.now,
            restored=self.restored,
            check_commit=self.steps.check_settled,
        )
        self._forget_ended()
        refunds.give_back(self.book.accounts, room=self.room.room, party=self.party, filter_=self.filter)
        return reply

    def _refund(self, request: messages.Refund) -> messages.Refunded:
        return refunds.sign(
            request,
            room=self.room.room,
            party=self.party,
            signing=self.signing,
            book=self.book,
            store=self.store,
            filter_=self.filter,
        )

    def _state_egress(self, request: messages.Egress) -> messages.EgressStated:
        return egress.state(
            request.day, room=self.room.room, party=self.party, signing=self.signing, store=self.store, now=self.now
        )

    # -- before a round ------------------------------------------------------------------------------------------------

    def _approve(self, request: messages.Propose) -> messages.Approval:
        """
        1. the plan is sound and fits this room
        2. the consent policy, or a person, allows one more round of it; where nobody has decided, a person is asked
        3. there is a registered dataset for it
        4. the approval is kept, then signed
        """
        plan = Plan.from_bytes(canonical(request.plan))
        check_plan(plan, self.room, self.party, self._today())
        try:
            self._check_allowed(plan)
        except Undecided:
            try:
                self.requests.note(plan, self.now)
            except IntegrityError as exc:
                raise UsageError(exc.message, exc.hint) from None
            raise
        dataset = self.dataset_for(plan)
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
        3. the room's caps and this party's own budget, over all rooms, bear it: held now
        """
        # (1)
        draft = build({**request.draft, "seq": 0, "time": self.now, "holds": {}})
        if not isinstance(draft, Reserve):
            raise Refused("the draft is not a reserve")
        plan = self.steps.plan(draft.plan)
        self._check_allowed(plan, but=draft.round)
        self._check_draft(draft, plan)
        # (2)
        if not self.now < draft.expires <= self.now + plan.deadline_s + SPARE_S:
            raise Refused(f"the reserve expires at {draft.expires}, it is {self.now}")
        if draft.round in self.book.accounts.rounds:
            raise Refused(f"round {draft.round[:8]} is in the ledger already")
        # (3) the room's caps first: a hold for what can never be reserved would only block what can
        self.book.accounts.check_caps(draft.charge, plan.charge_person)
        self.filter.hold(witness.charge_of(draft, self.room, self.party), self.now)
        signature = keys.sign(self.signing, "hold", signed_body(draft, self.room.room))
        return messages.Held(party=self.party, round=draft.round, signature=signature)

    def _check_allowed(self, plan: Plan, *, but: str = "") -> None:
        """Asked at approval and again at each hold: consent can be withdrawn, a plan runs out, rounds add up."""
        check_plan(plan, self.room, self.party, self._today())
        self._check_consent(plan, but)

    def _check_consent(self, plan: Plan, but: str) -> None:
        self._consent = consent_of(self.config)
        self._check_by(self._consent, plan, but)

    def _check_by(self, consent: Consent, plan: Plan, but: str) -> None:
        def used(digest: str | None, days: int | None) -> int:
            return self.filter.used_by(self.room.room, self.now, plan=digest, days=days, but=but)

        check_consent(consent, self._decision(plan), plan, used)

    def _check_still_consented(self, plan: Plan, but: str) -> None:
        """Asked at each step of a round: who takes consent back stops what is under way. `but`: this round.

        A policy that is being written at this moment must not cost a round: the last one that could be read holds, and
        with it what a person has decided, up to now.
        """
        try:
            self._consent = consent_of(self.config)
        except UsageError as exc:
            if self._consent is None:
                raise
            log.error("%s; the policy read last holds for the round under way", exc.message)
        self._check_by(self._consent, plan, but)

    def _decision(self, plan: Plan) -> Decision | None:
        try:
            return self.requests.decision(plan.digest)
        except IntegrityError as exc:  # about a file of this party: its path is nobody else's business
            raise UsageError(exc.message, exc.hint) from None

    def _check_draft(self, draft: Reserve, plan: Plan) -> None:
        stated = [(s.step, s.mechanism.body(), s.charge) for s in draft.steps]
        if stated != plan.mechanisms():
            raise Refused("the draft's steps are not those of the plan")
        if sorted(draft.blocks) != sorted(plan.blocks):
            raise Refused("the draft's blocks are not those of the plan")
        if draft.charge != {p: dict.fromkeys(draft.blocks, plan.charge) for p in plan.parties}:
            raise Refused("the draft's charge is not what the plan costs")
        dataset = self.dataset_for(plan)
        if draft.datasets.get(self.party) != dataset.version:
            raise Refused("the draft names another dataset than this party's latest")

    # -- after a step --------------------------------------------------------------------------------------------------

    def _receive(self, request: messages.Deliver) -> messages.Received:
        """
        1. the checkpoint is this copy's, and cosigned by enough
        2. the commit it leads to names exactly this release, which says in every field what commit and reserve say
        3. the coordinator signed it, its figures follow from its noised sum, and what is this party's alone it sent so
        """
        document = canonical(request.release)
        release = releases.read(document)
        body = release.body_
        checkpoint = witness.check_covered(request.checkpoint, book=self.book, entry=release.entry)
        if release.proof.size != checkpoint.size:
            raise IntegrityError("the proof is for another checkpoint than the one it came with")
        path = [keys.unbase64(text) for text in release.proof.path]
        leaf = leaf_hash(self.book.entries(release.entry, release.entry + 1)[0])
        proofs.verify_inclusion(leaf, release.entry, checkpoint.size, path, checkpoint.root)
        round_ = self.book.accounts.rounds.get(body.round)
        commit = next((c for c in round_.commits if c.step == body.step), None) if round_ else None
        if round_ is None or commit is None:
            raise IntegrityError("the ledger has no commit of this release")
        check_recorded(release, commit, round_.reserve, self.room.room)
        signer = self.book.accounts.members_at(checkpoint.size).coordinator
        if signer is None:
            raise IntegrityError("the coordinator had no key in force at that checkpoint")
        releases.check_signature(release, signer.ed25519)
        earlier = {}
        for before in round_.commits[: round_.commits.index(commit)]:
            stored = self.store.release(before.round, before.step)
            if stored is None:
                raise Refused(f"the release of step {before.step} has not been delivered to this party")
            earlier[before.step] = releases.read(stored).body_.body()
        releases.recompute(body.body(), self.steps.plan(body.plan), earlier)
        check_own(self.steps.plan(body.plan), self.party, body, self.store)
        if checkpoint.size in self.book.checkpoint_sizes(above=checkpoint.size - 1):
            # For an auditor, or a coordinator that lost them: who else has cosigned.
            self.book.add_cosignatures(checkpoint.size, notes.cosignatures(request.checkpoint))
        self.store.add_release(body.round, body.step, document)
        return messages.Received(party=self.party, digest=body.digest)

    def last_released(self, step: str, what: str, plan: str = "") -> tuple[Plan, dict[str, Any], Dataset]:
        """Plan, what was released by step, dataset: of the last round with this step. `plan`: how its digest begins."""
        for id_, round_ in reversed(list(self.book.accounts.rounds.items())):
            steps = [commit.step for commit in round_.commits]
            dataset = self.store.dataset(round_.reserve.datasets.get(self.party, ""))
            if step in steps and dataset is not None and round_.reserve.plan.startswith(plan):
                try:
                    return self.steps.plan(round_.reserve.plan), self.steps.earlier(round_), dataset
                except Refused:  # an older round's are better than none
                    log.warning("round %s is left out: what it released has not come to this party", id_[:8])
        raise Refused(f"no {what} have been released to this party yet{f', of a plan {plan}…' if plan else ''}")

    # -- what the node knows -------------------------------------------------------------------------------------------

    def dataset_for(self, plan: Plan) -> Dataset:
        """What is registered for a plan's table. Raises Refused where that is nothing, or something else."""
        dataset = self.store.dataset()
        if dataset is None or dataset.schema_digest != plan.table_digest:
            raise Refused("no dataset is registered for this plan's table", "sumroom-party register --plan plan.toml")
        if not set(plan.blocks) <= set(dataset.blocks):
            raise Refused("the registered dataset does not cover the plan's blocks")
        if dataset.people_cap != plan.people_cap:
            raise Refused("the registered dataset was declared with another people_cap than the plan's")
        check_seed(plan, self.party, self.store.state / dataset.snapshot)
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


# Replies before which the log of what was sent must be safe: those that depend on data, and what is stated of the log.
_DURABLE = ("share", "unmasked", "egress-stated", "laid", "chunk", "finished", "revealed")
_CODES: dict[str, messages.Code] = {
    "propose": "consent",
    "reserve": "budget",
    "cancel": "budget",
    "refund": "budget",
    "egress": "ledger",
    "witness": "ledger",
    "prepare": "round",
    "agree": "round",
    "contribute": "round",
    "settle": "round",
    "unmask": "round",
    "deliver": "ledger",
    "supply": "ledger",
    **dict.fromkeys(("meet", "lay", "fetch", "take", "finish", "reveal"), "round"),
}
