"""Flower's records ↔ a payload, over public `flwr.app` names. No pickle, no object arrays, nothing larger than it says.

This is the carrier's one file that knows Flower; a party's transport and the coordinator's hub do without.
"""

from __future__ import annotations

import io
import logging
import math
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")

# Why not at the top: flwr reads the telemetry switch when it is imported
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, Metadata, MetricRecord, RecordDict

# Why the one name that is not public: Message() reads it, and refuses to be made where nobody has set it.
from flwr.supercore.task_identity import TaskIdentity

from ..errors import IntegrityError, UsageError
from . import room_pb2 as pb
from .frames import FAILED, Answer, Buffers, failure, head, split
from .seal import COORDINATOR_NODE, ERROR, REPLY, Header

log = logging.getLogger(__name__)

NUMPY = "numpy.ndarray"
MAX_RUNS = 1024
_KINDS = "biuf"
_LISTS = {bool: ("bl", pb.Bools), float: ("dl", pb.Doubles), str: ("sl", pb.Strings), bytes: ("yl", pb.Blobs)}
_SCALARS = {bool: "b", float: "d", str: "s", bytes: "y"}


class MappedArray(Array):
    """An array that stays in a mapped file: `view` is its .npy file and no copy.

    To an app it is any Array: `data` and `numpy()` are copies, made when asked for.
    """

    view: memoryview

    def __init__(self, dtype: str, shape: tuple[int, ...], stype: str, view: memoryview) -> None:
        super().__init__(dtype, shape, stype, b"")
        self.view = view

    @property
    def data(self) -> bytes:
        """The .npy file."""
        return bytes(self.view)

    @data.setter
    def data(self, data: bytes) -> None:
        self.view = memoryview(data)

    def numpy(self) -> NDArray[Any]:
        """The array, which the caller may write to."""
        shape, fortran, kind, at = _npy(self.view)
        return np.ndarray(shape, kind, self.view, at, order="F" if fortran else "C").copy(order="K")

    def __eq__(self, other: object) -> bool:
        names = ("dtype", "shape", "stype", "data")
        return isinstance(other, Array) and all(getattr(self, name) == getattr(other, name) for name in names)

    __hash__ = None  # type: ignore[assignment]  # as Array


def prepare_process() -> None:
    """Give Message() the process-wide identity it insists on, unless Flower has. The wire carries the true run id."""
    try:
        _ = TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id
    except RuntimeError:
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 0, 0, COORDINATOR_NODE


def encode(message: Message) -> Buffers:
    """The payload of a message, as buffers; the bytes of arrays are not copied.

    Raises UsageError for what cannot travel: an object array, an integer outside 64 bits, another kind of record.
    """
    if message.has_error():
        return failure(message.error.code, message.error.reason or "").buffers
    content, blobs = pb.Content(), list[bytes | memoryview]()
    try:
        for name, record in message.content.items():
            content.records.append(_record(name, record, blobs))
    except (ValueError, TypeError, OverflowError):
        raise UsageError("a record holds a value that cannot travel") from None
    return (head(content), *blobs)


def decode(payload: bytes | memoryview, kind: str) -> RecordDict | Error:
    """What `encode` wrote: records, or for kind `error` an Error. Raises IntegrityError for anything else.

    The arrays of a payload that is a mapped file stay in it: they are `MappedArray`.
    """
    raw, rest = split(payload)
    try:
        content = pb.Content.FromString(bytes(raw))
    except DecodeError:
        raise IntegrityError("the head of a payload does not parse") from None
    if kind == ERROR:
        if content.records or rest:
            raise IntegrityError("an error carries records")
        return Error(content.error_code, content.error_reason)
    records = RecordDict()
    try:
        for record in content.records:
            records[record.name], rest = _read_record(record, rest)
    except (ValueError, TypeError):
        raise IntegrityError("a record holds a value that cannot be one") from None
    if rest or len(records) != len(content.records):
        raise IntegrityError("a payload has bytes that belong to no record")
    return records


def message(header: Header, payload: bytes | memoryview) -> Message:
    """The Flower message of a verified header and payload. Raises IntegrityError."""
    body = decode(payload, header.kind)
    try:
        metadata = Metadata(
            run_id=header.run,
            message_id=header.message_id,
            src_node_id=header.src_node,
            dst_node_id=header.dst_node,
            reply_to_message_id=header.reply_to,
            group_id=header.group_id,
            created_at=header.created_at,
            ttl=header.ttl,
            message_type=header.message_type,
        )
    except ValueError:
        raise IntegrityError("a header has no message type of Flower's") from None
    return _message(metadata, body)


def problem(asked: Header, code: int, reason: str) -> Message:
    """The error message that stands for a reply that never came to `asked`."""
    metadata = Metadata(
        run_id=asked.run,
        message_id="",
        src_node_id=asked.dst_node,
        dst_node_id=asked.src_node,
        reply_to_message_id=asked.message_id,
        group_id=asked.group_id,
        created_at=asked.created_at,
        ttl=asked.ttl,
        message_type=asked.message_type,
    )
    return _message(metadata, Error(code, reason))


