"""The wiring of gRPC: options that exist, generated code that fits."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from grpc._cython import cygrpc

from protocols.carrier import room_pb2, rpc
from protocols.carrier.frames import CHUNK


@pytest.mark.parametrize("options", [rpc.client_options(), rpc.server_options()], ids=["client", "server"])
def test_every_option_is_one_that_grpcio_knows(options: rpc.Options) -> None:
    """gRPC ignores a misspelt option in silence, and `too_many_pings` or an unnoticed frozen peer follow."""
    library = Path(cygrpc.__file__).read_bytes()
    assert [name for name, _ in options if name.encode() + b"\0" not in library] == []


def test_a_frozen_peer_is_noticed_within_35_seconds_by_default() -> None:
    for options in (dict(rpc.client_options()), dict(rpc.server_options())):
        ping = options["grpc.keepalive_time_ms"]
        assert ping + options["grpc.keepalive_timeout_ms"] <= 35_000
        assert ping + options["grpc.http2.ping_timeout_ms"] <= 35_000
        assert options["grpc.http2.max_pings_without_data"] == 0


def test_a_server_tolerates_the_pings_that_a_client_sends() -> None:
    tolerated = dict(rpc.server_options())["grpc.http2.min_ping_interval_without_data_ms"]
    assert tolerated < dict(rpc.client_options())["grpc.keepalive_time_ms"]


def test_a_frame_of_one_chunk_fits_the_limit() -> None:
    frame = room_pb2.Frame(chunk=bytes(CHUNK))
    assert CHUNK < frame.ByteSize() <= rpc.FRAME_LIMIT


def test_the_generated_code_is_that_of_the_proto_file() -> None:
    """Every message and field of room.proto, with its number; `regenerate.sh --check` compares the bytes."""
    text = (Path(room_pb2.__file__).parent / "room.proto").read_text()
    assert f"package {rpc.SERVICE.rpartition('.')[0]};" in text
    for name, body in re.findall(r"message (\w+) \{(.*?)\n?\}", re.sub(r"//.*|oneof \w+ \{", "", text), re.DOTALL):
        said = {field: int(number) for field, number in re.findall(r"(\w+) = (\d+);", body)}
        made = room_pb2.DESCRIPTOR.message_types_by_name[name].fields
        assert {field.name: field.number for field in made} == said
