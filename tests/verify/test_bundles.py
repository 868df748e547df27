"""What the second auditor asks of a bundle as a whole, one thing wrong at a time; the first auditor says the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from protocols import bundle, encoding, keys, release, verify
from protocols.ledger import entries, notes, trust
from protocols.ledger.tree import Tree, leaf_hash
from protocols.ledger.trust import Group, Quorum, TrustPolicy
from tests.ledger import builder
from tests.ledger.builder import PARTIES
from tests.specs.readers import golden
from tests.verify import judges

Members = dict[str, bytes]
ROOM = builder.Room()


def both(members: Members, policy: TrustPolicy | None = None) -> tuple[int, str]:
    """What both say, and why the second does."""
    archive, policy = bundle.pack(members), policy or ROOM.policy()
    second, why = judges.second(archive, policy)
    assert second == judges.product(archive, policy)[0], why
    return second, "; ".join(why)


def ledger(*more: entries.Entry, by: tuple[str, ...] = PARTIES, before: tuple[str, ...] = PARTIES) -> Members:
    """The opening and more, with a checkpoint after the opening, and one after all of it."""
    bodies = [entries.encode(entry) for entry in (*ROOM.opening(), *more)]
    cosigned = {5: before, len(bodies): by}
    members: Members = builder.signed_members(ROOM, bodies, cosigned)
    return {**members, bundle.plan_name(ROOM.plan.digest): ROOM.plan.canonical}


def reserve(**changes: Any) -> entries.Entry:
    return ROOM.reserve(5, **changes)


def test_a_ledger_that_is_opened_and_one_that_has_reserved_are_clean() -> None:
    assert both(ledger()) == (0, "")
    assert both(ledger(reserve())) == (0, "")


@pytest.mark.parametrize("last", ["genesis", "dataset", "plan", "reserve", "forfeit"])
@pytest.mark.parametrize("cosigners", [("alpha", "beta"), ("alpha",)])
def test_who_must_have_cosigned(last: str, cosigners: tuple[str, ...]) -> None:
    history = [*ROOM.opening(), reserve(), ROOM.forfeit(6)]
    size = {"genesis": 1, "dataset": 4, "plan": 5, "reserve": 6, "forfeit": 7}[last]
    bodies = [entries.encode(entry) for entry in history[:size]]
    cosigned = {size: cosigners} if last == "genesis" else {size - 1: PARTIES, size: cosigners}
    members: Members = builder.signed_members(ROOM, bodies, cosigned)
    if size >= 5:
        members[bundle.plan_name(ROOM.plan.digest)] = ROOM.plan.canonical
    status, why = both(members)
    assert status == (0 if last == "forfeit" and len(cosigners) == 2 else 1)
    assert not status or "lacks the cosignature" in why


BLOCKS, CAPS = ROOM.genesis().body()["blocks"], ROOM.genesis().body()["caps"]


@pytest.mark.parametrize(
    "changes",
    [
        {"blocks": {}, "caps": {**CAPS, "record": {party: {} for party in PARTIES}, "person": {}}},
        {"blocks": {**BLOCKS, "lifetime": {"first": "2019-01-01", "last": "2019-12-31"}}},
        {"caps": {**CAPS, "record": {**CAPS["record"], "person": CAPS["person"]}}},
        {"caps": {**CAPS, "record": {**CAPS["record"], "alpha": {**CAPS["person"], "lifetime": 1}}}},
        {"caps": {**CAPS, "lifetime_record": {**CAPS["lifetime_record"], "person": 1}}},
        {"caps": {**CAPS, "person": {**CAPS["person"], "lifetime": 1}}},
        {"caps": {**CAPS, "person": {}}},
        {"origin": "alpha"},
        {"cosign_quorum": 4},
    ],
)
def test_a_genesis_with_other_caps_blocks_or_names(changes: dict[str, Any]) -> None:
    line = encoding.canonical({**ROOM.genesis().body(), **changes})
    assert both(builder.signed_members(ROOM, [line], {1: PARTIES}))[0] == 1


def steps(**noise: Any) -> list[dict[str, Any]]:
    """The plan's steps with other noise, charged as it costs."""
    changed = []
    for step in ROOM.steps("one"):
        made = {**step["mechanism"], **noise}
        variance = verify.cost(made, max(1, made["quorum"] - made["collusion"]))
        changed.append({**step, "mechanism": made, "charge": variance})
    return changed


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"blocks": ["q1"]}, "charges other blocks"),
        ({"steps": steps(collusion=1)}, "other steps or noise"),
        ({"steps": steps(variance="249")}, "other steps or noise"),
        ({"steps": steps(variance="251")}, "other steps or noise"),
        ({"steps": steps(slots=15)}, "other steps or noise"),
        ({"steps": steps(sensitivity_sq=4)}, "other steps or noise"),
        ({"steps": steps()[::-1]}, "other steps or noise"),
        ({"steps": steps()[:1]}, "other steps or noise"),
    ],
)
def test_a_reserve_that_is_not_its_plans(changes: dict[str, Any], why: str) -> None:
    status, found = both(ledger(reserve(**changes)))
    assert status == 1
    assert why in found


