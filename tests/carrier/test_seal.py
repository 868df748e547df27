"""Headers: nobody can forge, alter or move one."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols.carrier import room_pb2 as pb
from protocols.carrier import seal
from protocols.errors import IntegrityError, UsageError

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SHA = seal.digest([b"payload"])[1]


def header(**change: Any) -> seal.Header:
    values: dict[str, Any] = {
        **{"room": "room-1", "run": 2**64 - 1, "seq": 3, "kind": "instruction", "src": "coordinator", "dst": "p1"},
        **{"message_type": "query.stats", "created_at": 1.5, "ttl": 60.0, "size": 7, "sha256": SHA},
        **{"src_node": 1, "dst_node": 7, "plan": "ab"},
        **change,
    }
    own = seal.message_id(values["room"], values["run"], values["seq"], values["dst"], values["sha256"])
    return seal.Header(**{"message_id": own, **values})


def opened(sealed: pb.Sealed, key: Ed25519PrivateKey = KEY) -> seal.Header:
    return seal.unseal(key.public_key(), sealed, room="room-1", src="coordinator", dst="p1")


def test_a_sealed_header_opens_to_itself() -> None:
    assert opened(seal.seal(KEY, header())) == header()


def test_the_signed_bytes_and_the_message_id_are_these() -> None:
    """Golden values: a change of the format is a change of the version."""
    sealed = seal.seal(KEY, header())
    place = b"room-1\x0018446744073709551615\x003\x00p1\x00"
    assert header().message_id == hashlib.sha256(place + hashlib.sha256(b"payload").digest()).hexdigest()
    assert header().message_id == "b08f91a07830c77e879d96a4c3481149c0d249bbb2fffa8a40e49c82d0498b7f"
    assert sealed.header.hex().startswith("0a06726f6f6d2d3110ffffffffffffffffff011803220b696e737472756374696f6e2a0b")
    assert sealed.signature.hex().startswith("80399eb5a02c6b3462162883a5c35ddddab367f8a9a35194b2f1396c88741967865f0e3d")


def test_another_key_does_not_open_it() -> None:
    with pytest.raises(IntegrityError, match="bad signature"):
        opened(seal.seal(KEY, header()), Ed25519PrivateKey.generate())


def test_every_altered_byte_is_noticed() -> None:
    sealed = seal.seal(KEY, header())
    for at in range(len(sealed.header)):
        raw = bytearray(sealed.header)
        raw[at] ^= 1
        with pytest.raises(IntegrityError):
            opened(pb.Sealed(header=bytes(raw), signature=sealed.signature))


@pytest.mark.parametrize(
    ("change", "expect"),
    [
        ({"room": "room-2"}, "another room"),
        ({"src": "p2"}, "another room or party"),
        ({"dst": "p2"}, "another room or party"),
        ({"message_id": "0" * 64}, "not its own"),
        ({"kind": "order"}, "out of range"),
        ({"sha256": b"short"}, "out of range"),
        ({"seq": 0}, "out of range"),
        ({"seq": 2**63}, "out of range"),
        ({"created_at": float("nan")}, "date"),
        ({"ttl": float("inf")}, "date"),
        ({"ttl": -1.0}, "date"),
    ],
)
def test_a_signed_header_with_a_wrong_field_is_refused(change: dict[str, Any], expect: str) -> None:
    with pytest.raises(IntegrityError, match=expect):
        opened(seal.seal(KEY, header(**change)))


def test_signed_bytes_that_are_no_header_are_refused() -> None:
    raw = b"\xff\xff\xff"
    with pytest.raises(IntegrityError, match="parse"):
        opened(pb.Sealed(header=raw, signature=KEY.sign(seal.DOMAIN + raw)))


def test_a_field_that_does_not_fit_is_the_callers_mistake() -> None:
    with pytest.raises(UsageError, match="wire type"):
        seal.seal(KEY, header(run=2**64))


@pytest.mark.parametrize("field", ["room", "run", "seq", "dst", "sha256"])
def test_the_message_id_depends_on_room_run_sequence_receiver_and_payload(field: str) -> None:
    other = {"room": "room-2", "run": 1, "seq": 4, "dst": "p2", "sha256": seal.digest([b"other"])[1]}[field]
    assert header(**{field: other}).message_id != header().message_id


def test_a_reply_must_be_bound_to_its_instruction() -> None:
    asked = header()
    good = replace(asked, kind="reply", src="p1", dst="coordinator", reply_to=asked.message_id, src_node=7, dst_node=1)
    seal.check_reply(good, asked)
    for change in ({"run": 1}, {"seq": 4}, {"plan": ""}, {"message_type": "train"}, {"group_id": "x"}, {"src_node": 8}):
        with pytest.raises(IntegrityError, match="not bound"):
            seal.check_reply(replace(good, **change), asked)  # type: ignore[arg-type]
    for change in ({"kind": "instruction"}, {"reply_to": ""}):
        with pytest.raises(IntegrityError, match="not a reply"):
            seal.check_reply(replace(good, **change), asked)  # type: ignore[arg-type]


def test_a_node_id_is_a_positive_63_bit_number_of_room_and_key() -> None:
    ids = {seal.node_id(room, KEY.public_key()) for room in ("room-1", "room-2")}
    assert len(ids) == 2
    assert all(seal.COORDINATOR_NODE < one < 2**63 for one in ids)
