"""Golden bytes of the ledger: its entries, its checkpoints, and the bundle that an auditor gets."""

from __future__ import annotations

import io
import struct
import tarfile
import zlib
from collections.abc import Mapping
from typing import Any

from protocols import bundle, keys
from protocols.budget import micro
from protocols.encoding import parse
from protocols.ledger import entries
from tests.ledger import builder as b
from tests.vectors.rooms import FIVE, ROOM, cosigned_by_three
from tests.vectors.spoiled import Files, as_json, changed, without


def entry_vectors(bodies: list[bytes]) -> Files:
    good = {f"good-{seq:02d}-{parse(body)['type'].split('@')[0]}": body for seq, body in enumerate(bodies)}
    genesis, dataset, plan, reserve, commit = (parse(bodies[seq]) for seq in (0, 1, 4, 5, 6))
    forfeit = parse(bodies[-1])
    other = dataset["signature"]
    hold_for_approval = keys.sign(b.key("beta"), "hold", entries.approval_body(b.ROOM, plan["plan"]))
    bad = {
        "bad-time-before-the-last": {**forfeit, "time": parse(bodies[-2])["time"] - 1},
        "bad-second-genesis": {**genesis, "seq": 1, "time": dataset["time"]},
        "bad-default-left-out": without(genesis, "unit"),
        "bad-quorum-above-parties": {**genesis, "cosign_quorum": 4},
        "bad-caps-without-a-block": changed(genesis, "caps", "person", to={"q1": 1}),
        "bad-one-key-for-two": changed(genesis, "parties", "beta", to=genesis["parties"]["alpha"]),
        "bad-blocks-overlap": changed(genesis, "blocks", "q2", "first", to="2017-03-31"),
        "bad-parties-not-sorted": {**plan, "parties": plan["parties"][::-1]},
        "bad-approval-missing": {**plan, "approvals": without(plan["approvals"], "beta")},
        "bad-approval-signature": changed(plan, "approvals", "beta", to=plan["approvals"]["alpha"]),
        "bad-approval-of-another-purpose": changed(plan, "approvals", "beta", to=hold_for_approval),
        "bad-dataset-signature": {**dataset, "people_cap": 4999},
        "bad-hold-signature": changed(reserve, "holds", "alpha", to=other),
        "bad-charge": changed(reserve, "steps", 0, "charge", to=reserve["steps"][0]["charge"] - 1),
        "bad-quorum-below-the-threshold": changed(reserve, "steps", 0, "mechanism", "quorum", to=2),
        "bad-nonce-twice": changed(reserve, "steps", 1, "nonce", to=reserve["steps"][0]["nonce"]),
        "bad-step-twice": changed(reserve, "steps", 1, "step", to=reserve["steps"][0]["step"]),
        "bad-variance-spelling": changed(reserve, "steps", 0, "mechanism", "variance", to="250.0"),
        "bad-pointer": {**commit, "numbers": ["size"]},
        "bad-digest-upper-case": {**commit, "digest": commit["digest"].upper()},
    }
    return as_json({**good, **_bad_spellings(bodies[-1]), **bad})


def entry_vectors_of_five(members: Files) -> Files:
    """Five parties of which one may collude: three honest shares are counted on for a record, one for a person."""
    bodies = bundle.split_entries(members[bundle.ENTRIES])
    good = {f"good-five-{seq:02d}-{parse(body)['type'].split('@')[0]}": body for seq, body in enumerate(bodies)}
    first, second = FIVE.steps("two")
    few = {**first["mechanism"], "quorum": 3}
    cost = b.cost(few["sensitivity_sq"], micro(few["variance"]), few["quorum"], few["collusion"])
    bad = {
        "bad-five-quorum-below-the-threshold": [{**first, "mechanism": few, "charge": cost}, second],
        "bad-five-person-cap": [first, second],
    }
    return as_json({**good, **{name: FIVE.reserve(10, "two", steps=steps).body() for name, steps in bad.items()}})


def _bad_spellings(raw: bytes) -> dict[str, Any]:
    forfeit = parse(raw)
    return {
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
        "bad-null": {**forfeit, "reason": None},
        "bad-seq": {**forfeit, "seq": 8},
    }


def bundle_vectors(members: Files, segments: Files, five: Files) -> Files:
    genesis = bundle.split_entries(members[bundle.ENTRIES])[:1]
    small: Files = b.signed_members(ROOM, genesis, {1: b.PARTIES})
    data = bundle.pack(small)
    end_of_first = 512 + len(small[bundle.checkpoint_name(1)])
    files = {
        "good-room": bundle.pack(members),
        "good-segments": bundle.pack(segments),
        "good-five": bundle.pack(five),
        "bad-five-cosigned-by-three": bundle.pack(cosigned_by_three(five)),
        "bad-release-without-proof": bundle.pack(without(members, _a_proof(members))),
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
        "bad-entries-without-newline": _tar({**small, bundle.ENTRIES: small[bundle.ENTRIES][:-1]}),
        "bad-member-twice": _tar(small, twice=True),
        "bad-checksum": data[:148] + b"0" * 6 + data[154:],
        "bad-compressed": _gzip(data),
        "bad-extended-header": _tar(small, pax_headers={"comment": "x"}),
    }
    return {f"{name}.tar": content for name, content in files.items()}


def _a_proof(members: Files) -> str:
    return min(name for name in members if name.endswith(".tlog-proof"))


def _gzip(data: bytes) -> bytes:
    """RFC 1952 with one stored block (RFC 1951): by hand, since what a compressor writes differs with its version."""
    head = bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255])
    block = b"\1" + struct.pack("<HH", len(data), len(data) ^ 0xFFFF) + data
    return head + block + struct.pack("<II", zlib.crc32(data), len(data))


def _tar(members: Mapping[str, bytes], *, as_given: bool = False, twice: bool = False, **changes: Any) -> bytes:
    out = io.BytesIO()
    kind = tarfile.PAX_FORMAT if "pax_headers" in changes else tarfile.USTAR_FORMAT
    with tarfile.open(fileobj=out, mode="w:", format=kind) as archive:
        for name, content in list(members.items() if as_given else sorted(members.items())) * (1 + twice):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for field, value in changes.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()
