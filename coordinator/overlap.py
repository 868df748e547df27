"""The overlap of all pairs of parties, or of those that a step names, as the operator's side leads it.

It sees doubly masked values, and no others.

1. **meet**     every party offers its halves; all offers are the roster, kept before anybody acts on it
2. **lay out**  every party lays its lists out for each peer, and signs what they are
3. **relay**    part by part, encrypted from party to party
4. **finish**   every party checks and masks what it got, adds its mates, signs what came of it, and sends it here
5. **reveal**   every party shows its canaries, now that nobody can change a list
6. **count**    cell by cell, dummies and all (`protocols/overlap/counting.py`)

All parties are needed: where one is not there by the deadline, or one lies, the round ends. A coordinator that was
killed goes on with the roster it kept; parties answer with what they stated before, and take no part of a list twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from tempfile import TemporaryFile
from typing import IO, Any, TypeVar

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from protocols import keys, messages
from protocols.encoding import canonical, digest, parse
from protocols.errors import IntegrityError
from protocols.masking import Occasion
from protocols.overlap import agreement, counting, words
from protocols.overlap.agreement import Head, Offer
from protocols.overlap.layout import CANARIES, FINAL_BYTES, POINT_BYTES, Layout, chunks, normaliser_of
from protocols.plan import Plan
from protocols.statistic import Integers

from . import release
from .conversation import Answer, Ask, Deadline, Parcel, enough
from .ledger import RoomLedger
from .steps import reply_of
from .store import roster_key

log = logging.getLogger("sumroom.progress")
_T = TypeVar("_T")
Heads = Mapping[str, Mapping[str, Head]]


@dataclass(frozen=True)
class OverlapUnderWay:
    """One such step, with the fields of `steps.StepUnderWay`; nobody is left out after `patience`: all are needed."""

    plan: Plan
    occasion: Occasion
    ledger: RoomLedger
    ask: Ask
    deadline: Deadline
    patience: float

    @property
    def parties(self) -> list[str]:
        return sorted(self.plan.parties)

    @cached_property
    def layout(self) -> Layout:
        round_ = self.ledger.book.accounts.rounds[self.occasion.round]
        return Layout.of(self.plan, self.occasion.step, release.answers(self.ledger, round_))

    def noised_sum(self, checkpoint: str) -> tuple[Integers, list[str]]:
        """(slots,) noised counts of the cells of all pairs, and who took part: all. `checkpoint`: over the reserve.

        Raises RoundEnded, or PartyUnavailable at the deadline, when one is missing; IntegrityError when one lies.
        """
        roster = self._kept_roster() or self._met(checkpoint)
        laid = self._heads(words.Lay(occasion=self.occasion, roster=roster), words.Laid, roster)
        self._relay(laid)
        finished = self._heads(words.Finish(occasion=self.occasion), words.Finished, roster)
        with self._fetched(finished) as finals:
            canaries = self._revealed(finished)
            matrices = [
                counting.matrix(self.layout, a, b, (finals(a, b), finals(b, a)), (canaries[a][b], canaries[b][a]))
                for a, b in self.layout.all_pairs
            ]
        return counting.flat(matrices), self.parties

    # -- 1. and 2. -----------------------------------------------------------------------------------------------------

    def _met(self, checkpoint: str) -> dict[str, Offer]:
        asked = words.Meet(occasion=self.occasion, checkpoint=checkpoint)
        roster = self._hear(dict.fromkeys(self.parties, asked), lambda p, a: reply_of(p, a, words.Met).offer)
        agreement.check_roster(roster, self._identities, self.occasion, normaliser_of(self.plan), self.layout.peers)
        kept = canonical({party: offer.body() for party, offer in roster.items()})
        self.ledger.book.append([], blobs={roster_key(self.occasion.round, self.occasion.step): kept})
        return roster

    def _kept_roster(self) -> dict[str, Offer] | None:
        """The offers that an earlier process asked everybody to lay out lists for, if it came so far."""
        stored = self.ledger.book.blob(roster_key(self.occasion.round, self.occasion.step))
        if stored is None:
            return None
        found = parse(stored, what="what was kept of a step")
        return {party: Offer.model_validate(offer) for party, offer in found.items()}

    def _heads(
        self, asked: words.Lay | words.Finish, kind: type[words.Laid] | type[words.Finished],
        roster: Mapping[str, Offer],
    ) -> Heads:  # fmt: skip
        """party → peer → what it says of the lists between them."""
        known, own = agreement.roster_digest(roster), kind is words.Laid

        def check(party: str, answer: Answer) -> dict[str, Head]:
            heads = dict(reply_of(party, answer, kind).heads)
            if set(heads) != set(self.layout.peers(party)):
                raise IntegrityError(f"{party} states other lists than those of its pairs")
            for peer, head in heads.items():
                sizes = self.layout.sent(party, peer) if own else self.layout.final(peer, party)
                agreement.check_lists(
                    head, self._identities[party], self.occasion, kind="list" if own else "final", party=party,
                    peer=peer, sizes=sizes, roster=known,
                )  # fmt: skip
            return heads

        log.info(
            "%s: the parties %s", self.occasion.step, "lay out their lists" if own else "finish their peers' lists"
        )
        return self._hear(dict.fromkeys(self.parties, asked), check)

    # -- 3. ------------------------------------------------------------------------------------------------------------

    def _relay(self, laid: Heads) -> None:
        """Every list to its peer. In each turn every party sends to another one, so all of them have work."""
        for apart in range(1, len(self.parties)):
            to = {p: self.parties[(i + apart) % len(self.parties)] for i, p in enumerate(self.parties)}
            self._relay_turn(laid, {owner: peer for owner, peer in to.items() if peer in self.layout.peers(owner)})

    def _relay_turn(self, laid: Heads, to: Mapping[str, str]) -> None:
        count = {owner: chunks(self.layout.sent(owner, peer), POINT_BYTES) for owner, peer in to.items()}
        done = dict.fromkeys(to, 0)
        while under_way := [owner for owner in to if done[owner] < count[owner]]:
            asked = {o: words.Fetch(occasion=self.occasion, peer=to[o], kind="list", index=done[o]) for o in under_way}
            parts = self._hear(asked, self._part)
            parcels = {
                to[owner]: Parcel(
                    words.Take(occasion=self.occasion, head=laid[owner][to[owner]], index=done[owner], size=chunk.size),
                    payload,
                )
                for owner, (chunk, payload) in parts.items()
            }
            taken = self._hear(parcels, lambda p, a: reply_of(p, a, words.Taken).next)
            for owner in under_way:
                if not done[owner] < taken[to[owner]] <= count[owner]:
                    raise IntegrityError(f"{to[owner]} does not take the lists of {owner}")
                done[owner] = taken[to[owner]]
            log.info("%s: %s", self.occasion.step, _progress("sent", done, count))

    def _part(self, party: str, answer: Answer) -> tuple[words.Chunk, bytes | memoryview]:
        chunk = reply_of(party, answer, words.Chunk)
        part = memoryview(answer.payload)[: chunk.size]
        if digest(part) != chunk.sha256:
            raise IntegrityError(f"{party}: a part of its lists is not what it says")
        return chunk, answer.payload

    # -- 4., 5. and 6. -------------------------------------------------------------------------------------------------

    @contextmanager
    def _fetched(self, finished: Heads) -> Iterator[Callable[[str, str], counting.Values]]:
        """(owner, peer) → the owner's lists as the peer finished them; in files that nobody else can open, and that
        are gone afterwards: in memory are those of the pair that is counted, however many pairs there are."""
        pairs = [(owner, peer) for peer in self.parties for owner in finished[peer]]
        with ExitStack() as opened:
            folder = self.ledger.book.path.parent
            files = {pair: opened.enter_context(TemporaryFile(dir=folder)) for pair in pairs}
            self._fetch(finished, files)

            def values(owner: str, peer: str) -> counting.Values:
                files[owner, peer].seek(0)
                return counting.values_of(files[owner, peer].read())

            yield values

    def _fetch(self, finished: Heads, files: Mapping[tuple[str, str], IO[bytes]]) -> None:
        seen = {pair: sha256() for pair in files}
        count = {pair: chunks(self.layout.final(*pair), FINAL_BYTES) for pair in files}
        done = dict.fromkeys(files, 0)
        while left := {peer: (owner, peer) for owner, peer in files if done[owner, peer] < count[owner, peer]}:
            asked = {
                peer: words.Fetch(occasion=self.occasion, peer=owner, kind="final", index=done[owner, peer])
                for peer, (owner, _) in left.items()
            }
            for peer, (chunk, payload) in self._hear(asked, self._part).items():
                part = memoryview(payload)[: chunk.size]
                files[left[peer]].write(part)
                seen[left[peer]].update(part)
                done[left[peer]] += 1
            log.info("%s: %s", self.occasion.step, _progress("fetched", done, count))
        for (owner, peer), whole in seen.items():
            if whole.hexdigest() != finished[peer][owner].sha256:
                raise IntegrityError(f"{peer} handed out other lists than it stated")

    def _revealed(self, finished: Heads) -> dict[str, dict[str, counting.Values]]:
        """party → peer → (lists, CANARIES) final values of its canaries."""
        requests = {
            party: words.Reveal(
                occasion=self.occasion, heads={peer: finished[peer][party] for peer in self.layout.peers(party)}
            )
            for party in self.parties
        }

        def check(party: str, answer: Answer) -> dict[str, counting.Values]:
            shown = reply_of(party, answer, words.Revealed).canaries
            if set(shown) != set(self.layout.peers(party)):
                raise IntegrityError(f"{party} shows canaries of other pairs")
            found = {}
            for peer, rows in shown.items():
                lists = [counting.values_of(keys.unbase64(row)) for row in rows]
                if len(lists) != self.layout.lists(party) or any(len(row) != CANARIES for row in lists):
                    raise IntegrityError(f"{party} shows another number of canaries than its lists have")
                found[peer] = np.stack(lists)
            return found

        return self._hear(requests, check)

    # -- asking --------------------------------------------------------------------------------------------------------

    @property
    def _identities(self) -> dict[str, Ed25519PublicKey]:
        return {party: self.ledger.room.identities[party] for party in self.parties}

    def _hear(
        self, requests: Mapping[str, messages.Request | Parcel], check: Callable[[str, Answer], _T]
    ) -> dict[str, _T]:
        return enough(self.ask, requests, check, least=len(requests), deadline=self.deadline, patience=self.patience)


def _progress(what: str, done: Mapping[Any, int], count: Mapping[Any, int]) -> str:
    return f"{what} {sum(done.values())} of {sum(count.values())} parts"
