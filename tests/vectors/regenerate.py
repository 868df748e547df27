"""The golden bytes of every format: `python tests/vectors/regenerate.py [FOLDER]` writes them, the same each time.

Keys come from fixed seeds, salts and times are fixed, and no noise is drawn: the numbers are made up. `good-*` is what
the product writes; each `bad-*` is wrong in the one way that its name says.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from protocols import bundle, keys, masking, messages
from protocols.carrier import frames, seal
from protocols.carrier import room_pb2 as pb
from protocols.encoding import canonical, digest, parse
from protocols.ledger import notes
from protocols.plan import Plan

HERE = Path(__file__).resolve().parent
Files = dict[str, bytes]


def builder() -> ModuleType:
    """`tests/ledger/builder.py`: the room of three parties that all vectors are of."""
    name = "sumroom_tests_vectors_builder"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, HERE.parent / "ledger" / "builder.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


b = builder()
ROOM = b.Room()
CHECKPOINT_TIME = b.START


def whole() -> Files:
    """The members of the room's bundle: ten entries, two releases, one round forfeited."""
    with tempfile.TemporaryDirectory() as folder:
        members: Files = ROOM.whole(Path(folder) / "ledger.db")
    return members


def changed(document: Any, *at: Any, to: Any) -> Any:
    """A copy of plain values with one of them changed."""
    if not at:
        return to
    copy: Any = list(document) if isinstance(document, list) else dict(document)
    copy[at[0]] = changed(copy.get(at[0]) if isinstance(copy, dict) else copy[at[0]], *at[1:], to=to)
    return copy


def without(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != name}


def as_json(files: Mapping[str, Any]) -> Files:
    return {f"{name}.json": value if isinstance(value, bytes) else canonical(value) for name, value in files.items()}


# -- ledger entries ----------------------------------------------------------------------------------------------------


def entry_vectors(bodies: list[bytes]) -> Files:
    good = {f"good-{seq:02d}-{parse(body)['type'].split('@')[0]}": body for seq, body in enumerate(bodies)}
    genesis, dataset, plan, reserve, commit = (parse(bodies[seq]) for seq in (0, 1, 4, 5, 6))
    forfeit, raw = parse(bodies[-1]), bodies[-1]
    other = dataset["signature"]
    bad = {
        "bad-unknown-type": {**forfeit, "type": "forfeit@v2"},
        "bad-unknown-field": {**forfeit, "note": "x"},
        "bad-missing-field": without(forfeit, "reason"),
        "bad-reason": {**forfeit, "reason": "tired"},
        "bad-duplicate-key": b'{"seq":9,' + raw[1:],
        "bad-white-space": raw.replace(b",", b", ", 1),
        "bad-newline-at-end": raw + b"\n",
        "bad-key-order": b'{"type":"forfeit@v1",' + raw[1:].replace(b',"type":"forfeit@v1"', b""),
        "bad-escape": raw.replace(b"forfeit@v1", b"forfeit\\u0040v1"),
        "bad-float": raw.replace(b'"seq":9', b'"seq":9.0'),
        "bad-integer-too-large": raw.replace(b'"seq":9', b'"seq":9007199254740992'),
        "bad-boolean-for-integer": {**forfeit, "seq": True},
        "bad-default-left-out": without(genesis, "unit"),
        "bad-quorum-above-parties": {**genesis, "cosign_quorum": 4},
        "bad-caps-without-a-block": changed(genesis, "caps", "person", to={"q1": 1}),
        "bad-one-key-for-two": changed(genesis, "parties", "beta", to=genesis["parties"]["alpha"]),
        "bad-blocks-overlap": changed(genesis, "blocks", "q2", "first", to="2017-03-31"),
        "bad-parties-not-sorted": {**plan, "parties": plan["parties"][::-1]},
        "bad-approval-missing": {**plan, "approvals": without(plan["approvals"], "beta")},
        "bad-approval-signature": changed(plan, "approvals", "beta", to=plan["approvals"]["alpha"]),
        "bad-dataset-signature": {**dataset, "people_cap": 4999},
        "bad-hold-signature": changed(reserve, "holds", "alpha", to=other),
        "bad-nonce-twice": changed(reserve, "steps", 1, "nonce", to=reserve["steps"][0]["nonce"]),
        "bad-step-twice": changed(reserve, "steps", 1, "step", to=reserve["steps"][0]["step"]),
        "bad-variance-spelling": changed(reserve, "steps", 0, "mechanism", "variance", to="250.0"),
        "bad-pointer": {**commit, "numbers": ["size"]},
        "bad-digest-upper-case": {**commit, "digest": commit["digest"].upper()},
    }
    return as_json({**good, **bad})


