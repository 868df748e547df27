"""Golden bytes of releases."""

from __future__ import annotations

from typing import Any

from protocols import bundle, keys
from protocols.encoding import parse
from tests.ledger import builder as b
from tests.vectors.rooms import ROOM
from tests.vectors.spoiled import Files, as_json, changed, without


def release_vectors(members: Files, segments: Files, shared: Files) -> Files:
    names = [
        name for name in (*members, *segments, *shared) if name.startswith(bundle.RELEASES) and name.endswith(".json")
    ]
    found = [{**members, **segments, **shared}[name] for name in names]
    good = {f"good-{parse(data)['body']['step']}": data for data in found}
    raw = good["good-rfm-cuts"]
    document = parse(raw)
    body = document["body"]
    edge = changed(body, "answer", "recency", "p20", "edge", "value", to="21")
    bad = {
        "bad-signature": {**document, "signature": keys.sign(b.key("alpha"), "release", body)},
        "bad-signature-of-another-purpose": {**document, "signature": keys.sign(ROOM.coordinator, "share", body)},
        "bad-body-changed": changed(document, "body", "noised", 0, to=4001),
        "bad-figure": signed(document, edge),
        "bad-sum-under-figures": signed(document, changed(body, "noised", 0, to=9000)),
        "bad-slots": signed(document, {**body, "noised": body["noised"][1:]}),
        "bad-charge": signed(document, {**body, "charge_person": 1}),
        "bad-survivors": signed(document, {**body, "survivors": ["alpha", "beta"]}),
        "bad-state-where-none-is": signed(document, {**body, "state": {}}),
        "bad-step": signed(document, {**body, "step": "rfm-more"}),
        "bad-salt-short": signed(document, {**body, "salt": "00"}),
        "bad-proof": changed(document, "proof", "path", 0, to=keys.base64_text(bytes(32))),
        "bad-entry": {**document, "entry": document["entry"] - 1},
        "bad-unknown-field": {**document, "note": "x"},
        "bad-type-left-out": {**document, "body": without(body, "type")},
        "bad-null": {**document, "body": {**body, "state": None}},
        "bad-unknown-field-in-body": signed(document, {**body, "note": "x"}),
        "bad-no-proof": without(document, "proof"),
        "bad-float": raw.replace(b'"noised":[4000', b'"noised":[4000.0'),
        "bad-white-space": raw + b"\n",
        "bad-body-not-the-committed-one": signed(document, {**body, "nonce": "0" * 32}),
        "bad-figure-without-interval": signed(
            document, changed(body, "answer", "recency", "p20", "edge", to={"value": "20"})
        ),
        "bad-figure-as-number": signed(document, changed(body, "answer", "recency", "p20", "edge", "value", to=20)),
        "bad-answer-with-an-empty-map": signed(document, changed(body, "answer", "recency", "p20", to={})),
        "bad-integer-too-large": raw.replace(b'"noised":[4000', b'"noised":[9007199254740992'),
        "bad-type": signed(document, {**body, "type": "release@v2"}),
    }
    return as_json({**good, **bad, **_bad_states(parse(good["good-seg-over"]), parse(good["good-seg-coarse"])),
                    **_bad_overlaps(parse(good["good-overlap"]))})  # fmt: skip


def release_vectors_of_five(members: Files) -> Files:
    """Four of five shares arrived; what a person is charged is more than five times a record's charge."""
    (raw,) = (data for name, data in members.items() if name.endswith("-rfm-cuts.json"))
    document = parse(raw)
    body = document["body"]
    low = {**body, "charge_person": 5 * body["charge_record"]}
    return as_json({"good-five-rfm-cuts": raw, "bad-five-person-as-five-records": signed(document, low)})


def release_vectors_of_classes(members: Files) -> Files:
    """Figures of which the state is a part: it must be one of classes, and a fit of the noised sum."""
    (raw,) = (data for name, data in members.items() if name.startswith(bundle.RELEASES) and name.endswith(".json"))
    document = parse(raw)
    body = document["body"]
    state, (first, second) = body["state"], body["state"]["levels"]
    over = changed(state, "levels", 0, 0, 0, to=first[0][0] + 1)
    beside = changed(state, "levels", 0, 0, to=[first[0][0] - 2**20, first[0][1] + 2**20])
    turned = {"sizes": state["sizes"][::-1], "levels": [second, first]}
    bad = {
        "bad-classes-not-adding-up": signed(document, {**body, "state": over}),
        "bad-classes-beside-the-fit": signed(document, {**body, "state": beside}),
        "bad-classes-smallest-first": signed(document, {**body, "state": turned}),
        "bad-classes-of-another-shape": signed(document, changed(body, "state", "levels", to=[first])),
        "bad-classes-without-sizes": signed(document, changed(body, "state", to={"levels": [first, second]})),
    }
    return as_json({"good-classes-patterns": raw, **bad})


def _bad_states(over: dict[str, Any], coarse: dict[str, Any]) -> dict[str, Any]:
    """Releases of steps that the next one starts from, whose state is not one that their plan allows."""
    body, split = over["body"], coarse["body"]
    outside = body["state"]["centres"][0][0] + 2**25
    return {
        "bad-state-left-out": signed(over, without(body, "state")),
        "bad-state-outside-the-box": signed(over, changed(body, "state", "centres", 0, 0, to=outside)),
        "bad-state-of-another-shape": signed(over, changed(body, "state", "centres", 0, to=[0, 0])),
        "bad-state-of-a-centre-too-many": signed(over, {**body, "state": _one_more(body["state"])}),
        "bad-state-with-another-field": signed(over, changed(body, "state", "note", to=1)),
        "bad-state-without-radius": signed(over, changed(body, "state", "radius", to=0)),
        "bad-state-splits-what-is-not-there": signed(coarse, changed(split, "state", "split", 2, 0, to=8)),
        "bad-state-with-too-many-parts": signed(coarse, changed(split, "state", "split", 2, 2, to=9)),
    }


def _bad_overlaps(shared: dict[str, Any]) -> dict[str, Any]:
    """A release of an overlap whose figures are those of other sizes, and one in which a party's noise is not."""
    body = shared["body"]
    reach = changed(body, "answer", "all", "reach", "at_least", "value", to="1")
    return {
        "bad-overlap-of-other-sizes": signed(shared, reach),
        "bad-overlap-counting-on-others": signed(shared, changed(body, "mechanism", "quorum", to=2)),
    }


def _one_more(state: dict[str, Any]) -> dict[str, Any]:
    """Clusters with the last one twice."""
    return {name: value + value[-1:] if isinstance(value, list) else value for name, value in state.items()}


def signed(document: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """The same release over another body, signed by the coordinator all the same."""
    return {**document, "body": body, "signature": keys.sign(ROOM.coordinator, "release", body)}
