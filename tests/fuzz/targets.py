"""Every reader of the product: what it makes of bytes, and what it must then write again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from protocols import audit, bundle, messages, plan, release
from protocols.carrier import codec, seal
from protocols.carrier import room_pb2 as pb
from protocols.encoding import parse
from protocols.ledger import entries, notes, trust
from protocols.room import Room
from tests.ledger import builder
from tests.protocols import test_room
from tests.specs.readers import VECTORS, coordinator, golden
from tests.vectors import rooms

from . import lookalikes, overlaps

ROOT = Path(__file__).resolve().parents[2]
Seeds = Callable[[], list[bytes]]


@dataclass(frozen=True)
class Target:
    """read: raises SumroomError, or returns None, or the bytes that the value has when it is written again; those must
    be the bytes that were read. weight: how many times as long as others it takes."""

    seeds: Seeds
    read: Callable[[bytes], bytes | None]
    weight: int = 1


def vectors(pattern: str) -> Seeds:
    return cache(lambda: [path.read_bytes() for path in sorted(VECTORS.glob(pattern))])


def _text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None  # readers of texts are given texts


def note(data: bytes) -> bytes | None:
    """A reader takes signature lines in any order; a writer has one."""
    if (text := _text(data)) is None:
        return None
    checkpoint, lines = notes.split(text)
    assert (checkpoint.text() + "\n" + "".join(lines)).encode() == data
    _open(text)
    in_order = notes.assemble(checkpoint, "", lines)
    assert sorted(notes.split(in_order)[1]) == sorted(lines)
    assert notes.assemble(checkpoint, "", notes.split(in_order)[1]) == in_order
    return None


def _open(text: str) -> None:
    policy = builder.Room().policy()
    notes.open_note(text, policy.log, policy.witnesses.values())


def checkpoint(data: bytes) -> bytes | None:
    text = _text(data)
    return None if text is None else notes.parse_checkpoint(text).text().encode()


def first_lines() -> list[bytes]:
    return [b"\n".join(data.split(b"\n")[:3]) + b"\n" for data in vectors("checkpoint/good-first.txt")()]


def verifier_key(data: bytes) -> bytes | None:
    text = _text(data)
    return None if text is None else notes.parse_key(text).text().encode()


def policy(data: bytes) -> None:
    read = trust.parse(data)
    assert trust.parse(trust.render(read)) == read
    for names in ((), ("alpha",), builder.PARTIES):
        read.quorum.satisfied(names)


def policies() -> list[bytes]:
    made = trust.render(builder.Room().policy())
    return [made.encode(), b"# a comment\n\n" + made.replace(" ", "\t ").encode()]


def entry(data: bytes) -> bytes:
    return entries.encode(entries.decode(data))


def plan_json(data: bytes) -> bytes:
    return plan.Plan.from_bytes(data).canonical


def plan_toml(data: bytes) -> None:
    made = plan.Plan.from_toml(data)
    assert plan.Plan.from_bytes(made.canonical) == made


def release_json(data: bytes) -> bytes:
    made = release.read(data)
    agreed = _plan_of(made.body_.plan)
    assert isinstance(made.body_.numbers, list)
    written = made.to_bytes()
    if agreed is not None:
        release.recompute(made.body_.body(), agreed, _earlier(agreed.digest, made.body_.step))
    return written


@cache
def _plans() -> dict[str, plan.Plan]:
    made = [plan.Plan.from_bytes(data) for data in vectors("plan/good-*.json")()]
    return {one.digest: one for one in made}


def _plan_of(digest: str) -> plan.Plan | None:
    return _plans().get(digest)


@cache
def _earlier(digest: str, step: str) -> dict[str, Any]:
    names = [one.name for one, _ in _plans()[digest].steps()]
    before = names[: names.index(step)] if step in names else []
    return {name: parse(golden(f"release/good-{name}.json"))["body"] for name in before}


def archive(data: bytes) -> bytes:
    return bundle.pack(bundle.unpack(data))


def audited(data: bytes) -> None:
    """An auditor gets an answer to everything."""
    findings = audit.verify(data, rooms.room_of("good-room").policy())
    assert findings.violations or data in vectors("bundle/good-*.tar")()


def request(data: bytes) -> bytes:
    return messages.encode(messages.read_request(data))


def reply(data: bytes) -> bytes:
    return messages.encode(messages.read_reply(data))


@cache
def requests() -> list[bytes]:
    return _messages("prepare", "agree", "contribute", "settle", "unmask")


@cache
def replies() -> list[bytes]:
    return _messages("mask-offer", "agreed", "share-", "settled", "unmasked")


def _messages(*kinds: str) -> list[bytes]:
    found = [*vectors("share/good-*.json")(), *vectors("recovery/good-*.json")()]
    return [data for data in found if any(f'"type":"{kind.rstrip("-")}"'.encode() in data for kind in kinds)]


@cache
def plans_in_toml() -> list[bytes]:
    examples = ROOT / "examples"
    found = (
        examples / "complete_journey" / "plan.toml",
        examples / "complete_journey" / "lookalike.toml",
        ROOT / "tests" / "plans" / "overlap.toml",
    )
    return [path.read_bytes() for path in found]


def room_toml(data: bytes) -> None:
    """A room that is read can be begun: its genesis is an entry."""
    made = Room.from_toml(data, where="room.toml")
    entries.build({**made.genesis(), "seq": 0, "time": 0})


def room_files() -> list[bytes]:
    return [test_room.TEXT.encode()]


def header(data: bytes) -> None:
    seal.read(data)


def sealed(data: bytes) -> None:
    """Once the carrier's own parser has taken it apart."""
    try:
        message = pb.Sealed.FromString(data)
    except DecodeError:
        return
    seal.unseal(coordinator(), message, room="demo-room", src="coordinator", dst="alpha")


