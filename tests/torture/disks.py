"""Small disks of their own for the processes of a room, where this process may mount: seen by it and its children only.

Elsewhere a full disk is the kernel's limit on the size of files (`role.fill`).
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

SIZE = "48m"
_NEW_MOUNTS, _PRIVATE, _RECURSIVE = 0x20000, 1 << 18, 1 << 14  # linux/sched.h, linux/mount.h


def own_mounts() -> bool:
    """Let what is mounted from here on end with this process. False where that is not allowed."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_MOUNTS):
        return False
    return not libc.mount(b"none", b"/", None, _PRIVATE | _RECURSIVE, None)


def small_disk(place: Path) -> None:
    """Mount a file system of its own, in memory, on an empty folder. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"size={SIZE},mode=0700"
    if libc.mount(b"tmpfs", os.fsencode(place), b"tmpfs", 0, options.encode()):
        raise OSError(ctypes.get_errno(), "cannot mount", str(place))


def put_away(place: Path) -> None:
    """Undo `small_disk`; its files are gone."""
    ctypes.CDLL(None, use_errno=True).umount2(os.fsencode(place), 2)  # MNT_DETACH: also where somebody still looks
