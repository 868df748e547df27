#!/bin/sh
# room_pb2.py and room_pb2.pyi from room.proto; with --check, compare instead of writing (exit 1 when they differ).
# Why an environment of its own, and this version: newer grpcio-tools write code for a protobuf that flwr forbids.
set -eu
cd "$(dirname "$0")/../.."
tools=.grpc-tools
version=1.81.1

if ! "$tools/bin/python" -c "import importlib.metadata as m; assert m.version('grpcio-tools') == '$version'" 2>/dev/null; then
    rm -rf "$tools"
    "${PYTHON:-python3}" -m venv "$tools"
    "$tools/bin/python" -m pip install --quiet --disable-pip-version-check "grpcio-tools==$version"
fi

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
"$tools/bin/python" -m grpc_tools.protoc -I . --python_out="$out" --pyi_out="$out" protocols/carrier/room.proto
# Why: protobuf ships no types, so its Message is unknown to mypy --strict.
{ echo '# mypy: disable-error-code="misc, type-arg"'; cat "$out/protocols/carrier/room_pb2.pyi"; } >"$out/room_pb2.pyi"
mv "$out/protocols/carrier/room_pb2.py" "$out/room_pb2.py"

for file in room_pb2.py room_pb2.pyi; do
    if [ "${1:-}" = "--check" ]; then
        diff -u "protocols/carrier/$file" "$out/$file" || { echo "error: $file is not what room.proto says" >&2; exit 1; }
    else
        cp "$out/$file" "protocols/carrier/$file"
    fi
done