def test_a_reserve_from_data_of_another_table_or_cap() -> None:
    for changes in ({"people_cap": 4999}, {"schema_digest": "0" * 64}):
        first, *others = [ROOM.dataset(seq, party) for seq, party in enumerate(PARTIES, 1)]
        changed = ROOM.dataset(1, "alpha", **changes)
        assert changed != first
        history = [ROOM.genesis(), changed, *others, ROOM.plan_entry(4), reserve()]
        members: Members = builder.signed_members(ROOM, [entries.encode(one) for one in history], {6: PARTIES})
        status, why = both({**members, bundle.plan_name(ROOM.plan.digest): ROOM.plan.canonical})
        assert (status, "another table or cap" in why) == (1, True)


def test_a_plan_that_is_missing_or_another_or_too_many() -> None:
    name, other = bundle.plan_name(ROOM.plan.digest), golden("plan/good-segments-of-three.json")
    members = ledger()
    assert both({at: data for at, data in members.items() if at != name})[0] == 1
    assert both({**members, name: other})[0] == 1
    assert both({**members, bundle.plan_name("0" * 64): other})[0] == 1


# -- checkpoints -------------------------------------------------------------------------------------------------------


def last_note(members: Members, change: Callable[[bytes], bytes]) -> Members:
    name = max(at for at in members if at.startswith(bundle.CHECKPOINTS))
    return {**members, name: change(members[name])}


def swapped(note: bytes) -> bytes:
    head, lines = note.split(b"\n\n")
    log, first, second, *more = lines.splitlines(keepends=True)
    return head + b"\n\n" + b"".join([log, second, first, *more])


@pytest.mark.parametrize(
    "change",
    [
        swapped,
        lambda note: note.replace(b"\n5\n", b"\n6\n"),
        lambda note: note + note.splitlines(keepends=True)[-1],
        lambda note: note[:-1],
        lambda note: note.replace(b"alpha", b"delta"),
    ],
)
def test_a_checkpoint_that_was_changed(change: Callable[[bytes], bytes]) -> None:
    assert both(last_note(ledger(), change))[0] == 1


def test_a_checkpoint_under_another_name_or_of_another_history_or_of_none() -> None:
    members = ledger()
    note = members[bundle.checkpoint_name(5)]
    without = {at: data for at, data in members.items() if at != bundle.checkpoint_name(5)}
    assert both({**without, bundle.checkpoint_name(4): note})[0] == 1
    assert both({**members, bundle.checkpoint_name(6): note})[0] == 1
    assert judges.second(bundle.pack(without), ROOM.policy())[0] == 1
    tree = Tree()
    for entry in ROOM.opening()[:4]:
        tree.append(leaf_hash(entries.encode(entry)))
    for size, root in ((5, tree.root()), (4, bytes(32))):
        checkpoint = notes.Checkpoint(builder.ORIGIN, size, root)
        lines = [notes.cosign(checkpoint, party, builder.identity(party), builder.START) for party in PARTIES]
        forged = notes.assemble(checkpoint, notes.sign(checkpoint, ROOM.identity, builder.START), lines)
        assert both({**members, bundle.checkpoint_name(size): forged.encode()})[0] == 1


# -- policy ------------------------------------------------------------------------------------------------------------


def test_keys_that_were_never_those_in_force_and_a_quorum_that_has_not_cosigned() -> None:
    members, good = bundle.unpack(golden("bundle/good-room.tar")), ROOM.policy()
    assert both(members, good)[0] == 0
    for other in (
        builder.Room(("alpha", "beta"), collusion=1, quorum=2),
        builder.Room(builder.FIVE, quorum=4, collusion=1),
    ):
        assert both(members, other.policy())[0] == 1
    groups = {**good.quorum.groups, "parties": Group(3, PARTIES)}  # the last checkpoint is by two
    assert both(members, TrustPolicy(good.log, good.witnesses, Quorum("parties", groups)))[0] == 1


