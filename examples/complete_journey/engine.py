"""Which container engine there is, and how `compose` is said to it: Docker's own, or podman with podman-compose.

podman-compose is found on the path, or put into an environment of its own below `.compose/`, hashes checked.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from protocols.errors import RoundEnded, UsageError

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[1]
TOOL = TOP / ".compose" / "tool"
ROLES = ("party", "coordinator", "auditor")
CONTAINER_UID = 10001


@dataclass(frozen=True)
class Engine:
    """program: `docker` or `podman`. words: what starts a compose command. environment: of both."""

    program: str
    words: tuple[str, ...]
    environment: Mapping[str, str]

    def build(self, owner: int) -> None:
        """All three images, from the tree as it is; state in their volumes belongs to the uid `owner`."""
        for role in ROLES:
            began = time.monotonic()
            self._run([self.program, "build", "--network", "host", "--build-arg", f"OWNER={owner}",
                       "--target", role, "--tag", f"sumroom-{role}", str(TOP)])  # fmt: skip
            print(f"  sumroom-{role:<12} {self._size(role):>8}  {time.monotonic() - began:3.0f} s", flush=True)

    def compose(self, *words: str) -> str:
        """What a compose command says on stdout. Raises RoundEnded with the end of what it said when it fails."""
        return self._run([*self.words, *words])

    def tries(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The same for a command that may fail."""
        return self._start([*self.words, *words])

    def inside(self, service: str, *words: str) -> str:
        """What a command says in the running container of a service."""
        return self.compose("exec", "-T", service, *words)

    def _size(self, role: str) -> str:
        size = int(self._run([self.program, "image", "inspect", "--format", "{{.Size}}", f"sumroom-{role}"]))
        return f"{size / 1e6:,.0f} MB"

    def _run(self, words: Sequence[str]) -> str:
        done = self._start(words)
        if done.returncode:
            said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
            raise RoundEnded(f"{' '.join(words)} ended with {done.returncode}:\n{said}")
        return done.stdout

    def _start(self, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            list(words), cwd=TOP, env=dict(self.environment), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False,
        )  # fmt: skip


def owner() -> int:
    """The uid that keys and state belong to: root hands them to one without a name, anybody else runs as oneself."""
    return os.getuid() or CONTAINER_UID


def find(project: str, settings: Mapping[str, str]) -> Engine:
    """The engine of this machine for one compose project. Raises UsageError when there is none."""
    environment = {**os.environ, **settings}
    if _answers("docker", "info") and _answers("docker", "compose", "version"):
        return Engine("docker", ("docker", "compose", "--ansi", "never", "--project-name", project), environment)
    if not _answers("podman", "info"):
        raise UsageError(
            "there is neither a Docker engine with `docker compose` nor podman",
            "install one of them, and see that `docker info` or `podman info` works",
        )
    # Why keep-id: the keys of an ordinary user stay that user's inside.
    words = (_podman_compose(), "--no-ansi", "--project-name", project)
    return Engine("podman", words, environment if os.getuid() == 0 else {**environment, "PODMAN_USERNS": "keep-id"})


def _answers(*words: str) -> bool:
    if shutil.which(words[0]) is None:
        return False
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0


def _podman_compose() -> str:
    if found := shutil.which("podman-compose"):
        return found
    program = TOOL / "bin" / "podman-compose"
    if not program.exists():
        print(f"— podman-compose is not on the path: it goes into {os.path.relpath(TOOL)}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(TOOL)], check=True)
        wanted = ["--require-hashes", "--requirement", str(HERE / "podman-compose.lock")]
        subprocess.run([str(TOOL / "bin" / "python"), "-m", "pip", "install", "--quiet", *wanted], check=True)
    return str(program)
