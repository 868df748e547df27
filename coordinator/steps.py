"""One step of a round, from everybody's mask keys to the noised sum of those who survived it.

1. **prepare**     every node computes, draws its noise, and offers its keys; those who do are the roster
2. **agree**       each signs that roster; those who do mask with one another
3. **contribute**  each sends its masked share; those who do are the survivors
4. **settle**      each survivor signs who the survivors are
5. **unmask**      each gives out one piece of a secret of every party, and the masks vanish

(4) and (5) are for plans that can do without a party (`protocols/recovery.py`). Elsewhere everybody is needed in (1) to
(3), and the masks vanish in the sum. Roster, agreements and survivors are kept before anybody acts on them, because a
party agrees to one roster and settles one set of survivors for each step: a coordinator that was killed goes on with
these or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from protocols import messages, recovery
from protocols.budget import recovery_threshold
from protocols.encoding import canonical, parse
from protocols.errors import IntegrityError
from protocols.masking import MaskKey, Occasion, Words, agreeing, check_agreements, check_roster
from protocols.plan import Plan
from protocols.statistic import Integers

from . import aggregate
from .conversation import Answer, Ask, Deadline, enough
from .ledger import RoomLedger
from .store import agreements_key, roster_key, survivors_key

# For how long those are waited for whom the step does not need, besides the round's own patience.
DRAWS_A_SECOND = 50_000  # slots; a node draws its noise about twice as fast
BYTES_A_SECOND = 5_000_000  # of all shares together

_T = TypeVar("_T")
_R = TypeVar("_R", bound=messages.Reply)


@dataclass(frozen=True)
class Roster:
    """keys: party → its key. agreements: party → its signature to all of them. boxes: dealer → party → box."""

    keys: dict[str, MaskKey]
    agreements: dict[str, str]
    boxes: dict[str, dict[str, str]]

    @property
    def group(self) -> dict[str, MaskKey]:
        """Those who mask with one another. One contributor alone has the agreement of others, who do not."""
        return {party: key for party, key in self.keys.items() if party in self.agreements}


@dataclass(frozen=True)
class StepUnderWay:
    """patience: seconds that each phase waits for parties without which it could go on."""

    plan: Plan
    occasion: Occasion
    ledger: RoomLedger
    ask: Ask
    deadline: Deadline
    patience: float

    @property
    def slots(self) -> int:
        return len(self.plan.step(self.occasion.step)[0].statistic.slots)

    @property
    def quorum(self) -> int:
        """How few shares this step may be released of: the plan's quorum, or all where every slot has an owner."""
        return self.plan.step(self.occasion.step)[1].quorum

    @property
    def recoverable(self) -> bool:
        return self.quorum < len(self.plan.parties)

    @property
    def threshold(self) -> int:
        return recovery_threshold(len(self.plan.parties), self.plan.step(self.occasion.step)[1].collusion)

    def noised_sum(self, checkpoint: str) -> tuple[Integers, list[str]]:
        """(slots,) integers, and whose shares are in them. `checkpoint`: over the reserve, cosigned by everybody.

        Raises RoundEnded, or PartyUnavailable at the deadline, when too few take part; IntegrityError when one lies.
        """
        keys = self._kept_keys() or self._offered(checkpoint)
        roster = self._kept_roster(keys) or self._agreed(keys)
        shares = self._shares(roster)
        survivors = sorted(shares)
        total = aggregate.add_up(shares)
        del shares  # large ones lie in files: they need not stay mapped
        if self.recoverable:
            total = self._unmasked(total, roster, survivors)
        return aggregate.noised_sum(total), survivors

    # -- 1. and 2. -----------------------------------------------------------------------------------------------------

    def _offered(self, checkpoint: str) -> dict[str, MaskKey]:
        asked = messages.Prepare(occasion=self.occasion, checkpoint=checkpoint)

        def check(party: str, answer: Answer) -> MaskKey:
            key = reply_of(party, answer, messages.MaskOffer).key
            self._check_roster({party: key})
            return key

        waits = 2 * self.plan.answer_after_s + self.slots / DRAWS_A_SECOND
        keys = self._hear(dict.fromkeys(self.plan.parties, asked), check, self.quorum, waits)
        self._check_roster(keys)  # and no key twice
        self._keep(roster_key, {party: key.body() for party, key in keys.items()})
        return keys

    def _check_roster(self, keys: dict[str, MaskKey]) -> None:
        check_roster(keys, self._identities(keys), self.occasion, recoverable=self.recoverable)

    def _agreed(self, keys: dict[str, MaskKey]) -> Roster:
        """Everybody's signature that this is the one roster of the occasion: none contributes without."""
        asked = messages.Agree(occasion=self.occasion, roster=keys)
        parties = agreeing(sorted(keys), self.ledger.room.parties)

        def check(party: str, answer: Answer) -> messages.Agreed:
            agreed = reply_of(party, answer, messages.Agreed)
            check_agreements({party: agreed.signature}, self._identities([party]), self.occasion, keys)
            recovery.check_dealt(party, agreed.boxes, set(keys) - {party} if self.recoverable else ())
            return agreed

        least = self.quorum if self.recoverable else len(parties)
        replies = self._hear(dict.fromkeys(parties, asked), check, least)
        agreements = {party: agreed.signature for party, agreed in replies.items()}
        boxes = {party: agreed.boxes for party, agreed in replies.items()}
        self._keep(agreements_key, {"agreements": agreements, "boxes": boxes})
        return Roster(keys, agreements, boxes)

    # -- 3. ------------------------------------------------------------------------------------------------------------

    def _shares(self, roster: Roster) -> dict[str, Words]:
        """Of those who agreed; where an earlier process had settled the survivors, of exactly these."""
        asked = messages.Contribute(occasion=self.occasion, roster=roster.keys, agreements=roster.agreements)
        settled = self._kept_survivors()
        parties = settled or sorted(roster.group)

        def check(party: str, answer: Answer) -> Words:
            share = reply_of(party, answer, messages.Share)
            return aggregate.check_share(self.ledger.room, party, self.occasion, share, answer.payload, self.slots)

        least = self.quorum if self.recoverable and not settled else len(parties)
        waits = 8 * self.slots * len(parties) / BYTES_A_SECOND
        return self._hear(dict.fromkeys(parties, asked), check, least, waits)

    # -- 4. and 5. -----------------------------------------------------------------------------------------------------

    def _unmasked(self, total: Words, roster: Roster, survivors: list[str]) -> Words:
        if self._kept_survivors() is None:
            self._keep(survivors_key, {"survivors": survivors})
        group = roster.group
        signatures = self._settled(group, survivors)
        requests = {
            party: messages.Unmask(
                occasion=self.occasion,
                survivors=survivors,
                signatures=signatures,
                boxes={dealer: dealt[party] for dealer, dealt in roster.boxes.items() if party in dealt},
            )
            for party in survivors
        }

        def check(party: str, answer: Answer) -> dict[str, str]:
            return reply_of(party, answer, messages.Unmasked).pieces

        given = self._hear(requests, check, self.threshold)
        circle = recovery.Circle(self.occasion, roster.keys, self.plan.parties, self.threshold)
        return recovery.unmask(total, group, survivors, given, circle)

    def _settled(self, group: dict[str, MaskKey], survivors: list[str]) -> dict[str, str]:
        """So many survivors' signatures that no others can be settled."""
        asked = messages.Settle(occasion=self.occasion, survivors=survivors)

        def check(party: str, answer: Answer) -> str:
            signature = reply_of(party, answer, messages.Settled).signature
            recovery.check_settled({party: signature}, self._identities([party]), self.occasion, group, survivors, 1)
            return signature

        return self._hear(dict.fromkeys(survivors, asked), check, self.threshold)

    # -- asking and keeping --------------------------------------------------------------------------------------------

    def _hear(
        self,
        requests: Mapping[str, messages.Request],
        check: Callable[[str, Answer], _T],
        least: int,
        waits: float = 0.0,
    ) -> dict[str, _T]:
        """What `check` makes of the replies, of so many parties or more."""
        patience = self.patience + waits
        return enough(self.ask, requests, check, least=least, deadline=self.deadline, patience=patience)

    def _identities(self, parties: Collection[str]) -> dict[str, Ed25519PublicKey]:
        return {party: self.ledger.room.identities[party] for party in parties}

    def _keep(self, key: Callable[[str, str], str], what: dict[str, object]) -> None:
        self.ledger.book.append([], blobs={key(self.occasion.round, self.occasion.step): canonical(what)})

    def _kept_keys(self) -> dict[str, MaskKey] | None:
        """The roster that an earlier process asked everybody to agree to, if it came so far."""
        found = self._kept(roster_key)
        return None if found is None else {party: MaskKey.model_validate(key) for party, key in found.items()}

    def _kept_roster(self, keys: dict[str, MaskKey]) -> Roster | None:
        """And who agreed to it."""
        found = self._kept(agreements_key)
        return None if found is None else Roster(keys, dict(found["agreements"]), dict(found["boxes"]))

    def _kept_survivors(self) -> list[str] | None:
        found = self._kept(survivors_key)
        return None if found is None else list(found["survivors"])

    def _kept(self, key: Callable[[str, str], str]) -> Any:
        stored = self.ledger.book.blob(key(self.occasion.round, self.occasion.step))
        return None if stored is None else parse(stored, what="what was kept of a step")


def reply_of(party: str, answer: Answer, kind: type[_R]) -> _R:
    reply = answer.reply
    if not isinstance(reply, kind) or getattr(reply, "party", party) != party:
        raise IntegrityError(f"{party} gave another answer than was asked for")
    return reply