# -- checkpoints -------------------------------------------------------------------------------------------------------


def checkpoint_vectors(members: Files) -> Files:
    names = sorted(name for name in members if name.startswith(bundle.CHECKPOINTS))
    first, last = members[names[0]].decode(), members[names[-1]].decode()
    checkpoint, lines = notes.split(first)
    log, alpha = lines[0], next(line for line in lines if line.startswith("— alpha "))
    key = notes.cosigner_key("alpha", b.key("alpha").public_key())
    timeless = keys.base64_text(key.key_id + bytes(8) + b.key("alpha").sign(_cosigned(checkpoint, 0)))
    vkey = key.text()
    moved = replace(checkpoint, root=bytes(32))
    texts = {
        "good-first": first,
        "good-last": last,
        "good-key-log": ROOM.policy().log.text() + "\n",
        **{f"good-key-{party}": ROOM.policy().witnesses[party].text() + "\n" for party in b.PARTIES},
        "bad-root-changed": notes.assemble(moved, log, lines[1:]),
        "bad-size-changed": first.replace("\n5\n", "\n6\n", 1),
        "bad-size-leading-zero": first.replace("\n5\n", "\n05\n", 1),
        "bad-root-short": first.replace(keys.base64_text(checkpoint.root), keys.base64_text(checkpoint.root[1:])),
        "bad-other-origin": _note(replace(checkpoint, origin="room.example/other")),
        "bad-extension-line": first.replace("\n\n", "\nmore\n\n", 1),
        "bad-no-empty-line": first.replace("\n\n", "\n", 1),
        "bad-no-newline-at-end": first[:-1],
        "bad-carriage-return": first.replace("\n", "\r\n"),
        "bad-no-log-signature": notes.assemble(checkpoint, "", lines[1:]),
        "bad-signed-twice": notes.assemble(checkpoint, log, [alpha, alpha]),
        "bad-unknown-witness": _note(checkpoint, notes.cosign(checkpoint, "delta", b.key("delta"), CHECKPOINT_TIME)),
        "bad-key-of-another": _note(checkpoint, notes.cosign(checkpoint, "alpha", b.key("beta"), CHECKPOINT_TIME)),
        "bad-time-zero": _note(checkpoint, f"— alpha {timeless}\n"),
        "bad-hyphen-for-dash": first.replace("— alpha", "- alpha"),
        "bad-too-many-lines": notes.assemble(checkpoint, log, [alpha] * notes.MAX_LINES),
        "bad-key-id": vkey.replace(key.key_id.hex(), "00000000") + "\n",
    }
    return {f"{name}.txt": text.encode() for name, text in texts.items()}


def _note(checkpoint: notes.Checkpoint, *cosignatures: str) -> str:
    return notes.assemble(checkpoint, notes.sign(checkpoint, ROOM.coordinator), cosignatures)


