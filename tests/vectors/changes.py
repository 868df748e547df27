"""Golden bytes of the entries by which a room changes: one history with all of them, and what is wrong in one way.

Signatures by ML-DSA-44 keys are randomized: one that is committed and verifies is taken again, so that the bytes stay.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from protocols import keys
from protocols.encoding import canonical, digest, parse
from protocols.errors import IntegrityError
from protocols.ledger.entries import Entry, encode
from protocols.ledger.reducer import DAY_S, Accounts
from protocols.ledger.tree import Tree, leaf_hash
from tests.ledger import builder as b
from tests.ledger import changing
from tests.ledger.changing import ORIGIN, Room
from tests.vectors.spoiled import Files, as_json, changed, without

HERE = Path(__file__).resolve().parent / "ledger-changes"
Make = Callable[[Accounts], Entry]


@cache
def _committed() -> tuple[str, ...]:
    entries = (parse(path.read_bytes()) for path in sorted(HERE.glob("*.json")))
    own = (entry.get("own", {}) for entry in entries)
    return tuple(signatures["new_ml_dsa_44"] for signatures in own if "new_ml_dsa_44" in signatures)


@cache
def _signature(seed: bytes, body: bytes) -> str:
    key = MLDSA44PrivateKey.from_seed_bytes(seed)
    for signature in _committed():
        try:
            keys.check(key.public_key(), "change", parse(body), signature, who="")
        except IntegrityError:
            continue
        return signature
    return keys.sign(key, "change", parse(body))


def room(*, both: bool = True) -> Room:
    """A room whose ML-DSA-44 signatures are those that are committed."""
    made = Room(both=both)
    made.ml_dsa_44_signer = lambda key, body: _signature(key.private_bytes_raw(), canonical(body))
    return made


def history(r: Room) -> list[Make]:
    """What follows the opening of a room whose members have both keys."""
    return [
        lambda a: r.rotate(a, "beta", "beta-2"),
        lambda a: r.rotate(a, ORIGIN, "coordinator-2"),
        lambda a: r.revoke(a, "gamma"),
        lambda a: r.add(a, "gamma", "gamma-2"),
        lambda a: r.revoke(a, ORIGIN),
        lambda a: r.add(a, ORIGIN, "coordinator-3"),
        lambda a: r.grant(a),
        lambda a: r.new_block(a),
        lambda a: r.round(a),
        lambda a: r.forfeit(a.size),
        lambda a: r.refund(a),
        lambda a: r.round(a, "two"),
        lambda a: r.commit(a.size, "two"),
        lambda a: r.commit(a.size, "two", "rfm-cohorts"),
        lambda a: r.reuse(a, "two"),
        lambda a: r.deny(a),
        lambda a: r.join(a, "delta"),
        lambda a: r.leave(a, "delta"),
        lambda a: r.egress(a),
        lambda a: r.audit(a, root=root(r, a.size)),
    ]


@cache
def _made() -> tuple[Entry, ...]:
    """Every entry of the history."""
    r, accounts = room(), Accounts()
    made: list[Entry] = []
    for make in [*(lambda _, entry=entry: entry for entry in r.opening()), *history(r)]:
        made.append(make(accounts))
        accounts.apply(made[-1])
    return tuple(made)


def root(r: Room, size: int) -> str:
    """The Merkle root over the first `size` entries."""
    tree, accounts = Tree(), Accounts()
    for make in [*(lambda _, entry=entry: entry for entry in r.opening()), *history(r)][:size]:
        entry = make(accounts)
        accounts.apply(entry)
        tree.append(leaf_hash(encode(entry)))
    return tree.root().hex()


def accounts_before(seq: int) -> Accounts:
    """After the first `seq` entries of that history."""
    accounts = Accounts()
    for entry in _made()[:seq]:
        accounts.apply(entry)
    return accounts


def change_vectors() -> Files:
    r, plain = room(), room(both=False)
    bodies = [encode(entry) for entry in _made()]
    good = {f"good-{seq:02d}-{parse(body)['type'].split('@')[0]}": body for seq, body in enumerate(bodies)}
    few = plain.accounts()
    alone = [*plain.opening(), plain.add_ml_dsa_44(few, "beta")]
    for seq, entry in enumerate(alone):
        good[f"good-plain-{seq:02d}-{entry.type.split('@')[0]}"] = encode(entry)
    elsewhere = changing.texts("elsewhere", both=False)
    bad = {
        "bad-plain-add-another-key": plain.add_ml_dsa_44(few, "gamma", **elsewhere).body(),
        "bad-plain-add-again": plain.add_ml_dsa_44(_after(few, alone[-1]), "beta").body(),
        **_bad_keys(r),
        **_bad_parties(r),
        **_bad_budgets(r),
        **_bad_statements(r),
    }
    return as_json({**good, **bad})


def _after(accounts: Accounts, entry: Entry) -> Accounts:
    accounts.apply(entry)
    return accounts


def _bad_keys(r: Room) -> dict[str, Any]:
    fresh, revoked, headless = (accounts_before(seq) for seq in (5, 8, 10))
    rotate, revoke, add = r.rotate(fresh, "beta", "beta-2").body(), r.revoke(fresh, "gamma").body(), r.add(
        revoked, "gamma", "gamma-2"
    ).body()  # fmt: skip
    own, others = rotate["own"], revoke["others"]
    return {
        "bad-rotate-without-the-old-key": {**rotate, "own": without(own, "old")},
        "bad-rotate-signature-of-the-old-key": changed(rotate, "own", "old", to=own["new"]),
        "bad-rotate-signature-of-the-new-key": changed(rotate, "own", "new", to=own["old"]),
        "bad-rotate-signature-of-the-ml-dsa-44-key": changed(
            rotate, "own", "new_ml_dsa_44", to=add["own"]["new_ml_dsa_44"]
        ),
        "bad-rotate-with-others": r.rotate(fresh, "beta", "beta-2", others={"alpha": others["alpha"]}).body(),
        "bad-rotate-without-ml-dsa-44": r.rotate(fresh, "beta", "beta-2", both=False).body(),
        "bad-rotate-to-a-key-that-was": r.rotate(accounts_before(6), "beta", "beta").body(),
        "bad-rotate-of-a-revoked-party": r.rotate(revoked, "gamma", "gamma-2").body(),
        "bad-ml-dsa-44-short": {**rotate, "ml_dsa_44": rotate["key"]},
        "bad-null-for-no-key": {**revoke, "ml_dsa_44": None},
        "bad-revoke-by-itself": {**revoke, "own": {"old": others["alpha"]}},
        "bad-revoke-without-the-coordinator": {**revoke, "others": without(others, ORIGIN)},
        "bad-revoke-signature": changed(revoke, "others", "alpha", to=others["beta"]),
        "bad-revoke-another-key": r.revoke(fresh, "gamma", key=changing.texts("alpha")["key"]).body(),
        "bad-add-beside-both-keys": r.add_ml_dsa_44(fresh, "beta").body(),
        "bad-add-without-others": {**add, "others": {}},
        "bad-dataset-of-a-revoked-party": r.dataset(8, "gamma", version="0" * 32).body(),
        "bad-egress-of-a-revoked-party": r.egress(revoked, "gamma").body(),
        "bad-deny-without-a-coordinator": r.deny(headless).body(),
        "bad-rotate-without-a-coordinator": r.rotate(headless, "alpha", "alpha-2").body(),
    }


def _bad_parties(r: Room) -> dict[str, Any]:
    at, charged = accounts_before(5), accounts_before(14)
    join, leave = r.join(at, "delta").body(), r.leave(at, "gamma").body()
    sent_away = r.leave(at, "gamma", sent_away=True).body()
    return {
        "bad-join-person": {**join, "party": "person"},
        "bad-join-of-a-party": r.join(at, "beta", "delta").body(),
        "bad-join-with-the-key-of-another": r.join(at, "delta", "alpha").body(),
        "bad-join-without-ml-dsa-44": r.join(at, "delta", both=False).body(),
        "bad-join-without-its-own": {**join, "own": without(join["own"], "new")},
        "bad-join-without-one-other": {**join, "others": without(join["others"], "beta")},
        "bad-join-without-a-cap": r.join(at, "delta", caps=without(join["caps"], "q2")).body(),
        "bad-join-quorum-of-half": r.join(at, "delta", cosign_quorum=2).body(),
        "bad-leave-with-caps": {**leave, "caps": {"q1": 1}},
        "bad-leave-with-both": {**leave, "others": sent_away["others"]},
        "bad-leave-without-one-other": {**sent_away, "others": without(sent_away["others"], "beta")},
        "bad-leave-of-another-key": r.leave(at, "gamma", key=changing.texts("alpha")["key"]).body(),
        "bad-leave-of-a-stranger": r.leave(at, "delta").body(),
        "bad-leave-while-a-round-is-open": r.leave(charged, "gamma").body(),
    }


def _bad_budgets(r: Room) -> dict[str, Any]:
    at, revoked = accounts_before(5), accounts_before(8)
    whole = {who: {"q4": 60_000_000} for who in (*b.PARTIES, "person")}
    grant = r.grant(at).body()
    return {
        "bad-grant-to-a-lower-cap": r.grant(at, {"alpha": {"q1": 59_999_999}}).body(),
        "bad-grant-by-another": r.grant(at, by=["beta"]).body(),
        "bad-grant-signature": {**grant, "caps": {"alpha": {"q1": 70_000_001}}},
        "bad-grant-of-nothing": {**grant, "caps": {"alpha": {}}},
        "bad-grant-of-a-stranger": r.grant(at, {"delta": {"q1": 1}}).body(),
        "bad-grant-of-a-person-by-one": r.grant(at, {"person": {"q1": 200_000_000}}, by=["alpha"]).body(),
        "bad-grant-of-a-revoked-party": r.new_block(
            revoked, caps={**whole, "gamma": {"q1": 70_000_000, "q4": 60_000_000}}
        ).body(),
        "bad-grant-of-a-block-by-two": r.new_block(at, by=["alpha", "beta"]).body(),
        "bad-grant-of-a-block-that-shares-a-day": r.new_block(
            at, block={"first": "2017-09-30", "last": "2017-12-31"}
        ).body(),
        "bad-grant-of-a-block-without-a-cap": r.new_block(at, caps=without(whole, "person")).body(),
        "bad-grant-of-a-block-named-lifetime": {**grant, "blocks": {"lifetime": changing.NEW_BLOCK}},
        "bad-refund-of-an-open-round": r.refund(accounts_before(14)).body(),
        "bad-refund-without-one-party": r.refund(accounts_before(15), by=["alpha", "beta"]).body(),
        "bad-refund-signature": changed(
            r.refund(accounts_before(15)).body(), "signatures", "beta",
            to=r.refund(accounts_before(15), "two").signatures["beta"],
        ),
        "bad-refund-twice": r.refund(accounts_before(16)).body(),
    }  # fmt: skip


def _bad_statements(r: Room) -> dict[str, Any]:
    at, sent, audited = accounts_before(5), accounts_before(24), accounts_before(25)
    reuse, deny, egress, audit = (
        accounts_before(19),
        r.deny(at).body(),
        r.egress(at).body(),
        r.audit(at, root=root(r, 5)).body(),
    )
    return {
        "bad-reuse-of-other-datasets": r.reuse(reuse, "two", datasets={"alpha": "0" * 32}).body(),
        "bad-reuse-of-a-refunded-round": r.reuse(reuse).body(),
        "bad-deny-reason": {**deny, "reason": "12 people are too few"},
        "bad-deny-parties-not-sorted": {**deny, "parties": ["beta", "alpha"]},
        "bad-deny-of-a-stranger": {**deny, "parties": ["delta"]},
        "bad-egress-of-today": r.egress(at, day="2023-11-14").body(),
        "bad-egress-no-such-day": {**egress, "day": "2023-02-29"},
        "bad-egress-signature": {**egress, "size": 4},
        "bad-egress-of-a-day-before": r.egress(sent, day="2023-11-12", size=4).body(),
        "bad-egress-shorter": r.egress(sent, size=2, day="2023-11-14", time=b.START + DAY_S).body(),
        "bad-egress-other-root": r.egress(sent, day="2023-11-14", root=digest(b"other"), time=b.START + DAY_S).body(),
        "bad-audit-of-entries-to-come": r.audit(at, size=6).body(),
        "bad-audit-by-a-members-key": r.audit(at, key=changing.texts("beta")["key"], root=root(r, 5)).body(),
        "bad-audit-signature": {**audit, "verdict": "violation"},
        "bad-audit-verdict": {**audit, "verdict": "nearly clean"},
        "bad-audit-twice": r.audit(audited, size=24, root=root(r, 24)).body(),
    }
