"""Bundles of ledgers that hypothesis makes: rounds, releases, members that come and go, and now and then one thing that
is wrong. What matters is that both auditors say the same of each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from protocols import bundle, keys, release
from protocols.encoding import digest
from protocols.ledger import notes
from protocols.ledger.notes import Checkpoint
from protocols.ledger.tree import Tree, leaf_hash
from protocols.ledger.trust import TrustPolicy
from tests.ledger import builder, naive
from tests.ledger.changes import CHANGES, STATEMENTS, Body, KeyRing
from tests.ledger.drafts import SPOIL, Drafts

KINDS = ("reserve", "commit", "commit", "reserve", "forfeit", "dataset", *STATEMENTS, *CHANGES)
STRONG = ("genesis", "key", "party", "grant", "dataset", "plan", "reserve")
WRONG = ("nothing", "nothing", "nothing", "entry", "field", "cosigner", "release", "proof", "member", "root")


class Made:
    """A history, the releases of its commits, and a checkpoint after every entry that the rules want one after."""

    def __init__(self, draw: Callable[[Any], Any]) -> None:
        self.draw, self.room, self.ring = draw, builder.Room(), KeyRing()
        self.history: list[Body] = [entry.body() for entry in self.room.opening()]
        self.bodies: dict[str, dict[str, release.Body]] = {}
        self.commits: dict[int, release.Body] = {}
        self.now = builder.START + 86_400
        self.wrong = draw(st.sampled_from(WRONG))

    def one(self, *choices: Any) -> Any:
        return choices[self.draw(st.integers(0, len(choices) - 1))]

    def grow(self) -> None:
        for _ in range(self.draw(st.integers(0, 8))):
            self.now += self.one(1, 10, 86_400)
            body = self._next(self.one(*KINDS), lambda strategy: 0 if strategy is SPOIL else self.draw(strategy))
            if body is not None and self._allowed(body):
                self._take(body)
        if self.wrong == "entry":
            body = self._next(self.one(*KINDS), lambda strategy: 1 if strategy is SPOIL else self.draw(strategy))
            if body is not None:
                self._take(body)
        if self.wrong == "field":
            self._spoil_a_field()

    def _allowed(self, body: Body) -> bool:
        try:
            naive.check(self.history, naive.read(naive.spelled(body)))
        except naive.No:
            return False
        return True

    def _take(self, body: Body) -> None:
        self.history.append(body)
        if body["type"] == "commit@v1" and body["round"] in self.bodies:
            self.commits[len(self.history) - 1] = self.bodies[body["round"]][body["step"]]

    def _spoil_a_field(self) -> None:
        """Of any entry: its signatures no longer fit, or a sum."""
        at = self.draw(st.integers(0, len(self.history) - 1))
        entry = self.history[at]
        name = self.one(*sorted(entry))
        value = entry[name]
        other: Any = {str: "0", int: 1, list: [], dict: {}}[type(value)]
        if isinstance(value, str):
            other = self.one("0", value + "0", value[:-1], "alpha", "00" * 16)
        if isinstance(value, int):
            other = value + self.one(1, -1)
        if isinstance(value, list | dict) and value:
            first = sorted(value, key=str)[0]
            other = value[1:] if isinstance(value, list) else {k: v for k, v in value.items() if k != first}
        self.history[at] = {**entry, name: other}

    def _next(self, kind: str, draw: Callable[[Any], Any]) -> Body | None:
        drafts = Drafts(self.room, self.history, self.now, draw, self.ring)
        if kind == "reserve":
            label = f"round {len(self.history)}"
            body = self.room.reserve(len(self.history), label, time=self.now, expires=self.now + 10**6).body()
            datasets = {
                party: [one["version"] for one in naive.of_type(self.history, "dataset") if one["party"] == party][-1]
                for party in self.room.parties
            }
            self.bodies[body["round"]] = {made.step: made for made in self.room.bodies(label)}
            return drafts._signed({**body, "datasets": datasets}, True)
        if kind == "commit":
            return self._commit()
        return drafts.make(kind)

    def _commit(self) -> Body | None:
        open_ = [
            entry for entry in naive.of_type(self.history, "reserve") if naive.is_open(self.history, entry["round"])
        ]
        if not open_ or open_[0]["round"] not in self.bodies:
            return None
        reserve = open_[0]
        step = reserve["steps"][len(naive.of_round(self.history, reserve["round"])[1])]["step"]
        body = self.bodies[reserve["round"]][step]
        made = self.room.commit(len(self.history), step=step, digest=body.digest, numbers=body.numbers, time=self.now)
        return {**made.body(), "round": reserve["round"]}

    # -- the bundle ----------------------------------------------------------------------------------------------------

    def bundle(self) -> bytes:
        lines = [naive.spelled(entry) for entry in self.history]
        tree, noted = Tree(), dict[int, str]()
        for size, line in enumerate(lines, 1):
            tree.append(leaf_hash(line))
            strong = self.history[size - 1]["type"].split("@")[0] in STRONG
            if strong or size == len(lines) or size - 1 in self.commits or self.one(False, True):
                note = self._note(size, tree.root())
                noted |= {} if note is None else {size: note}
        members = {
            bundle.ENTRIES: bundle.join_entries(lines),
            bundle.plan_name(self.room.plan.digest): self.room.plan.canonical,
        }
        members |= {bundle.checkpoint_name(size): note.encode() for size, note in noted.items()}
        for at, body in self.commits.items():
            later = [size for size in noted if size > at]
            if later:
                made = self._release(body, at, later[0], tree)
                members[bundle.release_name(body.round, body.step)] = made.to_bytes()
        members = builder.proved(members)
        if self.wrong == "member":
            name = self.one(*sorted(members))
            members = {at: data for at, data in members.items() if at != name}
        return bundle.pack(members)

    def _note(self, size: int, root: bytes) -> str | None:
        now = naive.members(self.history[:size])
        if not now.get("coordinator"):
            return None
        wrong_root = self.wrong == "root" and self.one(False, True)
        checkpoint = Checkpoint(builder.ORIGIN, size, hashlib.sha256(root).digest() if wrong_root else root)
        time = self.history[size - 1]["time"]
        cosigners = [party for party, member in now["parties"].items() if member]
        if self.wrong == "cosigner" and self.one(False, True):
            cosigners.remove(self.one(*cosigners))
        lines = [notes.cosign(checkpoint, who, self.ring.identity(now["parties"][who]), time) for who in cosigners]
        return notes.assemble(checkpoint, notes.sign(checkpoint, self.ring.identity(now["coordinator"]), time), lines)

    def _release(self, body: release.Body, at: int, size: int, tree: Tree) -> release.Release:
        path = [keys.base64_text(node) for node in tree.inclusion(at, size)]
        if self.wrong == "proof" and path:
            path = path[:-1] if self.one(False, True) else [*path[:-1], path[0]]
        coordinator = naive.members(self.history[:size])["coordinator"]
        made = release.sign(body, self.ring.identity(coordinator).ed25519, at, release.Proof(size=size, path=path))
        if self.wrong == "release":
            changes = [{"salt": digest(b"")}, {"survivors": body.survivors[:-1]}, {"charge_record": 1}]
            made = made.model_copy(update={"body_": body.model_copy(update=self.one(*changes))})
        return made

    def policy(self) -> TrustPolicy:
        """The keys of the genesis."""
        return self.room.policy()