def _cosigned(checkpoint: notes.Checkpoint, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{checkpoint.text()}".encode()


# -- bundles -----------------------------------------------------------------------------------------------------------


def bundle_vectors(members: Files) -> Files:
    genesis = bundle.split_entries(members[bundle.ENTRIES])[:1]
    small: Files = b.signed_members(ROOM, genesis, {1: b.PARTIES})
    data = bundle.pack(small)
    end_of_first = 512 + len(small[bundle.checkpoint_name(1)])
    files = {
        "good-room": bundle.pack(members),
        "good-genesis": data,
        "bad-no-archive": bytes(10_240),
        "bad-cut-short": data[:1024],
        "bad-byte-at-end": data + b"\0",
        "bad-padding": data[:end_of_first] + b"x" + data[end_of_first + 1 :],
        "bad-end-not-padded": data[: len(data.rstrip(b"\0")) // 512 * 512 + 1536],
        "bad-order": _tar(dict(sorted(small.items(), reverse=True)), as_given=True),
        "bad-mode": _tar(small, mode=0o600),
        "bad-time": _tar(small, mtime=1),
        "bad-owner": _tar(small, uname="root"),
        "bad-unknown-member": _tar({**small, "readme": b"x"}),
        "bad-no-entries": _tar(without(small, bundle.ENTRIES)),
    }
    return {f"{name}.tar": content for name, content in files.items()}


def _tar(members: Mapping[str, bytes], *, as_given: bool = False, **changes: Any) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in members.items() if as_given else sorted(members.items()):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for field, value in changes.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


# -- releases ----------------------------------------------------------------------------------------------------------


def release_vectors(members: Files) -> Files:
    good = {f"good-{parse(data)['body']['step']}": data for name, data in members.items() if "releases/" in name}
    raw = good["good-rfm-cuts"]
    document = parse(raw)
    body = document["body"]
    edge = changed(body, "answer", "recency", "p20", "edge", "value", to="21")
    bad = {
        "bad-signature": {**document, "signature": keys.sign(b.key("alpha"), "release", body)},
        "bad-signature-of-another-purpose": {**document, "signature": keys.sign(ROOM.coordinator, "share", body)},
        "bad-body-changed": changed(document, "body", "noised", 0, to=4001),
        "bad-figure": _signed(document, edge),
        "bad-sum-under-figures": _signed(document, changed(body, "noised", 0, to=9000)),
        "bad-slots": _signed(document, {**body, "noised": body["noised"][1:]}),
        "bad-charge": _signed(document, {**body, "charge_person": 1}),
        "bad-survivors": _signed(document, {**body, "survivors": ["alpha", "beta"]}),
        "bad-state-where-none-is": _signed(document, {**body, "state": {}}),
        "bad-step": _signed(document, {**body, "step": "rfm-more"}),
        "bad-salt-short": _signed(document, {**body, "salt": "00"}),
        "bad-proof": changed(document, "proof", "path", 0, to=keys.base64_text(bytes(32))),
        "bad-entry": {**document, "entry": document["entry"] - 1},
        "bad-unknown-field": {**document, "note": "x"},
        "bad-type-left-out": {**document, "body": without(body, "type")},
        "bad-null": {**document, "body": {**body, "state": None}},
        "bad-unknown-field-in-body": _signed(document, {**body, "note": "x"}),
        "bad-no-proof": without(document, "proof"),
        "bad-float": raw.replace(b'"noised":[4000', b'"noised":[4000.0'),
        "bad-white-space": raw + b"\n",
        "bad-type": _signed(document, {**body, "type": "release@v2"}),
    }
    return as_json({**good, **bad})


def _signed(document: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """The same release over another body, signed by the coordinator all the same."""
    return {**document, "body": body, "signature": keys.sign(ROOM.coordinator, "release", body)}


# -- plans -------------------------------------------------------------------------------------------------------------

SEGMENTS = {
    "kind": "segments",
    "rho": {"moments": 1_500_000, "coarse": 3_000_000, "fine": 5_500_000, "over": 4_500_000, "lloyd": 2_500_000,
            "profile": 12_000_000},
    "features": [
        {"name": "recency_days", "transform": "log1p", "low": 0, "high": 365},
        {"name": "sum_visits", "transform": "identity", "low": 0, "high": 100},
    ],
    "clusters": 3,
    "lloyd_rounds": 2,
    "coarse_cells": 16,
    "fine_cells": 64,
}  # fmt: skip
COLUMNS = {
    "customer": {"type": "id"},
    "bought_on": {"type": "date"},
    "paid": {"type": "money", "low": -10000, "high": 10000},
    "visits": {"type": "count", "high": 50},
    "channel": {"type": "category", "values": ["shop", "web", "other"]},
}
BG_NBD = {"r": "1.104", "alpha": "11.84", "a": "0.165", "b": "142"}
GAMMA_GAMMA = {"p": "0.614", "q": "2.202", "v": "40.8"}


def plan_vectors() -> Files:
    rfm: dict[str, Any] = b.PLAN
    raw = canonical(rfm)
    features = {**rfm["features"], "bg_nbd": BG_NBD, "gamma_gamma": GAMMA_GAMMA}
    table = {"name": "sales", "columns": COLUMNS}
    segments = {**rfm, "name": "groups", "rho": 40_000_000, "features": features, "table": table}
    segments["questions"] = [SEGMENTS]
    question = rfm["questions"][0]
    files = {
        "good-rfm": rfm,
        "good-segments": segments,
        "bad-unknown-field": {**rfm, "note": "x"},
        "bad-missing-field": without(rfm, "purpose"),
        "bad-type-left-out": without(rfm, "type"),
        "bad-null": changed(rfm, "features", "bg_nbd", to=None),
        "bad-white-space": raw + b" ",
        "bad-float": raw.replace(b'"deadline_s":60', b'"deadline_s":60.0'),
        "bad-rho-as-text": {**rfm, "rho": "0.02"},
        "bad-parties-not-sorted": {**rfm, "parties": ["beta", "alpha", "gamma"]},
        "bad-recipient-outside": {**rfm, "recipients": ["delta"]},
        "bad-quorum": {**rfm, "quorum": 2},
        "bad-collusion": {**rfm, "collusion": 1},
        "bad-delta": {**rfm, "delta": "0.00001"},
        "bad-rho-too-low": {**rfm, "rho": 17_999_999},
        "bad-blocks-overlap": changed(rfm, "blocks", "q2", "first", to="2017-03-31"),
        "bad-no-such-day": changed(rfm, "blocks", "q2", "last", to="2017-06-31"),
        "bad-as-of-too-early": changed(rfm, "features", "as_of", to="2017-06-29"),
        "bad-unknown-question": changed(rfm, "questions", 0, "kind", to="mean"),
        "bad-question-twice": {**rfm, "rho": 40_000_000, "questions": [question, question]},
        "bad-bins-not-ascending": changed(rfm, "questions", 0, "recency_days", to=[10, 20, 20, 80]),
        "bad-little-noise": changed(rfm, "questions", 0, "rho", "cuts", to=200_000_000) | {"rho": 300_000_000},
        "bad-unknown-feature": changed(segments, "questions", 0, "features", 1, "name", to="sum_calls"),
        "bad-category-without-other": changed(segments, "table", "columns", "channel", "values", to=["shop", "web"]),
    }
    return as_json(files)


# -- shares ------------------------------------------------------------------------------------------------------------

NUMBERS = {"alpha": [400, -3, 0, 17], "beta": [25, 8, -1, 2], "gamma": [7, 7, 7, -7]}


def share_vectors(plan: Plan, note: str) -> Files:
    occasion = masking.Occasion(room=b.ROOM, plan=plan.digest, round=b.hex16("one"), step="rfm-cuts",
                                nonce=b.hex16("one/rfm-cuts"), state=plan.digest, attempt=1)  # fmt: skip
    privates = {party: X25519PrivateKey.from_private_bytes(_seed(f"mask of {party}")) for party in b.PARTIES}
    roster = {party: masking.offer(privates[party], b.key(party), party, occasion) for party in b.PARTIES}
    files: Files = {}
    for party, numbers in NUMBERS.items():
        values = np.array(numbers, dtype=np.int64)
        files[f"good-words-{party}.bin"] = (
            masking.mask(values, party, privates[party], roster, occasion).astype("<u8").tobytes()
        )
        files[f"good-share-{party}.json"] = _share(party, occasion, files[f"good-words-{party}.bin"])
    files["good-prepare.json"] = messages.encode(messages.Prepare(occasion=occasion))
    files["good-mask-offer.json"] = messages.encode(messages.MaskOffer(party="alpha", key=roster["alpha"]))
    contribute = messages.Contribute(occasion=occasion, roster=roster, checkpoint=note)
    files["good-contribute.json"] = messages.encode(contribute)
    return {**files, **_bad_shares(occasion, files), **_bad_rosters(contribute.body())}


def _bad_shares(occasion: masking.Occasion, files: Files) -> Files:
    raw, words = files["good-share-alpha.json"], files["good-words-alpha.bin"]
    document = parse(raw)
    another = occasion.model_copy(update={"attempt": 2})
    cut = words[:-8]
    bad = {
        "bad-share-of-another-party": _share("beta", occasion, words),
        "bad-share-of-another-attempt": _share("alpha", another, words),
        "bad-share-of-other-words": _share("alpha", occasion, cut),
        "bad-share-signature": {**document, "signature": keys.sign(b.key("beta"), "share", without(document, "type"))},
        "bad-share-unknown-field": {**document, "note": "x"},
        "bad-share-type": {**document, "type": "shares"},
        "bad-share-payload": {**document, "payload": document["payload"].upper()},
        "bad-share-attempt-zero": changed(document, "occasion", "attempt", to=0),
        "bad-share-white-space": raw + b"\n",
    }
    return {**as_json(bad), "bad-words-changed.bin": bytes([words[0] ^ 1]) + words[1:], "bad-words-cut.bin": cut}


def _bad_rosters(good: dict[str, Any]) -> Files:
    roster = good["roster"]
    return as_json(
        {
            "bad-contribute-roster-without-one": {**good, "roster": without(roster, "gamma")},
            "bad-contribute-roster-key-twice": changed(good, "roster", "beta", to=roster["alpha"]),
            "bad-contribute-roster-signature": changed(
                good, "roster", "beta", "signature", to=roster["alpha"]["signature"]
            ),
        }
    )


def _share(party: str, occasion: masking.Occasion, words: bytes) -> bytes:
    payload = digest(words)
    signature = keys.sign(b.key(party), "share", messages.share_body(party, occasion, payload))
    return messages.encode(messages.Share(party=party, occasion=occasion, payload=payload, signature=signature))


def _seed(label: str) -> bytes:
    return hashlib.sha256(label.encode()).digest()


# -- headers on the wire -----------------------------------------------------------------------------------------------


def header_vectors(request: bytes) -> Files:
    entry = pb.Entry(key="body", value=pb.Value(y=request))
    content = pb.Content(records=[pb.Record(name="request", type="config", entries=[entry])])
    payload = frames.head(content)
    asked = _header(payload)
    answer = frames.failure(frames.FAILED, "failed").buffers[0]
    size, sha = seal.digest([answer])
    reply = replace(asked, kind="error", src="alpha", dst=seal.COORDINATOR, reply_to=asked.message_id, size=size,
                    sha256=sha, src_node=asked.dst_node, dst_node=asked.src_node, created_at=asked.created_at + 1,
                    message_id=seal.message_id(asked.room, asked.run, asked.seq, seal.COORDINATOR, sha))  # fmt: skip
    good = _sealed(asked)
    nothing = b"\xff\xff\xff"
    sealed = {
        "good-instruction": good,
        "good-error": _sealed(reply, "alpha"),
        "bad-signature": _sealed(asked, "alpha"),
        "bad-signature-without-domain": pb.Sealed(header=good.header, signature=ROOM.coordinator.sign(good.header)),
        "bad-byte-changed": pb.Sealed(header=good.header[:-1] + b"\0", signature=good.signature),
        "bad-no-header": pb.Sealed(header=nothing, signature=ROOM.coordinator.sign(seal.DOMAIN + nothing)),
        "bad-room": _sealed(_header(payload, room="another-room")),
        "bad-receiver": _sealed(_header(payload, dst="beta")),
        "bad-message-id": _sealed(replace(asked, message_id="0" * 64)),
        "bad-kind": _sealed(replace(asked, kind="order")),
        "bad-seq-zero": _sealed(_header(payload, seq=0)),
        "bad-sha256-short": _sealed(_header(payload, sha256=sha[:31])),
        "bad-date": _sealed(replace(asked, created_at=float("nan"))),
        "bad-ttl-negative": _sealed(replace(asked, ttl=-1.0)),
    }
    files = {f"{name}.bin": value.SerializeToString(deterministic=True) for name, value in sealed.items()}
    longer = payload[:2] + payload[3:]
    return {**files, "good-payload.bin": payload, "good-payload-error.bin": answer,
            "bad-payload-cut.bin": payload[:-1], "bad-payload-more.bin": payload + b"\0",
            "bad-payload-head.bin": longer}  # fmt: skip


def _header(payload: bytes, **changes: Any) -> seal.Header:
    size, sha = seal.digest([payload])
    values: dict[str, Any] = {
        **{"room": b.ROOM, "run": 7, "seq": 3, "kind": seal.INSTRUCTION, "src": seal.COORDINATOR, "dst": "alpha"},
        **{"message_type": "query.ask", "created_at": float(b.START), "ttl": 70.0, "size": size, "sha256": sha},
        **{"src_node": seal.COORDINATOR_NODE, "dst_node": seal.node_id(b.ROOM, b.key("alpha").public_key())},
        **changes,
    }
    own = seal.message_id(values["room"], values["run"], values["seq"], values["dst"], values["sha256"])
    return seal.Header(message_id=own, **values)


def _sealed(header: seal.Header, by: str = "coordinator") -> pb.Sealed:
    return seal.seal(b.key(by), header)


# -- all of them -------------------------------------------------------------------------------------------------------


def vectors() -> Files:
    """`<format>/<file>` → bytes."""
    members = whole()
    bodies = bundle.split_entries(members[bundle.ENTRIES])
    formats = {
        "ledger-entry": entry_vectors(bodies),
        "checkpoint": checkpoint_vectors(members),
        "bundle": bundle_vectors(members),
        "release": release_vectors(members),
        "plan": plan_vectors(),
        "share": share_vectors(ROOM.plan, members[bundle.checkpoint_name(6)].decode()),
    }
    formats["wire-header"] = header_vectors(formats["share"]["good-prepare.json"])
    return {f"{folder}/{name}": data for folder, files in formats.items() for name, data in files.items()}


def write(folder: Path) -> None:
    """Write every vector below `folder`."""
    for name, data in vectors().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
