"""The rules of the ledger: which entry may follow a history, and what is spent after it.

Coordinator, every party's node and the auditor run exactly this over the same entries, and so must agree. Amounts are
integers in nano-ρ. There is no clock, no file and no float here; time is what the entries say.

    spent by a party in a block    = Σ of its charges there, over all reserves that were not refunded
    spent by a person in a block   = Σ of what the steps cost one person known to all parties (`budget.person_charge`)
    lifetime                       = Σ over the blocks

Whatever is reserved is spent, whatever becomes of the round; only a refund, signed by every party that was charged,
gives it back, and only where nothing was released.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise

from ..errors import Refused
from ..keys import check, check_canonical, check_each, public_key
from ..schema import day
from . import entries
from .changes import Grant, KeyChange, PartyChange
from .entries import Commit, Dataset, Entry, Forfeit, Genesis, Plan, Reserve
from .fields import LIFETIME, MAX_PARTIES, PERSON
from .members import Members
from .reserving import check_charge, price
from .state import Round, State
from .statements import Audit, Deny, Egress, Refund, Reuse, refund_body, statement_body

DAY_S = 86_400
_EPOCH = day("1970-01-01").toordinal()


class Accounts(State):
    """The state of a room, and the rules by which it moves on.

    `apply` moves it on by one entry, or raises and leaves it unchanged.
    """

    # --- the rules -------------------------------------------------------------------------------------------------

    def apply(self, entry: Entry, raw: bytes | None = None) -> None:
        """Take one entry in. Raises Refused (a rule) or IntegrityError (a signature); then nothing has changed.

        raw   what `entries.encode` makes of it, from those who have it
        """
        mark = self.mark()
        self._check_place(entry)
        try:
            self._follow(entry, raw)
        except BaseException:
            self.roll_back(mark)
            raise
        self._size, self._time = self._size + 1, entry.time

    def _follow(self, entry: Entry, raw: bytes | None) -> None:
        match entry:
            case Commit():
                self._commit(entry)
            case Reserve():
                self._reserve(entry, raw)
            case Genesis():
                self._open_room(entry)
            case Dataset():
                self._declare(entry)
            case Plan():
                self._approve(entry)
            case Forfeit():
                self._forfeit(entry)
            case KeyChange():
                self._change(entry, self.members.after_key(entry))
            case PartyChange():
                self._party(entry)
            case Grant():
                self._grant(entry)
            case Refund():
                self._refund(entry)
            case Reuse():
                self._reuse(entry)
            case Deny():
                for party in entry.parties:
                    self._check_party(party)
            case Egress():
                self._sent(entry)
            case Audit():  # pragma: no branch - there is no other type
                self._audited(entry)

    def _check_place(self, entry: Entry) -> None:
        if entry.seq != self._size:
            raise Refused(f"entry {entry.seq} where {self._size} is next")
        if entry.time < self._time:
            raise Refused(f"entry from the past: {entry.time}, after one of {self._time}")
        if isinstance(entry, Genesis):
            return
        if self.members.coordinator is None and not (
            isinstance(entry, KeyChange) and entry.member == self.members.origin
        ):
            raise Refused("the coordinator's key is revoked: only a new key of its own may follow")

    def _open_room(self, entry: Genesis) -> None:
        if self._genesis is not None:
            raise Refused("a second genesis")
        self._genesis = entry
        for name, member in {**entry.parties, entry.origin: entry.coordinator}.items():
            self._use_keys(name, member.key, member.ml_dsa_44)
        for name, block in entry.blocks.items():
            self._put(self._blocks, name, block)
        for party, row in entry.caps.record.items():
            self._set_caps(party, {**row, LIFETIME: entry.caps.lifetime_record[party]})
        self._set_caps(PERSON, {**entry.caps.person, LIFETIME: entry.caps.lifetime_person})
        self._put(self._epochs, 1, Members.of(entry))

    def _change(self, entry: KeyChange | PartyChange, after: Members) -> None:
        """A change of keys or parties holds from the entry after it on. No key comes twice, not even back."""
        brings = entry.action not in ("revoke", "leave")
        if brings:
            # `add` beside a key in force names that key, which stays.
            stays = entry.action == "add" and self.members.keys_of(_member(entry)) is not None
            self._use_keys(_member(entry), None if stays else entry.key, entry.ml_dsa_44)
        self._put(self._epochs, entry.seq + 1, after)

    def _party(self, entry: PartyChange) -> None:
        """A party comes with caps for every block, or goes when no round that charges it is open.

        One that comes back under its name finds there what it had spent.
        """
        if entry.action == "join":
            if len(self.members.parties) + len(self.members.revoked) >= MAX_PARTIES:
                raise Refused(f"a room has at most {MAX_PARTIES} parties")
            if set(entry.caps) != {*self._blocks, LIFETIME}:
                raise Refused(f"the caps of {entry.party} must be those of every block and of its lifetime")
        else:
            for name, round_ in self._rounds.items():
                if round_.state == "open" and entry.party in round_.reserve.charge:
                    raise Refused(f"{entry.party} cannot leave while round {name} is open")
        self._change(entry, self.members.after_party(entry))
        self._set_caps(entry.party, entry.caps)

    def _grant(self, entry: Grant) -> None:
        """More budget: with new days, or for old ones where those whose data it is have signed that very cap.

        1. new blocks have new days, and a cap for every party and for a person
        2. every cap rises, and is of a party and a block that there are
        3. signed by exactly those whose business it is
        """
        members, everybody = self.members, {*self.members.parties, *self.members.revoked}
        # (1)
        taken = sorted([*self._blocks.values(), *entry.blocks.values()], key=lambda block: block.first)
        if set(entry.blocks) & set(self._blocks) or any(a.meets(b) for a, b in pairwise(taken)):
            raise Refused("a new block shares its name or a day with another: no day gets its budget a second time")
        for who in sorted({*everybody, PERSON}) if entry.blocks else ():
            if not set(entry.blocks) <= set(entry.caps.get(who, {})):
                raise Refused(f"the grant has no cap of {who} for every new block")
        # (2)
        for who, row in entry.caps.items():
            if who != PERSON and who not in everybody:
                raise Refused(f"{who} is not a party of this room")
            for block, cap in row.items():
                if block not in self._blocks and block not in entry.blocks and block != LIFETIME:
                    raise Refused(f"no block {block} in this room")
                if who in members.revoked and block not in entry.blocks:
                    raise Refused(f"{who} has no key in force to raise its cap in {block} by")
                if cap <= self._caps.get((who, block), 0):
                    raise Refused(f"a grant raises the cap of {who} in {block}, it never lowers it")
        # (3)
        all_ = bool(entry.blocks) or PERSON in entry.caps
        members.check_grant(entry, members.parties if all_ else entry.caps)
        self._put(self._grants, entry.seq, True)
        for name, block_ in entry.blocks.items():
            self._put(self._blocks, name, block_)
        for who, row in entry.caps.items():
            self._set_caps(who, row)

    def _declare(self, entry: Dataset) -> None:
        """A party declares its data, signed by itself; each version once, so that no old one can come back."""
        self._check_party(entry.party)
        self._check_blocks(entry.blocks)
        if (entry.party, entry.version) in self._versions:
            raise Refused(f"{entry.party} has declared dataset {entry.version} before")
        key = self.members.parties[entry.party].ed25519
        check(key, "dataset", entries.signed_body(entry, self.genesis.room), entry.signature, who=entry.party)
        self._put(self._versions, (entry.party, entry.version), True)
        self._put(self._datasets, entry.party, entry)

    def _approve(self, entry: Plan) -> None:
        """A plan enters once, with the approval of every party in it."""
        if entry.plan in self._plans:
            raise Refused(f"plan {entry.plan} is in the ledger already")
        for party in entry.parties:
            self._check_party(party)
        body = entries.approval_body(self.genesis.room, entry.plan)
        keys = {party: self.members.parties[party].ed25519 for party in entry.parties}
        check_each(keys, "approval", body, entry.approvals)
        self._put(self._plans, entry.plan, entry)

    def _reserve(self, entry: Reserve, raw: bytes | None) -> None:
        """A round is paid for before anything that depends on data leaves a party.

        1. the round is new, its plan approved, its end in the future
        2. every mechanism is sound, its nonce new, and its charge what the mechanism costs
        3. every party that adds noise is charged, no other, and each for every block
        4. the data are what the parties last declared, and cover the blocks
        5. no cap is passed: per record, per person, and both over a lifetime
        6. every charged party has signed exactly this
        """
        # (1)
        if entry.round in self._rounds or entry.round in self._finished:
            raise Refused(f"round {entry.round} is in the ledger already")
        if entry.plan not in self._plans:
            raise Refused(f"plan {entry.plan} is not in the ledger")
        if entry.expires <= entry.time:
            raise Refused(f"the round expires at {entry.expires}, not after its reserve at {entry.time}")
        self._check_blocks(entry.blocks)
        # (2)
        for step in entry.steps:
            if step.nonce in self._nonces:
                raise Refused(f"the nonce of step {step.step} was used before")
        record, person = price(entry.offered)
        # (3), (4), (5), (6)
        self._check_charged(entry, record)
        self._check_datasets(entry)
        self.check_caps(entry.charge, person)
        self._check_holds(entry, raw)
        self._spend(entry, person)
        self._add(self._nonces, [step.nonce for step in entry.steps])
        self._put(self._rounds, entry.round, Round(entry))

    def _commit(self, entry: Commit) -> None:
        """A step is released: in order, in time, from enough shares, and never the same bytes twice."""
        round_ = self._open_round(entry.round)
        if entry.time > round_.reserve.expires:
            raise Refused(
                f"round {entry.round} expired at {round_.reserve.expires}, before this commit at {entry.time}"
            )
        step = round_.reserve.steps[len(round_.commits)]
        if entry.step != step.step:
            raise Refused(f"step {entry.step} where {step.step} is next in round {entry.round}")
        strangers = entry.survivors != step.mechanism.adders and set(entry.survivors) - set(step.mechanism.adders)
        if strangers:
            raise Refused(f"{_list(strangers)} did not add noise to step {entry.step}")
        if len(entry.survivors) < step.mechanism.quorum:
            raise Refused(f"{len(entry.survivors)} shares in step {entry.step}, fewer than its {step.mechanism.quorum}")
        if entry.digest in self._digests:
            raise Refused(f"a release with digest {entry.digest} is in the ledger already")
        commits = (*round_.commits, entry)
        self._put(self._digests, entry.digest, True)
        if len(commits) == len(round_.reserve.steps):
            self._finish(Round(round_.reserve, "done", commits))
        else:
            self._put(self._rounds, entry.round, Round(round_.reserve, "open", commits))

    def _forfeit(self, entry: Forfeit) -> None:
        """An open round ends; what it reserved stays spent."""
        round_ = self._open_round(entry.round)
        self._put(self._rounds, entry.round, Round(round_.reserve, "forfeited", round_.commits))

    def _refund(self, entry: Refund) -> None:
        """What a forfeited round reserved is free again: nothing was released, and all who were charged say nothing
        left them."""
        round_ = self._rounds.get(entry.round)
        if round_ is None or round_.state != "forfeited":
            raise Refused(f"round {entry.round} is not forfeited; only such a round can be refunded")
        if round_.commits:
            raise Refused(f"round {entry.round} has released something; it is never refunded, not in part either")
        if set(entry.signatures) != set(round_.reserve.charge):
            raise Refused("a refund must be signed by exactly the parties that were charged")
        body = refund_body(self.genesis.room, entry.round)
        for party in entry.signatures:
            self._check_party(party)
        keys = {party: self.members.parties[party].ed25519 for party in entry.signatures}
        check_each(keys, "refund", body, entry.signatures)
        self._spend(round_.reserve, price(round_.reserve.offered).person, sign=-1)
        self._finish(Round(round_.reserve, "refunded"))

    def _reuse(self, entry: Reuse) -> None:
        """A released plan was asked for again, for the very data it was released on; nothing is charged."""
        state, plan, datasets = self._finished.get(entry.round, ("", "", frozenset()))
        if state != "done" or plan != entry.plan or datasets != frozenset(entry.datasets.items()):
            raise Refused(f"round {entry.round} has not released this plan on these datasets")

    def _sent(self, entry: Egress) -> None:
        """A party's statement of all that it sent, once a day that is over, its log never shorter than before."""
        self._check_party(entry.party)
        number = day(entry.day).toordinal() - _EPOCH
        if number >= entry.time // DAY_S:
            raise Refused(f"the day {entry.day} is not over at {entry.time}")
        before = self._egress.get(entry.party)
        if before is not None:
            if entry.day <= before.day:
                raise Refused(f"{entry.party} has stated what it sent up to {before.day} already")
            if entry.size < before.size or (entry.size == before.size and entry.root != before.root):
                raise Refused(f"the log of what {entry.party} sent is not the one of {before.day}, grown")
        key = self.members.parties[entry.party].ed25519
        check(key, "egress", statement_body(entry, self.genesis.room), entry.signature, who=entry.party)
        self._put(self._egress, entry.party, entry)

    def _audited(self, entry: Audit) -> None:
        """An auditor, by a key of its own, has judged entries that there are. Whether its root is theirs, the logbook
        and the audit look: there is no tree here."""
        if entry.size > self._size:
            raise Refused(f"a verdict over {entry.size} entries, of {self._size}")
        if entry.key in self._keys_used:
            raise Refused("an auditor's key is its own, and no member's")
        what = (entry.key, entry.size, entry.bundle)
        if what in self._audits:
            raise Refused("this verdict is in the ledger already")
        body = statement_body(entry, self.genesis.room)
        check(public_key(entry.key), "audit", body, entry.signature, who=entry.auditor)
        self._put(self._audits, what, True)

    # --- what the rules are made of --------------------------------------------------------------------------------

    def _use_keys(self, member: str, *keys: str | None) -> None:
        for key in keys:
            if key is None:
                continue
            if key in self._keys_used:
                raise Refused(f"the new key of {member} has been in this room before")
            self._put(self._keys_used, key, member)

    def _set_caps(self, who: str, row: Mapping[str, int]) -> None:
        for block, cap in row.items():
            self._put(self._caps, (who, block), cap)

    def _spend(self, reserve: Reserve, person: int, sign: int = 1) -> None:
        for who, row in {**reserve.charge, PERSON: dict.fromkeys(reserve.blocks, person)}.items():
            for place, amount in (*row.items(), (LIFETIME, sum(row.values()))):
                self._put(self._spent, (who, place), self._spent.get((who, place), 0) + sign * amount)

    def _finish(self, round_: Round) -> None:
        """A round has ended for good. What is kept of it in every case is what a reuse is asked about."""
        name, reserve = round_.reserve.round, round_.reserve
        self._put(self._finished, name, (round_.state, reserve.plan, frozenset(reserve.datasets.items())))
        if self._keep == "all":
            self._put(self._rounds, name, round_)
        else:
            self._undo.append((self._rounds, name, self._rounds[name]))
            del self._rounds[name]

    def _open_round(self, name: str) -> Round:
        round_ = self._rounds.get(name)
        if name in self._finished:
            raise Refused(f"round {name} is {self._finished[name][0]}")
        if round_ is None:
            raise Refused(f"no round {name} was reserved")
        if round_.state != "open":
            raise Refused(f"round {name} is {round_.state}")
        return round_

    def _check_party(self, party: str) -> None:
        if party not in self.members.parties:
            raise Refused(f"{party} is not a party of this room with a key in force")

    def _check_blocks(self, blocks: Iterable[str]) -> None:
        unknown = set(blocks) - set(self._blocks)
        if unknown:
            raise Refused(f"no block {_list(unknown)} in this room")

    def _check_charged(self, entry: Reserve, whole: int) -> None:
        charged = set(entry.charge)
        outside = charged - set(self._plans[entry.plan].parties)
        if outside:
            raise Refused(f"{_list(outside)} is charged but not in the plan")
        for party in charged:
            self._check_party(party)
        check_charge(entry, whole)

    def _check_datasets(self, entry: Reserve) -> None:
        if set(entry.datasets) != set(entry.charge):
            raise Refused("the datasets named are not those of the charged parties")
        for party, version in entry.datasets.items():
            latest = self._datasets.get(party)
            if latest is None or latest.version != version:
                raise Refused(f"dataset {version} is not the latest that {party} declared")
            missing = set(entry.blocks) - set(latest.blocks)
            if missing:
                raise Refused(f"the dataset of {party} does not cover {_list(missing)}")

    def _check_holds(self, entry: Reserve, raw: bytes | None) -> None:
        if set(entry.holds) != set(entry.charge):
            raise Refused("the holds are not those of exactly the charged parties")
        body = entries.hold_bytes(entries.encode(entry) if raw is None else raw, self.genesis.room)
        parties = self.members.parties
        check_canonical({party: parties[party].ed25519 for party in entry.holds}, "hold", body, entry.holds)


def _member(entry: KeyChange | PartyChange) -> str:
    return entry.member if isinstance(entry, KeyChange) else entry.party


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
