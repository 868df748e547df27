"""What a container looks like from inside: run in each of them by compose.py, with nothing but Python.

    python -c "$(cat probe.py)" '{"write": [PATHS], "dial": ["HOST:PORT", …], "names": [NAMES]}'

Prints one JSON document. Nothing is sent to an address: a connection is opened and closed.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import socket
import sys
from pathlib import Path
from typing import Any

SECRETS = Path("/run/secrets")
LIMITS = {  # where control groups of version 2 and 1 say it
    "memory": ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"),
    "pids": ("/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max"),
}
STATUS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")


def main(asked: dict[str, Any]) -> dict[str, Any]:
    lines = (line.partition(":") for line in Path("/proc/self/status").read_text().splitlines())
    status = {name: value.strip() for name, _, value in lines}
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return {
        "uid": os.getuid(),
        "gid": os.getgid(),
        "status": {name: status[name] for name in STATUS},
        "limits": {name: _limit(paths) for name, paths in LIMITS.items()},
        "core": resource.getrlimit(resource.RLIMIT_CORE)[1],
        "root": next(options for _, at, _, options, *_ in mounts if at == "/").split(",")[0],
        "writable": [path for path in asked["write"] if _writable(path)],
        "programs": sorted(path.name for path in Path("/opt/sumroom/bin").iterdir()),
        "rows": sorted(path.name for path in Path("/data").iterdir()),
        "loose": [str(path) for path in SECRETS.iterdir() if path.stat().st_mode & 0o077],
        "dial": [_dial(*address.rsplit(":", 1)) for address in asked["dial"]],
        "names": [name for name in asked["names"] if _known(name)],
    }


def _limit(paths: tuple[str, ...]) -> str:
    found = [Path(path) for path in paths if Path(path).exists()]
    return found[0].read_text().strip() if found else "not to be seen"


def _writable(path: str) -> bool:
    try:
        probe = Path(path) / ".probe"
        probe.touch()
        probe.unlink()
    except OSError:
        return False
    return True


def _dial(host: str, port: str) -> str:
    """`open`, `refused` (somebody is there), or `unreachable`."""
    try:
        socket.create_connection((host, int(port)), timeout=3).close()
    except OSError as exc:
        return "refused" if exc.errno == errno.ECONNREFUSED else "unreachable"
    return "open"


def _known(name: str) -> bool:
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
