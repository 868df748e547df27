"""The life of a round, as the operator's side leads it: approve, reserve, contribute, aggregate, release.

The steps are numbered as in `docs/rounds.md`. A round ends as released or as forfeited, by its deadline; never
otherwise. Every decision rests on public state: who answered, what the ledger says, what time it is.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from protocols import messages
from protocols.errors import IntegrityError, PartyUnavailable, Refused, RoundEnded, Stale, SumroomError
from protocols.ledger.entries import Reserve, build
from protocols.ledger.state import Round, state_of
from protocols.masking import Occasion
from protocols.plan import Plan
from protocols.release import Release

from . import afterwards, delivery, noted, release
from .conversation import Ask, Deadline, says, who_says
from .ledger import RoomLedger
from .overlap import OverlapUnderWay
from .steps import StepUnderWay
from .store import plan_key

log = logging.getLogger("sumroom.coordinator")
APPROVAL_TIMEOUT_S = 30.0
FORFEIT_TIMEOUT_S = 5.0
CANCEL_TIMEOUT_S = 5.0
CLOCK_SLACK_S = 240  # less than the 300 s that a witness allows an entry
CLOCK_NOTICE_S = 30
LEAST_PATIENCE_S = 1.0
SPARE_S = 60  # a reserve outlives its round's deadline by this, so that a late commit is still within it

Progress = Callable[[str], None]


@dataclass
class _Round:
    """One round under way: what is fixed, and what has been released so far."""

    plan: Plan
    reserve: Reserve
    deadline: Deadline
    answers: dict[str, Any] = field(default_factory=dict)
    released: list[Release] = field(default_factory=list)

    @property
    def id(self) -> str:
        return self.reserve.round

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline.left

    @property
    def patience(self) -> float:
        """Seconds that each phase of a step waits for parties that it can do without.

        Each step has six phases that could wait so; if all did, half of what is left would still be there.
        """
        steps = len(self.reserve.steps) - len(self.answers)
        return max(LEAST_PATIENCE_S, (self.left - steps * self.plan.answer_after_s) / max(1, 12 * steps))


def run(
    plan: Plan, ledger: RoomLedger, ask: Ask, progress: Progress = lambda _: None, *, go_on_with: str | None = None
) -> list[Release]:
    """Run one round of a plan, or go on with an open one (`left_open`); its releases, delivered.

    1. **approve**     every party's signature over the plan, and its dataset; nothing is spent yet
    2. rounds that were left open beyond their deadline are forfeited; each party states once a day what it has sent;
       every party cosigns all that is not a reserve
    3. **reserve**     every party holds the charge and signs; one entry; every party cosigns it
    4. per step: **contribute** and **aggregate** (`steps.py`), **release** (commit and bytes, cosigned, sent)
    A round that was left open starts at (4), with its first uncommitted step, and costs nothing more; the caller knows.
    Raises Refused when a party does not approve, cosign or hold (nothing spent), RoundEnded when it ended early, Stale.
    An interrupt leaves the round open: whoever runs the plan again within its deadline goes on with it.
    """
    round_ = _begun(plan, ledger, ask, progress) if go_on_with is None else _opened(plan, go_on_with, ledger, ask)
    # (4)
    try:
        if go_on_with is not None:
            progress("going on with the round left open")
            _catch_up(round_, ledger, ask)
        for step in round_.reserve.steps[len(round_.answers) :]:
            progress(f"{step.step}: contributing")
            noised, survivors = _step(round_, step.step, step.nonce, ledger, ask).noised_sum(
                ledger.covering(round_.reserve.seq)
            )
            lost = sorted(set(plan.parties) - set(survivors))
            progress(f"{step.step}: releasing" + (f", without {', '.join(lost)}" if lost else ""))
            _release(round_, step.step, step.nonce, noised, survivors, ledger, ask)
    except (RoundEnded, Refused, IntegrityError) as exc:
        raise _ended(round_, exc, ledger, ask) from None
    except (SumroomError, OSError):  # a full disk here, say: the round stays open, and whoever is next goes on with it
        raise
    except Exception:  # a fault of ours: it would be there again
        _forfeit(round_, None, ledger, ask)
        raise
    return round_.released


def _begun(plan: Plan, ledger: RoomLedger, ask: Ask, progress: Progress) -> _Round:
    """A new round, reserved."""
    # (1)
    progress("asking for approval")
    approvals = _approve(plan, ledger, ask)
    _check_clocks(ledger, approvals, progress)
    # (2)
    try:
        if ledger.book.size:
            _check_newest(ledger, ask, APPROVAL_TIMEOUT_S, len(delivery.everybody(ledger)))
        ledger.open_room()
        for left in ledger.open_rounds():
            _check_over(left, ledger)
            ledger.forfeit(left, "coordinator-restart")
        afterwards.state_egress(ledger, ask)
        _record_approvals(plan, ledger, approvals)
        delivery.finish(ledger, ask, APPROVAL_TIMEOUT_S)
    except RoundEnded as exc:
        raise Refused(f"nothing is spent: {exc.message}", exc.hint) from None
    # (3)
    progress("reserving the budget")
    return _reserve(plan, ledger, ask)


def _check_newest(ledger: RoomLedger, ask: Ask, timeout: float, least: int) -> None:
    """Raise Refused where this copy was an older one: now it is not, and what was decided by it may be wrong."""
    taken = ledger.check_newest(ask, delivery.everybody(ledger), timeout, least)
    if taken:
        raise Refused(
            f"this ledger was an older copy; {taken} entries have been taken back from the parties",
            "nothing is spent by this; launch again",
        )


def seconds_left(round_: Round, plan: Plan, now: int) -> int:
    """Until the deadline of a round of this plan, by its reserve's time. Negative when it has passed."""
    return round_.reserve.time + plan.deadline_s - now