# -- releases ----------------------------------------------------------------------------------------------------------


def released(*, commit: dict[str, Any] | None = None, body: dict[str, Any] | None = None, **proof: Any) -> Members:
    """One release, of which the commit, the body, or what proves it is another."""
    made = ROOM.bodies()[0]
    made = made.model_copy(update=body or {})
    entry = ROOM.commit(6, digest=made.digest, numbers=made.numbers, survivors=made.survivors)
    entry = entries.build({**entry.body(), **(commit or {})})
    members = ledger(reserve(), entry)
    tree = Tree()
    for line in bundle.split_entries(members[bundle.ENTRIES]):
        tree.append(leaf_hash(line))
    path = [keys.base64_text(node) for node in tree.inclusion(6, 7)]
    signer = proof.pop("by", ROOM.coordinator)
    signed = release.sign(made, signer, proof.pop("entry", 6), release.Proof(size=7, path=path))
    return builder.proved({**members, bundle.release_name(made.round, made.step): signed.to_bytes()})


def test_a_release_in_its_place_is_clean() -> None:
    assert both(released()) == (0, "")


@pytest.mark.parametrize(
    "changes",
    [
        {"commit": {"numbers": ["/size"]}},
        {"commit": {"recipients": ["alpha"]}},
        {"commit": {"digest": "0" * 64}},
        {"body": {"nonce": "0" * 32}},
        {"body": {"charge_record": 1}},
        {"body": {"charge_person": 1}},
        {"body": {"plan": "0" * 64}},
        {"body": {"room": "other-room"}},
        {"body": {"noised": [4000] * 15}},
        {"entry": 5},
        {"by": builder.key("alpha")},
    ],
)
def test_a_release_that_is_not_what_the_ledger_says(changes: dict[str, Any]) -> None:
    assert both(released(**changes))[0] == 1


def test_a_release_that_is_missing_and_one_that_no_entry_commits() -> None:
    members = bundle.unpack(golden("bundle/good-room.tar"))
    name = next(at for at in members if at.startswith(bundle.RELEASES))
    assert both({at: data for at, data in members.items() if at != name})[0] == 1
    stranger = bundle.release_name("0" * 32, "rfm-cuts")
    assert both({**members, stranger: members[name]})[0] == 1


def test_a_proof_that_is_missing_or_another_and_one_that_no_entry_commits() -> None:
    members = bundle.unpack(golden("bundle/good-room.tar"))
    first, second = [at for at in members if at.endswith(".tlog-proof")]
    status, why = both({at: data for at, data in members.items() if at != first})
    assert (status, f"{first}: missing" in why) == (1, True)
    assert both({**members, first: members[second]})[0] == 1
    assert both({**members, bundle.proof_name("0" * 32, "rfm-cuts"): members[first]})[0] == 1


def test_what_each_line_of_json_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "policy.txt").write_text(trust.render(ROOM.policy()))
    (tmp_path / "room.tar").write_bytes(golden("bundle/good-room.tar"))
    arguments = [str(tmp_path / "room.tar"), "--policy", str(tmp_path / "policy.txt"), "--json"]
    assert verify.main(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {"verdict", "checks", "spent_nano_rho", "not_checked"}
    assert told["verdict"] == "clean"
    assert [check[0] for check in told["checks"]] == ["archive", "entries", "checkpoints", "plans", "releases"]
    assert ["alpha", "q1", 36_000_000, 60_000_000] in told["spent_nano_rho"]
    (tmp_path / "policy.txt").write_text("nothing\n")
    assert verify.main(arguments) == 2
    assert json.loads(capsys.readouterr().out)["verdict"] == "undecided"


@pytest.mark.parametrize(
    "tree",
    [
        {"a": {"value": "1"}},
        {"a": {"value": "1", "low": "0"}},
        {"a": {"value": "1", "low": "0", "high": "2", "more": "3"}},
        {"a": {"value": 1, "low": "0", "high": "2"}},
        {"a": {}},
        {"a": []},
        {"a": "1"},
    ],
)
def test_what_is_no_figure(tree: Any) -> None:
    with pytest.raises(verify.Violation):
        verify.pointers(tree)


def test_the_paths_of_figures() -> None:
    figure = {"value": "1", "low": "0", "high": "2"}
    tree = {"a/b": {"c~": figure}, "d": {**figure, "consistent": "1"}, "e": {"value": "too noisy"}}
    assert verify.pointers(tree) == ["/a~1b/c~0", "/d", "/e"]
    assert verify.pointers({}) == []
