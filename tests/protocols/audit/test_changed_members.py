"""Keys and parties that change: whose policy fits, who carries what, and what an auditor is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocols import audit, bundle, keys
from protocols.ledger import entries, notes
from protocols.ledger.changes import change_body
from tests.protocols.audit.members import ALL, first

NEW = "gamma, once more"


@pytest.fixture
def rotated(room, built):
    """gamma rotates its key in entry 5; checkpoints of these sizes, in which gamma signs by the key in force."""

    def _rotated(*sizes: int, old_until: int = 5) -> dict[str, bytes]:
        body = {
            "type": "key@v1", "seq": 5, "time": built.START + 5, "action": "rotate", "member": "gamma",
            "key": keys.public_text(built.key(NEW)), "others": {},
        }  # fmt: skip
        draft = entries.build({**body, "own": {"old": "AAAA", "new": "AAAA"}})
        said = change_body(draft, built.ROOM)
        own = {"old": keys.sign(built.key("gamma"), "change", said), "new": keys.sign(built.key(NEW), "change", said)}
        change = entries.build({**body, "own": own})
        raw = [entries.encode(entry) for entry in (*room.opening(), change, room.reserve_signed(6, built))]
        before = built.signed_members(room, raw, {size: ALL for size in sizes if size <= old_until})
        after = built.signed_members(_Renamed(room, built), raw, {size: ALL for size in sizes if size > old_until})
        plan = bundle.plan_name(room.plan.digest)
        return {**before, **after, plan: room.plan.canonical}

    return _rotated


class _Renamed:
    """The room, whose gamma cosigns by its new key."""

    def __init__(self, room, built) -> None:
        self.identity, self._built = room.identity, built

    def cosigned_by(self, party, checkpoint):
        signer = NEW if party == "gamma" else party
        return notes.cosign(checkpoint, party, self._built.identity(signer), self._built.START)


@pytest.fixture
def room(built):
    class Rotating(built.Room):
        def reserve_signed(self, seq: int, made) -> entries.Entry:
            """A reserve that gamma holds by its new key."""
            reserve = self.reserve(seq)
            hold = keys.sign(made.key(NEW), "hold", entries.signed_body(reserve, made.ROOM))
            return entries.build({**reserve.body(), "holds": {**reserve.holds, "gamma": hold}})

    return Rotating()


@pytest.fixture
def later(room, built):
    """The policy with gamma's new key."""
    policy = room.policy()
    name = next(name for name, key in policy.witnesses.items() if key.name == "gamma")
    (new,) = notes.cosigner_keys("gamma", built.identity(NEW).public())
    return replace(policy, witnesses={**policy.witnesses, name: new})


def test_a_policy_of_the_first_keys_and_one_of_the_later_keys_both_fit(verdict, rotated, room, later) -> None:
    members = rotated(5, 7)
    for policy in (room.policy(), later):
        findings = verdict(members, policy)
        assert findings.violations == ()
    assert "the keys of the policy came with entry 5" in findings.checks[4].looked_at


def test_what_changed_is_told(verdict, rotated, room) -> None:
    (event,) = [event for event in verdict(rotated(5, 7), room.policy()).events if event.kind == "key"]
    assert event.entry == 5
    assert "gamma has new keys in the place of its old ones, signed by itself" in event.what


def test_a_policy_whose_keys_have_signed_nothing_here_is_not_believed(verdict, rotated, room) -> None:
    name, where, what = first(verdict(rotated(7), room.policy()))
    assert (name, where) == ("identity", "entry 0")
    assert "no checkpoint is here by exactly the keys of the policy" in what


def test_what_came_before_a_change_may_be_carried_by_a_checkpoint_after_it(verdict, rotated, later) -> None:
    assert verdict(rotated(7), later).violations == ()


def test_an_old_key_signs_no_later_checkpoint(verdict, rotated, room) -> None:
    name, where, what = first(verdict(rotated(5, 7, old_until=7), room.policy()))
    assert (name, where) == ("checkpoints", bundle.checkpoint_name(7))
    assert "unknown key" in what


def test_keys_that_were_never_in_force_are_not_those_of_the_room(verdict, rotated, room, built) -> None:
    policy = room.policy()
    name = next(name for name, key in policy.witnesses.items() if key.name == "gamma")
    (other,) = notes.cosigner_keys("gamma", built.identity("somebody").public())
    wrong = replace(policy, witnesses={**policy.witnesses, name: other})
    assert first(verdict(rotated(5, 7), wrong))[0] == "identity"


def test_the_verdict_is_of_every_check() -> None:
    assert list(audit.MEANINGS) == list(audit.NEEDS)