def end(plan: Plan, round_id: str, ledger: RoomLedger, ask: Ask) -> None:
    """Forfeit a round of this plan that was left open and whose deadline has passed.

    Raises Stale, or PartyUnavailable while fewer than a quorum are here; then nothing is written.
    """
    _check_newest(ledger, ask, FORFEIT_TIMEOUT_S, ledger.room.cosign_quorum)
    reserve = ledger.book.accounts.rounds[round_id].reserve
    _forfeit(_Round(plan, reserve, Deadline.after(0)), RoundEnded("the deadline has passed"), ledger, ask)


def left_open(plan: Plan, ledger: RoomLedger) -> str | None:
    """The round of this plan that an earlier process left open, if its deadline is still to come."""
    for round_id, round_ in ledger.book.accounts.rounds.items():
        mine = round_.state == "open" and round_.reserve.plan == plan.digest
        if mine and seconds_left(round_, plan, ledger.now) > 0:
            return round_id
    return None


def least_to_go_on(plan: Plan, ledger: RoomLedger) -> int:
    """How many parties a round needs to go on: its quorum, and enough to hear of every entry that was ever cosigned.

    An entry has the cosignatures of a majority of the room at least, so a majority knows one of these.
    """
    return max(plan.quorum, ledger.room.cosign_quorum)


def _opened(plan: Plan, round_id: str, ledger: RoomLedger, ask: Ask) -> _Round:
    round_ = ledger.book.accounts.rounds[round_id]
    deadline = Deadline.after(seconds_left(round_, plan, ledger.now))
    wait = max(1.0, min(APPROVAL_TIMEOUT_S, deadline.left / 4))
    _check_newest(ledger, ask, wait, least_to_go_on(plan, ledger))
    return _Round(plan, round_.reserve, deadline, release.answers(ledger, round_), release.published(ledger, round_))


def _check_over(round_id: str, ledger: RoomLedger) -> None:
    """Raise Refused where a round is open whose deadline is still to come: it is paid for, and can be gone on with."""
    round_ = ledger.book.accounts.rounds[round_id]
    body = ledger.book.blob(plan_key(round_.reserve.plan))
    if body is not None and (left := seconds_left(round_, (plan := Plan.from_bytes(body)), ledger.now)) > 0:
        raise Refused(
            f"round {round_id[:8]} of plan {plan.name} is open for {left} s more",
            "launch that plan again to go on with it, or wait: past its deadline it is forfeited",
        )


def _catch_up(round_: _Round, ledger: RoomLedger, ask: Ask) -> None:
    """Have everybody cosign what an earlier process wrote, and hand out what it committed."""
    if round_.left <= 0:
        raise RoundEnded("its deadline passed before everybody was back")
    before = {r.name for r in round_.released}
    _countersign(round_, ledger, ask)
    release.publish_missing(ledger)
    _hand_out(round_, ledger, ask)
    now = release.published(ledger, ledger.book.accounts.rounds[round_.id])
    round_.released += [r for r in now if r.name not in before]