def client_handler(
    app: Callable[[Message, Context], Message], node_config: dict[str, Any]
) -> Callable[[Header, bytes | memoryview], Answer]:
    """A ClientApp as the `answer` of an attendant. Each run keeps one Context, in memory, for the latest 1024 runs.

    Whatever the app raises leaves as the one error `failed`; the local log gets the name of the exception's class only,
    since its text may hold data. An error that the app *returns* is an answer and travels as it is.
    """
    contexts: OrderedDict[int, Context] = OrderedDict()
    lock = threading.Lock()

    def context(header: Header) -> Context:
        with lock:
            if header.run not in contexts:
                contexts[header.run] = Context(header.run, header.dst_node, dict(node_config), RecordDict(), {})
            contexts.move_to_end(header.run)
            while len(contexts) > MAX_RUNS:
                contexts.popitem(last=False)
            return contexts[header.run]

    def answer(header: Header, payload: bytes | memoryview) -> Answer:
        try:
            reply = app(message(header, payload), context(header))
            return Answer(ERROR if reply.has_error() else REPLY, encode(reply))
        except (Exception, SystemExit) as exc:  # noqa: BLE001 - the app's failure is an answer, whatever it is
            log.error("run %d, sequence %d: the app failed: %s", header.run, header.seq, type(exc).__name__)
            return failure(FAILED, "failed")

    return answer


def words_of(record: ArrayRecord) -> bytes | memoryview:
    """The bytes of the words that travelled beside a message, 8 each, as a view: of a large message they are in a file
    of the journal, and stay there; empty when there are none.

    Why they need no parsing: they are the end of a .npy file, and whether they are the right ones is told by the digest
    that its sender signed.
    """
    if "words" not in record:
        return b""
    words = record["words"]
    mapped = getattr(words, "view", None)  # our grid's large arrays have it, Flower's have none
    data = memoryview(words.data if mapped is None else mapped)
    return data[max(0, len(data) - 8 * math.prod(words.shape)) :]


def _message(metadata: Metadata, body: RecordDict | Error) -> Message:
    make: Any = Message  # Why Any: `metadata` is in the signature, but not among its typed overloads
    made: Message = make(metadata=metadata, **{"error" if isinstance(body, Error) else "content": body})
    return made


def _record(name: str, record: object, blobs: list[bytes | memoryview]) -> pb.Record:
    if isinstance(record, ArrayRecord):
        heads = []
        for key, array in record.items():
            data = array.view if isinstance(array, MappedArray) else array.data
            _check_array(array.dtype, tuple(array.shape), array.stype, memoryview(data))
            blobs.append(data)
            size = len(data)
            heads.append(pb.ArrayHead(key=key, dtype=array.dtype, shape=array.shape, stype=array.stype, size=size))
        return pb.Record(name=name, type="arrays", arrays=heads)
    if not isinstance(record, MetricRecord | ConfigRecord):
        raise TypeError(type(record).__name__)
    kind = "metrics" if isinstance(record, MetricRecord) else "config"
    return pb.Record(name=name, type=kind, entries=[pb.Entry(key=k, value=_value(v)) for k, v in record.items()])


def _read_record(record: pb.Record, rest: memoryview) -> tuple[ArrayRecord | MetricRecord | ConfigRecord, memoryview]:
    if record.type == "arrays":
        arrays = ArrayRecord()
        for entry in record.arrays:
            if entry.size > len(rest) or entry.key in arrays:
                raise ValueError("array beyond the payload")
            data, rest = rest[: entry.size], rest[entry.size :]
            _check_array(entry.dtype, tuple(entry.shape), entry.stype, data)
            arrays[entry.key] = _array(entry, data)
        return arrays, rest
    values = {entry.key: _read_value(entry.value) for entry in record.entries}
    if len(values) != len(record.entries) or record.type not in ("metrics", "config"):
        raise ValueError("a key twice, or another kind of record")
    return (MetricRecord(values) if record.type == "metrics" else ConfigRecord(values)), rest


def _array(entry: pb.ArrayHead, data: memoryview) -> Array:
    if isinstance(data.obj, bytes):
        return Array(entry.dtype, tuple(entry.shape), entry.stype, bytes(data))
    return MappedArray(entry.dtype, tuple(entry.shape), entry.stype, data)


def _check_array(dtype: str, shape: tuple[int, ...], stype: str, data: memoryview) -> None:
    """Raise ValueError unless `data` is exactly the .npy file of such an array of plain numbers.

    Why so exact: numpy allocates what the file's own header says before it looks at how much is there.
    """
    if stype != NUMPY:
        raise ValueError("arrays are numpy's")
    found, _, kind, at = _npy(data)
    if kind.kind not in _KINDS or found != shape or str(kind) != dtype:
        raise ValueError("the array is not what its head says")
    if len(data) - at != math.prod(shape) * kind.itemsize:
        raise ValueError("the array has another size than its shape says")


def _npy(data: memoryview) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """What the head of a .npy file says: shape, whether columns come first, type, and where the numbers start."""
    start = io.BytesIO(bytes(data[:10_240]))
    version = np.lib.format.read_magic(start)
    if version not in ((1, 0), (2, 0)):
        raise ValueError("another version of .npy")
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        return *reader(start), start.tell()
    except Exception:  # noqa: BLE001 - numpy reads the head with Python's own tokenizer, which raises what it likes
        raise ValueError("no head of a .npy file") from None


def _value(value: Any) -> pb.Value:
    if isinstance(value, list):
        return _list(value)
    if type(value) is int:
        return pb.Value(i=value) if value < 2**63 else pb.Value(u=value)
    if type(value) not in _SCALARS:
        raise TypeError(type(value).__name__)
    return pb.Value(**{_SCALARS[type(value)]: value})


def _list(values: list[Any]) -> pb.Value:
    kind = type(values[0]) if values else int
    if kind is int:
        small = not values or max(values) < 2**63
        return pb.Value(il=pb.Ints(v=values)) if small else pb.Value(ul=pb.UInts(v=values))
    if kind not in _LISTS:
        raise TypeError(kind.__name__)
    field, holder = _LISTS[kind]
    return pb.Value(**{field: holder(v=values)})


def _read_value(value: pb.Value) -> Any:
    field = value.WhichOneof("v")
    if field is None:
        raise ValueError("empty value")
    inner = getattr(value, field)
    return list(inner.v) if field.endswith("l") else inner
