"""The auditor finds what was changed, never agreed or never paid for; and finds nothing in a clean room."""

from __future__ import annotations

import contextlib
import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from protocols import audit, bundle, keys, release
from protocols.budget import MICRO, decimal, micro
from protocols.encoding import canonical, digest
from protocols.errors import CannotDecide
from protocols.ledger import entries, notes
from protocols.ledger.reducer import Balance
from protocols.ledger.trust import Group, Quorum
from protocols.verdict import Findings

BUILDER = Path(__file__).parents[1] / "ledger" / "builder.py"
ALL, QUORUM = ("alpha", "beta", "gamma"), ("alpha", "beta")


@pytest.fixture(scope="module")
def built():
    spec = importlib.util.spec_from_file_location("sumroom_tests_audit_builder", BUILDER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def room(built):
    return built.Room()


@pytest.fixture(scope="module")
def clean(room, tmp_path_factory) -> dict[str, bytes]:
    members: dict[str, bytes] = room.whole(tmp_path_factory.mktemp("room") / "log.db")
    return members


@pytest.fixture
def verdict(room):
    """members → the findings of a canonical archive of them."""
    return lambda members, policy=None: audit.verify(bundle.pack(members), policy or room.policy())


def bodies_of(members: dict[str, bytes]) -> list[bytes]:
    return bundle.split_entries(members[bundle.ENTRIES])


def cosigners(members: dict[str, bytes]) -> dict[int, tuple[str, ...]]:
    """Who signed which checkpoint of a clean room."""
    found = {}
    for name, data in members.items():
        if name.startswith(bundle.CHECKPOINTS):
            checkpoint, lines = notes.split(data.decode())
            found[checkpoint.size] = tuple(line.split(" ")[1] for line in lines[1:])
    return found


def first(findings: Findings) -> tuple[str, str, str]:
    """(check, where, what) of the first violation; the checks before it are clean."""
    for check in findings.checks:
        if check.state != "ok":
            assert check.state == "violation"
            return check.name, check.problems[0].where, check.problems[0].what
    raise AssertionError("clean")


# --- clean ------------------------------------------------------------------------------------------------------------


def test_a_clean_room_is_clean_in_every_check(verdict, clean) -> None:
    findings = verdict(clean)
    assert findings.violations == ()
    assert {check.state for check in findings.checks} == {"ok"}
    assert (findings.room, findings.entries, findings.releases, findings.forfeits) == ("demo-room", 10, 2, 1)
    assert findings.numbers == sum(
        len(e.numbers) for e in map(entries.decode, bodies_of(clean)) if e.type == "commit@v1"
    )
    assert findings.numbers > 0
    assert all(check.meaning and check.looked_at for check in findings.checks)


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
    assert [check.state for check in findings.checks[1:]] == ["not reached"] * 11
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
    other.coordinator = built.key("another coordinator")
    forged = built.signed_members(other, bodies_of(clean), cosigners(clean))
    assert first(verdict({**clean, **forged}))[0] == "checkpoints"


# --- identity and cosignatures ----------------------------------------------------------------------------------------


def test_a_room_of_others_than_the_policy_names_is_refused(verdict, clean, room, built) -> None:
    policy = room.policy()
    stranger = notes.cosigner_key("delta", built.key("delta").public_key())
    fewer = {name: key for name, key in policy.witnesses.items() if name != "gamma"}
    swapped = {**policy.witnesses, "gamma": notes.cosigner_key("gamma", built.key("other").public_key())}
    for other, what in (
        (replace(policy, log=notes.log_key("room.example/other", room.coordinator.public_key())), "is not the log"),
        (replace(policy, log=notes.log_key(built.ORIGIN, built.key("other").public_key())), "is not the log"),
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
    strict = replace(room.policy(), quorum=Quorum("every", {"every": Group(3, ALL)}))
    name, where, what = first(verdict(clean, strict))
    assert (name, where) == ("cosignatures", bundle.checkpoint_name(10))
    assert "own quorum, every" in what


# --- rules, plans, mechanisms -----------------------------------------------------------------------------------------


@pytest.fixture
def colluding(room, built, clean):
    """Entries after the opening, signed and cosigned by everybody: only the rules can object."""

    def _colluding(*more: entries.Entry, **members: bytes) -> dict[str, bytes]:
        bodies = [entries.encode(entry) for entry in (*room.opening(), *more)]
        ledger = built.signed_members(room, bodies, dict.fromkeys(range(1, len(bodies) + 1), ALL))
        plan = bundle.plan_name(room.plan.digest)
        return {plan: clean[plan], **ledger, **members}

    return _colluding


def test_what_everybody_signed_against_the_rules_is_still_a_violation(verdict, room, colluding) -> None:
    rounds = [room.reserve(5 + i, f"round {i}") for i in range(4)]
    name, where, what = first(verdict(colluding(*rounds)))
    assert (name, where) == ("rules", "entry 8")
    assert "the record budget of alpha in q1 would be passed" in what
    assert verdict(colluding(*rounds[:3])).violations == ()


def test_plans_are_all_here_whole_and_no_others(verdict, clean, room) -> None:
    file = bundle.plan_name(room.plan.digest)
    assert first(verdict({n: d for n, d in clean.items() if n != file})) == (
        "plans", file, "the plan of entry 4 is not in the bundle",
    )  # fmt: skip
    other = clean[file].replace(b"cohorts", b"clients")
    assert first(verdict({**clean, file: other})) == ("plans", file, "it has another digest than its name")
    orphan = bundle.plan_name(digest(other))
    assert first(verdict({**clean, orphan: other})) == ("plans", orphan, "no entry approves this plan")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"room": "other-room"}, "another room"),
        ({"parties": ["alpha", "beta"], "recipients": ["alpha", "beta"], "collusion": 1, "quorum": 2}, "other parties"),
        ({"blocks": {"q1": {"first": "2017-01-01", "last": "2017-03-30"}}}, "its block q1"),
        ({"blocks": {"q9": {"first": "2017-01-01", "last": "2017-03-30"}}}, "its block q9"),
        ({"delta": "0.1"}, "delta"),
        ({"kind": "x"}, ""),
    ],
)
def test_a_plan_that_does_not_fit_its_entry_is_a_violation(verdict, room, built, colluding, change, what) -> None:
    data = canonical({**built.PLAN, **change})
    file = bundle.plan_name(digest(data))
    members = colluding(room.plan_entry(5, digest(data)), **{file: data})
    name, where, found = first(verdict(members))
    assert (name, where) == ("plans", file)
    assert what in found