def propose(plan: Plan, ask: Ask) -> dict[str, str]:
    """Ask every party of the plan whether it approves: party → `approved`, or its reason. Nothing is written."""
    answers = ask(dict.fromkeys(plan.parties, messages.Propose(plan=plan.body())), APPROVAL_TIMEOUT_S)
    return {
        party: "approved" if isinstance(answers[party].reply, messages.Approval) else says(answers.get(party))
        for party in plan.parties
    }


# -- 1. approve --------------------------------------------------------------------------------------------------------


def _approve(plan: Plan, ledger: RoomLedger, ask: Ask) -> dict[str, messages.Approval]:
    request = messages.Propose(plan=plan.body())
    answers = ask(dict.fromkeys(plan.parties, request), APPROVAL_TIMEOUT_S)
    approvals = {p: a.reply for p, a in answers.items() if isinstance(a.reply, messages.Approval)}
    if len(approvals) < len(plan.parties):
        noted.deny(ledger, ask, plan, "not-approved", answers)
        raise Refused(
            "the plan is not approved: " + who_says(plan.parties, answers, approvals),
            f"nothing is spent; where a person must decide: sumroom-party requests show {plan.digest[:16]}",
        )
    return approvals


def _check_clocks(ledger: RoomLedger, approvals: Mapping[str, messages.Approval], progress: Progress) -> None:
    """Raise Refused where a party would refuse our entries as being from the future, or we reserve in its past; say
    where a clock goes that way."""
    here = int(ledger.clock())
    for party, approval in sorted(approvals.items()):
        apart = abs(approval.time - here)
        if apart > CLOCK_SLACK_S:
            raise Refused(
                f"the clocks of {party} and here differ by {apart} s, more than {CLOCK_SLACK_S}",
                "set both by a time server; nothing was written",
            )
        if apart > CLOCK_NOTICE_S:
            progress(f"the clock of {party} is {apart} s {'ahead' if approval.time > here else 'behind'}")


# -- 3. reserve --------------------------------------------------------------------------------------------------------


def _reserve(plan: Plan, ledger: RoomLedger, ask: Ask) -> _Round:
    deadline = Deadline.after(plan.deadline_s)
    draft = _draft(plan, ledger)
    try:
        ledger.book.accounts.check_caps(draft["charge"], plan.charge_person)
    except Refused:
        noted.deny(ledger, ask, plan, "over-cap", {})
        raise
    answers = ask(dict.fromkeys(plan.parties, messages.Reserve(draft=draft)), APPROVAL_TIMEOUT_S)
    holds = {p: a.reply.signature for p, a in answers.items() if isinstance(a.reply, messages.Held)}
    if len(holds) < len(plan.parties):
        ask({p: messages.Cancel(round=draft["round"]) for p in holds}, CANCEL_TIMEOUT_S)
        noted.deny(ledger, ask, plan, "not-held", answers)
        raise Refused("the budget is not held: " + who_says(plan.parties, answers, holds), "nothing is spent")
    ledger.append([{**draft, "holds": holds}])
    reserve = ledger.book.accounts.rounds[draft["round"]].reserve
    round_ = _Round(plan, reserve, deadline)
    try:
        _countersign(round_, ledger, ask)
    except (RoundEnded, Refused, IntegrityError) as exc:
        raise _ended(round_, exc, ledger, ask) from None
    return round_


def _record_approvals(plan: Plan, ledger: RoomLedger, approvals: Mapping[str, messages.Approval]) -> None:
    """The entries that a reserve rests on, where the ledger does not have them yet."""
    accounts = ledger.book.accounts
    entries: list[dict[str, Any]] = []
    for party, approval in sorted(approvals.items()):
        known = accounts.datasets.get(party)
        if approval.dataset.party != party:
            raise IntegrityError(f"{party} declared a dataset of another party")
        if known is None or known.version != approval.dataset.version:
            entries.append({"type": "dataset@v1", **approval.dataset.body()})
    blobs = {}
    if plan.digest not in accounts.plans:
        signatures = {party: approval.signature for party, approval in approvals.items()}
        entries.append({"type": "plan@v1", "plan": plan.digest, "parties": plan.parties, "approvals": signatures})
        blobs[plan_key(plan.digest)] = plan.canonical
    if entries:
        ledger.append(entries, blobs)


