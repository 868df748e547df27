"""Flower's records as bytes: all that may travel does, unchanged, and nothing else."""

from __future__ import annotations

import logging
import math
import mmap
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocols.carrier import codec, frames, seal
from protocols.carrier import room_pb2 as pb
from protocols.errors import IntegrityError, UsageError

# isort: split
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def identity() -> None:
    codec.prepare_process()


def message(records: dict[str, Any]) -> Message:
    return Message(RecordDict(records), 7, "query.stats")


def header(**change: Any) -> seal.Header:
    values: dict[str, Any] = {
        **{"room": "room-1", "run": 5, "seq": 1, "kind": "instruction", "src": "coordinator", "dst": "p1"},
        **{"message_id": "m", "message_type": "query.stats", "created_at": 1.0, "ttl": 9.0, "size": 0},
        **{"sha256": b"", "src_node": 1, "dst_node": 7, **change},
    }
    return seal.Header(**values)


def there_and_back(records: dict[str, Any]) -> RecordDict:
    back = codec.decode(b"".join(codec.encode(message(records))), "reply")
    assert isinstance(back, RecordDict)
    return back


def test_every_value_that_flower_allows_comes_back_with_its_type() -> None:
    values = {
        "int": -(2**63),
        "large": 2**64 - 1,
        "float": -0.0,
        "bool": True,
        "text": "σ",
        "bytes": b"\0\xff",
        **{"ints": [1, -2], "larges": [0, 2**64 - 1], "floats": [1.5, math.inf], "bools": [True, False]},
        **{"texts": ["a", ""], "blobs": [b"", b"x"], "none": []},
    }
    back = there_and_back({"c": ConfigRecord(values), "m": MetricRecord({"x": 1, "y": [0.5]}), "e": MetricRecord()})
    assert isinstance(back["c"], ConfigRecord)
    assert isinstance(back["m"], MetricRecord)
    assert dict(back["c"]) == values
    assert {k: type(v) for k, v in back["c"].items()} == {k: type(v) for k, v in values.items()}
    assert math.copysign(1, back["c"]["float"]) == -1
    assert dict(back["m"]) == {"x": 1, "y": [0.5]}
    assert list(back) == ["c", "m", "e"]


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "int64", "float16", "float64", ">i4"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (2, 3)])
def test_every_array_of_plain_numbers_comes_back(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.arange(math.prod(shape)).reshape(shape).astype(dtype)
    back = there_and_back({"a": ArrayRecord({"x": Array(array), "y": Array(array)})})["a"]["x"].numpy()
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert np.array_equal(back, array)


def test_the_bytes_of_an_array_are_not_copied() -> None:
    array = Array(np.zeros(10))
    assert codec.encode(message({"a": ArrayRecord({"x": array})}))[1] is array.data


def mapped(records: dict[str, Any]) -> RecordDict:
    """What comes back when the payload is a mapped file."""
    payload = b"".join(codec.encode(message(records)))
    file = mmap.mmap(-1, len(payload))
    file.write(payload)
    back = codec.decode(memoryview(file), "reply")
    assert isinstance(back, RecordDict)
    return back


@pytest.mark.parametrize("array", [np.arange(5.0), np.array(2, ">i4"), np.zeros((0, 3)), np.ones((2, 3), order="F")])
def test_an_array_of_a_mapped_payload_stays_there_and_is_to_an_app_as_any_other(array: Any) -> None:
    plain = Array(array)
    found = mapped({"a": ArrayRecord({"x": plain})})["a"]["x"]
    assert isinstance(found, codec.MappedArray)
    assert isinstance(found.view.obj, mmap.mmap)
    assert found == plain
    assert plain == found
    assert found != Array(array[..., None])
    assert dict(ArrayRecord({"y": found})) == {"y": plain}
    got, expect = found.numpy(), plain.numpy()
    assert np.array_equal(got, expect)
    assert (got.dtype, got.flags.f_contiguous, got.flags.writeable) == (expect.dtype, expect.flags.f_contiguous, True)
    found.data = b"other"
    assert found.data == b"other"


def test_an_array_of_a_mapped_payload_is_sent_on_without_a_copy() -> None:
    found = mapped({"a": ArrayRecord({"x": Array(np.arange(5.0))})})["a"]
    records = RecordDict({"b": found})
    assert codec.encode(Message(records, 7, "query.stats"))[1] is found["x"].view


@pytest.mark.parametrize(
    "records",
    [
        {"a": ArrayRecord({"x": Array("object", (1,), "numpy.ndarray", b"\x80\x04]")})},
        {"a": ArrayRecord({"x": Array("float64", (1,), "torch", b"12345678")})},
        {"a": ArrayRecord({"x": Array(np.array(["text"]))})},
        {"c": ConfigRecord({"x": 2**64})},
        {"c": ConfigRecord({"x": [-1, 2**64 - 1]})},
    ],
    ids=["pickle", "torch", "text", "large", "mixed"],
)
def test_what_cannot_travel_is_the_senders_mistake(records: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="cannot travel"):
        codec.encode(message(records))


def array_payload(**change: Any) -> bytes:
    data = change.pop("data", Array(np.zeros(2)).data)
    head = {"key": "x", "dtype": "float64", "shape": [2], "stype": "numpy.ndarray", "size": len(data), **change}
    record = pb.Record(name="a", type="arrays", arrays=[pb.ArrayHead(**head)])
    return frames.head(pb.Content(records=[record])) + data


def entries(*keys: str, kind: str = "config", value: pb.Value | None = None) -> bytes:
    value = pb.Value(i=1) if value is None else value
    record = pb.Record(name="c", type=kind, entries=[pb.Entry(key=key, value=value) for key in keys])
    return frames.head(pb.Content(records=[record]))


def npy(shape: str, data: bytes, descr: str = "<f8") -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def test_the_hand_made_array_is_good() -> None:
    assert isinstance(codec.decode(array_payload(), "reply"), RecordDict)
    assert isinstance(codec.decode(array_payload(data=npy("(2,)", bytes(16))), "reply"), RecordDict)


@pytest.mark.parametrize(
    "payload",
    [
        b"\x03\xff\xff\xff",
        array_payload() + b"more",
        array_payload(size=10**6),
        array_payload(dtype="object"),
        array_payload(dtype="float32"),
        array_payload(shape=[3]),
        array_payload(shape=[-2]),
        array_payload(stype="pickle"),
        array_payload(data=b"\x80\x04]"),
        array_payload(data=npy("(2,)", bytes(16), "|O")),
        array_payload(data=npy("(2,)", bytes(8))),
        array_payload(data=npy("(2,)", bytes(17))),
        array_payload(data=npy("(1000000000000,)", bytes(16)), shape=[10**12]),
        array_payload(data=npy("(2,", bytes(16))),
        array_payload(data=b"\x93NUMPY\x03\x00" + bytes(20)),
        entries("x", "x"),
        entries("x", kind="code"),
        entries("x", kind="metrics", value=pb.Value(s="text")),
        entries("x", value=pb.Value()),
        frames.head(pb.Content(records=[pb.Record(name="c", type="config")] * 2)),
    ],
)
def test_a_payload_that_encode_would_not_write_is_refused(payload: bytes) -> None:
    with pytest.raises(IntegrityError):
        codec.decode(payload, "reply")


def test_an_error_comes_back_with_its_code_even_when_that_is_zero() -> None:
    for code in (0, 1000):
        raw = b"".join(codec.encode(Message(Error(code, "why"), reply_to=message({}))))
        error = codec.decode(raw, "error")
        assert isinstance(error, Error)
        assert (error.code, error.reason) == (code, "why")
    with pytest.raises(IntegrityError, match="carries records"):
        codec.decode(array_payload(), "error")


def test_a_message_has_the_fields_of_its_header() -> None:
    made = codec.message(header(group_id="g", reply_to="r"), entries("x")).metadata
    assert (made.run_id, made.message_id, made.src_node_id, made.dst_node_id) == (5, "m", 1, 7)
    assert (made.reply_to_message_id, made.group_id, made.created_at, made.ttl) == ("r", "g", 1.0, 9.0)
    with pytest.raises(IntegrityError, match="message type"):
        codec.message(header(message_type="shell"), entries("x"))


def app(message: Message, context: Context) -> Message:
    told = message.content["c"]
    if "boom" in told:
        raise RuntimeError("secret row 42")
    if "exit" in told:
        raise SystemExit(3)
    if "error" in told:
        return Message(Error(1000, "not approved"), reply_to=message)
    count = int(context.state["n"]["calls"]) + 1 if "n" in context.state else 1
    context.state["n"] = MetricRecord({"calls": count})
    about = {"calls": count, "party": context.node_config["party"], "node": context.node_id}
    return Message(RecordDict({"c": ConfigRecord(about)}), reply_to=message)


def test_a_client_app_answers_and_each_run_has_a_context_of_its_own() -> None:
    answer = codec.client_handler(app, {"party": "p1"})
    counts = []
    for run in (1, 2, 1):
        got = answer(header(run=run), entries("x"))
        body = codec.decode(b"".join(got.buffers), got.kind)
        assert isinstance(body, RecordDict)
        assert (got.kind, body["c"]["party"], body["c"]["node"]) == ("reply", "p1", 7)
        counts.append(body["c"]["calls"])
    assert counts == [1, 1, 2]


@pytest.mark.parametrize("told", ["boom", "exit", None])
def test_whatever_the_app_raises_leaves_as_failed_and_its_text_is_not_even_logged(
    told: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        got = codec.client_handler(app, {})(header(), entries(told) if told else b"junk")
    assert got == frames.failure(frames.FAILED, "failed")
    assert "secret" not in caplog.text
    assert "the app failed" in caplog.text


def test_an_error_that_the_app_returns_is_an_answer() -> None:
    got = codec.client_handler(app, {})(header(), entries("error"))
    assert got == frames.failure(1000, "not approved")


def test_a_problem_stands_for_a_reply_that_never_came() -> None:
    made = codec.problem(header(), 5, "party unavailable")
    assert (made.error.code, made.error.reason) == (5, "party unavailable")
    assert (made.metadata.src_node_id, made.metadata.dst_node_id) == (7, 1)
    assert made.metadata.reply_to_message_id == replace(header()).message_id


def test_the_carrier_without_the_codec_never_loads_flower() -> None:
    """A party's transport and the coordinator's hub work where flwr is not even installed."""
    names = "protocols.carrier.seal, protocols.carrier.rpc, protocols.carrier.pki, protocols.carrier.journal"
    script = f"import sys, {names}, coordinator.hub, party_node.attendant; assert 'flwr' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def test_flowers_telemetry_is_off_before_flower_is_loaded() -> None:
    script = "import os, protocols.carrier.codec; assert os.environ['FLWR_TELEMETRY_ENABLED'] == '0'"
    environment = {k: v for k, v in os.environ.items() if k != "FLWR_TELEMETRY_ENABLED"}
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, env=environment)
