# mypy: disable-error-code="misc, type-arg"
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Frame(_message.Message):
    __slots__ = ("hello", "open", "chunk", "receipt")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    open: Sealed
    chunk: bytes
    receipt: Receipt
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., open: _Optional[_Union[Sealed, _Mapping]] = ..., chunk: _Optional[bytes] = ..., receipt: _Optional[_Union[Receipt, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("room", "version")
    ROOM_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    room: str
    version: int
    def __init__(self, room: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("message_id", "refused")
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    message_id: str
    refused: str
    def __init__(self, message_id: _Optional[str] = ..., refused: _Optional[str] = ...) -> None: ...

class Sealed(_message.Message):
    __slots__ = ("header", "signature")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    header: bytes
    signature: bytes
    def __init__(self, header: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class Header(_message.Message):
    __slots__ = ("room", "run", "seq", "kind", "src", "dst", "message_id", "reply_to", "message_type", "group_id", "created_at", "ttl", "size", "sha256", "src_node", "dst_node", "plan")
    ROOM_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SRC_FIELD_NUMBER: _ClassVar[int]
    DST_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    REPLY_TO_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_TYPE_FIELD_NUMBER: _ClassVar[int]
    GROUP_ID_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SRC_NODE_FIELD_NUMBER: _ClassVar[int]
    DST_NODE_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    room: str
    run: int
    seq: int
    kind: str
    src: str
    dst: str
    message_id: str
    reply_to: str
    message_type: str
    group_id: str
    created_at: float
    ttl: float
    size: int
    sha256: bytes
    src_node: int
    dst_node: int
    plan: str
    def __init__(self, room: _Optional[str] = ..., run: _Optional[int] = ..., seq: _Optional[int] = ..., kind: _Optional[str] = ..., src: _Optional[str] = ..., dst: _Optional[str] = ..., message_id: _Optional[str] = ..., reply_to: _Optional[str] = ..., message_type: _Optional[str] = ..., group_id: _Optional[str] = ..., created_at: _Optional[float] = ..., ttl: _Optional[float] = ..., size: _Optional[int] = ..., sha256: _Optional[bytes] = ..., src_node: _Optional[int] = ..., dst_node: _Optional[int] = ..., plan: _Optional[str] = ...) -> None: ...

class Content(_message.Message):
    __slots__ = ("records", "error_code", "error_reason")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    ERROR_CODE_FIELD_NUMBER: _ClassVar[int]
    ERROR_REASON_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[Record]
    error_code: int
    error_reason: str
    def __init__(self, records: _Optional[_Iterable[_Union[Record, _Mapping]]] = ..., error_code: _Optional[int] = ..., error_reason: _Optional[str] = ...) -> None: ...

class Record(_message.Message):
    __slots__ = ("name", "type", "arrays", "entries")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    ARRAYS_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: str
    arrays: _containers.RepeatedCompositeFieldContainer[ArrayHead]
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ..., arrays: _Optional[_Iterable[_Union[ArrayHead, _Mapping]]] = ..., entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ...) -> None: ...

class ArrayHead(_message.Message):
    __slots__ = ("key", "dtype", "shape", "stype", "size")
    KEY_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    STYPE_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    key: str
    dtype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    stype: str
    size: int
    def __init__(self, key: _Optional[str] = ..., dtype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., stype: _Optional[str] = ..., size: _Optional[int] = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("key", "value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: Value
    def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Value, _Mapping]] = ...) -> None: ...

class Value(_message.Message):
    __slots__ = ("i", "u", "d", "b", "s", "y", "il", "dl", "bl", "sl", "yl", "ul")
    I_FIELD_NUMBER: _ClassVar[int]
    U_FIELD_NUMBER: _ClassVar[int]
    D_FIELD_NUMBER: _ClassVar[int]
    B_FIELD_NUMBER: _ClassVar[int]
    S_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    IL_FIELD_NUMBER: _ClassVar[int]
    DL_FIELD_NUMBER: _ClassVar[int]
    BL_FIELD_NUMBER: _ClassVar[int]
    SL_FIELD_NUMBER: _ClassVar[int]
    YL_FIELD_NUMBER: _ClassVar[int]
    UL_FIELD_NUMBER: _ClassVar[int]
    i: int
    u: int
    d: float
    b: bool
    s: str
    y: bytes
    il: Ints
    dl: Doubles
    bl: Bools
    sl: Strings
    yl: Blobs
    ul: UInts
    def __init__(self, i: _Optional[int] = ..., u: _Optional[int] = ..., d: _Optional[float] = ..., b: _Optional[bool] = ..., s: _Optional[str] = ..., y: _Optional[bytes] = ..., il: _Optional[_Union[Ints, _Mapping]] = ..., dl: _Optional[_Union[Doubles, _Mapping]] = ..., bl: _Optional[_Union[Bools, _Mapping]] = ..., sl: _Optional[_Union[Strings, _Mapping]] = ..., yl: _Optional[_Union[Blobs, _Mapping]] = ..., ul: _Optional[_Union[UInts, _Mapping]] = ...) -> None: ...

class Ints(_message.Message):
    __slots__ = ("v",)
    V_FIELD_NUMBER: _ClassVar[int]
    v: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, v: _Optional[_Iterable[int]] = ...) -> None: ...

class UInts(_message.Message):
    __slots__ = ("v",)
    V_FIELD_NUMBER: _ClassVar[int]
    v: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, v: _Optional[_Iterable[int]] = ...) -> None: ...

class Doubles(_message.Message):
    __slots__ = ("v",)
    V_FIELD_NUMBER: _ClassVar[int]
    v: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, v: _Optional[_Iterable[float]] = ...) -> None: ...

class Bools(_message.Message):
    __slots__ = ("v",)
    V_FIELD_NUMBER: _ClassVar[int]
    v: _containers.RepeatedScalarFieldContainer[bool]
    def __init__(self, v: _Optional[_Iterable[bool]] = ...) -> None: ...

class Strings(_message.Message):
    __slots__ = ("v",)
    V_FIELD_NUMBER: _ClassVar[int]
    v: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, v: _Optional[_Iterable[str]] = ...) -> None: ...

class Blobs(_message.Message):
    __slots__ = ("v",)
    V_FIELD_NUMBER: _ClassVar[int]
    v: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, v: _Optional[_Iterable[bytes]] = ...) -> None: ...