def payload(data: bytes) -> None:
    codec.decode(data, seal.INSTRUCTION)


def payload_of_an_error(data: bytes) -> None:
    codec.decode(data, seal.ERROR)


@cache
def headers() -> list[bytes]:
    return [pb.Sealed.FromString(data).header for data in vectors("wire-header/good-[!p]*.bin")()]


TARGETS: dict[str, Target] = {
    "note": Target(vectors("checkpoint/good-*t.txt"), note),
    "checkpoint": Target(first_lines, checkpoint),
    "verifier key": Target(lambda: [data.strip() for data in vectors("checkpoint/good-key-*.txt")()], verifier_key),
    "policy": Target(policies, policy),
    "entry": Target(vectors("ledger-entry/good-*.json"), entry),
    "plan": Target(vectors("plan/good-*.json"), plan_json),
    "plan in TOML": Target(plans_in_toml, plan_toml),
    "release": Target(vectors("release/good-*.json"), release_json, 4),
    "bundle": Target(vectors("bundle/good-*.tar"), archive, 4),
    "audit": Target(vectors("bundle/good-*.tar"), audited, 20),
    "request": Target(requests, request),
    "reply": Target(replies, reply),
    "request of an overlap": Target(overlaps.requests, request),
    "reply of an overlap": Target(overlaps.replies, reply),
    "offers of an overlap": Target(overlaps.rosters, overlaps.roster_read),
    "counts of an overlap": Target(overlaps.counts, overlaps.counted),
    "states of a lookalike": Target(lookalikes.states, lookalikes.state_read, 2),
    "sums of a lookalike": Target(lookalikes.sums, lookalikes.figures_of, 2),
    "room.toml": Target(room_files, room_toml),
    "header": Target(headers, header),
    "sealed": Target(vectors("wire-header/good-i*.bin"), sealed),
    "payload": Target(vectors("wire-header/good-payload-[!e]*.bin"), payload),
    "payload of an error": Target(vectors("wire-header/good-payload-e*.bin"), payload_of_an_error),
}
