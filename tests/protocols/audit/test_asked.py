"""What an auditor may leave unasked, what the last audit binds, and what else may lie in a bundle."""

from __future__ import annotations

from protocols import audit, bundle, keys
from protocols.audit import verifiers
from protocols.bundle import Archive
from protocols.ledger import entries
from tests.protocols.audit.members import ALL, bodies_of, first


def states(findings) -> dict[str, str]:
    return {check.name: check.state for check in findings.checks}


def test_without_releases_they_are_not_asked_for_and_everything_else_is(room, clean) -> None:
    members = {name: data for name, data in clean.items() if not name.startswith(bundle.RELEASES)}
    findings = audit.verify(bundle.pack(members), room.policy(), releases=False)
    assert findings.violations == ()
    unasked = {name for name, state in states(findings).items() if state == "not asked"}
    assert unasked == {"releases", "proofs", "figures", "since"}
    assert set(states(findings).values()) == {"ok", "not asked"}
    assert first(audit.verify(bundle.pack(members), room.policy()))[:2] == ("releases", "entry 6")


def test_the_entries_of_the_last_audit_must_begin_these(room, clean, built) -> None:
    old = built.signed_members(room, bodies_of(clean)[:6], {6: room.parties})
    old[bundle.plan_name(room.plan.digest)] = room.plan.canonical
    findings = audit.verify(bundle.pack(clean), room.policy(), since=Archive(bundle.pack(old)))
    assert findings.violations == ()
    assert states(findings)["since"] == "ok"


def test_a_rewritten_or_shortened_history_is_found_though_all_of_it_is_signed(room, clean, built) -> None:
    raw = bodies_of(clean)
    other = built.signed_members(room, [*raw[:5], raw[5].replace(b"60", b"61")], {6: room.parties})
    findings = audit.verify(bundle.pack(clean), room.policy(), since=Archive(bundle.pack(other)))
    assert first(findings) == ("since", "entry 5", "it is not what it was at the last audit")
    longer = built.signed_members(room, [*raw, raw[-1], raw[-1]], {12: room.parties})
    findings = audit.verify(bundle.pack(clean), room.policy(), since=Archive(bundle.pack(longer)))
    assert first(findings) == ("since", "entry 10", "it and 1 later entry are gone")


def test_a_proof_beside_a_release_is_that_releases_proof(verdict, clean) -> None:
    for name in [name for name in clean if name.endswith(".tlog-proof")]:
        changed = clean[name].replace(b"index 6", b"index 7").replace(b"index 7\n", b"index 8\n")
        found = first(verdict({**clean, name: changed}))
        assert found[:2] == ("proofs", name.replace(".tlog-proof", ".json"))


def test_a_release_without_its_proof_beside_it_is_found(verdict, clean) -> None:
    for name in [name for name in clean if name.endswith(".tlog-proof")]:
        found = first(verdict({at: data for at, data in clean.items() if at != name}))
        assert found == ("proofs", name.replace(".tlog-proof", ".json"), f"{name} is not in the bundle")


def test_a_proof_of_nothing_is_found(verdict, clean) -> None:
    stray = bundle.proof_name("ab" * 16, "rfm-cuts")
    assert first(verdict({**clean, stray: b"x"})) == ("proofs", stray, "it is beside no release of this ledger")


def test_a_verifier_that_no_version_shipped_is_found_before_anybody_runs_it(verdict, clean, monkeypatch) -> None:
    name, where, what = first(verdict({**clean, bundle.VERIFIER: b"print('clean')\n"}))
    assert (name, where) == ("verifier", bundle.VERIFIER)
    assert "do not run it" in what
    monkeypatch.setattr(bundle, "verifier", lambda: b"print('clean')\n")
    assert verdict({**clean, bundle.VERIFIER: b"print('clean')\n"}).violations == ()


def test_the_verifier_of_an_earlier_version_is_known(verdict, clean, monkeypatch) -> None:
    old = b"print('as it was')\n"
    monkeypatch.setitem(verifiers.SHIPPED, verifiers.hashlib.sha256(old).hexdigest(), "0.0.9")
    findings = verdict({**clean, bundle.VERIFIER: old})
    assert findings.violations == ()
    assert "version 0.0.9" in next(check.looked_at for check in findings.checks if check.name == "verifier")


def test_a_mapped_file_is_read_as_its_bytes_are(room, clean, tmp_path) -> None:
    data = bundle.pack(clean)
    (tmp_path / "room.tar").write_bytes(data)
    with bundle.mapped(str(tmp_path / "room.tar")) as buffer:
        assert audit.verify(buffer, room.policy()) == audit.verify(data, room.policy())
        assert bundle.digest(buffer) == bundle.digest(data)


def test_an_auditors_verdict_over_another_history_is_found(verdict, room, built, clean) -> None:
    bodies = bundle.split_entries(clean[bundle.ENTRIES])
    key = built.key("an auditor")
    body = {
        "type": "audit@v1", "seq": 10, "time": built.START + 20, "auditor": "ann", "key": keys.public_text(key),
        "size": 10, "root": "ab" * 32, "bundle": "cd" * 32, "policy": "ef" * 32, "verdict": "clean",
    }  # fmt: skip
    said = {name: value for name, value in body.items() if name not in ("seq", "time")} | {"room": built.ROOM}
    entry = entries.build({**body, "signature": keys.sign(key, "audit", said)})
    forged = built.signed_members(room, [*bodies, entries.encode(entry)], {7: ALL, 8: ALL, 11: ALL})
    members = {name: data for name, data in clean.items() if not name.startswith(bundle.CHECKPOINTS)} | forged
    name, where, what = first(verdict(members))
    assert (name, where) == ("rules", "entry 10")
    assert "root that ann has signed" in what
