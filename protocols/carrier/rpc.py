"""gRPC without generated stubs: the path, the serializers, the options of both ends.

Versions of TLS: grpcio (BoringSSL) negotiates 1.3 with itself and still accepts 1.2 from others; its Python interface
has no switch to refuse 1.2. Both ends of a room are this file, so a room speaks 1.3; certificates are required of both
ends in either version. The leaf must be ECDSA or RSA: grpcio fails with an Ed25519 leaf.
Proxies: `https_proxy` is honoured (HTTP CONNECT); one that inspects TLS cannot be passed, by design.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from . import room_pb2 as pb
from .frames import CHUNK

SERVICE = "sumroom.room.v1.Room"
VERSION = 1
# Initial metadata that tells a party it was let in; a refusal has none.
ADMITTED = (("sumroom-version", str(VERSION)),)
FRAME_LIMIT = CHUNK + (1 << 16)
Options = list[tuple[str, int]]

_BOTH: Options = [
    ("grpc.max_receive_message_length", FRAME_LIMIT),
    ("grpc.max_send_message_length", FRAME_LIMIT),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
]


def client_options(keepalive: float = 20.0) -> Options:
    """Options of a party's channel; a dead coordinator is noticed within 1.5 × `keepalive` seconds (at least 15)."""
    return [
        *_BOTH,
        *_keepalive(keepalive),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.min_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 5_000),
        # Why: channels to one address otherwise share a connection, even after its certificates were renewed.
        ("grpc.use_local_subchannel_pool", 1),
    ]


def server_options(keepalive: float = 20.0, handshake: float = 5.0) -> Options:
    """Options of the coordinator's server: a frozen party is noticed within 1.5 × `keepalive` seconds, a connection
    that has not finished its handshake is closed after `handshake` seconds."""
    return [
        *_BOTH,
        *_keepalive(keepalive),
        # Why this name: the other spelling in circulation (without "http2") is ignored and ends in `too_many_pings`.
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ("grpc.http2.max_ping_strikes", 3),
        ("grpc.max_concurrent_streams", 4),
        ("grpc.server_handshake_timeout_ms", int(handshake * 1000)),
        ("grpc.max_connection_idle_ms", int(handshake * 2000)),
        ("grpc.max_metadata_size", 8192),
        ("grpc.so_reuseport", 0),
    ]


def _keepalive(seconds: float) -> Options:
    # Why the third: without it a peer that is frozen but whose kernel still acknowledges is never noticed.
    return [
        ("grpc.keepalive_time_ms", int(seconds * 1000)),
        ("grpc.keepalive_timeout_ms", int(seconds * 500)),
        ("grpc.http2.ping_timeout_ms", int(seconds * 500)),
    ]


def attend_handler(attend: Callable[[Any, Any], Awaitable[None]]) -> Any:
    """The generic handler that serves Room.Attend with `attend(frames, context)`."""
    method = grpc.stream_stream_rpc_method_handler(
        attend, request_deserializer=pb.Frame.FromString, response_serializer=pb.Frame.SerializeToString
    )
    return grpc.method_handlers_generic_handler(SERVICE, {"Attend": method})


def attend(channel: Any) -> Any:
    """The callable that opens Room.Attend on `channel`."""
    return channel.stream_stream(
        f"/{SERVICE}/Attend",
        request_serializer=pb.Frame.SerializeToString,
        response_deserializer=pb.Frame.FromString,
    )
