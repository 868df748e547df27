"""The auditor finds nothing in a clean room, and every change of its archive, entries, checkpoints or cosignatures."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest

from protocols import audit, bundle
from protocols.budget import decimal
from protocols.errors import CannotDecide
from protocols.ledger import entries, notes
from protocols.ledger.trust import Group, Quorum
from tests.protocols.audit.members import ALL, QUORUM, bodies_of, cosigners, first

# --- clean ------------------------------------------------------------------------------------------------------------


def test_a_clean_room_is_clean_in_every_check(verdict, clean) -> None:
    findings = verdict(clean)
    assert findings.violations == ()
    assert {check.name for check in findings.checks if check.state != "ok"} == {"since"}
    assert (findings.room, findings.entries, findings.releases, findings.forfeits) == ("demo-room", 10, 2, 1)
    assert findings.numbers == sum(
        len(e.numbers) for e in map(entries.decode, bodies_of(clean)) if e.type == "commit@v1"
    )
    assert findings.numbers > 0
    assert all(check.meaning and (check.looked_at or check.name == "since") for check in findings.checks)


def test_budgets_are_told_per_record_and_per_person_in_rho_and_epsilon(verdict, clean) -> None:
    lines = {(line.who, line.block): line for line in verdict(clean).budgets}
    assert decimal(lines["alpha", "q1"].spent) == "0.036"
    assert decimal(lines["alpha", "lifetime"].spent) == "0.072"
    assert decimal(lines["person", "q1"].spent) == "0.108"
    assert decimal(lines["person", "lifetime"].spent) == "0.216"
    assert lines["gamma", "q3"].spent == 0
    assert lines["gamma", "q3"].cap == 60_000_000
    assert set(lines["alpha", "q1"].epsilon) == {"0.000001"}
    assert 1.23 < lines["alpha", "q1"].epsilon["0.000001"] < 1.24
    assert len(lines) == 16


# --- the archive ------------------------------------------------------------------------------------------------------


def test_what_is_no_whole_archive_cannot_be_decided(room, clean) -> None:
    data = bundle.pack(clean)
    for piece in (b"", b"no archive" * 200, data[:5000]):
        with pytest.raises(CannotDecide):
            audit.verify(piece, room.policy())


def test_after_an_archive_with_hidden_bytes_nothing_else_is_reached(room, clean) -> None:
    findings = audit.verify(bundle.pack(clean) + bytes(512), room.policy())
    assert first(findings)[:2] == ("archive", "archive")
    states = {check.name: check.state for check in findings.checks[1:]}
    assert states.pop("since") == "not asked"
    assert set(states.values()) == {"not reached"}
    assert (findings.room, findings.root, findings.budgets, findings.numbers) == (None, None, (), 0)


def changed_somewhere(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :]


@pytest.mark.parametrize("member", ["ledger/checkpoints/0000000007", "ledger/entries"])
def test_no_changed_byte_of_an_entry_or_a_checkpoint_stays_unseen(verdict, clean, member) -> None:
    data = clean[member]
    where = range(len(data)) if member != bundle.ENTRIES else range(data.index(b"\n") + 1, data.index(b"\n") + 415)
    for at in where:
        assert verdict({**clean, member: changed_somewhere(data, at)}).violations, at


def test_no_changed_byte_of_the_archive_passes(room, clean) -> None:
    data = bundle.pack(clean)
    for at in range(3, len(data), 41):
        with contextlib.suppress(CannotDecide):
            assert audit.verify(changed_somewhere(data, at), room.policy()).violations, at


# --- entries and checkpoints ------------------------------------------------------------------------------------------


def test_every_deletion_swap_duplication_and_truncation_of_entries_is_found(verdict, clean) -> None:
    bodies = bodies_of(clean)
    others = [bodies[:i] for i in range(len(bodies))]
    others += [bodies[:i] + bodies[i + 1 :] for i in range(len(bodies))]
    others += [bodies[: i + 1] + bodies[i:] for i in range(len(bodies))]
    others += [[*bodies[:i], bodies[i + 1], bodies[i], *bodies[i + 2 :]] for i in range(len(bodies) - 1)]
    for other in others:
        assert verdict({**clean, bundle.ENTRIES: bundle.join_entries(other)}).violations


def test_an_entry_that_cannot_be_read_is_named(verdict, clean) -> None:
    bodies = bodies_of(clean)
    other = [*bodies[:3], bodies[3].replace(b"dataset@v1", b"dataset@v9"), *bodies[4:]]
    findings = verdict({**clean, bundle.ENTRIES: bundle.join_entries(other)})
    assert first(findings)[:2] == ("entries", "entry 3")
    headless = verdict({**clean, bundle.ENTRIES: bundle.join_entries(bodies[1:])})
    assert first(headless) == ("entries", "entry 0", "the first entry is not a genesis")
    assert first(verdict({**clean, bundle.ENTRIES: b""}))[0] == "entries"
    assert first(verdict({**clean, bundle.ENTRIES: b"{}"}))[:2] == ("entries", bundle.ENTRIES)


def test_entries_that_were_not_signed_are_named_by_the_checkpoint_they_contradict(verdict, clean, room) -> None:
    bodies = bodies_of(clean)
    other = [*bodies[:5], entries.encode(room.reserve(5, expires=1_700_009_999)), *bodies[6:]]
    findings = verdict({**clean, bundle.ENTRIES: bundle.join_entries(other)})
    assert first(findings) == (
        "checkpoints", "ledger/checkpoints/0000000006", "entries 5 to 5 are not those that were signed",
    )  # fmt: skip


def test_a_checkpoint_is_in_its_one_form_under_its_own_name_and_not_beyond_the_end(verdict, clean, room, built) -> None:
    five, six = bundle.checkpoint_name(5), bundle.checkpoint_name(6)
    lines = clean[five].decode().splitlines(keepends=True)
    swapped = "".join([*lines[:-2], lines[-1], lines[-2]]).encode()
    beyond = bundle.checkpoint_name(11)
    bodies = bodies_of(clean)
    more = built.signed_members(room, [*bodies, entries.encode(room.forfeit(10, "x"))], {11: ALL})
    for members, where in (
        ({**clean, five: swapped}, five),
        ({**clean, six: clean[five]}, six),
        ({**clean, beyond: more[beyond]}, beyond),
        ({**clean, five: b"\xff\xfe"}, five),
        ({name: data for name, data in clean.items() if not name.startswith("ledger/c")}, bundle.CHECKPOINTS),
    ):
        assert first(verdict(members))[:2] == ("checkpoints", where)


def test_a_history_signed_by_another_coordinator_is_refused(verdict, clean, built) -> None:
    other = built.Room()
    other.identity = built.identity("another coordinator")
    forged = built.signed_members(other, bodies_of(clean), cosigners(clean))
    assert first(verdict({**clean, **forged}))[0] == "checkpoints"


# --- identity and cosignatures ----------------------------------------------------------------------------------------


def test_a_room_of_others_than_the_policy_names_is_refused(verdict, clean, room, built) -> None:
    policy = room.policy()
    (stranger,) = notes.cosigner_keys("delta", built.identity("delta").public())
    (another,) = notes.cosigner_keys("gamma", built.identity("other").public())
    fewer = {name: key for name, key in policy.witnesses.items() if key.name != "gamma"}
    swapped = {**fewer, "gamma": another}
    for other, what in (
        (replace(policy, log=built.log_keys(origin="room.example/other")), "are not the log"),
        (replace(policy, log=built.log_keys("other")), "are not the log"),
        (replace(policy, witnesses=fewer), "gamma is no witness in the policy"),
        (replace(policy, witnesses={**policy.witnesses, "delta": stranger}), "witness delta of the policy"),
        (replace(policy, witnesses=swapped), "witness gamma of the policy"),
    ):
        name, where, found = first(verdict(clean, other))
        assert (name, where) == ("identity", "entry 0")
        assert what in found


@pytest.mark.parametrize("size", [5, 6, 7, 9])
def test_what_spends_or_is_released_needs_the_cosignature_of_every_party(verdict, clean, room, built, size) -> None:
    forged = built.signed_members(room, bodies_of(clean), {**cosigners(clean), size: QUORUM})
    name, where, what = first(verdict({**clean, **forged}))
    assert (name, where) == ("cosignatures", bundle.checkpoint_name(size))
    assert "gamma is missing" in what


def test_what_ends_a_round_needs_the_quorum(verdict, clean, room, built) -> None:
    forged = built.signed_members(room, bodies_of(clean), {**cosigners(clean), 10: ("beta",)})
    name, where, what = first(verdict({**clean, **forged}))
    assert (name, where) == ("cosignatures", bundle.checkpoint_name(10))
    assert "fewer than the quorum of 2" in what


def test_a_checkpoint_left_out_does_not_spare_its_entries_their_cosigners(verdict, clean) -> None:
    without = {name: data for name, data in clean.items() if name != bundle.checkpoint_name(9)}
    assert first(verdict(without))[:2] == ("cosignatures", bundle.checkpoint_name(10))


def test_the_last_checkpoint_covers_everything(verdict, clean) -> None:
    without = {name: data for name, data in clean.items() if name != bundle.checkpoint_name(10)}
    assert first(verdict(without))[:2] == ("cosignatures", "entry 9")


def test_the_auditors_own_quorum_counts_too(verdict, clean, room) -> None:
    strict = replace(room.policy(), quorum=Quorum("every", {**room.policy().quorum.groups, "every": Group(3, ALL)}))
    name, where, what = first(verdict(clean, strict))
    assert (name, where) == ("cosignatures", bundle.checkpoint_name(10))
    assert "own quorum, every" in what


# --- two keys beside each other ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def both(built):
    return built.Room(both=True)


@pytest.fixture(scope="module")
def double(both, tmp_path_factory) -> dict[str, bytes]:
    members: dict[str, bytes] = both.whole(tmp_path_factory.mktemp("both") / "log.db")
    return members


def test_a_history_signed_with_two_keys_by_everybody_is_clean(verdict, both, double) -> None:
    assert verdict(double, both.policy()).violations == ()


def test_a_policy_without_the_second_keys_of_the_room_is_refused(verdict, both, double) -> None:
    policy = both.policy()
    first_keys = {name: key for name, key in policy.witnesses.items() if key.kind == notes.COSIGNER}
    for other in (replace(policy, log=policy.log[:1]), replace(policy, witnesses=first_keys)):
        assert first(verdict(double, other))[:2] == ("identity", "entry 0")


@pytest.mark.parametrize("kept", [0, 1], ids=["Ed25519", "ML-DSA-44"])
@pytest.mark.parametrize("who", ["room.example/demo", "alpha"])
def test_a_history_signed_with_one_of_two_keys_is_refused(verdict, both, double, who: str, kept: int) -> None:
    name = bundle.checkpoint_name(10)
    checkpoint, lines = notes.split(double[name].decode())
    own = sorted((line for line in lines if line.startswith(f"— {who} ")), key=len)
    fewer = notes.assemble(checkpoint, "".join(line for line in lines if line not in own or line == own[kept]))
    found = first(verdict({**double, name: fewer.encode()}, both.policy()))
    assert found[:2] == ("checkpoints", name)
    assert found[2] == f"{who} has not signed with all its keys"
