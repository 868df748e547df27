"""A node in an overlap: it offers its halves, lays its lists out, takes its peers' lists, finishes them, and shows its
canaries when both sides' lists are finished.

Every check here uses public state, this party's own copies, and what the peers signed. What depends on this party's
data is inside its lists, whose sizes the plan fixes: a fault of the data leaves lists of nobody, dummies and all, and
is told to this party's operator alone.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from protocols import keys, messages, noise
from protocols.encoding import canonical, digest
from protocols.errors import IntegrityError, Refused, SumroomError
from protocols.ledger.state import Round
from protocols.masking import Occasion, Secrets
from protocols.overlap import agreement, words
from protocols.overlap.agreement import Box, Halves, Head
from protocols.overlap.layout import CHUNK_BYTES, FINAL_BYTES, POINT_BYTES, Layout, chunks, normaliser_of
from protocols.overlap.points import Engine
from protocols.plan import Mechanism, Plan
from protocols.statistic import Integers

from . import progress
from .audience import lists_of
from .caps import are_counted, check_sizes
from .engine import WorkerLost, open_engine
from .overlap_lists import Between, sha256_of
from .participation import Answered, Participation

log = logging.getLogger("sumroom.party")
FOLDER = "overlap"


class Meeting:
    """One party's part in the overlaps of its room."""

    def __init__(self, steps: Participation) -> None:
        self.steps = steps
        self._folder = steps.store.state / FOLDER

    @property
    def party(self) -> str:
        return self.steps.party

    def answer(self, request: words.Requests, payload: bytes | memoryview) -> Answered:
        """What `node.Node.answer` does with a request of an overlap. Raises Refused and IntegrityError.

        A process that is lost, for lack of memory perhaps, ends no round: it is asked for again.
        """
        try:
            return self._answer(request, payload)
        except WorkerLost as exc:
            log.error("%s: %s", request.type, exc.message)
            return Answered(messages.Refusal(code="round", reason=messages.FAILED))

    def _answer(self, request: words.Requests, payload: bytes | memoryview) -> Answered:
        match request:
            case words.Meet():
                return self.meet(request)
            case words.Lay():
                return self.lay(request)
            case words.Fetch():
                return self.fetch(request)
            case words.Take():
                return Answered(self.take(request, payload))
            case words.Finish():
                return self.finish(request)
            case words.Reveal():
                return Answered(self.reveal(request))

    def meet(self, request: words.Meet) -> Answered:
        """
        1. the round is open in this party's copy of the ledger, this step is next, plan and nonce are its own
        2. the reserve is cosigned, final in this party's own budget, and not expired; the dataset is here
        3. what was drawn before is used again; otherwise draw each cell's dummies, and keep them with fresh secrets
        4. the halves that follow from these secrets are offered
        """
        # (1)
        o = request.occasion
        round_, plan = self.steps.my_step(o)
        layout = self._layout(plan, o, round_)
        # (2)
        self.steps.check_paid(o, round_, request.checkpoint)
        self.steps.dataset_of(round_)
        check_sizes(plan, o.step, self.party, self.steps.earlier(round_), self.steps.store, o.round)
        # (3)
        store, room = self.steps.store, self.steps.room
        own = self.steps.drawn(o)
        if own is None:
            self.steps.filter.check_undrawn(room.room, o.round, o.step)
            own = Secrets.fresh(o, recoverable=False)
            numbers = self._draw(plan.step(o.step)[1], layout)
            store.add_drawing(o.round, o.step, digest(canonical(o.body())), own.root, numbers.astype("<i8").tobytes())
        # (4)
        offer = Halves(own).offer(self.steps.signing, self.party, layout.peers(self.party), normaliser_of(plan))
        self.steps.filter.draw_once(room.room, o.round, o.step, offer.sealing)
        return Answered(words.Met(party=self.party, offer=offer))

    def lay(self, request: words.Lay) -> Answered:
        """
        1. the round is open, this step is next; the roster of offers is signed by all and shows this party's own
        2. it is the only one that this party ever agrees to for this occasion: kept
        3. at the plan's second, what its lists for each peer are: sizes and digest, signed
        """
        # (1) and (2)
        o = request.occasion
        round_, plan = self.steps.my_step(o)
        own = self._own(o)
        layout = self._layout(plan, o, round_)
        self._agree(request, own, plan, layout)
        # (3)
        try:
            peers = layout.peers(self.party)
            heads = {peer: self._laid(o, request.roster, peer, own, round_, plan) for peer in peers}
            reply = words.Laid(party=self.party, heads=heads)
            self._keep_once(f"{o.step}/lists", request, reply)
        except Exception as exc:  # noqa: BLE001 - a full disk, a fault of ours: outside, all of them look alike
            log.error("step %s: no lists could be laid out: %s", o.step, type(exc).__name__)
            return Answered(messages.Refusal(code="round", reason=messages.FAILED), after_s=plan.answer_after_s)
        return Answered(reply, after_s=plan.answer_after_s)

    def fetch(self, request: words.Fetch) -> Answered:
        """A part of lists that this party has stated: of its own, encrypted for the peer; of the peer's, finished."""
        o, peer = request.occasion, request.peer
        round_, plan = self.steps.my_step(o)
        stated = self._stated(f"{o.step}/{'lists' if request.kind == 'list' else 'finals'}", o)
        if peer not in stated:
            raise Refused(f"this party has stated no such lists for {peer}")
        path, layout = self._file(o, peer, request.kind), self._layout(plan, o, round_)
        count = chunks(*self._extent(request.kind, layout, peer))
        if not 0 <= request.index < count:
            raise Refused(f"part {request.index} of {count}")
        with path.open("rb") as file:
            file.seek(request.index * CHUNK_BYTES)
            part = file.read(CHUNK_BYTES)
        if request.kind == "list":
            part = Box(Halves(self._own(o)), self.party, self._roster(o), o, self.party, peer).seal(request.index, part)
        progress.tell(f"lists {'for' if request.kind == 'list' else 'of'} {peer}: sent", request.index + 1, count)
        chunk = words.Chunk(
            party=self.party, peer=peer, kind=request.kind, index=request.index, size=len(part), sha256=digest(part)
        )
        return Answered(chunk, _padded(part))

    def take(self, request: words.Take, payload: bytes | memoryview) -> words.Taken:
        """
        1. this party has agreed to the roster that the lists were made with; the peer signed them, of the right sizes
        2. the part is the next one, or one that is here; decrypted, appended
        3. with the last one the lists are what the peer said; where they are not, nothing of them stays
        """
        # (1)
        o, peer = request.occasion, request.head.party
        round_, plan = self.steps.my_step(o)
        layout, roster = self._layout(plan, o, round_), self._roster(o)
        if peer not in layout.peers(self.party):
            raise Refused(f"{peer} is no peer of this party")
        self._check_head(request.head, o, "list", peer, self.party, layout.sent(peer, self.party))
        # (2)
        count, path = chunks(layout.sent(peer, self.party), POINT_BYTES), self._file(o, peer, "received")
        part_file = path.with_name(f"{path.name}.part")
        if path.exists():
            if sha256_of(path) != request.head.sha256:
                raise IntegrityError(f"{peer} says something else of its lists than before")
            return words.Taken(party=self.party, peer=peer, next=count)
        # Of a file that has all parts but not its name, the last is taken again: this process was killed before (3).
        here = min(part_file.stat().st_size // CHUNK_BYTES, count - 1) if part_file.exists() else 0
        if request.index != here:
            return words.Taken(party=self.party, peer=peer, next=here)
        sealed = bytes(payload)[: request.size]
        part = Box(Halves(self._own(o)), self.party, roster, o, peer, self.party).open(request.index, sealed)
        whole = sum(layout.sent(peer, self.party)) * POINT_BYTES
        if len(part) != min(CHUNK_BYTES, whole - here * CHUNK_BYTES):
            raise IntegrityError(f"a part of the lists of {peer} has another size than its place")
        with _appending(part_file, here * CHUNK_BYTES) as file:
            file.write(part)
            file.flush()
            os.fsync(file.fileno())
        progress.tell(f"lists of {peer}: taken", request.index + 1, count)
        # (3)
        if request.index == count - 1:
            if sha256_of(part_file) != request.head.sha256:
                part_file.unlink()
                raise IntegrityError(f"the lists of {peer} are not what it said they are")
            part_file.replace(path)
        return words.Taken(party=self.party, peer=peer, next=request.index + 1)

    def finish(self, request: words.Finish) -> Answered:
        """
        1. the lists of every peer are here, whole
        2. each is checked and masked, gets this party's mates, and is stated: sizes and digest, signed
        """
        # (1)
        o = request.occasion
        round_, plan = self.steps.my_step(o)
        own, layout = self._own(o), self._layout(plan, o, round_)
        peers = layout.peers(self.party)
        missing = [peer for peer in peers if not self._file(o, peer, "received").exists()]
        if missing:
            raise Refused(f"the lists of {', '.join(missing)} are not here")
        # (2)
        heads = {}
        for peer in peers:
            path = self._file(o, peer, "final")
            if not path.exists():
                with open_engine() as engine:
                    self._between(o, self._roster(o), peer, own, layout, engine).finish(
                        self._file(o, peer, "received"), path
                    )
            heads[peer] = self._state("final", o, peer, layout.final(peer, self.party), path)
        reply = words.Finished(party=self.party, heads=heads)
        self._keep_once(f"{o.step}/finals", request, reply)
        return Answered(reply, after_s=plan.answer_after_s)

    def reveal(self, request: words.Reveal) -> words.Revealed:
        """
        1. this party has finished its peers' lists, and each peer has signed that it has finished this party's
        2. they are the only ones that canaries are ever shown for: kept
        3. by peer, the final values of the canaries in this party's lists
        """
        # (1)
        o = request.occasion
        round_, plan = self.steps.my_step(o)
        own, layout = self._own(o), self._layout(plan, o, round_)
        peers = layout.peers(self.party)
        self._stated(f"{o.step}/finals", o)
        if sorted(request.heads) != sorted(peers):
            raise IntegrityError("canaries are shown when every peer has finished this party's lists")
        for peer, head in request.heads.items():
            self._check_head(head, o, "final", peer, self.party, layout.final(self.party, peer))
        shown = {}
        with open_engine() as engine:
            for peer in peers:
                values = self._between(o, self._roster(o), peer, own, layout, engine).canaries()
                shown[peer] = [keys.base64_text(row.astype("<u8").tobytes()) for row in values]
        # (2)
        reply = words.Revealed(party=self.party, canaries=shown)
        self._keep_once(f"{o.step}/canaries", request, reply)
        # (3)
        return reply

    def forget_ended(self) -> None:
        """Drop the lists of rounds that have ended."""
        rounds = self.steps.book.accounts.rounds
        for folder in self._folder.glob("*") if self._folder.exists() else ():
            known = rounds.get(folder.name)
            if known is None or known.state != "open":
                shutil.rmtree(folder, ignore_errors=True)
                progress.over()

    # -- own lists -----------------------------------------------------------------------------------------------------

    def _draw(self, mechanism: Mechanism, layout: Layout) -> Integers:
        """Every cell's own matched dummies, by peer in order: discrete Gaussian, shifted and held in 0 … 2 · shift."""
        cells = sum(layout.lists(self.party) * layout.lists(peer) for peer in layout.peers(self.party))
        if not cells:  # a party of no pair
            return np.zeros(0, dtype=np.int64)
        drawn = noise.add_noise(
            np.zeros(cells, dtype=np.int64),
            bound_sq=mechanism.sensitivity_sq,
            variance_micro=mechanism.variance_micro,
        )
        return np.clip(drawn + layout.shift, 0, 2 * layout.shift)

    def _numbers(self, o: Occasion, peer: str, layout: Layout) -> Integers:
        """(own lists, lists of the peer)."""
        numbers = np.frombuffer(self.steps.store.noised(o.round, o.step), dtype="<i8").astype(np.int64)
        at, rows = 0, layout.lists(self.party)
        for other in layout.peers(self.party):
            if other == peer:
                break
            at += rows * layout.lists(other)
        return numbers[at : at + rows * layout.lists(peer)].reshape(rows, layout.lists(peer))

    def _laid(self, o: Occasion, roster: Mapping[str, agreement.Offer], peer: str, own: Secrets, round_: Round,
              plan: Plan) -> Head:  # fmt: skip
        path, layout = self._file(o, peer, "list"), self._layout(plan, o, round_)
        if not path.exists():
            earlier, dataset = self.steps.earlier(round_), self.steps.dataset_of(round_)
            people = lists_of(plan, o.step, self.party, earlier, dataset, self.steps.store.state)
            with open_engine() as engine:
                between = self._between(o, roster, peer, own, layout, engine)
                try:
                    counted = are_counted(plan, o.step, self.steps.store, o.round)
                    between.write_lists(people.keys_by_list() if counted else iter(()), path)
                except WorkerLost:  # that is no fault of the data
                    raise
                except Exception as exc:  # noqa: BLE001 - whatever it is, it may depend on the data
                    fault = exc.message if isinstance(exc, SumroomError) else type(exc).__name__
                    log.error("for this operator only: step %s: %s; this party's lists are of nobody", o.step, fault)
                    between.write_lists(iter(()), path)
        return self._state("list", o, peer, layout.sent(self.party, peer), path)

    def _between(self, o: Occasion, roster: Mapping[str, agreement.Offer], peer: str, own: Secrets, layout: Layout,
                 engine: Engine) -> Between:  # fmt: skip
        return Between(
            me=self.party,
            peer=peer,
            halves=Halves(own),
            half=keys.unbase64(roster[peer].halves[self.party]),
            drawn=self._numbers(o, peer, layout),
            layout=layout,
            engine=engine,
            domain=agreement.domain(roster, o, self.party, peer),
        )

    # -- what is kept and checked --------------------------------------------------------------------------------------

    def _layout(self, plan: Plan, o: Occasion, round_: Round) -> Layout:
        return Layout.of(plan, o.step, self.steps.earlier(round_))

    def _own(self, o: Occasion) -> Secrets:
        own = self.steps.drawn(o)
        if own is None:
            raise Refused(f"step {o.step} of round {o.round[:8]}: this node has offered nothing for it")
        return own

    def _agree(self, request: words.Lay, own: Secrets, plan: Plan, layout: Layout) -> None:
        o, identities = request.occasion, self.steps.room.identities
        normaliser = normaliser_of(plan)
        named = {party: identities[party] for party in plan.parties}
        agreement.check_roster(request.roster, named, o, normaliser, layout.peers)
        mine = Halves(own).offer(self.steps.signing, self.party, layout.peers(self.party), normaliser)
        if request.roster[self.party] != mine:
            raise IntegrityError("the roster shows another offer for this party than it made")
        known = agreement.roster_digest(request.roster)
        self.steps.store.agree_once(o.round, o.step, o.attempt, known)
        self.steps.filter.state_once(self.steps.room.room, o.round, f"{o.step}/roster", known)

    def _roster(self, o: Occasion) -> dict[str, agreement.Offer]:
        """The roster that this party has laid its lists out for."""
        sent = self.steps.store.sent_share(o.round, f"{o.step}/lists")
        asked = None if sent is None else messages.read_request(sent[0])
        if not isinstance(asked, words.Lay) or asked.occasion != o:
            raise Refused(f"step {o.step} of round {o.round[:8]}: this node has laid out no lists for it")
        return dict(asked.roster)

    def _stated(self, key: str, o: Occasion) -> dict[str, Head]:
        sent = self.steps.store.sent_share(o.round, key)
        reply = None if sent is None else messages.read_reply(sent[1])
        if not isinstance(reply, words.Laid | words.Finished):
            raise Refused(f"step {o.step} of round {o.round[:8]}: this node has not come so far")
        return dict(reply.heads)

    def _keep_once(self, key: str, request: words.Lay | words.Finish | words.Reveal,
                   reply: messages.Reply) -> None:  # fmt: skip
        """Raise Refused where another request was answered, IntegrityError where the answer would be another."""
        asked, body, o = messages.encode(request), messages.encode(reply), request.occasion
        sent = self.steps.store.sent_share(o.round, key)
        if sent is None:
            self.steps.filter.state_once(self.steps.room.room, o.round, key, digest(body))
            self.steps.store.add_sent_share(o.round, key, asked, body, int(self.steps.clock()))
        elif sent[0] != asked:
            raise Refused(f"step {o.step} of round {o.round[:8]} was answered, to another request")
        elif sent[1] != body:
            raise IntegrityError("what was stated of the lists cannot be stated again")

    def _state(self, kind: str, o: Occasion, peer: str, sizes: tuple[int, ...], path: Path) -> Head:
        roster = self.steps.store.agreed(o.round, o.step, o.attempt) or ""
        return agreement.state_lists(
            self.steps.signing, "list" if kind == "list" else "final", self.party, peer, sizes, sha256_of(path),
            roster, o,
        )  # fmt: skip

    def _check_head(self, head: Head, o: Occasion, kind: str, party: str, peer: str, sizes: tuple[int, ...]) -> None:
        roster = self.steps.store.agreed(o.round, o.step, o.attempt)
        if roster is None:
            raise Refused(f"step {o.step} of round {o.round[:8]}: this node has agreed to no roster")
        public = self.steps.room.identities[party]
        agreement.check_lists(head, public, o, kind=kind, party=party, peer=peer, sizes=sizes, roster=roster)

    def _extent(self, kind: str, layout: Layout, peer: str) -> tuple[tuple[int, ...], int]:
        if kind == "list":
            return layout.sent(self.party, peer), POINT_BYTES
        return layout.final(peer, self.party), FINAL_BYTES

    def _file(self, o: Occasion, peer: str, what: str) -> Path:
        folder = self._folder / o.round
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder / f"{o.step}-{peer}.{what}"


def _padded(part: bytes) -> bytes:
    """Words of 8 bytes: what travels beside a reply is an array of them."""
    return part + bytes(-len(part) % 8)


def _appending(path: Path, at: int) -> BinaryIO:
    """The file, for its owner alone, cut to its first `at` bytes, to be written on."""
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
    file.truncate(at)
    file.seek(at)
    return file