def _draft(plan: Plan, ledger: RoomLedger) -> dict[str, Any]:
    steps = [
        {"step": step, "nonce": secrets.token_hex(16), "mechanism": mechanism, "charge": charge}
        for step, mechanism, charge in plan.mechanisms()
    ]
    draft = {
        "type": "reserve@v1",
        "round": secrets.token_hex(16),
        "plan": plan.digest,
        "steps": steps,
        "blocks": sorted(plan.blocks),
        "charge": {party: dict.fromkeys(sorted(plan.blocks), plan.charge) for party in plan.parties},
        "datasets": {party: ledger.book.accounts.datasets[party].version for party in plan.parties},
        "expires": ledger.now + plan.deadline_s + SPARE_S,
    }
    build({**draft, "seq": 0, "time": 0, "holds": {}})  # well-formed before anybody is asked
    return draft


# -- 4. contribute, aggregate, release ---------------------------------------------------------------------------------


def _step(round_: _Round, step: str, nonce: str, ledger: RoomLedger, ask: Ask) -> StepUnderWay | OverlapUnderWay:
    state = state_of(ledger.book.accounts.rounds[round_.id])
    occasion = Occasion(
        room=ledger.room.room, plan=round_.plan.digest, round=round_.id, step=step, nonce=nonce, state=state, attempt=1
    )
    way = OverlapUnderWay if round_.plan.step(step)[0].made == "overlap" else StepUnderWay
    return way(round_.plan, occasion, ledger, ask, round_.deadline, round_.patience)


def _release(round_: _Round, step: str, nonce: str, noised: Any, survivors: list[str], ledger: RoomLedger,
             ask: Ask) -> None:  # fmt: skip
    if round_.left <= 0:
        raise RoundEnded("the deadline passed before the release")
    entry, blobs, body = release.commit(
        round_.plan,
        round_id=round_.id,
        step=step,
        nonce=nonce,
        noised=noised,
        survivors=survivors,
        earlier=round_.answers,
    )
    ledger.append([entry], blobs)
    _countersign(round_, ledger, ask)
    signed = release.publish_missing(ledger)[-1]
    round_.answers[step] = body.released
    round_.released.append(signed)
    _hand_out(round_, ledger, ask)


def _countersign(round_: _Round, ledger: RoomLedger, ask: Ask) -> None:
    delivery.countersign(ledger, ask, round_.deadline, round_.patience)


def _hand_out(round_: _Round, ledger: RoomLedger, ask: Ask) -> None:
    needed = round_.plan.quorum if len(round_.answers) < len(round_.reserve.steps) else 0
    delivery.hand_out(ledger, ask, round_.plan.parties, needed, round_.deadline, round_.patience)


# -- how a round ends early --------------------------------------------------------------------------------------------


def _ended(round_: _Round, cause: SumroomError, ledger: RoomLedger, ask: Ask) -> SumroomError:
    """What the operator is told when a round ends early: forfeited, or all committed and only the rest is missing."""
    if isinstance(cause, Stale):  # nothing may be written to this copy, the end of a round least of all
        return cause
    or_refund = _or_refund(round_, ledger)
    if _forfeit(round_, cause, ledger, ask):
        return RoundEnded(
            f"round {round_.id[:8]} is forfeited: {cause.message}",
            "its budget stays spent; see to the cause, then run the plan again" + or_refund,
        )
    return RoundEnded(
        f"round {round_.id[:8]} has committed all its releases, but they are not all out: {cause.message}",
        "nothing is lost: launch the plan again when the parties are back, and they go out at no further cost",
    )


def _or_refund(round_: _Round, ledger: RoomLedger) -> str:
    """Before a forfeit: where a reserve is not cosigned by all, nobody has begun, and its charge can be given back."""
    try:
        ledger.covering(round_.reserve.seq)
    except PartyUnavailable:
        return f"; or have its charge given back: sumroom-coordinator refund {round_.id[:16]}"
    return ""


def _forfeit(round_: _Round, cause: SumroomError | None, ledger: RoomLedger, ask: Ask) -> bool:
    """Write the end of an open round down, and have it cosigned by those who are there; the others check later."""
    if ledger.book.accounts.rounds[round_.id].state != "open":
        return False
    if cause is None:
        reason = "coordinator-restart"
    elif isinstance(cause, IntegrityError):
        reason = "integrity"
    elif isinstance(cause, PartyUnavailable):
        reason = "party-unavailable"
    elif round_.left <= 0:
        reason = "deadline"
    else:
        reason = "refused"
    ledger.forfeit(round_.id, reason)
    try:
        ledger.countersign(ask, delivery.everybody(ledger), FORFEIT_TIMEOUT_S)
    except (RoundEnded, IntegrityError) as exc:
        log.warning("the forfeit is in the ledger, not yet cosigned: %s", exc.message)
    return True
