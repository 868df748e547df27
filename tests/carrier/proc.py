"""What the kernel says of a process: memory in bytes, CPU in seconds. Linux only."""

from __future__ import annotations

import os
from pathlib import Path


def status(pid: int, field: str) -> int:
    """Bytes of a field of /proc/pid/status: `VmRSS` is the memory in use now, mapped files too, `VmHWM` the most yet,
    `RssAnon` what is no file's."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def forget_peak(pid: int) -> None:
    """Let `VmHWM` begin anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
