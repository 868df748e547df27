"""How both sides read their settings: a TOML file, and the files it names, relative to its folder.

Beside `carrier/` and the logbook the one part of the agreement that touches a disk. What people make and hand on, keys
and changes, is written here too.
"""

from __future__ import annotations

import os
import stat
import tempfile
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from . import schema
from .errors import UsageError
from .schema import Frozen

Model = TypeVar("Model", bound=Frozen)
_NAME = "name the settings file with --config"


def load(path: Path, model: type[Model]) -> Model:
    """The settings of a file. Raises UsageError naming the file and the setting."""
    try:
        return model.model_validate(tomllib.loads(path.read_text("utf-8")), context=schema.FROM_TOML)
    except FileNotFoundError:
        raise UsageError(f"there is no settings file {path}", "name it with --config") from None
    except OSError as exc:
        raise UsageError(f"cannot read {path}: {exc.strerror}", _NAME) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise UsageError(
            f"{path} is not TOML: {exc}", "is it the right file? its texts stand in quotes, in UTF-8"
        ) from None
    except ValidationError as exc:
        raise schema.explain(exc, str(path), "mend it in this file, or name another with --config") from None


def read(path: Path, name: str) -> bytes:
    """The bytes of the file that the setting `files.<name>` names. Raises UsageError."""
    try:
        return path.read_bytes()
    except OSError as exc:
        hint = f"set files.{name} in the settings file; a relative path starts at its folder"
        raise UsageError(f"files.{name}: cannot read {path}: {exc.strerror}", hint) from None


def secret(path: Path, name: str) -> bytes:
    """A file that only its owner may read. Raises UsageError otherwise."""
    data = read(path, name)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise UsageError(f"files.{name}: others can read {path}", f"chmod 600 {path}")
    return data


def write_new(path: Path, data: bytes, *, mode: int = 0o644, option: str = "--out") -> None:
    """Write a file that is not there yet, with these rights from its first byte on. Raises UsageError otherwise."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise UsageError(f"{path} is there already", f"name another file with {option}") from None
    except OSError as exc:
        raise UsageError(f"cannot write {path}: {exc.strerror}", f"name another file with {option}") from None


def replace(path: Path, data: bytes) -> None:
    """Put another content into a file: whoever reads it gets the old one or the new one. Raises UsageError."""
    try:
        rights = stat.S_IMODE(path.stat().st_mode)
        handle, made = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(made, rights)
            os.replace(made, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(made)
            raise
    except OSError as exc:
        raise UsageError(f"cannot write {path}: {exc.strerror}; it is as it was") from None
