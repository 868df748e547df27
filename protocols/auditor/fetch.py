"""Getting a bundle from where it lies: a folder of results, a file, or an http(s) address. Nothing of it is trusted.

The only place in this package that goes to a network, and only when a person names an address.
"""

from __future__ import annotations

import os
import re
import urllib.error
import urllib.request
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any

from .. import bundle
from ..bundle import Archive
from ..errors import CannotDecide, IntegrityError, UsageError

NAME = "room.tar"
SECONDS = 60  # without a byte, before an address is given up
_ADDRESS = re.compile(r"https?://[^\s]+")
_STEP = 1 << 20


def fetch(room: str, out: Path) -> int:
    """Copy the bundle of `room` to `out`, whole or not at all; returns its size in bytes.

    room   a folder that has a room.tar, such a file itself, or an address of either

    Raises CannotDecide where there is none, or none that is a whole archive; `verify` says whether it is sound.
    """
    part = out.with_name(out.name + ".part")
    try:
        with _open(room) as source, part.open("wb") as target:
            size = _copy(source, target)
            target.flush()
            os.fsync(target.fileno())
        _check_whole(part)
        part.replace(out)
    except (OSError, HTTPException, ValueError) as exc:
        raise CannotDecide(f"cannot fetch {room[:200]}: {_reason(exc)}") from None
    finally:
        with suppress(OSError):
            part.unlink()
    return size


class _WebOnly(urllib.request.HTTPRedirectHandler):
    """Follows from one web address to another, and never down from https to http or to a file."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not _ADDRESS.fullmatch(newurl) or (req.full_url.startswith("https:") and not newurl.startswith("https:")):
            raise CannotDecide("the address leads on to one that is not as safe", "ask who handed it to you")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(room: str) -> IO[bytes]:
    if _ADDRESS.fullmatch(room):
        address = room if room.endswith(".tar") else f"{room.rstrip('/')}/{NAME}"
        opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(),  # as the machine is set up
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            _WebOnly(),
        ):
            opener.add_handler(handler)
        answer: IO[bytes] = opener.open(address, timeout=SECONDS)
        return answer
    if "://" in room:
        raise UsageError(f"{room[:200]} is no address of the web", "name a folder, a file, or http(s)://…")
    path = Path(room)
    return (path / NAME if path.is_dir() else path).open("rb")


def _copy(source: IO[bytes], target: IO[bytes]) -> int:
    size = 0
    while piece := source.read(_STEP):
        size += len(piece)
        if size > bundle.MAX_BYTES:
            raise CannotDecide(f"it is larger than {bundle.MAX_BYTES} bytes, and no bundle is")
        target.write(piece)
    return size


def _check_whole(path: Path) -> None:
    """That it is an archive and its end is there. One with something changed is kept: it is evidence."""
    with suppress(IntegrityError), bundle.mapped(str(path)) as buffer:
        Archive(buffer)


def _reason(exc: Exception) -> str:
    if isinstance(exc, urllib.error.HTTPError):
        exc.close()
        return f"the server answers {exc.code}"
    if isinstance(exc, urllib.error.URLError):
        exc = exc.reason if isinstance(exc.reason, Exception) else exc
    return str(getattr(exc, "strerror", None) or type(exc).__name__)
