"""Golden bytes on the wire: sealed headers and the payloads that they carry."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.carrier import frames, seal
from protocols.carrier import room_pb2 as pb
from tests.ledger import builder as b
from tests.vectors.rooms import ROOM
from tests.vectors.spoiled import Files


def header_vectors(request: bytes, share: bytes, words: bytes) -> Files:
    content = pb.Content(records=[_config("request", request)])
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
    sealed |= _bad_replies(reply)
    files = {f"{name}.bin": value.SerializeToString(deterministic=True) for name, value in sealed.items()}
    longer = payload[:2] + payload[3:]
    return {**files, **_array_payloads(share, words), "good-payload.bin": payload, "good-payload-error.bin": answer,
            "bad-payload-cut.bin": payload[:-1], "bad-payload-more.bin": payload + b"\0",
            "bad-payload-head.bin": longer,
            "bad-payload-error-with-a-record.bin": frames.head(pb.Content(error_code=2, records=content.records)),
            "bad-payload-name-twice.bin": frames.head(pb.Content(records=[*content.records, *content.records])),
            "bad-payload-record-type.bin": _retyped(content, "secrets")}  # fmt: skip


def _retyped(content: pb.Content, kind: str) -> bytes:
    other = pb.Content.FromString(content.SerializeToString())
    other.records[0].type = kind
    return frames.head(other)


def _bad_replies(reply: seal.Header) -> dict[str, pb.Sealed]:
    """Replies to the good instruction, well signed by the party that was asked, and not bound to it."""
    changes: dict[str, dict[str, Any]] = {
        "to-another": {"reply_to": "0" * 64},
        "kind": {"kind": seal.INSTRUCTION},
        "run": {"run": 8},
        "seq": {"seq": 4},
        "message-type": {"message_type": "train.ask"},
        "group": {"group_id": "other"},
        "plan": {"plan": "0" * 64},
        "from-another-node": {"src_node": reply.src_node - 1},
        "to-another-node": {"dst_node": 2},
    }
    return {f"bad-reply-{name}": _sealed(_own_id(replace(reply, **new)), "alpha") for name, new in changes.items()}


def _own_id(header: seal.Header) -> seal.Header:
    own = seal.message_id(header.room, header.run, header.seq, header.dst, header.sha256)
    return replace(header, message_id=own)


def _array_payloads(share: bytes, words: bytes) -> Files:
    """A share and its words as one array, and such arrays that are not what their head says."""
    good = _npy(np.frombuffer(words, dtype="<u8"))
    objects = io.BytesIO()
    np.lib.format.write_array_header_1_0(objects, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    arrays = {
        "good-payload-share": _array(good, share=share),
        "bad-payload-array-cut": _array(good[:-8]),
        "bad-payload-array-of-another-shape": _array(good, shape=[5]),
        "bad-payload-array-of-another-type": _array(good, dtype="int64"),
        "bad-payload-array-of-another-kind": _array(good, stype="torch.tensor"),
        "bad-payload-array-of-objects": _array(objects.getvalue() + bytes(8), dtype="object", shape=[1]),
        "bad-payload-array-of-another-version": _array(good[:6] + b"\3" + good[7:]),
    }
    return {f"{name}.bin": payload for name, payload in arrays.items()}


def _npy(values: NDArray[Any]) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, values, version=(1, 0), allow_pickle=False)
    return out.getvalue()


def _array(data: bytes, share: bytes = b"", **changes: Any) -> bytes:
    """The payload of a reply with one array, `words` in the record `words`, whose .npy file this is."""
    head = {"key": "words", "dtype": "uint64", "shape": [4], "stype": "numpy.ndarray", "size": len(data), **changes}
    records = [_config("reply", share), pb.Record(name="words", type="arrays", arrays=[pb.ArrayHead(**head)])]
    return frames.head(pb.Content(records=records)) + data


def _config(name: str, body: bytes) -> pb.Record:
    return pb.Record(name=name, type="config", entries=[pb.Entry(key="body", value=pb.Value(y=body))])


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