def test_a_reserve_with_other_noise_or_blocks_than_its_plan_is_a_violation(verdict, room, built, colluding) -> None:
    steps = room.steps("one")
    noise = {**steps[0]["mechanism"], "variance": decimal(2 * micro(steps[0]["mechanism"]["variance"]), MICRO)}
    charge = built.cost(noise["sensitivity_sq"], micro(noise["variance"]), noise["quorum"], noise["collusion"])
    changed = [{**steps[0], "mechanism": noise, "charge": charge}, steps[1]]
    for entry, what in (
        (room.reserve(5, steps=changed), "its steps, noise or charges"),
        (room.reserve(5, steps=steps[:1]), "its steps, noise or charges"),
        (room.reserve(5, steps=steps[::-1]), "its steps, noise or charges"),
        (room.reserve(5, blocks=["q1"]), "other blocks than its plan"),
    ):
        name, where, found = first(verdict(colluding(entry)))
        assert (name, where) == ("mechanisms", "entry 5")
        assert what in found


# --- releases ---------------------------------------------------------------------------------------------------------


def file_of(members: dict[str, bytes], step: str) -> str:
    return next(name for name in members if name.endswith(f"-{step}.json"))


def test_a_release_that_is_kept_back_is_named_by_its_entry(verdict, clean) -> None:
    file = file_of(clean, "rfm-cohorts")
    found = first(verdict({name: data for name, data in clean.items() if name != file}))
    assert found == ("releases", "entry 7", "its release is not in the bundle")


def test_a_planted_orphan_is_found(verdict, clean, room) -> None:
    orphan = bundle.release_name("ab" * 16, "rfm-cuts")
    found = first(verdict({**clean, orphan: clean[file_of(clean, "rfm-cuts")]}))
    assert found == ("releases", orphan, "no commit in the ledger is of this release")
    assert verdict(clean).numbers > verdict({**clean, orphan: b"{}"}).numbers == 0


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("digest", lambda d: d["body"].update(salt="ab" * 32)),
        ("digest", lambda d: d["body"]["noised"].reverse() or d["body"]["noised"].append(1)),
        ("entry", lambda d: d.update(entry=5)),
        ("signature of the coordinator", lambda d: d.update(signature="A" * 86 + "==")),
        ("base64", lambda d: d.update(signature="A" * 85 + "B==")),
        ("release", lambda d: d.update(more=1)),
    ],
)
def test_a_changed_release_is_found(verdict, clean, what, change) -> None:
    file = file_of(clean, "rfm-cuts")
    document = json.loads(clean[file])
    change(document)
    name, where, found = first(verdict({**clean, file: canonical(document)}))
    assert (name, where) == ("releases", file)
    assert what in found


@pytest.fixture
def released(room, built, clean, colluding):
    """A room whose coordinator commits to and signs whatever body and entry the test makes of the true ones."""

    def _released(body: dict[str, Any] | None = None, commit: dict[str, Any] | None = None, **proof: Any):
        true = room.bodies()[0]
        document = {**true.body(), **(body or {})}
        numbers = list(release.pointers(document["answer"]))
        fields = {"digest": digest(canonical(document)), "numbers": numbers, **(commit or {})}
        entry = room.commit(6, "one", "rfm-cuts", **fields)
        members = colluding(room.reserve(5), entry)
        tree = built.Tree()
        for raw in bodies_of(members):
            tree.append(built.leaf_hash(raw))
        path = [keys.base64_text(part) for part in tree.inclusion(6, 7)]
        signed = {
            "body": document,
            "signature": keys.sign(room.coordinator, "release", document),
            "entry": 6,
            "proof": {"size": 7, "path": path, **proof},
        }
        return {**members, bundle.release_name(true.round, true.step): canonical(signed)}

    return _released


def test_a_true_release_of_one_step_of_an_open_round_is_clean(verdict, released) -> None:
    assert verdict(released()).violations == ()


@pytest.mark.parametrize(
    ("field", "body", "commit"),
    [
        ("room", {"room": "other-room"}, {}),
        ("plan", {"plan": "ab" * 32}, {}),
        ("round", {"round": "ab" * 16}, {}),
        ("step", {"step": "rfm-cohorts"}, {}),
        ("nonce", {"nonce": "ab" * 16}, {}),
        ("survivors", {"survivors": ["alpha", "beta"]}, {}),
        ("recipients", {}, {"recipients": ["alpha"]}),
        ("list of numbers", {}, {"numbers": ["/size"]}),
    ],
)
def test_a_release_says_in_every_field_what_the_ledger_says(verdict, released, field, body, commit) -> None:
    name, _, what = first(verdict(released(body, commit)))
    assert (name, what) == ("releases", f"its {field} is not what the ledger says")


def test_a_release_states_the_mechanism_it_was_made_with(verdict, released, room) -> None:
    noise = {**room.bodies()[0].body()["mechanism"], "collusion": 1}
    assert first(verdict(released({"mechanism": noise})))[2] == "its mechanism is not what the ledger says"


@pytest.mark.parametrize(
    ("proof", "what"),
    [
        ({"size": 9}, "which the bundle has not"),
        ({"path": []}, "inclusion proof"),
        ({"path": ["AAAA"]}, "32 bytes"),
        ({"size": 6}, "cannot be in a tree of 6"),
    ],
)
def test_a_release_without_its_own_sound_proof_is_a_violation(verdict, released, proof, what) -> None:
    name, where, found = first(verdict(released(**proof)))
    assert (name, where.startswith("releases/")) == ("proofs", True)
    assert what in found


def test_a_figure_that_does_not_follow_from_the_noised_sum_is_found_though_all_is_signed(
    verdict, released, room
) -> None:
    answer = json.loads(json.dumps(room.bodies()[0].body()["answer"]))

    def some_figure(tree):
        return tree if "low" in tree else some_figure(next(v for v in tree.values() if v.get("value") != "too noisy"))

    figure = some_figure(answer)
    figure["value"] = figure["value"] + "1"
    name, _, what = first(verdict(released({"answer": answer})))
    assert name == "figures"
    assert "does not follow" in what


def test_a_release_that_cannot_be_computed_again_at_all_is_a_violation_not_a_crash(verdict, clean, monkeypatch) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(release, "recompute", broken)
    name, _, what = first(verdict(clean))
    assert name == "figures"
    assert "cannot be computed" in what


def test_later_steps_are_computed_from_earlier_ones_of_their_own_round(verdict, clean, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(release, "recompute", lambda body, plan, earlier: seen.append((body["step"], sorted(earlier))))
    assert verdict(clean).violations == ()
    assert seen == [("rfm-cuts", []), ("rfm-cohorts", ["rfm-cuts"])]


def test_a_reducer_that_counted_wrong_would_be_found_by_the_second_count(verdict, clean, monkeypatch) -> None:
    honest = audit.Accounts.balances

    def forgetful(self):
        return {**honest(self), ("alpha", "q1"): Balance(60_000_000, 1)}

    monkeypatch.setattr(audit.Accounts, "balances", forgetful)
    name, where, what = first(verdict(clean))
    assert (name, where) == ("budgets", "budget of alpha, q1")
    assert "cost 36000000, charged 1" in what
